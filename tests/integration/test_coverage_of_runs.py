"""Coverage of real runs: measured, joined over shards and workers, compared with the change, red under a minimum."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.projects import Ended, Project, make_project

SOURCE = "def even(n):\n    if n % 2:\n        return False\n    return True\n"
TESTS = "from src.numbers import even\n\ndef test_even():\n    assert even(2)\n"
ODD = "from src.numbers import even\n\ndef test_odd():\n    assert not even(3)\n"
NEW = SOURCE + "\n\ndef third(n):\n    if n % 3:\n        return 'no'\n    return 'yes'\n"
UNIT = '[suites.unit]\ntests = ["tests"]\ncoverage = true\n'


def project_of(folder: Path, more: str = "", **files: str) -> Project:
    files = {"src/__init__.py": "", "src/numbers.py": SOURCE, "tests/test_a.py": TESTS, **files}
    project = make_project(folder, files, configuration=UNIT + more)
    project.write({"pytest.ini": "[pytest]\npythonpath = .\n"})
    project.commit()
    return project


def notes(ended: Ended) -> str:
    return "\n".join(ended.json["notes"])


def test_the_total_and_the_changed_lines_that_no_test_ran(tmp_path: Path) -> None:
    project = project_of(tmp_path)
    project.git("checkout", "-q", "-b", "topic")
    project.write(
        {
            "src/numbers.py": NEW,
            "tests/test_a.py": TESTS + "    from src.numbers import third\n    third(3)\n",
        }
    )
    project.commit()
    ended = project.ci("run", "--format", "json")
    assert ended.code == 0, ended
    line = "unit: coverage 84.6 % of 13 lines; 1 of 6 changed lines is not covered: src/numbers.py:9"
    assert line in ended.json["notes"]
    assert ended.json["suites"][0]["metrics"] == {"coverage_percent": 84.615}


def test_shards_are_compared_with_the_base_as_one(tmp_path: Path) -> None:
    project = project_of(tmp_path, "shards = 2\n", **{"tests/test_b.py": ODD})
    assert project.ci("run").code == 0
    project.git("checkout", "-q", "-b", "topic")
    project.write({"src/numbers.py": NEW})
    project.commit()
    project.write({"src/fresh.py": "def new():\n    return 1\n"})  # git does not have it yet
    assert project.ci("run").code == 0
    ended = project.ci("report", "--results", str(project.last_run()), "--format", "json")
    assert ended.code == 0, ended
    told = ended.json["coverage"]["unit"]
    assert told["base_percent"] == 100.0
    assert told["uncovered"] == {"src/fresh.py": [[1, 2]], "src/numbers.py": [[8, 10]]}
    assert (told["changed_lines"], told["changed_percent"]) == (6, 16.667)
    assert f"({told['percent'] - 100:+.1f} points)" in notes(ended)
    assert project.load("results.json")["coverage"]["unit"]["percent"] == told["percent"]
    assert {part["metrics"]["coverage_percent"] for part in ended.json["suites"]} == {told["percent"]}


@pytest.mark.parametrize("more", ["shards = 2\n", 'workers = "2"\n'])
def test_shards_and_workers_are_one(tmp_path: Path, more: str) -> None:
    project = project_of(tmp_path, more + "coverage-minimum = 100\n", **{"tests/test_b.py": ODD})
    ended = project.ci("run", "--format", "json")
    assert ended.code == 0, ended
    assert "unit: coverage 100.0 %" in notes(ended)


def test_a_minimum_that_is_not_reached_is_red_and_says_where(tmp_path: Path) -> None:
    project = project_of(tmp_path, "coverage-minimum = 99.5\ncoverage-minimum-changed = 90\n")
    project.git("checkout", "-q", "-b", "topic")
    project.write({"src/numbers.py": NEW})
    project.commit()
    ended = project.ci("run", "--format", "json")
    assert ended.code == 1, ended
    assert ended.json["verdict"] == "failed"
    texts = [item["text"] for item in ended.json["findings"] if item["code"] == "coverage"]
    assert "coverage-minimum is 99.5 %" in texts[0]
    assert "src/numbers.py:8-10" in texts[1]
    told = project.ci("report", "--results", str(project.last_run()), "--format", "json")
    assert told.code == 1, told
    assert [item["text"] for item in told.json["findings"] if item["code"] == "coverage"] == texts


def test_a_shard_alone_is_not_judged_and_the_report_of_all_is(tmp_path: Path) -> None:
    project = project_of(tmp_path, "shards = 2\ncoverage-minimum = 100\n", **{"tests/test_b.py": ODD})
    assert project.ci("plan", "unit", "--save-plan", "plan.json").code == 0
    for part in ("unit-1of2", "unit-2of2"):
        out = tmp_path / "artifacts" / part
        assert project.ci("run", "--plan", "plan.json", "--id", part, "--out", str(out)).code == 0
        alone = json.loads((out / "results.json").read_text(encoding="utf-8"))
        assert alone["notes"][-1].endswith("(1 of 2 shards)")
        assert alone["suites"][0]["metrics"] == {}
    told = project.ci(
        "report", "--results", str(tmp_path / "artifacts"), "--plan", "plan.json", "--format", "json"
    )
    assert told.code == 0, told
    assert "unit: coverage 100.0 %" in notes(told)
    assert "shards)" not in notes(told)


@pytest.mark.parametrize("workers", ["", 'workers = "2"\n'])
def test_pytest_cov_keeps_measuring_and_the_run_does_not_tell_a_wrong_number(
    tmp_path: Path, workers: str
) -> None:
    arguments = 'pytest-args = ["--cov=src", "--cov-fail-under=10"]\n'
    ended = project_of(tmp_path, workers + arguments).ci("run", "--format", "json")
    assert ended.code == 0, ended
    (problem,) = ended.json["problems"]
    assert "pytest-cov measures already" in problem["text"]
    assert "coverage-files" in problem["text"]
    assert ended.json["coverage"] == {}


def test_what_a_project_tells_the_library_holds_and_a_file_that_is_gone_costs_only_itself(
    tmp_path: Path,
) -> None:
    gone = "def test_gone():\n    import pathlib\n    made = pathlib.Path('src/made.py')\n"
    gone += "    made.write_text('x = 1\\n')\n    import src.made\n    made.unlink()\n"
    project = project_of(
        tmp_path,
        'env = { PYTHONPATH = ".", PYTHONWARNINGS = "error::Warning" }\n',
        **{".coveragerc": "[run]\nsource = src\n", "tests/test_gone.py": gone},
    )
    ended = project.ci("run", "--format", "json")
    assert (ended.code, ended.json["problems"]) == (0, []), ended
    assert (ended.json["coverage"]["unit"]["covered"], ended.json["coverage"]["unit"]["lines"]) == (3, 4)


def test_settings_that_the_library_cannot_read_are_a_problem_and_not_red(tmp_path: Path) -> None:
    ended = project_of(tmp_path, **{".coveragerc": "[run\n"}).ci("run", "--format", "json")
    assert (ended.code, ended.json["passed"]) == (0, 1), ended
    (problem,) = ended.json["problems"]
    assert "correct what the project tells coverage.py" in problem["text"]


@pytest.mark.parametrize(("more", "code"), [("", 0), ("coverage-minimum = 10\n", 1)])
def test_a_suite_without_the_library_says_so_and_is_red_only_with_a_minimum(
    tmp_path: Path, more: str, code: int
) -> None:
    hidden = "import sys\nsys.modules['coverage'] = None\n"  # as where it is not installed
    place = f'env = {{ PYTHONPATH = "{tmp_path}/hide" }}\n'
    (tmp_path / "hide").mkdir()
    (tmp_path / "hide" / "sitecustomize.py").write_text(hidden)
    project = project_of(tmp_path / "x", place + more)
    ended = project.ci("run", "--format", "json")
    assert ended.code == code, ended
    (problem,) = ended.json["problems"]
    assert "coverage.py is not installed where the tests run" in problem["text"]
    assert "pip install coverage" in problem["text"]
    assert "unit: coverage was not measured" in ended.json["notes"]


def test_other_tools_files_are_read(tmp_path: Path) -> None:
    lcov = "TN:\nSF:src/numbers.py\nDA:1,1\nDA:2,1\nDA:3,0\nDA:4,1\nend_of_record\n"
    junit = '<testsuite name="s"><testcase classname="a" name="ok"/></testsuite>'
    command = f"mkdir data; printf '{lcov!s}' > data/lcov.info; printf '%s' '{junit}' > junit.xml".replace(
        "\n", "\\n"
    )
    configuration = f"""\
