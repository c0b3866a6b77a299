"""Runs the steps of a composite action as GitHub's runner does, and is strict where that is lenient.

It knows the few expressions that our actions use and fails for any other. Each step gets files of its own for outputs,
variables, PATH and summary, and its stdout and stderr are read for workflow commands, the old and dangerous ones too.
"""

from __future__ import annotations

import importlib
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.projects import Project

ROOT = Path(__file__).resolve().parents[1]
ACTIONS = ROOT / "actions"
TOKEN = "a-token-of-this-job"
EXPRESSION = re.compile(r"\$\{\{\s*([a-z0-9._-]+(?:\(\))?)\s*\}\}")
COMMAND = re.compile(r"\s*::([a-zA-Z-]+)(?: ([^:]*(?:%3A[^:]*)*))?::(.*)")
SECONDS = 120.0
LADDER = ((signal.SIGINT, 7.5), (signal.SIGTERM, 2.5), (signal.SIGKILL, 60.0))  # what GitHub does to cancel
FILES = ("GITHUB_OUTPUT", "GITHUB_ENV", "GITHUB_PATH", "GITHUB_STEP_SUMMARY", "GITHUB_STATE")


def read_action(name: str) -> dict[str, Any]:
    """An action.yml as data."""
    yaml: Any = importlib.import_module("yaml")  # comes with moto, and brings no types
    found = yaml.safe_load((ACTIONS / name / "action.yml").read_text(encoding="utf-8"))
    assert isinstance(found, dict)
    return found


def prepared_environment(folder: Path) -> Path:
    """An environment that scripts/bootstrap takes for complete, whose ci-runner is the one of these tests."""
    venv = folder / "environment"
    (venv / "bin").mkdir(parents=True)
    (venv / "lib" / "python3.11" / "site-packages").mkdir(parents=True)
    (venv / "bin" / "python").symlink_to(sys.executable)
    program = venv / "bin" / "ci-runner"
    program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m ci_runner "$@"\n')
    program.chmod(0o755)
    stamp = venv / "ci-runner-stamp"
    stamp.mkdir()
    for name in ("pyproject.toml", "uv.lock"):
        (stamp / name).write_bytes((ROOT / name).read_bytes())
    lines = ["1", str(ROOT), str(venv), "", "", "aws gcp github ssh stats stores"]
    (stamp / "wanted").write_text("\n".join([*lines, ""]))
    return venv


@dataclass
class Ran:
    """One step that ran: exit code, everything printed, and what it told the runner."""

    id: str
    code: int
    log: str
    outputs: dict[str, str]
    summary: str
    commands: list[tuple[str, str]]


@dataclass
class Finished:
    """An action that ran: the steps that did, and the outputs as the action declares them."""

    steps: list[Ran]
    outputs: dict[str, str]

    @property
    def code(self) -> int:
        """Of the first step that failed; 0 if none did."""
        return next((step.code for step in self.steps if step.code), 0)

    @property
    def log(self) -> str:
        """Everything that was printed."""
        return "\n".join(f"--- {step.id} (exit {step.code})\n{step.log}" for step in self.steps)

    @property
    def commands(self) -> list[tuple[str, str]]:
        """Every workflow command that a runner would have obeyed."""
        return [found for step in self.steps for found in step.commands]

    def step(self, name: str) -> Ran:
        """The step of this id."""
        return next(step for step in self.steps if step.id == name)


