"""What can go wrong in the emulated TPU zones: answers that are refusals, calls that are lost, creations that are doomed."""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

STOCKOUT = 'There is no more capacity in the zone "{zone}"; you can try in another zone'
NO_RESERVED = 'Insufficient reserved capacity in the zone "{zone}". Contact customer support to increase your reservation.'
TAKEN = "Cloud TPU received a bad request. The create operation failed while in state PREEMPTED"
RATE = (
    "Quota exceeded for quota metric 'Create requests' and limit 'Maximum number of CreateNode requests per minute'"
    " of service 'tpu.googleapis.com'"
)
QUOTA = "Quota limit '{name}' has been exceeded. Limit: {limit} in {per} {place}."
LOCATION = "Location {zone} is not found or access is unauthorized."


class Refusal(Exception):  # noqa: N818 - an answer, not a fault of the emulator
    """An error that Google would answer with."""

    def __init__(self, status: int, word: str, message: str) -> None:
        super().__init__(message)
        self.status, self.word, self.message = status, word, message


@dataclass(slots=True)
class Fault:
    """What befalls the next calls that match: an error, silence, a cut, or nonsense, before or after the effect."""

    method: str  # a glob over nodes.create …
    times: int = 1
    status: int = 0
    word: str = "UNKNOWN"
    message: str = ""
    kind: str = "error"  # error | hang | reset | malformed
    after: bool = False  # the call takes effect, and its answer is lost
    zone: str = "*"
    retry_after: int | None = None  # seconds, as a header

    def matches(self, method: str, zone: str, *, after: bool) -> bool:
        """Whether it befalls this call."""
        return (
            self.times > 0
            and self.after is after
            and fnmatch.fnmatchcase(method, self.method)
            and fnmatch.fnmatchcase(zone, self.zone)
        )


@dataclass(slots=True)
class Doom:
    """How the next creations that match end: their operation with an error, some time after it began."""

    code: int  # of gRPC: 8 no capacity, 9 no reserved capacity, 3 taken away
    message: str
    node: str = "*"  # globs
    zone: str = "*"
    seconds: float = 0.0
    times: int = 1
    leaves: str | None = None  # the state of the node that stays; None: nothing stays

    def matches(self, node: str, zone: str) -> bool:
        """Whether it awaits this node."""
        return (
            self.times > 0 and fnmatch.fnmatchcase(node, self.node) and fnmatch.fnmatchcase(zone, self.zone)
        )

    def error(self, zone: str) -> dict[str, Any]:
        """The error as an operation bears it."""
        return {"code": self.code, "message": self.message.replace("{zone}", zone)}


@dataclass(slots=True)
class Raid:
    """Nodes that match are taken away so many seconds after they were asked for."""

    node: str
    seconds: float


def stockout(**values: Any) -> Doom:
    """No capacity, as a creation learns some time after it began."""
    return Doom(code=8, message=STOCKOUT, **values)


def taken(**values: Any) -> Doom:
    """Preempted while it was being made; the node stays and holds quota."""
    return Doom(code=3, message=TAKEN, leaves="PREEMPTED", **values)


def read_script(items: list[Mapping[str, Any]]) -> list[Fault | Doom | Raid]:
    """A script as JSON has it: entries with `method` are faults, with `code` dooms, with `preempt` raids."""
    found: list[Fault | Doom | Raid] = []
    for item in items:
        if "method" in item:
            found.append(Fault(**item))
        elif "preempt" in item:
            found.append(Raid(node=item["preempt"], seconds=float(item.get("seconds", 0.0))))
        else:
            found.append(Doom(**item))
    return found
