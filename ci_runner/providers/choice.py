"""Which offer to try next, how long to wait, and when to give up: decided from what failed so far, and from nothing else."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ci_runner.errors import (
    AuthenticationError,
    CapacityError,
    CiRunnerError,
    ConfigurationError,
    MachineError,
    PreemptionError,
    QuotaError,
)
from ci_runner.github.commands import one_line
from ci_runner.model import MachineSpec
from ci_runner.providers.base import Offer
from ci_runner.providers.failures import Failure, Kind, ProviderError, Scope

TRIES_OF_ONE = 3  # of an offer whose failure ruled nothing out
UNKNOWN_LIMIT = 6  # failures that nobody understands; more of them and the provider itself is ill
RATE_BASE_SECONDS = 2.0
RATE_CAP_SECONDS = 60.0
AGAIN_BASE_SECONDS = 1.0  # before an offer that failed already is tried again
LEAST_WAIT = 1.0
SHOWN = 300  # characters of what a provider said

# Google's end in a letter and digits (us-central1-b), Amazon's in a dash and digits (us-east-1a, us-gov-west-1)
_REGION = re.compile(r"([a-z]+-[a-z]+\d+|[a-z]+(?:-[a-z]+)+-\d+)(?:[a-z]|-[a-z0-9-]+)?\Z")

WORDS: Mapping[Kind, str] = {
    Kind.STOCKOUT: "no capacity",
    Kind.QUOTA: "over quota",
    Kind.RATE: "too many calls",
    Kind.AUTH: "not allowed",
    Kind.CONFIGURATION: "cannot be granted",
    Kind.PREEMPTED: "taken away while it was made",
    Kind.UNKNOWN: "failed",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Dropped:
    """An offer that is not even tried, and why."""

    offer: Offer
    reason: str
    for_money: bool = False  # worth telling even if another offer was taken

    def __str__(self) -> str:
        """One line."""
        return f"{self.offer}: not tried, {self.reason}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """An offer and how it failed."""

    offer: Offer
    failure: Failure

    def __str__(self) -> str:
        """One line, with what the provider said made harmless."""
        said = one_line(self.failure.text, SHOWN)
        code = f" [{one_line(self.failure.code, 60)}]" if self.failure.code else ""
        return f"{self.offer}: {WORDS[self.failure.kind]}: {said}{code}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """What ends the search for a machine, and what a person would change to have it last longer."""

    what: str = "the time to look for one"
    fix: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Next:
    """Try this offer, after so many seconds."""

    offer: Offer
    wait: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class GiveUp:
    """There is nothing left to try, or no time left to try it; this is why."""

    error: CiRunnerError
    late: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """All that a decision depends on: the offers in order, those ruled out beforehand, and what failed so far."""

    machine: MachineSpec
    offers: tuple[Offer, ...]
    dropped: tuple[Dropped, ...] = ()
    tried: tuple[Tried, ...] = ()
    limit: Limit = Limit()

    def failed(self, offer: Offer, failure: Failure) -> Choice:
        """The choice after one more failure."""
        return dataclasses.replace(self, tried=(*self.tried, Tried(offer=offer, failure=failure)))

    def blocked(self, offer: Offer) -> bool:
        """Whether a failure so far rules this offer out."""
        return any(_rules_out(tried, offer) for tried in self.tried)

    def next(self, *, left: float, jitter: float) -> Next | GiveUp:
        """The next offer, with `left` seconds until the deadline and a random number from 0 to 1 for the wait."""
        last = self.tried[-1] if self.tried else None
        if last and last.failure.kind is Kind.AUTH:
            return GiveUp(error=self._error())
        if left <= 0:
            return self._late()
        if last and last.failure.kind is Kind.RATE:
            wait = self._rate_wait(last, jitter)
            return Next(offer=last.offer, wait=wait) if wait < left else self._late()
        if sum(tried.failure.kind is Kind.UNKNOWN for tried in self.tried) >= UNKNOWN_LIMIT:
            return GiveUp(error=self._error())
        return self._first_of_least_tried(left, jitter)

    def _first_of_least_tried(self, left: float, jitter: float) -> Next | GiveUp:
        """In order; an offer that failed without being ruled out has its next turn when all others had theirs."""
        counts = {index: self._tries(offer) for index, offer in enumerate(self.offers)}
        open_ = [
            index
            for index, offer in enumerate(self.offers)
            if counts[index] < TRIES_OF_ONE and not self.blocked(offer)
        ]
        if not open_:
            return GiveUp(error=self._error())
        index = min(open_, key=lambda each: (counts[each], each))
        ceiling = AGAIN_BASE_SECONDS * 2 ** counts[index]
        wait = max(LEAST_WAIT, jitter * ceiling) if counts[index] else 0.0
        if wait >= left:
            return self._late()
        return Next(offer=self.offers[index], wait=wait)

    def _tries(self, offer: Offer) -> int:
        return sum(t.offer == offer and t.failure.kind is not Kind.RATE for t in self.tried)

    def _rate_wait(self, last: Tried, jitter: float) -> float:
        """Full jitter over a ceiling that doubles with each refusal in a row, and never less than was asked for."""
        row = 0
        for tried in reversed(self.tried):
            if tried.failure.kind is not Kind.RATE:
                break
            row += 1
        ceiling = min(RATE_CAP_SECONDS, RATE_BASE_SECONDS * 2.0 ** min(row, 16))
        asked = last.failure.retry_after or 0.0
        return max(LEAST_WAIT, asked + jitter * ceiling)

    def _late(self) -> GiveUp:
        return GiveUp(error=self._error(late=True), late=True)

    def _error(self, *, late: bool = False) -> CiRunnerError:
        """The error that what was seen amounts to, with a line for each attempt."""
        details = (*map(str, self.tried), *map(str, self.dropped))
        kinds = {tried.failure.kind for tried in self.tried}
        place = f"machines.{self.machine.name}"
        make, what, fix = _verdict(kinds, self.machine, bool(self.dropped))
        if late and kinds:
            what += f", and {self.limit.what} is up"
            fix += f"; or {self.limit.fix}" if self.limit.fix else ""
        elif late:
            make, what = MachineError, f"there is no time left to get a machine: {self.limit.what} is up"
            fix = self.limit.fix or "give the run more time"
        return make(what, where=place, fix=fix, details=details)


def _verdict(kinds: set[Kind], machine: MachineSpec, dropped: bool) -> tuple[type[CiRunnerError], str, str]:
    """The error's class, its sentence and its fix: the kind that time or money can help with comes first."""
    name = f'"{one_line(machine.name, 60)}"'
    table = f"[machines.{one_line(machine.name, 60)}]"
    if Kind.AUTH in kinds:
        fix = "see who you are to the cloud and what you may do: ci-runner doctor"
        return AuthenticationError, f"the cloud does not allow a machine for {name}", fix
    if Kind.STOCKOUT in kinds:
        wider = (
            f'set spot = "prefer" in {table}' if machine.spot == "only" else f"add a zone to {table} zones"
        )
        also = "; some places refused for quota: ci-runner doctor names it" if Kind.QUOTA in kinds else ""
        return CapacityError, f"no capacity for {name} anywhere allowed", f"{wider}, or try again later{also}"
    if Kind.PREEMPTED in kinds:
        fix = f'set spot = "never" in {table}, or try again later'
        return PreemptionError, f"every machine for {name} was taken away while it was made", fix
    if Kind.QUOTA in kinds:
        fix = "ask the cloud for more quota (ci-runner doctor names it), or allow another region or type"
        return QuotaError, f"no quota for {name} anywhere allowed", fix
    if Kind.RATE in kinds:
        fix = "start fewer runs at once, or ask the cloud for more calls a minute"
        return QuotaError, f"the cloud takes no more calls for {name} now", fix
    if Kind.UNKNOWN in kinds:
        fix = "see what the provider said above; ci-runner doctor tests the way there"
        return MachineError, f"no machine for {name}", fix
    if Kind.CONFIGURATION in kinds:
        fix = f"change what the lines above name in {table}"
        return ConfigurationError, f"a machine like {name} cannot be had", fix
    if dropped:
        fix = f"raise the price cap, or change spot in {table}"
        return ConfigurationError, f"no offer for {name} is within what is allowed", fix
    return CapacityError, f"nobody offers a machine for {name}", f"name zones in {table} zones"


