"""A message for a chat before it has a form: what a run, a budget or a booking has to say, in sections. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import quote

from ci_runner.checks.compare import Change
from ci_runner.github.commands import one_line
from ci_runner.model import CaseResult, RunResult, Selection, SuiteResult
from ci_runner.report import explain, view, words
from ci_runner.report.comment import Context, money_line, source_url
from ci_runner.report.markdown import plain_words
from ci_runner.report.parts import Part, first_line

SHOWN = 10  # tests with their messages, and names in a list; a chat is read at a glance
EXPLAINED = 5
TOLD = 160  # characters of a test's message
NAME = 200  # characters of a test's name
COMMAND = 400
MARKS = (0.75, 0.9, 1.0)  # shares of a month's budget that are worth an alert
# Sections that may go when there is no room, the least important first, with their names for readers.
SHED = (
    ("flaky", "flaky tests"),
    ("fixed", "fixed tests"),
    ("missing", "missing tests"),
    ("money", "what was spent"),
    ("still", "failures that were there before"),
    ("notes", "notes"),
    ("suites", "suites"),
    ("unsure", "failures that nothing can be compared with"),
    ("slower", "slow-downs"),
    ("explanations", "explanations"),
    ("new", "failures"),
    ("lines", "details"),
)
KEPT = 7  # so many of these go before the rest is shortened
_ADDRESS = re.compile(r"https?://[!#-;=?-Z\[\]_a-z~]{1,1900}")  # no blank, no quote, no angle, no bar


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """Something to tell that is no run: `cost` or `booking`; urgent ones may pass quiet hours. Texts may be foreign."""

    kind: str
    title: str
    lines: tuple[str, ...] = ()
    link: str = ""
    urgent: bool = False


@dataclass(frozen=True, slots=True)
class Span:
    """A piece of a line: plain, a quotation, or a link to an address of ours."""

    text: str
    code: bool = False
    url: str = ""


Line = tuple[Span, ...]
Item = tuple[Line, ...]  # an entry of a list, which may need a line below its first


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A list under a heading; `more` entries of it are not here."""

    name: str
    title: str
    items: tuple[Item, ...]
    more: int = 0

    def cut(self, limit: int) -> Section:
        """The same with so many entries at most."""
        return replace(self, items=self.items[:limit], more=self.more + max(0, len(self.items) - limit))


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """What is to be told, before it has the form of a service."""

    kind: str  # result | regression | cost | booking
    tone: str  # good | bad | unsure
    title: str
    where: Line = ()
    sections: tuple[Section, ...] = ()
    link: tuple[str, str] = ("", "")  # words, address


def result_message(result: RunResult, context: Context) -> Message:
    """A run: the verdict, then everything in order of importance."""
    word = explain.headline_word(result)
    tone = {"passed": "good", "nothing due": "good", "failed": "bad"}.get(word, "unsure")
    return Message(
        kind="result",
        tone=tone,
        title=_verdict(result, context),
        where=_where(result, context),
        sections=tuple(section for section in _sections(result, context) if section.items),
        link=_run_link(context),
    )


def is_regression(context: Context) -> bool:
    """Whether the run is worse than its base: nothing is claimed where there is no base."""
    return bool(context.comparison.new or context.slower)


def regression_message(result: RunResult, context: Context) -> Message:
    """What got worse since the base, and nothing else."""
    new, slower = len(context.comparison.new), len(context.slower)
    told = [words.plural(new, "new failure")] if new else []
    told += [words.plural(slower, "slow-down")] if slower else []
    whole = result_message(result, context)
    return replace(
        whole,
        sections=tuple(section for section in whole.sections if section.name in ("new", "slower")),
        kind="regression",
        tone="bad" if new else "unsure",
        title=f"{'❌' if new else '⚠️'} {' and '.join(told)}",
    )


def cost_alert(result: RunResult, context: Context) -> Alert | None:
    """The alert of the one run whose cost took the month's budget over a mark; the runs after it stay silent."""
    money, cost = context.money, result.cost_usd
    if not money.limit or money.spent is None:
        return None
    after, before = money.spent / money.limit, (money.spent - cost) / money.limit
    crossed = [mark for mark in MARKS if before < mark <= after]
    if not crossed:
        return None
    return Alert(
        kind="cost",
        title=f"{money.budget} has spent {after:.0%} of its {words.money(money.limit)} for this month",
        lines=(
            f"{words.money(money.spent)} so far, {words.money(cost)} of it by this run of {result.developer}",
        ),
        link=context.run_url or "",
        urgent=after >= 1,
    )


