"""What is asked of the clouds while leasing, releasing, reaping and looking: what the list says for each, and no more.

At AWS every call is judged, when it comes, by the policy of a stack made from the printed template.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from ci_runner.model import Lease
from ci_runner.providers.aws_client import Aws
from ci_runner.providers.base import Provider, Source
from ci_runner.providers.failures import ProviderError
from ci_runner.providers.gcp_nodes import node_id
from ci_runner.providers.identity import labels_of
from ci_runner.providers.permissions import AWS, GCP, PERMISSIONS, Purpose
from ci_runner.providers.reaper import GAP_SECONDS, Reaper
from ci_runner.providers.setup_text import Setup, aws_template
from tests import ec2_kit, tpu_kit
from tests.ec2_kit import GPU, Cloud, gpu_lease
from tests.emulators.ec2.wire import Call, SpotRequest
from tests.emulators.ec2.world import IMAGE
from tests.stack_kit import ACCOUNT, Asked, Context, account, allows, deploy
from tests.tpu_kit import TPU, Google, tpu_lease

FLOWS = [each for each in Purpose if each is not Purpose.HISTORY]
SERVICES = {"GetParameter": "ssm", "GetServiceQuota": "service-quotas", "GetCallerIdentity": "sts"}
MADE = ("instance", "volume", "spot-instances-request")
PARTS = ("image", "subnet", "security-group", "network-interface")
IDS = {
    "i": "instance",
    "vol": "volume",
    "sg": "security-group",
    "lt": "launch-template",
    "sir": "spot-instances-request",
}


@pytest.fixture
def source(tmp_path: Path) -> Source:
    return Source(root=str(tmp_path), commit=None)


def declared(cloud: str, purpose: Purpose) -> set[str]:
    return {each.call for each in PERMISSIONS if each.cloud == cloud and purpose in each.purposes}


def visit(provider: Provider, *, after: float = 0.0) -> None:
    """The reaper, long after the lease."""
    reaper = Reaper(provider, now=time.time() + 1_000_000.0 + after)
    assert [each.error for each in reaper.visit(provider.leases()) if each.error] == []


# --- AWS ---


class Judge(list[Call]):
    """Takes the place of the emulator's record of calls, and holds each one to the policy before it is answered."""

    def __init__(self, policy: Mapping[str, Any], cloud: Cloud) -> None:
        super().__init__()
        self._policy = policy
        self._world = cloud.emulator.world
        # name → its own tags, and those of what it makes, by kind
        self._templates: dict[str, tuple[Context, Mapping[str, Context]]] = {}
        self.judged: set[str] = set()
        self.refused: list[Asked] = []

    def append(self, call: Call) -> None:
        """One call, as IAM sees it."""
        super().append(call)
        for asked in self._asked(call):
            self.judged.add(asked.action)
            if not allows(self._policy, asked):
                self.refused.append(asked)

    def names(self) -> set[str]:
        """The operations, as the list has them."""
        return {f"{SERVICES.get(call.action, 'ec2')}:{call.action}" for call in self}

    def _asked(self, call: Call) -> Iterator[Asked]:
        action, own = f"ec2:{call.action}", request_tags(call, "TagSpecification")
        if call.action == "GetCallerIdentity":
            return
        if call.action == "GetParameter":
            name = json.loads(call.body)["Name"]
            yield Asked(action="ssm:GetParameter", resource=f"arn:aws:ssm:{call.region}::parameter{name}")
        elif call.action == "GetServiceQuota":
            yield Asked(action="servicequotas:GetServiceQuota", resource="arn:aws:servicequotas:::ec2/x")
        elif call.action.startswith("Describe"):
            yield Asked(action=action, resource=thing(call, "anything"))
        elif call.action == "CreateSecurityGroup":
            yield from born(call, "security-group", own["security-group"])
            yield new(call, "vpc", {})
        elif call.action == "CreateLaunchTemplate":
            yield from born(call, "launch-template", own["launch-template"])
            inside = request_tags(call, "LaunchTemplateData.TagSpecification")
            self._templates[call.params["LaunchTemplateName"]] = (own["launch-template"], inside)
        elif call.action == "CreateFleet":
            yield from born(call, "fleet", own["fleet"])
            yield from (new(call, kind, {}) for kind in (*MADE, *PARTS))
            yield from self._run(call)
        else:
            yield from self._touched(call, action)

    def _run(self, call: Call) -> Iterator[Asked]:
        """What EC2 does for a fleet in the caller's name; the dry run of doctor has no template."""
        name = call.params["LaunchTemplateConfigs.1.LaunchTemplateSpecification.LaunchTemplateName"]
        if name not in self._templates:
            return
        template, inside = self._templates[name]
        for does in ("CreateFleet", "RunInstances"):
            resource = thing(call, "launch-template")
            yield Asked(action=f"ec2:{does}", resource=resource, context=owned(template))
        for kind in MADE:
            yield from born(call, kind, inside[kind], "RunInstances")
        yield from (new(call, kind, {}, "RunInstances") for kind in PARTS)

    def _touched(self, call: Call, action: str) -> Iterator[Asked]:
        """A call about what exists, named by its id."""
        keys = [key.partition(".")[2] for key in call.params if key.startswith("Tag.")]
        tags = {"aws:TagKeys": [call.params[f"Tag.{key}"] for key in keys if key.endswith(".Key")]}
        ids = [value for value in call.params.values() if value.partition("-")[0] in IDS and " " not in value]
        assert ids, call
        for each in ids:
            found = self._tags(call.region, each)
            if found is not None:
                context = {**owned(found), **(tags if action == "ec2:CreateTags" else {})}
                yield Asked(action=action, resource=thing(call, IDS[each.partition("-")[0]]), context=context)

    def _tags(self, region: str, name: str) -> Context | None:
        """The tags of a thing; None if it is gone."""
        for request in self._world.spot_requests:
            if request.id == name:
                return request.tags
        found = self._world.backend(region).tags.get(name)
        return dict(found) if found else None


