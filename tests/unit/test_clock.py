"""What a run measures does not care what is done to the clock of the machine that it runs on."""

from __future__ import annotations

import time

import pytest

from ci_runner.execution.clock import steady


def test_it_shows_the_time_and_runs_on_when_the_clock_is_put_back() -> None:
    wall, ticks = [1_795_000_000.0], [50.0]
    clock = steady(lambda: wall[0], lambda: ticks[0])
    assert clock() == 1_795_000_000.0
    wall[0] -= 3600
    ticks[0] += 2.5
    assert clock() == 1_795_000_002.5


@pytest.mark.parametrize("other", [False, True])
def test_of_itself_it_is_this_machines_time(monkeypatch: pytest.MonkeyPatch, other: bool) -> None:
    if other:
        monkeypatch.delattr(time, "CLOCK_BOOTTIME", raising=False)
    clock = steady()
    before = clock()
    assert abs(before - time.time()) < 60
    assert clock() >= before
