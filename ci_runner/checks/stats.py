"""Intervals for rates and ratios, and how many runs they take, with the standard library alone. Pure.

Every bound holds by itself with 95 % confidence (so the two together with 90 %): "the rate is over 5 %" is claimed when
the lower bound is, and "equal within 10 %" when both bounds are inside, which is the test of equivalence known as TOST.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import NormalDist, fmean, variance

CONFIDENCE = 0.95
POWER = 0.8
MOST_RUNS = 100_000


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate between two bounds, from so many observations."""

    estimate: float
    low: float
    high: float
    n: float


def rate(events: int, n: int, *, confidence: float = CONFIDENCE) -> Interval:
    """The exact (Clopper-Pearson) interval of a rate; from nothing to everything when there are no observations."""
    if not 0 <= events <= n:
        raise ValueError(f"{events} events in {n} observations")
    if n == 0:
        return Interval(math.nan, 0.0, 1.0, 0)
    tail = 1.0 - confidence
    low = 0.0 if events == 0 else beta_quantile(tail, events, n - events + 1)
    high = 1.0 if events == n else beta_quantile(1.0 - tail, events + 1, n - events)
    return Interval(events / n, low, high, n)


def runs_without_event(limit: float, *, confidence: float = CONFIDENCE) -> int:
    """How many runs without one event show that its rate is under the limit: 59 for 5 %, 149 for 2 %."""
    if not 0 < limit < 1:
        raise ValueError(f"a rate between 0 and 1, not {limit}")
    return math.ceil(math.log(1 - confidence) / math.log1p(-limit))


def runs_that_settle(limit: float, events: int, n: int, *, confidence: float = CONFIDENCE) -> int | None:
    """How many runs show on which side of the limit the rate is, if it stays what it was; None if too many do not."""
    if events == 0 or n == 0:
        return runs_without_event(limit, confidence=confidence)
    under = events / n < limit

    def settled(runs: int) -> bool:
        found = rate(round(events / n * runs), runs, confidence=confidence)
        return found.high < limit if under else found.low > limit

    high = n
    while not settled(high):
        high *= 2
        if high > MOST_RUNS:
            return None
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if settled(middle) else (middle, high)
    return max(high, n)


def mean(values: Sequence[float]) -> Interval | None:
    """The mean with Student's interval; None for fewer than 2 values."""
    if len(values) < 2:
        return None
    middle, error = fmean(values), math.sqrt(variance(values) / len(values))
    half = t_quantile(CONFIDENCE, len(values) - 1) * error
    return Interval(middle, middle - half, middle + half, len(values))


@dataclass(frozen=True, slots=True)
class Difference:
    """The ratio of two sets of positive measurements with its bounds, and the noise of a single measurement."""

    ratio: Interval  # n: runs in the smaller arm
    noise: float  # standard deviation of the logarithm of one run, both arms pooled
    freedom: float


def compare_logs(ours: Sequence[float], theirs: Sequence[float]) -> Difference | None:
    """The ratio of geometric means with Welch's interval; None with fewer than 2 positive values on a side."""
    a = [math.log(value) for value in ours if value > 0 and math.isfinite(value)]
    b = [math.log(value) for value in theirs if value > 0 and math.isfinite(value)]
    if min(len(a), len(b)) < 2:
        return None
    return difference_of_means(fmean(a) - fmean(b), variance(a), len(a), variance(b), len(b))


def difference_of_means(shift: float, var_a: float, n_a: int, var_b: float, n_b: int) -> Difference:
    """Welch's interval for a difference of mean logarithms, as a ratio."""
    part_a, part_b = var_a / n_a, var_b / n_b
    error = part_a + part_b
    pooled = math.sqrt(((n_a - 1) * var_a + (n_b - 1) * var_b) / (n_a + n_b - 2))
    if error == 0:
        same = math.exp(shift)
        return Difference(Interval(same, same, same, min(n_a, n_b)), 0.0, n_a + n_b - 2)
    freedom = error**2 / (part_a**2 / (n_a - 1) + part_b**2 / (n_b - 1))
    half = t_quantile(CONFIDENCE, freedom) * math.sqrt(error)
    interval = Interval(math.exp(shift), math.exp(shift - half), math.exp(shift + half), min(n_a, n_b))
    return Difference(interval, pooled, freedom)


