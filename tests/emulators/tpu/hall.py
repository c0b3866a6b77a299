"""Nodes whose workers are loopback machines: metadata is applied as the guest agent of a TPU VM does."""

from __future__ import annotations

from collections.abc import Mapping

from tests.emulators.machines import LoopbackMachine, Machines


class LoopbackHall:
    """Boots a machine for every worker of a node."""

    def __init__(self, machines: Machines) -> None:
        self._machines = machines

    def boot(self, name: str, metadata: Mapping[str, str]) -> LoopbackMachine:
        """Start a worker; its boot script runs on."""
        return self._machines.start(name, metadata.get("startup-script"), metadata)

    def kill(self, name: str) -> None:
        """Switch a worker off and forget it."""
        self._machines.remove(name)