def _rules_out(tried: Tried, offer: Offer) -> bool:
    """Whether a failed attempt blocks an offer, by the scope of its failure."""
    failure, mine = tried.failure, tried.offer
    if failure.kind is Kind.RATE:
        return False
    scope = failure.scope
    if scope is Scope.NOTHING and failure.kind not in (Kind.UNKNOWN, Kind.PREEMPTED):
        scope = Scope.OFFER  # what is out of stock, over quota or wrong does not change by asking again
    same_type = mine.machine.type == offer.machine.type
    match scope:
        case Scope.NOTHING:
            return False
        case Scope.OFFER:
            return mine.zone == offer.zone and same_type and mine.spot == offer.spot
        case Scope.ZONE:
            return mine.zone == offer.zone
        case Scope.REGION:
            return region_of(mine.zone) == region_of(offer.zone)
        case Scope.POOL:
            return region_of(mine.zone) == region_of(offer.zone) and same_type and mine.spot == offer.spot
        case Scope.TYPE:
            return same_type
        case Scope.SPOT:
            return offer.spot
        case Scope.PROVIDER:
            return True


def region_of(zone: str | None) -> str | None:
    """`us-central1` of `us-central1-b`, `us-east-1` of `us-east-1a`, and a region of itself."""
    found = _REGION.match(zone or "")
    return found[1] if found else zone


