"""What of the history is read for slow-downs: the same kind of run, the branch's own past, and no more than is needed."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import pytest

from ci_runner.history.pace import find_slow_downs
from ci_runner.history.store import MemoryStore
from ci_runner.model import CaseResult, Event, Outcome, RunResult
from ci_runner.report.files import publish_records
from tests import report_samples as samples

TEST, OTHER = "tests/test_a.py::test_slow", "tests/test_a.py::test_steady"


class Counting(MemoryStore):
    """A store that counts the per-case files that were read."""

    def __init__(self) -> None:
        super().__init__()
        self.read = 0

    def get(self, key: str) -> bytes:
        self.read += key.startswith("cases/")
        return super().get(key)


def run(number: int, seconds: float, *, pull: int | None = None, **values: object) -> RunResult:
    """A run of the branch main, or of a pull request; later numbers are later runs."""
    event = Event(
        kind="push" if pull is None else "pull_request",
        commit=f"{number:040x}",
        branch="main" if pull is None else "topic",
        base_branch=None if pull is None else "main",
        pull_request=pull,
    )
    cases = [samples.case(TEST, seconds=seconds), samples.case(OTHER, seconds=0.2)]
    made = samples.run_result(samples.suite_result(cases, **values))
    return dataclasses.replace(
        made, run_id=f"20261123-{number:06}-0a0b", plan=dataclasses.replace(made.plan, event=event)
    )


def kept(runs: Iterator[RunResult]) -> Counting:
    store = Counting()
    for each in runs:
        publish_records(each, store)
    return store


def found(store: Counting, result: RunResult) -> list[tuple[str | None, str]]:
    return [
        (each.slow_down.test, each.commit.lstrip("0"))
        for each in find_slow_downs(store, result, "main", suites=8)
    ]


def test_the_run_in_which_it_began_is_named() -> None:
    store = kept(run(number, 3.0 if number >= 7 else 1.0) for number in range(1, 9))
    assert found(store, run(9, 3.0)) == [(TEST, "7")]


def test_a_pull_request_is_slow_by_its_own_runs() -> None:
    store = kept(run(number, 1.0) for number in range(1, 9))
    assert found(store, run(20, 3.0, pull=7)) == []
    assert store.read == 0  # one run says nothing, so nothing is read
    for number in (17, 18):
        publish_records(run(number, 3.0, pull=7), store)
        publish_records(run(number + 1000, 3.0, pull=8), store)
    assert found(store, run(20, 3.0, pull=7)) == [(TEST, "11")]  # 17
    assert found(store, run(20, 3.0, pull=9)) == []


def test_what_is_slow_on_the_branch_is_not_the_pull_requests_fault() -> None:
    store = kept(run(number, 3.0 if number >= 5 else 1.0) for number in range(1, 9))
    for number in (17, 18):
        publish_records(run(number, 3.0, pull=7), store)
    assert found(store, run(20, 3.0, pull=7)) == []


def test_other_machines_and_failed_or_flaky_tests_say_nothing() -> None:
    elsewhere = samples.lease()
    elsewhere = dataclasses.replace(elsewhere, machine=dataclasses.replace(elsewhere.machine, type="other"))
    store = kept(run(number, 1.0, leases=(elsewhere,)) for number in range(1, 9))
    for number in range(10, 12):
        publish_records(run(number, 3.0), store)
    assert found(store, run(20, 3.0)) == []
    assert store.read == 0
    now = run(9, 3.0)
    store = kept(run(number, 3.0 if number >= 7 else 1.0) for number in range(1, 9))
    for changed in ({"outcome": Outcome.FAILED}, {"flaky": True}):
        suite = now.suites[0]
        cases = tuple(dataclasses.replace(case, **changed) for case in suite.cases)
        assert found(store, dataclasses.replace(now, suites=(dataclasses.replace(suite, cases=cases),))) == []


def test_nothing_more_is_read_where_nothing_is_slower() -> None:
    store = kept(run(number, 1.0) for number in range(1, 16))
    assert found(store, run(20, 1.0)) == []
    assert store.read == 5
    short = run(21, 0.01)
    suite = short.suites[0]
    assert isinstance(suite.cases[0], CaseResult)
    quick = dataclasses.replace(suite, cases=suite.cases[:1])
    store.read = 0
    assert found(store, dataclasses.replace(short, suites=(quick,))) == []
    assert store.read == 0


def test_a_damaged_file_of_cases_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    store = kept(run(number, 3.0 if number >= 7 else 1.0) for number in range(1, 9))
    whole = MemoryStore.get
    monkeypatch.setattr(
        MemoryStore, "get", lambda self, key: b"broken" if key.startswith("cases/") else whole(self, key)
    )
    assert found(store, run(9, 3.0)) == []
