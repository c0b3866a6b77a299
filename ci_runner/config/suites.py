"""Suites as configured become suites as they run: `extends` is followed, matrix axes are multiplied. Pure."""

from __future__ import annotations

import copy
import difflib
import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ci_runner.config.tables import SuiteTable, WhenTable
from ci_runner.model import Needs, Suite, When

ADDED = {"tests-add": "tests"}
NOT_INHERITED = ("abstract", "extends", "tests-add")
VARIANTS = 256
SUBSTITUTED = ("title", "tests", "command", "junit", "machine", "setup", "pytest_args", "env", "workers")


def resolve_extends(raw: Mapping[str, Any]) -> tuple[dict[str, dict[str, Any]], list[str]]:
    """Every suite's table with what it inherits, and what is wrong with who extends whom."""
    problems: list[str] = []
    resolved: dict[str, dict[str, Any]] = {}
    for name, table in raw.items():
        if not isinstance(table, dict):
            continue
        chain = _chain(name, raw, problems)
        if chain is None:
            continue
        whole: dict[str, Any] = {}
        for ancestor in reversed(chain):
            _lay_over(whole, raw[ancestor])
        for key in ("extends", "abstract"):
            if key in table:
                whole[key] = table[key]
        resolved[name] = whole
    return resolved, problems


def _chain(name: str, raw: Mapping[str, Any], problems: list[str]) -> list[str] | None:
    """The suite and all that it extends, nearest first; None if that leads nowhere or in a circle."""
    chain = [name]
    while True:
        table = raw[chain[-1]]
        parent = table.get("extends") if isinstance(table, dict) else None
        if not isinstance(parent, str):
            return chain
        if parent in chain:
            if chain[0] == min(chain[chain.index(parent) :]):  # told once, not by every suite of the circle
                circle = " → ".join([*chain[chain.index(parent) :], parent])
                problems.append(f"suites.{name}.extends: goes round in a circle: {circle}")
            return None
        if parent not in raw:
            if chain[-1] == name:
                problems.append(f'suites.{name}.extends: there is no suite "{parent}"{near(parent, raw)}')
            return None
        chain.append(parent)


def _lay_over(whole: dict[str, Any], table: Mapping[str, Any]) -> None:
    for key, value in table.items():
        if key in ADDED and isinstance(value, (list, tuple)):
            whole[ADDED[key]] = [*whole.get(ADDED[key], ()), *value]
        elif key == "when" and isinstance(value, dict) and isinstance(whole.get(key), dict):
            whole[key] = {**whole[key], **copy.deepcopy(value)}
        elif key == "env" and isinstance(value, dict) and isinstance(whole.get(key), dict):
            whole[key] = {**whole[key], **value}
        elif key not in NOT_INHERITED:
            whole[key] = copy.deepcopy(value)


def near(name: str, known: Mapping[str, Any] | Sequence[str]) -> str:
    """` (did you mean "unit"?)`, or nothing."""
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f' (did you mean "{close[0]}"?)' if close else ""


def build_suites(name: str, table: SuiteTable) -> Iterator[Suite]:
    """The suite, or one for each combination of its axes. Raises ValueError if there are too many."""
    if table.abstract:
        return
    if not table.matrix:
        yield _suite(name, table)
        return
    size = 1
    for values in table.matrix.values():
        size *= len(values)
    if size > VARIANTS:
        raise ValueError(f"the matrix has {size} combinations, more than {VARIANTS}")
    names = list(table.matrix)
    for values in itertools.product(*table.matrix.values()):
        axes = dict(zip(names, values, strict=True))
        if any(
            entry and all(axes.get(key) == value for key, value in entry.items()) for entry in table.exclude
        ):
            continue
        variant = "-".join([name, *(re.sub(r"[^A-Za-z0-9_.]+", "_", value) for value in values)])
        changes = {key: _substituted(getattr(table, key), axes) for key in SUBSTITUTED}
        yield _suite(variant, table.model_copy(update=changes), base=name, axes=axes)


def _substituted(value: Any, axes: Mapping[str, str]) -> Any:
    if isinstance(value, str):
        return re.sub(r"\{([A-Za-z0-9_-]+)\}", lambda match: axes.get(match[1], match[0]), value)
    if isinstance(value, tuple):
        return tuple(_substituted(item, axes) for item in value)
    if isinstance(value, dict):
        return {key: _substituted(item, axes) for key, item in value.items()}
    return value


def _suite(
    name: str, table: SuiteTable, *, base: str | None = None, axes: Mapping[str, str] | None = None
) -> Suite:
    needs = table.needs
    return Suite(
        name=name,
        title=table.title or name,
        tests=table.tests,
        command=table.command,
        junit=table.junit,
        machine=table.machine,
        tier=table.tier,
        risk=table.risk,
        phase=table.phase,
        timeout_seconds=table.timeout,
        retries=table.retries,
        setup=table.setup,
        setup_timeout_seconds=table.setup_timeout,
        pytest_args=table.pytest_args,
        workers=table.workers,
        env=dict(table.env),
        when=_when(table.when),
        needs=Needs(cpus=needs.cpus, memory_mb=needs.memory_mb, exclusive=needs.exclusive) if needs else None,
        shards=table.shards,
        exclusive=table.exclusive,
        allow_empty=table.allow_empty,
        base=base,
        axes=dict(axes or {}),
    )


def _when(table: WhenTable) -> When:
    return When(
        events=table.events,
        schedule=table.schedule,
        branches=table.branches,
        paths=table.paths,
        path_groups=table.path_groups,
        labels=table.labels,
        label_mode=table.label_mode,
        skip_labels=table.skip_labels,
        inputs=dict(table.inputs),
        drafts=table.drafts,
    )
