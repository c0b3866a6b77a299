"""One try to run one selection on a prepared machine: build the job, follow it, keep and read what it left."""

from __future__ import annotations

import dataclasses
import itertools
import shlex
import signal
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ci_runner.errors import CiRunnerError, MachineError, ResultsError, SetupError, disk_error
from ci_runner.execution.fallback import PYTEST_INTERNAL_ERROR, Evidence, Fault, find_fault
from ci_runner.execution.folder import safe_name
from ci_runner.execution.prepare import (
    HELPER_SECONDS,
    SHELL_FALLBACK,
    Prepared,
    explain_no_pytest,
    how_it_ended,
    make_job,
    run_setup,
)
from ci_runner.execution.pytest_suite import COVERAGE, build_job_command
from ci_runner.execution.secret_values import as_file, place_of, scrub
from ci_runner.execution.shell_plan import STATUS_NAME, TARGET_NAME, read_shell_status, shell_command
from ci_runner.execution.watch import Follower, follow
from ci_runner.model import Attempt, AttemptState, Runner, Selection, Suite, Usage
from ci_runner.remote.base import Job, JobStatus, ManyHosts, Shell

if TYPE_CHECKING:
    from ci_runner.execution.session import Session
    from ci_runner.results.attempt import Collected

WORKERS = "workers"  # in an attempt's folder: what each host of a slice wrote
FETCH_LIMIT = 256 * 1024 * 1024
STATUS_LIMIT = 4 * 1024 * 1024
MOST_FILES = 10_000  # of the shell runner: one for each of its targets
FULL_BYTES = 1 << 20  # with less room than this nothing can be kept
AT_ONCE = 500  # paths in one command line
REMOVE = 'for path; do if [ -L "$path" ] || ! [ -d "$path" ]; then rm -f -- "$path" || exit 1; fi; done'


@dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """An attempt with what it yielded, and the runner's fault if it was the runner that broke."""

    attempt: Attempt
    collected: Collected
    fault: Fault | None = None
    error: CiRunnerError | None = None  # setup or machine trouble, with its fix


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """What an attempt runs on the machine."""

    argv: Sequence[str]
    env: Mapping[str, str]
    files: Mapping[str, bytes]
    sidecar: bool  # whether the suite's own pytest writes one


def run_attempt(
    session: Session,
    prepared: Prepared,
    selection: Selection,
    *,
    lease_id: str,
    number: int,
    kind: str,
    runner: Runner,
    only: Sequence[str] | None,
    setup: bool,
) -> Tried:
    """Run the selection once; whatever happens, the attempt is recorded before and after."""
    attempt_id = f"{selection.id}.{number}"
    folder = session.folder.attempt(attempt_id)
    attempt = Attempt(
        id=attempt_id,
        selection=selection.id,
        suite=selection.suite.name,
        number=number,
        runner=runner,
        lease_id=lease_id,
        folder=f"attempts/{attempt_id}",
        log=f"logs/{attempt_id}.log",
        started_at=session.clock(),
        kind=kind,
    )
    session.folder.write_attempt(attempt)
    session.listener.attempt_started(attempt)
    error: CiRunnerError | None = None
    sidecar = False
    try:
        with prepared.watched():
            if setup:
                run_setup(session, prepared, selection, attempt)
            command = build_command(selection, prepared, folder, runner=runner, only=only)
            sidecar = command.sidecar
            attempt = _run(session, prepared, selection, attempt, command, folder)
        if attempt.state is AttemptState.RUNNER_FAILED and sidecar:
            error = explain_no_pytest(prepared)
            if error is not None:
                attempt = dataclasses.replace(attempt, state=AttemptState.SETUP_FAILED, reason=error.what)
    except CiRunnerError as caught:
        error = caught
        attempt = _broken_off(session, attempt, caught)
    except OSError as caught:  # the disk of this machine is full, say: what was kept so far counts
        error = disk_error(caught)
        attempt = _broken_off(session, attempt, error)
    attempt = dataclasses.replace(attempt, ended_at=session.clock())
    if hidden := session.secrets.get(selection.suite.name):
        scrub(folder, [session.folder.path / attempt.log], hidden)
    session.folder.write_attempt(attempt)
    session.listener.attempt_ended(attempt)
    from ci_runner.results.attempt import collect  # loaded meanwhile, see running.load_publishers

    collected = collect(folder, suite=selection.suite, attempt=attempt)
    return Tried(
        attempt=attempt,
        collected=collected,
        fault=_fault(attempt, collected, sidecar),
        error=error,
    )


def _broken_off(session: Session, attempt: Attempt, error: CiRunnerError) -> Attempt:
    """The attempt that an error ended. A machine that goes because the run is cancelled was not taken away."""
    if session.cancellation.requested:
        reason = f"cancelled by {session.cancellation.reason}"
        return dataclasses.replace(attempt, state=AttemptState.CANCELLED, reason=reason)
    lost = isinstance(error, MachineError) and not isinstance(error, SetupError)
    state = AttemptState.PREEMPTED if lost else AttemptState.SETUP_FAILED
    return dataclasses.replace(attempt, state=state, reason=error.what)


