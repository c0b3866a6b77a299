"""What files and run folders come to together: the object that `ci-runner results summarize` prints."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ci_runner import codec, errors
from ci_runner.model import Attempt, CaseResult, Counts, Outcome, Plan, Problem, Verdict
from ci_runner.results.attempt import collect
from ci_runner.results.junit import read_junit
from ci_runner.results.verdict import count, exit_code_of, judge, verdict_of
from ci_runner.results.whole import total

# What reading a file that was cut off, or that something else wrote, may raise.
UNREADABLE = (OSError, ValueError, TypeError, LookupError, AttributeError, RecursionError)
GRAVEST_LAST = (errors.OK, errors.TESTS_FAILED, errors.INCOMPLETE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One file, or one selection of a run folder; `cases` lacks those that simply passed unless all were asked for."""

    name: str
    counts: Counts
    verdict: Verdict
    cases: tuple[CaseResult, ...] = ()
    problems: tuple[Problem, ...] = ()
    duration_seconds: float = 0.0
    exit_code: int = 0
    metrics: dict[str, float] = field(default_factory=dict)
    of_run: bool = False  # a selection of a run, which has to hold tests; one file among others need not


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """Everything together."""

    parts: tuple[Part, ...]
    files: tuple[str, ...]
    counts: Counts
    problems: tuple[Problem, ...]
    verdict: Verdict
    exit_code: int
    duration_seconds: float


def summarize(paths: Sequence[Path], *, keep_passed: bool = False) -> Summary:
    """Read files, folders of files and run folders. Whatever is wrong with them is a problem and never raised."""
    parts: list[Part] = []
    files: list[str] = []
    for path in paths:
        if path.is_dir():
            _folder(path, parts, files, keep_passed)
        else:
            files.append(str(path))
            parts.append(_file(path, keep_passed))
    counts = total(part.counts for part in parts)
    problems = tuple(problem for part in parts for problem in part.problems)
    verdict = _worst(parts)
    return Summary(
        parts=tuple(parts),
        files=tuple(files),
        counts=counts,
        problems=problems,
        verdict=verdict,
        exit_code=_exit(parts, verdict),
        duration_seconds=sum(part.duration_seconds for part in parts),
    )


def _worst(parts: Sequence[Part]) -> Verdict:
    """The gravest verdict; a file without tests beside others that hold some is no reason to be red."""
    verdicts = {part.verdict for part in parts if part.of_run or part.verdict is not Verdict.EMPTY}
    for verdict in (Verdict.INCOMPLETE, Verdict.FAILED, Verdict.EMPTY):
        if verdict in verdicts:
            return verdict
    return Verdict.PASSED if verdicts else Verdict.EMPTY


def _exit(parts: Sequence[Part], verdict: Verdict) -> int:
    own = {part.exit_code for part in parts} - set(GRAVEST_LAST)
    return min(own) if own else exit_code_of(verdict)


def _file(path: Path, keep_passed: bool) -> Part:
    content = read_junit(path, keep_passed=keep_passed)
    verdict = verdict_of(content.counts, content.problems)
    return Part(
        name=str(path),
        counts=content.counts,
        verdict=verdict,
        cases=content.cases,
        problems=content.problems,
        duration_seconds=content.duration_seconds,
        exit_code=exit_code_of(verdict),
        metrics=dict(content.metrics),
    )


def _folder(path: Path, parts: list[Part], files: list[str], keep_passed: bool) -> None:
    if (path / "plan.json").exists():
        files.append(str(path))
        finished = _finished_run(path, keep_passed)
        parts.extend(_interrupted_run(path, keep_passed) if finished is None else finished)
        return
    found = sorted(item for item in path.rglob("*.xml") if item.is_file())
    if not found:
        problem = Problem(
            kind="no-results", text="holds no JUnit file (*.xml) and is no run folder", file=str(path)
        )
        parts.append(_bad(str(path), problem))
    for item in found:
        files.append(str(item))
        parts.append(_file(item, keep_passed))


def _bad(name: str, problem: Problem) -> Part:
    return Part(
        name=name,
        counts=Counts(),
        verdict=Verdict.INCOMPLETE,
        problems=(problem,),
        exit_code=errors.INCOMPLETE,
    )


# -- run folders


def _finished_run(path: Path, keep_passed: bool) -> list[Part] | None:
    """The parts of a run that wrote its results to the end; None if it did not."""
    try:
        told = json.loads((path / "results.json").read_text(encoding="utf-8"))
        parts = [_part_of(item, told) for item in told["suites"]]
        verdict, code, seconds = (
            Verdict(told["verdict"]),
            int(told["exit_code"]),
            float(told["duration_seconds"]),
        )
        cases = _cases(path / "cases.jsonl")
    except UNREADABLE:
        return None
    named: dict[str, list[CaseResult]] = {}
    for case in cases:
        named.setdefault((case.attempt or "").rpartition(".")[0], []).append(case)
    if len(parts) == 1:
        named = {parts[0].name: cases}
    whole = [
        _with(
            _checked(part, named.get(part.name, ()), path),
            named.get(part.name, ()),
            keep_passed,
            seconds / len(parts),
        )
        for part in parts
    ]
    if not whole or (code != errors.OK and all(part.exit_code == errors.OK for part in whole)):
        whole.append(Part(name=path.name, counts=Counts(), verdict=verdict, exit_code=code, of_run=True))
    return whole