def alert_message(alert: Alert) -> Message:
    """A cost alert or a booking."""
    symbol = {"cost": "⚠️ ", "booking": "📅 "}.get(alert.kind, "")
    items = tuple(((Span(one_line(line, 500)),),) for line in alert.lines if line.strip())
    return Message(
        kind=alert.kind,
        tone="bad" if alert.urgent else "unsure" if alert.kind == "cost" else "good",
        title=symbol + (one_line(alert.title, NAME).strip() or "(no title)"),
        sections=(Section(name="lines", title="", items=items),) if items else (),
        link=("Open", alert.link) if address(alert.link) else ("", ""),
    )


def address(url: str | None) -> str:
    """An address that may be linked, or nothing."""
    return url if url and _ADDRESS.fullmatch(url) else ""


def payload_text(payload: Mapping[str, Any], *, indent: int | None = None) -> str:
    """A payload as it is sent; with an indent the same for people."""
    return json.dumps(payload, ensure_ascii=False, indent=indent, separators=None if indent else (",", ":"))


def versions(message: Message, *, brief: bool = False) -> Iterator[tuple[Message, list[str]]]:
    """The message smaller and smaller, each with the names of what it lacks; with `brief` only the smallest.

    Whole sections go first; of the most important ones a few entries stay for as long as there is any room.
    """
    least = len(SHED)
    steps = [(count, None) for count in range(KEPT + 1)] + [(KEPT, 5), (KEPT, 2)]
    steps += [(count, 2) for count in range(KEPT + 1, least + 1)]
    for count, entries in steps[-1:] if brief else steps:
        gone = dict(SHED[:count])
        kept = tuple(
            item if entries is None else item.cut(entries)
            for item in message.sections
            if item.name not in gone
        )
        left = [words for name, words in gone.items() if any(item.name == name for item in message.sections)]
        yield replace(message, sections=kept), left


def _verdict(result: RunResult, context: Context) -> str:
    """The first line, the same as the comment's."""
    word = explain.headline_word(result)
    told = explain.explanations(result) if word not in ("passed", "failed", "nothing due") else []
    compared = context.comparison.bases and not context.comparison.without_base
    part = Part(
        key="chat",
        counts=result.counts,
        new=len(context.comparison.new) if compared else None,
        seconds=result.duration_seconds,
        cost=result.cost_usd,
        exit_code=result.exit_code,
        word=word,
        why=one_line(told[0].what if told else explain.NOT_TESTED.get(result.exit_code, ""), TOLD),
    )
    return " ".join(first_line(part))


def _where(result: RunResult, context: Context) -> Line:
    """Whose run of what: repository, pull request or branch, commit, developer."""
    event = result.plan.event
    spans: list[Span] = []
    home = f"{context.server}/{quote(event.repository, errors='replace')}" if event.repository else ""
    if event.repository:
        spans.append(Span(one_line(event.repository, 100), url=address(home)))
    if event.pull_request:
        url = address(f"{home}/pull/{event.pull_request}") if home else ""
        spans.append(Span(f"pull request {event.pull_request}", url=url))
    if event.branch:
        spans.append(Span(one_line(event.branch, 100), code=True))
    if event.commit:
        url = address(f"{home}/commit/{quote(event.commit, errors='replace')}") if home else ""
        spans.append(Span(one_line(event.commit[:10], 40), url=url))
    if result.developer:
        spans.append(Span(one_line(result.developer, 60)))
    return tuple(piece for span in spans for piece in (Span(" · "), span))[1:]


def _run_link(context: Context) -> tuple[str, str]:
    return ("Open the run", context.run_url or "") if address(context.run_url) else ("", "")


