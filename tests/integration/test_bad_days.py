"""Whole runs on leased machines on which something else goes wrong: disks, clocks, keys, credentials, connections."""

from __future__ import annotations

import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from ci_runner.errors import MachineError
from ci_runner.execution.onboard import supervise
from ci_runner.model import MachineSpec
from ci_runner.providers.base import Source
from ci_runner.providers.gcp_tpu import connect
from ci_runner.remote.keys import LeaseKeys
from tests.clouds_kit import Clouds, both_clouds, run_with
from tests.emulators.machines import LoopbackMachine
from tests.emulators.tpu.hall import LoopbackHall
from tests.job_kit import LEASE, until
from tests.projects import Ended
from tests.tpu_kit import tpu_lease

pytestmark = pytest.mark.needs("sshd")

QUICK = "import pytest\n\n@pytest.mark.parametrize('number', range(3))\ndef test_number(number): pass\n"
GATED = """\
import os
import threading
import pytest

@pytest.mark.parametrize("number", range(10))
def test_number(number):
    while number == 5 and not os.path.exists({gate!r}):
        threading.Event().wait(0.02)
"""
HOUR = 3600.0
LOUD = """\
import threading
import pytest

@pytest.mark.parametrize("number", range(10))
def test_number(number, capsys):
    with capsys.disabled():
        for line in range(2000):
            print(f"line {number}.{line} of the output")
    threading.Event().wait(0.3)
"""


@pytest.fixture
def clouds(tmp_path: Path) -> Iterator[Clouds]:
    with both_clouds(tmp_path, {"tests/test_a.py": QUICK}) as found:
        yield found


def node_of(clouds: Clouds) -> str:
    """The one node that there is."""
    ((_zone, node),) = clouds.world.nodes
    return node


def reap(clouds: Clouds, *words: str) -> dict[str, Any]:
    """One visit of the reaper."""
    ended = clouds.project.ci("reap", "--format", "json", *words, **clouds.environ)  # type: ignore[arg-type]
    assert ended.code == 0, ended
    return ended.json


# -- credentials


def test_credentials_of_google_that_end_before_the_cleanup_leave_a_machine_to_the_reaper(
    clouds: Clouds,
) -> None:
    clouds.world.fault("nodes.delete", times=10**6, status=401, word="UNAUTHENTICATED", message="expired")
    ended = clouds.run("--machine", "tpu")
    node = node_of(clouds)
    told_and_open(clouds, ended, node.removeprefix("ci-"))
    clouds.world.faults.clear()
    assert reap(clouds, "--dry-run")["machines"] == []  # its time is not over
    taken = reap(clouds, "--all", "--yes")
    assert [each["lease_id"] for each in taken["machines"]] == [node.removeprefix("ci-")]
    assert clouds.left() == []


def test_credentials_of_aws_that_end_before_the_cleanup_leave_a_machine_to_the_reaper(clouds: Clouds) -> None:
    for action in ("TerminateInstances", "DeleteSecurityGroup", "DeleteLaunchTemplate"):
        clouds.ec2.fail(action, "error", code="ExpiredToken", status=403, times=10**6)
    ended = clouds.run("--machine", "gpu")
    (lease,) = clouds.project.load("results.json")["suites"][0]["leases"]
    told_and_open(clouds, ended, lease["id"])
    clouds.ec2.faults.clear()
    taken = reap(clouds, "--all", "--yes")
    assert [each["lease_id"] for each in taken["machines"]] == [lease["id"]]
    assert clouds.left() == []


def told_and_open(clouds: Clouds, ended: Ended, lease: str) -> None:
    """The tests are green, the machine is named together with who takes it, and the book has it open."""
    assert f"machine {lease} could not be given back" in ended.out + ended.err
    assert "ci-runner reap" in ended.out + ended.err
    results = clouds.project.load("results.json")
    assert (results["passed"], results["failed"]) == (3, 0)
    (finding,) = [each for each in results["findings"] if each.get("code") == "not-released"]
    assert lease in finding["text"]
    assert finding["level"] == "error"
    assert ended.code == results["exit_code"] == 0, ended  # it never hides what the tests came to
    books = list(clouds.project.home.parent.rglob(f"leases/{lease}/*.json"))
    assert {path.name for path in books} <= {"requested.json"}


# -- the connection


