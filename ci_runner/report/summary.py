"""The Markdown summary of a run: failures first, three lines if all is green, and never over its budget."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ci_runner.model import RunResult, Verdict
from ci_runner.report import explain, view, words
from ci_runner.report.budget import fit
from ci_runner.report.excerpt import clip
from ci_runner.report.markdown import code, environment, text

BUDGET_BYTES = 1_000_000  # GitHub drops a step summary of over 1 MiB as a whole
SHOWN_FAILURES = 100
SHOWN_NAMES = 50
ORDER = (
    "head", "origin", "explanations", "suites", "failures", "missing", "flaky", "problems", "stacks", "machines",
    "slower", "slow", "not_run",
)  # fmt: skip
# What goes first when there is no room: (section, what the reader is told).
SHED = (
    ("slow", "slow tests"),
    ("stacks", "stacks"),
    ("details", "tracebacks"),
    ("machines", "machines"),
    ("slower", "slow-downs"),
    ("flaky", "flaky tests"),
    ("missing", "missing tests"),
    ("problems", "problems"),
    ("not_run", "suites that did not run"),
    ("failures", "failures"),
    ("suites", "suites"),
    ("explanations", "explanations"),
    ("origin", "commit"),
)


def render_summary_markdown(
    result: RunResult, *, budget_bytes: int = BUDGET_BYTES, slower: Sequence[str] = ()
) -> str:
    """Markdown for GITHUB_STEP_SUMMARY; whole sections are shed, with a line that says which."""
    template = environment().get_template("summary.md.j2")
    values = {**summary_values(result), "slower": slower}
    if is_plain_green(result) and not slower:
        return fit(template, values, ("head", "green"), (("green", "suites"),), budget_bytes)
    return fit(template, values, ORDER, SHED, budget_bytes)


def is_plain_green(result: RunResult) -> bool:
    """Whether there is nothing to tell but that it passed."""
    return (
        result.verdict is Verdict.PASSED
        and result.exit_code == 0
        and not result.findings
        and not view.flaky(result)
        and not view.quarantined(result)
        and not view.problems(result)
    )


def summary_values(result: RunResult) -> dict[str, Any]:
    failing = view.failures(result, limit=SHOWN_FAILURES)
    missing = view.missing(result)
    red = result.counts.failed + result.counts.errored
    stories = [(suite.selection.id, view.machine_story(suite)) for suite in result.suites]
    return {
        "symbol": view.symbol(result),
        "headline": view.headline(result),
        "origin": _origin(result),
        "rows": [_row(suite) for suite in result.suites],
        "explanations": explain.explanations(result),
        "failures": failing,
        "more_failures": words.number(red - len(failing)) if red > len(failing) else "",
        "missing": missing[:SHOWN_NAMES],
        "more_missing": words.number(len(missing) - SHOWN_NAMES) if len(missing) > SHOWN_NAMES else "",
        "stacks": [(s.selection.id, clip(s.stacks, 20_000)) for s in result.suites if s.stacks],
        "flaky": view.flaky(result)[:SHOWN_NAMES],
        "quarantined": view.quarantined(result)[:SHOWN_NAMES],
        "problems": view.problems(result)[:SHOWN_NAMES],
        "slow": view.slowest(result),
        "machines": [(name, story) for name, story in stories if story],
        "findings": result.findings[:SHOWN_NAMES],
        "skipped": result.plan.skipped[:SHOWN_NAMES],
        "notes": result.notes,
    }


def _row(suite: Any) -> dict[str, Any]:
    counts = suite.counts
    red = counts.failed + counts.errored
    cost = words.suite_cost(suite)
    return {
        "name": suite.selection.id,
        "machine": view.machine_of(suite),
        "counts": words.counts_text(counts),
        "failed": f"**{words.number(red)}**" if red else "0",
        "missing": f"**{words.number(counts.missing)}**" if counts.missing else "0",
        "flaky": words.number(counts.flaky),
        "passed": words.number(counts.passed),
        "skipped": words.number(counts.skipped),
        "time": words.duration(view.suite_seconds(suite)),
        "cost": words.money(cost) if cost else "",
    }


def _origin(result: RunResult) -> str:
    event = result.plan.event
    parts = [f"Run {code(result.run_id)}"]
    if event.commit:
        parts.append(f"commit {code(event.commit[:12])}")
    if event.branch:
        parts.append(f"on {code(event.branch)}")
    return " ".join(parts) + f", started by {text(result.developer)}"
