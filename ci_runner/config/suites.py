"""Suites as configured become suites as they run: `extends` is followed, matrix axes are multiplied. Pure."""

from __future__ import annotations

import copy
import itertools
import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

from ci_runner.config.tables import SuiteTable, WhenTable
from ci_runner.config.values import split_list
from ci_runner.config.words import near
from ci_runner.model import Needs, Suite, When

ADDED = "tests-add"
OWN = ("abstract", "extends")  # not inherited
MERGED = ("when", "env")
VARIANTS = 256
SUBSTITUTED = ("title", "tests", "command", "junit", "machine", "setup", "pytest-args", "env", "workers")
_PLACEHOLDER = re.compile(r"(?<!\$)\{([A-Za-z0-9_-]+)\}")  # ${name} is the shell's


def resolve_extends(
    raw: Mapping[str, Any],
) -> tuple[dict[str, dict[str, Any]], set[str], list[tuple[str, str]]]:
    """Every suite's table with what it inherits; the suites whose parents are not there; what is wrong, by suite.

    A suite whose parents are not there stands for itself, so that its other problems can be told too.
    """
    problems: list[tuple[str, str]] = []
    resolved: dict[str, dict[str, Any]] = {}
    orphans: set[str] = set()
    for name, table in raw.items():
        if not isinstance(table, dict):
            continue
        chain = _chain(name, raw, problems)
        if chain is None:
            orphans.add(name)
        whole: dict[str, Any] = {}
        for ancestor in reversed(chain or [name]):
            _lay_over(whole, raw[ancestor])
        whole.update({key: table[key] for key in (*OWN, ADDED) if key in table})
        resolved[name] = whole
    return resolved, orphans, problems


def _chain(name: str, raw: Mapping[str, Any], problems: list[tuple[str, str]]) -> list[str] | None:
    """The suite and all that it extends, nearest first; None if that leads nowhere or in a circle."""
    chain = [name]
    while isinstance(parent := raw[chain[-1]].get("extends"), str):
        if parent in chain:
            circle = chain[chain.index(parent) :]
            if name == min(circle):  # told once, not by every suite of the circle
                way = " → ".join([*circle, parent])
                problems.append((name, f"goes round in a circle: {way}"))
            return None
        if not isinstance(raw.get(parent), dict):
            if chain[-1] == name and parent not in raw:
                problems.append((name, f'there is no suite "{parent}"{near(parent, raw)}'))
            return None
        chain.append(parent)
    return chain


def _lay_over(whole: dict[str, Any], table: Mapping[str, Any]) -> None:
    for key, value in table.items():
        if key in MERGED and isinstance(value, dict) and isinstance(whole.get(key), dict):
            whole[key] = {**whole[key], **copy.deepcopy(value)}
        elif key not in (*OWN, ADDED):
            whole[key] = copy.deepcopy(value)
    added = split_list(table.get(ADDED))
    if isinstance(added, list):
        before = split_list(whole.get("tests", []))
        whole["tests"] = [*(before if isinstance(before, list) else []), *added]


def build_suites(name: str, table: SuiteTable) -> Iterator[Suite]:
    """The suite, or one for each combination of its axes. Raises ValueError if that are too many or none,
    ValidationError if a value of an axis does not fit where it is put.
    """
    if table.abstract:
        return
    if not table.matrix:
        yield _suite(name, table)
        return
    size = math.prod(len(values) for values in table.matrix.values())
    if size > VARIANTS:
        raise ValueError(f"the matrix has {size} combinations, more than {VARIANTS}")
    plain = table.model_dump(by_alias=True, exclude_unset=True)
    made = 0
    for values in itertools.product(*table.matrix.values()):
        axes = dict(zip(table.matrix, values, strict=True))
        if any(entry and entry.items() <= axes.items() for entry in table.exclude):
            continue
        made += 1
        variant = "-".join([name, *(re.sub(r"[^A-Za-z0-9_.]+", "_", value) for value in values)])
        changes = {key: _substituted(plain[key], axes) for key in SUBSTITUTED if key in plain}
        yield _suite(variant, SuiteTable.model_validate({**plain, **changes}), base=name, axes=axes)
    if not made:
        raise ValueError("exclude leaves no combination of the matrix, so the suite would never run")


def _substituted(value: Any, axes: Mapping[str, str]) -> Any:
    if isinstance(value, str):
        return _PLACEHOLDER.sub(lambda match: axes.get(match[1], match[0]), value)
    if isinstance(value, (tuple, list)):
        return [_substituted(item, axes) for item in value]
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
        secrets=table.secrets,
        caches=table.caches,
        when=_when(table.when),
        needs=Needs(cpus=needs.cpus, memory_mb=needs.memory_mb, exclusive=needs.exclusive) if needs else None,
        shards=table.shards,
        exclusive=table.exclusive,
        allow_empty=table.allow_empty,
        coverage=table.coverage,
        coverage_files=table.coverage_files,
        coverage_minimum=table.coverage_minimum,
        coverage_minimum_changed=table.coverage_minimum_changed,
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
