"""The reusable workflow as a stranger calls it, run by act: plan, a job for each part of the matrix, one report.

act keeps no artifacts without a server of its own, so small stand-ins hand the files from job to job. Concurrency,
environments and permissions are GitHub's; tests/unit/test_workflow_rules.py reads them.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.act_kit import Stranger, copy_of_the_project, pull_request
from tests.projects import make_project
from tests.workflow_rules import WORKFLOWS

pytestmark = [pytest.mark.needs("git")]

CALLER = """\
on: [push, pull_request]
permissions: {contents: read, pull-requests: write, checks: write, id-token: write}
jobs:
  call:
    uses: org/kpt/.github/workflows/accelerator-tests.yml@v1
    with: {suites: all, publish: summary}
  told:
    needs: call
    if: always()
    runs-on: ubuntu-latest
    steps:
      - env:
          CONCLUSION: ${{ needs.call.outputs.conclusion }}
          TESTS: ${{ needs.call.outputs.tests }}
        run: echo "told $CONCLUSION of $TESTS"
"""
SUITES = '[suites.one]\ntests = ["tests/test_one.py"]\n[suites.two]\ntests = ["tests/test_two.py"]\n'
# act does this one itself, unless it is asked for a commit as here
CHECKOUT = """\
name: checkout
description: brings the commit
inputs: {ref: {}, persist-credentials: {}, fetch-depth: {}}
runs:
  using: composite
  steps:
    - shell: bash
      run: cp -r "$PROJECT/." "$GITHUB_WORKSPACE/"
"""
# fetched before it is known that nothing signs in
NOWHERE = "name: nowhere\ndescription: signs in nowhere\nruns: {using: composite, steps: [{shell: bash, run: exit 1}]}\n"
UPLOAD = """\
name: upload
description: hands files on
inputs: {name: {required: true}, path: {required: true}, if-no-files-found: {}, include-hidden-files: {}, overwrite: {},
  retention-days: {}}
runs:
  using: composite
  steps:
    - shell: bash
      env: {NAME: "${{ inputs.name }}", FROM: "${{ inputs.path }}"}
      run: |
        mkdir -p "$ARTIFACTS/$NAME"
        if [[ -d $FROM ]]; then cp -r "$FROM/." "$ARTIFACTS/$NAME/"; else cp "$FROM" "$ARTIFACTS/$NAME/"; fi
"""
DOWNLOAD = """\
name: download
description: gets files
inputs: {name: {default: ""}, pattern: {default: ""}, path: {required: true}}
runs:
  using: composite
  steps:
    - shell: bash
      env: {NAME: "${{ inputs.name }}", PATTERN: "${{ inputs.pattern }}", TO: "${{ inputs.path }}"}
      run: |
        mkdir -p "$TO"
        if [[ -n $NAME ]]; then cp -r "$ARTIFACTS/$NAME/." "$TO/"; exit; fi
        cd "$ARTIFACTS"
        for each in $PATTERN; do cp -r "$each" "$TO/"; done
"""

STAND_INS = {
    "actions/checkout": CHECKOUT,
    "actions/upload-artifact": UPLOAD,
    "actions/download-artifact": DOWNLOAD,
    "google-github-actions/auth": NOWHERE,
    "aws-actions/configure-aws-credentials": NOWHERE,
}


def stranger(folder: Path, two: str) -> Stranger:
    """A repository with two suites and the caller."""
    files = {
        "tests/test_one.py": "def test_one(): pass\n",
        "tests/test_two.py": two,
        ".github/workflows/ci.yml": CALLER,
    }
    project = make_project(folder / "project", files, configuration=SUITES)
    text = (WORKFLOWS / "accelerator-tests.yml").read_text("utf-8")
    others = {}
    for name, action in STAND_INS.items():
        (pin,) = set(re.findall(rf"{name}@([0-9a-f]{{40}})", text))
        place = folder / "others" / name
        place.mkdir(parents=True)
        (place / "action.yml").write_text(action)
        others[f"{name}@{pin}"] = place
    artifacts = folder / "artifacts"
    artifacts.mkdir()
    kpt = copy_of_the_project(folder / "kpt")
    # act does not know the number of a matrix's job, which is the part of its artifact's name that no other has
    (kpt / ".github/workflows/accelerator-tests.yml").write_text(
        text.replace("strategy.job-index", "matrix.id"), encoding="utf-8"
    )
    return Stranger(project, kpt, {"ARTIFACTS": str(artifacts), "PROJECT": str(project.root)}, others)


def test_two_suites_become_two_jobs_and_one_report(tmp_path: Path) -> None:
    who = stranger(tmp_path, "def test_two(): pass\n")
    done = who.act("push", None)
    assert done.code == 0, done
    assert "told passed of 2" in done.log, done
    kept = sorted(path.name for path in (tmp_path / "artifacts").iterdir())
    assert kept == ["plan-tests", "results-tests-hosted-one", "results-tests-hosted-two"]


def test_a_failing_suite_is_red_in_its_job_and_in_the_report(tmp_path: Path) -> None:
    who = stranger(tmp_path, "def test_two(): assert 1 == 2\n")
    done = who.act("pull_request", pull_request(who.project))
    assert done.code != 0, done
    # act, other than GitHub, begins no job of the caller after a called workflow that failed
    assert (done.outputs["conclusion"], done.outputs["tests"]) == ("failed", "2"), done
    assert "Job '${{ matrix.id }}' failed" in done.log, done
