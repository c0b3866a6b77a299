"""Finds machines that outlived their lease and ends them: marked on one visit, deleted on a later one."""

from __future__ import annotations

import dataclasses
import logging
import random
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from ci_runner.errors import CiRunnerError
from ci_runner.model import Lease, LeaseState
from ci_runner.providers.failures import Kind, ProviderError
from ci_runner.providers.identity import marked_at
from ci_runner.providers.leases import ID, ID_LENGTH
from ci_runner.providers.prices import cost, price_of

if TYPE_CHECKING:
    from ci_runner.providers.base import Provider
    from ci_runner.providers.book import Book

GAP_SECONDS = 120.0  # between the mark and the deletion: two visits, not two reapers at once
TRIES = 4  # of a call that the provider's rate limit refused
UNPAID = (LeaseState.STOPPED, LeaseState.PREEMPTED, LeaseState.RELEASING, LeaseState.GONE)

log = logging.getLogger(__name__)


class Step(StrEnum):
    """What the reaper does with a machine on this visit."""

    KEEP = "keep"
    MARK = "mark"
    DELETE = "delete"


class Result(StrEnum):
    """What came of it."""

    WOULD = "would"  # a dry run
    DONE = "done"
    GOING = "going"  # its deletion is under way
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reaped:
    """One machine on one visit."""

    lease: Lease
    step: Step
    result: Result
    error: str | None = None
    price_per_hour: float | None = None  # None: nobody knows; 0 of one that is stopped already

    @property
    def ended(self) -> bool:
        """Whether it costs nothing any more."""
        return self.step is Step.DELETE and self.result in (Result.DONE, Result.GOING)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How hard one provider is asked."""

    per_second: float = 20.0
    burst: int = 40
    workers: int = 16


class Pace:
    """Lets so many calls a second through, after a burst; shared by threads."""

    def __init__(
        self,
        limits: Limits,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self._limits = limits
        self._clock = clock
        self._sleep = sleep
        self._lock = threading.Lock()
        self._free = float(limits.burst)
        self._seen = clock()

    def wait(self) -> None:
        """Return when the next call may be made."""
        with self._lock:
            now = self._clock()
            refilled = self._free + (now - self._seen) * self._limits.per_second
            self._free, self._seen = min(float(self._limits.burst), refilled) - 1.0, now
            owed = -self._free / self._limits.per_second
        if owed > 0:
            self._sleep(owed)


def judge(lease: Lease, now: float, *, everything: bool = False) -> Step:
    """What a machine deserves: nothing before its time, then a mark, then, on a later visit, its end.

    A mark that is older than the lease's expiry, or from the future (somebody's clock is wrong), is no mark.
    """
    if everything:
        return Step.DELETE
    if now < lease.expires_at and lease.state is not LeaseState.PREEMPTED:
        return Step.KEEP
    marked = marked_at(lease)
    if (
        marked is None
        or marked > now
        or (marked < lease.expires_at and lease.state is not LeaseState.PREEMPTED)
    ):
        return Step.MARK
    return Step.DELETE if now - marked >= GAP_SECONDS else Step.KEEP


def is_ours(lease: Lease) -> bool:
    """Whether an id is one that we give; a label that merely looks like ours does not make a machine ours."""
    return len(lease.id) <= ID_LENGTH and ID.fullmatch(lease.id) is not None


class Reaper:
    """One visit to one provider."""

    def __init__(
        self,
        provider: Provider,
        *,
        now: float,
        limits: Limits | None = None,
        book: Book | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self._provider = provider
        self._now = now
        self._limits = limits or Limits()
        self._book = book
        self._sleep = sleep
        self._pace = Pace(self._limits, clock=clock, sleep=sleep)

    def visit(
        self, found: Iterable[Lease], *, everything: bool = False, dry_run: bool = False
    ) -> list[Reaped]:
        """Judge what was found and act; what is kept is not in the answer. The order of `found` stays."""
        ours = [lease for lease in found if is_ours(lease)]
        due = [(lease, judge(lease, self._now, everything=everything)) for lease in ours]
        due = [(lease, step) for lease, step in due if step is not Step.KEEP]
        if dry_run:
            return [self._told(lease, step, Result.WOULD) for lease, step in due]
        with ThreadPoolExecutor(max_workers=self._limits.workers) as pool:
            done = list(pool.map(lambda each: self._act(*each), due))
        return self._confirmed(done)

    def forgotten(
        self, listed: Iterable[Lease], *, everything: bool = False, dry_run: bool = False
    ) -> list[Lease]:
        """Leases that are open in the book, past their time and not in the list: found again, or closed as gone."""
        if self._book is None:
            return []
        known = {lease.id for lease in listed}
        late = [
            lease
            for lease in self._book.open()
            if lease.id not in known
            and lease.machine.provider == self._provider.name
            and (everything or self._now >= lease.expires_at)
        ]
        with ThreadPoolExecutor(max_workers=self._limits.workers) as pool:
            states = list(pool.map(self._state, late))
        for lease, state in zip(late, states, strict=True):
            if state is LeaseState.GONE and not dry_run:
                self._book.close(lease, at=self._now, how="gone")
        return [
            dataclasses.replace(lease, state=state)
            for lease, state in zip(late, states, strict=True)
            if state not in (None, LeaseState.GONE)
        ]

    def _state(self, lease: Lease) -> LeaseState | None:
        self._pace.wait()
        try:
            return self._provider.describe(lease)
        except (CiRunnerError, OSError) as error:
            log.warning("lease %s is open in the book and cannot be looked up: %s", lease.id, error)
            return None

    def _act(self, lease: Lease, step: Step) -> Reaped:
        # a machine that lost its labels of time has expired as it began; release wants a lease that lasted
        whole = dataclasses.replace(lease, expires_at=max(lease.expires_at, lease.created_at + 1.0))
        try:
            if step is Step.MARK:
                self._patiently(lambda: self._provider.mark(whole, self._now))
            else:
                log.info("releasing lease %s of %s", lease.id, self._provider.name)
                self._patiently(lambda: self._provider.release(whole))
        except (CiRunnerError, OSError) as error:
            return self._told(lease, step, Result.FAILED, str(error) or type(error).__name__)
        return self._told(lease, step, Result.DONE)

    def _patiently(self, call: Callable[[], None]) -> None:
        """Make a call at the allowed pace, and again later when the provider says that it was too fast."""
        for number in range(TRIES):
            self._pace.wait()
            try:
                call()
            except ProviderError as error:
                if error.failure.kind is not Kind.RATE or number + 1 == TRIES:
                    raise
                wait = error.failure.retry_after or random.uniform(0.5, 2.0 ** (number + 1))  # noqa: S311
                self._sleep(wait)
            else:
                return

    def _confirmed(self, done: Sequence[Reaped]) -> list[Reaped]:
        """What was deleted is looked for once more, all at once: a machine that is still there was not deleted."""
        if not any(each.step is Step.DELETE and each.result is Result.DONE for each in done):
            return list(done)
        self._pace.wait()
        try:
            there = {lease.id: lease.state for lease in self._provider.leases()}
        except (CiRunnerError, OSError) as error:
            log.warning("what was deleted cannot be confirmed: %s", error)
            return [
                dataclasses.replace(each, result=Result.GOING)
                if each.result is Result.DONE and each.ended
                else each
                for each in done
            ]
        return [self._looked_up(each, there.get(each.lease.id)) for each in done]

    def _looked_up(self, each: Reaped, state: LeaseState | None) -> Reaped:
        if each.step is not Step.DELETE or each.result is not Result.DONE:
            return each
        if state is None or state is LeaseState.GONE:
            if self._book is not None:
                spent = each.price_per_hour
                dollars = None if spent is None else cost(spent, self._now - each.lease.created_at)
                self._book.close(each.lease, at=self._now, how="reaped", cost_usd=dollars)
            return each
        if state is LeaseState.RELEASING:
            return dataclasses.replace(each, result=Result.GOING)
        return dataclasses.replace(each, result=Result.FAILED, error=f"it is still there ({state.value})")

    def _told(self, lease: Lease, step: Step, result: Result, error: str | None = None) -> Reaped:
        return Reaped(lease=lease, step=step, result=result, error=error, price_per_hour=hourly(lease))


def hourly(lease: Lease) -> float | None:
    """What a machine costs an hour in its present state; None if nobody knows."""
    if lease.state in UNPAID or lease.machine.provider in ("local", "ssh"):
        return 0.0
    if lease.price_per_hour > 0:
        return lease.price_per_hour
    found = price_of(lease.machine.provider, lease.machine.type or "", lease.zone, lease.spot)
    return found.per_hour if found else None


def saved_per_hour(reaped: Iterable[Reaped]) -> float:
    """Dollars an hour that are no longer spent."""
    return sum(each.price_per_hour or 0.0 for each in reaped if each.ended)


def overspent(reaped: Iterable[Reaped], now: float) -> float:
    """Dollars that were spent after the leases had expired."""
    return sum(cost(each.price_per_hour or 0.0, now - each.lease.expires_at) for each in reaped)
