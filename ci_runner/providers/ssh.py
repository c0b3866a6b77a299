"""Hosts that exist already, as a provider: a lease is the lock of one of them, held until a time by one run."""

from __future__ import annotations

import dataclasses
import json
import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ci_runner import codec
from ci_runner.errors import MachineError, UsageError
from ci_runner.execution.folder import write_atomically
from ci_runner.model import Lease, LeaseState, MachineSpec
from ci_runner.providers.base import Offer
from ci_runner.providers.failures import Failure, Kind, ProviderError, Scope
from ci_runner.providers.leases import ID, ID_LENGTH, check_lease
from ci_runner.providers.local import lease_home
from ci_runner.providers.prices import price_per_hour
from ci_runner.providers.ssh_hosts import pool_of, with_key
from ci_runner.remote.machine import (
    UNCHECKED,
    Host,
    HostKeyError,
    close_shell,
    shell_of,
    split_port,
)
from ci_runner.remote.ssh_words import last_words
from ci_runner.remote.upload import packed

if TYPE_CHECKING:
    from ci_runner.providers.base import Source
    from ci_runner.remote.base import Shell
    from ci_runner.remote.openssh import OpenSSHShell

OPTIONS: Mapping[str, str] = {
    "hosts": "The hosts of the pool, as `user@host:port` with commas between them; user and port may be left out.",
    "host-keys": "Their host keys in the same order, as `ssh-ed25519 AAAA…` with commas between them.",
    "known-hosts": "A file of known hosts, if there are no host-keys; ~/.ssh/known_hosts if it is not said.",
    "host-key": 'The word "unchecked" lets hosts in whose key nobody knows; the report says so.',
    "identity": "The file of your private key; your agent and usual keys if it is not said.",
    "price-per-hour": "What an hour of a host costs, in dollars; 0 if it is not said.",
}
POOL = Path(__file__).parents[1] / "execution" / "onboard" / "pool.py"
CONNECT_SECONDS = 20.0  # a host of a pool runs, or is left out
LOCK_SECONDS = 60.0
WATCH = "pool-watch"  # the id under which hosts are only looked at

log = logging.getLogger(__name__)


def connect(environ: Mapping[str, str]) -> SshProvider:
    """The provider, as the registry makes it."""
    return SshProvider(lease_home(environ).parent / "pools", environ)


