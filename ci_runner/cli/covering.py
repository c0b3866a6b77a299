"""Coverage of a whole run: read from the folders of its attempts, joined, compared, judged."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from ci_runner import errors
from ci_runner.checks import coverage as judge
from ci_runner.model import Finding, Level, Problem, RunResult, SuiteResult, Verdict
from ci_runner.results.coverage import Coverage, Unreadable, join, read_coverage
from ci_runner.results.whole import worst

if TYPE_CHECKING:
    from ci_runner.checks.compare import Base
    from ci_runner.model import Suite

MISSING = "python.json.missing"  # what the plugin leaves where there is no report
SQLITE = b"SQLite format 3\0"  # coverage.py's own data, left where joining failed
LARGEST = 4 * 1024 * 1024  # bytes of a new file whose lines are counted


def is_measured(suite: Suite) -> bool:
    """Whether a suite says anything about coverage."""
    return suite.coverage or bool(suite.coverage_files)


def with_coverage(
    result: RunResult, folders: Sequence[Path], root: Path, bases: Mapping[str, Base] | None = None
) -> RunResult:
    """The result with its coverage: metrics, a note for each suite, and a finding that is red under a minimum."""
    names = dict.fromkeys(s.selection.suite.name for s in result.suites if is_measured(s.selection.suite))
    if not names:
        return result
    changed = _changed(result, root)
    known = _known_paths(root)
    suites = list(result.suites)
    found: list[Finding] = [item for item in result.findings if item.code != judge.CODE]
    earlier = tuple(f"{name}: coverage " for name in names)
    notes = [note for note in result.notes if not note.startswith(earlier)]
    told: dict[str, dict[str, object]] = {}
    for name in names:
        places = [at for at, suite in enumerate(suites) if suite.selection.suite.name == name]
        parts = [_read(suites[at], folders, known) for at in places]
        whole = join(coverage for coverage, _ in parts)
        base = (bases or {}).get(name)
        figures = judge.figures(
            whole, changed=changed, base=base.metrics.get(judge.METRIC) if base is not None else None
        )
        lacking = _lacking([suites[at] for at in places])
        judged = [] if lacking else _judged(suites[places[0]].selection.suite, figures)
        found += judged
        notes.append(
            f"{name}: {judge.told(figures)}{lacking}" if whole else f"{name}: coverage was not measured"
        )
        if whole:
            told[name] = judge.plain(figures)
        percent = round(figures.percent, 3) if whole and not lacking else None
        red = any(item.level is Level.ERROR for item in judged)
        for at, (_, problems) in zip(places, parts, strict=True):
            suites[at] = _with_part(suites[at], percent, problems, red=red)
    red_now = any(item.level is Level.ERROR for item in found)
    exit_code = worst([result.exit_code, *(suite.exit_code for suite in suites)])
    return dataclasses.replace(
        result,
        suites=tuple(suites),
        findings=tuple(found),
        notes=tuple(notes),
        coverage=told,
        exit_code=exit_code,
        verdict=Verdict.FAILED if red_now and result.verdict is Verdict.PASSED else result.verdict,
    )


def _lacking(parts: Sequence[SuiteResult]) -> str:
    """A word about shards that are not here: a part of the tests covers a part of the lines. Empty if all are."""
    shard, here = parts[0].selection.shard, len({part.selection.id for part in parts})
    return f" ({here} of {shard.total} shards)" if shard is not None and shard.total > here else ""


def _judged(suite: Suite, figures: judge.Figures) -> list[Finding]:
    """The findings about a suite that is here as a whole."""
    minimum = suite.coverage_minimum is not None or suite.coverage_minimum_changed is not None
    if minimum and not figures.lines:
        text = "no coverage was measured, and the suite has a minimum"
        return [Finding(level=Level.ERROR, subject=suite.name, text=text, code=judge.CODE)]
    return judge.findings(suite, figures)


def _with_part(
    part: SuiteResult, percent: float | None, problems: Sequence[Problem], *, red: bool
) -> SuiteResult:
    """A part with the figure of the whole, so that any of its records tells it."""
    metrics = {name: value for name, value in part.metrics.items() if name != judge.METRIC}
    if percent is not None:
        metrics[judge.METRIC] = percent
    failed = red and part.exit_code == errors.OK
    return dataclasses.replace(
        part,
        metrics=metrics,
        problems=tuple(dict.fromkeys((*part.problems, *problems))),
        exit_code=errors.TESTS_FAILED if failed else part.exit_code,
        verdict=Verdict.FAILED if failed else part.verdict,
    )


def _read(
    part: SuiteResult, folders: Sequence[Path], known: frozenset[str]
) -> tuple[Coverage, list[Problem]]:
    """What the attempts of a selection measured, and what of it could not be read."""
    found: list[Coverage] = []
    problems: list[Problem] = []
    for attempt in part.attempts:
        for folder in folders:
            for file in sorted((folder / "attempts" / attempt.id).rglob("coverage/*")):
                name = f"{attempt.folder}/coverage/{file.name}"
                try:
                    if file.name == MISSING:
                        with file.open("rb") as opened:
                            why = opened.read(1_000).decode("utf-8", "replace")
                        problems.append(_problem(f"coverage was not measured: {why}", name))
                    elif file.is_file() and not _is_data(file):
                        found.append(
                            read_coverage(file, exists=known.__contains__ if known else lambda _: True)
                        )
                except (Unreadable, OSError) as error:
                    problems.append(_problem(f"coverage cannot be read: {error}", name))
    return join(found), problems


def _is_data(file: Path) -> bool:
    with file.open("rb") as opened:
        return opened.read(len(SQLITE)) == SQLITE


def _problem(text: str, file: str) -> Problem:
    return Problem(kind="coverage", text=text, file=file, fatal=False)


@cache
def _known_paths(root: Path) -> frozenset[str]:
    """The files that git has or would take; empty outside of a repository."""
    from ci_runner.github.local import git_at

    listed = git_at(root)(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
    return frozenset(name.decode("utf-8", "surrogateescape") for name in (listed or b"").split(b"\0") if name)


def _changed(result: RunResult, root: Path) -> dict[str, frozenset[int]] | None:
    """The lines that the change touches: since the merge base, of the commit that ran or of what lies here."""
    from ci_runner.github.changed_lines import changed_lines
    from ci_runner.github.local import git_at
    from ci_runner.history.base import ancestors, base_branch_of

    event, git = result.plan.event, git_at(root)
    before = ancestors(git, event, base_branch_of(event, event.default_branch or "main"))
    if not before:
        return None
    if event.kind != "local":
        return changed_lines(git, before[0], event.commit)
    changed = changed_lines(git, before[0], None)
    listed = git(["ls-files", "-z", "--others", "--exclude-standard"])
    fresh = [name.decode("utf-8", "surrogateescape") for name in (listed or b"").split(b"\0") if name]
    return None if changed is None else {**changed, **{name: _all_lines(root / name) for name in fresh}}


def _all_lines(path: Path) -> frozenset[int]:
    """Every line of a file that git does not have yet; none of one that is no file of a usual size."""
    try:
        if path.is_symlink() or not path.is_file() or path.stat().st_size > LARGEST:
            return frozenset()
        return frozenset(range(1, len(path.read_bytes().splitlines()) + 1))
    except OSError:
        return frozenset()
