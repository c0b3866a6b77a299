"""Makes a leased machine ready for a suite: our files, the interpreter, the suite's own setup commands."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ci_runner.errors import SetupError
from ci_runner.execution.pytest_suite import ONBOARD, choose_python, python_there
from ci_runner.execution.watch import Follower, follow
from ci_runner.model import Attempt, Selection
from ci_runner.remote.base import Job, JobStatus, Shell

if TYPE_CHECKING:
    from ci_runner.execution.session import Session

SHELL_FALLBACK = Path(__file__).resolve().parents[2] / "shell_fallback"
HELPER_SECONDS = 60.0
# Files and tokens through which a suite could speak for the workflow that started it (law 7).
PRIVATE = (
    "ACTIONS_CACHE_URL",
    "ACTIONS_ID_TOKEN_REQUEST_TOKEN",
    "ACTIONS_ID_TOKEN_REQUEST_URL",
    "ACTIONS_RESULTS_URL",
    "ACTIONS_RUNTIME_TOKEN",
    "ACTIONS_RUNTIME_URL",
    "GH_TOKEN",
    "GITHUB_ENV",
    "GITHUB_OUTPUT",
    "GITHUB_PATH",
    "GITHUB_STATE",
    "GITHUB_STEP_SUMMARY",
    "GITHUB_TOKEN",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A machine that a suite can run on."""

    shell: Shell
    python: str
    python_reason: str
    onboard: str  # our files on the machine
    machine: str = "local"  # its name in the configuration
    notice: Callable[[], str | None] | None = None  # why the machine is about to be taken away, if it may be
    watched: Callable[[], AbstractContextManager[None]] = (
        nullcontext  # gives up a machine that its cloud has taken
    )


def prepare(session: Session, shell: Shell, selection: Selection) -> Prepared:
    """Put our files on the machine, unless it is this one, and choose the interpreter."""
    machine = session.settings.machines[session.machine or selection.suite.machine]
    if machine.provider == "local":
        onboard = str(ONBOARD)  # where they are, byte code is kept from run to run
        choice = choose_python(
            machine, session.environ, lambda path: Path(path).exists(), session.settings.root
        )
    else:
        onboard = f"{shell.scratch}/onboard"
        for file in sorted(ONBOARD.rglob("*.py")):
            shell.write(f"{onboard}/{file.relative_to(ONBOARD).as_posix()}", file.read_bytes())
        choice = python_there(machine, shell)
    return Prepared(
        shell=shell, python=choice.path, python_reason=choice.reason, onboard=onboard, machine=machine.name
    )


def run_setup(session: Session, prepared: Prepared, selection: Selection, attempt: Attempt) -> None:
    """Run the suite's setup commands, each with the setup timeout. Raises SetupError naming the one that failed."""
    suite = selection.suite
    for number, command in enumerate(suite.setup, start=1):
        name = f"{attempt.id}.setup{number}"
        job = make_job(
            session,
            prepared.shell,
            name=name,
            argv=("bash", "-c", command),
            folder=session.folder.path / attempt.folder / f"setup{number}",
            env=suite.env,
            timeout_seconds=suite.setup_timeout_seconds,
        )
        status = run_job(session, prepared.shell, job, attempt, name)
        session.cancellation.check()
        if status.exit_code != 0 or status.timed_out or status.error:
            raise SetupError(
                f'setup command {number} of "{suite.name}" {how_it_ended(status, suite.setup_timeout_seconds)}',
                where=f"suites.{suite.name}.setup",
                fix=f"read {session.folder.path / 'logs' / name}.log; the command was: {command!r}",
            )


def make_job(
    session: Session,
    shell: Shell,
    *,
    name: str,
    argv: Sequence[str],
    folder: Path,
    env: Mapping[str, str],
    timeout_seconds: float | None,
    sidecar: str | None = None,
    secrets: str | None = None,
) -> Job:
    """A job with the run's rules: its log in the run folder, nothing of the workflow in its environment."""
    folder.mkdir(parents=True, exist_ok=True)
    remote = shell.job_folder(folder)
    local = remote == str(folder)
    return Job(
        id=name,
        argv=tuple(argv),
        cwd=shell.work,
        folder=remote,
        log=str(session.folder.path / "logs" / f"{name}.log") if local else f"{remote}/log",
        env=env,
        unset=(*PRIVATE, *sorted(_secrets_of_all(session))),
        timeout_seconds=timeout_seconds,
        sidecar=sidecar,
        log_limit_bytes=session.settings.log_limit_bytes,
        secrets=secrets,
    )


def _secrets_of_all(session: Session) -> set[str]:
    """Variables that are some suite's secrets: the environment of this machine gives them to nobody."""
    return {name for suite in session.settings.suites.values() for name in suite.secrets}


def run_job(session: Session, shell: Shell, job: Job, attempt: Attempt, name: str) -> JobStatus:
    """Run a job that has no tests to tell about, and wait for it."""
    shell.start(job)
    log = Follower(shell, job.log, session.folder.path / "logs" / f"{name}.log")
    return follow(session, shell, job, attempt, sidecar=None, log=log)


def how_it_ended(status: JobStatus, timeout_seconds: float | None) -> str:
    """The end of a job in words."""
    if status.error:
        return f"could not be started: {status.error}"
    if status.timed_out:
        return f"took longer than its timeout of {timeout_seconds:g} s"
    if status.exit_code < 0:
        return f"was ended by signal {-status.exit_code}"
    return f"ended with exit code {status.exit_code}"


def explain_no_pytest(prepared: Prepared) -> SetupError | None:
    """Why pytest could not even start in the chosen interpreter, if that is so; None if it looks able to."""
    where = f"{prepared.python}, chosen as {prepared.python_reason}"
    answer = prepared.shell.run(
        [prepared.python, f"{prepared.onboard}/probe.py"], seconds=HELPER_SECONDS, cwd=prepared.shell.work
    )
    try:
        facts = json.loads(answer.stdout.decode("utf-8", "replace").strip().splitlines()[-1])
    except (ValueError, IndexError):
        return SetupError(
            f"the interpreter for the tests does not work (exit {answer.exit_code})",
            where=where,
            fix=f'name one that works: [machines.{prepared.machine}] python = "/path/to/python"',
        )
    if facts.get("pytest"):
        return None
    return SetupError(
        f"pytest is missing in the interpreter that runs the tests (python {facts.get('python')})",
        where=where,
        fix=f"install it there: {prepared.python} -m pip install pytest; "
        f'or name another interpreter: [machines.{prepared.machine}] python = ".venv/bin/python"',
    )
