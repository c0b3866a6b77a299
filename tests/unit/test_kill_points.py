"""Whatever kills the process that leases a machine, or the reaper, at whatever moment: in the end no machine is left.

A kill is simulated by a world that stops: from the fatal moment on no call has an effect any more, so that no handler
can clean up. Every call has two such moments, before and after its effect, and a creation one in its middle. Then other
processes come: the reaper, which may be killed too.

`PYTHONPATH=. python tests/unit/test_kill_points.py SCHEDULES [SEED]` runs any number of schedules, prints the seed they
start from, and names the one that leaves a machine.
"""

from __future__ import annotations

import logging
import random
import sys
from collections.abc import Callable
from typing import NoReturn

import pytest

from ci_runner.errors import CiRunnerError, MachineError
from ci_runner.execution.session import Cancellation
from ci_runner.history.store import MemoryStore
from ci_runner.model import Lease, LeaseState, MachineSpec
from ci_runner.providers.base import Offer, Source
from ci_runner.providers.book import Book
from ci_runner.providers.failover import lease_machine
from ci_runner.providers.failures import Failure, Kind, ProviderError, Scope
from ci_runner.providers.fake import FakeProvider
from ci_runner.providers.reaper import GAP_SECONDS, Limits, Reaper
from tests.job_kit import make_lease

TPU = MachineSpec(name="tpu", provider="fake", type="v6e-1", spot="prefer")
ZONES = ("us-central1-b", "us-east5-b", "europe-west4-a")
EXPIRES = 4600.0
SCHEDULES = 600
VISITS = 12


class Killed(BaseException):
    """SIGKILL: nobody catches it, and what runs on the way out changes nothing."""


class Fate:
    """Counts the moments of a process and ends it at one of them."""

    def __init__(self) -> None:
        self.last: int | None = None
        self.count = 0
        self._dead = False

    def born(self, last: int | None) -> None:
        """A new process; `last` is the moment at which it dies, None for never."""
        self.last, self.count, self._dead = last, 0, False

    def moment(self) -> None:
        """Live through one moment."""
        self.count += 1
        self._dead = self._dead or self.count == self.last
        if self._dead:
            raise Killed


class Cloud(FakeProvider):
    """A provider whose callers die, and whose calls fail."""

    def __init__(self, fate: Fate, source: random.Random) -> None:
        super().__init__(offers=None)
        self.faults = 0.0
        self._fate = fate
        self._random = source

    def _trouble(self, kinds: tuple[Kind, ...]) -> None:
        if self._random.random() < self.faults:
            kind = self._random.choice(kinds)
            raise ProviderError(Failure(kind=kind, scope=Scope.OFFER, text="no", retry_after=1.0))

    def acquire(self, lease: Lease, offer: Offer, source: Source, *, seconds: float) -> Lease:
        self._fate.moment()
        self._trouble((Kind.STOCKOUT, Kind.QUOTA, Kind.RATE, Kind.AUTH))
        assert lease.id not in self._leases, "a second machine under one id"
        self.fail_next = [MachineError("made, and not ready")]
        try:
            super().acquire(lease, offer, source, seconds=seconds)
        except MachineError:
            self._fate.moment()  # the machine exists and nobody has heard of it
        self._trouble((Kind.PREEMPTED, Kind.UNKNOWN))
        ready = super().acquire(lease, offer, source, seconds=seconds)
        self._fate.moment()
        return ready

    def release(self, lease: Lease) -> None:
        self._fate.moment()
        self._trouble((Kind.RATE, Kind.UNKNOWN))
        super().release(lease)
        self._fate.moment()

    def mark(self, lease: Lease, at: float) -> None:
        self._fate.moment()
        self._trouble((Kind.RATE, Kind.UNKNOWN))
        super().mark(lease, at)
        self._fate.moment()

    def describe(self, lease: Lease) -> LeaseState:
        self._fate.moment()
        self._trouble((Kind.UNKNOWN,))
        return super().describe(lease)

    def leases(self, owner: str | None = None) -> list[Lease]:
        self._fate.moment()
        return super().leases(owner)


class Shelf(MemoryStore):
    """A store whose writers die."""

    def __init__(self, fate: Fate) -> None:
        super().__init__()
        self._fate = fate

    def put_new(self, key: str, data: bytes) -> None:
        self._fate.moment()
        super().put_new(key, data)
        self._fate.moment()


