"""The emulated GitHub answers as GitHub's description says, and refuses what GitHub refuses."""

from __future__ import annotations

import base64
import json
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

from tests.emulators.github import schema
from tests.emulators.github.acts import ACTS
from tests.emulators.github.refusal import secondary
from tests.emulators.github.server import Server
from tests.emulators.github.world import World

HERE = "/repos/org/kpt"


class Client:
    """Says things to the server, right and wrong."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.world = server.world

    def __call__(
        self, method: str, path: str, body: Any = None, *, token: str | None = "t", **headers: str
    ) -> tuple[int, Any, dict[str, str]]:
        request = urllib.request.Request(
            f"{self.server.url}{path}", None if body is None else json.dumps(body).encode(), method=method
        )
        for name, value in {**headers, **({"Authorization": f"Bearer {token}"} if token else {})}.items():
            request.add_header(name.replace("_", "-"), value)
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                data = answer.read()
                return answer.status, json.loads(data) if data else None, dict(answer.headers)
        except urllib.error.HTTPError as error:
            with error:
                data = error.read()
                return error.code, json.loads(data) if data else None, dict(error.headers)


@pytest.fixture
def client() -> Iterator[Client]:
    world = World()
    world.token("t")
    world.token("person", "dev", app=False)
    world.token("fork", contents="read")
    repository = world.repository(dev="write", admin="admin", helper="triage")
    world.pull(repository, 7, repository.objects.refs["heads/main"], labels=["run-tpu-tests"])
    with Server(world) as server:
        yield Client(server)


def test_every_operation_of_the_description_is_emulated() -> None:
    assert sorted(ACTS) == sorted(operation.name for operation in schema.operations())


def test_an_answer_is_held_to_the_description() -> None:
    operation, parameters = schema.find("GET", f"{HERE}/git/ref/heads/a/b") or pytest.fail("not found")
    assert parameters == {"owner": "org", "repo": "kpt", "ref": "heads/a/b"}
    with pytest.raises(schema.Violation, match="object"):
        schema.check_response(operation, 200, {"ref": "refs/heads/a", "node_id": "", "url": "u"})
    with pytest.raises(schema.Violation, match="418"):
        schema.check_response(operation, 418, {})


def test_a_life_of_issues_and_comments(client: Client) -> None:
    status, issue, _ = client("POST", f"{HERE}/issues", {"title": "t", "body": "b", "labels": ["ci-failure"]})
    assert (status, issue["number"], issue["user"]["login"]) == (201, 8, "github-actions[bot]")
    _, found, _ = client("GET", f"{HERE}/issues?labels=ci-failure&state=all")
    assert [each["number"] for each in found] == [8]
    _, closed, _ = client("PATCH", f"{HERE}/issues/8", {"state": "closed", "state_reason": "completed"})
    assert (closed["state"], closed["closed_by"]["login"]) == ("closed", "github-actions[bot]")
    _, events, _ = client("GET", f"{HERE}/issues/8/events")
    assert [each["event"] for each in events] == ["labeled", "closed"]
    _, comment, _ = client("POST", f"{HERE}/issues/7/comments", {"body": "hello"})
    edited = client("PATCH", f"{HERE}/issues/comments/{comment['id']}", {"body": "again"})
    assert edited[1]["body"] == "again"
    assert client("DELETE", f"{HERE}/issues/comments/{comment['id']}")[0] == 204
    assert client("PATCH", f"{HERE}/issues/comments/{comment['id']}", {"body": "x"})[0] == 404
    assert client.world.violations == []


def test_lists_come_in_pages(client: Client) -> None:
    for number in range(5):
        client("POST", f"{HERE}/issues/7/comments", {"body": str(number)})
    _, first, headers = client("GET", f"{HERE}/issues/7/comments?per_page=2")
    assert [each["body"] for each in first] == ["0", "1"]
    assert 'page=2>; rel="next"' in headers["Link"]
    _, last, headers = client("GET", f"{HERE}/issues/7/comments?per_page=2&page=3")
    assert [each["body"] for each in last] == ["4"]
    assert "next" not in headers["Link"]


def test_what_has_not_changed_costs_nothing(client: Client) -> None:
    _, _, headers = client("GET", f"{HERE}/issues/7/comments")
    left = int(headers["X-RateLimit-Remaining"])
    status, body, _ = client("GET", f"{HERE}/issues/7/comments", If_None_Match=headers["ETag"])
    assert (status, body) == (304, None)
    _, _, headers = client("GET", f"{HERE}/issues/7")
    assert int(headers["X-RateLimit-Remaining"]) == left - 1


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "words"),
    [
        ("POST", "/issues/7/comments", {"body": "x" * 65_537}, 422, "too long"),
        ("POST", "/issues/7/comments", {"body": "😀" * 32_769}, 422, "too long"),
        ("POST", "/issues/7/comments", {"body": " "}, 422, "missing_field"),
        ("POST", "/issues/7/comments", {"text": "x"}, 422, "body"),
        ("POST", "/issues/7/comments", {"body": "x", "extra": 1}, 422, "extra"),
        ("POST", "/issues/99/comments", {"body": "x"}, 404, "Not Found"),
        ("POST", "/issues", {"title": "x" * 257}, 422, "too long"),
        ("GET", "/issues?stat=open", None, 422, "stat"),
        ("GET", "/nothing", None, 404, "Not Found"),
        ("POST", "/check-runs", {"name": "x", "head_sha": "f" * 40}, 422, "No commit found"),
        ("PATCH", "/git/refs/heads/main", {"sha": "f" * 40}, 422, "Object does not exist"),
        ("POST", "/git/refs", {"ref": "main", "sha": "f" * 40}, 422, "not a valid ref"),
    ],
)
def test_refusals(client: Client, method: str, path: str, body: Any, status: int, words: str) -> None:
    answer = client(method, f"{HERE}{path}", body)
    assert answer[0] == status
    assert words in json.dumps(answer[1])


def test_who_may_do_what(client: Client) -> None:
    assert client("GET", "/user", token="person")[1]["login"] == "dev"
    assert client("GET", "/user")[0] == 403
    assert client("GET", "/user", token="wrong")[0] == 401
    assert client("POST", f"{HERE}/issues/7/comments", {"body": "x"}, token=None)[0] == 401
    assert client("POST", f"{HERE}/issues/7/comments", {"body": "x"}, token="fork")[0] == 403
    assert client("GET", f"{HERE}/pulls/7", token=None)[1]["head"]["repo"]["full_name"] == "org/kpt"
    roles = {
        who: client("GET", f"{HERE}/collaborators/{who}/permission")[1]["permission"]
        for who in ("dev", "admin", "helper", "stranger")
    }
    assert roles == {"dev": "write", "admin": "admin", "helper": "read", "stranger": "read"}


def test_the_rate_limit(client: Client) -> None:
    token = client.world.token("poor", contents="read")
    token.limit = 2
    assert [client("GET", HERE, token="poor")[0] for _ in range(3)] == [200, 200, 403]
    _, body, headers = client("GET", HERE, token="poor")
    assert body["message"].startswith("API rate limit exceeded")
    assert headers["X-RateLimit-Remaining"] == "0"
    token.resets_at = 0
    assert client("GET", HERE, token="poor")[0] == 200


def test_faults_happen_once_each(client: Client) -> None:
    client.world.fail(f"GET {HERE}", secondary(3))
    status, _, headers = client("GET", HERE)
    assert (status, headers["Retry-After"]) == (403, "3")
    client.world.fail(f"POST {HERE}/issues/7/comments", kind="lost")
    with pytest.raises(OSError, match=r"(?i)reset|closed|aborted"):
        client("POST", f"{HERE}/issues/7/comments", {"body": "done, and not told"})
    assert [each["body"] for each in client("GET", f"{HERE}/issues/7/comments")[1]] == ["done, and not told"]


def test_checks_take_fifty_annotations_a_request(client: Client) -> None:
    head = client("GET", f"{HERE}/git/ref/heads/main")[1]["object"]["sha"]
    made = client("POST", f"{HERE}/check-runs", {"name": "ci", "head_sha": head, "status": "in_progress"})[1]
    note = {"path": "a.py", "start_line": 1, "end_line": 1, "annotation_level": "failure", "message": "m"}
    output = {"title": "t", "summary": "s", "annotations": [note] * 50}
    path = f"{HERE}/check-runs/{made['id']}"
    assert client("PATCH", path, {"conclusion": "failure", "output": output})[1]["conclusion"] == "failure"
    assert client("PATCH", path, {"output": {**output, "annotations": [note] * 51}})[0] == 422
    assert client("GET", path)[1]["output"]["annotations_count"] == 50
    listed = client("GET", f"{HERE}/commits/{head}/check-runs?check_name=ci")[1]
    assert listed["total_count"] == 1
    assert client("POST", f"{HERE}/check-runs", {"name": "x", "head_sha": head}, token="person")[0] == 403


def test_objects_have_the_names_that_git_gives_them(client: Client, tmp_path: Any) -> None:
    text = "one line\n"
    blob = client(
        "POST",
        f"{HERE}/git/blobs",
        {"content": base64.b64encode(text.encode()).decode(), "encoding": "base64"},
    )
    (tmp_path / "f").write_text(text)
    ours = subprocess.run(
        ["git", "hash-object", tmp_path / "f"], capture_output=True, text=True, check=True
    ).stdout
    assert blob[1]["sha"] == ours.strip()
    read = client("GET", f"{HERE}/git/blobs/{blob[1]['sha']}")[1]
    assert base64.b64decode(read["content"]) == text.encode()


def test_a_branch_only_goes_forward(client: Client) -> None:
    base = client("GET", f"{HERE}/git/ref/heads/main")[1]["object"]["sha"]
    tree = client("GET", f"{HERE}/git/commits/{base}")[1]["tree"]["sha"]

    def commit(name: str, parent: str) -> str:
        entry = {"path": f"daily/{name}.json", "mode": "100644", "type": "blob", "content": "{}"}
        made = client("POST", f"{HERE}/git/trees", {"base_tree": tree, "tree": [entry]})[1]["sha"]
        body = {"message": name, "tree": made, "parents": [parent]}
        return str(client("POST", f"{HERE}/git/commits", body)[1]["sha"])

    first, second = commit("a", base), commit("b", base)
    assert client("POST", f"{HERE}/git/refs", {"ref": "refs/heads/history", "sha": first})[0] == 201
    assert client("POST", f"{HERE}/git/refs", {"ref": "refs/heads/history", "sha": first})[0] == 422
    moved = client("PATCH", f"{HERE}/git/refs/heads/history", {"sha": second})
    assert (moved[0], moved[1]["message"]) == (422, "Update is not a fast forward")
    third = commit("c", first)
    assert client("PATCH", f"{HERE}/git/refs/heads/history", {"sha": third})[0] == 200
    listed = client("GET", f"{HERE}/git/trees/{third}?recursive=1")[1]["tree"]
    assert [each["path"] for each in listed if each["type"] == "blob"] == ["README.md", "daily/c.json"]
    compared = client("GET", f"{HERE}/compare/main...history")[1]
    assert [each["commit"]["message"] for each in compared["commits"]] == ["a", "c"]


def test_what_rest_has_not(client: Client) -> None:
    assert client("POST", "/graphql", {"query": "query { viewer { login } }"})[1] == {
        "data": {
            "viewer": {**client("POST", "/graphql", {"query": "{ viewer { login } }"})[1]["data"]["viewer"]}
        }
    }
    _, comment, _ = client("POST", f"{HERE}/issues/7/comments", {"body": "old"})
    query = "mutation($id: ID!, $classifier: ReportedContentClassifiers!) { minimizeComment(input: {subjectId: $id}) }"
    client(
        "POST",
        "/graphql",
        {"query": query, "variables": {"id": comment["node_id"], "classifier": "OUTDATED"}},
    )
    assert client.world.repositories["org/kpt"].comments[comment["id"]].hidden == "OUTDATED"
