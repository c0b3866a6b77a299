"""The reaper: what it judges, that it takes two visits, touches nothing of others, and says what became of each."""

from __future__ import annotations

import dataclasses
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ci_runner.errors import MachineError
from ci_runner.history.store import MemoryStore
from ci_runner.model import Lease, LeaseState, MachineSpec
from ci_runner.providers.base import Offer, Source
from ci_runner.providers.book import Book
from ci_runner.providers.failures import Failure, Kind, ProviderError, Scope
from ci_runner.providers.fake import FakeProvider
from ci_runner.providers.identity import marked_at
from ci_runner.providers.reaper import (
    GAP_SECONDS,
    Limits,
    Pace,
    Reaped,
    Reaper,
    Result,
    Step,
    hourly,
    is_ours,
    judge,
    overspent,
    saved_per_hour,
)
from tests.job_kit import make_lease

SOURCE = Source(root="/nowhere", commit=None)
TPU = MachineSpec(name="tpu", provider="fake", type="v6e-1")


class World:
    """A provider with machines in it, and a clock."""

    def __init__(self) -> None:
        self.now = 10_000.0
        self.provider = FakeProvider()
        self.book = Book(MemoryStore())
        self.slept: list[float] = []

    def machine(self, name: str, *, expires: float = 9_000.0, price: float = 2.0) -> Lease:
        lease = make_lease(name, machine=TPU, created_at=1_000.0, expires_at=expires)
        self.book.request(lease)
        return self.provider.acquire(
            lease, Offer(machine=TPU, zone="us-east5-b", price_per_hour=price), SOURCE, seconds=60
        )

    def reaper(self, limits: Limits | None = None) -> Reaper:
        return Reaper(
            self.provider,
            now=self.now,
            book=self.book,
            limits=limits or Limits(per_second=1e6, burst=1000),
            sleep=self.slept.append,
        )

    def visit(self, *, everything: bool = False, dry_run: bool = False) -> list[Reaped]:
        return self.reaper().visit(self.provider.leases(), everything=everything, dry_run=dry_run)


@pytest.fixture
def world() -> World:
    return World()


def steps(reaped: list[Reaped]) -> list[tuple[str, Step, Result]]:
    return [(each.lease.id, each.step, each.result) for each in reaped]


def test_an_expired_machine_is_marked_and_deleted_on_a_later_visit(world: World) -> None:
    world.machine("a-1")
    world.machine("b-2", expires=20_000.0)
    assert steps(world.visit()) == [("a-1", Step.MARK, Result.DONE)]
    assert {lease.id: marked_at(lease) for lease in world.provider.leases()} == {"a-1": 10_000.0, "b-2": None}
    world.now += GAP_SECONDS - 1
    assert world.visit() == []
    world.now += 1
    assert steps(world.visit()) == [("a-1", Step.DELETE, Result.DONE)]
    assert [lease.id for lease in world.provider.leases()] == ["b-2"]
    assert [lease.id for lease in world.book.open()] == ["b-2"]
    closing = world.book.closing("a-1")
    assert closing is not None
    assert closing.how == "reaped"
    assert closing.cost_usd == pytest.approx(2.0 * (9_000 + GAP_SECONDS) / 3600)
    assert world.visit() == []


def test_everything_goes_at_once_when_everything_is_asked_for(world: World) -> None:
    world.machine("a-1")
    world.machine("b-2", expires=20_000.0)
    assert steps(world.visit(everything=True)) == [
        ("a-1", Step.DELETE, Result.DONE),
        ("b-2", Step.DELETE, Result.DONE),
    ]
    assert world.provider.leases() == []


def test_a_dry_run_changes_nothing(world: World) -> None:
    world.machine("a-1")
    assert steps(world.visit(dry_run=True)) == [("a-1", Step.MARK, Result.WOULD)]
    assert steps(world.visit(dry_run=True, everything=True)) == [("a-1", Step.DELETE, Result.WOULD)]
    assert [marked_at(lease) for lease in world.provider.leases()] == [None]


def lease(
    *, expires: float = 100.0, mark: float | None = None, state: LeaseState = LeaseState.READY
) -> Lease:
    labels = {} if mark is None else {"reap": str(int(mark))}
    return make_lease("a-1", machine=TPU, created_at=0.0, expires_at=expires, labels=labels, state=state)


