"""`ci-runner run` in a job with a key that lasts: it runs, and says so once, where GitHub reads it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.projects import make_project

UNIT = '[suites.unit]\ntests = ["tests"]\n'


def test_a_run_with_a_stored_key_works_and_draws_a_warning(tmp_path: Path) -> None:
    project = make_project(
        tmp_path, {"tests/test_a.py": "def test_a():\n    assert True\n"}, configuration=UNIT
    )
    key: dict[str, Any] = {"AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE", "AWS_SECRET_ACCESS_KEY": "x"}
    ended = project.ci("run", "--format", "json", GITHUB_ACTIONS="true", **key)
    assert ended.code == 0, ended
    assert ended.json["verdict"] == "passed"
    assert ended.err.count("::warning title=stored key::AWS_ACCESS_KEY_ID is the key of a user") == 1
    assert "stored key" not in project.ci("run", "--dry-run", GITHUB_ACTIONS="true", **key).err
