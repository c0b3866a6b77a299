"""The table of trust cases as facts, and a GitHub in memory that knows people, reviews, heads and labels."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ci_runner.config.settings import TrustRules
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