def build_command(
    selection: Selection, prepared: Prepared, folder: Path, *, runner: Runner, only: Sequence[str] | None
) -> Command:
    """The command of this runner for this selection; what an earlier one left is gone before it runs."""
    suite, shell = selection.suite, prepared.shell
    remove_stale(shell, suite)
    remote = shell.job_folder(folder)
    if runner is Runner.SHELL:
        argv, env, files = shell_command(
            suite,
            python=prepared.python,
            work=shell.work,
            attempt_folder=remote,
            shell_fallback=f"{shell.scratch}/shell_fallback",
            only=only,
            shard=selection.shard,
        )
        script = SHELL_FALLBACK / "run_suite.sh"
        shell.write(f"{shell.scratch}/shell_fallback/run_suite.sh", script.read_bytes(), mode=0o755)
        return Command(argv=argv, env=env, files=files, sidecar=False)
    if suite.command is not None:
        return Command(argv=("bash", "-c", suite.command), env={}, files={}, sidecar=False)
    built = build_job_command(
        suite,
        python=prepared.python,
        onboard=prepared.onboard,
        attempt_folder=remote,
        only=only,
        exists=lambda path: bool(shell.glob(path)),
    )
    return Command(argv=built.argv, env=built.env, files=built.files, sidecar=True)


def remove_stale(shell: Shell, suite: Suite) -> None:
    """Remove the reports that lie there before the suite runs: an old one must not look like a new one.

    `work` is a folder of the lease with the source staged in it, never the checkout of a person. Raises SetupError.
    """
    stale = found(shell, (*suite.junit, *suite.coverage_files))
    for start in range(0, len(stale), AT_ONCE):
        some = stale[start : start + AT_ONCE]
        ended = shell.run(["sh", "-c", REMOVE, "sh", *some], seconds=HELPER_SECONDS, cwd=shell.work)
        if ended.exit_code != 0:
            raise SetupError(
                "an old report cannot be removed: "
                f"{ended.stderr.decode('utf-8', 'replace').strip()[:400] or 'no reason was given'}",
                where=f"suites.{suite.name}",
                fix="let the patterns of junit and coverage-files name what the suite writes, and nothing else",
            )


def found(shell: Shell, patterns: Sequence[str]) -> list[str]:
    """What any of the patterns names on the machine, each once."""
    return list(dict.fromkeys(path for pattern in patterns for path in shell.glob(pattern)))


def _run(
    session: Session,
    prepared: Prepared,
    selection: Selection,
    attempt: Attempt,
    command: Command,
    folder: Path,
) -> Attempt:
    shell = prepared.shell
    remote = shell.job_folder(folder)
    hidden = session.secrets.get(selection.suite.name)
    job = make_job(
        session,
        shell,
        name=attempt.id,
        argv=command.argv,
        folder=folder,
        env={**selection.suite.env, **command.env},
        timeout_seconds=selection.suite.timeout_seconds,
        sidecar=f"{remote}/sidecar.jsonl" if command.sidecar else None,
        secrets=place_of(shell.scratch, attempt.id) if hidden else None,
    )
    if hidden:
        shell.write(place_of(shell.scratch, attempt.id), as_file(hidden), mode=0o600)
    for name, data in command.files.items():
        shell.write(f"{remote}/{name}", data)
    shell.start(job)
    status = follow(
        session,
        shell,
        job,
        attempt,
        sidecar=Follower(shell, f"{remote}/sidecar.jsonl", folder / "sidecar.jsonl")
        if command.sidecar
        else None,
        log=Follower(shell, job.log, session.folder.path / attempt.log),
        notice=prepared.notice,
    )
    _fetch(shell, job, selection.suite, folder, attempt.runner)
    return judge_end(session, attempt, status, folder, sidecar=command.sidecar, suite=selection.suite)


def _fetch(shell: Shell, job: Job, suite: Suite, folder: Path, runner: Runner) -> None:
    """Bring what the suite left: JUnit files that its patterns name, and stacks if the machine is elsewhere."""
    # names that are made safe may be the same; readers sort by name, so that cases keep their order beyond nine files
    for number, path in enumerate(found(shell, suite.junit), start=1):
        target = folder / "junit" / f"{number:04}-{safe_name(path)}"
        target.write_bytes(shell.read(f"{shell.work}/{path}", limit=FETCH_LIMIT))
    if suite.coverage or suite.coverage_files:
        (folder / "coverage").mkdir(exist_ok=True)
    for number, path in enumerate(found(shell, suite.coverage_files), start=1):
        target = folder / "coverage" / f"{number}-{safe_name(path)}"
        target.write_bytes(shell.read(f"{shell.work}/{path}", limit=FETCH_LIMIT))
    measured = (COVERAGE, f"{COVERAGE}.missing") if suite.coverage else ()
    if isinstance(shell, ManyHosts):
        fetch_workers(shell, job, folder, measured)
    if job.folder != str(folder):
        for name in ("stacks.txt", "junit/pytest.xml", *measured):
            data = shell.read(f"{job.folder}/{name}", limit=FETCH_LIMIT)
            if data:
                (folder / name).write_bytes(data)
        if runner is Runner.SHELL:
            _fetch_shell_runner(shell, job, folder)


