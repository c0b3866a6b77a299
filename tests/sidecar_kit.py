"""Runs real pytest with the sidecar plugin on small projects made for one test."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import ci_runner.execution.onboard
from ci_runner.results.sidecar import SidecarEnd, SidecarLog, read_sidecar

PLUGIN = Path(next(iter(ci_runner.execution.onboard.__path__))) / "plugin"
XDIST = ("-p", "xdist.plugin")
RERUNS = ("-p", "pytest_rerunfailures")
SECONDS = 120


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """What pytest did and what the sidecar says about it."""

    code: int
    output: str
    log: SidecarLog

    @property
    def outcomes(self) -> list[tuple[str, str]]:
        """The ends: what follows the first `::`, and the outcome."""
        return [(short(end.id), end.outcome) for end in self.log.ended]

    @property
    def missing(self) -> set[str]:
        """The collected tests without an end."""
        return {short(test) for test in self.log.collected or ()} - {short(end.id) for end in self.log.ended}

    def end(self, name: str) -> SidecarEnd:
        """The only end of a test."""
        (found,) = (end for end in self.log.ended if short(end.id) == name)
        return found


def short(nodeid: str) -> str:
    """A node id without its file; the file for a collector."""
    return nodeid.partition("::")[2] or nodeid


def write(folder: Path, source: str, name: str = "test_it.py") -> None:
    """A file of a project."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "pytest.ini").touch()
    (folder / name).write_text(textwrap.dedent(source), encoding="utf-8")


def environment(folder: Path, **more: str) -> dict[str, str]:
    """What the plugin is given, and nothing of the caller's own pytest."""
    env = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PYTEST", "CI_RUNNER", "COV"))
    }
    env |= {
        "PYTHONPATH": str(PLUGIN),
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        "CI_RUNNER_SIDECAR": str(folder / "sidecar.jsonl"),
        "CI_RUNNER_STACKS": str(folder / "stacks.txt"),
    }
    return env | more


def start(
    folder: Path, *arguments: str, python: str = sys.executable, env: Mapping[str, str] | None = None
) -> subprocess.Popen[bytes]:
    """Start pytest in the project; its output goes to output.txt."""
    with (folder / "output.txt").open("wb") as output:
        return subprocess.Popen(
            [python, "-m", "pytest", "-p", "ci_runner_sidecar", "-p", "no:cacheprovider", *arguments],
            cwd=folder,
            env=environment(folder, **(env or {})),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def finish(process: subprocess.Popen[bytes], folder: Path) -> Ran:
    """Wait for pytest and read what it left; it is ended if it does not end."""
    try:
        code = process.wait(SECONDS)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
    with (folder / "output.txt").open("rb") as file:
        output = file.read(200_000).decode("utf-8", "replace")
    return Ran(code=code, output=output, log=read_sidecar(folder / "sidecar.jsonl"))


def run(
    folder: Path, *arguments: str, python: str = sys.executable, env: Mapping[str, str] | None = None
) -> Ran:
    """Run pytest to its end."""
    return finish(start(folder, *arguments, python=python, env=env), folder)


def await_log(
    folder: Path, process: subprocess.Popen[bytes], wanted: Callable[[SidecarLog], bool]
) -> SidecarLog:
    """The log as soon as it says what is wanted."""
    give_up = time.monotonic() + SECONDS
    while time.monotonic() < give_up:
        log = read_sidecar(folder / "sidecar.jsonl")
        if wanted(log):
            return log
        try:
            process.wait(0.02)
        except subprocess.TimeoutExpired:
            continue
        break
    process.kill()
    raise AssertionError(f"never seen in {read_sidecar(folder / 'sidecar.jsonl')}")
