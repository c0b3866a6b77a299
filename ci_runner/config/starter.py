"""The files that `ci-runner init` writes: a commented configuration and a workflow, as text."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from ci_runner.config.peek import is_file, table_in, toml_of
from ci_runner.config.schema import URL
from ci_runner.model import Suite

EVENTS = ("push", "pull_request", "merge_group", "workflow_dispatch")  # the suites' and the workflow's
ACTION = "org/kpt/actions/test@v1"  # its commit is not known before the release that this file is part of
CHECKOUT = "actions/checkout@3d3c42e5aac5ba805825da76410c181273ba90b1 # v7.0.1"  # Dependabot moves both parts
SETUP_PYTHON = "actions/setup-python@ece7cb06caefa5fff74198d8649806c4678c61a1 # v6.3.0"
SETUP_GO = "actions/setup-go@924ae3a1cded613372ab5595356fb5720e22ba16 # v6.5.0"
SETUP_NODE = "actions/setup-node@249970729cb0ef3589644e2896645e5dc5ba9c38 # v6.5.0"
HINTS = {
    "go": "gotestsum writes the JUnit file: go install gotest.tools/gotestsum@latest",
    "rust": 'nextest writes the JUnit file where .config/nextest.toml says: [profile.ci.junit] path = "junit.xml"',
    "cmake": "ctest writes the JUnit file itself, since CMake 3.21",
}
EXTRAS = ("test", "tests", "testing", "dev")  # where Python projects keep what their tests need
REQUIREMENTS = (
    "requirements.txt",
    "requirements-dev.txt",
    "requirements-test.txt",
    "requirements-tests.txt",
    "dev-requirements.txt",
    "test-requirements.txt",
    "tests/requirements.txt",
)
EXAMPLE_SUITE = """\
# Nothing here looks like tests. A suite is a list of tests, or any command that writes JUnit:
# [suites.unit]
# tests = ["tests"]                    # pytest paths, node ids, or unittest names
# timeout = "10m"
# [suites.unit.when]
# events = ["push", "pull_request", "merge_group", "workflow_dispatch"]
#
# [suites.other]
# command = "make check"
# junit = ["build/*.xml"]
"""
_FILTER = re.compile(r"[*?+!\[\\]")  # what GitHub's filters of branches take for patterns


def configuration_text(name: str, branch: str, suites: Sequence[Suite]) -> str:
    """The starter of ci-runner.toml."""
    parts = [
        f"#:schema {URL}",
        "# What ci-runner runs here, and when. All keys: ci-runner config schema --keys",
        "# What is for you alone goes into ci-runner.local.toml beside this file; that one is not committed.",
        "",
        "[project]",
        f"name = {quoted(name)}",
        f"default-branch = {quoted(branch)}",
        "",
        "[machines.local]                       # the machine that ci-runner runs on",
        '# python = ".venv/bin/python"          # for the tests; left out: of the active environment, else python3',
        "",
    ]
    for suite in suites:
        parts += _suite_lines(suite)
    parts += _more(suites[0]) if suites else [EXAMPLE_SUITE]
    return "\n".join(parts).rstrip("\n") + "\n"


def _suite_lines(suite: Suite) -> list[str]:
    """One suite, with what people change first as comments."""
    lines = [f"[suites.{suite.name}]"]
    if suite.command is None:
        lines.append(f"tests = {_listed(suite.tests)}")
    else:
        lines += [f"# {HINTS[suite.name]}"] if suite.name in HINTS else []
        lines += [f"command = {quoted(suite.command)}", f"junit = {_listed(suite.junit)}"]
    if suite.pytest_args:
        lines.append(f"pytest-args = {_listed(suite.pytest_args)}   # the names that unittest looks for")
    if suite.setup:
        lines.append(f"setup = {_listed(suite.setup)}")
    else:
        lines.append('# setup = ["make fixtures"]             # commands to run before the tests')
    lines += [
        'timeout = "10m"                        # a test that hangs is named',
        "# retries = 1                           # how often a failing test is run again, alone",
    ]
    if suite.command is None:
        lines.append('# workers = "auto"                      # in parallel, with pytest-xdist')
    return [
        *lines,
        f"[suites.{suite.name}.when]",
        f"events = {_listed(EVENTS)}",
        '# paths = ["src/**", "!src/**/*.md"]    # only when one of these changed',
        "",
    ]


def _more(suite: Suite) -> list[str]:
    """A second suite, to show what suites take from one another and what labels and schedules do."""
    name = f"{suite.name}_nightly"
    return [
        f"# The same tests at night, or when a pull request gets the label run-{suite.name}. The workflow then needs",
        "# the same cron under on: schedule, and labeled among the types of pull_request.",
        f"# [suites.{name}]",
        f"# extends = {quoted(suite.name)}",
        '# timeout = "1h"',
        f"# [suites.{name}.when]",
        '# events = ["schedule"]',
        '# schedule = ["0 2 * * *"]',
        f"# labels = [{quoted(f'run-{suite.name}')}]",
    ]


def quoted(text: str) -> str:
    """A string that TOML and YAML read alike; what does not print is escaped, what is no text is replaced."""
    return f'"{"".join(map(_escaped, text))}"'


def _escaped(char: str) -> str:
    if char in '"\\':
        return f"\\{char}"
    if char.isprintable():
        return char
    if 0xD800 <= ord(char) <= 0xDFFF:  # a byte of a folder's name that is no UTF-8
        return "\ufffd"
    return f"\\u{ord(char):04x}" if ord(char) <= 0xFFFF else f"\\U{ord(char):08x}"


def _listed(texts: Sequence[str]) -> str:
    """A list of strings."""
    return f"[{', '.join(quoted(text) for text in texts)}]"


def workflow_text(branch: str, root: Path, suites: Sequence[Suite]) -> str:
    """The workflow: it may read the code and nothing else."""
    steps = "".join(f"      {line}\n" for line in tool_steps(root, suites))
    pattern = _pattern(branch)
    return f"""\
