"""The machine's side of caches: what the key's files are, and folders into archives and back.

`python -I -S cache.py ACT WORK ARCHIVE` with one JSON document on stdin; the answer is one JSON document on stdout, or a
reason on stderr. Standard library, Python 3.9 syntax. What an archive holds is not trusted: nothing of it lands outside
of its folder.
"""

from __future__ import annotations

import glob
import hashlib
import json
import os
import shutil
import stat
import sys
import tarfile
import tempfile
import zlib

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

BLOCK = 1 << 20
SAMPLES = 8  # of the largest files
WORTH = 0.9  # what does not shrink below this is not compressed
ROOM = 64 << 20  # that stays free on the disk


class UnusableError(Exception):
    """Why a cache cannot be used or kept, in a few words."""


def place_of(order: dict[str, Any]) -> str:
    """The folder that the cache is about."""
    place: str = os.path.realpath(os.path.join(order["work"], os.path.expanduser(order["path"])))
    if os.path.lexists(place) and not os.path.isdir(place):
        raise UnusableError("%s is no folder" % ascii(order["path"]))
    return place


def look(order: dict[str, Any]) -> dict[str, Any]:
    """A digest of the files that the key names, by their paths in the working folder and what is in them."""
    found = {}
    for pattern in order["patterns"]:
        for path in glob.glob(os.path.join(glob.escape(order["work"]), pattern), recursive=True):
            if os.path.isfile(path):
                found[os.path.relpath(path, order["work"])] = path
    whole = hashlib.sha256()
    for name in sorted(found):
        inner = hashlib.sha256()
        with open(found[name], "rb") as file:
            for block in iter(lambda: file.read(BLOCK), b""):
                inner.update(block)
        whole.update(os.fsencode(name) + b"\0" + inner.digest())
    return {"digest": whole.hexdigest(), "files": len(found)}


def entries_of(place: str) -> Iterator[tuple[str, str, os.stat_result]]:
    """Everything that is kept of a place: name in the archive, path, and what it is; nothing that leads out of it."""
    waiting = ["."] if os.path.isdir(place) else []
    while waiting:
        name = waiting.pop()
        path = os.path.join(place, name)
        info = os.lstat(path)
        if stat.S_ISDIR(info.st_mode):
            waiting += [os.path.join(name, each) for each in sorted(os.listdir(path), reverse=True)]
        elif stat.S_ISLNK(info.st_mode):
            if leads_out(name, os.readlink(path)):
                continue
        elif not stat.S_ISREG(info.st_mode):
            continue
        yield name, path, info


def leads_out(name: str, target: str) -> bool:
    """Whether a link with this name points outside of the folder."""
    goal = os.path.normpath(os.path.join(os.path.dirname(name), target))
    return os.path.isabs(target) or goal == ".." or goal.startswith("../")


def print_of(place: str) -> dict[str, Any]:
    """A fingerprint of names, sizes and links, and how much it is: whether a suite has changed what was restored."""
    whole = hashlib.sha256()
    size = files = 0
    for name, path, info in entries_of(place):
        kind = stat.S_IFMT(info.st_mode)
        target = os.readlink(path) if stat.S_ISLNK(info.st_mode) else ""
        if stat.S_ISREG(info.st_mode):
            size += info.st_size
            files += 1
        told = (name, kind, info.st_size if kind == stat.S_IFREG else 0, target)
        whole.update(repr(told).encode("utf-8", "surrogateescape"))
    return {"print": whole.hexdigest(), "bytes": size, "files": files}


def pack(order: dict[str, Any]) -> dict[str, Any]:
    """An archive of the place, unless nothing is there or nothing has changed since `known`."""
    place = place_of(order)
    found = print_of(place)
    if not found["files"] or found["print"] == order["known"]:
        return found
    if found["bytes"] > order["limit"]:
        raise UnusableError(
            "it has grown to %d bytes, more than its limit of %d" % (found["bytes"], order["limit"])
        )
    need_room(os.path.dirname(order["archive"]), found["bytes"])
    with opened(order["archive"], compressed=shrinks(place)) as archive:
        for name, path, info in entries_of(place):
            member = tarfile.TarInfo(name)
            member.mode = 0o755 if info.st_mode & 0o111 else 0o644
            member.mtime = int(info.st_mtime)
            if stat.S_ISDIR(info.st_mode):
                member.type = tarfile.DIRTYPE
                archive.addfile(member)
            elif stat.S_ISLNK(info.st_mode):
                member.type, member.linkname = tarfile.SYMTYPE, os.readlink(path)
                archive.addfile(member)
            else:
                with open(path, "rb") as file:
                    member.size = os.fstat(file.fileno()).st_size
                    archive.addfile(member, file)
    found["archive"] = os.path.getsize(order["archive"])
    return found


