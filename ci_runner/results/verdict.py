"""What the attempts of one selection come to: the deciding outcome of each test, and whether all of it is green. Pure."""

from __future__ import annotations

import dataclasses
import fnmatch
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date

from ci_runner import errors
from ci_runner.config.settings import Quarantine
from ci_runner.model import (
    Attempt,
    AttemptState,
    CaseResult,
    Counts,
    Outcome,
    Problem,
    Selection,
    Verdict,
)
from ci_runner.results.attempt import Collected
from ci_runner.results.sidecar import junit_name

RED = (Outcome.FAILED, Outcome.ERRORED)
WHOLE = ("suite", "resume", "fallback")  # kinds of attempts that run everything that is still owed
NOT_TOLD = "the runner that took over does not tell of it"
Tries = Sequence[tuple[Attempt, Collected]]
# Problems that only say that an attempt did not get to its end: no matter once later attempts made up for it.
OF_THE_END = ("interrupted", "timeout", "preempted", "killed", "runner", "missing-tests", "exit-code", "no-results",
              "no-collection", "disagreement", "sidecar", "truncated", "empty-file")  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """The verdict over a selection."""

    cases: tuple[CaseResult, ...]
    counts: Counts
    problems: tuple[Problem, ...]
    verdict: Verdict
    exit_code: int


def judge(selection: Selection, tries: Tries, *, quarantine: Sequence[Quarantine], today: date) -> Judged:
    """Bring all attempts together; red unless proven green."""
    counted = [(attempt, found) for attempt, found in tries if attempt.kind != "collect"]
    cases = [apply_quarantine(case, quarantine, selection.suite.name, today) for case in merge(counted)]
    problems = [*problems_of(counted, cases), *expired(cases, quarantine, selection.suite.name, today)]
    counts = count(cases)
    verdict = verdict_of(counts, problems, allow_empty=selection.suite.allow_empty)
    return Judged(
        cases=tuple(cases),
        counts=counts,
        problems=tuple(problems),
        verdict=verdict,
        exit_code=exit_code_of(verdict),
    )


def merge(tries: Tries) -> list[CaseResult]:
    """The deciding case of each test, in the order in which tests were first known.

    A later attempt decides about the tests that it finished; what it does not know of stays as it was. The shell runner
    that took over decides about everything, for the attempt before it was broken; what that one had found to be there and
    the shell runner does not tell of is missing.
    """
    known: dict[str, CaseResult] = {}
    ids: dict[tuple[str, str], str] = {}
    owed: set[str] = set()  # by an attempt whose place the shell runner took
    for attempt, found in tries:
        if attempt.kind == "fallback":
            known, ids = {}, {}
            owed = {test for _, before in tries for test in before.expected or ()}
        own = {case.id for case in found.cases}
        for case in found.cases:
            name = case.id
            if name not in known:
                other = ids.setdefault(_name_of(case), name)
                if other not in own:  # else two tests of one attempt that JUnit gives one name
                    name = other
            known[name] = _later(
                known.get(name), case if name == case.id else dataclasses.replace(case, id=name)
            )
    for test in sorted(owed - known.keys()):
        classname, name = junit_name(test)
        if (classname, name) not in ids:
            never = CaseResult(id=test, outcome=Outcome.MISSING, name=name, classname=classname)
            known[test] = dataclasses.replace(
                never, suite=tries[-1][0].suite, attempt=tries[-1][0].id, message=NOT_TOLD
            )
    return list(known.values())


def _name_of(case: CaseResult) -> tuple[str, str]:
    """What a test is called in JUnit, whoever tells of it; tests that share a name are told apart by their id."""
    if "::" in case.id and case.id.partition("::")[0].endswith(".py"):
        return junit_name(case.id)
    plain = f"{case.classname}::{case.name}" if case.classname else case.name
    return (case.classname, case.name if case.id == plain else case.id)


def _later(before: CaseResult | None, case: CaseResult) -> CaseResult:
    """A newer case of a test against what was known of it."""
    if before is None:
        return case
    if case.outcome is Outcome.MISSING:
        return before
    history = [*before.earlier]
    if before.outcome in RED:
        history.append(dataclasses.replace(before, earlier=(), flaky=False))
    history += case.earlier
    flaky = before.flaky or case.flaky or (bool(history) and case.outcome is Outcome.PASSED)
    return dataclasses.replace(case, earlier=tuple(history), flaky=flaky and case.outcome not in RED)