class World:
    """One schedule: a run that is killed, reapers that are killed, and one that is not."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.now = 1000.0
        self.fate = Fate()
        self.cloud = Cloud(self.fate, self.random)
        self.book = Book(Shelf(self.fate))
        self.lease = make_lease("7f3c-tpu-00000a", machine=TPU, created_at=1000.0, expires_at=EXPIRES)

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def process(self, work: Callable[[], None], last: int | None) -> bool:
        """Run a process that dies at its moment `last`; whether it did."""
        self.fate.born(last)
        try:
            work()
        except Killed:
            return True
        except CiRunnerError:
            return False
        return False

    def run(self) -> None:
        """What a run does with its machine."""
        offers = [Offer(machine=TPU, zone=zone, spot=spot) for zone in ZONES for spot in (True, False)]
        ready = lease_machine(
            self.cloud,
            self.lease,
            offers,
            Source(root="/", commit=None),
            deadline=2800.0,
            book=self.book,
            cancellation=Cancellation(),
            say=lambda tried: None,
            clock=lambda: self.now,
            sleep=self.sleep,
            rng=self.random,
        ).lease
        try:
            self.cloud.describe(ready)
        finally:
            self.cloud.release(ready)
            self.book.close(ready, at=self.now, how="released")

    def reap(self) -> None:
        """What one visit of the reaper does."""
        limits = Limits(per_second=1e6, burst=1000, workers=1)
        reaper = Reaper(self.cloud, now=self.now, limits=limits, book=self.book, sleep=lambda _seconds: None)
        listed = self.cloud.leases()
        reaper.visit([*listed, *reaper.forgotten(listed)])

    def left(self) -> list[str]:
        """Machines that are there, and leases that nobody closed."""
        self.fate.born(None)
        return sorted({*self.cloud._leases, *(lease.id for lease in self.book.open())})

    def whole(self) -> tuple[bool, list[str]]:
        """The schedule; whether the run was killed, and what is left in the end."""
        self.cloud.faults = self.random.choice((0.0, 0.2, 0.5))
        killed = self.process(self.run, self.random.randint(1, 24))
        self.now = EXPIRES + self.random.uniform(0.0, 600.0)
        for _ in range(3):
            self.process(self.reap, self.random.randint(1, 9))
            self.now += self.random.uniform(1.0, 2 * GAP_SECONDS)
        self.cloud.faults = 0.0
        for _ in range(VISITS):
            if not self.left():
                break
            self.process(self.reap, None)
            self.now += GAP_SECONDS
        return killed, self.left()


def check(first: int, count: int) -> int:
    """Run schedules from a seed on; how many of them killed the run. Fails with the seed that leaves something."""
    kills = 0
    for seed in range(first, first + count):
        killed, left = World(seed).whole()
        kills += killed
        if left:
            _fail(seed, left)
    return kills


def _fail(seed: int, left: list[str]) -> NoReturn:
    raise AssertionError(f"seed {seed} leaves {left}")


def test_no_machine_is_left_whenever_run_and_reaper_are_killed() -> None:
    assert check(0, SCHEDULES) > SCHEDULES / 4


@pytest.mark.parametrize("last", range(1, 12))
def test_every_moment_of_a_run_without_faults(last: int) -> None:
    world = World(last)
    killed = world.process(world.run, last)
    world.now = EXPIRES + 1.0
    for _ in range(3):
        world.process(world.reap, None)
        world.now += GAP_SECONDS
    assert world.left() == []
    assert killed == (last <= 10)  # four of the book, three of acquire, one of describe, two of release


def test_a_kill_really_leaves_machines_for_the_reaper() -> None:
    left = 0
    for seed in range(100):
        world = World(seed)
        world.process(world.run, world.random.randint(3, 6))
        left += bool(world.cloud._leases)
    assert left > 50


if __name__ == "__main__":
    logging.disable()  # the faults are made on purpose
    wanted = int(sys.argv[1]) if len(sys.argv) > 1 else SCHEDULES
    start = int(sys.argv[2]) if len(sys.argv) > 2 else random.randrange(1_000_000_000)
    print(f"{wanted:,} schedules from seed {start}: {check(start, wanted):,} runs killed, nothing left")
