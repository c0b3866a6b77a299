"""The history without a bucket: objects as files on a branch of the repository itself, written through GitHub's API.

Nothing there is ever rewritten or force-pushed. One commit holds all objects of one run; who comes second builds on the
first one's commit. Old objects are moved into packs, so that the folder stays small enough to be listed.
"""

from __future__ import annotations

import base64
import binascii
import gzip
import io
import json
import random
import re
import threading
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ci_runner.errors import ConfigurationError, ResultsError
from ci_runner.github.client import Absent, Unacceptable, Uncertain
from ci_runner.history.store import BRANCH, Conflict, check_key

if TYPE_CHECKING:
    from ci_runner.github.client import Client

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,98}[A-Za-z0-9]")
PACKS = "packs/"
FLAGS = "flags/"  # never packed: plans ask for this folder alone
PACK_OVER = 400  # loose objects; then the oldest go into a pack
PACK_SIZE = 100
TRIES = 12
RUN = re.compile(r"\d{8}-\d{6}-[0-9a-f]{4}")
README = """\
# What ci-runner remembers

Records of test runs, written by `ci-runner report --publish history`; one commit a run. Nothing here is edited by hand.
"""


@dataclass(slots=True)
class _Snapshot:
    """The branch as it was read: its commit, its tree, and the blob of each path."""

    commit: str | None = None
    tree: str | None = None
    blobs: Mapping[str, str] = field(default_factory=dict)


class BranchStore:
    """A store on a branch; contract: tests/contract/test_store_contract.py."""

    def __init__(
        self,
        client: Client,
        branch: str,
        *,
        pause: Callable[[float], object] = time.sleep,
        pack_over: int = PACK_OVER,
        pack_size: int = PACK_SIZE,
    ) -> None:
        self._client = client
        self._branch = checked_branch(branch)
        self._pause = pause
        self._pack_over = pack_over
        self._pack_size = pack_size
        self._seen: _Snapshot | None = None
        self._read: dict[str, bytes] = {}  # blob → content; blobs never change
        self._packed: dict[str, dict[str, bytes]] = {}  # blob of a pack → its objects
        self._waiting: dict[str, bytes] = {}
        self._together = False
        self._lock = threading.RLock()

    def put_new(self, key: str, data: bytes) -> None:
        """Keep an object: at once, or at the end of `together`."""
        with self._lock:
            try:
                there = self.get(key)
            except KeyError:
                self._waiting[key] = bytes(data)
            else:
                if there != data:
                    raise Conflict(key)
            if not self._together:
                self._commit("Keep a record")

    def get(self, key: str) -> bytes:
        """The object."""
        if check_key(key) in self._waiting:
            return self._waiting[key]
        snapshot = self._snapshot()
        if key in snapshot.blobs:
            return self._blob(snapshot.blobs[key])
        for objects in self._packs(snapshot):
            if key in objects:
                return objects[key]
        raise KeyError(key)

    def list(self, prefix: str = "") -> Iterator[str]:
        """The keys with this prefix."""
        snapshot = self._snapshot()
        keys = {key for key in snapshot.blobs if not key.startswith(PACKS) and key != "README.md"}
        for objects in self._packs(snapshot):
            keys |= set(objects)
        return iter(sorted(key for key in keys | set(self._waiting) if key.startswith(prefix)))

    def exists(self, key: str) -> bool:
        """Whether the key is taken."""
        try:
            self.get(key)
        except KeyError:
            return False
        return True

    @contextmanager
    def together(self, message: str) -> Iterator[None]:
        """Everything that is put inside is one commit; nothing is kept if the inside fails."""
        with self._lock:
            self._together = True
            try:
                yield
                self._commit(message)
            finally:
                self._together = False
                self._waiting.clear()

    # -- reading -------------------------------------------------------------------------------------------

    def _snapshot(self) -> _Snapshot:
        if self._seen is None:
            self._seen = self._look()
        return self._seen

    def _look(self) -> _Snapshot:
        try:
            commit = str(self._client.get(f"git/ref/heads/{self._branch}")["object"]["sha"])
        except Absent:
            return _Snapshot()
        tree = str(self._client.get(f"git/commits/{commit}")["tree"]["sha"])
        return _Snapshot(commit, tree, dict(self._entries(tree, "")))

    def _entries(self, tree: str, prefix: str) -> Iterator[tuple[str, str]]:
        """Path and blob of every file; a tree that GitHub cuts off is read folder by folder."""
        found = self._client.get(f"git/trees/{tree}", recursive="1")
        if not found.get("truncated"):
            yield from (
                (prefix + each["path"], each["sha"]) for each in found["tree"] if each["type"] == "blob"
            )
            return
        for each in self._client.get(f"git/trees/{tree}")["tree"]:
            if each["type"] == "tree":
                yield from self._entries(str(each["sha"]), f"{prefix}{each['path']}/")
            elif each["type"] == "blob":
                yield prefix + each["path"], each["sha"]

    def _blob(self, sha: str) -> bytes:
        if sha not in self._read:
            found = self._client.get(f"git/blobs/{sha}")
            try:
                self._read[sha] = base64.b64decode(found["content"])
            except (binascii.Error, KeyError, TypeError) as error:
                raise OSError(f"GitHub gives no content for the object {sha[:10]}") from error
        return self._read[sha]

    def _packs(self, snapshot: _Snapshot) -> Iterator[Mapping[str, bytes]]:
        for path in sorted(snapshot.blobs, reverse=True):
            if not path.startswith(PACKS):
                continue
            sha = snapshot.blobs[path]
            if sha not in self._packed:
                self._packed[sha] = unpacked(self._blob(sha), path)
            yield self._packed[sha]

    # -- writing -------------------------------------------------------------------------------------------

    def _commit(self, message: str) -> None:
        """One commit on top of whatever is there by now; who moves the branch meanwhile is built upon."""
        try:
            for turn in range(TRIES):
                if not self._waiting or self._committed(message):
                    return
                self._pause(random.uniform(0.2, 1.0) * min(8, 2**turn) / 2)  # noqa: S311 - a delay
                self._seen = None
                self._settle()
            raise ResultsError(
                "the record could not be written to the history: others write at the same time",
                where=f"branch {self._branch}",
                fix="run the report again; the record is in the artifact",
            )
        finally:
            self._seen = None
            if not self._together:
                self._waiting.clear()

    def _settle(self) -> None:
        """Forget what arrived all the same. Raises Conflict where somebody else's object has the name of ours."""
        snapshot = self._snapshot()
        for key in list(self._waiting):
            if key in snapshot.blobs:
                if self._blob(snapshot.blobs[key]) != self._waiting[key]:
                    raise Conflict(key)
                del self._waiting[key]

    def _committed(self, message: str) -> bool:
        """Whether a commit with everything that waits is on the branch now."""
        before = self._snapshot()
        changes = [*self._additions(), *self._packing(before)]
        if before.commit is None:
            changes.append({"path": "README.md", "mode": "100644", "type": "blob", "content": README})
        try:
            body: dict[str, Any] = {"tree": changes} | ({"base_tree": before.tree} if before.tree else {})
            tree = self._client.send("POST", "git/trees", body)["sha"]
            parents = [before.commit] if before.commit else []
            commit = self._client.send(
                "POST", "git/commits", {"message": message, "tree": tree, "parents": parents}
            )["sha"]
            if before.commit:
                self._client.send("PATCH", f"git/refs/heads/{self._branch}", {"sha": commit, "force": False})
            else:
                self._client.send("POST", "git/refs", {"ref": f"refs/heads/{self._branch}", "sha": commit})
        except Uncertain:
            return False
        except Unacceptable as error:
            if "fast forward" in error.what or "already exists" in error.what:
                return False
            raise
        return True

    def _additions(self) -> Iterator[dict[str, Any]]:
        for key, data in sorted(self._waiting.items()):
            entry: dict[str, Any] = {"path": key, "mode": "100644", "type": "blob"}
            try:
                yield {**entry, "content": data.decode("utf-8")}
            except UnicodeDecodeError:
                body = {"content": base64.b64encode(data).decode(), "encoding": "base64"}
                yield {**entry, "sha": self._client.send("POST", "git/blobs", body)["sha"]}

    def _packing(self, before: _Snapshot) -> Iterator[dict[str, Any]]:
        """Moves the oldest loose objects into a pack if there are many."""
        stays = (PACKS, "README.md", FLAGS)
        loose = [key for key in before.blobs if not key.startswith(stays)]
        if len(loose) <= self._pack_over:
            return
        oldest = sorted(loose, key=age)[: self._pack_size]
        data = packed({key: self._blob(before.blobs[key]) for key in oldest})
        body = {"content": base64.b64encode(data).decode(), "encoding": "base64"}
        sha = self._client.send("POST", "git/blobs", body)["sha"]
        yield {"path": f"{PACKS}{sha[:16]}.jsonl.gz", "mode": "100644", "type": "blob", "sha": sha}
        for key in oldest:
            yield {"path": key, "mode": "100644", "type": "blob", "sha": None}


