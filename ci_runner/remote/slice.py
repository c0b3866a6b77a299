"""The Shell of a machine that is several: one command on all of its hosts, one answer, and the worker that failed named."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from ci_runner.errors import MachineError
from ci_runner.remote.channel import parts_of
from ci_runner.remote.ssh_words import last_words

if TYPE_CHECKING:
    from ci_runner.remote.base import Completed, Job, JobStatus
    from ci_runner.remote.openssh import OpenSSHShell

NUMBER_VARIABLE = "CI_RUNNER_WORKER"  # counted from 0, as the cloud does
COUNT_VARIABLE = "CI_RUNNER_WORKERS"
TAIL_BYTES = 16 * 1024  # of the log of a worker that failed, for the log that people read
APPEND_SECONDS = 30.0
JOBS = 4  # how many callers may be at it at once

T = TypeVar("T")


class SliceShell:
    """Speaks to all workers on behalf of one lease. Results, files and the log are those of worker 0."""

    def __init__(self, shells: Sequence[OpenSSHShell]) -> None:
        if not shells:
            raise ValueError("a slice has at least one worker")
        self._shells = list(shells)
        self._pool = concurrent.futures.ThreadPoolExecutor(JOBS * len(shells), thread_name_prefix="slice")
        self._ended: dict[str, JobStatus] = {}

    @property
    def workers(self) -> int:
        """How many hosts there are."""
        return len(self._shells)

    @property
    def work(self) -> str:
        """The folder with the staged commit."""
        return self._shells[0].work

    @property
    def scratch(self) -> str:
        """The folder for files of ours."""
        return self._shells[0].scratch

    def job_folder(self, attempt_folder: Path) -> str:
        """A folder in `scratch`, the same on each worker."""
        return self._shells[0].job_folder(attempt_folder)

    def start(self, job: Job) -> None:
        """Start the job on all workers; if one cannot start it, none goes on."""
        try:
            self._each(lambda number, shell: shell.start(self._job(job, number)))
        except MachineError:
            self.cancel(job)
            raise

    def poll(self, job: Job) -> JobStatus | None:
        """None while the job runs on any worker."""
        return self.wait(job, seconds=0.0)

    def wait(self, job: Job, *, seconds: float) -> JobStatus | None:
        """Wait up to so long for the end on all workers."""
        if job.id in self._ended:
            return self._ended[job.id]
        limit = time.monotonic() + seconds
        found = self._each(
            lambda number, shell: shell.wait(
                self._job(job, number), seconds=max(0.0, limit - time.monotonic())
            )
        )
        statuses = [status for status in found if status is not None]
        if len(statuses) < len(found):
            return None
        merged, failed = merge(statuses)
        if failed:  # the log of worker 0 is the job's own
            self._tell(job, failed, statuses[failed])
        self._ended[job.id] = merged
        return merged

    def cancel(self, job: Job) -> None:
        """Ask all supervisors to end the job."""
        self._each(lambda number, shell: shell.cancel(self._job(job, number)))

    def run(
        self, argv: Sequence[str], *, seconds: float, cwd: str | None = None, stdin: bytes = b""
    ) -> Completed:
        """Run a short helper command on all workers: the answer of worker 0, or of the first that failed."""
        answers = self._each(
            lambda number, shell: shell.run(
                [self._there(word, number) for word in argv],
                seconds=seconds,
                cwd=self._there(cwd, number) if cwd else None,
                stdin=stdin,
            )
        )
        for number, answer in enumerate(answers):
            if answer.exit_code != 0 and number > 0:
                name = f"worker {number} of {self.workers}: ".encode()
                return dataclasses.replace(answer, stderr=name + answer.stderr)
            if answer.exit_code != 0:
                return answer
        return answers[0]

    def read(self, path: str, *, offset: int = 0, limit: int = 1 << 20) -> bytes:
        """Part of a file of worker 0."""
        return self._shells[0].read(path, offset=offset, limit=limit)

    def read_worker(self, number: int, path: str, *, offset: int = 0, limit: int = 1 << 20) -> bytes:
        """Part of a file of any worker; the path is as on worker 0."""
        return self._shells[number].read(self._there(path, number), offset=offset, limit=limit)

    def write(self, path: str, data: bytes, *, mode: int = 0o644) -> None:
        """Put a file on all workers."""
        self._each(lambda number, shell: shell.write(self._there(path, number), data, mode=mode))

    def write_parts(self, path: str, parts: Iterable[bytes], *, mode: int = 0o644) -> int:
        """Put a large file on all workers: kept here first, so that each may take it at its own pace."""
        with tempfile.TemporaryDirectory(prefix="ci-runner-carry-") as folder:
            kept = Path(folder) / "file"
            with kept.open("wb") as file:
                size = sum(file.write(part) for part in parts)
            self._each(
                lambda number, shell: shell.write_parts(self._there(path, number), parts_of(kept), mode=mode)
            )
        return size

    def glob(self, pattern: str) -> list[str]:
        """Paths that a glob matches on worker 0."""
        return self._shells[0].glob(pattern)

    def end(self) -> None:
        """End every process of the lease on all workers and remove its folders."""
        self._each(lambda _number, shell: shell.end())

    def close(self) -> None:
        """End the connections; jobs go on."""
        threads = [threading.Thread(target=shell.close) for shell in self._shells]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self._pool.shutdown()

    def _each(self, act: Callable[[int, OpenSSHShell], T]) -> list[T]:
        """Do something on all workers at once; the first failure, when all are done, names its worker."""
        futures = [self._pool.submit(act, number, shell) for number, shell in enumerate(self._shells)]
        concurrent.futures.wait(futures)
        found = []
        for number, future in enumerate(futures):
            try:
                found.append(future.result())
            except MachineError as error:
                raise MachineError(
                    f"worker {number} of {self.workers}: {error.what}", where=error.where, fix=error.fix
                ) from error
        return found

    def _there(self, text: str, number: int) -> str:
        """A path of worker 0 as it is on another: the homes need not be the same."""
        here, there = self._shells[0].base, self._shells[number].base
        return text if here == there else text.replace(here, there)

    def _job(self, job: Job, number: int) -> Job:
        """The job as one worker runs it."""

        def there(text: str) -> str:
            return self._there(text, number)

        env = {name: there(value) for name, value in job.env.items()}
        env |= {NUMBER_VARIABLE: str(number), COUNT_VARIABLE: str(self.workers)}
        return dataclasses.replace(
            job,
            argv=tuple(map(there, job.argv)),
            cwd=there(job.cwd),
            folder=there(job.folder),
            log=there(job.log),
            sidecar=there(job.sidecar) if job.sidecar else None,
            env=env,
        )

    def _tell(self, job: Job, number: int, status: JobStatus) -> None:
        """Add the end of the failed worker's log to the one that people read."""
        log, size = self._there(job.log, number), 0
        while part := self._shells[number].read(log, offset=size, limit=1 << 24):
            size += len(part)
        tail = self._shells[number].read(log, offset=max(0, size - TAIL_BYTES), limit=TAIL_BYTES)
        head = f"\n[ci-runner: worker {number} of {self.workers} failed ({_how(status)}); its output ends:]\n"
        words = ["sh", "-c", 'cat >>"$1"', "sh", job.log]
        self._shells[0].run(words, seconds=APPEND_SECONDS, stdin=head.encode() + tail)


