"""The command line of OpenSSH's client for one machine, and what its last words mean. Nothing secret is in it."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from ci_runner.remote.machine import Host

ALIVE_SECONDS = 5  # how often a silent connection is asked whether it is there
ALIVE_COUNT = 3  # and how many answers may be missing
PERSIST_SECONDS = 30  # the control connection outlives its last user by so much
SAID_LIMIT = 300
OLDEST_PYTHON = (3, 9)

# Reads a program from stdin and becomes it: the remote command stays tiny, and holds nothing that is not ours.
_PROGRAM = (
    "import sys;"
    f"sys.version_info<{OLDEST_PYTHON!r} and sys.exit('ci-runner: python is too old: '+sys.version.split()[0]);"
    "b=sys.stdin.buffer;exec(compile(b.read(int(b.readline())),'agent.py','exec'))"
)
REMOTE_COMMAND = f"exec python3 -I -S -c {shlex.quote(_PROGRAM)}"


class Meaning(StrEnum):
    """Why ssh ended before the machine answered; each has its own next step."""

    AWAY = "away"  # nobody listens, or nobody answers in time: the same again, later
    CHANGED = "changed"  # the machine shows another key than the one it must have
    UNKNOWN = "unknown"  # its key is not known
    DENIED = "denied"  # it does not know us, or not yet
    PYTHON = "python"  # it has no python3 that we can use
    USAGE = "usage"  # ssh itself does not understand us


@dataclass(frozen=True, slots=True, kw_only=True)
class Login:
    """How to log in to one machine. `folder` is private and short: the control socket's path is limited."""

    host: Host
    alias: str  # under which the host key is known: the id of the lease
    folder: Path
    identity: Path | None = None  # None: the person's own keys and agent
    unchecked: bool = False  # take whatever key an unknown machine shows, and hold it to that
    connect_seconds: int = 15

    @property
    def control(self) -> Path:
        """The socket of the control connection."""
        return self.folder / "c"

    @property
    def known_hosts(self) -> Path:
        """A file that knows this machine and no other."""
        return self.folder / "known_hosts"

    def known_line(self) -> str:
        """What that file says at first."""
        return f"{self.alias} {self.host.host_key}\n" if self.host.host_key else ""

    def options(self) -> dict[str, str]:
        """Every option that matters, so that no configuration of the person or the system changes what happens."""
        found = {
            "BatchMode": "yes",
            "CheckHostIP": "no",
            "ClearAllForwardings": "yes",
            "ConnectTimeout": str(self.connect_seconds),
            "ControlMaster": "auto",
            "ControlPath": _path(self.control),
            "ControlPersist": str(PERSIST_SECONDS),
            "EscapeChar": "none",
            "ForwardAgent": "no",
            "ForwardX11": "no",
            "GlobalKnownHostsFile": "none",
            "HostKeyAlias": self.alias,
            "LogLevel": "ERROR",
            "PasswordAuthentication": "no",
            "PermitLocalCommand": "no",
            "PreferredAuthentications": "publickey",
            "RequestTTY": "no",
            "SendEnv": "-*",
            "ServerAliveCountMax": str(ALIVE_COUNT),
            "ServerAliveInterval": str(ALIVE_SECONDS),
            "StrictHostKeyChecking": "accept-new" if self.unchecked else "yes",
            "TCPKeepAlive": "yes",
            "UpdateHostKeys": "no",
            "UserKnownHostsFile": _path(self.known_hosts),
            "VerifyHostKeyDNS": "no",
        }
        if self.identity is not None:
            found |= {"IdentityFile": _path(self.identity), "IdentitiesOnly": "yes", "IdentityAgent": "none"}
        return found

    def words(self) -> list[str]:
        """ssh's arguments up to the machine, after which a command may follow."""
        found = ["-F", "none", "-T"]
        for name, value in self.options().items():
            found += ["-o", f"{name}={value}"]
        found += ["-p", str(self.host.port)]
        if self.host.user:
            found += ["-l", self.host.user]
        return [*found, "--", self.host.address]


def client_environment(environ: Mapping[str, str], login: Login) -> dict[str, str]:
    """The environment of the client: enough to find programs, and the person's agent where their keys are used."""
    names = ["PATH", "HOME", "TMPDIR"] + (["SSH_AUTH_SOCK"] if login.identity is None else [])
    return {**{name: environ[name] for name in names if name in environ}, "LC_ALL": "C"}


def meaning(said: str, exit_code: int) -> Meaning:
    """Why ssh ended, from what it said and its exit code."""
    if "REMOTE HOST IDENTIFICATION HAS CHANGED" in said:
        return Meaning.CHANGED
    if "host key is known for" in said or "Host key verification failed" in said:
        return Meaning.UNKNOWN
    if exit_code in (126, 127) or "ci-runner: python is too old" in said:
        return Meaning.PYTHON
    if "Bad configuration option" in said or "command-line:" in said or said.startswith("usage: ssh"):
        return Meaning.USAGE
    if "Permission denied" in said or "Too many authentication failures" in said:
        return Meaning.DENIED
    return Meaning.AWAY


def last_words(said: bytes) -> str:
    """The last line that says something, fit to be printed: a machine may say anything."""
    lines = [line.strip() for line in said.decode("utf-8", "replace").splitlines()]
    told = [line for line in lines if line and not set(line) <= {"@"}]
    text = told[-1] if told else ""
    return "".join(sign if sign.isprintable() else "?" for sign in text)[:SAID_LIMIT]


def _path(path: Path) -> str:
    """A path as an option's value: ssh expands `%` and splits at spaces that are not quoted."""
    text = str(path).replace("%", "%%")
    if '"' in text:
        raise ValueError(f"ssh cannot use a path with a quotation mark: {text}")
    return f'"{text}"' if any(sign.isspace() for sign in text) else text
