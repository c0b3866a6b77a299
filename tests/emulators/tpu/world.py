"""The emulated TPU zones: nodes and queued requests with their lives, capacity, quota, and what can go wrong."""

from __future__ import annotations

import fnmatch
import itertools
import re
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Protocol

NAME = re.compile(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?")
LABEL = re.compile(r"[a-z0-9_-]{0,63}")
GONE = "gone"
COUNTED = ("CREATING", "READY", "STARTING", "STOPPING", "STOPPED", "RESTARTING", "PREEMPTED", "TERMINATED")


class Refusal(Exception):  # noqa: N818 - an answer, not a fault of the emulator
    """An error that Google would answer with."""

    def __init__(self, status: int, word: str, message: str) -> None:
        super().__init__(message)
        self.status, self.word, self.message = status, word, message


class Booted(Protocol):
    """A machine that a node consists of."""

    @property
    def address(self) -> str:
        """Where it is reached."""
        ...


class Hall(Protocol):
    """Where machines come from: tests/emulators/machines.py, or nothing at all."""

    def boot(self, name: str, metadata: Mapping[str, str]) -> Booted:
        """Start a machine with a node's metadata."""
        ...

    def kill(self, name: str) -> None:
        """Power off at once; absent is success."""
        ...


@dataclass(slots=True)
class Fault:
    """What befalls the next calls that match: an error, silence, a cut, or nonsense, before or after the effect."""

    method: str  # a glob over nodes.create …
    times: int = 1
    status: int = 0
    word: str = "UNKNOWN"
    message: str = ""
    kind: str = "error"  # error | hang | reset | malformed
    after: bool = False  # the call takes effect, and its answer is lost
    zone: str = "*"


@dataclass(slots=True)
class Zone:
    """What a zone has left."""

    capacity: dict[str, int] = field(
        default_factory=dict
    )  # type → machines; a type that is absent has plenty
    spot_capacity: dict[str, int] = field(default_factory=dict)
    quota: int = 1_000  # nodes of the project in this zone
    known: bool = True


@dataclass(slots=True)
class Node:
    """One node and its machines."""

    zone: str
    id: str
    body: dict[str, Any]
    state: str = "CREATING"
    since: float = 0.0
    created: float = 0.0
    operation: str = ""
    hosts: int = 1
    addresses: list[str] = field(default_factory=list)
    booting: bool = False


@dataclass(slots=True)
class Queued:
    """One queued resource."""

    zone: str
    id: str
    body: dict[str, Any]
    request_id: str
    state: str = "ACCEPTED"
    created: float = 0.0


class World:
    """All zones of one project; every change happens under one lock and by one clock."""

    def __init__(
        self,
        *,
        project: str = "emulated",
        zones: tuple[str, ...] = ("us-central1-b", "us-east5-b", "europe-west4-a"),
        clock: Callable[[], float] = time.time,
        boot_seconds: float = 0.0,
        hall: Hall | None = None,
    ) -> None:
        self.project = project
        self.zones = {name: Zone() for name in zones}
        self.clock = clock
        self.boot_seconds = boot_seconds
        self.hall = hall
        self.nodes: dict[tuple[str, str], Node] = {}
        self.queued: dict[tuple[str, str], Queued] = {}
        self.operations: dict[str, dict[str, Any]] = {}
        self.faults: list[Fault] = []
        self.calls: list[tuple[str, str]] = []  # method and path, in order
        self.never_done: set[str] = set()  # ids of nodes whose operation does not end
        self.deaf: set[tuple[str, int]] = set()  # (node, worker) that never boots
        self.lock = threading.RLock()
        self._numbers = itertools.count(1)

    # -- what tests do to it

    def preempt(self, node_id: str) -> None:
        """Take a node away, as Google does with spot machines."""
        with self.lock:
            node = self._named(node_id)
            node.state, node.since = "PREEMPTED", self.clock()
            self._power_off(node)

    def fault(self, method: str, **values: Any) -> None:
        """Let something befall the next matching calls."""
        self.faults.append(Fault(method=method, **values))

    def take_fault(self, method: str, zone: str, *, after: bool) -> Fault | None:
        """The fault for this call, if there is one."""
        with self.lock:
            for fault in self.faults:
                if (
                    fault.times > 0
                    and fault.after is after
                    and fnmatch.fnmatch(method, fault.method)
                    and fnmatch.fnmatch(zone, fault.zone)
                ):
                    fault.times -= 1
                    return fault
        return None

    def close(self) -> None:
        """End every machine."""
        with self.lock:
            for node in self.nodes.values():
                self._power_off(node)

    def _named(self, node_id: str) -> Node:
        return next(node for (_, name), node in self.nodes.items() if name == node_id)

    # -- zones

    def zone(self, name: str) -> Zone:
        """A zone that the project may use."""
        found = self.zones.get(name)
        if found is None or not found.known:
            raise Refusal(
                403, "PERMISSION_DENIED", f"Location {name} is not found or access is unauthorized."
            )
        return found

    # -- nodes

    def create(self, zone: str, node_id: str, body: dict[str, Any], *, queued: str = "") -> dict[str, Any]:
        """Begin a node; whether there is capacity is told by the operation."""
        place = self.zone(zone)
        self._check_new(zone, node_id, body)
        used = sum(1 for node in self.nodes.values() if node.zone == zone and node.state in COUNTED)
        if used >= place.quota:
            raise Refusal(
                429,
                "RESOURCE_EXHAUSTED",
                f"Quota limit 'TPUPerProjectPerZone' has been exceeded. Limit: {place.quota} in zone {zone}.",
            )
        kind = str(body["acceleratorType"])
        spot = bool(body.get("schedulingConfig", {}).get("spot"))
        left = (place.spot_capacity if spot else place.capacity).get(kind)
        target = f"projects/{self.project}/locations/{zone}/nodes/{node_id}"
        if left is not None and left <= sum(
            1
            for node in self.nodes.values()
            if node.zone == zone and node.body["acceleratorType"] == kind and node.state in COUNTED
        ):
            text = f'There is no more capacity in the zone "{zone}"; you can try in another zone'
            return self._operation(zone, target, "create", error={"code": 8, "message": text})
        node = Node(zone=zone, id=node_id, body=dict(body), since=self.clock(), created=self.clock())
        node.hosts = hosts_of(kind)
        if queued:
            node.body["queuedResource"] = queued
        operation = self._operation(zone, target, "create", done=False)
        node.operation = str(operation["name"])
        self.nodes[zone, node_id] = node
        return operation

    def _check_new(self, zone: str, node_id: str, body: Mapping[str, Any]) -> None:
        if not NAME.fullmatch(node_id):
            raise Refusal(400, "INVALID_ARGUMENT", f"Invalid node id: {node_id!r}")
        for name, value in body.get("labels", {}).items():
            if not LABEL.fullmatch(value) or not LABEL.fullmatch(name) or not name[:1].isalpha():
                raise Refusal(400, "INVALID_ARGUMENT", f"Invalid label: {name}={value}")
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
            raise Refusal(
                404,
                "NOT_FOUND",
                f"Resource 'projects/{self.project}/locations/{zone}/nodes/{node_id}' was not found",
            )
        return found

    def delete(self, zone: str, node_id: str) -> dict[str, Any]:
        """End a node."""
        node = self.node(zone, node_id)
        if node.body.get("queuedResource"):
            raise Refusal(400, "FAILED_PRECONDITION", "The node belongs to a queued resource: delete that")
        return self._end(node)

    def _end(self, node: Node) -> dict[str, Any]:
        self._power_off(node)
        del self.nodes[node.zone, node.id]
        self._finish(node.operation, {"code": 1, "message": "The node was deleted"})
        target = f"projects/{self.project}/locations/{node.zone}/nodes/{node.id}"
        return self._operation(node.zone, target, "delete")

    def switch(self, zone: str, node_id: str, state: str) -> dict[str, Any]:
        """Stop or start a node."""
        node = self.node(zone, node_id)
        if node.hosts > 1:
            raise Refusal(400, "FAILED_PRECONDITION", "Pods cannot be stopped or started")
        wanted = {"STOPPED": ("READY",), "READY": ("STOPPED",)}[state]
        if node.state not in wanted:
            raise Refusal(400, "FAILED_PRECONDITION", f"The node is {node.state}")
        if state == "STOPPED":
            self._power_off(node)
            node.state = "STOPPED"
        else:
            node.state, node.since, node.booting = "STARTING", self.clock(), False
            node.addresses = []
        target = f"projects/{self.project}/locations/{zone}/nodes/{node_id}"
        return self._operation(zone, target, "update")

    def patch(self, zone: str, node_id: str, mask: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Change what may be changed."""
        node = self.node(zone, node_id)
        for name in mask.split(","):
            if name not in ("description", "labels", "metadata", "tags", "networkConfig.enableExternalIps"):
                raise Refusal(400, "INVALID_ARGUMENT", f"Field {name!r} cannot be updated")
            node.body[name] = body.get(name, {})
        target = f"projects/{self.project}/locations/{zone}/nodes/{node_id}"
        return self._operation(zone, target, "update")

    def shown(self, node: Node) -> dict[str, Any]:
        """A node as the API tells it."""
        body = {
            **node.body,
            "name": f"projects/{self.project}/locations/{node.zone}/nodes/{node.id}",
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

    def tick(self) -> None:
        """Let time have passed: what was booting may be ready."""
        now = self.clock()
        for node in list(self.nodes.values()):
            if node.state in ("CREATING", "STARTING") and now - node.since >= self.boot_seconds:
                self._boot(node)
        for request in list(self.queued.values()):
            self._move(request)

    def _boot(self, node: Node) -> None:
        if node.booting:
            return
        node.booting = True
        if self.hall is None:
            node.addresses = [f"10.0.{len(self.nodes)}.{number}" for number in range(node.hosts)]
        else:
            metadata = node.body.get("metadata", {})
            for number in range(node.hosts):
                if (node.id, number) in self.deaf:
                    node.addresses.append("127.255.255.254")  # nobody listens there
                    continue
                name = f"{node.id}-w{number}"
                node.addresses.append(self.hall.boot(name, metadata).address)
        node.state = "READY"
        if node.id not in self.never_done:
            self._finish(node.operation, None)

    def _power_off(self, node: Node) -> None:
        if self.hall is not None and node.booting:
            for number in range(node.hosts):
                self.hall.kill(f"{node.id}-w{number}")

    # -- queued resources

    def enqueue(self, zone: str, name: str, request_id: str, body: dict[str, Any]) -> dict[str, Any]:
        """Begin a queued resource; the same request id again is the same request."""
        self.zone(zone)
        target = f"projects/{self.project}/locations/{zone}/queuedResources/{name}"
        found = self.queued.get((zone, name))
        if found is not None:
            if request_id and found.request_id == request_id:
                return self._operation(zone, target, "create")
            raise Refusal(409, "ALREADY_EXISTS", f"Queued resource {name} already exists")
        if not NAME.fullmatch(name):
            raise Refusal(400, "INVALID_ARGUMENT", f"Invalid queued resource id: {name!r}")
        for spec in body.get("tpu", {}).get("nodeSpec", ()):
            self._check_new(zone, str(spec.get("nodeId", "")), spec.get("node", {}))
        self.queued[zone, name] = Queued(
            zone=zone, id=name, body=dict(body), request_id=request_id, created=self.clock()
        )
        return self._operation(zone, target, "create")

    def _move(self, request: Queued) -> None:
        if request.state != "ACCEPTED":
            return
        for spec in request.body.get("tpu", {}).get("nodeSpec", ()):
            node = dict(spec["node"])
            if "spot" in request.body:
                node["schedulingConfig"] = {"spot": True}
            name = f"projects/{self.project}/locations/{request.zone}/queuedResources/{request.id}"
            try:
                operation = self.create(request.zone, spec["nodeId"], node, queued=name)
            except Refusal:
                request.state = "FAILED"
                return
            if operation.get("error"):
                request.state = "WAITING_FOR_RESOURCES"
                return
        request.state = "ACTIVE"

    def request(self, zone: str, name: str) -> Queued:
        """A queued resource that exists."""
        self.zone(zone)
        found = self.queued.get((zone, name))
        if found is None:
            raise Refusal(404, "NOT_FOUND", f"Queued resource {name} was not found")
        return found

    def dequeue(self, zone: str, name: str, *, force: bool) -> dict[str, Any]:
        """End a queued resource; with force its nodes too."""
        request = self.request(zone, name)
        nodes = [
            node
            for node in self.nodes.values()
            if str(node.body.get("queuedResource", "")).endswith(f"/{name}")
        ]
        if nodes and not force:
            raise Refusal(400, "FAILED_PRECONDITION", "The queued resource still has nodes: use force")
        for node in nodes:
            self._end(node)
        del self.queued[zone, request.id]
        return self._operation(
            zone, f"projects/{self.project}/locations/{zone}/queuedResources/{name}", "delete"
        )

    def shown_request(self, request: Queued) -> dict[str, Any]:
        """A queued resource as the API tells it."""
        return {
            **request.body,
            "name": f"projects/{self.project}/locations/{request.zone}/queuedResources/{request.id}",
            "createTime": stamp(request.created),
            "state": {"state": request.state},
        }

    # -- operations

    def _operation(
        self, zone: str, target: str, verb: str, *, error: dict[str, Any] | None = None, done: bool = True
    ) -> dict[str, Any]:
        number = next(self._numbers)
        name = f"projects/{self.project}/locations/{zone}/operations/operation-{number}"
        now = stamp(self.clock())
        kind = "type.googleapis.com/google.cloud.tpu.v2.OperationMetadata"
        found: dict[str, Any] = {
            "name": name,
            "done": done,
            "metadata": {
                "@type": kind,
                "createTime": now,
                "target": target,
                "verb": verb,
                "apiVersion": "v2",
            },
        }
        if error is not None:
            found["error"] = error
        self.operations[name] = found
        return found

    def _finish(self, name: str, error: dict[str, Any] | None) -> None:
        operation = self.operations.get(name)
        if operation is not None and not operation["done"]:
            operation["done"] = True
            if error is not None:
                operation["error"] = error


def hosts_of(kind: str) -> int:
    """Machines of a slice, told apart from the product's own arithmetic."""
    generation, _, number = kind.partition("-")
    size = int(number)
    chips = size // 2 if generation in ("v2", "v3", "v4", "v5p") else size
    single = 4 if generation in ("v2", "v3", "v4", "v5p") else 8
    return 1 if chips <= single else chips // 4


def stamp(seconds: float) -> str:
    """A time as Google writes it."""
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")
