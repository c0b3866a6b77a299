"""Asks GitHub who may do what, who has approved which commit, and where a pull request's head is now."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from ci_runner.github.people import Permission, Review, permission_of

if TYPE_CHECKING:
    from ci_runner.github.client import Client


@dataclass(frozen=True, slots=True)
class GitHubPeople:
    """People as GitHub's API knows them; the token needs pull-requests: read, and no more."""

    client: Client

    def permission(self, login: str) -> str:
        """The role, which tells maintain and triage from write and read; of a role of the organization's own its base."""
        from ci_runner.github.client import Absent

        try:
            said = self.client.get(f"collaborators/{quote(login, safe='')}/permission")
        except Absent:
            return "none"
        role = permission_of(str(said.get("role_name")))
        return role if role is not Permission.UNKNOWN else str(said.get("permission") or role)

    def reviews(self, number: int) -> Sequence[Review]:
        """All reviews, over all pages."""
        return [_review(said) for said in self.client.pages(f"pulls/{number:d}/reviews")]

    def head(self, number: int) -> str:
        """The head's commit now."""
        return str(self.client.get(f"pulls/{number:d}")["head"]["sha"])

    def label_adder(self, number: int, label: str) -> str | None:
        """Who added it last, by the pull request's events; None if it was taken away since, or has another name now."""
        adder: str | None = None
        for event in self.client.pages(f"issues/{number:d}/events"):
            about = event.get("label")
            if not isinstance(about, Mapping) or about.get("name") != label:
                continue
            if event.get("event") == "labeled":
                adder = _login(event.get("actor"))
            elif event.get("event") == "unlabeled":
                adder = None
        carried = self.client.get(f"issues/{number:d}").get("labels") or ()
        names = {each.get("name") for each in carried if isinstance(each, Mapping)}
        return adder if label in names else None


def _review(said: Mapping[str, Any]) -> Review:
    return Review(
        author=_login(said.get("user")),
        state=str(said.get("state") or ""),
        commit_id=said.get("commit_id"),
        submitted_at=said.get("submitted_at"),
    )


def _login(user: object) -> str | None:
    login = user.get("login") if isinstance(user, Mapping) else None
    return login if isinstance(login, str) and login else None
