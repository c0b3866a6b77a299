"""Writes what a run leaves behind; a publisher that fails is told and never hides the verdict."""

from __future__ import annotations

import dataclasses
import importlib
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ci_runner import __version__, codec
from ci_runner.execution.folder import hidden_home, write_atomically
from ci_runner.model import AttemptState, CaseResult, Problem, RunResult, SuiteResult, Verdict
from ci_runner.report import words

if TYPE_CHECKING:
    from ci_runner.config.settings import Settings
    from ci_runner.history.store import Store

# What a publisher may die of: a full disk, a closed pipe, foreign text that does not fit, a missing part of a package.
FAULTS = (
    OSError,
    ValueError,
    TypeError,
    LookupError,
    ArithmeticError,
    ImportError,
    MemoryError,
    RecursionError,
)
LOG_TAIL = 20_000
MESSAGE_LIMIT = 2_000
SUMMARY_LIMIT = 1_000_000
CASE_DEFAULTS: dict[str, object] = {
    f.name: (None if f.default is dataclasses.MISSING else f.default) for f in dataclasses.fields(CaseResult)
}


def results_json(result: RunResult) -> dict[str, Any]:
    """The object of results.json and of `--format json`: the verdict, the numbers, and why."""
    counts = result.counts
    return {
        "schema": 1,
        "run_id": result.run_id,
        "verdict": result.verdict.value,
        "exit_code": result.exit_code,
        **_numbers(counts),
        "duration_seconds": round(result.duration_seconds, 3),
        "started": words.moment(result.started_at),
        "cost_usd": round(result.cost_usd, 6),
        "developer": result.developer,
        "event": {
            name: getattr(result.plan.event, name)
            for name in ("kind", "action", "repository", "branch", "commit", "pull_request")
        },
        "problems": [
            {**codec.plain(problem), "suite": suite.selection.id}
            for suite in result.suites
            for problem in suite.problems
        ],
        "files": sorted(
            {problem.file for suite in result.suites for problem in suite.problems if problem.file}
        ),
        "suites": [_suite(suite) for suite in result.suites],
        "not_run": codec.plain(result.plan.skipped),
        "findings": codec.plain(result.findings),
        "notes": list(result.notes),
        "coverage": codec.plain(result.coverage),
        "ci_runner": __version__,
    }


def _numbers(counts: Any) -> dict[str, int]:
    names = ("tests", "passed", "failed", "errored", "skipped", "flaky", "missing", "quarantined")
    return {name: getattr(counts, name) for name in names}


def _suite(suite: SuiteResult) -> dict[str, Any]:
    selection = suite.selection
    return {
        "id": selection.id,
        "suite": selection.suite.name,
        "title": selection.suite.title,
        "reason": selection.reason,
        "rule": selection.rule,
        "verdict": suite.verdict.value,
        "exit_code": suite.exit_code,
        **_numbers(suite.counts),
        "machine": selection.suite.machine,
        "runner": codec.plain(selection.runner),
        "fallback_reason": suite.fallback_reason,
        "attempts": codec.plain(suite.attempts),
        "leases": [
            {**codec.plain(lease), "machine": lease.machine.name, "machine_spec": codec.plain(lease.machine)}
            for lease in suite.leases
        ],
        "stacks": suite.stacks,
        "metrics": {name: value for name, value in suite.metrics.items() if math.isfinite(value)},
        "failures": [
            {"id": case.id, "outcome": case.outcome.value, "message": (case.message or "")[:MESSAGE_LIMIT],
             "file": case.file,
             "line": case.line, "again": words.reproduce(selection, case.id)}
            for case in suite.cases
            if case.outcome.value in ("failed", "errored") and not case.quarantined
        ],
    }  # fmt: skip


def case_plain(case: CaseResult) -> dict[str, Any]:
    """A case for cases.jsonl: what `codec.build` reads back, without the fields that hold their default."""
    line: dict[str, Any] = {"id": case.id, "outcome": case.outcome.value}
    for name, default in CASE_DEFAULTS.items():
        value = getattr(case, name)
        if value is default or value == default or name in line or value in ((), {}):
            continue
        line[name] = [case_plain(item) for item in value] if name == "earlier" else codec.plain(value)
    return line


def to_bytes(value: object) -> bytes:
    """Canonical JSON; what is no Unicode (a lone surrogate) is kept as an escape, so that the file stays UTF-8."""
    text = codec.dumps(value)
    try:
        return text.encode()
    except UnicodeEncodeError:
        return (json.dumps(codec.plain(value), indent=2) + "\n").encode()


