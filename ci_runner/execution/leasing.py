"""Borrows a machine for a selection and gives it back whatever happens."""

from __future__ import annotations

import dataclasses
import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from ci_runner.errors import CapacityError, CiRunnerError, ConfigurationError, MachineError, QuotaError
from ci_runner.github.job import mark_of
from ci_runner.model import Lease, LeaseState, MachineSpec, Selection, Suite
from ci_runner.providers.failures import TakenError
from ci_runner.providers.leases import new_lease_id

if TYPE_CHECKING:
    from ci_runner.config.settings import Cache
    from ci_runner.execution.session import Session
    from ci_runner.execution.turns import Turn
    from ci_runner.model import OfferAttempt
    from ci_runner.providers.base import Offer, Provider, Source

ACQUIRE_SECONDS = 1800.0
WATCH_SECONDS = 0.2
MARGIN_SECONDS = 900.0  # beyond the suite's own timeouts, for staging, retries and giving back

log = logging.getLogger(__name__)


@contextmanager
def borrowed(
    session: Session, selection: Selection, given_back: Callable[[Lease, str | None], None]
) -> Iterator[tuple[Provider, Lease]]:
    """A ready machine for the length of the block. The lease's identity exists before the machine does (law 1).

    `given_back` is told the lease afterwards, and what went wrong if the machine may still be there: that is no
    reason to lose what the block came to.
    """
    machine = machine_of(session, selection)
    provider = session.provider_of(machine.provider)
    held = Held(session, provider, selection)
    with session.turns.turn(machine.name) as turn, held.given_back_at_once():
        try:
            lease = held.get(turn)
            session.listener.leased(lease)
            for note in lease.notes:
                session.listener.note(note)
            yield provider, lease
        finally:
            if held.asked:
                given_back(*_release(session, provider, held.lease))


class Held:
    """A lease on its way: what may exist of it now, so that whoever ends the run knows what to give back."""

    def __init__(self, session: Session, provider: Provider, selection: Selection) -> None:
        self.lease = request(session, selection, machine_of(session, selection))
        self._session = session
        self._provider = provider
        self._selection = selection
        self._here = self.lease.machine.provider == "local"
        self._tries: list[OfferAttempt] = []
        self.asked = False  # before the provider is asked for it, there is nothing to give back

    def get(self, turn: Turn) -> Lease:
        """A ready machine; where there is none left, the next that another suite of this run gives back."""
        while True:
            self._session.listener.leasing(self.lease)
            try:
                self.lease = self._ask()
            except TakenError:
                self.asked = False  # what there is belongs to the run that has it
                raise
            except (CapacityError, QuotaError) as error:
                log.info("lease %s: %s", self.lease.id, error.what)
                if not turn.again(self._session.cancellation, self._wait):
                    raise
                # its time begins now, and what the refused one was called may be known to the cloud
                self.lease = request(self._session, self._selection, self.lease.machine)
                self.asked = False
            else:
                turn.holds()
                return self.lease

    def _wait(self) -> None:
        name, suite = self.lease.machine.name, self._selection.id
        self._session.listener.note(
            f'{suite} waits for a machine "{name}" that another suite of this run gives back'
        )

    def _ask(self) -> Lease:
        """A ready machine: this one, or of all offers the first that works and is healthy."""
        session, machine = self._session, self.lease.machine
        offers = self._provider.offers(machine)
        if not offers:
            raise CapacityError(f'no offer for machine "{machine.name}"', where=f"machines.{machine.name}")
        if self._here:
            self.asked = True
            seconds = min(ACQUIRE_SECONDS, self.lease.expires_at - session.clock())
            return self._provider.acquire(self.lease, offers[0], session.source, seconds=seconds)
        from ci_runner.providers.failover import lease_machine  # only a machine elsewhere needs it

        lease = lease_machine(
            Inspected(self._provider, session, self._note),
            self.lease,
            offers,
            session.source,
            deadline=session.clock() + ACQUIRE_SECONDS,
            book=session.book(),
            cancellation=session.cancellation,
            say=self._tried,
            clock=session.clock,
        ).lease
        return dataclasses.replace(lease, tries=tuple(self._tries))

    def _tried(self, tried: OfferAttempt) -> None:
        self._tries.append(tried)
        self._session.listener.tried(self.lease, tried)

    def _note(self, lease: Lease) -> None:
        self.lease, self.asked = lease, True

    @contextmanager
    def given_back_at_once(self) -> Iterator[None]:
        """Within it, a cancellation asks for the end of a leased machine at once, whatever else is under way.

        The ordinary release follows and confirms it; a machine of ours is here, and its suite gets time to end.
        """
        if self._here:
            yield
            return
        over = threading.Event()
        watcher = threading.Thread(
            target=self._watch, args=(over,), name=f"give back {self.lease.id}", daemon=True
        )
        watcher.start()
        try:
            yield
        finally:
            over.set()

    def _watch(self, over: threading.Event) -> None:
        while not over.is_set():
            if not self._session.cancellation.wait(WATCH_SECONDS):
                continue
            if not self.asked:
                over.wait(WATCH_SECONDS)
            elif not over.is_set():
                try:
                    self._provider.release(self.lease)
                except CiRunnerError as error:
                    log.info("lease %s: the first try to give it back failed: %s", self.lease.id, error)
                return


