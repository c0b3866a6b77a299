"""A suite for which no machine is left waits for one of its run, and not for one that nobody will give back."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from ci_runner.errors import Cancelled
from ci_runner.execution.session import Cancellation
from ci_runner.execution.turns import WATCH_SECONDS, Turns

SECONDS = 30.0


def told_nothing() -> None:
    raise AssertionError("there was nothing to wait for")


def test_who_is_refused_alone_does_not_wait() -> None:
    turns = Turns()
    with turns.turn("tpu") as turn, turns.turn("gpu") as other:
        other.holds()
        assert not turn.again(Cancellation(), told_nothing)


def test_who_is_refused_waits_for_a_machine_that_another_gives_back() -> None:
    turns, waits = Turns(), threading.Event()
    with ThreadPoolExecutor() as pool, turns.turn("tpu") as first, turns.turn("tpu") as second:
        first.holds()
        answer = pool.submit(second.again, Cancellation(), waits.set)
        assert waits.wait(SECONDS)
        assert not answer.done()
        first.__exit__()
        assert answer.result(SECONDS)
        assert not second.again(Cancellation(), told_nothing)  # nobody else is there


def test_a_machine_that_was_given_back_while_one_was_being_refused_counts() -> None:
    turns = Turns()
    with turns.turn("tpu") as second:
        with turns.turn("tpu") as first:
            first.holds()
        assert second.again(Cancellation(), told_nothing)
        assert not second.again(Cancellation(), told_nothing)


def test_who_is_refused_while_another_asks_waits_for_its_answer_and_asks_no_second_time() -> None:
    turns = Turns()
    with ThreadPoolExecutor() as pool, turns.turn("tpu") as first, turns.turn("tpu") as second:
        answer = pool.submit(second.again, Cancellation(), told_nothing)
        with pytest.raises(TimeoutError):
            answer.result(2 * WATCH_SECONDS)
        assert not first.again(Cancellation(), told_nothing)
        assert not answer.result(SECONDS)


def test_a_cancelled_run_waits_no_more() -> None:
    turns, cancellation = Turns(), Cancellation()
    with turns.turn("tpu") as first, turns.turn("tpu") as second:
        first.holds()
        with pytest.raises(Cancelled):
            second.again(cancellation, lambda: cancellation.request("SIGTERM"))
    with turns.turn("tpu") as third:  # what the cancelled one asked for is asked no more
        assert not third.again(Cancellation(), told_nothing)
