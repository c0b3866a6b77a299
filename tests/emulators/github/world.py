"""What an emulated GitHub holds: tokens, and repositories with their issues, pull requests, checks and git objects."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.emulators.github.objects import Objects
from tests.emulators.github.refusal import Refusal

WRITE = ("admin", "maintain", "write")


@dataclass(slots=True)
class Token:
    """Who a token speaks for and what it may: `issues`, `pull_requests`, `checks`, `contents` → read or write."""

    login: str
    app: bool = True  # of a GitHub App, as the token of a workflow is
    permissions: Mapping[str, str] = field(default_factory=dict)
    limit: int = 1_000
    used: int = 0
    resets_at: float = 0.0

    def may(self, what: str, how: str) -> bool:
        """Whether it may read or write something."""
        given = self.permissions.get(what)
        return given == "write" or (how == "read" and given == "read")


@dataclass(slots=True)
class Comment:
    """One comment of an issue."""

    id: int
    issue: int
    author: str
    body: str
    at: float
    changed: float
    hidden: str | None = None  # why it was minimised
    thumbs: tuple[int, int] = (0, 0)


@dataclass(slots=True)
class Issue:
    """An issue or a pull request."""

    number: int
    title: str
    body: str
    author: str
    at: float
    state: str = "open"
    reason: str | None = None
    closed_by: str | None = None
    locked: bool = False
    labels: list[str] = field(default_factory=list)
    changed: float = 0.0
    events: list[dict[str, Any]] = field(default_factory=list)
    pull: Pull | None = None


@dataclass(slots=True)
class Pull:
    """What a pull request has beyond an issue."""

    head: str
    base: str = "main"
    branch: str = "feature"
    head_repository: str | None = None  # None: the fork was deleted
    draft: bool = False
    merged: bool = False
    reviews: list[dict[str, Any]] = field(default_factory=list)


@dataclass(slots=True)
class Check:
    """One check run."""

    id: int
    name: str
    head: str
    status: str
    conclusion: str | None
    output: dict[str, Any]
    annotations: list[dict[str, Any]] = field(default_factory=list)
    details_url: str | None = None
    external_id: str = ""


@dataclass(slots=True)
class Repository:
    """One repository."""

    name: str  # "org/kpt"
    default_branch: str = "main"
    public: bool = True
    issues: dict[int, Issue] = field(default_factory=dict)
    comments: dict[int, Comment] = field(default_factory=dict)
    checks: dict[int, Check] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)
    people: dict[str, str] = field(default_factory=dict)  # login → permission
    objects: Objects = field(default_factory=Objects)


@dataclass(slots=True)
class Call:
    """One request that came."""

    method: str
    path: str
    login: str
    status: int
    at: float


@dataclass(slots=True)
class Fault:
    """Something that goes wrong with the next calls that it is about."""

    about: str  # "PATCH /repos/org/kpt/issues/comments"; the beginning of method and path
    refusal: Refusal | None = None
    kind: str = "refuse"  # refuse | reset (the connection breaks) | lost (done, but the answer never comes) | slow | garbage
    times: int = 1
    seconds: float = 0.0
    meanwhile: Callable[[], object] | None = None  # what somebody else does just before


class World:
    """Everything, under one lock; tests set it up and look at it."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self.lock = threading.RLock()
        self.clock = clock
        self.tokens: dict[str, Token] = {}
        self.repositories: dict[str, Repository] = {}
        self.calls: list[Call] = []
        self.violations: list[str] = []  # requests of ours that GitHub's description does not allow
        self.faults: list[Fault] = []
        self.ids = itertools.count(1_000)

    def token(
        self, text: str, login: str = "github-actions[bot]", *, app: bool = True, **permissions: str
    ) -> Token:
        """A token that is known from now on; without permissions it has those of a workflow that asks for them all."""
        all_of_them = dict.fromkeys(("issues", "pull_requests", "checks", "contents"), "write")
        made = Token(login, app=app, permissions=permissions or all_of_them, resets_at=self.clock() + 3_600)
        self.tokens[text] = made
        return made

    def repository(self, name: str = "org/kpt", **people: str) -> Repository:
        """A repository with one commit on its default branch."""
        made = Repository(name=name, people=dict(people))
        objects = made.objects
        first = objects.commit(
            objects.tree({"README.md": ("100644", objects.blob(b"# kpt\n"))}), (), "Begin", self.clock()
        )
        objects.refs["heads/main"] = first
        self.repositories[name] = made
        return made

    def pull(
        self, repository: Repository, number: int, head: str, *, author: str = "dev", **values: Any
    ) -> Issue:
        """A pull request."""
        now = self.clock()
        labels = list(values.pop("labels", ()))
        pull = Pull(head=head, **{"head_repository": repository.name, **values})
        made = Issue(number, f"Change {number}", "", author, now, labels=labels, changed=now, pull=pull)
        repository.issues[number] = made
        return made

    def fail(self, about: str, refusal: Refusal | None = None, **values: Any) -> Fault:
        """Let the next calls go wrong."""
        fault = Fault(about, refusal, **values)
        self.faults.append(fault)
        return fault

    def fault_of(self, method: str, path: str) -> Fault | None:
        """What goes wrong with this call, and once less from now on."""
        for fault in self.faults:
            if fault.times > 0 and f"{method} {path}".startswith(fault.about):
                fault.times -= 1
                return fault
        return None

    def comments_of(self, repository: Repository, number: int) -> list[Comment]:
        """The comments of an issue, oldest first."""
        return [each for each in repository.comments.values() if each.issue == number]

    def writes(self) -> Iterator[Call]:
        """The calls that changed something, or tried to."""
        return (call for call in self.calls if call.method != "GET" and call.path != "/graphql")
