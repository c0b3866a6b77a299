"""How an emulated GitHub shows what it holds; what the description requires beside this is filled in."""

from __future__ import annotations

import zlib
from typing import Any

from tests.emulators.github.schema import moment
from tests.emulators.github.world import Check, Comment, Issue, Repository

SERVER = "https://github.com"


def user(login: str) -> dict[str, Any]:
    """Somebody."""
    return {
        "login": login,
        "id": zlib.crc32(login.encode()),
        "type": "Bot" if login.endswith("[bot]") else "User",
    }


def label(name: str, repository: Repository) -> dict[str, Any]:
    """A label."""
    return {
        "id": 1,
        "name": name,
        "color": repository.labels.get(name, "ededed"),
        "default": False,
        "description": None,
    }


def comment(value: Comment, repository: Repository, api: str) -> dict[str, Any]:
    """A comment."""
    up, down = value.thumbs
    return {
        "id": value.id,
        "node_id": f"IC_{value.id}",
        "url": f"{api}/repos/{repository.name}/issues/comments/{value.id}",
        "html_url": f"{SERVER}/{repository.name}/pull/{value.issue}#issuecomment-{value.id}",
        "issue_url": f"{api}/repos/{repository.name}/issues/{value.issue}",
        "body": value.body,
        "user": user(value.author),
        "created_at": moment(value.at),
        "updated_at": moment(value.changed),
        "author_association": "NONE",
        "reactions": {"total_count": up + down, "+1": up, "-1": down},
    }


def issue(value: Issue, repository: Repository, api: str, comments: int = 0) -> dict[str, Any]:
    """An issue, or a pull request as an issue."""
    kind = "pull" if value.pull else "issues"
    shown = {
        "id": value.number,
        "node_id": f"I_{value.number}",
        "url": f"{api}/repos/{repository.name}/issues/{value.number}",
        "html_url": f"{SERVER}/{repository.name}/{kind}/{value.number}",
        "number": value.number,
        "state": value.state,
        "state_reason": value.reason,
        "title": value.title,
        "body": value.body,
        "user": user(value.author),
        "labels": [label(name, repository) for name in value.labels],
        "assignee": None,
        "assignees": [],
        "milestone": None,
        "locked": value.locked,
        "comments": comments,
        "closed_at": moment(value.changed) if value.state == "closed" else None,
        "closed_by": user(value.closed_by) if value.closed_by else None,
        "created_at": moment(value.at),
        "updated_at": moment(value.changed),
        "author_association": "NONE",
    }
    if value.pull:
        shown["pull_request"] = {"url": f"{api}/repos/{repository.name}/pulls/{value.number}"}
    return shown


def pull(value: Issue, repository: Repository, api: str) -> dict[str, Any]:
    """A pull request."""
    assert value.pull is not None
    theirs = value.pull.head_repository
    return {
        "id": value.number,
        "number": value.number,
        "url": f"{api}/repos/{repository.name}/pulls/{value.number}",
        "html_url": f"{SERVER}/{repository.name}/pull/{value.number}",
        "state": value.state,
        "locked": value.locked,
        "title": value.title,
        "body": value.body,
        "user": user(value.author),
        "labels": [label(name, repository) for name in value.labels],
        "draft": value.pull.draft,
        "merged": value.pull.merged,
        "head": {
            "ref": value.pull.branch,
            "sha": value.pull.head,
            "label": f"{(theirs or 'unknown').partition('/')[0]}:{value.pull.branch}",
            "repo": {"full_name": theirs, "name": theirs.partition("/")[2]} if theirs else None,
            "user": user((theirs or "ghost/x").partition("/")[0]),
        },
        "base": {
            "ref": value.pull.base,
            "sha": repository.objects.refs.get(f"heads/{value.pull.base}", "0" * 40),
            "label": f"{repository.name.partition('/')[0]}:{value.pull.base}",
            "repo": {"full_name": repository.name, "name": repository.name.partition("/")[2]},
            "user": user(repository.name.partition("/")[0]),
        },
        "created_at": moment(value.at),
        "updated_at": moment(value.changed),
    }


def check(value: Check, repository: Repository, api: str) -> dict[str, Any]:
    """A check run."""
    return {
        "id": value.id,
        "node_id": f"CR_{value.id}",
        "name": value.name,
        "head_sha": value.head,
        "status": value.status,
        "conclusion": value.conclusion,
        "external_id": value.external_id,
        "url": f"{api}/repos/{repository.name}/check-runs/{value.id}",
        "html_url": f"{SERVER}/{repository.name}/runs/{value.id}",
        "details_url": value.details_url,
        "started_at": None,
        "completed_at": None,
        "output": {
            "title": value.output.get("title"),
            "summary": value.output.get("summary"),
            "text": value.output.get("text"),
            "annotations_count": len(value.annotations),
            "annotations_url": f"{api}/repos/{repository.name}/check-runs/{value.id}/annotations",
        },
        "pull_requests": [],
        "app": {"id": 15368, "slug": "github-actions"},
    }


def permission(login: str, repository: Repository) -> dict[str, Any]:
    """What somebody may."""
    role = repository.people.get(login, "read" if repository.public else "none")
    coarse = {"maintain": "write", "triage": "read"}.get(role, role)
    return {"permission": coarse, "role_name": role, "user": user(login)}
