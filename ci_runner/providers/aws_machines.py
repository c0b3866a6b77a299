"""What exists of a lease in a region of EC2, found by tag, and how it is ended."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ci_runner.errors import MachineError
from ci_runner.model import Lease, LeaseState
from ci_runner.providers.aws_failures import failure_of
from ci_runner.providers.failures import Kind, ProviderError
from ci_runner.providers.identity import LEASE, lease_from
from ci_runner.providers.prices import price_of

if TYPE_CHECKING:
    from ci_runner.providers.aws_client import Aws

NAME = "aws-ec2"
RELEASE_SECONDS = 600.0  # a large machine takes minutes to end; it costs nothing meanwhile
PAUSE_FIRST = 0.2
PAUSE_CAP = 5.0

Entry = Mapping[str, Any]

log = logging.getLogger(__name__)

_STATES: Mapping[str, LeaseState] = {
    "pending": LeaseState.REQUESTED,
    "running": LeaseState.READY,
    "stopping": LeaseState.STOPPED,
    "stopped": LeaseState.STOPPED,
    "shutting-down": LeaseState.RELEASING,
    "terminated": LeaseState.GONE,
}
_ENDED = ("shutting-down", "terminated")


@dataclass(frozen=True, slots=True, kw_only=True)
class Leftovers:
    """What belongs to a lease beside its machine."""

    groups: Sequence[Entry] = ()
    templates: Sequence[Entry] = ()
    requests: Sequence[Entry] = ()  # for spot machines, that are still open
    volumes: Sequence[Entry] = ()  # that are attached to nothing

    def __iter__(self) -> Iterator[Entry]:
        """All of them."""
        return iter((*self.groups, *self.templates, *self.requests, *self.volumes))

    def ids(self) -> list[str]:
        """What tags are put on."""
        names = ("GroupId", "LaunchTemplateId", "SpotInstanceRequestId", "VolumeId")
        return [str(each[name]) for each in self for name in names if name in each]


def of_lease(lease_id: str) -> list[dict[str, Any]]:
    """The filter for what bears a lease's id."""
    return [{"Name": f"tag:{LEASE}", "Values": [lease_id]}]


def of_ours() -> list[dict[str, Any]]:
    """The filter for what bears any lease's id."""
    return [{"Name": "tag-key", "Values": [LEASE]}]


def instances(aws: Aws, region: str, filters: Sequence[Entry]) -> list[Entry]:
    """Machines, oldest first, those that ended lately among them."""
    pages = aws.pages(region, "DescribeInstances", "Reservations", Filters=list(filters))
    found = [each for reservation in pages for each in reservation.get("Instances") or ()]
    return sorted(found, key=lambda each: (str(each.get("LaunchTime", "")), str(each.get("InstanceId"))))


def leftovers(aws: Aws, region: str, filters: Sequence[Entry]) -> Leftovers:
    """What is there beside machines."""
    chosen = list(filters)
    return Leftovers(
        groups=aws.pages(region, "DescribeSecurityGroups", "SecurityGroups", Filters=chosen),
        templates=aws.pages(region, "DescribeLaunchTemplates", "LaunchTemplates", Filters=chosen),
        requests=aws.pages(
            region,
            "DescribeSpotInstanceRequests",
            "SpotInstanceRequests",
            Filters=[*chosen, {"Name": "state", "Values": ["open"]}],
        ),
        volumes=aws.pages(
            region,
            "DescribeVolumes",
            "Volumes",
            Filters=[*chosen, {"Name": "status", "Values": ["available", "error"]}],
        ),
    )


def word(instance: Entry) -> str:
    """EC2's word for the state of a machine."""
    return str(instance.get("State", {}).get("Name", ""))


def is_live(instance: Entry) -> bool:
    """Whether a machine exists that nobody has ended."""
    return word(instance) not in _ENDED


def is_preempted(instance: Entry) -> bool:
    """Whether EC2 took the machine back."""
    reason = instance.get("StateReason") or {}
    return failure_of(str(reason.get("Code") or "")).kind is Kind.PREEMPTED


def state_of(found: Sequence[Entry], rest: Iterable[Entry]) -> LeaseState:
    """The state of a lease: of its machine if one lives, else what became of the last one."""
    for instance in found:
        if is_live(instance):
            return _STATES.get(word(instance), LeaseState.REQUESTED)
    going = any(word(instance) == "shutting-down" for instance in found)
    if not going and not any(True for _ in rest):
        return LeaseState.GONE
    return LeaseState.PREEMPTED if any(map(is_preempted, found)) else LeaseState.RELEASING


def leases_in(aws: Aws, region: str) -> list[Lease]:
    """Every lease that has something in a region: a machine, or what a lost one left behind."""
    machines: dict[str, list[Entry]] = {}
    for each in instances(aws, region, of_ours()):
        machines.setdefault(tags(each)[LEASE], []).append(each)
    rest: dict[str, list[Entry]] = {}
    for each in leftovers(aws, region, of_ours()):
        rest.setdefault(tags(each)[LEASE], []).append(each)
    found = []
    for lease_id in dict.fromkeys((*machines, *rest)):
        mine, beside = machines.get(lease_id, []), rest.get(lease_id, [])
        state = state_of(mine, beside)
        live = [each for each in mine if is_live(each)] or [
            each for each in mine if word(each) != "terminated"
        ]
        if state is not LeaseState.GONE:
            lease = lease_of((live or beside)[0], region, state)
            found += [lease] if lease is not None else []
    return found


