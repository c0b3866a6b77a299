"""Makes the working folder of a lease out of what the runner sent: a git bundle, and what differs from the commit.

`python -I -S unpack.py` with one JSON document on stdin. Standard library, Python 3.9 syntax, and git. Nothing that
the machine's owner configured for git counts, and no hook, filter or template of anybody runs.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tarfile

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

ISOLATED = {
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_TERMINAL_PROMPT": "0",
    "LC_ALL": "C",
}
SETTINGS = {"core.hooksPath": os.devnull, "gc.auto": "0", "advice.detachedHead": "false"}


def git(work: str, *words: str) -> str:
    """Run git in the working folder; its failure is ours."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    done = subprocess.run(
        ["git", *words],
        cwd=work,
        env={**env, **ISOLATED},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
    )
    if done.returncode != 0:
        lines = done.stderr.decode("utf-8", "replace").strip().splitlines()
        sys.exit("git %s failed: %s" % (words[0], lines[-1] if lines else done.returncode))
    return os.fsdecode(done.stdout)


def write(path: str, text: str) -> None:
    """A file of git's own, unless there is nothing to say."""
    if text:
        with open(path, "w", encoding="utf-8", errors="surrogateescape") as file:
            file.write(text)


def check_out(work: str, order: dict[str, Any]) -> None:
    """A repository with the commit of the bundle, checked out."""
    if shutil.which("git") is None:
        sys.exit("git is missing on the machine")
    kind = order["object_format"]
    git(work, "init", "--quiet", "--template=", *(["--object-format=" + kind] if kind != "sha1" else []))
    inside = os.path.join(work, ".git")
    write(os.path.join(inside, "shallow"), order["shallow"])
    git(work, "bundle", "unbundle", order["bundle"])
    write(os.path.join(inside, "packed-refs"), order["packed-refs"])  # what they name is there only now
    for name, value in SETTINGS.items():
        git(work, "config", name, value)
    git(work, "checkout", "--quiet", "--detach", "--force", order["commit"], "--")


def remove(path: str) -> None:
    """Remove what stands there, whatever it is; never what a link points to."""
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path)
    else:
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            os.unlink(path)


def lay_over(work: str, archive: str) -> None:
    """Put the files of an archive in place, whatever stands there, and nothing through a link."""
    with tarfile.open(archive) as files:
        for member in files:
            parts = member.name.split("/")
            if member.name.startswith("/") or ".." in parts:
                sys.exit("the archive names a place outside of the working folder")
            folder = work
            for part in parts[:-1]:
                folder = os.path.join(folder, part)
                if os.path.islink(folder) or (os.path.lexists(folder) and not os.path.isdir(folder)):
                    os.unlink(folder)
                if not os.path.lexists(folder):
                    os.mkdir(folder)
            place = os.path.join(work, member.name)
            if not (member.isdir() and os.path.isdir(place) and not os.path.islink(place)):
                remove(place)
            member.uid, member.gid = os.getuid(), os.getgid()
            if hasattr(tarfile, "fully_trusted_filter"):
                files.extract(member, work, set_attrs=True, filter="fully_trusted")
            else:
                files.extract(member, work)


def main() -> None:
    """Unpack as the order says."""
    order = json.load(sys.stdin)
    work = order["work"]
    remove(work)
    os.mkdir(work, 0o755)
    if order["bundle"]:
        check_out(work, order)
    for path in order["gone"]:
        remove(os.path.join(work, path))
    if order["archive"]:
        lay_over(work, order["archive"])
    for path in (order["bundle"], order["archive"]):
        if path:
            os.unlink(path)
    if not os.path.isdir(os.path.join(work, order["root"])):
        sys.exit("the source has no folder " + ascii(order["root"]))


if __name__ == "__main__":
    main()