def opened(path: str, *, compressed: bool) -> tarfile.TarFile:
    """A new archive."""
    if compressed:
        return tarfile.open(path, "w:gz", compresslevel=1, format=tarfile.PAX_FORMAT)
    return tarfile.open(path, "w", format=tarfile.PAX_FORMAT)


def shrinks(place: str) -> bool:
    """Whether compressing is worth the time: wheels and weights are as small as they get."""
    files = [(info.st_size, path) for _, path, info in entries_of(place) if stat.S_ISREG(info.st_mode)]
    before = after = 0
    for _, path in sorted(files, reverse=True)[:SAMPLES]:
        with open(path, "rb") as file:
            block = file.read(BLOCK)
        before += len(block)
        after += len(zlib.compress(block, 1))
    return after < before * WORTH


def need_room(folder: str, size: int) -> None:
    """Refuse to fill the disk."""
    free = shutil.disk_usage(folder).free
    if free < size + ROOM:
        raise UnusableError("the disk has %d bytes left, and %d are needed" % (free, size + ROOM))


def unpack(order: dict[str, Any]) -> dict[str, Any]:
    """Put what an archive holds in place; what is there already stays as it is."""
    place = place_of(order)
    parent = os.path.dirname(place)
    os.makedirs(parent, exist_ok=True)
    new = tempfile.mkdtemp(prefix=".ci-runner-cache-", dir=parent)
    try:
        with tarfile.open(order["archive"]) as archive:
            need_room(parent, sum(checked(member).size for member in archive))
            for member in archive:
                member.uid, member.gid = os.getuid(), os.getgid()
                member.uname = member.gname = ""
                if hasattr(tarfile, "fully_trusted_filter"):  # it was checked above
                    archive.extract(member, os.path.join(new, "x"), filter="fully_trusted")
                else:
                    archive.extract(member, os.path.join(new, "x"))
        os.unlink(order["archive"])
        merge(os.path.join(new, "x"), place)
    except (tarfile.TarError, EOFError, zlib.error, UnicodeError) as error:
        raise UnusableError("its archive cannot be read: %s" % error) from error
    finally:
        shutil.rmtree(new, ignore_errors=True)
    return print_of(place)


def checked(member: tarfile.TarInfo) -> tarfile.TarInfo:
    """An entry that stays in its folder and is a file, a folder or a link."""
    name = os.path.normpath(member.name)
    if os.path.isabs(member.name) or name == ".." or name.startswith("../"):
        raise UnusableError("its archive names a place outside of its folder")
    if member.issym():
        if leads_out(name, member.linkname):
            raise UnusableError("its archive has a link that leads out of its folder")
    elif not (member.isreg() or member.isdir()):
        raise UnusableError("its archive holds something that is no file")
    member.mode &= 0o755
    return member


def merge(new: str, place: str) -> None:
    """Move what is missing at a place there."""
    if not os.path.lexists(new):
        return
    if not os.path.lexists(place):
        os.rename(new, place)
        return
    if os.path.isdir(new) and not os.path.islink(new) and os.path.isdir(place):
        for name in os.listdir(new):
            merge(os.path.join(new, name), os.path.join(place, name))


ACTS = {"look": look, "pack": pack, "unpack": unpack}


def main() -> None:
    """Do as the order says."""
    act, work, archive = sys.argv[1:]
    order = {**json.load(sys.stdin), "work": work, "archive": archive}
    try:
        answer = ACTS[act](order)
    except UnusableError as error:
        sys.exit(str(error))
    except OSError as error:
        sys.exit("%s: %s" % (error.strerror or error, ascii(error.filename or "")))
    json.dump(answer, sys.stdout)


if __name__ == "__main__":
    os.umask(0o022)
    main()
