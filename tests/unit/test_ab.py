"""Python against shell: which tests differ, and whether time and memory are equal, different or not yet known."""

from __future__ import annotations

import random
from collections.abc import Mapping

import pytest

from ci_runner.checks.ab import (
    Answer,
    ArmRun,
    Measure,
    arm_run,
    chance_of,
    compare,
    compare_outcomes,
    decide,
    key_of,
    render_table,
    runs_that_decide,
)
from ci_runner.checks.stats import Difference, Interval
from ci_runner.model import CaseResult, Outcome

PASSED, FAILED, SKIPPED = Outcome.PASSED, Outcome.FAILED, Outcome.SKIPPED


def arm(
    *values: Mapping[str, Outcome],
    seconds: float = 10.0,
    noise: float = 0.01,
    seed: int = 1,
    mb: float | None = 100,
) -> list[ArmRun]:
    source = random.Random(seed)
    return [
        ArmRun(
            outcomes=outcomes,
            duration_seconds=seconds * source.lognormvariate(0, noise),
            peak_memory_bytes=None if mb is None else int(mb * 1e6 * source.lognormvariate(0, noise)),
        )
        for outcomes in values
    ]


def runs(count: int, **more: float) -> list[ArmRun]:
    return arm(*[{"a::test": PASSED}] * count, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("python", "shell", "kind", "certain"),
    [
        ([PASSED] * 5, [PASSED] * 5, None, True),
        ([FAILED] * 5, [PASSED] * 5, "different", True),
        ([FAILED], [PASSED], "different", False),
        ([SKIPPED] * 6, [PASSED] * 6, "different", True),
        ([FAILED] * 10, [PASSED] * 9 + [FAILED], "different", True),
        ([PASSED, FAILED], [PASSED, PASSED], "flaky", True),
        ([PASSED, FAILED], [FAILED, PASSED], "flaky", True),
        ([], [PASSED] * 3, "only-shell", True),
        ([PASSED], [], "only-python", True),
    ],
)
def test_a_test_is_the_same_different_flaky_or_in_one_arm_only(
    python: list[Outcome], shell: list[Outcome], kind: str | None, certain: bool
) -> None:
    other = {"other::test": PASSED}
    ours = arm(*([{**other, "t": outcome} for outcome in python] or [other]))
    theirs = arm(*([{**other, "t": outcome} for outcome in shell] or [other]))
    found = compare_outcomes(ours, theirs)
    assert [(item.test, item.kind, item.certain) for item in found] == (
        [("t", kind, certain)] if kind else []
    )


def test_the_gravest_difference_comes_first() -> None:
    ours = arm(*[{"a": PASSED, "b": FAILED, "d": PASSED}] * 5, {"a": FAILED, "b": FAILED, "d": PASSED})
    theirs = arm(*[{"a": PASSED, "b": PASSED, "c": PASSED}] * 6)
    assert [item.kind for item in compare_outcomes(ours, theirs)] == [
        "different",
        "only-python",
        "only-shell",
        "flaky",
    ]


def test_chance_is_fishers() -> None:
    assert chance_of({FAILED: 5}, {PASSED: 5}) == pytest.approx(2 / 252)
    assert chance_of({FAILED: 1}, {PASSED: 1}) == pytest.approx(1.0)
    assert chance_of({PASSED: 3}, {PASSED: 3}) == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("ratio", "answer"),
    [
        ((0.95, 1.05), Answer.EQUAL),
        ((0.90, 1.10), Answer.EQUAL),
        ((0.89, 1.05), Answer.UNDECIDED),
        ((1.05, 1.20), Answer.UNDECIDED),
        ((1.11, 1.30), Answer.DIFFERENT),
        ((0.50, 0.89), Answer.DIFFERENT),
    ],
)
def test_the_whole_interval_decides(ratio: tuple[float, float], answer: Answer) -> None:
    assert decide(Interval(1.0, *ratio, 9), 0.10) is answer


def test_equal_arms_are_equal() -> None:
    report = compare(runs(10), runs(10, seed=2), suite="unit")
    assert (report.outcomes, report.time.answer, report.memory.answer) == (Answer.EQUAL,) * 3
    assert report.answer is Answer.EQUAL
    assert report.time.ratio is not None
    assert report.time.ratio.low < 1.0 < report.time.ratio.high
    assert report.time.floor is not None
    assert 0.0 < report.time.floor < 0.02
    assert report.time.runs_needed is None


def test_a_slower_arm_is_different_and_by_how_much() -> None:
    report = compare(runs(6, seconds=13.0), runs(6, seed=2))
    assert (report.time.answer, report.memory.answer) == (Answer.DIFFERENT, Answer.EQUAL)
    assert report.answer is Answer.DIFFERENT
    assert report.time.ratio is not None
    assert report.time.ratio.estimate == pytest.approx(1.3, rel=0.03)


def test_memory_has_the_wider_margin() -> None:
    report = compare(runs(10, seconds=11.2, mb=112), runs(10, seed=2))
    assert (report.time.answer, report.memory.answer) == (Answer.DIFFERENT, Answer.EQUAL)


def test_noise_is_not_enough_data_and_says_how_many_runs_would_do() -> None:
    report = compare(runs(3, noise=0.1), runs(3, noise=0.1, seed=2))
    assert (report.time.answer, report.answer) == (Answer.UNDECIDED, Answer.UNDECIDED)
    assert report.time.runs_needed is not None
    assert 3 < report.time.runs_needed < 200
    assert f"about {report.time.runs_needed} runs an arm" in report.time.text


