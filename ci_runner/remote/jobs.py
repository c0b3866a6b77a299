"""What every Shell does the same way: check a job, write it down for the supervisor, read its status."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping

from ci_runner.execution.onboard.agent import (  # they run on machines too
    LEASE_VARIABLE,
    UNKNOWN_EXIT,
    glob_parts,
    walk,
)
from ci_runner.remote.base import Job, JobStatus

JOB_VARIABLE = "CI_RUNNER_JOB"

__all__ = [
    "JOB_VARIABLE",
    "LEASE_VARIABLE",
    "UNKNOWN_EXIT",
    "check_job",
    "glob_parts",
    "job_document",
    "job_marker",
    "lost_status",
    "read_status",
    "walk",
]


def check_job(job: Job) -> None:
    """Raise ValueError for a job that no machine could run: our mistake, told before anything starts."""
    if not job.argv or not job.argv[0]:
        raise ValueError(f"job {job.id}: no command")
    if "/" in job.id or not job.id:
        raise ValueError(f"job {job.id!r}: the id is not a name")
    for name, path in (("cwd", job.cwd), ("folder", job.folder), ("log", job.log)):
        if not path.startswith("/"):
            raise ValueError(f"job {job.id}: {name} is not an absolute path: {path!r}")
    for name in [*job.env, *job.unset]:
        if not name or "=" in name:
            raise ValueError(f"job {job.id}: not a name of a variable: {name!r}")
    if any("\0" in text for text in [*job.argv, job.cwd, job.folder, job.log, *job.env, *job.env.values()]):
        raise ValueError(f"job {job.id}: a zero byte in the command, a path or a variable")
    if job.timeout_seconds is not None and job.timeout_seconds <= 0:
        raise ValueError(f"job {job.id}: the timeout is not positive")
    if min(job.term_grace_seconds, job.stacks_grace_seconds, job.log_limit_bytes) < 0:
        raise ValueError(f"job {job.id}: a negative grace or limit")


def job_marker(job: Job, lease_id: str) -> str:
    """`NAME=value` in the environment of everything that this job starts, and of nothing else."""
    return f"{JOB_VARIABLE}={lease_id}/{job.id}"


def job_document(job: Job, lease_id: str) -> bytes:
    """job.json as the supervisor reads it."""
    name, _, value = job_marker(job, lease_id).partition("=")
    document = dataclasses.asdict(job)
    document["argv"], document["unset"] = list(job.argv), list(job.unset)
    document["env"] = {**job.env, LEASE_VARIABLE: lease_id, name: value}
    return json.dumps(document, indent=1).encode() + b"\n"


def read_status(data: bytes) -> JobStatus | None:
    """The status that a supervisor wrote; None if the bytes are not one."""
    try:
        found = json.loads(data)
    except ValueError:
        return None
    if not isinstance(found, Mapping) or not isinstance(found.get("exit_code"), int):
        return None
    known = {field.name for field in dataclasses.fields(JobStatus)}
    return JobStatus(**{name: value for name, value in found.items() if name in known})


def lost_status(started_at: float, ended_at: float, error: str | None = None) -> JobStatus:
    """The status of a job whose supervisor was killed or broke before it could say how the job ended."""
    return JobStatus(
        exit_code=UNKNOWN_EXIT, supervisor_lost=True, error=error, started_at=started_at, ended_at=ended_at
    )
