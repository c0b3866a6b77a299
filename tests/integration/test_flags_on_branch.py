"""A flag that `kpi --apply` turns off in a job is off in the plans of every later job: one request, never red."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from ci_runner.github import client as github_client
from ci_runner.history.branch import BranchStore
from ci_runner.history.flags_asked import ask_flags
from ci_runner.history.overrides import OFF, ON, put_override
from ci_runner.history.record import Record
from tests.emulators.github.refusal import Refusal
from tests.github_kit import Hub, emulated_github, nightly_event
from tests.projects import Project, make_project

UNIT = '[suites.unit]\ntests = ["tests"]\nrisk = "low"\n[flags.new]\nsuites = ["unit"]\npercentage = 100\n'
TEST = {"tests/test_a.py": "def test_a():\n    assert True\n"}
BRANCH = "ci-runner-history"
NOW = datetime(2026, 11, 23, 10, tzinfo=UTC)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    monkeypatch.setattr(github_client, "WRITE_SECONDS", None)
    with emulated_github() as found:
        yield found


def store(hub: Hub, **values: int) -> BranchStore:
    return BranchStore(hub.client(), BRANCH, pause=lambda _: None, **values)


def job(hub: Hub, event: Mapping[str, str]) -> dict[str, str]:
    return {**hub.environ, **event, "GITHUB_ACTIONS": "true", "GITHUB_RUN_ID": "1"}


def planned(project: Project, environ: Mapping[str, str]) -> tuple[dict[str, Any], str]:
    """The decision about the suite, and what was printed."""
    ended = project.ci("plan", "unit", "--save-plan", "plan.json", cwd=None, **environ)
    assert ended.code == 0, ended
    selected = json.loads((project.root / "plan.json").read_text("utf-8"))["selected"]
    return dict(selected[0]["runner"]), ended.out


def broken_runs(hub: Hub) -> None:
    """So many fallbacks that the python runner is certainly over its limit."""
    mine = store(hub)
    with mine.together("Remember runs"):
        for number in range(30):
            run_id = f"{datetime.now(UTC):%Y%m%d}-{number:06}-0a0b"
            record = Record(
                run_id=run_id,
                test_suite="unit",
                timestamp=f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
                runner="shell",
                fallback_reason="RUNNER_CRASHED: it ended by a signal",
                verdict="passed",
                exit_code=0,
            )
            key = f"daily/2026-11-23/local-unit-abc-{run_id}.json"
            mine.put_new(key, json.dumps(_plain(record)).encode())


def _plain(record: Record) -> Any:
    from ci_runner import codec

    return codec.plain(record)


def test_what_one_job_turns_off_is_off_in_the_next_and_on_again_after_it(hub: Hub, tmp_path: Path) -> None:
    project = make_project(tmp_path, TEST, configuration=UNIT)
    head = project.git("rev-parse", "HEAD").strip()
    hub.repository.objects.commits[head] = hub.repository.objects.commits[hub.main]
    environ = job(hub, nightly_event(tmp_path, head))
    assert planned(project, environ)[0]["variant"] == "python"
    broken_runs(hub)
    applied = project.ci("kpi", "--apply", cwd=None, **environ)
    assert "turn off new" in applied.out, applied
    before = len(hub.calls())
    decision, _ = planned(project, environ)
    assert (decision["variant"], decision["reason"]) == ("shell", "override")
    assert hub.calls()[before:] == ["POST /graphql"]  # all that it costs
    ended = project.ci("run", "unit", "--format", "json", cwd=None, **environ)
    assert json.loads(ended.out)["verdict"] == "passed", ended
    plan = json.loads((project.last_run() / "plan.json").read_text("utf-8"))
    assert plan["selected"][0]["runner"]["reason"] == "override"
    assert "turned on new" in project.ci("kpi", "--clear", "new", cwd=None, **environ).out
    assert planned(project, environ)[0]["variant"] == "python"


@pytest.mark.parametrize(
    "refusal", [Refusal(403, "Resource not accessible by integration"), Refusal(502, "Bad Gateway")]
)
def test_a_history_that_cannot_be_read_is_a_notice(hub: Hub, tmp_path: Path, refusal: Refusal) -> None:
    project = make_project(tmp_path, TEST, configuration=UNIT)
    hub.world.fail("POST /graphql", refusal, times=9)
    decision, said = planned(project, job(hub, nightly_event(tmp_path, hub.main)))
    assert decision["variant"] == "python"
    assert f"flag overrides could not be read (GitHub answers with HTTP {refusal.status})" in said
    assert hub.calls() == ["POST /graphql"]


def test_no_branch_has_no_overrides(hub: Hub) -> None:
    assert ask_flags(hub.environ, BRANCH).overrides.active == {}
    store(hub).put_new("daily/x.json", b"{}")
    found = ask_flags(hub.environ, BRANCH)
    assert (found.overrides.active, found.overrides.unreachable) == ({}, None)


@pytest.mark.parametrize("data", [b"no JSON", b"\x00\xff", b""])
def test_an_override_that_cannot_be_read_keeps_its_flag_off(hub: Hub, data: bytes) -> None:
    store(hub).put_new("flags/new/override-20261123T100000.000000Z-0a0b.json", data)
    assert ask_flags(hub.environ, BRANCH).overrides.active["new"].problem


def test_overrides_are_never_packed_away(hub: Hub) -> None:
    put_override(store(hub), "a flag/x", OFF, reason="r", by="kpi", now=NOW)
    put_override(store(hub), "other", OFF, reason="r", by="kpi", now=NOW)
    put_override(store(hub), "other", ON, reason="r", by="me", now=NOW.replace(hour=11))
    for number in range(30):
        store(hub, pack_over=5, pack_size=5).put_new(f"daily/l-20261123-{number:06}-0a0b.json", b"{}")
    assert any(name.startswith("packs/") for name in hub.repository.objects.files(f"heads/{BRANCH}"))
    found = ask_flags(hub.environ, BRANCH)
    assert list(found.overrides.active) == ["a flag/x"]
    assert list(found.cleared) == ["other"]


@pytest.mark.parametrize(
    "wrong", [{"GITHUB_TOKEN": "nobody's"}, {"GITHUB_REPOSITORY": "org/other"}, {"GITHUB_REPOSITORY": "x"}]
)
def test_what_cannot_be_asked_is_a_value(hub: Hub, wrong: dict[str, str]) -> None:
    assert ask_flags({**hub.environ, **wrong}, BRANCH).overrides.unreachable


def test_a_silent_github_is_a_value(hub: Hub) -> None:
    environ = {**hub.environ, "GITHUB_API_URL": "http://127.0.0.1:1"}
    assert "no answer" in str(ask_flags(environ, BRANCH).overrides.unreachable)
