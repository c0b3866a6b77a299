"""One job's part of the comment on a pull request: what broke here, since when, what it cost, how to repeat it. Pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from ci_runner.checks.compare import Base, Change, Comparison
from ci_runner.model import CaseResult, RunResult
from ci_runner.report import explain, view, words
from ci_runner.report.budget import fit, in_characters
from ci_runner.report.markdown import Trusted, code, environment, text
from ci_runner.report.parts import KEY, Part
from ci_runner.report.summary import is_plain_green, summary_values

ROOM = 60_000  # what we fill: markers and the numbers of the parts need some too
SHOWN = 30  # failures with their details
NAMED = 50  # failures and others by name alone
ORDER = (
    "explanations",
    "suites",
    "new",
    "still",
    "fixed",
    "missing",
    "flaky",
    "problems",
    "machines",
    "trends",
    "base",
    "not_run",
)
SHED = (
    ("trends", "trends"),
    ("details", "tracebacks"),
    ("fixed", "fixed tests"),
    ("flaky", "flaky tests"),
    ("problems", "problems with the results"),
    ("machines", "machines"),
    ("still", "failures that were there before"),
    ("missing", "missing tests"),
    ("not_run", "suites that did not run"),
    ("new", "new failures"),
    ("base", "what this was compared with"),
    ("suites", "the table of suites"),
    ("explanations", "explanations"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Money:
    """What the run cost, and what else was spent on the same account, as far as that is known."""

    pull_request: float | None = None
    budget: str = ""
    spent: float | None = None
    limit: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """What the renderer knows beside the result."""

    comparison: Comparison = dataclasses.field(default_factory=Comparison)
    money: Money = dataclasses.field(default_factory=Money)
    server: str = "https://github.com"
    run_url: str | None = None
    slower: Sequence[str] = ()  # lines of ours about slow-downs
    trends: Sequence[str] = ()  # lines of ours: how long each suite took lately


def part_of(key: str, result: RunResult, context: Context, *, room: int = ROOM) -> Part:
    """A result as a part of a comment. Raises ValueError for a key that could not stand in a marker."""
    if not KEY.fullmatch(key):
        raise ValueError(f"not a key of a comment: {key!r}")
    word = explain.headline_word(result)
    told = explain.explanations(result) if word in ("not tested", "empty", "cancelled", "incomplete") else []
    why = told[0].what if told else explain.NOT_TESTED.get(result.exit_code, "")
    compared = context.comparison.bases and not context.comparison.without_base
    return Part(
        key=key,
        commit=result.plan.event.commit or "",
        started=result.started_at,
        counts=result.counts,
        new=len(context.comparison.new) if compared else None,
        seconds=result.duration_seconds,
        cost=result.cost_usd,
        exit_code=result.exit_code,
        word=word,
        why=str(text(why, 160)).replace("<", "&lt;").replace("--", "-\u200b-"),
        body=render_body(result, context, room=room),
    )


def render_body(result: RunResult, context: Context, *, room: int = ROOM) -> str:
    """A part's Markdown: three lines if all is green, failures first otherwise."""
    template = environment().get_template("comment.md.j2")
    values = comment_values(result, context)
    if is_plain_green(result) and not context.comparison.fixed and not context.slower:
        return fit(template, values, ("green",), (("green", "suites"),), room, in_characters).rstrip("\n")
    return fit(template, values, ORDER, SHED, room, in_characters).rstrip("\n")


def comment_values(result: RunResult, context: Context) -> dict[str, Any]:
    """Everything that the template prints."""
    found = context.comparison
    cases = {
        (name, case.id): (suite.selection, case)
        for suite in result.suites
        for name in (suite.selection.id,)
        for case in explain.red_cases(suite)
    }
    lacking = set(found.without_base) if found.bases is not None else None
    uncompared = [
        Change(selection=suite.selection.id, suite=suite.selection.suite.name, test=case.id)
        for suite in result.suites
        if lacking is None or suite.selection.suite.name in lacking
        for case in explain.red_cases(suite)
    ]
    new = [*found.new, *uncompared] if not found.bases else list(found.new)
    return {
        **summary_values(result),
        "title": _title(found),
        "new": _told(new, cases, context, result),
        "more_new": _more(len(new), SHOWN),
        "unsure": _told(uncompared, cases, context, result) if found.bases else [],
        "still": found.still[:NAMED],
        "more_still": _more(len(found.still), NAMED),
        "fixed": found.fixed[:NAMED],
        "more_fixed": _more(len(found.fixed), NAMED),
        "suites": [{**row, **_compared(row["name"], found)} for row in summary_values(result)["rows"]],
        "compared": bool(found.bases),
        "bases": _bases(found),
        "without_base": found.without_base,
        "added": words.plural(len(found.added), "test") if found.added else "",
        "removed": words.plural(len(found.removed), "test") if found.removed else "",
        "money": money_line(result, context.money),
        "again": _again(result),
        "run_url": context.run_url,
        "slower": [Trusted(line) for line in context.slower],
        "trends": [Trusted(line) for line in context.trends],
    }