def test_a_machine_whose_host_key_changes_in_mid_run_is_given_back_and_another_one_goes_on(
    clouds: Clouds, tmp_path: Path
) -> None:
    clouds.project.write({"tests/test_a.py": GATED.format(gate=str(tmp_path / "gate"))})
    other = LeaseKeys.make(tmp_path / "other", "other")

    def change() -> None:
        name = f"{node_of(clouds)}-w0"
        machine = clouds.machines[name]
        (machine.folder / "ssh" / "ssh_host_ed25519_key").write_text(other.host_private)
        assert machine.server is not None
        machine.server.send_signal(signal.SIGHUP)
        until(lambda: shown(machine.address, machine.port) == other.host_public.split()[1], "the other key")
        assert clouds.machines.cut(name) > 0
        (tmp_path / "gate").touch()

    ended = run_with(clouds, "--machine", "tpu", meanwhile=change, at="test_number[5]")
    assert ended.code == 0, ended
    results = clouds.project.load("results.json")
    (finding,) = [each for each in results["findings"] if each.get("code") == "preempted"]
    assert "shows another host key" in finding["text"]
    suite = results["suites"][0]
    assert [each["state"] for each in suite["attempts"]] == ["preempted", "finished"]
    assert len({each["id"] for each in suite["leases"]}) == 2
    assert (suite["passed"], suite["tests"]) == (10, 10)
    assert clouds.left() == []


def shown(address: str, port: int) -> str:
    """The key that a server shows."""
    words = ["ssh-keyscan", "-t", "ed25519", "-p", str(port), address]
    told = subprocess.run(words, capture_output=True, text=True, check=False, timeout=30).stdout.split()
    return told[2] if len(told) > 2 else ""


def test_a_connection_that_falls_silent_in_mid_suite_is_made_again(clouds: Clouds, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    clouds.project.write({"tests/test_a.py": GATED.format(gate=str(gate))})

    def silence() -> None:
        server = clouds.machines[f"{node_of(clouds)}-w0"].server
        assert server is not None
        table = supervise.process_table()
        sessions = [item for item in table.values() if item.parent == server.pid]
        inner = supervise.below(table, [item.pid for item in sessions])
        servers = [item for item in inner if b"sshd" in supervise.read_file(f"/proc/{item.pid}/cmdline")]
        assert sessions
        for item in (*sessions, *servers):
            supervise.send(item, signal.SIGSTOP)
        gate.touch()

    ended = run_with(clouds, "--machine", "tpu", meanwhile=silence, at="test_number[5]")
    assert ended.code == 0, ended
    suite = clouds.project.load("results.json")["suites"][0]
    assert (len(suite["leases"]), len(suite["attempts"]), suite["passed"]) == (1, 1, 10)
    assert clouds.left() == []


def test_every_byte_of_the_output_comes_once_though_the_connection_is_cut_thrice(clouds: Clouds) -> None:
    clouds.project.write({"tests/test_a.py": LOUD})

    def cut() -> None:
        name = f"{node_of(clouds)}-w0"
        for _ in range(3):
            until(lambda: clouds.machines.cut(name) > 0, "a connection to cut")

    ended = run_with(clouds, "--machine", "tpu", meanwhile=cut, at="test_number[3]")
    assert ended.code == 0, ended
    (log,) = (clouds.project.last_run() / "logs").glob("unit.1.log")
    lines = [line for line in log.read_text().splitlines() if " of the output" in line]
    expected = [f"line {number}.{line} of the output" for number in range(10) for line in range(2000)]
    assert [line[line.index("line ") :] for line in lines] == expected
    suite = clouds.project.load("results.json")["suites"][0]
    assert (len(suite["attempts"]), suite["passed"], suite["tests"]) == (1, 10, 10)
    assert clouds.left() == []


# -- clocks


@pytest.mark.parametrize(("machine", "ahead"), [("tpu", HOUR), ("tpu", -HOUR), ("gpu", HOUR)])
def test_a_clock_that_is_an_hour_wrong_takes_no_machine_away_and_leaves_none(
    clouds: Clouds, tmp_path: Path, machine: str, ahead: float
) -> None:
    """An hour between this machine's clock, which is the runner's and the reaper's, and that of the cloud."""
    clouds.project.write({"tests/test_a.py": GATED.format(gate=str(tmp_path / "gate"))})
    clouds.world.ahead = clouds.ec2.ahead = ahead
    seen: list[Any] = []

    def look() -> None:
        seen.extend(reap(clouds, "--all", "--dry-run")["machines"])
        seen.extend(reap(clouds)["machines"])
        if machine == "tpu":  # what the cloud shows to those whose clock is right
            (node,) = clouds.world.nodes.values()
            left = int(node.body["labels"]["ci-runner-expires"]) - (time.time() + ahead)
            assert 0 < left < HOUR
        (tmp_path / "gate").touch()

    ended = run_with(clouds, "--machine", machine, meanwhile=look, at="test_number[5]")
    assert ended.code == 0, ended
    assert "this clock is 60 minutes " + ("behind" if ahead > 0 else "ahead of") in ended.err
    (found,) = seen  # by --all alone: nothing was past its time
    assert (found["overdue_seconds"], found["step"]) == (0.0, "delete")
    results = clouds.project.load("results.json")
    assert 0 < results["duration_seconds"] < HOUR / 4
    assert 0 <= results["cost_usd"] < 1
    assert clouds.left() == []


def test_the_cloud_s_clock_decides_and_not_that_of_the_reaper(clouds: Clouds) -> None:
    clouds.world.fault("nodes.delete", times=10**6, status=401, word="UNAUTHENTICATED", message="expired")
    clouds.run("--machine", "tpu")
    clouds.world.faults.clear()
    assert reap(clouds)["machines"] == []
    clouds.world.ahead = 10 * HOUR  # the reaper's clock is far behind
    (marked,) = reap(clouds)["machines"]
    assert (marked["step"], marked["result"]) == ("mark", "done")
    assert marked["overdue_seconds"] > 0
    assert reap(clouds)["machines"] == []  # it was marked just now
    clouds.world.ahead += 5 * 60
    (taken,) = reap(clouds)["machines"]
    assert (taken["step"], taken["result"]) == ("delete", "done")
    assert clouds.left() == []


# -- disks


def test_a_full_disk_on_the_runner_is_no_failing_test_and_the_machine_is_given_back(clouds: Clouds) -> None:
    """Files may not grow beyond a limit, which is what a full disk is to whoever writes."""
    clouds.project.write({"tests/test_a.py": LOUD})
    limit = 256 * 1024
    environ = clouds.project.environ(**clouds.environ)
    unmeasured = {name: value for name, value in environ.items() if not name.startswith("COVERAGE_")}
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            f"import os, resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}));"
            "os.execv(sys.executable, [sys.executable, *sys.argv[1:]])",
            *clouds.project.command("run", "unit", "--machine", "tpu")[1:],
        ],
        cwd=clouds.project.root,
        env=unmeasured,  # what measures writes a larger file than the limit allows
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    ended = Ended(done.returncode, done.stdout, done.stderr)
    assert clouds.left() == []
    assert ended.code == 8, ended
    assert "Traceback" not in ended.err
    assert "File too large" in ended.out + ended.err
    assert "unit.1.log" in ended.out + ended.err
    suite = clouds.project.load("results.json")["suites"][0]
    assert suite["failed"] == suite["errored"] == 0
    assert suite["passed"] >= 1


