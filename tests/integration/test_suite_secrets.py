"""Secrets of a suite: they reach the tests here and on a machine, and are in nothing that is kept or printed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ci_runner.execution.secret_values import forms
from tests.projects import Project, make_project
from tests.tpu_kit import lent_tpus

SECRET = 'hunter2 "quoted" <tag> & ünïcode\nsecond line of it'
TESTS = """\
import os, subprocess

def test_it_is_there():
    value = os.environ["TOKEN"]
    assert value.startswith("hunter2") and value.endswith("second line of it")
    print(value, repr(value))

def test_nobody_else_sees_it():
    listed = subprocess.run(["ps", "axww", "-o", "args"], capture_output=True, text=True).stdout
    assert "hunter2" not in listed

def test_it_is_told():
    raise AssertionError("it is " + os.environ["TOKEN"])
"""
SUITE = '[suites.unit]\ntests = ["tests"]\nsecrets = ["TOKEN"]\n'
MACHINE = '[machines.tpu]\nprovider = "gcp-tpu"\ntype = "v6e-1"\nzones = ["us-east5-b"]\n'


@pytest.fixture
def tpus(tmp_path: Path) -> Iterator[dict[str, str]]:
    with lent_tpus(tmp_path / "m") as lent:
        yield lent.environ


def kept(project: Project) -> list[Path]:
    """Every file that the run left, here and in its history, that holds any form of the secret."""
    words = [word for word in forms({"TOKEN": SECRET}) if len(word) > 6]
    files = [path for path in project.root.joinpath(".ci-runner").rglob("*") if path.is_file()]
    assert files
    return [
        path
        for path in files
        if path.name.startswith("secrets") or any(word in path.read_bytes() for word in words)
    ]


def check(project: Project, *words: str, **environ: str) -> None:
    ended = project.ci("run", "unit", "--format", "json", *words, cwd=None, TOKEN=SECRET, **environ)
    assert ended.code == 1, ended
    assert (ended.json["passed"], ended.json["failed"]) == (2, 1), ended
    assert "***" in str(ended.json["suites"])
    assert "hunter2" not in ended.out
    assert kept(project) == []


def test_it_reaches_the_tests_here_and_nothing_keeps_it(tmp_path: Path) -> None:
    check(make_project(tmp_path, {"tests/test_a.py": TESTS}, configuration=SUITE))


@pytest.mark.needs("sshd")
def test_it_reaches_a_machine_and_nothing_keeps_it(tmp_path: Path, tpus: dict[str, str]) -> None:
    project = make_project(tmp_path, {"tests/test_a.py": TESTS}, configuration=SUITE + MACHINE)
    check(project, "--machine", "tpu", **tpus)


def test_the_shell_runner_gets_it_too(tmp_path: Path) -> None:
    check(make_project(tmp_path, {"tests/test_a.py": TESTS}, configuration=SUITE), "--runner", "shell")


@pytest.mark.parametrize(
    ("suite", "words"), [(SUITE, "TOKEN is not set"), (SUITE.replace("TOKEN", "A-B"), "A-B cannot")]
)
def test_a_secret_that_is_not_there_is_told_before_anything_runs(
    tmp_path: Path, suite: str, words: str
) -> None:
    project = make_project(tmp_path, {"tests/test_a.py": TESTS}, configuration=suite)
    ended = project.ci("run", "unit")
    assert ended.code == 2, ended
    assert words in ended.err
    assert "secrets.NAME" in ended.err


def test_a_job_hides_it_in_its_log_before_anything_else(tmp_path: Path) -> None:
    project = make_project(tmp_path, {"tests/test_a.py": TESTS}, configuration=SUITE)
    event = tmp_path / "event.json"
    event.write_text(
        '{"ref": "refs/heads/main", "after": "%s", "repository": {"full_name": "o/r"}}' % ("a" * 40)
    )
    environ = {"GITHUB_ACTIONS": "true", "GITHUB_EVENT_NAME": "push", "GITHUB_EVENT_PATH": str(event)}
    ended = project.ci("run", "unit", cwd=None, TOKEN=SECRET, **environ)
    lines = ended.err.splitlines()
    first = next(number for number, line in enumerate(lines) if line.startswith("::add-mask::hunter2"))
    assert "::add-mask::second line of it" in lines[first : first + 3]


def test_a_suite_that_lists_none_gets_none(tmp_path: Path) -> None:
    tests = "import os\n\ndef test_nothing():\n    assert 'TOKEN' not in os.environ\n"
    more = '[suites.other]\ntests = ["other"]\n'
    files = {"tests/test_a.py": TESTS, "other/test_b.py": tests}
    project = make_project(tmp_path, files, configuration=SUITE + more)
    ended = project.ci("run", "other", cwd=None, TOKEN=SECRET)
    assert ended.code == 0, ended