def problems_of(tries: Tries, cases: Sequence[CaseResult]) -> list[Problem]:
    """The problems that still stand: those of an attempt's end are healed if later attempts completed the tests."""
    if not tries:
        return [Problem(kind="never-started", text="nothing was run")]
    whole = not any(case.outcome is Outcome.MISSING for case in cases)
    base = max(number for number, (attempt, _) in enumerate(tries) if number == 0 or attempt.kind in WHOLE)
    found = []
    for number, (attempt, collected) in enumerate(tries):
        healed = number < base and whole and _made_up_for(tries, number, base)
        healed = healed or _tried_elsewhere(attempt, last=number == len(tries) - 1)
        for problem in collected.problems:
            heals = healed and problem.kind in OF_THE_END
            found.append(dataclasses.replace(problem, fatal=False) if heals else problem)
    return list(dict.fromkeys(found))


def _tried_elsewhere(attempt: Attempt, *, last: bool) -> bool:
    """Whether this is a retry whose machine was taken away, and which therefore was done again on another one."""
    return attempt.kind == "retry" and attempt.state is AttemptState.PREEMPTED and not last


def _made_up_for(tries: Tries, number: int, base: int) -> bool:
    """Whether attempts after this one ran what it owed: a fallback all of it, a resumed one what was expected."""
    later = tries[number + 1 : base + 1]
    if any(attempt.kind == "fallback" for attempt, _ in later):
        return True
    if tries[number][1].expected is not None or tries[base][1].expected is not None:
        return True
    # Nobody knew what was owed, as with a suite that only leaves files: then all of it was run again.
    told = {case.id for case in tries[base][1].cases}
    return all(case.id in told for _, found in tries[:base] for case in found.cases)


def count(cases: Iterable[CaseResult]) -> Counts:
    """The numbers: each test counts once. What passed only when tried again is flaky, not passed."""
    tally = dict.fromkeys(Counts.__slots__, 0)
    for case in cases:
        tally["tests"] += 1
        tally[kind_of(case)] += 1
    return Counts(**tally)


def kind_of(case: CaseResult) -> str:
    """The field of Counts that a case belongs to."""
    if case.outcome in RED and case.quarantined:
        return "quarantined"
    return "flaky" if case.flaky and case.outcome is Outcome.PASSED else case.outcome.value


def verdict_of(counts: Counts, problems: Iterable[Problem], *, allow_empty: bool = False) -> Verdict:
    """The one word. What keeps results from being known outranks what is known of them."""
    if any(problem.fatal for problem in problems) or counts.missing:
        return Verdict.INCOMPLETE
    if counts.failed or counts.errored:
        return Verdict.FAILED
    if not counts.tests and not allow_empty:
        return Verdict.EMPTY
    return Verdict.PASSED


def exit_code_of(verdict: Verdict) -> int:
    """The exit code that says the same."""
    return {Verdict.PASSED: errors.OK, Verdict.FAILED: errors.TESTS_FAILED}.get(verdict, errors.INCOMPLETE)


def apply_quarantine(case: CaseResult, entries: Sequence[Quarantine], suite: str, today: date) -> CaseResult:
    """The case, marked if an entry that has not expired names it."""
    if any(_names(entry, case, suite) and today < date.fromisoformat(entry.expires) for entry in entries):
        return dataclasses.replace(case, quarantined=True)
    return case


def expired(
    cases: Iterable[CaseResult], entries: Sequence[Quarantine], suite: str, today: date
) -> list[Problem]:
    """A note for each entry whose date has come and whose test is still red."""
    found = []
    red = [case for case in cases if case.outcome in RED]
    for entry in entries:
        if today < date.fromisoformat(entry.expires):
            continue
        for case in red:
            if _names(entry, case, suite):
                text = f"the quarantine of {case.id} ended on {entry.expires}; its owner is {entry.owner}"
                found.append(Problem(kind="quarantine-expired", text=text, fatal=False))
    return found


def _names(entry: Quarantine, case: CaseResult, suite: str) -> bool:
    if entry.suite is not None and entry.suite != suite:
        return False
    # Brackets of parameters are no character class: only * and ? are wild.
    pattern = entry.test.replace("[", "[[]")
    return entry.test == case.id or fnmatch.fnmatchcase(case.id, pattern)
