"""The codes of the trust decision, with what they say and what to do about each refusal."""

from __future__ import annotations

import re
from collections.abc import Mapping

from ci_runner.github.people import Permission, Person
from ci_runner.model import Lane, TrustDecision

# Names as GitHub gives them out; whatever else claims to be one is not repeated.
_LOGIN = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_-]{0,98})(?:\[bot\])?")
_KIND = re.compile(r"[a-z_]{1,40}")

# Actions of a pull request that may start something; closing it is none.
ACTIONS = (
    "opened",
    "synchronize",
    "reopened",
    "labeled",
    "unlabeled",
    "ready_for_review",
    "edited",
    "review_requested",
)
ALLOWED: Mapping[str, str] = {
    "pushed": "pushing takes write access",
    "scheduled": "the schedule is the repository's own",
    "queued": "putting a pull request into the queue takes write access",
    "dispatched": "starting it takes write access",
    "same-repository": "the commit is on a branch of this repository, and {who} started it",
    "workflow-run": "the run is of this repository's own commit, and {who} started it",
    "approved": "{who} has write access and approved exactly this commit",
}

WRITER = "ask somebody with write access to add the label, or to start the workflow by workflow_dispatch"
TOKEN = "give the step the job's token, by github-token or by GITHUB_TOKEN in its env, and run it again"  # noqa: S105 - an advice
APPROVE = "have somebody with write access, who is not the author, review and approve this commit, then add the label"
BOTS = (
    "let a person with write access start it, or name the bot in CI_RUNNER_TRUST__BOTS in the workflow's env"
)
REFUSED: Mapping[str, tuple[str, str]] = {
    "event": (
        "no rule says who may spend money on the event {kind}",
        "start it by a push, a pull request, a label or workflow_dispatch",
    ),
    "action": (
        "the event {kind} has an action that leases no machine",
        f"leave it out of the workflow's types; those that do for pull requests: {', '.join(ACTIONS)}",
    ),
    "actor-unknown": ("who caused the event is not known", "start it again by a label or workflow_dispatch"),
    "permission-unknown": ("what {who} may do in this repository could not be learned", TOKEN),
    "actor-not-writer": ("{who} has {permission} access, and spending money takes write access", WRITER),
    "actor-bot": ("{who} is a bot that nobody has named", BOTS),
    "label-gone": (
        "the label that started this is not on the pull request",
        "add the label again under the name that it has now",
    ),
    "label-unknown": ("nobody is known to have added the label that started this", WRITER),
    "label-not-writer": ("{who} added the label and has {permission} access, not write", WRITER),
    "label-bot": ("the label was added by {who}, a bot that nobody has named", BOTS),
    "rerun-unknown": ("this may be a re-run, and whose is not known", "start a new run instead"),
    "rerun-not-writer": ("{who} ran it again and has {permission} access, not write", WRITER),
    "rerun-bot": ("{who} ran it again and is a bot that nobody has named", BOTS),
    "repository-unknown": (
        "the event does not name this repository",
        "give the payload as GitHub wrote it",
    ),
    "fork-deleted": (
        "the repository of the commit is gone or not known",
        "push the commit to a branch of this repository, and open a pull request from there",
    ),
    "forks-never": (
        'the commit is a fork\'s, and [trust] forks is "never" here',
        "run its CPU suites alone; docs/explanation/trust.md says when a reviewed commit may lease machines",
    ),
    "author-unknown": (
        "the author of the pull request is not known, so that nobody else can be told from them",
        "push the commit to a branch of this repository, and open a pull request from there",
    ),
    "head-unknown": ("which commit is the pull request's head now could not be learned", TOKEN),
    "head-moved": ("the pull request has another head than this event", APPROVE),
    "not-approved": ("nobody has approved this commit of a fork", APPROVE),
    "approval-other-commit": ("{who} approved another commit than this one", APPROVE),
    "approval-own": ("the author approved the commit, and no other", APPROVE),
    "approval-bot": ("{who} approved the commit and is a bot", APPROVE),
    "approval-not-writer": ("{who} approved the commit and has {permission} access, not write", APPROVE),
    "approval-unknown": ("what {who}, who approved the commit, may do here could not be learned", TOKEN),
    "approval-dismissed": ("the approval of {who} was dismissed", APPROVE),
    "approval-undated": ("when {who} approved the commit is not known", APPROVE),
    "changes-requested": (
        "{who} asked for changes",
        "have the request answered: a new approval by the same person, or the request dismissed",
    ),
    "not-a-pull-request": ("the comment is not on a pull request", "comment on the pull request"),
    "comment-edited": ("the comment was edited, so it is not what was first said", "write a new comment"),
    "run-event": (
        "the workflow run was started by an event that proves nothing about its commit",
        "let it be started by push, pull_request, schedule or a dispatch",
    ),
    "pull-request-unknown": (
        "a workflow run of a fork does not say whose pull request it is, and its artifacts are not believed",
        "start it by a label in a workflow on pull_request_target",
    ),
}


def allowed(code: str, lane: Lane, who: str | None = None, *, commit: str | None = None) -> TrustDecision:
    """The decision to lease; `who` is the login of whoever it rests on."""
    reason = ALLOWED[code].format(who=_name(who))
    return TrustDecision(allowed=True, lane=lane, code=code, reason=reason, commit=commit)


def refused(code: str, kind: str, lane: Lane = Lane.FORK, who: Person | None = None) -> TrustDecision:
    """The decision not to lease, with what to do; names that are none are not repeated."""
    reason, fix = REFUSED[code]
    words = {
        "who": _name(who.login if who else None),
        "permission": (who.permission if who else Permission.UNKNOWN).value,
        "kind": kind if _KIND.fullmatch(kind) else "of this name",
    }
    return TrustDecision(allowed=False, lane=lane, code=code, reason=reason.format(**words), fix=fix)


def _name(login: str | None) -> str:
    return login if login is not None and _LOGIN.fullmatch(login) else "somebody"
