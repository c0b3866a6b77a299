"""Runs the checks one after the other, each with its time, and lists at the end what failed and what was left out."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from gate.install import CannotInstall, install
from gate.left_out import lines, need_of, skipped
from gate.needs import NEEDS, missing
from gate.steps import ROOT, Step, environment, lint_steps, pytest_step

EXAMPLES = """examples:
  scripts/test                                   everything, as the server runs it
  scripts/test --quick                           while you work
  scripts/test -- tests/unit/test_flags.py -k on just these tests
"""


@dataclass
class Gate:
    """One pass through the gate."""

    on_server: bool
    failed: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    not_installed: str = ""  # why packages are missing
    could_install: bool = False

    def run(self, step: Step) -> None:
        """One step; what it prints is shown when it fails, or at once when it is long."""
        start = time.monotonic()
        command = step.command()
        if not command:
            self.say(step.name, "nothing to check", start)
            return
        if step.live:
            print(f"{step.name} …", flush=True)
        try:
            code, output = ended(step, command)
        except OSError as error:
            code, output = -1, f"cannot run {command[0]}: {error.strerror}"
        self.say(step.name, "ok" if code == 0 else f"FAILED (exit {code})", start)
        if code != 0:
            self.failed.append(step.name)
            if output.strip():
                print(output.rstrip(), flush=True)

    def say(self, name: str, outcome: str, start: float) -> None:
        """One line for a step."""
        print(f"{name:<16} {time.monotonic() - start:7.1f} s  {outcome}", flush=True)

    def bring_packages(self) -> None:
        """Install what the tests need and the machine lacks; where that may not be, remember why."""
        names = missing()
        if not names:
            return
        start = time.monotonic()
        try:
            install(names)
            self.say("packages", f"installed {', '.join(names)}", start)
        except CannotInstall as problem:
            self.not_installed, self.could_install = str(problem), problem.allowed
            self.say("packages", f"{', '.join(names)} missing: {problem}", start)

    def account(self, results: Path) -> None:
        """Name every group of tests that did not run; a server that could have installed what it lacks fails."""
        if not results.is_file():
            self.notes.append("pytest wrote no results")
            return
        reasons = skipped(results)
        self.notes += lines(reasons, self.not_installed)
        wanting = sorted({name for name in map(need_of, reasons) if name and NEEDS[name].packages})
        if wanting and self.on_server and self.could_install:
            self.failed.append(f"left out for want of {', '.join(wanting)}")

    def verdict(self, seconds: float) -> int:
        """The last lines, and the exit code."""
        print()
        for note in self.notes:
            print(note)
        if self.failed:
            print(f"failed    {', '.join(self.failed)} ({seconds:.0f} s)")
            return 1
        print(f"passed    everything ({seconds:.0f} s)")
        return 0


def ended(step: Step, command: Sequence[str]) -> tuple[int, str]:
    """Exit code and output of a step; the output of a live one is on the screen already."""
    done = subprocess.run(
        command,
        cwd=step.cwd,
        env=environment(step, os.environ),
        stdin=subprocess.DEVNULL,
        stdout=None if step.live else subprocess.PIPE,
        stderr=None if step.live else subprocess.STDOUT,
        check=False,
    )
    return done.returncode, (done.stdout or b"").decode("utf-8", "replace")


def main(words: Sequence[str]) -> int:
    """Run the gate; 0 when everything passed, 1 when something failed."""
    arguments, tests = parsed(words)
    start = time.monotonic()
    gate = Gate(on_server=os.environ.get("CI", "").lower() in {"1", "true"})
    try:
        with tempfile.TemporaryDirectory(prefix="ci-runner-gate-") as name:
            if not tests:
                for step in lint_steps():
                    gate.run(step)
            if not arguments.quick:
                gate.bring_packages()
            gate.run(pytest_step(Path(name), tests, quick=arguments.quick))
            gate.account(Path(name) / "junit.xml")
    except KeyboardInterrupt:
        print("cancelled", file=sys.stderr)
        return 130
    return gate.verdict(time.monotonic() - start)


def parsed(words: Sequence[str]) -> tuple[Namespace, list[str]]:
    """The options, and what follows `--` for pytest."""
    words = list(words)
    at = words.index("--") if "--" in words else len(words)
    parser = ArgumentParser(
        prog="scripts/test",
        usage="scripts/test [--quick] [-- PYTEST-ARGUMENT ...]",
        description=f"Check the project in {ROOT}: style, types, scripts, workflows, generated files and tests.",
        epilog=EXAMPLES,
        formatter_class=RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--quick", action="store_true", help="of the tests only the unit tests, without coverage"
    )
    arguments = parser.parse_args(words[:at])
    tests = words[at + 1 :]
    if arguments.quick and tests:
        parser.error("--quick and arguments for pytest exclude each other")
    return arguments, tests