def _title(found: Comparison) -> str:
    if not found.bases:
        return "Failed"
    commits = {base.commit[:7] for base in found.bases.values()}
    return f"New here (passed at {', '.join(sorted(commits))})"


def _told(
    changes: Sequence[Change], cases: Mapping[Any, Any], context: Context, result: RunResult
) -> list[dict[str, Any]]:
    told = []
    for change in changes[:SHOWN]:
        found = cases.get((change.selection, change.test))
        if found is None:
            continue
        selection, case = found
        told.append(
            {
                "failure": view.failure(selection, case, 4_000),
                "machine": selection.suite.machine,
                "link": source_link(case, result, context.server),
                "known_flaky": change.known_flaky,
            }
        )
    return told


def source_link(case: CaseResult, result: RunResult, server: str) -> Trusted:
    """`tests/test_a.py:88`, linked at the exact commit where that is known."""
    place = view.place(case)
    if not place:
        return Trusted("")
    shown, url = code(place), source_url(case, result, server)
    return Trusted(f"[{shown}]({url})") if url else shown


def source_url(case: CaseResult, result: RunResult, server: str) -> str:
    """Where a test stands at the exact commit; nothing if that is not known or leads out of the repository."""
    event, file = result.plan.event, case.file or ""
    if (
        not file
        or not event.repository
        or not event.commit
        or ".." in file.split("/")
        or file.startswith("/")
    ):
        return ""
    line = f"#L{case.line}" if case.line else ""
    repository, commit = quote(event.repository, errors="replace"), quote(event.commit, errors="replace")
    return f"{server}/{repository}/blob/{commit}/{quote(file, errors='replace')}{line}"


def _compared(selection: str, found: Comparison) -> dict[str, str]:
    counts = found.counts(selection)
    return {
        "new": f"**{counts['new']}**" if counts["new"] else "0",
        "still": str(counts["still"]),
        "fixed": str(counts["fixed"]),
    }


def _bases(found: Comparison) -> list[str]:
    groups: dict[tuple[str, int | None, str], list[str]] = {}
    for base in (found.bases or {}).values():
        groups.setdefault((base.commit, base.distance, base.timestamp), []).append(base.suite)
    return [
        _base_line(
            Base(suite=", ".join(sorted(names)), commit=commit, run_id="", timestamp=stamp, distance=distance)
        )
        for (commit, distance, stamp), names in sorted(groups.items(), key=str)
    ]


def _base_line(base: Base) -> str:
    far = "" if not base.distance else f", {words.plural(base.distance, 'commit')} before the merge base"
    return f"{base.suite} with {base.commit[:7]}{far} (run of {base.timestamp})"


def money_line(result: RunResult, money: Money) -> str:
    """What the run, the pull request and the budget have cost, as far as that is known; the budget's name is foreign."""
    parts = [f"{words.money(result.cost_usd)} now"] if result.cost_usd else []
    if money.pull_request is not None:
        parts.append(f"{words.money(money.pull_request)} for this pull request")
    if money.spent is not None and money.limit is not None:
        parts.append(f"{money.budget} {words.money(money.spent)} of {words.money(money.limit)} this month")
    return ", ".join(parts)


def _again(result: RunResult) -> str:
    """How to run again: a label that acts when it is added can be added once more."""
    labels = sorted({label for suite in result.suites for label in suite.selection.suite.when.labels})
    event = result.plan.event
    if event.label_added and event.label_added in labels:
        return f"re-run failed jobs, or remove and add the label {event.label_added}"
    return "re-run failed jobs" if event.pull_request else ""


def _more(number: int, shown: int) -> str:
    return words.number(number - shown) if number > shown else ""
