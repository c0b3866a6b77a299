"""How a suite of pytest paths, node ids or unittest names becomes a command for the user's own interpreter."""

from __future__ import annotations

import json
import os
import posixpath
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ci_runner.errors import UsageError
from ci_runner.model import MachineSpec, Suite
from ci_runner.remote.base import Shell

ONBOARD = Path(__file__).parent / "onboard"
PLUGIN = "ci_runner_sidecar"
COVERAGE_PLUGIN = "ci_runner_coverage"
COVERAGE = "coverage/python.json"  # in an attempt's folder
DOTTED = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+")
FILES_ON_THE_LINE = 50  # more than that are left to the selection inside pytest


@dataclass(frozen=True, slots=True, kw_only=True)
class PytestCommand:
    """What to start, with which environment, after which files were put into the attempt's folder."""

    argv: tuple[str, ...]
    env: Mapping[str, str]
    files: Mapping[str, bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class PythonChoice:
    """The interpreter that runs the tests, and what made us choose it."""

    path: str
    reason: str


def build_job_command(
    suite: Suite,
    *,
    python: str,
    onboard: str,
    attempt_folder: str,
    only: Sequence[str] | None,
    exists: Callable[[str], bool],
) -> PytestCommand:
    """The command of a pytest suite; paths are the machine's, `exists` looks relative to `work`.

    Raises UsageError for a unittest name that leads nowhere.
    """
    targets = [resolve(test, exists) for test in suite.tests]
    files: dict[str, bytes] = {}
    env = {
        "CI_RUNNER_SIDECAR": f"{attempt_folder}/sidecar.jsonl",
        "CI_RUNNER_STACKS": f"{attempt_folder}/stacks.txt",
        "PYTHONPATH": os.pathsep.join(
            item for item in (f"{onboard}/plugin", suite.env.get("PYTHONPATH")) if item
        ),
    }
    if only is not None:
        wanted = [resolve(test, exists) for test in only]
        files["select.json"] = json.dumps(wanted).encode()
        env["CI_RUNNER_SELECT"] = f"{attempt_folder}/select.json"
        targets = narrowed(targets, wanted, exists)
    measured: tuple[str, ...] = ()
    if suite.coverage:
        env["CI_RUNNER_COVERAGE"] = f"{attempt_folder}/{COVERAGE}"
        measured = ("-p", COVERAGE_PLUGIN)
    workers = ("-n", suite.workers) if suite.workers is not None else ()
    argv = (
        python,
        "-m",
        "pytest",
        "-p",
        PLUGIN,
        *measured,
        *workers,
        *suite.pytest_args,
        f"--junitxml={attempt_folder}/junit/pytest.xml",
        *targets,
    )
    return PytestCommand(argv=argv, env=env, files=files)


def narrowed(targets: Sequence[str], wanted: Sequence[str], exists: Callable[[str], bool]) -> list[str]:
    """The files of the wanted tests instead of everything, where that is sure to collect the same tests."""
    files = list(dict.fromkeys(test.partition("::")[0] for test in wanted))
    inside = all(any(_covers(target, file) for target in targets) for file in files)
    if len(files) <= FILES_ON_THE_LINE and inside and all(exists(file) for file in files):
        return files
    return list(targets)


def _covers(target: str, file: str) -> bool:
    folder = posixpath.normpath(target.partition("::")[0])
    return "::" not in target and (folder == "." or file == folder or file.startswith(f"{folder}/"))


def resolve(test: str, exists: Callable[[str], bool]) -> str:
    """A pytest path or node id for what people write; `a.b.TestC.test_d` becomes `a/b.py::TestC::test_d`."""
    if not DOTTED.fullmatch(test) or test.endswith(".py") or exists(test):
        return test
    parts = test.split(".")
    found = []
    for count in range(len(parts), 0, -1):
        stem = "/".join(parts[:count])
        if exists(f"{stem}.py"):
            found.append("::".join([f"{stem}.py", *parts[count:]]))
        elif exists(f"{stem}/__init__.py") and count == len(parts):
            found.append(stem)
    if len(found) == 1:
        return found[0]
    if found:
        raise UsageError(f'"{test}" could be any of {", ".join(found)}', fix="write it as a path")
    tried = [f"{'/'.join(parts[:count])}.py" for count in range(len(parts), 0, -1)]
    raise UsageError(
        f'no file of "{test}" is there (looked for {", ".join(tried)})',
        fix="write the test as a path from the project's folder, such as tests/test_a.py::TestA::test_b",
    )


def choose_python(
    machine: MachineSpec, environ: Mapping[str, str], exists: Callable[[str], bool], root: Path
) -> PythonChoice:
    """The interpreter for the tests: configured, else of the active environment, else python3."""
    if machine.python:
        path = machine.python
        if "/" in path:
            path = str(root / Path(path).expanduser())
        return PythonChoice(path=path, reason=f'machines.{machine.name} python = "{machine.python}"')
    active = environ.get("VIRTUAL_ENV")
    if active and exists(f"{active}/bin/python"):
        return PythonChoice(path=f"{active}/bin/python", reason="the active virtual environment")
    return PythonChoice(
        path=shutil.which("python3", path=environ.get("PATH")) or "python3", reason="python3 on PATH"
    )


def python_there(machine: MachineSpec, shell: Shell) -> PythonChoice:
    """The interpreter on a machine that is elsewhere: the configured one, from `work` if it is relative, else python3."""
    if machine.python:
        relative = "/" in machine.python and not machine.python.startswith("/")
        path = f"{shell.work}/{machine.python}" if relative else machine.python
        return PythonChoice(path=path, reason=f'machines.{machine.name} python = "{machine.python}"')
    return PythonChoice(path="python3", reason="python3 of the machine")
