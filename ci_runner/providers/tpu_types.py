"""What the names of TPU types mean: chips, hosts, chips of a host, and the software that boots on them. Pure.

`v5litepod-8` and `v6e-8` count chips; `v2-8`, `v3-8`, `v4-8` and `v5p-8` count TensorCores, of which a chip has two.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from ci_runner.errors import ConfigurationError
from ci_runner.model import MachineSpec

RUNTIME_OPTION = "runtime-version"
CHIPS_OPTION = "chips-per-host"
_NAME = re.compile(r"(v[0-9]+[a-z]*|v5litepod)-([1-9][0-9]{0,5})")


@dataclass(frozen=True, slots=True, kw_only=True)
class Generation:
    """One generation: cores of a chip that names count, chips of a host in a slice, the largest single host, software."""

    name: str
    counts: int = 1  # how many of the number in the name make a chip
    host_chips: int = 4
    single_host: int = 4  # a slice of up to so many chips is one machine
    runtime: str = "tpu-ubuntu2204-base"


GENERATIONS: Mapping[str, Generation] = {
    "v2": Generation(name="v2", counts=2),
    "v3": Generation(name="v3", counts=2),
    "v4": Generation(name="v4", counts=2),
    "v5litepod": Generation(name="v5e", single_host=8, runtime="v2-alpha-tpuv5-lite"),
    "v5e": Generation(name="v5e", single_host=8, runtime="v2-alpha-tpuv5-lite"),
    "v5p": Generation(name="v5p", counts=2, runtime="v2-alpha-tpuv5"),
    "v6e": Generation(name="v6e", single_host=8, runtime="v2-alpha-tpuv6e"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class TpuType:
    """One type as it is leased."""

    name: str
    generation: str
    chips: int
    hosts: int
    runtime: str

    @property
    def chips_per_host(self) -> int:
        """What each host of it must show."""
        return self.chips // self.hosts


def chips_of(name: str) -> tuple[str, float] | None:
    """Generation and chips of a name: ("v5e", 8.0) for `v5litepod-8`; None for what is no TPU that is known."""
    found = _NAME.fullmatch(name)
    generation = GENERATIONS.get(found[1]) if found else None
    return (generation.name, int(found[2]) / generation.counts) if found and generation else None


def known_type(name: str | None) -> TpuType | None:
    """The type of that name; None for one that nothing but a machine's options could describe."""
    if name is None or chips_of(name) is None:
        return None
    try:
        return tpu_type(MachineSpec(name="", provider="gcp-tpu", type=name))
    except ConfigurationError:
        return None


def tpu_type(machine: MachineSpec) -> TpuType:
    """The type of a machine. Raises ConfigurationError for a name that is none, or a new one that needs options."""
    name = machine.type or ""
    found = _NAME.fullmatch(name)
    if found is None:
        raise ConfigurationError(
            f'"{name}" is no type of a TPU' if name else "no type of a TPU is named",
            where=f"machines.{machine.name}.type",
            fix='name one, such as type = "v6e-1" or "v5litepod-8"',
        )
    generation = _generation(machine, found[1])
    chips = max(1, int(found[2]) // generation.counts)
    hosts = 1 if chips <= generation.single_host else -(-chips // generation.host_chips)
    if chips % hosts:
        raise ConfigurationError(
            f'"{name}" would be {chips} chips on {hosts} hosts',
            where=f"machines.{machine.name}.type",
            fix="sizes are multiples of a host's chips",
        )
    runtime = machine.options.get(RUNTIME_OPTION) or generation.runtime
    return TpuType(name=name, generation=generation.name, chips=chips, hosts=hosts, runtime=runtime)


def _generation(machine: MachineSpec, name: str) -> Generation:
    """A known generation, or one that came after this table and is described by options."""
    known = GENERATIONS.get(name)
    chips = machine.options.get(CHIPS_OPTION)
    if chips is not None and not (chips.isdecimal() and int(chips) > 0):
        raise ConfigurationError(
            f"{chips!r} is no number of chips", where=f"machines.{machine.name}.options.{CHIPS_OPTION}"
        )
    if known is not None and chips is None:
        return known
    if known is None and (chips is None or not machine.options.get(RUNTIME_OPTION)):
        raise ConfigurationError(
            f'"{name}" is a generation that this version does not know',
            where=f"machines.{machine.name}.type",
            fix=f'say in its options what it is made of: {CHIPS_OPTION} = "4" and {RUNTIME_OPTION} = "…"',
        )
    number = int(chips or 0)
    base = known or Generation(name=name)
    return Generation(
        name=base.name, counts=base.counts, host_chips=number, single_host=number, runtime=base.runtime
    )
