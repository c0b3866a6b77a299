"""The history on a branch: one commit a run, races, lost answers, packs; and runs compared through it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ci_runner.errors import AuthenticationError, ConfigurationError
from ci_runner.github import client as github_client
from ci_runner.history.branch import BranchStore, packed, unpacked
from ci_runner.history.store import Conflict
from tests.emulators.github.refusal import Refusal
from tests.github_kit import Hub, emulated_github, nightly_event, pull_request_event
from tests.projects import Project, make_project

REF = "heads/ci-runner-history"
GIT = "/repos/org/kpt/git"
UNIT = '[suites.unit]\ntests = ["tests"]\n'
GREEN = "def test_a():\n    assert True\n\ndef test_b():\n    assert True\n"
RED = "def test_a():\n    assert True\n\ndef test_b():\n    assert 1 == 2\n"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    monkeypatch.setattr(github_client, "WRITE_SECONDS", None)
    with emulated_github() as found:
        yield found


def store(hub: Hub, **values: int) -> BranchStore:
    return BranchStore(hub.client(), "ci-runner-history", pause=lambda _: None, **values)


def commits(hub: Hub) -> list[str]:
    objects = hub.repository.objects
    return [objects.commits[sha].message for sha in objects.ancestors(objects.refs[REF])]


def put_together(into: BranchStore, objects: dict[str, bytes]) -> None:
    with into.together("Never"):
        for name, data in objects.items():
            into.put_new(name, data)


def key(number: int, kind: str = "daily/2026-11-23") -> str:
    return f"{kind}/local-unit-abc-20261123-{number:06}-0a0b.json"


def test_a_run_is_one_commit_and_the_branch_begins_with_a_word_to_its_readers(hub: Hub) -> None:
    mine = store(hub)
    with mine.together("Remember run 1"):
        for number in range(3):
            mine.put_new(key(number), b"{}")
        mine.put_new("cases/x.jsonl.gz", b"\x1f\x8b\xff")
    assert commits(hub) == ["Remember run 1"]
    files = hub.repository.objects.files(REF)
    assert set(files) == {"README.md", "cases/x.jsonl.gz", *(key(number) for number in range(3))}
    assert files["cases/x.jsonl.gz"] == b"\x1f\x8b\xff"
    assert "heads/main" in hub.repository.objects.refs
    with pytest.raises(Conflict):
        put_together(mine, {key(9): b"new", key(0): b"other"})
    assert not store(hub).exists(key(9))


def test_jobs_that_write_at_once_all_arrive(hub: Hub) -> None:
    """Nobody's commit is lost, and none is forced: each builds on the one before."""
    ready = Barrier(8)

    def write(number: int) -> None:
        mine = BranchStore(hub.client(), "ci-runner-history")
        mine.exists("x")
        ready.wait(60)
        with mine.together(f"Remember {number}"):
            mine.put_new(key(number), str(number).encode())

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, range(8)))
    assert sorted(commits(hub)) == [f"Remember {number}" for number in range(8)]
    assert [store(hub).get(key(number)) for number in range(8)] == [
        str(number).encode() for number in range(8)
    ]


@pytest.mark.parametrize("step", ["POST {}/trees", "POST {}/commits", "PATCH {}/refs", "POST {}/refs"])
@pytest.mark.parametrize("kind", ["lost", "reset"])
def test_a_lost_answer_is_neither_a_lost_record_nor_two(hub: Hub, step: str, kind: str) -> None:
    if step.startswith("PATCH"):
        store(hub).put_new(key(0), b"first")
    hub.world.fail(step.format(GIT), kind=kind)
    store(hub).put_new(key(1), b"mine")
    assert store(hub).get(key(1)) == b"mine"
    assert len(commits(hub)) == (2 if step.startswith("PATCH") else 1)


def test_somebody_elses_object_of_the_same_name_is_a_conflict(hub: Hub) -> None:
    store(hub).put_new(key(0), b"begin")
    mine = store(hub)
    hub.world.fail(f"PATCH {GIT}/refs", meanwhile=lambda: store(hub).put_new(key(1), b"theirs"))
    with pytest.raises(Conflict):
        mine.put_new(key(1), b"mine")
    assert store(hub).get(key(1)) == b"theirs"


def test_many_objects_become_packs_and_are_read_as_before(hub: Hub) -> None:
    limits = {"pack_over": 10, "pack_size": 6}
    expected = {key(number): f"record {number}".encode() for number in range(30)}
    for name, data in expected.items():
        store(hub, **limits).put_new(name, data)
    files = hub.repository.objects.files(REF)
    assert len([name for name in files if name.startswith("daily/")]) <= 11
    assert [name for name in files if name.startswith("packs/")]
    assert key(29) in files  # the oldest were packed, not the newest
    read = store(hub)
    assert list(read.list("daily/")) == sorted(expected)
    assert {name: read.get(name) for name in expected} == expected
    with pytest.raises(Conflict):
        read.put_new(key(0), b"other")


