"""Run folders and foreign JUnit, read back as results: somebody else's data, believed only as far as it goes."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from ci_runner import codec, errors
from ci_runner.model import (
    Attempt,
    Event,
    Finding,
    FlagDecision,
    Lease,
    Plan,
    Problem,
    RunResult,
    Selection,
    Suite,
    SuiteResult,
    Verdict,
)
from ci_runner.results.summary import UNREADABLE, Part, summarize
from ci_runner.results.whole import total, verdict_of_run, worst

FOREIGN = "files"  # the run id of results that no run of ours made


def find_runs(paths: Sequence[Path]) -> list[Path]:
    """The run folders below the paths (artifacts are unpacked one folder deeper); a path without any stands for itself."""
    found: list[Path] = []
    for path in paths:
        plans = sorted(path.rglob("plan.json")) if path.is_dir() else []
        runs = [
            plan.parent
            for plan in plans
            if (plan.parent / "attempts").is_dir() or (plan.parent / "results.json").is_file()
        ]
        found += runs or [path]
    return list(dict.fromkeys(found))


def load_run(path: Path) -> RunResult:
    """One run folder, file or folder of JUnit as a result; what is wrong with it is a problem of the result."""
    summary = summarize([path], keep_passed=True)
    told = _object(path / "results.json")
    plan = _plan(path)
    selections = {item.id: item for item in plan.selected} if plan else {}
    suites = [
        _suite(part, selections.get(part.name), _told_of(told, part.name), path) for part in summary.parts
    ]
    plan = plan or Plan(event=Event(kind="files"), selected=tuple(item.selection for item in suites))
    started = _moment(told.get("started"))
    return RunResult(
        run_id=str(told.get("run_id") or (path.name if selections else FOREIGN)),
        plan=plan,
        suites=tuple(suites),
        verdict=summary.verdict,
        counts=summary.counts,
        started_at=started,
        ended_at=started + (_number(told.get("duration_seconds")) or summary.duration_seconds),
        developer=str(told.get("developer") or ""),
        exit_code=summary.exit_code,
        findings=tuple(finding for suite in suites for finding in suite.findings),
        notes=tuple(str(note) for note in told.get("notes") or ()),
        cost_usd=_number(told.get("cost_usd")),
    )


def _suite(part: Part, selection: Selection | None, told: Mapping[str, Any], path: Path) -> SuiteResult:
    if selection is None:
        name = part.name if part.of_run else _short(part.name, path)
        selection = Selection(
            suite=Suite(name=name, title=name, command=f"read from {part.name}", machine="elsewhere"),
            reason="found in a file of results",
            rule="command line",
        )
    decided = _each(FlagDecision, [told.get("runner")])
    if decided:  # what was used may have been forced on the command line, against the plan
        selection = dataclasses.replace(selection, runner=decided[0])
    return SuiteResult(
        selection=selection,
        verdict=part.verdict,
        counts=part.counts,
        attempts=_each(Attempt, told.get("attempts")),
        leases=tuple(lease for item in told.get("leases") or () if (lease := _lease(item)) is not None),
        cases=part.cases,
        problems=part.problems,
        findings=_each(Finding, told.get("findings")),
        fallback_reason=told.get("fallback_reason"),
        metrics=part.metrics,
        stacks=told.get("stacks"),
        exit_code=part.exit_code,
    )


def _short(name: str, path: Path) -> str:
    """The name of a file of results below the folder that was named."""
    if path.is_dir() and name != str(path):
        return Path(name).relative_to(path).with_suffix("").as_posix()
    return Path(name).stem


def _lease(item: Any) -> Lease | None:
    try:
        return codec.build(Lease, {**item, "machine": item["machine_spec"]})
    except UNREADABLE:
        return None


def _each(kind: type[Any], items: Any) -> tuple[Any, ...]:
    found = []
    for item in items if isinstance(items, list) else ():
        try:
            found.append(codec.build(kind, item))
        except UNREADABLE:
            continue  # the numbers come from elsewhere; this one line of the story is lost
    return tuple(found)


def _object(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except UNREADABLE:
        return {}
    return value if isinstance(value, dict) else {}


def _plan(path: Path) -> Plan | None:
    try:
        return codec.build(Plan, json.loads((path / "plan.json").read_text(encoding="utf-8")))
    except UNREADABLE:
        return None


def _told_of(told: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    suites = told.get("suites")
    for item in suites if isinstance(suites, list) else ():
        if isinstance(item, dict) and item.get("id") == name:
            return item
    return {}


def _moment(value: Any) -> float:
    try:
        return datetime.fromisoformat(value).timestamp()
    except (TypeError, ValueError):
        return 0.0


def _number(value: Any) -> float:
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else 0.0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Joined:
    """All runs as one result, and the arms of an A/B comparison that were among them."""

    result: RunResult
    arms: Mapping[str, Mapping[str, tuple[SuiteResult, ...]]]  # suite → runner → results
    runs: tuple[RunResult, ...] = ()  # as they came, oldest first


def join(runs: Sequence[RunResult], *, expected: Plan | None = None) -> Joined:
    """Shards, machines and re-runs as one result; what was expected and did not arrive is red (law 3).

    A newer result of the same selection replaces the older one, which is a re-run of failed jobs; a note says so. The
    shell runner's arm of a comparison is compared and not counted twice.
    """
    runs = sorted(runs, key=lambda run: run.started_at)
    chosen: dict[tuple[str, str], SuiteResult] = {}
    arms: dict[str, dict[str, tuple[SuiteResult, ...]]] = {}
    notes: list[str] = []
    for run in runs:
        notes += run.notes
        for suite in run.suites:
            arm = _arm(suite)
            if arm is not None:
                of_suite = arms.setdefault(suite.selection.suite.name, {})
                of_suite[arm] = (*of_suite.get(arm, ()), suite)
            key = (suite.selection.id, suite.selection.suite.machine)
            if arm == "shell":
                chosen.setdefault(key, suite)
                continue
            if key in chosen and _arm(chosen[key]) is None and arm is None:
                notes.append(f"{suite.selection.id}: a later run replaces an earlier one ({run.run_id})")
            chosen[key] = suite
    arrived = {suite.selection.id for suite in chosen.values()}
    absent = [item for item in (expected.selected if expected else ()) if item.id not in arrived]
    suites = [*_in_order(list(chosen.values()), expected), *map(_absent, absent)]
    return Joined(
        result=_whole(runs, suites, notes, expected),
        arms={name: both for name, both in arms.items() if len(both) > 1},
        runs=tuple(runs),
    )


def _arm(suite: SuiteResult) -> str | None:
    """Which arm of a comparison this is: a runner that was forced by name; None for an ordinary run."""
    runner = suite.selection.runner
    return runner.variant.value if runner is not None and runner.reason == "command-line" else None


def _absent(selection: Selection) -> SuiteResult:
    text = f"no result of {selection.id} arrived: its job was lost, cancelled or could not upload"
    return SuiteResult(
        selection=selection,
        verdict=Verdict.INCOMPLETE,
        counts=total(()),
        problems=(Problem(kind="no-results", text=text),),
        exit_code=errors.INCOMPLETE,
    )


def _in_order(suites: list[SuiteResult], expected: Plan | None) -> list[SuiteResult]:
    order = {item.id: place for place, item in enumerate(expected.selected if expected else ())}
    return sorted(suites, key=lambda suite: order.get(suite.selection.id, len(order)))


def _whole(
    runs: Sequence[RunResult], suites: Sequence[SuiteResult], notes: Sequence[str], expected: Plan | None
) -> RunResult:
    exit_code = worst(suite.exit_code for suite in suites)
    if not suites and not (expected is not None and expected.nothing_due):
        exit_code = errors.INCOMPLETE
    base = expected or (runs[0].plan if runs else Plan(event=Event(kind="files")))
    skipped = {skip.suite: skip for run in runs for skip in run.plan.skipped}
    return RunResult(
        run_id=" ".join(dict.fromkeys(run.run_id for run in runs)) or FOREIGN,
        plan=dataclasses.replace(
            base,
            selected=tuple(suite.selection for suite in suites),
            skipped=tuple(
                skip
                for name, skip in {**skipped, **{skip.suite: skip for skip in base.skipped}}.items()
                if name not in {suite.selection.suite.name for suite in suites}
            ),
        ),
        suites=tuple(suites),
        verdict=verdict_of_run(suites, base, exit_code),
        counts=total(suite.counts for suite in suites),
        started_at=min((run.started_at for run in runs if run.started_at), default=0.0),
        ended_at=max((run.ended_at for run in runs), default=0.0),
        developer=next((run.developer for run in runs if run.developer), ""),
        exit_code=exit_code,
        findings=tuple(finding for suite in suites for finding in suite.findings),
        notes=tuple(dict.fromkeys(notes)),
        cost_usd=sum(run.cost_usd for run in runs),
    )
