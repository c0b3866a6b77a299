"""`ci-runner run` on leased machines, real from the first byte to the last: emulated clouds, real OpenSSH, real pytest."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.clouds_kit import SLOW, Clouds, begun, both_clouds, run_with
from tests.job_kit import until

pytestmark = pytest.mark.needs("sshd")

TESTS = """\
import os
import pytest

@pytest.mark.parametrize("number", range(12))
def test_number(number):
    assert number != 7, "seven is wrong"

@pytest.mark.skip(reason="not here")
def test_skipped(): pass

def test_where():
    assert os.environ.get("CI_RUNNER_LEASE")
"""


@pytest.fixture
def clouds(tmp_path: Path) -> Iterator[Clouds]:
    with both_clouds(tmp_path, {"tests/test_a.py": TESTS}) as found:
        yield found


def test_a_run_on_an_emulated_tpu_equals_a_local_one(clouds: Clouds) -> None:
    assert clouds.run().code == 1
    here = clouds.cases()
    there = clouds.run("--machine", "tpu")
    assert there.code == 1, there
    assert clouds.cases() == here
    assert here["tests/test_a.py::test_number[7]"] == "failed"
    assert clouds.left() == []
    assert "1 TPU chip, python" in there.out
    results = clouds.project.load("results.json")
    (lease,) = results["suites"][0]["leases"]
    assert (lease["zone"], lease["spot"], lease["image"]) == ("us-central1-b", True, "v2-alpha-tpuv6e")
    assert results["cost_usd"] > 0


def test_no_capacity_in_one_zone_is_told_and_the_next_one_used(clouds: Clouds) -> None:
    clouds.world.zones["us-central1-b"].spot_capacity["v6e-1"] = 0
    ended = clouds.run("--machine", "tpu")
    assert ended.code == 1, ended
    assert "us-central1-b v6e-1 spot  no capacity: There is no more capacity" in ended.out
    assert clouds.project.load("results.json")["suites"][0]["leases"][0]["zone"] == "us-east5-b"
    assert clouds.left() == []


def test_no_capacity_anywhere_is_no_failing_test(clouds: Clouds) -> None:
    for zone in clouds.world.zones.values():
        zone.capacity["v6e-1"] = zone.spot_capacity["v6e-1"] = 0
    ended = clouds.run("--machine", "tpu")
    assert ended.code == 3, ended
    assert "not tested" in ended.out
    assert clouds.left() == []


def test_a_slice_runs_on_every_worker_and_the_one_that_failed_is_named(clouds: Clouds) -> None:
    only_there = "import os\n\ndef test_worker():\n    assert os.environ['CI_RUNNER_WORKER'] != '2'\n"
    clouds.project.write({"tests/test_a.py": only_there + "\ndef test_all(): pass\n"})
    ended = clouds.run("--machine", "slice")
    assert ended.code == 1, ended
    assert clouds.cases() == {
        "tests/test_a.py::test_worker": "failed",
        "tests/test_a.py::test_all": "passed",
    }
    assert "worker 2 of 4: " in ended.out
    workers = clouds.project.last_run() / "attempts" / "unit.1" / "workers"
    statuses = [json.loads(path.read_text())["exit_code"] for path in sorted(workers.glob("*/status.json"))]
    assert statuses == [0, 0, 1, 0]
    assert b"1 failed, 1 passed" in (workers / "2" / "log").read_bytes()
    assert clouds.left() == []


@pytest.mark.parametrize("at", [0, 4, 9])
def test_a_machine_taken_away_in_mid_suite_loses_no_test_and_counts_none_twice(
    clouds: Clouds, at: int
) -> None:
    clouds.project.write({"tests/test_a.py": SLOW})

    def preempt() -> None:
        ((_zone, node),) = clouds.world.nodes
        clouds.world.preempt(node)

    ended = run_with(clouds, "--machine", "tpu", meanwhile=preempt, at=f"test_number[{at}]")
    assert ended.code == 0, ended
    assert clouds.cases() == {f"tests/test_a.py::test_number[{number}]": "passed" for number in range(10)}
    suite = clouds.project.load("results.json")["suites"][0]
    assert [attempt["state"] for attempt in suite["attempts"]] == ["preempted", "finished"]
    assert len(suite["leases"]) == 2
    assert clouds.left() == []


def test_a_connection_that_is_cut_in_mid_suite_ends_nothing(clouds: Clouds) -> None:
    clouds.project.write({"tests/test_a.py": SLOW})

    def cut() -> None:
        ((_zone, node),) = clouds.world.nodes
        assert clouds.machines.cut(f"{node}-w0") > 0

    ended = run_with(clouds, "--machine", "tpu", meanwhile=cut, at="test_number[4]")
    assert ended.code == 0, ended
    suite = clouds.project.load("results.json")["suites"][0]
    assert (len(suite["leases"]), len(suite["attempts"]), suite["passed"]) == (1, 1, 10)
    assert clouds.left() == []


def test_a_run_on_an_emulated_gpu_equals_a_local_one(clouds: Clouds) -> None:
    clouds.run()
    here = clouds.cases()
    there = clouds.run("--machine", "gpu")
    assert there.code == 1, there
    assert clouds.cases() == here
    assert clouds.left() == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("at", ["while it boots", "while tests run"])
def test_a_cancelled_run_asks_for_the_end_of_its_machine_within_two_seconds(
    clouds: Clouds, number: signal.Signals, at: str
) -> None:
    clouds.project.write({"tests/test_a.py": SLOW})
    clouds.world.boot_seconds = 1e9 if at == "while it boots" else 0.0
    process = subprocess.Popen(
        clouds.project.command("run", "unit", "--machine", "tpu"),
        cwd=clouds.project.root,
        env=clouds.project.environ(**clouds.environ),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    with process:
        try:
            if at == "while it boots":
                until(lambda: clouds.world.nodes, "a node", 60.0)
            else:
                until(lambda: begun(clouds, "test_number[1]"), "the begin of a test", 60.0)
            process.send_signal(number)
            until(lambda: not clouds.world.nodes, "the call that deletes it", 2.0)
            assert process.wait(timeout=60) == 130
        finally:
            process.kill()
    assert clouds.left() == []


def test_a_run_that_is_killed_leaves_a_machine_that_the_reaper_takes(clouds: Clouds) -> None:
    clouds.project.write({"tests/test_a.py": SLOW})
    process = subprocess.Popen(
        clouds.project.command("run", "unit", "--machine", "tpu"),
        cwd=clouds.project.root,
        env=clouds.project.environ(**clouds.environ),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    with process:
        until(lambda: begun(clouds, "test_number[1]"), "the begin of a test", 60.0)
        process.kill()
    ((zone, node),) = clouds.world.nodes
    clouds.world.create("us-east5-b", "not-ours", {"acceleratorType": "v6e-1", "runtimeVersion": "r"})

    def reap(*words: str) -> Any:
        ended = clouds.project.ci("reap", "--format", "json", *words, **clouds.environ)  # type: ignore[arg-type]
        assert ended.code == 0, ended
        return ended.json

    assert reap("--dry-run")["machines"] == []  # it has not expired
    clouds.world.nodes[zone, node].body["labels"]["ci-runner-expires"] = "1"
    (found,) = reap("--dry-run")["machines"]
    assert f"ci-{found['lease_id']}" == node
    assert (zone, node) in clouds.world.nodes
    ended = clouds.project.ci("reap", "--all", "--yes", **clouds.environ)  # type: ignore[arg-type]
    assert ended.code == 0, ended
    assert list(clouds.world.nodes) == [("us-east5-b", "not-ours")]
    clouds.world.nodes.clear()


def test_a_machine_without_configuration(clouds: Clouds) -> None:
    ended = clouds.project.ci(
        "run", "--platform", "gcp", "--tpu-type", "v6e-1", "--preemptible", "--test-path", "tests",
        **clouds.environ,  # type: ignore[arg-type]
    )  # fmt: skip
    assert ended.code == 1, ended
    assert "1 failed" in ended.out
    assert clouds.left() == []


SIDE_BY_SIDE = """\
[machines.tpu]
provider = "gcp-tpu"
type = "v6e-1"
zones = ["us-east5-b"]
""" + "".join(f'[suites.{name}]\ntests = ["tests/test_a.py"]\nmachine = "tpu"\n' for name in "abc")
GATED = """\
import pathlib
import threading