def test_a_tree_that_is_cut_off_is_read_by_folders(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.emulators.github import git_acts

    for number in range(4):
        store(hub).put_new(key(number, f"daily/2026-11-2{number}"), b"{}")
    whole = git_acts._tree_of

    def cut(request: object, sha: str, *, deep: bool) -> dict[str, object]:
        found = whole(request, sha, deep=deep)  # type: ignore[arg-type]
        many = deep and len(found["tree"]) > 3
        return {**found, "truncated": many, "tree": found["tree"][:2] if many else found["tree"]}

    monkeypatch.setattr(git_acts, "_tree_of", cut)
    assert len(list(store(hub).list("daily/"))) == 4


@given(
    objects=st.dictionaries(
        st.from_regex(r"[a-z]{1,5}(/[a-z0-9.]{1,5}x)?", fullmatch=True), st.binary(max_size=60)
    )
)
def test_a_pack_gives_back_what_went_in(objects: dict[str, bytes]) -> None:
    assert unpacked(packed(objects), "p") == objects


@pytest.mark.parametrize("data", [b"", b"no gzip", packed({"a": b"b"})[:-9], packed({"../x": b""})])
def test_a_damaged_pack_is_an_error_and_not_an_empty_one(data: bytes) -> None:
    with pytest.raises(OSError, match="cannot be read"):
        unpacked(data, "p")


@pytest.mark.parametrize("name", ["", "-x", "a..b", "a//b", "x.lock", "a b", "ä", "x" * 200])
def test_a_name_that_no_branch_can_have_is_refused(hub: Hub, name: str) -> None:
    with pytest.raises(ConfigurationError, match="no branch"):
        BranchStore(hub.client(), name)


def test_a_token_that_may_not_write_says_which_permission_it_lacks(hub: Hub) -> None:
    hub.world.fail(f"POST {GIT}/trees", Refusal(403, "Resource not accessible by integration"))
    with pytest.raises(AuthenticationError) as caught:
        store(hub).put_new(key(1), b"x")
    assert "contents: write" in (caught.value.fix or "")


def test_a_pull_request_is_compared_with_the_run_that_the_branch_remembers(hub: Hub, tmp_path: Path) -> None:
    """Nothing is configured: the job has a token, and that is enough."""
    project = make_project(tmp_path, {"tests/test_a.py": GREEN}, configuration=UNIT)
    hub.repository.objects.refs["heads/main"] = project_head(project, hub)
    kept = told(project, hub, nightly_event(tmp_path, hub.main))
    assert "history: 1 kept in branch://ci-runner-history" in kept["lines"]
    first = hub.main
    project.git("checkout", "-q", "-b", "topic")
    project.write({"tests/test_a.py": RED})
    head = project.commit()
    hub.repository.issues[7].pull.head = head  # type: ignore[union-attr]
    compared = told(project, hub, pull_request_event(tmp_path, head, base=first))
    assert compared["comparison"]["bases"]["unit"]["commit"] == first
    assert [each["test"] for each in compared["comparison"]["new"]] == ["tests/test_a.py::test_b"]
    files = hub.repository.objects.files(REF)
    assert len([name for name in files if name.startswith("daily/")]) == 1
    assert len([name for name in files if name.startswith("pr/pr-7/")]) == 1
    assert len(commits(hub)) == 2


def test_a_plan_in_a_job_splits_by_the_durations_where_a_report_keeps_them(hub: Hub, tmp_path: Path) -> None:
    project = make_project(tmp_path, {"tests/test_a.py": GREEN}, configuration=UNIT + "shards = 2\n")
    event = nightly_event(tmp_path, project_head(project, hub))
    assert "history: 2 kept" in str(told(project, hub, event)["lines"])
    environ = {**hub.environ, **event, "GITHUB_ACTIONS": "true", "GITHUB_RUN_ID": "1"}

    def plan(**more: str) -> tuple[list[Any], str]:
        ended = project.ci("plan", "unit", "--save-plan", "plan.json", cwd=None, **{**environ, **more})
        assert ended.code == 0, ended
        selected = json.loads((project.root / "plan.json").read_text("utf-8"))["selected"]
        return [item["shard"]["tests"] for item in selected], ended.out

    before = len(hub.calls())
    tests, said = plan()
    assert sorted(test for part in tests for test in part) == [
        "tests/test_a.py::test_a",
        "tests/test_a.py::test_b",
    ]
    assert "could not be read" not in said
    calls = hub.calls()[before:]
    assert {call.partition(" ")[0] for call in calls if call != "POST /graphql"} == {"GET"}
    assert calls.count("POST /graphql") == 1  # what the branch says of flags
    hub.world.fail(f"GET {GIT}/ref", Refusal(403, "Resource not accessible by integration"), times=9)
    tests, said = plan()
    assert tests == [None, None]
    assert "the history could not be read (" in said
    before = len(hub.calls())
    plan(GITHUB_TOKEN="")
    assert len(hub.calls()) == before


def project_head(project: Project, hub: Hub) -> str:
    """The project's commit, known to GitHub."""
    head = project.git("rev-parse", "HEAD").strip()
    hub.repository.objects.commits[head] = hub.repository.objects.commits[hub.main]
    return head


def told(project: Project, hub: Hub, event: object) -> dict[str, Any]:
    """A run and its report in a job of this event."""
    assert isinstance(event, dict)
    project.ci("run", "unit", cwd=None, **event, GITHUB_REPOSITORY="org/kpt")
    environ = {**hub.environ, **event, "GITHUB_ACTIONS": "true", "GITHUB_RUN_ID": "1"}
    words = ("--results", str(project.last_run()), "--publish", "history", "--format", "json")
    ended = project.ci("report", *words, cwd=None, **environ)
    assert ended.code in (0, 1), ended
    return {**json.loads(ended.out), "lines": ended.err}


def test_a_branch_of_ours_and_a_fork_write_no_baseline(hub: Hub, tmp_path: Path) -> None:
    project = make_project(tmp_path, {"tests/test_a.py": GREEN}, configuration=UNIT)
    on_branch = {**nightly_event(tmp_path, "e" * 40), "GITHUB_REF": "refs/heads/topic"}
    assert "history: not kept" in str(told(project, hub, on_branch)["lines"])
    assert REF not in hub.repository.objects.refs