def _sections(result: RunResult, context: Context) -> Iterator[Section]:
    found = context.comparison
    plain = explain.headline_word(result) in ("passed", "failed", "nothing due")
    told = [] if plain else explain.explanations(result)
    yield Section(
        name="explanations",
        title="What happened",
        items=tuple((_explained(item),) for item in told[:EXPLAINED]),
        more=max(0, len(told) - EXPLAINED),
    )
    yield from _failures(result, context)
    yield _listed("slower", "Slower", [(Span(plain_words(line)),) for line in context.slower])
    for name, title, changes in (("still", "Still broken", found.still), ("fixed", "Fixed", found.fixed)):
        yield _listed(name, title, [_named(item.suite, item.test) for item in changes[:SHOWN]], len(changes))
    yield _listed("suites", "Suites", [_suite(suite) for suite in result.suites])
    known = context.money.pull_request is not None or context.money.spent is not None
    money = one_line(money_line(result, context.money), 300)
    yield _listed("money", "Money", [(Span(money),)] if known and money else [])
    for name, title, pairs in (
        ("missing", "Never finished", view.missing(result)),
        ("flaky", "Flaky", view.flaky(result)),
    ):
        lines = [_named(selection.id, case.id) for selection, case in pairs[:SHOWN]]
        yield _listed(name, title, lines, len(pairs))
    yield _listed("notes", "Notes", [(Span(one_line(note, 300)),) for note in result.notes])


def _listed(name: str, title: str, lines: Sequence[Line], many: int | None = None) -> Section:
    """The first of the lines; `many` is how many there are, if these are not all."""
    items = tuple((line,) for line in lines[:SHOWN])
    return Section(name=name, title=title, items=items, more=max(0, (many or len(lines)) - SHOWN))


def _failures(result: RunResult, context: Context) -> Iterator[Section]:
    """New failures under this name; where there is no base, failures that are only called failures."""
    found = context.comparison
    lacking = set(found.without_base) if found.bases else None
    cases = {
        (suite.selection.id, case.id): (suite.selection, case)
        for suite in result.suites
        for case in explain.red_cases(suite)
    }
    unsure = [
        Change(selection=key[0], suite=selection.suite.name, test=case.id)
        for key, (selection, case) in cases.items()
        if lacking is None or selection.suite.name in lacking
    ]
    commits = sorted({base.commit[:7] for base in (found.bases or {}).values()})
    for name, title, changes in (
        ("new", f"New here (passed at {', '.join(commits[:3])})", found.new),
        ("unsure", "Failed (there is no earlier run to compare with)" if found.bases else "Failed", unsure),
    ):
        items = tuple(
            _failure(*cases[change.selection, change.test], result, context, flaky=change.known_flaky)
            for change in changes[:SHOWN]
            if (change.selection, change.test) in cases
        )
        yield Section(name=name, title=title, items=items, more=max(0, len(changes) - SHOWN))


def _failure(
    selection: Selection, case: CaseResult, result: RunResult, context: Context, *, flaky: bool
) -> Item:
    """What failed, what it said and where it stands; then the command that repeats it."""
    spans = [Span(one_line(case.id, NAME), code=True), Span(f" in {one_line(selection.id, 80)}")]
    if flaky:
        spans.append(Span(", known to be flaky"))
    if case.message:
        spans.append(Span(f": {one_line(case.message, TOLD)}"))
    if place := one_line(view.place(case), NAME):
        spans += [Span(" · "), Span(place, url=address(source_url(case, result, context.server)))]
    command = words.reproduce(selection, case.id)
    # a command that is cut does something else, so one that is too long is not shown
    if len(command) > COMMAND:
        return (tuple(spans),)
    return (tuple(spans), (Span("again: "), Span(one_line(command), code=True)))


def _explained(item: explain.Explanation) -> Line:
    told = [Span(one_line(item.subject, 80), code=True), Span(f": {one_line(item.what, 300)}")]
    return (*told, Span(f". Fix: {one_line(item.fix, 200)}")) if item.fix else tuple(told)


def _named(suite: str, test: str) -> Line:
    return (Span(one_line(test, NAME), code=True), Span(f" in {one_line(suite, 80)}"))


def _suite(suite: SuiteResult) -> Line:
    """One suite: on what, its numbers, its time and its money."""
    machine = words.machine_text(suite.leases[-1]) if suite.leases else suite.selection.suite.machine
    seconds, cost = sum(item.duration_seconds for item in suite.attempts), words.suite_cost(suite)
    told = [words.counts_text(suite.counts), words.duration(seconds)] + ([words.money(cost)] if cost else [])
    return (
        Span(one_line(suite.selection.id, 80), code=True),
        Span(f" on {one_line(machine, 80)}: {' · '.join(told)}"),
    )
