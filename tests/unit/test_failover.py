"""Failover: which offer comes next, when to give up with which error, and that a failed try leaves nothing."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ci_runner import codec
from ci_runner.errors import (
    AuthenticationError,
    Cancelled,
    CapacityError,
    CiRunnerError,
    ConfigurationError,
    MachineError,
    PreemptionError,
    QuotaError,
    UsageError,
)
from ci_runner.execution.session import Cancellation
from ci_runner.history.store import MemoryStore
from ci_runner.model import Lease, LeaseState, MachineSpec, OfferAttempt
from ci_runner.providers.base import Offer, Source
from ci_runner.providers.book import Book
from ci_runner.providers.choice import UNKNOWN_LIMIT, Choice, GiveUp, Next, arrange, failure_of, region_of
from ci_runner.providers.failover import Leased, lease_machine
from ci_runner.providers.failures import Failure, Kind, ProviderError, Scope, TakenError
from ci_runner.providers.fake import FakeProvider
from tests.job_kit import make_lease

TPU = MachineSpec(name="tpu", provider="gcp-tpu", type="v6e-1", spot="prefer")
SOURCE = Source(root="/nowhere", commit=None)


def offer(
    zone: str = "us-central1-b", *, spot: bool = True, price: float = 0.6, type_: str = "v6e-1"
) -> Offer:
    return Offer(machine=dataclasses.replace(TPU, type=type_), zone=zone, spot=spot, price_per_hour=price)


def failure(kind: Kind, scope: Scope = Scope.OFFER, text: str = "it said no", **more: Any) -> Failure:
    return Failure(kind=kind, scope=scope, text=text, **more)


def refusal(kind: Kind, scope: Scope = Scope.OFFER, text: str = "it said no", **more: Any) -> ProviderError:
    return ProviderError(failure(kind, scope, text, **more))


B, C, EAST = offer("us-central1-b"), offer("us-central1-c"), offer("us-east5-b")
DEMAND = offer("us-east5-b", spot=False, price=2.7)
ALL = (B, C, EAST, DEMAND)


def choice(*offers: Offer, machine: MachineSpec = TPU) -> Choice:
    return arrange(machine, offers or ALL, seconds=3600.0)


def after(first: Choice, *failures: Failure) -> Next | GiveUp:
    """The step after these failures, each of the offer that was next then."""
    for each in failures:
        step = first.next(left=1000.0, jitter=0.5)
        assert isinstance(step, Next)
        first = first.failed(step.offer, each)
    return first.next(left=1000.0, jitter=0.5)


def offered(step: Next | GiveUp) -> Offer:
    assert isinstance(step, Next), step
    return step.offer


def refused(step: Next | GiveUp) -> CiRunnerError:
    assert isinstance(step, GiveUp), step
    return step.error


@pytest.mark.parametrize(
    ("scope", "then"),
    [
        (Scope.OFFER, C),
        (Scope.ZONE, C),
        (Scope.REGION, EAST),
        (Scope.POOL, EAST),
        (Scope.SPOT, DEMAND),
        (Scope.NOTHING, C),
    ],
)
def test_a_stockout_rules_out_its_scope(scope: Scope, then: Offer) -> None:
    assert offered(after(choice(), failure(Kind.STOCKOUT, scope))) == then


@pytest.mark.parametrize("scope", [Scope.TYPE, Scope.PROVIDER])
def test_a_type_or_a_provider_that_is_ruled_out_ends_it(scope: Scope) -> None:
    assert isinstance(refused(after(choice(), failure(Kind.QUOTA, scope))), QuotaError)


def test_a_zone_that_is_ruled_out_takes_its_other_offers_along() -> None:
    step = after(choice(EAST, DEMAND, B), *[failure(Kind.STOCKOUT, Scope.ZONE)])
    assert offered(step) == B
    assert offered(after(choice(EAST, DEMAND), failure(Kind.STOCKOUT))) == DEMAND


def test_another_type_stays_open_when_a_type_is_ruled_out() -> None:
    other = offer("us-central1-b", type_="v5litepod-1")
    assert offered(after(choice(B, C, other), failure(Kind.CONFIGURATION, Scope.TYPE))) == other


def test_a_rate_limit_is_waited_out_on_the_same_target() -> None:
    waits = []
    now = choice()
    for _ in range(8):
        step = now.next(left=1000.0, jitter=1.0)
        assert isinstance(step, Next)
        assert step.offer == B
        waits.append(step.wait)
        now = now.failed(B, failure(Kind.RATE, Scope.PROVIDER))
    assert waits == [0.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0, 60.0]
    low = choice().failed(B, failure(Kind.RATE)).next(left=1000.0, jitter=0.0)
    assert isinstance(low, Next)
    assert low.wait == 1.0


def test_the_provider_may_say_how_long_to_wait() -> None:
    asked = choice().failed(B, failure(Kind.RATE, retry_after=20.0))
    step = asked.next(left=1000.0, jitter=0.5)
    assert isinstance(step, Next)
    assert step.wait == 22.0
    error = refused(asked.next(left=22.0, jitter=0.5))
    assert isinstance(error, QuotaError)
    assert "the time to look for one is up" in error.what


def test_authentication_stops_at_once() -> None:
    error = refused(
        after(choice(), failure(Kind.STOCKOUT), failure(Kind.AUTH, Scope.PROVIDER, "who are you"))
    )
    assert isinstance(error, AuthenticationError)
    assert error.details == (
        "us-central1-b v6e-1 spot: no capacity: it said no",
        "us-central1-c v6e-1 spot: not allowed: who are you",
    )


def test_what_nobody_understands_is_tried_elsewhere_and_again_but_not_for_ever() -> None:
    now, seen = choice(B, C), []
    step = now.next(left=1000.0, jitter=0.5)
    while isinstance(step, Next):
        seen.append((step.offer, step.wait))
        now = now.failed(step.offer, failure(Kind.UNKNOWN, Scope.NOTHING))
        step = now.next(left=1000.0, jitter=0.5)
    assert [each for each, _ in seen] == [B, C, B, C, B, C]
    assert [wait for _, wait in seen] == [0.0, 0.0, 1.0, 1.0, 2.0, 2.0]
    assert type(refused(step)) is MachineError
    many = [offer(f"us-central1-{letter}") for letter in "abcdefghij"]
    refused(after(choice(*many), *[failure(Kind.UNKNOWN)] * UNKNOWN_LIMIT))


def test_preempted_while_it_was_made_tries_the_next() -> None:
    assert offered(after(choice(), failure(Kind.PREEMPTED))) == C
    assert offered(after(choice(), failure(Kind.PREEMPTED, Scope.NOTHING))) == C


@pytest.mark.parametrize(
    ("kinds", "error", "code", "words"),
    [
        ([Kind.STOCKOUT], CapacityError, 3, "add a zone"),
        ([Kind.QUOTA], QuotaError, 4, "more quota"),
        ([Kind.STOCKOUT, Kind.QUOTA], CapacityError, 3, "some places refused for quota"),
        ([Kind.PREEMPTED], PreemptionError, 7, 'spot = "never"'),
        ([Kind.PREEMPTED, Kind.STOCKOUT], CapacityError, 3, "try again later"),
        ([Kind.UNKNOWN], MachineError, 8, "doctor"),
        ([Kind.UNKNOWN, Kind.QUOTA], QuotaError, 4, "doctor"),
        ([Kind.UNKNOWN, Kind.CONFIGURATION], MachineError, 8, "what the provider said"),
        ([Kind.CONFIGURATION], ConfigurationError, 2, "[machines.tpu]"),
        ([], CapacityError, 3, "name zones"),
    ],
)
def test_the_error_is_what_was_seen(
    kinds: list[Kind], error: type[CiRunnerError], code: int, words: str
) -> None:
    offers = [offer(f"us-central1-{letter}") for letter, _ in zip("abcdef", kinds, strict=False)]
    step = after(arrange(TPU, offers, seconds=60.0), *map(failure, kinds))
    found = refused(step)
    assert type(found) is error
    assert found.exit_code == code
    assert words in str(found.fix)
    assert len(found.details) == len(kinds)
    assert len(found.lines()) == len(kinds) + 2
    assert found.where == "machines.tpu"


def test_only_spot_and_no_capacity_says_that_on_demand_would_help() -> None:
    only = dataclasses.replace(TPU, spot="only")
    found = refused(after(choice(B, machine=only), failure(Kind.STOCKOUT)))
    assert str(found.fix).startswith('set spot = "prefer"')


def test_no_time_is_said() -> None:
    found = refused(choice().next(left=0.0, jitter=0.5))
    assert type(found) is MachineError
    assert "no time" in found.what
    late = refused(choice().failed(B, failure(Kind.STOCKOUT)).next(left=-1.0, jitter=0.5))
    assert type(late) is CapacityError
    assert late.what.endswith("the time to look for one is up")
    again = choice(B).failed(B, failure(Kind.UNKNOWN, Scope.NOTHING))
    assert "is up" in refused(again.next(left=0.5, jitter=0.5)).what


def test_hostile_words_of_a_provider_stay_on_their_line() -> None:
    found = refused(after(choice(B), failure(Kind.QUOTA, text="no\n::error::x\x1b[31m", code="a\rb")))
    assert len(found.details) == 1
    assert "\n" not in found.details[0]
    assert "\x1b" not in found.details[0]
    assert "\r" not in found.details[0]


def test_spot_comes_first_if_it_is_preferred() -> None:
    assert choice(DEMAND, EAST, B).offers == (EAST, B, DEMAND)
    never = arrange(dataclasses.replace(TPU, spot="never"), ALL, seconds=60.0)
    assert never.offers == (DEMAND,)
    only = arrange(dataclasses.replace(TPU, spot="only"), (*ALL, B), seconds=60.0)
    assert only.offers == (B, C, EAST)


def test_offers_over_a_price_cap_are_dropped_and_said() -> None:
    hourly = dataclasses.replace(TPU, max_price_per_hour=1.0)
    found = arrange(hourly, ALL, seconds=3600.0)
    assert found.offers == (B, C, EAST)
    assert [str(each) for each in found.dropped] == [
        "us-east5-b v6e-1: not tried, $2.70 an hour is over max-price-per-hour = 1"
    ]
    run = arrange(dataclasses.replace(TPU, max_price_per_run=1.0), ALL, seconds=7200.0)
    assert run.offers == ()
    error = refused(run.next(left=10.0, jitter=0.5))
    assert type(error) is ConfigurationError
    assert "raise the price cap" in str(error.fix)
    assert len(error.details) == 4
    left = arrange(TPU, ALL, seconds=3600.0, budget=0.5)
    assert left.offers == ()
    assert "may still spend ($0.50)" in left.dropped[0].reason


@pytest.mark.parametrize(
    ("zone", "region"),
    [
        ("us-central1-b", "us-central1"),
        ("us-central1", "us-central1"),
        ("us-south1-ai1b", "us-south1"),
        ("us-east-1a", "us-east-1"),
        ("us-east-1", "us-east-1"),
        ("us-gov-west-1b", "us-gov-west-1"),
        ("us-east-1-bos-1a", "us-east-1"),
        ("rack", "rack"),
        (None, None),
    ],
)
def test_regions_of_zones(zone: str | None, region: str | None) -> None:
    assert region_of(zone) == region


OFFERS = st.lists(
    st.builds(
        offer,
        st.sampled_from(["us-central1-a", "us-central1-b", "us-east5-a", "us-east-1a"]),
        spot=st.booleans(),
        price=st.floats(0, 5),
        type_=st.sampled_from(["v6e-1", "v5litepod-1"]),
    ),
    max_size=8,
)
FAILURES = st.builds(
    failure,
    st.sampled_from(list(Kind)),
    st.sampled_from(list(Scope)),
    retry_after=st.one_of(st.none(), st.floats(0, 100)),
)
CERTAIN = {Scope.OFFER, Scope.ZONE, Scope.REGION, Scope.POOL, Scope.TYPE, Scope.SPOT, Scope.PROVIDER}


def walk(
    offers: list[Offer], failures: list[Failure], left: float, seed: int
) -> tuple[list[Next], GiveUp | None]:
    """The steps that a run of failures leads to, with the clock moved by every wait."""
    source, now = random.Random(seed), arrange(TPU, offers, seconds=60.0)
    steps: list[Next] = []
    for each in failures:
        step = now.next(left=left, jitter=source.random())
        if isinstance(step, GiveUp):
            return steps, step
        steps.append(step)
        left -= step.wait
        now = now.failed(step.offer, each)
    return steps, None


@given(OFFERS, st.lists(FAILURES, max_size=30), st.floats(1, 2000), st.integers(0, 9))
def test_a_blocked_target_is_never_offered_and_a_rate_limit_keeps_its_target(
    offers: list[Offer], failures: list[Failure], left: float, seed: int
) -> None:
    steps, _ = walk(offers, failures, left, seed)
    ruled: list[tuple[Offer, Failure]] = []
    for number, step in enumerate(steps):
        for mine, seen in ruled:
            assert not _covers(mine, seen, step.offer)
        seen = failures[number]
        if number and failures[number - 1].kind is Kind.RATE:
            assert step.offer == steps[number - 1].offer
            assert step.wait >= 1.0
        if seen.kind is not Kind.RATE and seen.scope in CERTAIN:
            ruled.append((step.offer, seen))


def _covers(mine: Offer, seen: Failure, other: Offer) -> bool:
    """What a scope covers, said once more and otherwise."""
    same = {
        Scope.OFFER: (mine.zone, mine.machine.type, mine.spot)
        == (other.zone, other.machine.type, other.spot),
        Scope.ZONE: mine.zone == other.zone,
        Scope.REGION: region_of(mine.zone) == region_of(other.zone),
        Scope.POOL: (region_of(mine.zone), mine.machine.type, mine.spot)
        == (region_of(other.zone), other.machine.type, other.spot),
        Scope.TYPE: mine.machine.type == other.machine.type,
        Scope.SPOT: other.spot,
        Scope.PROVIDER: True,
    }
    return same[seen.scope]


@given(OFFERS, FAILURES, st.integers(0, 9))
def test_every_search_ends_when_all_fail(offers: list[Offer], seen: Failure, seed: int) -> None:
    steps, end = walk(offers, [seen] * 301, 300.0, seed)
    assert end is not None
    assert len(steps) <= 300


@given(OFFERS, st.lists(FAILURES, max_size=12), st.integers(0, 9))
def test_same_inputs_same_decisions(offers: list[Offer], failures: list[Failure], seed: int) -> None:
    first, second = walk(offers, failures, 500.0, seed), walk(offers, failures, 500.0, seed)
    assert first[0] == second[0]
    lines = [end and end.error.lines() for end in (first[1], second[1])]
    assert lines[0] == lines[1]


@given(OFFERS)
def test_the_order_of_offers_is_kept(offers: list[Offer]) -> None:
    steps, _ = walk(offers, [failure(Kind.STOCKOUT)] * 30, 500.0, 1)
    distinct = [each for index, each in enumerate(offers) if each not in offers[:index]]
    wanted: list[tuple[str | None, str | None, bool]] = []
    for each in sorted(distinct, key=lambda each: not each.spot):
        what = (each.zone, each.machine.type, each.spot)
        if what not in wanted:
            wanted.append(what)
    assert [(s.offer.zone, s.offer.machine.type, s.offer.spot) for s in steps] == wanted


def test_errors_that_no_provider_classified() -> None:
    found = {
        type(error): failure_of(error)
        for error in (
            AuthenticationError("a"),
            CapacityError("b"),
            QuotaError("c"),
            PreemptionError("d"),
            MachineError("e", where="host"),
        )
    }
    assert {key: value and value.kind for key, value in found.items()} == {
        AuthenticationError: Kind.AUTH,
        CapacityError: Kind.STOCKOUT,
        QuotaError: Kind.QUOTA,
        PreemptionError: Kind.PREEMPTED,
        MachineError: Kind.UNKNOWN,
    }
    assert found[MachineError] == failure(Kind.UNKNOWN, text="e (host)")
    assert failure_of(UsageError("x")) is None


class World:
    """A provider in memory, a book, and a clock that moves when somebody waits."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.store = MemoryStore()
        self.book = Book(self.store)
        self.provider = FakeProvider()
        self.cancellation = Cancellation()
        self.said: list[OfferAttempt] = []
        self.sleeping: Callable[[], None] = lambda: None
        self.lease = make_lease("7f3c-tpu-00000a", machine=TPU, created_at=1000.0, expires_at=4600.0)

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.sleeping()

    def get(self, *offers: Offer, deadline: float = 2000.0, **more: Any) -> Leased:
        return lease_machine(
            self.provider,
            more.pop("lease", self.lease),
            offers or ALL,
            SOURCE,
            deadline=deadline,
            book=self.book,
            cancellation=self.cancellation,
            say=self.said.append,
            clock=lambda: self.now,
            sleep=self.sleep,
            rng=random.Random(1),
            **more,
        )


