"""GitHub's own parser of workflows and actions, from npm as tests/npm locks it, finds nothing in any file of ours."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.integration.test_doc_snippets import SNIPPETS
from tests.workflow_rules import ROOT, WORKFLOWS

pytestmark = [pytest.mark.needs("npm")]

NPM = ROOT / "tests" / "npm"
FILES = ("package.json", "package-lock.json", "json.mjs", "parse.mjs")


@pytest.fixture(scope="module")
def parser(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the parser; nothing is written into the checkout, and no package runs a script of its own."""
    folder = tmp_path_factory.mktemp("npm")
    for name in FILES:
        shutil.copy2(NPM / name, folder / name)
    words = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--no-update-notifier"]
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def said(parser: Path, *files: Path) -> dict[str, list[str]]:
    """What the parser says of each file."""
    words = ["node", "--import", "./json.mjs", "parse.mjs", str(ROOT), *map(str, files)]
    done = subprocess.run(words, cwd=parser, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    return {str(name): list(errors) for name, errors in found.items()}


def test_it_finds_nothing_in_workflows_and_actions(parser: Path) -> None:
    files = [*WORKFLOWS.glob("*.yml"), *ROOT.glob("actions/*/action.yml")]
    assert said(parser, *files) == {str(path): [] for path in files}


def test_it_finds_nothing_in_what_people_copy(parser: Path, tmp_path: Path) -> None:
    files = []
    for number, workflow in enumerate(SNIPPETS):
        path = tmp_path / f"{number}.yml"
        path.write_text(workflow.text, encoding="utf-8")
        files.append(path)
    assert said(parser, *files) == {str(path): [] for path in files}


def test_it_would_find_something(parser: Path, tmp_path: Path) -> None:
    caller, steps, action = (tmp_path / name for name in ("caller.yml", "steps.yml", "action.yml"))
    uses = "org/kpt/.github/workflows/accelerator-tests.yml@v1"
    caller.write_text(f"on: push\njobs:\n  a:\n    uses: {uses}\n    with: {{nope: 1}}\n")
    steps.write_text("on: push\njobs:\n  a:\n    runs-on: x\n    steps: [{uses: a/b@v1, wiht: 1}]\n")
    action.write_text("name: a\ndescription: b\nruns: {using: composite, stepz: []}\n")
    found = said(parser, caller, steps, action)
    assert "nope is not defined" in found[str(caller)][0]
    assert "Unexpected value 'wiht'" in found[str(steps)][0]
    assert "stepz" in found[str(action)][0]