@pytest.mark.parametrize(
    ("found", "now", "step"),
    [
        (lease(), 99.0, Step.KEEP),
        (lease(), 100.0, Step.MARK),
        (lease(mark=110), 111.0, Step.KEEP),
        (lease(mark=110), 110.0, Step.KEEP),  # another reaper was as quick
        (lease(mark=110), 110.0 + GAP_SECONDS, Step.DELETE),
        (lease(mark=100), 100.0 + GAP_SECONDS, Step.DELETE),
        (lease(expires=500.0, mark=110), 499.0, Step.KEEP),  # it was given more time
        (lease(expires=500.0, mark=110), 900.0, Step.MARK),  # and that is over too
        (lease(mark=5_000), 200.0, Step.MARK),  # somebody's clock was an hour fast
        (
            lease(expires=9_999.0, state=LeaseState.PREEMPTED),
            50.0,
            Step.MARK,
        ),  # it holds quota and runs nothing
        (lease(expires=9_999.0, mark=50, state=LeaseState.PREEMPTED), 50.0 + GAP_SECONDS, Step.DELETE),
        (lease(state=LeaseState.STOPPED), 100.0, Step.MARK),
    ],
)
def test_judgements(found: Lease, now: float, step: Step) -> None:
    assert judge(found, now) is step
    assert judge(found, now, everything=True) is Step.DELETE


@given(
    st.floats(1, 1e6), st.one_of(st.none(), st.floats(0, 1e6)), st.floats(0, 1e6), st.sampled_from(LeaseState)
)
def test_no_machine_is_deleted_before_its_time_or_on_the_first_visit(
    expires: float, mark: float | None, now: float, state: LeaseState
) -> None:
    step = judge(lease(expires=expires, mark=mark, state=state), now)
    if step is Step.DELETE:
        assert mark is not None
        assert now - int(mark) >= GAP_SECONDS
        assert now >= expires or state is LeaseState.PREEMPTED


@pytest.mark.parametrize(
    ("name", "ours"),
    [("7f3c-unit-00000a", True), ("My Machine", False), ("", False), ("a" * 40, True), ("a" * 41, False)],
)
def test_what_does_not_bear_an_id_of_ours_is_never_touched(world: World, name: str, ours: bool) -> None:
    stranger = make_lease(name, machine=TPU, created_at=0.0, expires_at=1.0)
    assert is_ours(stranger) is ours
    world.provider._leases[name] = stranger
    assert len(world.visit(everything=True)) == ours
    assert (name in world.provider._leases) is not ours


def test_a_machine_that_lost_its_dates_can_be_reaped(world: World) -> None:
    ready = world.machine("a-1")
    world.provider._leases["a-1"] = dataclasses.replace(ready, expires_at=ready.created_at)
    assert steps(world.visit()) == [("a-1", Step.MARK, Result.DONE)]
    world.now += GAP_SECONDS
    assert steps(world.visit()) == [("a-1", Step.DELETE, Result.DONE)]


def test_what_cannot_be_deleted_is_told_and_hinders_no_other(world: World) -> None:
    for name in ("a-1", "b-2", "c-3"):
        world.machine(name)
    world.provider.refused["b-2"] = [MachineError("503 try later")]
    found = world.visit(everything=True)
    assert [each.result for each in found] == [Result.DONE, Result.FAILED, Result.DONE]
    assert found[1].error == "503 try later"
    assert not found[1].ended
    assert [lease.id for lease in world.book.open()] == ["b-2"]


def test_a_rate_limit_is_waited_out(world: World) -> None:
    world.machine("a-1")
    slow = ProviderError(Failure(kind=Kind.RATE, scope=Scope.NOTHING, text="slow down", retry_after=3.0))
    world.provider.refused["a-1"] = [slow, slow]
    assert steps(world.visit(everything=True)) == [("a-1", Step.DELETE, Result.DONE)]
    assert world.slept == [3.0, 3.0]
    world.machine("b-2")
    world.provider.refused["b-2"] = [slow] * 9
    assert steps(world.visit(everything=True)) == [("b-2", Step.DELETE, Result.FAILED)]


def test_a_deletion_is_confirmed_by_looking_again(world: World) -> None:
    world.machine("a-1")
    world.provider.lingering.add("a-1")
    found = world.visit(everything=True)
    assert steps(found) == [("a-1", Step.DELETE, Result.GOING)]
    assert found[0].ended

    class Stubborn(FakeProvider):
        def release(self, lease: Lease) -> None:
            """Say that it was done, and do nothing."""

    world.provider = Stubborn()
    world.machine("b-2")
    again = world.visit(everything=True)
    assert again[0].result is Result.FAILED
    assert again[0].error == "it is still there (ready)"
    assert [lease.id for lease in world.book.open()] == ["a-1", "b-2"]


