"""A pool of hosts on loopback, and providers that lend them."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from ci_runner.model import MachineSpec
from ci_runner.providers.ssh import SshProvider
from ci_runner.remote.keys import LeaseKeys
from tests.emulators.machines import Machines, user


class Pool:
    """Hosts that know a person's key and are known by theirs."""

    def __init__(self, names: Sequence[str] = ("one", "two")) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="pool-")
        self.folder = Path(self._folder.name)
        self.keys = LeaseKeys.make(self.folder / "person", "person")
        self.machines = Machines(self.folder / "machines")
        for name in names:
            self.machines.start(name, user_metadata={"ssh-keys": f"{user()}:{self.keys.public}"})
        hosts = [self.machines[name] for name in names]
        self.machine = MachineSpec(
            name="lab",
            provider="ssh",
            options={
                "hosts": ", ".join(f"{user()}@{host.address}:{host.port}" for host in hosts),
                "host-keys": ",".join(host.host_key for host in hosts),
                "identity": str(self.keys.private_path),
            },
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.machines.close()
        self._folder.cleanup()

    def provider(self) -> SshProvider:
        """A provider as another process would have it."""
        return SshProvider(self.folder / "pools", os.environ)

    def holdings(self) -> list[str]:
        """What is left of leases on the hosts: locks and folders."""
        places = self.machines.folder.glob("*/home/.ci-runner/*")
        return [
            str(place.relative_to(self.machines.folder)) for place in places if place.name != "lock.guard"
        ]
