"""`ci-runner report`: the results of all jobs in one place, compared with the base, and red if a part is absent."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.projects import Ended, Project, make_project

UNIT = '[suites.unit]\ntests = ["tests"]\n'
SPLIT = UNIT + "shards = 2\n"
TWO = "def test_a():\n    assert True\n\ndef test_b():\n    assert True\n"
BROKEN = "def test_a():\n    assert True\n\ndef test_b():\n    assert 1 == 2\n\ndef test_c():\n    pass\n"
FOREIGN = """<testsuite name="s"><testcase classname="a" name="ok"/>
<testcase classname="a" name="bad"><failure message="broke"/></testcase></testsuite>"""


def report(project: Project, *words: str) -> Ended:
    return project.ci("report", "--format", "json", *words)


def names_in(told: object) -> list[str]:
    assert isinstance(told, list)
    return [change["test"].rpartition("::")[2] for change in told]


def test_shards_of_other_jobs_are_one_result_and_an_absent_one_is_red(tmp_path: Path) -> None:
    project = make_project(tmp_path, {"tests/test_a.py": TWO}, configuration=SPLIT)
    assert project.ci("plan", "unit", "--save-plan", "plan.json").code == 0
    for part in ("unit-1of2", "unit-2of2"):
        out = str(tmp_path / "artifacts" / part)
        assert project.ci("run", "--plan", "plan.json", "--id", part, "--out", out).code == 0
    both = report(project, "--results", str(tmp_path / "artifacts"), "--plan", "plan.json")
    assert both.code == 0, both
    assert (both.json["verdict"], both.json["passed"], len(both.json["suites"])) == ("passed", 2, 2)
    one = report(project, "--results", str(tmp_path / "artifacts" / "unit-1of2"), "--plan", "plan.json")
    assert one.code == 9, one
    assert "no result of unit-2of2 arrived" in json.dumps(one.json["problems"])
    none = report(project, "--results", str(tmp_path / "nothing"), "--plan", "plan.json")
    assert none.code == 9, none


def test_a_change_is_compared_with_the_commit_it_began_at(tmp_path: Path) -> None:
    project = make_project(
        tmp_path, {"tests/test_a.py": TWO + "\ndef test_gone(): pass\n"}, configuration=UNIT
    )
    assert project.ci("run").code == 0
    first = project.git("rev-parse", "HEAD").strip()
    project.git("checkout", "-q", "-b", "topic")
    project.write({"tests/test_a.py": BROKEN})
    project.commit()
    assert project.ci("run").code == 1
    told = report(project, "--results", str(project.last_run()))
    assert told.code == 1, told
    comparison = told.json["comparison"]
    assert names_in(comparison["new"]) == ["test_b"]
    assert names_in(comparison["added"]) == ["test_c"]
    assert names_in(comparison["removed"]) == ["test_gone"]
    assert comparison["bases"]["unit"]["commit"] == first
    assert "NEW unit · tests/test_a.py::test_b" in told.err


def test_without_an_earlier_run_nothing_is_guessed(tmp_path: Path) -> None:
    project = make_project(tmp_path, {"tests/test_a.py": BROKEN}, configuration=UNIT)
    assert project.ci("run").code == 1
    told = report(project, "--results", str(project.last_run()))
    assert (told.json["comparison"]["new"], told.json["comparison"]["without_base"]) == ([], ["unit"])


def test_both_arms_of_a_comparison_are_compared_and_counted_once(tmp_path: Path) -> None:
    project = make_project(tmp_path, {"tests/test_a.py": TWO}, configuration=UNIT)
    for runner in ("python", "shell"):
        out = str(tmp_path / "arms" / runner)
        assert project.ci("run", "unit", "--runner", runner, "--out", out).code == 0
    told = project.ci("report", "--results", str(tmp_path / "arms"))
    assert told.code == 0, told
    assert "not enough" in told.out  # one pair says nothing about time
    assert "passed     2 passed" in told.out


def test_a_re_run_replaces_what_it_ran_again(tmp_path: Path) -> None:
    project = make_project(tmp_path, {"tests/test_a.py": BROKEN}, configuration=UNIT)
    assert project.ci("run", "--out", str(tmp_path / "runs" / "1")).code == 1
    project.write({"tests/test_a.py": TWO})
    assert project.ci("run", "--out", str(tmp_path / "runs" / "2")).code == 0
    told = report(project, "--results", str(tmp_path / "runs"))
    assert (told.code, told.json["passed"], told.json["failed"]) == (0, 2, 0), told
    assert any("a later run replaces an earlier one" in note for note in told.json["notes"])


def test_foreign_results_need_no_configuration(tmp_path: Path) -> None:
    project = make_project(tmp_path, {"README": ""})
    (tmp_path / "junit").mkdir()
    (tmp_path / "junit" / "a.xml").write_text(FOREIGN)
    told = report(project, "--results", str(tmp_path / "junit"), "--out", str(tmp_path / "out"))
    assert told.code == 1, told
    assert [suite["id"] for suite in told.json["suites"]] == ["a"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "cases.jsonl", "junit.xml", "record.json", "report.html", "results.json"
    ]  # fmt: skip
    again = report(project, "--results", str(tmp_path / "out"))
    assert again.code == 1, again


def test_summary_and_annotations_are_published_or_shown(tmp_path: Path) -> None:
    project = make_project(tmp_path, {"tests/test_a.py": BROKEN}, configuration=UNIT)
    assert project.ci("run").code == 1
    words = ("report", "--results", str(project.last_run()), "--publish", "summary,annotations")
    shown = project.ci(*words, "--dry-run")
    assert "would write the step summary" in shown.out
    assert not any(line.startswith("::") for line in shown.out.splitlines())
    summary = tmp_path / "summary.md"
    told = project.ci(*words, GITHUB_STEP_SUMMARY=str(summary))
    assert told.code == 1, told
    assert summary.read_text().startswith("### ❌ 1 failed")
    (error,) = [line for line in told.out.splitlines() if line.startswith("::error")]
    assert error.startswith("::error file=tests/test_a.py,line=5,title=tests/test_a.py%3A%3Atest_b failed::")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--results", "none"), "there are no results"),
        (("--results", ".", "--publish", "commment"), 'perhaps you meant "comment"'),
        (("--results", ".", "--plan", "none.json"), "cannot read the plan"),
    ],
)
def test_mistakes_are_told_with_a_fix(words: tuple[str, ...], said: str, tmp_path: Path) -> None:
    ended = make_project(tmp_path, {"README": ""}).ci("report", *words)
    assert ended.code == 2, ended
    assert said in ended.err
    assert "fix: " in ended.err
