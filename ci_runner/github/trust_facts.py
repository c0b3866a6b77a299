"""Gathers what the trust decision is made from: the event's payload, the job's variables, and what GitHub says now.

Nothing is asked that cannot change the decision: a push or a schedule asks nothing, a fork where forks are off neither.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from ci_runner.config.settings import TrustRules
from ci_runner.errors import CiRunnerError
from ci_runner.github.commands import one_line
from ci_runner.github.payload import Payload, is_commit
from ci_runner.github.people import People, Permission, Person, Review, permission_of
from ci_runner.github.trust import PROVEN_RUNS, OtherRun, TrustFacts

MOST_PEOPLE = 50  # whose permissions are asked for; of more reviewers the rest stays unknown
_Answer = TypeVar("_Answer")

Environ = Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Gathered:
    """The facts, and what could not be learned and why, one line each."""

    facts: TrustFacts
    unanswered: tuple[str, ...] = ()


@dataclass(slots=True)
class _Asker:
    """Asks each thing once; no answer is an answer that counts against spending."""

    people: People | None
    rules: TrustRules
    known: dict[str, Permission] = field(default_factory=dict)
    unanswered: dict[str, None] = field(default_factory=dict)

    def ask(self, what: Callable[[People], _Answer]) -> _Answer | None:
        """The answer; None if there is none."""
        if self.people is None:
            return None
        try:
            return what(self.people)
        except CiRunnerError as error:
            self.unanswered[one_line(str(error), 300)] = None
            return None

    def permission(self, login: str) -> Permission:
        """What somebody may do."""
        key = login.casefold()
        if key not in self.known and len(self.known) < MOST_PEOPLE:
            said = self.ask(lambda people: people.permission(login))
            self.known[key] = Permission.UNKNOWN if said is None else permission_of(said)
        return self.known.get(key, Permission.UNKNOWN)

    def with_permission(self, who: Person | None) -> Person | None:
        """The person with what they may do; of bots it does not count."""
        if who is None or who.is_bot:
            return who
        return dataclasses.replace(who, permission=self.permission(who.login))

    def somebody(self, login: str | None) -> Person | None:
        """Whoever has this login, with what they may do."""
        return self.with_permission(Person(login=login)) if login else None

    def reviews(self, number: int) -> tuple[Review, ...]:
        """The reviews, with what those who approve or object may do."""
        found = self.ask(lambda people: tuple(people.reviews(number))) or ()
        return tuple(
            dataclasses.replace(
                review,
                permission=self.permission(review.author)
                if review.author is not None and review.state in ("APPROVED", "CHANGES_REQUESTED")
                else Permission.UNKNOWN,
            )
            for review in found
        )


def gather(
    name: str,
    data: Mapping[str, object],
    *,
    environ: Environ,
    rules: TrustRules,
    people: People | None = None,
    where: str = "payload",
) -> Gathered:
    """The facts of the event called `name` with this payload. Raises EventError if the payload is not what it claims.

    `people` is who can be asked; without, what the payload does not prove stays unknown.
    """
    payload = Payload(data, where)
    asker = _Asker(people, rules)
    sender = _person(payload, "sender") or _named(environ.get("GITHUB_ACTOR"))
    attempt = _attempt(environ.get("GITHUB_RUN_ATTEMPT"))
    facts = TrustFacts(
        kind=name,
        action=payload.optional_text("action"),
        repository=payload.optional_text("repository", "full_name")
        or environ.get("GITHUB_REPOSITORY")
        or None,
        on_default_branch=_on_default_branch(payload),
        actor=sender,
        run_attempt=attempt,
        rerun_by=None if attempt == 1 else asker.somebody(environ.get("GITHUB_TRIGGERING_ACTOR")),
    )
    more = MORE.get(name)
    if more is not None:
        facts = more(facts, payload, asker)
    return Gathered(facts=facts, unanswered=tuple(asker.unanswered))


def _pull_request(facts: TrustFacts, payload: Payload, asker: _Asker) -> TrustFacts:
    pull = payload.object("pull_request")
    number = pull.number("number")
    head_repository = _head_repository(pull)
    same = head_repository is not None and head_repository == facts.repository
    labels = [
        label.get("name") if isinstance(label, Mapping) else pull.fail(("labels",), "holds what is no label")
        for label in pull.items("labels")
    ]
    facts = dataclasses.replace(
        facts,
        head_repository=head_repository,
        head_commit=pull.commit("head", "sha"),
        author=pull.optional_text("user", "login"),
        labels=tuple(label for label in labels if isinstance(label, str)),
    )
    if not same and asker.rules.forks != "reviewed":
        return facts
    if not same or facts.action != "synchronize":
        facts = dataclasses.replace(facts, actor=asker.with_permission(facts.actor))
    if facts.action == "labeled":
        facts = _labeled(facts, payload.text("label", "name"), number, asker)
    return facts if same else _under_review(facts, number, asker)


def _labeled(facts: TrustFacts, label: str, number: int, asker: _Asker) -> TrustFacts:
    """Who added the label: the event's own sender; in a re-run, whoever it is by now."""
    adder = facts.actor
    if facts.run_attempt != 1:
        adder = asker.somebody(asker.ask(lambda people: people.label_adder(number, label)))
    return dataclasses.replace(facts, label_added=label, label_added_by=adder)


