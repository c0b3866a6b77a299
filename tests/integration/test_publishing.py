"""Real runs told to an emulated GitHub: comment, check, summary and issue, updated in place, closed by the rule."""

from __future__ import annotations

import dataclasses
import json
import threading
from argparse import Namespace
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ci_runner.checks.tracking import Step, Tracked
from ci_runner.cli.report import joined_of
from ci_runner.report.comment import Context, part_of
from ci_runner.report.issue import issue_of, tracked_in
from ci_runner.report.parts import parts_in
from ci_runner.report.publish.issues import suspects_of
from ci_runner.report.publish.remarks import PullRequestRemarks
from ci_runner.report.sticky import Publisher
from tests.emulators.github.refusal import Refusal
from tests.github_kit import Hub, emulated_github, nightly_event, pull_request_event
from tests.projects import Ended, Project, make_project

UNIT = '[suites.unit]\ntests = ["tests"]\n[suites.unit.when]\nevents = ["schedule", "pull_request"]\n'
RED = "def test_a():\n    assert True\n\ndef test_b():\n    assert 1 == 2, 'off by one @octocat'\n"
WORSE = RED + "\ndef test_c():\n    raise OSError('gone')\n"
GREEN = "def test_a():\n    assert True\n\ndef test_b():\n    assert 2 == 2\n"
EVERYWHERE = "comment,check,summary,issue"


@pytest.fixture
def hub() -> Iterator[Hub]:
    with emulated_github() as found:
        yield found


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return make_project(tmp_path, {"tests/test_a.py": RED}, configuration=UNIT)


def job(hub: Hub, event: object, summary: Path) -> dict[str, str]:
    """The environment of a job of a workflow."""
    assert isinstance(event, dict)
    return {
        **hub.environ,
        **event,
        "GITHUB_ACTIONS": "true",
        "GITHUB_RUN_ID": "4711",
        "GITHUB_RUN_ATTEMPT": "1",
        "GITHUB_STEP_SUMMARY": str(summary),
    }


def tell(
    project: Project, hub: Hub, event: object, *words: str, publish: str = EVERYWHERE, run: str = "4711"
) -> Ended:
    """Report the newest run as the job of this event."""
    environ = job(hub, event, project.home / "summary.md") | {"GITHUB_RUN_ID": run}
    results = str(project.last_run())
    return project.ci(
        "report", "--results", results, "--publish", publish, "--format", "json", *words, cwd=None, **environ
    )


def test_a_red_run_is_told_everywhere_and_a_second_one_updates_it_in_place(
    project: Project, hub: Hub, tmp_path: Path
) -> None:
    assert project.ci("run", "unit").code == 1
    on_pull = pull_request_event(tmp_path, hub.main)
    told = tell(project, hub, on_pull)
    assert told.code == 1, told
    (comment,) = hub.comments()
    assert told.json["comment_url"].endswith(f"#issuecomment-{comment.id}")
    assert "1 failed · 1 passed" in comment.body
    assert "one @\u200boctocat" in comment.body
    (check,) = hub.repository.checks.values()
    assert (check.conclusion, check.head, check.annotations[0]["path"]) == (
        "failure",
        hub.main,
        "tests/test_a.py",
    )
    assert "test_b" in (project.home / "summary.md").read_text()
    assert hub.issues() == []

    project.write({"tests/test_a.py": WORSE})
    assert project.ci("run", "unit").code == 1
    assert tell(project, hub, on_pull, publish="comment,check").code == 1
    (updated,) = hub.comments()
    assert updated.id == comment.id
    assert "2 failed · 1 passed" in updated.body
    newest = max(hub.repository.checks.values(), key=lambda each: each.id)
    assert {note["message"].partition(":")[0] for note in newest.annotations} >= {"OSError"}
    hub.world.calls.clear()
    again = tell(project, hub, on_pull, publish="comment,check")
    assert "comment: unchanged" in again.err
    assert "check: unchanged" in again.err
    assert not list(hub.world.writes())


