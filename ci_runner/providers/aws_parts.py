"""What a machine of EC2 is put together from: an image, a subnet, a security group and a launch template."""

from __future__ import annotations

import base64
import ipaddress
import logging
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ci_runner.errors import CiRunnerError, ConfigurationError, MachineError
from ci_runner.providers.aws_failures import error_of
from ci_runner.providers.failures import Failure, Kind, ProviderError, Scope
from ci_runner.providers.identity import LEASE, labels_of

if TYPE_CHECKING:
    from ci_runner.model import Lease, MachineSpec
    from ci_runner.providers.aws_client import Aws
    from ci_runner.providers.aws_offers import TypeFacts

USER_DATA_LIMIT = 16 * 1024
CIDR_VARIABLE = "CI_RUNNER_SOURCE_CIDR"
ADDRESS_SERVICE = "https://checkip.amazonaws.com"
ADDRESS_SECONDS = 10.0

# AWS keeps the id of its newest deep-learning image in a public parameter of each region
# https://docs.aws.amazon.com/dlami/latest/devguide/find-dlami-id.html; Canonical does the same for Ubuntu
# https://documentation.ubuntu.com/aws/aws-how-to/instances/find-ubuntu-images/
GPU_PARAMETER = "/aws/service/deeplearning/ami/{arch}/base-oss-nvidia-driver-gpu-ubuntu-22.04/latest/ami-id"
CPU_PARAMETER = "/aws/service/canonical/ubuntu/server/24.04/stable/current/{arch}/hvm/ebs-gp3/ami-id"

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """An image, and the name of the disk that it boots from."""

    id: str
    root_device: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where in the network a machine goes."""

    subnet: str
    vpc: str


def name_of(lease: Lease) -> str:
    """The name of everything that is made for a lease."""
    return f"ci-runner-{lease.id}"


def tags_of(lease: Lease) -> list[dict[str, str]]:
    """The tags for the very call that makes something."""
    labels = {**labels_of(lease), "Name": name_of(lease)}
    return [{"Key": key, "Value": value} for key, value in labels.items()]


def tagged(lease: Lease, *kinds: str) -> list[dict[str, Any]]:
    """`TagSpecifications` for these kinds of things."""
    return [{"ResourceType": kind, "Tags": tags_of(lease)} for kind in kinds]


def is_ours(entry: Mapping[str, Any], lease: Lease) -> bool:
    """Whether something bears the lease's id."""
    return any(tag.get("Key") == LEASE and tag.get("Value") == lease.id for tag in entry.get("Tags") or ())


def find_image(aws: Aws, region: str, machine: MachineSpec, facts: TypeFacts) -> Image:
    """The image of the machine's options, else the newest one that fits the type, as of now."""
    image_id = machine.options.get("image") or _newest(aws, region, machine, facts)
    found = aws.call("ec2", region, "DescribeImages", ImageIds=[image_id]).get("Images") or ()
    if not found:
        raise _refused("InvalidAMIID.NotFound", Scope.REGION, f"there is no image {image_id} in {region}")
    return Image(id=image_id, root_device=str(found[0].get("RootDeviceName") or "/dev/sda1"))


def parameter_of(machine: MachineSpec, facts: TypeFacts) -> str:
    """The public parameter that names the newest image for this type."""
    given = machine.options.get("image-parameter")
    if given:
        return given
    if facts.neurons:
        raise ConfigurationError(
            f"no image is known for {facts.name}",
            where=f"machines.{machine.name}.options.image",
            fix="name the image, or its public parameter as image-parameter",
        )
    if facts.gpus:
        return GPU_PARAMETER.format(arch=facts.architecture)
    return CPU_PARAMETER.format(arch="arm64" if facts.architecture == "arm64" else "amd64")


def _newest(aws: Aws, region: str, machine: MachineSpec, facts: TypeFacts) -> str:
    name = parameter_of(machine, facts)
    value = str(
        aws.call("ssm", region, "GetParameter", needs="Parameter", Name=name)
        .get("Parameter", {})
        .get("Value", "")
    )
    if not value.startswith("ami-"):
        raise _refused("ParameterNotFound", Scope.REGION, f"parameter {name} names no image in {region}")
    log.info("image %s of %s", value, name)
    return value


