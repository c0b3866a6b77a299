"""Follows a running job: new sidecar lines to the listener, new output to the terminal, cancellation to the machine."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ci_runner.errors import CiRunnerError, MachineError
from ci_runner.model import Attempt, CaseResult, Outcome

if TYPE_CHECKING:
    from ci_runner.execution.session import Session
    from ci_runner.remote.base import Job, JobStatus, Shell

TICK_SECONDS = 0.1
NOTICE_SECONDS = 5.0  # AWS asks for this pace, and gives two minutes
CHUNK = 1 << 20
OUTCOMES = {
    "passed": Outcome.PASSED,
    "xpassed": Outcome.PASSED,
    "failed": Outcome.FAILED,
    "errored": Outcome.ERRORED,
    "skipped": Outcome.SKIPPED,
    "xfailed": Outcome.SKIPPED,
}

logger = logging.getLogger(__name__)


class Follower:
    """Reads a growing file on the machine from where it stopped, and keeps a copy if the machine is elsewhere."""

    def __init__(self, shell: Shell, remote: str, local: Path) -> None:
        self._shell = shell
        self._remote = remote
        self._copy = None if remote == str(local) else local
        self.offset = 0

    @property
    def elsewhere(self) -> bool:
        """Whether the file is on another machine, so that every byte has to be fetched."""
        return self._copy is not None

    def read(self) -> bytes:
        """The bytes that are new since the last call, at most one chunk."""
        data = self._shell.read(self._remote, offset=self.offset, limit=CHUNK)
        if data:
            self.offset += len(data)
            if self._copy is not None:
                try:
                    with self._copy.open("ab") as file:
                        file.write(data)
                except OSError as error:  # a write does not say to which file
                    raise OSError(error.errno, error.strerror, str(self._copy)) from error
        return data


class SidecarWatch:
    """Turns sidecar bytes into calls of the listener; what cannot be read is left to the final reading."""

    def __init__(self, session: Session, attempt: Attempt, quiet: bool = False) -> None:
        self._session = session
        self._attempt = attempt
        self._quiet = quiet
        self._rest = b""

    def feed(self, data: bytes) -> None:
        """Take new bytes; a line that is not complete waits for its rest."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            if self._quiet:
                continue
            try:
                entry = json.loads(line)
            except ValueError:
                continue  # the final reading counts and reports it
            if isinstance(entry, dict):
                self._tell(entry)

    def _tell(self, entry: Mapping[str, Any]) -> None:
        listener, attempt = self._session.listener, self._attempt
        match entry.get("event"):
            case "collected":
                listener.collected(attempt, [str(test) for test in entry.get("tests") or ()])
            case "start":
                listener.test_started(attempt, str(entry.get("id")))
            case "end" if entry.get("outcome") in OUTCOMES:
                listener.test_ended(attempt, _case(entry, attempt))
            case _:
                pass


def _case(entry: Mapping[str, Any], attempt: Attempt) -> CaseResult:
    message, file, line = entry.get("message"), entry.get("file"), entry.get("line")
    duration = entry.get("duration")
    return CaseResult(
        id=str(entry.get("id")),
        outcome=OUTCOMES[entry["outcome"]],
        suite=attempt.suite,
        duration_seconds=float(duration) if isinstance(duration, (int, float)) else 0.0,
        message=message if isinstance(message, str) else None,
        file=file if isinstance(file, str) else None,
        line=line if isinstance(line, int) else None,
        attempt=attempt.id,
    )


def follow(
    session: Session,
    shell: Shell,
    job: Job,
    attempt: Attempt,
    *,
    sidecar: Follower | None,
    log: Follower,
    quiet: bool = False,
    notice: Callable[[], str | None] | None = None,
) -> JobStatus:
    """Wait for the end of a job, telling what it does meanwhile; on cancellation end it and wait for that.

    Raises MachineError if the machine is about to be taken away: then what it wrote so far has been fetched.
    """
    watch = SidecarWatch(session, attempt, quiet)
    warning = Forewarning(notice) if notice is not None else None
    cancelled = False
    session.when_busy()
    while True:
        status = shell.wait(job, seconds=TICK_SECONDS)
        _drain(session, attempt, watch, sidecar, log, everything=status is not None)
        if status is not None:
            return status
        if session.cancellation.requested and not cancelled:
            cancelled = True
            shell.cancel(job)
        if warning is not None and (reason := warning.said()) is not None:
            shell.cancel(job)
            shell.wait(job, seconds=job.term_grace_seconds + TICK_SECONDS)
            _drain(session, attempt, watch, sidecar, log, everything=True)
            raise MachineError(f"the machine is being taken away: {reason}")


class Forewarning:
    """Asks the cloud now and then whether it is about to take the machine away."""

    def __init__(self, ask: Callable[[], str | None]) -> None:
        self._ask = ask
        self._next = 0.0

    def said(self) -> str | None:
        """The reason, if there is one; a question that cannot be asked now is asked again later."""
        if time.monotonic() < self._next:
            return None
        self._next = time.monotonic() + NOTICE_SECONDS
        try:
            return self._ask()
        except CiRunnerError as error:
            logger.info("nobody says whether the machine stays: %s", error)
            return None


def _drain(
    session: Session,
    attempt: Attempt,
    watch: SidecarWatch,
    sidecar: Follower | None,
    log: Follower,
    *,
    everything: bool,
) -> None:
    while sidecar is not None:
        data = sidecar.read()
        if not data:
            break
        watch.feed(data)
    while session.live_output or log.elsewhere:
        data = log.read()
        if data and session.live_output:
            session.listener.output(attempt, data)
        if not data or not everything:
            break
