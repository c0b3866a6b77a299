"""What `ci-runner doctor` finds: one value for each thing it looked at, and what a provider may add of its own."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from ci_runner.errors import MACHINE, CiRunnerError

if TYPE_CHECKING:
    from ci_runner.model import MachineSpec


class Health(StrEnum):
    """How one check ended; only `failed` keeps a run from working."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One thing that was looked at: its name, how it is, in words, and what would mend it."""

    name: str  # credentials, permissions, quota, zones, image, …
    health: Health
    text: str
    fix: str | None = None
    exit_code: int = 0  # of doctor, if this is the worst that failed

    @classmethod
    def ok(cls, name: str, text: str) -> Check:
        """Nothing to do."""
        return cls(name=name, health=Health.OK, text=text)

    @classmethod
    def warning(cls, name: str, text: str, fix: str | None = None) -> Check:
        """It works, and there is something to know."""
        return cls(name=name, health=Health.WARNING, text=text, fix=fix)

    @classmethod
    def failed(cls, name: str, text: str, fix: str | None = None, *, exit_code: int = MACHINE) -> Check:
        """A run would stop here."""
        return cls(name=name, health=Health.FAILED, text=text, fix=fix, exit_code=exit_code)

    @classmethod
    def from_error(cls, name: str, error: CiRunnerError) -> Check:
        """A check that ended in an error."""
        where = f" ({error.where})" if error.where else ""
        return cls.failed(name, f"{error.what}{where}", error.fix, exit_code=error.exit_code)


@runtime_checkable
class Examines(Protocol):
    """A provider that can say more than whether it answers: who we are to it, what we may do, and how much."""

    def examine(self, machine: MachineSpec) -> Iterable[Check]:
        """The checks for one machine, in the order in which they matter; nothing is created.

        By custom: `credentials` (which identity, which project or account), `permissions` (by dry run), `quota` (for
        the type asked for), `zones` (reachable ones that have the type), `image`. What cannot be found out is a
        warning. Errors of the provider may be raised; they become a failed check.
        """
        ...
