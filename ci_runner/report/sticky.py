"""Keeps one comment of ours on a pull request, however many jobs write it and whatever happens in between."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from ci_runner.report.parts import LIMIT, Part, assemble, marker, merged, parts_in

FRESH_SECONDS = 2.0  # what was read longer ago is read again before it is written over
SETTLE_SECONDS = 4.0  # longer than anybody holds what he read: an overwritten part is noticed and put back
ABANDONED_SECONDS = 120.0  # a second comment this old has nobody who will join it with the first
TRIES = 60
LEAST_ROOM = 1_000


class Mode(StrEnum):
    """What happens to the comment that is there already."""

    UPDATE = "update"
    NEW = "new"
    HIDE_AND_NEW = "hide-and-new"
    DELETE_AND_NEW = "delete-and-new"
    ONLY_ON_FAILURE = "only-on-failure"  # a first comment only when something is red
    ONLY_ON_CHANGE = "only-on-change"  # an edit only when the verdict or a count of failures changes


ANEW = (Mode.NEW, Mode.HIDE_AND_NEW, Mode.DELETE_AND_NEW)


class TooLong(Exception):  # noqa: N818 - it is what happened
    """GitHub took the body for longer than it allows."""


class CommentGone(Exception):  # noqa: N818 - it is what happened
    """Somebody deleted the comment since it was read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Remark:
    """One comment on a pull request."""

    id: int
    author: str
    body: str
    url: str = ""
    created_at: float = 0.0
    node_id: str = ""


class Remarks(Protocol):
    """The comments of one pull request; contract: tests/integration/test_publishing.py."""

    def author(self) -> str:
        """The login under which we write."""
        ...

    def all(self) -> Sequence[Remark]:
        """Every comment, over all pages, oldest first."""
        ...

    def create(self, body: str) -> Remark:
        """A new comment. Raises TooLong."""
        ...

    def update(self, remark: Remark, body: str) -> Remark:
        """The comment with another body. Raises CommentGone and TooLong."""
        ...

    def delete(self, remark: Remark) -> None:
        """Remove a comment; absent is success."""
        ...

    def hide(self, remark: Remark) -> None:
        """Fold a comment away as outdated."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What became of it."""

    action: str  # created | updated | unchanged | not needed
    url: str = ""


@dataclass(slots=True)
class Publisher:
    """Writes one key's comment; the clock and the pause are given so that tests need not wait."""

    remarks: Remarks
    key: str
    mode: Mode = Mode.UPDATE
    shared: bool = False  # other jobs write parts of the same comment at the same time
    clock: Callable[[], float] = time.monotonic
    now: Callable[[], float] = time.time
    pause: Callable[[float], object] = time.sleep
    rng: random.Random = field(default_factory=random.Random)
    _mine: int | None = None  # the comment that this publisher created
    _room: int = LIMIT  # less after GitHub has counted otherwise

    def publish(self, part: Part) -> Told:
        """Put the part into the comment, or a new comment, as the mode says."""
        found = self._found()
        if self.mode is Mode.ONLY_ON_FAILURE and not found and part.exit_code == 0:
            return Told(action="not needed")
        if self.mode in ANEW:
            return self._anew(found, part)
        if self.mode is Mode.ONLY_ON_CHANGE and found and not _changed(found[0], part):
            return Told(action="unchanged", url=found[0].url)
        return self._kept(part)

    def _found(self) -> list[Remark]:
        """Ours, oldest first: by author and marker, never by marker alone."""
        author, mark = self.remarks.author(), marker(self.key)
        return [
            item
            for item in self.remarks.all()
            if item.author == author and item.body.lstrip().startswith(mark)
        ]

    def _anew(self, found: Sequence[Remark], part: Part) -> Told:
        if self.shared:  # jobs of one run share a new comment: the first one that was made for this commit
            told = self._kept(part)
            if told.action == "created":
                self._retire([old for old in found if not _speaks_of(old, part.commit)])
            return told
        made = self._create([part])
        self._retire(found)
        return Told(action="created", url=made.url)

    def _retire(self, found: Sequence[Remark]) -> None:
        for old in found:
            if self.mode is Mode.HIDE_AND_NEW:
                self.remarks.hide(old)
            elif self.mode is Mode.DELETE_AND_NEW:
                self.remarks.delete(old)

    def _create(self, parts: Sequence[Part]) -> Remark:
        while True:
            try:
                return self.remarks.create(assemble(self.key, parts, room=self._room))
            except TooLong:
                if self._room < LEAST_ROOM:
                    raise
                self._room = self._room * 3 // 4

    def _kept(self, part: Part) -> Told:
        """Write until the comment holds our part and stays so."""
        action, wrote_at, url = "unchanged", None, ""
        for _ in range(TRIES):
            read_at = self.clock()
            found = self._found()
            if self.mode in ANEW:
                found = [item for item in found if _speaks_of(item, part.commit)]
            target = found[0] if found else None
            parts = self._parts(found, part)
            body = assemble(self.key, parts, room=self._room)
            if target is not None and _same(target.body, body):
                self._tidy(found, target)
                url = target.url
                if wrote_at is None or not self.shared or self.clock() - wrote_at >= SETTLE_SECONDS:
                    return Told(action=action, url=url)
                self.pause(self.rng.uniform(0.3, 1.0) * SETTLE_SECONDS / 2)
                continue
            if self.clock() - read_at > FRESH_SECONDS:
                continue
            try:
                made = self.remarks.update(target, body) if target else self.remarks.create(body)
            except CommentGone:
                continue
            except TooLong:
                self._room = self._room * 3 // 4
                continue
            if target is None:
                self._mine = made.id
            action = "updated" if target and action != "created" else "created"
            url = made.url
            if not self.shared:
                return Told(action=action, url=url)
            wrote_at = self.clock()
            self.pause(self.rng.uniform(0.2, 1.0))
        return Told(action=action, url=url)

    def _parts(self, found: Sequence[Remark], part: Part) -> list[Part]:
        known: list[Part] = []
        for remark in found:
            for item in parts_in(remark.body):
                known = merged(known, item) if known and known[0].commit == item.commit else known or [item]
        return merged(known, part)

    def _tidy(self, found: Sequence[Remark], target: Remark) -> None:
        """Remove a second comment that two jobs began at once: its parts are in the first one now."""
        for other in found:
            if other.id != target.id and (
                other.id == self._mine or self.now() - other.created_at > ABANDONED_SECONDS
            ):
                self.remarks.delete(other)


def _speaks_of(remark: Remark, commit: str) -> bool:
    return any(part.commit == commit for part in parts_in(remark.body))


def _same(there: str, wanted: str) -> bool:
    """Whether GitHub holds what we would write; it gives other line ends back and no blank end."""
    return there.replace("\r\n", "\n").strip() == wanted.strip()


def _changed(there: Remark, part: Part) -> bool:
    """Whether the verdict or a number of failures differs from what the comment says of this part."""
    old = next((item for item in parts_in(there.body) if item.key == part.key), None)
    if old is None:
        return True
    numbers = ("failed", "errored", "missing")
    return (old.exit_code, old.word, old.new) != (part.exit_code, part.word, part.new) or any(
        getattr(old.counts, name) != getattr(part.counts, name) for name in numbers
    )
