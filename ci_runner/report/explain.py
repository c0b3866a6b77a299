"""Why a run or a suite has no clean verdict: what happened, what it means, what to do."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ci_runner import errors
from ci_runner.model import AttemptState, CaseResult, Problem, RunResult, SuiteResult, Verdict
from ci_runner.report.excerpt import stack_top
from ci_runner.report.notable import notable
from ci_runner.report.words import duration, number, plural, reproduce

# Exit codes that mean that no test is to blame: the first words of every surface say so.
NOT_TESTED: dict[int, str] = {
    errors.NO_CAPACITY: "no machine was to be had",
    errors.QUOTA: "the account may not have such a machine",
    errors.AUTHENTICATION: "the cloud or GitHub refused us",
    errors.REFUSED_BUDGET: "the budget or the booking does not allow it",
    errors.PREEMPTED: "the machine was taken away too often",
    errors.MACHINE: "the machine or its setup failed",
    errors.NOT_TRUSTED: "whoever caused this may not spend money",
    errors.USAGE: "the configuration or the command does not fit",
    errors.CANCELLED: "cancelled",
}
TODO: dict[int, str] = {
    errors.NO_CAPACITY: "try later, or allow more zones or on-demand machines",
    errors.QUOTA: "ask for more quota, or choose another region or type",
    errors.AUTHENTICATION: "check the identity with: ci-runner doctor",
    errors.REFUSED_BUDGET: "wait for the next month, raise [budgets], or book a slot",
    errors.PREEMPTED: 'allow on-demand machines with spot = "never", or run it again',
    errors.MACHINE: "read the end of the log below, then run it again",
    errors.NOT_TRUSTED: "someone with write access has to approve this exact commit",
    errors.USAGE: "correct the configuration and run it again",
    errors.CANCELLED: "run it again when you want the rest",
    errors.INCOMPLETE: "read the end of the log, then run it again",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """One thing that stands between the run and a clean verdict; all of its texts may be foreign."""

    subject: str  # the selection's id
    what: str
    means: str
    fix: str
    command: str = ""  # what to type, if there is something
    evidence: tuple[str, ...] = ()  # lines such as the top of a stack
    log: str = ""  # the log whose end says more, relative to the run folder


def headline_word(result: RunResult) -> str:
    """The first word of the verdict: passed, failed, incomplete, empty, not tested, cancelled, nothing due."""
    if result.exit_code == errors.CANCELLED:
        return "cancelled"
    if result.exit_code in NOT_TESTED:
        return "not tested" if not _finished(result) else "incomplete"
    if result.verdict is Verdict.PASSED and not result.suites:
        return "nothing due"
    return result.verdict.value


def verdict_sentence(result: RunResult) -> str:
    """The verdict as one sentence without numbers of seconds or dollars."""
    word = headline_word(result)
    counts = result.counts
    if word == "passed":
        also = [(counts.flaky, "flaky"), (counts.quarantined, "quarantined"), (counts.skipped, "skipped")]
        rest = "".join(f", {number(value)} {name}" for value, name in also if value)
        return f"{plural(counts.passed, 'test')} passed{rest}"
    if word == "failed":
        red = counts.failed + counts.errored
        return f"{plural(red, 'test')} of {number(counts.tests)} failed"
    if word == "nothing due":
        return "Nothing was due, and the configuration says that this is right"
    if word == "empty":
        return "No test ran, so nothing is known"
    if word in ("not tested", "cancelled") or result.exit_code in NOT_TESTED:
        reason = NOT_TESTED[result.exit_code]
        known = f"; {plural(_finished(result), 'test')} finished before" if _finished(result) else ""
        return f"{word.capitalize()}{'' if word == 'cancelled' else ': ' + reason}{known}"
    missing = (
        f"{plural(counts.missing, 'test')} never finished"
        if counts.missing
        else "the results cannot be trusted"
    )
    red = counts.failed + counts.errored
    return f"Incomplete: {missing}" + (f", and {plural(red, 'test')} failed" if red else "")


def explanations(result: RunResult) -> list[Explanation]:
    """What a reader has to know about every suite that is neither green nor plainly red."""
    return [
        explained
        for suite in result.suites
        for explained in explain_suite(suite, cancelled=_is_cancelled(result))
    ] or _of_nothing(result)


def explain_suite(suite: SuiteResult, *, cancelled: bool = False) -> Iterator[Explanation]:
    """The explanations of one suite; none if it passed or failed in the ordinary way."""
    subject = suite.selection.id
    problems = fatal_problems(suite)
    hung = list(notable(suite.cases).interrupted)
    last = suite.attempts[-1] if suite.attempts else None
    if cancelled and suite.verdict is not Verdict.PASSED:
        yield Explanation(
            subject=subject, what="the run was cancelled", means=_known(suite), fix=TODO[errors.CANCELLED]
        )
    elif last is not None and last.state is AttemptState.TIMED_OUT:
        yield _timed_out(suite, hung, last.reason)
    elif suite.exit_code in NOT_TESTED:
        what, fix = _told(problems, NOT_TESTED[suite.exit_code])
        yield Explanation(
            subject=subject,
            what=what,
            means=_known(suite),
            fix=fix or TODO[suite.exit_code],
            log=last.log if last is not None and suite.exit_code == errors.MACHINE else "",
        )
    elif suite.verdict is Verdict.EMPTY:
        what, fix = _told(problems, "no test was found or selected")
        yield Explanation(
            subject=subject,
            what=what,
            means="a suite that runs nothing proves nothing, so it is red",
            fix=fix or "check the suite's tests and --only, or set allow-empty = true if this is right",
        )
    elif suite.verdict is Verdict.INCOMPLETE:
        reason = last.reason if last is not None else None
        what, fix = _told(problems, reason or "the results are incomplete")
        yield Explanation(
            subject=subject,
            what=f"{reason}; {what}" if reason and reason not in what else what,
            means=_known(suite),
            fix=fix or TODO[errors.INCOMPLETE],
            evidence=tuple(f"running at the end: {case.id}" for case in hung[:5]),
            log=last.log if last is not None else "",
        )


def _timed_out(suite: SuiteResult, hung: Sequence[CaseResult], reason: str | None) -> Explanation:
    who = f"{hung[0].id} did not end" if hung else "no test was running at that moment"
    limit = duration(suite.selection.suite.timeout_seconds)
    return Explanation(
        subject=suite.selection.id,
        what=f"{reason or f'the time limit of {limit} was reached'}: {who}",
        means=_known(suite),
        fix=f"find out what it waits for, or raise the suite's timeout, now {limit}",
        command=reproduce(suite.selection, hung[0].id) if hung else "",
        evidence=tuple(f"at {frame}" for frame in stack_top(suite.stacks or "")),
    )


def _known(suite: SuiteResult) -> str:
    counts = suite.counts
    finished = counts.tests - counts.missing
    if not finished:
        return "no test finished, so nothing is known about the code"
    never = f"{number(counts.missing)} did not" if counts.missing else "how many did not is not known"
    red = counts.failed + counts.errored
    return f"{plural(finished, 'test')} finished ({number(red) if red else 'none'} of them red) and {never}"


def _told(problems: Sequence[Problem], otherwise: str) -> tuple[str, str | None]:
    """The problems in one sentence, and the fix that the first one carries on a line of its own."""
    texts, fix = [], None
    for problem in problems:
        text, _, advice = problem.text.partition("\nfix: ")
        texts.append(text.strip())
        fix = fix or advice.strip() or None
    whole = [text for text in texts if not any(other != text and other.startswith(text) for other in texts)]
    return "; ".join(whole[:3]) or otherwise, fix


def fatal_problems(suite: SuiteResult) -> list[Problem]:
    """The problems that make the suite red, each once."""
    return list(dict.fromkeys(problem for problem in suite.problems if problem.fatal))


def _of_nothing(result: RunResult) -> list[Explanation]:
    if result.suites or result.verdict is Verdict.PASSED:
        return []
    return [
        Explanation(
            subject="plan",
            what="no suite was selected",
            means="nothing ran, so nothing is known about the code",
            fix="name a suite, or see why with: ci-runner plan --explain",
        )
    ]


def _finished(result: RunResult) -> int:
    return result.counts.tests - result.counts.missing


def _is_cancelled(result: RunResult) -> bool:
    return result.exit_code == errors.CANCELLED


def red_cases(suite: SuiteResult) -> list[CaseResult]:
    """Failed and errored tests that count, in the order in which they ran."""
    return list(notable(suite.cases).red)
