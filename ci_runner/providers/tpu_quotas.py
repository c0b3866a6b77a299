"""Which of Google's quotas a type of TPU counts against, and whether they leave room for one. Pure.

A quota counts one generation, on demand, spot or reserved, in a zone or in a region; both have to leave room. What it
counts is told nowhere by the API: TensorCores of v2 and v3, chips of v5e and v6e, and of v4 and v5p one or the other
(https://cloud.google.com/tpu/docs/quota).
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ci_runner.providers.tpu_types import TpuType

# TPUV5sPreemptibleLitepodServingPerProjectPerZoneForTPUAPI, TPUV6EPerProjectPerRegionForTPUAPI, …
_ID = re.compile(
    r"TPUV(?P<number>[0-9]{1,2})(?P<words>(?:Preemptible|Reserved|Litepod|Serving|Pod|[A-Z]|s)*)"
    r"PerProjectPer(?P<per>Zone|Region)(?:ForTPUAPI)?"
)
_WORD = re.compile(r"Preemptible|Reserved|Litepod|Serving|Pod|[A-Z]|s")
_UNLIMITED = -1
_ONE_DEVICE = 4  # chips of v2 and v3, whose slices have quotas of their own
_SERVING = 8  # chips of v5e up to which Google may count a machine as one for serving


class UnreadableError(ValueError):
    """What should be a list of quotas is none."""


class Market(StrEnum):
    """How a machine is paid for; each has quotas of its own."""

    ON_DEMAND = "on-demand"
    SPOT = "spot"
    RESERVED = "reserved"


class Pool(StrEnum):
    """Quotas of one generation beside each other."""

    PLAIN = ""
    POD = "pod"
    SERVING = "serving"


@dataclass(frozen=True, slots=True, kw_only=True)
class Counted:
    """What a quota counts, by its name."""

    generation: str
    market: Market
    pool: Pool
    per: str  # zone or region


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """A node that is there already."""

    kind: TpuType
    zone: str
    market: Market


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """What one machine takes of a quota: so much at least and at most, for the unit is not always known."""

    least: int
    most: int
    words: str
    doubt: str = ""  # what has to be so for the least to be enough


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """What one quota says about one place."""

    quota: str  # its id
    per: str
    place: str
    limit: float  # infinite if there is none
    held: int = 0  # at least so much is taken by nodes that are there


class Room(StrEnum):
    """Whether one more machine fits."""

    ENOUGH = "enough"
    TAKEN = "taken"  # it would, if what is there were not
    UNSURE = "unsure"  # it depends on what the quota counts
    SHORT = "short"  # never
    UNKNOWN = "unknown"  # nothing is told about it


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """Room for a machine in a zone, and the quota that decides."""

    zone: str
    market: Market
    room: Room
    bound: Bound | None = None


def counted(quota: str) -> Counted | None:
    """What a quota counts; None for one that counts no TPUs, or that nobody here understands."""
    found = _ID.fullmatch(quota)
    if found is None:
        return None
    words = _WORD.findall(found["words"])
    letters = [word.lower() for word in words if len(word) == 1 and word != "s"]
    if len(letters) > 1 or {"Preemptible", "Reserved"} <= set(words):
        return None
    letter = "e" if "Litepod" in words else "".join(letters)
    markets = {"Preemptible": Market.SPOT, "Reserved": Market.RESERVED}
    pools = {"Serving": Pool.SERVING, "Pod": Pool.POD}
    return Counted(
        generation=f"v{found['number']}{letter}",
        market=next((markets[word] for word in words if word in markets), Market.ON_DEMAND),
        pool=next((pools[word] for word in words if word in pools), Pool.PLAIN),
        per=found["per"].lower(),
    )


def need_of(kind: TpuType) -> Need:
    """What a machine takes of a quota. Of a generation that is not known, only 0 is surely too little."""
    number = int(kind.name.rpartition("-")[2])
    if kind.generation in ("v2", "v3"):
        return Need(least=number, most=number, words=_plural(number, "TensorCore"))
    if kind.generation in ("v5e", "v6e"):
        return Need(least=kind.chips, most=kind.chips, words=_plural(kind.chips, "chip"))
    if kind.generation in ("v4", "v5p"):
        words = f"{_plural(kind.chips, 'chip')} or {_plural(number, 'TensorCore')}"
        return Need(least=kind.chips, most=number, words=words, doubt="it counts chips")
    return Need(least=1, most=2 * kind.chips, words="a number that is not known here", doubt="that is so few")


def _plural(number: int, word: str) -> str:
    return f"{number} {word}" if number == 1 else f"{number} {word}s"


def pools_of(kind: TpuType) -> frozenset[Pool]:
    """The quotas that a type may count against; of several that exist, nobody says which."""
    if kind.generation in ("v2", "v3"):
        return frozenset({Pool.PLAIN if kind.chips <= _ONE_DEVICE else Pool.POD})
    if kind.generation == "v5e":
        return frozenset({Pool.SERVING, Pool.PLAIN} if kind.chips <= _SERVING else {Pool.PLAIN})
    return frozenset({Pool.POD, Pool.PLAIN})


def look(
    kind: TpuType,
    zones: Iterable[str],
    market: Market,
    infos: Sequence[Mapping[str, Any]],
    held: Sequence[Held],
) -> Iterator[Look]:
    """Room for one machine in each zone. Raises UnreadableError for a quota that cannot be read."""
    need, pools = need_of(kind), pools_of(kind)
    found: dict[Pool, list[tuple[Counted, Mapping[str, Any]]]] = {}
    for info in infos:
        what = counted(str(info.get("quotaId")))
        if what and (what.generation, what.market) == (kind.generation, market) and what.pool in pools:
            found.setdefault(what.pool, []).append((what, info))
    same = [
        (node, need_of(node.kind).least)
        for node in held
        if (node.kind.generation, node.market) == (kind.generation, market) and pools_of(node.kind) == pools
    ]
    for zone in zones:
        looks = [
            _tightest(bounds, zone, market, need)
            for quotas in found.values()
            if (bounds := [bound for what, info in quotas for bound in _bounds(what, info, zone, same)])
        ]
        yield _together(looks) if looks else Look(zone=zone, market=market, room=Room.UNKNOWN)


def _bounds(
    what: Counted, info: Mapping[str, Any], zone: str, held: Sequence[tuple[Held, int]]
) -> Iterator[Bound]:
    """What a quota says about a zone, if it says anything."""
    limit = limit_at(info, zone)
    if limit is not None:
        place = _place(what, zone)
        taken = sum(units for node, units in held if _place(what, node.zone) == place)
        yield Bound(quota=str(info["quotaId"]), per=what.per, place=place, limit=limit, held=taken)


def _place(what: Counted, zone: str) -> str:
    """Where a quota counts a machine of a zone."""
    return zone if what.per == "zone" else region_of(zone)


def region_of(zone: str) -> str:
    """The region of a zone."""
    return zone.rpartition("-")[0]


def _tightest(bounds: Sequence[Bound], zone: str, market: Market, need: Need) -> Look:
    order = list(Room)
    room, bound = max(
        ((_room(bound, need), bound) for bound in bounds),
        key=lambda pair: (order.index(pair[0]), -pair[1].limit),
    )
    return Look(zone=zone, market=market, room=room, bound=bound)


def _room(bound: Bound, need: Need) -> Room:
    if bound.limit < need.least:
        return Room.SHORT
    if bound.limit < need.most:
        return Room.UNSURE
    return Room.ENOUGH if bound.limit - bound.held >= need.least else Room.TAKEN


def _together(looks: Sequence[Look]) -> Look:
    """Of quotas beside each other, one of which counts: what they agree on, else the one that leaves less."""
    order = list(Room)
    worst = max(looks, key=lambda each: order.index(each.room))
    agreed = len({each.room for each in looks}) == 1
    if agreed or worst.room is not Room.SHORT:
        return worst
    return Look(zone=worst.zone, market=worst.market, room=Room.UNSURE, bound=worst.bound)


def limit_at(info: Mapping[str, Any], zone: str) -> float | None:
    """The limit of a quota in a zone; None if it says nothing about it. Raises UnreadableError for what cannot be read.

    Entries with a place of their own come before those that hold for all the rest.
    """
    entries = info.get("dimensionsInfos", [])
    if not isinstance(entries, list):
        raise UnreadableError(f"{info.get('quotaId')} has no list of limits")
    fitting = sorted(
        (place, number, entry)
        for number, entry in enumerate(entries)
        if (place := _fit(entry, zone)) is not None
    )
    return _value(fitting[0][2], str(info.get("quotaId"))) if fitting else None


def _fit(entry: Any, zone: str) -> int | None:
    """How exactly an entry means a zone: 0 by the zone, 1 by its region, 2 with all others; None if it does not."""
    if not isinstance(entry, Mapping):
        raise UnreadableError("a limit is no object")
    dimensions, places = entry.get("dimensions", {}), entry.get("applicableLocations", [])
    if not isinstance(dimensions, Mapping) or not isinstance(places, list):
        raise UnreadableError("a limit does not say where it holds")
    around = {"zone": zone, "region": region_of(zone)}
    if any(around.get(name) != value for name, value in dimensions.items()):
        return None
    if dimensions:
        return 0 if "zone" in dimensions else 1
    return 2 if not places or {zone, region_of(zone), "global"} & set(map(str, places)) else None


def _value(entry: Mapping[str, Any], quota: str) -> float | None:
    details = entry.get("details")
    if details is None:
        return None
    # a message of Google's leaves every 0 out of its JSON
    text = details.get("value", "0") if isinstance(details, Mapping) else None
    if isinstance(text, bool) or not re.fullmatch(r"-?[0-9]{1,19}", str(text)):
        raise UnreadableError(f"{quota} has a limit that is no number")
    number = int(str(text))
    return math.inf if number == _UNLIMITED else float(max(0, number))