class Inspected:
    """A provider whose machines are looked at before they count as acquired; a sick one is a failed try."""

    def __init__(self, provider: Provider, session: Session, note: Callable[[Lease], None]) -> None:
        self._provider = provider
        self._session = session
        self._note = note

    def acquire(self, lease: Lease, offer: Offer, source: Source, *, seconds: float) -> Lease:
        """A machine that is ready and healthy."""
        from ci_runner.execution.preflight import inspect
        from ci_runner.providers.failures import Failure, Kind, ProviderError, Scope

        self._note(lease)
        ready = self._provider.acquire(lease, offer, source, seconds=seconds)
        self._note(ready)
        expected = expected_accelerators(offer)
        try:
            facts, *notes = inspect(
                self._provider.shell(ready), ready, clock=self._session.clock, expected=expected
            )
        except ProviderError:
            raise
        except MachineError as error:  # it was there and is not any more: another one may do
            failure = Failure(kind=Kind.UNKNOWN, scope=Scope.NOTHING, text=error.what, code="lost")
            raise ProviderError(failure, where=error.where, fix=error.fix) from error
        self._session.listener.checked(ready, facts)
        return dataclasses.replace(ready, notes=(*ready.notes, *notes))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._provider, name)


def expected_accelerators(offer: Offer) -> int | None:
    """How many the machine has to show: as configured, else as its type promises."""
    text = offer.machine.options.get("accelerators")
    if text is None:
        return offer.accelerators
    if not text.isdecimal():
        raise ConfigurationError(
            f"{text!r} is no number of accelerators",
            where=f"machines.{offer.machine.name}.options.accelerators",
        )
    return int(text)


def _release(session: Session, provider: Provider, lease: Lease) -> tuple[Lease, str | None]:
    """Give a machine back; the lease as it is then, and what a person must know if that failed."""
    try:
        provider.release(lease)
    except (CiRunnerError, OSError) as error:
        text = f"machine {lease.id} could not be given back: {error}"
        if isinstance(error, CiRunnerError) and error.fix:
            text += f"; {error.fix}"
        if lease.machine.provider != "local":
            until = datetime.fromtimestamp(lease.expires_at, UTC)
            text += (
                f"; it stays in the book of leases, and the reaper takes it after {until:%Y-%m-%d %H:%M} UTC"
                f" (ci-runner reap); to end it now: ci-runner machines release {lease.id}"
            )
        session.listener.note(text)
        return dataclasses.replace(lease, state=LeaseState.RELEASING), text
    gone = dataclasses.replace(lease, state=LeaseState.GONE)
    if lease.machine.provider != "local":
        now = session.clock()
        session.book().close(
            lease,
            at=now,
            how="released",
            cost_usd=round(lease.price_per_hour * (now - lease.created_at) / 3600.0, 6),
        )
    session.listener.released(gone)
    return gone, None


def machine_of(session: Session, selection: Selection) -> MachineSpec:
    """The machine that this run uses for the selection."""
    return session.settings.machines[session.machine or selection.suite.machine]


def caches_of(session: Session, suite: Suite) -> list[Cache]:
    """The caches that a suite gets in this run."""
    known = session.settings.caches
    return [known[name] for name in suite.caches if name in known] if session.caches is not None else []


def request(session: Session, selection: Selection, machine: MachineSpec) -> Lease:
    """A lease that asks for a machine; its expiry covers everything the suite may do."""
    suite, now = selection.suite, session.clock()
    seconds = (
        suite.timeout_seconds * (1 + suite.retries)
        + suite.setup_timeout_seconds * len(suite.setup)
        + sum(2 * cache.timeout_seconds for cache in caches_of(session, suite))
        + MARGIN_SECONDS
    )
    if machine.max_minutes is not None:
        seconds = min(seconds, machine.max_minutes * 60.0)
    return Lease(
        id=new_lease_id(session.run_id, selection.id),
        machine=machine,
        owner=session.developer,
        run_id=session.run_id,
        suite=suite.name,
        created_at=now,
        expires_at=now + seconds,
        labels={
            "repository": session.repository,
            "team": session.settings.team or "",
            "job": mark_of(session.environ),
        },
    )
