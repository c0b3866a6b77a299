"""Labels of a pull request: those that ask for a suite, those that say no, and never twice for one commit. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from ci_runner.model import LabelMode
from ci_runner.plan.context import NO_LABEL, PULL_REQUESTS, SUITE_LABEL, Context, Ruling, Subject, fold

LATER_COMMIT = (
    "synchronize",
    "reopened",
)  # pull request actions after which a label that is still there acts


def by_suite_label(subject: Subject, context: Context) -> Ruling | None:
    """`test-config/<name>` names a suite, or all variants of one, without any configuration."""
    wanted = [f"{SUITE_LABEL}{name}" for name in subject.names]
    return _by_labels(wanted, "the label names the suite", f"label {SUITE_LABEL}", subject, context)


def by_label(subject: Subject, context: Context) -> Ruling | None:
    """The labels under `when`, or those that the tier stands for."""
    labels, rule = subject.when.labels, subject.rule("labels")
    if not labels or context.event.kind not in PULL_REQUESTS:
        return None
    missing = Ruling(code="label", reason=f"the pull request has no label {' or '.join(labels)}", rule=rule)
    return _by_labels(labels, "one of its labels", rule, subject, context) or missing


def skip_label(subject: Subject, context: Context) -> Ruling | None:
    """The label that says no to the suite, if the pull request carries one."""
    if context.event.kind not in PULL_REQUESTS:
        return None
    found = next((label for label in no_labels(subject) if fold(label) in context.labels), None)
    if found is None:
        return None
    configured = found in subject.when.skip_labels
    return Ruling(
        code="skip-label",
        reason="a label says no",
        rule=f"suites.{subject.suite.name}.when.skip-labels" if configured else f"label {NO_LABEL}",
        evidence=context.labels[fold(found)],
    )


def no_labels(subject: Subject) -> tuple[str, ...]:
    """Every label that says no to the suite: those configured, and `no-<name>`."""
    return (*subject.when.skip_labels, *(f"{NO_LABEL}{name}" for name in subject.names))


def _by_labels(
    labels: Sequence[str], reason: str, rule: str, subject: Subject, context: Context
) -> Ruling | None:
    """The ruling of the labels that the pull request carries; None if it carries none of them."""
    event, when = context.event, subject.when
    carried = [context.labels[fold(label)] for label in labels if fold(label) in context.labels]
    if event.kind not in PULL_REQUESTS or not carried:
        return None
    added = event.label_added
    if added is not None and fold(added) in {fold(label) for label in carried}:
        return Ruling(reason=f"{reason}, just added", rule=rule, evidence=added)
    present = when.label_mode is LabelMode.PRESENT
    ready = event.action == "ready_for_review" and not when.drafts
    if present and (event.action in LATER_COMMIT or ready):
        return Ruling(reason=f"{reason}, still there", rule=rule, evidence=carried[0])
    if event.action == "opened":
        why = "acts in the event that follows and says that it was added"
    elif present:
        why = "has acted on this commit already, in the event that added it"
    else:
        why = "acts only in the event that adds it (label-mode)"
    return Ruling(code="label", reason=f"the label is there, and {why}", rule=rule, evidence=carried[0])
