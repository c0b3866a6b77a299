"""Which hosts a pool has, and which key each of them must show: what the configuration says, and the person's own file."""

from __future__ import annotations

import dataclasses
import subprocess
from collections.abc import Mapping
from pathlib import Path

from ci_runner.errors import ConfigurationError, MachineError
from ci_runner.model import MachineSpec
from ci_runner.remote.keys import INSTALL
from ci_runner.remote.machine import PORT, Host, plain_key, split_port

KEY_ORDER = ("ssh-ed25519", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521", "ssh-rsa")
LOOK_SECONDS = 20.0


def pool_of(machine: MachineSpec) -> list[Host]:
    """The hosts that the machine's options name. Raises ConfigurationError for what cannot be one."""
    where = f"machines.{machine.name}.options"
    texts = [text.strip() for text in machine.options.get("hosts", "").split(",") if text.strip()]
    keys = [text.strip() for text in machine.options.get("host-keys", "").split(",") if text.strip()]
    if not texts:
        raise ConfigurationError(
            f'machine "{machine.name}" names no hosts',
            where=f"{where}.hosts",
            fix='hosts = "me@host-1, me@host-2"',
        )
    if keys and len(keys) != len(texts):
        raise ConfigurationError(
            f"{len(texts)} hosts and {len(keys)} host keys do not fit", where=f"{where}.host-keys"
        )
    found = []
    for number, text in enumerate(texts):
        user, at, rest = text.rpartition("@")
        address, port = split_port(rest)
        try:
            found.append(
                Host(
                    address=address,
                    port=port or PORT,
                    user=user if at else None,
                    host_key=plain_key(keys[number]) if keys else None,
                )
            )
        except ValueError as error:
            raise ConfigurationError(str(error), where=where, fix="write hosts as user@host:port") from error
    return found


def with_key(host: Host, machine: MachineSpec, environ: Mapping[str, str]) -> Host:
    """The host with the key that the person's file of known hosts has for it, if it has one."""
    named = machine.options.get("known-hosts")
    path = (
        Path(named).expanduser()
        if named
        else Path(environ.get("HOME", "~"), ".ssh", "known_hosts").expanduser()
    )
    if not path.is_file():
        if named:
            raise ConfigurationError(
                "the file of known hosts does not exist", where=f"machines.{machine.name}.options.known-hosts"
            )
        return host
    name = host.address if host.port == PORT else f"[{host.address}]:{host.port}"
    try:
        done = subprocess.run(
            ["ssh-keygen", "-F", name, "-f", str(path)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
            timeout=LOOK_SECONDS,
        )
    except FileNotFoundError as error:
        raise MachineError("ssh-keygen is not installed", fix=INSTALL) from error
    lines = [line.split() for line in done.stdout.decode("utf-8", "replace").splitlines()]
    keys = [words[1:3] for words in lines if len(words) >= 3 and not words[0].startswith(("#", "@"))]
    for kind in KEY_ORDER:
        for words in keys:
            if words[0] == kind:
                return dataclasses.replace(host, host_key=" ".join(words))
    return host
