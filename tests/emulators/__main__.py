"""Runs a command against emulated clouds: `scripts/emulators run -- scripts/ci-runner run --machine tpu`.

Everything is real but the clouds: their APIs are emulated on free loopback ports, and the machines that they lend are sshd
processes with homes of their own. Nothing is left when the command has ended; its exit code is passed on.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

PROJECT = "emulated"
NO_COMMAND = 2
NOT_FOUND = 127


def main(argv: Sequence[str] | None = None) -> int:
    """Start the emulators, run the command, end the emulators."""
    words = list(sys.argv[1:] if argv is None else argv)
    before, _, command = _split(words)
    parser = argparse.ArgumentParser(prog="scripts/emulators", description=(__doc__ or "").partition("\n")[0])
    actions = parser.add_subparsers(dest="action", required=True)
    run = actions.add_parser("run", help="run COMMAND against emulated clouds")
    run.add_argument(
        "--boot-seconds", type=float, default=2.0, help="how long a machine takes to boot (default: 2)"
    )
    arguments = parser.parse_args(before)
    if not command:
        print("scripts/emulators: error: no command to run", file=sys.stderr)
        print("fix: scripts/emulators run -- scripts/ci-runner run --machine tpu", file=sys.stderr)
        return NO_COMMAND
    missing = [program for program in ("ssh", "ssh-keygen", "sshd") if not _there(program)]
    if missing:
        print(
            f"scripts/emulators: error: {', '.join(missing)} not found: machines are real sshd processes",
            file=sys.stderr,
        )
        print("fix: apt-get install openssh-client openssh-server", file=sys.stderr)
        return NO_COMMAND
    return _run(command, boot_seconds=arguments.boot_seconds)


def _split(words: Sequence[str]) -> tuple[list[str], str, list[str]]:
    if "--" not in words:
        return list(words), "", []
    at = list(words).index("--")
    return list(words[:at]), "--", list(words[at + 1 :])


def _there(program: str) -> bool:
    return shutil.which(program, path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin") is not None


def _run(command: Sequence[str], *, boot_seconds: float) -> int:
    from tests.emulators.ec2.server import Emulator, shut_down
    from tests.emulators.machines import Machines, user
    from tests.emulators.tpu.hall import LoopbackHall
    from tests.emulators.tpu.server import Server
    from tests.emulators.tpu.world import World

    guests: list[Emulator] = []
    with tempfile.TemporaryDirectory(prefix="ci-runner-emulators-") as folder:
        place = Path(folder)
        with Machines(place / "machines", on_shutdown=lambda name: shut_down(guests, name)) as machines:
            world = World(project=PROJECT, hall=LoopbackHall(machines), boot_seconds=boot_seconds)
            server = Server(world).begin()
            try:
                with Emulator(machines=machines, boot_seconds=boot_seconds) as ec2:
                    guests.append(ec2)
                    environ = {
                        **os.environ,
                        **ec2.environ,
                        "AWS_DEFAULT_REGION": "us-east-1",
                        "CI_RUNNER_AWS_REGIONS": "us-east-1",
                        "CI_RUNNER_SSH_PORT": str(machines.port),
                        "CI_RUNNER_SSH_USER": user(),
                        "CLOUDSDK_API_ENDPOINT_OVERRIDES_TPU": server.url,
                        "CLOUDSDK_CONFIG": str(place / "gcloud"),
                        "CLOUDSDK_CORE_PROJECT": PROJECT,
                        "CLOUDSDK_CORE_DISABLE_PROMPTS": "1",
                        "CLOUDSDK_AUTH_ACCESS_TOKEN": "emulated",
                        "GOOGLE_CLOUD_PROJECT": PROJECT,
                    }
                    return _command(command, environ)
            finally:
                server.end()


def _command(command: Sequence[str], environ: dict[str, str]) -> int:
    """Run the command; what ends us ends it, and it is waited for."""
    held = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGTERM, signal.SIGINT))
    try:
        process = subprocess.Popen(
            command, env=environ, preexec_fn=lambda: signal.pthread_sigmask(signal.SIG_SETMASK, held)
        )
    except OSError as error:
        print(f"scripts/emulators: error: cannot run {command[0]}: {error.strerror}", file=sys.stderr)
        return NOT_FOUND
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal tells the command itself
        signal.signal(signal.SIGTERM, lambda number, _frame: process.send_signal(number))
        signal.pthread_sigmask(signal.SIG_SETMASK, held)
    code = process.wait()
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(main())
