"""Borrows a machine for a selection and gives it back whatever happens."""

from __future__ import annotations

import dataclasses
import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from ci_runner.errors import CapacityError, CiRunnerError
from ci_runner.model import Lease, LeaseState, MachineSpec, Selection
from ci_runner.providers.leases import new_lease_id

if TYPE_CHECKING:
    from ci_runner.execution.session import Session
    from ci_runner.providers.base import Provider

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
    lease = request(session, selection, machine)
    session.listener.leasing(lease)
    with given_back_at_once(session, provider, lease):
        try:
            offers = provider.offers(machine)
            if not offers:
                raise CapacityError(
                    f'no offer for machine "{machine.name}"', where=f"machines.{machine.name}"
                )
            lease = provider.acquire(lease, offers[0], session.source, seconds=ACQUIRE_SECONDS)
            session.listener.leased(lease)
            for note in lease.notes:
                session.listener.note(note)
            yield provider, lease
        finally:
            given_back(*_release(session, provider, lease))


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
            text += f"; it is to end by itself at {until:%Y-%m-%d %H:%M} UTC: look for it under this name to be sure"
        session.listener.note(text)
        return dataclasses.replace(lease, state=LeaseState.RELEASING), text
    gone = dataclasses.replace(lease, state=LeaseState.GONE)
    session.listener.released(gone)
    return gone, None


@contextmanager
def given_back_at_once(session: Session, provider: Provider, lease: Lease) -> Iterator[None]:
    """Within it, a cancellation asks for the end of a leased machine at once, whatever else is under way.

    The ordinary release follows and confirms it; a machine of ours is here, and its suite gets time to end.
    """
    if lease.machine.provider == "local":
        yield
        return
    over = threading.Event()

    def watch() -> None:
        while not over.is_set():
            if session.cancellation.wait(WATCH_SECONDS) and not over.is_set():
                try:
                    provider.release(lease)
                except CiRunnerError as error:
                    log.info("lease %s: the first try to give it back failed: %s", lease.id, error)
                return

    watcher = threading.Thread(target=watch, name=f"give back {lease.id}", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        over.set()


def machine_of(session: Session, selection: Selection) -> MachineSpec:
    """The machine that this run uses for the selection."""
    return session.settings.machines[session.machine or selection.suite.machine]


def request(session: Session, selection: Selection, machine: MachineSpec) -> Lease:
    """A lease that asks for a machine; its expiry covers everything the suite may do."""
    suite, now = selection.suite, session.clock()
    seconds = (
        suite.timeout_seconds * (1 + suite.retries)
        + suite.setup_timeout_seconds * len(suite.setup)
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
        labels={"repository": session.repository, "team": session.settings.team or ""},
    )
