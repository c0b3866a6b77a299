"""The table of trust cases as facts, and a GitHub in memory that knows people, reviews, heads and labels."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ci_runner.config.settings import TrustRules
from ci_runner.errors import GitHubError
from ci_runner.github.people import Permission, Person, Review
from ci_runner.github.trust import OtherRun, TrustFacts

TABLE: Mapping[str, Any] = json.loads(
    (Path(__file__).parent / "data" / "trust" / "cases.json").read_text(encoding="utf-8")
)
COMMITS: Mapping[str, str] = TABLE["commits"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One row: what is known, under which rules, and what has to come of it."""

    name: str
    facts: TrustFacts
    rules: TrustRules
    code: str
    lane: str


def person(name: str | None) -> Person | None:
    """Somebody of the table; None for nobody, and for an account that was deleted."""
    data = TABLE["people"][name] if name is not None else None
    return None if data is None else Person(**{**data, "permission": Permission(data["permission"])})


def commit(name: str | None) -> str | None:
    """A commit of the table."""
    return None if name is None else COMMITS[name]


def review(data: Mapping[str, Any]) -> Review:
    """A review of the table; `at` is a time of one day."""
    who = person(data["by"])
    return Review(
        author=who.login if who else None,
        state=data["state"],
        commit_id=commit(data["commit"]),
        submitted_at=f"2026-11-23T{data['at']}:00Z" if data["at"] else None,
        permission=who.permission if who else Permission.UNKNOWN,
    )


def other_run(data: Mapping[str, Any] | None) -> OtherRun | None:
    """The run of a workflow_run of the table."""
    if data is None:
        return None
    who = {name: person(data.get(name)) for name in ("actor", "rerun_by")}
    return OtherRun(**{**data, **who})


def facts_of(data: Mapping[str, Any]) -> TrustFacts:
    """The facts that a row of the table stands for."""
    values = dict(data)
    for name in ("actor", "label_added_by", "rerun_by"):
        values[name] = person(data.get(name))
    for name in ("head_commit", "head_now"):
        values[name] = commit(data.get(name))
    author = person(data.get("author"))
    values["author"] = author.login if author else None
    values["labels"] = tuple(data.get("labels", ()))
    values["reviews"] = tuple(review(item) for item in data.get("reviews", ()))
    values["run"] = other_run(data.get("run"))
    return TrustFacts(**values)


def case_of(row: Mapping[str, Any]) -> Case:
    """One row as a case."""
    return Case(
        name=row["name"],
        facts=facts_of({**TABLE["starts"][row["start"]], **row.get("change", {})}),
        rules=TrustRules(forks=row.get("forks", "reviewed"), bots=tuple(row.get("bots", ()))),
        code=row["expect"],
        lane=row["lane"],
    )


CASES = tuple(case_of(row) for row in TABLE["cases"])


class FakePeople:
    """A GitHub in memory: roles by login, and pull requests with reviews, a head, and who added which label."""

    def __init__(self, **roles: str) -> None:
        self.roles = dict(roles)
        self.pulls: dict[int, tuple[str, Sequence[Review]]] = {}
        self.adders: dict[tuple[int, str], str] = {}
        self.silent = False  # every question fails
        self.asked: list[str] = []

    def permission(self, login: str) -> str:
        """The role; none for a stranger."""
        self._ask(f"permission {login}")
        return self.roles.get(login, "none")

    def reviews(self, number: int) -> Sequence[Review]:
        """The reviews as GitHub lists them, without permissions."""
        self._ask(f"reviews {number}")
        return [
            dataclasses.replace(each, permission=Permission.UNKNOWN)
            for each in self.pulls.get(number, ("", ()))[1]
        ]

    def head(self, number: int) -> str:
        """The head now. Raises GitHubError for a pull request that is not there."""
        self._ask(f"head {number}")
        if number not in self.pulls:
            raise GitHubError(f"there is no pull request {number}")
        return self.pulls[number][0]

    def label_adder(self, number: int, label: str) -> str | None:
        """Who added the label that the pull request has now."""
        self._ask(f"label {number} {label}")
        return self.adders.get((number, label))

    def _ask(self, what: str) -> None:
        self.asked.append(what)
        if self.silent:
            raise GitHubError("GitHub cannot be reached")


