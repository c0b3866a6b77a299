"""The book of leases: what was asked for and what is closed, kept in a Store so that any other machine can clean up."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ci_runner import codec
from ci_runner.errors import CiRunnerError, MachineError
from ci_runner.history.store import Conflict, MemoryStore
from ci_runner.model import Lease
from ci_runner.providers.leases import check_lease

if TYPE_CHECKING:
    from ci_runner.history.store import Store

FOLDER = "leases"
REQUESTED = "requested.json"
CLOSED = "closed.json"

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Closing:
    """How a lease ended; after it nothing of the lease exists."""

    lease_id: str
    at: float
    how: str  # released, reaped, never ready, gone
    cost_usd: float | None = None


class Book:
    """Leases in a store: `leases/<id>/requested.json` before anything is made, `leases/<id>/closed.json` after the end."""

    def __init__(self, store: Store | None = None) -> None:
        self._store: Store = store if store is not None else MemoryStore()

    def request(self, lease: Lease) -> None:
        """Write a lease down before anything is made for it; the same lease again changes nothing.

        Raises MachineError if it cannot be written: then nothing may be made.
        """
        check_lease(lease)
        try:
            self._store.put_new(_key(lease.id, REQUESTED), _document(lease))
        except Conflict as error:
            raise MachineError(
                f"another lease is called {lease.id}",
                where=_key(lease.id, REQUESTED),
                fix="start the run again; ids are random",
            ) from error
        except OSError as error:
            raise MachineError(
                f"the lease cannot be written down: {error.strerror or error}",
                where=str(error.filename or _key(lease.id, REQUESTED)),
                fix="see that the store of [stores] history can be written",
            ) from error

    def close(self, lease: Lease, *, at: float, how: str, cost_usd: float | None = None) -> None:
        """Write down that nothing of the lease exists any more; what was written first stays.

        A store that fails here loses no machine: the reaper looks once more and closes it then.
        """
        closing = Closing(lease_id=lease.id, at=at, how=how, cost_usd=cost_usd)
        try:
            self._store.put_new(_key(lease.id, CLOSED), _document(closing))
        except Conflict:
            log.debug("lease %s was closed before", lease.id)
        except (
            OSError,
            CiRunnerError,
        ) as error:  # credentials that ended before the lease are no other thing
            log.warning("lease %s is over, which could not be written down: %s", lease.id, error)

    def closing(self, lease_id: str) -> Closing | None:
        """How a lease ended; None if it is open, or was never written down."""
        found = self._read(_key(lease_id, CLOSED))
        try:
            return codec.build(Closing, found) if found is not None else None
        except (TypeError, ValueError):
            return None

    def lease(self, lease_id: str) -> Lease | None:
        """A lease as it was asked for; None if it is not in the book."""
        found = self._read(_key(lease_id, REQUESTED))
        try:
            return codec.build(Lease, found) if found is not None else None
        except (TypeError, ValueError):
            return None

    def open(self) -> Iterator[Lease]:
        """The leases that were asked for and are not closed. Raises OSError if the store cannot be read."""
        requested: list[str] = []
        closed: set[str] = set()
        for key in self._store.list(f"{FOLDER}/"):
            _, _, rest = key.partition("/")
            lease_id, _, name = rest.partition("/")
            if name == REQUESTED:
                requested.append(lease_id)
            elif name == CLOSED:
                closed.add(lease_id)
        for lease_id in requested:
            if (
                lease_id not in closed
                and (lease := self.lease(lease_id)) is not None
                and lease.id == lease_id
            ):
                yield lease

    def _read(self, key: str) -> dict[str, Any] | None:
        try:
            found = json.loads(self._store.get(key))
        except KeyError:
            return None
        except ValueError:
            log.warning("%s cannot be read", key)
            return None
        return found if isinstance(found, dict) else None


def _key(lease_id: str, name: str) -> str:
    return f"{FOLDER}/{lease_id}/{name}"


def _document(value: object) -> bytes:
    return (json.dumps({"v": 1, **codec.plain(value)}, ensure_ascii=False) + "\n").encode("utf-8", "replace")
