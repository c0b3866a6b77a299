"""What tests of machines of EC2 share: a clock that nobody waits for, a provider whose machines are fake shells."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any, Self

from ci_runner.model import Lease, MachineSpec
from ci_runner.providers.aws_client import Aws
from ci_runner.providers.aws_ec2 import Ec2Provider
from ci_runner.providers.base import Offer, Source
from ci_runner.providers.ways import Ways
from ci_runner.remote.fake import FakeShell
from ci_runner.remote.keys import LeaseKeys
from tests.emulators.ec2.server import Emulator
from tests.job_kit import make_lease

REGIONS = "us-east-1,us-west-2"
GPU = MachineSpec(name="gpu", provider="aws-ec2", type="g5.xlarge", zones=("us-east-1a",))


ANSWER_SECONDS = 1.5  # an answer that hangs is given up after this; a busy machine answers within it
_catalogue_is_read = False


class Clock:
    """Time that passes when somebody sleeps, and at no other time."""

    def __init__(self) -> None:
        self.now = 1000.0
        self._lock = threading.Lock()

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        """Let time pass."""
        with self._lock:
            self.now += seconds


def fake_keys(lease: Lease) -> LeaseKeys:
    """Keys that open nothing."""
    return LeaseKeys(
        folder=Path("/nowhere"),
        private_path=Path("/nowhere/id_ed25519"),
        public="ssh-ed25519 AAAAours",
        host_private="-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----",
        host_public="ssh-ed25519 AAAAtheirs",
    )


class Cloud:
    """An emulated EC2 and providers that use it."""

    def __init__(self, *, boot_seconds: float = 0.5) -> None:
        self.clock = Clock()
        self.emulator = Emulator(clock=self.clock, boot_seconds=boot_seconds)
        self.environ = {**self.emulator.environ, "CI_RUNNER_AWS_REGIONS": REGIONS}
        self._read_its_catalogue()
        self.aws = Aws(self.environ, sleep=self.clock.sleep, read_seconds=ANSWER_SECONDS)
        self.reached: list[Any] = []
        self.unreachable: Exception | None = None
        self.forgotten: list[str] = []
        self.closed: list[Any] = []

    def _read_its_catalogue(self) -> None:
        """The first question about types takes the emulator seconds: nobody who measures patience should ask it."""
        global _catalogue_is_read
        if not _catalogue_is_read:
            named = [{"Name": "instance-type", "Values": [GPU.type]}]
            for region in REGIONS.split(","):
                for operation in ("DescribeInstanceTypeOfferings", "DescribeInstanceTypes"):
                    more: dict[str, Any] = (
                        {"LocationType": "availability-zone"} if operation.endswith("Offerings") else {}
                    )
                    Aws(self.environ).call("ec2", region, operation, Filters=named, **more)
            _catalogue_is_read = True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.emulator.close()

    def provider(self, aws: Aws | None = None, **environ: str) -> Ec2Provider:
        """A provider as a new process has it."""
        ways = Ways(
            keys=fake_keys,
            forget_keys=lambda lease: self.forgotten.append(lease.id),
            reach=self._reach,
            shell_of=lambda lease: FakeShell(lease_id=lease.id),
            close=self.closed.append,
        )
        return Ec2Provider(
            aws or self.aws, ways, {**self.environ, **environ}, clock=self.clock, sleep=self.clock.sleep
        )

    def _reach(
        self, lease: Lease, hosts: Any, keys: LeaseKeys, source: Source, *, seconds: float
    ) -> tuple[FakeShell, tuple[str, ...]]:
        self.reached.append((lease, hosts, seconds))
        if self.unreachable is not None:
            raise self.unreachable
        return FakeShell(lease_id=lease.id), ("reached",)

    def holdings(self) -> list[str]:
        """What exists."""
        return self.emulator.world.holdings()

    def reset(self) -> None:
        """As if nothing had been."""
        self.emulator.reset()
        self.reached.clear()
        self.forgotten.clear()
        self.closed.clear()
        self.unreachable = None


def gpu_lease(name: str = "7f3c-unit-00000a", **more: Any) -> Lease:
    """A lease of a machine of EC2 in one zone."""
    return make_lease(name, **{"machine": GPU, **more})


def offer(zone: str = "us-east-1a", *, spot: bool = False, **more: Any) -> Offer:
    """An offer of a g5.xlarge."""
    return Offer(machine=GPU, zone=zone, spot=spot, price_per_hour=1.006, **more)
