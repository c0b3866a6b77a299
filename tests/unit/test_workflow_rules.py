"""The workflows of this repository keep the rules, and each rule finds what breaks it."""

from __future__ import annotations

import re

import pytest

from tests.workflow_rules import ROOT, USES, WORKFLOWS, Workflow, ours, problems, wanted, workflow_files, yaml

PIN = "3d3c42e5aac5ba805825da76410c181273ba90b1"
GOOD = f"""\
on: pull_request
permissions: {{}}
concurrency:
  group: a-${{{{ github.ref }}}}
  cancel-in-progress: true
jobs:
  a:
    runs-on: ubuntu-latest
    timeout-minutes: 5
    permissions:
      contents: read
    steps:
      - uses: actions/checkout@{PIN} # v7.0.1
        with:
          persist-credentials: false
      - uses: org/kpt/actions/test@v1
        with:
          suites: unit
      - run: echo "$A"
"""


@pytest.mark.parametrize("workflow", workflow_files(), ids=lambda workflow: workflow.name)
def test_the_workflows_of_this_repository_keep_the_rules(workflow: Workflow) -> None:
    assert problems(workflow) == []


def test_a_workflow_that_keeps_the_rules_is_left_alone() -> None:
    assert problems(Workflow("w", GOOD)) == []


