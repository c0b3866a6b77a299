"""Which machines of EC2 satisfy a configuration: types × zones × spot or not, and what AWS knows about a type."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ci_runner.errors import ConfigurationError
from ci_runner.providers.base import Offer
from ci_runner.providers.choice import region_of
from ci_runner.providers.prices import price_per_hour

if TYPE_CHECKING:
    from ci_runner.model import MachineSpec
    from ci_runner.providers.aws_client import Aws


@dataclass(frozen=True, slots=True, kw_only=True)
class TypeFacts:
    """What AWS says about a type of machine."""

    name: str
    gpus: int = 0
    neurons: int = 0
    vcpus: int = 0
    architecture: str = "x86_64"

    @property
    def accelerators(self) -> int:
        """How many accelerators each machine has."""
        return self.gpus + self.neurons


class Catalogue:
    """Which types there are where; asked once for each region and type."""

    def __init__(self, aws: Aws) -> None:
        self._aws = aws
        self._facts: dict[tuple[str, str], TypeFacts] = {}
        self._zones: dict[tuple[str, tuple[str, ...]], Mapping[str, tuple[str, ...]]] = {}

    def zones(self, region: str, types: tuple[str, ...]) -> Mapping[str, tuple[str, ...]]:
        """type → the zones of the region that have it, sorted."""
        if (region, types) not in self._zones:
            found: dict[str, list[str]] = {name: [] for name in types}
            for each in self._aws.pages(
                region,
                "DescribeInstanceTypeOfferings",
                "InstanceTypeOfferings",
                LocationType="availability-zone",
                Filters=[{"Name": "instance-type", "Values": list(types)}],
            ):
                found.setdefault(str(each["InstanceType"]), []).append(str(each["Location"]))
            self._zones[region, types] = {name: tuple(sorted(zones)) for name, zones in found.items()}
        return self._zones[region, types]

    def facts(self, region: str, name: str) -> TypeFacts:
        """What a type is. Raises ConfigurationError if the region does not know it."""
        if (region, name) not in self._facts:
            answer = self._aws.call("ec2", region, "DescribeInstanceTypes", InstanceTypes=[name])
            described = answer.get("InstanceTypes") or ()
            if not described:
                raise ConfigurationError(
                    f'AWS describes no type "{name}" in {region}', where="machines.*.type"
                )
            self._facts[region, name] = _facts(name, described[0])
        return self._facts[region, name]


def _facts(name: str, described: Mapping[str, Any]) -> TypeFacts:
    gpus = described.get("GpuInfo", {}).get("Gpus", ())
    neurons = described.get("NeuronInfo", {}).get("NeuronDevices", ())
    architectures = described.get("ProcessorInfo", {}).get("SupportedArchitectures", ())
    arm = "arm64" in architectures and "x86_64" not in architectures
    return TypeFacts(
        name=name,
        gpus=sum(int(each.get("Count", 0)) for each in gpus),
        neurons=sum(int(each.get("Count", 0)) for each in neurons),
        vcpus=int(described.get("VCpuInfo", {}).get("DefaultVCpus", 0)),
        architecture="arm64" if arm else "x86_64",
    )


def types_of(machine: MachineSpec) -> tuple[str, ...]:
    """The types of `type = "g5.xlarge, g6.xlarge"`, the favourite first. Raises ConfigurationError without one."""
    types = tuple(dict.fromkeys((machine.type or "").replace(",", " ").split()))
    if not types:
        raise ConfigurationError(
            f'machine "{machine.name}" has no type',
            where=f"machines.{machine.name}.type",
            fix='name a type of EC2, such as type = "g5.xlarge", or --instance-type g5.xlarge',
        )
    return types


def regions_of(machine: MachineSpec, home: str | None) -> tuple[str, ...]:
    """The regions of the machine's zones, else its own, else the one of AWS's usual configuration.

    Raises ConfigurationError if nothing names one.
    """
    if machine.zones:
        return tuple(dict.fromkeys(str(region_of(zone)) for zone in machine.zones))
    region = machine.options.get("region") or home
    if not region:
        raise ConfigurationError(
            f'no region for machine "{machine.name}"',
            where=f"machines.{machine.name}.zones",
            fix='name zones = ["us-east-1a"], or set AWS_REGION',
        )
    return (region,)


def offers(machine: MachineSpec, catalogue: Catalogue, home: str | None) -> Sequence[Offer]:
    """Spot offers first if they are allowed; within them the favourite type first, then zones in the order given.

    A zone that is named and does not have a type makes no offer of it. Raises ConfigurationError if nothing is left.
    """
    types, regions = types_of(machine), regions_of(machine, home)
    found: list[Offer] = []
    for spot in {"never": (False,), "only": (True,)}.get(machine.spot, (True, False)):
        for name in types:
            for zone in _zones(machine, catalogue, regions, types, name):
                facts = catalogue.facts(str(region_of(zone)), name)
                price = price_per_hour(machine, zone, spot=spot, type_=name)
                found.append(
                    Offer(
                        machine=dataclasses.replace(machine, type=name),
                        zone=zone,
                        spot=spot,
                        price_per_hour=price,
                        accelerators=facts.accelerators,
                    )
                )
    if not found:
        places = ", ".join(machine.zones or regions)
        raise ConfigurationError(
            f"no zone of {places} has {' or '.join(types)}",
            where=f"machines.{machine.name}.type",
            fix="name other zones, a whole region among zones, or another type",
        )
    return tuple(found)


def _zones(
    machine: MachineSpec, catalogue: Catalogue, regions: Sequence[str], types: tuple[str, ...], name: str
) -> list[str]:
    """Zones that have this type; a region among `zones` stands for all of its zones."""
    there = {zone for region in regions for zone in catalogue.zones(region, types)[name]}
    wanted: list[str] = []
    for zone in machine.zones or regions:
        whole = zone == region_of(zone)
        wanted += catalogue.zones(zone, types)[name] if whole else (zone,)
    return [zone for zone in dict.fromkeys(wanted) if zone in there]
