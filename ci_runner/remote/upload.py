"""Brings a source to machines elsewhere: the exact commit as a git bundle, and what differs from it as a tar.

The source is staged here first, by the rules for this machine, so that both test the same files. Nothing of it is
executed here, and the machine needs no right to fetch it from anywhere.
"""

from __future__ import annotations

import json
import os
import shutil
import tarfile
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ci_runner.errors import MachineError
from ci_runner.providers.git import ISOLATED, Git
from ci_runner.providers.staging import GITLINK, stage
from ci_runner.remote.channel import parts_of
from ci_runner.remote.ssh_words import last_words

if TYPE_CHECKING:
    from ci_runner.providers.base import Source
    from ci_runner.remote.openssh import OpenSSHShell

UNPACK = Path(__file__).parents[1] / "execution" / "onboard" / "unpack.py"


@dataclass(frozen=True, slots=True, kw_only=True)
class Parcel:
    """A staged source as it travels; made once, delivered to any number of machines."""

    bundle: Path | None
    archive: Path | None
    gone: tuple[str, ...] = ()
    commit: str = ""
    object_format: str = "sha1"
    packed_refs: str = ""
    shallow: str = ""
    root: str = ""  # the source's root below the top of its repository
    notes: tuple[str, ...] = ()

    def deliver(self, shell: OpenSSHShell, *, seconds: float) -> None:
        """Make the working folder of one machine. Raises MachineError if that fails there."""
        deadline = time.monotonic() + seconds
        folder = f"{shell.scratch}/upload"
        there = {}
        for name, path in (("bundle", self.bundle), ("archive", self.archive)):
            there[name] = f"{folder}/{name}" if path is not None else None
            if path is not None:
                shell.write_parts(f"{folder}/{name}", parts_of(path), mode=0o600)
        shell.write(f"{folder}/unpack.py", UNPACK.read_bytes())
        order = {
            **there,
            "work": shell.use_work(self.root),
            "gone": self.gone,
            "commit": self.commit,
            "object_format": self.object_format,
            "packed-refs": self.packed_refs,
            "shallow": self.shallow,
            "root": self.root,
        }
        left = max(1.0, deadline - time.monotonic())
        words = ["python3", "-I", "-S", f"{folder}/unpack.py"]
        done = shell.run(words, seconds=left, cwd=shell.scratch, stdin=json.dumps(order).encode())
        if done.exit_code != 0:
            said = last_words(done.stderr) or f"exit code {done.exit_code}"
            raise MachineError(
                f"cannot unpack the source there: {said}",
                where=str(shell.connection.host),
                fix="the machine needs git, 2.30 or newer, and room on its disk",
            )


@contextmanager
def packed(source: Source, *, seconds: float) -> Iterator[Parcel]:
    """A parcel of the source, for the length of the block.

    Raises UsageError if git does not trust the repository, MachineError if the commit cannot be had.
    """
    folder = Path(tempfile.mkdtemp(prefix="ci-runner-parcel-"))
    try:
        deadline = time.monotonic() + seconds
        top = folder / "top"
        staged = stage(source, top, seconds=seconds)
        root = Path(staged.work).relative_to(top).as_posix()
        root = "" if root == "." else root
        try:
            yield _pack(top, folder, root, staged.notes, deadline)
        except OSError as error:
            what = f"cannot pack the source: {error.strerror or error}"
            raise MachineError(what, where=str(error.filename or folder)) from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _pack(top: Path, folder: Path, root: str, notes: tuple[str, ...], deadline: float) -> Parcel:
    archive = folder / "archive.tar"
    if not (top / ".git").is_dir():
        _tar(top, archive, sorted(entry.name for entry in os.scandir(top)))
        return Parcel(bundle=None, archive=archive, root=root, notes=notes)
    ours = Git(top, deadline, ISOLATED)
    gone, over = _differences(ours)
    if over:
        _tar(top, archive, over)
    bundle = folder / "bundle"
    refs = _refs(ours)
    names = [name for _, name in refs]
    ours.output(
        "bundle", "create", "--quiet", str(bundle), "--stdin", stdin="\n".join(["HEAD", *names, ""]).encode(
            "utf-8", "surrogateescape"
        )
    )  # fmt: skip
    shallow = top / ".git" / "shallow"
    return Parcel(
        bundle=bundle,
        archive=archive if over else None,
        gone=tuple(gone),
        commit=ours.text("rev-parse", "HEAD"),
        object_format=ours.text("rev-parse", "--show-object-format"),
        packed_refs="".join(f"{commit} {name}\n" for commit, name in refs),
        shallow=shallow.read_text() if shallow.is_file() else "",
        root=root,
        notes=notes,
    )


def _refs(ours: Git) -> list[tuple[str, str]]:
    """Branches and tags within the history of the commit, which cost nothing to bring along."""
    listed = ours.output("for-each-ref", "--merged=HEAD", "--format=%(objectname) %(refname)")
    lines = (line.partition(" ") for line in os.fsdecode(listed).splitlines())
    return [(commit, name) for commit, _, name in lines]


def _differences(ours: Git) -> tuple[list[str], list[str]]:
    """What the staged files have that a checkout of the commit there will not have: paths gone, and paths to send."""
    differ = _paths(
        ours.output(
            "diff", "--name-only", "--no-renames", "--no-ext-diff", "--ignore-submodules=all", "-z", "HEAD", "--"
        )
    )  # fmt: skip
    untracked = [path.rstrip("/") for path in _paths(ours.output("ls-files", "--others", "-z"))]
    # The machine has no store for large files: their checkout here goes along.
    large = _paths(ours.output("ls-files", "-z", "--", ":(top,attr:filter=lfs)"))
    found = dict.fromkeys([*differ, *untracked, *large, *_submodules(ours)])
    over = [path for path in found if _is_sent(ours.folder / path)]
    return [path for path in differ if path not in set(over)], over


def _is_sent(path: Path) -> bool:
    return path.is_symlink() or path.is_file() or path.is_dir()


def _submodules(ours: Git) -> Iterator[str]:
    """Submodules that are checked out."""
    if not (ours.folder / ".gitmodules").is_file():
        return
    for entry in ours.output("ls-files", "--stage", "-z").split(b"\0"):
        path = os.fsdecode(entry.partition(b"\t")[2])
        if entry.startswith(GITLINK) and any((ours.folder / path).iterdir()):
            yield path


def _tar(top: Path, archive: Path, paths: Sequence[str]) -> None:
    """An archive of files, links and folders; a repository in it comes without its history, which is elsewhere."""

    def kept(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
        if "/.git/" in f"/{member.name}/" or not (member.isreg() or member.issym() or member.isdir()):
            return None
        member.uid = member.gid = 0
        member.uname = member.gname = ""
        return member

    with tarfile.open(archive, "w", format=tarfile.PAX_FORMAT, dereference=False) as files:
        for path in paths:
            files.add(top / path, arcname=path, filter=kept)


def _paths(listed: bytes) -> list[str]:
    return [os.fsdecode(path) for path in listed.split(b"\0") if path]
