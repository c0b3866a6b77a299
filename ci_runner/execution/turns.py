"""Suites of one run that lease the same machine: who finds none left waits for one that another gives back."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from ci_runner.execution.session import Cancellation

WATCH_SECONDS = 0.2


class Turns:
    """What this run holds and asks for now, by the machine's name in the configuration."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._busy: Counter[str] = Counter()  # held, or asked for now
        self._held: Counter[str] = Counter()
        self._freed: Counter[str] = Counter()  # held once and given back since

    def turn(self, machine: str) -> Turn:
        """One suite's part in it, for the length of a block."""
        return Turn(self, machine)

    def enter(self, machine: str) -> int:
        """Somebody asks for one; how many had been given back until then."""
        with self._changed:
            self._busy[machine] += 1
            return self._freed[machine]

    def hold(self, machine: str) -> None:
        """Somebody who asked for one has it."""
        with self._changed:
            self._held[machine] += 1

    def held(self, machine: str) -> bool:
        """Whether somebody has one."""
        with self._changed:
            return self._held[machine] > 0

    def leave(self, machine: str, *, held: bool) -> None:
        """Somebody gave one back, or asks for none any more."""
        with self._changed:
            self._busy[machine] -= 1
            self._held[machine] -= held
            self._freed[machine] += held
            self._changed.notify_all()

    def another(self, machine: str, seen: int, seconds: float) -> bool | None:
        """Whether one was given back since `seen`, waiting so long for it; False if nobody has one to give back."""

        def known() -> bool:
            return self._freed[machine] != seen or not self._busy[machine]

        with self._changed:
            if not self._changed.wait_for(known, seconds):
                return None
            return self._freed[machine] != seen


class Turn:
    """One suite that asks for a machine, holds it and gives it back."""

    def __init__(self, turns: Turns, machine: str) -> None:
        self._turns = turns
        self._machine = machine
        self._in = self._held = False
        self._seen = 0

    def __enter__(self) -> Self:
        self._seen, self._in = self._turns.enter(self._machine), True
        return self

    def __exit__(self, *_exc: object) -> None:
        self._leave()

    def holds(self) -> None:
        """The machine is there."""
        self._turns.hold(self._machine)
        self._held = True

    def again(self, cancellation: Cancellation, waiting: Callable[[], object]) -> bool:
        """After a refusal: wait for a machine that another suite gives back; False if none has one to give.

        `waiting` is called once it is known that another has one. Raises Cancelled if the run is to stop meanwhile.
        """
        self._leave()
        told, wait = False, 0.0
        while (found := self._turns.another(self._machine, self._seen, wait)) is None:
            wait = WATCH_SECONDS
            if not told and self._turns.held(self._machine):
                waiting()
                told = True
            cancellation.check()
        if found:
            self.__enter__()
        return found

    def _leave(self) -> None:
        if self._in:
            self._in = False
            self._turns.leave(self._machine, held=self._held)
