"""What `ci-runner doctor` finds out about TPU machines before anybody pays for one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ci_runner.errors import NO_CAPACITY, CiRunnerError
from ci_runner.providers.checkup import Check
from ci_runner.providers.tpu_types import tpu_type
from ci_runner.report import words

if TYPE_CHECKING:
    from ci_runner.model import MachineSpec
    from ci_runner.providers.gcp_client import Tpus
    from ci_runner.providers.gcp_nodes import Places

QUOTAS = "https://console.cloud.google.com/iam-admin/quotas"


def examine(machine: MachineSpec, tpus: Tpus, places: Places) -> Iterator[Check]:
    """Who we are there, whether the type exists where it is wanted, and what holds quota already."""
    try:
        project = tpus.project(machine.options)
        zones = places.zones(project)
    except CiRunnerError as error:
        yield Check.from_error("credentials", error)
        return
    yield Check.ok("credentials", f"project {project} answers, with {len(zones)} zones")
    try:
        kind = tpu_type(machine)
    except CiRunnerError as error:
        yield Check.from_error("type", error)
        return
    hosts = "one host" if kind.hosts == 1 else f"{kind.hosts} hosts"
    yield Check.ok("type", f"{kind.name}: {kind.chips} chips of {kind.generation} on {hosts}, {kind.runtime}")
    wanted = machine.zones or tuple(zones)
    unknown = [zone for zone in wanted if zone not in zones]
    for zone in unknown:
        yield Check.failed(
            "zones",
            f"{zone} is not a zone of TPUs that {project} may use",
            f"name one of: {', '.join(zones)}",
            exit_code=NO_CAPACITY,
        )
    known = [zone for zone in wanted if zone in zones]
    if unknown and not known:
        return
    having = [zone for zone in known if places.has(project, zone, kind.name)]
    if not having:
        yield Check.failed(
            "zones",
            f"{kind.name} is in none of: {', '.join(known)}",
            f"gcloud compute tpus accelerator-types list --zone ZONE --project {project}",
            exit_code=NO_CAPACITY,
        )
        return
    yield Check.ok("zones", f"{kind.name} is in {', '.join(having)}")
    yield from _software(machine, project, having, kind.runtime, places)
    yield from _quota(project, places)


def _software(
    machine: MachineSpec, project: str, zones: list[str], runtime: str, places: Places
) -> Iterator[Check]:
    """Whether the software that the type boots with is offered."""
    for zone in zones:
        versions = places.runtimes(project, zone)
        if runtime not in versions:
            yield Check.failed(
                "image",
                f"{zone} has no software {runtime}",
                f"[machines.{machine.name}.options] runtime-version = one of: {', '.join(versions[:10])}",
            )
            return
    yield Check.ok("image", f"{runtime} is offered")


def _quota(project: str, places: Places) -> Iterator[Check]:
    """What holds quota without being of use. Limits themselves are not told by this API."""
    idle = [
        found.name
        for found in places.all(project)
        if found.state in ("PREEMPTED", "TERMINATED", "FAILED", "SUSPENDED", "STOPPED")
    ]
    if idle:
        names = ", ".join(name.rpartition("/")[2] for name in idle[:5])
        yield Check.warning(
            "quota",
            f"{words.plural(len(idle), 'machine')} of no use hold quota: {names}",
            "ci-runner reap, or delete what is not ours by hand",
        )
    else:
        yield Check.ok("quota", f"nothing idle holds quota; limits are at {QUOTAS}?project={project}")
