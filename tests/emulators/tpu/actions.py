"""What each method of the emulated TPU API does, once a request is known to be a possible one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from tests.emulators.tpu import quotas
from tests.emulators.tpu.faults import Refusal
from tests.emulators.tpu.world import World

PAGE = 100
TYPES = (
    "v2-8",
    "v3-8",
    "v4-8",
    "v5litepod-1",
    "v5litepod-4",
    "v5litepod-8",
    "v5litepod-16",
    "v5p-8",
    "v6e-1",
    "v6e-4",
    "v6e-8",
    "v6e-16",
)
RUNTIMES = ("tpu-ubuntu2204-base", "v2-alpha-tpuv5-lite", "v2-alpha-tpuv5", "v2-alpha-tpuv6e")

Query = Mapping[str, str]
Action = Callable[[tuple[str, ...], Query, dict[str, Any]], dict[str, Any]]


def actions(world: World) -> dict[str, Action]:
    """Method → action (what stands in the path after the project, query, body) → answer."""
    return {
        **node_actions(world),
        **queue_actions(world),
        **operation_actions(world),
        **place_actions(world),
        **quota_actions(world),
    }


def node_actions(world: World) -> dict[str, Action]:
    """Nodes."""

    def listed(path: tuple[str, ...], query: Query, _body: Any) -> dict[str, Any]:
        found = [world.shown(node) for node in within(world, path[0], world.nodes.values())]
        return {**paged("nodes", found, query), **missing(world, path[0])}

    return {
        "nodes.create": lambda path, query, body: world.create(path[0], query.get("nodeId", ""), body),
        "nodes.get": lambda path, _query, _body: world.shown(world.node(path[0], path[1])),
        "nodes.list": listed,
        "nodes.delete": lambda path, _query, _body: world.delete(path[0], path[1]),
        "nodes.stop": lambda path, _query, _body: world.switch(path[0], path[1], "STOPPED"),
        "nodes.start": lambda path, _query, _body: world.switch(path[0], path[1], "READY"),
        "nodes.patch": lambda path, query, body: world.patch(
            path[0], path[1], query.get("updateMask", ""), body
        ),
    }


def queue_actions(world: World) -> dict[str, Action]:
    """Queued resources."""

    def listed(path: tuple[str, ...], query: Query, _body: Any) -> dict[str, Any]:
        found = [world.queue.shown(item) for item in within(world, path[0], world.queued.values())]
        return {**paged("queuedResources", found, query), **missing(world, path[0])}

    return {
        "queuedResources.create": lambda path, query, body: world.queue.enqueue(
            path[0], query.get("queuedResourceId", ""), query.get("requestId", ""), body
        ),
        "queuedResources.get": lambda path, _query, _body: world.queue.shown(
            world.queue.get(path[0], path[1])
        ),
        "queuedResources.list": listed,
        "queuedResources.delete": lambda path, query, _body: world.queue.delete(
            path[0], path[1], force=query.get("force", "").lower() == "true"
        ),
    }


def operation_actions(world: World) -> dict[str, Action]:
    """Long-running operations."""
    operations = world.operations
    return {
        "operations.get": lambda path, _query, _body: operations.get(path[0], path[1]),
        "operations.list": lambda path, query, _body: paged("operations", operations.listed(path[0]), query),
        "operations.delete": lambda path, _query, _body: operations.forget(path[0], path[1]),
        "operations.cancel": lambda path, _query, _body: operations.cancel(path[0], path[1]),
    }


def place_actions(world: World) -> dict[str, Action]:
    """Zones, and what they have."""

    def location(name: str) -> dict[str, Any]:
        world.zone(name)
        return {"name": f"projects/{world.project}/locations/{name}", "locationId": name}

    def things(kind: str, key: str, names: tuple[str, ...]) -> dict[str, Action]:
        def shown(zone: str, name: str) -> dict[str, Any]:
            return {"name": f"projects/{world.project}/locations/{zone}/{kind}/{name}", key: name}

        def one(path: tuple[str, ...], _query: Query, _body: Any) -> dict[str, Any]:
            world.zone(path[0])
            if path[1] not in names:
                raise Refusal(404, "NOT_FOUND", f"{path[1]} was not found in {path[0]}")
            return shown(path[0], path[1])

        def listed(path: tuple[str, ...], query: Query, _body: Any) -> dict[str, Any]:
            world.zone(path[0])
            return paged(kind, [shown(path[0], name) for name in names], query)

        return {f"{kind}.get": one, f"{kind}.list": listed}

    return {
        "locations.get": lambda path, _query, _body: location(path[0]),
        "locations.list": lambda _path, query, _body: paged(
            "locations",
            [
                {"name": f"projects/{world.project}/locations/{name}", "locationId": name}
                for name, zone in world.zones.items()
                if zone.known
            ],
            query,
        ),
        **things("acceleratorTypes", "type", TYPES),
        **things("runtimeVersions", "version", RUNTIMES),
    }


def quota_actions(world: World) -> dict[str, Action]:
    """Quotas, which another API tells: what stands in the path is the service."""
    return {
        quotas.LIST.id: lambda path, query, _body: paged("quotaInfos", quotas.infos(world, path[0]), query)
    }


def within(world: World, zone: str, items: Iterable[Any]) -> list[Any]:
    """The items of one zone, or with `-` of all that answer."""
    if zone != "-":
        world.zone(zone)
    return [item for item in items if item.zone == zone or (zone == "-" and world.zones[item.zone].reachable)]


def missing(world: World, zone: str) -> dict[str, Any]:
    """Which zones are not in a list of all."""
    found = world.unreachable() if zone == "-" else []
    return {"unreachable": found} if found else {}


def paged(key: str, items: list[dict[str, Any]], query: Query) -> dict[str, Any]:
    """One page of a listing."""
    size = min(int(query.get("pageSize") or PAGE) or PAGE, PAGE)
    token = query.get("pageToken") or "0"
    if not token.isdecimal():
        raise Refusal(400, "INVALID_ARGUMENT", "The page token is invalid")
    start = int(token)
    answer: dict[str, Any] = {key: items[start : start + size]}
    if start + size < len(items):
        answer["nextPageToken"] = str(start + size)
    return answer
