"""Looks at a leased machine before the suite does: a sick one is the machine's fault, is given back and replaced."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from ci_runner.errors import ConfigurationError, MachineError
from ci_runner.execution.pytest_suite import ONBOARD
from ci_runner.providers.failures import Failure, Kind, ProviderError, Scope

if TYPE_CHECKING:
    from ci_runner.model import Lease, MachineSpec
    from ci_runner.remote.base import Shell

SECONDS = 60.0
OLDEST_PYTHON = (3, 9)  # what the supervisor is written for
SKEW_SECONDS = 300.0
LEAST_DISK_GB = 1.0
GIB = 1 << 30
ACCELERATORS = {"gcp-tpu": "tpu", "aws-ec2": "nvidia"}
NAMES = {"tpu": "TPU chip", "nvidia": "NVIDIA GPU"}


def inspect(
    shell: Shell, lease: Lease, *, clock: Callable[[], float], expected: int | None
) -> tuple[str, ...]:
    """What a reader should know of the machine, as sentences. Raises ProviderError for one that is sick."""
    facts = ask(shell)
    sick = faults(facts, lease.machine, expected)
    if sick:
        raise ProviderError(
            Failure(
                kind=Kind.UNKNOWN,
                scope=Scope.NOTHING,
                text=f"the machine is sick: {'; '.join(sick)}",
                code="sick",
            ),
            where=lease.id,
            fix="it was given back; if every machine is like this, look at its image and type",
        )
    return (said(facts), *skew(facts, clock()))


def ask(shell: Shell) -> Mapping[str, Any]:
    """The facts, as the machine's own python3 finds them. Raises MachineError if it cannot say."""
    path = f"{shell.scratch}/onboard/preflight.py"
    shell.write(path, (ONBOARD / "preflight.py").read_bytes())
    answer = shell.run(["python3", path], seconds=SECONDS, cwd=shell.scratch)
    try:
        facts = json.loads(answer.stdout.decode("utf-8", "replace").strip().splitlines()[-1])
    except (ValueError, IndexError):
        last = answer.stderr.decode("utf-8", "replace").strip().splitlines()[-1:]
        raise MachineError(
            f"the machine cannot say what it has (exit {answer.exit_code}): {''.join(last) or 'no answer'}",
            fix="its image needs python3, 3.9 or later",
        ) from None
    return facts if isinstance(facts, dict) else {}


def faults(facts: Mapping[str, Any], machine: MachineSpec, expected: int | None) -> list[str]:
    """Why a suite could not be run there; empty for a healthy machine."""
    found = []
    version = tuple(int(part) for part in str(facts.get("python", "0")).split(".")[:2] if part.isdecimal())
    if version < OLDEST_PYTHON:
        found.append(f"python {facts.get('python')} is older than 3.9")
    least = wanted_disk(machine)
    free = float(facts.get("disk_free") or 0.0) / GIB
    if free < least:
        found.append(f"{free:.1f} GiB of disk are free, {least:g} are wanted")
    kind = ACCELERATORS.get(machine.provider, "nvidia")
    there = int(facts.get(kind) or 0)
    if expected is not None and there < expected:
        found.append(f"{there} of {expected} {NAMES[kind]}s are visible")
    return found


def wanted_disk(machine: MachineSpec) -> float:
    """`min-disk-gb` of the machine's options. Raises ConfigurationError if it is no number."""
    text = machine.options.get("min-disk-gb", str(LEAST_DISK_GB))
    try:
        return float(text)
    except ValueError:
        raise ConfigurationError(
            f"{text!r} is no number of gibibytes", where=f"machines.{machine.name}.options.min-disk-gb"
        ) from None


def said(facts: Mapping[str, Any]) -> str:
    """`1 TPU chip, python 3.10.12, 94 GiB free`."""
    parts = []
    for kind, name in NAMES.items():
        number = int(facts.get(kind) or 0)
        if number:
            parts.append(f"{number} {name}{'' if number == 1 else 's'}")
    free = float(facts.get("disk_free") or 0.0) / GIB
    return ", ".join([*parts, f"python {facts.get('python')}", f"{free:.0f} GiB free"])


def skew(facts: Mapping[str, Any], now: float) -> tuple[str, ...]:
    """A note if the machine's clock is so wrong that certificates and build tools may mind."""
    clock = facts.get("clock")
    if not isinstance(clock, (int, float)) or abs(clock - now) <= SKEW_SECONDS:
        return ()
    minutes = (clock - now) / 60
    way = "ahead of" if minutes > 0 else "behind"
    return (f"the machine's clock is {abs(minutes):.0f} minutes {way} this one's",)