def write_all(result: RunResult, folder: Path) -> tuple[Problem, ...]:
    """Write every file of the run folder's end; returns a problem for each one that could not be written."""
    from ci_runner.history.record import run_record

    writers: tuple[tuple[str, Callable[[Path], None]], ...] = (
        ("results.json", lambda path: write_atomically(path, to_bytes(results_json(result)))),
        ("record.json", lambda path: write_atomically(path, to_bytes(run_record(result)))),
        ("cases.jsonl", lambda path: _write_cases(result, path)),
        ("junit.xml", lambda path: _write_junit(result, path)),
        ("report.html", lambda path: _write_page(result, path)),
    )
    return tuple(
        problem for name, write in writers if (problem := _guarded(name, write, folder / name)) is not None
    )


def _guarded(name: str, write: Callable[[Path], None], path: Path) -> Problem | None:
    try:
        write(path)
    except FAULTS as error:
        why = (
            error.strerror
            if isinstance(error, OSError) and error.strerror
            else f"{type(error).__name__}: {error}"
        )
        return Problem(kind="publisher", text=f"{name} could not be written: {why}", file=name, fatal=False)
    return None


def _write_cases(result: RunResult, path: Path) -> None:
    temporary = path.with_name(f".{path.name}.part")
    try:
        with temporary.open("w", encoding="ascii", buffering=1 << 20) as file:
            encode = json.JSONEncoder(separators=(",", ":")).encode
            for suite in result.suites:
                file.writelines(encode(case_plain(case)) + "\n" for case in suite.cases)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _write_junit(result: RunResult, path: Path) -> None:
    importlib.import_module("ci_runner.results.writer").write_junit(path, result.suites)


def _write_page(result: RunResult, path: Path) -> None:
    from jinja2 import TemplateError

    from ci_runner.report.page import render_page

    try:
        page = render_page(result, logs=dict(log_tails(result, path.parent)))
    except TemplateError as error:
        raise ValueError(str(error)) from error
    write_atomically(path, page.encode("utf-8", "backslashreplace"))


def log_tails(result: RunResult, folder: Path) -> Iterator[tuple[str, str]]:
    """The ends of the logs of attempts that did not end well, by attempt id."""
    for suite in result.suites:
        for attempt in suite.attempts:
            if attempt.state is AttemptState.FINISHED and suite.verdict in (Verdict.PASSED, Verdict.FAILED):
                continue
            try:
                with (folder / attempt.log).open("rb") as file:
                    size = file.seek(0, 2)
                    file.seek(max(0, size - LOG_TAIL))
                    yield attempt.id, file.read(LOG_TAIL).decode("utf-8", "replace")
            except (OSError, ValueError):
                continue  # an attempt that never started has no log


def append_summary(result: RunResult, environ: Mapping[str, str], *, slower: Sequence[str] = ()) -> None:
    """Add the Markdown summary to the step's; GitHub drops the whole if it is over 1 MiB."""
    target = environ.get("GITHUB_STEP_SUMMARY")
    if not target:
        return
    from ci_runner.report.summary import render_summary_markdown

    path = Path(target)
    used = path.stat().st_size if path.exists() else 0
    room = SUMMARY_LIMIT - used
    if room < 200:
        raise ValueError("the step's summary is full already")
    with path.open("a", encoding="utf-8") as file:
        file.write(
            ("\n" if used else "") + render_summary_markdown(result, budget_bytes=room - 1, slower=slower)
        )


def publish_records(result: RunResult, store: Store) -> list[str]:
    """Keep a Record and its cases for each suite of the run; returns the Records' keys."""
    from ci_runner.history.record import cases_bytes, record_key, record_of

    keys = []
    for suite, record in zip(result.suites, record_of(result), strict=True):
        if record.cases is not None:
            store.put_new(record.cases, cases_bytes(suite))
        key = record_key(record, result.plan.event)
        store.put_new(key, to_bytes(record))
        keys.append(key)
    return keys


def publish_files(
    result: RunResult, folder: Path, *, settings: Settings, environ: Mapping[str, str]
) -> RunResult:
    """Everything that a run publishes by itself; what could not be is a note of the result that comes back."""
    problems = list(write_all(result, folder))
    others = (
        _guarded("the step summary", lambda _: append_summary(result, environ), folder),
        _guarded("the record in the history", lambda _: _keep(result, settings), folder),
    )
    problems += [problem for problem in others if problem is not None]
    notes = tuple(problem.text for problem in problems)
    return dataclasses.replace(result, notes=(*result.notes, *notes)) if notes else result


def _keep(result: RunResult, settings: Settings) -> None:
    from ci_runner.errors import CiRunnerError
    from ci_runner.history.store import open_store

    place = settings.stores.get("history")
    if place is None:
        hidden_home(settings.root)
    try:
        publish_records(result, open_store(place, settings.root))
    except CiRunnerError as error:
        raise ValueError(error.what) from error
