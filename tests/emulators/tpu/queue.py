"""Queued resources of the emulated TPU API: accepted, waiting for capacity, active, suspended, failed, deleted."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tests.emulators.tpu.faults import Refusal
from tests.emulators.tpu.operations import TYPES, stamp

if TYPE_CHECKING:
    from tests.emulators.tpu.world import Node, World

NAME = re.compile(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?")
WAITING = ("ACCEPTED", "WAITING_FOR_RESOURCES")
EXPIRED = {"code": 4, "message": "The queued resource was not provisioned before its deadline"}
CODES = {"RESOURCE_EXHAUSTED": 8, "PERMISSION_DENIED": 7, "UNAVAILABLE": 14}


@dataclass(slots=True)
class Queued:
    """One queued resource."""

    zone: str
    id: str
    body: dict[str, Any]
    request_id: str
    state: str = "ACCEPTED"
    created: float = 0.0
    since: float = 0.0
    error: dict[str, Any] | None = None
    operation: str = ""  # that ends it


class Queue:
    """All queued resources of a world."""

    def __init__(self, world: World) -> None:
        self.all: dict[tuple[str, str], Queued] = {}
        self._world = world

    def enqueue(self, zone: str, name: str, request_id: str, body: dict[str, Any]) -> dict[str, Any]:
        """Begin a queued resource; the same request id again is the same request."""
        world = self._world
        world.zone(zone)
        found = self.all.get((zone, name))
        if found is not None and not (request_id and found.request_id == request_id):
            raise Refusal(409, "ALREADY_EXISTS", f"Queued resource {name} already exists")
        if found is None:
            if not NAME.fullmatch(name):
                raise Refusal(400, "INVALID_ARGUMENT", f"Invalid queued resource id: {name!r}")
            self._check(zone, body)
            now = world.clock()
            found = Queued(zone=zone, id=name, body=dict(body), request_id=request_id, created=now, since=now)
            self.all[zone, name] = found
        operation = world.operations.begin(zone, self.name_of(found), "create")
        response = {"@type": f"{TYPES}.QueuedResource", **self.shown(found)}
        return world.operations.end(operation["name"], response=response)

    def _check(self, zone: str, body: dict[str, Any]) -> None:
        specs = body.get("tpu", {}).get("nodeSpec", ())
        if not specs:
            raise Refusal(400, "INVALID_ARGUMENT", "A queued resource needs a node spec")
        parent = f"projects/{self._world.project}/locations/{zone}"
        for spec in specs:
            if spec.get("parent") != parent:
                raise Refusal(400, "INVALID_ARGUMENT", f"The parent of a node spec must be {parent}")
            if spec.get("node", {}).get("schedulingConfig", {}).get("spot"):
                raise Refusal(400, "INVALID_ARGUMENT", "Spot is said in the queued resource, not in its node")
            self._world.check_new(zone, str(spec.get("nodeId", "")), spec.get("node", {}))

    def tick(self) -> None:
        """Let time have passed: whoever waits may get a node, or have waited too long."""
        now = self._world.clock()
        for request in list(self.all.values()):
            if request.state == "DELETING" and now - request.since >= self._world.delete_seconds:
                del self.all[request.zone, request.id]
                self._world.operations.end(request.operation)
            elif request.state in WAITING:
                self._provision(request)
                if request.state in WAITING and now - request.created >= patience(request.body):
                    request.state, request.error = "FAILED", dict(EXPIRED)

    def _provision(self, request: Queued) -> None:
        world = self._world
        for spec in request.body["tpu"]["nodeSpec"]:
            if (request.zone, spec["nodeId"]) in world.nodes:
                continue
            node = dict(spec["node"])
            if "spot" in request.body:
                node["schedulingConfig"] = {"spot": True}
            elif request.body.get("reservationName"):
                node["schedulingConfig"] = {"reserved": True}
            try:
                operation = world.create(request.zone, spec["nodeId"], node, queued=self.name_of(request))
            except Refusal as refusal:
                code = CODES.get(refusal.word, 3)
                request.state, request.error = "FAILED", {"code": code, "message": refusal.message}
                return
            if operation.get("error"):
                request.state = "WAITING_FOR_RESOURCES"
                return
        request.state = "ACTIVE"

    def of(self, node: Node) -> Queued | None:
        """The queued resource that a node came from, if it is still there."""
        name = str(node.body.get("queuedResource", "")).rpartition("/")[2]
        return self.all.get((node.zone, name))

    def suspend(self, node: Node) -> None:
        """A node was taken away: what asked for it is suspended."""
        request = self.of(node)
        if request is not None and request.state != "DELETING":
            request.state = "SUSPENDED"

    def get(self, zone: str, name: str) -> Queued:
        """A queued resource that exists."""
        self._world.zone(zone)
        found = self.all.get((zone, name))
        if found is None:
            raise Refusal(404, "NOT_FOUND", f"Queued resource {name} was not found")
        return found

    def delete(self, zone: str, name: str, *, force: bool) -> dict[str, Any]:
        """End a queued resource; with force its nodes too."""
        world, request = self._world, self.get(zone, name)
        nodes = [node for node in list(world.nodes.values()) if self.of(node) is request]
        if nodes and not force:
            raise Refusal(400, "FAILED_PRECONDITION", "The queued resource still has nodes: use force")
        for node in nodes:
            if node.state != "DELETING":
                world.end(node)
        operation = world.operations.begin(zone, self.name_of(request), "delete")
        request.state, request.since, request.operation = "DELETING", world.clock(), operation["name"]
        self.tick()
        return operation

    def name_of(self, request: Queued) -> str:
        """Its full name."""
        return f"projects/{self._world.project}/locations/{request.zone}/queuedResources/{request.id}"

    def shown(self, request: Queued) -> dict[str, Any]:
        """A queued resource as the API tells it."""
        state: dict[str, Any] = {"state": request.state}
        if request.error is not None and request.state == "FAILED":
            state["failedData"] = {"error": request.error}
        return {
            **request.body,
            "name": self.name_of(request),
            "createTime": stamp(request.created),
            "state": state,
        }


def patience(body: dict[str, Any]) -> float:
    """How long a queued resource may wait, in seconds."""
    text = body.get("queueingPolicy", {}).get("validUntilDuration")
    return float(text.removesuffix("s")) if text else float("inf")
