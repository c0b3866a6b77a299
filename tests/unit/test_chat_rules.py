"""When a channel is told: events, branches, quiet hours by the clock on the wall, and a limit over all processes."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ci_runner import errors
from ci_runner.checks.compare import Change, Comparison
from ci_runner.config.settings import Notify
from ci_runner.history.store import Conflict, FolderStore, MemoryStore
from ci_runner.model import Event, Lane, RunResult
from ci_runner.report.chat_rules import events_of, is_of_branch, message_for, passes, quiet_span
from ci_runner.report.comment import Context
from ci_runner.report.publish.chat_limit import claim
from tests import report_samples as samples

ONE = (Change(selection="unit", suite="unit", test="tests/test_plan.py::test_label_added_later"),)


def channel(**values: object) -> Notify:
    """A channel that hears of everything."""
    plain = Notify(name="team", kind="slack", url_env="HOOK")
    return dataclasses.replace(plain, **values)  # type: ignore[arg-type]


def cancelled() -> RunResult:
    return dataclasses.replace(samples.red(), exit_code=errors.CANCELLED)


@pytest.mark.parametrize(
    ("result", "context", "events"),
    [
        (samples.green(), Context(), {"success"}),
        (samples.green(), Context(comparison=Comparison(fixed=ONE)), {"success", "fixed"}),
        (samples.green(), Context(slower=("slow",)), {"success", "regression"}),
        (samples.red(), Context(), {"failure"}),
        (samples.red(), Context(comparison=Comparison(fixed=ONE)), {"failure"}),
        (samples.red(), Context(comparison=Comparison(new=ONE)), {"failure", "regression"}),
        (samples.no_capacity(), Context(), {"failure"}),
        (cancelled(), Context(comparison=Comparison(new=ONE)), set()),
    ],
)
def test_what_a_run_is_to_a_channel(result: RunResult, context: Context, events: set[str]) -> None:
    assert events_of(result, context) == events


def test_a_channel_gets_one_message_and_it_is_the_whole_one_if_it_hears_of_failures() -> None:
    result, context = samples.red(), Context(comparison=Comparison(new=ONE))

    def kind(*events: str) -> str | None:
        message = message_for(channel(events=events), result, context)
        return message.kind if message else None

    assert kind("regression") == "regression"
    assert kind("failure") == kind("failure", "regression") == "result"
    assert kind("success", "cost") is None


@pytest.mark.parametrize(
    ("branches", "event", "told"),
    [
        ((), Event(kind="push", branch="any"), True),
        (("main",), Event(kind="push", branch="main"), True),
        (("main", "release/*"), Event(kind="push", branch="release/1"), True),
        (("release/*", "!release/0"), Event(kind="push", branch="release/0"), False),
        (("main",), Event(kind="push", branch="topic"), False),
        (("main",), Event(kind="push", tag="v1"), False),
        (("main",), Event(kind="pull_request", branch="main", lane=Lane.FORK), False),
        (("main",), Event(kind="pull_request", branch="main", lane=Lane.FORK_REVIEWED), False),
        ((), Event(kind="pull_request", branch="main", lane=Lane.FORK), True),
    ],
)
def test_branches(branches: tuple[str, ...], event: Event, told: bool) -> None:
    assert is_of_branch(channel(branches=branches), event) is told


NIGHT = ((time(22), time(7)),)


@pytest.mark.parametrize(
    ("moment", "quiet"),
    [
        ("2026-11-23T20:59:59", False),  # 21:59:59 in Berlin
        ("2026-11-23T21:00:00", True),
        ("2026-11-23T23:30:00", True),  # 00:30
        ("2026-11-24T05:59:59", True),
        ("2026-11-24T06:00:00", False),  # 07:00 in winter
        ("2026-07-01T05:00:00", False),  # 07:00 in summer
        ("2026-07-01T04:59:59", True),
        ("2026-03-29T00:30:00", True),  # 01:30, the last hour before the clock goes on
        ("2026-03-29T01:30:00", True),  # 03:30
        ("2026-03-29T05:00:00", False),  # 07:00 an hour earlier than the day before
        ("2026-10-25T00:30:00", True),  # 02:30
        ("2026-10-25T01:30:00", True),  # 02:30 again
        ("2026-10-25T05:30:00", True),  # 06:30 in winter
        ("2026-10-25T06:00:00", False),
    ],
)
def test_nights_in_berlin(moment: str, quiet: bool) -> None:
    found = quiet_span(
        channel(quiet_hours=NIGHT, time_zone="Europe/Berlin"),
        datetime.fromisoformat(moment).replace(tzinfo=UTC),
    )
    assert found == ("22:00-07:00 Europe/Berlin" if quiet else "")


def test_a_span_in_the_hour_that_comes_twice_is_quiet_twice_and_one_in_the_hour_that_is_skipped_never() -> (
    None
):
    small = channel(quiet_hours=((time(2), time(3)),), time_zone="Europe/Berlin")

    def minutes(day: str) -> int:
        start = datetime.fromisoformat(day).replace(tzinfo=UTC)
        return sum(bool(quiet_span(small, start + timedelta(minutes=count))) for count in range(24 * 60))

    assert minutes("2026-10-24T12:00") == 120
    assert minutes("2026-03-28T12:00") == 0
    assert minutes("2026-06-01T12:00") == 60


def test_a_whole_day_is_quiet_and_says_so() -> None:
    moment = datetime(2026, 11, 23, 12, tzinfo=UTC)
    assert quiet_span(channel(quiet_hours=((time(0), time(0)),)), moment) == "00:00-24:00 UTC"
    assert quiet_span(channel(quiet_hours=((time(18), time(0)),)), moment) == ""
    assert quiet_span(channel(), moment) == ""


MOMENTS = st.integers(1_577_836_800, 2_114_380_800).map(lambda seconds: datetime.fromtimestamp(seconds, UTC))
TIMES = st.times().map(lambda value: value.replace(second=0, microsecond=0))
ZONES = st.sampled_from(
    ["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu", "Africa/Cairo"]
)


@settings(deadline=None)
@given(MOMENTS, TIMES, TIMES, ZONES)
def test_every_moment_is_quiet_in_a_span_or_in_its_opposite_and_never_in_both(
    moment: datetime, start: time, end: time, zone: str
) -> None:
    if start == end:
        return
    one = quiet_span(channel(quiet_hours=((start, end),), time_zone=zone), moment)
    other = quiet_span(channel(quiet_hours=((end, start),), time_zone=zone), moment)
    assert bool(one) is not bool(other)
    clock = moment.astimezone(ZoneInfo(zone)).strftime("%H:%M")
    inside = f"{start:%H:%M}" <= clock < f"{end:%H:%M}"
    assert bool(one) is (inside if start < end else not f"{end:%H:%M}" <= clock < f"{start:%H:%M}")


def test_what_passes_quiet_hours() -> None:
    urgent, costs = channel(quiet_passes=("urgent",)), channel(quiet_passes=("cost", "fixed"))
    assert passes(urgent, ["cost"], urgent=True)
    assert not passes(urgent, ["cost"])
    assert passes(costs, ["cost"])
    assert not passes(costs, ["failure"], urgent=True)
    assert not passes(channel(), ["cost"], urgent=True)


# -- the limit

NOW = 1_795_450_502.0


def test_so_many_messages_an_hour_and_a_new_hour_begins_anew() -> None:
    store, some = MemoryStore(), channel(at_most=(2, 3_600))
    assert [claim(store, some, NOW + step) for step in (0, 1, 2)] == [True, True, False]
    assert claim(store, dataclasses.replace(some, name="other"), NOW)
    assert claim(store, some, NOW + 3_600)
    assert claim(store, channel(at_most=(1, 86_400)), NOW)
    assert min(store.list()).startswith("notify/other/20261123T1600Z-3600/1")


def test_without_a_limit_nothing_is_remembered() -> None:
    store = MemoryStore()
    assert claim(store, channel(), NOW)
    assert list(store.list()) == []


def test_of_many_jobs_at_once_only_as_many_send_as_may(tmp_path: object) -> None:
    assert hasattr(tmp_path, "joinpath")
    some = channel(at_most=(5, 3_600))

    def one(_: int) -> bool:
        return claim(FolderStore(tmp_path), some, NOW)  # type: ignore[arg-type]

    with ThreadPoolExecutor(16) as pool:
        assert sum(pool.map(one, range(24))) == 5


class LateStore(MemoryStore):
    """A store on which somebody else takes the place between our look and our grasp."""

    def list(self, prefix: str = "") -> Iterator[str]:
        """Nothing is seen yet."""
        return iter(())

    def together(self, message: str) -> AbstractContextManager[None]:
        """Remember why."""
        self.message = message
        return nullcontext()


def test_a_place_that_is_taken_meanwhile_is_not_taken_twice() -> None:
    store, some = LateStore(), channel(at_most=(1, 3_600))
    assert claim(store, some, NOW)
    assert not claim(store, some, NOW)
    assert store.message == "Count a message to team"
    with pytest.raises(Conflict):
        store.put_new("notify/team/20261123T1600Z-3600/1", b"other")
