"""The matrix in its two halves: what leases is told apart, since only those jobs hold an identity."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ci_runner.config.settings import Settings
from ci_runner.model import Event, MachineSpec, Plan, Selection, Suite
from ci_runner.plan.matrix import matrix_of

MACHINES = {
    "local": MachineSpec(name="local"),
    "tpu": MachineSpec(name="tpu", provider="gcp-tpu"),
    "gpu": MachineSpec(name="gpu", provider="aws-ec2"),
    "pool": MachineSpec(name="pool", provider="ssh"),
}


def outputs(*machines: str, copies: int = 1) -> dict[str, str]:
    suites = [
        Suite(name=f"{machine}-{number}", title="t", tests=("t",), machine=machine)
        for machine in machines
        for number in range(copies)
    ]
    plan = Plan(
        event=Event(kind="push"),
        selected=tuple(Selection(suite=suite, reason="r", rule="rule") for suite in suites),
    )
    settings = Settings(root=Path("/"), suites={suite.name: suite for suite in suites}, machines=MACHINES)
    return matrix_of(plan, settings).outputs


@pytest.mark.parametrize("copies", [1, 200])
def test_every_job_is_in_exactly_one_half_with_whoever_lends_its_machine(copies: int) -> None:
    found = outputs("local", "tpu", "gpu", "pool", copies=copies)
    whole, hosted, leased = (
        json.loads(found[name])["include"] for name in ("matrix", "hosted-matrix", "leased-matrix")
    )
    assert sorted(map(str, whole)) == sorted(map(str, [*hosted, *leased]))
    assert {entry["platform"] for entry in hosted} == {"local"}
    assert {(entry["machine"], entry["platform"]) for entry in leased} == {
        ("tpu", "gcp"),
        ("gpu", "aws"),
        ("pool", "ssh"),
    }


@pytest.mark.parametrize(
    ("machines", "hosted", "leased"),
    [((), "false", "false"), (("local",), "true", "false"), (("tpu",), "false", "true")],
)
def test_a_half_without_a_job_says_so(machines: tuple[str, ...], hosted: str, leased: str) -> None:
    found = outputs(*machines)
    assert (found["any-hosted"], found["any-leased"]) == (hosted, leased)