def arrange(
    machine: MachineSpec, offers: Iterable[Offer], *, seconds: float, budget: float | None = None
) -> Choice:
    """The offers that may be tried, spot ones first if both are allowed, and the others with the reason.

    `seconds` is how long the machine may be held; `budget` is what the run may still spend, in dollars.
    """
    allowed: list[Offer] = []
    dropped: list[Dropped] = []
    for offer in _distinct(offers):
        reason = _too_much(machine, offer, seconds, budget)
        if reason:
            dropped.append(Dropped(offer=offer, reason=reason, for_money="$" in reason))
        else:
            allowed.append(offer)
    if machine.spot == "prefer":
        allowed.sort(key=lambda offer: not offer.spot)
    return Choice(machine=machine, offers=tuple(allowed), dropped=tuple(dropped))


def _distinct(offers: Iterable[Offer]) -> list[Offer]:
    """Each offer once, in order; offers hold mappings, so they cannot be keys."""
    found: list[Offer] = []
    for offer in offers:
        if offer not in found:
            found.append(offer)
    return found


def _too_much(machine: MachineSpec, offer: Offer, seconds: float, budget: float | None) -> str | None:
    """Why an offer is not allowed; None if it is."""
    if offer.spot and machine.spot == "never":
        return 'spot is "never"'
    if not offer.spot and machine.spot == "only":
        return 'spot is "only"'
    price, whole = offer.price_per_hour, offer.price_per_hour * seconds / 3600.0
    if machine.max_price_per_hour is not None and price > machine.max_price_per_hour:
        return f"${price:,.2f} an hour is over max-price-per-hour = {machine.max_price_per_hour:g}"
    if machine.max_price_per_run is not None and whole > machine.max_price_per_run:
        return f"${whole:,.2f} for the whole lease is over max-price-per-run = {machine.max_price_per_run:g}"
    if budget is not None and whole > budget:
        return f"${whole:,.2f} for the whole lease is over what the run may still spend (${budget:,.2f})"
    return None


def failure_of(error: CiRunnerError) -> Failure | None:
    """What an error of `acquire` means for the next step; None if another offer would not help."""
    if isinstance(error, ProviderError):
        return error.failure
    kinds: list[tuple[type[CiRunnerError], Kind, Scope]] = [
        (AuthenticationError, Kind.AUTH, Scope.PROVIDER),
        (CapacityError, Kind.STOCKOUT, Scope.OFFER),
        (QuotaError, Kind.QUOTA, Scope.REGION),
        (PreemptionError, Kind.PREEMPTED, Scope.OFFER),
        (MachineError, Kind.UNKNOWN, Scope.OFFER),  # it was had and cannot be used: another may be better
    ]
    for known, kind, scope in kinds:
        if isinstance(error, known):
            where = f" ({error.where})" if error.where else ""
            return Failure(kind=kind, scope=scope, text=f"{error.what}{where}")
    return None