def test_a_disk_that_fills_up_on_the_machine_loses_no_result_that_was_there(
    clouds: Clouds, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit = 1 << 16
    code = f"import os, resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit})); "
    code += "os.execv(sys.executable, [sys.executable, *sys.argv[1:]])"
    hall = LoopbackHall(clouds.machines)

    def small(name: str, metadata: Mapping[str, str], chips: int) -> LoopbackMachine:
        machine = hall.boot(name, metadata, chips)
        program = machine.folder / "bin" / "python3"
        program.write_text(f'#!/bin/sh\nexec {sys.executable} -c {shlex.quote(code)} "$@"\n')
        return machine

    monkeypatch.setattr(clouds.world.hall, "boot", small)
    text = "import pytest\n\n@pytest.mark.parametrize('number', range(1000))\ndef test_number(number): pass\n"
    loud = f"def pytest_report_header():\n    return 'a long story ' * {limit // 10}\n"
    clouds.project.write({"tests/test_a.py": text, "tests/conftest.py": loud})
    ended = clouds.run("--machine", "tpu")
    assert clouds.left() == []
    suite = clouds.project.load("results.json")["suites"][0]
    assert suite["failed"] == suite["errored"] == 0
    assert 0 < suite["passed"] < suite["tests"] == 1000
    assert ended.code == 9, ended
    assert "the machine could not keep its output: File too large (make room there" in ended.out
    assert "something in the tests ended it" not in ended.out


# -- machines that do not come, and that go


def test_a_worker_of_four_that_never_boots_is_named_and_the_others_are_given_back(
    clouds: Clouds, tmp_path: Path
) -> None:
    environ = {**clouds.project.environ(**clouds.environ), "XDG_STATE_HOME": str(tmp_path / "state")}
    machine = MachineSpec(name="slice", provider="gcp-tpu", type="v6e-16", zones=("us-east5-b",))
    lease = tpu_lease(LEASE, machine=machine)
    clouds.world.deaf.add((f"ci-{lease.id}", 2))
    provider = connect(environ)
    (offer, *_) = provider.offers(machine)
    source = Source(root=str(clouds.project.root), commit=None, with_changes=True)
    with pytest.raises(MachineError, match="worker 2 of 4"):
        provider.acquire(lease, offer, source, seconds=5.0)
    assert all(clouds.machines[f"ci-{lease.id}-w{number}"].is_running for number in (0, 1, 3))
    provider.release(lease)
    assert clouds.left() == []