def checked_branch(name: str) -> str:
    """The name if it can be one. Raises ConfigurationError otherwise."""
    if NAME.fullmatch(name) is None or ".." in name or "//" in name or name.endswith(".lock"):
        raise ConfigurationError(
            "the history's branch has a name that no branch can have",
            where="stores.history",
            fix=f"write {BRANCH}",
        )
    return name


def age(key: str) -> tuple[str, str]:
    """What sorts keys by the time of their run, the oldest first."""
    match = RUN.search(key)
    return (match[0] if match else "", key)


def packed(objects: Mapping[str, bytes]) -> bytes:
    """Objects as one: JSON lines, gzip, the same bytes for the same objects."""
    buffer = io.BytesIO()
    with gzip.GzipFile(fileobj=buffer, mode="wb", mtime=0, filename="") as file:
        for key, data in sorted(objects.items()):
            line = json.dumps({"key": key, "data": base64.b64encode(data).decode()}, separators=(",", ":"))
            file.write(line.encode() + b"\n")
    return buffer.getvalue()


def unpacked(data: bytes, name: str) -> dict[str, bytes]:
    """The objects of a pack. Raises OSError if it is damaged."""
    try:
        lines = gzip.decompress(data or b"no pack").splitlines()
        entries = [json.loads(line) for line in lines]
        return {check_key(each["key"]): base64.b64decode(each["data"]) for each in entries}
    except (OSError, EOFError, zlib.error, ValueError, KeyError, TypeError) as error:
        raise OSError(f"the pack {name} of the history cannot be read: {error}") from error
