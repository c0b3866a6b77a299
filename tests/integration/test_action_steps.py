"""The steps of the actions, run as GitHub's runner runs them: what they set, what they write, and what they leave alone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.projects import Project, make_project
from tests.runner_harness import Finished, Runner, prepared_environment

UNIT = '[suites.unit]\ntests = ["tests"]\nwhen.events = ["push"]\n'
ON_TPU = """\
[suites.big]
tests = ["tests"]
machine = "tpu"
when.events = ["push"]
[machines.tpu]
provider = "gcp-tpu"
type = "v6e-1"
zones = ["us-central1-b"]
"""
ONE_FAILS = """\
import os
import pytest

def test_passes(): pass

def test_fails():
    assert 1 == 2, "one is not two"

@pytest.mark.skip(reason="not here")
def test_skipped(): pass

def test_is_told_nothing_of_the_action():
    names = ("INPUT_", "CI_RUNNER_VENV", "CI_RUNNER_EXTRAS", "GITHUB_OUTPUT", "GITHUB_TOKEN")
    assert [name for name in os.environ if name.startswith(names)] == []
"""


def job(folder: Path, project: Project, **environ: str) -> Runner:
    """A job on a runner that has just checked the project out."""
    temp = folder / "runner-temp"
    temp.mkdir()
    commit = project.git("rev-parse", "HEAD").strip()
    event = folder / "event.json"
    event.write_text(
        json.dumps(
            {
                "ref": "refs/heads/main",
                "before": "0" * 40,
                "after": commit,
                "repository": {"full_name": "o/r"},
            }
        )
    )
    return Runner(
        folder=folder,
        workspace=project.root,
        environ=project.environ(
            CI="true",
            GITHUB_ACTIONS="true",
            GITHUB_WORKSPACE=str(project.root),
            GITHUB_REPOSITORY="o/r",
            GITHUB_SHA=commit,
            GITHUB_REF="refs/heads/main",
            GITHUB_REF_NAME="main",
            GITHUB_EVENT_NAME="push",
            GITHUB_EVENT_PATH=str(event),
            GITHUB_RUN_ID="4711",
            GITHUB_RUN_ATTEMPT="1",
            GITHUB_JOB="tests",
            GITHUB_ACTOR="ada",
            RUNNER_NAME="runner 1",
            RUNNER_TEMP=str(temp),
            CI_RUNNER_VENV=str(prepared_environment(folder)),
            **environ,
        ),
    )


@pytest.fixture
def scratch(tmp_path: Path) -> Runner:
    """A job in a repository with one failing test."""
    return job(tmp_path, make_project(tmp_path, {"tests/test_a.py": ONE_FAILS}, configuration=UNIT))


def numbers(done: Finished) -> list[str]:
    names = ("tests", "passed", "failed", "errored", "skipped", "flaky", "missing")
    return [done.outputs[name] for name in names]


def test_one_failing_test_is_red_and_every_output_says_so(scratch: Runner) -> None:
    done = scratch.uses("test")
    assert [(step.id, step.code) for step in done.steps] == [("run", 0), ("report", 1)], done.log
    assert done.outputs["conclusion"] == "failed"
    assert numbers(done) == ["4", "2", "1", "0", "1", "0", "0"]
    assert float(done.outputs["duration-seconds"]) > 0
    assert (done.outputs["cost-usd"], done.outputs["lease-id"], done.outputs["comment-url"]) == ("0", "", "")
    told = json.loads(Path(done.outputs["report-json"]).read_text())
    assert (told["verdict"], told["failed"]) == ("failed", 1)
    summary = Path(done.outputs["summary-file"]).read_text()
    assert summary.startswith("### ❌ 1 failed")
    assert [step.summary for step in done.steps] == ["", summary]
    assert [name for name, _ in done.commands] == ["error"]
    assert (Path(done.outputs["results-folder"]) / "junit.xml").is_file()
