"""Every listener understands everything that a run says, in the words in which it is said."""

from __future__ import annotations

import inspect
import io
from collections.abc import Callable

import pytest

from ci_runner.execution.listener import Listener
from ci_runner.execution.run import OneAtATime
from ci_runner.report.terminal import TerminalListener

CALLS = sorted(name for name, value in vars(Listener).items() if callable(value) and not name.startswith("_"))


def terminal() -> Listener:
    return TerminalListener(io.StringIO(), color=None, live_output=False, environ={})


@pytest.mark.parametrize(
    "make", [terminal, lambda: OneAtATime(terminal())], ids=["terminal", "one at a time"]
)
@pytest.mark.parametrize("name", CALLS)
def test_a_listener_takes_every_call(make: Callable[[], object], name: str) -> None:
    method = getattr(make(), name)
    wanted = list(inspect.signature(getattr(Listener, name)).parameters)[1:]
    inspect.signature(method).bind(*wanted)


def test_the_protocol_tells_what_each_call_means() -> None:
    assert {"planned", "test_ended", "released", "finished"} <= set(CALLS)
    assert [name for name in CALLS if not getattr(Listener, name).__doc__] == []


def test_a_call_that_there_is_not_is_an_error_and_not_silence() -> None:
    with pytest.raises(AttributeError):
        OneAtATime(terminal()).attempt_begun  # noqa: B018 - looking it up is the point
