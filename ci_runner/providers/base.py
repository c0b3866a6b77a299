"""The Provider protocol. Its docstrings are contracts: tests/contract holds every implementation to them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ci_runner.model import Lease, LeaseState, MachineSpec
    from ci_runner.remote.base import Shell


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """One way to get a machine: where, of what type, spot or not, at what price."""

    machine: MachineSpec
    zone: str | None = None
    spot: bool = False
    price_per_hour: float = 0.0
    accelerators: int | None = None  # that each host of it must show; None: nobody knows

    def __str__(self) -> str:
        """`us-central1-b v6e-1 spot`."""
        what = (self.zone, self.machine.type or self.machine.name, "spot" if self.spot else None)
        return " ".join(part for part in what if part)


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """What is to be staged on the machine: the repository, the commit, and whether the person's changes go along."""

    root: str
    commit: str | None  # None: not a git repository, the folder is copied
    with_changes: bool = False


class Provider(Protocol):
    """Where machines come from. A lease exists, and is recorded, before `acquire` is called with it."""

    @property
    def name(self) -> str:
        """The name in `[machines.*] provider`."""
        ...

    def offers(self, machine: MachineSpec) -> Sequence[Offer]:
        """The ways to get this machine, best first. Raises ConfigurationError if the machine cannot exist."""
        ...

    def acquire(self, lease: Lease, offer: Offer, source: Source, *, seconds: float) -> Lease:
        """Make the machine exist and ready under the lease's id, with the source staged.

        Calling it again with the same lease adopts what is there and bears its id. On any failure nothing is left
        behind that `release` with the same lease would not remove. Raises ProviderError if the machine cannot be
        had, MachineError if it was had and cannot be used.
        """
        ...

    def shell(self, lease: Lease) -> Shell:
        """A way to speak to the machine of a ready lease."""
        ...

    def describe(self, lease: Lease) -> LeaseState:
        """The state of the machine now; GONE if there is none."""
        ...

    def notice(self, lease: Lease, shell: Shell) -> str | None:
        """Why the machine is about to be taken away, if its cloud has said so; None otherwise.

        Asked every few seconds while a suite runs on a spot machine; it must answer quickly.
        """
        ...

    def release(self, lease: Lease) -> None:
        """Give the machine back with everything that was made for it. If it does not exist, return silently."""
        ...

    def start(self, lease: Lease) -> None:
        """Start a machine that was stopped; one that runs is left alone. Raises UsageError where that cannot be."""
        ...

    def stop(self, lease: Lease) -> None:
        """Stop a machine without giving it back; a stopped one is left alone. Raises UsageError where that cannot be."""
        ...

    def restart(self, lease: Lease) -> None:
        """Restart a machine. Raises UsageError where that cannot be."""
        ...

    def mark(self, lease: Lease, at: float) -> None:
        """Write on the machine that the reaper saw it expired at this time (`identity.marked_at` reads it back).

        Absent is success. A machine that is not marked is never reaped, except by `reap --all`.
        """
        ...

    def leases(self, owner: str | None = None) -> list[Lease]:
        """Every machine of ours that exists, found by label and not by memory; of one owner if named."""
        ...
