"""The check run of a result: conclusion, summary and annotations within GitHub's limits. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ci_runner import errors
from ci_runner.github.commands import one_line, visible
from ci_runner.model import RunResult
from ci_runner.report.annotations import Annotation, annotations_of
from ci_runner.report.budget import in_bytes, in_characters
from ci_runner.report.comment import Context, part_of
from ci_runner.report.parts import first_line
from ci_runner.report.summary import render_summary_markdown

TEXT_LIMIT = 65_535
TITLE_LIMIT = 255
MESSAGE_BYTES = 64_000  # 64 KB are allowed
BATCH = 50  # annotations a request
MOST = 500  # annotations of a check; nobody reads more
LEVELS = {"error": "failure", "warning": "warning", "notice": "notice"}


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckOutput:
    """What goes into one check run, annotations in batches."""

    name: str
    conclusion: str
    title: str
    summary: str
    annotations: tuple[tuple[dict[str, object], ...], ...] = ()


def check_of(name: str, result: RunResult, context: Context) -> CheckOutput:
    """The check run of a result."""
    _symbol, line = first_line(part_of("check", result, context))
    found = [plain(item) for item in annotations_of(result, context.comparison)]
    known = [item for item in found if item is not None][:MOST]
    summary = render_summary_markdown(result, budget_bytes=TEXT_LIMIT, slower=context.slower)
    while (
        in_characters(summary) > TEXT_LIMIT
    ):  # never larger in UTF-16 than in UTF-8; a guard for the day that is wrong
        summary = summary[: len(summary) // 2]
    return CheckOutput(
        name=one_line(name, 100),
        conclusion=conclusion_of(result),
        title=one_line(line.replace("\u200b", ""), TITLE_LIMIT),
        summary=summary,
        annotations=tuple(batches(known)),
    )


def conclusion_of(result: RunResult) -> str:
    """GitHub's word: a failing test is a failure, a machine that was not to be had needs a person's look."""
    if result.exit_code == errors.OK:
        return "success" if result.suites else "neutral"
    if result.exit_code == errors.CANCELLED:
        return "cancelled"
    if result.exit_code in (errors.NOT_TRUSTED, errors.REFUSED_BUDGET):
        return "action_required"
    return "failure"


def plain(item: Annotation) -> dict[str, object] | None:
    """An annotation as the API takes it; None for one without a file, which only commands can have."""
    if item.file is None:
        return None
    return {
        "path": item.file,
        "start_line": item.line or 1,
        "end_line": item.line or 1,
        "annotation_level": LEVELS[item.level],
        "title": one_line(item.title, TITLE_LIMIT),
        "message": cut_bytes(visible(item.message), MESSAGE_BYTES) or "failed",
    }


def cut_bytes(text: str, limit: int) -> str:
    """The beginning of a text that fits into so many bytes."""
    return (
        text if in_bytes(text) <= limit else text.encode("utf-8", "replace")[:limit].decode("utf-8", "ignore")
    )


def batches(items: Sequence[dict[str, object]]) -> list[tuple[dict[str, object], ...]]:
    """The annotations by fifties."""
    return [tuple(items[at : at + BATCH]) for at in range(0, len(items), BATCH)]
