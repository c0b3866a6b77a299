"""Which failures get an issue of their own, and when it is updated, closed or opened again. Pure.

One issue stands for one test of one suite failing in one way (its fingerprint). What it remembers is in its body, between
hidden marks, so that nobody needs a database.
"""

from __future__ import annotations

import dataclasses
import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ci_runner import errors
from ci_runner.model import CaseResult, RunResult, SuiteResult

GREEN_RUNS = 3  # on every platform that was red, before an issue is closed
MOST_NEW = 10  # new failures in one run; more are one cause and one issue
COMMENT_SECONDS = 24 * 3600.0
RUNS_KEPT = 20
NAME_LIMIT = 500
FLOOD = "flood"
INFRASTRUCTURE = "infrastructure"
# exit codes that are nobody's test: they get an issue of their own
CAUSES: Mapping[int, str] = {
    errors.NO_CAPACITY: "no capacity",
    errors.QUOTA: "no quota",
    errors.AUTHENTICATION: "no access",
    errors.PREEMPTED: "machines taken away",
    errors.MACHINE: "machines failed",
}
_NUMBER = re.compile(r"0x[0-9a-fA-F]+|\d+(?:\.\d+)?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Tracked:
    """What an issue remembers of its failure."""

    suite: str
    fingerprint: str
    test: str
    message: str = ""
    first_bad: str = ""
    last_bad: str = ""
    last_good: str = ""  # the last commit on which it was seen green before; "" if none is known
    runs: tuple[str, ...] = ()  # newest first
    platforms: tuple[str, ...] = ()  # that were red
    green: Mapping[str, int] = field(default_factory=dict)  # platform → green runs since it was red there
    commented_at: float = 0.0
    count: int = 0  # red runs


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """An issue as it is on GitHub."""

    number: int
    open: bool
    tracked: Tracked
    closed_by_us: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One run as far as issues are concerned."""

    commit: str
    run: str  # its address or id
    at: float
    failing: Mapping[tuple[str, str], Tracked] = field(default_factory=dict)  # (suite, fingerprint) → now
    passed: Mapping[str, frozenset[str]] = field(default_factory=dict)  # suite → tests that passed
    healthy: frozenset[str] = frozenset()  # suites whose machines worked
    platforms: Mapping[str, str] = field(default_factory=dict)  # suite → platform


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One thing to do: open, update, reopen or close an issue; `comment` is said only when something is new."""

    do: str
    tracked: Tracked
    number: int | None = None
    comment: str | None = None  # why: again | closed | reopened
    others: tuple[Tracked, ...] = ()  # of a flood: all failures it stands for


def fingerprint(suite: str, test: str, message: str) -> str:
    """The same for the same failure, whatever numbers and addresses the message holds this time."""
    plain = _NUMBER.sub("N", message.partition("\n")[0])[:300]
    return hashlib.sha256(f"{suite}\0{test}\0{plain}".encode("utf-8", "replace")).hexdigest()[:16]


def short(name: str) -> str:
    """A name as an issue remembers it: what is very long is cut, and told apart by a hash."""
    if len(name) <= NAME_LIMIT:
        return name
    return f"{name[: NAME_LIMIT - 17]}~{hashlib.sha256(name.encode('utf-8', 'replace')).hexdigest()[:16]}"


def seen(result: RunResult, *, run: str, at: float, last_good: Mapping[str, str] | None = None) -> Seen:
    """What a run says about issues; `last_good` is the commit by suite with which the run was compared."""
    commit = result.plan.event.commit or ""
    failing: dict[tuple[str, str], Tracked] = {}
    passed: dict[str, set[str]] = {}
    healthy = set()
    platforms = {}
    for suite in result.suites:
        name = short(suite.selection.suite.name)
        platforms[name] = suite.selection.suite.machine
        if suite.exit_code in CAUSES:
            found = _infrastructure(suite, commit, run)
            failing[found.suite, found.fingerprint] = found
            continue
        healthy.add(name)
        passed.setdefault(name, set()).update(
            short(case.id) for case in suite.cases if case.outcome.value == "passed" and not case.flaky
        )
        for case in suite.cases:
            if case.outcome.value in ("failed", "errored") and not case.quarantined:
                found = _of_case(suite, case, commit, run, (last_good or {}).get(name, ""))
                failing[found.suite, found.fingerprint] = found
    return Seen(
        commit=commit,
        run=run,
        at=at,
        failing=failing,
        passed={name: frozenset(tests) for name, tests in passed.items()},
        healthy=frozenset(healthy),
        platforms=platforms,
    )


def _of_case(suite: SuiteResult, case: CaseResult, commit: str, run: str, last_good: str) -> Tracked:
    name, message = short(suite.selection.suite.name), case.message or ""
    return Tracked(
        suite=name,
        fingerprint=fingerprint(name, case.id, message),
        test=short(case.id),
        message=message[:300],
        first_bad=commit,
        last_bad=commit,
        last_good=last_good,
        runs=(run,),
        platforms=(suite.selection.suite.machine,),
        count=1,
    )


def _infrastructure(suite: SuiteResult, commit: str, run: str) -> Tracked:
    machine, cause = suite.selection.suite.machine, CAUSES[suite.exit_code]
    return Tracked(
        suite=INFRASTRUCTURE,
        fingerprint=fingerprint(INFRASTRUCTURE, machine, cause),
        test=f"{machine}: {cause}",
        message=next((problem.text.partition("\n")[0] for problem in suite.problems), "")[:300],
        first_bad=commit,
        last_bad=commit,
        runs=(run,),
        platforms=(machine,),
        count=1,
    )


def decide(
    run: Seen, known: Sequence[Known], *, green_runs: int = GREEN_RUNS, most_new: int = MOST_NEW
) -> list[Step]:
    """What to do after a run; the same run and issues always give the same steps."""
    by_failure: dict[tuple[str, str], Known] = {}
    for issue in sorted(known, key=lambda item: (item.open, item.number)):
        by_failure[issue.tracked.suite, issue.tracked.fingerprint] = issue  # an open one, else the newest
    steps: list[Step] = []
    new: list[Tracked] = []
    for failure, now in run.failing.items():
        found = by_failure.get(failure)
        if found is None:
            new.append(dataclasses.replace(now, commented_at=run.at))  # to open an issue is to say something
        else:
            steps += _red(found, now, run)
    tests = [item for item in new if item.suite != INFRASTRUCTURE]
    steps += [Step(do="open", tracked=item) for item in new if item.suite == INFRASTRUCTURE]
    if len(tests) > most_new:
        steps += _flood(tests, by_failure, run)
    else:
        steps += [Step(do="open", tracked=item) for item in tests]
    told = {(step.tracked.suite, step.tracked.fingerprint) for step in steps}
    for failure, issue in by_failure.items():
        if issue.open and failure not in run.failing and failure not in told:
            steps += _green(issue, run, green_runs)
    return steps


def _red(issue: Known, now: Tracked, run: Seen) -> list[Step]:
    """A known failure again: its issue is updated, and opened again unless a person closed it for this stretch."""
    before = issue.tracked
    again = dataclasses.replace(
        before,
        message=now.message,
        last_bad=run.commit,
        runs=(run.run, *(item for item in before.runs if item != run.run))[:RUNS_KEPT],
        platforms=tuple(sorted({*before.platforms, *now.platforms})),
        green={name: count for name, count in before.green.items() if name not in now.platforms},
        count=before.count + (run.run not in before.runs),
    )
    if issue.open:
        comment = (
            "again"
            if run.at - before.commented_at >= COMMENT_SECONDS and again.count > before.count
            else None
        )
        if comment:
            again = dataclasses.replace(again, commented_at=run.at)
        return (
            []
            if again == before
            else [Step(do="update", tracked=again, number=issue.number, comment=comment)]
        )
    if not issue.closed_by_us and not any(before.green.values()):
        return []  # a person said no for this stretch of commits, and it was never green since
    fresh = dataclasses.replace(again, first_bad=run.commit, green={}, commented_at=run.at)
    return [Step(do="reopen", tracked=fresh, number=issue.number, comment="reopened")]


def _green(issue: Known, run: Seen, green_runs: int) -> list[Step]:
    """An open issue whose failure did not show: one green run more, and closed when every red platform has enough."""
    before = issue.tracked
    platform = _platform_of(before, run)
    if platform is None or run.run in before.runs:
        return []
    green = {**before.green, platform: before.green.get(platform, 0) + 1}
    after = dataclasses.replace(before, green=green, runs=(run.run, *before.runs)[:RUNS_KEPT])
    if all(green.get(name, 0) >= green_runs for name in before.platforms):
        return [Step(do="close", tracked=after, number=issue.number, comment="closed")]
    return [Step(do="update", tracked=after, number=issue.number)]


def _platform_of(tracked: Tracked, run: Seen) -> str | None:
    """The platform on which the run shows that the failure is over; None if it shows nothing about it."""
    if tracked.suite == INFRASTRUCTURE:
        machine = tracked.platforms[0] if tracked.platforms else ""
        worked = any(run.platforms.get(name) == machine for name in run.healthy)
        return machine if worked else None
    if tracked.fingerprint == FLOOD:
        return run.platforms.get(tracked.suite) if tracked.suite in run.healthy else None
    if tracked.test not in run.passed.get(tracked.suite, frozenset()):
        return None
    return run.platforms.get(tracked.suite)


def _flood(tests: Sequence[Tracked], known: Mapping[tuple[str, str], Known], run: Seen) -> list[Step]:
    """One issue a suite for many new failures at once: they have one cause, and nobody reads fifty issues."""
    steps = []
    for suite in dict.fromkeys(item.suite for item in tests):
        mine = tuple(item for item in tests if item.suite == suite)
        whole = Tracked(
            suite=suite,
            fingerprint=FLOOD,
            test=f"{len(mine)} tests",
            message=mine[0].message,
            first_bad=run.commit,
            last_bad=run.commit,
            last_good=mine[0].last_good,
            runs=(run.run,),
            platforms=tuple(sorted({name for item in mine for name in item.platforms})),
            count=1,
        )
        found = known.get((suite, FLOOD))
        if found is None:
            steps.append(Step(do="open", tracked=whole, others=mine))
        else:
            steps += [dataclasses.replace(step, others=mine) for step in _red(found, whole, run)]
    return steps
