"""What the tests of shells, supervisors and providers share: jobs, leases, repositories, and waiting for a condition."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ci_runner.execution.onboard import supervise
from ci_runner.model import Lease, MachineSpec
from ci_runner.remote.base import Job, JobStatus, Shell

PATIENCE = 30.0  # seconds until a test gives up waiting; what is measured against a bound says so itself


def until(condition: Callable[[], Any], what: str = "the condition", seconds: float = PATIENCE) -> Any:
    """Wait for a condition to become true; its value."""
    limit, pause = time.monotonic() + seconds, threading.Event()
    while not (value := condition()):
        if time.monotonic() > limit:
            raise AssertionError(f"{what} did not come true within {seconds:g} s")
        pause.wait(0.01)
    return value


def make_job(shell: Shell, folder: Path, argv: Sequence[str], *, name: str = "job", **more: Any) -> Job:
    """A job with short graces, whose files are in `folder/name`."""
    place = folder / name
    more = {"term_grace_seconds": 1.0, "stacks_grace_seconds": 2.0, "cwd": shell.work, **more}
    return Job(id=name, argv=tuple(argv), folder=shell.job_folder(place), log=str(place / "log"), **more)


def python(code: str) -> tuple[str, ...]:
    """The command that runs a piece of Python without start-up files."""
    return (sys.executable, "-I", "-S", "-c", code)


def finish(shell: Shell, job: Job, seconds: float = PATIENCE) -> JobStatus:
    """Start a job and wait for its end."""
    shell.start(job)
    return ended(shell, job, seconds)


def ended(shell: Shell, job: Job, seconds: float = PATIENCE) -> JobStatus:
    """The end of a job that runs."""
    status = shell.wait(job, seconds=seconds)
    assert status is not None, f"job {job.id} did not end within {seconds:g} s"
    return status


def is_alive(pid: int) -> bool:
    """Whether a process runs; a zombie does not."""
    found = supervise.process(pid)
    return found is not None and found.state not in "ZX"


def pid_in(path: Path) -> int:
    """The process number that a test program writes into a file, once it is there."""
    return int(until(lambda: path.exists() and path.read_text().strip(), f"a process id in {path.name}"))


# processes are ended by the id of their lease, so tests that run at the same time have different ones
LEASE = f"7f3c-unit-{os.getpid():06x}"


def make_lease(name: str = LEASE, **more: Any) -> Lease:
    """A lease for the local machine, good for an hour."""
    now = time.time()
    values: dict[str, Any] = {
        "machine": MachineSpec(name="local"),
        "owner": "someone",
        "run_id": "20260101-000000-7f3c",
        "suite": "unit",
        "created_at": now,
        "expires_at": now + 3600.0,
    }
    return Lease(id=name, **{**values, **more})


def git(folder: Path, *words: str) -> str:
    """Run git in a test's own repository; what it prints."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    env |= {
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_AUTHOR_NAME": "A",
        "GIT_AUTHOR_EMAIL": "a@example.org",
        "GIT_COMMITTER_NAME": "A",
        "GIT_COMMITTER_EMAIL": "a@example.org",
    }
    words = ("-c", "init.defaultBranch=main", "-c", "protocol.file.allow=always", *words)
    return subprocess.run(
        ["git", *words], cwd=folder, env=env, check=True, capture_output=True, text=True
    ).stdout.strip()


def make_repository(folder: Path, files: dict[str, str] | None = None) -> str:
    """A repository with one commit; the commit's id."""
    folder.mkdir(parents=True, exist_ok=True)
    git(folder, "init", "--quiet")
    for name, text in (files or {"a.txt": "one\n"}).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "first")
    return git(folder, "rev-parse", "HEAD")
