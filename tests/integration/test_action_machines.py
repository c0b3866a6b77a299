"""actions/tpu-test whole: an emulated TPU is leased, used, told of and given back, whatever becomes of the steps."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.emulators.ec2.server import Emulator, shut_down
from tests.emulators.machines import Machines, user
from tests.emulators.tpu.world import World
from tests.github_kit import NUMBER, TOKEN, Hub, emulated_github, pull_request_event
from tests.projects import make_project
from tests.runner_harness import Runner, job
from tests.tpu_kit import lent_tpus

pytestmark = pytest.mark.needs("sshd")

CONFIGURATION = """\
[suites.quick]
tests = ["tests/test_quick.py"]
machine = "tpu"
when.events = ["pull_request"]
[suites.slow]
tests = ["tests/test_slow.py"]
machine = "tpu"
[suites.here]
tests = ["tests/test_quick.py"]
when.events = ["pull_request"]
[machines.tpu]
provider = "gcp-tpu"
type = "v6e-1"
zones = ["us-central1-b"]
"""
TESTS = {
    "tests/test_quick.py": "def test_a(): pass\n\ndef test_b(): assert 1 == 2\n",
    "tests/test_slow.py": "import threading\n\ndef test_slow(): threading.Event().wait(100)\n",
}


@dataclass
class Job:
    """A job of a pull request, with a cloud and a GitHub on loopback."""

    runner: Runner
    world: World
    hub: Hub

    def left(self) -> list[object]:
        """What still exists in the cloud."""
        return [*self.world.nodes, *self.world.queued]

    def is_running(self) -> bool:
        """Whether the slow test has begun on the machine."""
        return any(self.runner.temp.glob("ci-runner/runs/*/attempts/*/attempt.json"))


@pytest.fixture
def tpu(tmp_path: Path) -> Iterator[Job]:
    """A job in a repository with suites for a TPU."""
    project = make_project(tmp_path, TESTS, configuration=CONFIGURATION)
    with lent_tpus(tmp_path / "m") as tpus, emulated_github() as hub:
        runner = job(tmp_path, project)
        runner.environ |= {
            **hub.environ,
            **pull_request_event(tmp_path, runner.environ["GITHUB_SHA"]),
            **tpus.environ,
        }
        del runner.environ["GITHUB_TOKEN"]  # the action has an input for it
        yield Job(runner, tpus.world, hub)


def test_one_line_leases_runs_reports_and_releases(tpu: Job) -> None:
    done = tpu.runner.uses("tpu-test", {"github-token": TOKEN})
    assert [(step.id, step.code) for step in done.steps] == [("run", 0), ("report", 1), ("release", 0)], (
        done.log
    )
    numbers = [done.outputs[name] for name in ("conclusion", "tests", "passed", "failed")]
    assert numbers == ["failed", "2", "1", "1"], done.log
    assert "left to the jobs of other machines: here (local)" in done.log
    assert float(done.outputs["cost-usd"]) > 0
    assert done.outputs["lease-id"].count("-") >= 2
    (comment,) = tpu.hub.comments(NUMBER)
    assert "1 failed" in comment.body
    assert "#### " not in comment.body  # one part alone needs no title
    assert done.outputs["comment-url"].endswith(f"#issuecomment-{comment.id}")
    assert tpu.left() == []


def test_a_cancelled_job_gives_the_machine_back_and_still_tells(tpu: Job) -> None:
    inputs = {"suites": "slow", "publish": "summary", "github-token": TOKEN}
    done = tpu.runner.uses("tpu-test", inputs, cancel=tpu.is_running)
    assert [step.id for step in done.steps] == ["run", "report", "release"]
    assert done.step("run").code == 130, done.log
    assert done.outputs["conclusion"] == "incomplete"
    assert done.step("release").log.strip() == "no machine of this run is there"
    assert tpu.left() == []


def test_the_last_step_finds_the_machine_of_a_step_that_was_killed(tpu: Job) -> None:
    tpu.runner.ladder = ((signal.SIGKILL, 60.0),)
    inputs = {"suites": "slow", "publish": "summary", "github-token": TOKEN}
    done = tpu.runner.uses("tpu-test", inputs, cancel=tpu.is_running)
    assert done.step("run").code == -signal.SIGKILL, done.log
    assert done.outputs["conclusion"] == "incomplete", done.log
    assert "gave " in done.step("release").log, done.log
    assert tpu.left() == []


def test_no_capacity_anywhere_is_told_as_that(tpu: Job) -> None:
    for zone in tpu.world.zones.values():
        zone.capacity["v6e-1"] = zone.spot_capacity["v6e-1"] = 0
    done = tpu.runner.uses("tpu-test", {"publish": "summary", "fail-on": "incomplete", "github-token": TOKEN})
    assert (done.step("report").code, done.outputs["conclusion"], done.outputs["tests"]) == (
        3,
        "incomplete",
        "0",
    )
    assert tpu.left() == []


def test_a_gpu_is_leased_used_and_given_back(tmp_path: Path) -> None:
    project = make_project(tmp_path, TESTS, configuration='[suites.quick]\ntests = ["tests/test_quick.py"]\n')
    guests: list[Emulator] = []
    with (
        Machines(tmp_path / "m", on_shutdown=lambda name: shut_down(guests, name)) as machines,
        Emulator(machines=machines) as ec2,
    ):
        guests.append(ec2)
        runner = job(tmp_path, project, **ec2.environ)
        runner.environ |= {
            "CI_RUNNER_AWS_REGIONS": "us-east-1",
            "CI_RUNNER_SSH_PORT": str(machines.port),
            "CI_RUNNER_SSH_USER": user(),
        }
        inputs = {
            "suites": "quick",
            "instance-type": "g5.xlarge",
            "zones": "us-east-1a",
            "publish": "summary",
        }
        done = runner.uses("gpu-test", {**inputs, "spot": "true", "max-minutes": "30"})
        assert [(step.id, step.code) for step in done.steps] == [("run", 0), ("report", 1), ("release", 0)], (
            done.log
        )
        assert (done.outputs["passed"], done.outputs["failed"]) == ("1", "1"), done.log
        assert done.outputs["lease-id"]
        assert float(done.outputs["cost-usd"]) > 0
        assert ec2.world.holdings() == []


def test_a_fork_leases_nothing(tpu: Job) -> None:
    path = Path(tpu.runner.environ["GITHUB_EVENT_PATH"])
    payload = json.loads(path.read_text())
    payload["pull_request"]["head"]["repo"] = {
        "full_name": "stranger/kpt",
        "default_branch": "main",
        "fork": True,
    }
    payload["pull_request"]["user"] = payload["sender"] = {"login": "stranger", "type": "User"}
    path.write_text(json.dumps(payload))
    tpu.runner.environ["GITHUB_ACTOR"] = "stranger"
    done = tpu.runner.uses("tpu-test", {"suites": "quick", "publish": "summary", "github-token": TOKEN})
    assert done.step("run").code == 10, done.log
    assert done.outputs["conclusion"] == "error"
    assert tpu.world.nodes == {}
    assert not [call for call in tpu.hub.calls("POST") if "comments" in call]
