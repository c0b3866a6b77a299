"""A sick machine is told from a healthy one before the suite runs, and the machine is to blame."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

import pytest

from ci_runner.errors import ConfigurationError, MachineError
from ci_runner.execution import preflight
from ci_runner.execution.preflight import faults, inspect, skew
from ci_runner.model import MachineSpec
from ci_runner.providers.failures import Kind, ProviderError, Scope
from ci_runner.remote.base import Completed
from ci_runner.remote.fake import FakeShell
from tests.job_kit import make_lease

TPU = MachineSpec(name="tpu", provider="gcp-tpu", type="v6e-1")
GPU = MachineSpec(name="gpu", provider="aws-ec2", type="g5.xlarge")
HEALTHY = {"python": "3.10.12", "clock": 1000.0, "disk_free": 94 << 30, "tpu": 1, "nvidia": 0}


def shell_that_says(stdout: str, *, code: int = 0, stderr: str = "") -> FakeShell:
    shell = FakeShell()
    shell.answers = lambda _argv, _stdin: Completed(
        exit_code=code, stdout=stdout.encode(), stderr=stderr.encode()
    )
    return shell


def test_a_healthy_machine_says_what_it_has() -> None:
    shell = shell_that_says(f"a greeting of the image\n{json.dumps(HEALTHY)}\n")
    found = inspect(shell, dataclasses.replace(make_lease(), machine=TPU), clock=lambda: 1000.0, expected=1)
    assert found == ("1 TPU chip, python 3.10.12, 94 GiB free",)
    assert f"{shell.scratch}/onboard/preflight.py" in shell.files


@pytest.mark.parametrize(
    ("machine", "change", "expected", "why"),
    [
        (TPU, {"tpu": 0}, 1, "0 of 1 TPU chips are visible"),
        (TPU, {"tpu": 3}, 4, "3 of 4 TPU chips are visible"),
        (GPU, {}, 8, "0 of 8 NVIDIA GPUs are visible"),
        (TPU, {"python": "3.8.10"}, 1, "python 3.8.10 is older than 3.9"),
        (TPU, {"python": None}, 1, "python None is older than 3.9"),
        (TPU, {"disk_free": 1 << 29}, 1, "0.5 GiB of disk are free, 1 are wanted"),
    ],
)
def test_what_a_machine_lacks_is_named(
    machine: MachineSpec, change: Mapping[str, Any], expected: int, why: str
) -> None:
    assert faults({**HEALTHY, **change}, machine, expected) == [why]


def test_nobody_misses_what_nobody_asked_for() -> None:
    assert faults({**HEALTHY, "tpu": 0}, TPU, None) == []


def test_the_disk_that_is_wanted_is_configuration() -> None:
    machine = MachineSpec(name="gpu", provider="aws-ec2", options={"min-disk-gb": "100"})
    assert faults(HEALTHY, machine, None) == ["94.0 GiB of disk are free, 100 are wanted"]
    with pytest.raises(ConfigurationError, match="no number of gibibytes"):
        faults(HEALTHY, MachineSpec(name="gpu", options={"min-disk-gb": "much"}), None)


def test_a_sick_machine_is_a_failure_that_another_machine_may_cure() -> None:
    shell = shell_that_says(json.dumps({**HEALTHY, "disk_free": 0}))
    with pytest.raises(ProviderError, match=r"the machine is sick: 0\.0 GiB") as caught:
        inspect(shell, make_lease(), clock=lambda: 1000.0, expected=None)
    assert (caught.value.failure.kind, caught.value.failure.scope) == (Kind.UNKNOWN, Scope.NOTHING)


@pytest.mark.parametrize("stdout", ["", "no JSON", "{"])
def test_a_machine_without_python_cannot_say_anything(stdout: str) -> None:
    with pytest.raises(MachineError, match=r"exit 127\): python3: not found"):
        preflight.ask(shell_that_says(stdout, code=127, stderr="sh: 1:\npython3: not found\n"))


def test_a_wrong_clock_is_a_note() -> None:
    assert skew({"clock": 1000.0}, 1200.0) == ()
    assert skew({"clock": 4600.0}, 1000.0) == ("the machine's clock is 60 minutes ahead of this one's",)
    assert skew({"clock": 400.0}, 1000.0) == ("the machine's clock is 10 minutes behind this one's",)
    assert skew({"clock": "noon"}, 0.0) == ()
