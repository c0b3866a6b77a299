"""What tests of whole runs on leased machines share: both emulated clouds, whose machines are real OpenSSH servers."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.emulators.ec2.server import Emulator, shut_down
from tests.emulators.machines import Machines
from tests.emulators.tpu.world import World
from tests.job_kit import until
from tests.projects import Ended, Project, make_project
from tests.tpu_kit import tpus_on

SLOW = """\
import threading
import pytest

@pytest.mark.parametrize("number", range(10))
def test_number(number):
    threading.Event().wait(0.4)
"""
CONFIGURATION = """\
[suites.unit]
tests = ["tests"]
timeout = "2m"
[machines.tpu]
provider = "gcp-tpu"
type = "v6e-1"
zones = ["us-central1-b", "us-east5-b"]
spot = "prefer"
[machines.slice]
provider = "gcp-tpu"
type = "v6e-16"
zones = ["us-east5-b"]
[machines.gpu]
provider = "aws-ec2"
type = "g5.xlarge"
zones = ["us-east-1a"]
spot = "only"
"""


@dataclass
class Clouds:
    """Both clouds on loopback, and a project whose tests are to run there."""

    project: Project
    world: World
    ec2: Emulator
    machines: Machines
    environ: dict[str, str]

    def run(self, *words: str, **environ: str) -> Ended:
        """Run the suite there."""
        return self.project.ci("run", "unit", *words, **{**self.environ, **environ})  # type: ignore[arg-type]

    def cases(self) -> dict[str, str]:
        """Test → outcome of the last run."""
        lines = (self.project.last_run() / "cases.jsonl").read_text().splitlines()
        return {item["id"]: item["outcome"] for item in map(json.loads, lines)}

    def left(self) -> list[Any]:
        """What still exists in either cloud."""
        return [*self.world.nodes, *self.world.queued, *self.ec2.world.holdings()]


@contextmanager
def both_clouds(folder: Path, files: dict[str, str], configuration: str = CONFIGURATION) -> Iterator[Clouds]:
    """Both clouds, empty, and a project with these files."""
    guests: list[Emulator] = []
    with (
        Machines(folder / "m", on_shutdown=lambda name: shut_down(guests, name)) as machines,
        tpus_on(machines) as tpus,
        Emulator(machines=machines) as ec2,
    ):
        guests.append(ec2)
        environ = {**ec2.environ, "CI_RUNNER_AWS_REGIONS": "us-east-1", **tpus.environ}
        project = make_project(folder, files, configuration=configuration)
        yield Clouds(project, tpus.world, ec2, machines, environ)


def begun(clouds: Clouds, test: str) -> bool:
    """Whether a test has begun, as far as the runner knows."""
    return begun_in(clouds, "unit.1", test)


def begun_in(clouds: Clouds, attempt: str, test: str) -> bool:
    """Whether a test has begun in this attempt."""
    runs = clouds.project.root / ".ci-runner" / "runs"
    sidecars = runs.glob(f"*/attempts/{attempt}/sidecar.jsonl") if runs.is_dir() else ()
    return any(
        '"start"' in line and test in line for path in sidecars for line in path.read_text().splitlines()
    )


def run_with(clouds: Clouds, *words: str, meanwhile: Callable[[], object], at: str) -> Ended:
    """Run the suite, and do something when a test has begun."""
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(clouds.run, *words)
        until(lambda: begun(clouds, at) or running.done(), f"the begin of {at}", 60.0)
        meanwhile()
        return running.result()