def find_place(aws: Aws, region: str, zone: str, machine: MachineSpec) -> Place:
    """The subnet of the zone: of those that the options name, else the default one."""
    named = machine.options.get("subnet", "").replace(",", " ").split()
    wanted: dict[str, Any] = (
        {"SubnetIds": named}
        if named
        else {
            "Filters": [
                {"Name": "availability-zone", "Values": [zone]},
                {"Name": "default-for-az", "Values": ["true"]},
            ]
        }
    )
    for each in aws.pages(region, "DescribeSubnets", "Subnets", **wanted):
        if each.get("AvailabilityZone") == zone:
            return Place(subnet=str(each["SubnetId"]), vpc=str(each["VpcId"]))
    text = f"none of {', '.join(named)} is in {zone}" if named else f"{zone} has no default subnet"
    fix = f"name one of that zone: subnet in [machines.{machine.name}.options]"
    raise _refused("DefaultSubnetDoesNotExist", Scope.ZONE, f"{text}: {fix}")


def open_group(aws: Aws, region: str, lease: Lease, place: Place, cidr: str, port: int) -> str:
    """The lease's own security group, which lets ssh in from the runner and nothing else; an existing one is adopted."""
    try:
        made = aws.call(
            "ec2",
            region,
            "CreateSecurityGroup",
            needs="GroupId",
            GroupName=name_of(lease),
            Description=f"ssh from the runner of lease {lease.id}",
            VpcId=place.vpc,
            TagSpecifications=tagged(lease, "security-group"),
            patient=False,
        )
        group = str(made["GroupId"])
    except ProviderError as error:
        if error.failure.code != "InvalidGroup.Duplicate":
            raise
        group = _own_group(aws, region, lease, place)
    ranges = (
        {"Ipv6Ranges": [{"CidrIpv6": cidr, "Description": "the runner"}]}
        if ":" in cidr
        else {"IpRanges": [{"CidrIp": cidr, "Description": "the runner"}]}
    )
    try:
        aws.call(
            "ec2",
            region,
            "AuthorizeSecurityGroupIngress",
            GroupId=group,
            IpPermissions=[{"IpProtocol": "tcp", "FromPort": port, "ToPort": port, **ranges}],
            patient=False,
        )
    except ProviderError as error:
        if error.failure.code != "InvalidPermission.Duplicate":
            raise
    return group


def _own_group(aws: Aws, region: str, lease: Lease, place: Place) -> str:
    filters = [
        {"Name": "group-name", "Values": [name_of(lease)]},
        {"Name": "vpc-id", "Values": [place.vpc]},
    ]
    for each in aws.pages(region, "DescribeSecurityGroups", "SecurityGroups", Filters=filters):
        if is_ours(each, lease):
            return str(each["GroupId"])
    raise _taken("security group", lease, region)


def make_template(aws: Aws, region: str, lease: Lease, data: Mapping[str, Any]) -> None:
    """The launch template under the lease's name. One that is there already and ours is used as it is.

    The name is what makes a repetition harmless: a token would bring back the answer about a template that was deleted.
    A template of another process with other keys makes a machine that we cannot log in to: that fails closed.
    """
    try:
        aws.call(
            "ec2",
            region,
            "CreateLaunchTemplate",
            LaunchTemplateName=name_of(lease),
            LaunchTemplateData=data,
            TagSpecifications=tagged(lease, "launch-template"),
            patient=False,
        )
    except ProviderError as error:
        if error.failure.code != "InvalidLaunchTemplateName.AlreadyExistsException":
            raise
        found = aws.pages(
            region,
            "DescribeLaunchTemplates",
            "LaunchTemplates",
            Filters=[{"Name": "launch-template-name", "Values": [name_of(lease)]}],
        )
        if not any(is_ours(each, lease) for each in found):
            raise _taken("launch template", lease, region) from error


def template_data(
    lease: Lease, *, image: Image, groups: Sequence[str], script: str, public: bool, volume_gb: int | None
) -> dict[str, Any]:
    """Everything about a machine but its type and zone. It has no cloud identity, and ends itself by shutting down."""
    raw = script.encode()
    if len(raw) > USER_DATA_LIMIT:
        raise MachineError(f"the boot script of lease {lease.id} is longer than EC2 takes ({len(raw)} bytes)")
    disk: dict[str, Any] = {"DeleteOnTermination": True, "VolumeType": "gp3"}
    if volume_gb is not None:
        disk["VolumeSize"] = volume_gb
    return {
        "ImageId": image.id,
        "UserData": base64.b64encode(raw).decode(),
        "InstanceInitiatedShutdownBehavior": "terminate",
        "MetadataOptions": {
            "HttpTokens": "required",
            "HttpPutResponseHopLimit": 1,
            "HttpEndpoint": "enabled",
        },
        "BlockDeviceMappings": [{"DeviceName": image.root_device, "Ebs": disk}],
        "NetworkInterfaces": [
            {
                "DeviceIndex": 0,
                "AssociatePublicIpAddress": public,
                "DeleteOnTermination": True,
                "Groups": list(groups),
            }
        ],
        # network interfaces are left out: they go with their machine
        "TagSpecifications": tagged(lease, "instance", "volume", "spot-instances-request"),
    }


