"""Names of leases, and what is written down about one before anything is made for it."""

from __future__ import annotations

import json
import os
import re
import secrets
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ci_runner import codec
from ci_runner.execution.folder import write_atomically
from ci_runner.execution.onboard import supervise
from ci_runner.model import Lease

ID_LENGTH = 40  # fits every cloud's names, tags and request ids with a prefix
ID = re.compile(r"[0-9a-z](?:[0-9a-z-]*[0-9a-z])?")


def new_lease_id(
    run_id: str, selection_id: str, *, token: Callable[[], str] = lambda: secrets.token_hex(3)
) -> str:
    """`7f3c-unit-5b02e1`: the end of the run's id, the selection, and something no other lease has."""
    unique = token()
    run = run_id.rsplit("-", 1)[-1][:8]
    room = ID_LENGTH - len(run) - len(unique) - 2
    what = re.sub(r"[^0-9a-z]+", "-", selection_id.lower()).strip("-")[:room].strip("-") or "suite"
    return re.sub(r"[^0-9a-z-]", "", f"{run}-{what}-{unique}".lower()).strip("-")


def check_lease(lease: Lease) -> None:
    """Raise ValueError for a lease that could not be found again: its id is a name in every cloud and a folder here."""
    if not ID.fullmatch(lease.id) or len(lease.id) > ID_LENGTH:
        raise ValueError(f"not an id of a lease: {lease.id!r}")
    if lease.expires_at <= lease.created_at:
        raise ValueError(f"lease {lease.id} expires before it begins")


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """The process that holds a lease, so that another can tell whether it is still there."""

    pid: int
    start: int  # clock ticks after boot; with it the number of a process is used once
    host: str
    boot: str
    namespace: str  # process numbers mean something only within it

    @classmethod
    def this_process(cls) -> Owner:
        """Who we are."""
        found = supervise.process(os.getpid())
        return cls(pid=os.getpid(), start=found.start if found else 0, **_here())

    def is_alive(self) -> bool | None:
        """Whether it still runs; None if that cannot be known from here."""
        here = _here()
        if self.host != here["host"]:
            return None
        if self.boot != here["boot"]:
            return False
        if self.namespace != here["namespace"]:
            return None
        if not supervise.LINUX:
            return _exists(self.pid)
        found = supervise.process(self.pid)
        return found is not None and found.start == self.start and found.state not in "ZX"


def _here() -> dict[str, str]:
    boot = supervise.read_file("/proc/sys/kernel/random/boot_id").decode().strip()
    try:
        namespace = os.readlink("/proc/self/ns/pid")  # noqa: PTH115 - not a path but a name
    except OSError:
        namespace = ""
    return {"host": socket.gethostname(), "boot": boot, "namespace": namespace}


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseRecord:
    """A lease as it is on disk, with its owner and the folder that the suites see."""

    lease: Lease
    owner: Owner
    work: str = ""

    def write(self, path: Path) -> None:
        """Put the record in place in one step."""
        write_atomically(path, (json.dumps({"v": 1, **codec.plain(self)}, indent=1) + "\n").encode())

    @classmethod
    def read(cls, path: Path) -> LeaseRecord | None:
        """The record in a file; None if there is none that can be read."""
        try:
            found: Any = json.loads(path.read_bytes())
            if not isinstance(found, Mapping):
                return None
            return cls(
                lease=codec.build(Lease, found["lease"]),
                owner=Owner(**found["owner"]),
                work=str(found["work"]),
            )
        except (OSError, ValueError, TypeError, KeyError):
            return None

    def is_stale(self, now: float) -> bool:
        """Whether nobody holds the lease any more: its time is over, or the process that held it is gone."""
        return now >= self.lease.expires_at or self.owner.is_alive() is False