def test_a_deletion_that_cannot_be_confirmed_is_under_way(world: World) -> None:
    world.machine("a-1")
    found = world.provider.leases()
    world.provider.unreachable = MachineError("no route")
    assert steps(world.reaper().visit(found, everything=True)) == [("a-1", Step.DELETE, Result.GOING)]
    assert [lease.id for lease in world.book.open()] == ["a-1"]


def test_leases_that_only_the_book_remembers(world: World) -> None:
    world.machine("a-1")
    world.machine("b-2")
    world.machine("c-3", expires=20_000.0)
    other = make_lease(
        "d-4", machine=dataclasses.replace(TPU, provider="aws-ec2"), created_at=1.0, expires_at=2.0
    )
    world.book.request(other)
    world.provider._leases.pop("a-1")
    hidden = world.provider.leases()[:0]  # the listing shows nothing, as one of another project does
    assert [each.id for each in world.reaper().forgotten(hidden)] == ["b-2"]
    assert [each.id for each in world.book.open()] == ["b-2", "c-3", "d-4"]
    assert [each.id for each in world.reaper().forgotten(hidden, everything=True)] == ["b-2", "c-3"]
    listed = world.provider.leases()
    assert world.reaper().forgotten(listed, everything=True) == []
    assert Reaper(world.provider, now=world.now).forgotten(hidden) == []


def test_a_lease_that_cannot_be_looked_up_stays_in_the_book(world: World) -> None:
    class Mute(FakeProvider):
        def describe(self, lease: Lease) -> LeaseState:
            raise MachineError("no route")

    world.machine("a-1")
    world.provider = Mute()
    assert world.reaper().forgotten([]) == []
    assert [each.id for each in world.book.open()] == ["a-1"]


def test_looking_up_keeps_to_the_pace(world: World) -> None:
    for name in ("a-1", "b-2", "c-3"):
        world.machine(name, expires=world.now)
    found = world.reaper(Limits(per_second=0.001, burst=1)).forgotten([])
    assert [lease.id for lease in found] == ["a-1", "b-2", "c-3"]
    assert [round(seconds, -2) for seconds in sorted(world.slept)] == [1000.0, 2000.0]


def test_money(world: World) -> None:
    dear = make_lease("a-1", machine=TPU, price_per_hour=3.0, created_at=0.0, expires_at=100.0)
    cloud = dataclasses.replace(TPU, provider="gcp-tpu")
    unpriced = dataclasses.replace(dear, price_per_hour=0.0, machine=cloud, zone="us-east5-b", spot=True)
    assert hourly(dear) == 3.0
    assert hourly(unpriced) == 1.215
    assert hourly(dataclasses.replace(unpriced, machine=dataclasses.replace(cloud, type="v9-1"))) is None
    assert hourly(dataclasses.replace(unpriced, machine=MachineSpec(name="x", provider="ssh"))) == 0.0
    assert hourly(dataclasses.replace(dear, state=LeaseState.STOPPED)) == 0.0
    reaped = [
        Reaped(lease=dear, step=Step.DELETE, result=Result.DONE, price_per_hour=3.0),
        Reaped(lease=dear, step=Step.DELETE, result=Result.GOING, price_per_hour=None),
        Reaped(lease=dear, step=Step.DELETE, result=Result.FAILED, price_per_hour=3.0),
        Reaped(lease=dear, step=Step.MARK, result=Result.DONE, price_per_hour=3.0),
    ]
    assert saved_per_hour(reaped) == 3.0
    assert overspent(reaped, 3700.0) == 9.0
    assert overspent(reaped, 50.0) == 0.0


def test_calls_keep_to_the_pace() -> None:
    now, slept = [0.0], []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        now[0] += seconds

    pace = Pace(Limits(per_second=10.0, burst=5), clock=lambda: now[0], sleep=sleep)
    for _ in range(25):
        pace.wait()
    assert now[0] == pytest.approx(2.0)
    now[0] += 100.0
    slept.clear()
    for _ in range(5):
        pace.wait()
    assert slept == []


def test_deletions_run_side_by_side(world: World) -> None:
    gate = threading.Barrier(4, timeout=20)

    class Slow(FakeProvider):
        def release(self, lease: Lease) -> None:
            gate.wait()
            super().release(lease)

    world.provider = Slow()
    for number in range(4):
        world.machine(f"a-{number}")
    assert all(each.result is Result.DONE for each in world.visit(everything=True))
