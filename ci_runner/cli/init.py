"""`ci-runner init`: a commented configuration and a workflow for this repository."""

from __future__ import annotations

import json
from argparse import ArgumentParser, Namespace
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ci_runner.model import Suite

EXAMPLE = "ci-runner init --dry-run"
CONFIGURATION = "ci-runner.toml"
WORKFLOW = ".github/workflows/ci-runner.yml"
HINTS = {
    "go": "gotestsum writes the JUnit file: go install gotest.tools/gotestsum@latest",
    "rust": 'nextest writes the JUnit file where .config/nextest.toml says: [profile.ci.junit] path = "junit.xml"',
    "cmake": "ctest writes the JUnit file itself since CMake 3.21",
}


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the arguments of `init`."""
    parser.add_argument("--force", action="store_true", help="replace files that are there already")
    parser.add_argument(
        "--here", action="store_true", help="write into this folder, not at the top of the repository"
    )
    parser.add_argument("--dry-run", action="store_true", help="print the files and write nothing")
    parser.add_argument(
        "--format", choices=("text", "json"), default="text", help="json: nothing but one object on stdout"
    )


def run(arguments: Namespace) -> int:
    """Look at the repository, write both files, say what to do next."""
    from ci_runner.config.detect import detected_suites
    from ci_runner.config.sources import top_of

    root = Path.cwd() if arguments.here else top_of(Path.cwd())
    suites = detected_suites(root)
    branch = default_branch(root)
    files = {
        CONFIGURATION: configuration_text(root.name, branch, suites),
        WORKFLOW: workflow_text(branch),
    }
    if not arguments.dry_run:
        write(root, files, force=arguments.force)
    if arguments.format == "json":
        print(
            json.dumps(
                {"root": str(root), "suites": [suite.name for suite in suites], "files": files}, indent=2
            )
        )
    elif arguments.dry_run:
        print("\n".join(f"# ---- {name}\n{text}" for name, text in files.items()))
    else:
        print("\n".join(told(files, suites)))
    return 0


def told(files: Mapping[str, str], suites: Sequence[Suite]) -> list[str]:
    """What was written, and what to do next."""
    lines = [f"wrote {name}" for name in files]
    if suites:
        lines.append(f"found {', '.join(suite.name for suite in suites)}; try it with: ci-runner run")
    else:
        lines.append(
            f"nothing here looks like tests: write a suite into {CONFIGURATION}, then: ci-runner run"
        )
    return lines


def write(root: Path, files: Mapping[str, str], *, force: bool) -> None:
    """Write all files or none of them. Raises UsageError if one is there already or cannot be written."""
    from ci_runner.errors import UsageError
    from ci_runner.execution.folder import write_atomically

    there = [name for name in files if (root / name).exists()]
    if there and not force:
        raise UsageError(
            f"{' and '.join(there)} {'is' if len(there) == 1 else 'are'} there already",
            where=str(root),
            fix="add --force to replace, or --dry-run to look at what would be written",
        )
    for name, text in files.items():
        try:
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            write_atomically(root / name, text.encode())
        except OSError as error:
            raise UsageError(
                f"cannot write {name}: {error.strerror or error}",
                where=str(root),
                fix="check who owns the folder",
            ) from error


def default_branch(root: Path) -> str:
    """The branch that the remote calls its own, else the current one, else main."""
    git = git_folder(root)
    for head in (git / "refs" / "remotes" / "origin" / "HEAD", git / "HEAD"):
        try:
            text = head.read_text(encoding="utf-8").strip()
        except (OSError, ValueError):
            continue
        for prefix in ("ref: refs/remotes/origin/", "ref: refs/heads/"):
            if text.startswith(prefix):
                return text.removeprefix(prefix)
    return "main"


def git_folder(root: Path) -> Path:
    """Where git keeps its files: .git, or where a linked working tree says."""
    folder = root / ".git"
    if not folder.is_file():
        return folder
    try:
        text = folder.read_text(encoding="utf-8").strip()
    except (OSError, ValueError):
        return folder
    linked = root / text.removeprefix("gitdir: ")
    common = linked / "commondir"
    return (linked / common.read_text(encoding="utf-8").strip()).resolve() if common.is_file() else linked


def quoted(text: str) -> str:
    """A TOML string."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def configuration_text(name: str, branch: str, suites: Sequence[Suite]) -> str:
    """The starter."""
    from ci_runner.config.schema import URL

    parts = [
        f"#:schema {URL}",
        "# What ci-runner runs here, and when. Every key: ci-runner config schema --keys",
        "",
        "[project]",
        f"name = {quoted(name)}",
        f"default-branch = {quoted(branch)}",
        "",
        "[machines.local]                    # this machine; always there",
        '# python = ".venv/bin/python"       # the interpreter of the tests; left out: the active environment, else python3',
        "",
    ]
    for suite in suites:
        parts += suite_lines(suite)
    if not suites:
        parts += [f"# {line}" if line else "#" for line in EXAMPLE_SUITE.splitlines()]
    return "\n".join(parts).rstrip("\n") + "\n"


EXAMPLE_SUITE = """\
[suites.unit]
tests = ["tests"]                    # pytest paths, node ids, or unittest names
timeout = "10m"
[suites.unit.when]
events = ["push", "pull_request"]
"""


def suite_lines(suite: Suite) -> list[str]:
    """One suite, with what people change first as comments."""
    lines = [f"[suites.{suite.name}]"]
    if suite.command is None:
        lines.append(f"tests = {listed(suite.tests)}")
    else:
        if suite.name in HINTS:
            lines.append(f"# {HINTS[suite.name]}")
        lines += [f"command = {quoted(suite.command)}", f"junit = {listed(suite.junit)}"]
    lines += [
        'timeout = "10m"',
        "retries = 0                          # how often a failing test is run again, alone",
        '# setup = ["make fixtures"]          # commands to run before',
    ]
    if suite.command is None:
        lines.append('# workers = "auto"                   # with pytest-xdist: run the tests in parallel')
    lines += [
        f"[suites.{suite.name}.when]",
        'events = ["push", "pull_request"]',
        '# paths = ["src/**", "!docs/**"]     # only when these change',
        f'# labels = ["run-{suite.name}"]            # or when a pull request gets this label',
        "",
    ]
    return lines


def listed(texts: Sequence[str]) -> str:
    """A TOML list of strings."""
    return f"[{', '.join(quoted(text) for text in texts)}]"


def workflow_text(branch: str) -> str:
    """The workflow: it may read the code and nothing else."""
    return f"""\
name: tests
on:
  push:
    branches: [{json.dumps(branch)}]
  pull_request:
    types: [opened, synchronize, reopened, labeled]
  workflow_dispatch:

permissions: {{}}

concurrency:
  group: ci-runner-${{{{ github.ref }}}}
  cancel-in-progress: ${{{{ github.event_name == 'pull_request' }}}}

jobs:
  tests:
    name: tests
    runs-on: ubuntu-latest
    timeout-minutes: 30
    permissions:
      contents: read
    steps:
      - uses: actions/checkout@v7
        with:
          persist-credentials: false
      - uses: org/kpt/actions/test@v1
"""
