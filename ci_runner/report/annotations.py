"""Annotations: the most useful ones, within the limits of workflow commands and of check runs. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ci_runner.checks.compare import Comparison
from ci_runner.github.commands import command, neutralise, one_line
from ci_runner.model import CaseResult, Outcome, RunResult, Selection
from ci_runner.report import explain, view, words

PER_LEVEL = 10  # of each level and step; more are dropped by the runner, and not the least useful ones
MESSAGE_LIMIT = 4_096  # what is longer is cut without a word
TITLE_LIMIT = 255
LEVELS = ("error", "warning", "notice")


@dataclass(frozen=True, slots=True, kw_only=True)
class Annotation:
    """One remark beside a line of code, or beside none."""

    level: str  # error | warning | notice
    title: str
    message: str
    file: str | None = None
    line: int | None = None


def annotations_of(result: RunResult, comparison: Comparison) -> list[Annotation]:
    """Everything worth a remark, the most useful first: why nothing is known, new failures, old ones, flaky ones."""
    found = [
        Annotation(
            level="error", title=f"{item.subject}: {item.what}", message=f"{item.means}\nfix: {item.fix}"
        )
        for item in explain.explanations(result)
    ]
    still = {(change.selection, change.test) for change in comparison.still}
    red = [(suite.selection, case) for suite in result.suites for case in explain.red_cases(suite)]
    red.sort(key=lambda item: ((item[0].id, item[1].id) in still, _rank(item[1])))
    for selection, case in red:
        before = " (failed before this change too)" if (selection.id, case.id) in still else ""
        found.append(_of_case(selection, case, "error", f"failed{before}"))
    found += [
        _of_case(selection, case, "warning", "failed and passed on the same commit")
        for selection, case in view.flaky(result)
    ]
    found += [
        _of_case(selection, case, "warning", "is quarantined and failed")
        for selection, case in view.quarantined(result)
    ]
    found += [
        Annotation(level=finding.level.value, title=finding.subject, message=finding.text)
        for finding in result.findings
    ]
    return found


def _rank(case: CaseResult) -> tuple[bool, bool]:
    """A failure with a line to stand beside says more than one without, a failed test more than a broken fixture."""
    return place_of(case) is None or case.line is None, case.outcome is Outcome.ERRORED


def place_of(case: CaseResult) -> str | None:
    """The file of a case if it is one of the repository's."""
    return case.file if case.file and not case.file.startswith(("/", "..")) else None


def _of_case(selection: Selection, case: CaseResult, level: str, how: str) -> Annotation:
    details = view.failure(selection, case, 3_000)
    lines = [case.message or f"{how} without a message", details.excerpt, f"again: {details.command}"]
    file = place_of(case)
    return Annotation(
        level=level,
        title=f"{case.id} {how}",
        message="\n\n".join(line for line in lines if line),
        file=file,
        line=case.line if file else None,
    )


def as_commands(annotations: Sequence[Annotation], *, per_level: int = PER_LEVEL) -> list[str]:
    """The workflow commands of the first ten of each level; the last one says how many more there are."""
    lines = []
    for level in LEVELS:
        mine = [item for item in annotations if item.level == level]
        over = len(mine) > per_level
        lines += [_command(item) for item in mine[: per_level - 1 if over else per_level]]
        if over:
            rest = words.number(len(mine) - per_level + 1)
            lines.append(command(level, f"and {rest} more; the summary and the report have them all"))
    return lines


def _command(item: Annotation) -> str:
    # the limit counts characters before they are escaped
    return command(
        item.level,
        neutralise(item.message)[: MESSAGE_LIMIT - 200],
        file=item.file,
        line=item.line,
        title=one_line(item.title, TITLE_LIMIT),
    )
