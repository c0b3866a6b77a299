"""What is asked of the TPU API for a lease: the node with its labels and boot script, or a queued request for it."""

from __future__ import annotations

import importlib
import uuid
from typing import TYPE_CHECKING, Any

from ci_runner.model import Lease
from ci_runner.providers.boot import boot_script
from ci_runner.providers.gcp_nodes import node_id
from ci_runner.providers.identity import labels_of
from ci_runner.providers.tpu_types import TpuType

if TYPE_CHECKING:
    from ci_runner.providers.gcp_client import Tpus
    from ci_runner.remote.keys import LeaseKeys


def node_of(lease: Lease, kind: TpuType, keys: LeaseKeys, user: str) -> Any:
    """The node as it is asked for; its labels are in the call that creates it."""
    tpu: Any = importlib.import_module("google.cloud.tpu_v2")
    options = lease.machine.options
    script = boot_script(
        lease,
        host_private=keys.host_private,
        host_public=keys.host_public,
        public=keys.public,
        user=user,
        stops="off",
    )
    node = tpu.Node(
        accelerator_type=kind.name,
        runtime_version=kind.runtime,
        labels=labels_of(lease),
        metadata={"ssh-keys": f"{user}:{keys.public}", "startup-script": script},
        network_config=tpu.NetworkConfig(
            network=options.get("network", ""),
            subnetwork=options.get("subnetwork", ""),
            enable_external_ips=options.get("address") != "private",
        ),
        tags=[tag for tag in options.get("tags", "").split(",") if tag],
    )
    if options.get("service-account"):
        node.service_account = tpu.ServiceAccount(email=options["service-account"])
    if lease.spot or options.get("reserved") == "true":
        node.scheduling_config = tpu.SchedulingConfig(
            spot=lease.spot, reserved=options.get("reserved") == "true"
        )
    return node


def enqueue(tpus: Tpus, lease: Lease, node: Any, parent: str, *, seconds: float) -> None:
    """Ask for the node by a queued request, which waits for at most so long; the same lease again is one request."""
    tpu: Any = importlib.import_module("google.cloud.tpu_v2")
    wait = lease.machine.options.get("queue-seconds") or str(int(max(1.0, seconds)))
    node.scheduling_config = None
    request = tpu.QueuedResource(
        tpu=tpu.QueuedResource.Tpu(
            node_spec=[tpu.QueuedResource.Tpu.NodeSpec(parent=parent, node_id=node_id(lease.id), node=node)]
        ),
        queueing_policy=tpu.QueuedResource.QueueingPolicy(valid_until_duration={"seconds": int(wait)}),
    )
    if lease.spot:
        request.spot = tpu.QueuedResource.Spot()
    tpus.call(
        "create_queued_resource",
        where=parent,
        parent=parent,
        queued_resource_id=node_id(lease.id),
        queued_resource=request,
        request_id=str(uuid.uuid5(uuid.NAMESPACE_OID, lease.id)),
    )
