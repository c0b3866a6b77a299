"""Trust at the command line: what `plan` leaves out, what `run` refuses with 10, and whose rules count."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from ci_runner import codec, errors
from ci_runner.cli import trusting
from ci_runner.cli.main import main
from ci_runner.config.load import load_settings
from ci_runner.config.settings import TrustRules
from ci_runner.errors import TrustError
from ci_runner.github.payload import Payload
from ci_runner.github.people import Review
from ci_runner.github.saved import read_saved, saved_text
from ci_runner.model import Event, Lane, Plan, RunResult, TrustDecision
from ci_runner.plan.select import select
from tests.trust_kit import CASES, COMMITS, FakePeople, payload_of

HEAD, LATER = COMMITS["head"], COMMITS["later"]
TEAM = """
[machines.tpu]
provider = "gcp-tpu"
type = "v6e-1"
zones = ["us-central1-b"]

[suites.unit]
tests = ["tests/unit"]
[suites.unit.when]
events = ["pull_request", "pull_request_target", "push"]

[suites.jit]
tests = ["tests/jit"]
machine = "tpu"
[suites.jit.when]
labels = ["run-tpu-tests"]
"""
LABELED = next(case for case in CASES if case.name == "pull_request: a writer adds a label").facts
FORK = next(
    case for case in CASES if case.name == "pull_request of a fork: a writer has approved exactly the head"
).facts
Job = Callable[..., None]


@pytest.fixture
def people(monkeypatch: pytest.MonkeyPatch) -> FakePeople:
    """The GitHub that is asked instead of the real one."""
    known = FakePeople(wendy="write", tom="triage", mallory="read")
    known.pulls[7] = HEAD, ()
    monkeypatch.setattr(trusting, "Connecting", lambda _environ: known)
    return known


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, people: FakePeople) -> Job:
    """Makes the folder a checkout in a job of a workflow that this payload has started."""
    (tmp_path / "ci-runner.toml").write_text(TEAM)
    (tmp_path / "changed").write_text("README.md\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "home"))

    def start(payload: Mapping[str, Any], name: str = "pull_request", **environ: str) -> None:
        (tmp_path / "event.json").write_text(json.dumps(payload))
        values = {
            "GITHUB_ACTIONS": "true",
            "GITHUB_EVENT_PATH": str(tmp_path / "event.json"),
            "GITHUB_EVENT_NAME": name,
            "GITHUB_RUN_ATTEMPT": "1",
            **environ,
        }
        for key, value in values.items():
            monkeypatch.setenv(key, value)

    return start


def plan_of(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, dict[str, Any], str]:
    """Exit code, the plan as --save-plan keeps it, and what was said on stderr."""
    code = main(["plan", "--changed-files", "changed", "--save-plan", "plan.json", *words])
    said = capsys.readouterr()
    return code, json.loads(Path("plan.json").read_text()), said.err


@pytest.fixture
def executed(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, Plan]]:
    """What would have been run, instead of running it."""
    from ci_runner.cli import running
    from ci_runner.execution import run

    seen: list[tuple[Any, Plan]] = []

    def execute(session: Any, plan: Plan) -> RunResult:
        seen.append((session, plan))
        raise errors.Cancelled("far enough")

    monkeypatch.setattr(run, "execute", execute)
    monkeypatch.setattr(running, "head_commit", lambda _root: LATER)
    return seen


def test_a_writers_label_plans_and_runs_the_suite(
    job: Job, capsys: pytest.CaptureFixture[str], executed: list[tuple[Any, Plan]]
) -> None:
    job(payload_of(LABELED))
    code, plan, _ = plan_of(capsys)
    assert code == 0
    assert [item["suite"]["name"] for item in plan["selected"]] == ["jit"]
    assert plan["event"]["trust"]["code"] == "same-repository"
    assert main(["run", "--changed-files", "changed"]) == errors.CANCELLED
    ((session, ran),) = executed
    assert [item.id for item in ran.selected] == ["jit"]
    assert session.source.commit == LATER


def test_a_triagers_label_is_skipped_in_the_plan_with_what_to_do(
    job: Job, capsys: pytest.CaptureFixture[str]
) -> None:
    facts = dataclasses.replace(LABELED, actor=dataclasses.replace(LABELED.actor, login="tom"))  # type: ignore[type-var]
    job(payload_of(facts))
    code, plan, said = plan_of(capsys)
    assert code == errors.NOT_TRUSTED
    (skip,) = [each for each in plan["skipped"] if each["suite"] == "jit"]
    assert skip["code"] == "untrusted"
    assert skip["evidence"] == "trust: actor-not-writer"
    assert skip["reason"] == (
        '"tpu" may not be leased: tom has triage access, and spending money takes write access. '
        "Ask somebody with write access to add the label, or to start the workflow by workflow_dispatch"
    )
    assert "tom has triage access" in said
    assert "fix: ask somebody with write access" in said
    assert plan["event"]["lane"] == "A"


@pytest.mark.parametrize("words", [["jit"], ["--all"], ["unit", "jit"]])
def test_what_is_asked_for_by_name_is_refused_whole(
    job: Job,
    capsys: pytest.CaptureFixture[str],
    executed: list[tuple[Any, Plan]],
    words: list[str],
) -> None:
    job(payload_of(FORK))
    assert main(["run", *words, "--changed-files", "changed"]) == errors.NOT_TRUSTED
    said = capsys.readouterr().err
    assert "[trust] forks" in said
    assert "\nfix: " in said
    assert executed == []


def test_a_forks_own_push_runs_its_cpu_suites(
    job: Job, executed: list[tuple[Any, Plan]], people: FakePeople
) -> None:
    facts = dataclasses.replace(FORK, action="opened", actor=dataclasses.replace(FORK.actor, login="mallory"))  # type: ignore[type-var]
    job(payload_of(facts))
    assert main(["run", "--changed-files", "changed"]) == errors.CANCELLED
    ((_, plan),) = executed
    assert [item.id for item in plan.selected] == ["unit"]
    assert people.asked == []


@pytest.mark.parametrize(
    "machine", [["--machine", "tpu"], ["--platform", "aws", "--instance-type", "g5.xlarge"]]
)
def test_a_machine_of_the_command_line_is_leased_by_nobody_else(
    job: Job, capsys: pytest.CaptureFixture[str], executed: list[tuple[Any, Plan]], machine: list[str]
) -> None:
    job(payload_of(FORK))
    assert main(["run", "unit", *machine, "--changed-files", "changed"]) == errors.NOT_TRUSTED
    assert '"unit" may not lease a machine' in capsys.readouterr().err
    assert executed == []
    assert main(["run", "unit", "--changed-files", "changed"]) == errors.CANCELLED


def test_a_plan_that_says_it_is_trusted_is_not_believed(
    job: Job, capsys: pytest.CaptureFixture[str], executed: list[tuple[Any, Plan]], tmp_path: Path
) -> None:
    forged = Event(
        kind="push",
        trust=TrustDecision(allowed=True, lane=Lane.SAME_REPOSITORY, code="pushed", reason="of course"),
    )
    job(payload_of(FORK))
    plan = select(forged, load_settings(tmp_path, environ={}), names=["jit"])
    (tmp_path / "forged.json").write_text(codec.dumps(plan))
    (tmp_path / "event-forged.json").write_text(saved_text(forged))
    assert main(["run", "--plan", "forged.json"]) == errors.NOT_TRUSTED
    assert main(["run", "jit", "--event", "event-forged.json"]) == errors.NOT_TRUSTED
    assert "trust" in capsys.readouterr().err
    assert executed == []


def test_an_approved_fork_runs_exactly_the_approved_commit(
    job: Job, executed: list[tuple[Any, Plan]], people: FakePeople
) -> None:
    approval = Review(author="wendy", state="APPROVED", commit_id=HEAD, submitted_at="2026-11-23T10:00:00Z")
    people.pulls[7] = HEAD, [approval]
    job(payload_of(FORK), "pull_request_target", CI_RUNNER_TRUST__FORKS="reviewed")
    assert main(["run", "jit", "--changed-files", "changed"]) == errors.CANCELLED
    ((session, plan),) = executed
    assert session.source.commit == HEAD
    assert plan.event.lane is Lane.FORK_REVIEWED
    # between two jobs of one run somebody pushes
    people.pulls[7] = LATER, [approval]
    assert main(["run", "jit", "--changed-files", "changed"]) == errors.NOT_TRUSTED
    assert len(executed) == 1


def test_a_comment_runs_the_approved_commit_which_its_payload_does_not_name(
    job: Job, capsys: pytest.CaptureFixture[str], executed: list[tuple[Any, Plan]], people: FakePeople
) -> None:
    facts = next(
        case.facts for case in CASES if case.name == "a writer comments, and the exact head is approved"
    )
    people.pulls[7] = HEAD, list(facts.reviews)
    Path("ci-runner.toml").write_text(
        TEAM.replace('labels = ["run-tpu-tests"]', 'events = ["issue_comment"]')
    )
    job(payload_of(facts), "issue_comment", CI_RUNNER_TRUST__FORKS="reviewed")
    assert main(["run", "--changed-files", "changed"]) == errors.CANCELLED
    ((session, plan),) = executed
    assert [item.id for item in plan.selected] == ["jit"]
    assert (session.source.commit, plan.event.commit, plan.event.pull_request) == (HEAD, HEAD, 7)
    assert plan.event.lane is Lane.FORK_REVIEWED
    people.pulls[7] = LATER, list(facts.reviews)
    assert main(["run", "jit", "--changed-files", "changed"]) == errors.NOT_TRUSTED
    people.pulls[7] = HEAD, list(facts.reviews)
    edited = payload_of(dataclasses.replace(facts, comment_edited=True))
    job(edited, "issue_comment", CI_RUNNER_TRUST__FORKS="reviewed")
    assert main(["run", "jit", "--changed-files", "changed"]) == errors.NOT_TRUSTED
    assert "the comment was edited" in capsys.readouterr().err
    assert len(executed) == 1


def test_without_an_event_a_workflow_leases_nothing(
    job: Job,
    monkeypatch: pytest.MonkeyPatch,
    executed: list[tuple[Any, Plan]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    job({})
    monkeypatch.delenv("GITHUB_EVENT_PATH")
    (Path.cwd() / "event.saved").write_text(saved_text(Event(kind="local")))
    assert main(["run", "jit", "--event", "event.saved"]) == errors.NOT_TRUSTED
    assert "no rule says who may spend money" in capsys.readouterr().err
    monkeypatch.delenv("GITHUB_ACTIONS")
    assert main(["run", "jit", "--event", "event.saved"]) == errors.CANCELLED
    assert len(executed) == 1


def test_github_that_cannot_be_asked_is_told_in_the_plan(
    job: Job, capsys: pytest.CaptureFixture[str], people: FakePeople
) -> None:
    people.silent = True
    job(payload_of(LABELED))
    code, plan, _ = plan_of(capsys)
    assert code == errors.NOT_TRUSTED
    assert plan["notes"] == [
        "this could not be learned, and counts against leasing: GitHub cannot be reached"
    ]
    with pytest.raises(TrustError) as caught:
        trusting.check(
            select(Event(kind="push"), load_settings(Path.cwd(), environ={}), names=["jit"]),
            load_settings(Path.cwd(), environ={}),
            os.environ,
        )
    assert caught.value.details == ("GitHub cannot be reached",)


def test_a_saved_event_replays_to_the_same_plan(
    job: Job, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, people: FakePeople
) -> None:
    job(payload_of(LABELED))
    _, first, _ = plan_of(capsys, "--save-event", "saved.json")
    asked = list(people.asked)
    for name in ("GITHUB_ACTIONS", "GITHUB_EVENT_PATH", "GITHUB_EVENT_NAME"):
        monkeypatch.delenv(name)
    assert main(["plan", "--event", "saved.json", "--save-plan", "again.json"]) == 0
    assert json.loads(Path("again.json").read_text()) == first
    assert people.asked == asked
    saved = json.loads(Path("saved.json").read_text())
    assert read_saved(saved, "x").trust is not None


def test_a_plan_without_machines_asks_nobody(
    job: Job, capsys: pytest.CaptureFixture[str], people: FakePeople
) -> None:
    job(payload_of(dataclasses.replace(LABELED, action="opened", label_added=None, labels=())))
    code, plan, _ = plan_of(capsys)
    assert code == 0
    assert [item["suite"]["name"] for item in plan["selected"]] == ["unit"]
    assert people.asked == []
    assert plan["event"].get("trust") is None


# -- whose rules count

REPOSITORY = {"repository": {"full_name": "octo/tests", "default_branch": "main"}}
HERE = {"GITHUB_REF": "refs/heads/main", "GITHUB_SHA": HEAD}


@pytest.mark.parametrize(
    ("environ", "checked_out", "counts"),
    [
        (HERE, HEAD, True),
        (HERE, LATER, False),  # the pull request's own files were checked out
        (HERE, None, False),
        ({**HERE, "GITHUB_REF": "refs/pull/7/merge"}, HEAD, False),
        ({**HERE, "GITHUB_REF": "refs/heads/main2"}, HEAD, False),
        ({**HERE, "GITHUB_REF": "refs/heads/agent/self-made"}, HEAD, False),
        ({"GITHUB_REF": "refs/heads/main"}, HEAD, False),
        ({"GITHUB_SHA": HEAD}, HEAD, False),
        ({}, None, False),
    ],
)
def test_a_file_counts_only_as_it_is_on_the_default_branch(
    tmp_path: Path, environ: dict[str, str], checked_out: str | None, counts: bool
) -> None:
    (tmp_path / "ci-runner.toml").write_text('[trust]\nforks = "reviewed"\nbots = ["release-bot[bot]"]\n')
    settings = load_settings(tmp_path, environ={"XDG_CONFIG_HOME": str(tmp_path)})
    rules = trusting.rules_of(settings, Payload(REPOSITORY, "x"), environ, lambda _root: checked_out)
    assert rules == (TrustRules(forks="reviewed", bots=("release-bot[bot]",)) if counts else TrustRules())


def test_the_workflows_own_environment_counts_whatever_is_checked_out(tmp_path: Path) -> None:
    (tmp_path / "ci-runner.toml").write_text('[trust]\nbots = ["release-bot[bot]"]\n')
    environ = {"CI_RUNNER_TRUST__FORKS": "reviewed", "XDG_CONFIG_HOME": str(tmp_path)}
    settings = load_settings(tmp_path, environ=environ)
    rules = trusting.rules_of(settings, Payload(REPOSITORY, "x"), HERE, lambda _root: LATER)
    assert rules == TrustRules(forks="reviewed")
    environ["CI_RUNNER_TRUST__BOTS"] = "a[bot], b[bot]"
    settings = load_settings(tmp_path, environ=environ)
    rules = trusting.rules_of(settings, Payload(REPOSITORY, "x"), {}, lambda _root: None)
    assert rules == TrustRules(forks="reviewed", bots=("a[bot]", "b[bot]"))


def test_without_rules_git_is_not_asked(tmp_path: Path) -> None:
    settings = load_settings(tmp_path, environ={"XDG_CONFIG_HOME": str(tmp_path)})

    def never(_root: Path) -> str | None:
        raise AssertionError("nothing to look up")

    assert trusting.rules_of(settings, Payload(REPOSITORY, "x"), HERE, never) == TrustRules()


def test_github_without_a_token_is_an_error_that_is_told() -> None:
    people = trusting.Connecting({"GITHUB_REPOSITORY": "octo/tests"})
    for ask in (
        lambda: people.permission("wendy"),
        lambda: people.reviews(7),
        lambda: people.head(7),
        lambda: people.label_adder(7, "x"),
    ):
        with pytest.raises(errors.AuthenticationError, match="no token"):
            ask()