BROKEN = {
    "all rights": ("permissions: {}", "permissions: write-all", "no `permissions: {}`"),
    "a job without rights": ("    permissions:\n      contents: read\n", "", "does not list its permissions"),
    "no limit": ("    timeout-minutes: 5\n", "", "no timeout-minutes"),
    "an expression in a script": ('echo "$A"', 'echo "${{ github.head_ref }}"', "expression"),
    "a kept token": ("persist-credentials: false", "fetch-depth: 0", "keeps the token"),
    "the head": (
        "persist-credentials: false",
        "{persist-credentials: false, ref: '${{ github.head_ref }}'}",
        "checkout of ${{ github.head_ref }}",
    ),
    "another repository": (
        "persist-credentials: false",
        "{persist-credentials: false, repository: x/y}",
        "checkout of x/y",
    ),
    "a tag": (f"actions/checkout@{PIN} # v7.0.1", "actions/checkout@v7", "not pinned"),
    "no version": (" # v7.0.1", "", "no version"),
    "no whole version": (" # v7.0.1", " # v7", "no version"),
    "another form of ours": ("org/kpt/actions/test@v1", "./actions/test", "not of the form"),
    "another version of ours": ("org/kpt/actions/test@v1", "org/kpt/actions/test@v2", "not of the form"),
    "an action that is not there": ("org/kpt/actions/test@v1", "org/kpt/actions/tset@v1", "does not exist"),
    "an input that is not there": ("suites: unit", "suite: unit", "no input suite"),
    "no end of the older run": (
        "concurrency:\n  group: a-${{ github.ref }}\n  cancel-in-progress: true\n",
        "",
        "nothing ends it",
    ),
    "a cancelled reaper": (
        "actions/test@v1\n        with:\n          suites: unit",
        "actions/reap@v1",
        "gives machines back",
    ),
    "a cancelled release": ('echo "$A"', "ci-runner machines release --github job", "gives machines back"),
    "an identity outside": ("contents: read", "id-token: write", "outside of the environment"),
    "a suite beside an identity": ("contents: read", "id-token: write", "runs suites on a runner"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_each_rule_finds_what_breaks_it(name: str) -> None:
    before, after, said = BROKEN[name]
    assert before in GOOD
    if after.startswith("{"):
        before = f"\n          {before}"
        after = f" {after}"
    assert any(said in problem for problem in problems(Workflow("w", GOOD.replace(before, after))))


@pytest.mark.parametrize("event", ["pull_request_target", "workflow_run", "issue_comment"])
@pytest.mark.parametrize(
    "script", ["gh pr checkout 1", "git checkout FETCH_HEAD", "git merge x", "git worktree add x"]
)
def test_where_there_are_secrets_no_script_checks_anything_out(event: str, script: str) -> None:
    text = GOOD.replace("on: pull_request", f"on: {event}").replace('echo "$A"', script)
    assert any("checks something out" in problem for problem in problems(Workflow("w", text)))


def test_jobs_of_a_matrix_have_groups_and_artifacts_of_their_own() -> None:
    text = GOOD.replace(
        "    runs-on",
        "    strategy: {matrix: {a: [1, 2]}}\n    concurrency: x-${{ github.ref }}\n    runs-on",
    ).replace(
        'run: echo "$A"',
        f"uses: actions/upload-artifact@{PIN} # v7.0.0\n        with:\n          name: results",
    )
    found = problems(Workflow("w", text))
    assert [problem.partition("its matrix ")[2][:12] for problem in found] == ["would cancel", "uploads seve"]


def test_a_caller_grants_what_the_called_workflow_wants_and_cancels_no_release() -> None:
    text = """\
on: pull_request
permissions: {}
concurrency: {group: "a-${{ github.ref }}", cancel-in-progress: true}
jobs:
  a:
    permissions: {contents: read, id-token: write, pull-requests: read}
    uses: org/kpt/.github/workflows/accelerator-tests.yml@v1
    with: {suits: tpu}
"""
    found = "\n".join(problems(Workflow("w", text)))
    assert "`pull-requests: write`" in found
    assert "`checks: write`" in found
    assert "id-token" not in found
    assert "no input suits" in found
    assert "gives machines back" in found


def test_the_tests_of_a_pull_request_end_with_a_newer_commit_and_its_release_does_not() -> None:
    jobs = ours(WORKFLOWS / "accelerator-tests.yml").jobs
    for name in ("plan", "hosted", "leased"):
        assert jobs[name]["concurrency"]["cancel-in-progress"] is True
        # without a pull request the group is the run's own: there is nobody to cancel
        assert "github.event.pull_request.number || github.run_id" in jobs[name]["concurrency"]["group"]
    assert "concurrency" not in jobs["release"]
    assert jobs["release"]["if"].startswith("${{ always() ")
    assert jobs["report"]["if"].startswith("${{ always() ")


def test_a_release_gives_back_what_its_own_call_leased() -> None:
    jobs = ours(WORKFLOWS / "accelerator-tests.yml").jobs
    calls = {
        name: job["env"]["CI_RUNNER_CALL"]
        for name, job in jobs.items()
        if "CI_RUNNER_CALL" in job.get("env", {})
    }
    assert calls == dict.fromkeys(("leased", "release"), "call-${{ inputs.comment-key }}")
    given = [step["run"] for step in jobs["release"]["steps"] if "release" in step.get("run", "")]
    assert len(given) == 2
    assert all(" --github call " in words for words in given)


def test_each_job_has_the_least_rights() -> None:
    jobs = ours(WORKFLOWS / "accelerator-tests.yml").jobs
    writing = {
        name: sorted(scope for scope, level in job["permissions"].items() if level == "write")
        for name, job in jobs.items()
    }
    assert writing == {
        "plan": [],
        "hosted": [],
        "leased": ["id-token"],
        "report": ["checks", "id-token", "pull-requests"],
        "release": ["id-token"],
    }


def test_a_permission_has_its_reason_beside_it() -> None:
    scope = re.compile(r"\s+(?:contents|pull-requests|checks|issues|id-token|actions): (?:read|write)(.*)")
    for workflow in workflow_files():
        for line in workflow.text.splitlines():
            found = scope.fullmatch(line)
            assert found is None or found[1].startswith(" # "), f"{workflow.name}: {line.strip()}"


def test_an_action_of_others_is_used_in_one_version() -> None:
    versions: dict[str, set[str]] = {}
    for path in [*WORKFLOWS.glob("*.yml"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "docs").rglob("*.yml")]:
        for line in path.read_text("utf-8").splitlines():
            found = USES.match(line)
            if found and re.search(r"@[0-9a-f]{40}$", found["what"]):
                action, _, pin = found["what"].partition("@")
                versions.setdefault(action, set()).add(f"{pin} {found['comment']}")
    assert versions
    assert {action: pins for action, pins in versions.items() if len(pins) > 1} == {}


def test_what_is_wanted_of_a_caller_is_the_sum_of_the_jobs() -> None:
    assert wanted(WORKFLOWS / "accelerator-tests.yml") == {
        "contents": "read",
        "pull-requests": "write",
        "checks": "write",
        "id-token": "write",
    }


def test_zizmor_lets_only_our_own_actions_be_named_by_a_tag() -> None:
    rules = yaml.safe_load((ROOT / ".github" / "zizmor.yml").read_text("utf-8"))["rules"]
    assert rules == {"unpinned-uses": {"config": {"policies": {"org/kpt/*": "ref-pin", "*": "hash-pin"}}}}
