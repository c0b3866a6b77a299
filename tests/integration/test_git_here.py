"""What changed, according to a real git in a real repository."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from ci_runner.github.local import git_at, local_event
from tests.job_kit import git, make_repository
from tests.projects import make_project

pytestmark = pytest.mark.needs("git")


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """One commit on main and a branch that left it; no configuration of the person who runs the tests."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    root = tmp_path / "repo"
    make_repository(
        root, {"kept.py": "1\n", "moved.py": "long enough to be known again\n" * 9, "sub/a.py": "a"}
    )
    git(root, "switch", "--quiet", "--create", "topic")
    return root


def changed(root: Path) -> list[tuple[str, str]]:
    event = local_event(root)
    assert event.changed_files is not None, event.changed_files_note
    return [(file.path, file.kind.value) for file in event.changed_files]


def test_commits_changes_and_new_files_all_count(repository: Path) -> None:
    git(repository, "mv", "moved.py", "there.py")
    git(repository, "commit", "--quiet", "--message", "move")
    (repository / "kept.py").write_text("2\n")
    (repository / "new\nline $(touch x) ü.py").write_text("")
    (repository / ".gitignore").write_text("*.tmp\n")
    (repository / "left.tmp").write_text("")
    assert changed(repository) == [
        (".gitignore", "added"),
        ("kept.py", "modified"),
        ("new\nline $(touch x) ü.py", "added"),
        ("there.py", "renamed"),
    ]


def test_from_a_folder_inside_only_what_is_below_it_counts_and_is_named_from_there(repository: Path) -> None:
    (repository / "kept.py").write_text("2\n")
    (repository / "sub" / "a.py").write_text("b")
    (repository / "sub" / "b.py").write_text("b")
    assert changed(repository / "sub") == [("a.py", "modified"), ("b.py", "added")]


def test_in_a_hook_of_git_the_repository_is_still_the_one_of_the_folder(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "other"
    make_repository(other, {"b.txt": "1"})
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))
    monkeypatch.setenv("GIT_INDEX_FILE", str(other / ".git" / "index"))
    (repository / "sub" / "a.py").write_text("b")
    assert changed(repository / "sub") == [("a.py", "modified")]


def test_without_git_what_changed_is_unknown(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", os.devnull)
    assert git_at(repository)(["status"]) is None
    event = local_event(repository)
    assert event.changed_files is None
    assert "git cannot read it" in str(event.changed_files_note)


def test_outside_of_a_repository_what_changed_is_unknown(tmp_path: Path) -> None:
    event = local_event(tmp_path)
    assert (event.commit, event.changed_files) == (None, None)


def test_run_and_plan_decide_the_same_for_a_payload_that_lists_no_files(tmp_path: Path) -> None:
    configuration = (
        '[suites.docs]\ntests = ["tests"]\nwhen = { events = ["pull_request"], paths = ["docs/**"] }\n'
        '[suites.code]\ntests = ["tests"]\nwhen = { events = ["pull_request"], paths = ["src/**"] }\n'
    )
    project = make_project(tmp_path, {"tests/test_a.py": "def test_a(): pass\n"}, configuration=configuration)
    base = project.git("rev-parse", "HEAD").strip()
    project.write({"docs/a.md": "hello\n"})
    head = project.commit()
    side = {"repo": {"full_name": "octo/kpt", "fork": False}}
    payload = {
        "action": "opened",
        "number": 1,
        "pull_request": {
            "number": 1,
            "head": {"sha": head, "ref": "topic", **side},
            "base": {"sha": base, "ref": "main", **side},
            "labels": [],
            "draft": False,
            "user": {"login": "x"},
        },
        "repository": {"full_name": "octo/kpt", "default_branch": "main"},
        "sender": {"login": "x"},
    }
    event = tmp_path / "event.json"
    event.write_text(json.dumps(payload))
    github = {
        "CI": "true",
        "GITHUB_ACTIONS": "true",
        "GITHUB_EVENT_PATH": str(event),
        "GITHUB_EVENT_NAME": "pull_request",
    }
    planned = project.ci("plan", "--format", "json", cwd=None, **github)
    would_run = project.ci("run", "--dry-run", "--format", "json", cwd=None, **github)
    assert (planned.code, would_run.code) == (0, 0), f"{planned}\n{would_run}"
    assert [item["suite"]["name"] for item in would_run.json["selected"]] == ["docs"]
    assert '"docs"' in planned.out
    assert [item["suite"] for item in would_run.json["skipped"]] == ["code"]
