"""The project's quotas in the emulated TPU zones: what a node counts against, and what the Cloud Quotas API tells of it.

Requests and answers of that API are held to the messages of Google's own client.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tests.emulators.tpu import faults
from tests.emulators.tpu.faults import Refusal
from tests.emulators.tpu.schema import Method, Violation

if TYPE_CHECKING:
    from tests.emulators.tpu.world import World

SERVICE = "tpu.googleapis.com"
LIST = Method(
    id="quotaInfos.list",
    verb="GET",
    pattern=re.compile(r"/v1/projects/([^/:]+)/locations/global/services/([^/:]+)/quotaInfos"),
    query={"pageSize": {"type": "integer"}, "pageToken": {"type": "string"}},
    request=None,
    response="ListQuotaInfosResponse",
)
PLENTY = 1_000  # of every quota in every zone that says nothing else
UNLIMITED = -1  # what regions have: Google's projects are bound by zones
MARKETS = {"": "", "spot": "Preemptible", "reserved": "Reserved"}
# what stands before and after the market in the name of a quota; slices of several machines may have one of their own
FAMILIES = {
    "v2": ("TPUV2s", ""),
    "v2 pod": ("TPUV2s", "Pod"),
    "v3": ("TPUV3s", ""),
    "v3 pod": ("TPUV3s", "Pod"),
    "v4": ("TPUV4s", "Pod"),
    "v5litepod": ("TPUV5s", "LitepodServing"),
    "v5litepod pod": ("TPUV5s", "Litepod"),
    "v5p": ("TPUV5P", ""),
    "v6e": ("TPUV6E", ""),
}
# a quota of another sort, as the API tells all in one list
RATE: Mapping[str, Any] = {
    "quotaId": "CreateNodeRequestsPerMinutePerProject",
    "metric": f"{SERVICE}/qps/create",
    "service": SERVICE,
    "refreshInterval": "minute",
    "containerType": "PROJECT",
    "metricUnit": "1",
    "dimensionsInfos": [{"details": {"value": "91"}, "applicableLocations": ["global"]}],
}


def find(verb: str, path: str) -> tuple[Method, tuple[str, ...]] | None:
    """The listing, if a request means it, and what stands in its path."""
    match = LIST.pattern.fullmatch(path)
    return (LIST, match.groups()) if match is not None and verb == LIST.verb else None


def name_of(kind: str, market: str) -> str:
    """What a type's quotas are called, up to where they count."""
    prefix, _, number = kind.partition("-")
    several = prefix in ("v2", "v3", "v5litepod") and int(number) > 8
    before, after = FAMILIES.get(f"{prefix} pod" if several else prefix, (f"TPU{prefix.upper()}", ""))
    return f"{before}{MARKETS[market]}{after}"


def units(kind: str) -> int:
    """How much of a quota a node takes: the number in its type."""
    return int(kind.partition("-")[2])


def region_of(zone: str) -> str:
    """The region of a zone."""
    return zone.rpartition("-")[0]


def check(world: World, zone: str, kind: str, market: str) -> None:
    """Refuse a node that would exceed a quota of the zone or of its region."""
    name = name_of(kind, market)
    same = [node for node in world.nodes.values() if name_of(node.kind, node.market) == name]
    here = sum(units(node.kind) for node in same if node.zone == zone)
    around = sum(units(node.kind) for node in same if region_of(node.zone) == region_of(zone))
    place = world.zones[zone]
    bounds = (
        ("Zone", zone, place.limits.get(name, place.quota), here),
        ("Region", region_of(zone), world.region_quotas.get((name, region_of(zone)), UNLIMITED), around),
    )
    for per, where, limit, used in bounds:
        if limit != UNLIMITED and used + units(kind) > limit:
            text = faults.QUOTA.format(name=id_of(name, per), limit=limit, per=per.lower(), place=where)
            raise Refusal(429, "RESOURCE_EXHAUSTED", text)


def id_of(name: str, per: str) -> str:
    """A quota's whole name."""
    return f"{name}PerProjectPer{per}ForTPUAPI"


def infos(world: World, service: str) -> list[dict[str, Any]]:
    """Every quota of a service."""
    if service != SERVICE:
        raise Refusal(404, "NOT_FOUND", f"Service '{service}' not found or has no quotas")
    names = [f"{before}{word}{after}" for before, after in FAMILIES.values() for word in MARKETS.values()]
    found = [info for name in names for info in (_of_zones(world, name), _of_regions(world, name))]
    return [dict(RATE), *found]


def _of_zones(world: World, name: str) -> dict[str, Any]:
    limits = {zone: place.limits.get(name, place.quota) for zone, place in world.zones.items()}
    return _info(world, name, "Zone", limits, PLENTY)


def _of_regions(world: World, name: str) -> dict[str, Any]:
    regions = {region_of(zone) for zone in world.zones}
    limits = {region: world.region_quotas.get((name, region), UNLIMITED) for region in sorted(regions)}
    return _info(world, name, "Region", limits, UNLIMITED)


def _info(world: World, name: str, per: str, limits: Mapping[str, int], usual: int) -> dict[str, Any]:
    """One quota; what differs from the usual comes first, each with its place."""
    key, quota_id = per.lower(), id_of(name, per)
    own = [
        {
            "dimensions": {key: place},
            "details": {"value": str(limit)},
            "applicableLocations": [place],
        }
        for place, limit in limits.items()
        if limit != usual
    ]
    rest = [place for place, limit in limits.items() if limit == usual]
    usually = [{"details": {"value": str(usual)}, "applicableLocations": rest}] if rest else []
    words = re.sub(r"(?<=[a-z])(?=[A-Z])", "-", name.removeprefix("TPU")).lower()
    return {
        "name": f"projects/{world.project}/locations/global/services/{SERVICE}/quotaInfos/{quota_id}",
        "quotaId": quota_id,
        "metric": f"{SERVICE}/tpu-{words}",
        "service": SERVICE,
        "isPrecise": True,
        "containerType": "PROJECT",
        "dimensions": [key],
        "quotaDisplayName": f"TPU {words} cores per project per {key}",
        "metricUnit": "1",
        "dimensionsInfos": own + usually,
    }


def told(answer: dict[str, Any], *, numbers: bool) -> dict[str, Any]:
    """The answer as Google writes messages in JSON, which leaves every 0 out. Raises Violation for what is no answer."""
    from google.cloud import cloudquotas_v1

    json_format: Any = importlib.import_module("google.protobuf.json_format")  # it has no types
    message = cloudquotas_v1.ListQuotaInfosResponse.pb()
    try:
        found: dict[str, Any] = json_format.MessageToDict(
            json_format.ParseDict(answer, message()), use_integers_for_enums=numbers
        )
    except json_format.ParseError as error:
        raise Violation(str(error)) from error
    return found
