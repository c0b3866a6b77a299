"""The times on a machine go by its cloud's clock, and come back as times of this one."""

from __future__ import annotations

import logging
from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ci_runner.execution import clock as clocks
from ci_runner.providers.cloud_clock import CloudClock
from ci_runner.providers.identity import MARKED, PREFIX, labels_of, lease_from, marked_at, shifted
from tests.report_samples import START, lease

HOUR = 3600.0


def heard(date: str | None) -> CloudClock:
    clock = CloudClock("the cloud", clock=lambda: START)
    clock.heard(date)
    return clock


@pytest.mark.parametrize(
    ("there", "ahead"),
    [(0, 0), (20, 0), (-29, 0), (50, 60), (HOUR + 3, HOUR), (-HOUR - 3, -HOUR)],
)
def test_whole_minutes_of_the_first_date_count(there: float, ahead: float) -> None:
    clock = heard(formatdate(START + there, usegmt=True))
    assert clock.ahead == ahead
    clock.heard(formatdate(START + 7 * HOUR, usegmt=True))
    assert clock.ahead == ahead


def test_it_is_compared_with_the_clock_by_which_leases_are_made(monkeypatch: pytest.MonkeyPatch) -> None:
    """This machine's clock may be set right between the beginning of a run and the first answer of its cloud."""
    monkeypatch.setattr(clocks, "HERE", lambda: START)
    clock = CloudClock("the cloud")
    clock.heard(formatdate(START + HOUR, usegmt=True))
    assert clock.ahead == HOUR


@pytest.mark.parametrize("date", [None, "", "yesterday", "Mon, 99 Nov 2026 00:00:00 GMT"])
def test_what_is_no_date_says_nothing_and_the_next_one_counts(date: str | None) -> None:
    clock = heard(date)
    assert clock.ahead == 0
    clock.heard(formatdate(START + HOUR, usegmt=True))
    assert clock.ahead == HOUR


def test_a_wrong_clock_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    heard(formatdate(START, usegmt=True))
    assert caplog.messages == []
    heard(formatdate(START - HOUR, usegmt=True))
    assert caplog.messages == [
        "this clock is 60 minutes ahead of that of the cloud, by which leases end: timedatectl set-ntp true"
    ]


@given(st.integers(-48, 48))
def test_a_lease_on_a_machine_lasts_as_long_and_comes_back_as_it_was(hours: int) -> None:
    ahead = hours * HOUR
    asked = lease("7f3c-unit-5b02e1")
    labels = {**labels_of(shifted(asked, ahead)), MARKED: str(int(asked.expires_at + 5 + ahead))}
    on_it = int(labels[f"{PREFIX}expires"]) - int(labels[f"{PREFIX}created"])
    assert on_it == asked.expires_at - asked.created_at
    found = lease_from(
        labels, provider="gcp-tpu", machine_type="v6e-1", zone=None, state=asked.state, created_at=0.0
    )
    assert found is not None
    back = shifted(found, -ahead)
    assert (back.created_at, back.expires_at) == (asked.created_at, asked.expires_at)
    assert marked_at(back) == asked.expires_at + 5