@pytest.fixture
def world() -> World:
    return World()


def test_the_first_offer_that_works_is_leased_and_every_try_is_on_the_lease(world: World) -> None:
    world.provider.fail_next = [refusal(Kind.STOCKOUT, code="8"), refusal(Kind.RATE, retry_after=5.0)]
    found = world.get()
    assert found.lease.state is LeaseState.READY
    assert found.lease.zone == "us-central1-c"
    assert found.lease.tries == found.attempts == tuple(world.said)
    assert [(t.zone, t.failure, t.code) for t in found.attempts] == [
        ("us-central1-b", "stockout", "8"),
        ("us-central1-c", "rate", None),
        ("us-central1-c", None, None),
    ]
    assert found.attempts[2].started_at >= 1005.0
    assert [lease.id for lease in world.provider.leases()] == [world.lease.id]
    assert [lease.id for lease in world.book.open()] == [world.lease.id]
    assert codec.build(Lease, codec.plain(found.lease)) == found.lease


def test_a_lease_is_written_down_before_anything_is_made(world: World) -> None:
    seen: list[list[str]] = []

    class Watching(FakeProvider):
        def acquire(self, lease: Lease, offer: Offer, source: Source, *, seconds: float) -> Lease:
            seen.append([each.id for each in world.book.open()])
            return super().acquire(lease, offer, source, seconds=seconds)

    world.provider = Watching()
    world.provider.fail_next = [refusal(Kind.STOCKOUT)]
    world.get()
    assert seen == [[world.lease.id]] * 2