def test_a_nightly_failure_has_one_issue_until_it_is_green_by_the_rule(
    project: Project, hub: Hub, tmp_path: Path
) -> None:
    def night(number: int) -> Ended:
        project.ci("run", "unit")
        hub.commit(f"Change {number}")
        return tell(project, hub, nightly_event(tmp_path, hub.main), publish="issue", run=str(number))

    first = night(1)
    (issue,) = hub.issues()
    assert f"opened issue #{issue.number}" in first.err
    assert issue.title == "unit: tests/test_a.py::test_b"
    assert set(issue.labels) == {"ci-failure", "suite/unit"}
    first_bad = hub.main
    assert f"/commit/{first_bad}" in issue.body
    assert "ci-runner run unit --only tests/test_a.py::test_b" in issue.body

    night(2)
    assert [each.number for each in hub.issues()] == [issue.number]
    assert "seen in 2 runs" in issue.body
    assert f"/commit/{first_bad}" in issue.body
    assert f"/commit/{hub.main}" in issue.body
    assert hub.comments(issue.number) == []  # once a day is enough

    project.write({"tests/test_a.py": GREEN})
    for number in (3, 4):
        night(number)
        assert issue.state == "open"
    last = night(5)
    assert issue.state == "closed"
    assert f"closed issue #{issue.number}" in last.err
    assert "Closed by the rule" in hub.comments(issue.number)[-1].body

    project.write({"tests/test_a.py": RED})
    night(6)
    assert issue.state == "open"
    assert "Red again" in hub.comments(issue.number)[-1].body

    issue.state, issue.closed_by = "closed", "dev"  # a person says no
    night(7)
    assert issue.state == "closed"
    assert len(hub.issues()) == 1


def test_suspects_are_the_commits_since_it_was_green(hub: Hub) -> None:
    """A comparison that GitHub cannot make leaves them out, and nothing else."""
    good = hub.main
    guilty = hub.commit("Break it\n\nwith a body")
    hub.commit("Innocent")
    tracked = Tracked(suite="unit", fingerprint="f", test="t", first_bad=hub.main, last_good=good)
    found = suspects_of(hub.client(), Step(do="open", tracked=tracked))
    assert [each.title for each in found] == ["Innocent", "Break it"]
    assert found[1].sha == guilty
    body = issue_of(Step(do="open", tracked=tracked), repository="org/kpt", suspects=found).body
    assert f"[`{guilty[:10]}`](https://github.com/org/kpt/commit/{guilty}) Break it" in body
    assert tracked_in(body) == tracked
    gone = dataclasses.replace(tracked, last_good="f" * 40)
    assert not suspects_of(hub.client(), Step(do="open", tracked=gone))


def test_twenty_jobs_at_once_leave_one_comment_with_twenty_parts(
    project: Project, hub: Hub, tmp_path: Path
) -> None:
    """Each in a process of its own would take minutes; each has a client and a connection of its own."""
    assert project.ci("run", "unit").code == 1
    result = joined_of(Namespace(plan=None, results=[project.last_run()])).result
    start = threading.Barrier(20)

    def publish(number: int) -> str:
        client = hub.client()
        part = part_of(f"job-{number:02}", result, Context())
        start.wait(60)
        return Publisher(PullRequestRemarks(client, 7), "tests", shared=True).publish(part).action

    with ThreadPoolExecutor(20) as pool:
        actions = list(pool.map(publish, range(20)))
    assert set(actions) <= {"created", "updated"}
    (comment,) = hub.comments()
    assert [part.key for part in parts_in(comment.body)] == [f"job-{number:02}" for number in range(20)]


