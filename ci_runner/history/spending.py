"""What was spent, as the records tell: on one pull request, and in a month on one budget."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from itertools import islice
from typing import TYPE_CHECKING

from ci_runner.history.query import load_records, read_record

if TYPE_CHECKING:
    from ci_runner.history.query import Stored
    from ci_runner.history.store import Store

MOST_READ = 1_000  # records; a sum over more is not made while somebody waits for a comment


def spent_on_pull_request(store: Store, number: int, *, but: frozenset[str] = frozenset()) -> float | None:
    """Dollars of all runs of a pull request that are remembered, without those named; None if there are too many."""
    keys = list(islice(store.list(f"pr/pr-{number}/"), MOST_READ + 1))
    if len(keys) > MOST_READ:
        return None
    return _sum((read_record(store, key) for key in keys), but)


def spent_this_month(
    store: Store, now: float, *, developer: str | None = None, but: frozenset[str] = frozenset()
) -> float | None:
    """Dollars of all runs since the month began (UTC), or those of one developer; None if there are too many."""
    begin = datetime.fromtimestamp(now, UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    found = list(islice(load_records(store, since=begin), MOST_READ + 1))
    if len(found) > MOST_READ:
        return None
    return _sum((each for each in found if developer in (None, each.record.developer)), but)


def budget_of(
    budgets: Mapping[str, float], team: str | None, developer: str
) -> tuple[str, str | None] | None:
    """The name of the budget that a run is charged to, and the developer whose runs it covers (None: everybody's)."""
    if team and team in budgets:
        return team, None
    if developer in budgets:
        return developer, developer
    if len(budgets) == 1:
        return next(iter(budgets)), None
    return None


def _sum(found: Iterable[Stored | None], but: frozenset[str]) -> float:
    return sum(each.record.cost_usd for each in found if each is not None and each.record.run_id not in but)
