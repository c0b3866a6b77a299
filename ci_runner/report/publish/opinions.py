"""What people think: the thumbs on our comments, and the one issue that says that the python runner misses its targets."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Any

from ci_runner.checks.kpi import Feedback

if TYPE_CHECKING:
    from ci_runner.checks.kpi_alerts import Issue
    from ci_runner.github.client import Client

LABEL = "ci-runner-kpi"
OURS = re.compile(r"\A\s*<!-- ci-runner:comment [A-Za-z0-9_.-]{1,60} -->")


def thumbs(client: Client, since: datetime) -> Iterator[Feedback]:
    """The thumbs on our comments that changed since a moment; comments without any are left out."""
    author = client.login()
    found = client.pages(
        "issues/comments", since=f"{since:%Y-%m-%dT%H:%M:%SZ}", sort="updated", direction="desc"
    )
    for comment in found:
        if (comment.get("user") or {}).get("login") != author or not OURS.match(
            str(comment.get("body") or "")
        ):
            continue
        reactions = comment.get("reactions") or {}
        up, down = int(reactions.get("+1", 0)), int(reactions.get("-1", 0))
        if up or down:
            yield Feedback(comment=f"{client.repository}#{comment['id']}", up=up, down=down)


def keep_issue(client: Client, issue: Issue) -> str:
    """Open the issue, or update the one of its key that is open; a line that says which."""
    found = _there(client, f"<!-- {issue.key} -->")
    if found is None:
        made = client.send("POST", "issues", {"title": issue.title, "body": issue.body, "labels": [LABEL]})
        return f"opened issue #{made['number']}: {issue.title}"
    if (found["title"], str(found["body"]).strip()) == (issue.title, issue.body.strip()):
        return f"unchanged: issue #{found['number']}: {issue.title}"
    client.send("PATCH", f"issues/{found['number']}", {"title": issue.title, "body": issue.body})
    return f"updated issue #{found['number']}: {issue.title}"


def _there(client: Client, mark: str) -> Any:
    author = client.login()
    for issue in client.pages("issues", labels=LABEL, state="open"):
        ours = (issue.get("user") or {}).get("login") == author
        if ours and str(issue.get("body") or "").lstrip().startswith(mark):
            return issue
    return None
