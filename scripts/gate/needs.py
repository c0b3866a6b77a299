"""What some tests need beyond Python packages: the program, and the Debian packages that bring it.

A test says `@pytest.mark.needs("chromium")`; a new name gets one row here.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Need:
    """One program, who needs it, and where it comes from."""

    program: str
    packages: tuple[str, ...]  # none: Debian does not have it, and the tests are left out without it
    tests: str  # what is left untested without it


NEEDS: Mapping[str, Need] = {
    "aws": Need("aws", (), "the aws command against the emulated EC2"),
    # a browser without any font measures boxes and no text
    "chromium": Need("chromium", ("chromium", "fonts-dejavu-core"), "the report page in a browser"),
    "gcloud": Need("gcloud", (), "the gcloud command against the emulated TPU zones"),
    "debootstrap": Need(
        "debootstrap", ("debootstrap",), "the image of guard and reap, made here and run by act"
    ),
    "git": Need("git", ("git",), "everything that reads or stages commits"),
    "npm": Need("npm", (), "what GitHub's own parser says of workflows and actions"),
    "podman": Need("podman", ("podman", "runc"), "the image of guard and reap, made here and run by act"),
    "sshd": Need("sshd", ("openssh-server", "openssh-client"), "machines that are reached by ssh"),
}


def is_there(name: str) -> bool:
    """Is the program of that need on this machine? Daemons live where ordinary users do not look."""
    places = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])
    return shutil.which(NEEDS[name].program, path=places) is not None


def missing() -> list[str]:
    """The needs that this machine does not meet and could."""
    return [name for name, need in NEEDS.items() if need.packages and not is_there(name)]


def skip_reason(name: str) -> str:
    """Why a test with that need is skipped; left_out.py finds the need in it again."""
    return f"needs {name}: {NEEDS[name].program} was not found on PATH"
