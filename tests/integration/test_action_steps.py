"""The steps of the actions, run as GitHub's runner runs them: what they set, what they write, and what they leave alone."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from ci_runner.cli.action_table import ACTIONS
from tests.projects import make_project
from tests.runner_harness import Finished, Runner, job, push

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


def test_nothing_is_written_into_the_checkout_or_on_path(scratch: Runner) -> None:
    scratch.uses("test")
    scratch.uses("plan")
    assert not (scratch.workspace / ".ci-runner").exists()
    assert not (scratch.workspace / ".venv").exists()
    assert scratch.path == []
    assert sorted(path.name for path in (scratch.temp / "ci-runner").iterdir()) == [
        "history", "leases", "plan.json", "reports", "runs"
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("inputs", "code"),
    [
        ({"suites": "unit", "fail-on": "never"}, 0),
        ({"test-config": "unit", "fail-on": "incomplete"}, 0),
        # with nothing to compare, every failure is new
        ({"test-path": "tests/test_a.py", "fail-on": "new", "github-token": ""}, 1),
    ],
)
def test_fail_on_decides_what_is_red_and_changes_no_output(
    scratch: Runner, inputs: dict[str, str], code: int
) -> None:
    done = scratch.uses("test", inputs)
    assert (done.code, done.outputs["conclusion"], done.outputs["failed"]) == (code, "failed", "1"), done.log
    assert ("is green here" in done.log) is (code == 0)


def test_only_new_failures_are_red_if_that_is_asked_for(tmp_path: Path) -> None:
    project = make_project(tmp_path, {"tests/test_a.py": ONE_FAILS}, configuration=UNIT)
    runner = job(tmp_path, project, CI_RUNNER_STORES__HISTORY=str(tmp_path / "history"))
    only_new = {"fail-on": "new", "suites": "unit", "github-token": ""}
    assert runner.uses("test", only_new).code == 1
    before = runner.environ["GITHUB_SHA"]
    project.write({"README": "changed"})
    project.commit()
    before = push(runner, project, before)
    known = runner.uses("test", only_new)
    assert (known.code, known.outputs["conclusion"]) == (0, "failed"), known.log
    project.write({"tests/test_b.py": "def test_also(): assert False\n"})
    project.commit()
    push(runner, project, before)
    new = runner.uses("test", only_new)
    assert (new.code, new.outputs["failed"]) == (1, "2"), new.log


def test_a_run_that_cannot_begin_is_red_and_says_why_once_more(scratch: Runner) -> None:
    done = scratch.uses("test", {"suites": "unti", "fail-on": "never"})
    assert [(step.id, step.code) for step in done.steps] == [("run", 2), ("report", 9)], done.log
    assert 'did you mean "unit"?' in done.log
    assert done.outputs["conclusion"] == "error"
    assert set(numbers(done)) == {""}


def test_each_action_takes_the_suites_of_its_own_machines(tmp_path: Path) -> None:
    project = make_project(tmp_path, {"tests/test_a.py": "def test_a(): pass\n"}, configuration=UNIT + ON_TPU)
    runner = job(tmp_path, project)
    done = runner.uses("test")
    assert (done.code, done.outputs["tests"]) == (0, "1"), done.log
    assert "left to the jobs of other machines: big (tpu)" in done.log
    named = runner.uses("test", {"suites": "unit, big"})
    assert named.code == 2
    assert 'the suite "big" runs on machine "tpu" of gcp-tpu, not of local' in named.log
    assert "fix: use the action tpu-test" in named.log
    described = runner.uses("benchmark", {"suites": "unit", "machine": "tpu"})
    assert described.step("run").code == 2
    assert 'the machine "tpu" is of gcp-tpu, and the action benchmark uses local' in described.log
    nothing = runner.uses("gpu-test", {"publish": "summary"})
    assert nothing.step("run").code == 2
    assert "fix: give the input instance-type" in nothing.log
    plan = runner.uses("plan", {"suites": "unit"})
    other = runner.uses("tpu-test", {"plan": plan.outputs["plan"], "publish": "summary"})
    assert [step.id for step in other.steps] == ["run", "report", "release"]
    assert (other.step("run").code, other.outputs["conclusion"], other.outputs["tests"]) == (0, "passed", "0")


def test_a_plan_gives_the_matrix_and_its_parts_are_joined_by_the_report(tmp_path: Path) -> None:
    tests = {f"tests/test_{name}.py": f"def test_{name}(): pass\n" for name in "ab"}
    project = make_project(tmp_path, tests, configuration=UNIT + "shards = 2\n")
    runner = job(tmp_path, project)
    plan = runner.uses("plan")
    assert plan.code == 0, plan.log
    matrix = json.loads(plan.outputs["matrix"])["include"]
    assert [entry["id"] for entry in matrix] == ["unit-1of2", "unit-2of2"]
    assert (plan.outputs["any"], plan.outputs["machine"]) == ("true", "[]")
    assert "push" in plan.log
    part = {"plan": plan.outputs["plan"]}
    first = runner.uses("test", {**part, "ids": matrix[0]["ids"]})
    assert (first.code, first.outputs["tests"]) == (0, "1"), first.log
    half = runner.uses("report", {**part, "publish": "summary"})
    assert (half.code, half.outputs["conclusion"], half.outputs["passed"]) == (9, "incomplete", "1"), half.log
    assert "no result of unit-2of2 arrived" in half.log
    assert runner.uses("test", {**part, "ids": matrix[1]["ids"]}).code == 0
    whole = runner.uses(
        "report", {**part, "publish": "summary", "results": str(runner.temp / "ci-runner/runs")}
    )
    assert (whole.code, whole.outputs["conclusion"], whole.outputs["passed"]) == (0, "passed", "2"), whole.log


def test_a_report_reads_foreign_files_by_pattern(scratch: Runner) -> None:
    for name, inner in (("a/one", ""), ("a/b/two", "<failure message='broke'/>"), ("old/three", "<error/>")):
        path = scratch.workspace / "junit" / f"{name}.xml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(JUNIT.format(name=path.stem, inner=inner))
    files = "**/*.xml\n! old/**\n"
    done = scratch.uses(
        "report", {"files": files, "working-directory": "junit", "publish": "summary annotations"}
    )
    assert (done.code, done.outputs["conclusion"]) == (1, "failed"), done.log
    assert numbers(done) == ["2", "1", "1", "0", "0", "0", "0"]
    none = scratch.uses("report", {"files": "**/nothing.xml", "fail-on": "never", "publish": "summary"})
    assert (none.code, none.outputs["conclusion"]) == (2, "error"), none.log
    assert 'no file is meant by "**/nothing.xml"' in none.log
    assert scratch.uses("report", {"publish": "summary"}).code == 9  # no results at all are never green


def test_set_up_lets_later_steps_call_the_command_and_no_other_program(scratch: Runner) -> None:
    done = scratch.uses("setup")
    assert done.code == 0, done.log
    (folder,) = scratch.path
    assert [path.name for path in Path(folder).iterdir()] == ["ci-runner"]
    assert done.outputs["command"] == f"{folder}/ci-runner"
    version = subprocess.run(
        ["ci-runner", "--version"],
        env={**scratch.environ, "PATH": f"{folder}:{scratch.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert version == f"ci-runner {done.outputs['version']}\n"
    scratch.path.clear()
    assert scratch.uses("setup", {"add-to-path": "false"}).code == 0
    assert scratch.path == []


def test_a_benchmark_keeps_its_metrics_in_the_record(tmp_path: Path) -> None:
    measures = "def test_speed(record_property):\n    record_property('metric.items_per_second', 12.5)\n"
    project = make_project(tmp_path, {"tests/test_speed.py": measures}, configuration=UNIT)
    runner = job(tmp_path, project)
    unnamed = runner.uses("benchmark")
    assert unnamed.step("run").code == 2
    done = runner.uses("benchmark", {"suites": "unit"})
    assert (done.code, done.outputs["conclusion"]) == (0, "passed"), done.log
    told = json.loads((Path(done.outputs["results-folder"]) / "results.json").read_text())
    assert told["suites"][0]["metrics"] == {"items_per_second": 12.5}


# -- hostile text

ONE_LINE = (
    "--help'\"`touch {folder}/1`$(touch {folder}/2);touch {folder}/3 ##[set-output name=conclusion;]passed"
)
JUNIT = "<testsuite><testcase classname='c' name='{name}'>{inner}</testcase></testsuite>"
LINES = "\n::set-output name=conclusion::passed\n::add-mask::a\r::error::b\n<<EOF\nconclusion=passed\nEOF"
SHORTEST_LAST = sorted(ACTIONS.values(), key=lambda action: -len(action.steps))
INPUTS = {item.name: action.name for action in SHORTEST_LAST for item in action.inputs}


@pytest.mark.parametrize("name", sorted(INPUTS))
def test_no_input_can_execute_or_set_anything(scratch: Runner, name: str) -> None:
    action = INPUTS[name]
    (item,) = (item for item in ACTIONS[action].inputs if item.name == name)
    marks = scratch.folder / "marks"
    marks.mkdir()
    (scratch.workspace / "junit.xml").write_text(JUNIT.format(name="red", inner="<failure/>"))
    given = {"publish": "summary,annotations", "files": "junit.xml"} if action == "report" else {}
    text = ONE_LINE.format(folder=marks) + ("" if item.kind == "text" else LINES)
    if action in ("tpu-test", "gpu-test"):
        given = {"publish": "summary"}
    done = scratch.uses(action, {**given, name: text})
    assert done.code != 0 or name == "use-python-test-runner", done.log  # which means the shell runner then
    assert list(marks.iterdir()) == [], done.log
    assert {command for command, _ in done.commands} <= {"error", "warning", "notice"}, done.log
    assert "=b" not in [told for _, told in done.commands], done.log
    # where nothing could be installed there is nobody to set an output
    expected = {""} if name == "extras" else {None, "error", "failed", "incomplete"}
    assert done.outputs.get("conclusion") in expected, done.log
    assert "Traceback" not in done.log, done.log


def test_hostile_branches_titles_tests_and_logs_set_nothing(tmp_path: Path) -> None:
    test = (
        "import pytest, sys\n"
        "@pytest.mark.parametrize('x', ['\\n::set-output name=conclusion::passed', '##[set-output name=tests;]9'])\n"
        "def test_x(x):\n"
        "    print('::set-output name=conclusion::passed')\n"
        "    print('::stop-commands::x', file=sys.stderr)\n"
        "    raise AssertionError('\\r::set-output name=failed::0\\n::add-mask::e')\n"
    )
    project = make_project(tmp_path, {"tests/test_a.py": test}, configuration=UNIT)
    branch = "x'$(touch${IFS}PWNED)##[set-output]"
    runner = job(
        tmp_path,
        project,
        GITHUB_REF=f"refs/heads/{branch}",
        GITHUB_REF_NAME=branch,
        GITHUB_ACTOR="a\n::set-output name=conclusion::passed",
        GITHUB_JOB="`touch PWNED`\n::set-output name=conclusion::passed",
    )
    for inputs in ({}, {"live": "true"}):
        done = runner.uses("test", inputs)
        assert (done.code, done.outputs["conclusion"], done.outputs["failed"]) == (1, "failed", "2"), done.log
        assert not (runner.workspace / "PWNED").exists()
        assert {name for name, _ in done.commands} <= {"error", "stop-commands"} | stops(done), done.log
        assert [told for name, told in done.commands if name == "set-output"] == []


def stops(done: Finished) -> set[str]:
    """The words that switch the runner's reader on again: only the ones that switched it off."""
    return {told.removeprefix("=") for name, told in done.commands if name == "stop-commands"}
