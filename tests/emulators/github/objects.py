"""The git objects of an emulated repository, with the names that git itself would give them."""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.emulators.github.refusal import Refusal, invalid, not_found
from tests.emulators.github.schema import moment

TREE, BLOB = "040000", "100644"


@dataclass(slots=True)
class Commit:
    """A commit: its tree, its parents, its words."""

    tree: str
    parents: tuple[str, ...]
    message: str
    at: float


@dataclass(slots=True)
class Objects:
    """Blobs, trees, commits and references."""

    blobs: dict[str, bytes] = field(default_factory=dict)
    trees: dict[str, dict[str, tuple[str, str]]] = field(default_factory=dict)  # name → (mode, sha)
    commits: dict[str, Commit] = field(default_factory=dict)
    refs: dict[str, str] = field(default_factory=dict)  # "heads/main" → sha

    def blob(self, data: bytes) -> str:
        """Keep bytes."""
        name = _name("blob", data)
        self.blobs[name] = data
        return name

    def tree(self, entries: Mapping[str, tuple[str, str]]) -> str:
        """Keep a folder."""
        ordered = sorted(entries.items(), key=lambda item: item[0] + ("/" if item[1][0] == TREE else ""))
        data = b"".join(
            f"{mode.lstrip('0')} {name}\0".encode() + bytes.fromhex(sha) for name, (mode, sha) in ordered
        )
        made = _name("tree", data)
        self.trees[made] = dict(entries)
        return made

    def commit(self, tree: str, parents: Sequence[str], message: str, at: float) -> str:
        """Keep a commit."""
        who = f"bot <bot@example.invalid> {int(at)} +0000"
        head = "".join([f"tree {tree}\n", *(f"parent {parent}\n" for parent in parents)])
        made = _name("commit", f"{head}author {who}\ncommitter {who}\n\n{message}".encode())
        self.commits[made] = Commit(tree, tuple(parents), message, at)
        return made

    def with_changes(self, base: str | None, changes: Sequence[Mapping[str, Any]]) -> str:
        """A tree like another with some paths put or removed, folders made on the way."""
        if base is not None and base not in self.trees:
            raise not_found()
        entries = dict(self.trees[base]) if base else {}
        inner: dict[str, list[Mapping[str, Any]]] = {}
        for change in changes:
            first, _, rest = str(change.get("path", "")).partition("/")
            if not first or first in (".", "..", ".git"):
                raise invalid("tree.path contains a malformed path component")
            if rest:
                inner.setdefault(first, []).append({**change, "path": rest})
                continue
            if change.get("sha", "") is None:
                entries.pop(first, None)
                continue
            entries[first] = (str(change.get("mode", BLOB)), self._entry(change))
        for name, below in inner.items():
            there = entries.get(name)
            made = self.with_changes(there[1] if there and there[0] == TREE else None, below)
            if self.trees[made]:
                entries[name] = (TREE, made)
            else:
                entries.pop(name, None)
        return self.tree(entries)

    def _entry(self, change: Mapping[str, Any]) -> str:
        if "content" in change:
            return self.blob(str(change["content"]).encode())
        sha = str(change.get("sha", ""))
        if sha not in self.blobs and sha not in self.trees:
            raise invalid(f"tree.sha {sha} is not a valid blob")
        return sha

    def walk(self, tree: str, prefix: str = "", *, deep: bool) -> Iterator[dict[str, Any]]:
        """The entries of a tree as the API lists them."""
        for name, (mode, sha) in sorted(self.trees[tree].items()):
            folder = mode == TREE
            entry: dict[str, Any] = {
                "path": prefix + name,
                "mode": mode,
                "type": "tree" if folder else "blob",
                "sha": sha,
            }
            if not folder:
                entry["size"] = len(self.blobs[sha])
            yield entry
            if folder and deep:
                yield from self.walk(sha, f"{prefix}{name}/", deep=True)

    def ancestors(self, commit: str) -> Iterator[str]:
        """A commit and all before it, newest first."""
        seen, todo = set(), [commit]
        while todo:
            now = todo.pop(0)
            if now in seen or now not in self.commits:
                continue
            seen.add(now)
            yield now
            todo += self.commits[now].parents

    def move(self, ref: str, sha: str, *, force: bool) -> None:
        """Point a reference elsewhere. Raises Refusal if that loses commits and is not forced."""
        if ref not in self.refs:
            raise invalid("Reference does not exist")
        if sha not in self.commits:
            raise invalid("Object does not exist")
        if not force and self.refs[ref] not in self.ancestors(sha):
            raise Refusal(422, "Update is not a fast forward")
        self.refs[ref] = sha

    def files(self, ref: str) -> dict[str, bytes]:
        """Path → content at a reference; for tests to look at."""
        tree = self.commits[self.refs[ref]].tree
        return {
            entry["path"]: self.blobs[entry["sha"]]
            for entry in self.walk(tree, deep=True)
            if entry["type"] == "blob"
        }

    def as_commit(self, sha: str) -> dict[str, Any]:
        """A commit as the API shows it."""
        commit = self.commits[sha]
        who = {"date": moment(commit.at), "name": "bot", "email": "bot@example.invalid"}
        return {
            "sha": sha,
            "message": commit.message,
            "tree": {"sha": commit.tree},
            "parents": [{"sha": parent} for parent in commit.parents],
            "author": who,
            "committer": who,
            "verification": {"verified": False, "reason": "unsigned", "signature": None, "payload": None},
        }


def bytes_of(body: Mapping[str, Any]) -> bytes:
    """The content of a blob that is sent."""
    content = str(body["content"])
    if body.get("encoding", "utf-8") != "base64":
        return content.encode()
    try:
        return base64.b64decode(content, validate=False)
    except binascii.Error as error:
        raise invalid("content is not valid Base64") from error


def wrapped(data: bytes) -> str:
    """Base64 in lines of sixty letters, as the API gives it."""
    return base64.encodebytes(data).decode() if len(data) < 45 else _lines(base64.b64encode(data).decode())


def _lines(text: str) -> str:
    return "".join(f"{text[at : at + 60]}\n" for at in range(0, len(text), 60))


def _name(kind: str, data: bytes) -> str:
    return hashlib.sha1(f"{kind} {len(data)}\0".encode() + data, usedforsecurity=False).hexdigest()
