"""One selection from lease to verdict: attempts, retries of failing tests, resuming after a lost machine, fallback."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ci_runner import errors
from ci_runner.errors import Cancelled, CiRunnerError, MachineError, PreemptionError, SetupError, disk_error
from ci_runner.execution.attempt import Tried, run_attempt
from ci_runner.execution.fallback import Fault, may_fall_back
from ci_runner.execution.leasing import borrowed
from ci_runner.execution.prepare import Prepared, prepare
from ci_runner.execution.presence import watched
from ci_runner.execution.sharding import is_split, tests_of_shard
from ci_runner.model import (
    Attempt,
    AttemptState,
    Counts,
    Finding,
    FlagDecision,
    Lease,
    LeaseState,
    Level,
    Outcome,
    Problem,
    Runner,
    Selection,
    SuiteResult,
    Verdict,
)

if TYPE_CHECKING:
    from ci_runner.execution.session import Session
    from ci_runner.providers.base import Provider
    from ci_runner.results.verdict import Judged

RED = (Outcome.FAILED, Outcome.ERRORED)
AWAY = (LeaseState.PREEMPTED, LeaseState.GONE)
TESTS_RAN = (AttemptState.FINISHED, AttemptState.TIMED_OUT, AttemptState.KILLED)


@dataclass(slots=True)
class Tale:
    """What has happened to a selection so far; the only value here that changes."""

    selection: Selection
    only: tuple[str, ...] | None
    tried: list[Tried] = field(default_factory=list)
    leases: list[Lease] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    fallback: Fault | None = None
    error: CiRunnerError | None = None
    set_up: str | None = None  # the lease on which the suite's setup has run
    rounds: int = 0  # of retries that are over

    def next_number(self) -> int:
        """Attempts are counted from 1."""
        return len(self.tried) + 1

    def last_whole(self) -> Attempt | None:
        """The last attempt that was to run everything still owed."""
        from ci_runner.results.verdict import WHOLE

        return next((t.attempt for t in reversed(self.tried) if t.attempt.kind in WHOLE), None)

    def given_back(self, lease: Lease, error: str | None) -> None:
        """Note what became of a lease; a machine that may still be there is worth an error, and no test is to blame."""
        self.leases = [
            lease if known.id == lease.id and known.state is not LeaseState.PREEMPTED else known
            for known in self.leases
        ]
        if error is not None:
            self.findings.append(
                Finding(level=Level.ERROR, subject=self.selection.id, code="not-released", text=error)
            )

    def judged(self, session: Session) -> Judged:
        """The verdict over all attempts so far."""
        from ci_runner.results.verdict import judge

        return judge(
            self.selection,
            [(tried.attempt, tried.collected) for tried in self.tried],
            quarantine=session.settings.quarantine,
            today=session.today,
        )


def run_selection(session: Session, selection: Selection) -> SuiteResult:
    """Run one selection to its end; errors of the machine become part of the result."""
    decision = selection.runner or FlagDecision(
        flag="", variant=session.settings.default_runner, reason="default"
    )
    if session.runner is not None:
        decision = FlagDecision(
            flag="", variant=session.runner, reason="command-line", text="chosen with --runner"
        )
    selection = dataclasses.replace(selection, runner=decision)
    tale = Tale(selection=selection, only=session.only or None)
    try:
        _live(session, tale)
    except CiRunnerError as error:
        tale.error = _cause(session, error)
    except OSError as error:
        tale.error = disk_error(error)
    result = _result(session, tale)
    session.listener.suite_ended(result)
    return result


def _cause(session: Session, error: CiRunnerError) -> CiRunnerError:
    """The error to report: a machine that fails because the cancelled run took it away is no fault of the machine."""
    if session.cancellation.requested and isinstance(error, MachineError):
        return Cancelled(f"cancelled by {session.cancellation.reason}")
    return error


def _live(session: Session, tale: Tale) -> None:
    """Lease machines until the selection is done or may not have another one."""
    name, limit = tale.selection.suite.name, session.settings.resume_limit
    reason = ""
    for lost in range(1, limit + 2):
        session.cancellation.check()
        with borrowed(session, tale.selection, tale.given_back) as (provider, lease):
            tale.leases.append(lease)
            loss = _use(session, tale, provider, lease)
            if loss is None:
                return
            tale.leases[-1] = dataclasses.replace(lease, state=LeaseState.PREEMPTED)
        reason = loss
        what = "unfinished tests run on a new one" if lost <= limit else "no more may be leased"
        text = f"machine {lease.id} was taken away (loss {lost}: {reason}); {what}"
        tale.findings.append(
            Finding(level=Level.NOTICE, subject=tale.selection.id, code="preempted", text=text)
        )
        if session.clock() >= lease.expires_at:
            raise MachineError(
                f'the time of the machine was over before "{name}" was done ({reason})',
                where=lease.id,
                fix=f"raise max-minutes of [machines.{lease.machine.name}], or split the suite with shards",
            )
    raise PreemptionError(
        f'the machine of "{name}" was taken away {limit + 1} times (the last time: {reason})',
        fix='allow on-demand machines with spot = "never", or raise [project] resume-limit',
    )


def _use(session: Session, tale: Tale, provider: Provider, lease: Lease) -> str | None:
    """Do on one machine what is still owed; the reason if the machine was taken away meanwhile."""
    try:
        shell = provider.shell(lease)
        prepared = prepare(session, shell, tale.selection)
        prepared = dataclasses.replace(
            prepared,
            notice=(lambda: provider.notice(lease, shell)) if lease.spot else None,
            watched=lambda: watched(provider, lease, shell),
        )
        with _caches(session, tale, prepared):
            _attempts(session, tale, prepared, provider, lease)
    except SetupError:
        raise
    except MachineError as error:
        session.cancellation.check()
        if _state(session, provider, lease) not in AWAY:
            raise
        return error.what
    last = tale.tried[-1].attempt
    return last.reason if last.state is AttemptState.PREEMPTED else None


@contextmanager
def _caches(session: Session, tale: Tale, prepared: Prepared) -> Iterator[None]:
    """The suite's caches are fetched before the block, and saved after it if its last attempt came to its end."""
    if session.caches is None or not tale.selection.suite.caches:
        yield
        return
    from ci_runner.execution.caches import Caches

    caches = Caches(session, prepared, tale.selection, tale.findings)
    with prepared.watched():
        caches.fetch()
    yield
    if tale.tried[-1].attempt.state is AttemptState.FINISHED:
        with prepared.watched():
            caches.save()


