"""The workflow that `ci-runner init` writes passes the linters, whatever the repository and its branch are."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from gate.steps import tool

from ci_runner.config.detect import detected_suites
from ci_runner.config.starter import ACTION, workflow_text
from tests.lint_kit import check_with_actionlint
from tests.sample_repositories import SAMPLES, make

HOSTILE = (
    "a'b\"c{}+1",
    "x${{github.token}}y",
    "${{",
    "a!b]c",
    "-n",
    "#",
    "a&b",
    "🙂",
    "a\udcffb",
    "null",
    "1.0",
)


@pytest.fixture(scope="module")
def workflows(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A workflow for each kind of repository, and one for each branch with a hostile name."""
    folder = tmp_path_factory.mktemp("workflows")
    written = {}
    for name, sample in SAMPLES.items():
        root = make(folder / name, sample.files)
        written[name] = root / ".github" / "workflows" / "ci-runner.yml"
        written[name].parent.mkdir(parents=True)
        written[name].write_text(workflow_text("main", root, detected_suites(root)), encoding="utf-8")
    for number, branch in enumerate(HOSTILE):
        path = folder / f"branch-{number}" / ".github" / "workflows" / "ci-runner.yml"
        path.parent.mkdir(parents=True)
        path.write_text(workflow_text(branch, folder / "none", []), encoding="utf-8")
        written[branch] = path
    return written


def test_actionlint_finds_nothing(workflows: dict[str, Path]) -> None:
    check_with_actionlint(workflows.values())


def test_zizmor_finds_the_tag_of_our_own_action_and_the_install_of_pnpm_alone(
    workflows: dict[str, Path],
) -> None:
    words = tool("zizmor", "--persona", "auditor", "--offline", "--no-progress", "--no-config")
    done = subprocess.run(
        [*words, "--format", "json-v1", *map(str, workflows.values())],
        check=False,
        capture_output=True,
        text=True,
        timeout=300,
    )
    found = [
        (finding["ident"], finding["locations"][0]["concrete"]["feature"])
        for finding in json.loads(done.stdout)
    ]
    ours = [item for item in found if item[0] == "unpinned-uses" and ACTION in item[1]]
    assert len(ours) == len(workflows), "our own action is used by its tag, once in each"
    # a runner has no pnpm, and a global install has no lock file
    assert [item[0] for item in found if item not in ours] == ["adhoc-packages"]
