"""Installs the Debian packages that tests need, where that is allowed; else says why not."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence

from gate.needs import NEEDS, is_there

LONGEST = 900.0  # seconds for one apt-get


class CannotInstall(Exception):  # noqa: N818 - on a person's machine it is no error
    """The packages stay missing; the text says why, and `allowed` whether the machine would have let us."""

    def __init__(self, why: str, *, allowed: bool) -> None:
        super().__init__(why)
        self.allowed = allowed


def install(names: Sequence[str]) -> None:
    """Bring the programs of these needs; raises CannotInstall."""
    before = rights()
    packages = sorted({package for name in names for package in NEEDS[name].packages})
    apt(before, "update", "-qq")
    apt(before, "install", "-qq", "--yes", "--no-install-recommends", *packages)
    still = [name for name in names if not is_there(name)]
    if still:
        raise CannotInstall(f"{', '.join(packages)} brought no {' and no '.join(still)}", allowed=True)


def rights() -> list[str]:
    """The words before apt-get that let it work here without asking anybody."""
    if shutil.which("apt-get") is None:
        raise CannotInstall("this machine has no apt-get", allowed=False)
    if os.geteuid() == 0:
        return []
    if shutil.which("sudo") is None:
        raise CannotInstall("not root, and there is no sudo", allowed=False)
    asked = subprocess.run(["sudo", "-n", "true"], capture_output=True, stdin=subprocess.DEVNULL, check=False)
    if asked.returncode != 0:
        raise CannotInstall("not root, and sudo asks for a password", allowed=False)
    return ["sudo", "-n"]


def apt(before: Sequence[str], *words: str) -> None:
    """One apt-get that asks nothing; its last words are the reason when it fails."""
    command = [*before, "env", "DEBIAN_FRONTEND=noninteractive", "apt-get", *words]
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=LONGEST,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise CannotInstall(f"apt-get {words[0]} took more than {LONGEST:.0f} s", allowed=True) from None
    if done.returncode != 0:
        said = [line.strip() for line in done.stdout.splitlines() if line.strip()]
        raise CannotInstall(f"apt-get {words[0]} failed: {said[-1] if said else 'no message'}", allowed=True)