def _attempts(session: Session, tale: Tale, prepared: Prepared, provider: Provider, lease: Lease) -> None:
    """All attempts on one lease: first (or resume), fallback, retries."""
    last = tale.last_whole()
    if last is None or last.state is AttemptState.PREEMPTED:
        _whole(session, tale, prepared, provider, lease)
        last = tale.last_whole()
    if last is not None and last.state in TESTS_RAN:
        _retry(session, tale, prepared, provider, lease)


def _whole(session: Session, tale: Tale, prepared: Prepared, provider: Provider, lease: Lease) -> None:
    """Run what is owed, and once more by the shell runner if the python runner breaks."""
    assert tale.selection.runner is not None
    runner, kind, only = tale.selection.runner.variant, "suite", tale.only
    if tale.fallback is not None:
        runner, kind = Runner.SHELL, "fallback"  # all of it: what the broken runner told is not relied on
    elif tale.tried:
        kind, only = "resume", _unfinished(tale) or tale.only
    elif only is None:
        only = tale.only = tests_of_shard(session, prepared, tale.selection, lease_id=lease.id)
        if is_split(tale.selection):
            tale.set_up = lease.id
    tried = _try(session, tale, prepared, lease, kind=kind, runner=runner, only=only)
    if tried.fault is not None and not _lost(session, tale, provider, lease):
        _fall_back(session, tale, prepared, lease, tried)
    _lost(session, tale, provider, lease)


def _try(
    session: Session,
    tale: Tale,
    prepared: Prepared,
    lease: Lease,
    *,
    kind: str,
    runner: Runner,
    only: Sequence[str] | None,
) -> Tried:
    setup = tale.set_up != lease.id
    tale.set_up = lease.id
    tried = run_attempt(
        session,
        prepared,
        tale.selection,
        lease_id=lease.id,
        number=tale.next_number(),
        kind=kind,
        runner=runner,
        only=only,
        setup=setup,
    )
    tale.tried.append(tried)
    tale.error = tried.error
    session.cancellation.check()
    return tried


def _fall_back(session: Session, tale: Tale, prepared: Prepared, lease: Lease, broken: Tried) -> None:
    """Let the shell runner do all of it on the same lease, if the suite's risk allows it."""
    fault = broken.fault
    assert fault is not None
    refusal = may_fall_back(tale.selection.suite, session.settings.fallback_risks)
    if refusal is not None:
        tale.problems.append(dataclasses.replace(refusal, text=f"{refusal.text}; {fault}"))
        return
    tale.fallback = fault
    tale.findings.append(
        Finding(
            level=Level.WARNING,
            subject=tale.selection.id,
            code=fault.code,
            text=f"shell runner took over: {fault.text}",
        )
    )
    session.listener.note(f"{tale.selection.id}: falling back to the shell runner: {fault}")
    _try(session, tale, prepared, lease, kind="fallback", runner=Runner.SHELL, only=tale.only)