def test_a_book_that_cannot_be_written_makes_nothing(world: World) -> None:
    class Full(MemoryStore):
        def put_new(self, key: str, data: bytes) -> None:
            raise OSError(28, "No space left on device")

    world.book = Book(Full())
    with pytest.raises(MachineError, match="No space left"):
        world.get()
    assert world.provider.leases() == []
    assert world.said == []


def test_when_all_fail_nothing_is_left_and_the_lease_is_closed(world: World) -> None:
    world.provider.fail_next = [refusal(Kind.STOCKOUT, text=f"none {number}") for number in range(4)]
    with pytest.raises(CapacityError) as caught:
        world.get()
    assert [line.rpartition(" ")[2] for line in caught.value.details] == ["0", "1", "2", "3"]
    assert world.provider.leases() == []
    assert world.provider.released == [world.lease.id] * 4
    assert list(world.book.open()) == []
    closing = world.book.closing(world.lease.id)
    assert closing is not None
    assert closing.how == "never ready"


def test_one_try_that_nobody_classified_keeps_its_own_error(world: World) -> None:
    own = MachineError("commit 123 is not in this repository", fix="git fetch")
    world.provider.fail_next = [own]
    with pytest.raises(MachineError) as caught:
        world.get(B)
    assert caught.value is own
    world.provider.fail_next = [own, own]
    with pytest.raises(MachineError, match='no machine for "tpu"'):
        world.get(B, C, lease=make_lease("7f3c-tpu-00000b", machine=TPU))