def payload_of(facts: TrustFacts, number: int = 7) -> dict[str, Any]:
    """The payload of a webhook that says what these facts say, as far as payloads say it."""
    payload: dict[str, Any] = {"action": facts.action}
    if facts.repository is not None:
        payload["repository"] = _repository(facts.repository)
    if facts.actor is not None:
        payload["sender"] = _user(facts.actor)
    if facts.kind == "push":
        payload["ref"] = "refs/heads/main" if facts.on_default_branch else "refs/heads/topic"
    if facts.kind in ("pull_request", "pull_request_target"):
        payload["pull_request"] = {
            "number": number,
            "user": {"login": facts.author} if facts.author else None,
            "labels": [{"name": name} for name in facts.labels],
            "draft": False,
            "head": {"ref": "topic", "sha": facts.head_commit, "repo": _repository(facts.head_repository)},
            "base": {"ref": "main", "sha": "d" * 40, "repo": _repository("octo/tests")},
        }
        if facts.label_added is not None:
            payload["label"] = {"name": facts.label_added}
    if facts.kind == "issue_comment":
        changed = "2026-11-23T11:00:00Z" if facts.comment_edited else "2026-11-23T10:00:00Z"
        payload["issue"] = {"number": number, "user": {"login": facts.author}}
        payload["issue"] |= (
            {"pull_request": {"url": "https://api.github.com/x"}} if facts.on_pull_request else {}
        )
        payload["comment"] = {
            "user": payload.get("sender"),
            "created_at": "2026-11-23T10:00:00Z",
            "updated_at": changed,
        }
    if facts.run is not None:
        run = facts.run
        payload["workflow_run"] = {
            "event": run.kind,
            "run_attempt": run.attempt,
            "head_sha": "a" * 40,
            "head_repository": _repository(run.head_repository),
            "actor": _user(run.actor) if run.actor else None,
            "triggering_actor": _user(run.rerun_by) if run.rerun_by else None,
        }
    return payload


def environ_of(facts: TrustFacts) -> dict[str, str]:
    """The variables of the job that say the rest."""
    environ = {"GITHUB_ACTIONS": "true", "GITHUB_EVENT_NAME": facts.kind}
    if facts.run_attempt is not None:
        environ["GITHUB_RUN_ATTEMPT"] = str(facts.run_attempt)
    if facts.rerun_by is not None:
        environ["GITHUB_TRIGGERING_ACTOR"] = facts.rerun_by.login
    return environ


def people_of(facts: TrustFacts, number: int = 7) -> FakePeople:
    """A GitHub that knows what these facts say; whose permission is unknown has a role of the organization's own."""
    known = [facts.actor, facts.label_added_by, facts.rerun_by]
    known += [facts.run.actor, facts.run.rerun_by] if facts.run else []
    people = FakePeople(**{who.login: _role(who.permission) for who in known if who is not None})
    people.roles |= {each.author: _role(each.permission) for each in facts.reviews if each.author}
    if facts.head_now is not None:
        people.pulls[number] = facts.head_now, facts.reviews
    if facts.label_added is not None and facts.label_added_by is not None:
        people.adders[number, facts.label_added] = facts.label_added_by.login
    return people


def _role(permission: Permission) -> str:
    return "release-manager" if permission is Permission.UNKNOWN else permission.value


def _repository(name: str | None) -> dict[str, Any] | None:
    if name is None:
        return None
    return {"full_name": name, "id": {"octo/tests": 1}.get(name, 2), "default_branch": "main"}


def _user(who: Person) -> dict[str, Any]:
    return {"login": who.login, "type": who.kind}
