"""A provider in memory: leases are entries of a mapping, machines are fake shells, and faults happen on demand."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

from ci_runner.errors import CiRunnerError, ConfigurationError, MachineError
from ci_runner.model import Lease, LeaseState, MachineSpec
from ci_runner.providers.base import Offer, Source
from ci_runner.providers.leases import check_lease
from ci_runner.remote.base import Shell
from ci_runner.remote.fake import FakeShell


class FakeProvider:
    """Lends machines that do not exist, by the rules of those that do."""

    def __init__(
        self, *, name: str = "fake", offers: Callable[[MachineSpec], Sequence[Offer]] | None = None
    ) -> None:
        self.fail_next: list[CiRunnerError] = []  # each is raised once, by the next calls of `acquire`
        self.sources: dict[str, Source] = {}  # lease id → what was staged
        self.released: list[str] = []
        self.notices: dict[str, str] = {}  # lease id → why it will be taken away
        self.refused: dict[
            str, list[CiRunnerError]
        ] = {}  # lease id → for its `release` and `mark`, once each
        self.lingering: set[str] = set()  # lease ids whose deletion takes longer than a test
        self.unreachable: CiRunnerError | None = None  # raised by every listing
        self._name = name
        self._offers = offers
        self._leases: dict[str, Lease] = {}
        self._shells: dict[str, FakeShell] = {}

    @property
    def name(self) -> str:
        """The name it was given."""
        return self._name

    def offers(self, machine: MachineSpec) -> Sequence[Offer]:
        """One offer for each zone, or one without a zone. Raises ConfigurationError for the type `impossible`."""
        if machine.type == "impossible":
            raise ConfigurationError(
                f'no machine has type "{machine.type}"', where=f"machines.{machine.name}.type"
            )
        if self._offers is not None:
            return self._offers(machine)
        return tuple(Offer(machine=machine, zone=zone) for zone in machine.zones or (None,))

    def acquire(self, lease: Lease, offer: Offer, source: Source, *, seconds: float) -> Lease:
        """Make an entry for the lease, or adopt the one that there is; faults leave a requested one behind."""
        check_lease(lease)
        if seconds <= 0:
            raise ValueError(f"lease {lease.id}: no time to acquire it")
        there = self._leases.setdefault(lease.id, dataclasses.replace(lease, state=LeaseState.REQUESTED))
        if there.state is LeaseState.READY:
            return there
        if self.fail_next:
            raise self.fail_next.pop(0)
        ready = dataclasses.replace(
            lease,
            state=LeaseState.READY,
            address="fake",
            zone=offer.zone,
            spot=offer.spot,
            price_per_hour=offer.price_per_hour,
        )
        self._leases[lease.id] = ready
        self.sources[lease.id] = source
        self._shells[lease.id] = FakeShell(lease_id=lease.id, root=f"/fake/{lease.id}")
        return ready

    def shell(self, lease: Lease) -> FakeShell:
        """The fake machine of a ready lease. Raises MachineError if there is none."""
        if lease.id not in self._shells:
            raise MachineError(f"lease {lease.id} is not ready")
        return self._shells[lease.id]

    def describe(self, lease: Lease) -> LeaseState:
        """The state of the entry; GONE without one."""
        check_lease(lease)
        found = self._leases.get(lease.id)
        return found.state if found else LeaseState.GONE

    def notice(self, lease: Lease, _shell: Shell) -> str | None:
        """What a test put there."""
        return self.notices.get(lease.id)

    def release(self, lease: Lease) -> None:
        """Forget the entry, and break the shells that were handed out."""
        check_lease(lease)
        self._refuse(lease)
        shell = self._shells.pop(lease.id, None)
        if shell is not None:
            shell.broken = "the machine is gone"
        if lease.id in self.lingering and lease.id in self._leases:
            self._change(lease, LeaseState.RELEASING)
            return
        if self._leases.pop(lease.id, None) is not None:
            self.released.append(lease.id)

    def start(self, lease: Lease) -> None:
        """Make a stopped entry ready."""
        self._change(lease, LeaseState.READY)

    def stop(self, lease: Lease) -> None:
        """Let the entry wait without a machine."""
        self._change(lease, LeaseState.STOPPED)

    def restart(self, lease: Lease) -> None:
        """Stop and start."""
        self.stop(lease)
        self.start(lease)

    def mark(self, lease: Lease, at: float) -> None:
        """Write the reaper's visit on the entry."""
        self._refuse(lease)
        found = self._leases.get(lease.id)
        if found is not None:
            labels = {**found.labels, "reap": str(int(at))}
            self._leases[lease.id] = dataclasses.replace(found, labels=labels)

    def _refuse(self, lease: Lease) -> None:
        if self.refused.get(lease.id):
            raise self.refused[lease.id].pop(0)

    def _change(self, lease: Lease, state: LeaseState) -> None:
        if lease.id not in self._leases:
            raise MachineError(f"lease {lease.id} has no machine")
        self._leases[lease.id] = dataclasses.replace(self._leases[lease.id], state=state)

    def preempt(self, lease: Lease) -> None:
        """Take the machine away, as a cloud does."""
        self._leases[lease.id] = dataclasses.replace(self._leases[lease.id], state=LeaseState.PREEMPTED)
        self._shells[lease.id].broken = "connection lost"

    def leases(self, owner: str | None = None) -> list[Lease]:
        """Every entry; of one owner if named."""
        if self.unreachable is not None:
            raise self.unreachable
        return [lease for lease in self._leases.values() if owner is None or lease.owner == owner]
