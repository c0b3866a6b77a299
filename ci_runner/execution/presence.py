"""Asks a cloud whether a leased machine is still there, while its connection may be waiting for it to come back."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ci_runner.errors import CiRunnerError, MachineError
from ci_runner.model import Lease, LeaseState

if TYPE_CHECKING:
    from ci_runner.providers.base import Provider
    from ci_runner.remote.base import Shell

ASK_SECONDS = 5.0
AWAY = {LeaseState.PREEMPTED: "it was preempted", LeaseState.GONE: "it is gone"}

log = logging.getLogger(__name__)


@contextmanager
def watched(provider: Provider, lease: Lease, shell: Shell) -> Iterator[None]:
    """Within it, a machine that its cloud has taken away is not waited for: its connection is closed.

    A connection may be away for minutes and come back. Raises MachineError with the cloud's word if the machine does not.
    """
    if lease.machine.provider == "local":
        yield
        return
    presence = Presence(provider, lease, lambda: _close(shell))
    presence.start()
    try:
        yield
    except MachineError as error:
        if presence.away is not None:
            raise MachineError(f"the machine was taken away: {presence.away}", where=lease.id) from error
        raise
    finally:
        presence.stop()


def _close(shell: Shell) -> None:
    from ci_runner.remote.machine import close_shell

    close_shell(shell)


class Presence:
    """A thread that asks for the state of one machine."""

    def __init__(self, provider: Provider, lease: Lease, give_up: Callable[[], object]) -> None:
        self.away: str | None = None
        self._provider = provider
        self._lease = lease
        self._give_up = give_up
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._ask, name=f"presence of {lease.id}", daemon=True)

    def start(self) -> None:
        """Begin to ask."""
        self._thread.start()

    def stop(self) -> None:
        """Ask no more; a question that is under way is not waited for."""
        self._over.set()

    def _ask(self) -> None:
        while not self._over.wait(ASK_SECONDS):
            try:
                state = self._provider.describe(self._lease)
            except CiRunnerError as error:
                log.info("nobody says whether machine %s is there: %s", self._lease.id, error)
                continue
            if state in AWAY and not self._over.is_set():
                self.away = AWAY[state]
                self._give_up()
                return
