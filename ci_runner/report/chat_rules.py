"""Whether a channel is told of something now: its events, its branches, its quiet hours. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, time
from zoneinfo import ZoneInfo

from ci_runner import errors
from ci_runner.config.settings import Notify
from ci_runner.model import Event, Lane, RunResult
from ci_runner.plan.paths import matches
from ci_runner.report.chat import Message, is_regression, regression_message, result_message
from ci_runner.report.comment import Context

URGENT = "urgent"


def events_of(result: RunResult, context: Context) -> frozenset[str]:
    """What a run is to a channel; a cancelled run is nothing, since whoever cancelled it knows."""
    if result.exit_code == errors.CANCELLED:
        return frozenset()
    found = {"failure"} if result.exit_code != errors.OK else {"success"}
    if result.exit_code == errors.OK and context.comparison.fixed:
        found.add("fixed")
    if is_regression(context):
        found.add("regression")
    return frozenset(found)


def message_for(channel: Notify, result: RunResult, context: Context) -> Message | None:
    """The one message that a channel gets about a run; None if it wants none."""
    wanted = events_of(result, context).intersection(channel.events)
    if not wanted:
        return None
    return (
        regression_message(result, context) if wanted == {"regression"} else result_message(result, context)
    )


def is_of_branch(channel: Notify, event: Event) -> bool:
    """Whether the channel hears of this branch. A fork may call its branch `main`, so it is never meant."""
    if not channel.branches:
        return True
    return (
        event.lane is Lane.SAME_REPOSITORY
        and bool(event.branch)
        and matches(channel.branches, event.branch or "")
    )


def quiet_span(channel: Notify, moment: datetime) -> str:
    """The quiet hours that this moment is in, as people say them; nothing if it is in none.

    The clock on the wall decides: an hour that a change of the clock repeats is quiet twice, one that it skips never.
    """
    clock = moment.astimezone(ZoneInfo(channel.time_zone)).time()
    for start, end in channel.quiet_hours:
        if _within(clock, start, end):
            return f"{start:%H:%M}-{_end(end)} {channel.time_zone}"
    return ""


def passes(channel: Notify, events: Iterable[str], *, urgent: bool = False) -> bool:
    """Whether something is sent in quiet hours too."""
    allowed = set(channel.quiet_passes)
    return bool(allowed.intersection(events)) or (urgent and URGENT in allowed)


def _within(clock: time, start: time, end: time) -> bool:
    if start < end:
        return start <= clock < end
    return clock >= start or clock < end  # over midnight, or up to it


def _end(end: time) -> str:
    return f"{end:%H:%M}" if end != time(0) else "24:00"