def test_an_error_that_no_other_offer_would_help_is_raised_at_once(world: World) -> None:
    world.provider.fail_next = [UsageError("git does not trust this")]
    with pytest.raises(UsageError):
        world.get()
    assert [(tried.failure, tried.text) for tried in world.said] == [("error", "git does not trust this")]
    assert world.provider.leases() == []


def test_offers_that_are_too_dear_are_noted_on_the_lease(world: World) -> None:
    cheap = dataclasses.replace(TPU, max_price_per_hour=1.0)
    found = world.get(DEMAND, B, lease=dataclasses.replace(world.lease, machine=cheap))
    assert found.lease.spot
    assert found.lease.notes == ("us-east5-b v6e-1: not tried, $2.70 an hour is over max-price-per-hour = 1",)


@pytest.mark.parametrize("when", ["before", "while waiting", "in acquire", "acquire fails"])
def test_a_cancellation_at_any_moment_leaves_nothing(world: World, when: str) -> None:
    class Cancelling(FakeProvider):
        def acquire(self, lease: Lease, offer: Offer, source: Source, *, seconds: float) -> Lease:
            if when.startswith(("in acquire", "acquire fails")):
                world.cancellation.request("SIGINT")
            return super().acquire(lease, offer, source, seconds=seconds)

    world.provider = Cancelling()
    if when == "before":
        world.cancellation.request("SIGINT")
    elif when == "while waiting":
        world.provider.fail_next = [refusal(Kind.RATE)]
        world.sleeping = lambda: world.cancellation.request("SIGINT")
    elif when == "acquire fails":
        world.provider.fail_next = [refusal(Kind.STOCKOUT)]
    with pytest.raises(Cancelled):
        world.get()
    assert world.provider.leases() == []
    assert list(world.book.open()) == []


