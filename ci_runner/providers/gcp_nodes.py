"""Nodes and queued requests of the TPU API as small values, and how they are found, labelled and ended."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ci_runner.errors import AuthenticationError
from ci_runner.model import Lease, LeaseState
from ci_runner.providers import gcp_failures as google
from ci_runner.providers.failures import ProviderError
from ci_runner.providers.gcp_client import Tpus
from ci_runner.providers.identity import LEASE, lease_from

PREFIX = "ci-"  # names of nodes begin with a letter, and ids of leases need not
GONE_STATES = ("PREEMPTED", "TERMINATED", "DELETING", "HIDING", "HIDDEN")
STATES: Mapping[str, LeaseState] = {
    "READY": LeaseState.READY,
    "STOPPED": LeaseState.STOPPED,
    "STOPPING": LeaseState.STOPPED,
    "PREEMPTED": LeaseState.PREEMPTED,
    "TERMINATED": LeaseState.PREEMPTED,
    "HIDING": LeaseState.PREEMPTED,
    "HIDDEN": LeaseState.PREEMPTED,
    "FAILED": LeaseState.PREEMPTED,
    "SUSPENDED": LeaseState.PREEMPTED,
    "SUSPENDING": LeaseState.PREEMPTED,
    "DELETING": LeaseState.RELEASING,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A node, or a queued request for one."""

    name: str  # projects/…/locations/…/nodes/…
    state: str
    labels: Mapping[str, str] = field(default_factory=dict)
    created: float = 0.0
    type: str | None = None
    spot: bool = False
    reserved: bool = False
    endpoints: tuple[tuple[str, str], ...] = ()  # private and public address of each worker
    requested_by: str = ""  # the queued request that a node came from

    @property
    def id(self) -> str:
        """Its last name."""
        return self.name.rpartition("/")[2]

    @property
    def zone(self) -> str:
        """Where it is."""
        return self.name.split("/")[3]

    @property
    def is_node(self) -> bool:
        """Whether it is a node."""
        return "/nodes/" in self.name

    @property
    def workers(self) -> int:
        """How many machines it has, as far as they are there."""
        return len(self.endpoints)

    def addresses(self, *, private: bool) -> tuple[str, ...]:
        """Where its workers are reached, the first one first."""
        return tuple(inner if private or not outer else outer for inner, outer in self.endpoints)

    def belongs_to(self, lease_id: str) -> bool:
        """Whether it is the lease's: by label, and of a queued request by its id, for it has no labels of its own."""
        return self.labels.get(LEASE) == lease_id and self.id == node_id(lease_id)

    def lease(self) -> Lease | None:
        """The lease that it belongs to; None if it is not ours."""
        return lease_from(
            self.labels,
            provider="gcp-tpu",
            machine_type=self.type,
            zone=self.zone,
            state=state_of(self),
            created_at=self.created,
            spot=self.spot,
            address=next(iter(self.addresses(private=False)), None),
        )


def node_id(lease_id: str) -> str:
    """The name of a lease's node and of its queued request."""
    return f"{PREFIX}{lease_id}"


def state_of(found: Found) -> LeaseState:
    """The state of a lease whose machine is in this state."""
    return STATES.get(found.state, LeaseState.REQUESTED)


def words_of(code: int) -> str:
    """Our word for a number of gRPC, as operations bear it."""
    return google.GRPC.get(code, google.UNKNOWN)


