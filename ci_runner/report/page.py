"""The page for people: one file that opens from disk, in which nothing foreign is active."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from ci_runner import __version__
from ci_runner.github.commands import visible
from ci_runner.model import CaseResult, RunResult, SuiteResult
from ci_runner.report import explain, view, words
from ci_runner.report.excerpt import clip
from ci_runner.report.markdown import TEMPLATES
from ci_runner.report.notable import RED

if TYPE_CHECKING:
    from jinja2 import Environment, Template
    from markupsafe import Markup

OPEN_FAILURES = 200
DETAILS_BUDGET = 3_000_000  # characters of tracebacks and output over all failures
STATIC_ROWS = 400  # without JavaScript: what is not passed, then what is, up to here
SHOWN = 200
MARKS = {
    "passed": "✓", "failed": "✗", "errored": "✗", "missing": "?", "skipped": "–", "flaky": "~", "quarantined": "◌",
    "incomplete": "!", "empty": "!",
}  # fmt: skip
WORDS = (
    "failed",
    "errored",
    "missing",
    "quarantined",
    "flaky",
    "skipped",
    "passed",
)  # also the order of rows
KEY = {
    "waiting": "getting a machine ready",
    "passed": "passed",
    "failed": "with failures",
    "lost": "did not finish",
}


def render_page(result: RunResult, *, logs: Mapping[str, str] | None = None) -> str:
    """The page; `logs` holds the ends of logs by attempt id, shown for attempts that did not end well."""
    template = page_template()
    cases = _ordered(result)
    return template.render(
        run=result,
        version=__version__,
        moment=words.moment(result.ended_at),
        line_break=_markup("<br>"),
        **_assets(),
        **_top(result),
        **_reds(result),
        **_tables(result),
        **_time(result),
        logs=[(name, clip(log, 20_000)) for name, log in (logs or {}).items()],
        parts=_parts(result),
        **_cases(result, cases),
    )


@cache
def page_template() -> Template:
    """The template of the page, compiled. Raises jinja2.TemplateError."""
    return _environment().get_template("page.html.j2")


@cache
def _environment() -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    found = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        finalize=lambda value: visible(value) if type(value) is str else value,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.filters.update(line=line, duration=words.duration, marked=marked)
    return found


def _markup(text: str) -> Markup:
    from markupsafe import Markup

    return Markup(text)  # noqa: S704 - only for text of this package and text that was escaped


def line(foreign: object, limit: int = 2_000) -> str:
    r"""Foreign text of one line: line ends shown as `\n`, cut at the limit."""
    text = str(foreign)
    if len(text) <= limit and text.isascii() and text.isprintable():
        return text  # most text
    text = text[: limit * 8]
    text = visible(text).replace("\n", "\\n").replace("\t", " ")
    return text if len(text) <= limit else text[: limit - 1] + "…"


def marked(excerpt: str) -> list[tuple[str, str]]:
    """The lines of a traceback, each with how it is shown: `at` where it failed, `wrong` what was wrong."""
    classes = {">": "at", "E": "wrong"}
    return [(classes.get(text[:2].strip(), ""), text) for text in excerpt.split("\n")]


@cache
def _assets() -> dict[str, Any]:
    made: dict[str, Any] = {}
    for kind in ("css", "js"):
        text = (TEMPLATES / f"page.{kind}").read_text(encoding="utf-8")
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        made |= {kind: _markup(text), f"{kind}_hash": _markup(f"sha256-{digest}")}
    return made


def _top(result: RunResult) -> dict[str, Any]:
    counts, event = result.counts, result.plan.event
    word = explain.headline_word(result)
    tone = "passed" if word in ("passed", "nothing due") else "failed" if word == "failed" else "incomplete"
    origin = [f"{words.plural(counts.tests, 'test')} in {words.spent(result)}"]
    origin += [event.repository] if event.repository else []
    origin += [f"commit {event.commit[:12]}"] if event.commit else []
    origin += [f"branch {event.branch}"] if event.branch else []
    origin += [f"pull request {event.pull_request}"] if event.pull_request else []
    origin += [f"{event.kind}, started by {result.developer}", words.moment(result.started_at)]
    return {
        "sentence": explain.verdict_sentence(result),
        "tone": tone,
        "mark": MARKS.get(tone, "!"),
        "origin": origin,
        "tiles": _tiles(result),
        "skipped": result.plan.skipped,
        "notes": result.notes,
    }


def _tiles(result: RunResult) -> list[dict[str, str]]:
    counts = result.counts
    numbers = (
        (
            "failed",
            counts.failed + counts.errored,
            "bad",
            f"{counts.errored:,} errored" if counts.errored else "",
        ),
        ("missing", counts.missing, "odd", ""),
        ("flaky", counts.flaky, "odd", f"{counts.quarantined:,} quarantined" if counts.quarantined else ""),
        ("skipped", counts.skipped, "", ""),
        ("passed", counts.passed, "", ""),
    )
    return [
        {"word": word, "number": words.number(value), "tone": tone if value else "zero", "extra": extra}
        for word, value, tone, extra in numbers
    ]


def _reds(result: RunResult) -> dict[str, Any]:
    red = sum(len(explain.red_cases(suite)) for suite in result.suites)
    shown = min(red, OPEN_FAILURES)
    failing = view.failures(result, limit=shown, details_limit=min(20_000, DETAILS_BUDGET // max(1, shown)))
    missing = view.missing(result)
    return {
        "explanations": explain.explanations(result),
        "failures": failing,
        "more_failures": words.number(red - shown) if red > shown else "",
        "missing": missing[:SHOWN],
        "more_missing": words.number(len(missing) - SHOWN) if len(missing) > SHOWN else "",
        "flaky": view.flaky(result)[:SHOWN],
        "quarantined": view.quarantined(result)[:SHOWN],
        "problems": view.problems(result)[:SHOWN],
        "stacks": [
            (suite.selection.id, clip(suite.stacks, 40_000)) for suite in result.suites if suite.stacks
        ],
        "findings": result.findings[:SHOWN],
    }


def _tables(result: RunResult) -> dict[str, Any]:
    slow = view.slowest(result)
    longest = slow[0][1].duration_seconds if slow else 1.0
    return {
        "suites": [_suite_row(suite) for suite in result.suites],
        "machines": view.machine_lines(result),
        "slow": [
            {
                "id": case.id,
                "time": words.duration(case.duration_seconds),
                "width": f"{100 * case.duration_seconds / longest:.1f}",
            }
            for _, case in slow
        ],
    }


def _suite_row(suite: SuiteResult) -> dict[str, Any]:
    counts, selection = suite.counts, suite.selection
    peak, cost = words.peak_memory([suite]), words.suite_cost(suite)
    evidence = f" ({selection.evidence})" if selection.evidence else ""
    rule = f", rule {selection.rule}" if selection.rule not in selection.reason else ""
    return {
        "name": selection.id,
        "machine": view.machine_of(suite),
        "reason": f"{selection.reason}{evidence}{rule}",
        "fallback": suite.fallback_reason,
        "verdict": suite.verdict.value,
        "mark": MARKS[suite.verdict.value],
        "failed": words.number(counts.failed + counts.errored),
        "missing": words.number(counts.missing),
        "passed": words.number(counts.passed),
        "skipped": words.number(counts.skipped),
        "time": words.duration(view.suite_seconds(suite)),
        "peak": words.size(peak) if peak else "",
        "cost": words.money(cost) if cost else "",
    }


def _time(result: RunResult) -> dict[str, Any]:
    lanes = view.lanes(result)
    ends = [span.start + span.seconds for lane in lanes for span in lane.spans]
    whole = max([result.duration_seconds, *ends, 0.001])
    used = {span.kind for lane in lanes for span in lane.spans}
    return {
        "ticks": [(f"{25 * i}", words.duration(whole * i / 4) if i else "0 s") for i in range(5)],
        "lanes": [{"name": lane.name, "spans": [_bar(span, whole) for span in lane.spans]} for lane in lanes],
        "key": [(kind, text) for kind, text in KEY.items() if kind in used],
    }


def _bar(span: view.Span, whole: float) -> dict[str, str]:
    start = min(max(span.start, 0.0), whole)
    return {
        "kind": span.kind,
        "label": span.label,
        "at": f"+{words.clock(start)}",
        "x": f"{100 * start / whole:.2f}",
        "width": f"{max(0.4, 100 * min(span.seconds, whole - start) / whole):.2f}",
    }


def _parts(result: RunResult) -> list[tuple[str, str]]:
    counts = result.counts
    red = counts.failed + counts.errored
    found = [
        ("why", "Why", bool(explain.explanations(result))),
        ("failures", f"Failed {red:,}", red > 0),
        ("missing", f"Never finished {counts.missing:,}", counts.missing > 0),
        ("flaky", "Flaky", bool(counts.flaky or counts.quarantined)),
        ("problems", "Problems", bool(view.problems(result))),
        ("suites", "Suites", True),
        ("time", "Time", bool(view.lanes(result))),
        ("slow", "Slowest", bool(view.slowest(result, 1))),
        ("machines", "Machines", any(suite.leases for suite in result.suites)),
        ("tests", f"All tests {counts.tests:,}", True),
    ]
    return [(anchor, word) for anchor, word, there in found if there]


def word_of(case: CaseResult) -> str:
    """The one word under which a case is listed."""
    if case.quarantined and case.outcome in RED:
        return "quarantined"
    if case.flaky:
        return "flaky"
    return case.outcome.value


def _ordered(result: RunResult) -> list[tuple[str, CaseResult, int]]:
    """All cases with their word and the number of their suite: red ones first, else in the order of running."""
    ranks = {word: rank for rank, word in enumerate(WORDS)}
    found = [(word_of(case), case, i) for i, suite in enumerate(result.suites) for case in suite.cases]
    found.sort(key=lambda item: ranks[item[0]])
    return found


def _cases(result: RunResult, cases: Sequence[tuple[str, CaseResult, int]]) -> dict[str, Any]:
    names = [suite.selection.id for suite in result.suites]
    seen: dict[str, int] = {}
    for word, _, _ in cases:
        seen[word] = seen.get(word, 0) + 1
    left = len(cases) - min(len(cases), STATIC_ROWS)
    rows = "".join(_static_row(word, case, names[suite]) for word, case, suite in cases[:STATIC_ROWS])
    if left:
        rows += (
            f'<tr><td colspan="4">{words.plural(left, "more test")}: in cases.jsonl beside this page, or here '
            "with JavaScript</td></tr>"
        )
    return {
        "static_rows": _markup(rows),
        "static_note": words.plural(len(cases), "test"),
        "chips": [(word, words.number(seen[word])) for word in WORDS if word in seen],
        "data": _markup(_data(names, cases)),
    }


def _static_row(word: str, case: CaseResult, suite: str) -> str:
    from markupsafe import escape

    note = _note(word, case)
    told = f'<span class="note">{escape(note)}</span>' if note else ""
    return (
        f'<tr><td class="out o-{word}">{MARKS[word]} {word}</td><td class="test id">{escape(line(case.id))}{told}</td>'
        f'<td class="of">{escape(line(suite))}</td><td class="num">{words.duration(case.duration_seconds)}</td></tr>\n'
    )


def _note(word: str, case: CaseResult) -> str | None:
    return line(case.message, 200) if word != "passed" and case.message else None


def _data(names: Sequence[str], cases: Sequence[tuple[str, CaseResult, int]]) -> str:
    """All cases as columns of JSON that cannot end the element it stands in; files are written once."""
    files: dict[str, int] = {}
    file, name, notes = [], [], {}
    for i, (word, case, _) in enumerate(cases):
        head, separator, rest = line(case.id).rpartition("::")
        file.append(files.setdefault(head + separator, len(files)))
        name.append(rest)
        if word != "passed" and case.message:
            notes[i] = _note(word, case)
    codes = {word: chr(97 + i) for i, word in enumerate(WORDS)}
    columns = {
        "suites": [line(text) for text in names],
        "outcomes": WORDS,
        "marks": MARKS,
        "files": list(files),
        "file": file,
        "name": name,
        "outcome": "".join(codes[word] for word, _, _ in cases),
        "suite": [suite for _, _, suite in cases],
        "ms": [round(case.duration_seconds * 1000) for _, case, _ in cases],
        "note": notes,
    }
    text = json.dumps(columns, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