def _retry(session: Session, tale: Tale, prepared: Prepared, provider: Provider, lease: Lease) -> None:
    """Run each failing test again, alone in a new process, as often as the suite allows; stop if the machine is lost."""
    suite, limit = tale.selection.suite, session.settings.retry_limit
    while tale.rounds < suite.retries:
        failing = [
            case.id for case in tale.judged(session).cases if case.outcome in RED and not case.quarantined
        ]
        if not failing:
            return
        if len(failing) > limit:
            text = (
                f"{len(failing)} tests failed, more than retry-limit ({limit}): "
                "that is no flakiness, nothing was run again"
            )
            tale.findings.append(
                Finding(level=Level.NOTICE, subject=tale.selection.id, code="no-retry", text=text)
            )
            return
        last = tale.last_whole()
        runner = last.runner if last is not None else Runner.PYTHON
        together = suite.command is not None or runner is Runner.SHELL
        for only in [tale.only] if together else [(test,) for test in failing]:
            _try(session, tale, prepared, lease, kind="retry", runner=runner, only=only)
            if _lost(session, tale, provider, lease):
                return
        tale.rounds += 1


def _lost(session: Session, tale: Tale, provider: Provider, lease: Lease) -> bool:
    """Whether the machine went away under the last attempt, which is then marked so; one that finished is not asked."""
    tried = tale.tried[-1]
    if tried.attempt.state in (AttemptState.FINISHED, AttemptState.PREEMPTED):
        return tried.attempt.state is AttemptState.PREEMPTED
    state = _state(session, provider, lease)
    if state not in AWAY:
        return False
    reason = tried.attempt.reason or f"the machine was {state.value}"
    attempt = dataclasses.replace(tried.attempt, state=AttemptState.PREEMPTED, reason=reason)
    session.folder.write_attempt(attempt)
    tale.tried[-1] = dataclasses.replace(tried, attempt=attempt)
    return True


def _state(session: Session, provider: Provider, lease: Lease) -> LeaseState:
    """The state of the machine; what cannot be asked is taken to be as it was."""
    try:
        return provider.describe(lease)
    except CiRunnerError as error:
        session.listener.note(f"cannot ask for the state of lease {lease.id}: {error.what}")
        return lease.state


def _unfinished(tale: Tale) -> tuple[str, ...]:
    """The tests that a resumed run still owes: expected by an earlier attempt and finished by none."""
    expected = next((t.collected.expected for t in tale.tried if t.collected.expected is not None), None)
    if expected is None:
        return ()
    done = {
        case.id
        for tried in tale.tried
        for case in tried.collected.cases
        if case.outcome is not Outcome.MISSING
    }
    return tuple(test for test in expected if test not in done)


def _result(session: Session, tale: Tale) -> SuiteResult:
    """The selection's result: the verdict over its attempts, or why there is none."""
    judged = tale.judged(session) if tale.tried else None
    problems = [*(judged.problems if judged else ()), *tale.problems]
    verdict = judged.verdict if judged else Verdict.INCOMPLETE
    exit_code = judged.exit_code if judged else errors.INCOMPLETE
    if tale.error is not None:
        verdict = Verdict.INCOMPLETE
        exit_code = tale.error.exit_code
        problems.append(_problem_of(tale.error))
    elif tale.problems and verdict is Verdict.PASSED:
        verdict, exit_code = Verdict.INCOMPLETE, errors.INCOMPLETE
    last = tale.tried[-1].collected if tale.tried else None
    return SuiteResult(
        selection=tale.selection,
        verdict=verdict,
        counts=judged.counts if judged else Counts(),
        attempts=tuple(tried.attempt for tried in tale.tried),
        leases=tuple(tale.leases),
        cases=judged.cases if judged else (),
        problems=tuple(problems),
        findings=tuple(tale.findings),
        fallback_reason=str(tale.fallback) if tale.fallback else None,
        metrics={name: value for tried in tale.tried for name, value in tried.collected.metrics.items()},
        stacks=last.stacks if last else None,
        exit_code=exit_code,
    )


def _problem_of(error: CiRunnerError) -> Problem:
    kinds = ((Cancelled, "cancelled"), (SetupError, "setup"), (MachineError, "machine"))
    kind = next((word for error_class, word in kinds if isinstance(error, error_class)), None)
    place = f" ({error.where})" if error.where else ""
    fix = f"{os.linesep}fix: {error.fix}" if error.fix else ""
    told = f": {'; '.join(error.details)}" if error.details else ""
    return Problem(
        kind=kind or type(error).__name__.removesuffix("Error").lower(),
        text=f"{error.what}{place}{told}{fix}",
    )
