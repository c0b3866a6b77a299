"""An emulated GitHub for tests, and the environment in which a job of a workflow finds it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ci_runner.github import client as github_client
from tests.emulators.github import shown
from tests.emulators.github.server import Server
from tests.emulators.github.world import Comment, Issue, Repository, World

TOKEN = "emulated-token"
NUMBER = 7


class Hub:
    """The server, its world and its one repository."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.world: World = server.world
        self.repository: Repository = self.world.repositories["org/kpt"]

    @property
    def main(self) -> str:
        """The commit at the tip of the default branch."""
        return self.repository.objects.refs["heads/main"]

    @property
    def environ(self) -> dict[str, str]:
        """What a job is given to speak to it."""
        return {"GITHUB_API_URL": self.server.url, "GITHUB_TOKEN": TOKEN, "GITHUB_REPOSITORY": "org/kpt"}

    def client(self, **values: str) -> github_client.Client:
        """A client as a job makes it."""
        return github_client.connect({**self.environ, **values})

    def comments(self, number: int = NUMBER) -> list[Comment]:
        """The comments of the pull request."""
        return self.world.comments_of(self.repository, number)

    def issues(self) -> list[Issue]:
        """The issues that are no pull requests."""
        return [each for each in self.repository.issues.values() if each.pull is None]

    def commit(self, message: str) -> str:
        """One commit more on the default branch."""
        objects = self.repository.objects
        tree = objects.commits[self.main].tree
        objects.refs["heads/main"] = objects.commit(tree, (self.main,), message, self.world.clock())
        return self.main

    def calls(self, method: str = "") -> list[str]:
        """What was asked, `METHOD path`."""
        return [f"{call.method} {call.path}" for call in self.world.calls if call.method.startswith(method)]


@contextmanager
def emulated_github() -> Iterator[Hub]:
    """A GitHub with the repository org/kpt and its open pull request 7; what it does not allow fails the test."""
    world = World()
    world.token(TOKEN)
    repository = world.repository(dev="write", admin="admin")
    world.pull(repository, NUMBER, repository.objects.refs["heads/main"])
    with Server(world) as server:
        yield Hub(server)
    assert world.violations == []


def review(hub: Hub, login: str, state: str = "APPROVED", commit: str | None = None) -> None:
    """A review of the pull request, as GitHub lists it."""
    pull = hub.repository.issues[NUMBER].pull
    assert pull is not None
    number = len(pull.reviews) + 1
    page = f"https://github.com/org/kpt/pull/{NUMBER}"
    pull.reviews.append(
        {
            "id": number,
            "node_id": f"PRR_{number}",
            "user": shown.user(login),
            "body": "",
            "state": state,
            "html_url": page,
            "pull_request_url": page,
            "author_association": "NONE",
            "_links": {"html": {"href": page}, "pull_request": {"href": page}},
            "submitted_at": f"2026-11-23T10:{number % 60:02d}:00Z",
            "commit_id": commit or pull.head,
        }
    )


def pull_request_event(
    folder: Path, head: str, *, base: str | None = None, number: int = NUMBER
) -> Mapping[str, str]:
    """The payload of a push to a pull request, and the variables that name it."""
    repository = {"full_name": "org/kpt", "default_branch": "main", "fork": False}
    payload: dict[str, Any] = {
        "action": "synchronize",
        "number": number,
        "pull_request": {
            "number": number,
            "state": "open",
            "draft": False,
            "labels": [],
            "user": {"login": "dev", "type": "User"},
            "head": {"ref": "topic", "sha": head, "repo": repository},
            "base": {"ref": "main", "sha": base or head, "repo": repository},
        },
        "repository": repository,
        "sender": {"login": "dev", "type": "User"},
    }
    return _event(folder, "pull_request", payload)


def nightly_event(folder: Path, commit: str) -> Mapping[str, str]:
    """The payload of a schedule, and the variables that name it."""
    payload = {"schedule": "0 2 * * *", "repository": {"full_name": "org/kpt", "default_branch": "main"}}
    return {**_event(folder, "schedule", payload), "GITHUB_SHA": commit, "GITHUB_REF": "refs/heads/main"}


def _event(folder: Path, name: str, payload: Mapping[str, Any]) -> dict[str, str]:
    path = folder / f"event-{name}.json"
    path.write_text(json.dumps(payload), encoding="utf-8")
    return {"GITHUB_EVENT_PATH": str(path), "GITHUB_EVENT_NAME": name, "GITHUB_ACTOR": "dev"}