def new(call: Call, kind: str, tags: Context, does: str | None = None) -> Asked:
    """The creation of something, or the use of a part for it."""
    context = {"aws:RequestedRegion": call.region, **requested(tags)}
    return Asked(action=f"ec2:{does or call.action}", resource=thing(call, kind), context=context)


def born(call: Call, kind: str, tags: Context, does: str | None = None) -> Iterator[Asked]:
    """The creation of something with tags, which are a permission of their own."""
    yield new(call, kind, tags, does)
    tagging = new(call, kind, tags, "CreateTags")
    context = {**tagging.context, "ec2:CreateAction": does or call.action}
    yield dataclasses.replace(tagging, context=context)


def thing(call: Call, kind: str) -> str:
    """The ARN of something."""
    return f"arn:aws:ec2:{call.region}:{'' if kind == 'image' else ACCOUNT}:{kind}/x"


def requested(tags: Context) -> Context:
    return {f"aws:RequestTag/{key}": value for key, value in tags.items()}


def owned(tags: Context) -> Context:
    return {f"aws:ResourceTag/{key}": value for key, value in tags.items()}


def request_tags(call: Call, prefix: str) -> dict[str, dict[str, str]]:
    """Kind of thing → the tags that a call gives it."""
    found: dict[str, dict[str, str]] = {}
    for number in itertools.count(1):
        kind = call.params.get(f"{prefix}.{number}.ResourceType")
        if kind is None:
            return found
        found[kind] = {}
        for tag in itertools.count(1):
            key = call.params.get(f"{prefix}.{number}.Tag.{tag}.Key")
            if key is None:
                break
            found[kind][key] = call.params[f"{prefix}.{number}.Tag.{tag}.Value"]
    return {}


@pytest.fixture(scope="module")
def policy() -> Mapping[str, Any]:
    with pytest.MonkeyPatch.context() as patch, account(patch):
        return deploy(aws_template(Setup(repository="octo-org/octo-repo"))).policies["machines"]


@pytest.fixture
def cloud(policy: Mapping[str, Any], monkeypatch: pytest.MonkeyPatch) -> Iterator[Cloud]:
    ask = Aws._enabled
    # the regions are asked for; two of them are enough to look in
    monkeypatch.setattr(Aws, "_enabled", lambda self: tuple(set(ask(self)) & {"us-east-1", "us-west-2"}))
    with Cloud() as cloud:
        cloud.environ["CI_RUNNER_AWS_REGIONS"] = ""
        cloud.aws = Aws(cloud.environ, sleep=cloud.clock.sleep, read_seconds=20.0)
        cloud.emulator.calls = Judge(policy, cloud)
        yield cloud


