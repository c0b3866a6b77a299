"""Lane B: has somebody who may, and is not the author, approved exactly the commit of a fork that would run? Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime

from ci_runner.github.people import WRITERS, Permission, Person, Review
from ci_runner.github.trust_words import allowed, refused
from ci_runner.model import Lane, TrustDecision

_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")


def reviewed(
    kind: str, *, author: str | None, head: str | None, head_now: str | None, reviews: Sequence[Review]
) -> TrustDecision:
    """Lane B: exactly the commit that is the head now, approved by a writer who is not its author, and not withdrawn."""
    if author is None:
        return refused("author-unknown", kind)
    if head is None or head_now is None or not _COMMIT.fullmatch(head):
        return refused("head-unknown", kind)
    if head != head_now:
        return refused("head-moved", kind)
    last = _last_words(reviews)
    shortcomings: list[tuple[str, Review]] = []
    for review in last:
        code = _shortcoming(review, head, author)
        if code is not None:
            shortcomings.append((code, review))
            continue
        against = next((other for other in last if _withdraws(other, review, head, author)), None)
        if against is None:
            return allowed("approved", Lane.FORK_REVIEWED, review.author, commit=head)
        shortcomings.append(("changes-requested", against))
    return _nearest(shortcomings, kind)


def _last_words(reviews: Sequence[Review]) -> list[Review]:
    """Of everybody the last review that decides something, oldest first; a comment takes nothing back."""
    deciding = [
        review for review in reviews if review.state in ("APPROVED", "CHANGES_REQUESTED", "DISMISSED")
    ]
    last: dict[str, Review] = {}
    nobody: list[Review] = []
    for review in sorted(deciding, key=lambda review: _moment(review) or datetime.max.replace(tzinfo=UTC)):
        if review.author is None:
            nobody.append(review)
        else:
            last.pop(review.author.casefold(), None)
            last[review.author.casefold()] = review
    return [*last.values(), *nobody]


def _shortcoming(review: Review, head: str, author: str) -> str | None:
    """Why a review is no approval of this head; None if it is one."""
    who = Person(login=review.author or "", permission=review.permission)
    checks: tuple[tuple[str, bool], ...] = (
        ("approval-dismissed", review.state == "DISMISSED"),
        ("changes-requested", review.state != "APPROVED"),
        ("not-approved", not who.login),
        ("approval-own", who.login.casefold() == author.casefold()),
        ("approval-bot", who.is_bot),
        ("approval-unknown", who.permission is Permission.UNKNOWN),
        ("approval-not-writer", not who.is_writer),
        ("approval-other-commit", review.commit_id != head),
        ("approval-undated", _moment(review) is None),
    )
    return next((code for code, applies in checks if applies), None)


def _withdraws(other: Review, approval: Review, head: str, author: str) -> bool:
    """Whether a request for changes stands against an approval; one of unknown standing does."""
    if other.state != "CHANGES_REQUESTED" or other.permission not in (*WRITERS, Permission.UNKNOWN):
        return False
    if other.author is not None and other.author.casefold() == author.casefold():
        return False
    then, when = _moment(approval), _moment(other)
    return other.commit_id == head or then is None or when is None or when >= then


def _nearest(shortcomings: Sequence[tuple[str, Review]], kind: str) -> TrustDecision:
    """The refusal that says most about what is missing: what came closest to an approval."""
    order = (
        "changes-requested",
        "approval-undated",
        "approval-other-commit",
        "approval-dismissed",
        "approval-unknown",
        "approval-own",
        "approval-not-writer",
        "approval-bot",
    )
    for code in order:
        for found, review in shortcomings:
            asks = found == "changes-requested" and review.permission not in (*WRITERS, Permission.UNKNOWN)
            if found == code and not asks:
                return refused(
                    code, kind, who=Person(login=review.author or "", permission=review.permission)
                )
    return refused("not-approved", kind)


def _moment(review: Review) -> datetime | None:
    """When it was submitted; None if that is not known."""
    try:
        moment = datetime.fromisoformat(review.submitted_at or "")
    except ValueError:
        return None
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
