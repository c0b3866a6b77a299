"""Runs a command against emulated clouds: `scripts/emulators run -- scripts/ci-runner run --machine tpu`.

Everything is real but the clouds: their APIs are emulated on free loopback ports, with a bucket called emulated in S3 and in
Google Cloud Storage, and the machines that they lend are sshd processes with homes of their own. Nothing is left when the
command has ended; its exit code is passed on.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.emulators.github.world import World as Hub

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

PROJECT = "emulated"
GITHUB_TOKEN = "emulated"
BUCKET = "emulated"  # in S3, and in Google Cloud Storage
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
    run.add_argument(
        "--repository",
        default="you/scratch",
        metavar="OWNER/NAME",
        help="what the emulated GitHub holds, with pull request 1 for the commit checked out here (default: you/scratch)",
    )
    run.add_argument(
        "--env-file",
        type=Path,
        metavar="FILE",
        help="write there what points a command at the emulators, for programs that hand no environment on, such as act",
    )
    run.add_argument(
        "--event",
        type=Path,
        metavar="FILE",
        help="write there the payload of a push to pull request 1, as GitHub would send it",
    )
    run.add_argument(
        "--keep",
        type=Path,
        metavar="FOLDER",
        help="write comments and issues of the emulated GitHub there at the end",
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
    return _run(command, arguments)


def _split(words: Sequence[str]) -> tuple[list[str], str, list[str]]:
    if "--" not in words:
        return list(words), "", []
    at = list(words).index("--")
    return list(words[:at]), "--", list(words[at + 1 :])


def _there(program: str) -> bool:
    return shutil.which(program, path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin") is not None


def _run(command: Sequence[str], arguments: argparse.Namespace) -> int:
    from tests.emulators.ec2.server import Emulator, shut_down
    from tests.emulators.github.server import Server as GitHub
    from tests.emulators.github.world import World as Hub
    from tests.emulators.machines import Machines, user
    from tests.emulators.tpu.hall import LoopbackHall
    from tests.emulators.tpu.server import Server
    from tests.emulators.tpu.world import World
    from tests.object_stores import Buckets

    guests: list[Emulator] = []
    boot_seconds = arguments.boot_seconds
    hub = Hub()
    hub.token(GITHUB_TOKEN)
    head = _with_pull_request(hub, arguments.repository)
    if arguments.event:
        arguments.event.write_text(
            json.dumps(_pushed(arguments.repository, head), indent=2), encoding="utf-8"
        )
    with tempfile.TemporaryDirectory(prefix="ci-runner-emulators-") as folder:
        place = Path(folder)
        with Machines(place / "machines", on_shutdown=lambda name: shut_down(guests, name)) as machines:
            world = World(project=PROJECT, hall=LoopbackHall(machines), boot_seconds=boot_seconds)
            server = Server(world).begin()
            try:
                with (
                    Emulator(machines=machines, boot_seconds=boot_seconds) as ec2,
                    GitHub(hub) as github,
                    Buckets("s3", bucket=BUCKET) as s3,
                    Buckets("gs", bucket=BUCKET) as gcs,
                ):
                    guests.append(ec2)
                    added = {
                        **ec2.environ,
                        "AWS_ENDPOINT_URL_S3": s3.url,
                        "AWS_DEFAULT_REGION": "us-east-1",
                        "CI_RUNNER_AWS_REGIONS": "us-east-1",
                        "CI_RUNNER_SSH_PORT": str(machines.port),
                        "CI_RUNNER_SSH_USER": user(),
                        "CLOUDSDK_API_ENDPOINT_OVERRIDES_CLOUDQUOTAS": server.url,
                        "CLOUDSDK_API_ENDPOINT_OVERRIDES_TPU": server.url,
                        "CLOUDSDK_CONFIG": str(place / "gcloud"),
                        "CLOUDSDK_CORE_PROJECT": PROJECT,
                        "CLOUDSDK_CORE_DISABLE_PROMPTS": "1",
                        "CLOUDSDK_AUTH_ACCESS_TOKEN": "emulated",
                        "GITHUB_API_URL": github.url,
                        "GITHUB_REPOSITORY": arguments.repository,
                        "GITHUB_TOKEN": GITHUB_TOKEN,
                        "GOOGLE_CLOUD_PROJECT": PROJECT,
                        "STORAGE_EMULATOR_HOST": gcs.url,
                    }
                    if arguments.env_file:
                        lines = [f"{name}={value}\n" for name, value in sorted(added.items())]
                        arguments.env_file.write_text("".join(lines), encoding="utf-8")
                    try:
                        return _command(command, {**os.environ, **added})
                    finally:
                        _told(hub, arguments.keep)
            finally:
                server.end()


def _with_pull_request(hub: Hub, name: str) -> str:
    """The repository, and pull request 1 whose head is what is checked out here, if anything is."""
    repository = hub.repository(name, you="admin")
    done = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
    head = done.stdout.strip() if done.returncode == 0 else repository.objects.refs["heads/main"]
    repository.objects.commits.setdefault(head, next(iter(repository.objects.commits.values())))
    hub.pull(repository, 1, head, author="you")
    return head


def _pushed(name: str, head: str) -> dict[str, object]:
    """The payload of a push to pull request 1, from a branch of the repository itself."""
    repository, you = {"full_name": name, "default_branch": "main"}, {"login": "you", "type": "User"}
    pull = {
        "number": 1,
        "state": "open",
        "draft": False,
        "labels": [],
        "user": you,
        "head": {"ref": "topic", "sha": head, "repo": repository},
        "base": {"ref": "main", "sha": head, "repo": repository},
    }
    return {
        "action": "synchronize",
        "number": 1,
        "pull_request": pull,
        "repository": repository,
        "sender": you,
    }


def _told(hub: Hub, keep: Path | None) -> None:
    """Say what was written on the emulated GitHub, and keep it where the person asked for that."""
    for repository in hub.repositories.values():
        texts = [
            (f"comment-{comment.id}-on-{comment.issue}", comment.body)
            for comment in repository.comments.values()
        ]
        texts += [
            (f"issue-{issue.number}", f"# {issue.title}\n\n{issue.body}")
            for issue in repository.issues.values()
            if issue.pull is None
        ]
        for name, body in texts:
            print(
                f"emulated GitHub: {repository.name} has {name} ({len(body):,} characters)", file=sys.stderr
            )
            if keep is not None:
                keep.mkdir(parents=True, exist_ok=True)
                (keep / f"{name}.md").write_text(body, encoding="utf-8")


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
