"""A Shell in memory: jobs follow a script, files are a mapping, and the clock moves when a test moves it."""

from __future__ import annotations

import dataclasses
import posixpath
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ci_runner.errors import MachineError
from ci_runner.remote import jobs
from ci_runner.remote.base import Completed, Job, JobStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class Scripted:
    """What a job does: runs so long on the fake clock, prints, leaves files, and ends so."""

    exit_code: int = 0
    seconds: float = 0.0
    output: bytes = b""
    files: Mapping[str, bytes] = field(default_factory=dict)  # relative to `work`
    error: str | None = None
    lost: bool = False  # its supervisor is killed


@dataclass(slots=True)
class _Started:
    job: Job
    script: Scripted
    at: float
    cancelled_at: float | None = None
    status: JobStatus | None = None


class FakeShell:
    """Speaks to a machine that does not exist; it holds callers to the same rules as the real ones."""

    def __init__(self, *, lease_id: str = "fake", root: str = "/fake") -> None:
        self.now = 0.0
        self.files: dict[str, bytes] = {}
        self.modes: dict[str, int] = {}
        self.scripts: dict[str, Scripted] = {}  # job id → what it does; unknown jobs succeed at once
        self.answers: Callable[[Sequence[str], bytes], Completed] = lambda _argv, _stdin: Completed(
            exit_code=0, stdout=b"", stderr=b""
        )
        self.started: list[Job] = []
        self.broken: str | None = None  # the reason why the machine cannot be reached, if it cannot
        self._lease_id = lease_id
        self._root = root
        self._jobs: dict[str, _Started] = {}

    @property
    def work(self) -> str:
        """The folder with the staged commit."""
        return f"{self._root}/work"

    @property
    def scratch(self) -> str:
        """The folder for files of ours."""
        return f"{self._root}/scratch"

    def job_folder(self, attempt_folder: Path) -> str:
        """One folder for each attempt in `scratch`, as on a machine elsewhere."""
        return f"{self.scratch}/jobs/{attempt_folder.name}"

    def start(self, job: Job) -> None:
        """Start a job; it ends when the clock has moved far enough."""
        jobs.check_job(job)
        self._reach()
        if job.id in self._jobs:
            raise ValueError(f"job {job.id} was started already")
        self.started.append(job)
        self._jobs[job.id] = _Started(job, self.scripts.get(job.id, Scripted()), self.now)
        self.files[f"{job.folder}/job.json"] = jobs.job_document(job, self._lease_id)
        self._advance(self._jobs[job.id])

    def poll(self, job: Job) -> JobStatus | None:
        """None while the job runs; afterwards how it ended."""
        self._reach()
        if job.id not in self._jobs:
            raise MachineError(f"job {job.id} was never started on lease {self._lease_id}")
        return self._advance(self._jobs[job.id])

    def wait(self, job: Job, *, seconds: float) -> JobStatus | None:
        """Move the clock to the job's end, or by so many seconds if that is sooner."""
        status = self.poll(job)
        if status is None:
            self.now = min(self.now + seconds, max(self.now, self._end(self._jobs[job.id])))
            status = self.poll(job)
        return status

    def cancel(self, job: Job) -> None:
        """End a job that runs at the present moment."""
        self._reach()
        started = self._jobs.get(job.id)
        if started is not None and started.status is None and started.cancelled_at is None:
            started.cancelled_at = self.now

    def run(
        self, argv: Sequence[str], *, seconds: float, cwd: str | None = None, stdin: bytes = b""
    ) -> Completed:
        """Answer as `answers` says."""
        self._reach()
        if not argv or seconds <= 0 or (cwd is not None and not cwd.startswith("/")):
            raise ValueError("a helper command needs words, time and an absolute folder")
        return self.answers(argv, stdin)

    def read(self, path: str, *, offset: int = 0, limit: int = 1 << 20) -> bytes:
        """Part of a file; empty if there is none."""
        self._reach()
        return self.files.get(path, b"")[offset : offset + limit]

    def write(self, path: str, data: bytes, *, mode: int = 0o644) -> None:
        """Keep a file."""
        self._reach()
        if not path.startswith("/"):
            raise ValueError(f"not an absolute path: {path!r}")
        self.files[path], self.modes[path] = data, mode

    def glob(self, pattern: str) -> list[str]:
        """Paths that a glob matches in `work`."""
        self._reach()
        parts = jobs.glob_parts(pattern)
        if parts is None:
            return []

        def listing(path: str) -> dict[str, bool]:
            prefix = posixpath.join(self.work, path, "")
            below = [name.removeprefix(prefix) for name in self.files if name.startswith(prefix)]
            return {name.split("/", 1)[0]: "/" in name for name in below}

        return sorted(jobs.walk(parts, listing))

    def _reach(self) -> None:
        if self.broken is not None:
            raise MachineError(self.broken, where=self._root)

    def _end(self, started: _Started) -> float:
        end = started.at + started.script.seconds
        if started.job.timeout_seconds is not None:
            end = min(end, started.at + started.job.timeout_seconds)
        return end if started.cancelled_at is None else min(end, started.cancelled_at)

    def _advance(self, started: _Started) -> JobStatus | None:
        end = self._end(started)
        if started.status is None and self.now >= end:
            started.status = self._conclude(started, end)
        return started.status

    def _conclude(self, started: _Started, end: float) -> JobStatus:
        job, script = started.job, started.script
        self.files[job.log] = self.files.get(job.log, b"") + script.output
        for path, data in script.files.items():
            self.files[f"{self.work}/{path}"] = data
        if script.lost:
            return jobs.lost_status(started.at, end)
        status = JobStatus(
            exit_code=script.exit_code, error=script.error, started_at=started.at, ended_at=end
        )
        if end < started.at + script.seconds:
            cancelled = started.cancelled_at == end
            status = dataclasses.replace(status, exit_code=-15, cancelled=cancelled, timed_out=not cancelled)
        return status
