"""What all attempts of one run share: options, settings, listener, cancellation."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date
from types import FrameType
from typing import TYPE_CHECKING, Any, Self

from ci_runner.errors import CANCELLED, Cancelled
from ci_runner.execution.clock import HERE
from ci_runner.execution.turns import Turns
from ci_runner.model import Runner, Shard

if TYPE_CHECKING:
    from ci_runner.config.settings import Settings
    from ci_runner.execution.caches import Shelf
    from ci_runner.execution.folder import RunFolder
    from ci_runner.execution.listener import Listener
    from ci_runner.providers.base import Provider, Source
    from ci_runner.providers.book import Book


class Cancellation:
    """Says whether the run is to stop; set by a signal, seen by every thread."""

    def __init__(self) -> None:
        self._event = threading.Event()
        self.reason: str | None = None

    @property
    def requested(self) -> bool:
        """Whether the run is to stop."""
        return self._event.is_set()

    def request(self, reason: str) -> None:
        """Ask for the end; the first reason stays."""
        if not self._event.is_set():
            self.reason = reason
            self._event.set()

    def wait(self, seconds: float) -> bool:
        """Wait for the request, at most so long; whether it has come. What sleeps with it wakes at a cancellation."""
        return self._event.wait(seconds)

    def check(self) -> None:
        """Raise Cancelled if the run is to stop."""
        if self.requested:
            raise Cancelled(f"cancelled by {self.reason}")


class Signals:
    """Within it SIGINT, SIGTERM and SIGHUP cancel the run; a second SIGINT ends it at once."""

    def __init__(self, cancellation: Cancellation) -> None:
        self._cancellation = cancellation
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *_exc: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        if self._cancellation.requested and number == signal.SIGINT:
            os.write(2, b"ci-runner: ended at once; what was leased ends by itself\n")
            os._exit(CANCELLED)
        self._cancellation.request(signal.Signals(number).name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """One run's shared context; attempts add nothing to it."""

    run_id: str
    folder: RunFolder
    settings: Settings
    listener: Listener
    source: Source
    provider_of: Callable[[str], Provider]
    developer: str
    environ: Mapping[str, str]
    cancellation: Cancellation = field(default_factory=Cancellation)
    turns: Turns = field(default_factory=Turns)  # of suites that lease the same machine
    only: tuple[str, ...] = ()
    machine: str | None = None
    runner: Runner | None = None  # forces one runner, as A/B does
    live_output: bool = False
    when_busy: Callable[[], object] = lambda: (
        None
    )  # called while a job runs: time for what can be done meanwhile
    book: Callable[[], Book]  # where leases stand before anything is made for them
    repository: str = ""  # OWNER/NAME, or the project's name; a label of every machine
    shards: Mapping[str, tuple[Shard, ...]] = field(
        default_factory=dict
    )  # all planned shards of each split suite
    today: date
    secrets: Mapping[str, Mapping[str, str]] = field(default_factory=dict, repr=False)  # suite → its secrets
    caches: Shelf | None = None  # where folders of leased machines are kept from run to run
    clock: Callable[[], float] = field(default_factory=lambda: HERE)