def compare_strata(strata: Sequence[tuple[Sequence[float], Sequence[float]]]) -> Interval | None:
    """One ratio over pairs of samples that are only comparable within each pair; None if no pair has 2 on both sides.

    Pairs weigh by how much they know of the difference, so that a suite with one run on a side does not decide.
    """
    shift = weight = spread = spread_by_freedom = 0.0
    runs = 0
    for ours, theirs in strata:
        found = compare_logs(ours, theirs)
        if found is None:
            continue
        here = len(ours) * len(theirs) / (len(ours) + len(theirs))
        half = math.log(found.ratio.high / found.ratio.low) / 2
        error = half / t_quantile(CONFIDENCE, found.freedom)
        shift += here * math.log(found.ratio.estimate)
        weight += here
        spread += (here * error) ** 2
        spread_by_freedom += (here * error) ** 4 / found.freedom
        runs += len(ours)
    if not runs:
        return None
    middle = shift / weight
    half = 0.0
    if spread > 0:
        half = t_quantile(CONFIDENCE, spread**2 / spread_by_freedom) * math.sqrt(spread) / weight
    return Interval(math.exp(middle), math.exp(middle - half), math.exp(middle + half), runs)


def noise_floor(noise: float, n: int) -> float:
    """The ratio by which two equal arms of n runs may differ by chance: 0.08 means up to 8 %."""
    if n < 2 or noise == 0:
        return 0.0 if noise == 0 else math.inf
    return math.expm1(t_quantile(CONFIDENCE, 2 * n - 2) * noise * math.sqrt(2 / n))


def runs_for_equivalence(noise: float, margin: float, ratio: float = 1.0) -> int | None:
    """Runs in each arm that decide, four times in five, whether the ratio is within the margin; None if too many.

    Equal arms that vary by 10 % take 19 runs for a margin of 10 %. The nearer the ratio is to the margin, the more.
    """
    edge = math.log1p(margin)
    distance = abs(edge - abs(math.log(ratio)))
    normal = NormalDist()
    both_sides = abs(math.log(ratio)) < edge / 4  # in the middle either bound may fail
    z = normal.inv_cdf(CONFIDENCE) + normal.inv_cdf((1 + POWER) / 2 if both_sides else POWER)
    if distance == 0 or 2 * (noise * z / distance) ** 2 > MOST_RUNS:
        return None
    return max(2, math.ceil(2 * (noise * z / distance) ** 2))


def beta_quantile(p: float, a: float, b: float) -> float:
    """The p-quantile of the beta distribution."""
    return _solve(lambda x: beta_cdf(x, a, b), p, 0.0, 1.0)


def t_quantile(p: float, freedom: float) -> float:
    """The p-quantile of Student's t for p of at least a half; `freedom` need not be whole."""
    if not 0.5 <= p < 1:
        raise ValueError(f"a probability from 0.5 to 1, not {p}")
    # P(|T| <= t) is the distribution of a beta variable at t² / (t² + freedom).
    x = beta_quantile(2 * p - 1, 0.5, freedom / 2)
    return math.sqrt(freedom * x / (1 - x)) if x < 1 else math.inf


def beta_cdf(x: float, a: float, b: float) -> float:
    """The regularised incomplete beta function, by its continued fraction (DLMF 8.17.22)."""
    if x <= 0 or x >= 1:
        return 0.0 if x <= 0 else 1.0
    if x > (a + 1) / (a + b + 2):
        return 1.0 - beta_cdf(1.0 - x, b, a)
    front = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)
    return math.exp(front) * _fraction(x, a, b) / a


def _fraction(x: float, a: float, b: float) -> float:
    """Lentz's evaluation: the ratio of two recurrences, multiplied up until a factor is 1."""
    tiny = 1e-300
    c, d = 1.0, 1.0 / _away_from_zero(1.0 - (a + b) * x / (a + 1), tiny)
    value = d
    for m in range(1, 10_000):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        for term in (even, odd):
            d = 1.0 / _away_from_zero(1.0 + term * d, tiny)
            c = _away_from_zero(1.0 + term / c, tiny)
            value *= c * d
        if abs(c * d - 1.0) < 1e-15:
            break
    return value


def _away_from_zero(value: float, tiny: float) -> float:
    return value if abs(value) > tiny else tiny


def _solve(rising: Callable[[float], float], target: float, low: float, high: float) -> float:
    """Where a rising function reaches the target, by halving until no float lies between."""
    while True:
        middle = (low + high) / 2
        if middle in (low, high):
            return middle
        if rising(middle) < target:
            low = middle
        else:
            high = middle
