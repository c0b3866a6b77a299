"""A plan in words: for every suite why or why not, by which rule, because of which file or label. Pure.

Everything from outside is made harmless here, for this text goes to the standard output of a runner.
"""

from __future__ import annotations

from collections.abc import Iterator

from ci_runner import codec
from ci_runner.config.settings import Settings
from ci_runner.github.commands import one_line
from ci_runner.model import Event, Lane, Plan, Selection, Skip
from ci_runner.plan.matrix import Matrix

EVIDENCE = 160  # characters; a path may be longer, but nobody reads it to its end
SHOWN = 5  # changed files and labels
WIDEST = 32  # of the column of names
LANES = {
    Lane.SAME_REPOSITORY: "same repository",
    Lane.FORK_REVIEWED: "fork, reviewed at this commit",
    Lane.FORK: "fork",
}


def plan_text(plan: Plan, settings: Settings, *, explain: bool) -> str:
    """The plan for people: what runs; with `explain` also what does not, and which rule decided."""
    names = [item.id for item in plan.selected] + [item.suite for item in plan.skipped if explain]
    width = min(max((len(one_line(name)) for name in names), default=0), WIDEST)
    lines = list(_headline(plan.event)) if explain else []
    for selection in plan.selected:
        lines += _selected(selection, settings, width, explain=explain)
    if explain:
        for skip in plan.skipped:
            lines += _skipped(skip, settings, width)
    lines += [f"note  {one_line(note, 400)}" for note in plan.notes]
    lines.append(_total(plan, explain=explain))
    return "\n".join(lines)


def plan_object(plan: Plan, matrix: Matrix, settings: Settings, *, explain: bool) -> dict[str, object]:
    """The plan for programs: the matrix; with `explain` also the reasons."""
    found: dict[str, object] = {
        "matrix": {"include": matrix.include},
        "any": bool(matrix.include),
        "machine": matrix.machines,
        "grouped": matrix.grouped,
        "nothing_due": plan.nothing_due,
    }
    if explain:
        found["event"] = codec.plain(plan.event)
        found["selected"] = [_selected_object(selection, settings) for selection in plan.selected]
        found["skipped"] = [
            {**codec.plain(skip), "where": _place(skip.rule, settings)} for skip in plan.skipped
        ]
        found["notes"] = plan.notes
    return found


def _selected_object(selection: Selection, settings: Settings) -> dict[str, object]:
    return {
        "id": selection.id,
        "suite": selection.suite.name,
        "machine": selection.suite.machine,
        "reason": selection.reason,
        "rule": selection.rule,
        "evidence": selection.evidence,
        "where": _place(selection.rule, settings),
        "shard": codec.plain(selection.shard),
        "runner": codec.plain(selection.runner),
    }


def _headline(event: Event) -> Iterator[str]:
    change = f"{event.branch} → {event.base_branch}" if event.branch and event.base_branch else event.branch
    parts = [
        f"{event.kind} {event.action}" if event.action else event.kind,
        f"#{event.pull_request}" if event.pull_request is not None else None,
        "draft" if event.draft else None,
        change,
        f"tag {event.tag}" if event.tag else None,
        f"cron {event.schedule}" if event.schedule else None,
        event.commit[:10] if event.commit else None,
        f"by {event.actor}" if event.actor else None,
        f"lane {event.lane.value} ({LANES[event.lane]})",
    ]
    yield "event   " + " · ".join(one_line(part, 120) for part in parts if part)
    if event.labels or event.label_added or event.label_removed:
        marks = {event.label_added: " (just added)"}
        labels = dict.fromkeys((*event.labels, *([event.label_added] if event.label_added else [])))
        shown = [f"{one_line(label, 60)}{marks.get(label, '')}" for label in labels]
        if event.label_removed:
            shown.append(f"{one_line(event.label_removed, 60)} (just removed)")
        yield f"labels  {', '.join(shown)}"
    if event.inputs:
        yield "inputs  " + ", ".join(
            f"{one_line(name, 60)} = {one_line(value, 60)}" for name, value in event.inputs.items() if value
        )
    yield f"changed {_changed(event)}"
    yield ""


def _changed(event: Event) -> str:
    if event.changed_files is None:
        return one_line(f"unknown: {event.changed_files_note or 'nobody said'}", 300)
    files = event.changed_files
    shown = ", ".join(one_line(file.path, 80) for file in files[:SHOWN])
    more = f" and {len(files) - SHOWN:,} more" if len(files) > SHOWN else ""
    count = f"{len(files):,} {'file' if len(files) == 1 else 'files'}"
    note = f"; {one_line(event.changed_files_note, 200)}" if event.changed_files_note else ""
    return f"{count}: {shown}{more}{note}" if files else f"nothing{note}"


def _selected(selection: Selection, settings: Settings, width: int, *, explain: bool) -> list[str]:
    lines = [_line("run", selection.id, selection.reason, selection.evidence, width)]
    if explain:
        details = [_rule(selection.rule, settings)]
        if selection.suite.machine != "local":
            details.append(f"machine {one_line(selection.suite.machine, 60)}")
        if selection.runner is not None:
            text = selection.runner.text or selection.runner.reason
            details.append(f"{selection.runner.variant.value} runner: {one_line(text, EVIDENCE)}")
        lines.append(_details(details, width))
    return lines


def _skipped(skip: Skip, settings: Settings, width: int) -> list[str]:
    lines = [_line("skip", skip.suite, skip.reason, skip.evidence, width)]
    if skip.rule:
        lines.append(_details([_rule(skip.rule, settings)], width))
    return lines


def _line(word: str, name: str, reason: str, evidence: str | None, width: int) -> str:
    tail = f": {one_line(evidence, EVIDENCE)}" if evidence else ""
    return f"{word:5} {one_line(name, 200):{width}}  {one_line(reason, 400)}{tail}"


def _details(details: list[str], width: int) -> str:
    return f"{'':5} {'':{width}}  {' · '.join(details)}"


def _rule(rule: str, settings: Settings) -> str:
    place = _place(rule, settings)
    return one_line(f"{rule} ({place})" if place else rule, 300)


def _place(rule: str | None, settings: Settings) -> str | None:
    """The file and line where a rule was written, if the configuration remembers it."""
    origin = settings.origins.get(rule or "")
    if origin is None or not origin.name:
        return None
    return f"{origin.name}:{origin.line}" if origin.line is not None else origin.name


def _total(plan: Plan, *, explain: bool) -> str:
    suites = len({selection.suite.name for selection in plan.selected})
    everything = suites + len(plan.skipped)
    jobs = f" in {len(plan.selected):,} jobs" if len(plan.selected) != suites else ""
    if not suites:
        return (
            f"nothing is due: 0 of {everything:,} suites run"
            if plan.nothing_due
            else f"0 of {everything:,} suites run"
        )
    hint = "" if explain or not plan.skipped else " (--explain says why the others do not)"
    return f"{suites:,} of {everything:,} suites run{jobs}{hint}"
