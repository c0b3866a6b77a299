"""What a run tells while it goes on; the terminal, a log and tests listen."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from ci_runner.model import Attempt, CaseResult, Lease, OfferAttempt, Plan, RunResult, SuiteResult


class Listener(Protocol):
    """Called from one thread at a time, in order; it must return quickly and never raise for foreign text."""

    def planned(self, run_id: str, plan: Plan, folder: Path) -> None:
        """The run begins; `folder` is its run folder."""
        ...

    def note(self, text: str) -> None:
        """A sentence a person should see, such as "uncommitted changes are included"."""
        ...

    def leasing(self, lease: Lease) -> None:
        """A machine is being asked for."""
        ...

    def tried(self, _lease: Lease, attempt: OfferAttempt) -> None:
        """One offer was tried: it brought the machine, or it did not."""
        ...

    def checked(self, _lease: Lease, facts: str) -> None:
        """The machine was looked at and is healthy."""
        ...

    def leased(self, lease: Lease) -> None:
        """The machine is ready."""
        ...

    def released(self, lease: Lease) -> None:
        """The machine is given back."""
        ...

    def attempt_started(self, attempt: Attempt) -> None:
        """A try begins."""
        ...

    def collected(self, attempt: Attempt, tests: Sequence[str]) -> None:
        """The tests that this attempt will run are known now."""
        ...

    def test_started(self, attempt: Attempt, test: str) -> None:
        """One test begins."""
        ...

    def test_ended(self, attempt: Attempt, case: CaseResult) -> None:
        """One test ended."""
        ...

    def output(self, attempt: Attempt, data: bytes) -> None:
        """The suite printed this; hostile bytes."""
        ...

    def attempt_ended(self, attempt: Attempt) -> None:
        """A try is over; its state, exit code and usage are filled in."""
        ...

    def suite_ended(self, result: SuiteResult) -> None:
        """A selection is judged."""
        ...

    def finished(self, result: RunResult, folder: Path) -> None:
        """The run is over and its files are written."""
        ...