def _part_of(item: Any, told: Any) -> Part:
    counts = Counts(**{name: int(item[name]) for name in Counts.__slots__})
    problems = [codec.build(Problem, entry) for entry in told["problems"] if entry["suite"] == item["id"]]
    return Part(
        name=str(item["id"]),
        counts=counts,
        verdict=Verdict(item["verdict"]),
        problems=tuple(problems),
        exit_code=int(item["exit_code"]),
        metrics={str(name): float(value) for name, value in item["metrics"].items()},
        of_run=True,
    )


def _checked(part: Part, cases: Sequence[CaseResult], path: Path) -> Part:
    """The part, red if the files of the run contradict one another."""
    lies = []
    if (listed := count(cases)) != part.counts:
        numbers = f"{listed.tests} tests against {part.counts.tests}"
        lies.append(f"cases.jsonl and results.json disagree about {part.name} ({numbers})")
    if part.verdict is Verdict.PASSED and (
        verdict_of(part.counts, part.problems, allow_empty=True) is not Verdict.PASSED
        or part.exit_code != errors.OK
    ):
        lies.append(f"results.json calls {part.name} passed, and its own numbers say otherwise")
    if not lies:
        return part
    problems = [Problem(kind="disagreement", text=text, file=str(path)) for text in lies]
    return dataclasses.replace(
        part,
        problems=(*part.problems, *problems),
        verdict=Verdict.INCOMPLETE,
        exit_code=part.exit_code if part.exit_code not in GRAVEST_LAST else errors.INCOMPLETE,
    )


def _with(part: Part, cases: Sequence[CaseResult], keep_passed: bool, seconds: float) -> Part:
    kept = tuple(case for case in cases if keep_passed or _notable(case))
    return dataclasses.replace(part, cases=kept, duration_seconds=seconds)


def _notable(case: CaseResult) -> bool:
    """Whether there is more to tell of it than that it passed."""
    return case.outcome is not Outcome.PASSED or case.flaky


def _cases(path: Path) -> list[CaseResult]:
    with path.open(encoding="utf-8") as file:
        return [codec.build(CaseResult, json.loads(line)) for line in file]


def _interrupted_run(path: Path, keep_passed: bool) -> list[Part]:
    """The parts of a run that was killed: what its attempts left, judged now."""
    try:
        plan = codec.build(Plan, json.loads((path / "plan.json").read_text(encoding="utf-8")))
    except UNREADABLE as error:
        problem = Problem(
            kind="plan", text=f"the plan of the run cannot be read: {error}", file=str(path / "plan.json")
        )
        return [_bad(path.name, problem)]
    attempts = list(_attempts(path))
    today = datetime.now(UTC).date()
    parts = []
    for selection in plan.selected:
        own = sorted(
            (item for item in attempts if item.selection == selection.id), key=lambda item: item.number
        )
        tries = [
            (item, collect(path / "attempts" / item.id, suite=selection.suite, attempt=item)) for item in own
        ]
        judged = judge(selection, tries, quarantine=(), today=today)
        stop = Problem(
            kind="interrupted",
            text=f"{selection.id}: the run ended before it could write its results",
            file=str(path),
        )
        problems = (stop, *judged.problems)
        cases = [case for case in judged.cases if keep_passed or _notable(case)]
        parts.append(
            Part(
                name=selection.id,
                counts=judged.counts,
                verdict=verdict_of(judged.counts, problems),
                cases=tuple(cases),
                problems=problems,
                duration_seconds=sum(case.duration_seconds for case in judged.cases),
                exit_code=errors.INCOMPLETE,
                of_run=True,
            )
        )
    return parts or [
        _bad(path.name, Problem(kind="interrupted", text="the run ended before it began", file=str(path)))
    ]


def _attempts(path: Path) -> Iterable[Attempt]:
    for file in sorted((path / "attempts").glob("*/attempt.json")):
        try:
            yield codec.build(Attempt, json.loads(file.read_text(encoding="utf-8")))
        except UNREADABLE:
            continue  # begun and killed before its first file was whole: no test of it can have run


def summary_json(summary: Summary) -> dict[str, Any]:
    """The one object on stdout with `--format json`."""
    counts = summary.counts
    return {
        **{name: getattr(counts, name) for name in Counts.__slots__},
        "duration_seconds": round(summary.duration_seconds, 3),
        "verdict": summary.verdict.value,
        "exit_code": summary.exit_code,
        "problems": [codec.plain(problem) for problem in summary.problems],
        "files": list(summary.files),
        "cases": [
            {
                "part": part.name,
                "id": case.id,
                "outcome": case.outcome.value,
                "message": case.message,
                "file": case.file,
                "line": case.line,
                "flaky": case.flaky,
                "interrupted": case.interrupted,
            }
            for part in summary.parts
            for case in part.cases
        ],
    }
