"""The Shell for this machine: jobs under a supervisor of their own, files read and written in place."""

from __future__ import annotations

import collections
import contextlib
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from ci_runner.errors import MachineError
from ci_runner.execution.onboard import agent, supervise
from ci_runner.remote import jobs
from ci_runner.remote.base import Completed, Job, JobStatus

SUPERVISOR_FLAGS: tuple[str, ...] = agent.SUPERVISOR_FLAGS
ONBOARD = str(Path(supervise.__file__).parent)
# Imported, so that its byte code is kept: as a script it would be compiled at every start.
START = "import sys; sys.path.append(sys.argv[1]); import supervise; sys.exit(supervise.main(sys.argv[2:]))"
SAID_BYTES = 64 * 1024
STOPPED_SECONDS = 1.0  # how often to look whether somebody stopped the supervisor
CLEAN_SECONDS = 10.0
# Variables through which git in a suite would work on the caller's repository, as they stand in a hook.
GIT_VARIABLES = (
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_COMMON_DIR",
    "GIT_DIR",
    "GIT_INDEX_FILE",
    "GIT_NAMESPACE",
    "GIT_OBJECT_DIRECTORY",
    "GIT_PREFIX",
    "GIT_QUARANTINE_PATH",
    "GIT_WORK_TREE",
)


class LocalShell:
    """Speaks to this machine on behalf of one lease; safe to use from several threads."""

    def __init__(self, *, lease_id: str, work: str, scratch: str, environ: Mapping[str, str]) -> None:
        self._lease_id = lease_id
        self._work = work
        self._scratch = scratch
        self._environ = {name: value for name, value in environ.items() if name not in GIT_VARIABLES}
        self._environ[jobs.LEASE_VARIABLE] = lease_id
        self._running: dict[str, _Running] = {}
        self._lock = threading.Lock()

    @property
    def work(self) -> str:
        """The folder with the staged commit."""
        return self._work

    @property
    def scratch(self) -> str:
        """The folder for files of ours."""
        return self._scratch

    def job_folder(self, attempt_folder: Path) -> str:
        """The attempt's own folder: what the job writes is in the run folder at once."""
        return str(attempt_folder.absolute())

    def start(self, job: Job) -> None:
        """Start a job under its supervisor. Raises MachineError if that cannot be started."""
        jobs.check_job(job)
        with self._lock:
            if job.id in self._running:
                raise ValueError(f"job {job.id} was started already")
            self._running[job.id] = _Running(job, self._lease_id, self._environ)

    def poll(self, job: Job) -> JobStatus | None:
        """None while the job runs; afterwards how it ended."""
        return self.wait(job, seconds=0.0)

    def wait(self, job: Job, *, seconds: float) -> JobStatus | None:
        """Wait up to so long for the end."""
        running = self._running.get(job.id)
        if running is not None:
            return running.wait(seconds)
        status = jobs.read_status(self.read(f"{job.folder}/status.json"))
        if status is None:
            raise MachineError(f"job {job.id} was never started on lease {self._lease_id}")
        return status

    def cancel(self, job: Job) -> None:
        """Ask the job's supervisor to end it."""
        running = self._running.get(job.id)
        if running is not None:
            running.cancel()

    def run(
        self, argv: Sequence[str], *, seconds: float, cwd: str | None = None, stdin: bytes = b""
    ) -> Completed:
        """Run a short helper command. Raises MachineError if it takes too long; a missing program is exit code 127."""
        try:
            process = subprocess.Popen(
                list(argv),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                cwd=cwd or self._work,
                env=self._environ,
                start_new_session=True,
            )
        except OSError as error:
            return Completed(exit_code=supervise.START_FAILED, stdout=b"", stderr=str(error).encode())
        with process:
            try:
                stdout, stderr = process.communicate(stdin, timeout=seconds)
            except BaseException as error:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                if isinstance(error, subprocess.TimeoutExpired):
                    raise MachineError(
                        f"{argv[0]} took longer than {seconds:g} s", where="this machine"
                    ) from None
                raise
        return Completed(exit_code=process.returncode, stdout=stdout, stderr=stderr)

    def read(self, path: str, *, offset: int = 0, limit: int = 1 << 20) -> bytes:
        """Part of a regular file; empty for anything else, such as a pipe that a suite left to make us wait."""
        try:
            return agent.read_part(path, offset, limit)
        except OSError as error:
            raise MachineError(f"cannot read a file: {error.strerror}", where=path) from error

    def write(self, path: str, data: bytes, *, mode: int = 0o644) -> None:
        """Put a file in place in one step, with its parent folders."""
        try:
            agent.put(path, data, mode)
        except OSError as error:
            raise MachineError(f"cannot write a file: {error.strerror}", where=path) from error

    def glob(self, pattern: str) -> list[str]:
        """Paths that a glob matches in `work`; what a symbolic link leads out of it is not among them."""
        return agent.find(self._work, pattern)


