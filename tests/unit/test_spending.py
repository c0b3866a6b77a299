"""Money as the records tell it: per pull request, per month, per budget; the run itself is not counted twice."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from ci_runner.history import spending
from ci_runner.history.record import Record, record_key
from ci_runner.history.spending import budget_of, spent_on_pull_request, spent_this_month
from ci_runner.history.store import MemoryStore
from ci_runner.model import Event
from ci_runner.report.files import to_bytes

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC).timestamp()


def kept(
    store: MemoryStore,
    number: int,
    cost: float,
    *,
    pull: int | None = None,
    day: str = "2026-11-20",
    who: str = "a",
) -> str:
    run = f"20261120-{number:06}-0a0b"
    record = Record(
        run_id=run,
        test_suite="unit",
        timestamp=f"{day}T10:00:00Z",
        cost_usd=cost,
        pull_request=pull,
        developer=who,
    )
    store.put_new(record_key(record, Event(kind="push")), to_bytes(record))
    return run


def test_a_pull_request_has_cost_what_its_runs_did() -> None:
    store = MemoryStore()
    kept(store, 1, 0.25, pull=7)
    mine = kept(store, 2, 0.5, pull=7)
    kept(store, 3, 8.0, pull=70)
    kept(store, 4, 4.0)
    store.put_new("pr/pr-7/broken.json", b"{")
    assert spent_on_pull_request(store, 7) == pytest.approx(0.75)
    assert spent_on_pull_request(store, 7, but=frozenset({mine})) == pytest.approx(0.25)
    assert spent_on_pull_request(store, 8) == 0


def test_a_month_begins_on_its_first_day() -> None:
    store = MemoryStore()
    kept(store, 1, 1.0, day="2026-10-31")
    kept(store, 2, 2.0, day="2026-11-01")
    kept(store, 3, 4.0, who="b", pull=3)
    assert spent_this_month(store, NOW) == pytest.approx(6.0)
    assert spent_this_month(store, NOW, developer="b") == pytest.approx(4.0)


def test_too_many_records_are_not_summed_while_somebody_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spending, "MOST_READ", 2)
    store = MemoryStore()
    for number in range(3):
        kept(store, number, 1.0, pull=7)
    assert spent_on_pull_request(store, 7) is None
    assert spent_this_month(store, NOW) is None


@pytest.mark.parametrize(
    ("budgets", "team", "developer", "found"),
    [
        ({"ml": 10, "web": 5}, "ml", "a", ("ml", None)),
        ({"ml": 10, "a": 5}, None, "a", ("a", "a")),
        ({"ml": 10, "a": 5}, "ml", "a", ("ml", None)),
        ({"ml": 10}, None, "a", ("ml", None)),
        ({"ml": 10, "web": 5}, None, "a", None),
        ({}, "ml", "a", None),
    ],
)
def test_the_budget_that_is_charged(
    budgets: dict[str, float], team: str | None, developer: str, found: tuple[str, str | None] | None
) -> None:
    assert budget_of(budgets, team, developer) == found
