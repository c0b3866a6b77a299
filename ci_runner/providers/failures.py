"""Why a machine could not be had: one value that says what happened and how much of the choice it rules out."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from ci_runner.errors import MachineError


class Kind(StrEnum):
    """What went wrong; each kind has its own next step."""

    STOCKOUT = "stockout"  # the zone has none of these now
    QUOTA = "quota"  # the account may not have more of these
    RATE = "rate"  # too many calls; the same target later
    AUTH = "auth"  # not known, or not allowed: stop at once
    CONFIGURATION = "configuration"  # the request itself cannot be granted anywhere like this
    PREEMPTED = "preempted"  # it was taken away while it was being made
    UNKNOWN = "unknown"  # anything else: a server's fault, a deadline, an answer that makes no sense


class Scope(StrEnum):
    """What a failure rules out for the rest of this acquisition."""

    NOTHING = "nothing"  # try the same offer again
    OFFER = "offer"  # this zone, type and spot or not
    ZONE = "zone"  # everything in this zone
    REGION = "region"  # everything in this zone's region
    POOL = "pool"  # this type, spot or not as it was, in this zone's region
    TYPE = "type"  # this type anywhere
    SPOT = "spot"  # spot machines anywhere
    PROVIDER = "provider"  # everything


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """One failed attempt to get a machine."""

    kind: Kind
    scope: Scope
    text: str  # what the provider said, as one line
    code: str | None = None  # the provider's own word for it
    retry_after: float | None = None  # seconds, if the provider named them


class TakenError(MachineError):
    """Another run has a machine under the same lease id. It is that run's: whoever gets this error gives nothing back."""


class ProviderError(MachineError):
    """A machine could not be had; `failure` says why in a form that decides what comes next."""

    def __init__(self, failure: Failure, *, where: str | None = None, fix: str | None = None) -> None:
        super().__init__(failure.text, where=where, fix=fix)
        self.failure = failure
