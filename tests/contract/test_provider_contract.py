"""What every Provider promises, asked of the local one and of the one in memory."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from ci_runner.errors import CiRunnerError, MachineError, UsageError
from ci_runner.model import Lease, LeaseState, MachineSpec
from ci_runner.providers.base import Provider, Source
from ci_runner.providers.fake import FakeProvider
from ci_runner.providers.identity import marked_at
from ci_runner.providers.local import LocalProvider
from tests.job_kit import LEASE, make_lease
from tests.packages import needed


@dataclass
class Bench:
    """A provider, a source that it can stage and one that it cannot."""

    provider: Provider
    source: Source
    broken: Source
    machine: MachineSpec = field(default_factory=lambda: MachineSpec(name="local"))

    def lease(self, name: str = LEASE, **more: Any) -> Lease:
        """A lease for a machine of this provider."""
        return make_lease(name, machine=self.machine, **more)

    def acquire(self, lease: Lease, source: Source | None = None) -> Lease:
        """Acquire a lease on the best offer."""
        offer = self.provider.offers(lease.machine)[0]
        return self.provider.acquire(lease, offer, source or self.source, seconds=60)

    def fail(self, lease: Lease) -> None:
        """Let one acquisition fail."""
        if isinstance(self.provider, FakeProvider):
            self.provider.fail_next.append(MachineError("it broke"))
        with pytest.raises(CiRunnerError):
            self.acquire(lease, self.broken)


@pytest.fixture(
    params=["local", "fake", "aws-ec2", "gcp-tpu", pytest.param("ssh", marks=pytest.mark.needs("sshd"))]
)
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Bench]:
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "a.txt").write_text("one\n")
    source = Source(root=str(tmp_path / "source"), commit=None)
    broken = Source(root=str(tmp_path / "none"), commit=None)
    if request.param == "aws-ec2":
        needed("moto")
        from tests.ec2_kit import GPU, Cloud  # moto takes seconds, which the others need not wait for

        with Cloud() as cloud:
            yield Bench(cloud.provider(), source, broken, GPU)
            for lease in cloud.provider().leases():
                cloud.provider().release(lease)
            assert cloud.holdings() == []
        return
    if request.param == "gcp-tpu":
        needed("google.cloud.tpu_v2")
        from tests.tpu_kit import TPU, Google

        with Google() as google:
            yield Bench(google.provider(), source, broken, TPU)
            for lease in google.provider().leases():
                google.provider().release(lease)
            assert google.holdings() == []
        return
    if request.param == "ssh":
        from tests.pool_kit import Pool

        with Pool() as pool:
            lender = pool.provider()
            yield Bench(lender, source, broken, pool.machine)
            for lease in lender.leases():
                lender.release(lease)
            assert pool.holdings() == []
        return
    provider = LocalProvider(tmp_path / "leases", os.environ) if request.param == "local" else FakeProvider()
    yield Bench(provider, source, broken)
    for lease in provider.leases():
        provider.release(lease)


def test_it_has_a_name_and_offers(bench: Bench) -> None:
    assert bench.provider.name
    offers = bench.provider.offers(bench.lease().machine)
    assert [offer.machine.name for offer in offers] == [bench.machine.name]
    assert all(offer.price_per_hour >= 0 for offer in offers)


def test_a_lease_is_ready_listed_and_then_gone(bench: Bench) -> None:
    lease = bench.lease()
    assert bench.provider.describe(lease) is LeaseState.GONE
    ready = bench.acquire(lease)
    assert ready.state is LeaseState.READY
    assert (ready.id, ready.owner, ready.expires_at) == (lease.id, lease.owner, lease.expires_at)
    assert bench.provider.describe(lease) is LeaseState.READY
    assert [found.id for found in bench.provider.leases()] == [lease.id]
    bench.provider.release(ready)
    assert bench.provider.describe(lease) is LeaseState.GONE
    assert bench.provider.leases() == []


def test_acquiring_again_adopts_what_is_there(bench: Bench) -> None:
    lease = bench.lease()
    ready = bench.acquire(lease)
    shell = bench.provider.shell(ready)
    shell.write(f"{shell.scratch}/mine", b"kept")
    assert bench.acquire(lease) == ready
    assert shell.read(f"{shell.scratch}/mine") == b"kept"
    assert len(bench.provider.leases()) == 1


def test_releasing_again_or_without_a_machine_is_silent(bench: Bench) -> None:
    lease = bench.lease()
    bench.provider.release(lease)
    bench.acquire(lease)
    bench.provider.release(lease)
    bench.provider.release(lease)
    assert bench.provider.leases() == []


def test_a_failure_leaves_nothing_that_release_would_not_remove(bench: Bench) -> None:
    lease = bench.lease()
    bench.fail(lease)
    assert bench.provider.describe(lease) in (LeaseState.REQUESTED, LeaseState.GONE)
    with pytest.raises(MachineError, match="not ready"):
        bench.provider.shell(lease)
    bench.provider.release(lease)
    assert bench.provider.describe(lease) is LeaseState.GONE
    assert bench.provider.leases() == []


def test_after_a_failure_the_same_lease_can_be_acquired(bench: Bench) -> None:
    lease = bench.lease()
    bench.fail(lease)
    assert bench.acquire(lease).state is LeaseState.READY


def test_leases_are_listed_by_owner(bench: Bench) -> None:
    bench.acquire(bench.lease(f"{LEASE}a", owner="one"))
    bench.acquire(bench.lease(f"{LEASE}b", owner="two"))
    assert [lease.id for lease in bench.provider.leases("two")] == [f"{LEASE}b"]
    assert [lease.id for lease in bench.provider.leases("three")] == []
    assert len(bench.provider.leases()) == 2


def test_two_leases_do_not_see_each_other(bench: Bench) -> None:
    shells = [bench.provider.shell(bench.acquire(bench.lease(f"{LEASE}-{n}"))) for n in (1, 2)]
    shells[0].write(f"{shells[0].work}/x", b"1")
    assert shells[1].read(f"{shells[1].work}/x") == b""
    bench.provider.release(bench.lease(f"{LEASE}-1"))
    assert bench.provider.describe(bench.lease(f"{LEASE}-2")) is LeaseState.READY


def test_the_shell_of_a_lease_is_the_same_each_time(bench: Bench) -> None:
    lease = bench.acquire(bench.lease())
    assert bench.provider.shell(lease) is bench.provider.shell(lease)


@pytest.mark.parametrize("name", ["", "../up", "UPPER", "a" * 41, "-a", "a/b"])
def test_an_id_that_could_not_name_a_machine_is_refused(bench: Bench, name: str) -> None:
    with pytest.raises(ValueError, match="not an id of a lease"):
        bench.acquire(bench.lease(name))


def test_a_machine_that_the_reaper_saw_expired_says_so(bench: Bench) -> None:
    lease = bench.acquire(bench.lease())
    assert marked_at(lease) is None
    bench.provider.mark(lease, 1_700_000_000.7)
    assert [marked_at(found) for found in bench.provider.leases()] == [1_700_000_000]
    bench.provider.release(lease)
    bench.provider.mark(lease, 1_700_000_001.0)
    assert bench.provider.leases() == []


def test_a_machine_is_stopped_and_started_or_it_is_said_why_not(bench: Bench) -> None:
    lease = bench.acquire(bench.lease())
    if bench.provider.name in ("local", "ssh"):
        for switch in (bench.provider.stop, bench.provider.start, bench.provider.restart):
            with pytest.raises(UsageError, match=r"not (stopped|started|restarted)"):
                switch(lease)
        assert bench.provider.describe(lease) is LeaseState.READY
        return
    bench.provider.stop(lease)
    assert bench.provider.describe(lease) is LeaseState.STOPPED
    bench.provider.start(lease)
    bench.provider.restart(lease)
    assert bench.provider.describe(lease) is LeaseState.READY