def acquired(cloud: Cloud, source: Source, *, spot: bool = False) -> Lease:
    return cloud.provider().acquire(gpu_lease(), ec2_kit.offer(spot=spot), source, seconds=600)


def with_leftovers(cloud: Cloud, source: Source) -> Lease:
    """A lease that has a machine, and what a machine can leave behind."""
    lease = acquired(cloud, source)
    volume = cloud.emulator.world.backend("us-east-1").create_volume(size=1, zone_name="us-east-1a")
    volume.add_tags(labels_of(gpu_lease()))
    return lease


def leave_spot_request(cloud: Cloud) -> None:
    request = SpotRequest("sir-late", "us-east-1", labels_of(gpu_lease()), state="open")
    cloud.emulator.world.spot_requests.append(request)


def lease_at_aws(cloud: Cloud, source: Source, _lease: Lease | None) -> None:
    """Offers, a machine, and every way in which a process goes on with what another one began."""
    cloud.provider().offers(GPU)
    cloud.emulator.fail("CreateFleet", "error", code="InsufficientInstanceCapacity", times=1)
    with pytest.raises(ProviderError):
        acquired(cloud, source)
    acquired(cloud, source)
    world = cloud.emulator.world
    tags = {"instance": labels_of(gpu_lease())}
    world.backend("us-east-1").run_instances(
        IMAGE, 1, None, [], instance_type="g5.xlarge", is_instance_type_default=False, tags=tags
    )
    acquired(cloud, source)
    (name,) = world.instances()
    world.put(name, "stopped")
    acquired(cloud, source)


def release_at_aws(cloud: Cloud, _source: Source, lease: Lease | None) -> None:
    """By somebody who knows the id alone."""
    assert lease is not None
    leave_spot_request(cloud)
    machine = dataclasses.replace(lease.machine, zones=())
    cloud.provider().release(dataclasses.replace(lease, zone=None, machine=machine))


def reap_at_aws(cloud: Cloud, _source: Source, _lease: Lease | None) -> None:
    visit(cloud.provider())
    leave_spot_request(cloud)  # after the mark: the emulator has no tags for it
    visit(cloud.provider(), after=GAP_SECONDS + 1.0)


def machines_at_aws(cloud: Cloud, _source: Source, lease: Lease | None) -> None:
    assert lease is not None
    provider = cloud.provider()
    assert [each.id for each in provider.leases()] == [lease.id]
    provider.stop(lease)
    provider.start(lease)
    provider.restart(lease)
    leave_spot_request(cloud)
    provider.release(lease)


def doctor_at_aws(cloud: Cloud, _source: Source, _lease: Lease | None) -> None:
    provider = cloud.provider()
    assert {check.exit_code for check in provider.examine(GPU)} == {0}
    provider.leases()


AT_AWS: Mapping[Purpose, Callable[[Cloud, Source, Lease | None], None]] = {
    Purpose.LEASE: lease_at_aws,
    Purpose.RELEASE: release_at_aws,
    Purpose.REAP: reap_at_aws,
    Purpose.MACHINES: machines_at_aws,
    Purpose.DOCTOR: doctor_at_aws,
}


@pytest.mark.parametrize("purpose", FLOWS)
def test_what_is_asked_of_aws_is_what_the_list_says_and_the_policy_allows(
    cloud: Cloud, source: Source, purpose: Purpose
) -> None:
    judge = cloud.emulator.calls
    assert isinstance(judge, Judge)
    lease = None if purpose is Purpose.LEASE else with_leftovers(cloud, source)
    judge.clear()
    judge.judged.clear()
    AT_AWS[purpose](cloud, source, lease)
    assert judge.refused == []
    assert judge.names() == declared(AWS, purpose)
    rows = [each for each in PERMISSIONS if each.cloud == AWS and purpose in each.purposes]
    unseen = {"iam:CreateServiceLinkedRole", ""}  # EC2 does the one by itself; the other needs nothing
    if purpose is Purpose.DOCTOR:
        unseen.add("ec2:RunInstances")  # what comes of a fleet that is not made
    assert judge.judged == {each.grants for each in rows} - unseen
    if purpose not in (Purpose.LEASE, Purpose.DOCTOR):
        assert cloud.holdings() == []


