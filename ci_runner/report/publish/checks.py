"""The check run of a result on GitHub: one for each name and commit, updated in place as far as GitHub allows that."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ci_runner.github.client import Client, Uncertain
from ci_runner.report.check import CheckOutput, batches


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """What became of a check run."""

    action: str  # created | updated | unchanged
    url: str = ""


def publish_check(client: Client, check: CheckOutput, *, commit: str, run_url: str | None) -> Sent:
    """Create the check run, or update ours of the same name on the same commit.

    Annotations cannot be taken back: if the old ones are not among the new, a new check run takes the place of the old.
    """
    found = _ours(client, check.name, commit)
    wanted = [note for batch in check.annotations for note in batch]
    if found is not None:
        there = _annotations(client, found)
        if all(note in wanted for note in there):
            missing = [note for note in wanted if note not in there]
            if not missing and _same(found, check):
                return Sent(action="unchanged", url=str(found.get("html_url", "")))
            return _send(client, check, batches(missing), found=found, commit=commit, run_url=run_url)
    return _send(client, check, check.annotations, found=None, commit=commit, run_url=run_url)


def _send(
    client: Client,
    check: CheckOutput,
    notes: Sequence[Sequence[Mapping[str, object]]],
    *,
    found: Mapping[str, Any] | None,
    commit: str,
    run_url: str | None,
) -> Sent:
    first, *others = notes or [()]
    body: dict[str, Any] = {
        "name": check.name,
        "status": "completed",
        "conclusion": check.conclusion,
        "output": _output(check, first),
    }
    if run_url:
        body["details_url"] = run_url
    if found is None:
        made = _create(client, {**body, "head_sha": commit}, check.name, commit)
    else:
        made = client.send("PATCH", f"check-runs/{found['id']}", body)
    for batch in others:
        client.send("PATCH", f"check-runs/{made['id']}", {"output": _output(check, batch)})
    return Sent(action="created" if found is None else "updated", url=str(made.get("html_url", "")))


def _create(client: Client, body: Mapping[str, Any], name: str, commit: str) -> Any:
    """Without an answer it is looked up once whether the check run is there."""
    before = _ours(client, name, commit)
    try:
        return client.send("POST", "check-runs", body)
    except Uncertain:
        now = _ours(client, name, commit)
        if now is not None and (before is None or now["id"] != before["id"]):
            return now
        return client.send("POST", "check-runs", body)


def _ours(client: Client, name: str, commit: str) -> Mapping[str, Any] | None:
    """The newest check run of this name that a token like ours made; tokens of other apps cannot change it."""
    found = [
        each
        for each in client.pages(f"commits/{commit}/check-runs", check_name=name)
        if (each.get("app") or {}).get("slug") == client.login().removesuffix("[bot]")
    ]
    return max(found, key=lambda each: int(each["id"]), default=None)


def _annotations(client: Client, found: Mapping[str, Any]) -> list[dict[str, object]]:
    if not (found.get("output") or {}).get("annotations_count"):
        return []
    names = ("path", "start_line", "end_line", "annotation_level", "title", "message")
    return [
        {name: each.get(name) for name in names}
        for each in client.pages(f"check-runs/{found['id']}/annotations")
    ]


def _same(found: Mapping[str, Any], check: CheckOutput) -> bool:
    output = found.get("output") or {}
    return (found.get("conclusion"), output.get("title"), output.get("summary")) == (
        check.conclusion,
        check.title,
        check.summary,
    )


def _output(check: CheckOutput, batch: Sequence[Mapping[str, object]]) -> dict[str, Any]:
    output: dict[str, Any] = {"title": check.title, "summary": check.summary}
    return {**output, "annotations": [dict(note) for note in batch]} if batch else output
