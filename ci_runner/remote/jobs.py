"""What every Shell does the same way: check a job, write it down for the supervisor, read its status, match globs."""

from __future__ import annotations

import dataclasses
import fnmatch
import json
from collections.abc import Callable, Mapping
from typing import Any

from ci_runner.remote.base import Job, JobStatus

LEASE_VARIABLE = "CI_RUNNER_LEASE"  # marks every process of a lease, so that what escaped can be found
JOB_VARIABLE = "CI_RUNNER_JOB"
GLOB_DEPTH = 200  # folders below each other that a glob looks into
UNKNOWN_EXIT = -9  # nothing is known but that the command is dead: it was killed with its supervisor


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


def glob_parts(pattern: str) -> list[str] | None:
    """The segments of a glob; None for one that means a place outside of the folder it is relative to."""
    if pattern.startswith("/") or "\0" in pattern:
        return None
    parts = [part for part in pattern.split("/") if part not in ("", ".")]
    return None if ".." in parts or not parts else parts


def matches_segment(pattern: str, name: str) -> bool:
    """Whether one segment matches one name; a wildcard at the start leaves hidden names out, as in a shell."""
    if name.startswith(".") and not pattern.startswith("."):
        return False
    return name == pattern or fnmatch.fnmatchcase(name, pattern)


def walk(
    parts: list[str],
    listing: Callable[[str], Mapping[str, bool]],
    prefix: str = "",
    seen: set[Any] | None = None,
) -> set[str]:
    """The paths that a glob matches in a tree, asked for folder by folder.

    `listing(path)` gives names and whether `**` may enter them: a folder that is no symbolic link.
    """
    seen = set() if seen is None else seen
    key = (prefix, len(parts))
    if key in seen:
        return set()
    seen.add(key)
    first, rest = parts[0], parts[1:]
    found: set[str] = set()
    if prefix.count("/") >= GLOB_DEPTH:
        return found
    if first == "**" and rest:
        found |= walk(rest, listing, prefix, seen)
    for name, enter in listing(prefix).items():
        path = f"{prefix}/{name}" if prefix else name
        if first == "**":
            if name.startswith("."):
                continue
            found |= {path} if not rest else set()
            found |= walk(parts, listing, path, seen) if enter else set()
        elif matches_segment(first, name):
            found |= walk(rest, listing, path, seen) if rest else {path}
    return found
