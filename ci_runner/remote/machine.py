"""A leased machine as ssh sees it: where it listens, who logs in, and which key it must show."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ci_runner.errors import ConfigurationError, MachineError
from ci_runner.model import Lease

PORT = 22
PORT_VARIABLE = "CI_RUNNER_SSH_PORT"
USER_VARIABLE = "CI_RUNNER_SSH_USER"
UNCHECKED = "unchecked"  # the value of the machine option "host-key" that lets an unknown machine in
_HOST_KEY = re.compile(r"[A-Za-z0-9@._-]+ [A-Za-z0-9+/]+={0,2}")


class HostKeyError(MachineError):
    """A machine shows another host key than the one that it must have, or its key is not known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """One machine to log in to. Without a host key it is refused, unless the person asked for `unchecked`."""

    address: str
    port: int = PORT
    user: str | None = None  # None: ssh's own choice, the person's name here
    host_key: str | None = None  # "ssh-ed25519 AAAA…"

    def __post_init__(self) -> None:
        if not self.address or self.address.startswith("-") or re.search(r"[\s\0/]", self.address):
            raise ValueError(f"not an address of a machine: {self.address!r}")
        if not 0 < self.port < 65536:
            raise ValueError(f"not a port: {self.port}")
        if self.user is not None and not re.fullmatch(r"[A-Za-z0-9_.][A-Za-z0-9_.@+-]*\$?", self.user):
            raise ValueError(f"not the name of a user: {self.user!r}")
        if self.host_key is not None and not _HOST_KEY.fullmatch(self.host_key):
            raise ValueError(f"not a host key: {self.host_key[:60]!r}")

    def __str__(self) -> str:
        """`ubuntu@10.0.0.7:2222`; the port only if it is not the usual one."""
        user = f"{self.user}@" if self.user else ""
        address = f"[{self.address}]" if ":" in self.address else self.address
        return f"{user}{address}" if self.port == PORT else f"{user}{address}:{self.port}"


def plain_key(line: str | None) -> str | None:
    """A host key without its comment; None for an empty line."""
    return " ".join(line.split()[:2]) or None if line else None


def ssh_port(environ: Mapping[str, str]) -> int:
    """The port on which machines of clouds listen. Raises ConfigurationError for something else than a port."""
    text = environ.get(PORT_VARIABLE) or str(PORT)
    if not text.isdecimal() or not 0 < int(text) < 65536:
        raise ConfigurationError(f"{text!r} is no port", where=PORT_VARIABLE)
    return int(text)


def ssh_user(lease: Lease, environ: Mapping[str, str], default: str) -> str:
    """Who logs in: as the environment says, else the machine's options, else the provider's custom."""
    return environ.get(USER_VARIABLE) or lease.machine.options.get("user") or lease.user or default


def hosts_of(lease: Lease, environ: Mapping[str, str]) -> Sequence[Host]:
    """The hosts of a lease whose machine is there, first worker first. Raises MachineError if it has no address."""
    addresses = lease.addresses or ((lease.address,) if lease.address else ())
    keys = lease.host_keys or ((lease.host_key,) if lease.host_key else ())
    if not addresses:
        raise MachineError(f"lease {lease.id} is not ready: nobody knows its address")
    user = environ.get(USER_VARIABLE) or lease.user or lease.machine.options.get("user")
    port = ssh_port(environ)
    known = [*keys, *([None] * len(addresses))]
    return [
        Host(address=address, port=port, user=user, host_key=plain_key(key))
        for address, key in zip(addresses, known, strict=False)
    ]
