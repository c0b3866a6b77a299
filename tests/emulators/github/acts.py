"""What the emulated GitHub does for each operation about issues, pull requests and checks, and what it refuses."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from tests.emulators.github import shown
from tests.emulators.github.refusal import Refusal, forbidden, invalid, not_found, too_long
from tests.emulators.github.schema import moment
from tests.emulators.github.world import Check, Comment, Issue, Repository, Token, World

BODY, TITLE, LABEL, COMMENTS, ANNOTATIONS, OUTPUT, MESSAGE = 65_536, 256, 50, 2_500, 50, 65_535, 65_536
HERE = "/repos/{owner}/{repo}"


@dataclass(frozen=True, slots=True)
class Request:
    """A request that the description allows."""

    world: World
    token: Token
    path: Mapping[str, str]
    query: Mapping[str, str]
    body: Mapping[str, Any]
    api: str

    @property
    def repository(self) -> Repository:
        """The repository that it is about."""
        found = self.world.repositories.get(f"{self.path['owner']}/{self.path['repo']}")
        if found is None:
            raise not_found()
        return found

    def must(self, how: str, *what: str) -> None:
        """Raises Refusal if the token has none of these permissions."""
        if how == "read" and self.repository.public:
            return
        if not any(self.token.may(each, how) for each in what):
            raise forbidden()

    def issue(self, how: str) -> Issue:
        """The issue that it is about, for somebody who may read or write it."""
        found = self.repository.issues.get(int(self.path["issue_number"]))
        self.must(how, "pull_requests" if found and found.pull else "issues", *(["issues"] if found else []))
        if found is None:
            raise not_found()
        return found


Answer = tuple[int, Any]
ACTS: dict[str, Callable[[Request], Answer]] = {}


def act(name: str) -> Callable[[Callable[[Request], Answer]], Callable[[Request], Answer]]:
    """Registers what an operation does."""

    def registered(function: Callable[[Request], Answer]) -> Callable[[Request], Answer]:
        ACTS[name.replace("HERE", HERE)] = function
        return function

    return registered


@act("GET /user")
def _user(request: Request) -> Answer:
    if request.token.app:
        raise forbidden()
    return 200, shown.user(request.token.login)


@act("GET HERE")
def _repository(request: Request) -> Answer:
    repository = request.repository
    return 200, {
        "name": repository.name.partition("/")[2],
        "full_name": repository.name,
        "private": not repository.public,
        "default_branch": repository.default_branch,
        "owner": shown.user(repository.name.partition("/")[0]),
    }


@act("GET HERE/collaborators/{username}/permission")
def _permission(request: Request) -> Answer:
    return 200, shown.permission(request.path["username"], request.repository)


@act("GET HERE/issues")
def _issues(request: Request) -> Answer:
    request.must("read", "issues")
    query, repository = request.query, request.repository
    labels = {name for name in query.get("labels", "").split(",") if name}
    found = [
        each
        for each in repository.issues.values()
        if query.get("state", "open") in ("all", each.state)
        and labels <= set(each.labels)
        and query.get("creator", each.author) == each.author
    ]
    found.sort(key=lambda each: each.number, reverse=query.get("direction", "desc") == "desc")
    return 200, [_shown(request, each) for each in found]


@act("POST HERE/issues")
def _open(request: Request) -> Answer:
    request.must("write", "issues")
    world, repository, body = request.world, request.repository, request.body
    title, text = str(body.get("title", "")), body.get("body") or ""
    if not title.strip():
        raise invalid(resource="Issue", code="missing_field", field="title")
    _fits("Issue", title, text)
    now = world.clock()
    made = Issue(max(repository.issues, default=0) + 1, title, text, request.token.login, now, changed=now)
    repository.issues[made.number] = made
    _label(request, made, body.get("labels") or [])
    return 201, _shown(request, made)


@act("GET HERE/issues/{issue_number}")
def _issue(request: Request) -> Answer:
    return 200, _shown(request, request.issue("read"))


@act("PATCH HERE/issues/{issue_number}")
def _change(request: Request) -> Answer:
    issue, body, now = request.issue("write"), request.body, request.world.clock()
    _fits("Issue", str(body.get("title") or issue.title), str(body.get("body") or ""))
    issue.title, issue.changed = str(body.get("title") or issue.title), now
    if "body" in body:
        issue.body = str(body["body"] or "")
    if "labels" in body:
        issue.labels = []
        _label(request, issue, body["labels"])
    if body.get("state", issue.state) != issue.state:
        close = body["state"] == "closed"
        issue.state, issue.closed_by = str(body["state"]), request.token.login if close else None
        issue.reason = str(body.get("state_reason") or ("completed" if close else "reopened"))
        _happened(issue, "closed" if close else "reopened", request.token.login, request.world)
    return 200, _shown(request, issue)


@act("GET HERE/issues/{issue_number}/events")
def _events(request: Request) -> Answer:
    return 200, list(request.issue("read").events)


@act("POST HERE/issues/{issue_number}/labels")
def _add_labels(request: Request) -> Answer:
    issue = request.issue("write")
    _label(request, issue, request.body.get("labels", []))
    return 200, [shown.label(name, request.repository) for name in issue.labels]


@act("POST HERE/labels")
def _new_label(request: Request) -> Answer:
    request.must("write", "issues", "pull_requests")
    name, repository = str(request.body["name"]), request.repository
    if name in repository.labels:
        raise invalid(resource="Label", code="already_exists", field="name")
    if len(name) > LABEL:
        raise too_long("Label", "name", LABEL)
    repository.labels[name] = str(request.body.get("color", "ededed"))
    return 201, shown.label(name, repository)


@act("GET HERE/labels/{name}")
def _one_label(request: Request) -> Answer:
    if request.path["name"] not in request.repository.labels:
        raise not_found()
    return 200, shown.label(request.path["name"], request.repository)


@act("GET HERE/issues/{issue_number}/comments")
def _comments(request: Request) -> Answer:
    issue = request.issue("read")
    found = request.world.comments_of(request.repository, issue.number)
    return 200, [shown.comment(each, request.repository, request.api) for each in found]


@act("POST HERE/issues/{issue_number}/comments")
def _comment(request: Request) -> Answer:
    issue, world, repository = request.issue("write"), request.world, request.repository
    body = str(request.body["body"])
    if issue.locked:
        raise Refusal(403, "Unable to create comment because issue is locked.")
    if len(world.comments_of(repository, issue.number)) >= COMMENTS:
        raise Refusal(403, f"Commenting is disabled on issues with more than {COMMENTS} comments")
    _fits_comment(body)
    now = world.clock()
    made = Comment(next(world.ids), issue.number, request.token.login, body, now, now)
    repository.comments[made.id] = made
    return 201, shown.comment(made, repository, request.api)


@act("GET HERE/issues/comments")
def _all_comments(request: Request) -> Answer:
    request.must("read", "issues", "pull_requests")
    since = request.query.get("since", "")
    found = [each for each in request.repository.comments.values() if moment(each.changed) >= since]
    found.sort(key=lambda each: each.changed, reverse=request.query.get("direction") == "desc")
    return 200, [shown.comment(each, request.repository, request.api) for each in found]


@act("GET HERE/issues/comments/{comment_id}")
def _one_comment(request: Request) -> Answer:
    return 200, shown.comment(_found(request, "read"), request.repository, request.api)


@act("PATCH HERE/issues/comments/{comment_id}")
def _edit(request: Request) -> Answer:
    comment, body = _found(request, "write"), str(request.body["body"])
    _fits_comment(body)
    comment.body, comment.changed = body, request.world.clock()
    return 200, shown.comment(comment, request.repository, request.api)


@act("DELETE HERE/issues/comments/{comment_id}")
def _delete(request: Request) -> Answer:
    del request.repository.comments[_found(request, "write").id]
    return 204, None


@act("GET HERE/pulls")
def _pulls(request: Request) -> Answer:
    request.must("read", "pull_requests")
    query, repository = request.query, request.repository
    found = []
    for each in repository.issues.values():
        if each.pull is None or query.get("state", "open") not in ("all", each.state):
            continue
        owner = (each.pull.head_repository or "unknown").partition("/")[0]
        if query.get("head", f"{owner}:{each.pull.branch}") == f"{owner}:{each.pull.branch}":
            found.append(shown.pull(each, repository, request.api))
    return 200, found


@act("GET HERE/pulls/{pull_number}")
def _pull(request: Request) -> Answer:
    return 200, shown.pull(_of_pull(request), request.repository, request.api)


@act("GET HERE/pulls/{pull_number}/reviews")
def _reviews(request: Request) -> Answer:
    issue = _of_pull(request)
    assert issue.pull is not None
    return 200, list(issue.pull.reviews)


@act("POST HERE/check-runs")
def _new_check(request: Request) -> Answer:
    if not request.token.app:
        raise Refusal(403, "You must authenticate via a GitHub App.")
    request.must("write", "checks")
    body, repository = request.body, request.repository
    if body["head_sha"] not in repository.objects.commits and not _head_of_some_pull(request):
        raise invalid(f"No commit found for SHA: {body['head_sha']}")
    made = Check(next(request.world.ids), str(body["name"]), str(body["head_sha"]), "queued", None, {})
    _into(made, body)
    repository.checks[made.id] = made
    return 201, shown.check(made, repository, request.api)


@act("PATCH HERE/check-runs/{check_run_id}")
def _change_check(request: Request) -> Answer:
    request.must("write", "checks")
    check = _check(request)
    _into(check, request.body)
    return 200, shown.check(check, request.repository, request.api)


@act("GET HERE/check-runs/{check_run_id}")
def _one_check(request: Request) -> Answer:
    request.must("read", "checks")
    return 200, shown.check(_check(request), request.repository, request.api)


@act("GET HERE/check-runs/{check_run_id}/annotations")
def _annotations(request: Request) -> Answer:
    request.must("read", "checks")
    return 200, list(_check(request).annotations)


@act("GET HERE/commits/{ref}/check-runs")
def _checks(request: Request) -> Answer:
    request.must("read", "checks")
    name = request.query.get("check_name")
    found = [
        each
        for each in request.repository.checks.values()
        if each.head == request.path["ref"] and name in (None, each.name)
    ]
    if request.query.get("filter", "latest") == "latest":
        found = list({each.name: each for each in found}.values())
    shown_all = [shown.check(each, request.repository, request.api) for each in found]
    return 200, {"total_count": len(found), "check_runs": shown_all}


def _shown(request: Request, issue: Issue) -> dict[str, Any]:
    count = len(request.world.comments_of(request.repository, issue.number))
    return shown.issue(issue, request.repository, request.api, count)


def _found(request: Request, how: str) -> Comment:
    comment = request.repository.comments.get(int(request.path["comment_id"]))
    if comment is None:
        raise not_found()
    issue = request.repository.issues[comment.issue]
    request.must(how, "issues", *(["pull_requests"] if issue.pull else []))
    if (
        how == "write"
        and comment.author != request.token.login
        and not request.token.may("contents", "write")
    ):
        raise forbidden()
    return comment


def _of_pull(request: Request) -> Issue:
    request.must("read", "pull_requests")
    found = request.repository.issues.get(int(request.path["pull_number"]))
    if found is None or found.pull is None:
        raise not_found()
    return found


def _check(request: Request) -> Check:
    found = request.repository.checks.get(int(request.path["check_run_id"]))
    if found is None:
        raise not_found()
    return found


def _head_of_some_pull(request: Request) -> bool:
    head = request.body["head_sha"]
    return any(
        each.pull is not None and each.pull.head == head for each in request.repository.issues.values()
    )


def _into(check: Check, body: Mapping[str, Any]) -> None:
    output = body.get("output") or {}
    if len(output.get("annotations") or []) > ANNOTATIONS:
        raise invalid(
            resource="CheckRun",
            code="invalid",
            field="annotations",
            message="Only 50 annotations are allowed",
        )
    for field in ("summary", "text"):
        if len(str(output.get(field) or "").encode()) > OUTPUT:
            raise too_long("CheckRun", field, OUTPUT)
    for annotation in output.get("annotations") or []:
        if (
            len(str(annotation["message"]).encode()) > MESSAGE
            or len(str(annotation.get("title") or "")) > 255
        ):
            raise too_long("CheckRun", "annotations", MESSAGE)
    if body.get("conclusion") and body.get("status", "completed") != "completed":
        raise invalid("conclusion is only for a completed check run")
    if body.get("status") == "completed" and not body.get("conclusion"):
        raise invalid(resource="CheckRun", code="missing_field", field="conclusion")
    check.status = "completed" if body.get("conclusion") else str(body.get("status", check.status))
    check.conclusion = body.get("conclusion", check.conclusion)
    check.details_url, check.external_id = (
        body.get("details_url", check.details_url),
        str(body.get("external_id", check.external_id)),
    )
    check.output.update({key: value for key, value in output.items() if key != "annotations"})
    check.annotations += [
        {
            "blob_href": "",
            "start_column": None,
            "end_column": None,
            "raw_details": None,
            "title": None,
            **each,
        }
        for each in output.get("annotations") or []
    ]


def _fits(resource: str, title: str, body: str) -> None:
    if len(title) > TITLE:
        raise too_long(resource, "title", TITLE)
    if _length(body) > BODY:
        raise too_long(resource, "body", BODY)


def _fits_comment(body: str) -> None:
    if not body.strip():
        raise invalid(resource="IssueComment", code="missing_field", field="body")
    if _length(body) > BODY:
        raise too_long("IssueComment", "body", BODY)
    if "\0" in body:
        raise invalid("Body contains a NUL")


def _length(text: str) -> int:
    return len(text.encode("utf-16-le")) // 2


def _label(request: Request, issue: Issue, labels: list[Any]) -> None:
    for each in labels:
        name = str(each["name"] if isinstance(each, Mapping) else each)
        if not name or len(name) > LABEL or re.search(r"[\n,]", name):
            raise invalid(resource="Label", code="invalid", field="name")
        request.repository.labels.setdefault(name, "ededed")
        if name not in issue.labels:
            issue.labels.append(name)
            _happened(
                issue, "labeled", request.token.login, request.world, label={"name": name, "color": "ededed"}
            )


def _happened(issue: Issue, event: str, login: str, world: World, **more: Any) -> None:
    number = next(world.ids)
    issue.events.append(
        {
            "id": number,
            "node_id": f"E_{number}",
            "url": f"https://api.github.com/events/{number}",
            "event": event,
            "actor": shown.user(login),
            "created_at": moment(world.clock()),
            "commit_id": None,
            "commit_url": None,
            **more,
        }
    )
