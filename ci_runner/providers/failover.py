"""Gets a machine: one offer after the other, nothing left of a failed try, and every try remembered."""

from __future__ import annotations

import dataclasses
import logging
import random
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ci_runner.errors import CiRunnerError
from ci_runner.github.commands import one_line
from ci_runner.model import Lease, OfferAttempt
from ci_runner.providers.choice import Choice, GiveUp, Limit, Next, arrange, failure_of
from ci_runner.providers.failures import ProviderError, TakenError

if TYPE_CHECKING:
    from ci_runner.execution.session import Cancellation
    from ci_runner.providers.base import Offer, Provider, Source
    from ci_runner.providers.book import Book

RELEASE_TRIES = 3
RELEASE_PAUSE = 1.0

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Leased:
    """A ready machine, and every try that it took."""

    lease: Lease
    attempts: tuple[OfferAttempt, ...]


def lease_machine(
    provider: Provider,
    lease: Lease,
    offers: Iterable[Offer],
    source: Source,
    *,
    deadline: float,
    book: Book,
    cancellation: Cancellation,
    say: Callable[[OfferAttempt], None],
    budget: float | None = None,
    clock: Callable[[], float] = time.time,
    sleep: Callable[[float], object] | None = None,
    rng: random.Random | None = None,
) -> Leased:
    """A ready machine for this lease, from the first offer that works, before the deadline on `clock`.

    The search ends with the lease's own time if that is sooner: a machine that comes later would be the reaper's.
    The lease is in the book before anything is made for it. Whatever ends this without a machine, nothing is left:
    the lease is released and closed in the book, or stays open there for the reaper if that failed. `say` hears of
    every try as it ends. Raises the error that the failures amount to, with a line for each; Cancelled.
    """
    seconds = max(0.0, lease.expires_at - lease.created_at)
    search = _Search(
        provider=provider,
        lease=lease,
        source=source,
        deadline=min(deadline, lease.expires_at),
        cancellation=cancellation,
        say=say,
        clock=clock,
        sleep=sleep or cancellation.wait,
        rng=rng or random.Random(),  # noqa: S311 - spreads retries, hides nothing
    )
    choice = arrange(lease.machine, offers, seconds=seconds, budget=budget)
    if lease.expires_at < deadline:
        choice = dataclasses.replace(choice, limit=limit_of(lease))
    book.request(lease)
    try:
        found = search.run(choice)
    except BaseException:
        if search.give_back():
            book.close(lease, at=clock(), how="never ready")
        raise
    notes = tuple(str(dropped) for dropped in choice.dropped if dropped.for_money)
    found = dataclasses.replace(found, tries=tuple(search.tries), notes=(*found.notes, *notes))
    return Leased(lease=found, attempts=found.tries)


def limit_of(lease: Lease) -> Limit:
    """The lease's own time as what ends the search for its machine: `max-minutes`, else what its suite may take."""
    minutes, longest = (lease.expires_at - lease.created_at) / 60.0, lease.machine.max_minutes
    if longest is not None and longest <= minutes:
        what = f"the lease's time (max-minutes = {longest:g})"
        return Limit(what=what, fix=f"raise max-minutes of [machines.{one_line(lease.machine.name, 60)}]")
    return Limit(
        what=f"the lease's time ({minutes:.0f} minutes, by the suite's timeout)",
        fix="raise the timeout of the suite",
    )


class _Search:
    """One acquisition: what it works with, and what it has tried."""

    def __init__(
        self,
        *,
        provider: Provider,
        lease: Lease,
        source: Source,
        deadline: float,
        cancellation: Cancellation,
        say: Callable[[OfferAttempt], None],
        clock: Callable[[], float],
        sleep: Callable[[float], object],
        rng: random.Random,
    ) -> None:
        self.tries: list[OfferAttempt] = []
        self._provider = provider
        self._lease = lease
        self._source = source
        self._deadline = deadline
        self._cancellation = cancellation
        self._say = say
        self._clock = clock
        self._sleep = sleep
        self._rng = rng
        self._target: Lease | None = None  # what may exist now

    def run(self, choice: Choice) -> Lease:
        """Try until there is a machine or nothing left to try."""
        first: CiRunnerError | None = None
        while True:
            match choice.next(left=self._deadline - self._clock(), jitter=self._rng.random()):
                case GiveUp(error=error, late=late):
                    if first is None or len(self.tries) > 1:
                        raise error
                    # one try that no provider classified: its own error says more than a list of one
                    if late:
                        first.details = (*first.details, error.what)
                    raise first
                case Next(offer=offer, wait=wait):
                    self._wait(wait)
                    found = self._try(offer)
                    if isinstance(found, Lease):
                        return found
                    failure = failure_of(found)
                    if failure is None:
                        raise found
                    first = found if not self.tries[1:] and not isinstance(found, ProviderError) else None
                    choice = choice.failed(offer, failure)
                    if self._target is not None:  # a second machine under the same id would hide the first
                        raise self._stuck(choice, found)

    def _wait(self, seconds: float) -> None:
        self._cancellation.check()
        if seconds > 0:
            log.info("lease %s: trying again in %.1f s", self._lease.id, seconds)
            self._sleep(seconds)
            self._cancellation.check()

    def _try(self, offer: Offer) -> Lease | CiRunnerError:
        """One try; a failed one is cleared away before it is told."""
        began = self._clock()
        self._target = dataclasses.replace(
            self._lease, zone=offer.zone, spot=offer.spot, price_per_hour=offer.price_per_hour
        )
        log.info("leasing %s for lease %s", offer, self._lease.id)
        try:
            ready = self._provider.acquire(
                self._target, offer, self._source, seconds=max(1.0, self._deadline - began)
            )
            self._cancellation.check()
        except TakenError as error:
            self._target = None
            self._tell(offer, began, error)
            raise
        except CiRunnerError as error:
            self._cancellation.check()  # an error that the cancellation caused is not the machine's
            self._tell(offer, began, error)
            self.give_back()
            return error
        self._tell(offer, began, None)
        return ready

    def _tell(self, offer: Offer, began: float, error: CiRunnerError | None) -> None:
        failure = failure_of(error) if error is not None else None
        tried = OfferAttempt(
            zone=offer.zone,
            type=offer.machine.type,
            spot=offer.spot,
            price_per_hour=offer.price_per_hour,
            started_at=began,
            ended_at=self._clock(),
            failure=None if error is None else failure.kind.value if failure else "error",
            text=failure.text if failure else str(error or ""),
            code=failure.code if failure else None,
        )
        self.tries.append(tried)
        self._say(tried)

    def _stuck(self, choice: Choice, cause: CiRunnerError) -> CiRunnerError:
        """Why no machine was had, when even what the failed try left cannot be given back."""
        over = choice.next(left=0.0, jitter=0.0)
        error = over.error if isinstance(over, GiveUp) else cause
        left = f"what the try left could not be given back: ci-runner machines release {self._lease.id}"
        error.fix = f"{error.fix}; {left}" if error.fix else left
        return error

    def give_back(self) -> bool:
        """Release what may exist, in several tries; whether nothing can be left."""
        if self._target is None:
            return True
        for number in range(RELEASE_TRIES):
            try:
                self._provider.release(self._target)
            except (CiRunnerError, OSError) as error:
                log.warning("lease %s could not be given back: %s", self._lease.id, error)
                if number + 1 < RELEASE_TRIES:
                    self._sleep(RELEASE_PAUSE * 2**number)
            else:
                self._target = None
                return True
        return False
