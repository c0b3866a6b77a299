"""A plan that remembers: shards by measured duration, run part by part from a saved plan; flags that history turned off."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from ci_runner.history.overrides import OFF, put_override
from ci_runner.history.store import FolderStore
from ci_runner.model import Runner, Selection
from ci_runner.plan.matrix import read_plan
from tests.projects import Project, make_project

SPLIT = '[suites.unit]\ntests = ["tests"]\nshards = 2\n'
# one test takes as long as all others: by count it would have company
TESTS = """\
import threading

def test_long(): threading.Event().wait(0.4)
def test_a(): pass
def test_b(): pass
def test_c(): pass
"""
FLAG = '[suites.unit]\ntests = ["tests"]\nrisk = "low"\n[flags.python-runner]\npercentage = 100\n'


def ran(project: Project) -> list[str]:
    lines = (project.last_run() / "cases.jsonl").read_text().splitlines()
    return sorted(json.loads(line)["id"].rpartition("::")[2] for line in lines)


def test_the_parts_of_a_saved_plan_run_each_test_once(tmp_path: Path) -> None:
    project = make_project(tmp_path, {"tests/test_a.py": TESTS}, configuration=SPLIT)
    assert project.ci("run", "unit").code == 0
    assert ran(project) == ["test_a", "test_b", "test_c", "test_long"]
    planned = project.ci("plan", "unit", "--format", "json", "--save-plan", "plan.json")
    assert planned.code == 0, planned
    ids = [entry["ids"] for entry in planned.json["matrix"]["include"]]
    assert ids == ["unit-1of2", "unit-2of2"]
    shards = [item["shard"] for item in json.loads((project.root / "plan.json").read_text())["selected"]]
    assert ["test_long"] in [[test.rpartition("::")[2] for test in shard["tests"]] for shard in shards]
    # a test that came after the plan was made belongs to one part all the same
    (project.root / "tests" / "test_new.py").write_text("def test_new(): pass\n")
    parts = []
    for part in ids:
        ended = project.ci("run", "--plan", "plan.json", "--id", part)
        assert ended.code == 0, ended
        parts.append(ran(project))
    assert ["test_long"] in parts or ["test_long", "test_new"] in parts
    assert sorted(parts[0] + parts[1]) == ["test_a", "test_b", "test_c", "test_long", "test_new"]


def test_a_saved_plan_is_not_decided_again(tmp_path: Path) -> None:
    project = make_project(tmp_path, {"tests/test_a.py": TESTS}, configuration=SPLIT)
    assert project.ci("plan", "unit", "--save-plan", "plan.json").code == 0
    for words, said in (
        (("unit",), "SUITE decides it again"),
        (("--all",), "--all decides it again"),
        (("--shard", "1/2"), "--shard decides it again"),
    ):
        ended = project.ci("run", "--plan", "plan.json", *words)
        assert ended.code == 2, ended
        assert said in ended.err
    assert "--plan FILE" in project.ci("run", "--id", "unit").err
    assert "no selection" in project.ci("run", "--plan", "plan.json", "--id", "nope").err
    assert "cannot read the plan" in project.ci("run", "--plan", "none.json").err
    saved = json.loads((project.root / "plan.json").read_text())
    saved["selected"][0]["suite"]["machine"] = "elsewhere"
    (project.root / "plan.json").write_text(json.dumps(saved))
    assert 'machine "elsewhere"' in project.ci("run", "--plan", "plan.json").err


@pytest.mark.parametrize("saved", [False, True])
def test_what_runs_a_test_again_names_the_configuration_that_was_named(saved: bool, tmp_path: Path) -> None:
    project = make_project(tmp_path, {"tests/test_a.py": "def test_bad(): assert False\n"}, configuration="")
    (project.root / "other.toml").write_text('[suites.unit]\ntests = ["tests"]\n')
    words = ["unit", "--config", "other.toml"]
    if saved:
        assert project.ci("plan", *words, "--save-plan", "plan.json").code == 0
        words = ["--plan", "plan.json", *words[1:]]
    ended = project.ci("run", *words)
    assert ended.code == 1, ended
    (again,) = [line for line in ended.out.splitlines() if "again: " in line]
    command = again.partition("again: ci-runner ")[2]
    assert command == "run unit --config other.toml --only tests/test_a.py::test_bad"
    assert project.ci(*command.split()).code == 1


@pytest.mark.parametrize("command", ["plan", "run"])
def test_a_flag_that_history_turned_off_is_off(command: str, tmp_path: Path) -> None:
    project = make_project(tmp_path, {"tests/test_a.py": "def test_a(): pass\n"}, configuration=FLAG)
    store = FolderStore(project.root / ".ci-runner" / "results")
    put_override(store, "python-runner", OFF, reason="breach", by="kpi", now=datetime.now(UTC))
    if command == "plan":
        ended = project.ci("plan", "unit", "--format", "json")
        assert [entry["runner"] for entry in ended.json["matrix"]["include"]] == ["shell"], ended
        return
    assert project.ci("run", "unit").code == 0
    assert project.load("record.json")["runner"] == "shell"


def test_an_unreachable_history_is_said_and_the_configuration_decides(tmp_path: Path) -> None:
    configuration = FLAG.replace("risk", "shards = 2\nrisk") + '[stores]\nhistory = "results"\n'
    project = make_project(tmp_path, {"tests/test_a.py": TESTS}, configuration=configuration)
    (project.root / "results").mkdir()
    for name in ("flags", "daily"):
        (project.root / "results" / name).write_text("no folder\n")
    ended = project.ci("plan", "unit", "--explain")
    assert ended.code == 0, ended
    assert (
        "flag overrides could not be read (Not a directory): the committed configuration decides" in ended.out
    )
    assert "history could not be read (Not a directory): suites are split by count of tests" in ended.out
    assert [item.runner and item.runner.variant for item in planned(project)] == [
        Runner.PYTHON,
        Runner.PYTHON,
    ]


def planned(project: Project) -> tuple[Selection, ...]:
    assert project.ci("plan", "unit", "--save-plan", "plan.json").code == 0
    return read_plan((project.root / "plan.json").read_text(), "plan.json").selected
