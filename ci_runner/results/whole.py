"""What the parts of a run come to together: one exit code, one verdict, one set of numbers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ci_runner import errors
from ci_runner.model import Counts, Plan, SuiteResult, Verdict

# The first that occurs decides the run: what keeps results from being known outranks what they say.
WORST_FIRST = (
    errors.CANCELLED,
    errors.NOT_TRUSTED,
    errors.REFUSED_BUDGET,
    errors.AUTHENTICATION,
    errors.QUOTA,
    errors.NO_CAPACITY,
    errors.PREEMPTED,
    errors.MACHINE,
    errors.USAGE,
    errors.INCOMPLETE,
    errors.TESTS_FAILED,
)


def worst(codes: Iterable[int]) -> int:
    """The exit code of a run from those of its suites."""
    seen = set(codes)
    return next((code for code in WORST_FIRST if code in seen), errors.OK)


def total(parts: Iterable[Counts]) -> Counts:
    """The sum of counts, field by field."""
    items = list(parts)
    return Counts(**{name: sum(getattr(item, name) for item in items) for name in Counts.__slots__})


def cost_of(result: SuiteResult) -> float:
    """Dollars for the time in which a suite's machines were held, by the second: each until its own last attempt ended.

    A machine on which nothing was tried counts until the next one was asked for.
    """
    dollars = 0.0
    for number, lease in enumerate(result.leases):
        ends = [a.ended_at for a in result.attempts if a.lease_id == lease.id and a.ended_at is not None]
        ends = ends or [later.created_at for later in result.leases[number + 1 : number + 2]]
        if ends:
            dollars += lease.price_per_hour * max(0.0, max(ends) - lease.created_at) / 3600.0
    return dollars


def verdict_of_run(suites: Sequence[SuiteResult], plan: Plan, exit_code: int) -> Verdict:
    """The one word on top: anything that keeps results from being known outranks what they say."""
    verdicts = {result.verdict for result in suites}
    if not suites:
        return Verdict.PASSED if plan.nothing_due else Verdict.EMPTY
    if exit_code not in (errors.OK, errors.TESTS_FAILED, errors.INCOMPLETE):
        return Verdict.INCOMPLETE
    for verdict in (Verdict.INCOMPLETE, Verdict.EMPTY, Verdict.FAILED):
        if verdict in verdicts:
            return verdict
    return Verdict.PASSED
