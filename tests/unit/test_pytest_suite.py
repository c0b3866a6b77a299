"""From what people write in `tests` and `--only` to the command on the machine."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from ci_runner.errors import UsageError
from ci_runner.execution.pytest_suite import (
    FILES_ON_THE_LINE,
    PytestCommand,
    build_job_command,
    choose_python,
    narrowed,
    python_there,
    resolve,
)
from ci_runner.model import MachineSpec, Suite
from ci_runner.remote.fake import FakeShell

SUITE = Suite(name="unit", title="Unit", tests=("tests",), pytest_args=("-q",), workers="2")
MACHINE = MachineSpec(name="gpu")


def there(*paths: str) -> Callable[[str], bool]:
    return lambda path: path in paths


def build(suite: Suite = SUITE, only: tuple[str, ...] | None = None, *paths: str) -> PytestCommand:
    return build_job_command(
        suite, python="/p", onboard="/o", attempt_folder="/a", only=only, exists=there(*paths)
    )


def test_the_command_of_a_whole_suite() -> None:
    built = build(dataclasses.replace(SUITE, env={"PYTHONPATH": "src"}))
    assert built.argv == (
        "/p", "-m", "pytest", "-p", "ci_runner_sidecar", "-n", "2", "-q", "--junitxml=/a/junit/pytest.xml", "tests"
    )  # fmt: skip
    assert built.env == {
        "CI_RUNNER_SIDECAR": "/a/sidecar.jsonl",
        "CI_RUNNER_STACKS": "/a/stacks.txt",
        "PYTHONPATH": f"/o/plugin{os.pathsep}src",
    }
    assert built.files == {}


def test_names_of_single_tests_go_into_a_file_and_never_onto_the_command_line() -> None:
    hostile = "tests/test_a.py::test_x[$(touch /tmp/x) --help]"
    built = build(SUITE, (hostile,), "tests/test_a.py")
    assert json.loads(built.files["select.json"]) == [hostile]
    assert built.env["CI_RUNNER_SELECT"] == "/a/select.json"
    assert built.argv[-1] == "tests/test_a.py"
    assert not any("touch" in word for word in built.argv)
    assert "-n" not in build(dataclasses.replace(SUITE, workers=None)).argv


def test_an_empty_selection_is_a_selection_of_nothing_and_not_of_everything() -> None:
    assert json.loads(build(SUITE, ()).files["select.json"]) == []


@pytest.mark.parametrize(
    ("targets", "wanted", "paths", "expected"),
    [
        (["tests"], ["tests/a.py::x", "tests/a.py::y"], ["tests/a.py"], ["tests/a.py"]),
        (["."], ["a.py::x"], ["a.py"], ["a.py"]),
        (["tests/"], ["tests/a.py::x"], ["tests/a.py"], ["tests/a.py"]),
        (["tests/a.py"], ["tests/a.py::x"], ["tests/a.py"], ["tests/a.py"]),
        (["tests"], ["tests2/a.py::x"], ["tests2/a.py"], ["tests"]),
        (["tests/a.py::T"], ["tests/a.py::T::x"], ["tests/a.py"], ["tests/a.py::T"]),
        (["tests"], ["tests/gone.py::x"], [], ["tests"]),
        (["tests"], ["--help"], ["--help"], ["tests"]),
    ],
)
def test_fewer_files_are_collected_only_where_that_is_sure_to_find_the_same_tests(
    targets: list[str], wanted: list[str], paths: list[str], expected: list[str]
) -> None:
    assert narrowed(targets, wanted, there(*paths)) == expected


def test_very_many_files_are_left_to_the_selection_inside_pytest() -> None:
    files = [f"tests/t{number}.py" for number in range(FILES_ON_THE_LINE + 1)]
    assert narrowed(["tests"], files, there(*files)) == ["tests"]
    assert narrowed(["tests"], files[:-1], there(*files)) == files[:-1]


@pytest.mark.parametrize(
    ("written", "paths", "meant"),
    [
        ("tests", [], "tests"),
        ("tests/test_a.py::T::x", [], "tests/test_a.py::T::x"),
        ("test_a.py", [], "test_a.py"),
        ("tests.test_a", ["tests/test_a.py"], "tests/test_a.py"),
        ("tests.test_a.T.test_x", ["tests/test_a.py"], "tests/test_a.py::T::test_x"),
        ("tests.unit", ["tests/unit/__init__.py"], "tests/unit"),
        ("tests.d", ["tests.d"], "tests.d"),
    ],
)
def test_unittest_names_become_paths(written: str, paths: list[str], meant: str) -> None:
    assert resolve(written, there(*paths)) == meant


def test_of_a_module_and_a_folder_of_one_name_the_module_is_meant() -> None:
    assert resolve("a.b", there("a/b.py", "a/b/__init__.py")) == "a/b.py"


def test_a_name_with_two_meanings_names_both() -> None:
    with pytest.raises(UsageError, match=r"could be any of a/b\.py, a\.py::b") as caught:
        resolve("a.b", there("a/b.py", "a.py"))
    assert caught.value.fix == "write it as a path"


def test_a_name_that_leads_nowhere_says_where_it_was_looked_for() -> None:
    with pytest.raises(UsageError, match=r"looked for a/b/C\.py, a/b\.py, a\.py") as caught:
        resolve("a.b.C", there("a/__init__.py"))
    assert "tests/test_a.py::TestA::test_b" in str(caught.value.fix)


# -- the interpreter


def choose(python: str | None, environ: dict[str, str], *paths: str) -> tuple[str, str]:
    machine = dataclasses.replace(MACHINE, python=python)
    choice = choose_python(machine, environ, there(*paths), Path("/root of project"))
    return choice.path, choice.reason


def test_the_configured_interpreter_goes_first_and_is_relative_to_the_project() -> None:
    venv = {"VIRTUAL_ENV": "/venv"}
    assert choose(".venv/bin/python", venv, "/venv/bin/python") == (
        "/root of project/.venv/bin/python",
        'machines.gpu python = ".venv/bin/python"',
    )
    assert choose("/opt/python", venv)[0] == "/opt/python"
    assert choose("python3.12", venv)[0] == "python3.12"


def test_a_home_in_the_path_is_the_persons(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/alice")
    assert choose("~/py/bin/python", {})[0] == "/home/alice/py/bin/python"


def test_the_active_environment_counts_only_if_it_is_there(tmp_path: Path) -> None:
    assert choose(None, {"VIRTUAL_ENV": "/venv"}, "/venv/bin/python") == (
        "/venv/bin/python",
        "the active virtual environment",
    )
    python = tmp_path / "python3"
    python.write_text("#!/bin/sh\n")
    python.chmod(0o755)
    environ = {"VIRTUAL_ENV": "/gone", "PATH": str(tmp_path)}
    assert choose(None, environ) == (str(python), "python3 on PATH")
    assert choose(None, {"PATH": "/nowhere"}) == ("python3", "python3 on PATH")


@pytest.mark.parametrize(
    ("configured", "path"),
    [
        (None, "python3"),
        ("python3.12", "python3.12"),
        ("/opt/py", "/opt/py"),
        ("env/bin/py", "/fake/work/env/bin/py"),
    ],
)
def test_on_a_machine_elsewhere_nothing_of_this_one_counts(configured: str | None, path: str) -> None:
    choice = python_there(dataclasses.replace(MACHINE, python=configured), FakeShell())
    assert choice.path == path
    assert ("machines.gpu" in choice.reason) == (configured is not None)
