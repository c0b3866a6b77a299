"""Which tests take longer than they did, claimed only where several runs in a row say so. Pure.

One slow run is a busy machine more often than a slower test (docs/explanation/performance.md), so it takes three.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median

from ci_runner.checks.stats import Interval, compare_logs

LEAST_AFTER = 3  # runs that are slow, this one among them
LEAST_BEFORE = 5
MOST_AFTER = 10  # then it is how long the test takes
FACTOR = 1.25  # the least that is told, of which the lower bound has to be sure
SECONDS = 0.1  # by how much, at least
SMALLEST = 1e-4  # seconds; a clock that said less said nothing
SHARED = 4  # so many tests of a suite, and more than half of those looked at, have one cause


@dataclass(frozen=True, slots=True, kw_only=True)
class SlowDown:
    """A test, or all of a suite's, that takes longer now: from which of the runs on, and by how much."""

    suite: str
    test: str | None  # None: so many tests of the suite that it is not about one of them
    before: float  # seconds, as a rule
    now: float
    ratio: Interval
    after: int  # runs that were slow, this one among them
    earlier: int  # runs that were not
    tests: int = 1


def slow_downs(
    suite: str, past: Mapping[str, Sequence[float]], *, boundary: int | None = None
) -> list[SlowDown]:
    """The slow-downs among tests of a suite, the one that costs most first.

    `past` has the seconds of each test, this run's first and then back in time. With `boundary` exactly the first so many
    are of the change in question, as in a pull request; without, where they part is looked for.
    """
    found = [
        each
        for test, seconds in past.items()
        if (each := slow_down(suite, test, seconds, boundary)) is not None
    ]
    found.sort(key=lambda each: each.before - each.now)
    if len(found) >= SHARED and 2 * len(found) > len(past):
        return [_all_of(suite, found)]
    return found


def slow_down(
    suite: str, test: str, seconds: Sequence[float], boundary: int | None = None
) -> SlowDown | None:
    """What is claimed of one test; None if nothing is certain enough."""
    kept = [max(value, SMALLEST) for value in seconds]
    at = boundary if boundary is not None else parting(kept)
    if at is None or at < LEAST_AFTER or len(kept) - at < LEAST_BEFORE:
        return None
    after, before = kept[:at], kept[at:]
    usual = sorted(before)[:-1]  # one run that was slow for another reason hides nothing
    difference = compare_logs(after, before)
    if (
        difference is None
        or difference.ratio.low < FACTOR
        or median(after) - median(before) < SECONDS
        or min(after) <= max(usual)
    ):
        return None
    return SlowDown(
        suite=suite,
        test=test,
        before=median(before),
        now=median(after),
        ratio=difference.ratio,
        after=len(after),
        earlier=len(before),
    )


def parting(seconds: Sequence[float]) -> int | None:
    """After how many runs, counted back from this one, two levels part that explain most; None with too few on a side."""
    logs = [math.log(max(value, SMALLEST)) for value in seconds]
    at = min(range(1, len(logs)), key=lambda at: _spread(logs[:at]) + _spread(logs[at:]), default=0)
    return at if LEAST_AFTER <= at <= min(MOST_AFTER, len(logs) - LEAST_BEFORE) else None


def _spread(values: Sequence[float]) -> float:
    middle = fmean(values)
    return sum((value - middle) ** 2 for value in values)


def _all_of(suite: str, found: Sequence[SlowDown]) -> SlowDown:
    """Many at once as one: the runs and the bounds are those of the test in the middle."""
    middle = sorted(found, key=lambda each: each.ratio.estimate)[len(found) // 2]
    return SlowDown(
        suite=suite,
        test=None,
        before=sum(each.before for each in found),
        now=sum(each.now for each in found),
        ratio=middle.ratio,
        after=middle.after,
        earlier=middle.earlier,
        tests=len(found),
    )
