"""Two runs at the same time whose leases have the same id: one of them has the machine, and the other lets it be."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

import pytest

from tests.clouds_kit import CONFIGURATION, Clouds, begun, both_clouds
from tests.emulators.machines import LoopbackMachine
from tests.job_kit import LEASE, until
from tests.projects import Ended, Project, make_project

pytestmark = pytest.mark.needs("sshd")

GATED = """\
import os
import threading
import pytest

@pytest.mark.parametrize("number", range(10))
def test_number(number):
    while number == 5 and not os.path.exists({gate!r}):
        threading.Event().wait(0.02)
"""
SAME_IDS = """\
import sys
from ci_runner.cli import running
from ci_runner.cli.main import main
from ci_runner.execution import leasing
lease, run = sys.argv.pop(1), sys.argv.pop(1)
leasing.new_lease_id = lambda *_words: lease
running.new_run_id = lambda now, made=running.new_run_id: run or made(now)
sys.exit(main(sys.argv[1:]))
"""
RUN = "20260101-000000-7f3c"
SECONDS = 120.0


@pytest.fixture
def clouds(tmp_path: Path) -> Iterator[Clouds]:
    with both_clouds(tmp_path, {"tests/test_a.py": GATED.format(gate=str(tmp_path / "gate"))}) as found:
        yield found


@pytest.fixture
def booted(clouds: Clouds, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The machines that either cloud has made."""
    names: list[str] = []
    start = clouds.machines.start

    def noted(name: str, *words: Any, **more: Any) -> LoopbackMachine:
        names.append(name)
        return start(name, *words, **more)

    monkeypatch.setattr(clouds.machines, "start", noted)
    return names


@pytest.fixture
def elsewhere(clouds: Clouds, tmp_path: Path) -> Project:
    """The same project on another runner, which shares neither keys nor the book of leases with the first."""
    text = (clouds.project.root / "tests" / "test_a.py").read_text()
    return make_project(tmp_path / "elsewhere", {"tests/test_a.py": text}, configuration=CONFIGURATION)


def run_in(project: Project, clouds: Clouds, machine: str, run_id: str = "") -> Ended:
    """A run whose lease has the id that all have here, and whose own id is this one."""
    words = [sys.executable, "-c", SAME_IDS, LEASE, run_id, "run", "unit", "--machine", machine]
    done = subprocess.run(
        words,
        cwd=project.root,
        env=project.environ(**clouds.environ),
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    return Ended(done.returncode, done.stdout, done.stderr)


def runs_of(project: Project) -> list[Path]:
    """The results of all runs there."""
    return list((project.root / ".ci-runner" / "runs").glob("*/results.json"))


def has_the_machine(project: Project) -> None:
    """The run there has all its results, of one attempt on one machine."""
    suite = project.load("results.json")["suites"][0]
    assert (suite["passed"], suite["tests"]) == (10, 10)
    assert ([each["id"] for each in suite["leases"]], len(suite["attempts"])) == ([LEASE], 1)


def was_refused(project: Project, ended: Ended, words: str) -> None:
    """The run there ended as a fault of its machine, says why, and has given nothing back."""
    assert ended.code == 8, ended
    assert words in ended.out + ended.err
    assert "start this run again" in ended.out + ended.err or "start the run again" in ended.out + ended.err
    results = project.load("results.json")
    assert (results["exit_code"], results["passed"], results["failed"]) == (8, 0, 0)
    assert not [each for each in results["findings"] if each.get("code") == "not-released"]


@pytest.mark.parametrize("machine", ["tpu", "gpu"])
@pytest.mark.parametrize("where", ["here", "elsewhere"])
def test_a_second_run_with_the_lease_id_of_one_that_runs_is_refused(
    clouds: Clouds, booted: list[str], elsewhere: Project, tmp_path: Path, machine: str, where: str
) -> None:
    second = clouds.project if where == "here" else elsewhere
    run_id = "" if where == "here" else RUN  # in one folder two runs have two ids
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(run_in, clouds.project, clouds, machine, run_id)
        try:
            until(lambda: begun(clouds, "test_number[5]") or first.done(), "the first run's test", 60.0)
            refused = run_in(second, clouds, machine, run_id)
            still = clouds.left()
        finally:
            (tmp_path / "gate").touch()
        ended = first.result()
    assert ended.code == 0, ended
    assert still
    words = f"another lease is called {LEASE}" if where == "here" else f"under the lease id {LEASE}"
    if where == "elsewhere":
        was_refused(elsewhere, refused, words)
        has_the_machine(clouds.project)
    else:
        assert (refused.code, words in refused.out + refused.err) == (8, True), refused
        suites = [json.loads(path.read_text())["suites"][0] for path in runs_of(second)]
        assert sorted((each["passed"], len(each["leases"])) for each in suites) == [(0, 0), (10, 1)]
    assert len(booted) == 1
    assert clouds.left() == []


@pytest.mark.parametrize("machine", ["tpu", "gpu"])
def test_of_two_runs_that_begin_together_with_one_lease_id_one_has_the_machine(
    clouds: Clouds, booted: list[str], elsewhere: Project, tmp_path: Path, machine: str
) -> None:
    projects = (clouds.project, elsewhere)
    with ThreadPoolExecutor(2) as pool:
        running = {pool.submit(run_in, each, clouds, machine, RUN): each for each in projects}
        try:
            over, _ = wait(running, timeout=90.0, return_when=FIRST_COMPLETED)
        finally:
            (tmp_path / "gate").touch()
        ended = {future.result().code: (running[future], future.result()) for future in running}
    assert len(over) == 1
    assert set(ended) == {0, 8}, ended
    has_the_machine(ended[0][0])
    was_refused(*ended[8], f"under the lease id {LEASE}")
    assert len(booted) == 1
    assert clouds.left() == []
