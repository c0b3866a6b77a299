"""What attempts come to together: tries, resumed runs, fallbacks, quarantine, and that red never turns green by more red."""

from __future__ import annotations

import dataclasses
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ci_runner import errors
from ci_runner.config.settings import Quarantine
from ci_runner.model import (
    Attempt,
    CaseResult,
    Counts,
    Outcome,
    Problem,
    Runner,
    Selection,
    Suite,
    Verdict,
)
from ci_runner.results.attempt import Collected
from ci_runner.results.verdict import Judged, count, exit_code_of, judge, merge, verdict_of

TODAY = date(2026, 11, 22)
P, F, E, S, M = Outcome.PASSED, Outcome.FAILED, Outcome.ERRORED, Outcome.SKIPPED, Outcome.MISSING
Pair = tuple[Attempt, Collected]


def tried(
    number: int,
    outcomes: dict[str, Outcome],
    *,
    kind: str = "suite",
    expected: tuple[str, ...] | None = None,
    problems: tuple[str, ...] = (),
) -> Pair:
    """One attempt and what it found."""
    attempt = Attempt(
        id=f"u.{number}",
        selection="u",
        suite="u",
        number=number,
        runner=Runner.PYTHON,
        lease_id="l",
        folder=f"attempts/u.{number}",
        log=f"logs/u.{number}.log",
        kind=kind,
    )
    cases = tuple(
        CaseResult(id=f"t.py::{name}", name=name, classname="t", outcome=outcome, attempt=attempt.id)
        for name, outcome in outcomes.items()
    )
    found = tuple(Problem(kind=problem, text=problem) for problem in problems)
    names = None if expected is None else tuple(f"t.py::{name}" for name in expected)
    return attempt, Collected(cases=cases, problems=found, expected=names)


def judged(*tries: Pair, quarantine: tuple[Quarantine, ...] = (), allow_empty: bool = False) -> Judged:
    """The judgement over them."""
    suite = Suite(name="u", title="U", allow_empty=allow_empty)
    return judge(Selection(suite=suite, reason="r", rule="r"), tries, quarantine=quarantine, today=TODAY)


def test_a_retry_that_passes_makes_a_test_flaky_and_keeps_what_went_wrong() -> None:
    result = judged(tried(1, {"a": P, "b": F}), tried(2, {"b": P}, kind="retry"))
    assert result.counts == Counts(tests=2, passed=1, flaky=1)
    assert (result.verdict, result.exit_code) == (Verdict.PASSED, errors.OK)
    case = result.cases[1]
    assert (case.id, case.outcome, case.flaky, case.attempt) == ("t.py::b", P, True, "u.2")
    assert [(item.outcome, item.attempt) for item in case.earlier] == [(F, "u.1")]


def test_a_retry_that_fails_again_is_failed_with_its_history() -> None:
    result = judged(tried(1, {"b": E}), tried(2, {"b": F}, kind="retry"), tried(3, {"b": F}, kind="retry"))
    assert result.counts == Counts(tests=1, failed=1)
    assert result.exit_code == errors.TESTS_FAILED
    assert [item.attempt for item in result.cases[0].earlier] == ["u.1", "u.2"]
    assert not result.cases[0].flaky


def test_a_test_that_was_flaky_and_fails_later_is_failed() -> None:
    flaky_then = judged(tried(1, {"a": F}), tried(2, {"a": P}), tried(3, {"a": F}))
    assert flaky_then.counts == Counts(tests=1, failed=1)


def test_a_retry_that_never_ran_the_test_leaves_it_red() -> None:
    result = judged(tried(1, {"b": F}), tried(2, {"b": M}, kind="retry"))
    assert result.counts == Counts(tests=1, failed=1)


