"""The ways to machines that a provider has found ready: one shell for each lease, whoever asks for it."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from ci_runner.errors import MachineError
from ci_runner.model import Lease, LeaseState

if TYPE_CHECKING:
    from ci_runner.providers.ways import Ways
    from ci_runner.remote.base import Shell


class Connections:
    """Shells by lease, and the leases that this process has seen become ready; any thread may ask."""

    def __init__(self, ways: Ways, provider: str) -> None:
        self._ways = ways
        self._provider = provider
        self._shells: dict[str, Shell] = {}
        self._ready: dict[str, Lease] = {}
        self._lock = threading.Lock()

    def ready(self, lease: Lease) -> Lease | None:
        """The lease as it was when its machine became ready here; None if that was not in this process."""
        with self._lock:
            return self._ready.get(lease.id)

    def keep(self, lease: Lease, shell: Shell) -> None:
        """A machine is ready, and this is the way to it."""
        with self._lock:
            self._shells[lease.id], self._ready[lease.id] = shell, lease

    def shell(self, lease: Lease) -> Shell:
        """A way to speak to the machine. Raises MachineError if the lease is not ready."""
        with self._lock:
            if lease.id in self._shells:
                return self._shells[lease.id]
        if lease.state is not LeaseState.READY or not lease.address:
            raise MachineError(f"lease {lease.id} is not ready", where=self._provider)
        shell = self._ways.shell_of(lease)
        with self._lock:
            return self._shells.setdefault(lease.id, shell)

    def hang_up(self, lease: Lease) -> None:
        """Let go of the connection to a machine that goes."""
        with self._lock:
            shell = self._shells.pop(lease.id, None)
            self._ready.pop(lease.id, None)
        if shell is not None:
            self._ways.close(shell)
