"""The runner's end of a connection to the agent on a machine: many requests at once, each with its own answer."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import threading
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from ci_runner.execution.onboard.agent import BEGUN

NOISE_LIMIT = 1 << 20  # what a login shell may print before the agent begins
ANSWER_LIMIT = 1 << 28
PART_BYTES = 1 << 20  # of a file, in one request


class Cut(Exception):  # noqa: N818 - it happens to connections
    """The connection ended before the answer came; `sent` says whether the machine may have seen the request."""

    def __init__(self, *, sent: bool) -> None:
        super().__init__("the connection was cut")
        self.sent = sent


class Late(Exception):  # noqa: N818 - it is what the answer is
    """The connection is there, and no answer came in time."""


class _Pending:
    """A request that waits for its answer."""

    __slots__ = ("answer", "done")

    def __init__(self) -> None:
        self.done = threading.Event()
        self.answer: tuple[dict[str, Any], bytes] | None = None


class Channel:
    """Speaks to one agent through two pipes, which it owns; safe to use from several threads."""

    def __init__(self, to: int, back: int) -> None:
        self._to = to
        self._writing = threading.Lock()
        self._changing = threading.Lock()
        self._pending: dict[int, _Pending] = {}
        self._numbers = itertools.count(1)
        self._turn = threading.Event()  # the agent has begun, or the connection is over
        self._begun = False
        self._over = False
        self._reader = threading.Thread(
            target=self._read, args=(os.fdopen(back, "rb", buffering=1 << 16),), name="channel", daemon=True
        )
        self._reader.start()

    @property
    def is_open(self) -> bool:
        """Whether the agent has begun and the connection is there."""
        return self._begun and not self._over

    @property
    def is_over(self) -> bool:
        """Whether nothing will come any more."""
        return self._over

    def begin(self, program: bytes, seconds: float) -> bool:
        """Send the agent its program; whether it has begun within so long."""
        with contextlib.suppress(OSError):  # it ended at once, and its last words say why
            self._write(b"%d\n" % len(program) + program)
        return self._turn.wait(seconds) and self._begun

    def ask(self, request: Mapping[str, Any], data: bytes, seconds: float) -> tuple[dict[str, Any], bytes]:
        """The answer to a request. Raises Cut or Late."""
        number, pending = next(self._numbers), _Pending()
        with self._changing:
            if self._over:
                raise Cut(sent=False)
            self._pending[number] = pending
        try:
            line = json.dumps({**request, "id": number, "size": len(data)}).encode() + b"\n"
            try:
                self._write(line + data if len(data) < NOISE_LIMIT else line, data)
            except OSError:
                raise Cut(sent=True) from None
            if not pending.done.wait(seconds):
                raise Late
            if pending.answer is None:
                raise Cut(sent=True)
            return pending.answer
        finally:
            with self._changing:
                self._pending.pop(number, None)

    def close(self) -> None:
        """End the connection; the agent ends with it."""
        with self._writing:
            if self._to >= 0:
                os.close(self._to)
                self._to = -1

    def join(self, seconds: float) -> None:
        """Wait until the other end is closed too."""
        self._reader.join(timeout=seconds)

    def _write(self, head: bytes, body: bytes = b"") -> None:
        with self._writing:
            if self._to < 0:
                raise BrokenPipeError
            for part in (head, body if len(body) >= NOISE_LIMIT else b""):
                view = memoryview(part)
                while view:
                    view = view[os.write(self._to, view) :]

    def _read(self, file: BinaryIO) -> None:
        with file, contextlib.suppress(OSError, ValueError):
            noise = 0
            for line in file:
                if line.endswith(BEGUN):
                    self._begun = True
                    self._turn.set()
                    break
                noise += len(line)
                if noise > NOISE_LIMIT:
                    break
            while self._begun and self._take(file):
                pass
        with self._changing:
            self._over = True
            left = list(self._pending.values())
        for pending in left:
            pending.done.set()
        self._turn.set()

    def _take(self, file: BinaryIO) -> bool:
        """One answer; False at the end, and for one that no agent of ours would give."""
        line = file.readline(1 << 24)
        if not line.endswith(b"\n"):
            return False
        header = json.loads(line)
        size = header["size"] if isinstance(header, dict) else None
        if not isinstance(size, int) or not 0 <= size <= ANSWER_LIMIT:
            return False
        data = file.read(size)
        if len(data) < size:
            return False
        with self._changing:
            pending = self._pending.get(header.get("id", 0))
        if pending is not None:
            pending.answer = (header, data)
            pending.done.set()
        return True


def parts_of(path: Path) -> Iterator[bytes]:
    """A file here, in parts for one request each."""
    with path.open("rb") as file:
        while part := file.read(PART_BYTES):
            yield part


def small(parts: Iterable[bytes]) -> Iterator[bytes]:
    """The same bytes in parts for one request each."""
    for part in parts:
        for at in range(0, len(part), PART_BYTES):
            yield part[at : at + PART_BYTES]
