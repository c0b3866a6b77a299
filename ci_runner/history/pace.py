"""How long tests took in earlier runs on the same kind of machine: no more is read than a slow-down could need."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ci_runner.checks.slower import LEAST_AFTER, LEAST_BEFORE, MOST_AFTER, SECONDS, SlowDown, slow_downs
from ci_runner.history.base import COMPLETE
from ci_runner.history.query import load_cases, load_records
from ci_runner.history.record import Record, record_of
from ci_runner.model import Outcome

if TYPE_CHECKING:
    from ci_runner.history.store import Store
    from ci_runner.model import RunResult

EARLIER = 16  # runs that are looked back on
LOOKED_AT = 60  # records of a suite, newest first: shards and pull requests are among them
MOST_TESTS = 100  # of a suite: the longest
MOST_CASES = (
    20_000  # in one run; to read larger ones so many times takes longer than the tests that are slower
)


@dataclass(frozen=True, slots=True)
class Kind:
    """Runs that can be compared with each other."""

    suite: str
    platform: str
    instance_type: str
    runner: str | None

    @classmethod
    def of(cls, record: Record) -> Kind:
        """The kind of run that a record is of."""
        return cls(record.test_suite, record.platform, record.instance_type, record.runner)


@dataclass(frozen=True, slots=True)
class Since:
    """A slow-down, and the commit of the first run that had it."""

    slow_down: SlowDown
    commit: str


def find_slow_downs(store: Store, result: RunResult, branch: str, *, suites: int) -> list[Since]:
    """The slow-downs of this run against earlier ones of the branch, for the first suites of it.

    In a pull request the earlier runs of it are slow as well, and those of the branch are not. Raises what the store raises.
    """
    found: list[Since] = []
    for kind, seconds in list(_now(result).items())[:suites]:
        if seconds:
            found += _of_kind(store, kind, seconds, result, branch)
    return found


def _now(result: RunResult) -> dict[Kind, dict[str, float]]:
    """The seconds of the longest tests that passed, by kind of run; shards of a suite are one."""
    found: dict[Kind, dict[str, float]] = {}
    for suite, record in zip(result.suites, record_of(result), strict=True):
        if sum(record.results.values()) <= MOST_CASES and record.verdict in COMPLETE:
            mine = found.setdefault(Kind.of(record), {})
            mine.update(
                (case.id, case.duration_seconds)
                for case in suite.cases
                if case.outcome is Outcome.PASSED and not case.flaky and case.duration_seconds > SECONDS
            )
    return {
        kind: dict(sorted(seconds.items(), key=lambda item: -item[1])[:MOST_TESTS])
        for kind, seconds in found.items()
    }


def _of_kind(
    store: Store, kind: Kind, now: Mapping[str, float], result: RunResult, branch: str
) -> Iterable[Since]:
    event = result.plan.event
    own: dict[str, list[Record]] = {}  # earlier runs of the same pull request
    past: dict[str, list[Record]] = {}  # runs of the branch; both newest first
    for stored in load_records(store, suite=kind.suite, limit=LOOKED_AT):
        record = stored.record
        if Kind.of(record) != kind or record.run_id in result.run_id.split() or not _is_whole(record):
            continue
        if record.pull_request is None and record.branch == branch:
            past.setdefault(record.run_id, []).append(record)
        elif record.pull_request is not None and record.pull_request == event.pull_request:
            own.setdefault(record.run_id, []).append(record)
    is_change = event.pull_request is not None or event.branch != branch
    recent = list(own.values())[: MOST_AFTER - 1] if is_change else []
    before = list(past.values())[:EARLIER]
    if (is_change and len(recent) + 1 < LEAST_AFTER) or len(before) < LEAST_BEFORE + (
        0 if is_change else LEAST_AFTER - 1
    ):
        return []
    runs = [*recent, *before]
    boundary = len(recent) + 1 if is_change else None
    return [
        Since(each, _commit(runs, each.after, event.commit))
        for each in slow_downs(kind.suite, _series(store, now, runs), boundary=boundary)
    ]


def _is_whole(record: Record) -> bool:
    return record.verdict in COMPLETE and sum(record.results.values()) <= MOST_CASES


def _commit(runs: Sequence[Sequence[Record]], after: int, own: str | None) -> str:
    """The commit of the oldest of the slow runs; the first of them is this one."""
    return (runs[after - 2][0].commit if after > 1 else own) or ""


def _series(
    store: Store, now: Mapping[str, float], runs: Sequence[Sequence[Record]]
) -> dict[str, list[float]]:
    """The seconds of each test, now first; only tests that passed in every one of the runs.

    The oldest runs are read first: a test that was never quicker there is out, and if none is left, so are the other runs.
    """
    kept = dict(now)
    seconds: dict[int, dict[str, float]] = {}
    for number in reversed(range(len(runs))):
        seconds[number] = there = _passed(store, runs[number], kept)
        kept = {test: value for test, value in kept.items() if test in there}
        if len(seconds) == LEAST_BEFORE:
            kept = {
                test: value
                for test, value in kept.items()
                if value - min(found[test] for found in seconds.values()) > SECONDS / 2
            }
        if not kept:
            return {}
    return {test: [value, *(seconds[at][test] for at in range(len(runs)))] for test, value in kept.items()}


def _passed(store: Store, records: Sequence[Record], wanted: Mapping[str, float]) -> dict[str, float]:
    found = {}
    for record in records:
        for case in load_cases(store, record):
            value = case.get("duration_seconds")
            is_number = isinstance(value, (int, float)) and not isinstance(value, bool) and value >= 0
            if case["id"] in wanted and case.get("outcome") == "passed" and is_number:
                found[case["id"]] = float(value or 0.0)
    return found
