"""The one list of what ci-runner asks of each cloud: call → permission, why, which command needs it, and how far it reaches.

Policies, roles and the reference are made from it; tests hold it to the calls in the code, neither more nor fewer.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

AWS = "aws"
GCP = "gcp"


class Purpose(StrEnum):
    """What a person or a workflow does that leads to a call."""

    LEASE = "lease"
    RELEASE = "release"
    REAP = "reap"
    MACHINES = "machines"
    DOCTOR = "doctor"
    HISTORY = "history"


PURPOSES: dict[Purpose, str] = {
    Purpose.LEASE: "`run` on a machine of a cloud: offers, creation, waiting",
    Purpose.RELEASE: "the end of `run`, and `machines release`: everything of one lease is ended",
    Purpose.REAP: "`reap`: every lease is found, marked, and ended when its time is over",
    Purpose.MACHINES: "`machines`: list, status, start, stop, restart, release",
    Purpose.DOCTOR: "`doctor`: questions and dry runs; nothing is made",
    Purpose.HISTORY: "a bucket of `[stores]` (history, caches): what is there is read and added to, never changed",
}


class Reach(StrEnum):
    """What a permission is bound to."""

    NOTHING = "nothing"  # the call needs no permission
    ALL = "all"  # the cloud knows no narrower reach for it
    IMAGES = "images"  # parameters that the cloud itself publishes
    PARTS = "parts"  # what a machine is put together from, and which need not be ours
    NEW = "new"  # only what bears a lease's id from its creation on
    BIRTH = "birth"  # tags in the very call that creates something
    OURS = "ours"  # only what bears a lease's id
    MARK = "mark"  # one tag on what bears a lease's id
    SPOT_ROLE = "spot-role"  # the role by which an account uses spot machines at all
    MACHINE_ACCOUNT = "machine-account"  # the service account of the machines, which has no role
    BUCKET = "bucket"  # the bucket of the history and of caches
    OBJECTS = "objects"  # the objects in it


@dataclass(frozen=True, slots=True)
class Permission:
    """One permission that one call needs."""

    cloud: str
    call: str  # as the code makes it: ec2:CreateFleet, create_node, put
    grants: str  # as the cloud's policies spell it; empty if the call needs none
    reach: Reach
    kinds: tuple[str, ...]  # of things, as the cloud's policies spell them; empty if the reach says it all
    why: str
    purposes: tuple[Purpose, ...]


_LEASE, _REAP, _DOCTOR = Purpose.LEASE, Purpose.REAP, Purpose.DOCTOR
_END = (Purpose.RELEASE, Purpose.REAP, Purpose.MACHINES)
_FIND = (*_END, Purpose.DOCTOR)
_HISTORY = (Purpose.HISTORY,)
_CREATE = (_LEASE, _DOCTOR)
_MADE = ("instance", "volume", "spot-instances-request")  # by a launch template that tags them
_MARKED = (*_MADE, "launch-template", "security-group")
_PARTS = ("image", "snapshot", "subnet", "security-group", "network-interface")


def _ec2(
    operation: str,
    reach: Reach,
    kinds: tuple[str, ...],
    why: str,
    purposes: tuple[Purpose, ...],
    *,
    grants: str | None = None,
) -> Permission:
    call = f"ec2:{operation}"
    return Permission(AWS, call, call if grants is None else grants, reach, kinds, why, purposes)


def _tpu(call: str, grants: str, why: str, purposes: tuple[Purpose, ...]) -> Permission:
    return Permission(GCP, call, grants, Reach.ALL, (), why, purposes)


PERMISSIONS: tuple[Permission, ...] = (
    # who we are, what there is
    Permission(
        AWS, "sts:GetCallerIdentity", "", Reach.NOTHING, (), "says which account and role this is", (_DOCTOR,)
    ),
    _ec2("DescribeRegions", Reach.ALL, (), "finds the regions where machines of ours may be", _FIND),
    _ec2(
        "DescribeInstanceTypeOfferings", Reach.ALL, (), "finds the zones that have a type", (_LEASE, _DOCTOR)
    ),
    _ec2("DescribeInstanceTypes", Reach.ALL, (), "counts a type's GPUs and vCPUs", (_LEASE, _DOCTOR)),
    _ec2("DescribeImages", Reach.ALL, (), "asks an image which disk it boots from", (_LEASE, _DOCTOR)),
    _ec2("DescribeSubnets", Reach.ALL, (), "finds the subnet of a zone", (_LEASE,)),
    Permission(
        AWS,
        "ssm:GetParameter",
        "ssm:GetParameter",
        Reach.IMAGES,
        (),
        "reads the id of the newest deep-learning image",
        (_LEASE, _DOCTOR),
    ),
    Permission(
        AWS,
        "service-quotas:GetServiceQuota",
        "servicequotas:GetServiceQuota",
        Reach.ALL,
        (),
        "compares the quota with what a type takes",
        (_DOCTOR,),
    ),
    # what exists of a lease
    _ec2("DescribeInstances", Reach.ALL, (), "finds the machine of a lease by its tag", (_LEASE, *_FIND)),
    _ec2(
        "DescribeSecurityGroups",
        Reach.ALL,
        (),
        "finds the security group of a lease by its tag",
        (_LEASE, *_FIND),
    ),
    _ec2(
        "DescribeLaunchTemplates",
        Reach.ALL,
        (),
        "finds the launch template of a lease by its tag",
        (_LEASE, *_FIND),
    ),
    _ec2("DescribeSpotInstanceRequests", Reach.ALL, (), "finds spot requests that are still open", _FIND),
    _ec2("DescribeVolumes", Reach.ALL, (), "finds disks that outlived their machine", _FIND),
    # creation
    _ec2("CreateSecurityGroup", Reach.NEW, ("security-group",), "makes the lease's own firewall", _CREATE),
    _ec2("CreateSecurityGroup", Reach.PARTS, ("vpc",), "puts it into the network of the subnet", _CREATE),
    _ec2(
        "AuthorizeSecurityGroupIngress",
        Reach.OURS,
        ("security-group",),
        "lets ssh in from the runner and from nowhere else",
        (_LEASE,),
    ),
    _ec2(
        "CreateLaunchTemplate", Reach.NEW, ("launch-template",), "says what the machine is made of", _CREATE
    ),
    _ec2("CreateFleet", Reach.NEW, ("fleet",), "asks for one machine, at once or not at all", _CREATE),
    _ec2("CreateFleet", Reach.OURS, ("launch-template",), "makes it from the lease's template", _CREATE),
    _ec2(
        "CreateFleet", Reach.PARTS, (*_MADE, *_PARTS), "names what the machine is put together from", _CREATE
    ),
    _ec2(
        "CreateFleet",
        Reach.NEW,
        _MADE,
        "EC2 starts the machine in the name of whoever asks; every one has to bear a lease's id",
        _CREATE,
        grants="ec2:RunInstances",
    ),
    _ec2(
        "CreateFleet",
        Reach.OURS,
        ("launch-template",),
        "the machine is made from the lease's template",
        _CREATE,
        grants="ec2:RunInstances",
    ),
    _ec2(
        "CreateFleet",
        Reach.PARTS,
        _PARTS,
        "the machine is put together from these",
        _CREATE,
        grants="ec2:RunInstances",
    ),
    _ec2(
        "CreateFleet",
        Reach.BIRTH,
        (*_MADE, "fleet", "launch-template", "security-group"),
        "tags belong to the call that creates something, so that nothing is ever without",
        _CREATE,
        grants="ec2:CreateTags",
    ),
    _ec2(
        "CreateFleet",
        Reach.SPOT_ROLE,
        (),
        "the first spot machine of an account needs this role; later ones find it there",
        (_LEASE,),
        grants="iam:CreateServiceLinkedRole",
    ),
    # what becomes of a machine
    _ec2("StartInstances", Reach.OURS, ("instance",), "starts a stopped machine", (_LEASE, Purpose.MACHINES)),
    _ec2("StopInstances", Reach.OURS, ("instance",), "stops a machine", (Purpose.MACHINES,)),
    _ec2("RebootInstances", Reach.OURS, ("instance",), "restarts a machine", (Purpose.MACHINES,)),
    _ec2("CreateTags", Reach.MARK, _MARKED, "notes when the reaper first saw a lease expired", (_REAP,)),
    # the end
    _ec2(
        "TerminateInstances",
        Reach.OURS,
        ("instance",),
        "gives the machine back; while leasing, a second one that a fault has made",
        (_LEASE, *_FIND),
    ),
    _ec2(
        "CancelSpotInstanceRequests", Reach.OURS, ("spot-instances-request",), "ends open spot requests", _END
    ),
    _ec2("DeleteLaunchTemplate", Reach.OURS, ("launch-template",), "removes the lease's template", _END),
    _ec2("DeleteVolume", Reach.OURS, ("volume",), "removes disks that outlived their machine", _END),
    _ec2("DeleteSecurityGroup", Reach.OURS, ("security-group",), "removes the lease's firewall", _END),
    # Google Cloud; queued requests have no permissions of their own there
    _tpu("list_locations", "tpu.locations.list", "finds the zones of TPUs", (_LEASE, _DOCTOR)),
    _tpu(
        "list_accelerator_types",
        "tpu.acceleratortypes.list",
        "finds the zones that have a type",
        (_LEASE, _DOCTOR),
    ),
    _tpu("list_runtime_versions", "tpu.runtimeversions.list", "looks for the type's software", (_DOCTOR,)),
    _tpu(
        "list_quota_infos",
        "cloudquotas.quotas.get",
        "compares the quotas of TPUs with what a type takes",
        (_DOCTOR,),
    ),
    _tpu("get_node", "tpu.nodes.get", "asks how the node of a lease is", (_LEASE, *_END)),
    _tpu(
        "get_queued_resource", "tpu.nodes.get", "asks how the queued request of a lease is", (_LEASE, *_END)
    ),
    _tpu("list_nodes", "tpu.nodes.list", "finds the nodes of leases by their labels", _FIND),
    _tpu("list_queued_resources", "tpu.nodes.list", "finds the queued requests of leases", _FIND),
    _tpu("create_node", "tpu.nodes.create", "makes the node of a lease", (_LEASE,)),
    _tpu("create_queued_resource", "tpu.nodes.create", "asks for the node by a queued request", (_LEASE,)),
    Permission(
        GCP,
        "create_node",
        "iam.serviceAccounts.actAs",
        Reach.MACHINE_ACCOUNT,
        (),
        "gives the machine a service account that may do nothing",
        (_LEASE,),
    ),
    _tpu("get_operation", "tpu.operations.get", "learns early that a creation has failed", (_LEASE,)),
    _tpu("start_node", "tpu.nodes.start", "starts a stopped node", (_LEASE, Purpose.MACHINES)),
    _tpu("stop_node", "tpu.nodes.stop", "stops a node", (Purpose.MACHINES,)),
    _tpu("update_node", "tpu.nodes.update", "notes when the reaper first saw a lease expired", (_REAP,)),
    _tpu("delete_node", "tpu.nodes.delete", "gives the node back", _END),
    _tpu("delete_queued_resource", "tpu.nodes.delete", "ends the queued request, and its node", _END),
    # the history in a bucket
    Permission(
        AWS, "put", "s3:PutObject", Reach.OBJECTS, (), "adds a record, or a part of a cache", _HISTORY
    ),
    Permission(AWS, "get", "s3:GetObject", Reach.OBJECTS, (), "reads it", _HISTORY),
    Permission(AWS, "head", "s3:GetObject", Reach.OBJECTS, (), "sees whether it is there", _HISTORY),
    Permission(AWS, "list", "s3:ListBucket", Reach.BUCKET, (), "finds records and caches", _HISTORY),
    Permission(
        GCP,
        "put",
        "storage.objects.create",
        Reach.BUCKET,
        (),
        "adds a record, or a part of a cache",
        _HISTORY,
    ),
    Permission(GCP, "get", "storage.objects.get", Reach.BUCKET, (), "reads it", _HISTORY),
    Permission(GCP, "head", "storage.objects.get", Reach.BUCKET, (), "sees whether it is there", _HISTORY),
    Permission(GCP, "list", "storage.objects.list", Reach.BUCKET, (), "finds records and caches", _HISTORY),
)


def permissions_of(cloud: str, *reaches: Reach) -> Iterator[Permission]:
    """The rows of a cloud that grant something; of these reaches, if any are named."""
    for each in PERMISSIONS:
        if each.cloud == cloud and each.grants and (not reaches or each.reach in reaches):
            yield each


def granted(cloud: str, *reaches: Reach) -> list[str]:
    """What they grant, sorted, each once."""
    return sorted({each.grants for each in permissions_of(cloud, *reaches)})