class SshProvider:
    """Lends hosts of pools; who holds one is written on the host itself, so that all runs everywhere agree."""

    def __init__(
        self, home: Path, environ: Mapping[str, str], *, clock: Callable[[], float] = time.time
    ) -> None:
        self._home = home  # which pools were used from here, for whoever looks for leases later
        self._environ = environ
        self._clock = clock
        self._shells: dict[str, Shell] = {}
        self._missed: dict[str, set[Host]] = {}  # lease id → hosts that were never reached for it
        self._pools: dict[str, MachineSpec] = {}
        self._lock = threading.Lock()

    @property
    def name(self) -> str:
        """`ssh`."""
        return "ssh"

    def offers(self, machine: MachineSpec) -> Sequence[Offer]:
        """Any host of the pool. Raises ConfigurationError if the pool cannot be read."""
        pool_of(machine)
        self._pools[machine.name] = machine
        return (Offer(machine=machine, price_per_hour=price_per_hour(machine, None, spot=False)),)

    def acquire(self, lease: Lease, offer: Offer, source: Source, *, seconds: float) -> Lease:
        """Lock the first host that is free and answers, and stage the source there.

        Raises ProviderError (a stockout) if all hosts are taken, and what kept the others from answering.
        """
        check_lease(lease)
        deadline = time.monotonic() + seconds
        self._remember(lease.machine)
        lease = dataclasses.replace(lease, price_per_hour=offer.price_per_hour)
        taken, away = [], []
        for host in self._hosts(lease):
            self._missed.get(lease.id, set()).discard(host)
            try:
                ready = self._acquire_on(host, lease, source, deadline)
            except _NotThere as error:
                away.append(f"{host}: {error.why.what}")
                log.warning("%s of the pool does not answer: %s", host, error.why)
                continue
            if ready is not None:
                return ready
            taken.append(str(host))
        raise _nobody_free(lease, taken, away)

    def shell(self, lease: Lease) -> Shell:
        """The shell of a ready lease, the same each time. Raises MachineError if the lease is not ready."""
        with self._lock:
            if lease.id not in self._shells:
                if lease.state is not LeaseState.READY or not lease.address:
                    raise MachineError(f"lease {lease.id} is not ready")
                self._shells[lease.id] = shell_of(lease, None, _without_user(self._environ))
            return self._shells[lease.id]

    def describe(self, lease: Lease) -> LeaseState:
        """What the record on its host says; GONE if no host of the pool bears the lease."""
        check_lease(lease)
        for _host, found in self._held(lease):
            return found.state
        return LeaseState.GONE

    def notice(self, _lease: Lease, _shell: Shell) -> str | None:
        """Nobody takes a host of a pool away before its lease expires."""
        return None

    def release(self, lease: Lease) -> None:
        """End every process of the lease on its host, remove its folder there, and give up the lock.

        Raises MachineError if a host that may bear it does not answer, or something cannot be ended.
        """
        check_lease(lease)
        with self._lock:
            shell = self._shells.pop(lease.id, None)
        if shell is not None:
            close_shell(shell)
        for host, _found in self._held(lease):
            with self._on(host, lease.id, lease.machine) as there:
                there.end()
                _ask(there, {"op": "drop", "id": lease.id})

    def start(self, lease: Lease) -> None:
        """The hosts run already."""
        raise _no_switch(lease, "started")

    def stop(self, lease: Lease) -> None:
        """Nobody else's host is stopped."""
        raise _no_switch(lease, "stopped")

    def restart(self, lease: Lease) -> None:
        """Nobody else's host is restarted."""
        raise _no_switch(lease, "restarted")

    def mark(self, lease: Lease, at: float) -> None:
        """Write the reaper's visit into the record on the host."""
        for host, found in self._held(lease):
            labels = {**found.labels, "reap": str(int(at))}
            with self._on(host, lease.id, lease.machine) as there:
                marked = codec.plain(dataclasses.replace(found, labels=labels))
                _ask(there, {"op": "keep", "id": lease.id, "lease": marked})

    def leases(self, owner: str | None = None) -> list[Lease]:
        """Every lease that a host of a known pool bears; a host that does not answer is told in the log."""
        found: dict[str, Lease] = {}
        for machine in self._known_pools():
            for host in pool_of(machine):
                try:
                    held = self._look(host, machine)
                except MachineError as error:
                    log.warning("%s of the pool cannot say whose it is: %s", host, error)
                    continue
                if held is not None and (owner is None or held.owner == owner):
                    found.setdefault(held.id, held)
        return list(found.values())

    def _acquire_on(self, host: Host, lease: Lease, source: Source, deadline: float) -> Lease | None:
        """The ready lease on this host; None if somebody else holds it. Raises _NotThere."""
        with self._on(host, lease.id, lease.machine, acquiring=True) as there:
            request = {
                "op": "take",
                "id": lease.id,
                "seconds": max(1.0, lease.expires_at - self._clock()),
                "lease": codec.plain(lease),
            }
            answer = _ask(there, request)
            if not answer["taken"]:
                return None
            adopted = _lease_in(answer["record"], host)
            if adopted.state is LeaseState.READY:
                return adopted
            self._end_remains(host, lease.machine, answer.get("before"))
            there.make_folders()
            known = there.connection.host
            with packed(source, seconds=deadline - time.monotonic()) as parcel:
                parcel.deliver(there, seconds=deadline - time.monotonic())
                notes = (*lease.notes, *_unchecked(known), *parcel.notes)
            ready = dataclasses.replace(
                lease,
                state=LeaseState.READY,
                address=f"[{host.address}]:{host.port}"
                if ":" in host.address
                else f"{host.address}:{host.port}",
                host_key=known.host_key,
                user=host.user,
                notes=notes,
            )
            if not _ask(there, {"op": "keep", "id": lease.id, "lease": codec.plain(ready)})["kept"]:
                raise MachineError(f"another run took the host of lease {lease.id}", where=str(host))
            return ready

    def _end_remains(self, host: Host, machine: MachineSpec, before: object) -> None:
        """End what a lease left that had this host before and is over; its id comes from the host."""
        if isinstance(before, str) and _is_id(before):
            log.info("%s was still held by lease %s, which has expired", host, before)
            with self._on(host, before, machine) as remains:
                remains.end()

    def _held(self, lease: Lease) -> Iterator[tuple[Host, Lease]]:
        """The host whose lock the lease holds, if there is one. Raises MachineError if one that may be it is silent."""
        silent: MachineError | None = None
        missed = self._missed.get(lease.id, ())
        for host in self._hosts(lease):
            if host in missed:
                continue
            try:
                held = self._look(host, lease.machine)
            except MachineError as error:
                silent = error
                continue
            if held is not None and held.id == lease.id:
                yield host, held
                return
        if silent is not None:
            raise silent

    def _hosts(self, lease: Lease) -> list[Host]:
        """The hosts that may bear the lease: the one that it has, else all of its pool."""
        hosts = pool_of(lease.machine)
        if lease.address:
            address, port = split_port(lease.address)
            there = [host for host in hosts if (host.address, host.port) == (address, port or host.port)]
            return there or hosts
        return hosts

    def _look(self, host: Host, machine: MachineSpec) -> Lease | None:
        with self._on(host, WATCH, machine) as there:
            record = _ask(there, {"op": "look"})["record"]
        return _lease_in(record, host) if record is not None else None

    @contextmanager
    def _on(
        self, host: Host, lease_id: str, machine: MachineSpec, *, acquiring: bool = False
    ) -> Iterator[OpenSSHShell]:
        """A connection to a host for the length of the block, which makes no folders there."""
        known = host if host.host_key else with_key(host, machine, self._environ)
        unchecked = known.host_key is None and machine.options.get("host-key") == UNCHECKED
        identity = machine.options.get("identity")
        from ci_runner.remote.openssh import open_shell

        there = open_shell(
            lease_id,
            known,
            identity=Path(identity).expanduser() if identity else None,
            unchecked=unchecked,
            make=False,
            environ=self._environ,
        )
        try:
            try:
                there.connection.open(CONNECT_SECONDS)
            except MachineError as error:
                if acquiring:
                    self._missed.setdefault(lease_id, set()).add(host)
                if acquiring and not isinstance(error, HostKeyError):
                    raise _NotThere(error) from error
                raise
            yield there
        finally:
            there.close()

    def _remember(self, machine: MachineSpec) -> None:
        """Write down that this pool was used, before anything is locked there."""
        self._pools[machine.name] = machine
        self._home.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_atomically(self._home / f"{machine.name.encode().hex()}.json", codec.dumps(machine).encode())

    def _known_pools(self) -> list[MachineSpec]:
        pools = dict(self._pools)
        for path in sorted(self._home.glob("*.json")):
            try:
                machine = codec.build(MachineSpec, json.loads(path.read_bytes()))
            except (OSError, ValueError, TypeError) as error:
                log.warning("cannot read which pool was used: %s: %s", path, error)
                continue
            pools.setdefault(machine.name, machine)
        return list(pools.values())


