"""One suite and one event: is it due, by which rule, on what evidence. Pure.

Reasons are sentences in words of the configuration; text from outside (a path, a label) stands in `evidence` alone.
"""

from __future__ import annotations

from collections.abc import Callable

from ci_runner.model import Lane, Suite
from ci_runner.plan.context import (
    HOLDS_SECRETS,
    PULL_REQUESTS,
    WITHOUT_CHANGE,
    Changes,
    Context,
    Ruling,
    Subject,
    events_of,
    fold,
    has_rule,
    subject_of,
)
from ci_runner.plan.labels import by_label, by_suite_label, no_labels, skip_label
from ci_runner.plan.paths import PathIndex, matches

NEW_COMMIT = (
    None,
    "opened",
    "synchronize",
    "reopened",
)  # pull request actions that may bring a commit to test
TELLING = ("paths", "ignored-paths", "branch", "schedule", "action")  # more of a reason than "no such label"


def ruling(suite: Suite, context: Context) -> Ruling:
    """Whether the suite is due by the configuration's rules, nobody having named it."""
    subject = subject_of(suite)
    if context.event.kind == "local":
        return _by_local(subject, context)
    found = _due_by(subject, context)
    if not found.due:
        return found
    return next((said for gate in GATES if (said := gate(subject, context)) is not None), found)


def refusal(suite: Suite, context: Context) -> Ruling | None:
    """Why the suite may not run for whoever caused the event, named or not; None if it may."""
    event, trust = context.event, context.event.trust
    rule = f"suites.{suite.name}.machine"
    if context.is_local(suite):
        if event.lane is Lane.SAME_REPOSITORY or event.kind not in HOLDS_SECRETS:
            return None
        reason = f"{event.kind} holds this repository's secrets, and code of a fork must not run beside them"
    elif trust is not None:
        if trust.allowed:
            return None
        reason = (
            f'"{suite.machine}" may not be leased: {trust.reason}. {trust.fix[:1].upper()}{trust.fix[1:]}'
        )
        return Ruling(code="untrusted", reason=reason, rule=rule, evidence=f"trust: {trust.code}")
    elif event.lane in (Lane.SAME_REPOSITORY, Lane.FORK_REVIEWED):
        return None
    else:
        reason = (
            f'"{suite.machine}" would be leased for code of a fork that nobody has reviewed at this commit'
        )
    return Ruling(code="untrusted", reason=reason, rule=rule, evidence=f"trust lane {event.lane.value}")


def _due_by(subject: Subject, context: Context) -> Ruling:
    """The first of the alternatives that is due, else why the most telling one is not."""
    sources = (_by_event, by_suite_label, by_label, _by_input)
    rulings = [said for source in sources if (said := source(subject, context)) is not None]
    due = next((said for said in rulings if said.due), None)
    if due is not None:
        return due
    if not rulings:
        if has_rule(subject.when):
            return Ruling(
                code="event", reason="none of its rules speaks of this event", rule=f"{subject.place}.labels"
            )
        reason = "has no rule and no tier: it runs when it is named"
        return Ruling(code="by-name", reason=reason, rule=subject.place)
    # A label that is there and does not act surprises most, then paths that did not match, then the rest.
    return max(
        rulings,
        key=lambda said: (said.code == "label" and said.evidence is not None, said.code in TELLING),
    )


def _by_event(subject: Subject, context: Context) -> Ruling | None:
    event, when = context.event, subject.when
    kinds = events_of(when)
    if not kinds:
        return None
    source = next(
        (name for name in ("events", "schedule", "paths", "path_groups") if getattr(when, name)), "branches"
    )
    rule = subject.rule(source.replace("_", "-"))
    if event.kind not in kinds:
        reason = f"{event.kind} is none of its events ({', '.join(kinds)})"
        return Ruling(code="event", reason=reason, rule=rule)
    idle = _nothing_new(subject, context)
    if idle is not None:
        return Ruling(code="action", reason=idle, rule=rule, evidence=event.action)
    for condition in (_by_schedule, _by_branch, _by_paths):
        said = condition(subject, context)
        if said is not None:
            return said
    return Ruling(
        reason=f"{event.kind} is one of its events", rule=rule, evidence=event.schedule or event.action
    )


def _nothing_new(subject: Subject, context: Context) -> str | None:
    """Why an event brings this suite no commit that it has not had before; None if it may bring one."""
    event = context.event
    if event.kind == "merge_group":
        return None if event.action in (None, "checks_requested") else "the merge group asks for no checks"
    if event.kind == "workflow_run":
        return None if event.action in (None, "completed") else "the workflow run has not ended"
    if event.kind == "issue_comment":
        if event.pull_request is None:
            return "the comment is not on a pull request"
        return None if event.action in (None, "created") else "the comment is not new"
    if event.kind not in PULL_REQUESTS or event.action in NEW_COMMIT:
        return None
    if event.action == "ready_for_review":
        return (
            None if not subject.when.drafts else "this commit was tested while the pull request was a draft"
        )
    if event.label_removed is not None and fold(event.label_removed) in map(fold, no_labels(subject)):
        return None  # the label had kept the suite from this commit
    return "the event brings no new commit"


