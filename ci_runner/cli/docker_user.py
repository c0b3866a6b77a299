"""Lets a Docker action begin as root, as GitHub wants it, and work as somebody who is not (docs/adr/docker-user.md)."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import stat
import sys
import tempfile
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ci_runner.cli.docker_table import ENTRIES

USER = "ci-runner"  # the image's own, for a runner that is root itself
FILES = ("GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY")
# files that an earlier step made for its own user alone
CREDENTIALS = (
    "GOOGLE_APPLICATION_CREDENTIALS",
    "CLOUDSDK_AUTH_CREDENTIAL_FILE_OVERRIDE",
    "GOOGLE_GHA_CREDS_PATH",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_SHARED_CREDENTIALS_FILE",
    "AWS_CONFIG_FILE",
)
LARGEST = 1024 * 1024


@dataclass
class Entered:
    """A private folder, and the runner's files that were opened while they could be."""

    folder: Path
    held: dict[str, int] = field(default_factory=dict)  # variable → file descriptor

    def hand_over(self) -> None:
        """Append to the runner's files what the phase has written into its own."""
        for name, descriptor in self.held.items():
            ours = self.folder / name
            content = ours.read_bytes() if ours.is_file() else b""
            while content:
                content = content[os.write(descriptor, content) :]
            os.close(descriptor)
        shutil.rmtree(self.folder, ignore_errors=True)  # the container goes with it


def run(entry: str, phase: Callable[[Sequence[str]], int]) -> int:
    """Do the phase that an entry of the image stands for, as nobody special."""
    # the first process of a container is not ended by a signal that it does not handle
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    entered = begin(os.environ)
    try:
        return phase(ENTRIES[entry])
    finally:
        entered.hand_over()


def begin(environ: MutableMapping[str, str]) -> Entered:
    """Open the runner's files, copy the credentials, and give up being root; the variables then name the copies."""
    entered = Entered(Path(tempfile.mkdtemp(prefix="ci-runner-")))
    user, group = account(environ)
    for name in FILES:
        path = environ.pop(name, "")
        descriptor = opened(path, name)
        if descriptor is not None:
            entered.held[name] = descriptor
            environ[name] = str(entered.folder / name)
    for name in CREDENTIALS:
        content = content_of(environ.get(name, ""))
        if content is not None:
            copy = entered.folder / name
            copy.touch(mode=0o600)
            copy.write_bytes(content)
            environ[name] = str(copy)
    environ.update(HOME=str(entered.folder), RUNNER_TEMP=str(entered.folder))
    environ.pop("GITHUB_STATE", None)  # no phase knows anything that another could not find out itself
    if os.geteuid() == 0:
        for item in (*entered.folder.iterdir(), entered.folder):
            os.chown(item, user, group)
        give_up_root(user, group)
    return entered


def account(environ: Mapping[str, str]) -> tuple[int, int]:
    """Who to be: the runner's user, to whom its files belong; the image's own if that is root."""
    if os.geteuid() != 0:
        return os.geteuid(), os.getegid()
    for name in ("GITHUB_OUTPUT", "GITHUB_WORKSPACE"):
        try:
            found = Path(environ.get(name) or "/").stat()
        except OSError:
            continue
        if found.st_uid != 0:
            return found.st_uid, found.st_gid or found.st_uid
    own = pwd.getpwnam(USER)
    return own.pw_uid, own.pw_gid


def opened(path: str, name: str) -> int | None:
    """A file of the runner, to be appended to; None, and a word about it, for one that cannot be."""
    if not path:
        return None
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        print(f"ci-runner: warning: {name} cannot be written: {error.strerror or error}", file=sys.stderr)
        return None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        print(f"ci-runner: warning: {name} is no file", file=sys.stderr)
        return None
    return descriptor


def content_of(path: str) -> bytes | None:
    """What a file of credentials holds; None if there is no such file, which whoever needs it will say."""
    try:
        if not path or not Path(path).is_file() or Path(path).stat().st_size > LARGEST:
            return None
        return Path(path).read_bytes()
    except OSError:
        return None


def give_up_root(user: int, group: int) -> None:
    """Be that user from now on, for good. Raises PermissionError where that is not possible, and nothing is done."""
    os.setgroups([])
    os.setresgid(group, group, group)
    os.setresuid(user, user, user)
    if 0 in (*os.getresuid(), *os.getresgid()):
        raise PermissionError("this process is still root")


def main() -> int:
    """What an entry of the image calls; its own name says which phase."""
    from ci_runner.cli.docker_action import main as phase

    return run(Path(sys.argv[0]).name, phase)