def test_an_interrupt_leaves_nothing(world: World) -> None:
    class Interrupted(FakeProvider):
        def acquire(self, lease: Lease, offer: Offer, source: Source, *, seconds: float) -> Lease:
            super().acquire(lease, offer, source, seconds=seconds)
            raise KeyboardInterrupt

    world.provider = Interrupted()
    with pytest.raises(KeyboardInterrupt):
        world.get()
    assert world.provider.leases() == []
    assert list(world.book.open()) == []


class Clinging(FakeProvider):
    """Gives a machine back only after so many refusals."""

    refusals = 2

    def release(self, lease: Lease) -> None:
        if self.refusals:
            self.refusals -= 1
            raise MachineError("503")
        super().release(lease)


def test_giving_back_is_repeated(world: World) -> None:
    world.provider = Clinging()
    world.provider.fail_next = [refusal(Kind.STOCKOUT)]
    found = world.get()
    assert found.lease.zone == "us-central1-c"
    assert world.provider.released == [world.lease.id]


def test_what_cannot_be_given_back_stops_the_search_and_stays_in_the_book(world: World) -> None:
    world.provider = Clinging()
    world.provider.refusals = 99
    world.provider.fail_next = [refusal(Kind.STOCKOUT)]
    with pytest.raises(CapacityError) as caught:  # why there is no machine stays the reason
        world.get()
    assert f"ci-runner machines release {world.lease.id}" in str(caught.value.fix)
    assert len(world.said) == 1
    assert world.now == 1000.0 + 2 * (1.0 + 2.0)  # twice three tries, and no pause after the last of three
    assert [lease.id for lease in world.book.open()] == [world.lease.id]


