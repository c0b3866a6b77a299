"""Folders of leased machines that are kept from run to run: fetched before a suite's setup, saved when its tests are over.

The runner carries them, so that a machine needs no right to the store. Whatever goes wrong costs time and a note, and is
never red.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ci_runner.errors import Cancelled, CiRunnerError, MachineError
from ci_runner.execution.leasing import caches_of
from ci_runner.execution.prepare import Prepared
from ci_runner.github.commands import one_line
from ci_runner.history import chunks
from ci_runner.model import Finding, Lane, Level, Plan, Selection
from ci_runner.remote.base import Carries
from ci_runner.report import words

if TYPE_CHECKING:
    from ci_runner.config.settings import Cache, Settings
    from ci_runner.execution.session import Session
    from ci_runner.history.store import Store

LOCAL = "local"  # the kind of event that is a person's command line
TEAMS = ("push", "schedule", "workflow_dispatch")  # events whose branch is one of the repository itself


@dataclass(frozen=True, slots=True, kw_only=True)
class Shelf:
    """Where the caches of a run come from, and whether it may put any there."""

    store: Callable[[], Store]
    place: str  # of the repository: others that use the same bucket have theirs
    may_save: bool


def shelf_of(
    plan: Plan, settings: Settings, repository: str, store: Callable[[], Store], *, in_ci: bool
) -> Shelf | None:
    """The shelf of a run; none for code of a fork, which must not read what may be private.

    Saved is only what the default branch made, or a person at a command line: a pull request could slip something into
    the next run of everybody.
    """
    event = plan.event
    if not settings.caches or event.lane is not Lane.SAME_REPOSITORY:
        return None
    default = event.default_branch or settings.default_branch
    may_save = event.branch == default if event.kind in TEAMS else event.kind == LOCAL and not in_ci
    return Shelf(store=store, place=place_of(repository or settings.name), may_save=may_save)


def place_of(repository: str) -> str:
    """A repository as part of a key."""
    return re.sub(r"[^A-Za-z0-9_.-]", "--", repository.lower()).strip(".") or "project"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """What was found for one cache before the suite ran."""

    cache: Cache
    digest: str  # of its key
    exact: bool = False  # there is one for this very key
    known: str | None = None  # the folder's fingerprint as it was put there


@dataclass(slots=True)
class Caches:
    """The caches of one suite on one machine."""

    session: Session
    prepared: Prepared
    selection: Selection
    findings: list[Finding] = field(default_factory=list)  # what somebody should know
    _fetched: list[Fetched] = field(default_factory=list)

    def fetch(self) -> None:
        """Bring all that there are to the machine."""
        for cache in self._named():
            with self._told(cache, "fetched"):
                self._fetch(cache)

    def save(self) -> None:
        """Keep those that are new, if this run may; of a suite in parts, the first part's."""
        shelf, shard = self.session.caches, self.selection.shard
        if shelf is None or not shelf.may_save or (shard is not None and shard.index != 1):
            return
        for fetched in self._fetched:
            with self._told(fetched.cache, "saved"):
                self._save(shelf, fetched)

    def _named(self) -> list[Cache]:
        """The suite's caches, where there is a store for them and a machine that is not this one."""
        if not isinstance(self.prepared.shell, Carries):
            return []
        return caches_of(self.session, self.selection.suite)

    @contextmanager
    def _told(self, cache: Cache, what: str) -> Iterator[None]:
        """A block whose errors become a finding."""
        try:
            yield
        except Cancelled:
            raise
        except (CiRunnerError, OSError, KeyError, ValueError) as error:
            reason, fix = (error.what, error.fix) if isinstance(error, CiRunnerError) else (str(error), None)
            self._find(f"cache {cache.name} could not be {what}: {reason}" + (f"; {fix}" if fix else ""))

    def _fetch(self, cache: Cache) -> None:
        shelf, shell = self.session.caches, self.prepared.shell
        assert shelf is not None
        assert isinstance(shell, Carries)
        limit = time.monotonic() + cache.timeout_seconds
        digest = chunks.digest_of(self._key(cache, limit))
        self._fetched.append(Fetched(cache=cache, digest=digest))
        kept = chunks.entries(shelf.store(), f"{shelf.place}/{cache.name}")
        same = [entry for entry in kept if entry.digest == digest]
        if not kept:
            self._say(f"cache {cache.name}: nothing is kept yet")
            return
        entry = (same or kept)[-1]
        archive = self._archive(cache)
        begun = time.monotonic()
        size = shell.write_parts(
            archive, self._in_time(chunks.fetch(shelf.store(), entry), limit), mode=0o600
        )
        answer = self._there("unpack", cache, limit)
        self._fetched[-1] = Fetched(
            cache=cache, digest=digest, exact=bool(same), known=str(answer.get("print"))
        )
        how = "" if same else " of an earlier key"
        seconds = words.duration(time.monotonic() - begun)
        self._say(f"cache {cache.name}{how}: {words.size(size)} fetched in {seconds}")

    def _key(self, cache: Cache, limit: float) -> str:
        """The key, with what its files hold on the machine: in the very commit that is tested."""
        digests = []
        for patterns in cache.patterns:
            answer = self._there("look", cache, limit, patterns=patterns)
            if not answer.get("files"):
                self._find(
                    f"cache {cache.name}: no file is named {', '.join(patterns)}, which its key asks for"
                )
            digests.append(str(answer.get("digest")))
        return cache.key_with(digests)

    def _save(self, shelf: Shelf, fetched: Fetched) -> None:
        cache, place = fetched.cache, f"{shelf.place}/{fetched.cache.name}"
        limit = time.monotonic() + cache.timeout_seconds
        if cache.key and (fetched.exact or self._is_kept(shelf, place, fetched.digest)):
            return
        begun = time.monotonic()
        archive = self._archive(cache)
        try:
            answer = self._there("pack", cache, limit, known=fetched.known, limit=cache.limit_bytes)
            if answer.get("archive") is None:
                return
            parts = self._in_time(self._read(archive, int(answer["archive"])), limit)
            _, size = chunks.keep(shelf.store(), place, fetched.digest, parts, at=self.session.clock())
        finally:
            self.prepared.shell.run(
                ["rm", "-f", "--", archive], seconds=60.0, cwd=self.prepared.shell.scratch
            )
        self._say(
            f"cache {cache.name}: {words.size(size)} saved in {words.duration(time.monotonic() - begun)}"
        )

    def _is_kept(self, shelf: Shelf, place: str, digest: str) -> bool:
        """Whether another run has saved this key meanwhile."""
        return any(entry.digest == digest for entry in chunks.entries(shelf.store(), place))

    def _read(self, path: str, size: int) -> Iterator[bytes]:
        offset = 0
        while offset < size:
            part = self.prepared.shell.read(path, offset=offset, limit=chunks.PART_BYTES)
            if not part:
                raise MachineError("the archive became shorter while it was read", where=path)
            offset += len(part)
            yield part

    def _in_time(self, parts: Iterator[bytes], limit: float) -> Iterator[bytes]:
        """The parts, as long as there is time and nobody cancels."""
        for part in parts:
            self.session.cancellation.check()
            if time.monotonic() > limit:
                raise MachineError("it took longer than its timeout")
            yield part

    def _archive(self, cache: Cache) -> str:
        return f"{self.prepared.shell.scratch}/cache-{cache.name}.tar"

    def _there(self, act: str, cache: Cache, until: float, **more: object) -> dict[str, Any]:
        """What the machine's side says. Raises MachineError with its reason."""
        self.session.cancellation.check()
        shell = self.prepared.shell
        script = f"{self.prepared.onboard}/cache.py"
        # paths are arguments: they are translated for each worker of a slice
        argv = ["python3", "-I", "-S", script, act, shell.work, self._archive(cache)]
        order = json.dumps({"path": cache.path, **more}).encode()
        seconds = max(1.0, until - time.monotonic())
        answer = shell.run(argv, seconds=seconds, cwd=shell.scratch, stdin=order)
        if answer.exit_code != 0:
            said = answer.stderr.decode("utf-8", "replace").strip().splitlines()[-1:]
            raise MachineError("".join(said) or f"exit code {answer.exit_code} of {act}")
        try:
            found = json.loads(answer.stdout)
        except ValueError as error:
            raise MachineError(f"the machine's answer to {act} is not JSON") from error
        return found if isinstance(found, dict) else {}

    def _say(self, text: str) -> None:
        self.session.listener.note(text)

    def _find(self, text: str) -> None:
        """Something to put right, though nothing is red."""
        told = one_line(text, 400)
        self.findings.append(Finding(level=Level.NOTICE, subject=self.selection.id, code="cache", text=told))
        self._say(told)
