"""Issues for failures on GitHub: what is known there, and the steps that a run asks for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from ci_runner.checks.tracking import Known, Seen, Step, decide
from ci_runner.errors import CiRunnerError
from ci_runner.github.client import Client, Uncertain
from ci_runner.report.issue import LABEL, Suspect, comment_of, issue_of, tracked_in

CLOSED_LOOKED_AT = 500


def publish_issues(client: Client, seen: Seen, *, server: str) -> list[str]:
    """Take the steps; a line for each, with its number."""
    return [_take(client, step, server) for step in decide(seen, list(known_issues(client, seen)))]


def known_issues(client: Client, seen: Seen) -> Iterator[Known]:
    """Our issues: by author and hidden mark. Who closed one is only asked where it matters."""
    author = client.login()
    closed = 0
    for issue in client.pages("issues", labels=LABEL, state="all", sort="updated", direction="desc"):
        if "pull_request" in issue or (issue.get("user") or {}).get("login") != author:
            continue
        tracked = tracked_in(str(issue.get("body") or ""))
        if tracked is None:
            continue
        is_open = issue["state"] == "open"
        closed += not is_open
        if closed > CLOSED_LOOKED_AT:
            return
        number, by_us = int(issue["number"]), False
        if not is_open and (tracked.suite, tracked.fingerprint) in seen.failing:
            whole = client.get(f"issues/{number}")
            by_us = (whole.get("closed_by") or {}).get("login") == author
        yield Known(number=number, open=is_open, tracked=tracked, closed_by_us=by_us)


def _take(client: Client, step: Step, server: str) -> str:
    text = issue_of(step, repository=client.repository, server=server, suspects=suspects_of(client, step))
    body: dict[str, Any] = {"title": text.title, "body": text.body}
    if step.do == "open":
        made = _open(client, {**body, "labels": list(text.labels)}, step)
        return f"opened issue #{made['number']}: {text.title}"
    if step.do == "close":
        body.update(state="closed", state_reason="completed")
    elif step.do == "reopen":
        body["state"] = "open"
    client.send("PATCH", f"issues/{step.number}", body)
    if step.comment:
        said = comment_of(step, repository=client.repository, server=server)
        client.send("POST", f"issues/{step.number}/comments", {"body": said})
    word = {"close": "closed", "reopen": "reopened", "update": "updated"}[step.do]
    return f"{word} issue #{step.number}: {text.title}"


def _open(client: Client, body: dict[str, Any], step: Step) -> Any:
    """A new issue; where no answer comes it is looked up before it is opened again."""
    try:
        return client.send("POST", "issues", body)
    except Uncertain:
        failure = (step.tracked.suite, step.tracked.fingerprint)
        for issue in client.pages("issues", labels=LABEL, state="open", sort="created", direction="desc"):
            found = tracked_in(str(issue.get("body") or ""))
            if found is not None and (found.suite, found.fingerprint) == failure:
                return issue
        return client.send("POST", "issues", body)


def suspects_of(client: Client, step: Step) -> Sequence[Suspect]:
    """The commits between the last good and the first bad one; none if GitHub cannot compare them."""
    tracked = step.tracked
    if not tracked.last_good or not tracked.first_bad:
        return ()
    try:
        compared = client.get(f"compare/{tracked.last_good}...{tracked.first_bad}")
    except CiRunnerError:  # a force-push may have removed one of them; the issue says both all the same
        return ()
    return [
        Suspect(
            sha=str(each["sha"]),
            title=str(each["commit"]["message"]).partition("\n")[0],
            author=str((each.get("author") or {}).get("login") or each["commit"]["author"]["name"]),
        )
        for each in reversed(compared["commits"])
    ]