def test_the_deadline_ends_a_rate_limit_that_does_not(world: World) -> None:
    world.provider.fail_next = [refusal(Kind.RATE) for _ in range(1000)]
    with pytest.raises(QuotaError, match="the time to look for one is up"):
        world.get(B, deadline=1300.0)
    assert world.now < 1300.0


@pytest.mark.parametrize(
    ("longest", "limit", "fix"),
    [
        (5.0, r"the lease's time \(max-minutes = 5\) is up", "raise max-minutes of [machines.tpu]"),
        (
            None,
            r"the lease's time \(5 minutes, by the suite's timeout\) is up",
            "raise the timeout of the suite",
        ),
        (
            60.0,
            r"the lease's time \(5 minutes, by the suite's timeout\) is up",
            "raise the timeout of the suite",
        ),
    ],
)
def test_the_search_ends_with_the_lease_s_own_time(
    world: World, longest: float | None, limit: str, fix: str
) -> None:
    machine = dataclasses.replace(TPU, max_minutes=longest)
    world.provider.fail_next = [refusal(Kind.RATE) for _ in range(1000)]
    with pytest.raises(QuotaError, match=limit) as caught:
        world.get(
            B, deadline=2800.0, lease=dataclasses.replace(world.lease, machine=machine, expires_at=1300.0)
        )
    assert world.now < 1300.0
    assert str(caught.value.fix).endswith(f"; or {fix}")


