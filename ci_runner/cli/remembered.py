"""What a plan takes from the history: flags that were turned off there, and how long each test takes."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Mapping
from concurrent.futures import Future
from functools import cache
from typing import TYPE_CHECKING, TypeVar

from ci_runner.errors import CiRunnerError
from ci_runner.plan.flags import Overrides, apply_flags
from ci_runner.plan.shard import shard_selections

if TYPE_CHECKING:
    from collections.abc import Callable

    from ci_runner.config.settings import Settings
    from ci_runner.history.store import Store
    from ci_runner.model import Plan

T = TypeVar("T")
ANSWER_SECONDS = 20.0  # longer than this no plan waits for what GitHub remembers
UNKEPT = "CI_RUNNER_UNKEPT"  # an action's folder for records, which ends with the job and remembers nothing


def with_runners(
    plan: Plan, settings: Settings, environ: Mapping[str, str], *, action_input: str | None = None
) -> Plan:
    """The plan with each selection's runner decided; overrides in the store outrank the configuration."""
    if not plan.selected:
        return plan
    overrides = overrides_of(settings, environ)
    return apply_flags(plan, settings, overrides=overrides, action_input=action_input)


def overrides_of(settings: Settings, environ: Mapping[str, str]) -> Overrides:
    """The overrides in force; suites under no flag of the configuration have the built-in one.

    They are where `kpi --apply` writes them. A branch is asked once, without GitHub's library.
    """
    from ci_runner.history.flags_asked import ask_flags
    from ci_runner.history.overrides import load_flags
    from ci_runner.history.store import open_store, usual_location

    unkept = environ.get(UNKEPT) and environ.get(UNKEPT) == settings.stores.get("history")
    location = usual_location({} if unkept else settings.stores, environ)
    scheme, _, branch = (location or "").partition("://")
    try:
        if scheme == "branch":
            return _within(ANSWER_SECONDS, lambda: ask_flags(environ, branch)).overrides
        return load_flags(open_store(location, settings.root)).overrides
    except (CiRunnerError, OSError) as error:
        return Overrides(unreachable=str(error))


def with_shards(plan: Plan, settings: Settings, environ: Mapping[str, str]) -> Plan:
    """The plan with suites split by the durations in the history; by count, and a note, if it cannot be read.

    In a job that has a token and no store in its configuration, the history is where `report` keeps it: on a branch.
    """
    from ci_runner.history.store import open_store, usual_location

    if all(settings.suites.get(item.suite.name, item.suite).shards <= 1 for item in plan.selected):
        return plan
    location = usual_location(settings.stores, environ)

    def by_time() -> Plan:
        return shard_selections(plan, settings, _durations(open_store(location, settings.root)))

    try:
        on_branch = location is not None and location.startswith("branch://")
        return _within(ANSWER_SECONDS, by_time) if on_branch else by_time()
    except (CiRunnerError, OSError) as error:
        why = (error.strerror if isinstance(error, OSError) else None) or str(error)
        plan = shard_selections(plan, settings, lambda _suite: {})
        note = f"the history could not be read ({why}): suites are split by count of tests"
        return dataclasses.replace(plan, notes=(*plan.notes, note))


def _within(seconds: float, act: Callable[[], T]) -> T:
    """What `act` returns or raises; TimeoutError if it takes longer. It is left behind then, and ends with the process."""
    answer: Future[T] = Future()

    def ask() -> None:
        try:
            answer.set_result(act())
        except BaseException as error:  # noqa: BLE001 - raised again below, in the thread that asked
            answer.set_exception(error)

    threading.Thread(target=ask, name="history", daemon=True).start()
    try:
        return answer.result(timeout=seconds)
    except TimeoutError:
        if answer.done():
            raise
        raise TimeoutError(f"no answer within {seconds:g} s") from None


def _durations(store: Store) -> Callable[[str], Mapping[str, float]]:
    from statistics import median

    from ci_runner.history.query import case_durations

    @cache
    def of_suite(suite: str) -> Mapping[str, float]:
        return {test: median(seconds) for test, seconds in case_durations(store, suite).items() if seconds}

    return of_suite
