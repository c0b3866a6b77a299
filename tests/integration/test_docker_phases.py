"""The phases of guard and reap as processes that share nothing, against emulated clouds."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ci_runner.github.job import job_of, workflow_run_of
from ci_runner.providers.base import Source
from tests.docker_kit import RUN, Clouds, Phases, emulated_clouds

BOTH = {"providers": "gcp-tpu, aws-ec2"}
NEIGHBOUR = {**RUN, "GITHUB_JOB": "others"}


@pytest.fixture
def clouds(tmp_path: Path) -> Iterator[Clouds]:
    with emulated_clouds(Source(root=str(tmp_path), commit=None)) as found:
        yield found


@pytest.fixture
def phases(tmp_path: Path, clouds: Clouds) -> Phases:
    workspace, temp = tmp_path / "workspace", tmp_path / "temp"
    workspace.mkdir()
    temp.mkdir()
    return Phases(workspace, temp, clouds.environ, {})


def test_what_a_killed_run_left_is_gone_after_the_last_phase_and_nothing_else(
    clouds: Clouds, phases: Phases
) -> None:
    began = phases.run("guard", "main", BOTH)
    assert began.code == 0, began
    assert phases.outputs == {"identity": job_of(RUN)}
    assert "every machine of this job is given back (aws-ec2, gcp-tpu:" in began.out
    assert "it has 0 machines now" in began.out
    clouds.lease("lost")
    clouds.lease("used", NEIGHBOUR)
    ended = phases.run("guard", "release", BOTH)
    assert ended.code == 0, ended
    assert ended.out.count("gave lost") == 2
    assert clouds.left() == ["used", "used"]
    assert list(phases.workspace.iterdir()) == []


def test_a_run_is_all_its_jobs_and_attempts(clouds: Clouds, phases: Phases) -> None:
    clouds.lease("mine")
    clouds.lease("next", NEIGHBOUR)
    clouds.lease("again", {**NEIGHBOUR, "GITHUB_RUN_ATTEMPT": "2"})
    clouds.lease("stranger", {**RUN, "GITHUB_RUN_ID": "11"})
    clouds.lease("fork", {**RUN, "GITHUB_REPOSITORY": "me/scratch"})
    began = phases.run("guard", "main", {**BOTH, "scope": "run"})
    assert "of any job of this workflow run is given back" in began.out
    assert "it has 6 machines now:" in began.out
    assert phases.outputs == {"identity": workflow_run_of(RUN)}
    ended = phases.run("guard", "release", {**BOTH, "scope": "run"})
    assert ended.code == 0, ended
    assert clouds.left() == ["fork", "fork", "stranger", "stranger"]


def test_without_credentials_the_first_phase_is_red(phases: Phases) -> None:
    del phases.environ["AWS_ACCESS_KEY_ID"], phases.environ["AWS_SECRET_ACCESS_KEY"]
    began = phases.run("guard", "main", BOTH)
    assert began.code == 5, began
    assert "aws-ec2 did not answer" in began.err
    assert began.out == ""
    assert phases.outputs == {}


def test_the_clouds_are_those_of_the_configuration_if_none_is_named(clouds: Clouds, phases: Phases) -> None:
    nobody = phases.run("guard", "main")
    assert nobody.code == 2, nobody
    assert "nothing says which clouds to ask" in nobody.err
    (phases.workspace / "ci-runner.toml").write_text(
        '[machines.tpu]\nprovider = "gcp-tpu"\ntype = "v6e-1"\n[machines.host]\nprovider = "ssh"\n'
        '[stores]\nhistory = "s3://nowhere-at-all/history"\n'
    )
    clouds.lease("lost")
    ended = phases.run("guard", "release")
    assert ended.code == 0, ended
    assert clouds.left() == ["lost"]  # the one in the cloud that was not named


def test_no_checkout_can_spoil_a_release_whose_clouds_are_named(clouds: Clouds, phases: Phases) -> None:
    (phases.workspace / "ci-runner.toml").write_text("[machines.tpu\nthis is broken\n")
    clouds.lease("lost")
    ended = phases.run("guard", "release", {**BOTH, "working-directory": "gone"})
    assert ended.code == 0, ended
    assert clouds.left() == []


def test_the_reaper_marks_then_tells_what_it_would_delete(clouds: Clouds, phases: Phases) -> None:
    past = time.time() - 7200
    clouds.lease("old", created_at=past, expires_at=past + 60)
    clouds.lease("new")
    looked = phases.run("reap", "reap", {**BOTH, "dry-run": "true"})
    assert looked.code == 0, looked
    assert "4 machines of ours; nothing was changed" in looked.out
    assert phases.outputs == {"listed": "4", "marked": "0", "deleted": "0", "failed": "0"}
    marked = phases.run("reap", "reap", BOTH)
    assert marked.code == 0, marked
    assert marked.out.count(": mark, done") == 2
    assert phases.outputs == {"listed": "4", "marked": "2", "deleted": "0", "failed": "0"}
    assert phases.summary == ""


def test_the_emergency_stop_ends_everything_and_writes_it_into_the_summary(
    clouds: Clouds, phases: Phases
) -> None:
    clouds.lease("new")
    stopped = phases.run("reap", "reap", {**BOTH, "all": "true"})
    assert stopped.code == 0, stopped
    assert "2 machines of ours: 0 kept, 0 marked, 2 deleted, 0 failed" in stopped.out
    assert phases.outputs["deleted"] == "2"
    assert phases.summary.startswith("# Emergency stop")
    assert "2 machines of ours: 2 deleted" in phases.summary
    assert list(phases.workspace.iterdir()) == []
    assert clouds.left() == []


@pytest.mark.parametrize(
    ("inputs", "where"),
    [
        ({"providers": "ssh"}, "ssh is no cloud"),
        ({"providers": "gcp-tpus"}, "perhaps you meant gcp-tpu"),
        ({"providers": "gcp-tpu", "scope": "all"}, "input scope"),
        ({"providers": "gcp-tpu\n::set-output name=identity::x"}, "no provider is called"),
    ],
)
def test_an_input_that_cannot_be_is_told_at_once(phases: Phases, inputs: dict[str, str], where: str) -> None:
    began = phases.run("guard", "main", inputs)
    assert began.code == 2, began
    assert where in began.err
    assert phases.outputs == {}
    assert not [line for line in began.err.splitlines() if line.startswith("::")]
