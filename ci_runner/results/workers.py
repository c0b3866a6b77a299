"""One suite that ran on every host of a slice: each host judged by its own files, and one result of all."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Sequence
from pathlib import Path

from ci_runner.model import Attempt, AttemptState, CaseResult, Outcome, Problem, Suite
from ci_runner.results.attempt import Collected

# the gravest outcome on any host is the test's
GRAVEST_FIRST = (Outcome.ERRORED, Outcome.FAILED, Outcome.MISSING, Outcome.PASSED, Outcome.SKIPPED)


def collect_workers(
    folder: Path, *, suite: Suite, attempt: Attempt, collect_one: Callable[..., Collected]
) -> Collected:
    """What all hosts came to; a host that left nothing is a problem, and its tests are missing."""
    places = sorted(
        (path for path in folder.iterdir() if path.name.isdecimal()), key=lambda path: int(path.name)
    )
    found = [
        collect_one(place, suite=suite, attempt=_of_host(attempt, place, folder.parent)) for place in places
    ]
    return merged(found, attempt)


def _of_host(attempt: Attempt, place: Path, folder: Path) -> Attempt:
    """The attempt as one host saw it: with its own exit code."""
    here = f"{attempt.folder}/{place.relative_to(folder).as_posix()}"
    try:
        status = json.loads((place / "status.json").read_text(encoding="utf-8"))
        code = int(status["exit_code"])
    except (OSError, ValueError, KeyError, TypeError):
        return dataclasses.replace(attempt, folder=here)
    ended = code >= 0 and not status.get("timed_out") and not status.get("cancelled")
    state = AttemptState.FINISHED if ended else attempt.state
    return dataclasses.replace(attempt, folder=here, log=f"{here}/log", exit_code=code, state=state)


def merged(found: Sequence[Collected], attempt: Attempt) -> Collected:
    """One result: every test once, as grave as it was anywhere, and which host says so."""
    total = len(found)
    cases: dict[str, list[tuple[int, CaseResult]]] = {}
    for number, each in enumerate(found):
        for case in each.cases:
            cases.setdefault(case.id, []).append((number, case))
    expected = list(dict.fromkeys(test for each in found for test in each.expected or ()))
    first = found[0] if found else Collected()
    problems = [
        dataclasses.replace(problem, text=f"worker {number} of {total}: {problem.text}")
        for number, each in enumerate(found)
        for problem in each.problems
    ]
    uneven = [test for test, on in cases.items() if len(on) != total]
    if uneven:
        text = f"not all {total} workers know {', '.join(uneven[:3])}"
        problems.append(Problem(kind="uneven-workers", text=text, file=attempt.folder))
    return Collected(
        cases=tuple(_gravest(on, total) for on in cases.values()),
        problems=tuple(problems),
        metrics={name: value for each in reversed(found) for name, value in each.metrics.items()},
        expected=tuple(expected) if any(each.expected is not None for each in found) else None,
        stacks=_stacks(found),
        sessions=min((each.sessions for each in found), default=0),
        started=first.started,
        bad_lines=sum(each.bad_lines for each in found),
        exit_status=next((each.exit_status for each in found if each.exit_status), first.exit_status),
    )


def _gravest(on: Sequence[tuple[int, CaseResult]], total: int) -> CaseResult:
    number, case = min(on, key=lambda item: GRAVEST_FIRST.index(item[1].outcome))
    slowest = max(item.duration_seconds for _, item in on)
    if case.outcome in (Outcome.PASSED, Outcome.SKIPPED):
        return dataclasses.replace(case, duration_seconds=slowest)
    where = f"worker {number} of {total}"
    return dataclasses.replace(
        case,
        duration_seconds=slowest,
        worker=str(number),
        message=f"{where}: {case.message or case.outcome.value}",
    )


def _stacks(found: Sequence[Collected]) -> str | None:
    told = [f"worker {number}\n{each.stacks}" for number, each in enumerate(found) if each.stacks]
    return "\n\n".join(told) or None
