"""Which GitHub job this is: a name that follows from the job's own variables, so that any later step can say it again."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

SERVER = "https://github.com"
CALL_VARIABLE = "CI_RUNNER_CALL"


def workflow_run_of(environ: Mapping[str, str]) -> str:
    """The name that the machines of all jobs and attempts of this workflow run begin with; empty outside of Actions."""
    number = environ.get("GITHUB_RUN_ID", "")
    if not (number.isascii() and number.isdecimal()):
        return ""
    place = _digest(environ.get("GITHUB_SERVER_URL") or SERVER, environ.get("GITHUB_REPOSITORY", ""))
    return f"{number}-{place[:6]}-"


def job_of(environ: Mapping[str, str]) -> str:
    """The name of this job of this attempt; empty outside of Actions.

    The jobs of a matrix have one GITHUB_JOB; the runner's name tells those apart that are under way at once.
    """
    run = workflow_run_of(environ)
    if not run:
        return ""
    attempt = environ.get("GITHUB_RUN_ATTEMPT", "")
    number = attempt if attempt.isascii() and attempt.isdecimal() else "1"
    return f"{run}{number}-{_digest(environ.get('GITHUB_JOB', ''), environ.get('RUNNER_NAME', ''))[:10]}"


def call_of(environ: Mapping[str, str]) -> str:
    """How the names of machines end that this call of a reusable workflow leased; empty if the call has no name.

    Calls of one workflow in one run have the same jobs, and GitHub tells none of them from another.
    """
    call = environ.get(CALL_VARIABLE, "")
    return f"-call-{_digest(call)[:8]}" if call else ""


def mark_of(environ: Mapping[str, str]) -> str:
    """What a machine bears of the job and the call that lease it; empty outside of Actions."""
    job = job_of(environ)
    return f"{job}{call_of(environ)}" if job else ""


def _digest(*parts: str) -> str:
    """The same letters for the same parts, in the form that every cloud takes for a label."""
    return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogatepass")).hexdigest()