def test_gate():
    while not pathlib.Path({gate!r}).exists():
        threading.Event().wait(0.02)
"""


WAITS = 'waits for a machine "tpu" that another suite of this run gives back'


@contextmanager
def three_for_two(clouds: Clouds, gate: Path, told: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A run of three suites where the quota is for two machines, once the third waits."""
    clouds.project.write({"ci-runner.toml": SIDE_BY_SIDE, "tests/test_a.py": GATED.format(gate=str(gate))})
    clouds.world.zones["us-east5-b"].quota = 2
    with told.open("w") as out:
        process = subprocess.Popen(
            clouds.project.command("run", "--all"),
            cwd=clouds.project.root,
            env=clouds.project.environ(**clouds.environ),
            stdout=out,
            stderr=subprocess.STDOUT,
        )
    with process:
        try:
            until(lambda: WAITS in told.read_text() or process.poll() is not None, "a suite that waits", 60.0)
            until(
                lambda: told.read_text().count(" ready in ") == 2 or process.poll() is not None,
                "two machines",
                60.0,
            )
            yield process
            process.wait(timeout=60)
        finally:
            process.kill()


def test_suites_lease_side_by_side_and_wait_for_each_other_where_the_quota_ends(
    clouds: Clouds, tmp_path: Path
) -> None:
    gate, told = tmp_path / "gate", tmp_path / "told"
    with three_for_two(clouds, gate, told) as process:
        gate.touch()
    assert process.returncode == 0, told.read_text()
    assert told.read_text().count(WAITS) == 1
    results = clouds.project.load("results.json")
    leases = [lease for suite in results["suites"] for lease in suite["leases"]]
    assert (results["passed"], len(leases)) == (3, 3)
    (late,) = [lease for lease in leases if len(lease["tries"]) == 2]
    assert [tried["failure"] for tried in late["tries"]] == ["quota", None]
    assert late["created_at"] == max(lease["created_at"] for lease in leases)
    assert clouds.left() == []


def test_a_cancelled_run_gives_all_its_machines_back_and_waits_for_no_other(
    clouds: Clouds, tmp_path: Path
) -> None:
    told = tmp_path / "told"
    with three_for_two(clouds, tmp_path / "gate", told) as process:
        process.send_signal(signal.SIGTERM)
    assert process.returncode == 130, told.read_text()
    suites = clouds.project.load("results.json")["suites"]
    assert sorted(len(suite["leases"]) for suite in suites) == [0, 1, 1]
    assert clouds.left() == []


def test_suites_that_find_no_capacity_side_by_side_do_not_wait_for_nobody(clouds: Clouds) -> None:
    clouds.project.write({"ci-runner.toml": SIDE_BY_SIDE})
    clouds.world.zones["us-east5-b"].capacity["v6e-1"] = 0
    ended = clouds.project.ci("run", "--all", **clouds.environ)  # type: ignore[arg-type]
    assert ended.code == 3, ended
    assert ended.out.count("asked for") == 3
    assert "waits for a machine" not in ended.out
    assert clouds.left() == []
