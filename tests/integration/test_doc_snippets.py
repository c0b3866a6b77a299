"""Every workflow in the documentation keeps the rules of our own, and passes the linters of the gate."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from gate.steps import tool

from tests.lint_kit import check_with_actionlint
from tests.workflow_rules import ROOT, WORKFLOWS, Workflow, pins, problems, yaml

BLOCK = re.compile(r"^(?P<indent> *)```ya?ml\n(?P<text>.*?)^(?P=indent)```", re.MULTILINE | re.DOTALL)
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
STORIES = (
    "cpu-tests", "nightly", "accelerator-tests", "weekly-benchmarks", "rerun", "forks", "reaper", "ab-rollout"
)  # fmt: skip
LANES = ("same-repository.yml", "fork-reviewed.yml", "fork-plain.yml")


def snippets() -> list[Workflow]:
    """The whole workflows of the documentation: files, and blocks that have jobs and say when they run."""
    found = []
    for page in PAGES:
        for number, block in enumerate(BLOCK.finditer(page.read_text("utf-8")), start=1):
            text = re.sub(f"^{block['indent']}", "", block["text"], flags=re.MULTILINE)
            tree = yaml.safe_load(text)
            if isinstance(tree, dict) and "jobs" in tree and ("on" in tree or True in tree):
                found.append(Workflow(f"{page.relative_to(ROOT)}#{number}", text))
    files = sorted((ROOT / "docs").rglob("workflows/*.yml"))
    return [*found, *(Workflow(str(path.relative_to(ROOT)), path.read_text("utf-8")) for path in files)]


SNIPPETS = snippets()


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The snippets as workflows of a repository, with the settings of zizmor that ours has."""
    folder = tmp_path_factory.mktemp("snippets")
    (folder / ".github" / "workflows").mkdir(parents=True)
    (folder / ".github" / "zizmor.yml").write_bytes((ROOT / ".github" / "zizmor.yml").read_bytes())
    for workflow in SNIPPETS:
        name = re.sub(r"[^a-z0-9]+", "-", workflow.name.lower())
        (folder / ".github" / "workflows" / f"{name}.yml").write_text(workflow.text, encoding="utf-8")
    return folder


def test_every_story_has_a_whole_workflow_and_every_lane_its_file() -> None:
    names = {workflow.name for workflow in SNIPPETS}
    for story in STORIES:
        assert any(name.startswith(f"docs/how-to/{story}.md#") for name in names), story
    for lane in LANES:
        assert f"docs/how-to/workflows/{lane}" in names


def test_every_workflow_that_can_be_called_is_called_on_a_page() -> None:
    text = "\n".join(workflow.text for workflow in SNIPPETS)
    for path in WORKFLOWS.glob("*.yml"):
        if Workflow(path.name, path.read_text("utf-8")).called:
            assert f"org/kpt/.github/workflows/{path.name}@v1" in text


@pytest.mark.parametrize("workflow", SNIPPETS, ids=lambda workflow: workflow.name)
def test_it_keeps_the_rules(workflow: Workflow) -> None:
    assert problems(workflow) == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_a_fragment_pins_what_others_wrote_as_whole_workflows_do(page: Path) -> None:
    assert list(pins(Workflow(page.name, page.read_text("utf-8")))) == []


def test_actionlint_finds_nothing(written: Path) -> None:
    check_with_actionlint(sorted((written / ".github" / "workflows").iterdir()))


def test_zizmor_finds_nothing_that_has_no_reason(written: Path) -> None:
    words = tool("zizmor", "--persona", "auditor", "--offline", "--no-progress")
    done = subprocess.run(
        [*words, str(written)], check=False, capture_output=True, text=True, timeout=300, cwd=written
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr.count("completed") == len(SNIPPETS)


def test_what_is_left_unfound_has_its_reason_beside_it() -> None:
    ignored = re.compile(r"zizmor: ignore\[[a-z-]+\](.*)")
    reasons = [
        found[1]
        for workflow in SNIPPETS
        for found in map(ignored.search, workflow.text.splitlines())
        if found
    ]
    assert len(reasons) == 2  # pull_request_target and workflow_run
    assert all(len(reason.split()) > 5 for reason in reasons)


def test_the_dangerous_lane_is_off_until_somebody_turns_it_on() -> None:
    (lane,) = [workflow for workflow in SNIPPETS if workflow.name.endswith("fork-reviewed.yml")]
    job = lane.jobs["tests"]
    assert job["with"]["forks"] == "${{ vars.CI_RUNNER_FORKS || 'never' }}"
    assert "vars.CI_RUNNER_FORKS == 'reviewed'" in job["if"]
    called = Workflow("called", (WORKFLOWS / "accelerator-tests.yml").read_text("utf-8"))
    assert called.called["inputs"]["forks"]["default"] == "never"
    # on this event nothing but leased machines gets the commit, and no job checks another one out than the event's own
    assert "github.event_name != 'pull_request_target'" in called.jobs["hosted"]["if"]
    for name in ("plan", "leased"):
        job = called.jobs[name]
        step = next((step for step in job["steps"] if "plan@" in step.get("uses", "")), job)
        assert step["env"]["CI_RUNNER_TRUST__FORKS"] == "${{ inputs.forks }}"
