"""What the Markdown summary and the page show, picked out of a result once for both."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass

from ci_runner.model import (
    Attempt,
    AttemptState,
    CaseResult,
    Lease,
    LeaseState,
    Problem,
    RunResult,
    Selection,
    SuiteResult,
    Verdict,
)
from ci_runner.report import explain, words
from ci_runner.report.excerpt import clip, tail, traceback_excerpt
from ci_runner.report.notable import SLOWEST, notable

SYMBOLS = {"passed": "✅", "failed": "❌", "nothing due": "✅"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """One red test with what a person needs to understand and repeat it."""

    selection: Selection
    case: CaseResult
    place: str  # file:line, or ""
    excerpt: str
    details: str  # the whole traceback if the excerpt is not all of it, else ""
    output: str  # the end of what the test printed
    command: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """A stretch of the time axis: `start` and `seconds` from the start of the run."""

    kind: str  # waiting | passed | failed | lost
    label: str
    start: float
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Lane:
    """All spans of one selection."""

    name: str
    spans: tuple[Span, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineLine:
    """One lease as a line of the story."""

    machine: str
    lease: str
    selection: str
    start: float
    ready_seconds: float | None
    held_seconds: float | None
    price: str
    end: str


def failures(result: RunResult, *, limit: int, details_limit: int = 20_000) -> list[Failure]:
    """The red tests of all suites, in order, up to the limit."""
    found: list[Failure] = []
    for suite in result.suites:
        for case in explain.red_cases(suite):
            if len(found) >= limit:
                return found
            found.append(failure(suite.selection, case, details_limit))
    return found


def failure(selection: Selection, case: CaseResult, details_limit: int) -> Failure:
    """One red test with what a reader needs of it."""
    details = case.details or ""
    excerpt = traceback_excerpt(details) if details else ""
    whole = clip(details, details_limit)
    return Failure(
        selection=selection,
        case=case,
        place=place(case),
        excerpt=clip(excerpt, 6_000),
        details=whole if whole.strip() != excerpt.strip() else "",
        output=tail(case.output or "", 15, 4_000),
        command=words.reproduce(selection, case.id),
    )


def place(case: CaseResult) -> str:
    """`tests/test_a.py:88`."""
    return f"{case.file}{f':{case.line}' if case.line else ''}" if case.file else ""


def symbol(result: RunResult) -> str:
    """One symbol for the first line; anything that is neither green nor plainly red warns."""
    return SYMBOLS.get(explain.headline_word(result), "⚠️")


def headline(result: RunResult) -> str:
    """The first line: enough to decide whether to read on. Holds foreign text if nothing was tested."""
    word, counts = explain.headline_word(result), result.counts
    tell = [words.duration(result.duration_seconds)]
    tell += [words.money(result.cost_usd)] if result.cost_usd > 0 else []
    if word in ("not tested", "empty", "cancelled", "incomplete"):
        told = explain.explanations(result)
        reason = (
            told[0].what if told else explain.NOT_TESTED.get(result.exit_code, "the results are incomplete")
        )
        first = reason if reason == word else f"{word}: {reason}"
    else:
        first = word if word == "nothing due" else ""
    numbers = [] if not counts.tests else _by_weight(result)
    return " · ".join([*([first] if first else []), *numbers, *tell])


def _by_weight(result: RunResult) -> list[str]:
    counts = result.counts
    weighed = [
        (counts.failed, "failed"),
        (counts.errored, "errored"),
        (counts.missing, "missing"),
        (counts.passed, "passed"),
        (counts.flaky, "flaky"),
        (counts.quarantined, "quarantined"),
        (counts.skipped, "skipped"),
    ]
    return [f"{words.number(value)} {word}" for value, word in weighed if value]


def slowest(result: RunResult, limit: int = SLOWEST) -> list[tuple[Selection, CaseResult]]:
    """The tests that took longest, if they took long enough to matter (50 ms)."""
    found = [(suite.selection, case) for suite in result.suites for case in notable(suite.cases).slowest]
    return heapq.nlargest(min(limit, SLOWEST), found, key=lambda item: item[1].duration_seconds)


def flaky(result: RunResult) -> list[tuple[Selection, CaseResult]]:
    """Tests that failed and passed on the same commit."""
    return [(suite.selection, case) for suite in result.suites for case in notable(suite.cases).flaky]


def quarantined(result: RunResult) -> list[tuple[Selection, CaseResult]]:
    """Failures that are shown and not red."""
    return [(suite.selection, case) for suite in result.suites for case in notable(suite.cases).quarantined]


def missing(result: RunResult) -> list[tuple[Selection, CaseResult]]:
    """Tests that were expected and never ended; those that were running come first."""
    found = [(suite.selection, case) for suite in result.suites for case in notable(suite.cases).missing]
    return sorted(found, key=lambda item: not item[1].interrupted)


def problems(result: RunResult) -> list[tuple[str, Problem]]:
    """Problems of all suites that no explanation tells, each once, fatal ones first."""
    told = {(item.subject, part) for item in explain.explanations(result) for part in item.what.split("; ")}
    found = [
        (suite.selection.id, problem)
        for suite in result.suites
        for problem in suite.problems
        if (suite.selection.id, problem.text.partition("\nfix: ")[0].strip()) not in told
    ]
    return sorted(dict.fromkeys(found), key=lambda item: not item[1].fatal)


def machine_of(suite: SuiteResult) -> str:
    """The machine that the suite ended on, or the one it wanted."""
    return words.machine_text(suite.leases[-1]) if suite.leases else suite.selection.suite.machine


def suite_seconds(suite: SuiteResult) -> float:
    """From the first attempt's start to the last one's end."""
    ends = [attempt.ended_at for attempt in suite.attempts if attempt.ended_at is not None]
    return max(ends) - min(attempt.started_at for attempt in suite.attempts) if ends else 0.0


def lanes(result: RunResult) -> list[Lane]:
    """Where the wall time went, one lane for each selection."""
    return [
        Lane(name=suite.selection.id, spans=tuple(sorted(_spans(result, suite), key=lambda span: span.start)))
        for suite in result.suites
        if suite.attempts
    ]


def _spans(result: RunResult, suite: SuiteResult) -> Iterator[Span]:
    for lease in suite.leases:
        starts = [attempt.started_at for attempt in suite.attempts if attempt.lease_id == lease.id]
        seconds = max(0.0, min(starts) - lease.created_at) if starts else 0.0
        if seconds >= 1 or (starts and lease.machine.provider != "local"):
            yield Span(
                kind="waiting",
                label=f"getting {words.machine_text(lease)} ready, {words.duration(seconds)}",
                start=lease.created_at - result.started_at,
                seconds=seconds,
            )
    for attempt in suite.attempts:
        end = attempt.ended_at if attempt.ended_at is not None else result.ended_at
        how = attempt.state.value.replace("-", " ")
        yield Span(
            kind=_kind(attempt, suite),
            label=f"attempt {attempt.number} ({attempt.kind}, {attempt.runner.value} runner) {how}, "
            f"{words.duration(end - attempt.started_at)}",
            start=attempt.started_at - result.started_at,
            seconds=max(0.0, end - attempt.started_at),
        )


def _kind(attempt: Attempt, suite: SuiteResult) -> str:
    if attempt.state is not AttemptState.FINISHED:
        return "lost"
    if attempt.exit_code == 0 or suite.verdict is Verdict.PASSED:
        return "passed"
    return "failed"


def machine_lines(result: RunResult) -> list[MachineLine]:
    """Every lease of the run in the order of asking."""
    found = [_machine_line(result, suite, lease) for suite in result.suites for lease in suite.leases]
    return sorted(found, key=lambda line: line.start)


def _machine_line(result: RunResult, suite: SuiteResult, lease: Lease) -> MachineLine:
    mine = [attempt for attempt in suite.attempts if attempt.lease_id == lease.id]
    ends = [attempt.ended_at for attempt in mine if attempt.ended_at is not None]
    ready = min((attempt.started_at for attempt in mine), default=None)
    held = max(ends) - lease.created_at if ends else None
    price = ""
    if lease.price_per_hour:
        price = f"{words.money(lease.price_per_hour)}/h"
        price += f", {words.money(lease.price_per_hour * held / 3600)}" if held else ""
    end = {LeaseState.PREEMPTED: "taken away", LeaseState.GONE: "given back"}.get(lease.state)
    return MachineLine(
        machine=words.machine_text(lease),
        lease=lease.id,
        selection=suite.selection.id,
        start=lease.created_at - result.started_at,
        ready_seconds=ready - lease.created_at if ready is not None else None,
        held_seconds=held,
        price=price,
        end=end or ("given back" if lease.machine.provider == "local" else lease.state.value),
    )


def machine_story(suite: SuiteResult) -> str:
    """`us-central1-b: no capacity → us-east5-b, ready in 41 s`: "" for a suite that ran here at no cost."""
    if all(lease.machine.provider == "local" and not lease.price_per_hour for lease in suite.leases):
        return ""
    steps = []
    for lease in suite.leases:
        where = words.machine_text(lease)
        steps += [
            f"{tried.zone or tried.type or 'first try'}: {words.FAILURES.get(tried.failure, tried.failure)}"
            for tried in lease.tries
            if tried.failure is not None
        ]
        if lease.tries and lease.tries[-1].failure is None:
            where += f", ready in {words.duration(lease.tries[-1].ended_at - lease.tries[-1].started_at)}"
        steps.append(f"{where} (taken away)" if lease.state is LeaseState.PREEMPTED else where)
    return " → ".join(steps)
