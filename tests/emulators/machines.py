"""Machines that are not there: each is a real sshd on a loopback address of its own, with a home of its own.

No privileges are needed: sshd runs as whoever runs the tests, and only that user logs in. A machine executes its boot
script with bash; what only root may do there is done by stand-ins on its PATH.
"""

from __future__ import annotations

import contextlib
import getpass
import itertools
import os
import secrets
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from ci_runner.execution.onboard import supervise

MARK = "CI_RUNNER_MACHINE"  # in the environment of everything that runs on a machine
START_SECONDS = 20.0
END_SECONDS = 10.0
SYSTEM_PATH = "/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin"

STAND_INS = {
    "systemctl": """
case "$1" in reload | restart) [ "$2" != ssh ] || kill -HUP "$(cat {folder}/sshd.pid)" ;; esac
""",
    "systemd-run": """
while [ $# -gt 0 ]; do
  case "$1" in --on-active=*) left=${{1#--on-active=}} ;; --) shift && break ;; esac
  shift
done
printf '%s\\n' "${{left%s}}" >{folder}/expiry
setsid sh -c 'sleep "$1" && shift && exec "$@"' sh "${{left%s}}" "$@" </dev/null >/dev/null 2>&1 &
""",
    "shutdown": """
for word; do
  case "$word" in
    now) printf '%s\\n' {name} >{events} ;;
    +*) setsid sh -c 'sleep "$1"; exec "$2" now' sh "$((${{word#+}} * 60))" "$0" </dev/null >/dev/null 2>&1 & ;;
  esac
done
""",
    "getent": """
case "$1" in passwd) printf '%s:x:1:1::%s:/bin/bash\\n' "$2" {home} ;; esac
""",
    "useradd": "exit 1\n",
    "usermod": "exit 0\n",
    "chown": "exit 0\n",
    "at": "exit 1\n",
    "python3": """
exec {python} "$@"
""",
}

CONFIG = """\
Port {port}
ListenAddress {address}
HostKey "{folder}/ssh/ssh_host_ed25519_key"
PidFile "{folder}/sshd.pid"
AuthorizedKeysFile "{home}/.ssh/authorized_keys"
SetEnv "HOME={home}" "PATH={path}" "{mark}={folder}" "CI_RUNNER_DEVICES={folder}/dev"
PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM no
StrictModes no
PrintMotd no
UseDNS no
MaxSessions 100
MaxStartups 200
LogLevel VERBOSE
"""


def sshd() -> str | None:
    """The path of the server's program, which has to be started by it; None if there is none."""
    return shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin:/usr/local/sbin")


def user() -> str:
    """Who logs in to these machines."""
    return getpass.getuser()


@dataclass(slots=True)
class LoopbackMachine:
    """One machine: where it listens, and where its files are."""

    name: str
    address: str
    port: int
    folder: Path
    home: Path
    server: subprocess.Popen[bytes] | None = None
    boots: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def mark(self) -> str:
        """What every process of this machine has in its environment."""
        return f"{MARK}={self.folder}"

    @property
    def host_key(self) -> str:
        """The key that the server shows now: type and key."""
        return " ".join((self.folder / "ssh" / "ssh_host_ed25519_key.pub").read_text().split()[:2])

    @property
    def is_running(self) -> bool:
        """Whether its server is there."""
        return self.server is not None and self.server.poll() is None

    def processes(self) -> list[supervise.Process]:
        """Everything that runs there, the server included."""
        found = {item.pid: item for item in supervise.marked(self.mark)}
        if self.is_running and self.server is not None:
            table = supervise.process_table()
            found.update((item.pid, item) for item in supervise.below(table, [self.server.pid]))
            if self.server.pid in table:
                found[self.server.pid] = table[self.server.pid]
        return [item for item in found.values() if item.state not in "ZX"]


