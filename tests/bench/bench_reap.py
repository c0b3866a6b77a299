"""The reaper over a large fleet: 10,000 machines in 50 zones, with the latency and the rate limit of a cloud.

`python tests/bench/bench_reap.py`. A listing takes one call for each page of 200 machines, 60 ms each, zones side by
side; a deletion or a mark takes 150 ms. The cloud refuses what is over its rate. 300 machines were marked on an earlier
visit, 200 expired since. The limit is 30 s for the visit; what one call after the other would take is printed too.
"""

from __future__ import annotations

import dataclasses
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

from ci_runner.model import Lease, LeaseState, MachineSpec
from ci_runner.providers.failures import Failure, Kind, ProviderError, Scope
from ci_runner.providers.fake import FakeProvider
from ci_runner.providers.reaper import Limits, Pace, Reaper, Result, Step

MACHINES, ZONES, PAGE = 10_000, 50, 200
MARKED, EXPIRED = 300, 200
LIST_SECONDS, CALL_SECONDS = 0.06, 0.15
LIMIT_SECONDS = 30.0
NOW = 1_000_000.0


class Cloud(FakeProvider):
    """A provider that takes its time, and refuses calls that come too fast."""

    def __init__(self) -> None:
        super().__init__(name="gcp-tpu")
        self.calls = 0
        self.refusals = 0
        self._seen: list[float] = []
        self._guard = threading.Lock()
        self._paced = Pace(Limits())
        machine = MachineSpec(name="tpu", provider="gcp-tpu", type="v6e-1")
        for number in range(MACHINES):
            labels, expires = {}, NOW + 3600.0
            if number < MARKED + EXPIRED:
                expires = NOW - 3000.0
            if number < MARKED:
                labels = {"reap": str(int(NOW) - 1800)}
            lease = Lease(
                id=f"b{number:05}-suite-abc123",
                machine=machine,
                owner="bench",
                run_id="r",
                suite="s",
                created_at=NOW - 7200.0,
                expires_at=expires,
                state=LeaseState.READY,
                zone=f"zone-{number % ZONES}",
                price_per_hour=0.6,
                labels=labels,
            )
            self._leases[lease.id] = lease

    def _call(self, seconds: float) -> None:
        """One call over the network; more than 30 in a second, after a burst of 60, are refused."""
        with self._guard:
            now = time.monotonic()
            self.calls += 1
            self._seen = [*(at for at in self._seen if now - at < 1.0), now]
            refused = len(self._seen) > 60
            self.refusals += refused
        time.sleep(seconds)
        if refused:
            raise ProviderError(Failure(kind=Kind.RATE, scope=Scope.NOTHING, text="slow down"))

    def _page(self) -> None:
        self._paced.wait()
        self._call(LIST_SECONDS)

    def leases(self, owner: str | None = None) -> list[Lease]:
        pages = ZONES * -(-MACHINES // ZONES // PAGE)
        with ThreadPoolExecutor(max_workers=16) as pool:
            list(pool.map(lambda _: self._page(), range(pages)))
        return super().leases(owner)

    def release(self, lease: Lease) -> None:
        self._call(CALL_SECONDS)
        super().release(lease)

    def mark(self, lease: Lease, at: float) -> None:
        self._call(CALL_SECONDS)
        super().mark(lease, at)


def main() -> int:
    """Print the figures; 1 if the limit is missed or a machine was treated wrongly."""
    cloud = Cloud()
    began = time.monotonic()
    found = cloud.leases()
    listed = time.monotonic() - began
    reaped = Reaper(cloud, now=NOW).visit(found)
    took = time.monotonic() - began
    done = {step: sum(each.step is step and each.result is Result.DONE for each in reaped) for step in Step}
    one_by_one = cloud.calls * LIST_SECONDS + (MARKED + EXPIRED) * (CALL_SECONDS - LIST_SECONDS)
    print(
        f"{MACHINES:,} machines in {ZONES} zones: listed in {listed:.1f} s,"
        f" visit of {took:.1f} s (limit {LIMIT_SECONDS:g} s)"
    )
    print(f"{done[Step.DELETE]} deleted and confirmed, {done[Step.MARK]} marked, {len(cloud._leases):,} left")
    print(
        f"{cloud.calls} calls, {cloud.refusals} refused for their rate; one by one they take {one_by_one:.0f} s"
    )
    began = time.process_time()
    judged = Reaper(cloud, now=NOW).visit(
        dataclasses.replace(each) for each in found if each.expires_at > NOW
    )
    print(f"judging {MACHINES - MARKED - EXPIRED:,} machines: {time.process_time() - began:.2f} s of CPU")
    right = done[Step.DELETE] == MARKED and done[Step.MARK] == EXPIRED and not judged
    return 0 if right and took < LIMIT_SECONDS else 1


if __name__ == "__main__":
    sys.exit(main())
