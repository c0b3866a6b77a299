"""Who may spend money: from what is known of an event to allowed or refused, with the reason. Pure.

Everything that is not known counts against spending. What an attacker can write (a branch, a title, a label's name, an
input, an artifact, a review without write access) is either no fact at all or can only refuse.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ci_runner.config.settings import TrustRules
from ci_runner.github.approval import reviewed
from ci_runner.github.people import Permission, Person, Review
from ci_runner.github.trust_words import ACTIONS, allowed, refused
from ci_runner.model import Lane, TrustDecision

__all__ = ["OtherRun", "Permission", "Person", "Review", "TrustFacts", "TrustRules", "decide"]


@dataclass(frozen=True, slots=True, kw_only=True)
class OtherRun:
    """The workflow run that a workflow_run event is about; what it has uploaded is not a fact."""

    kind: str | None
    head_repository: str | None
    actor: Person | None
    attempt: int | None = None
    rerun_by: Person | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustFacts:
    """What is known of an event; None and unknown count against spending."""

    kind: str
    action: str | None = None
    repository: str | None = None
    on_default_branch: bool = False
    head_repository: str | None = None  # of the pull request; None: the fork was deleted, or nobody says
    head_commit: str | None = None  # that the event speaks of
    head_now: str | None = None  # of the pull request, as GitHub says now
    author: str | None = None  # of the pull request
    actor: Person | None = None
    labels: tuple[str, ...] = ()
    label_added: str | None = None
    label_added_by: Person | None = None
    reviews: tuple[Review, ...] = ()
    run_attempt: int | None = None  # of this very run; anything but 1 is a re-run
    rerun_by: Person | None = None
    run: OtherRun | None = None
    on_pull_request: bool = False  # whether the commented issue is one
    comment_edited: bool = False


# Runs whose event only somebody with write access can cause, or nobody.
PROVEN_RUNS = ("push", "schedule", "merge_group", "workflow_dispatch", "repository_dispatch")


def decide(facts: TrustFacts, rules: TrustRules) -> TrustDecision:
    """Whether this event may lease machines; total: whatever is not known is refused."""
    row = ROWS.get(facts.kind)
    return row.rule(facts, rules) if row is not None else refused("event", facts.kind)


def _push(facts: TrustFacts, rules: TrustRules) -> TrustDecision:
    return _started(facts, rules, "pushed", bots_may=facts.on_default_branch)


def _schedule(facts: TrustFacts, rules: TrustRules) -> TrustDecision:
    return _rerun(facts, rules, Lane.SAME_REPOSITORY) or allowed("scheduled", Lane.SAME_REPOSITORY)


def _merge_group(facts: TrustFacts, rules: TrustRules) -> TrustDecision:
    if facts.action != "checks_requested":
        return refused("action", facts.kind, Lane.SAME_REPOSITORY)
    return _rerun(facts, rules, Lane.SAME_REPOSITORY) or allowed("queued", Lane.SAME_REPOSITORY)


def _dispatch(facts: TrustFacts, rules: TrustRules) -> TrustDecision:
    return _started(facts, rules, "dispatched")


def _started(facts: TrustFacts, rules: TrustRules, code: str, *, bots_may: bool = False) -> TrustDecision:
    """An event that GitHub lets only those with write access cause."""
    lane = Lane.SAME_REPOSITORY
    if facts.repository is None:
        return refused("repository-unknown", facts.kind)
    who = facts.actor
    if who is None:
        return refused("actor-unknown", facts.kind, lane)
    if who.is_bot and not bots_may and not who.is_named(rules.bots):
        return refused("actor-bot", facts.kind, lane, who)
    return _rerun(facts, rules, lane) or allowed(code, lane, who.login)


def _pull_request(facts: TrustFacts, rules: TrustRules) -> TrustDecision:
    if facts.repository is None:
        return refused("repository-unknown", facts.kind)
    same = facts.head_repository == facts.repository
    lane = Lane.SAME_REPOSITORY if same else Lane.FORK
    if facts.action not in ACTIONS:
        return refused("action", facts.kind, lane)
    if not same and rules.forks != "reviewed":
        return refused("forks-never", facts.kind)
    # GitHub lets nobody without write access push to a branch of this repository.
    pushed = same and facts.action == "synchronize" and facts.actor is not None and not facts.actor.is_bot
    said = None if pushed else _may_start(facts.actor, "actor", facts, rules, lane)
    said = said or _rerun(facts, rules, lane) or _labeled(facts, rules, lane)
    if said is not None:
        return said
    if same:
        return allowed("same-repository", lane, facts.actor.login if facts.actor else None)
    if facts.head_repository is None:
        return refused("fork-deleted", facts.kind)
    return _reviewed(facts, facts.head_commit)


def _labeled(facts: TrustFacts, rules: TrustRules, lane: Lane) -> TrustDecision | None:
    if facts.action != "labeled":
        return None
    if facts.label_added is None or facts.label_added not in facts.labels:
        return refused("label-gone", facts.kind, lane)
    return _may_start(facts.label_added_by, "label", facts, rules, lane)


def _issue_comment(facts: TrustFacts, rules: TrustRules) -> TrustDecision:
    """The payload does not say where the pull request's commit is, so it counts as a fork's."""
    if facts.repository is None:
        return refused("repository-unknown", facts.kind)
    if facts.action != "created" or facts.comment_edited:
        return refused("comment-edited" if facts.action in ("created", "edited") else "action", facts.kind)
    if not facts.on_pull_request:
        return refused("not-a-pull-request", facts.kind)
    if rules.forks != "reviewed":
        return refused("forks-never", facts.kind)
    said = _may_start(facts.actor, "actor", facts, rules, Lane.FORK) or _rerun(facts, rules, Lane.FORK)
    return said or _reviewed(facts, facts.head_now)


def _reviewed(facts: TrustFacts, head: str | None) -> TrustDecision:
    """Lane B, for a commit that somebody with write access wants to run."""
    return reviewed(
        facts.kind, author=facts.author, head=head, head_now=facts.head_now, reviews=facts.reviews
    )


def _workflow_run(facts: TrustFacts, rules: TrustRules) -> TrustDecision:
    run = facts.run
    if facts.repository is None or run is None:
        return refused("repository-unknown", facts.kind)
    same = run.head_repository == facts.repository
    lane = Lane.SAME_REPOSITORY if same else Lane.FORK
    if facts.action != "completed":
        return refused("action", facts.kind, lane)
    if run.kind not in (*PROVEN_RUNS, "pull_request"):
        return refused("run-event", facts.kind, lane)
    if not same:
        return refused("pull-request-unknown" if run.head_repository else "fork-deleted", facts.kind)
    said = None
    if run.kind not in ("schedule", "merge_group"):
        proven = run.kind in PROVEN_RUNS and run.actor is not None and not run.actor.is_bot
        said = None if proven else _may_start(run.actor, "actor", facts, rules, lane)
    if said is None and run.attempt != 1:
        said = _may_start(run.rerun_by, "rerun", facts, rules, lane)
    said = said or _rerun(facts, rules, lane)
    return said or allowed("workflow-run", lane, run.actor.login if run.actor else None)


def _rerun(facts: TrustFacts, rules: TrustRules, lane: Lane) -> TrustDecision | None:
    """Who runs an old run again spends anew, whoever caused the event at the time."""
    if facts.run_attempt == 1:
        return None
    return _may_start(facts.rerun_by, "rerun", facts, rules, lane)


def _may_start(
    who: Person | None, part: str, facts: TrustFacts, rules: TrustRules, lane: Lane
) -> TrustDecision | None:
    """Why somebody may not cause spending, if not; `part` is what they did: actor, label or rerun."""
    if who is None:
        return refused(f"{part}-unknown", facts.kind, lane)
    if who.is_bot:
        return None if who.is_named(rules.bots) else refused(f"{part}-bot", facts.kind, lane, who)
    if who.is_writer:
        return None
    if who.kind not in (None, "User"):
        return refused(f"{part}-unknown", facts.kind, lane)
    unknown = who.permission is Permission.UNKNOWN
    return refused("permission-unknown" if unknown else f"{part}-not-writer", facts.kind, lane, who)


Rule = Callable[[TrustFacts, TrustRules], TrustDecision]


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """An event of GitHub: its rule, and in words what it takes to lease a machine."""

    rule: Rule
    own: str  # for a commit of this repository
    fork: str  # for a commit of a fork


APPROVAL = (
    'only with `forks = "reviewed"`: started by somebody with write access, and the exact head approved'
)
ROWS: Mapping[str, Row] = {
    "push": Row(rule=_push, own="a person pushed it, or it is on the default branch", fork="cannot happen"),
    "schedule": Row(rule=_schedule, own="always", fork="cannot happen"),
    "merge_group": Row(
        rule=_merge_group, own="checks are requested", fork="as this repository's: a writer queued it"
    ),
    "workflow_dispatch": Row(rule=_dispatch, own="a person started it", fork="cannot happen"),
    "repository_dispatch": Row(
        rule=_dispatch, own="a person sent it, or a bot that is named", fork="cannot happen"
    ),
    "pull_request": Row(
        rule=_pull_request,
        own="a new commit was pushed, or somebody with write access did what the event tells",
        fork=APPROVAL,
    ),
    "pull_request_target": Row(
        rule=_pull_request,
        own="a new commit was pushed, or somebody with write access did what the event tells",
        fork=APPROVAL,
    ),
    "issue_comment": Row(
        rule=_issue_comment, own="as a fork's: the event does not say whose the commit is", fork=APPROVAL
    ),
    "workflow_run": Row(
        rule=_workflow_run,
        own="the run has ended, and was started by a push, a schedule or somebody with write access",
        fork="never: nothing but an artifact could say which pull request it is",
    ),
}
