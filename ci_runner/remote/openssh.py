"""The Shell for a machine elsewhere: OpenSSH's client, one connection, and our agent at its other end.

The connection may end at any time. It is made again, and what can be asked twice is asked again; a command never is.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import logging
import os
import secrets
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import sh

from ci_runner.errors import MachineError
from ci_runner.execution.onboard import agent, supervise
from ci_runner.remote import jobs
from ci_runner.remote.base import Completed, Job, JobStatus
from ci_runner.remote.channel import PART_BYTES, Channel, small
from ci_runner.remote.connection import ANSWER_SECONDS, RECONNECT_SECONDS, Connection
from ci_runner.remote.machine import Host
from ci_runner.remote.ssh_words import REMOTE_COMMAND, Login, client_environment

CANCEL_SECONDS = 5.0  # a machine that cannot be reached is given back instead
SLICE_SECONDS = 20.0  # the longest single request to wait for a job
WINDOW = 4  # parts of a file that are under way at once
END_SECONDS = 3.0

logging.getLogger("sh").setLevel(logging.WARNING)  # it tells of every process that it starts


class SshClient:
    """One process of ssh with an agent at its other end."""

    def __init__(self, login: Login, environ: Mapping[str, str]) -> None:
        self._said = tempfile.TemporaryFile()  # noqa: SIM115 - it lives as long as the process
        to_read, to = os.pipe()
        back, back_write = os.pipe()
        try:
            command: Any = sh.Command("ssh")
            self._process: Any = command(
                *login.words(),
                REMOTE_COMMAND,
                _in=to_read,
                _out=back_write,
                _err=self._said,
                _env=client_environment(environ, login),
                _bg=True,
                _bg_exc=False,
                _new_session=True,  # an interrupt at the terminal is ours to handle
                _return_cmd=True,
                _ok_code=range(256),
            )
        except sh.CommandNotFound as error:
            for fd in (to, back):
                os.close(fd)
            self._said.close()
            raise MachineError(
                "ssh is not installed", fix="install OpenSSH's client: apt-get install openssh-client"
            ) from error
        finally:
            os.close(to_read)
            os.close(back_write)
        self.pid: int = self._process.pid
        self.channel = Channel(to, back)

    def end(self, seconds: float = END_SECONDS) -> tuple[int, bytes]:
        """Let ssh end, or end it; its exit code and what it said."""
        self.channel.close()
        limit, pause = time.monotonic() + seconds, threading.Event()
        while self._process.process.is_alive()[0]:
            if time.monotonic() > limit:
                self.kill()
                limit = float("inf")
            pause.wait(0.005)
        code = self._process.process.wait()
        self.channel.join(END_SECONDS)
        if self._said.closed:
            return int(code), b""
        self._said.seek(0)
        said = self._said.read(1 << 16)
        self._said.close()
        return int(code), said

    def kill(self) -> None:
        """End ssh at once, whatever it is at."""
        with contextlib.suppress(OSError):
            self._process.kill()

    @staticmethod
    def forget(login: Login, environ: Mapping[str, str]) -> None:
        """End the control connection: one that hangs would hold up the next."""
        if not login.control.exists():
            return
        with contextlib.suppress(sh.ErrorReturnCode, sh.TimeoutException, sh.CommandNotFound, OSError):
            sh.Command("ssh")(
                *("-F", "none", "-O", "exit", "-S", str(login.control), "--", login.host.address),
                _timeout=END_SECONDS,
                _new_session=True,
                _no_out=True,
                _no_err=True,
                _env=client_environment(environ, login),
            )
        login.control.unlink(missing_ok=True)


def open_shell(
    lease_id: str,
    host: Host,
    *,
    identity: Path | None,
    unchecked: bool = False,
    connect_seconds: int = 15,
    reconnect_seconds: float = RECONNECT_SECONDS,
    make: bool = True,
    environ: Mapping[str, str] = os.environ,
) -> OpenSSHShell:
    """The shell of one machine; it connects when it is first used. `identity` None: the person's own keys and agent.

    `make` says whether the lease's folders are made on the machine.
    """
    connection = Connection(
        lease_id=lease_id,
        host=host,
        identity=identity,
        unchecked=unchecked,
        connect_seconds=connect_seconds,
        reconnect_seconds=reconnect_seconds,
        make=make,
        environ=environ,
        client=SshClient,
    )
    return OpenSSHShell(connection)


class OpenSSHShell:
    """Speaks to one machine on behalf of one lease; safe to use from several threads."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._lease_id = connection.lease_id
        self._ended: dict[str, JobStatus] = {}
        self._started: set[str] = set()
        self._lock = threading.Lock()
        self._supervisor: str | None = None

    @property
    def connection(self) -> Connection:
        """The connection underneath."""
        return self._connection

    @property
    def work(self) -> str:
        """The folder with the staged commit."""
        return str(self._where("work"))

    @property
    def scratch(self) -> str:
        """The folder for files of ours."""
        return str(self._where("scratch"))

    @property
    def base(self) -> str:
        """The folder of the lease, which holds the others."""
        return str(self._where("base"))

    def make_folders(self) -> None:
        """Make the lease's folders, if the connection was opened without."""
        self._connection.make_folders()

    def use_work(self, root: str) -> str:
        """Let `work` be this folder below the top of the staged source, for whoever connects; the folder of the top."""
        top = f"{self.base}/work"
        work = f"{top}/{root}" if root else top
        self.write(f"{self.base}/work-path", os.fsencode(work))
        self._connection.where["work"] = work
        return top

    def _where(self, name: str) -> Any:
        if not self._connection.where:
            self._connection.open(RECONNECT_SECONDS)
        return self._connection.where[name]

    def job_folder(self, attempt_folder: Path) -> str:
        """A folder in `scratch`, named by the last two of the attempt's folder: each attempt has its own set-up."""
        return f"{self.scratch}/jobs/{'-'.join(attempt_folder.parts[-2:])}"

    def start(self, job: Job) -> None:
        """Start a job under its supervisor. Raises MachineError if that cannot be started."""
        jobs.check_job(job)
        with self._lock:
            if job.id in self._started:
                raise ValueError(f"job {job.id} was started already")
            self._started.add(job.id)
        request = {
            "folder": job.folder,
            "log": job.log,
            "lease": self._lease_id,
            "marker": jobs.job_marker(job, self._lease_id),
            "nonce": secrets.token_hex(8),
            "supervise": self._supervise(),
            "unset": list(job.unset),
        }
        with self._refusals(f"cannot start job {job.id}", job.folder):
            try:
                self._connection.call("start", request, jobs.job_document(job, self._lease_id))
            except agent.Refused as refused:
                if refused.code == "started":
                    raise ValueError(f"job {job.id} was started already") from None
                raise

    def poll(self, job: Job) -> JobStatus | None:
        """None while the job runs; afterwards how it ended."""
        return self.wait(job, seconds=0.0)

    def wait(self, job: Job, *, seconds: float) -> JobStatus | None:
        """Wait up to so long for the end."""
        limit = time.monotonic() + seconds
        while job.id not in self._ended:
            left = max(0.0, limit - time.monotonic())
            part = min(left, SLICE_SECONDS)
            request = {"folder": job.folder, "seconds": part, "supervise": self._supervise()}
            with self._refusals(f"job {job.id} on lease {self._lease_id}", job.folder):
                _, data = self._connection.call("wait", request, seconds=part + ANSWER_SECONDS)
            status = jobs.read_status(data) if data else None
            if status is not None:
                self._ended[job.id] = status
            elif time.monotonic() >= limit:
                return None
        return self._ended[job.id]

    def cancel(self, job: Job) -> None:
        """Ask the job's supervisor to end it. Raises MachineError if the machine cannot be reached soon."""
        if job.id not in self._ended:
            with self._refusals(f"cannot cancel job {job.id}", job.folder):
                self._connection.call("cancel", {"folder": job.folder}, away_seconds=CANCEL_SECONDS)

    def run(
        self, argv: Sequence[str], *, seconds: float, cwd: str | None = None, stdin: bytes = b""
    ) -> Completed:
        """Run a short helper command, once: if the connection is lost meanwhile, that is a MachineError."""
        request = {"argv": list(argv), "cwd": cwd or self.work, "seconds": seconds, "lease": self._lease_id}
        try:
            header, data = self._connection.call(
                "run", request, stdin, seconds=seconds + ANSWER_SECONDS, again=False
            )
        except agent.Refused as refused:
            text = f"took longer than {seconds:g} s" if refused.code == "timeout" else f"failed: {refused}"
            raise MachineError(f"{argv[0]} {text}", where=str(self._connection.host)) from None
        size = int(header["stdout"])
        return Completed(exit_code=int(header["exit_code"]), stdout=data[:size], stderr=data[size:])

    def read(self, path: str, *, offset: int = 0, limit: int = 1 << 20) -> bytes:
        """Part of a regular file."""
        found = bytearray()
        while len(found) < limit:
            size = min(PART_BYTES, limit - len(found))
            request = {"path": path, "offset": offset + len(found), "limit": size}
            with self._refusals("cannot read a file", path):
                _, data = self._connection.call("read", request)
            found += data
            if len(data) < size:
                break
        return bytes(found)

    def write(self, path: str, data: bytes, *, mode: int = 0o644) -> None:
        """Put a file in place in one step, with its parent folders."""
        if len(data) > PART_BYTES:
            self.write_parts(path, [data], mode=mode)
            return
        with self._refusals("cannot write a file", path):
            self._connection.call("write", {"path": path, "mode": mode}, data)

    def write_parts(self, path: str, parts: Iterable[bytes], *, mode: int = 0o644) -> int:
        """Put a file in place whose parts come one after the other; its size. A cut connection costs a few parts."""
        unfinished = f"{path}.{secrets.token_hex(4)}.parts"
        offset = 0
        with self._refusals("cannot write a file", path):
            with concurrent.futures.ThreadPoolExecutor(WINDOW, thread_name_prefix="upload") as pool:
                under_way: list[concurrent.futures.Future[Any]] = []
                for part in small(parts):
                    request = {"path": unfinished, "offset": offset}
                    under_way.append(pool.submit(self._connection.call, "part", request, part))
                    offset += len(part)
                    if len(under_way) >= WINDOW:
                        under_way.pop(0).result()
                for future in under_way:
                    future.result()
            if offset == 0:
                self._connection.call("part", {"path": unfinished, "offset": 0})
            self._connection.call("place", {"parts": unfinished, "path": path, "mode": mode})
        return offset

    def glob(self, pattern: str) -> list[str]:
        """Paths that a glob matches in `work`."""
        with self._refusals("cannot look for files", pattern):
            header, _ = self._connection.call("glob", {"work": self.work, "pattern": pattern})
        return [str(path) for path in header["paths"]]

    def end(self) -> None:
        """End every process of the lease on the machine and remove its folder. Raises MachineError if one stays."""
        request = {"marker": f"{jobs.LEASE_VARIABLE}={self._lease_id}", "lease": self._lease_id}
        with self._refusals("cannot clean up", str(self._connection.host)):
            header, _ = self._connection.call("end", request, Path(supervise.__file__).read_bytes())
        if header.get("stuck"):
            pids = " ".join(str(pid) for pid in header["stuck"])
            raise MachineError(
                f"processes of lease {self._lease_id} could not be ended",
                where=str(self._connection.host),
                fix=f"there: sudo kill -9 {pids}",
            )
        if header.get("left"):
            raise MachineError(
                f"cannot remove what lease {self._lease_id} left",
                where=str(self._connection.host),
                fix=f"there: sudo rm -rf ~/.ci-runner/{self._lease_id}",
            )

    def close(self) -> None:
        """End the connection; jobs go on."""
        self._connection.close()

    def _supervise(self) -> str:
        """The supervisor's path on the machine; put there the first time."""
        if self._supervisor is None:
            path = f"{self.scratch}/agent/supervise.py"
            self.write(path, Path(supervise.__file__).read_bytes())
            self._supervisor = path
        return self._supervisor

    @contextlib.contextmanager
    def _refusals(self, what: str, where: str) -> Iterator[None]:
        """Say what the machine refuses as an error that a person reads."""
        try:
            yield
        except agent.Refused as refused:
            link = " " if refused.code == "never-started" else ": "
            raise MachineError(f"{what}{link}{refused}", where=where) from None
