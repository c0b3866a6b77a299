"""`ci-runner machines ssh-command` and `boot-script`: how to get into a machine, and what it would run when it boots."""

from __future__ import annotations

import os
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Mapping
from typing import TYPE_CHECKING

from ci_runner.cli import clouds

if TYPE_CHECKING:
    from ci_runner.config.settings import Settings
    from ci_runner.model import Lease, MachineSpec
    from ci_runner.providers.book import Book

USERS = {"aws-ec2": "ubuntu", "gcp-tpu": "ci-runner"}  # who logs in where nothing else is said
KNOWN_HOSTS = "known_hosts.by-hand"  # in the folder of the lease's keys
HIDDEN_HOST = "the lease's own host key stands here; it is made for each lease and never printed"
HIDDEN_KEY = "ssh-ed25519 (the public key of the lease)"


def add_ssh_arguments(parser: ArgumentParser) -> None:
    """Declare the arguments of `ssh-command`."""
    parser.add_argument("lease", metavar="LEASE", help="the lease's id, or its beginning")
    parser.add_argument(
        "--worker", type=int, default=0, metavar="N", help="which host of a slice (default: 0)"
    )


def add_boot_arguments(parser: ArgumentParser) -> None:
    """Declare the arguments of `boot-script`."""
    parser.add_argument("machine", metavar="MACHINE", help="a machine's name in the configuration")


def ssh_command(arguments: Namespace) -> int:
    """Print the command that logs in, with the lease's own key and its known host key."""
    settings = clouds.settings_for(arguments)
    answer = clouds.ask(clouds.names_for(settings, arguments.provider))
    _, lease = clouds.found(answer, arguments.lease)
    words = ssh_words(lease, settings, clouds.book_of(settings), arguments.worker, os.environ)
    _print(arguments, {"lease_id": lease.id, "argv": words}, _quoted(words))
    return 0


def ssh_words(
    lease: Lease, settings: Settings, book: Book, worker: int, environ: Mapping[str, str]
) -> list[str]:
    """The command as words. Raises UsageError if the machine cannot be entered from here, MachineError if it is not up."""
    import dataclasses

    from ci_runner.errors import UsageError
    from ci_runner.remote.keys import LeaseKeys, key_folder
    from ci_runner.remote.machine import hosts_of

    if lease.machine.provider == clouds.LOCAL:
        raise UsageError(f"lease {lease.id} is on this machine", fix="no ssh is needed to look at it")
    lease = dataclasses.replace(lease, user=login(lease, book, settings))
    hosts = hosts_of(lease, environ)
    if not 0 <= worker < len(hosts):
        raise UsageError(f"lease {lease.id} has no worker {worker}", fix=f"its last one is {len(hosts) - 1}")
    host, options = hosts[worker], [] if hosts[worker].port == 22 else ["-p", str(hosts[worker].port)]
    keys = LeaseKeys.read(key_folder(environ, lease.id))
    if keys is not None:
        alias = f"ci-runner-{lease.id}"
        known = keys.folder / KNOWN_HOSTS
        known.write_text(f"{alias} {host.host_key or _plain(keys.host_public)}\n")
        options += ["-i", str(keys.private_path), "-o", "IdentitiesOnly=yes", "-o", f"HostKeyAlias={alias}"]
        options += ["-o", f"UserKnownHostsFile={known}", "-o", "StrictHostKeyChecking=yes"]
    elif lease.machine.provider in USERS:
        raise UsageError(
            f"the keys of lease {lease.id} are not on this machine",
            fix="log in from where the run was started: the key never leaves it",
        )
    target = f"{host.user}@{host.address}" if host.user else host.address
    return ["ssh", *options, "--", target]


def _plain(key: str) -> str:
    return " ".join(key.split()[:2])


def login(lease: Lease, book: Book, settings: Settings) -> str | None:
    """Who logs in: as the machine says, as it was asked for, as configured, or the provider's custom."""
    asked = book.lease(lease.id)
    if lease.user or asked is None:
        alike = [m for m in settings.machines.values() if m.provider == lease.machine.provider]
        options = alike[0].options if len(alike) == 1 else {}
    else:
        options = asked.machine.options
    return lease.user or options.get("user") or USERS.get(lease.machine.provider)


def boot_script(arguments: Namespace) -> int:
    """Print the script that such a machine would boot with; nothing is started, and no key is printed."""
    from ci_runner.cli.doctor import chosen

    settings = clouds.settings_for(arguments)
    (machine,) = chosen(settings, [arguments.machine])
    script = script_for(machine, settings, os.environ, time.time())
    _print(arguments, {"machine": machine.name, "script": script}, script.rstrip("\n"))
    return 0


def script_for(machine: MachineSpec, settings: Settings, environ: Mapping[str, str], now: float) -> str:
    """The script for a lease of this machine that began now. Raises UsageError where machines boot without one."""
    from ci_runner.cli.doctor_checks import lease_seconds
    from ci_runner.errors import UsageError
    from ci_runner.model import Lease
    from ci_runner.providers import boot
    from ci_runner.providers.leases import new_lease_id
    from ci_runner.remote.machine import ssh_user

    if machine.provider not in USERS:
        raise UsageError(
            f'machine "{machine.name}" is not made for the run, so nothing boots',
            where=f"machines.{machine.name}.provider",
            fix=f"machines of these have a boot script: {', '.join(sorted(USERS))}",
        )
    lease = Lease(
        id=new_lease_id("example-0000", machine.name, token=lambda: "000000"),
        machine=machine,
        owner=settings.developer,
        run_id="example",
        suite="example",
        created_at=now,
        expires_at=now + lease_seconds(settings, machine),
    )
    return boot.boot_script(
        lease,
        host_private=HIDDEN_HOST,
        host_public=HIDDEN_KEY,
        public=HIDDEN_KEY,
        user=ssh_user(lease, environ, USERS[machine.provider]),
        stops="terminate" if machine.provider == "aws-ec2" else "off",
    )


def _quoted(words: list[str]) -> str:
    from ci_runner.report.words import shell_word

    return " ".join(map(shell_word, words))


def _print(arguments: Namespace, value: dict[str, object], text: str) -> None:
    import json

    from ci_runner.github.commands import neutralise

    if arguments.format == "json":
        print(json.dumps(value, ensure_ascii=False, indent=2))
    else:
        print(neutralise(text))
