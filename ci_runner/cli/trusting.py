"""Before anything is leased in a workflow: may its event spend money? Answered from GitHub's own payload."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path

from ci_runner.config.settings import Settings, TrustRules
from ci_runner.errors import ConfigurationError, TrustError
from ci_runner.github.commands import one_line
from ci_runner.github.payload import Payload, parse_json, read_bytes
from ci_runner.github.people import People, Review
from ci_runner.model import Event, Plan, Skip, TrustDecision
from ci_runner.plan.context import REFUSED, WITHOUT_CHANGE, local_machine
from ci_runner.plan.select import empty_reason
from ci_runner.providers.git import head_commit

SHOWN = 10  # suites in an error
Environ = Mapping[str, str]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """The decision, and what could not be learned for it."""

    decision: TrustDecision
    unanswered: tuple[str, ...] = ()

    def error(self, what: str) -> TrustError:
        """The error that says what may not be done, why, and what to do."""
        said = self.decision
        text = f"{what}: {said.reason}"
        return TrustError(text, where=f"trust: {said.code}", fix=said.fix, details=self.unanswered)


def in_workflow(environ: Environ) -> bool:
    """Whether this runs in a workflow of GitHub, where an event and not a person at the keyboard is the cause."""
    return bool(environ.get("GITHUB_ACTIONS"))


def answer_of(
    settings: Settings,
    environ: Environ,
    *,
    people: People | None = None,
    checked_out: Callable[[Path], str | None] = head_commit,
) -> Answer:
    """The decision about the event of this workflow's run, from the file that GitHub wrote and from nothing else.

    Raises EventError if that file is damaged.
    """
    from ci_runner.github.trust import TrustFacts, decide
    from ci_runner.github.trust_facts import gather

    path, name = environ.get("GITHUB_EVENT_PATH"), environ.get("GITHUB_EVENT_NAME", "")
    data = parse_json(read_bytes(Path(path)), path) if path else None
    if path is None or not isinstance(data, Mapping):
        return Answer(decision=decide(TrustFacts(kind="unknown"), TrustRules()))
    rules = rules_of(settings, Payload(data, path), environ, checked_out)
    found = gather(name, data, environ=environ, rules=rules, people=people or Connecting(environ), where=path)
    return Answer(decision=decide(found.facts, rules), unanswered=found.unanswered)


def rules_of(
    settings: Settings, payload: Payload, environ: Environ, checked_out: Callable[[Path], str | None]
) -> TrustRules:
    """The rules of whoever may make rules: the workflow's environment, and the file as it is on the default branch.

    A pull request brings its own configuration, and must not be able to trust itself.
    """
    rules, strict = settings.trust, TrustRules()
    if rules == strict:
        return strict
    origins = {key: settings.origins.get(f"trust.{key}") for key in ("forks", "bots")}
    written = [key for key, origin in origins.items() if origin is None or origin.kind == "file"]
    if written:
        branch = payload.optional_text("repository", "default_branch")
        commit = environ.get("GITHUB_SHA")
        own = branch is not None and environ.get("GITHUB_REF") == f"refs/heads/{branch}"
        if not (own and commit and checked_out(settings.root) == commit):
            return TrustRules(
                forks=strict.forks if "forks" in written else rules.forks,
                bots=strict.bots if "bots" in written else rules.bots,
            )
    return rules


def trusted_plan(
    event: Event,
    settings: Settings,
    environ: Environ,
    make: Callable[[Event], Plan],
    *,
    people: People | None = None,
) -> Plan:
    """The plan that `make` makes of the event, asked again with the decision if it would lease machines in a workflow."""
    if not in_workflow(environ):
        return make(event)
    event = dataclasses.replace(event, trust=None)  # what a file says of trust is no decision
    plan = make(event)
    if not leasing(plan, settings) and not refused(plan):
        return plan
    answer = answer_of(settings, environ, people=people)
    said = answer.decision
    plan = make(dataclasses.replace(decided(event, said), lane=said.lane))
    notes = [f"this could not be learned, and counts against leasing: {text}" for text in answer.unanswered]
    return dataclasses.replace(plan, notes=(*plan.notes, *notes))


def check(
    plan: Plan,
    settings: Settings,
    environ: Environ,
    *,
    machine: str | None = None,
    people: People | None = None,
) -> Plan:
    """The plan with the decision; raises TrustError if it would lease a machine for an event that may not.

    The decision in the plan counts only if it was made here: whoever reads a plan from a file takes it out.
    """
    suites = leasing(plan, settings, machine)
    if not suites or not in_workflow(environ):
        return plan
    said = plan.event.trust
    answer = answer_of(settings, environ, people=people) if said is None else Answer(decision=said)
    if not answer.decision.allowed:
        raise answer.error(f'"{one_line(suites[0], 80)}" may not lease a machine')
    return dataclasses.replace(plan, event=decided(plan.event, answer.decision))


def decided(event: Event, said: TrustDecision) -> Event:
    """The event with the decision, which knows the commit where the event itself does not: a comment's."""
    return dataclasses.replace(event, trust=said, commit=event.commit or said.commit)


def commit_of(plan: Plan) -> str | None:
    """The one commit that may run, if trust rests on its review; None: the one that is checked out."""
    return plan.event.trust.commit if plan.event.trust is not None else None


def check_skips(plan: Plan, *, asked: bool) -> None:
    """Raise TrustError if what was asked for by name is not trusted, or nothing else is left.

    A schedule and a dispatch ask by name too: nobody looks at a list of skips that a change of theirs has caused.
    """
    skips = refused(plan)
    asked = asked or plan.event.kind in WITHOUT_CHANGE
    if not skips or (plan.selected and not asked):
        return
    what, fix = empty_reason(plan)
    raise TrustError(what, fix=fix, details=[f"{skip.suite}: {skip.reason}" for skip in skips[:SHOWN]])


def leasing(plan: Plan, settings: Settings, machine: str | None = None) -> list[str]:
    """The selections that would not run on this machine."""
    return [item.id for item in plan.selected if not local_machine(machine or item.suite.machine, settings)]


def refused(plan: Plan) -> list[Skip]:
    """The suites that trust keeps out."""
    return [skip for skip in plan.skipped if skip.code in REFUSED]


class Connecting:
    """GitHub, reached when the first question is asked: most events need none."""

    def __init__(self, environ: Environ) -> None:
        self._environ = environ

    @cached_property
    def _people(self) -> People:
        try:
            from ci_runner.github.client import connect
        except ModuleNotFoundError as error:
            raise ConfigurationError(
                f"GitHub cannot be asked who may do what: {error.name} is not installed",
                fix='install ci-runner with its extra "github"',
            ) from error
        from ci_runner.github.people_asked import GitHubPeople

        return GitHubPeople(connect(self._environ))

    def permission(self, login: str) -> str:
        """See People."""
        return self._people.permission(login)

    def reviews(self, number: int) -> Sequence[Review]:
        """See People."""
        return self._people.reviews(number)

    def head(self, number: int) -> str:
        """See People."""
        return self._people.head(number)

    def label_adder(self, number: int, label: str) -> str | None:
        """See People."""
        return self._people.label_adder(number, label)
