"""One selection from lease to verdict: attempts, retries of failing tests, resuming after a lost machine, fallback."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ci_runner import errors
from ci_runner.errors import Cancelled, CiRunnerError, MachineError, PreemptionError
from ci_runner.execution.attempt import Tried, run_attempt
from ci_runner.execution.fallback import Fault, may_fall_back
from ci_runner.execution.leasing import borrowed
from ci_runner.execution.prepare import Prepared, prepare
from ci_runner.execution.sharding import is_split, tests_of_shard
from ci_runner.model import (
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
from ci_runner.results.verdict import Judged, judge

if TYPE_CHECKING:
    from ci_runner.execution.session import Session

RED = (Outcome.FAILED, Outcome.ERRORED)


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

    def next_number(self) -> int:
        """Attempts are counted from 1."""
        return len(self.tried) + 1

    def judged(self, session: Session) -> Judged:
        """The verdict over all attempts so far."""
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
        tale.error = error
    result = _result(session, tale)
    session.listener.suite_ended(result)
    return result


def _live(session: Session, tale: Tale) -> None:
    """Lease machines until the selection is done or may not have another one."""
    for lost in range(session.settings.resume_limit + 1):
        session.cancellation.check()
        with borrowed(session, tale.selection) as (provider, lease):
            tale.leases.append(lease)
            prepared = prepare(session, provider.shell(lease), tale.selection)
            _attempts(session, tale, prepared, lease)
            state = provider.describe(lease)
            if not _taken_away(tale.tried[-1], state):
                return
        tale.tried[-1] = _preempted(session, tale.tried[-1], state)
        tale.leases[-1] = dataclasses.replace(lease, state=LeaseState.PREEMPTED)
        tale.findings.append(
            Finding(
                level=Level.NOTICE,
                subject=tale.selection.id,
                code="preempted",
                text=f"machine {lease.id} was taken away (loss {lost + 1}); unfinished tests run on a new one",
            )
        )
    raise PreemptionError(
        f'the machine of "{tale.selection.suite.name}" was taken away {session.settings.resume_limit + 1} times',
        fix='allow on-demand machines with spot = "never", or raise [project] resume-limit',
    )


def _attempts(session: Session, tale: Tale, prepared: Prepared, lease: Lease) -> None:
    """All attempts on one lease: first (or resume), fallback, retries."""
    assert tale.selection.runner is not None
    runner = Runner.SHELL if tale.fallback else tale.selection.runner.variant
    kind = "resume" if tale.tried else "suite"
    listed = False
    if tale.tried:
        tale.only = _unfinished(tale) or tale.only
    elif tale.only is None:
        listed = is_split(tale.selection)
        tale.only = tests_of_shard(session, prepared, tale.selection, lease_id=lease.id)
    tried = _try(session, tale, prepared, lease, kind=kind, runner=runner, only=tale.only, setup=not listed)
    if tried.fault is not None:
        tried = _fall_back(session, tale, prepared, lease, tried)
    if tried.attempt.state in (AttemptState.FINISHED, AttemptState.TIMED_OUT, AttemptState.KILLED):
        _retry(session, tale, prepared, lease)


def _try(
    session: Session,
    tale: Tale,
    prepared: Prepared,
    lease: Lease,
    *,
    kind: str,
    runner: Runner,
    only: Sequence[str] | None,
    setup: bool = False,
) -> Tried:
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


def _fall_back(session: Session, tale: Tale, prepared: Prepared, lease: Lease, broken: Tried) -> Tried:
    """Let the shell runner do the same on the same lease, if the suite's risk allows it."""
    fault = broken.fault
    assert fault is not None
    refusal = may_fall_back(tale.selection.suite, session.settings.fallback_risks)
    if refusal is not None:
        tale.problems.append(dataclasses.replace(refusal, text=f"{refusal.text}; {fault}"))
        return broken
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
    return _try(session, tale, prepared, lease, kind="fallback", runner=Runner.SHELL, only=tale.only)


def _retry(session: Session, tale: Tale, prepared: Prepared, lease: Lease) -> None:
    """Run each failing test again, alone in a new process, as often as the suite allows."""
    suite = tale.selection.suite
    for _round in range(suite.retries):
        failing = [
            case.id for case in tale.judged(session).cases if case.outcome in RED and not case.quarantined
        ]
        if not failing:
            return
        if len(failing) > session.settings.retry_limit:
            tale.findings.append(
                Finding(
                    level=Level.NOTICE,
                    subject=tale.selection.id,
                    code="no-retry",
                    text=f"{len(failing)} tests failed, more than retry-limit ({session.settings.retry_limit}): "
                    "that is no flakiness, nothing was run again",
                )
            )
            return
        runner = tale.tried[-1].attempt.runner
        if suite.command is not None or runner is Runner.SHELL:
            _try(session, tale, prepared, lease, kind="retry", runner=runner, only=tale.only)
            continue
        for test in failing:
            _try(session, tale, prepared, lease, kind="retry", runner=runner, only=(test,))


def _taken_away(tried: Tried, state: LeaseState) -> bool:
    return tried.attempt.state is AttemptState.PREEMPTED or (
        state in (LeaseState.PREEMPTED, LeaseState.GONE) and tried.attempt.state is not AttemptState.FINISHED
    )


def _preempted(session: Session, tried: Tried, state: LeaseState) -> Tried:
    reason = tried.attempt.reason or f"the machine was {state.value}"
    attempt = dataclasses.replace(tried.attempt, state=AttemptState.PREEMPTED, reason=reason)
    session.folder.write_attempt(attempt)
    return dataclasses.replace(tried, attempt=attempt)


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
    kind = {Cancelled: "cancelled", errors.SetupError: "setup", MachineError: "machine"}.get(type(error))
    place = f" ({error.where})" if error.where else ""
    fix = f"{os.linesep}fix: {error.fix}" if error.fix else ""
    return Problem(
        kind=kind or type(error).__name__.removesuffix("Error").lower(), text=f"{error.what}{place}{fix}"
    )
