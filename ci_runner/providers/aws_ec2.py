"""GPU machines of Amazon EC2: one CreateFleet call for each offer, found again by tag, and given back with all they had."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ci_runner.errors import CiRunnerError, MachineError, UsageError
from ci_runner.model import Lease, LeaseState, MachineSpec
from ci_runner.providers.aws_client import Aws
from ci_runner.providers.aws_launch import USER, Launcher
from ci_runner.providers.aws_machines import (
    NAME,
    Ending,
    Entry,
    address_of,
    instances,
    is_live,
    leases_in,
    leftovers,
    of_lease,
    state_of,
    tags,
    word,
)
from ci_runner.providers.aws_notice import announced, spot_notice_command
from ci_runner.providers.aws_offers import Catalogue, offers, regions_of, types_of
from ci_runner.providers.choice import region_of
from ci_runner.providers.connections import Connections
from ci_runner.providers.identity import MARKED, check_holder, keyed, label_value, shifted
from ci_runner.providers.leases import check_lease
from ci_runner.providers.ways import Ways, ways
from ci_runner.remote.machine import Host, plain_key, ssh_port, ssh_user

if TYPE_CHECKING:
    from ci_runner.providers.base import Offer, Source
    from ci_runner.providers.checkup import Check
    from ci_runner.remote.base import Shell
    from ci_runner.remote.keys import LeaseKeys

SWITCH_SECONDS = 600.0
NOTICE_SECONDS = 10.0

OPTIONS: Mapping[str, str] = {
    "region": "Where to look for machines if no zones are named; else AWS's usual configuration says it.",
    "image": "The id of an image (ami-…) instead of the newest deep-learning base image.",
    "image-parameter": "The public SSM parameter that holds the id of the image.",
    "user": "Who logs in to the image; ubuntu if it is not said.",
    "subnet": "The subnets that may be used, with commas between them; one for each zone. Else the default ones.",
    "security-group": "Security groups for the machine, with commas between them; then none is made for the lease.",
    "address": 'Where the machine is reached: "public" (as it is) or "private", for a runner in the same network.',
    "source-cidr": "The network from which ssh is let in, such as 203.0.113.7/32; else the runner's own address.",
    "address-service": "The web address that tells the runner its own address.",
    "volume-gb": "The size of the disk in GB; else as large as the image says.",
    "price-per-hour": "What the machine costs, in dollars, if the price table does not know it.",
    "host-key": '"unchecked" lets in a machine whose key is not known; the report says so.',
}


class Ec2Provider:
    """Leases machines of EC2. What it knows beyond the tags in the cloud only makes it quicker."""

    def __init__(
        self,
        aws: Aws,
        ways: Ways,
        environ: Mapping[str, str],
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] = time.sleep,
        own_address: Callable[[str], str] | None = None,
    ) -> None:
        self._aws = aws
        self._ways = ways
        self._environ = environ
        self._clock = clock
        self._sleep = sleep
        self._catalogue = Catalogue(aws)
        self._launcher = Launcher(
            aws, self._catalogue, environ, clock=clock, sleep=sleep, own_address=own_address
        )
        self._connections = Connections(ways, NAME)

    @property
    def name(self) -> str:
        """`aws-ec2`."""
        return NAME

    def offers(self, machine: MachineSpec) -> Sequence[Offer]:
        """Types × zones × spot or not. Raises ConfigurationError, AuthenticationError or ProviderError."""
        types_of(machine)
        return offers(machine, self._catalogue, None if machine.zones else self._aws.home_region())

    def examine(self, machine: MachineSpec) -> Iterable[Check]:
        """Who we are, what we may do and how much, by questions and dry runs; nothing is made."""
        from ci_runner.providers.aws_checkup import Checkup

        return Checkup(self._aws, self._catalogue, machine).run()

    def acquire(self, lease: Lease, offer: Offer, source: Source, *, seconds: float) -> Lease:
        """One machine of the offer's type in its zone, running, reached and with the source on it."""
        check_lease(lease)
        if not Path(source.root).is_dir():
            raise MachineError("the source folder does not exist", where=source.root)
        known = self._connections.ready(lease)
        if known is not None and self.describe(known) is LeaseState.READY:
            return known
        deadline = self._clock() + seconds
        zone = offer.zone or ""
        region = str(region_of(zone))
        keys = self._ways.keys(lease)
        lease = dataclasses.replace(
            keyed(lease, keys.public),
            zone=zone,
            spot=offer.spot,
            price_per_hour=offer.price_per_hour,
            machine=offer.machine,
        )
        there = self._launcher.live(region, lease)
        if there is None:
            ahead = self._aws.clock.ahead
            lease = shifted(self._launcher.create(shifted(lease, ahead), region, keys), -ahead)
        else:
            check_holder(tags(there), lease)
            if word(there) in ("stopping", "stopped"):
                self.start(lease)
        instance = self._launcher.await_running(lease, region, deadline)
        check_holder(tags(instance), lease)  # of two runs that began together one made it
        lease = self._described(lease, instance, keys)
        host = Host(
            address=lease.address or "",
            port=ssh_port(self._environ),
            user=lease.user,
            host_key=lease.host_key,
        )
        left = max(1.0, deadline - self._clock())
        shell, notes = self._ways.reach(lease, [host], keys, source, seconds=left)
        ready = dataclasses.replace(lease, state=LeaseState.READY, notes=(*lease.notes, *notes))
        self._connections.keep(ready, shell)
        return ready

    def _described(self, lease: Lease, instance: Entry, keys: LeaseKeys) -> Lease:
        return dataclasses.replace(
            lease,
            address=address_of(instance, private=lease.machine.options.get("address") == "private"),
            host_key=plain_key(keys.host_public),
            user=ssh_user(lease, self._environ, USER),
            image=str(instance.get("ImageId") or lease.image or "") or None,
            zone=instance.get("Placement", {}).get("AvailabilityZone") or lease.zone,
            spot=instance.get("InstanceLifecycle") == "spot",
        )

    def shell(self, lease: Lease) -> Shell:
        """A way to speak to the machine. Raises MachineError if the lease is not ready."""
        return self._connections.shell(lease)

    def describe(self, lease: Lease) -> LeaseState:
        """The state of the machine, or of what is left of it; PREEMPTED until it is released."""
        check_lease(lease)
        order = list(LeaseState)
        # what a lease has in several regions, if it can, is told by its liveliest part
        states = self._aws.everywhere(lambda region: self._state(region, lease), self._regions(lease))
        alive = [state for state in states if state is not LeaseState.GONE]
        return min(alive, key=order.index) if alive else LeaseState.GONE

    def _state(self, region: str, lease: Lease) -> LeaseState:
        found = instances(self._aws, region, of_lease(lease.id))
        if any(map(is_live, found)):
            return state_of(found, ())
        return state_of(found, leftovers(self._aws, region, of_lease(lease.id)))

    def notice(self, lease: Lease, shell: Shell) -> str | None:
        """What EC2 announces to a spot machine two minutes before its end; silence if it cannot be asked."""
        if not lease.spot:
            return None
        try:
            said = shell.run(spot_notice_command(), seconds=NOTICE_SECONDS)
        except MachineError:  # the connection is somebody else's to watch
            return None
        return announced(said.exit_code, said.stdout)

    def release(self, lease: Lease) -> None:
        """Terminate, and wait until nothing bears the lease's id. Raises MachineError if something still does."""
        check_lease(lease)
        quiet = self._launcher.quiet_seconds(lease)
        regions = self._regions(lease)

        def end(region: str) -> None:
            Ending(
                self._aws,
                region,
                lease,
                clock=self._clock,
                sleep=self._sleep,
                known=self._launcher.made(lease, region),
                quiet_seconds=quiet,
            ).run()

        try:
            self._aws.everywhere(end, regions)
        finally:
            self._connections.hang_up(lease)
        self._launcher.over(lease)
        self._ways.forget_keys(lease)

    def start(self, lease: Lease) -> None:
        """Start a stopped machine and wait until it runs; its address may be another one then."""
        region, instance = self._the(lease)
        if word(instance) == "stopping":
            self._await(region, lease, "stopped")
        if word(instance) != "running":
            self._aws.call("ec2", region, "StartInstances", InstanceIds=[instance["InstanceId"]])
            self._await(region, lease, "running")

    def stop(self, lease: Lease) -> None:
        """Stop the machine and wait until it has stopped; its disk stays and costs money. Spot machines cannot."""
        region, instance = self._the(lease)
        if instance.get("InstanceLifecycle") == "spot":
            raise UsageError(
                f"lease {lease.id} is a spot machine, which cannot be stopped",
                fix=f"give it back instead: ci-runner machines release {lease.id}",
            )
        self._connections.hang_up(lease)
        self._aws.call("ec2", region, "StopInstances", InstanceIds=[instance["InstanceId"]])
        self._await(region, lease, "stopped")

    def restart(self, lease: Lease) -> None:
        """Restart the machine where it is; it keeps its address."""
        region, instance = self._the(lease)
        self._aws.call("ec2", region, "RebootInstances", InstanceIds=[instance["InstanceId"]])

    def mark(self, lease: Lease, at: float) -> None:
        """Tag everything of the lease with the reaper's visit; absent is success."""
        for region in self._regions(lease):
            found = instances(self._aws, region, of_lease(lease.id))
            ids = [str(each["InstanceId"]) for each in found if word(each) != "terminated"]
            ids += leftovers(self._aws, region, of_lease(lease.id)).ids()
            if ids:
                tag = {"Key": MARKED, "Value": str(int(at + self._aws.clock.ahead))}
                self._aws.call("ec2", region, "CreateTags", Resources=ids, Tags=[tag])

    def leases(self, owner: str | None = None) -> list[Lease]:
        """Every lease that has something in a region that may be ours (see CI_RUNNER_AWS_REGIONS).

        A region that does not answer is an error: a list without it would say that nothing is there.
        """
        found = [lease for part in self._aws.everywhere(self._leases_in) for lease in part]
        return [lease for lease in found if owner is None or lease.owner == label_value(owner)]

    def _leases_in(self, region: str) -> list[Lease]:
        try:
            return [shifted(lease, -self._aws.clock.ahead) for lease in leases_in(self._aws, region)]
        except CiRunnerError as error:
            error.fix = (
                f"{error.fix + '; ' if error.fix else ''}name the regions in use in CI_RUNNER_AWS_REGIONS"
            )
            raise

    def _regions(self, lease: Lease) -> tuple[str, ...]:
        """Where the lease can have something: its zone's region if it has one, else wherever it may have been tried."""
        if lease.zone:
            return (str(region_of(lease.zone)),)
        if lease.machine.zones or lease.machine.options.get("region"):
            return regions_of(lease.machine, None)
        return self._aws.regions()

    def _the(self, lease: Lease) -> tuple[str, Entry]:
        """The machine of a lease and its region. Raises MachineError if there is none."""
        check_lease(lease)
        for region in self._regions(lease):
            instance = self._launcher.live(region, lease)
            if instance is not None:
                return region, instance
        raise MachineError(f"lease {lease.id} has no machine", where=NAME)

    def _await(self, region: str, lease: Lease, wanted: str) -> None:
        deadline, pause = self._clock() + SWITCH_SECONDS, 0.2
        while True:
            instance = self._launcher.live(region, lease)
            if instance is None:
                raise MachineError(f"lease {lease.id} has lost its machine", where=f"{NAME} in {region}")
            if word(instance) == wanted:
                return
            if self._clock() >= deadline:
                raise MachineError(
                    f"the machine of lease {lease.id} is {word(instance)}, not {wanted}",
                    where=f"{NAME} in {region}",
                )
            self._sleep(pause)
            pause = min(5.0, pause * 1.5)


def connect(environ: Mapping[str, str]) -> Ec2Provider:
    """The provider, as the registry makes it."""
    return Ec2Provider(Aws(environ), ways(environ), environ)