class NeverBooting(FakeProvider):
    """Waits for a worker as long as it may, which never comes."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self.world = world
        self.allowed: list[float] = []

    def acquire(self, lease: Lease, offer: Offer, source: Source, *, seconds: float) -> Lease:
        super().acquire(lease, offer, source, seconds=seconds)
        self.allowed.append(seconds)
        self.world.now += seconds
        raise MachineError("worker 2 of 4 cannot be reached", fix="look at its console")


@pytest.mark.parametrize(("expires_at", "waited"), [(1300.0, 300.0), (9000.0, 1800.0)])
def test_a_worker_that_never_boots_is_waited_for_no_longer_than_the_lease_lasts(
    world: World, expires_at: float, waited: float
) -> None:
    world.provider = provider = NeverBooting(world)
    machine = dataclasses.replace(TPU, max_minutes=5.0)
    with pytest.raises(MachineError, match="worker 2 of 4") as caught:
        world.get(
            B, deadline=2800.0, lease=dataclasses.replace(world.lease, machine=machine, expires_at=expires_at)
        )
    assert provider.allowed == [waited]
    limit = "the lease's time (max-minutes = 5)" if waited == 300.0 else "the time to look for one"
    assert caught.value.details == (f'no machine for "tpu", and {limit} is up',)
    assert provider.leases() == []
    assert list(world.book.open()) == []


def test_a_lease_whose_time_is_over_asks_for_nothing(world: World) -> None:
    world.now = 4600.0
    with pytest.raises(MachineError, match=r"no time left to get a machine: the lease's time \(60 minutes"):
        world.get(B, deadline=9000.0)
    assert world.said == []


def test_a_machine_that_another_run_has_under_the_same_id_is_not_given_back(world: World) -> None:
    world.provider.fail_next = [refusal(Kind.STOCKOUT), TakenError("another run has a machine")]
    with pytest.raises(TakenError):
        world.get()
    assert world.provider.released == [world.lease.id]  # after the first try, and not after the second
    assert [tried.text for tried in world.said][1:] == ["another run has a machine"]
    assert list(world.book.open()) == []