class _Running:
    """A job that was started: its supervisor, a thread that waits for it, and in the end its status."""

    def __init__(self, job: Job, lease_id: str, environ: Mapping[str, str]) -> None:
        self._job = job
        self._marker = jobs.job_marker(job, lease_id)
        self._status: JobStatus | None = None
        self._ended = threading.Event()
        self._started_at = time.time()
        folder = Path(job.folder)
        try:
            for path in (folder, Path(job.log).parent):
                path.mkdir(parents=True, exist_ok=True)
            (folder / "cancel").unlink(missing_ok=True)
            (folder / "job.json").write_bytes(jobs.job_document(job, lease_id))
            self._supervisor = _spawn(folder / "job.json", job, environ)
        except OSError as error:
            raise MachineError(
                f"cannot start job {job.id}: {error.strerror or error}", where=str(error.filename or folder)
            ) from error
        self._watcher = threading.Thread(target=self._watch, name=f"job {job.id}", daemon=True)
        self._watcher.start()

    def wait(self, seconds: float) -> JobStatus | None:
        """The status, if the job ends within so long."""
        return self._status if self._ended.wait(max(0.0, seconds)) else None

    def cancel(self) -> None:
        """Ask for the end by file and by signal: the file stays, the signal is quick."""
        if self._ended.is_set():
            return
        with contextlib.suppress(OSError):
            Path(self._job.folder, "cancel").touch()
        self._supervisor.terminate()

    def _watch(self) -> None:
        said = self._listen()
        code = self._supervisor.wait()
        for pipe in (self._supervisor.stdin, self._supervisor.stdout):
            if pipe is not None:
                pipe.close()
        lines = said.splitlines()
        status = next((found for line in reversed(lines) if (found := jobs.read_status(line))), None)
        self._status = status or self._lost(lines, code)
        self._ended.set()

    def _listen(self) -> bytes:
        """What the supervisor says until it ends; if it was stopped it is woken."""
        output = self._supervisor.stdout
        if output is None:
            raise RuntimeError("the supervisor was started without a pipe")
        fd = output.fileno()
        said: collections.deque[bytes] = collections.deque(maxlen=SAID_BYTES // 64)
        poller = select.poll()
        poller.register(fd, select.POLLIN)
        while True:
            if not poller.poll(STOPPED_SECONDS * 1000):
                found = supervise.process(self._supervisor.pid)
                if found is not None and found.state == "T":
                    self._supervisor.send_signal(signal.SIGCONT)
                continue
            data = os.read(fd, SAID_BYTES)
            if not data:
                return b"".join(said)
            said.append(data)

    def _lost(self, lines: Sequence[bytes], code: int) -> JobStatus:
        """The supervisor died: wait for its guard to clean up, and end what even so is left."""
        pids = agent.first_pids(lines)
        _await_end(pids[:1], CLEAN_SECONDS)
        supervise.end_all(lambda: self._remains(pids), CLEAN_SECONDS)
        with contextlib.suppress(OSError):
            Path(self._job.folder, ".status.json.spare").unlink(missing_ok=True)
        error = None
        if code > 0:  # it was not killed but broke, and said why
            last = lines[-1].decode("utf-8", "replace") if lines else "no reason given"
            error = f"the supervisor ended with exit code {code}: {last}"
        return jobs.lost_status(self._started_at, time.time(), error)

    def _remains(self, pids: Sequence[int]) -> list[supervise.Process]:
        """What is left of a job without supervisor: the command, what descends from it, and what bears the marker."""
        return agent.remains(supervise, self._marker, pids)


def _spawn(path: Path, job: Job, environ: Mapping[str, str]) -> subprocess.Popen[bytes]:
    """A supervisor for the job in the file; requests to end it wait until it can take them."""
    held = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGTERM, signal.SIGINT))
    try:
        return subprocess.Popen(
            [sys.executable, *SUPERVISOR_FLAGS, "-c", START, ONBOARD, str(path), "--lifeline", "0"],
            stdin=subprocess.PIPE,  # the lifeline: it ends when this process does, however it ends
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd="/",
            env={name: value for name, value in environ.items() if name not in job.unset},
            start_new_session=True,
        )
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, held)


def _await_end(pids: Sequence[int], seconds: float) -> None:
    """Wait for processes that are not our children."""
    for pid in pids:
        with contextlib.suppress(
            OSError, AttributeError
        ):  # gone already, or a system without process handles
            fd = os.pidfd_open(pid)
            try:
                select.select([fd], [], [], seconds)
            finally:
                os.close(fd)