def test_a_resumed_run_heals_the_end_of_the_one_before() -> None:
    first = tried(1, {"a": P, "b": M}, expected=("a", "b"), problems=("preempted", "missing-tests"))
    result = judged(first, tried(2, {"b": P}, kind="resume", expected=("b",)))
    assert result.verdict is Verdict.PASSED
    assert result.counts == Counts(tests=2, passed=2)
    assert [(problem.kind, problem.fatal) for problem in result.problems] == [
        ("preempted", False),
        ("missing-tests", False),
    ]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (
            tried(1, {"a": P, "b": M}, expected=("a", "b"), problems=("preempted",)),
            tried(2, {}, kind="resume"),
        ),
        (tried(1, {"a": P}, problems=("preempted",)), tried(2, {"b": P}, kind="resume")),
        (tried(1, {"a": P}, expected=("a",), problems=("timeout",)), tried(2, {"a": P}, kind="retry")),
        (
            tried(1, {"a": P}, expected=("a",), problems=("unknown-test",)),
            tried(2, {"a": P}, kind="resume", expected=("a",)),
        ),
    ],
    ids=["still missing", "nobody knows what was owed", "a retry runs a part", "no problem of an end"],
)
def test_what_later_attempts_do_not_make_up_for_stays_incomplete(first: Pair, second: Pair) -> None:
    result = judged(first, second)
    assert (result.verdict, result.exit_code) == (Verdict.INCOMPLETE, errors.INCOMPLETE)


def test_the_shell_runner_that_took_over_decides_about_everything() -> None:
    broken = tried(1, {"a": F, "gone": P}, problems=("runner",))
    result = judged(broken, tried(2, {"a": P, "b": P}, kind="fallback"))
    assert result.verdict is Verdict.PASSED
    assert [(case.id, case.flaky) for case in result.cases] == [("t.py::a", False), ("t.py::b", False)]


def test_the_shell_runner_owes_what_was_expected() -> None:
    broken = tried(1, {"a": P, "b": M, "c": M}, expected=("a", "b", "c"), problems=("runner",))
    result = judged(broken, tried(2, {"a": P, "b": P}, kind="fallback"))
    assert result.verdict is Verdict.INCOMPLETE
    assert result.counts == Counts(tests=3, passed=2, missing=1)
    assert [case.id for case in result.cases if case.outcome is M] == ["t.py::c"]


def test_names_of_junit_and_node_ids_are_one_test() -> None:
    attempt, found = tried(2, {}, kind="retry")
    written = CaseResult(id="t::b[x]", classname="t", name="b[x]", outcome=P)
    result = merge([tried(1, {"b[x]": F}), (attempt, dataclasses.replace(found, cases=(written,)))])
    assert [(case.id, case.flaky) for case in result] == [("t.py::b[x]", True)]


@pytest.mark.parametrize("pair", [("a/b.py::t", "a.py::b::t"), ("m::t[1]", "m::t[1] [2]")])
def test_two_tests_of_one_attempt_stay_two_whatever_junit_calls_them(pair: tuple[str, str]) -> None:
    attempt, found = tried(1, {})
    cases = tuple(
        CaseResult(id=name, classname="m", name="t[1]", outcome=outcome)
        for name, outcome in zip(pair, (F, P), strict=True)
    )
    merged = merge([(attempt, dataclasses.replace(found, cases=cases))])
    assert [(case.id, case.outcome) for case in merged] == list(zip(pair, (F, P), strict=True))


# -- quarantine


def entry(test: str, expires: str = "2026-12-01", suite: str | None = None) -> Quarantine:
    """An entry of the configuration."""
    return Quarantine(test=test, reason="r", owner="ada", expires=expires, suite=suite)


@pytest.mark.parametrize(
    ("quarantine", "holds"),
    [
        (entry("t.py::b[1]"), True),
        (entry("t.py::*"), True),
        (entry("t.py::b[?]"), True),
        (entry("t.py::b[1]", suite="u"), True),
        (entry("t.py::b[1]", suite="other"), False),
        (entry("t.py::b"), False),
        (entry("t.py::b[1]", expires="2026-11-22"), False),
    ],
)
def test_quarantine_covers_what_it_names_until_its_date(quarantine: Quarantine, holds: bool) -> None:
    result = judged(tried(1, {"a": P, "b[1]": F}), quarantine=(quarantine,))
    assert result.counts == Counts(tests=2, passed=1, quarantined=int(holds), failed=int(not holds))
    assert result.verdict is (Verdict.PASSED if holds else Verdict.FAILED)
    expired = quarantine.expires == "2026-11-22"
    assert [(p.kind, p.fatal) for p in result.problems] == [("quarantine-expired", False)] * expired


