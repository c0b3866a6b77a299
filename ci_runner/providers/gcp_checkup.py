"""What `ci-runner doctor` finds out about TPU machines before anybody pays for one."""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from ci_runner.errors import NO_CAPACITY, QUOTA, CiRunnerError
from ci_runner.providers.checkup import Check
from ci_runner.providers.gcp_quotas import SERVICE, quota_infos, remedy
from ci_runner.providers.tpu_quotas import Bound, Held, Look, Market, Room, UnreadableError, look, need_of
from ci_runner.providers.tpu_types import TpuType, known_type, tpu_type
from ci_runner.report import words

if TYPE_CHECKING:
    from ci_runner.model import MachineSpec
    from ci_runner.providers.gcp_client import Tpus
    from ci_runner.providers.gcp_nodes import Found, Places

QUOTAS = "https://console.cloud.google.com/iam-admin/quotas"
MANY = 5  # zones named in one line


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
    yield from _quota(machine, project, having, kind, tpus, places)


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


def _quota(
    machine: MachineSpec, project: str, having: Sequence[str], kind: TpuType, tpus: Tpus, places: Places
) -> Iterator[Check]:
    """Whether quotas leave room for the machine, and what holds some of them without being of use."""
    found = places.all(project)
    told = True
    try:
        infos = quota_infos(tpus, project)
        told = infos is not None
        held, markets = list(_held(found)), _markets(machine)
        looks = [each for market in markets for each in look(kind, having, market, infos or (), held)]
        yield from quota_checks(kind, project, looks) if told else ()
    except (CiRunnerError, UnreadableError) as error:
        told = False
        text = error.what if isinstance(error, CiRunnerError) else str(error)
        fix = remedy(error, project) if isinstance(error, CiRunnerError) else f"see {page_of(project)}"
        yield Check.warning("quota", f"limits cannot be read: {text}", fix)
    idle = [
        each.name
        for each in found
        if each.state in ("PREEMPTED", "TERMINATED", "FAILED", "SUSPENDED", "STOPPED")
    ]
    if idle:
        names = ", ".join(name.rpartition("/")[2] for name in idle[:5])
        yield Check.warning(
            "quota",
            f"{words.plural(len(idle), 'machine')} of no use hold quota: {names}",
            "ci-runner reap, or delete what is not ours by hand",
        )
    else:
        limits = "" if told else f"; limits are at {page_of(project)}"
        yield Check.ok("quota", f"nothing idle holds quota{limits}")


def _markets(machine: MachineSpec) -> tuple[Market, ...]:
    """What the machine may be bought as."""
    plain = Market.RESERVED if machine.options.get("reserved") == "true" else Market.ON_DEMAND
    return {"never": (plain,), "only": (Market.SPOT,)}.get(machine.spot, (Market.SPOT, plain))


def _held(found: Sequence[Found]) -> Iterator[Held]:
    """The nodes that are there, of types that are known."""
    for each in found:
        kind = known_type(each.type) if each.is_node else None
        if kind is not None:
            market = Market.SPOT if each.spot else Market.RESERVED if each.reserved else Market.ON_DEMAND
            yield Held(kind=kind, zone=each.zone, market=market)


def page_of(project: str) -> str:
    """Where a person sees a project's quotas and asks for more."""
    return f"{QUOTAS}?project={project}"


def quota_checks(kind: TpuType, project: str, looks: Sequence[Look]) -> Iterator[Check]:
    """What was found of each way to have the machine; failed only if there is surely room for it nowhere.

    A reservation may have no need of its quota: Google says no more about that one than its limit.
    """
    nowhere = all(each.room is Room.SHORT and each.market is not Market.RESERVED for each in looks)
    need = need_of(kind)
    for (market, room, quota, limit, _held), group in _grouped(looks).items():
        what = f"{market} {kind.name}"
        zones = _some([each.zone for each in group])
        bound = group[0].bound
        if bound is None:
            yield Check.warning(
                "quota", f"no quota is told that {what} counts against in {zones}", page_of(project)
            )
            continue
        place = _some(sorted({each.bound.place for each in group if each.bound is not None}))
        says = f"{quota} allows {_number(limit)} in {place}; {what} takes {need.words}"
        if room is Room.ENOUGH:
            yield Check.ok("quota", says)
            continue
        fix = _more(project, bound, need.most + (bound.held if room is Room.TAKEN else 0))
        if room is Room.SHORT and nowhere:
            yield Check.failed("quota", says, fix, exit_code=QUOTA)
        elif room is Room.TAKEN:
            yield Check.warning("quota", f"{says}, and {bound.held} are taken", fix)
        elif room is Room.UNSURE:
            only = need.doubt if limit >= need.least else "another quota is what it counts against"
            yield Check.warning("quota", f"{says}: enough only if {only}, which Google does not tell", fix)
        else:
            yield Check.warning("quota", says, fix)


def _grouped(looks: Sequence[Look]) -> Mapping[tuple[Market, Room, str, float, int], list[Look]]:
    """Zones of which the same is to be said, together."""
    found: dict[tuple[Market, Room, str, float, int], list[Look]] = {}
    for each in looks:
        bound = each.bound or Bound(quota="", per="", place="", limit=0.0)
        key = (each.market, each.room, bound.quota, bound.limit, bound.held if each.room is Room.TAKEN else 0)
        found.setdefault(key, []).append(each)
    return found


def _some(names: Sequence[str]) -> str:
    """The first few of them."""
    more = f" and {len(names) - MANY} more" if len(names) > MANY else ""
    return ", ".join(names[:MANY]) + more


def _number(limit: float) -> str:
    return "any number" if math.isinf(limit) else f"{limit:.0f}"


def _more(project: str, bound: Bound, number: int) -> str:
    """How to ask Google for more of a quota in a place."""
    # whom Google cannot ask, it refuses whenever it wants to know more (gcloud beta quotas preferences create --help)
    name = shlex.quote(project)
    return (
        f"ask for more, at {page_of(project)} or: gcloud beta quotas preferences create --project={name}"
        f" --service={SERVICE} --quota-id={bound.quota} --dimensions={bound.per}={bound.place}"
        f" --preferred-value={number} --email=ADDRESS"
    )
