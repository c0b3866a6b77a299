"""Hosts that many runs share: one run each, taken over when a lease has expired, and nothing left behind."""

from __future__ import annotations

import dataclasses
import json
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from ci_runner.errors import ConfigurationError, MachineError, UsageError
from ci_runner.model import Lease, LeaseState, MachineSpec
from ci_runner.providers.base import Source
from ci_runner.providers.failures import Kind, ProviderError
from ci_runner.providers.registry import provider_named
from ci_runner.providers.ssh import SshProvider
from ci_runner.providers.ssh_hosts import pool_of, with_key
from ci_runner.remote.machine import Host, HostKeyError
from tests.job_kit import is_alive, make_job, make_lease, pid_in, python
from tests.pool_kit import Pool

pytestmark = pytest.mark.needs("sshd")
A, B, C = (f"pool-{os.getpid()}-{name}" for name in "abc")


@pytest.fixture(scope="module")
def hosts() -> Iterator[Pool]:
    with Pool() as found:
        yield found


@pytest.fixture
def pool(hosts: Pool) -> Iterator[Pool]:
    yield hosts
    for lease in hosts.provider().leases():
        hosts.provider().release(lease)
    assert hosts.holdings() == []


@pytest.fixture
def source(tmp_path: Path) -> Source:
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "a.txt").write_text("one\n")
    return Source(root=str(tmp_path / "source"), commit=None)


def acquire(provider: SshProvider, lease: Lease, source: Source) -> Lease:
    return provider.acquire(lease, provider.offers(lease.machine)[0], source, seconds=60)


def test_each_host_is_lent_to_one_run(pool: Pool, source: Source) -> None:
    first = acquire(pool.provider(), make_lease(A, machine=pool.machine), source)
    second = acquire(pool.provider(), make_lease(B, machine=pool.machine), source)
    assert first.address != second.address
    with pytest.raises(ProviderError, match=r"every host of .lab. is taken") as caught:
        acquire(pool.provider(), make_lease(C, machine=pool.machine), source)
    assert caught.value.failure.kind is Kind.STOCKOUT
    pool.provider().release(first)
    third = acquire(pool.provider(), make_lease(C, machine=pool.machine), source)
    assert third.address == first.address


