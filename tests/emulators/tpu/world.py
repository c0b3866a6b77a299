"""The emulated TPU zones: nodes with their lives, capacity, quota, and what can go wrong, by a clock that can be moved."""

from __future__ import annotations

import fnmatch
import re
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from tests.emulators.tpu import faults, quotas
from tests.emulators.tpu.faults import Doom, Fault, Raid, Refusal
from tests.emulators.tpu.operations import TYPES, Operations, stamp
from tests.emulators.tpu.queue import Queue, Queued

NAME = re.compile(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?")
LABEL = re.compile(r"[a-z0-9_-]{0,63}")
MAX_LABELS = 64
MUTABLE = ("description", "labels", "metadata", "tags", "networkConfig.enableExternalIps")
DELETED = {"code": 1, "message": "The node was deleted"}


COUNT_CORES = ("v2-", "v3-", "v4-", "v5p-")  # in their names, two for a chip; newer ones count chips


class Booted(Protocol):
    """A machine that a node consists of."""

    @property
    def address(self) -> str:
        """Where it is reached."""
        ...


class Hall(Protocol):
    """Where machines come from: tests/emulators/machines.py, or nothing at all."""

    def boot(self, name: str, metadata: Mapping[str, str], chips: int) -> Booted:
        """Start a machine with a node's metadata and so many chips."""
        ...

    def kill(self, name: str) -> None:
        """Power off at once; absent is success."""
        ...


@dataclass(slots=True)
class Zone:
    """What a zone has left; a type that is absent has plenty."""

    capacity: dict[str, int] = field(default_factory=dict)
    spot_capacity: dict[str, int] = field(default_factory=dict)
    reserved: dict[str, int] = field(default_factory=dict)
    quota: int = quotas.PLENTY  # of each of its quotas, in the numbers that types have
    limits: dict[str, int] = field(default_factory=dict)  # those that have another, by name
    known: bool = True
    reachable: bool = True


@dataclass(slots=True)
class Node:
    """One node and its machines."""

    zone: str
    id: str
    body: dict[str, Any]
    state: str = "CREATING"
    since: float = 0.0
    created: float = 0.0
    operation: str = ""  # the one that made it, or that ends it
    hosts: int = 1
    addresses: list[str] = field(default_factory=list)
    booted: bool = False
    doom: Doom | None = None

    @property
    def kind(self) -> str:
        """Its type."""
        return str(self.body["acceleratorType"])

    @property
    def market(self) -> str:
        """Whose capacity it takes."""
        config = self.body.get("schedulingConfig", {})
        return (
            "spot"
            if config.get("spot") or config.get("preemptible")
            else "reserved"
            if config.get("reserved")
            else ""
        )


class World:
    """All zones of one project; every change happens under one lock and by one clock."""

    def __init__(
        self,
        *,
        project: str = "emulated",
        zones: tuple[str, ...] = ("us-central1-b", "us-east5-b", "europe-west4-a"),
        clock: Callable[[], float] = time.time,
        boot_seconds: float = 0.0,
        delete_seconds: float = 0.0,
        hall: Hall | None = None,
    ) -> None:
        self.project = project
        self.zones = {name: Zone() for name in zones}
        self.clock = clock
        self.boot_seconds = boot_seconds
        self.delete_seconds = delete_seconds
        self.hall = hall
        self.nodes: dict[tuple[str, str], Node] = {}
        self.queue = Queue(self)
        self.operations = Operations(project, clock)
        self.faults: list[Fault] = []
        self.dooms: list[Doom] = []
        self.raids: list[Raid] = []
        self.calls: list[tuple[str, str]] = []  # method and path, in order
        self.ahead = 0.0  # of the cloud's clock, as far as answers tell it
        self.never_done: set[str] = set()  # ids of nodes whose operation does not end
        self.deaf: set[tuple[str, int]] = set()  # (node, worker) that never boots
        self.creations_per_minute: int | None = None
        self.region_quotas: dict[
            tuple[str, str], int
        ] = {}  # (name of a quota, region), where there is a limit
        self.lock = threading.RLock()
        self._creations: list[float] = []

    @property
    def queued(self) -> dict[tuple[str, str], Queued]:
        """The queued resources."""
        return self.queue.all

    # -- what tests do to it

    def preempt(self, node_id: str) -> None:
        """Take a node away, as Google does with spot machines; its queued resource is then suspended."""
        with self.lock:
            node = next(node for (_, name), node in self.nodes.items() if name == node_id)
            self._take(node)

    def fault(self, method: str, **values: Any) -> None:
        """Let something befall the next matching calls."""
        self.faults.append(Fault(method=method, **values))

    def obey(self, script: list[Fault | Doom | Raid]) -> None:
        """Let all of this happen in its time."""
        for each in script:
            kept: Any = {Fault: self.faults, Doom: self.dooms, Raid: self.raids}[type(each)]
            kept.append(each)

    def take_fault(self, method: str, zone: str, *, after: bool) -> Fault | None:
        """The fault for this call, if there is one."""
        with self.lock:
            for fault in self.faults:
                if fault.matches(method, zone, after=after):
                    fault.times -= 1
                    return fault
        return None

    def close(self) -> None:
        """End every machine."""
        with self.lock:
            for node in self.nodes.values():
                self._power_off(node)

    # -- zones

    def zone(self, name: str) -> Zone:
        """A zone that the project may use, and that answers."""
        found = self.zones.get(name)
        if found is None or not found.known:
            raise Refusal(403, "PERMISSION_DENIED", faults.LOCATION.format(zone=name))
        if not found.reachable:
            raise Refusal(503, "UNAVAILABLE", f"The zone {name} is unavailable")
        return found

    def unreachable(self) -> list[str]:
        """The zones that are missing in a list of all."""
        return [
            f"projects/{self.project}/locations/{name}"
            for name, zone in self.zones.items()
            if zone.known and not zone.reachable
        ]

    # -- nodes

    def create(self, zone: str, node_id: str, body: dict[str, Any], *, queued: str = "") -> dict[str, Any]:
        """Begin a node; whether there is capacity is told by the operation."""
        self.zone(zone)
        self.check_new(zone, node_id, body)
        if not queued:
            self._check_rate()
        node = Node(zone=zone, id=node_id, body=dict(body), since=self.clock(), created=self.clock())
        quotas.check(self, zone, node.kind, node.market)
        node.hosts = hosts_of(node.kind)
        if queued:
            node.body["queuedResource"] = queued
        operation = self.operations.begin(zone, self.name_of(node), "create")
        node.operation = str(operation["name"])
        node.doom = self._doom(node)
        if node.doom is not None and node.doom.seconds <= 0 and node.doom.leaves is None:
            return self.operations.end(node.operation, error=node.doom.error(zone))
        self.nodes[zone, node_id] = node
        return operation

    def _doom(self, node: Node) -> Doom | None:
        """What is to become of a creation, if it is nothing good: by script, or for want of capacity."""
        for doom in self.dooms:
            if doom.matches(node.id, node.zone):
                doom.times -= 1
                return doom
        place = self.zones[node.zone]
        pools = {"spot": place.spot_capacity, "reserved": place.reserved, "": place.capacity}
        left = pools[node.market].get(node.kind)
        used = sum(
            (other.zone, other.kind, other.market) == (node.zone, node.kind, node.market)
            for other in self.nodes.values()
        )
        if left is None or used < left:
            return None
        if node.market == "reserved":
            return Doom(code=9, message=faults.NO_RESERVED)
        return faults.stockout()

    def _check_rate(self) -> None:
        now = self.clock()
        self._creations = [each for each in self._creations if each > now - 60.0]
        if self.creations_per_minute is not None and len(self._creations) >= self.creations_per_minute:
            raise Refusal(429, "RESOURCE_EXHAUSTED", faults.RATE)
        self._creations.append(now)

    def check_new(self, zone: str, node_id: str, body: Mapping[str, Any]) -> None:
        """Refuse what no node can be."""
        if not NAME.fullmatch(node_id):
            raise Refusal(400, "INVALID_ARGUMENT", f"Invalid node id: {node_id!r}")
        labels = body.get("labels", {})
        for name, value in labels.items():
            if not LABEL.fullmatch(value) or not LABEL.fullmatch(name) or not name[:1].isalpha():
                raise Refusal(400, "INVALID_ARGUMENT", f"Invalid label: {name}={value}")
        if len(labels) > MAX_LABELS:
            raise Refusal(400, "INVALID_ARGUMENT", f"More than {MAX_LABELS} labels")
        if not re.fullmatch(r"v[0-9]+[a-z]*-[0-9]+", str(body.get("acceleratorType", ""))):
            raise Refusal(
                400, "INVALID_ARGUMENT", f"Accelerator type not found: {body.get('acceleratorType')!r}"
            )
        if not body.get("runtimeVersion"):
            raise Refusal(400, "INVALID_ARGUMENT", "Runtime version is required")
        if (zone, node_id) in self.nodes:
            raise Refusal(409, "ALREADY_EXISTS", f"Node {node_id} already exists")

    def node(self, zone: str, node_id: str) -> Node:
        """A node that exists."""
        self.zone(zone)
        found = self.nodes.get((zone, node_id))
        if found is None:
            name = f"projects/{self.project}/locations/{zone}/nodes/{node_id}"
            raise Refusal(404, "NOT_FOUND", f"Resource '{name}' was not found")
        return found

    def delete(self, zone: str, node_id: str) -> dict[str, Any]:
        """End a node."""
        node = self.node(zone, node_id)
        request = self.queue.of(node)
        if request is not None and request.state != "DELETING":
            raise Refusal(400, "FAILED_PRECONDITION", "The node belongs to a queued resource: delete that")
        return self.end(node)

    def end(self, node: Node) -> dict[str, Any]:
        """Let a node go: its power is off at once, its name is free when it is gone."""
        self._power_off(node)
        self.operations.end(node.operation, error=dict(DELETED))
        operation = self.operations.begin(node.zone, self.name_of(node), "delete")
        node.state, node.since, node.operation = "DELETING", self.clock(), str(operation["name"])
        self._advance(node)
        return operation

    def switch(self, zone: str, node_id: str, state: str) -> dict[str, Any]:
        """Stop or start a node."""
        node = self.node(zone, node_id)
        if node.hosts > 1:
            raise Refusal(400, "FAILED_PRECONDITION", "Pods cannot be stopped or started")
        if node.state != {"STOPPED": "READY", "READY": "STOPPED"}[state]:
            raise Refusal(400, "FAILED_PRECONDITION", f"The node is {node.state}")
        operation = self.operations.begin(zone, self.name_of(node), "update")
        if state == "STOPPED":
            self._power_off(node)
            node.state = "STOPPED"
            self.operations.end(operation["name"], response=self.response(node))
        else:
            node.state, node.since, node.booted = "STARTING", self.clock(), False
            node.addresses, node.operation = [], str(operation["name"])
        return operation

    def patch(self, zone: str, node_id: str, mask: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Change what may be changed."""
        node = self.node(zone, node_id)
        for name in mask.split(","):
            if name not in MUTABLE:
                raise Refusal(400, "INVALID_ARGUMENT", f"Field {name!r} cannot be updated")
        for name in mask.split(","):
            if name in body:
                node.body[name] = body[name]
            elif "." in name:
                outer, _, inner = name.partition(".")
                node.body.setdefault(outer, {})[inner] = body.get(outer, {}).get(inner, False)
            else:
                node.body.pop(name, None)  # named in the mask, and nothing given: it is emptied
        operation = self.operations.begin(zone, self.name_of(node), "update")
        return self.operations.end(operation["name"], response=self.response(node))

    def name_of(self, node: Node) -> str:
        """The full name of a node."""
        return f"projects/{self.project}/locations/{node.zone}/nodes/{node.id}"

    def response(self, node: Node) -> dict[str, Any]:
        """A node as an operation brings it."""
        return {"@type": f"{TYPES}.Node", **self.shown(node)}

    def shown(self, node: Node) -> dict[str, Any]:
        """A node as the API tells it."""
        body = {
            **node.body,
            "name": self.name_of(node),
            "state": node.state,
            "createTime": stamp(node.created),
            "apiVersion": "V2",
            "health": "HEALTHY",
        }
        if node.addresses:
            body["networkEndpoints"] = [
                {"ipAddress": address, "port": 8470, "accessConfig": {"externalIp": address}}
                for address in node.addresses
            ]
        return body

    # -- time

    def tick(self) -> None:
        """Let time have passed: what was booting may be ready, and what was to happen has happened."""
        for node in list(self.nodes.values()):
            self._advance(node)
        self.queue.tick()

    def _advance(self, node: Node) -> None:
        now = self.clock()
        if node.state == "DELETING":
            if now - node.since >= self.delete_seconds:
                self.nodes.pop((node.zone, node.id), None)
                self.operations.end(node.operation)
            return
        if node.state == "CREATING" and node.doom is not None and now - node.since >= node.doom.seconds:
            self._perish(node, node.doom)
            return
        booting = node.state in ("CREATING", "STARTING") and node.doom is None
        if booting and now - node.since >= self.boot_seconds:
            self._boot(node)
        if node.state in ("CREATING", "READY"):
            raid = next((each for each in self.raids if fnmatch.fnmatchcase(node.id, each.node)), None)
            if raid is not None and now - node.created >= raid.seconds:
                self._take(node)

    def _perish(self, node: Node, doom: Doom) -> None:
        self.operations.end(node.operation, error=doom.error(node.zone))
        if doom.leaves is None:
            del self.nodes[node.zone, node.id]
        else:
            node.state = doom.leaves

    def _take(self, node: Node) -> None:
        making = node.state == "CREATING"
        self._power_off(node)
        node.state, node.since = "PREEMPTED", self.clock()
        if making:
            self.operations.end(node.operation, error=faults.taken().error(node.zone))
        self.queue.suspend(node)

    def _boot(self, node: Node) -> None:
        node.booted = True
        if self.hall is None:
            node.addresses = [f"10.0.{len(self.nodes)}.{number}" for number in range(node.hosts)]
        else:
            metadata = node.body.get("metadata", {})
            chips = chips_of(node.kind) // node.hosts
            for number in range(node.hosts):
                if (node.id, number) in self.deaf:
                    node.addresses.append("127.255.255.254")  # nobody listens there
                    continue
                node.addresses.append(self.hall.boot(f"{node.id}-w{number}", metadata, chips).address)
        node.state = "READY"
        if node.id not in self.never_done:
            self.operations.end(node.operation, response=self.response(node))

    def _power_off(self, node: Node) -> None:
        if self.hall is not None and node.booted:
            for number in range(node.hosts):
                self.hall.kill(f"{node.id}-w{number}")


def hosts_of(kind: str) -> int:
    """Machines of a slice, told apart from the product's own arithmetic."""
    chips, single = chips_of(kind), 4 if kind.startswith(COUNT_CORES) else 8
    return 1 if chips <= single else chips // 4


def chips_of(kind: str) -> int:
    """Chips of a slice, likewise."""
    size = int(kind.partition("-")[2])
    return size // 2 if kind.startswith(COUNT_CORES) else size