name: tests

on:
  push:
    branches: [{quoted(pattern)}]
  pull_request:
  merge_group:
  workflow_dispatch:

# a newer commit of a pull request makes the run of the older one pointless
concurrency:
  group: ${{{{ github.workflow }}}}-${{{{ github.ref }}}}
  cancel-in-progress: ${{{{ github.event_name == 'pull_request' }}}}

permissions: {{}}

jobs:
  tests:
    name: tests
    runs-on: ubuntu-latest
    timeout-minutes: 30
    permissions:
      contents: read # to check out the commit
    steps:
      - name: Check out the commit
        uses: {CHECKOUT}
        with:
          persist-credentials: false
          fetch-depth: 0 # what changed is counted from where the branch began
{steps}      - name: Run the suites that the change needs
        uses: {ACTION}
"""


def _pattern(branch: str) -> str:
    """The filter that lets this branch through; GitHub would take `${{` for an expression, wherever it stands."""
    parts = branch.split("${{")
    return "$*".join(_FILTER.sub(lambda match: f"\\{match[0]}", part) for part in parts)


def tool_steps(root: Path, suites: Sequence[Suite]) -> list[str]:
    """The lines of the steps that install what the suites need and a hosted runner lacks."""
    lines: list[str] = []
    for suite in suites:
        lines += STEPS[suite.name](root, suite) if suite.name in STEPS else []
    return lines


def _python_steps(root: Path, _suite: Suite) -> list[str]:
    project = table_in(toml_of(root / "pyproject.toml"), "project") or {}
    version = 'python-version: "3.x"'
    if isinstance(project.get("requires-python"), str):
        version = "python-version-file: pyproject.toml"
    if is_file(root / ".python-version"):
        version = "python-version-file: .python-version"
    return [
        *_uses("Set up Python", SETUP_PYTHON, version),
        *_runs("Install what the tests need", f"python -m pip install {' '.join(pip_words(root))}"),
    ]


def pip_words(root: Path) -> list[str]:
    """What pip is to install: pytest, the project with the extras for tests, groups and files of requirements."""
    config = toml_of(root / "pyproject.toml")
    words = ["pytest"]
    if is_file(root / "setup.py") or "build-system" in config or "project" in config:
        offered = table_in(config, "project", "optional-dependencies") or {}
        extras = ",".join(name for name in EXTRAS if name in offered)
        words.append(f'-e ".[{extras}]"' if extras else "-e .")
    groups = table_in(config, "dependency-groups") or {}
    words += [f"--group {name}" for name in EXTRAS if name in groups]
    return words + [f"-r {name}" for name in REQUIREMENTS if is_file(root / name)]


def _go_steps(_root: Path, _suite: Suite) -> list[str]:
    return [
        *_uses("Set up Go", SETUP_GO, "go-version-file: go.mod"),
        *_runs("Install gotestsum", "go install gotest.tools/gotestsum@latest"),
    ]


def _rust_steps(_root: Path, _suite: Suite) -> list[str]:
    fetch = "curl --proto '=https' --tlsv1.2 -LsSf https://get.nexte.st/latest/linux"
    return _runs("Install cargo-nextest", f'{fetch} | tar xzf - -C "${{CARGO_HOME:-$HOME/.cargo}}/bin"')


def _node_steps(root: Path, suite: Suite) -> list[str]:
    version = "node-version-file: .nvmrc" if is_file(root / ".nvmrc") else "node-version: lts/*"
    lines = _uses("Set up Node", SETUP_NODE, version)
    manager = suite.setup[0].split()[0] if suite.setup else "npm"
    # without a version: Node no longer brings corepack, and pnpm itself changes to what packageManager says
    return lines + (
        _runs(f"Install {manager}", f"npm install --global {manager}") if manager != "npm" else []
    )


STEPS = {"unit": _python_steps, "go": _go_steps, "rust": _rust_steps, "js": _node_steps}


def _uses(name: str, action: str, value: str) -> list[str]:
    return [f"- name: {name}", f"  uses: {action}", "  with:", f"    {value}"]


def _runs(name: str, command: str) -> list[str]:
    return [f"- name: {name}", f"  run: {command}"]
