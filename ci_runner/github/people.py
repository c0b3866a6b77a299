"""Who somebody is and may do in the repository, and what they have said about a commit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

_BOT = "[bot]"  # only GitHub can put brackets into a login


class Permission(StrEnum):
    """What somebody may do in the repository, in GitHub's words; unknown is not the same as none."""

    ADMIN = "admin"
    MAINTAIN = "maintain"
    WRITE = "write"
    TRIAGE = "triage"
    READ = "read"
    NONE = "none"
    UNKNOWN = "unknown"


WRITERS = frozenset((Permission.ADMIN, Permission.MAINTAIN, Permission.WRITE))


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """Somebody, of GitHub's type (User, Bot, …), with what they may do in the repository."""

    login: str
    kind: str | None = None
    permission: Permission = Permission.UNKNOWN

    @property
    def is_bot(self) -> bool:
        """Whether this is an app or an account of a machine."""
        return self.kind == "Bot" or self.login.endswith(_BOT)

    def is_named(self, names: tuple[str, ...]) -> bool:
        """Whether it is one of these bots; a name without brackets could be taken by somebody else."""
        return self.login.endswith(_BOT) and self.login.casefold() in {name.casefold() for name in names}

    @property
    def is_writer(self) -> bool:
        """Whether this is a person who is known to have write access."""
        return not self.is_bot and self.kind in (None, "User") and self.permission in WRITERS


@dataclass(frozen=True, slots=True, kw_only=True)
class Review:
    """A review of a pull request as GitHub lists it: `state` is APPROVED, CHANGES_REQUESTED, COMMENTED, …"""

    author: str | None
    state: str
    commit_id: str | None = None
    submitted_at: str | None = None  # RFC 3339
    permission: Permission = Permission.UNKNOWN


class People(Protocol):
    """Whoever can be asked about people and pull requests of one repository; every method may raise CiRunnerError."""

    def permission(self, login: str) -> str:
        """What somebody may do, in GitHub's words, maintain and triage among them; "none" for a stranger."""
        ...

    def reviews(self, number: int) -> Sequence[Review]:
        """All reviews of a pull request; their permissions are not looked at, they are asked for one by one."""
        ...

    def head(self, number: int) -> str:
        """The commit that is the pull request's head now."""
        ...

    def label_adder(self, number: int, label: str) -> str | None:
        """Who added a label last, if the pull request has it now; None if it has not, or nobody is known."""
        ...


def permission_of(word: str) -> Permission:
    """GitHub's word for a permission; a role of the organization's own is unknown."""
    try:
        return Permission(word)
    except ValueError:
        return Permission.UNKNOWN
