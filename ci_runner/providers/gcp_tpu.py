"""TPU machines of Google Cloud: a node under the lease's own id, every worker reached, and all of it given back."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ci_runner.errors import MachineError, UsageError
from ci_runner.model import Lease, LeaseState, MachineSpec
from ci_runner.providers import gcp_failures as google
from ci_runner.providers.base import Offer
from ci_runner.providers.connections import Connections
from ci_runner.providers.failures import Failure, Kind, ProviderError, Scope
from ci_runner.providers.gcp_checkup import examine
from ci_runner.providers.gcp_client import Tpus
from ci_runner.providers.gcp_failures import error_of, failure_of
from ci_runner.providers.gcp_launch import enqueue, node_of
from ci_runner.providers.gcp_nodes import GONE_STATES, Found, Places, node_id, state_of, words_of
from ci_runner.providers.identity import LEASE, MARKED, check_holder, keyed, label_value, shifted
from ci_runner.providers.leases import check_lease
from ci_runner.providers.prices import price_per_hour
from ci_runner.providers.tpu_types import tpu_type
from ci_runner.providers.ways import Ways, ways
from ci_runner.remote.machine import Host, plain_key, ssh_port, ssh_user

if TYPE_CHECKING:
    from ci_runner.providers.base import Source
    from ci_runner.providers.checkup import Check
    from ci_runner.remote.base import Shell

NAME = "gcp-tpu"
USER = "ci-runner"
YOUNG_SECONDS = 120.0  # of a new node, while its readiness is noticed within a second
YOUNG_PAUSE = 0.5
OLD_PAUSE = 5.0
RELEASE_SECONDS = 600.0
SWITCH_SECONDS = 600.0
UNSURE_SECONDS = 20.0  # a create call without an answer may still take effect for so long

OPTIONS: Mapping[str, str] = {
    "project": "The project; else GOOGLE_CLOUD_PROJECT or gcloud's own configuration.",
    "runtime-version": "The software of the machine; else the one that the generation has.",
    "chips-per-host": "How many chips one host of a slice has, for a generation that is not known yet.",
    "queued": '"true" asks by a queued request instead of a node.',
    "queue-seconds": "How long a queued request may wait; else as long as there is time to look for a machine.",
    "reserved": '"true" uses a reservation.',
    "user": "Who logs in; ci-runner if it is not said. The boot script makes this user.",
    "network": "The network of the machine; else the project's default one.",
    "subnetwork": "The subnetwork of the machine.",
    "address": 'Where the machine is reached: "public" (as it is) or "private", for a runner in the same network.',
    "tags": "Network tags, with commas between them, by which firewall rules find the machine.",
    "service-account": "The identity of the machine; one without any role keeps suites from using the cloud.",
    "price-per-hour": "What the machine costs, in dollars, if the price table does not know it.",
}


class TpuProvider:
    """Leases TPU VMs. What it knows beyond the labels in the cloud only makes it quicker."""

    def __init__(
        self,
        tpus: Tpus,
        ways: Ways,
        environ: Mapping[str, str],
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self._tpus = tpus
        self._places = Places(tpus)
        self._ways = ways
        self._environ = environ
        self._clock = clock
        self._sleep = sleep
        self._lock = threading.Lock()
        self._connections = Connections(ways, NAME)
        self._unsure: dict[str, float] = {}  # lease → when a create call went without an answer

    @property
    def name(self) -> str:
        """`gcp-tpu`."""
        return NAME

    def offers(self, machine: MachineSpec) -> Sequence[Offer]:
        """Zones × spot or not. Without zones: those of the project that have the type."""
        kind = tpu_type(machine)
        project = self._tpus.project(machine.options)
        zones = machine.zones or self._places.zones_with(project, kind.name)
        if not zones:
            raise ProviderError(
                Failure(
                    kind=Kind.CONFIGURATION,
                    scope=Scope.PROVIDER,
                    text=f"no zone of {project} has {kind.name}",
                ),
                where=f"machines.{machine.name}.zones",
                fix="name zones that have it: gcloud compute tpus accelerator-types list --zone ZONE",
            )
        spots = {"never": (False,), "only": (True,)}.get(machine.spot, (True, False))
        return tuple(
            Offer(
                machine=machine,
                zone=zone,
                spot=spot,
                price_per_hour=price_per_hour(machine, zone, spot=spot),
                accelerators=kind.chips_per_host,
            )
            for spot in spots
            for zone in zones
        )

    def acquire(self, lease: Lease, offer: Offer, source: Source, *, seconds: float) -> Lease:
        """A node in the offer's zone, ready on every worker, with the source on each."""
        check_lease(lease)
        if not Path(source.root).is_dir():
            raise MachineError("the source folder does not exist", where=source.root)
        known = self._connections.ready(lease)
        if known is not None and self.describe(known) is LeaseState.READY:
            return known
        deadline = self._clock() + seconds
        kind = tpu_type(offer.machine)
        keys = self._ways.keys(lease)
        user = ssh_user(lease, self._environ, USER)
        lease = dataclasses.replace(
            keyed(lease, keys.public),
            zone=offer.zone or "",
            spot=offer.spot,
            price_per_hour=offer.price_per_hour,
            machine=offer.machine,
            user=user,
            image=kind.runtime,
        )
        operation = self._create(lease, lambda timed: node_of(timed, kind, keys, user), deadline)
        found = self._await_ready(lease, operation, deadline)
        addresses = found.addresses(private=offer.machine.options.get("address") == "private")
        lease = dataclasses.replace(
            lease,
            address=addresses[0],
            addresses=addresses if len(addresses) > 1 else (),
            host_key=plain_key(keys.host_public),
            host_keys=(str(plain_key(keys.host_public)),) * len(addresses) if len(addresses) > 1 else (),
        )
        hosts = [
            Host(address=each, port=ssh_port(self._environ), user=user, host_key=plain_key(keys.host_public))
            for each in addresses
        ]
        shell, notes = self._ways.reach(
            lease, hosts, keys, source, seconds=max(1.0, deadline - self._clock())
        )
        if not offer.machine.options.get("service-account"):
            notes = (*notes, "the machine has the project's default service account: name one without roles")
        ready = dataclasses.replace(lease, state=LeaseState.READY, notes=(*lease.notes, *notes))
        self._connections.keep(ready, shell)
        return ready

    def _create(self, lease: Lease, made: Callable[[Lease], Any], deadline: float) -> str | None:
        """Ask for the node, or adopt the one that is there and ours; the name of the operation, if there is one."""
        parent = self._parent(lease)
        there = self._places.node(parent, lease.id)
        if there is not None:
            self._adopt(there, lease)
            return None
        node = made(
            shifted(lease, self._tpus.clock.ahead)
        )  # the question whether it is there was answered with a date
        try:
            if lease.machine.options.get("queued") == "true":
                enqueue(self._tpus, lease, node, parent, seconds=deadline - self._clock())
                return None
            answer = self._tpus.call(
                "create_node", again=False, where=parent, parent=parent, node_id=node_id(lease.id), node=node
            )
        except ProviderError as error:
            if error.failure.kind is Kind.UNKNOWN:
                with self._lock:
                    self._unsure[lease.id] = self._clock()
            if error.failure.code == google.EXISTS:  # somebody was quicker; is it us?
                there = self._places.node(parent, lease.id)
                if there is not None:
                    self._adopt(there, lease)
                    return None
            raise
        return str(answer.operation.name)

    def _adopt(self, node: Found, lease: Lease) -> None:
        """Go on with a node that is there already. Raises ProviderError if it is not ours, or has been taken away."""
        if node.labels.get(LEASE) != lease.id:
            text = f"a node called {node.id} is there and does not bear the lease's label"
            failure = Failure(kind=Kind.CONFIGURATION, scope=Scope.ZONE, text=text, code=google.EXISTS)
            raise ProviderError(failure, where=str(lease.zone))
        check_holder(node.labels, lease)
        if node.state in GONE_STATES:
            raise taken(node)
        if node.state == "STOPPED":
            self.start(lease)

    def _await_ready(self, lease: Lease, operation: str | None, deadline: float) -> Found:
        """The node once it is ready: its own state is asked for, the operation only to fail early."""
        began, parent = self._clock(), self._parent(lease)
        while True:
            node = self._places.node(parent, lease.id)
            if node is not None:
                check_holder(node.labels, lease)
                if node.state == "READY" and node.endpoints:
                    return node
                if node.state in GONE_STATES:
                    raise taken(node)
            if operation is not None:
                self._check(operation, lease)
            elif node is None:
                self._check_queue(parent, lease)
            if self._clock() >= deadline:
                state = node.state if node is not None else "not there yet"
                failure = Failure(
                    kind=Kind.UNKNOWN, scope=Scope.OFFER, text=f"the node was {state} when its time was over"
                )
                raise ProviderError(failure, where=str(lease.zone))
            young = self._clock() - began < YOUNG_SECONDS
            self._sleep(YOUNG_PAUSE if young else OLD_PAUSE)

    def _check(self, operation: str, lease: Lease) -> None:
        """Raise what the create operation failed with."""
        found = self._tpus.operation(operation)
        if found.done and found.error.code:
            word = words_of(found.error.code)
            raise error_of(failure_of(word, found.error.message), where=str(lease.zone))

    def _check_queue(self, parent: str, lease: Lease) -> None:
        """Raise if the queued request has ended without a node."""
        request = self._places.request(parent, lease.id)
        if request is not None and request.state in ("FAILED", "SUSPENDED"):
            text = f"there is no more capacity in the zone: the queued request is {request.state}"
            raise error_of(failure_of(google.EXHAUSTED, text), where=str(lease.zone))

    def shell(self, lease: Lease) -> Shell:
        """A way to speak to the machine. Raises MachineError if the lease is not ready."""
        return self._connections.shell(lease)

    def describe(self, lease: Lease) -> LeaseState:
        """The state of the node, or of the queued request for one."""
        check_lease(lease)
        order = list(LeaseState)
        states = [state_of(found) for found in self._everything(lease)]
        return min(states, key=order.index) if states else LeaseState.GONE

    def notice(self, lease: Lease, _shell: Shell) -> str | None:
        """That the node has been taken away; a TPU gives no earlier sign."""
        if self.describe(lease) is LeaseState.PREEMPTED:
            return "the node was preempted"
        return None

    def release(self, lease: Lease) -> None:
        """Delete the node and the queued request, and wait until both are gone: they hold quota until then."""
        check_lease(lease)
        self._connections.hang_up(lease)
        with self._lock:
            unsure = self._unsure.get(lease.id)
        deadline, pause = self._clock() + RELEASE_SECONDS, 0.2
        asked: set[str] = set()
        while True:
            left = self._everything(lease)
            if not left and (unsure is None or self._clock() >= unsure + UNSURE_SECONDS):
                break
            for found in left:
                if found.name not in asked and found.state != "DELETING":
                    asked.add(found.name)
                    self._places.end(found)
            if self._clock() >= deadline:
                names = ", ".join(found.name for found in left)
                raise MachineError(
                    f"lease {lease.id} is not gone yet: {names}", fix="the reaper goes on: ci-runner reap"
                )
            self._sleep(pause)
            pause = min(5.0, pause * 1.5)
        with self._lock:
            self._unsure.pop(lease.id, None)
        self._ways.forget_keys(lease)

    def start(self, lease: Lease) -> None:
        """Start a stopped node and wait until it is ready."""
        self._switch(lease, "start_node", "READY")

    def stop(self, lease: Lease) -> None:
        """Stop the node. Slices of several hosts and spot machines cannot be stopped."""
        node = self._the(lease)
        if node.workers > 1 or node.spot:
            what = "a slice of several hosts" if node.workers > 1 else "a spot machine"
            raise UsageError(
                f"lease {lease.id} is {what}, which cannot be stopped",
                fix=f"give it back instead: ci-runner machines release {lease.id}",
            )
        self._connections.hang_up(lease)
        self._switch(lease, "stop_node", "STOPPED")

    def restart(self, lease: Lease) -> None:
        """Stop and start: the API has no call for both."""
        self.stop(lease)
        self.start(lease)

    def _switch(self, lease: Lease, method: str, wanted: str) -> None:
        deadline, pause = self._clock() + SWITCH_SECONDS, 0.2
        node = self._the(lease)
        if node.state != wanted:
            self._tpus.call(method, again=False, where=node.zone, name=node.name)
        while node.state != wanted:
            if self._clock() >= deadline:
                raise MachineError(
                    f"the node of lease {lease.id} is {node.state}, not {wanted}", where=node.zone
                )
            self._sleep(pause)
            pause = min(5.0, pause * 1.5)
            node = self._the(lease)

    def mark(self, lease: Lease, at: float) -> None:
        """Label the node with the reaper's visit; a queued request cannot be labelled, and its nodes are."""
        for found in self._everything(lease):
            if found.is_node:
                self._places.relabel(found, {**found.labels, MARKED: str(int(at + self._tpus.clock.ahead))})

    def leases(self, owner: str | None = None) -> list[Lease]:
        """Every lease that has a node or a queued request in any zone of the project."""
        project = self._tpus.project({})
        found: dict[str, Lease] = {}
        for each in self._places.all(project):
            lease = each.lease()
            if lease is not None and (lease.id not in found or each.is_node):
                found[lease.id] = shifted(lease, -self._tpus.clock.ahead)
        return [lease for lease in found.values() if owner is None or lease.owner == label_value(owner)]

    def examine(self, machine: MachineSpec) -> Iterator[Check]:
        """What doctor wants to know."""
        return examine(machine, self._tpus, self._places)

    def _everything(self, lease: Lease) -> list[Found]:
        """What bears the lease's id: in its zone, else in the zones where it may have been tried, else anywhere."""
        project = self._tpus.project(lease.machine.options)
        zones = (lease.zone,) if lease.zone else lease.machine.zones
        if zones:
            parents = [f"projects/{project}/locations/{zone}" for zone in zones]
            candidates = [
                found
                for parent in parents
                for found in (self._places.node(parent, lease.id), self._places.request(parent, lease.id))
            ]
        else:
            candidates = list(self._places.all(project))
        return [each for each in candidates if each is not None and each.belongs_to(lease.id)]

    def _the(self, lease: Lease) -> Found:
        """The node of a lease. Raises MachineError if there is none."""
        check_lease(lease)
        node = next((found for found in self._everything(lease) if found.is_node), None)
        if node is None:
            raise MachineError(f"lease {lease.id} has no machine", where=NAME)
        return node

    def _parent(self, lease: Lease) -> str:
        return f"projects/{self._tpus.project(lease.machine.options)}/locations/{lease.zone}"


def taken(node: Found) -> ProviderError:
    """What a node that was taken away while it was made means."""
    text = f"the node was taken away while it was made: it is {node.state}"
    failure = Failure(kind=Kind.PREEMPTED, scope=Scope.OFFER, text=text, code=node.state.lower())
    return ProviderError(failure, where=node.zone)


def connect(environ: Mapping[str, str]) -> TpuProvider:
    """The provider, as the registry makes it."""
    return TpuProvider(Tpus(environ), ways(environ), environ)
