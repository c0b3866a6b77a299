"""What a plan takes from the history: flags that were turned off there, and how long each test takes."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING

from ci_runner.errors import CiRunnerError
from ci_runner.plan.flags import Overrides, apply_flags
from ci_runner.plan.shard import shard_selections

if TYPE_CHECKING:
    from collections.abc import Callable

    from ci_runner.config.settings import Settings
    from ci_runner.history.store import Store
    from ci_runner.model import Plan


def with_runners(plan: Plan, settings: Settings, *, action_input: str | None) -> Plan:
    """The plan with each selection's runner decided; overrides in the store outrank the configuration."""
    return apply_flags(plan, settings, overrides=overrides_of(settings), action_input=action_input)


def overrides_of(settings: Settings) -> Overrides:
    """The overrides in force; suites under no flag of the configuration have the built-in one."""
    from ci_runner.history.overrides import load_flags

    try:
        store = _store(settings)
    except CiRunnerError as error:
        return Overrides(unreachable=str(error))
    return load_flags(store).overrides


def with_shards(plan: Plan, settings: Settings) -> Plan:
    """The plan with suites split by the durations in the history; by count, and a note, if it cannot be read."""
    if all(settings.suites.get(item.suite.name, item.suite).shards <= 1 for item in plan.selected):
        return plan
    try:
        return shard_selections(plan, settings, _durations(_store(settings)))
    except (CiRunnerError, OSError) as error:
        why = (error.strerror if isinstance(error, OSError) else None) or str(error)
        plan = shard_selections(plan, settings, lambda _suite: {})
        note = f"the history could not be read ({why}): suites are split by count of tests"
        return dataclasses.replace(plan, notes=(*plan.notes, note))


def _durations(store: Store) -> Callable[[str], Mapping[str, float]]:
    from statistics import median

    from ci_runner.history.query import case_durations

    @cache
    def of_suite(suite: str) -> Mapping[str, float]:
        return {test: median(seconds) for test, seconds in case_durations(store, suite).items() if seconds}

    return of_suite


def _store(settings: Settings) -> Store:
    from ci_runner.history.store import open_store

    return open_store(settings.stores.get("history"), settings.root)
