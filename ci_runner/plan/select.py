"""Event and settings to plan: every suite is selected or skipped exactly once, with the reason. Pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from ci_runner.config.settings import Settings
from ci_runner.errors import ConfigurationError
from ci_runner.model import Event, Plan, Selection, Skip, Suite
from ci_runner.plan.context import NOT_DUE, REFUSED, WITHOUT_CHANGE, Context, Ruling, speaks_of
from ci_runner.plan.names import Request, near_inputs, near_labels, requested
from ci_runner.plan.rules import refusal, ruling


def select(
    event: Event,
    settings: Settings,
    *,
    names: Sequence[str] = (),
    everything: bool = False,
    already: frozenset[str] = frozenset(),
    machine: str | None = None,
) -> Plan:
    """The plan for an event: what was named, else what is due by the rules of the configuration.

    `names` and `everything` come from the command line and go before the event's inputs. `already` are the suites
    that have run on this very commit: no rule selects them again, a name does. `machine` is the one that the command
    line names, which may be leased without naming its suites too. The same arguments give the same plan.
    Raises UsageError for a name, input or label that names nothing, and ConfigurationError if two selected suites
    claim the same exclusive name.
    """
    context = Context(event, settings, already, machine)
    request = requested(event, settings, names, everything=everything)
    selected: list[Selection] = []
    skipped: list[Skip] = []
    for configured in settings.suites.values():
        suite = _on_machine(configured, request.machine)
        said = _ruling(suite, request, context)
        if said.due:
            said = refusal(suite, context) or said
        if said.due:
            selected.append(
                Selection(suite=suite, reason=said.reason, rule=said.rule, evidence=said.evidence)
            )
        else:
            skipped.append(
                Skip(
                    suite=suite.name,
                    reason=said.reason,
                    code=said.code,
                    rule=said.rule,
                    evidence=said.evidence,
                )
            )
    _check_exclusive(selected)
    return Plan(
        event=event,
        selected=tuple(selected),
        skipped=tuple(skipped),
        notes=tuple(_notes(context, request)),
        nothing_due=not selected and _nothing_due(skipped, context),
    )


def empty_reason(plan: Plan) -> tuple[str, str]:
    """Why a plan without suites is not green, and what to do."""
    if not plan.skipped:
        return (
            "the configuration has no suites",
            "write one under [suites.NAME]; ci-runner init --dry-run shows a starter",
        )
    if any(skip.code in REFUSED for skip in plan.skipped):
        trust = plan.event.trust
        if trust is not None and not trust.allowed:
            return f"nothing may lease a machine: {trust.reason}", trust.fix
        return (
            "nothing may run: what is due would lease a machine for a fork",
            "have somebody with write access review this commit, or give the fork suites on local machines",
        )
    if plan.event.kind == "local":
        return (
            "nothing runs here without being named",
            "name a suite, or see why with: ci-runner plan --explain",
        )
    if plan.event.kind == "schedule":
        return (
            "no suite has this schedule",
            "write the workflow's cron into the suite's `when.schedule`, character by character",
        )
    return (
        f"nothing is selected, and no suite has a rule about {plan.event.kind}",
        f'name suites, or add "{plan.event.kind}" to the `when.events` of those that it should run',
    )


def _on_machine(suite: Suite, machine: str | None) -> Suite:
    return (
        suite if machine is None or machine == suite.machine else dataclasses.replace(suite, machine=machine)
    )


def _ruling(suite: Suite, request: Request, context: Context) -> Ruling:
    if request.everything is not None:
        rule, evidence = request.everything
        return Ruling(reason="all suites were asked for", rule=rule, evidence=evidence)
    if not request.named:
        return ruling(suite, context)
    if suite.name in request.named:
        rule, evidence = request.named[suite.name]
        return Ruling(reason="it was named", rule=rule, evidence=evidence)
    rule = next(iter(request.named.values()))[0]
    return Ruling(code="not-named", reason="other suites were named", rule=rule)


def _check_exclusive(selected: Sequence[Selection]) -> None:
    holders: dict[str, str] = {}
    problems = []
    for selection in selected:
        claim = selection.suite.exclusive
        if claim is None:
            continue
        first = holders.setdefault(claim, selection.suite.name)
        if first != selection.suite.name:
            problems.append(
                f'suites.{first} and suites.{selection.suite.name} both claim exclusive = "{claim}"'
            )
    if problems:
        raise ConfigurationError(
            "two suites of one plan claim the same exclusive name",
            problems=problems,
            fix="let their rules exclude each other, or run one of them at a time by name",
        )


def _nothing_due(skipped: Sequence[Skip], context: Context) -> bool:
    """Whether an empty selection is a decision of the configuration: it has thought of this event, and refuses nobody."""
    if not context.settings.allow_nothing_due or any(skip.code in REFUSED for skip in skipped):
        return False
    if context.event.kind == "local":
        return any(skip.code in NOT_DUE for skip in skipped)
    return any(speaks_of(suite, context.event) for suite in context.settings.suites.values())


def _notes(context: Context, request: Request) -> list[str]:
    """What a reader of the plan must know besides the suites."""
    changes = context.changes
    notes = [*near_labels(context.event, context.settings), *near_inputs(context.event)]
    if request.named or request.everything is not None or context.event.kind in WITHOUT_CHANGE:
        return notes
    has_path_rules = any(
        suite.when.paths or suite.when.path_groups for suite in context.settings.suites.values()
    )
    if has_path_rules and not changes.complete:
        notes.append("path rules count as matched, because which files changed is not known for certain")
    unknown = changes.unknown if has_path_rules else 0
    if unknown:
        names = changes.index.names(unknown)
        notes.append(
            f"{len(names):,} changed {'file is' if len(names) == 1 else 'files are'} covered by no path rule, path group "
            "or ignored path: suites with path rules run all the same"
        )
    return notes