class Places:
    """Looks for nodes and queued requests, and ends them."""

    def __init__(self, tpus: Tpus) -> None:
        self._tpus = tpus

    def node(self, parent: str, lease_id: str) -> Found | None:
        """The node of a lease; None if there is none."""
        found = self._maybe("get_node", f"{parent}/nodes/{node_id(lease_id)}")
        return _node(found) if found is not None else None

    def request(self, parent: str, lease_id: str) -> Found | None:
        """The queued request of a lease; None if there is none."""
        found = self._maybe("get_queued_resource", f"{parent}/queuedResources/{node_id(lease_id)}")
        return _request(found) if found is not None else None

    def _maybe(self, method: str, name: str) -> Any:
        try:
            return self._tpus.call(method, where=name.split("/")[3], name=name)
        except ProviderError as error:
            if error.failure.code in (google.NOT_FOUND, google.DENIED):  # not there, or no such zone
                return None
            raise

    def all(self, project: str) -> list[Found]:
        """Every node and queued request of the project, in all zones."""
        parent = f"projects/{project}/locations/-"
        found = [_node(each) for each in self._tpus.listed("list_nodes", parent=parent)]
        return found + [_request(each) for each in self._tpus.listed("list_queued_resources", parent=parent)]

    def zones(self, project: str) -> list[str]:
        """The zones of TPUs that the project may use."""
        locations = self._tpus.call("list_locations", where=project, name=f"projects/{project}")
        return [str(each.location_id) for each in locations.locations]

    def zones_with(self, project: str, kind: str) -> tuple[str, ...]:
        """Those of them that have a type."""
        return tuple(zone for zone in self.zones(project) if self.has(project, zone, kind))

    def has(self, project: str, zone: str, kind: str) -> bool:
        """Whether a zone has a type; one that does not answer has not."""
        parent = f"projects/{project}/locations/{zone}"
        try:
            found = self._tpus.listed("list_accelerator_types", where=zone, parent=parent)
        except (ProviderError, AuthenticationError):
            return False
        return any(each.type_ == kind for each in found)

    def runtimes(self, project: str, zone: str) -> list[str]:
        """The software that a zone offers."""
        parent = f"projects/{project}/locations/{zone}"
        found = self._tpus.listed("list_runtime_versions", where=zone, parent=parent)
        return [str(each.version) for each in found]

    def relabel(self, found: Found, labels: Mapping[str, str]) -> None:
        """Give a node other labels; absent is success."""
        tpu: Any = importlib.import_module("google.cloud.tpu_v2")
        mask: Any = importlib.import_module("google.protobuf.field_mask_pb2")
        try:
            self._tpus.call(
                "update_node",
                where=found.zone,
                node=tpu.Node(name=found.name, labels=dict(labels)),
                update_mask=mask.FieldMask(paths=["labels"]),
            )
        except ProviderError as error:
            if error.failure.code != google.NOT_FOUND:
                raise

    def end(self, found: Found) -> None:
        """Ask for the end of a node or a queued request; absent is success.

        A node of a queued request ends with it: Google refuses to delete the node alone.
        """
        try:
            if found.is_node and not found.requested_by:
                self._tpus.call("delete_node", where=found.zone, name=found.name)
            elif not found.is_node:
                self._tpus.call("delete_queued_resource", where=found.zone, name=found.name, force=True)
        except ProviderError as error:
            if error.failure.code != google.NOT_FOUND:
                raise


def _node(node: Any) -> Found:
    return Found(
        name=node.name,
        state=node.state.name if hasattr(node.state, "name") else str(node.state),
        labels=dict(node.labels),
        created=node.create_time.timestamp() if node.create_time else 0.0,
        type=node.accelerator_type or None,
        spot=bool(node.scheduling_config.spot or node.scheduling_config.preemptible),
        reserved=bool(node.scheduling_config.reserved),
        endpoints=tuple((each.ip_address, each.access_config.external_ip) for each in node.network_endpoints),
        requested_by=node.queued_resource,
    )


def _request(request: Any) -> Found:
    """A queued request; its labels are those of the node that it asks for."""
    specs = list(request.tpu.node_spec)
    node = specs[0].node if specs else None
    return Found(
        name=request.name,
        state=request.state.state.name,
        labels=dict(node.labels) if node is not None else {},
        created=request.create_time.timestamp() if request.create_time else 0.0,
        type=node.accelerator_type if node is not None else None,
        spot="spot" in request,
    )
