"""A connection to the agent on one machine that is made again when it is lost, and says why when it cannot be."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import threading
import time
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from ci_runner.errors import MachineError
from ci_runner.execution.onboard import agent
from ci_runner.remote.channel import Cut, Late
from ci_runner.remote.machine import HostKeyError
from ci_runner.remote.ssh_words import Login, Meaning, last_words, meaning

if TYPE_CHECKING:
    from ci_runner.execution.session import Cancellation
    from ci_runner.remote.channel import Channel
    from ci_runner.remote.machine import Host

RECONNECT_SECONDS = 180.0  # how long a connection may be away in the middle of a suite
ANSWER_SECONDS = 60.0
FIRST_PAUSE, LAST_PAUSE = 0.2, 2.0
SOCKET_PATH_BYTES = 80  # of the 108 that a socket's path may have ssh takes some for itself
END_SECONDS = 3.0


class Client(Protocol):
    """A process with an agent at its other end."""

    pid: int
    channel: Channel

    def __init__(self, login: Login, environ: Mapping[str, str]) -> None: ...

    def end(self, seconds: float) -> tuple[int, bytes]:
        """Let it end, or end it; its exit code and what it said."""
        ...

    def kill(self) -> None:
        """End it at once."""
        ...

    @staticmethod
    def forget(login: Login, environ: Mapping[str, str]) -> None:
        """End what may be left of it, such as a control connection."""
        ...


class Connection:
    """A connection to the agent of one machine that is made again when it is lost; safe to use from several threads."""

    def __init__(
        self,
        *,
        lease_id: str,
        host: Host,
        identity: Path | None,
        unchecked: bool = False,
        connect_seconds: int = 15,
        reconnect_seconds: float = RECONNECT_SECONDS,
        make: bool = True,
        environ: Mapping[str, str] = os.environ,
        client: type[Client],
    ) -> None:
        self.host = host
        self.lease_id = lease_id
        self.where: dict[str, Any] = {}  # the answer to the agent's first question: its folders
        self._environ = environ
        self._folder = _private_folder()
        weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)  # at the latest when we end
        self._login = Login(
            host=host,
            alias=lease_id,
            folder=self._folder,
            identity=identity,
            unchecked=unchecked,
            connect_seconds=connect_seconds,
        )
        self._login.known_hosts.write_text(self._login.known_line())
        self._reconnect_seconds = reconnect_seconds
        self._make = make
        self._make_client = client
        self._client: Client | None = None
        self._closed = threading.Event()
        self._lost_for_good: MachineError | None = None
        self._lock = threading.RLock()
        self._program = Path(agent.__file__).read_bytes()

    @property
    def pid(self) -> int | None:
        """The process of ssh, if there is one."""
        return self._client.pid if self._client is not None else None

    def call(
        self,
        op: str,
        request: Mapping[str, Any],
        data: bytes = b"",
        *,
        seconds: float = ANSWER_SECONDS,
        again: bool = True,
        away_seconds: float | None = None,
    ) -> tuple[dict[str, Any], bytes]:
        """The agent's answer. `again` says that the request may be made twice.

        Raises agent.Refused for what the machine refuses, MachineError if it cannot be reached or does not answer.
        """
        away = self._reconnect_seconds if away_seconds is None else away_seconds
        limit: float | None = None
        while True:
            client = self.open(away if limit is None else limit - time.monotonic())
            try:
                header, body = client.channel.ask({"op": op, **request}, data, seconds)
            except Cut as cut:
                if cut.sent and not again:
                    raise MachineError(
                        f"the connection was lost while {op} was under way", where=str(self.host)
                    ) from None
                limit = limit or time.monotonic() + away
                if time.monotonic() > limit:
                    raise MachineError(
                        "the connection is cut again and again", where=str(self.host)
                    ) from None
                continue
            except Late:
                raise MachineError(
                    f"the machine did not answer within {seconds:g} s", where=str(self.host)
                ) from None
            if "refused" in header:
                raise agent.Refused(str(header["refused"]), str(header.get("text", "")))
            return header, body

    def open(
        self,
        seconds: float,
        *,
        patience: float = 0.0,
        cancellation: Cancellation | None = None,
    ) -> Client:
        """The client of a connection that is there, made if it is not.

        A machine that does not listen or does not know us is tried until the time is over; one whose key is another
        only for `patience` seconds: while it boots it may still show the key of its image.
        """
        if not self._lock.acquire(timeout=max(0.1, seconds)):
            raise MachineError("the connection is lost and not there again", where=str(self.host))
        try:
            if self._client is not None and self._client.channel.is_open:
                return self._client
            if self._lost_for_good is not None:  # whoever asks after that asks once
                seconds = 0.0
            begin, pause = time.monotonic(), FIRST_PAUSE
            limit = begin + seconds
            while True:
                what, said = self._try(max(1.0, limit - time.monotonic()))
                if what is None:
                    self._lost_for_good = None
                    if self._client is None:
                        raise RuntimeError("a connection without a client")
                    return self._client
                now = time.monotonic()
                patient = what in (Meaning.CHANGED, Meaning.UNKNOWN) and now - begin < patience
                if not (what in (Meaning.AWAY, Meaning.DENIED) or patient) or now + pause > limit:
                    self._lost_for_good = _failure(what, said, self.host, self.lease_id, now - begin)
                    raise self._lost_for_good
                if cancellation is not None:
                    cancellation.wait(pause)
                    cancellation.check()
                else:
                    self._closed.wait(pause)
                pause = min(LAST_PAUSE, pause * 1.5)
        finally:
            self._lock.release()

    def make_folders(self) -> None:
        """Make the lease's folders, now and after every connection that is made again."""
        self._make = True
        self.where, _ = self.call("hello", {"lease": self.lease_id, "make": True})

    def close(self) -> None:
        """End the connection, and the control connection with it."""
        self._closed.set()
        client = self._client
        if client is not None and not client.channel.is_open:
            client.kill()  # somebody is connecting, and need not wait any more
        with self._lock:
            self._drop()
            shutil.rmtree(self._folder, ignore_errors=True)

    def _try(self, seconds: float) -> tuple[Meaning | None, bytes]:
        """One try to connect; what came in the way, None if nothing did."""
        self._drop()
        if self._closed.is_set():
            raise MachineError("the connection was closed", where=str(self.host))
        if not self._login.known_hosts.exists():
            self._folder.mkdir(mode=0o700, exist_ok=True)
            self._login.known_hosts.write_text(self._login.known_line())
        client = self._client = self._make_client(self._login, self._environ)
        patience = min(seconds, self._login.connect_seconds + 5.0)
        if client.channel.begin(self._program, patience):
            with contextlib.suppress(Cut, Late):
                request = {"op": "hello", "lease": self.lease_id, "make": self._make}
                header, _ = client.channel.ask(request, b"", ANSWER_SECONDS)
                if "refused" in header:
                    self._drop()
                    raise MachineError(
                        f"the machine cannot make our folders: {header.get('text')}", where=str(self.host)
                    )
                self.where = header
                return None, b""
        silent = not client.channel.is_over
        code, said = client.end(0.0 if silent else END_SECONDS)
        self._client = None
        if silent:
            return Meaning.AWAY, said or f"no answer within {patience:.0f} s".encode()
        return meaning(said.decode("utf-8", "replace"), code), said

    def _drop(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            client.end(END_SECONDS)
        self._make_client.forget(self._login, self._environ)


def _private_folder() -> Path:
    """A folder for the control socket and the known key; its path is short."""
    base = tempfile.gettempdir()
    if len(os.fsencode(base)) > SOCKET_PATH_BYTES - 30 or '"' in base:
        base = "/tmp"  # noqa: S108 - the folder in it is ours alone
    return Path(tempfile.mkdtemp(prefix="ci-runner-ssh-", dir=base))


def _failure(what: Meaning, said: bytes, host: Host, lease_id: str, seconds: float) -> MachineError:
    """The error that a person reads, with the last thing that ssh said."""
    words = last_words(said) or "it said nothing"
    if what is Meaning.CHANGED:
        return HostKeyError(
            f"the machine of lease {lease_id} shows another host key than the one it must have",
            where=str(host),
            fix="somebody may be in between, or another machine has its address: give the lease back, take a new one",
        )
    if what is Meaning.UNKNOWN:
        return HostKeyError(
            f"nobody knows the host key of lease {lease_id}'s machine, so it is not trusted",
            where=str(host),
            fix='name it: [machines.*.options] host-key = "ssh-ed25519 AAAA…"; or host-key = "unchecked"',
        )
    if what is Meaning.PYTHON:
        return MachineError(
            f"the machine has no python3 that can be used: {words}",
            where=str(host),
            fix="use an image with python3, 3.9 or newer",
        )
    if what is Meaning.DENIED:
        return MachineError(
            f"the machine does not let us in: {words}",
            where=str(host),
            fix="see that the key of the lease is authorised for this user",
        )
    if what is Meaning.USAGE:
        return MachineError(f"ssh does not understand us: {words}", fix="use OpenSSH 8.4 or newer")
    return MachineError(f"ssh did not get through for {seconds:.0f} s: {words}", where=str(host))
