"""How providers reach the machines that they lease: keys of the lease, and OpenSSH."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ci_runner.errors import MachineError
from ci_runner.model import Lease
from ci_runner.remote.machine import close_shell, reach, shell_of

if TYPE_CHECKING:
    from ci_runner.remote.base import Shell
    from ci_runner.remote.keys import LeaseKeys


@dataclass(frozen=True, slots=True, kw_only=True)
class Ways:
    """How machines are reached; tests put others in their place."""

    keys: Callable[[Lease], LeaseKeys]
    forget_keys: Callable[[Lease], object]
    reach: Callable[..., tuple[Shell, tuple[str, ...]]]  # remote.machine.reach
    shell_of: Callable[[Lease], Shell]  # of a machine that another process may have made
    close: Callable[[Shell], object]


def ways(environ: Mapping[str, str]) -> Ways:
    """The real way to a machine: OpenSSH with the lease's own keys."""
    from ci_runner.remote.keys import LeaseKeys, key_folder

    def forget(lease: Lease) -> None:
        found = LeaseKeys.read(key_folder(environ, lease.id))
        if found is not None:
            found.remove()

    def shell(lease: Lease) -> Shell:
        found = LeaseKeys.read(key_folder(environ, lease.id))
        if found is None:
            raise MachineError(
                f"the keys of lease {lease.id} are not here",
                where=str(key_folder(environ, lease.id)),
                fix="speak to the machine from where it was leased; it can be given back from everywhere",
            )
        return shell_of(lease, found, environ)

    return Ways(
        keys=lambda lease: LeaseKeys.make(key_folder(environ, lease.id), lease.id),
        forget_keys=forget,
        reach=functools.partial(reach, environ=environ),
        shell_of=shell,
        close=close_shell,
    )