class Machines:
    """Starts and ends loopback machines; all of them listen on one port, each on an address of its own.

    `on_shutdown` is told the name of a machine that shut itself down, after its power is off.
    """

    def __init__(
        self, folder: Path, port: int | None = None, *, on_shutdown: Callable[[str], None] | None = None
    ) -> None:
        self.folder = folder.resolve()
        self.folder.mkdir(parents=True, exist_ok=True)
        self.port = port or _free_port()
        self._on_shutdown = on_shutdown
        self._machines: dict[str, LoopbackMachine] = {}
        self._lock = threading.RLock()
        self._addresses = itertools.count(secrets.randbelow(1 << 22) + (1 << 8))
        self._events = self.folder / "events"
        os.mkfifo(self._events)
        self._events_fd = os.open(self._events, os.O_RDWR)
        self._listener = threading.Thread(target=self._listen, name="guests' shutdowns", daemon=True)
        self._listener.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def __getitem__(self, name: str) -> LoopbackMachine:
        return self._machines[name]

    def start(
        self,
        name: str,
        boot_script: str | None = None,
        user_metadata: Mapping[str, str] | None = None,
        home: Path | None = None,
        devices: Iterable[str] = (),
    ) -> LoopbackMachine:
        """Switch a machine on and return when its server listens; the boot script, if any, runs on meanwhile.

        `user_metadata` may hold `ssh-keys`, lines of `user:key` that the clouds' guest agents authorise. `devices` are
        the names of its accelerators' files. A machine that was stopped keeps its address and its files.
        """
        with self._lock:
            machine = self._machines.get(name) or self._make(name, home, devices)
            if machine.is_running:
                raise ValueError(f"machine {name} runs already")
            for line in (user_metadata or {}).get("ssh-keys", "").splitlines():
                with (machine.home / ".ssh" / "authorized_keys").open("a") as file:
                    file.write(line.partition(":")[2] + "\n")
            self._serve(machine)
            if boot_script is not None:
                self._boot(machine, boot_script)
            return machine

    def console(self, name: str) -> str:
        """What the boot scripts of this machine have printed."""
        path = self._machines[name].folder / "console"
        return path.read_text(errors="replace") if path.exists() else ""

    def expires_in(self, name: str) -> float | None:
        """For how long, in seconds, its boot script set the timer of its end; None if it did not."""
        path = self._machines[name].folder / "expiry"
        return float(path.read_text()) if path.exists() else None

    def kill(self, name: str) -> None:
        """Switch a machine off at once: every process of it is killed, and its connections are cut."""
        with self._lock:
            machine = self._machines.get(name)
            if machine is None:
                return
            left = supervise.end_all(machine.processes, END_SECONDS)
            for process in (machine.server, *machine.boots):
                if process is not None:
                    process.wait(timeout=END_SECONDS)
            machine.server, machine.boots = None, []
            if left:
                raise RuntimeError(f"processes of {name} could not be ended: {left}")

    stop = kill  # its files stay, so that `start` brings it back

    def remove(self, name: str) -> None:
        """Switch a machine off and forget its files."""
        with self._lock:
            self.kill(name)
            machine = self._machines.pop(name, None)
        if machine is not None:
            shutil.rmtree(machine.folder, ignore_errors=True)

    def cut(self, name: str) -> int:
        """Cut every connection of a machine, and nothing else; how many there were.

        The server's processes for these connections are killed; what they started goes on.
        """
        machine = self._machines[name]
        if machine.server is None:
            return 0
        table = supervise.process_table()
        sessions = [item for item in table.values() if item.parent == machine.server.pid]
        inner = supervise.below(table, [item.pid for item in sessions])
        servers = [item for item in inner if b"sshd" in supervise.read_file(f"/proc/{item.pid}/cmdline")]
        for item in (*sessions, *servers):
            supervise.send(item, signal.SIGKILL)
        return len(sessions)

    def close(self) -> None:
        """Switch everything off."""
        with self._lock:
            for name in list(self._machines):
                self.kill(name)
            if self._events_fd >= 0:
                os.write(self._events_fd, b"\n")
        if threading.current_thread() is not self._listener:
            self._listener.join(timeout=END_SECONDS)
        with self._lock:
            if self._events_fd >= 0:
                os.close(self._events_fd)
                self._events_fd = -1

    def _make(self, name: str, home: Path | None, devices: Iterable[str]) -> LoopbackMachine:
        folder = self.folder / name
        machine = LoopbackMachine(
            name=name,
            address=self._free_address(),
            port=self.port,
            folder=folder,
            home=home or folder / "home",
        )
        for path in (folder / "bin", folder / "ssh", folder / "dev", machine.home / ".ssh"):
            path.mkdir(parents=True, exist_ok=True)
        for device in devices:
            (folder / "dev" / device).touch()
        (machine.home / ".ssh").chmod(0o700)
        words = {
            "folder": shlex.quote(str(folder)),
            "name": shlex.quote(name),
            "events": shlex.quote(str(self._events)),
            "home": shlex.quote(str(machine.home)),
            "python": shlex.quote(sys.executable),
        }
        for program, text in STAND_INS.items():
            path = folder / "bin" / program
            path.write_text(f"#!/bin/sh\n{text.format(**words).lstrip()}")
            path.chmod(0o755)
        key = folder / "ssh" / "ssh_host_ed25519_key"
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True, timeout=30)
        (folder / "uptime").write_text("0.50 0.00\n")
        (folder / "sshd_config").write_text(
            CONFIG.format(
                port=self.port,
                address=machine.address,
                folder=folder,
                home=machine.home,
                path=self._path(machine),
                mark=MARK,
            )
        )
        self._machines[name] = machine
        return machine

    def _path(self, machine: LoopbackMachine) -> str:
        return f"{machine.folder / 'bin'}:{SYSTEM_PATH}"

    def _serve(self, machine: LoopbackMachine) -> None:
        program = sshd()
        if program is None:
            raise RuntimeError("sshd is not installed")
        if os.getuid() == 0:
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # it insists, and only root's one does
        with (machine.folder / "sshd.log").open("ab") as log:
            machine.server = subprocess.Popen(
                [program, "-D", "-e", "-f", str(machine.folder / "sshd_config")],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={"PATH": SYSTEM_PATH, MARK: str(machine.folder)},
                start_new_session=True,
            )
        limit, pause = time.monotonic() + START_SECONDS, threading.Event()
        while not _listens(machine.address, machine.port):
            if machine.server.poll() is not None or time.monotonic() > limit:
                said = (machine.folder / "sshd.log").read_text(errors="replace")
                raise RuntimeError(f"sshd of {machine.name} did not start: {said[-500:]}")
            pause.wait(0.01)

    def _boot(self, machine: LoopbackMachine, script: str) -> None:
        path = machine.folder / "boot.sh"
        path.write_text(script)
        with (machine.folder / "console").open("ab") as console:
            boot = subprocess.Popen(
                ["bash", str(path)],
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
                cwd=machine.home,
                env={
                    "PATH": self._path(machine),
                    "HOME": str(machine.home),
                    "CI_RUNNER_SSH_DIR": str(machine.folder / "ssh"),
                    "CI_RUNNER_UPTIME": str(machine.folder / "uptime"),
                    MARK: str(machine.folder),
                },
                start_new_session=True,
            )
        machine.boots.append(boot)

    def _free_address(self) -> str:
        taken = {machine.address for machine in self._machines.values()}
        for number in self._addresses:
            address = f"127.{1 + (number >> 16) % 254}.{(number >> 8) % 256}.{1 + number % 254}"
            if address not in taken and _can_listen(address, self.port):
                return address
        raise AssertionError("the count never ends")

    def _listen(self) -> None:
        """Take note of guests that shut themselves down."""
        with os.fdopen(os.dup(self._events_fd), "r") as events:
            for line in events:
                name = line.strip()
                if not name:
                    return
                with contextlib.suppress(RuntimeError):
                    self.kill(name)
                if self._on_shutdown is not None:
                    self._on_shutdown(name)


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def _can_listen(address: str, port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError:
            return False
    return True


def _listens(address: str, port: int) -> bool:
    try:
        with socket.create_connection((address, port), timeout=1.0):
            return True
    except OSError:
        return False