def merge(statuses: Sequence[JobStatus]) -> tuple[JobStatus, int | None]:
    """One status of all workers', and which worker's failure it tells: that of the one that failed first."""
    failed = [number for number, status in enumerate(statuses) if _has_failed(status)]
    deciding = min(failed, key=lambda number: (statuses[number].ended_at, number)) if failed else None
    decided = statuses[deciding or 0]
    cpu = [status.cpu_seconds for status in statuses if status.cpu_seconds is not None]
    memory = [status.peak_memory_bytes for status in statuses if status.peak_memory_bytes is not None]
    error = decided.error
    if error is not None and deciding is not None:
        error = f"worker {deciding} of {len(statuses)}: {last_words(error.encode())}"
    merged = dataclasses.replace(
        decided,
        error=error,
        started_at=min(status.started_at for status in statuses),
        ended_at=max(status.ended_at for status in statuses),
        cpu_seconds=sum(cpu) if cpu else None,
        peak_memory_bytes=max(memory) if memory else None,
        processes_left=sum(status.processes_left for status in statuses),
    )
    return merged, deciding


def _has_failed(status: JobStatus) -> bool:
    return bool(
        status.exit_code or status.timed_out or status.cancelled or status.supervisor_lost or status.error
    )


def _how(status: JobStatus) -> str:
    if status.supervisor_lost:
        return "its supervisor was killed"
    if status.timed_out:
        return "it took too long"
    return f"exit code {status.exit_code}" if status.exit_code >= 0 else f"signal {-status.exit_code}"
