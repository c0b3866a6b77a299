"""Issues for nightly failures: one each, quiet, closed by the rule, never against a person's word."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ci_runner import errors
from ci_runner.checks import tracking
from ci_runner.checks.tracking import (
    COMMENT_SECONDS,
    FLOOD,
    INFRASTRUCTURE,
    Known,
    Seen,
    Step,
    Tracked,
    decide,
    fingerprint,
    seen,
)
from ci_runner.model import Outcome, Problem, RunResult, SuiteResult, Verdict
from tests import report_samples as samples

DAY = 24 * 3600.0


def nightly(
    number: int, *failing: str, passing: tuple[str, ...] = (), commit: str = "", machine: str = "tpu"
) -> Seen:
    cases = [samples.case(test, Outcome.FAILED, message=f"broke at 0x{number:x}") for test in failing]
    cases += [samples.case(test) for test in passing]
    return seen(
        on(machine, samples.suite_result(cases), commit or f"commit{number}"),
        run=f"run{number}",
        at=number * DAY,
    )


def on(machine: str, suite: object, commit: str) -> RunResult:
    assert isinstance(suite, SuiteResult)
    chosen = dataclasses.replace(suite.selection.suite, machine=machine)
    suite = dataclasses.replace(suite, selection=dataclasses.replace(suite.selection, suite=chosen))
    result = samples.run_result(suite)
    event = dataclasses.replace(result.plan.event, commit=commit)
    return dataclasses.replace(result, plan=dataclasses.replace(result.plan, event=event))


class Issues:
    """What GitHub would hold after the steps were taken."""

    def __init__(self) -> None:
        self.known: dict[int, Known] = {}
        self.comments: list[tuple[int, str]] = []

    def after(self, run: Seen) -> list[str]:
        steps = decide(run, list(self.known.values()))
        for step in steps:
            self.take(step)
        return [step.do for step in steps]

    def take(self, step: Step) -> None:
        number = step.number or len(self.known) + 1
        closed = step.do == "close"
        self.known[number] = Known(number=number, open=not closed, tracked=step.tracked, closed_by_us=closed)
        if step.comment:
            self.comments.append((number, step.comment))

    def close_by_hand(self, number: int) -> None:
        self.known[number] = dataclasses.replace(self.known[number], open=False, closed_by_us=False)


def test_one_issue_a_failure_however_often_it_fails() -> None:
    issues = Issues()
    assert issues.after(nightly(1, "t")) == ["open"]
    assert issues.after(nightly(2, "t")) == ["update"]
    (issue,) = issues.known.values()
    tracked = issue.tracked
    assert (tracked.first_bad, tracked.last_bad, tracked.count) == ("commit1", "commit2", 2)
    assert tracked.runs == ("run2", "run1")


def test_the_same_run_again_changes_nothing() -> None:
    issues = Issues()
    issues.after(nightly(1, "t"))
    assert issues.after(nightly(1, "t")) == []


def test_it_is_said_at_most_once_a_day() -> None:
    issues = Issues()
    issues.after(nightly(1, "t"))
    issues.after(nightly(2, "t"))
    run = nightly(2, "t")
    for hours in range(1, 24):
        issues.after(dataclasses.replace(run, run=f"later{hours}", at=2 * DAY + hours * 3600))
    assert issues.comments == [(1, "again")]
    issues.after(dataclasses.replace(run, run="next day", at=2 * DAY + COMMENT_SECONDS))
    assert len(issues.comments) == 2


def test_it_is_closed_after_green_runs_on_every_platform_that_was_red() -> None:
    issues = Issues()
    issues.after(nightly(1, "t", machine="tpu"))
    issues.after(nightly(2, "t", machine="gpu"))
    for number in (3, 4, 5):
        assert issues.after(nightly(number, passing=("t",), machine="tpu")) == ["update"]
    assert issues.after(nightly(6, passing=("t",), machine="gpu")) == ["update"]
    assert issues.after(nightly(7, passing=("t",), machine="gpu")) == ["update"]
    assert issues.after(nightly(8, passing=("t",), machine="gpu")) == ["close"]
    assert not issues.known[1].open
    assert issues.after(nightly(9, passing=("t",), machine="gpu")) == []


def test_a_red_run_between_starts_the_count_again() -> None:
    issues = Issues()
    issues.after(nightly(1, "t"))
    issues.after(nightly(2, passing=("t",)))
    issues.after(nightly(3, passing=("t",)))
    issues.after(nightly(4, "t"))
    for number in (5, 6):
        assert issues.after(nightly(number, passing=("t",))) == ["update"]
    assert issues.after(nightly(7, passing=("t",))) == ["close"]


def test_a_test_that_did_not_run_is_not_green() -> None:
    issues = Issues()
    issues.after(nightly(1, "t"))
    assert issues.after(nightly(2, passing=("other",))) == []
    assert issues.known[1].open


def test_what_a_person_closed_stays_closed_until_it_was_green() -> None:
    issues = Issues()
    issues.after(nightly(1, "t"))
    issues.close_by_hand(1)
    assert issues.after(nightly(2, "t")) == []
    issues.known[1] = dataclasses.replace(
        issues.known[1], tracked=dataclasses.replace(issues.known[1].tracked, green={"tpu": 1})
    )
    assert issues.after(nightly(3, "t")) == ["reopen"]
    assert issues.known[1].tracked.first_bad == "commit3"


def test_what_the_rule_closed_is_opened_again_with_the_new_evidence() -> None:
    issues = Issues()
    issues.after(nightly(1, "t"))
    for number in (2, 3, 4):
        issues.after(nightly(number, passing=("t",)))
    assert not issues.known[1].open
    assert issues.after(nightly(5, "t")) == ["reopen"]
    assert (issues.known[1].open, issues.known[1].tracked.last_bad) == (True, "commit5")


def test_a_missing_machine_is_nobodys_test() -> None:
    lost = dataclasses.replace(
        samples.suite_result([]),
        verdict=Verdict.INCOMPLETE,
        exit_code=errors.NO_CAPACITY,
        problems=(Problem(kind="capacity", text="no v6e-1 in 3 zones\nfix: wait"),),
    )
    issues = Issues()
    assert issues.after(seen(on("tpu", lost, "c1"), run="r1", at=DAY)) == ["open"]
    tracked = issues.known[1].tracked
    assert (tracked.suite, tracked.test, tracked.message) == (
        INFRASTRUCTURE,
        "tpu: no capacity",
        "no v6e-1 in 3 zones",
    )
    for number in (2, 3):
        assert issues.after(nightly(number, "t")) in (["open", "update"], ["update", "update"])
    assert "close" in issues.after(nightly(4, "t"))


def test_a_flood_is_one_issue() -> None:
    issues = Issues()
    many = tuple(f"t{number}" for number in range(50))
    steps = decide(nightly(1, *many), [])
    assert [(step.do, step.tracked.fingerprint, len(step.others)) for step in steps] == [("open", FLOOD, 50)]
    issues.take(steps[0])
    assert issues.after(nightly(2, *many)) == ["update"]
    for number in (3, 4):
        issues.after(nightly(number, passing=many))
    assert issues.after(nightly(5, passing=many)) == ["close"]


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("took 1.2 s at 0x7f", "took 3.4 s at 0xff", True),
        ("first line\nsecond", "first line\nthird", True),
        ("expected a", "expected b", False),
    ],
)
def test_a_fingerprint_forgets_numbers_and_nothing_else(one: str, other: str, same: bool) -> None:
    assert (fingerprint("s", "t", one) == fingerprint("s", "t", other)) is same


@given(st.lists(st.tuples(st.booleans(), st.sampled_from(["tpu", "gpu"])), max_size=30))
def test_whatever_the_nights_bring_there_is_one_issue_and_it_ends_as_the_last_nights_say(
    nights: list[tuple[bool, str]],
) -> None:
    issues = Issues()
    for number, (red, machine) in enumerate(nights, start=1):
        run = (
            nightly(number, "t", machine=machine) if red else nightly(number, passing=("t",), machine=machine)
        )
        issues.after(run)
    assert len(issues.known) <= 1
    if nights and nights[-1][0]:
        assert issues.known[1].open
    for number in range(100, 104):
        for machine in ("tpu", "gpu"):
            issues.after(
                dataclasses.replace(
                    nightly(number, passing=("t",), machine=machine), run=f"{number}{machine}"
                )
            )
    assert all(not issue.open for issue in issues.known.values())


def test_a_tracked_failure_is_plain_data() -> None:
    from ci_runner import codec

    tracked = next(iter(nightly(1, "t").failing.values()))
    assert codec.build(Tracked, codec.plain(tracked)) == tracked
    assert tracking.GREEN_RUNS == 3
