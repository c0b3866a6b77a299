"""TPU machines against the emulated API: what is asked, what is refused, and that nothing is ever forgotten."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ci_runner.errors import AuthenticationError, CiRunnerError, ConfigurationError, MachineError, UsageError
from ci_runner.model import Lease, LeaseState, MachineSpec
from ci_runner.providers.base import Source
from ci_runner.providers.failures import Kind, ProviderError, Scope
from ci_runner.providers.gcp_client import Tpus, gcloud_project
from ci_runner.providers.gcp_nodes import Places, node_id
from ci_runner.providers.gcp_tpu import YOUNG_PAUSE
from ci_runner.providers.identity import LEASE, marked_at
from ci_runner.remote.fake import FakeShell
from tests.tpu_kit import TPU, ZONE, Google, offer, tpu_lease

OTHER = "us-east5-b"
STOCKOUT = f'There is no more capacity in the zone "{ZONE}"; you can try in another zone'


@pytest.fixture
def google() -> Iterator[Google]:
    with Google() as found:
        yield found


@pytest.fixture
def source(tmp_path: Path) -> Source:
    return Source(root=str(tmp_path), commit=None)


def with_options(**options: str) -> MachineSpec:
    return dataclasses.replace(
        TPU, options={name.replace("_", "-"): value for name, value in options.items()}
    )


# -- offers


def test_offers_are_zones_with_spot_first(google: Google) -> None:
    machine = dataclasses.replace(TPU, zones=(ZONE, OTHER), spot="prefer")
    offers = google.provider().offers(machine)
    assert [str(each) for each in offers] == [
        f"{ZONE} v6e-1 spot",
        f"{OTHER} v6e-1 spot",
        f"{ZONE} v6e-1",
        f"{OTHER} v6e-1",
    ]
    assert [each.price_per_hour for each in offers] == [0.544, 1.215, 2.7, 2.7]
    assert offers[0].accelerators == 1


def test_without_zones_those_of_the_project_that_have_the_type_are_offered(google: Google) -> None:
    offers = google.provider().offers(dataclasses.replace(TPU, zones=()))
    assert [each.zone for each in offers] == list(google.world.zones)
    nobody = dataclasses.replace(TPU, zones=(), type="v4-16", options={"price-per-hour": "1"})
    with pytest.raises(ProviderError, match="no zone of emulated has v4-16"):
        google.provider().offers(nobody)


def test_a_project_that_nobody_names_is_asked_for(google: Google, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError) as caught:
        google.provider(GOOGLE_CLOUD_PROJECT="", HOME=str(tmp_path)).offers(TPU)
    assert "GOOGLE_CLOUD_PROJECT" in str(caught.value.fix)


def test_the_project_of_gclouds_own_configuration_counts(tmp_path: Path) -> None:
    assert gcloud_project({"CLOUDSDK_CONFIG": str(tmp_path)}) is None
    (tmp_path / "configurations").mkdir()
    (tmp_path / "active_config").write_text("work\n")
    (tmp_path / "configurations" / "config_work").write_text("[core]\nproject = ours\n")
    assert gcloud_project({"CLOUDSDK_CONFIG": str(tmp_path)}) == "ours"
    (tmp_path / "configurations" / "config_work").write_text("no ini")
    assert gcloud_project({"CLOUDSDK_CONFIG": str(tmp_path)}) is None


# -- what is asked for


def test_a_node_bears_its_lease_in_the_very_call_that_creates_it(google: Google, source: Source) -> None:
    lease = tpu_lease(labels={"repository": "org/repo", "team": "ml"})
    ready = google.provider().acquire(lease, offer(spot=True), source, seconds=600)
    node = google.world.nodes[ZONE, node_id(lease.id)]
    assert node.body["labels"][LEASE] == lease.id
    assert node.body["labels"]["ci-runner-expires"] == str(int(lease.expires_at))
    assert node.body["labels"]["ci-runner-repository"] == "org-repo"
    assert node.body["schedulingConfig"] == {"spot": True}
    assert node.body["runtimeVersion"] == "v2-alpha-tpuv6e"
    assert node.body["metadata"]["startup-script"].startswith("#!/bin/bash")
    assert "ssh-ed25519 AAAAours" in node.body["metadata"]["ssh-keys"]
    assert "serviceAccount" not in node.body
    assert (ready.state, ready.spot, ready.image) == (LeaseState.READY, True, "v2-alpha-tpuv6e")
    assert "service account" in ready.notes[-1]
    assert len(google.world.calls) < 20


def test_readiness_is_noticed_within_a_second(google: Google, source: Source) -> None:
    google.world.boot_seconds = 41.0
    began = google.clock()
    google.provider().acquire(tpu_lease(), offer(), source, seconds=600)
    assert 41.0 <= google.clock() - began <= 41.0 + YOUNG_PAUSE


def test_a_slice_has_an_address_for_each_worker(google: Google, source: Source) -> None:
    machine = dataclasses.replace(TPU, type="v6e-16")
    ready = google.provider().acquire(tpu_lease(machine=machine), offer(machine=machine), source, seconds=600)
    assert len(ready.addresses) == len(ready.host_keys) == 4
    ((_lease, hosts, _seconds),) = google.reached
    assert [host.address for host in hosts] == list(ready.addresses)


def test_options_reach_the_node(google: Google, source: Source) -> None:
    machine = with_options(
        service_account="nobody@p.iam", network="net", tags="a,b", address="private", reserved="true"
    )
    ready = google.provider().acquire(tpu_lease(machine=machine), offer(machine=machine), source, seconds=600)
    body = google.world.nodes[ZONE, node_id(ready.id)].body
    assert body["serviceAccount"] == {"email": "nobody@p.iam"}
    assert body["networkConfig"] == {"network": "net"}
    assert (body["tags"], body["schedulingConfig"]) == (["a", "b"], {"reserved": True})
    assert not any("service account" in note for note in ready.notes)


def test_a_queued_request_waits_and_is_given_back_with_its_node(google: Google, source: Source) -> None:
    machine = with_options(queued="true")
    lease = tpu_lease(machine=machine)
    provider = google.provider()
    ready = provider.acquire(lease, offer(spot=True, machine=machine), source, seconds=600)
    assert google.holdings() == [node_id(lease.id)] * 2
    assert google.world.nodes[ZONE, node_id(lease.id)].body["schedulingConfig"] == {"spot": True}
    assert [each.id for each in provider.leases()] == [lease.id]
    provider.release(ready)
    assert google.holdings() == []


def test_a_queued_request_that_fails_is_a_stockout_and_holds_nothing_afterwards(
    google: Google, source: Source
) -> None:
    google.world.zones[ZONE].quota = 0
    machine = with_options(queued="true")
    lease = tpu_lease(machine=machine)
    with pytest.raises(ProviderError) as caught:
        google.provider().acquire(lease, offer(machine=machine), source, seconds=60)
    assert caught.value.failure.kind is Kind.STOCKOUT
    assert google.holdings() == [node_id(lease.id)]
    google.provider().release(lease)
    assert google.holdings() == []


# -- adoption


def test_a_process_that_was_killed_is_continued_by_another(google: Google, source: Source) -> None:
    google.provider().acquire(tpu_lease(), offer(), source, seconds=600)
    again = google.provider().acquire(tpu_lease(), offer(), source, seconds=600)
    assert again.state is LeaseState.READY
    assert google.made() == 1


def test_a_node_of_somebody_else_is_not_adopted_and_not_ended(google: Google, source: Source) -> None:
    lease = tpu_lease()
    google.world.create(
        ZONE, node_id(lease.id), {"acceleratorType": "v6e-1", "runtimeVersion": "r", "labels": {}}
    )
    with pytest.raises(ProviderError, match="does not bear the lease's label"):
        google.provider().acquire(lease, offer(), source, seconds=60)
    google.provider().release(lease)
    assert google.holdings() == [node_id(lease.id)]


def test_a_create_call_without_an_answer_is_found_again(google: Google, source: Source) -> None:
    google.world.fault("nodes.create", kind="reset", after=True)
    lease = tpu_lease()
    provider = google.provider()
    with pytest.raises(ProviderError) as caught:
        provider.acquire(lease, offer(), source, seconds=600)
    assert caught.value.failure.kind is Kind.UNKNOWN
    assert provider.acquire(lease, offer(), source, seconds=600).state is LeaseState.READY
    assert google.made() == 1
    provider.release(lease)
    assert google.holdings() == []


# -- what goes wrong


@pytest.mark.parametrize(
    ("arrange", "kind", "scope"),
    [
        (lambda world: world.zones[ZONE].capacity.update({"v6e-1": 0}), Kind.STOCKOUT, Scope.OFFER),
        (lambda world: setattr(world.zones[ZONE], "quota", 0), Kind.QUOTA, Scope.OFFER),
        (lambda world: setattr(world.zones[ZONE], "known", False), Kind.CONFIGURATION, Scope.ZONE),
    ],
    ids=["stockout", "quota", "closed zone"],
)
def test_a_zone_that_has_none_is_told_from_one_that_may_not(
    google: Google, source: Source, arrange: Callable[[object], object], kind: Kind, scope: Scope
) -> None:
    arrange(google.world)
    with pytest.raises(ProviderError) as caught:
        google.provider().acquire(tpu_lease(), offer(), source, seconds=600)
    assert (caught.value.failure.kind, caught.value.failure.scope) == (kind, scope)
    google.provider().release(tpu_lease())
    assert google.holdings() == []


def test_a_node_that_is_taken_away_while_it_is_made(google: Google, source: Source) -> None:
    lease, provider = tpu_lease(), google.provider()

    def preempt(seconds: float) -> None:
        google.clock.now += seconds
        google.world.preempt(node_id(lease.id))

    provider._sleep = preempt
    with pytest.raises(ProviderError) as caught:
        provider.acquire(lease, offer(), source, seconds=600)
    assert caught.value.failure.kind is Kind.PREEMPTED
    assert google.provider().describe(lease) is LeaseState.PREEMPTED
    google.provider().release(lease)  # it holds quota until it is deleted
    assert google.holdings() == []


def test_an_operation_that_never_ends_does_not_keep_a_ready_node_waiting(
    google: Google, source: Source
) -> None:
    lease = tpu_lease()
    google.world.never_done.add(node_id(lease.id))
    assert google.provider().acquire(lease, offer(), source, seconds=600).state is LeaseState.READY


def test_a_node_that_never_boots_is_given_up(google: Google, source: Source) -> None:
    google.world.boot_seconds = 1e9
    with pytest.raises(ProviderError, match="was CREATING when its time was over"):
        google.provider().acquire(tpu_lease(), offer(), source, seconds=300)
    google.provider().release(tpu_lease())
    assert google.holdings() == []


def test_a_machine_that_cannot_be_reached_is_given_back_by_its_lease(google: Google, source: Source) -> None:
    google.unreachable = MachineError("ssh never answered")
    with pytest.raises(MachineError, match="never answered"):
        google.provider().acquire(tpu_lease(), offer(), source, seconds=600)
    google.provider().release(tpu_lease())
    assert google.holdings() == []
    assert google.forgotten == ["7f3c-unit-00000a"]


FAULTS: dict[str, dict[str, Any]] = {
    "403": {"status": 403, "word": "PERMISSION_DENIED", "message": "Permission 'x' denied"},
    "401": {"status": 401, "word": "UNAUTHENTICATED", "message": "invalid authentication credentials"},
    "404": {"status": 404, "word": "NOT_FOUND", "message": "not found"},
    "429 rate": {
        "status": 429,
        "word": "RESOURCE_EXHAUSTED",
        "message": "Quota exceeded: Maximum number of CreateNode requests per minute",
    },
    "500": {"status": 500, "word": "INTERNAL", "message": "Internal error"},
    "503": {"status": 503, "word": "UNAVAILABLE", "message": "unavailable"},
    "hang": {"kind": "hang"},
    "reset": {"kind": "reset"},
    "malformed": {"kind": "malformed"},
}
EXPECTED: dict[str, type[CiRunnerError]] = {
    "403": AuthenticationError,
    "401": AuthenticationError,
    "404": ProviderError,
    "429 rate": ProviderError,
    "500": ProviderError,
    "503": ProviderError,
    "hang": ProviderError,
    "reset": ProviderError,
    "malformed": ProviderError,
}
TIMES = 100  # more often than anybody tries


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("fault", FAULTS)
def test_every_fault_of_creation_has_its_class_and_leaves_nothing(
    google: Google, source: Source, fault: str, after: bool
) -> None:
    google.world.fault("nodes.create", **FAULTS[fault], after=after)
    lease = tpu_lease()
    provider = google.provider()
    with pytest.raises(EXPECTED[fault]) as caught:
        provider.acquire(lease, offer(), source, seconds=600)
    if isinstance(caught.value, ProviderError) and fault == "429 rate":
        assert caught.value.failure.kind is Kind.RATE
    assert google.made() == 1
    provider.release(lease)
    assert google.holdings() == []


@pytest.mark.parametrize("method", ["nodes.get", "operations.get", "nodes.delete", "queuedResources.get"])
@pytest.mark.parametrize("fault", ["429 rate", "500", "503", "reset", "malformed", "hang"])
def test_a_fault_that_passes_is_survived(google: Google, source: Source, method: str, fault: str) -> None:
    google.world.fault(method, **FAULTS[fault], times=1)
    lease, provider = tpu_lease(), google.provider()
    ready = provider.acquire(lease, offer(), source, seconds=600)
    provider.release(ready)
    assert (google.made(), google.holdings()) == (1, [])


@pytest.mark.parametrize("method", ["nodes.get", "nodes.delete"])
@pytest.mark.parametrize("fault", ["401", "500", "reset"])
def test_a_release_that_cannot_be_confirmed_says_so(
    google: Google, source: Source, method: str, fault: str
) -> None:
    lease, provider = tpu_lease(), google.provider()
    ready = provider.acquire(lease, offer(), source, seconds=600)
    google.world.fault(method, **FAULTS[fault], times=TIMES)
    with pytest.raises(CiRunnerError):
        provider.release(ready)
    google.world.faults.clear()
    google.provider().release(ready)
    assert google.holdings() == []


# -- a process that is killed


class Killed(BaseException):
    """SIGKILL, as far as the code that runs is concerned."""


class Mortal(Tpus):
    """Calls of a process that dies at one of them, before or after it takes effect."""

    def __init__(self, google: Google, at: int, *, after: bool) -> None:
        super().__init__(google.environ, sleep=google.clock.sleep, call_seconds=0.5)
        self.left, self.after = at, after

    def _try(self, ask: Callable[[], Any]) -> Any:
        self.left -= 1
        if self.left == 0 and not self.after:
            raise Killed
        answer = super()._try(ask)
        if self.left == 0:
            raise Killed
        return answer


def life(google: Google, lease: Lease, source: Source, machine: MachineSpec, at: int, *, after: bool) -> bool:
    """A process that leases a machine and gives it back; whether it lived to the end."""
    provider = google.provider()
    provider._tpus = Mortal(google, at, after=after)
    provider._places = Places(provider._tpus)
    try:
        provider.release(provider.acquire(lease, offer(machine=machine), source, seconds=600))
    except Killed:
        return False
    return True


@pytest.mark.parametrize("queued", ["false", "true"])
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_killed_at_any_call_nothing_stays_that_the_reaper_does_not_see(
    google: Google, source: Source, queued: str, after: bool
) -> None:
    machine = with_options(queued=queued)
    for at in range(1, 40):
        lease = tpu_lease(f"7f3c-unit-{at:06x}", machine=machine)
        if life(google, lease, source, machine, at, after=after):
            assert at > 5
            break
        seen = google.provider().leases()
        assert {found.id for found in seen} >= ({lease.id} if google.holdings() else set())
        for found in seen:
            google.provider().release(found)
        assert google.holdings() == []
    else:
        raise AssertionError("it never lived to the end")


# -- afterwards


def test_a_node_is_found_by_any_process_in_any_zone(google: Google, source: Source) -> None:
    first, second = tpu_lease("7f3c-unit-00000a", owner="ada"), tpu_lease("7f3c-unit-00000b", owner="bob")
    provider = google.provider()
    provider.acquire(first, offer(), source, seconds=600)
    provider.acquire(second, offer(OTHER, spot=True), source, seconds=600)
    found = {lease.id: lease for lease in google.provider().leases()}
    assert set(found) == {first.id, second.id}
    assert (found[second.id].zone, found[second.id].spot) == (OTHER, True)
    assert found[first.id].expires_at == int(first.expires_at)
    assert [lease.id for lease in google.provider().leases("bob")] == [second.id]
    nowhere = dataclasses.replace(second, machine=dataclasses.replace(TPU, zones=()))
    google.provider().release(nowhere)  # without a zone it is looked for everywhere
    assert google.holdings() == [node_id(first.id)]


def test_a_mark_is_a_label(google: Google, source: Source) -> None:
    provider = google.provider()
    ready = provider.acquire(tpu_lease(), offer(), source, seconds=600)
    provider.mark(ready, 1_700_000_000.0)
    (found,) = google.provider().leases()
    assert marked_at(found) == 1_700_000_000.0
    assert found.owner == ready.owner


def test_stopping_and_starting(google: Google, source: Source) -> None:
    provider = google.provider()
    ready = provider.acquire(tpu_lease(), offer(), source, seconds=600)
    provider.stop(ready)
    assert provider.describe(ready) is LeaseState.STOPPED
    provider.start(ready)
    provider.restart(ready)
    assert provider.describe(ready) is LeaseState.READY
    machine = dataclasses.replace(TPU, type="v6e-16")
    wide = tpu_lease("7f3c-wide-00000b", machine=machine)
    provider.acquire(wide, offer(machine=machine), source, seconds=600)
    with pytest.raises(UsageError, match="a slice of several hosts"):
        provider.stop(wide)


def test_a_preempted_node_is_a_notice(google: Google, source: Source) -> None:
    provider = google.provider()
    ready = provider.acquire(tpu_lease(), offer(spot=True), source, seconds=600)
    assert provider.notice(ready, FakeShell()) is None
    google.world.preempt(node_id(ready.id))
    assert provider.notice(ready, FakeShell()) == "the node was preempted"


def test_a_lease_without_a_machine_is_told(google: Google) -> None:
    lease: Lease = tpu_lease()
    for switch in (google.provider().start, google.provider().stop, google.provider().restart):
        with pytest.raises(MachineError, match="has no machine"):
            switch(lease)
    with pytest.raises(MachineError, match="is not ready"):
        google.provider().shell(lease)
    assert google.provider().describe(lease) is LeaseState.GONE


# -- doctor


def told(google: Google, machine: MachineSpec = TPU, **environ: str) -> dict[str, tuple[str, str]]:
    return {
        check.name: (check.health.value, f"{check.text} | {check.fix}")
        for check in google.provider(**environ).examine(machine)
    }


def test_doctor_says_what_is_there(google: Google) -> None:
    found = told(google)
    assert {name: health for name, (health, _) in found.items()} == dict.fromkeys(
        ["credentials", "type", "zones", "image", "quota"], "ok"
    )
    assert "1 chips of v6e on one host" in found["type"][1]


def test_doctor_says_what_is_missing(google: Google, source: Source, tmp_path: Path) -> None:
    assert told(google, dataclasses.replace(TPU, type="v9z-1"))["type"][0] == "failed"
    assert (
        "name one of: us-central1-b" in told(google, dataclasses.replace(TPU, zones=("mars-a",)))["zones"][1]
    )
    assert "v4-16 is in none of" in told(google, dataclasses.replace(TPU, type="v4-16"))["zones"][1]
    odd = dataclasses.replace(TPU, options={"runtime-version": "odd"})
    assert "has no software odd" in told(google, odd)["image"][1]
    nobody = told(google, GOOGLE_CLOUD_PROJECT="", HOME=str(tmp_path))
    assert nobody["credentials"][0] == "failed"
    ready = google.provider().acquire(tpu_lease(), offer(spot=True), source, seconds=600)
    google.world.preempt(node_id(ready.id))
    health, text = told(google)["quota"]
    assert health == "warning"
    assert f"ci-{ready.id}" in text