def _under_review(facts: TrustFacts, number: int, asker: _Asker) -> TrustFacts:
    now = asker.ask(lambda people: people.head(number)) or ""
    return dataclasses.replace(
        facts, head_now=now.lower() if is_commit(now) else None, reviews=asker.reviews(number)
    )


def _issue_comment(facts: TrustFacts, payload: Payload, asker: _Asker) -> TrustFacts:
    comment, issue = payload.object("comment"), payload.object("issue")
    written, changed = comment.optional_text("created_at"), comment.optional_text("updated_at")
    writer = comment.optional_text("user", "login")
    facts = dataclasses.replace(
        facts,
        author=issue.optional_text("user", "login"),
        on_pull_request=isinstance(issue.get("pull_request"), Mapping),
        comment_edited=written != changed or facts.actor is None or writer != facts.actor.login,
    )
    if asker.rules.forks != "reviewed" or not facts.on_pull_request or facts.comment_edited:
        return facts
    facts = dataclasses.replace(facts, actor=asker.with_permission(facts.actor))
    return _under_review(facts, issue.number("number"), asker)


def _workflow_run(facts: TrustFacts, payload: Payload, asker: _Asker) -> TrustFacts:
    run = payload.object("workflow_run")
    kind, attempt = run.optional_text("event"), run.get("run_attempt")
    attempt = attempt if isinstance(attempt, int) and not isinstance(attempt, bool) else None
    head = run.optional_text("head_repository", "full_name")
    actor, rerun_by = _person(run, "actor"), None if attempt == 1 else _person(run, "triggering_actor")
    if head == facts.repository:
        actor = actor if kind in PROVEN_RUNS else asker.with_permission(actor)
        rerun_by = asker.with_permission(rerun_by)
    other = OtherRun(kind=kind, head_repository=head, actor=actor, attempt=attempt, rerun_by=rerun_by)
    return dataclasses.replace(facts, run=other)


def _head_repository(pull: Payload) -> str | None:
    """Where the head is; None if the fork is gone, or contradicts the base about which repository it is."""
    head, base = pull.get("head", "repo"), pull.get("base", "repo")
    if not isinstance(head, Mapping) or not isinstance(base, Mapping):
        return None
    name = head.get("full_name")
    taken = name == base.get("full_name") and head.get("id") != base.get("id")
    return name if isinstance(name, str) and not taken else None


def _on_default_branch(payload: Payload) -> bool:
    default = payload.optional_text("repository", "default_branch")
    ref = payload.get("ref")
    return default is not None and ref == f"refs/heads/{default}"


def _person(payload: Payload, place: str) -> Person | None:
    login = payload.optional_text(place, "login")
    return Person(login=login, kind=payload.optional_text(place, "type")) if login else None


def _named(login: str | None) -> Person | None:
    return Person(login=login) if login else None


def _attempt(text: str | None) -> int | None:
    """The number of the attempt; None if it is not known, which counts as a re-run."""
    return (
        int(text) if text and text.isascii() and text.isdecimal() and len(text) < 10 and int(text) else None
    )


More = Callable[[TrustFacts, Payload, _Asker], TrustFacts]
MORE: Mapping[str, More] = {
    "pull_request": _pull_request,
    "pull_request_target": _pull_request,
    "issue_comment": _issue_comment,
    "workflow_run": _workflow_run,
}