def test_the_number_of_runs_it_asks_for_is_usually_enough() -> None:
    decided = 0
    for seed in range(40):
        first = compare(runs(5, noise=0.08, seed=seed), runs(5, noise=0.08, seed=seed + 100)).time
        needed = first.runs_needed or 5
        more = compare(
            runs(needed, noise=0.08, seed=seed + 200), runs(needed, noise=0.08, seed=seed + 300)
        ).time
        decided += more.answer is Answer.EQUAL
    assert decided >= 24


@pytest.mark.parametrize(
    ("ratio", "needed"),
    [
        (Interval(1.04, 0.98, 1.12, 5), 19),  # may be 1: as many as equal arms take
        (Interval(1.09, 1.02, 1.16, 5), 31),  # is not 1: the nearest that it can be
        (Interval(1.09, 1.00, 1.19, 19), 1483),  # that many did not decide: what was seen is believed
        (Interval(1.00, 0.89, 1.12, 40), 50),  # more than that did not decide: a quarter more
        (Interval(1.10, 1.00, 1.21, 30), None),  # on the limit
    ],
)
def test_the_runs_that_would_decide(ratio: Interval, needed: int | None) -> None:
    assert runs_that_decide(Difference(ratio, noise=0.1, freedom=30), 0.10) == needed


def test_where_no_number_of_runs_would_do_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ci_runner.checks.ab.runs_that_decide", lambda _found, _margin: None)
    time = compare(runs(3, noise=0.1), runs(3, noise=0.1, seed=2)).time
    assert (time.answer, time.runs_needed) == (Answer.UNDECIDED, None)
    assert "not even 100,000 runs" in time.text


@pytest.mark.parametrize(("count", "mb"), [(1, 100), (0, 100), (3, None)])
def test_what_was_not_measured_is_not_enough_data(count: int, mb: float | None) -> None:
    report = compare(runs(count, mb=mb), runs(count, mb=mb))  # type: ignore[arg-type]
    measure: Measure = report.memory
    assert (measure.answer, measure.ratio, measure.runs_needed) == (Answer.UNDECIDED, None, 2)
    assert ("no run has measured" in measure.text) is (count == 0 or mb is None)


def test_a_shell_runner_that_differs_from_itself_shows_a_machine_that_is_not_steady() -> None:
    report = compare(runs(10), runs(10, seed=2), again=runs(10, seed=3, seconds=14.0))
    assert report.time.answer is Answer.UNDECIDED
    assert "not steady" in report.time.text
    assert report.memory.answer is Answer.EQUAL
    assert compare(runs(10), runs(10, seed=2), again=runs(10, seed=3)).time.answer is Answer.EQUAL


def test_an_arm_without_results_is_not_equal() -> None:
    empty = [ArmRun(outcomes={}, duration_seconds=1.0)] * 3
    assert compare(empty, runs(3)).outcomes is Answer.UNDECIDED
    assert compare([], runs(3)).differences == ()


@pytest.mark.parametrize(
    ("case", "key"),
    [
        (CaseResult(id="t/test_a.py::test_x", outcome=PASSED), "t.test_a::test_x"),
        (
            CaseResult(id="t/test_a.py::TestY::test_x[a::b/c]", outcome=PASSED),
            "t.test_a.TestY::test_x[a::b/c]",
        ),
        (
            CaseResult(id="x", classname="t.test_a.TestY", name="test_x", outcome=PASSED),
            "t.test_a.TestY::test_x",
        ),
        (
            CaseResult(id="t.test_a::test_x", classname="t.test_a", name="test_x", outcome=PASSED),
            "t.test_a::test_x",
        ),
        (CaseResult(id="only an id", outcome=PASSED), "only an id"),
    ],
)
def test_node_ids_and_junit_names_are_the_same_test(case: CaseResult, key: str) -> None:
    assert key_of(case) == key
    assert arm_run([case], duration_seconds=1.0, peak_memory_bytes=None).outcomes == {key: PASSED}


def test_the_table_says_it_all_and_foreign_names_stay_on_their_line() -> None:
    ours = arm(*[{f"t{number}": PASSED for number in range(30)} | {"evil\n::error::\x1b[31m": PASSED}] * 5)
    theirs = arm(*[{f"t{number}": FAILED for number in range(30)}] * 5, seed=2)
    text = render_table(compare(ours, theirs, suite="docs_test"), limit=5)
    lines = text.splitlines()
    assert lines[0] == "docs_test: 5 runs by python, 5 by shell"
    assert "different: 30 different, 1 only-python" in lines[2]
    assert lines[3].startswith("time ")
    assert "equal: within ±10%" in lines[3]
    assert "equal: within ±15%" in lines[4]
    assert lines[5].split() == ["different", "t0", "python:", "5", "passed", "shell:", "5", "failed"]
    assert lines[-1] == "… and 26 more tests"
    assert not [line for line in lines if line.startswith("::") or "\x1b" in line]


def test_the_table_of_too_few_runs_says_what_is_missing() -> None:
    text = render_table(compare(arm({"t": PASSED}), arm({"t": FAILED}), suite="s"))
    assert "not enough data: 1 different; 5 runs an arm tell different from flaky" in text
    assert "not enough data: at least 2 measured runs an arm" in text
    assert "not enough data: an arm has no results" in render_table(compare([], []))