[suites.other]
command = {json.dumps(command)}
junit = ["junit.xml"]
coverage-files = ["data/*.info"]
coverage-minimum = 75
"""
    project = make_project(tmp_path, {"src/numbers.py": SOURCE}, configuration=configuration)
    ended = project.ci("run", "other", "--format", "json")
    assert ended.code == 0, ended
    assert "other: coverage 75.0 % of 4 lines" in notes(ended)


def test_files_whose_names_are_alike_are_all_read(tmp_path: Path) -> None:
    def lcov(name: str, hits: int) -> str:
        return f"SF:{name}\\nDA:1,{hits}\\nend_of_record\\n"

    junit = '<testsuite name="s"><testcase classname="a" name="ok"/></testsuite>'
    command = (
        f"mkdir a; printf '{lcov('one.py', 1)}' > a/lcov.info; printf '{lcov('two.py', 0)}' > a-lcov.info"
    )
    command += f"; printf '%s' '{junit}' > junit.xml"
    configuration = f'[suites.other]\ncommand = {json.dumps(command)}\njunit = ["junit.xml"]\n'
    configuration += 'coverage-files = ["**/lcov.info", "*.info", "a/*"]\n'
    project = make_project(tmp_path, {"one.py": "x\n", "two.py": "x\n"}, configuration=configuration)
    ended = project.ci("run", "other", "--format", "json")
    assert ended.code == 0, ended
    told = ended.json["coverage"]["other"]
    assert (told["covered"], told["lines"]) == (1, 2)
    assert len(list(project.last_run().glob("attempts/*/coverage/*"))) == 2


@pytest.mark.parametrize("committed", [True, False])
@pytest.mark.parametrize("more", [(), ("--runner", "shell")])
@pytest.mark.parametrize("kind", ["tests", "command"])
def test_an_old_report_in_the_tree_is_not_read_as_new_and_stays_where_a_person_has_it(
    tmp_path: Path, kind: str, more: tuple[str, ...], committed: bool
) -> None:
    old = '<coverage><class filename="src/numbers.py"><line number="1" hits="1"/></class></coverage>'
    junit = '<testsuite name="s"><testcase classname="a" name="ok"/></testsuite>'
    command = json.dumps(f"printf '%s' '{junit}' > junit.xml")
    what = {"tests": 'tests = ["tests"]\n', "command": f'command = {command}\njunit = ["junit.xml"]\n'}[kind]
    files = {"src/numbers.py": SOURCE, "tests/test_a.py": "def test_a():\n    pass\n"}
    configuration = f'[suites.unit]\n{what}coverage-files = ["out/**/*.xml", "coverage.xml"]\n'
    project = make_project(tmp_path, files, configuration=configuration)
    project.write({"out/deep/old.xml": old, "coverage.xml": old})
    if committed:
        project.commit()
    ended = project.ci("run", *more, "--format", "json")
    assert ended.code == 0, ended
    assert ended.json["coverage"] == {}, ended
    assert "unit: coverage was not measured" in ended.json["notes"]
    for name in ("out/deep/old.xml", "coverage.xml"):
        assert (project.root / name).read_text(encoding="utf-8") == old


def test_a_suites_own_python_path_does_not_hide_the_sidecar(tmp_path: Path) -> None:
    configuration = '[suites.unit]\ntests = ["tests"]\nenv = { PYTHONPATH = "lib" }\n'
    files = {
        "lib/helper.py": "VALUE = 3\n",
        "tests/test_a.py": "import helper\n\ndef test_a():\n    assert helper.VALUE == 3\n",
    }
    project = make_project(tmp_path, files, configuration=configuration)
    ended = project.ci("run", "--format", "json")
    assert ended.code == 0, ended
    assert (ended.json["passed"], ended.json["problems"]) == (1, [])
    assert ended.json["suites"][0]["fallback_reason"] is None
