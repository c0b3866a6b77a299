"""Machines of EC2 against the emulated one: what is asked, what is refused, and that nothing is ever forgotten."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ci_runner.errors import AuthenticationError, ConfigurationError, MachineError, UsageError
from ci_runner.model import Lease, LeaseState, MachineSpec
from ci_runner.providers.aws_client import Aws
from ci_runner.providers.aws_notice import spot_notice_command
from ci_runner.providers.base import Source
from ci_runner.providers.checkup import Check, Health
from ci_runner.providers.failures import Kind, ProviderError, Scope
from ci_runner.providers.identity import marked_at
from ci_runner.remote.base import Completed
from ci_runner.remote.fake import FakeShell
from tests.ec2_kit import GPU, Cloud, gpu_lease, offer
from tests.emulators.ec2.wire import SpotRequest
from tests.emulators.ec2.world import IMAGE


@pytest.fixture(scope="module")
def one_cloud() -> Iterator[Cloud]:
    with Cloud() as cloud:
        yield cloud


@pytest.fixture
def cloud(one_cloud: Cloud) -> Cloud:
    one_cloud.reset()
    return one_cloud


@pytest.fixture
def source(tmp_path: Path) -> Source:
    return Source(root=str(tmp_path), commit=None)


def machine_of(cloud: Cloud) -> Any:
    (name,) = cloud.emulator.world.instances()
    return cloud.emulator.world.instance(name)


def tags_of(thing: Any) -> dict[str, str]:
    return {tag["key"]: tag["value"] for tag in thing.get_tags()}


# --- offers ---


def test_offers_are_types_by_zones_with_spot_first(cloud: Cloud) -> None:
    machine = dataclasses.replace(
        GPU, type="p4d.24xlarge, g5.xlarge", zones=("us-east-1d", "us-west-2a", "us-east-1f"), spot="prefer"
    )
    offers = cloud.provider().offers(machine)
    # us-east-1f has no p4d.24xlarge
    assert [str(each) for each in offers] == [
        "us-east-1d p4d.24xlarge spot",
        "us-west-2a p4d.24xlarge spot",
        "us-east-1d g5.xlarge spot",
        "us-west-2a g5.xlarge spot",
        "us-east-1f g5.xlarge spot",
        "us-east-1d p4d.24xlarge",
        "us-west-2a p4d.24xlarge",
        "us-east-1d g5.xlarge",
        "us-west-2a g5.xlarge",
        "us-east-1f g5.xlarge",
    ]
    assert [each.accelerators for each in offers][:3] == [8, 8, 1]
    assert [each.price_per_hour for each in offers][4:6] == [0.45, 21.96]


def test_without_zones_the_configured_region_is_taken_and_a_region_stands_for_its_zones(cloud: Cloud) -> None:
    nowhere = dataclasses.replace(GPU, zones=())
    zones = ["us-east-1a", "us-east-1b", "us-east-1c", "us-east-1d", "us-east-1f"]
    assert [each.zone for each in cloud.provider().offers(nowhere)] == zones
    west = dataclasses.replace(nowhere, options={"region": "us-west-2"})
    assert [each.zone for each in cloud.provider().offers(west)] == ["us-west-2a", "us-west-2b", "us-west-2c"]
    only = dataclasses.replace(GPU, zones=("us-west-2",), spot="only")
    assert {(each.zone, each.spot) for each in cloud.provider().offers(only)} == {
        ("us-west-2a", True),
        ("us-west-2b", True),
        ("us-west-2c", True),
    }


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"type": None}, "has no type"),
        ({"type": "g5.xlarge", "zones": ("us-west-2d",)}, "no zone of us-west-2d has g5.xlarge"),
        ({"type": "g5.2xlarge"}, "no price is known"),
    ],
)
def test_a_machine_that_cannot_be_is_named(cloud: Cloud, change: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigurationError, match=words) as caught:
        cloud.provider().offers(dataclasses.replace(GPU, **change))
    assert caught.value.fix


def test_without_any_region_one_is_asked_for(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.delenv("AWS_DEFAULT_REGION", raising=False)
    environ = {name: value for name, value in cloud.environ.items() if name != "AWS_REGION"}
    with pytest.raises(ConfigurationError, match="no region") as caught:
        cloud.provider(Aws(environ)).offers(dataclasses.replace(GPU, zones=()))
    assert "AWS_REGION" in (caught.value.fix or "")


# --- acquire ---


def test_a_machine_is_made_of_what_was_asked_for(cloud: Cloud, source: Source) -> None:
    lease = gpu_lease(labels={"repository": "Org/Kpt", "team": "compilers"})
    ready = cloud.provider().acquire(lease, offer(), source, seconds=600)
    machine = machine_of(cloud)
    assert (ready.state, ready.zone, ready.spot, ready.image) == (
        LeaseState.READY,
        "us-east-1a",
        False,
        IMAGE,
    )
    assert (ready.address, ready.user) == (
        machine.public_ip_address,
        cloud.environ.get("CI_RUNNER_SSH_USER", "ubuntu"),
    )
    assert ready.notes == ("reached",)
    assert ready.host_key == "ssh-ed25519 AAAAtheirs"
    assert machine.instance_initiated_shutdown_behavior == "terminate"
    assert machine.metadata_options.http_tokens == "required"
    assert machine.iam_instance_profile is None
    wanted = {
        "ci-runner-lease": lease.id,
        "ci-runner-owner": "someone",
        "ci-runner-repository": "org-kpt",
        "ci-runner-team": "compilers",
        "ci-runner-expires": str(int(lease.expires_at)),
    }
    backend = cloud.emulator.world.backend("us-east-1")
    (volume,) = backend.describe_volumes()
    (group,) = [each for each in backend.describe_security_groups() if each.name != "default"]
    for thing in (machine, volume, group):
        assert wanted.items() <= tags_of(thing).items()
    assert [(rule.from_port, rule.to_port, rule.ip_range["CidrIp"]) for rule in group.ingress_rules] == [
        (22, 22, "127.0.0.1/32")
    ]
    (call,) = [each for each in cloud.emulator.calls if each.action == "CreateFleet"]
    assert call.params["Type"] == "instant"
    assert call.params["ClientToken"].startswith(lease.id)
    # nothing is tagged after it was made: what is made without its tags can be lost
    assert cloud.emulator.count("CreateTags") == 0


def test_a_spot_machine_is_asked_for_within_the_price_cap(cloud: Cloud, source: Source) -> None:
    machine = dataclasses.replace(GPU, spot="only", max_price_per_hour=0.6, options={"volume-gb": "200"})
    lease = gpu_lease(machine=machine)
    ready = cloud.provider().acquire(
        lease, dataclasses.replace(offer(spot=True), machine=machine), source, seconds=600
    )
    assert ready.spot
    (call,) = [each for each in cloud.emulator.calls if each.action == "CreateFleet"]
    assert call.params["LaunchTemplateConfigs.1.Overrides.1.MaxPrice"] == "0.6"
    assert call.params["SpotOptions.AllocationStrategy"] == "price-capacity-optimized"
    (volume,) = cloud.emulator.world.backend("us-east-1").describe_volumes()
    assert volume.size == 200
    assert [each.spot for each in cloud.provider().leases()] == [True]


def test_the_options_of_a_network_are_used(cloud: Cloud, source: Source) -> None:
    backend = cloud.emulator.world.backend("us-east-1")
    vpc = backend.get_default_vpc().id
    group = backend.create_security_group("theirs", "theirs", vpc).id
    subnets = {each.availability_zone: each.id for each in backend.describe_subnets()}
    options = {
        "security-group": group,
        "subnet": f"{subnets['us-east-1b']}, {subnets['us-east-1a']}",
        "address": "private",
        "image": IMAGE,
        "user": "admin",
    }
    machine = dataclasses.replace(GPU, options=options)
    lease, provider = gpu_lease(machine=machine), cloud.provider()
    ready = provider.acquire(lease, dataclasses.replace(offer(), machine=machine), source, seconds=600)
    made = machine_of(cloud)
    assert (ready.address, ready.user) == (made.private_ip_address, "admin")
    assert made.subnet_id == subnets["us-east-1a"]
    assert cloud.emulator.count("CreateSecurityGroup") == cloud.emulator.count("GetParameter") == 0
    provider.release(lease)
    assert cloud.holdings() == [group]
    there = dataclasses.replace(offer("us-east-1c"), machine=machine)
    with pytest.raises(ProviderError, match="is in us-east-1c") as caught:
        provider.acquire(gpu_lease(machine=machine), there, source, seconds=600)
    assert (caught.value.failure.kind, caught.value.failure.scope) == (Kind.CONFIGURATION, Scope.ZONE)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"source-cidr": "0.0.0.0/0"}, "not opened to everybody"),
        ({"source-cidr": "somewhere"}, "not an address"),
        ({"volume-gb": "big"}, "no size of a disk"),
        ({"image": "ami-00000000"}, "ami-00000000"),
        ({"image-parameter": "/nobody/knows"}, "(?i)parameter"),
    ],
)
def test_an_option_that_cannot_be_is_refused_before_money_is_spent(
    cloud: Cloud, source: Source, options: dict[str, str], words: str
) -> None:
    machine = dataclasses.replace(GPU, options=options)
    lease, provider = gpu_lease(machine=machine), cloud.provider()
    with pytest.raises((ConfigurationError, ProviderError), match=words):
        provider.acquire(lease, dataclasses.replace(offer(), machine=machine), source, seconds=600)
    assert cloud.emulator.count("CreateFleet") == 0
    provider.release(lease)
    assert cloud.holdings() == []


def test_the_address_of_the_runner_is_asked_for(cloud: Cloud, source: Source) -> None:
    machine = dataclasses.replace(GPU, options={"address-service": f"{cloud.emulator.url}/checkip"})
    provider = cloud.provider(CI_RUNNER_SOURCE_CIDR="")
    provider.acquire(
        gpu_lease(machine=machine), dataclasses.replace(offer(), machine=machine), source, seconds=600
    )
    backend = cloud.emulator.world.backend("us-east-1")
    (group,) = [each for each in backend.describe_security_groups() if each.name != "default"]
    assert [rule.ip_range["CidrIp"] for rule in group.ingress_rules] == ["127.0.0.1/32"]


def test_readiness_is_noticed_within_a_second(cloud: Cloud, source: Source) -> None:
    cloud.emulator.world.boot_seconds, before = 30.0, cloud.clock()
    cloud.provider().acquire(gpu_lease(), offer(), source, seconds=600)
    assert 30.0 <= cloud.clock() - before < 31.0


def test_another_process_adopts_the_machine_of_the_lease(cloud: Cloud, source: Source) -> None:
    first = cloud.provider().acquire(gpu_lease(), offer(), source, seconds=600)
    again = cloud.provider().acquire(gpu_lease(), offer(), source, seconds=600)
    assert again.address == first.address
    assert cloud.emulator.count("CreateFleet") == 1


def test_two_runs_with_one_lease_make_one_machine(cloud: Cloud, source: Source) -> None:
    lease, found = gpu_lease(), []
    threads = [
        threading.Thread(
            target=lambda: found.append(cloud.provider().acquire(lease, offer(), source, seconds=600))
        )
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert len(found) == 2
    assert len(cloud.emulator.world.instances()) == 1


def test_what_is_called_like_ours_and_is_not_is_left_alone(cloud: Cloud, source: Source) -> None:
    backend = cloud.emulator.world.backend("us-east-1")
    group = backend.create_security_group(
        "ci-runner-7f3c-unit-00000a", "theirs", backend.get_default_vpc().id
    )
    lease, provider = gpu_lease(), cloud.provider()
    with pytest.raises(ProviderError, match="not of this lease"):
        provider.acquire(lease, offer(), source, seconds=600)
    provider.release(lease)
    assert cloud.holdings() == [group.id]


def test_a_second_machine_of_a_lease_is_ended(cloud: Cloud, source: Source) -> None:
    lease = gpu_lease()
    cloud.provider().acquire(lease, offer(), source, seconds=600)
    backend = cloud.emulator.world.backend("us-east-1")
    backend.run_instances(
        IMAGE,
        1,
        None,
        [],
        instance_type="g5.xlarge",
        is_instance_type_default=False,
        tags={"instance": {"ci-runner-lease": lease.id}},
    )
    assert cloud.provider().acquire(lease, offer(), source, seconds=600).state is LeaseState.READY
    assert len(cloud.emulator.world.instances()) == 1


def test_a_machine_that_cannot_be_reached_is_released(cloud: Cloud, source: Source) -> None:
    cloud.unreachable = MachineError("ssh never answered")
    lease, provider = gpu_lease(), cloud.provider()
    with pytest.raises(MachineError, match="never answered"):
        provider.acquire(lease, offer(), source, seconds=600)
    provider.release(lease)
    assert cloud.holdings() == []
    assert cloud.forgotten == [lease.id]
    cloud.unreachable = None
    shell = provider.shell(provider.acquire(lease, offer(), source, seconds=600))
    provider.release(lease)
    assert cloud.closed == [shell]


def test_a_source_that_is_not_there_costs_nothing(cloud: Cloud, tmp_path: Path) -> None:
    with pytest.raises(MachineError, match="source folder"):
        cloud.provider().acquire(
            gpu_lease(), offer(), Source(root=str(tmp_path / "none"), commit=None), seconds=60
        )
    assert cloud.holdings() == []


# --- refusals ---


@pytest.mark.parametrize(
    ("code", "kind", "scope"),
    [
        ("InsufficientInstanceCapacity", Kind.STOCKOUT, Scope.OFFER),
        ("UnfulfillableCapacity", Kind.STOCKOUT, Scope.OFFER),
        ("VcpuLimitExceeded", Kind.QUOTA, Scope.POOL),
        ("MaxSpotInstanceCountExceeded", Kind.QUOTA, Scope.POOL),
        ("SpotMaxPriceTooLow", Kind.STOCKOUT, Scope.OFFER),
        ("RequestLimitExceeded", Kind.RATE, Scope.NOTHING),
    ],
)
def test_a_fleet_that_grants_nothing_says_why(
    cloud: Cloud, source: Source, code: str, kind: Kind, scope: Scope
) -> None:
    cloud.emulator.refuse(code, zone="us-east-1a", message="not now")
    lease, provider = gpu_lease(), cloud.provider()
    with pytest.raises(ProviderError, match="not now") as caught:
        provider.acquire(lease, offer(), source, seconds=600)
    assert (caught.value.failure.kind, caught.value.failure.scope, caught.value.failure.code) == (
        kind,
        scope,
        code,
    )
    provider.release(lease)
    assert cloud.holdings() == []
    # the next offer is another request, with a token of its own
    assert provider.acquire(lease, offer("us-east-1b"), source, seconds=600).zone == "us-east-1b"


def test_the_same_offer_can_be_tried_again_after_a_refusal(cloud: Cloud, source: Source) -> None:
    cloud.emulator.refuse("RequestLimitExceeded")
    lease, provider = gpu_lease(), cloud.provider()
    with pytest.raises(ProviderError):
        provider.acquire(lease, offer(), source, seconds=600)
    provider.release(lease)
    cloud.emulator.faults.clear()
    assert provider.acquire(lease, offer(), source, seconds=600).state is LeaseState.READY


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("InsufficientInstanceCapacity", Kind.STOCKOUT),
        ("SpotInstanceTermination", Kind.PREEMPTED),
        ("InternalError", Kind.UNKNOWN),
    ],
)
def test_a_machine_that_ends_while_it_is_made_says_why(
    cloud: Cloud, source: Source, code: str, kind: Kind
) -> None:
    cloud.emulator.refuse(code, asynchronous=True)
    lease, provider = gpu_lease(), cloud.provider()
    with pytest.raises(ProviderError) as caught:
        provider.acquire(lease, offer(), source, seconds=600)
    assert (caught.value.failure.kind, caught.value.failure.scope) == (kind, Scope.OFFER)
    provider.release(lease)
    assert cloud.holdings() == []


def test_a_machine_that_never_runs_is_given_up(cloud: Cloud, source: Source) -> None:
    cloud.emulator.world.boot_seconds = 10_000.0
    lease, provider = gpu_lease(), cloud.provider()
    with pytest.raises(ProviderError, match="the machine is pending after"):
        provider.acquire(lease, offer(), source, seconds=300)
    provider.release(lease)
    assert cloud.holdings() == []


@pytest.mark.parametrize("code", ["UnauthorizedOperation", "AuthFailure", "ExpiredToken", "RequestExpired"])
def test_a_refusal_of_who_we_are_stops_at_once(cloud: Cloud, source: Source, code: str) -> None:
    cloud.emulator.fail("CreateFleet", "error", code=code, status=403, message="no", times=9)
    lease, provider = gpu_lease(), cloud.provider()
    with pytest.raises(AuthenticationError, match="no") as caught:
        provider.acquire(lease, offer(), source, seconds=600)
    assert caught.value.exit_code == 5
    assert caught.value.fix
    assert cloud.emulator.count("CreateFleet") <= 2
    provider.release(lease)
    assert cloud.holdings() == []


def test_credentials_that_expire_before_the_cleanup_are_read_again(cloud: Cloud, source: Source) -> None:
    lease, provider = gpu_lease(), cloud.provider()
    provider.acquire(lease, offer(), source, seconds=600)
    cloud.emulator.fail("TerminateInstances", "error", code="ExpiredToken", status=403)
    provider.release(lease)
    assert cloud.holdings() == []


def test_without_credentials_the_fix_is_to_log_in(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    environ = {name: value for name, value in cloud.environ.items() if "ACCESS_KEY" not in name}
    with pytest.raises(AuthenticationError) as caught:
        cloud.provider(Aws(environ)).offers(GPU)
    assert "log in" in (caught.value.fix or "")


# --- every call × every fault ---

HOW = ("timeout", "reset", "500", "503", "malformed")
BEFORE = ("DescribeInstanceTypes", "GetParameter", "DescribeImages", "DescribeSubnets")
MAKING = ("CreateSecurityGroup", "AuthorizeSecurityGroupIngress", "CreateLaunchTemplate", "CreateFleet")
ENDING = ("TerminateInstances", "DeleteLaunchTemplate", "DeleteSecurityGroup", "DescribeVolumes")


@pytest.mark.parametrize("how", ["reset", "503", "malformed"])
@pytest.mark.parametrize("action", BEFORE)
def test_a_fault_before_anything_is_made_passes(cloud: Cloud, source: Source, action: str, how: str) -> None:
    cloud.emulator.fail(action, how)
    assert cloud.provider().acquire(gpu_lease(), offer(), source, seconds=600).state is LeaseState.READY
    assert cloud.emulator.count(action) == 2


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("action", [*MAKING, "DescribeInstances"])
def test_a_fault_that_passes_makes_one_machine_and_no_other(
    cloud: Cloud, source: Source, action: str, how: str
) -> None:
    for late in (False, True):
        cloud.reset()
        cloud.emulator.fail(action, how, late=late)
        lease, provider = gpu_lease(), cloud.provider()
        assert provider.acquire(lease, offer(), source, seconds=600).state is LeaseState.READY
        assert len(cloud.emulator.world.instances()) == 1
        provider.release(lease)
        assert cloud.holdings() == []


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("action", MAKING)
def test_a_fault_that_stays_is_a_failure_and_leaves_nothing(
    cloud: Cloud, source: Source, action: str, how: str
) -> None:
    cloud.emulator.fail(action, how, late=True, times=99)  # it takes effect each time, and no answer comes
    lease, provider = gpu_lease(), cloud.provider()
    with pytest.raises(ProviderError) as caught:
        provider.acquire(lease, offer(), source, seconds=600)
    assert (caught.value.failure.kind, caught.value.failure.scope) == (Kind.UNKNOWN, Scope.NOTHING)
    provider.release(lease)
    assert cloud.holdings() == []
    assert provider.describe(lease) is LeaseState.GONE
    cloud.emulator.faults.clear()
    assert provider.acquire(lease, offer(), source, seconds=600).state is LeaseState.READY
    assert len(cloud.emulator.world.instances()) == 1


@pytest.mark.parametrize("action", [*MAKING])
@pytest.mark.parametrize(
    ("how", "error", "kind"),
    [
        ({"how": "403"}, AuthenticationError, None),
        ({"how": "429"}, ProviderError, Kind.RATE),
        ({"how": "error", "code": "RequestLimitExceeded", "status": 503}, ProviderError, Kind.RATE),
        ({"how": "error", "code": "InvalidParameterValue"}, ProviderError, Kind.CONFIGURATION),
        ({"how": "404"}, ProviderError, Kind.UNKNOWN),
    ],
)
def test_a_refused_call_is_told_apart(
    cloud: Cloud, source: Source, action: str, how: dict[str, Any], error: type[Exception], kind: Kind | None
) -> None:
    cloud.emulator.fail(action, **how, times=99)
    lease, provider = gpu_lease(), cloud.provider()
    with pytest.raises(error) as caught:
        provider.acquire(lease, offer(), source, seconds=600)
    if kind is not None:
        assert isinstance(caught.value, ProviderError)
        assert caught.value.failure.kind is kind
    if kind is Kind.RATE:
        assert cloud.emulator.count(action) == 1  # whoever chooses among offers waits, not the client
    provider.release(lease)
    assert cloud.holdings() == []


def test_a_listing_that_is_throttled_is_asked_again(cloud: Cloud, source: Source) -> None:
    cloud.emulator.fail("DescribeInstances", "429", times=2, headers={"Retry-After": "7"})
    before = cloud.clock()
    assert cloud.provider().leases() == []
    assert cloud.clock() - before >= 14.0


@pytest.mark.parametrize("how", [*HOW, "429"])
@pytest.mark.parametrize("action", ENDING)
def test_a_release_survives_a_fault(cloud: Cloud, source: Source, action: str, how: str) -> None:
    lease, provider = gpu_lease(), cloud.provider()
    for late in (False, True):
        provider.acquire(lease, offer(spot=late), source, seconds=600)
        cloud.emulator.fail(action, how, late=late)
        provider.release(lease)
        assert cloud.holdings() == []


@pytest.mark.parametrize("action", ENDING)
def test_a_release_that_failed_is_ended_by_another_process(cloud: Cloud, source: Source, action: str) -> None:
    lease, provider = gpu_lease(), cloud.provider()
    provider.acquire(lease, offer(), source, seconds=600)
    cloud.emulator.fail(action, "403", times=99)
    with pytest.raises(AuthenticationError):
        provider.release(lease)
    cloud.emulator.faults.clear()
    assert provider.describe(lease) is not LeaseState.GONE
    cloud.provider().release(lease)  # another process, which knows nothing but the lease
    assert cloud.holdings() == []


# --- life, and its end ---


def test_a_new_machine_that_is_not_listed_yet_is_waited_for_and_ended(cloud: Cloud, source: Source) -> None:
    cloud.emulator.world.lag_seconds = 8.0
    lease, provider = gpu_lease(), cloud.provider()
    assert provider.acquire(lease, offer(), source, seconds=600).state is LeaseState.READY
    provider.release(lease)
    cloud.emulator.world.lag_seconds = 5.0
    cloud.emulator.fail("CreateFleet", "reset", late=True, times=99)
    with pytest.raises(ProviderError):
        provider.acquire(lease, offer(), source, seconds=600)
    provider.release(lease)
    assert cloud.holdings() == []


def test_a_release_waits_for_the_machine_and_for_its_group(cloud: Cloud, source: Source) -> None:
    lease, provider = gpu_lease(), cloud.provider()
    provider.acquire(lease, offer(), source, seconds=600)
    cloud.emulator.world.end_seconds, cloud.emulator.world.group_busy = 90.0, 3
    before = cloud.clock()
    provider.release(lease)
    assert cloud.clock() - before >= 90.0
    assert cloud.holdings() == []


def test_a_machine_that_does_not_end_is_told_and_found_again(cloud: Cloud, source: Source) -> None:
    lease, provider = gpu_lease(), cloud.provider()
    provider.acquire(lease, offer(), source, seconds=600)
    cloud.emulator.world.end_seconds = 5000.0
    with pytest.raises(MachineError, match="not given back") as caught:
        provider.release(lease)
    assert lease.id in (caught.value.fix or "")
    assert provider.describe(lease) is LeaseState.RELEASING
    assert [each.state for each in provider.leases()] == [LeaseState.RELEASING]


def test_the_first_call_of_a_release_ends_the_machine(cloud: Cloud, source: Source) -> None:
    lease, provider = gpu_lease(), cloud.provider()
    ready = provider.acquire(lease, offer(), source, seconds=600)
    cloud.emulator.calls.clear()
    provider.release(ready)
    assert cloud.emulator.calls[0].action == "TerminateInstances"


def test_an_interruption_is_a_preemption_until_the_release(cloud: Cloud, source: Source) -> None:
    lease, provider = gpu_lease(), cloud.provider()
    ready = provider.acquire(lease, offer(spot=True), source, seconds=600)
    cloud.emulator.world.interrupt(machine_of(cloud).id)
    assert provider.describe(ready) is LeaseState.PREEMPTED
    assert [each.state for each in cloud.provider().leases()] == [LeaseState.PREEMPTED]
    provider.release(ready)
    assert provider.describe(ready) is LeaseState.GONE
    assert cloud.holdings() == []


def test_a_guest_that_shuts_down_ends_and_its_remains_are_found(cloud: Cloud, source: Source) -> None:
    lease = gpu_lease()
    ready = cloud.provider().acquire(lease, offer(), source, seconds=600)
    cloud.emulator.world.guest_shutdown(machine_of(cloud).id)
    provider = cloud.provider()
    (found,) = provider.leases()
    assert (found.id, found.state, found.zone) == (lease.id, LeaseState.RELEASING, "us-east-1")
    assert found.expires_at == int(lease.expires_at)
    provider.mark(found, 1_700_000_000.0)
    assert [marked_at(each) for each in provider.leases()] == [1_700_000_000.0]
    provider.release(found)
    assert provider.describe(ready) is LeaseState.GONE
    assert cloud.holdings() == []


def test_a_lease_whose_zone_nobody_knows_is_found_everywhere(cloud: Cloud, source: Source) -> None:
    lease = gpu_lease(machine=dataclasses.replace(GPU, zones=()))
    cloud.provider().acquire(lease, offer("us-west-2b"), source, seconds=600)
    provider = cloud.provider()
    assert provider.describe(lease) is LeaseState.READY
    assert [(each.zone, each.machine.type) for each in provider.leases()] == [("us-west-2b", "g5.xlarge")]
    provider.release(lease)
    assert cloud.holdings() == []


def test_a_region_that_does_not_answer_is_no_empty_list(cloud: Cloud) -> None:
    cloud.emulator.fail(
        "DescribeInstances", "error", code="UnauthorizedOperation", region="us-west-2", times=9
    )
    with pytest.raises(AuthenticationError) as caught:
        cloud.provider().leases()
    assert "CI_RUNNER_AWS_REGIONS" in (caught.value.fix or "")


def test_without_a_list_of_regions_all_enabled_ones_are_asked(cloud: Cloud) -> None:
    aws = Aws({**cloud.environ, "CI_RUNNER_AWS_REGIONS": ""}, sleep=cloud.clock.sleep)
    assert {"us-east-1", "eu-central-1", "ap-south-1"} <= set(aws.regions())


def test_a_machine_stops_and_starts_with_another_address(cloud: Cloud, source: Source) -> None:
    lease, provider = gpu_lease(), cloud.provider()
    ready = provider.acquire(lease, offer(), source, seconds=600)
    provider.stop(ready)
    assert provider.describe(ready) is LeaseState.STOPPED
    again = provider.acquire(lease, offer(), source, seconds=600)
    assert again.address != ready.address
    provider.restart(again)
    provider.start(again)
    assert provider.describe(again) is LeaseState.READY
    with pytest.raises(MachineError, match="no machine"):
        provider.start(gpu_lease("7f3c-unit-00000b"))


def test_a_spot_machine_cannot_be_stopped(cloud: Cloud, source: Source) -> None:
    provider = cloud.provider()
    ready = provider.acquire(gpu_lease(), offer(spot=True), source, seconds=600)
    with pytest.raises(UsageError, match="spot machine"):
        provider.stop(ready)


def test_the_shell_of_another_process_needs_an_address(cloud: Cloud, source: Source) -> None:
    ready = cloud.provider().acquire(gpu_lease(), offer(), source, seconds=600)
    assert isinstance(cloud.provider().shell(ready), FakeShell)
    with pytest.raises(MachineError, match="not ready"):
        cloud.provider().shell(gpu_lease())


def test_a_machine_that_is_stopping_is_started_when_it_has_stopped(cloud: Cloud, source: Source) -> None:
    provider = cloud.provider()
    ready = provider.acquire(gpu_lease(), offer(), source, seconds=600)
    name = machine_of(cloud).id
    cloud.emulator.world.put(name, "stopping")
    cloud.emulator.world.later(20.0, lambda: cloud.emulator.world.put(name, "stopped"))
    provider.start(ready)
    assert provider.describe(ready) is LeaseState.READY
    cloud.emulator.fail("StopInstances", "error", code="IncorrectState")
    with pytest.raises(ProviderError):
        provider.stop(ready)
    cloud.emulator.world.put(name, "stopping")
    with pytest.raises(MachineError, match="is stopping, not stopped"):
        provider.start(ready)
    cloud.emulator.world.later(20.0, lambda: cloud.emulator.world.interrupt(name))
    with pytest.raises(MachineError, match="lost its machine"):
        provider.start(ready)


def test_a_granted_machine_that_is_never_listed_is_ended_all_the_same(cloud: Cloud, source: Source) -> None:
    cloud.emulator.world.lag_seconds = 100_000.0
    lease, provider = gpu_lease(), cloud.provider()
    with pytest.raises(ProviderError, match="does not list it"):
        provider.acquire(lease, offer(), source, seconds=600)
    assert len(cloud.emulator.world.instances()) == 1
    provider.release(lease)
    assert cloud.holdings() == []


def test_what_is_left_of_lost_machines_is_ended_too(cloud: Cloud, source: Source) -> None:
    lease, provider = gpu_lease(), cloud.provider()
    provider.acquire(lease, offer(spot=True), source, seconds=600)
    world, labels = cloud.emulator.world, {"ci-runner-lease": lease.id}
    volume = world.backend("us-east-1").create_volume(size=1, zone_name="us-east-1a")
    volume.add_tags(labels)
    world.spot_requests.append(SpotRequest("sir-late", "us-east-1", labels, state="open"))
    cloud.provider().release(lease)
    assert cloud.holdings() == []


def test_a_group_that_stays_in_use_is_told(cloud: Cloud, source: Source) -> None:
    lease, provider = gpu_lease(), cloud.provider()
    provider.acquire(lease, offer(), source, seconds=600)
    cloud.emulator.world.group_busy = 100_000
    with pytest.raises(MachineError, match="still in use"):
        provider.release(lease)
    assert [each.state for each in provider.leases()] == [LeaseState.RELEASING]
    cloud.emulator.world.group_busy = 0
    provider.release(lease)
    assert cloud.holdings() == []


@pytest.mark.parametrize("action", ["TerminateInstances", "DeleteLaunchTemplate", "DeleteSecurityGroup"])
def test_an_unexpected_refusal_of_the_end_is_told(cloud: Cloud, source: Source, action: str) -> None:
    lease, provider = gpu_lease(), cloud.provider()
    provider.acquire(lease, offer(), source, seconds=600)
    cloud.emulator.fail(action, "error", code="OperationNotPermitted", message="protected")
    with pytest.raises(ProviderError, match="protected"):
        provider.release(lease)
    provider.release(lease)
    assert cloud.holdings() == []


def test_where_there_is_no_default_subnet_one_is_asked_for(cloud: Cloud, source: Source) -> None:
    backend = cloud.emulator.world.backend("us-east-1")
    for subnet in backend.describe_subnets():
        backend.delete_subnet(subnet.id)
    with pytest.raises(ProviderError, match="no default subnet") as caught:
        cloud.provider().acquire(gpu_lease(), offer(), source, seconds=600)
    assert "options" in str(caught.value)


def test_the_runner_s_address_may_not_be_known(cloud: Cloud, source: Source) -> None:
    machine = dataclasses.replace(GPU, options={"address-service": "http://127.0.0.1:1/"})
    there = dataclasses.replace(offer(), machine=machine)
    with pytest.raises(MachineError, match="own address is not known") as caught:
        cloud.provider(CI_RUNNER_SOURCE_CIDR="").acquire(
            gpu_lease(machine=machine), there, source, seconds=600
        )
    assert "CI_RUNNER_SOURCE_CIDR" in (caught.value.fix or "")


def test_a_token_that_another_run_used_adopts_its_machine(cloud: Cloud, source: Source) -> None:
    cloud.emulator.fail("CreateFleet", "error", code="IdempotentParameterMismatch", late=True)
    assert cloud.provider().acquire(gpu_lease(), offer(), source, seconds=600).state is LeaseState.READY
    assert len(cloud.emulator.world.instances()) == 1


# --- a process that is killed ---


class Killed(BaseException):
    """The process is gone: nothing of it runs any more."""


class Doomed(Aws):
    """Calls of a process that is killed before or after one of them."""

    def __init__(self, cloud: Cloud, at: int, after: bool) -> None:
        super().__init__(cloud.environ, sleep=cloud.clock.sleep)
        self.left, self.after = at, after
        self._clients = cloud.aws._clients  # only to be quick

    def call(self, service: str, region: str, operation: str, **values: Any) -> Any:
        """Make a call, unless it is the last."""
        self.left -= 1
        if self.left < 0 and not self.after:
            raise Killed
        answer = super().call(service, region, operation, **values)
        if self.left < 0:
            raise Killed
        return answer


@pytest.mark.parametrize("after", [False, True])
def test_whenever_a_process_is_killed_another_finds_all_and_ends_it(
    cloud: Cloud, source: Source, after: bool
) -> None:
    survived, at = False, 0
    while not survived:
        cloud.reset()
        lease, provider = gpu_lease(f"7f3c-unit-{at}"), cloud.provider(Doomed(cloud, at, after))
        try:
            provider.acquire(lease, offer(spot=at % 2 == 0), source, seconds=600)
            provider.release(lease)
            survived = True
        except Killed:
            pass
        reaper = cloud.provider()
        left = reaper.leases()
        assert {each.id for each in left} <= {lease.id}
        assert bool(left) == bool(cloud.holdings()), f"killed at call {at}"
        for each in left:
            reaper.release(each)
        assert cloud.holdings() == [], f"killed at call {at}"
        at += 1
    assert at > 20


# --- what doctor asks ---


def told(cloud: Cloud, machine: MachineSpec = GPU) -> dict[str, list[Check]]:
    found: dict[str, list[Check]] = {}
    for check in cloud.provider().examine(machine):
        found.setdefault(check.name, []).append(check)
    return found


def test_a_healthy_account_is_ok_and_nothing_is_made(cloud: Cloud) -> None:
    found = told(cloud, dataclasses.replace(GPU, spot="prefer"))
    assert list(found) == ["credentials", "permissions", "zones", "quota", "image"]
    assert {check.health for checks in found.values() for check in checks} == {Health.OK}
    assert "123456789012" in found["credentials"][0].text
    assert len(found["quota"]) == 2
    assert IMAGE in found["image"][0].text
    assert cloud.holdings() == []


def test_a_missing_quota_is_named_with_its_fix(cloud: Cloud) -> None:
    cloud.emulator.world.quotas["L-DB2E81BA"] = 0.0  # what a new account has
    (check,) = told(cloud)["quota"]
    assert (check.health, check.exit_code) == (Health.FAILED, 4)
    assert "0 vCPUs of on-demand G and VT instances in us-east-1, g5.xlarge takes 4" in check.text
    assert "--quota-code L-DB2E81BA --desired-value 4 --region us-east-1" in (check.fix or "")


def test_what_is_not_allowed_or_not_there_is_named(cloud: Cloud) -> None:
    for action in ("CreateFleet", "CreateLaunchTemplate"):
        cloud.emulator.fail(action, "error", code="UnauthorizedOperation", status=403)
    cloud.emulator.fail("CreateSecurityGroup", "error", code="SomethingElse", message="odd")
    cloud.emulator.fail("GetServiceQuota", "error", code="AccessDeniedException", status=403)
    machine = dataclasses.replace(
        GPU, zones=("us-west-2a",), type="g5.xlarge x2idn.16xlarge", options={"image": "ami-1"}
    )
    found = told(cloud, machine)
    odd, refused = found["permissions"]
    assert (odd.health, refused.health, refused.exit_code) == (Health.WARNING, Health.FAILED, 5)
    assert "ec2:CreateFleet, ec2:CreateLaunchTemplate" in (refused.fix or "")
    assert {check.health for check in found["quota"]} == {Health.WARNING}
    assert {check.health for check in found["image"]} == {Health.FAILED}
    assert found["zones"][0].health is Health.OK


def test_a_policy_that_knows_templates_by_their_tag_is_no_refusal(cloud: Cloud) -> None:
    text = "not authorized to perform: ec2:CreateFleet on resource: arn:aws:ec2:us-east-1:1:launch-template/*"
    cloud.emulator.fail("CreateFleet", "error", code="UnauthorizedOperation", status=403, message=text)
    (check,) = told(cloud)["permissions"]
    assert check.health is Health.OK


def test_whether_a_machine_may_be_ended_is_asked_of_one_of_ours(cloud: Cloud, source: Source) -> None:
    cloud.provider().acquire(gpu_lease(), offer(), source, seconds=600)
    cloud.emulator.fail("TerminateInstances", "error", code="UnauthorizedOperation", status=403)
    (check,) = told(cloud)["permissions"]
    assert (check.health, check.exit_code) == (Health.FAILED, 5)
    assert "ec2:TerminateInstances" in (check.fix or "")


def test_if_nobody_knows_us_nothing_else_is_asked(cloud: Cloud) -> None:
    cloud.emulator.fail("GetCallerIdentity", "error", code="InvalidClientTokenId", status=403, times=9)
    found = told(cloud)
    assert list(found) == ["credentials"]
    assert found["credentials"][0].exit_code == 5


# --- the announcement of the end ---


def ask(cloud: Cloud, name: str) -> Completed:
    """Ask as the machine does."""
    environ = {**os.environ, "AWS_EC2_METADATA_SERVICE_ENDPOINT": f"{cloud.emulator.url}/imds/{name}"}
    words = [sys.executable, *spot_notice_command()[1:]]
    done = subprocess.run(words, env=environ, capture_output=True, check=False, timeout=30)
    return Completed(exit_code=done.returncode, stdout=done.stdout, stderr=done.stderr)


def test_the_machine_is_told_before_it_is_taken_back(cloud: Cloud, source: Source) -> None:
    provider = cloud.provider()
    ready = provider.acquire(gpu_lease(), offer(spot=True), source, seconds=600)
    name, shell = machine_of(cloud).id, FakeShell()
    shell.answers = lambda argv, _stdin: ask(cloud, name)
    assert provider.notice(ready, shell) is None
    cloud.emulator.world.notices[name] = "2026-11-23T15:00:00Z"
    said = provider.notice(ready, shell)
    assert said is not None
    assert json.loads(said)["time"] == "2026-11-23T15:00:00Z"
    shell.broken = "the line is cut"
    assert provider.notice(ready, shell) is None
    assert provider.notice(dataclasses.replace(ready, spot=False), shell) is None


def test_where_there_is_no_metadata_service_the_command_says_so(cloud: Cloud) -> None:
    environ = {**os.environ, "AWS_EC2_METADATA_SERVICE_ENDPOINT": "http://127.0.0.1:1"}
    words = [sys.executable, *spot_notice_command()[1:]]
    done = subprocess.run(words, env=environ, capture_output=True, check=False, timeout=30)
    assert (done.returncode, done.stdout) == (2, b"")


def test_the_emulator_runs_as_a_program(tmp_path: Path) -> None:
    script = Path(__file__).parents[1] / "emulators" / "ec2" / "server.py"
    with subprocess.Popen(
        [sys.executable, str(script), "--port", "0"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=tmp_path,
    ) as process:
        assert process.stdout is not None
        found = json.loads(process.stdout.readline())
        aws = Aws({**found["environ"], "CI_RUNNER_AWS_REGIONS": "us-east-1"})
        answer: Any = aws.call("sts", "us-east-1", "GetCallerIdentity")
        process.communicate(timeout=30)  # its standard input ends
    assert answer["Account"] == "123456789012"
    assert process.returncode == 0


def test_a_lease_is_a_lease_of_ours(cloud: Cloud, source: Source) -> None:
    lease: Lease = gpu_lease("../up")
    with pytest.raises(ValueError, match="not an id of a lease"):
        cloud.provider().acquire(lease, offer(), source, seconds=600)