def fleet_request(
    lease: Lease, *, type_: str, place: Place, spot: bool, token: str, max_price: float | None
) -> dict[str, Any]:
    """One machine of one type in one zone, at once or not at all."""
    override: dict[str, Any] = {"InstanceType": type_, "SubnetId": place.subnet}
    if spot and max_price is not None:
        override["MaxPrice"] = f"{max_price:g}"
    market = (
        {
            "SpotOptions": {
                "AllocationStrategy": "price-capacity-optimized",
                "InstanceInterruptionBehavior": "terminate",
            }
        }
        if spot
        else {"OnDemandOptions": {"AllocationStrategy": "lowest-price"}}
    )
    return {
        "Type": "instant",
        "ClientToken": token,
        "LaunchTemplateConfigs": [
            {
                "LaunchTemplateSpecification": {"LaunchTemplateName": name_of(lease), "Version": "$Latest"},
                "Overrides": [override],
            }
        ],
        "TargetCapacitySpecification": {
            "TotalTargetCapacity": 1,
            "DefaultTargetCapacityType": "spot" if spot else "on-demand",
        },
        "TagSpecifications": tagged(lease, "fleet"),
        **market,
    }


def source_cidr(
    machine: MachineSpec, environ: Mapping[str, str], ask: Callable[[str], str] | None = None
) -> str:
    """Where ssh may come from: as configured, else the address that the internet sees this runner at.

    Raises ConfigurationError for something that is no network, or for the whole internet.
    """
    where = f"machines.{machine.name}.options.source-cidr"
    given = machine.options.get("source-cidr") or environ.get(CIDR_VARIABLE)
    if not given and machine.options.get("address") == "private":
        raise ConfigurationError(
            "the runner's address in the private network is not known",
            where=where,
            fix=f"name it, or set {CIDR_VARIABLE}, or name a security-group that lets it in",
        )
    text = given or (ask or runner_address)(machine.options.get("address-service", ADDRESS_SERVICE))
    try:
        network = ipaddress.ip_network(text.strip(), strict=False)
    except ValueError as error:
        raise ConfigurationError(f"not an address: {text.strip()[:60]!r}", where=where) from error
    if network.prefixlen == 0:
        raise ConfigurationError(
            "ssh is not opened to everybody", where=where, fix="name the runner's network"
        )
    return str(network)


def runner_address(service: str) -> str:
    """This runner's public address, as a web service sees it. Raises MachineError if it does not say."""
    if not service.startswith(("https://", "http://127.", "http://localhost")):
        raise ConfigurationError(
            f"not a https address: {service!r}", where="machines.*.options.address-service"
        )
    try:
        with urllib.request.urlopen(service, timeout=ADDRESS_SECONDS) as answer:  # noqa: S310 - checked above
            text = answer.read(64).decode("ascii", "replace").strip()
        return str(ipaddress.ip_address(text))
    except (OSError, ValueError, urllib.error.URLError) as error:
        raise MachineError(
            f"the runner's own address is not known: {error}",
            where=service,
            fix=f"set {CIDR_VARIABLE}, or name a security-group in the machine's options",
        ) from error


def volume_gb(machine: MachineSpec) -> int | None:
    """The size of the disk; None: as large as the image says."""
    text = machine.options.get("volume-gb")
    if text is None:
        return None
    if not text.isdecimal() or not 1 <= int(text) <= 65536:
        raise ConfigurationError(
            f"{text!r} is no size of a disk in GB", where=f"machines.{machine.name}.options.volume-gb"
        )
    return int(text)


def refusal(failure: Failure, where: str) -> CiRunnerError:
    """The error of a machine that EC2 did not give, though the call for it was in order."""
    return error_of(failure, what="ec2:CreateFleet", where=where)


def _refused(code: str, scope: Scope, text: str) -> ProviderError:
    return ProviderError(Failure(kind=Kind.CONFIGURATION, scope=scope, text=text, code=code))


def _taken(what: str, lease: Lease, region: str) -> ProviderError:
    text = f"a {what} in {region} is called {name_of(lease)} and is not of this lease"
    return _refused("NameTaken", Scope.REGION, text)