def _by_schedule(subject: Subject, context: Context) -> Ruling | None:
    """What the cron says; the last word, since a schedule has no branch or change of its own to look at."""
    when, event = subject.when, context.event
    if event.kind != "schedule" or not when.schedule:
        return None
    rule = subject.rule("schedule")
    if event.schedule in when.schedule:
        return _by_branch(subject, context) or Ruling(
            reason="its schedule", rule=rule, evidence=event.schedule
        )
    reason = f"its schedule is another ({', '.join(when.schedule)})"
    return Ruling(code="schedule", reason=reason, rule=rule, evidence=event.schedule)


def _by_branch(subject: Subject, context: Context) -> Ruling | None:
    """Why the branch is not one of the suite's; None if it is, or any will do."""
    branches, event = subject.when.branches, context.event
    into_base = event.kind in (*PULL_REQUESTS, "merge_group")
    branch = event.base_branch if into_base else event.branch
    if not branches or (branch is not None and matches(branches, branch)):
        return None
    reason = "the event has no branch"
    if branch is not None:
        reason = f"the {'base ' if into_base else ''}branch is none of its branches ({', '.join(branches)})"
    rule, evidence = subject.rule("branches"), branch if branch is not None else event.tag
    return Ruling(code="branch", reason=reason, rule=rule, evidence=evidence)


def _by_paths(subject: Subject, context: Context) -> Ruling | None:
    """What the changed files say; None if they have no say."""
    changes, when = context.changes, subject.when
    if context.event.kind in WITHOUT_CHANGE:
        return None
    if when.paths or when.path_groups:
        return _by_path_rules(subject, changes)
    changed = changes.index.everything
    if not changes.complete or not changed or changed & ~changes.ignored:
        return None
    return Ruling(
        code="ignored-paths",
        reason="only files changed that select nothing by themselves",
        rule="project.ignored-paths",
        evidence=_evidence(changed, changes.index),
    )


def _by_path_rules(subject: Subject, changes: Changes) -> Ruling:
    when, index = subject.when, changes.index
    matched = index.given(when.paths)
    if matched:
        rule = subject.rule("paths")
        return Ruling(
            reason="a changed file matches its paths", rule=rule, evidence=_evidence(matched, index)
        )
    for group in when.path_groups:
        matched = index.given(changes.groups.get(group, ()))
        if matched:
            reason = f'a changed file is in its path group "{group}"'
            return Ruling(reason=reason, rule=subject.rule("path-groups"), evidence=_evidence(matched, index))
    rule = subject.rule("paths" if when.paths else "path-groups")
    if changes.unknown:
        return Ruling(
            reason="no path rule speaks of a changed file, so every suite with path rules runs",
            rule=rule,
            evidence=_evidence(changes.unknown, index),
        )
    if not changes.complete:
        return Ruling(
            reason="which files changed is not known for certain, so its path rules count as matched",
            rule=rule,
            evidence=changes.note,
        )
    return Ruling(code="paths", reason="no changed file matches its path rules", rule=rule)


def _evidence(mask: int, index: PathIndex) -> str:
    more = mask.bit_count() - 1
    return f"{index.first(mask)} and {more:,} more" if more else index.first(mask)


def _by_input(subject: Subject, context: Context) -> Ruling | None:
    wanted, given = subject.when.inputs, context.event.inputs
    if not wanted:
        return None
    rule = subject.rule("inputs")
    words = ", ".join(f"{name} = {value}" for name, value in wanted.items())
    if all(given.get(name) == value for name, value in wanted.items()):
        return Ruling(reason="the inputs are as it asks", rule=rule, evidence=words)
    return Ruling(code="input", reason=f"the inputs are not {words}", rule=rule)


def _by_local(subject: Subject, context: Context) -> Ruling:
    """On the command line without names: what this machine can run, as far as the changes here concern it.

    A machine that is named there stands in for this one, and the suites that belong to it are meant as well.
    """
    suite, when, changes = subject.suite, subject.when, context.changes
    if suite.machine == context.machine:
        return Ruling(reason=f'belongs to "{suite.machine}", which is named', rule="command line")
    if not context.is_local(suite):
        reason = f'runs on "{suite.machine}": name it to lease one'
        return Ruling(code="machine", reason=reason, rule=f"suites.{suite.name}.machine")
    if suite.tier not in (None, "cpu"):
        return Ruling(
            code="tier", reason=f"is of tier {suite.tier}: name it", rule=f"suites.{suite.name}.tier"
        )
    if (when.paths or when.path_groups) and changes.index.everything:
        return _by_path_rules(subject, changes)
    here = (
        "runs on this machine"
        if context.machine is None
        else f'runs anywhere, and "{context.machine}" is named'
    )
    if not changes.known:
        return Ruling(reason=here, rule="command line", evidence=changes.note)
    narrow = "" if changes.index.everything else ", and nothing has changed that could narrow the choice"
    return Ruling(reason=f"{here}{narrow}", rule="command line")


def _draft(subject: Subject, context: Context) -> Ruling | None:
    if subject.when.drafts or not context.event.draft:
        return None
    rule = f"suites.{subject.suite.name}.when.drafts"
    return Ruling(code="draft", reason="waits until the pull request is no draft", rule=rule)


def _already(subject: Subject, context: Context) -> Ruling | None:
    if subject.suite.name not in context.already:
        return None
    return Ruling(
        code="already-ran",
        reason="has run on this commit already: re-run its job, or name it, to run it again",
        rule="once per commit",
        evidence=context.event.commit,
    )


Gate = Callable[[Subject, Context], "Ruling | None"]
GATES: tuple[Gate, ...] = (skip_label, _draft, _already)
