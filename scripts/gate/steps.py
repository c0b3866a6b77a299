"""The checks of the gate: what each one runs, and on which files."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
SHELL_STYLE = ("-i", "2", "-ci")
TESTS = ("tests/unit", "tests/contract", "tests/integration", "tests/actions")
# what a server sets for its own job would change what the tests see; they must say the same everywhere
SERVER_VARIABLES = ("GITHUB_", "RUNNER_", "CI_RUNNER_", "ACTIONS_")


@dataclass(frozen=True)
class Step:
    """One check: its name, and the command, which may depend on the files that there are."""

    name: str
    command: Callable[[], Sequence[str]]  # an empty command: there is nothing to check
    environ: Mapping[str, str] = field(default_factory=dict)
    cwd: Path = ROOT
    live: bool = False  # a person wants to see it work


def tool(name: str, *words: str) -> list[str]:
    """A program of the locked environment."""
    return [str(BIN / name), *words]


def files() -> list[Path]:
    """The files of the project that exist: tracked ones, and new ones that git does not ignore."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        check=True,
    ).stdout
    paths = [Path(os.fsdecode(name)) for name in sorted(set(listed.split(b"\0"))) if name]
    return [path for path in paths if (ROOT / path).is_file()]


def shell_files() -> list[str]:
    """The shell scripts: by their ending, or by their first line."""
    return [str(path) for path in files() if is_shell(path)]


def is_shell(path: Path) -> bool:
    """Is the file a script for sh or bash?"""
    if path.suffix or path.parts[0] == "tests":
        return path.suffix in {".sh", ".bash"}
    with (ROOT / path).open("rb") as file:
        first = file.readline(100).split()
    return bool(first) and first[0].startswith(b"#!") and first[-1].rpartition(b"/")[2] in {b"sh", b"bash"}


def shellcheck() -> list[str]:
    """Errors in shell scripts; what they source is read too."""
    return tool("shellcheck", "--external-sources", *shell_files())


def shfmt() -> list[str]:
    """The layout of shell scripts."""
    return tool("shfmt", "-d", *SHELL_STYLE, *shell_files())


def workflow_files() -> list[str]:
    """The workflows of this repository."""
    return [
        str(ROOT / path)
        for path in files()
        if path.parts[:2] == (".github", "workflows") and path.suffix in {".yml", ".yaml"}
    ]


def zizmor() -> list[str]:
    """The safety of workflows, actions and Dependabot's settings."""
    inputs = sorted({path.parts[0] for path in files() if path.parts[0] in {".github", "actions"}})
    return tool("zizmor", "--persona", "auditor", "--offline", "--no-progress", *inputs)


def actionlint() -> list[str]:
    """The correctness of workflows, and of the shell in them."""
    found = workflow_files()
    shell = ("-shellcheck", str(BIN / "shellcheck"), "-pyflakes", "")
    return tool("go", "tool", "actionlint", *shell, *found) if found else []


def lint_steps() -> list[Step]:
    """Everything that runs no test."""
    go = {"CGO_ENABLED": "0", "GOTOOLCHAIN": "local", "GOFLAGS": "-mod=readonly", "GOWORK": "off"}
    return [
        Step("ruff check", lambda: tool("ruff", "check", "--quiet")),
        Step("ruff format", lambda: tool("ruff", "format", "--check", "--quiet", "--diff")),
        Step("mypy", lambda: tool("mypy", "--no-error-summary")),
        Step("shellcheck", shellcheck),
        Step("shfmt", shfmt),
        Step("hadolint", lambda: tool("hadolint", "Dockerfile")),
        Step("zizmor", zizmor),
        Step("actionlint", actionlint, go, ROOT / "scripts" / "actionlint"),
        Step("generated files", lambda: tool("python", "scripts/generated", "--check")),
    ]


def pytest_step(folder: Path, arguments: Sequence[str], *, quick: bool) -> Step:
    """The tests; with `arguments` just those, else all of them with their coverage."""
    words = ["-m", "pytest", f"--junit-xml={folder / 'junit.xml'}", "-o", "junit_family=xunit2"]
    if arguments:
        words += arguments
    elif quick:
        words += ["-q", "-n", "auto", "tests/unit"]
    else:
        there = [name for name in TESTS if (ROOT / name).is_dir()]
        words += ["-q", "-n", "auto", "--cov", "--cov-report=term", *there]
    # not in the checkout: two gates at once would mix their measurements
    environ = {"COVERAGE_FILE": str(folder / "coverage")}
    return Step("pytest", lambda: tool("python", *words), environ, live=True)


def environment(step: Step, environ: Mapping[str, str]) -> dict[str, str]:
    """The variables for a step: the caller's, without what a server sets for itself."""
    result = {name: value for name, value in environ.items() if not name.startswith(SERVER_VARIABLES)}
    result.pop("CI", None)
    result.update(step.environ)
    return result
