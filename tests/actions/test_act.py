"""The actions as a stranger calls them, run by act: one line in a workflow, on emulated clouds and an emulated GitHub.

act runs composite actions, outputs, matrices and `if: always()` as GitHub does. It cannot cancel as GitHub does (it kills at
once): the ladder of signals is climbed in tests/integration/test_action_steps.py.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.act_kit import Stranger, awaited, copy_of_the_project, pull_request
from tests.emulators.github.server import Server as GitHub
from tests.emulators.github.world import World as Hub
from tests.projects import make_project
from tests.tpu_kit import LentTpus, lent_tpus

pytestmark = [pytest.mark.needs("sshd")]

RED = "def test_a(): pass\n\ndef test_b():\n    assert 1 == 2, '@octocat ::set-output name=x::y'\n"
GREEN = "def test_a(): pass\n"
SLOW = "import threading\n\ndef test_slow():\n    threading.Event().wait(60)\n"
WORKFLOW = """\
on: [push, pull_request]
permissions:
  contents: read
  pull-requests: write
jobs:
  tests:
    runs-on: ubuntu-latest
    steps:
      - uses: actions/checkout@v4
      - id: tests
        uses: org/kpt/actions/{action}@v1
        with: {{{inputs}}}
      - if: always()
        env:
          CONCLUSION: ${{{{ steps.tests.outputs.conclusion }}}}
          FAILED: ${{{{ steps.tests.outputs.failed }}}}
        run: echo "it is $CONCLUSION with $FAILED"
"""
TPU = "tpu-type: v6e-1, test-path: tests, zones: us-east5-b"


@pytest.fixture(scope="module")
def kpt(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project, as act finds it under the name org/kpt."""
    return copy_of_the_project(tmp_path_factory.mktemp("kpt"))


@pytest.fixture
def hub() -> Iterator[Hub]:
    world = Hub()
    world.token("emulated")
    world.repository("you/scratch", you="admin")
    yield world
    assert world.violations == []


@pytest.fixture
def github(hub: Hub) -> Iterator[GitHub]:
    with GitHub(hub) as server:
        yield server


@pytest.fixture
def tpus(tmp_path: Path) -> Iterator[LentTpus]:
    with lent_tpus(tmp_path / "m") as found:
        yield found


def stranger(folder: Path, kpt: Path, github: GitHub, tests: str, action: str, inputs: str) -> Stranger:
    """A repository with one workflow that uses one action."""
    workflow = WORKFLOW.format(action=action, inputs=inputs)
    files = {"tests/test_a.py": tests, ".github/workflows/ci.yml": workflow}
    project = make_project(folder, files, configuration=None)
    head = project.git("rev-parse", "HEAD").strip()
    world = github.world
    repository = world.repositories["you/scratch"]
    world.pull(repository, 1, head, author="you")
    environ = {"GITHUB_API_URL": github.url, "GITHUB_TOKEN": "emulated", "GITHUB_REPOSITORY": "you/scratch"}
    return Stranger(project, kpt, environ)


def comments(hub: Hub) -> list[str]:
    return [each.body for each in hub.repositories["you/scratch"].comments.values()]


def test_one_line_runs_the_tests_that_are_there(tmp_path: Path, kpt: Path, github: GitHub) -> None:
    """No configuration, no token for more than reading: red, with numbers, a summary and an annotation."""
    you = stranger(tmp_path, kpt, github, RED, "test", 'publish: "summary,annotations"')
    acted = you.act("push")
    assert acted.code == 1, acted
    assert "it is failed with 1" in acted.log
    assert (acted.outputs["tests"], acted.outputs["passed"], acted.outputs["missing"]) == ("2", "1", "0")
    assert "x" not in acted.outputs
    assert "::error file=tests/test_a.py,line=4" in acted.log
    assert you.project.git("status", "--porcelain", "--ignored") == ""


def test_a_tpu_is_leased_used_reported_and_given_back(
    tmp_path: Path, kpt: Path, github: GitHub, hub: Hub, tpus: LentTpus
) -> None:
    you = stranger(tmp_path, kpt, github, RED, "tpu-test", TPU)
    you.environ = {**you.environ, **tpus.environ}
    acted = you.act("pull_request", pull_request(you.project))
    assert acted.code == 1, acted
    assert "it is failed with 1" in acted.log
    (comment,) = comments(hub)
    assert "1 failed · 1 passed" in comment
    assert "v6e-1" in comment
    assert acted.outputs["comment-url"].startswith("https://github.com/you/scratch/pull/1#")
    assert acted.outputs["lease-id"]
    assert tpus.left == []


def test_no_capacity_anywhere_is_not_a_failing_test(
    tmp_path: Path, kpt: Path, github: GitHub, hub: Hub, tpus: LentTpus
) -> None:
    tpus.world.zone("us-east5-b").capacity["v6e-1"] = 0
    tpus.world.zone("us-east5-b").spot_capacity["v6e-1"] = 0
    you = stranger(tmp_path, kpt, github, GREEN, "tpu-test", TPU)
    you.environ = {**you.environ, **tpus.environ}
    acted = you.act("pull_request", pull_request(you.project))
    assert acted.code == 1, acted
    assert "it is incomplete with 0" in acted.log
    (comment,) = comments(hub)
    assert comment.splitlines()[1].startswith("### ⚠️ not tested")
    assert "capacity" in comment
    assert tpus.left == []


def test_what_a_killed_runner_left_is_found_by_the_jobs_name(
    tmp_path: Path, kpt: Path, github: GitHub, tpus: LentTpus
) -> None:
    """The runner dies in the middle; a later job that only knows the run's number gives the machine back."""
    you = stranger(tmp_path, kpt, github, SLOW, "tpu-test", TPU)
    you.environ = {**you.environ, **tpus.environ}
    with you.begun("pull_request", pull_request(you.project)) as process:
        awaited(process, lambda: any(node.state == "READY" for node in tpus.world.nodes.values()))
        process.send_signal(signal.SIGINT)  # which act passes on as SIGKILL
        process.communicate(timeout=60)
    assert len(tpus.world.nodes) == 1
    environ = {
        "GITHUB_ACTIONS": "true",
        "GITHUB_RUN_ID": "1",
        "GITHUB_RUN_ATTEMPT": "1",
        "GITHUB_JOB": "tests",
    }
    freed = you.project.ci(
        "machines",
        "release",
        "--github=workflow",
        "--provider=gcp-tpu",
        cwd=None,
        **{**you.environ, **environ},
    )
    assert freed.code == 0, freed
    assert tpus.left == []