def test_quarantine_does_not_excuse_a_test_that_never_ran() -> None:
    assert judged(tried(1, {"a": M}), quarantine=(entry("*"),)).verdict is Verdict.INCOMPLETE


# -- the one word


def test_nothing_run_is_incomplete_and_no_tests_are_empty_unless_allowed() -> None:
    assert judged().verdict is Verdict.INCOMPLETE
    assert [problem.kind for problem in judged().problems] == ["never-started"]
    assert (judged(tried(1, {})).verdict, judged(tried(1, {})).exit_code) == (
        Verdict.EMPTY,
        errors.INCOMPLETE,
    )
    assert judged(tried(1, {}), allow_empty=True).verdict is Verdict.PASSED


def test_an_attempt_that_only_collects_counts_for_nothing() -> None:
    assert judged(tried(1, {"a": P}, kind="collect")).verdict is Verdict.INCOMPLETE


def test_incomplete_outranks_failed() -> None:
    assert judged(tried(1, {"a": F, "b": M})).verdict is Verdict.INCOMPLETE
    assert judged(tried(1, {"a": F}, problems=("killed",))).verdict is Verdict.INCOMPLETE


outcomes = st.dictionaries(st.sampled_from("abcdef"), st.sampled_from(list(Outcome)), max_size=6)
attempts = st.lists(
    st.tuples(outcomes, st.sampled_from(["suite", "retry", "resume"])), min_size=1, max_size=4
)
GREEN = (Verdict.PASSED,)


def _pairs(drawn: list[tuple[dict[str, Outcome], str]]) -> list[Pair]:
    return [tried(number, found, kind=kind) for number, (found, kind) in enumerate(drawn, start=1)]


@given(attempts, st.sampled_from("abcdefg"), st.sampled_from([F, E, M]))
def test_more_red_at_the_end_is_never_greener(
    drawn: list[tuple[dict[str, Outcome], str]], name: str, red: Outcome
) -> None:
    pairs = _pairs(drawn)
    before = judged(*pairs)
    last = dict(drawn[-1][0])
    last[name] = red
    after = judged(*pairs[:-1], tried(len(drawn), last, kind=drawn[-1][1]))
    assert before.verdict in GREEN or after.verdict not in GREEN
    assert red is M or after.verdict not in GREEN


@given(
    st.builds(
        Counts, **dict.fromkeys(("tests", "passed", "failed", "errored", "missing"), st.integers(0, 3))
    ),
    st.sampled_from(["failed", "errored", "missing"]),
)
def test_more_red_numbers_are_never_greener(counts: Counts, name: str) -> None:
    more = dataclasses.replace(counts, tests=counts.tests + 1, **{name: getattr(counts, name) + 1})
    rank = (Verdict.PASSED, Verdict.EMPTY, Verdict.FAILED, Verdict.INCOMPLETE)
    assert rank.index(verdict_of(more, ())) >= rank.index(verdict_of(counts, ()))
    assert verdict_of(more, (Problem(kind="k", text="t"),)) is Verdict.INCOMPLETE
    assert exit_code_of(verdict_of(more, ())) != errors.OK


@given(attempts)
def test_merging_what_was_merged_changes_nothing(drawn: list[tuple[dict[str, Outcome], str]]) -> None:
    once = merge(_pairs(drawn))
    attempt, found = tried(1, {})
    again = merge([(attempt, dataclasses.replace(found, cases=tuple(once)))])
    assert again == once
    assert count(once).tests == len({case.id for case in once})
