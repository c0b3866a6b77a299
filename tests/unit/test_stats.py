"""Intervals and run numbers, against scipy where it has the same, and against simulation where it has not."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ci_runner.checks.stats import (
    beta_cdf,
    compare_logs,
    compare_strata,
    mean,
    noise_floor,
    rate,
    runs_for_equivalence,
    runs_that_settle,
    runs_without_event,
    t_quantile,
)
from tests.packages import needed

scipy_stats = needed("scipy.stats")


@pytest.mark.parametrize(
    ("limit", "runs"),
    [(0.05, 59), (0.02, 149), (0.005, 598), (0.001, 2995)],
    ids=["5%", "2%", "0.5%", "0.1%"],
)
def test_runs_without_an_event_that_show_a_rate_under_the_limit(limit: float, runs: int) -> None:
    assert runs_without_event(limit) == runs
    assert rate(0, runs).high < limit <= rate(0, runs - 1).high


def test_19_runs_an_arm_show_equivalence_within_10_percent_at_10_percent_noise() -> None:
    assert runs_for_equivalence(0.10, 0.10) == 19


@given(st.integers(0, 400), st.integers(1, 400))
def test_rates_are_scipys_exact_intervals(events: int, n: int) -> None:
    events = min(events, n)
    test = scipy_stats.binomtest(events, n)
    ours, theirs = rate(events, n), test.proportion_ci(0.90, "exact")
    assert ours.low == pytest.approx(theirs.low, abs=1e-9)
    assert ours.high == pytest.approx(theirs.high, abs=1e-9)
    assert ours.low - 1e-12 <= ours.estimate <= ours.high + 1e-12


def test_without_observations_everything_is_possible() -> None:
    interval = rate(0, 0)
    assert (interval.low, interval.high) == (0.0, 1.0)
    assert math.isnan(interval.estimate)


@pytest.mark.parametrize(("events", "n"), [(-1, 5), (6, 5)])
def test_impossible_counts_are_refused(events: int, n: int) -> None:
    with pytest.raises(ValueError, match="observations"):
        rate(events, n)
    with pytest.raises(ValueError, match="between 0 and 1"):
        runs_without_event(0)
    with pytest.raises(ValueError, match="probability"):
        t_quantile(0.4, 3)


@given(st.floats(0.001, 0.999), st.floats(0.5, 2000), st.floats(0.5, 2000))
def test_the_beta_distribution_is_scipys(x: float, a: float, b: float) -> None:
    assert beta_cdf(x, a, b) == pytest.approx(scipy_stats.beta.cdf(x, a, b), abs=1e-9)


@given(st.floats(0.6, 0.999), st.floats(1, 500))
def test_students_quantiles_are_scipys(p: float, freedom: float) -> None:
    assert t_quantile(p, freedom) == pytest.approx(scipy_stats.t.ppf(p, freedom), rel=1e-6)


def test_the_distribution_ends_at_its_ends() -> None:
    assert (beta_cdf(0.0, 2, 3), beta_cdf(1.0, 2, 3)) == (0.0, 1.0)
    assert t_quantile(0.5, 5) == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize(
    ("limit", "events", "n"), [(0.05, 1, 40), (0.02, 1, 60), (0.05, 2, 20), (0.3, 40, 100), (0.05, 9, 100)]
)
def test_the_runs_that_settle_a_rate_do_so_at_the_same_rate(limit: float, events: int, n: int) -> None:
    runs = runs_that_settle(limit, events, n)
    assert runs is not None
    assert runs >= n
    there = rate(round(events / n * runs), runs)
    assert (there.high < limit) if events / n < limit else (there.low > limit)


def test_the_runs_that_settle_a_rate_that_never_was_seen_and_one_on_the_limit() -> None:
    assert runs_that_settle(0.05, 0, 3) == runs_that_settle(0.05, 0, 0) == 59
    assert runs_that_settle(0.05, 5, 100) is None
    assert runs_that_settle(0.05, 50, 100) == 100


def test_means_have_students_interval() -> None:
    values = [1.0, 2.0, 4.0, 8.0]
    found = mean(values)
    assert found is not None
    low, high = scipy_stats.t.interval(0.90, 3, 3.75, scipy_stats.sem(values))
    assert (found.low, found.high, found.n) == pytest.approx((low, high, 4))
    assert mean([1.0]) is None


def test_strata_are_compared_within_and_summed_over() -> None:
    source = random.Random(3)

    def sample(seconds: float, n: int) -> list[float]:
        return [seconds * source.lognormvariate(0, 0.05) for _ in range(n)]

    strata = [
        (sample(110, 10), sample(100, 10)),
        (sample(2.2, 40), sample(2.0, 5)),
        (sample(5, 1), sample(900, 30)),
    ]
    found = compare_strata(strata)
    assert found is not None
    assert found.low < 1.1 < found.high
    assert found.high / found.low < 1.1
    assert found.n == 50
    alone = compare_logs(*strata[0])
    single = compare_strata(strata[:1])
    assert alone is not None
    assert single is not None
    assert (single.low, single.high) == pytest.approx((alone.ratio.low, alone.ratio.high))
    assert compare_strata(strata[2:]) is None
    same = compare_strata([([2.0, 2.0], [1.0, 1.0])])
    assert same is not None
    assert (same.low, same.high) == pytest.approx((2.0, 2.0))


def test_ratios_are_welchs() -> None:
    source = random.Random(4)
    ours = [source.lognormvariate(0.1, 0.2) for _ in range(12)]
    theirs = [source.lognormvariate(0.0, 0.05) for _ in range(7)]
    found = compare_logs(ours, theirs)
    assert found is not None
    test = scipy_stats.ttest_ind(
        [math.log(value) for value in ours], [math.log(value) for value in theirs], equal_var=False
    )
    low, high = test.confidence_interval(0.90)
    assert (found.ratio.low, found.ratio.high) == pytest.approx((math.exp(low), math.exp(high)), rel=1e-9)
    assert found.freedom == pytest.approx(test.df)
    assert found.ratio.n == 7


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [([], []), ([1.0], [1.0, 2.0]), ([1.0, 0.0, -1.0], [1.0, 2.0]), ([1.0, math.inf], [1.0, 2.0])],
)
def test_too_little_to_compare_is_none(ours: list[float], theirs: list[float]) -> None:
    assert compare_logs(ours, theirs) is None


def test_measurements_without_noise_have_no_interval() -> None:
    found = compare_logs([2.0, 2.0], [1.0, 1.0])
    assert found is not None
    assert (found.ratio.low, found.ratio.high) == pytest.approx((2.0, 2.0))
    assert found.noise == 0.0


def test_the_floor_is_what_equal_arms_stay_under_in_19_of_20_comparisons() -> None:
    source = random.Random(1)
    over = 0
    floor = noise_floor(0.1, 8)
    for _ in range(2000):
        a, b = ([source.gauss(0, 0.1) for _ in range(8)] for _ in range(2))
        over += sum(a) / 8 - sum(b) / 8 > math.log1p(floor)
    assert 0.03 < over / 2000 < 0.07
    assert noise_floor(0.0, 5) == 0.0
    assert noise_floor(0.1, 1) == math.inf


@pytest.mark.parametrize(("noise", "ratio"), [(0.1, 1.0), (0.1, 1.04), (0.05, 1.2), (0.2, 0.98)])
def test_that_many_runs_decide_about_four_times_in_five(noise: float, ratio: float) -> None:
    runs = runs_for_equivalence(noise, 0.10, ratio)
    assert runs is not None
    source = random.Random(2)
    decided = 0
    for _ in range(300):
        ours = [ratio * math.exp(source.gauss(0, noise)) for _ in range(runs)]
        theirs = [math.exp(source.gauss(0, noise)) for _ in range(runs)]
        found = compare_logs(ours, theirs)
        assert found is not None
        inside = found.ratio.low >= 1 / 1.1 and found.ratio.high <= 1.1
        outside = found.ratio.low > 1.1 or found.ratio.high < 1 / 1.1
        decided += inside or outside
    assert 0.70 < decided / 300 < 0.95


def test_on_the_limit_itself_no_number_of_runs_decides() -> None:
    assert runs_for_equivalence(0.1, 0.10, 1.10) is None
    assert runs_for_equivalence(0.1, 0.10, 1.0999) is None
