"""A test that takes three times as long in run after run: the report says so, since when, and says nothing before that."""

from __future__ import annotations

import json
from pathlib import Path

from tests.projects import Project, make_project

UNIT = '[suites.unit]\ntests = ["tests"]\n[stores]\nhistory = "records"\n'
TIMED = """\
import time

def test_slow():
    time.sleep({})

def test_steady():
    time.sleep(0.2)
"""
FAST, SLOW = TIMED.format(0.3), TIMED.format(0.9)


def run(project: Project) -> None:
    ended = project.ci("run", "unit", "--clean")
    assert ended.code == 0, ended


def told(project: Project, tmp_path: Path) -> tuple[list[str], str, str]:
    """The slow-downs, what is printed, and the step's summary."""
    summary = tmp_path / "summary.md"
    summary.unlink(missing_ok=True)
    results = ("report", "--results", str(project.last_run()), "--publish", "summary")
    ended = project.ci(*results, "--format", "json", GITHUB_STEP_SUMMARY=str(summary))
    assert ended.code == 0, ended
    return list(json.loads(ended.out)["slower"]), ended.err, summary.read_text("utf-8")


def test_a_slow_down_is_told_when_three_runs_have_it(tmp_path: Path) -> None:
    project = make_project(tmp_path, {"tests/test_a.py": FAST}, configuration=UNIT)
    (project.root / ".gitignore").write_text("records\n.ci-runner\n", encoding="utf-8")
    project.commit()
    for _ in range(5):
        run(project)
    project.write({"tests/test_a.py": SLOW})
    guilty = project.commit("Take longer")
    run(project)
    run(project)
    assert told(project, tmp_path)[0] == []  # two runs may be two busy machines
    run(project)
    lines, printed, summary = told(project, tmp_path)
    assert len(lines) == 1, lines
    assert "tests/test_a.py::test_slow takes " in lines[0]
    assert f"times as long since {guilty[:12]}: " in lines[0]
    assert "the last 3 runs against 5 before them" in lines[0]
    assert f"SLOWER {lines[0]}" in printed
    assert "**Slower** unit · `tests/test_a.py::test_slow`" in summary
