"""The Shell protocol: what can be done on a leased machine, wherever it is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, runtime_checkable


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A command to run under the supervisor, detached from the connection that started it.

    `folder` is where the job's own files live on the machine: job.json, status.json, stacks.txt. Paths are the
    machine's. `stdin` is always empty.
    """

    id: str
    argv: Sequence[str]
    cwd: str
    folder: str
    log: str
    env: Mapping[str, str] = field(default_factory=dict)  # added to the machine's own environment
    unset: Sequence[str] = ()  # names removed from it
    timeout_seconds: float | None = None
    term_grace_seconds: float = 10.0
    stacks_grace_seconds: float = 5.0
    sidecar: str | None = None  # its `session` lines say which processes answer a request for stacks
    log_limit_bytes: int = 256 * 1024 * 1024
    secrets: str | None = None  # a file with more variables, which is removed as soon as it was read


@dataclass(frozen=True, slots=True, kw_only=True)
class JobStatus:
    """How a job ended. `exit_code` is negative if a signal ended it; `error` says why it could not even start."""

    exit_code: int
    timed_out: bool = False
    cancelled: bool = False
    supervisor_lost: bool = False
    error: str | None = None
    started_at: float = 0.0
    ended_at: float = 0.0
    cpu_seconds: float | None = None
    peak_memory_bytes: int | None = None
    processes_left: int = 0  # processes that outlived the command and were ended with it
    log_error: str | None = None  # why its output could not be kept there
    disk_free_bytes: int | None = None  # when it ended


@dataclass(frozen=True, slots=True, kw_only=True)
class Completed:
    """The end of a short helper command."""

    exit_code: int
    stdout: bytes
    stderr: bytes


class Shell(Protocol):
    """A way to speak to one machine. Every call has a deadline; a lost connection is a MachineError."""

    @property
    def work(self) -> str:
        """The folder on the machine with the staged commit: the working directory of every suite."""
        ...

    @property
    def scratch(self) -> str:
        """A folder on the machine for files of ours that are not part of the commit; removed at release."""
        ...

    def job_folder(self, attempt_folder: Path) -> str:
        """Where a job's files belong: on this machine the attempt's own folder, elsewhere one in `scratch`."""
        ...

    def start(self, job: Job) -> None:
        """Start a job under the supervisor and return at once; it has its own process group and session."""
        ...

    def poll(self, job: Job) -> JobStatus | None:
        """None while the job runs; afterwards how it ended, the same answer every time."""
        ...

    def wait(self, job: Job, *, seconds: float) -> JobStatus | None:
        """Like poll, but waits up to so many seconds for the end, and returns at the end at once."""
        ...

    def cancel(self, job: Job) -> None:
        """Ask the supervisor to end the job and everything it started; returns at once. Absent is success."""
        ...

    def run(
        self, argv: Sequence[str], *, seconds: float, cwd: str | None = None, stdin: bytes = b""
    ) -> Completed:
        """Run a short helper command and wait for it."""
        ...

    def read(self, path: str, *, offset: int = 0, limit: int = 1 << 20) -> bytes:
        """Up to `limit` bytes of a file from `offset`; empty at its end and for a file that is not there."""
        ...

    def write(self, path: str, data: bytes, *, mode: int = 0o644) -> None:
        """Put a file on the machine, with its parent folders."""
        ...

    def glob(self, pattern: str) -> list[str]:
        """Paths that match a glob (`**` allowed) relative to `work`, sorted; never anything outside of `work`."""
        ...


@runtime_checkable
class Carries(Protocol):
    """What the shell of a machine elsewhere has beside: files that are too large to be held here in one piece."""

    def write_parts(self, path: str, parts: Iterable[bytes], *, mode: int = 0o644) -> int:
        """Put a file in place whose parts come one after the other; its size. If a part fails to come there is none."""
        ...


@runtime_checkable
class ManyHosts(Protocol):
    """What the shell of a machine with several hosts has beside: the same job's files on each of them."""

    @property
    def workers(self) -> int:
        """How many hosts there are."""
        ...

    def read_worker(self, number: int, path: str, *, offset: int = 0, limit: int = 1 << 20) -> bytes:
        """Part of a file of one host, counted from 0; the path is as on the first one."""
        ...