@pytest.mark.parametrize(
    ("refusal", "word"),
    [
        (Refusal(403, "Resource not accessible by integration"), "workflow_run"),
        (Refusal(403, "Unable to create comment because issue is locked."), "unlock"),
        (Refusal(401, "Bad credentials"), "expired"),
    ],
)
def test_who_may_not_write_is_told_why_and_the_rest_is_published(
    project: Project, hub: Hub, tmp_path: Path, refusal: Refusal, word: str
) -> None:
    assert project.ci("run", "unit").code == 1
    hub.world.fail("POST /repos/org/kpt", refusal, times=9)
    told = tell(project, hub, pull_request_event(tmp_path, hub.main), publish="comment,summary")
    assert told.code == 1
    assert told.json["not_published"] == ["comment"]
    assert word in told.err
    assert "test_b" in (project.home / "summary.md").read_text()


def test_without_a_token_the_summary_is_written_and_the_reason_said(
    project: Project, hub: Hub, tmp_path: Path
) -> None:
    assert project.ci("run", "unit").code == 1
    environ = job(hub, pull_request_event(tmp_path, hub.main), project.home / "summary.md") | {
        "GITHUB_TOKEN": ""
    }
    told = project.ci(
        "report", "--results", str(project.last_run()), "--publish", "comment,summary", cwd=None, **environ
    )
    assert told.code == 1
    assert "there is no token for GitHub" in told.out
    assert "test_b" in (project.home / "summary.md").read_text()


def test_a_dry_run_prints_what_would_be_sent_and_sends_nothing(
    project: Project, hub: Hub, tmp_path: Path
) -> None:
    assert project.ci("run", "unit").code == 1
    told = tell(project, hub, nightly_event(tmp_path, hub.main), "--dry-run")
    assert not list(hub.world.writes())
    for words in (
        "would comment",
        "would set the check run",
        "would write the step summary",
        "would keep issues",
    ):
        assert words in told.err
    sent = tell(project, hub, pull_request_event(tmp_path, hub.main), publish="comment")
    (comment,) = hub.comments()
    assert sent.code == 1
    dry = tell(project, hub, pull_request_event(tmp_path, hub.main), "--dry-run", publish="comment")
    assert comment.body.strip() in dry.err


def test_a_workflow_run_job_finds_the_pull_request_of_a_fork(
    project: Project, hub: Hub, tmp_path: Path
) -> None:
    """It trusts the payload of its own event, whatever the artifact says about who it belongs to."""
    assert project.ci("run", "unit", cwd=None, **pull_request_environ(hub, tmp_path, number=99)).code == 1
    hub.world.pull(hub.repository, 12, "c" * 40, head_repository="fork/kpt", branch="topic")
    payload = {
        "action": "completed",
        "workflow_run": {
            "head_branch": "topic",
            "head_sha": "c" * 40,
            "event": "pull_request",
            "pull_requests": [],
            "head_repository": {"full_name": "fork/kpt", "owner": {"login": "fork"}},
        },
        "repository": {"full_name": "org/kpt", "default_branch": "main"},
        "sender": {"login": "stranger", "type": "User"},
    }
    path = tmp_path / "workflow_run.json"
    path.write_text(json.dumps(payload))
    event = {"GITHUB_EVENT_PATH": str(path), "GITHUB_EVENT_NAME": "workflow_run"}
    told = tell(project, hub, event, publish="comment")
    assert told.code == 1, told
    assert len(hub.comments(12)) == 1
    assert parts_in(hub.comments(12)[0].body)[0].commit == "c" * 40
    payload["workflow_run"]["head_repository"] = None  # type: ignore[index]
    path.write_text(json.dumps(payload))
    assert "belongs to no pull request" in tell(project, hub, event, publish="comment").err


def pull_request_environ(hub: Hub, folder: Path, *, number: int) -> dict[str, str]:
    return {**pull_request_event(folder, hub.main, number=number), "GITHUB_REPOSITORY": "org/kpt"}


def test_a_run_of_a_branch_or_a_pull_request_keeps_no_issues(
    project: Project, hub: Hub, tmp_path: Path
) -> None:
    assert project.ci("run", "unit").code == 1
    told = tell(project, hub, pull_request_event(tmp_path, hub.main), publish="issue")
    assert "issue: none is kept" in told.err
    assert hub.issues() == []
