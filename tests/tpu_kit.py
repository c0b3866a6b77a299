"""What tests of TPU machines share: an emulated API on a clock that nobody waits for, and providers that use it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from ci_runner.model import Lease, MachineSpec
from ci_runner.providers import gcp_quotas
from ci_runner.providers.base import Offer, Source
from ci_runner.providers.gcp_client import ENDPOINT, Tpus
from ci_runner.providers.gcp_tpu import TpuProvider
from ci_runner.providers.ways import Ways
from ci_runner.remote.fake import FakeShell
from ci_runner.remote.keys import LeaseKeys
from tests.ec2_kit import Clock, fake_keys
from tests.emulators.machines import Machines, user
from tests.emulators.tpu.hall import LoopbackHall
from tests.emulators.tpu.server import Server
from tests.emulators.tpu.world import World
from tests.job_kit import make_lease

PROJECT = "emulated"
ZONE = "us-central1-b"
TPU = MachineSpec(name="tpu", provider="gcp-tpu", type="v6e-1", zones=(ZONE,))


@dataclass(frozen=True)
class LentTpus:
    """Zones of TPUs whose machines are real sshd processes, and what leads a process to them."""

    world: World
    environ: dict[str, str]

    @property
    def left(self) -> list[object]:
        """What still exists."""
        return [*self.world.nodes, *self.world.queued]


@contextmanager
def tpus_on(machines: Machines, *, boot_seconds: float = 0.0) -> Iterator[LentTpus]:
    """An emulated TPU API whose nodes are these machines."""
    world = World(project=PROJECT, hall=LoopbackHall(machines), boot_seconds=boot_seconds)
    server = Server(world).begin()
    try:
        yield LentTpus(
            world,
            {
                ENDPOINT: server.url,
                gcp_quotas.ENDPOINT: server.url,
                "GOOGLE_CLOUD_PROJECT": PROJECT,
                "CI_RUNNER_SSH_PORT": str(machines.port),
                "CI_RUNNER_SSH_USER": user(),
            },
        )
    finally:
        server.end()


@contextmanager
def lent_tpus(folder: Path, *, boot_seconds: float = 0.0) -> Iterator[LentTpus]:
    """An emulated TPU API with machines of its own."""
    with Machines(folder) as machines, tpus_on(machines, boot_seconds=boot_seconds) as tpus:
        yield tpus


class Google:
    """An emulated TPU API and providers that use it."""

    def __init__(self, *, boot_seconds: float = 3.0) -> None:
        self.clock = Clock()
        self.world = World(project=PROJECT, clock=self.clock, boot_seconds=boot_seconds)
        self.server = Server(self.world).begin()
        self.environ = {
            ENDPOINT: self.server.url,
            gcp_quotas.ENDPOINT: self.server.url,
            "GOOGLE_CLOUD_PROJECT": PROJECT,
        }
        self.reached: list[Any] = []
        self.unreachable: Exception | None = None
        self.forgotten: list[str] = []
        self.closed: list[Any] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.server.end()

    def provider(self, **environ: str) -> TpuProvider:
        """A provider as a new process has it."""
        ways = Ways(
            keys=fake_keys,
            forget_keys=lambda lease: self.forgotten.append(lease.id),
            reach=self._reach,
            shell_of=lambda lease: FakeShell(lease_id=lease.id),
            close=self.closed.append,
        )
        variables = {**self.environ, **environ}
        tpus = Tpus(variables, sleep=self.clock.sleep, call_seconds=0.5)
        return TpuProvider(tpus, ways, variables, clock=self.clock, sleep=self.clock.sleep)

    def _reach(
        self, lease: Lease, hosts: Any, keys: LeaseKeys, source: Source, *, seconds: float
    ) -> tuple[FakeShell, tuple[str, ...]]:
        self.reached.append((lease, hosts, seconds))
        if self.unreachable is not None:
            raise self.unreachable
        return FakeShell(lease_id=lease.id), ("reached",)

    def holdings(self) -> list[str]:
        """What exists and costs money or quota."""
        return sorted([*(name for _, name in self.world.nodes), *(name for _, name in self.world.queued)])

    def made(self) -> int:
        """How often a creation was asked for."""
        return sum(method in ("nodes.create", "queuedResources.create") for method, _ in self.world.calls)


def tpu_lease(name: str = "7f3c-unit-00000a", **more: Any) -> Lease:
    """A lease of a TPU in one zone."""
    return make_lease(name, **{"machine": TPU, **more})


def offer(zone: str = ZONE, *, spot: bool = False, machine: MachineSpec = TPU) -> Offer:
    """An offer of a v6e-1."""
    return Offer(machine=machine, zone=zone, spot=spot, price_per_hour=2.7)
