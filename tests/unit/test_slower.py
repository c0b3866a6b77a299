"""Slow-downs: claimed where several runs say so, silent about noise, spikes and whatever is small."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ci_runner.checks.slower import SlowDown, parting, slow_down, slow_downs
from ci_runner.report.slow_downs import slow_down_line
from tests.hostile_text import active_in_markdown
from tests.report_samples import HOSTILE

BEFORE = [1.0, 1.02, 0.99, 1.01, 0.98, 1.0, 1.03, 1.0]


def noisy(source: Random, runs: int, level: float = 1.0) -> list[float]:
    return [level * source.gauss(1, 0.03) for _ in range(runs)]


@pytest.mark.parametrize("after", [3, 4, 8, 10])
def test_three_times_as_long_in_several_runs_is_told_with_the_run_it_began_in(after: int) -> None:
    found = slow_down("unit", "t", noisy(Random(1), after, 3.0) + BEFORE)
    assert found is not None
    assert (found.after, found.earlier) == (after, len(BEFORE))
    assert 2.9 < found.ratio.estimate < 3.1
    assert found.ratio.low > 2.8


@pytest.mark.parametrize(
    "seconds",
    [
        [],
        [3.0],
        [3.0, 3.0, *BEFORE],  # two runs are two busy machines
        [3.0, 1.0, 3.0, 3.0, *BEFORE],  # this and that
        [1.0, 3.0, 3.0, 3.0, *BEFORE],  # over by now
        [1.15, 1.16, 1.15, 1.14, *BEFORE],  # small
        [3.0, 3.1, 3.0, 3.0, 1.0, 1.0, 1.0, 1.0],  # too few before
        [value / 50 for value in (3.0, 3.1, 3.0, 3.0, *BEFORE)],  # three times nothing
        [3.0] * 11 + BEFORE,  # that is how long it takes
        [1.0] * 3 + [3.0] * 8,  # faster
    ],
)
def test_what_is_not_certain_is_not_told(seconds: list[float]) -> None:
    assert slow_down("unit", "t", seconds) is None


def test_a_single_slow_run_before_hides_nothing() -> None:
    assert slow_down("unit", "t", [3.0, 3.1, 3.0, 3.05, *BEFORE, 4.0, *BEFORE]) is not None


def test_in_a_pull_request_its_own_runs_are_the_slow_ones() -> None:
    assert slow_down("unit", "t", [3.0, 3.1, 3.0, *BEFORE], boundary=3) is not None
    assert slow_down("unit", "t", [3.0, 3.1, *BEFORE], boundary=2) is None
    assert slow_down("unit", "t", [3.0, 1.0, 3.0, *BEFORE], boundary=3) is None
    assert (
        slow_down("unit", "t", [3.0, 3.1, 3.0, 3.0, 3.1, *BEFORE], boundary=3) is None
    )  # the branch's own fault


def test_unchanged_histories_with_slow_nights_are_silent_in_the_main() -> None:
    """The histories of docs/explanation/performance.md, on which "1.2 times the run before" nearly always calls."""
    source = Random(1)
    calls = 0
    for _ in range(300):
        nights = [
            value * source.uniform(1.15, 1.60) if source.random() < 0.03 else value
            for value in noisy(source, 20)
        ]
        calls += slow_down("unit", "t", nights) is not None
    assert calls == 0


def test_many_tests_at_once_are_one_line_about_the_suite() -> None:
    slow = {f"t{number}": [2.0, 2.1, 2.0, *BEFORE] for number in range(5)}
    (whole,) = slow_downs("unit", slow)
    assert (whole.test, whole.tests) == (None, 5)
    assert whole.now == pytest.approx(10.0)
    some = slow_downs("unit", {**slow, **{f"u{number}": [1.0, 1.0, 1.0, *BEFORE] for number in range(5)}})
    assert [each.test for each in some] == ["t0", "t1", "t2", "t3", "t4"]


def test_the_one_that_costs_most_is_first() -> None:
    small, large = [0.3, 0.31, 0.3, *(value / 10 for value in BEFORE)], [2.0, 2.1, 2.0, *BEFORE]
    quiet = {str(number): [1.0] * 12 for number in range(3)}
    assert [each.test for each in slow_downs("unit", {"small": small, "large": large, **quiet})] == [
        "large",
        "small",
    ]


@given(st.lists(st.floats(0, 1e6), max_size=40), st.none() | st.integers(0, 50))
def test_no_history_is_an_error_and_every_claim_holds_what_it_says(
    seconds: list[float], boundary: int | None
) -> None:
    found = slow_down("unit", "t", seconds, boundary)
    if found is not None:
        assert found.after + found.earlier == len(seconds)
        assert found.now - found.before >= 0.1
        assert found.ratio.low >= 1.25
    assert parting(seconds) is None or 3 <= (parting(seconds) or 0) <= 10


@pytest.mark.parametrize("foreign", HOSTILE)
def test_names_are_only_names(foreign: str) -> None:
    found = slow_down(foreign, foreign, [3.0, 3.1, 3.0, *BEFORE])
    assert isinstance(found, SlowDown)
    assert active_in_markdown(f"**Slower** {slow_down_line(found, foreign)}\n") == []
    (whole,) = slow_downs(foreign, {str(number): [3.0, 3.1, 3.0, *BEFORE] for number in range(4)})
    assert active_in_markdown(f"**Slower** {slow_down_line(whole, '')}\n") == []
