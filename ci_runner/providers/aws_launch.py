"""Makes one machine of EC2 for a lease: asks once, whatever is lost on the way, and waits until it runs."""

from __future__ import annotations

import dataclasses
import hashlib
import logging
import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from ci_runner.providers import aws_parts as parts
from ci_runner.providers.aws_failures import failure_of
from ci_runner.providers.aws_machines import NAME, Entry, address_of, instances, is_live, of_lease, word
from ci_runner.providers.boot import boot_script
from ci_runner.providers.failures import Failure, Kind, ProviderError, Scope
from ci_runner.remote.machine import ssh_port, ssh_user

if TYPE_CHECKING:
    from ci_runner.model import Lease
    from ci_runner.providers.aws_client import Aws
    from ci_runner.providers.aws_offers import Catalogue
    from ci_runner.remote.keys import LeaseKeys

USER = "ubuntu"  # who logs in to the images that are taken if none is named
YOUNG_SECONDS = 120.0  # of a new machine, while its readiness is noticed within a second
ABSENT_SECONDS = 60.0  # until a machine that was granted must be listed
QUIET_SECONDS = 20.0  # a creation without an answer may still make a machine for so long

log = logging.getLogger(__name__)


class Launcher:
    """Makes machines, and remembers of each lease what a release should not have to look up."""

    def __init__(
        self,
        aws: Aws,
        catalogue: Catalogue,
        environ: Mapping[str, str],
        *,
        clock: Callable[[], float],
        sleep: Callable[[float], object],
        own_address: Callable[[str], str] | None,
    ) -> None:
        self._aws = aws
        self._catalogue = catalogue
        self._environ = environ
        self._clock = clock
        self._sleep = sleep
        self._own_address = own_address
        self._lock = threading.Lock()
        self._made: dict[tuple[str, str], set[str]] = {}  # lease id and region → machines that EC2 granted
        self._doubtful: set[str] = set()  # leases for which a creation got no answer
        self._turns: dict[str, int] = {}  # lease id → creations that are over: each has a token of its own

    def made(self, lease: Lease, region: str) -> tuple[str, ...]:
        """The machines that EC2 granted to this process there, which it may not list yet."""
        return tuple(self._made.get((lease.id, region), ()))

    def quiet_seconds(self, lease: Lease) -> float:
        """How long nothing must have appeared before a release may say that nothing will."""
        return QUIET_SECONDS if lease.id in self._doubtful else 0.0

    def over(self, lease: Lease) -> None:
        """Nothing of the lease exists any more; the next creation is another one."""
        for key in [key for key in self._made if key[0] == lease.id]:
            del self._made[key]
        self._doubtful.discard(lease.id)
        self._turn(lease)

    def create(self, lease: Lease, region: str, keys: LeaseKeys) -> Lease:
        """Ask EC2 for the machine; the lease with the image that it will be made of."""
        machine, user = lease.machine, ssh_user(lease, self._environ, USER)
        facts = self._catalogue.facts(region, machine.type or "")
        image = parts.find_image(self._aws, region, machine, facts)
        place = parts.find_place(self._aws, region, lease.zone or "", machine)
        groups = machine.options.get("security-group", "").replace(",", " ").split()
        if not groups:
            cidr = parts.source_cidr(machine, self._environ, self._own_address)
            port = ssh_port(self._environ)
            groups = [parts.open_group(self._aws, region, lease, place, cidr, port)]
        script = boot_script(
            lease,
            host_private=keys.host_private,
            host_public=keys.host_public,
            public=keys.public,
            user=user,
            stops="terminate",
        )
        data = parts.template_data(
            lease,
            image=image,
            groups=groups,
            script=script,
            public=machine.options.get("address") != "private",
            volume_gb=parts.volume_gb(machine),
        )
        parts.make_template(self._aws, region, lease, data)
        self._request(lease, region, place)
        return dataclasses.replace(lease, image=image.id)

    def _request(self, lease: Lease, region: str, place: parts.Place) -> None:
        """The call that costs money. Its token is the same until it was answered, so that no repetition makes two."""
        wanted = parts.fleet_request(
            lease,
            type_=lease.machine.type or "",
            place=place,
            spot=lease.spot,
            token=self._token(lease),
            max_price=lease.machine.max_price_per_hour,
        )
        log.info("asking EC2 for %s in %s for lease %s", lease.machine.type, lease.zone, lease.id)
        try:
            answer = self._aws.call("ec2", region, "CreateFleet", needs="FleetId", patient=False, **wanted)
        except ProviderError as error:
            if error.failure.code == "IdempotentParameterMismatch" and self.live(region, lease) is not None:
                return  # another run of this lease was first
            if error.failure.kind is Kind.UNKNOWN:
                self._doubtful.add(lease.id)
            else:
                self._turn(lease)
            raise
        made = {str(name) for each in answer.get("Instances") or () for name in each.get("InstanceIds") or ()}
        self._turn(lease)
        if made:
            self._made.setdefault((lease.id, region), set()).update(made)
            return
        errors = answer.get("Errors") or (
            {"ErrorCode": "InternalError", "ErrorMessage": "neither machine nor error"},
        )
        said = errors[0]
        failure = failure_of(said.get("ErrorCode"), str(said.get("ErrorMessage") or ""))
        if failure.kind is Kind.UNKNOWN:
            self._doubtful.add(lease.id)
        raise parts.refusal(failure, f"{region}: CreateFleet")

    def _token(self, lease: Lease) -> str:
        words = (lease.id, lease.zone, lease.machine.type, lease.spot, self._turns.get(lease.id, 0))
        return f"{lease.id}-{hashlib.sha256(repr(words).encode()).hexdigest()[:16]}"

    def _turn(self, lease: Lease) -> None:
        with self._lock:
            self._turns[lease.id] = self._turns.get(lease.id, 0) + 1

    def live(self, region: str, lease: Lease) -> Entry | None:
        """The lease's machine; of two, which only a fault can make, every process ends the same one."""
        live = [each for each in instances(self._aws, region, of_lease(lease.id)) if is_live(each)]
        for surplus in live[1:]:
            log.warning("lease %s has a second machine, %s: ending it", lease.id, surplus["InstanceId"])
            self._aws.call("ec2", region, "TerminateInstances", InstanceIds=[surplus["InstanceId"]])
        return live[0] if live else None

    def await_running(self, lease: Lease, region: str, deadline: float) -> Entry:
        """The machine when it runs and has an address. Raises ProviderError if it ends before that, or takes too long."""
        began, pause = self._clock(), 0.2
        private = lease.machine.options.get("address") == "private"
        while True:
            instance = self.live(region, lease)
            now = self._clock()
            if instance is not None and word(instance) == "running" and address_of(instance, private=private):
                return instance
            if instance is None:
                self._check_ended(lease, region, late=now - began >= ABSENT_SECONDS)
            if now >= deadline:
                state = word(instance) if instance is not None else "not there"
                raise _unready(f"the machine is {state} after {now - began:.0f} s", region)
            self._sleep(pause)
            pause = min(0.8 if now - began < YOUNG_SECONDS else 5.0, pause * 1.5)

    def _check_ended(self, lease: Lease, region: str, *, late: bool) -> None:
        """Raise what EC2 says about a machine that ended while it was made; one that is not listed yet may come."""
        made = self._made.get((lease.id, region), set())
        for each in reversed(instances(self._aws, region, of_lease(lease.id))):
            if each.get("InstanceId") in made or not made:
                reason = each.get("StateReason") or {}
                failure = failure_of(
                    str(reason.get("Code") or ""), str(reason.get("Message") or "it ended while it was made")
                )
                if failure.kind is Kind.UNKNOWN:
                    failure = dataclasses.replace(failure, scope=Scope.OFFER)
                raise parts.refusal(failure, f"{region}: {each.get('InstanceId')}")
        if late:
            raise _unready("EC2 granted a machine and does not list it", region)


def _unready(text: str, region: str) -> ProviderError:
    failure = Failure(kind=Kind.UNKNOWN, scope=Scope.OFFER, text=text, code="NotReady")
    return ProviderError(failure, where=f"{NAME} in {region}")