class _NotThere(Exception):  # noqa: N818 - a host that is off is no error yet
    """A host of the pool does not answer."""

    def __init__(self, why: MachineError) -> None:
        super().__init__(str(why))
        self.why = why


def _ask(there: OpenSSHShell, request: Mapping[str, Any]) -> dict[str, Any]:
    """Ask the lock's keeper on the host."""
    words = ["python3", "-I", "-S", "-c", POOL.read_text()]
    done = there.run(words, seconds=LOCK_SECONDS, cwd="/", stdin=json.dumps(request).encode())
    try:
        answer = json.loads(done.stdout)
    except ValueError:
        said = last_words(done.stderr) or f"exit code {done.exit_code}"
        raise MachineError(
            f"the host cannot say whose it is: {said}", where=str(there.connection.host)
        ) from None
    return dict(answer)


def _lease_in(record: Any, host: Host) -> Lease:
    """The lease in the record of a lock. Raises MachineError for one that no run of ours wrote."""
    try:
        found = codec.build(Lease, record["lease"])
        if _is_id(found.id) and found.id == record["id"]:
            return found
    except (ValueError, TypeError, KeyError) as error:
        log.debug("the record on %s cannot be read: %s", host, error)
    raise MachineError(
        "the lock of the host cannot be read",
        where=str(host),
        fix="if no run uses it, remove it there: rm -r ~/.ci-runner/lock",
    )


def _is_id(text: str) -> bool:
    return bool(ID.fullmatch(text)) and len(text) <= ID_LENGTH


def _without_user(environ: Mapping[str, str]) -> dict[str, str]:
    """The hosts of a pool have users and ports of their own."""
    return {name: value for name, value in environ.items() if not name.startswith("CI_RUNNER_SSH_")}


def _unchecked(host: Host) -> tuple[str, ...]:
    if host.host_key:
        return ()
    return (f"the host key of {host} was not checked: somebody else could have answered",)


def _nobody_free(lease: Lease, taken: Sequence[str], away: Sequence[str]) -> ProviderError:
    """Why none of the hosts could be had."""
    if not taken:
        text = f'no host of "{lease.machine.name}" answers: {"; ".join(away)}'
        kind = Kind.UNKNOWN
    else:
        text = f'every host of "{lease.machine.name}" is taken: {", ".join(taken)}'
        text += f"; and these do not answer: {'; '.join(away)}" if away else ""
        kind = Kind.STOCKOUT
    failure = Failure(kind=kind, scope=Scope.OFFER, text=text, code="taken" if taken else "away")
    return ProviderError(
        failure,
        where=f"machines.{lease.machine.name}",
        fix="wait for another run to end, or add a host; `ci-runner machines list` says who holds them",
    )


def _no_switch(lease: Lease, what: str) -> UsageError:
    return UsageError(
        f"lease {lease.id} is on a host of a pool, which is not {what} by ci-runner",
        fix=f"give it back instead: ci-runner machines release {lease.id}",
    )
