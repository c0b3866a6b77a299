"""The run folder keeps what was there before, and never shows half a file."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ci_runner import codec
from ci_runner.errors import UsageError
from ci_runner.execution.folder import RunFolder, default_folder, new_run_id, safe_name, write_atomically
from ci_runner.model import Attempt, Event, Plan, Runner


def test_run_ids_sort_by_time_and_differ_within_a_second() -> None:
    early, late = new_run_id(1_800_000_000.0), new_run_id(1_800_000_001.0)
    assert early < late
    assert re.fullmatch(r"\d{8}-\d{6}-[0-9a-f]{4}", early)
    assert len({new_run_id(0.0) for _ in range(50)}) > 1


def test_a_home_that_cannot_be_made_is_told_with_the_way_out(tmp_path: Path) -> None:
    (tmp_path / ".ci-runner").write_text("in the way")
    with pytest.raises(UsageError, match="cannot make the run folder") as caught:
        default_folder(tmp_path, "x")
    assert caught.value.where == str(tmp_path / ".ci-runner")
    assert "--out" in str(caught.value.fix)


def test_the_default_folder_hides_itself_from_git(tmp_path: Path) -> None:
    folder = default_folder(tmp_path, "x")
    assert folder == tmp_path / ".ci-runner" / "runs" / "x"
    assert (tmp_path / ".ci-runner" / ".gitignore").read_text() == "*\n"


def test_a_folder_that_holds_another_run_is_refused(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "out")
    folder.create()
    folder.create()
    folder.write_plan(Plan(event=Event(kind="local")))
    with pytest.raises(UsageError, match="holds another run"):
        folder.create()


def test_a_folder_that_cannot_be_made_is_a_usage_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="cannot make the run folder"):
        RunFolder(tmp_path / "file" / "out").create()


def test_plan_and_attempt_read_back_as_they_were_written(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.create()
    plan = Plan(event=Event(kind="push", labels=("a\nb",)))
    folder.write_plan(plan)
    assert codec.build(Plan, json.loads((tmp_path / "plan.json").read_text())) == plan
    folder.attempt("unit.1")
    attempt = Attempt(
        id="unit.1",
        selection="unit",
        suite="unit",
        number=1,
        runner=Runner.PYTHON,
        lease_id="l",
        folder="attempts/unit.1",
        log="logs/unit.1.log",
    )
    folder.write_attempt(attempt)
    data = json.loads((tmp_path / "attempts/unit.1/attempt.json").read_text())
    assert codec.build(Attempt, data) == attempt
    assert attempt.duration_seconds == 0.0


def test_a_write_that_fails_leaves_the_old_file_and_no_rest(tmp_path: Path) -> None:
    target = tmp_path / "a"
    write_atomically(target, b"old")
    target_folder = tmp_path / "folder"
    target_folder.mkdir()
    with pytest.raises(OSError, match=r"folder|directory"):
        write_atomically(target_folder, b"new")
    assert target.read_bytes() == b"old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "folder"]


@given(st.text())
def test_a_safe_name_is_a_plain_file_name(text: str) -> None:
    assert re.fullmatch(r"[A-Za-z0-9._-]{1,80}", safe_name(text))
    assert not safe_name(text).startswith(".")
