"""What a plan asks of the history: where, how long it waits, and what it says if there is no answer."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from ci_runner.cli import remembered
from ci_runner.config.settings import Settings
from ci_runner.errors import GitHubError
from ci_runner.history import store as stores
from ci_runner.model import Event, Plan, Selection, Suite

JOB = {"GITHUB_ACTIONS": "true", "GITHUB_REPOSITORY": "org/app", "GITHUB_TOKEN": "t"}
SUITE = Suite(name="unit", title="unit", tests=("tests",), shards=2)
PLAN = Plan(event=Event(kind="push"), selected=(Selection(suite=SUITE, reason="its event", rule="r"),))


def settings(**history: str) -> Settings:
    return Settings(root=Path("/nowhere"), suites={"unit": SUITE}, stores=history)


def opened(monkeypatch: pytest.MonkeyPatch, act: Callable[[], stores.Store]) -> list[str | None]:
    """The locations that were opened; `act` is what opening does."""
    seen: list[str | None] = []

    def open_store(location: str | None, _root: Path) -> stores.Store:
        seen.append(location)
        return act()

    monkeypatch.setattr(stores, "open_store", open_store)
    return seen


@pytest.mark.parametrize(
    ("environ", "history", "location"),
    [
        (JOB, {}, stores.BRANCH),
        ({**JOB, "GITHUB_TOKEN": ""}, {}, None),
        ({"GITHUB_TOKEN": "t"}, {}, None),
        (JOB, {"history": "records"}, "records"),
    ],
)
def test_durations_come_from_where_a_report_keeps_them(
    environ: dict[str, str], history: dict[str, str], location: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = opened(monkeypatch, stores.MemoryStore)
    plan = remembered.with_shards(PLAN, settings(**history), environ)
    assert seen == [location]
    assert [item.id for item in plan.selected] == ["unit-1of2", "unit-2of2"]
    assert plan.notes == ()


def test_nobody_is_asked_where_nothing_is_split(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = opened(monkeypatch, stores.MemoryStore)
    assert remembered.with_shards(Plan(event=Event(kind="push")), settings(), JOB).notes == ()
    assert seen == []


def test_an_answer_that_does_not_come_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    ended = threading.Event()
    finished = threading.Event()

    def wait() -> stores.Store:
        ended.wait(60)
        finished.set()
        return stores.MemoryStore()

    opened(monkeypatch, wait)
    monkeypatch.setattr(remembered, "ANSWER_SECONDS", 0.05)
    try:
        plan = remembered.with_shards(PLAN, settings(), JOB)
    finally:
        ended.set()
    assert len(plan.selected) == 2
    assert plan.notes == (
        "the history could not be read (no answer within 0.05 s): suites are split by count of tests",
    )
    assert finished.wait(60)


def test_a_refusal_is_a_note_and_a_fault_of_ours_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> stores.Store:
        raise GitHubError("GitHub says no")

    opened(monkeypatch, refuse)
    (note,) = remembered.with_shards(PLAN, settings(), JOB).notes
    assert "could not be read (GitHub says no" in note

    def late() -> stores.Store:
        raise TimeoutError("the socket timed out")

    opened(monkeypatch, late)
    (note,) = remembered.with_shards(PLAN, settings(), JOB).notes
    assert "the socket timed out" in note

    def fail() -> stores.Store:
        raise ZeroDivisionError

    opened(monkeypatch, fail)
    with pytest.raises(ZeroDivisionError):
        remembered.with_shards(PLAN, settings(), JOB)