def lease_of(entry: Entry, region: str, state: LeaseState) -> Lease | None:
    """The lease that a machine, or something beside one, belongs to."""
    type_ = entry.get("InstanceType")
    spot = entry.get("InstanceLifecycle") == "spot"
    zone = entry.get("Placement", {}).get("AvailabilityZone") or region
    price = price_of(NAME, str(type_), zone, spot) if type_ else None
    began = entry.get("LaunchTime") or entry.get("CreateTime")
    return lease_from(
        tags(entry),
        provider=NAME,
        machine_type=str(type_) if type_ else None,
        zone=zone,
        state=state,
        created_at=began.timestamp() if began is not None else 0.0,
        spot=spot,
        address=address_of(entry),
        price_per_hour=price.per_hour if price else 0.0,
    )


def address_of(instance: Entry, *, private: bool = False) -> str | None:
    """Where a machine is reached: from everywhere, or from its own network."""
    found = instance.get("PrivateIpAddress") if private else instance.get("PublicIpAddress")
    return str(found) if found else None


def tags(entry: Entry) -> dict[str, str]:
    """The tags of something as a mapping."""
    return {str(tag["Key"]): str(tag["Value"]) for tag in entry.get("Tags") or ()}


class Ending:
    """Ends everything of one lease in one region, in the order in which EC2 lets go of it."""

    def __init__(
        self,
        aws: Aws,
        region: str,
        lease: Lease,
        *,
        clock: Callable[[], float],
        sleep: Callable[[float], object],
        known: Iterable[str] = (),
        quiet_seconds: float = 0.0,
    ) -> None:
        self._aws = aws
        self._region = region
        self._lease = lease
        self._clock = clock
        self._sleep = sleep
        self._known = tuple(known)  # machines that EC2 may not list yet
        self._quiet = quiet_seconds
        self._deadline = clock() + RELEASE_SECONDS

    def run(self) -> None:
        """Return when nothing is left. Raises MachineError if something still is when the time is up."""
        self._terminate(self._known)
        self._terminate(self._unended())
        self._end_templates()  # from here on a creation that is still on its way makes nothing
        self._wait_for_machines()
        rest = leftovers(self._aws, self._region, of_lease(self._lease.id))
        for volume in rest.volumes:
            self._gone_or("DeleteVolume", VolumeId=volume["VolumeId"])
        for group in rest.groups:
            self._end_group(str(group["GroupId"]))

    def _unended(self) -> list[str]:
        found = instances(self._aws, self._region, of_lease(self._lease.id))
        return [str(each["InstanceId"]) for each in found if is_live(each)]

    def _terminate(self, ids: Iterable[str]) -> None:
        """One call for all of them; if EC2 does not know one of them, one call for each."""
        wanted = list(ids)
        if not wanted:
            return
        log.info("terminating %s of lease %s", ", ".join(wanted), self._lease.id)
        if not self._gone_or("TerminateInstances", InstanceIds=wanted) and len(wanted) > 1:
            for each in wanted:
                self._gone_or("TerminateInstances", InstanceIds=[each])

    def _end_templates(self) -> None:
        rest = leftovers(self._aws, self._region, of_lease(self._lease.id))
        for template in rest.templates:
            self._gone_or("DeleteLaunchTemplate", LaunchTemplateId=template["LaunchTemplateId"])
        open_ = [str(each["SpotInstanceRequestId"]) for each in rest.requests]
        if open_:
            self._gone_or("CancelSpotInstanceRequests", SpotInstanceRequestIds=open_)

    def _wait_for_machines(self) -> None:
        quiet_until, pause = self._clock() + self._quiet, PAUSE_FIRST
        while True:
            found = instances(self._aws, self._region, of_lease(self._lease.id))
            self._terminate([str(each["InstanceId"]) for each in found if is_live(each)])
            going = [str(each["InstanceId"]) for each in found if word(each) != "terminated"]
            if not going and self._clock() >= quiet_until:
                return
            self._check_time(f"{', '.join(going)} is still ending" if going else "it may still appear")
            self._sleep(pause)
            pause = min(PAUSE_CAP, pause * 1.5)

    def _end_group(self, group: str) -> None:
        """A group can go when the interface of the machine is gone, a little after the machine."""
        pause = PAUSE_FIRST
        while True:
            try:
                self._gone_or("DeleteSecurityGroup", GroupId=group)
            except ProviderError as error:
                if error.failure.code not in ("DependencyViolation", "InvalidGroup.InUse"):
                    raise
                self._check_time(f"security group {group} is still in use")
                self._sleep(pause)
                pause = min(PAUSE_CAP, pause * 1.5)
            else:
                return

    def _gone_or(self, operation: str, **values: Any) -> bool:
        """Whether the call was answered; that its target does not exist is as good."""
        try:
            self._aws.call("ec2", self._region, operation, **values)
        except ProviderError as error:
            code = error.failure.code or ""
            if "NotFound" in code:
                return False
            raise
        return True

    def _check_time(self, what: str) -> None:
        if self._clock() >= self._deadline:
            raise MachineError(
                f"lease {self._lease.id} is not given back: {what}",
                where=f"aws-ec2 in {self._region}",
                fix=f"ci-runner machines release {self._lease.id}",
            )