def test_runs_that_want_a_host_at_the_same_time_do_not_share_it(pool: Pool, source: Source) -> None:
    got: list[str] = []
    refused: list[ProviderError] = []

    def want(name: str) -> None:
        try:
            got.append(str(acquire(pool.provider(), make_lease(name, machine=pool.machine), source).address))
        except ProviderError as error:
            refused.append(error)

    threads = [threading.Thread(target=want, args=[f"{A}{number}"]) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert len(set(got)) == len(got) == 2
    assert [error.failure.code for error in refused] == ["taken", "taken"]


def test_an_expired_lease_is_taken_over_with_its_remains(pool: Pool, source: Source, tmp_path: Path) -> None:
    only = dataclasses.replace(
        pool.machine,
        options={
            **pool.machine.options,
            "hosts": pool.machine.options["hosts"].split(",")[0],
            "host-keys": "",
        },
    )
    only = with_host_key(only, pool)
    provider = pool.provider()
    old = acquire(provider, make_lease(A, machine=only), source)
    shell = provider.shell(old)
    code = f"import os, time; open({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid())); time.sleep(60)"
    shell.start(make_job(shell, tmp_path / "run", python(code)))
    pid = pid_in(tmp_path / "pid")
    record = pool.machines["one"].home / ".ci-runner" / "lock" / "lease.json"
    written = json.loads(record.read_text())
    assert written["until"] == pytest.approx(old.expires_at, abs=30)
    record.write_text(json.dumps({**written, "until": 1.0}))
    new = acquire(pool.provider(), make_lease(B, machine=only), source)
    assert new.state is LeaseState.READY
    assert not is_alive(pid)
    assert not (pool.machines["one"].home / ".ci-runner" / A).exists()
    provider.release(old)  # whoever comes late gives back nothing of the new one's
    assert pool.provider().describe(new) is LeaseState.READY


def with_host_key(machine: MachineSpec, pool: Pool) -> MachineSpec:
    key = pool.machine.options["host-keys"].split(",")[0]
    return dataclasses.replace(machine, options={**machine.options, "host-keys": key})


def test_a_release_ends_what_runs_wherever_it_is(pool: Pool, source: Source, tmp_path: Path) -> None:
    provider = pool.provider()
    lease = acquire(provider, make_lease(A, machine=pool.machine), source)
    shell = provider.shell(lease)
    code = f"import os, time; open({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid())); time.sleep(60)"
    shell.start(make_job(shell, tmp_path / "run", python(code)))
    pid = pid_in(tmp_path / "pid")
    provider.release(dataclasses.replace(lease, address=None))  # as one that never became ready
    assert not is_alive(pid)
    assert pool.holdings() == []


def test_a_host_that_is_off_is_passed_over(
    pool: Pool, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ci_runner.providers.ssh.CONNECT_SECONDS", 2.0)
    pool.machines.stop("one")
    try:
        lease = acquire(pool.provider(), make_lease(A, machine=pool.machine), source)
        assert pool.machines["two"].address in str(lease.address)
        assert [found.id for found in pool.provider().leases()] == [A]
        with pytest.raises(ProviderError, match=r"taken: .*do not answer") as caught:
            acquire(pool.provider(), make_lease(B, machine=pool.machine), source)
        assert caught.value.failure.kind is Kind.STOCKOUT
        with pytest.raises(MachineError, match="did not get through"):  # it may be there: nobody can say
            pool.provider().release(make_lease(B, machine=pool.machine))
        pool.provider().release(lease)
        pool.machines.stop("two")
        asked, wanted = pool.provider(), make_lease(B, machine=pool.machine)
        with pytest.raises(ProviderError, match=r"no host of .lab. answers") as caught:
            acquire(asked, wanted, source)
        assert caught.value.failure.kind is Kind.UNKNOWN
        asked.release(wanted)  # which it never reached: nothing can be there
        assert asked.describe(wanted) is LeaseState.GONE
    finally:
        for name in ("one", "two"):
            if not pool.machines[name].is_running:
                pool.machines.start(name)


def test_another_process_knows_the_pool(pool: Pool, source: Source) -> None:
    lease = acquire(pool.provider(), make_lease(A, machine=pool.machine, owner="me"), source)
    other = pool.provider()
    assert [found.id for found in other.leases("me")] == [A]
    assert other.leases("you") == []
    assert other.leases()[0].machine == pool.machine
    shell = other.shell(lease)
    assert shell.read(f"{shell.work}/a.txt") == b"one\n"
    other.release(lease)
    assert other.describe(lease) is LeaseState.GONE


def test_a_lock_that_no_run_wrote_is_told_and_left_alone(pool: Pool, source: Source) -> None:
    locks = [pool.machines[name].home / ".ci-runner" / "lock" for name in ("one", "two")]
    for lock in locks:
        lock.mkdir(parents=True)
        text = json.dumps({"id": "../../up", "until": 1e12, "lease": {"id": "../../up"}})
        (lock / "lease.json").write_text(text)
    with pytest.raises(ProviderError, match="is taken"):
        acquire(pool.provider(), make_lease(A, machine=pool.machine), source)
    provider = pool.provider()
    assert provider.leases() == []
    with pytest.raises(MachineError, match="cannot be read"):
        provider.describe(make_lease(A, machine=pool.machine))
    for lock in locks:
        (lock / "lease.json").unlink()
        lock.rmdir()


def test_keys_come_from_the_persons_own_file(pool: Pool, source: Source, tmp_path: Path) -> None:
    hosts = pool_of(pool.machine)
    options = {name: value for name, value in pool.machine.options.items() if name != "host-keys"}
    file = tmp_path / "known_hosts"
    file.write_text("".join(f"[{host.address}]:{host.port} {host.host_key}\n" for host in hosts))
    known = dataclasses.replace(pool.machine, options={**options, "known-hosts": str(file)})
    lease = acquire(pool.provider(), make_lease(A, machine=known), source)
    assert lease.host_key == hosts[0].host_key
    assert lease.notes == ("not a git repository: a copy of the folder was tested",)
    pool.provider().release(lease)
    stranger = dataclasses.replace(pool.machine, options={**options, "known-hosts": os.devnull})
    with pytest.raises(ConfigurationError, match="does not exist"):
        acquire(pool.provider(), make_lease(B, machine=stranger), source)
    (tmp_path / "empty").write_text("")
    stranger = dataclasses.replace(pool.machine, options={**options, "known-hosts": str(tmp_path / "empty")})
    with pytest.raises(HostKeyError, match="nobody knows"):
        acquire(pool.provider(), make_lease(B, machine=stranger), source)
    trusting = dataclasses.replace(stranger, options={**stranger.options, "host-key": "unchecked"})
    lease = acquire(pool.provider(), make_lease(C, machine=trusting), source)
    assert any("was not checked" in note for note in lease.notes)
    pool.provider().release(lease)


def test_a_pool_is_not_switched(pool: Pool) -> None:
    for switch in (pool.provider().start, pool.provider().stop, pool.provider().restart):
        with pytest.raises(UsageError, match="host of a pool"):
            switch(make_lease(A, machine=pool.machine))


def test_the_registry_has_it(tmp_path: Path) -> None:
    assert provider_named("ssh", {"CI_RUNNER_HOME": str(tmp_path)}).name == "ssh"


def spec(**options: str) -> MachineSpec:
    return MachineSpec(
        name="lab", provider="ssh", options={k.replace("_", "-"): v for k, v in options.items()}
    )


def test_hosts_are_read_from_the_options() -> None:
    found = pool_of(
        spec(hosts="me@a.example, b:2222,[::1]:22", host_keys="ssh-ed25519 AA me@a,ssh-rsa BB,ssh-rsa CC")
    )
    assert found == [
        Host(address="a.example", user="me", host_key="ssh-ed25519 AA"),
        Host(address="b", port=2222, host_key="ssh-rsa BB"),
        Host(address="::1", host_key="ssh-rsa CC"),
    ]


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({}, "names no hosts"),
        ({"hosts": " , "}, "names no hosts"),
        ({"hosts": "a,b", "host_keys": "ssh-rsa AA"}, "do not fit"),
        ({"hosts": "-oProxyCommand=x"}, "not an address"),
        ({"hosts": "a b"}, "not an address"),
        ({"hosts": "-l@a"}, "not the name of a user"),
        ({"hosts": "a:99999"}, "not a port"),
        ({"hosts": "a", "host_keys": "AAAA"}, "not a host key"),
    ],
    ids=str,
)
def test_what_cannot_be_a_host_is_refused(options: dict[str, str], text: str) -> None:
    with pytest.raises(ConfigurationError, match=text):
        pool_of(spec(**options))


def test_the_best_of_several_known_keys_is_taken(tmp_path: Path) -> None:
    (tmp_path / ".ssh").mkdir()
    (tmp_path / ".ssh" / "known_hosts").write_text(
        "a ssh-rsa AAAAB3Nz\n@revoked a ssh-ed25519 XX\na ssh-ed25519 AAAAC3Nz\n"
    )
    environ = {"HOME": str(tmp_path)}
    assert with_key(Host(address="a"), spec(hosts="a"), environ).host_key == "ssh-ed25519 AAAAC3Nz"
    assert with_key(Host(address="b"), spec(hosts="b"), environ).host_key is None
    assert with_key(Host(address="a"), spec(hosts="a"), {"HOME": str(tmp_path / "no")}).host_key is None