def test_the_judge_refuses_what_bears_no_lease(cloud: Cloud) -> None:
    backend = cloud.emulator.world.backend("us-east-1")
    theirs = backend.create_volume(size=1, zone_name="us-east-1a")
    theirs.add_tags({"Name": "theirs"})
    cloud.aws.call("ec2", "us-east-1", "DeleteVolume", VolumeId=theirs.id)
    judge = cloud.emulator.calls
    assert isinstance(judge, Judge)
    assert [each.action for each in judge.refused] == ["ec2:DeleteVolume"]


# --- Google Cloud ---

METHODS = {
    "locations.list": "list_locations",
    "acceleratorTypes.list": "list_accelerator_types",
    "runtimeVersions.list": "list_runtime_versions",
    "quotaInfos.list": "list_quota_infos",
    "operations.get": "get_operation",
    "nodes.get": "get_node",
    "nodes.list": "list_nodes",
    "nodes.create": "create_node",
    "nodes.patch": "update_node",
    "nodes.start": "start_node",
    "nodes.stop": "stop_node",
    "nodes.delete": "delete_node",
    "queuedResources.get": "get_queued_resource",
    "queuedResources.list": "list_queued_resources",
    "queuedResources.create": "create_queued_resource",
    "queuedResources.delete": "delete_queued_resource",
}
QUEUED = dataclasses.replace(TPU, options={"queued": "true"})


@pytest.fixture
def google() -> Iterator[Google]:
    with Google() as google:
        yield google


def two_nodes(google: Google, source: Source) -> list[Lease]:
    """A node that was asked for directly, and one that came by a queued request."""
    provider = google.provider()
    plain = provider.acquire(tpu_lease(), tpu_kit.offer(), source, seconds=600)
    wanted = tpu_lease("7f3c-queued-00000b", machine=QUEUED)
    return [plain, provider.acquire(wanted, tpu_kit.offer(machine=QUEUED), source, seconds=600)]


def lease_at_google(google: Google, source: Source, _leases: list[Lease]) -> None:
    google.provider().offers(dataclasses.replace(TPU, zones=()))
    plain, _queued = two_nodes(google, source)
    google.world.nodes[tpu_kit.ZONE, node_id(plain.id)].state = "STOPPED"
    google.provider().acquire(tpu_lease(), tpu_kit.offer(), source, seconds=600)
    google.world.zones[tpu_kit.ZONE].quota = 0
    late = tpu_lease("7f3c-late-00000c", machine=QUEUED)
    with pytest.raises(ProviderError):
        google.provider().acquire(late, tpu_kit.offer(machine=QUEUED), source, seconds=60)


def release_at_google(google: Google, _source: Source, leases: list[Lease]) -> None:
    google.provider().release(leases[0])
    machine = dataclasses.replace(leases[1].machine, zones=())  # by somebody who knows the id alone
    google.provider().release(dataclasses.replace(leases[1], zone=None, machine=machine))


def reap_at_google(google: Google, _source: Source, _leases: list[Lease]) -> None:
    visit(google.provider())
    visit(google.provider(), after=GAP_SECONDS + 1.0)


def machines_at_google(google: Google, _source: Source, leases: list[Lease]) -> None:
    provider = google.provider()
    assert len(provider.leases()) == 2
    provider.stop(leases[0])
    provider.start(leases[0])
    for lease in leases:
        provider.release(lease)


def doctor_at_google(google: Google, _source: Source, _leases: list[Lease]) -> None:
    provider = google.provider()
    assert {check.exit_code for check in provider.examine(TPU)} == {0}
    provider.leases()


AT_GOOGLE: Mapping[Purpose, Callable[[Google, Source, list[Lease]], None]] = {
    Purpose.LEASE: lease_at_google,
    Purpose.RELEASE: release_at_google,
    Purpose.REAP: reap_at_google,
    Purpose.MACHINES: machines_at_google,
    Purpose.DOCTOR: doctor_at_google,
}


@pytest.mark.parametrize("purpose", FLOWS)
def test_what_is_asked_of_google_is_what_the_list_says(
    google: Google, source: Source, purpose: Purpose
) -> None:
    leases = [] if purpose is Purpose.LEASE else two_nodes(google, source)
    google.world.calls.clear()
    AT_GOOGLE[purpose](google, source, leases)
    assert {METHODS[method] for method, _path in google.world.calls} == declared(GCP, purpose)
    if purpose not in (Purpose.LEASE, Purpose.DOCTOR):
        assert google.holdings() == []
