"""What is wrong with a configuration although each value by itself is right: contradictions and unknown names."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from ci_runner.config.layers import Layers
from ci_runner.config.notify import contradictory
from ci_runner.config.options import unread_options
from ci_runner.config.problems import problem
from ci_runner.config.tables import NAME, SuiteTable
from ci_runner.config.values import split_list
from ci_runner.config.words import near
from ci_runner.model import Suite

NAMED = ("machines", "suites", "flags", "notify", "caches")  # their names become names of files and arguments
LOCAL = "local"
STORES = ("history", "caches")

# the events that ci-runner acts on; tests hold them to the readers of payloads, which are dear to import
EVENTS = (
    "push",
    "pull_request",
    "pull_request_target",
    "merge_group",
    "schedule",
    "workflow_dispatch",
    "workflow_call",
    "repository_dispatch",
    "workflow_run",
    "issue_comment",
)


def contradictions(table: SuiteTable) -> Iterator[tuple[str, str, tuple[str, ...]]]:
    """Key, reason, and the keys that it is about."""
    if table.abstract:
        return
    if table.tests and table.command:
        yield "command", "a suite has tests or a command, not both", ("tests", "tests-add", "command")
    if not table.tests and not table.command:
        text = "a suite needs tests or a command (or abstract = true)"
        yield "tests", text, ("tests", "tests-add", "command", "abstract")
    if table.command and not table.junit:
        yield "junit", 'a command needs the files it writes: junit = ["junit.xml"]', ("junit",)
    if table.junit and not table.command:
        text = "belongs to a command; tests are run by pytest, which writes its own"
        yield "junit", text, ("command",)
    if table.command and table.shards > 1:
        yield "shards", "a command is one piece and cannot be split", ()
    for key, value in (("workers", table.workers), ("pytest-args", table.pytest_args)):
        if table.command and value:
            yield key, "is for pytest, and this suite is a command", ()
    yield from _useless_excludes(table)


def _useless_excludes(table: SuiteTable) -> Iterator[tuple[str, str, tuple[str, ...]]]:
    for number, entry in enumerate(table.exclude):
        where = f"exclude.{number}"
        if not entry:
            yield where, "an entry without an axis leaves nothing out", ()
        for axis, value in entry.items():
            values = table.matrix.get(axis)
            if values is None:
                yield where, f'there is no axis "{axis}"{near(axis, table.matrix)}', ("matrix",)
            elif value not in values:
                text = f'the axis "{axis}" has no value "{value}"{near(value, values)}'
                yield where, text, ("matrix",)


def cross_checks(
    data: Mapping[str, Any],
    tables: Mapping[str, Mapping[str, Any]],
    suites: Mapping[str, Suite],
    layers: Layers,
) -> Iterator[str]:
    """Names that nothing has. Reads the tables as configured, so that it finds what it can beside other problems.

    `tables` are the suites with what they inherit, `suites` those of them that could be built.
    """
    for kind in NAMED:
        for name in _table(data, kind):
            if not re.fullmatch(NAME, name):
                text = "a name has letters, digits, dots, dashes and underscores only, and begins with none of . and -"
                yield problem((kind, name), text, layers)
    machines = sorted({LOCAL, *_table(data, "machines")})
    groups = _table(data, "path-groups")
    for name, table in tables.items():
        built = [suite for suite in suites.values() if name in (suite.base, suite.name)]
        wanted = [suite.machine for suite in built] or [table.get("machine", LOCAL)]
        for machine in sorted({word for word in wanted if isinstance(word, str)}):
            if machine not in machines and "{" not in machine:
                text = f'there is no machine "{machine}"{near(machine, machines)}'
                yield problem(("suites", name, "machine"), text, layers)
        for key, what, known in (("path-groups", "group", groups), ("events", "event", EVENTS)):
            for word in _words(_table(table, "when").get(key)):
                if word not in known:
                    text = f'there is no {what} "{word}"{near(word, known)}'
                    yield problem(("suites", name, "when", key), text, layers)
    yield from _unknown_suites(data, tables, suites, layers)
    yield from _caches(data, tables, layers)
    yield from _alerts(data, layers)
    yield from _options(data, layers)
    for name, entry in _table(data, "notify").items():
        for key, text in contradictory(entry if isinstance(entry, dict) else {}):
            yield problem(("notify", name, key), text, layers)


def _unknown_suites(
    data: Mapping[str, Any],
    tables: Mapping[str, Mapping[str, Any]],
    suites: Mapping[str, Suite],
    layers: Layers,
) -> Iterator[str]:
    names = {name for suite in suites.values() for name in (suite.name, suite.base) if name}
    unsure = [
        name for name, table in tables.items() if name not in names and table.get("abstract") is not True
    ]
    known = sorted({*names, *unsure})
    named = [
        (("quarantine", str(number), "suite"), word)
        for number, entry in enumerate(_entries(data, "quarantine"))
        for word in [entry.get("suite")]
        if isinstance(word, str)
    ]
    for flag, table in _table(data, "flags").items():
        if isinstance(table, dict):
            named += [(("flags", flag, "suites"), word) for word in _words(table.get("suites"))]
    for where, name in named:
        # a suite that could not be built may have had a variant of this name
        if name not in known and not name.startswith(tuple(f"{suite}-" for suite in unsure)):
            abstract = f'"{name}" is abstract and never runs' if name in tables else ""
            yield problem(where, abstract or f'there is no suite "{name}"{near(name, known)}', layers)


def _caches(
    data: Mapping[str, Any], tables: Mapping[str, Mapping[str, Any]], layers: Layers
) -> Iterator[str]:
    """Suites name caches that there are, and there is a store for them."""
    caches, stores = _table(data, "caches"), _table(data, "stores")
    for name in stores:
        if name not in STORES:
            yield problem(("stores", name), f"nothing is kept there{near(name, STORES)}", layers)
    for name, table in tables.items():
        wanted = _words(table.get("caches"))
        for cache in wanted:
            if cache not in caches:
                text = f'there is no cache "{cache}"{near(cache, caches)}'
                yield problem(("suites", name, "caches"), text, layers)
        if wanted and not stores.get("caches"):
            text = 'there is no store for caches: [stores] caches = "s3://BUCKET/PREFIX"'
            yield problem(("suites", name, "caches"), text, layers)


def _options(data: Mapping[str, Any], layers: Layers) -> Iterator[str]:
    for name, entry in _table(data, "machines").items():
        for key, text in unread_options(entry if isinstance(entry, dict) else {}):
            yield problem(("machines", name, "options", key), text, layers)


def _alerts(data: Mapping[str, Any], layers: Layers) -> Iterator[str]:
    for number, entry in enumerate(_entries(data, "alerts")):
        if entry and ("above" in entry) == ("below" in entry):
            yield problem(("alerts", str(number)), "needs either above or below", layers)


def _table(data: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = data.get(key)
    return value if isinstance(value, dict) else {}


def _entries(data: Mapping[str, Any], key: str) -> list[Mapping[str, Any]]:
    """The tables of a list; in the place of what is none there is an empty one, so that the numbers stay."""
    value = data.get(key)
    return [entry if isinstance(entry, dict) else {} for entry in value] if isinstance(value, list) else []


def _words(value: object) -> list[str]:
    found = split_list(value)
    return [word for word in found if isinstance(word, str)] if isinstance(found, list) else []