def _fetch_shell_runner(shell: Shell, job: Job, folder: Path) -> None:
    """Bring the JUnit files of the shell runner from a machine elsewhere: its status names them, unless it was killed."""
    status = shell.read(f"{job.folder}/{STATUS_NAME}", limit=STATUS_LIMIT)
    try:
        names: Iterable[str] = dict.fromkeys(read_shell_status(status).junit)
        whole = True
    except ResultsError:
        names, whole = (TARGET_NAME.format(number) for number in itertools.count(1)), False
    for name in itertools.islice(names, MOST_FILES):
        data = shell.read(f"{job.folder}/junit/{name}", limit=FETCH_LIMIT)
        if data:
            (folder / "junit" / safe_name(name)).write_bytes(data)
        elif not whole:
            return


def fetch_workers(shell: ManyHosts, job: Job, folder: Path, measured: Sequence[str] = ()) -> None:
    """Bring what each host of a slice wrote, so that each is judged by its own files."""
    for number in range(shell.workers):
        place = folder / WORKERS / str(number)
        (place / "junit").mkdir(parents=True, exist_ok=True)
        for name in ("status.json", "sidecar.jsonl", "stacks.txt", "junit/pytest.xml", *measured):
            data = shell.read_worker(number, f"{job.folder}/{name}", limit=FETCH_LIMIT)
            if data:
                (place / name).parent.mkdir(exist_ok=True)
                (place / name).write_bytes(data)
        (place / "log").write_bytes(shell.read_worker(number, job.log, limit=FETCH_LIMIT))


def judge_end(
    session: Session, attempt: Attempt, status: JobStatus, folder: Path, *, sidecar: bool, suite: Suite
) -> Attempt:
    """What the end of the job means for the attempt."""
    from ci_runner.results.sidecar import has_session

    state, reason = AttemptState.FINISHED, None
    if session.cancellation.requested:
        state, reason = AttemptState.CANCELLED, f"cancelled by {session.cancellation.reason}"
    elif status.error:
        return dataclasses.replace(
            attempt, state=AttemptState.RUNNER_FAILED, reason=how_it_ended(status, None), exit_code=None
        )
    elif status.timed_out:
        state, reason = AttemptState.TIMED_OUT, how_it_ended(status, suite.timeout_seconds)
    elif status.supervisor_lost:
        state, reason = (
            AttemptState.KILLED,
            "something the suite started killed the process that watched over it",
        )
    elif status.exit_code < 0:
        state = AttemptState.KILLED
        reason = f"ended by signal {-status.exit_code} ({signal_name(-status.exit_code)})"
    elif sidecar and attempt.runner is Runner.PYTHON and not has_session(folder / "sidecar.jsonl"):
        state = AttemptState.RUNNER_FAILED
        reason = f"pytest ended (exit {status.exit_code}) before the sidecar plugin was loaded"
    if status.exit_code and (full := disk_trouble(status)):
        reason = f"{reason}; {full}" if reason else full
    return dataclasses.replace(
        attempt,
        state=state,
        reason=reason,
        exit_code=status.exit_code,
        usage=Usage(cpu_seconds=status.cpu_seconds, peak_memory_bytes=status.peak_memory_bytes),
    )


def disk_trouble(status: JobStatus) -> str | None:
    """What the end of a job tells of the disk of its machine; None if that is no news."""
    if status.log_error:
        what = f"the machine could not keep its output: {status.log_error}"
    elif status.disk_free_bytes is not None and status.disk_free_bytes < FULL_BYTES:
        what = "the disk of the machine is full"
    else:
        return None
    return f"{what} (make room there, or have one with a larger disk)"


def signal_name(number: int) -> str:
    """SIGSEGV for 11; the number for one that this platform does not know."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return str(number)


def _fault(attempt: Attempt, collected: Collected, sidecar: bool) -> Fault | None:
    return find_fault(
        Evidence(
            attempt=attempt,
            sessions=collected.sessions,
            tests_started=collected.started,
            tests_running=sum(case.interrupted for case in collected.cases),
            bad_lines=collected.bad_lines,
            exit_status=collected.exit_status,
            sidecar_expected=sidecar,
        )
    )


def reproduce(selection: Selection, test: str) -> str:
    """The command with which a person runs one test of a suite again here."""
    return f"ci-runner run {shlex.quote(selection.suite.name)} --only {shlex.quote(test)}"


__all__ = ["PYTEST_INTERNAL_ERROR", "Tried", "build_command", "reproduce", "run_attempt", "signal_name"]
