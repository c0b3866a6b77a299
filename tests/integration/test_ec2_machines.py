"""The whole way to a machine of EC2: real OpenSSH, a real boot script and an emulated cloud."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from ci_runner.model import Lease, LeaseState
from ci_runner.providers.aws_ec2 import Ec2Provider
from ci_runner.providers.base import Source
from ci_runner.providers.registry import provider_named
from ci_runner.remote.keys import key_folder
from ci_runner.remote.machine import close_shell
from tests.ec2_kit import gpu_lease, offer
from tests.emulators.ec2.server import Emulator, shut_down
from tests.emulators.machines import Machines
from tests.job_kit import make_repository, until

pytestmark = pytest.mark.needs("sshd")


@dataclass
class Real:
    """A provider as the registry makes it, and the cloud behind it."""

    provider: Ec2Provider
    emulator: Emulator
    machines: Machines
    environ: dict[str, str]
    source: Source

    def acquire(self, lease: Lease) -> Lease:
        """One machine for the lease."""
        return self.provider.acquire(lease, offer(), self.source, seconds=60)


@pytest.fixture
def real(tmp_path: Path) -> Iterator[Real]:
    commit = make_repository(tmp_path / "source", {"a.txt": "one\n"})
    guests: list[Emulator] = []
    machines = Machines(tmp_path / "machines", on_shutdown=lambda name: shut_down(guests, name))
    with machines, Emulator(machines=machines) as emulator:
        guests.append(emulator)
        environ = {
            **os.environ,
            **emulator.environ,
            "CI_RUNNER_AWS_REGIONS": "us-east-1",
            "CI_RUNNER_HOME": str(tmp_path / "home"),
        }
        provider = provider_named("aws-ec2", environ)
        assert isinstance(provider, Ec2Provider)
        source = Source(root=str(tmp_path / "source"), commit=commit)
        yield Real(provider, emulator, machines, environ, source)
        for lease in provider.leases():
            provider.release(lease)
        assert emulator.world.holdings() == []


def test_a_machine_is_leased_used_and_given_back(real: Real) -> None:
    lease = gpu_lease()
    ready = real.acquire(lease)
    shell = real.provider.shell(ready)
    assert shell.run(["cat", "a.txt"], seconds=30, cwd=shell.work).stdout == b"one\n"
    (name,) = real.emulator.world.instances()
    until(lambda: f"ci-runner: ready {lease.id}" in real.machines.console(name), "the end of the boot script")
    assert 3000 < (real.machines.expires_in(name) or 0.0) <= 3600
    assert real.machines[name].host_key == ready.host_key
    there = provider_named("aws-ec2", real.environ).shell(ready)  # as another process would
    assert there.run(["true"], seconds=30).exit_code == 0
    close_shell(there)
    real.provider.release(ready)
    assert real.machines[name].processes() == []
    assert not key_folder(real.environ, lease.id).exists()


def test_a_machine_that_shuts_itself_down_is_gone_and_costs_nothing(real: Real) -> None:
    ready = real.acquire(gpu_lease())
    shell = real.provider.shell(ready)
    shell.run(["sh", "-c", "shutdown -h now >/dev/null 2>&1 &"], seconds=30)
    until(lambda: real.provider.describe(ready) is LeaseState.RELEASING, "the end of the machine")
    assert real.emulator.world.instances() == []
    real.provider.release(ready)
    assert real.provider.describe(ready) is LeaseState.GONE
