"""Every error that ci-runner shows a person: its exit code, what went wrong, and what to do about it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

OK = 0
TESTS_FAILED = 1
USAGE = 2
NO_CAPACITY = 3
QUOTA = 4
AUTHENTICATION = 5
REFUSED_BUDGET = 6
PREEMPTED = 7
MACHINE = 8
INCOMPLETE = 9
NOT_TRUSTED = 10
CANCELLED = 130

EXIT_CODES: dict[int, str] = {
    OK: "all green",
    TESTS_FAILED: "tests failed",
    USAGE: "usage or configuration",
    NO_CAPACITY: "no capacity anywhere allowed",
    QUOTA: "quota",
    AUTHENTICATION: "authentication or permission",
    REFUSED_BUDGET: "refused: budget or booking",
    PREEMPTED: "preempted more often than allowed",
    MACHINE: "machine or setup failed",
    INCOMPLETE: "results incomplete",
    NOT_TRUSTED: "refused: not trusted to spend",
    CANCELLED: "cancelled",
}


class CiRunnerError(Exception):
    """An error with a cause, a place, details of a line each, and a fix; the command line prints these and no traceback."""

    exit_code: ClassVar[int] = USAGE

    def __init__(
        self,
        what: str,
        *,
        where: str | None = None,
        fix: str | None = None,
        details: Sequence[str] = (),
    ) -> None:
        super().__init__(what)
        self.what = what
        self.where = where
        self.fix = fix
        self.details = tuple(details)

    def lines(self) -> list[str]:
        """The lines a person reads at 2 a.m.; two, if there are no details."""
        place = f" ({self.where})" if self.where else ""
        lines = [f"ci-runner: error: {self.what}{place}", *(f"  {detail}" for detail in self.details)]
        if self.fix:
            lines.append(f"fix: {self.fix}")
        return lines


class UsageError(CiRunnerError):
    """The command line asks for something that does not exist or contradicts itself."""


class ConfigurationError(CiRunnerError):
    """One or more problems in the configuration, all reported at once."""

    def __init__(
        self,
        what: str,
        *,
        where: str | None = None,
        fix: str | None = None,
        details: Sequence[str] = (),
        problems: Sequence[str] = (),
    ) -> None:
        super().__init__(what, where=where, fix=fix, details=(*problems, *details))
        self.problems = tuple(problems)


class EventError(CiRunnerError):
    """The event file cannot be read as the event it claims to be."""


class CapacityError(CiRunnerError):
    """No zone or type that is allowed has a machine to give."""

    exit_code = NO_CAPACITY


class QuotaError(CiRunnerError):
    """The account may not have that many machines of this type."""

    exit_code = QUOTA


class AuthenticationError(CiRunnerError):
    """The cloud or GitHub does not know us, or does not allow this."""

    exit_code = AUTHENTICATION


class BudgetError(CiRunnerError):
    """The money or the time slot is not there."""

    exit_code = REFUSED_BUDGET


class PreemptionError(CiRunnerError):
    """The machine was taken away more often than the configuration allows."""

    exit_code = PREEMPTED


class MachineError(CiRunnerError):
    """The machine, or the preparation of it, failed; no test is to blame."""

    exit_code = MACHINE


class GitHubError(CiRunnerError):
    """GitHub cannot be reached, or does not do what it is asked."""

    exit_code = MACHINE


class SetupError(MachineError):
    """A setup command of a suite failed on the machine."""


def disk_error(error: OSError) -> SetupError:
    """What it means that this machine, the one that runs ci-runner, cannot keep a file: no test is to blame."""
    return SetupError(
        f"this machine cannot keep the results: {error.strerror or error}",
        where=str(error.filename) if error.filename else None,
        fix="make room there, or name a folder on another disk with --out",
    )


class ResultsError(CiRunnerError):
    """The results cannot be trusted: missing, truncated or contradictory."""

    exit_code = INCOMPLETE


class TrustError(CiRunnerError):
    """Whoever caused this event may not spend money or use credentials."""

    exit_code = NOT_TRUSTED


class Cancelled(CiRunnerError):  # noqa: N818 - it is what happened, not a fault
    """A person or the CI system stopped the run."""

    exit_code = CANCELLED
