"""What a change is compared with, and what the comparison says."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import pytest

from ci_runner.checks.compare import Base, compare
from ci_runner.history.base import ancestors, base_branch_of, find_bases
from ci_runner.history.record import cases_bytes, record_key, record_of
from ci_runner.history.store import MemoryStore
from ci_runner.model import (
    CaseResult,
    Counts,
    Event,
    Outcome,
    Plan,
    RunResult,
    Selection,
    Shard,
    Suite,
    SuiteResult,
    Verdict,
)
from ci_runner.report.files import to_bytes

A, B, C = ("a" * 40, "b" * 40, "c" * 40)


def suite_result(
    outcomes: Mapping[str, Outcome],
    *,
    suite: str = "unit",
    shard: Shard | None = None,
    verdict: Verdict = Verdict.PASSED,
    exit_code: int = 0,
) -> SuiteResult:
    return SuiteResult(
        selection=Selection(suite=Suite(name=suite, title=suite), reason="", rule="", shard=shard),
        verdict=verdict,
        counts=Counts(tests=len(outcomes), missing=sum(o is Outcome.MISSING for o in outcomes.values())),
        cases=tuple(CaseResult(id=test, outcome=outcome) for test, outcome in outcomes.items()),
        exit_code=exit_code,
    )


def keep(
    store: MemoryStore,
    *suites: SuiteResult,
    commit: str,
    run_id: str,
    branch: str | None = "main",
    pull_request: int | None = None,
) -> None:
    event = Event(kind="push", commit=commit, branch=branch, pull_request=pull_request)
    result = RunResult(
        run_id=run_id,
        plan=Plan(event=event),
        suites=suites,
        verdict=Verdict.PASSED,
        counts=Counts(),
        started_at=1.0,
        ended_at=2.0,
        developer="ada",
    )
    for suite, record in zip(suites, record_of(result), strict=True):
        assert record.cases is not None
        store.put_new(record.cases, cases_bytes(suite))
        store.put_new(record_key(record, event), to_bytes(record))


def run_id(number: int) -> str:
    return f"20261101-0000{number:02}-{number:04x}"


GREEN = {"t::a": Outcome.PASSED, "t::b": Outcome.PASSED}


def test_the_nearest_ancestor_with_a_complete_run_is_the_base() -> None:
    store = MemoryStore()
    keep(store, suite_result({"t::a": Outcome.FAILED}), commit=C, run_id=run_id(1))
    keep(store, suite_result(GREEN), commit=B, run_id=run_id(2))
    lost = suite_result({"t::a": Outcome.MISSING}, verdict=Verdict.INCOMPLETE, exit_code=9)
    keep(store, lost, commit=A, run_id=run_id(3))
    found = find_bases(store, ["unit", "other"], [A, B, C], branch="main")
    assert set(found) == {"unit"}
    assert (found["unit"].commit, found["unit"].distance) == (B, 1)
    assert found["unit"].outcomes == {"t::a": "passed", "t::b": "passed"}


def test_a_commit_that_is_no_ancestor_a_pull_request_and_the_run_itself_are_no_base() -> None:
    store = MemoryStore()
    keep(store, suite_result(GREEN), commit=C, run_id=run_id(1))
    keep(store, suite_result(GREEN), commit=A, run_id=run_id(2), pull_request=7)
    keep(store, suite_result(GREEN), commit=A, run_id=run_id(3), branch="topic")
    keep(store, suite_result(GREEN), commit=A, run_id=run_id(4))
    assert find_bases(store, ["unit"], [A, B], branch="main", but=frozenset({run_id(4)})) == {}
    assert find_bases(store, ["unit"], [], branch="main") == {}


def test_shards_that_ran_in_different_jobs_are_one_base_and_a_lost_one_is_none() -> None:
    store = MemoryStore()
    for index, test in ((1, "t::a"), (2, "t::b")):
        part = suite_result({test: Outcome.PASSED}, shard=Shard(index=index, total=2))
        keep(store, part, commit=A, run_id=run_id(index))
    keep(
        store,
        suite_result({"t::a": Outcome.PASSED}, shard=Shard(index=1, total=2)),
        commit=B,
        run_id=run_id(3),
    )
    assert find_bases(store, ["unit"], [B], branch="main") == {}
    found = find_bases(store, ["unit"], [B, A], branch="main")["unit"]
    assert (found.commit, dict(found.outcomes or {})) == (A, {"t::a": "passed", "t::b": "passed"})


def test_a_re_run_replaces_what_it_ran_again() -> None:
    store = MemoryStore()
    keep(store, suite_result({"t::a": Outcome.FAILED}), commit=A, run_id=run_id(1))
    keep(store, suite_result({"t::a": Outcome.PASSED}), commit=A, run_id=run_id(2))
    assert find_bases(store, ["unit"], [A], branch="main")["unit"].outcomes == {"t::a": "passed"}


def base(outcomes: Mapping[str, str], flaky: Sequence[str] = ()) -> dict[str, Base]:
    return {
        "unit": Base(
            suite="unit", commit=A, run_id="r", timestamp="", outcomes=outcomes, flaky=frozenset(flaky)
        )
    }


def test_every_change_has_its_word() -> None:
    now = suite_result(
        {
            "new": Outcome.FAILED,
            "was-absent": Outcome.ERRORED,
            "was-missing": Outcome.FAILED,
            "still": Outcome.FAILED,
            "fixed": Outcome.PASSED,
            "skipped-now": Outcome.SKIPPED,
            "same": Outcome.PASSED,
            "fresh": Outcome.PASSED,
            "lost": Outcome.MISSING,
        },
        verdict=Verdict.FAILED,
        exit_code=1,
    )
    before = {"new": "passed", "was-missing": "missing", "still": "errored", "fixed": "failed"}
    before |= {"skipped-now": "failed", "same": "passed", "lost": "passed", "gone": "passed"}
    found = compare([now], base(before, flaky=["new"]))
    assert {change.test for change in found.new} == {"new", "was-absent", "was-missing"}
    assert [change.test for change in found.new if change.known_flaky] == ["new"]
    assert [change.test for change in found.still] == ["still"]
    assert [change.test for change in found.fixed] == ["fixed"]
    assert [change.test for change in found.added] == ["fresh"]
    assert found.removed == ()  # a test is missing, so what else did not run is not known to be gone
    assert found.counts("unit") == {"new": 3, "still": 1, "fixed": 1}


def test_removed_tests_need_a_whole_run_and_quarantined_failures_are_none() -> None:
    quarantined = dataclasses.replace(
        suite_result({"t::a": Outcome.PASSED}),
        cases=(
            CaseResult(id="t::a", outcome=Outcome.PASSED),
            CaseResult(id="q", outcome=Outcome.FAILED, quarantined=True),
        ),
    )
    found = compare([quarantined], base({"t::a": "passed", "gone": "passed", "q": "quarantined"}))
    assert [change.test for change in found.removed] == ["gone"]
    assert (found.new, found.added, found.without_base) == ((), (), ())


def test_no_base_is_said_and_not_guessed() -> None:
    found = compare([suite_result({"t::a": Outcome.FAILED})], {})
    assert (found.new, found.without_base) == ((), ("unit",))


@pytest.mark.parametrize(
    ("event", "first"),
    [
        (Event(kind="pull_request", pull_request=1, commit=A, base_commit=B, base_branch="main"), "merge"),
        (Event(kind="push", commit=A, base_commit=B, branch="main"), B),
        (Event(kind="schedule", commit=A, branch="main"), f"{A}^"),
    ],
)
def test_where_the_ancestors_begin(event: Event, first: str) -> None:
    asked: list[Sequence[str]] = []

    def git(words: Sequence[str]) -> bytes | None:
        asked.append(words)
        return b"merge\n" if words[0] == "merge-base" else f"{B}\n{C}\n".encode()

    assert ancestors(git, event, base_branch_of(event, "main")) == [B, C]
    assert asked[-1][3] == first


def test_without_git_only_a_named_base_is_known() -> None:
    def nothing(_words: Sequence[str]) -> bytes | None:
        return None

    pull = Event(kind="pull_request", pull_request=1, commit=A, base_commit=B)
    assert ancestors(nothing, pull, "main") == [B]
    assert ancestors(nothing, Event(kind="schedule", commit=A), "main") == []
    assert ancestors(nothing, Event(kind="local", commit=A), "main") == []