@dataclass
class Runner:
    """One job on one runner: its folders, its variables, and what earlier steps changed of them."""

    folder: Path
    workspace: Path
    environ: dict[str, str]
    path: list[str] = field(default_factory=list)
    count: int = 0
    ladder: tuple[tuple[signal.Signals, float], ...] = LADDER

    @property
    def temp(self) -> Path:
        """RUNNER_TEMP."""
        return self.folder / "runner-temp"

    def uses(
        self,
        action: str,
        inputs: Mapping[str, str] | None = None,
        *,
        cancel: Callable[[], bool] | None = None,
    ) -> Finished:
        """Run the action's steps; with `cancel`, the job is cancelled as soon as that is true."""
        told = read_action(action)
        declared = {name: str(item["default"]) for name, item in told["inputs"].items()}
        assert not set(inputs or {}) - set(declared), "an input that is not declared"
        values = {name: self.value(text, {}, {}) for name, text in declared.items()} | dict(inputs or {})
        done: dict[str, Ran] = {}
        cancelled = False
        for step in told["runs"]["steps"]:
            assert set(step) <= {"name", "id", "if", "shell", "env", "run"}, step
            condition = step.get("if", "success()")
            assert condition in ("success()", "always()"), condition
            if condition == "success()" and (cancelled or any(ran.code for ran in done.values())):
                continue
            stop = cancel if not cancelled else None
            done[step["id"]], was = self.run(action, step, values, done, stop)
            cancelled = cancelled or was
        outputs = {
            name: self.value(item["value"], values, done) for name, item in told.get("outputs", {}).items()
        }
        return Finished(list(done.values()), outputs)

    def value(self, text: str, inputs: Mapping[str, str], done: Mapping[str, Ran]) -> str:
        """A text with its expressions evaluated; only the ones that are known here."""

        def one(match: re.Match[str]) -> str:
            match match[1].split("."):
                case ["github", "token"]:
                    return TOKEN
                case ["inputs", name]:
                    return inputs[name]
                case ["steps", step, "outputs", name]:
                    return done[step].outputs.get(name, "") if step in done else ""
            raise AssertionError(f"an expression that the harness does not know: {match[0]}")

        result = EXPRESSION.sub(one, text)
        assert "${{" not in EXPRESSION.sub("", text), text
        return result

    def run(
        self,
        action: str,
        step: Mapping[str, Any],
        inputs: Mapping[str, str],
        done: Mapping[str, Ran],
        cancel: Callable[[], bool] | None,
    ) -> tuple[Ran, bool]:
        """One step, and whether it was cancelled."""
        assert step["shell"] == "bash"
        assert "${{" not in step["run"]
        self.count += 1
        place = self.folder / f"step-{self.count}"
        place.mkdir()
        files = {name: place / name for name in FILES}
        for file in files.values():
            file.touch()
        script = place / "script.sh"
        script.write_text(step["run"])
        path = os.pathsep.join([*reversed(self.path), self.environ["PATH"]])
        env = {
            **self.environ,
            "PATH": path,
            **{name: self.value(str(text), inputs, done) for name, text in step.get("env", {}).items()},
            **{name: str(file) for name, file in files.items()},
            "GITHUB_ACTION_PATH": str(ACTIONS / action),
        }
        words = ["bash", "--noprofile", "--norc", "-e", "-o", "pipefail", str(script)]
        with (place / "log").open("wb") as log:
            process = subprocess.Popen(
                words,
                cwd=self.workspace,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
            was = climb(process, cancel, self.ladder)
        text = (place / "log").read_bytes().decode("utf-8", "replace")
        outputs = read_file_command(files["GITHUB_OUTPUT"].read_text())
        commands = commands_in(text)
        outputs |= dict(told.split("=", 1) for name, told in commands if name == "set-output")
        self.environ |= read_file_command(files["GITHUB_ENV"].read_text())
        self.path += files["GITHUB_PATH"].read_text().split("\n")[:-1]
        summary = files["GITHUB_STEP_SUMMARY"].read_text()
        return Ran(step["id"], process.returncode, text, outputs, summary, commands), was


def climb(
    process: subprocess.Popen[bytes],
    cancel: Callable[[], bool] | None,
    ladder: tuple[tuple[signal.Signals, float], ...],
) -> bool:
    """Wait for the end of a step; when it is to be cancelled, climb the ladder. Whether it was."""
    pause, waited = threading.Event(), 0.0
    while process.poll() is None:
        if cancel is not None and cancel():
            for number, patience in ladder:
                process.send_signal(number)  # to the step's own process, and to no other
                try:
                    process.wait(patience)
                except subprocess.TimeoutExpired:
                    continue
                return True
        if waited > SECONDS:
            process.kill()
            process.wait()
            raise AssertionError(f"the step did not end in {SECONDS} seconds")
        pause.wait(0.05)
        waited += 0.05
    return False


def read_file_command(text: str) -> dict[str, str]:
    """What a step wrote into GITHUB_OUTPUT or GITHUB_ENV, by the runner's rules."""
    found: dict[str, str] = {}
    lines = iter(text.split("\n"))
    for line in lines:
        if not line:
            continue
        name, between, word = line.partition("<<")
        if "=" in name or not between:
            name, between, value = line.partition("=")
            assert between, f"no name and value: {line!r}"
            found[name] = value
            continue
        content: list[str] = []
        for inner in lines:
            if inner == word:
                break
            content.append(inner)
        else:
            raise AssertionError(f"the delimiter of {name} does not come")
        found[name] = "\n".join(content)
    return found


def commands_in(log: str) -> list[tuple[str, str]]:
    """The workflow commands that a runner would obey, in both spellings; a lone carriage return ends a line."""
    found: list[tuple[str, str]] = []
    for line in re.split(r"\r\n|\r|\n", log):
        if match := COMMAND.match(line):
            properties = match[2] or ""
            found.append((match[1].lower(), f"{properties.removeprefix('name=')}={match[3]}"))
        elif "##[" in line:
            found.append(("##[", line))
    return found


def job(folder: Path, project: Project, **environ: str) -> Runner:
    """A job on a runner that has just checked the project out."""
    (folder / "runner-temp").mkdir()
    runner = _runner(folder, project, environ)
    push(runner, project, before="0" * 40)
    return runner


def push(runner: Runner, project: Project, before: str) -> str:
    """Let the event be a push of what is committed now; its commit."""
    commit = project.git("rev-parse", "HEAD").strip()
    repository = {"full_name": "o/r"}
    told = {"ref": "refs/heads/main", "before": before, "after": commit, "repository": repository}
    Path(runner.environ["GITHUB_EVENT_PATH"]).write_text(json.dumps(told))
    runner.environ["GITHUB_SHA"] = commit
    return commit


def _runner(folder: Path, project: Project, environ: dict[str, str]) -> Runner:
    variables = {
        "CI": "true",
        "GITHUB_ACTIONS": "true",
        "GITHUB_WORKSPACE": str(project.root),
        "GITHUB_REPOSITORY": "o/r",
        "GITHUB_REF": "refs/heads/main",
        "GITHUB_REF_NAME": "main",
        "GITHUB_EVENT_NAME": "push",
        "GITHUB_EVENT_PATH": str(folder / "event.json"),
        "GITHUB_RUN_ID": "4711",
        "GITHUB_RUN_ATTEMPT": "1",
        "GITHUB_JOB": "tests",
        "GITHUB_ACTOR": "ada",
        "GITHUB_API_URL": "http://127.0.0.1:9",  # nobody: what asks GitHub here is wrong
        "RUNNER_NAME": "runner 1",
        "RUNNER_TEMP": str(folder / "runner-temp"),
        "CI_RUNNER_VENV": str(prepared_environment(folder)),
    }
    return Runner(folder=folder, workspace=project.root, environ=project.environ(**variables | environ))
