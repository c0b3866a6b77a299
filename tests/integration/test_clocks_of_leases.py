"""A runner and a reaper whose clocks are an hour wrong, over both clouds: a machine is taken in its time and not before."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ci_runner.model import Lease
from ci_runner.providers.aws_client import Aws
from ci_runner.providers.base import Offer, Provider, Source
from ci_runner.providers.cloud_clock import GRAIN, CloudClock
from ci_runner.providers.reaper import GAP_SECONDS, Step, judge
from tests import ec2_kit, tpu_kit
from tests.ec2_kit import Cloud, gpu_lease
from tests.tpu_kit import Google, tpu_lease

HOUR = 3600.0
SLACK = 2 * GRAIN  # whole minutes count, of the runner's clock and of the reaper's
SKEWS = [(0.0, 0.0), (-HOUR, 0.0), (HOUR, 0.0), (0.0, HOUR), (0.0, -HOUR), (HOUR, -HOUR), (-HOUR, HOUR)]


class Bench:
    """One cloud, and processes that use it whose clocks are so many seconds ahead."""

    def __init__(self, cloud: Cloud | Google) -> None:
        self._cloud = cloud

    def provider(self, ahead: float) -> Provider:
        """The provider in a new process with such a clock."""
        clock = CloudClock("the cloud", clock=lambda: time.time() + ahead)
        if isinstance(self._cloud, Cloud):
            aws = Aws(self._cloud.environ, sleep=self._cloud.clock.sleep)
            aws.clock = clock
            return self._cloud.provider(aws)
        provider = self._cloud.provider()
        provider._tpus.clock = clock
        return provider

    def lease(self, ahead: float) -> Lease:
        """A lease of an hour as a runner with such a clock asks for it."""
        make = gpu_lease if isinstance(self._cloud, Cloud) else tpu_lease
        now = time.time() + ahead
        return make(created_at=now, expires_at=now + HOUR)

    @property
    def offer(self) -> Offer:
        """What that runner takes."""
        return ec2_kit.offer() if isinstance(self._cloud, Cloud) else tpu_kit.offer()

    def holdings(self) -> list[str]:
        """What exists."""
        return self._cloud.holdings()


@pytest.fixture(params=[Cloud, Google])
def bench(request: pytest.FixtureRequest) -> Iterator[Bench]:
    with request.param() as cloud:
        yield Bench(cloud)


@pytest.mark.parametrize(("runner", "reaper"), SKEWS)
def test_a_machine_is_reaped_when_its_hour_is_over_whatever_the_clocks_say(
    bench: Bench, tmp_path: Path, runner: float, reaper: float
) -> None:
    (tmp_path / "a.txt").write_text("a")
    source = Source(root=str(tmp_path), commit=None)
    began = time.time()
    bench.provider(runner).acquire(bench.lease(runner), bench.offer, source, seconds=600)
    visitor = bench.provider(reaper)

    def visit(after: float) -> tuple[Lease, Step, float]:
        """What a visit so long after the beginning finds and decides, by the reaper's own clock."""
        now = began + reaper + after
        (found,) = visitor.leases()
        return found, judge(found, now), now

    assert visit(0.0)[1] is Step.KEEP
    assert visit(HOUR - SLACK)[1] is Step.KEEP
    found, step, now = visit(HOUR + SLACK)
    assert step is Step.MARK
    visitor.mark(found, now)
    assert visit(HOUR + SLACK + GAP_SECONDS / 2)[1] is Step.KEEP
    found, step, _ = visit(HOUR + SLACK + GAP_SECONDS + GRAIN)
    assert step is Step.DELETE
    visitor.release(found)
    assert bench.holdings() == []
