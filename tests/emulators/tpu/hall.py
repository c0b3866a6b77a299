"""Nodes whose workers are loopback machines: metadata is applied as the guest agent of a TPU VM does."""

from __future__ import annotations

from collections.abc import Mapping

from tests.emulators.machines import LoopbackMachine, Machines


class LoopbackHall:
    """Boots a machine for every worker of a node."""

    def __init__(self, machines: Machines) -> None:
        self._machines = machines

    def boot(self, name: str, metadata: Mapping[str, str], chips: int) -> LoopbackMachine:
        """Start a worker; its boot script runs on."""
        devices = [f"accel{number}" for number in range(chips)]
        return self._machines.start(name, metadata.get("startup-script"), metadata, devices=devices)

    def kill(self, name: str) -> None:
        """Switch a worker off and forget it."""
        self._machines.remove(name)
