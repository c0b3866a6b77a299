"""A leased machine as ssh sees it: where it listens, who logs in, and which key it must show."""

from __future__ import annotations

import concurrent.futures
import os
import re
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ci_runner.errors import ConfigurationError, MachineError
from ci_runner.model import Lease

if TYPE_CHECKING:
    from ci_runner.execution.session import Cancellation
    from ci_runner.providers.base import Source
    from ci_runner.remote.base import Shell
    from ci_runner.remote.keys import LeaseKeys
    from ci_runner.remote.openssh import OpenSSHShell
    from ci_runner.remote.upload import Parcel

PORT = 22
KEY_PATIENCE = 120.0  # a machine that boots shows the key of its image until its boot script has run
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
    found = []
    for text, key in zip(addresses, known, strict=False):
        address, its_port = split_port(text)
        found.append(Host(address=address, port=its_port or port, user=user, host_key=plain_key(key)))
    return found


def split_port(text: str) -> tuple[str, int | None]:
    """`host:2222` and `[::1]:2222` in two; the port is None if there is none."""
    found = re.fullmatch(r"(?:\[([^\]]+)\]|([^:\[\]]+))(?::(\d{1,5}))?", text)
    if found is None:  # an IPv6 address without brackets
        return text, None
    return found[1] or found[2], int(found[3]) if found[3] else None


def reach(
    lease: Lease,
    hosts: Sequence[Host],
    keys: LeaseKeys | None,
    source: Source,
    *,
    seconds: float,
    cancellation: Cancellation | None = None,
    environ: Mapping[str, str] = os.environ,
) -> tuple[Shell, tuple[str, ...]]:
    """The shell of a machine that boots, as soon as ssh answers on every host and the source is there; and notes.

    The source is packed meanwhile. `keys` None: the person's own keys and agent. Raises HostKeyError or MachineError,
    which names the host that never came, and Cancelled; nothing is left of the connections then.
    """
    from ci_runner.remote.upload import packed

    deadline = time.monotonic() + seconds
    notes = _notes(lease, hosts)
    shells = [_shell(lease, host, keys, environ) for host in hosts]
    try:
        with concurrent.futures.ThreadPoolExecutor(len(shells), thread_name_prefix="reach") as pool:
            try:
                connecting = [
                    pool.submit(
                        shell.connection.open, seconds, patience=KEY_PATIENCE, cancellation=cancellation
                    )
                    for shell in shells
                ]
                with packed(source, seconds=seconds) as parcel:
                    _all(connecting, hosts)
                    _deliver(pool, parcel, shells, hosts, deadline)
                    notes += parcel.notes
            except BaseException:
                _close(shells)  # whoever still waits for a host stops
                raise
    except BaseException:
        _close(shells)
        raise
    return _together(shells), notes


def shell_of(lease: Lease, keys: LeaseKeys | None, environ: Mapping[str, str] = os.environ) -> Shell:
    """The shell of a ready lease, which any process may have made; it connects when it is first used."""
    hosts = hosts_of(lease, environ)
    _notes(lease, hosts)
    return _together([_shell(lease, host, keys, environ) for host in hosts])


def close_shell(shell: Shell) -> None:
    """End the connection of a shell, if it has one; jobs go on."""
    from ci_runner.remote.openssh import OpenSSHShell
    from ci_runner.remote.slice import SliceShell

    if isinstance(shell, OpenSSHShell | SliceShell):
        shell.close()


def _notes(lease: Lease, hosts: Sequence[Host]) -> tuple[str, ...]:
    """What a reader of the report must know. Raises HostKeyError for a host that could be anybody."""
    unknown = [str(host) for host in hosts if host.host_key is None]
    if not unknown:
        return ()
    if lease.machine.options.get("host-key") != UNCHECKED:
        raise HostKeyError(
            f"nobody knows the host key of lease {lease.id}'s machine, so it is not trusted",
            where=unknown[0],
            fix=f'[machines.{lease.machine.name}.options] host-key = "{UNCHECKED}" trusts whoever answers',
        )
    return (f"the host key of {', '.join(unknown)} was not checked: somebody else could have answered",)


def _shell(lease: Lease, host: Host, keys: LeaseKeys | None, environ: Mapping[str, str]) -> OpenSSHShell:
    try:
        from ci_runner.remote.openssh import open_shell
    except ImportError as error:
        if error.name != "sh":
            raise
        raise MachineError(
            "machines elsewhere need the Python package sh", fix="pip install 'ci-runner[ssh]'"
        ) from error
    return open_shell(
        lease.id,
        host,
        identity=keys.private_path if keys is not None else _identity(lease),
        unchecked=host.host_key is None,
        environ=environ,
    )


def _identity(lease: Lease) -> Path | None:
    """The person's own key that the machine's options name."""
    named = lease.machine.options.get("identity")
    return Path(named).expanduser() if named else None


def _together(shells: list[OpenSSHShell]) -> Shell:
    from ci_runner.remote.slice import SliceShell

    return shells[0] if len(shells) == 1 else SliceShell(shells)


def _deliver(
    pool: concurrent.futures.Executor,
    parcel: Parcel,
    shells: Sequence[OpenSSHShell],
    hosts: Sequence[Host],
    deadline: float,
) -> None:
    left = max(1.0, deadline - time.monotonic())
    _all([pool.submit(parcel.deliver, shell, seconds=left) for shell in shells], hosts)


def _all(futures: Sequence[concurrent.futures.Future[Any]], hosts: Sequence[Host]) -> None:
    """Wait until all have succeeded or one has failed; the failure names its worker."""
    concurrent.futures.wait(futures, return_when=concurrent.futures.FIRST_EXCEPTION)
    for number, future in enumerate(futures):
        if future.done():
            try:
                future.result()
            except MachineError as error:
                if len(hosts) > 1:
                    error.what = f"worker {number} of {len(hosts)}: {error.what}"
                    error.args = (error.what,)
                raise


def _close(shells: Sequence[OpenSSHShell]) -> None:
    threads = [threading.Thread(target=shell.close) for shell in shells]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
