"""From a machine that boots to a shell with the source on it: one host, several, and those that never come."""

from __future__ import annotations

import dataclasses
import os
import stat
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ci_runner.errors import Cancelled, MachineError
from ci_runner.execution.session import Cancellation
from ci_runner.model import Lease, MachineSpec
from ci_runner.providers.base import Source
from ci_runner.providers.boot import boot_script
from ci_runner.providers.staging import stage
from ci_runner.remote.base import Job
from ci_runner.remote.keys import LeaseKeys
from ci_runner.remote.machine import Host, HostKeyError, close_shell, hosts_of, reach, shell_of
from ci_runner.remote.openssh import OpenSSHShell
from ci_runner.remote.slice import SliceShell
from tests.emulators.machines import Machines, user
from tests.job_kit import LEASE, ended, finish, git, make_job, make_lease, make_repository, python, until

pytestmark = pytest.mark.needs("sshd")


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> LeaseKeys:
    return LeaseKeys.make(tmp_path_factory.mktemp("keys") / "lease", "lease")


@pytest.fixture
def machines(tmp_path: Path) -> Iterator[Machines]:
    with Machines(tmp_path / "machines") as found:
        yield found


@pytest.fixture
def source(tmp_path: Path) -> Source:
    commit = make_repository(tmp_path / "source", {"a.txt": "one\n", "run.sh": "#!/bin/sh\n"})
    return Source(root=str(tmp_path / "source"), commit=commit)


def boot(machines: Machines, keys: LeaseKeys, name: str = "one", *, script: bool = True) -> Host:
    text = boot_script(
        make_lease(),
        host_private=keys.host_private,
        host_public=keys.host_public,
        public=keys.public,
        user=user(),
        stops="terminate",
    )
    machine = machines.start(name, text if script else None)
    key = " ".join(keys.host_public.split()[:2])
    return Host(address=machine.address, port=machine.port, user=user(), host_key=key)


def snapshot(folder: Path) -> dict[str, tuple[int, bytes, str]]:
    """Every file below a folder but git's own, with mode and contents."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if ".git" in path.relative_to(folder).parts or (path.is_dir() and not path.is_symlink()):
            continue
        link = os.readlink(path) if path.is_symlink() else ""  # noqa: PTH115 - its text
        data = b"" if path.is_symlink() else path.read_bytes()
        found[str(path.relative_to(folder))] = (stat.S_IMODE(path.lstat().st_mode) & 0o111, data, link)
    return found


def test_a_machine_that_boots_is_reached_with_the_commit(
    machines: Machines, keys: LeaseKeys, source: Source
) -> None:
    """The server first shows the key of its image, and does not know us."""
    host = boot(machines, keys)
    lease = make_lease()
    shell, notes = reach(lease, [host], keys, source, seconds=30)
    assert notes == ()
    assert shell.run(["git", "rev-parse", "HEAD"], seconds=20).stdout.decode().strip() == source.commit
    assert shell.run(["git", "status", "--porcelain"], seconds=20).stdout == b""
    assert shell.read(f"{shell.work}/a.txt") == b"one\n"
    assert Path(shell.work).is_relative_to(machines["one"].home / ".ci-runner" / lease.id)
    assert isinstance(shell, OpenSSHShell)
    shell.end()
    shell.close()
    assert not (machines["one"].home / ".ci-runner" / lease.id).exists()


def test_what_is_staged_there_is_what_is_staged_here(
    machines: Machines, keys: LeaseKeys, tmp_path: Path
) -> None:
    """Changes, deletions, a submodule, links that became folders, hostile names, a root below the top."""
    inner = tmp_path / "inner"
    make_repository(inner, {"lib.py": "x = 1\n"})
    root = tmp_path / "repo"
    make_repository(
        root, {"a.txt": "one\n", "gone.txt": "x\n", "sub/b.txt": "two\n", ".gitignore": "*.log\n"}
    )
    (root / "link").symlink_to("/etc")
    (root / "was-folder").mkdir()
    (root / "was-folder" / "c").write_text("c\n")
    git(root, "submodule", "add", "--quiet", str(inner), "third/inner")
    git(root, "add", "--all")
    git(root, "commit", "--quiet", "--message", "second")
    git(root, "tag", "v1")
    commit = git(root, "rev-parse", "HEAD")
    (root / "a.txt").write_bytes(b"\0\xffchanged")
    (root / "gone.txt").unlink()
    (root / "link").unlink()
    (root / "link").mkdir()
    (root / "link" / "passwd").write_text("mine\n")
    (root / "was-folder" / "c").unlink()
    (root / "was-folder").rmdir()
    (root / "was-folder").symlink_to("a.txt")
    (root / "new dir").mkdir()
    (root / "new dir" / "-größe\n'\".sh").write_text("new\n")
    (root / "new dir" / "-größe\n'\".sh").chmod(0o755)
    (root / "ignored.log").write_text("x")
    (root / "third" / "inner" / "lib.py").write_text("x = 2\n")
    host = boot(machines, keys)
    for number, (where, with_changes) in enumerate([(root, True), (root, False), (root / "sub", True)]):
        there = Source(root=str(where), commit=commit, with_changes=with_changes)
        here = stage(there, tmp_path / f"here{number}", seconds=60)
        lease = make_lease(f"{LEASE}-{number}")
        shell, notes = reach(lease, [host], keys, there, seconds=30)
        assert notes == here.notes
        top = machines["one"].home / ".ci-runner" / lease.id / "work"
        assert snapshot(top) == snapshot(tmp_path / f"here{number}")
        assert shell.work == str(top / "sub" if where.name == "sub" else top)
        assert shell.run(["git", "describe", "--always", "--tags"], seconds=20).stdout == b"v1\n"
        close_shell(shell)
    another = shell_of(known(lease, host), keys)
    assert another.work == str(top / "sub")
    close_shell(another)


def known(lease: Lease, *hosts: Host) -> Lease:
    """The lease as a provider records it."""
    return dataclasses.replace(
        lease,
        addresses=tuple(f"{host.address}:{host.port}" for host in hosts),
        host_keys=tuple(host.host_key or "" for host in hosts),
        user=user(),
    )


def test_a_shallow_clone_and_a_plain_folder_are_brought_too(
    machines: Machines, keys: LeaseKeys, source: Source, tmp_path: Path
) -> None:
    root = Path(source.root)
    (root / "a.txt").write_text("two\n")
    git(root, "commit", "--quiet", "--all", "--message", "second")
    git(tmp_path, "clone", "--quiet", "--depth", "1", f"file://{root}", "shallow")
    head = git(tmp_path / "shallow", "rev-parse", "HEAD")
    host = boot(machines, keys)
    cut_off = Source(root=str(tmp_path / "shallow"), commit=head)
    shell, _ = reach(make_lease(f"{LEASE}-1"), [host], keys, cut_off, seconds=30)
    assert shell.run(["git", "rev-list", "HEAD"], seconds=20).stdout.decode().split() == [head]
    assert shell.run(["git", "fsck"], seconds=20).exit_code == 0
    assert shell.read(f"{shell.work}/a.txt") == b"two\n"
    close_shell(shell)
    plain = tmp_path / "plain"
    (plain / "deep").mkdir(parents=True)
    (plain / "deep" / "x").write_text("x")
    (plain / "node_modules").mkdir()
    (plain / "node_modules" / "y").write_text("y")
    shell, notes = reach(
        make_lease(f"{LEASE}-2"), [host], keys, Source(root=str(plain), commit=None), seconds=30
    )
    assert "not a git repository" in notes[0]
    assert shell.glob("**") == ["deep", "deep/x"]
    close_shell(shell)


def test_a_machine_without_git_says_so(machines: Machines, keys: LeaseKeys, source: Source) -> None:
    host = boot(machines, keys)
    machine = machines["one"]
    until(lambda: "ci-runner: ready" in machines.console("one"), "the boot script")
    only = machine.folder / "only"
    only.mkdir()
    for name in ("sh", "rm"):
        (only / name).symlink_to(f"/bin/{name}")
    (only / "python3").write_text(f'#!/bin/sh\nPATH={only}; export PATH; exec {sys.executable} "$@"\n')
    (only / "python3").chmod(0o755)
    (machine.folder / "bin" / "python3").write_text(f'#!/bin/sh\nexec {only / "python3"} "$@"\n')
    with pytest.raises(MachineError, match="git is missing on the machine") as caught:
        reach(make_lease(), [host], keys, source, seconds=30)
    assert caught.value.where == str(host)


def test_a_machine_that_keeps_another_key_is_refused(
    machines: Machines, keys: LeaseKeys, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ci_runner.remote.machine.KEY_PATIENCE", 0.5)
    host = boot(machines, keys, script=False)
    with pytest.raises(HostKeyError, match="another host key"):
        reach(make_lease(), [host], keys, source, seconds=30)


def test_an_unknown_key_needs_a_word_and_leaves_a_note(
    machines: Machines, keys: LeaseKeys, source: Source
) -> None:
    host = dataclasses.replace(boot(machines, keys), host_key=None)
    until(lambda: "ci-runner: ready" in machines.console("one"), "the boot script")
    with pytest.raises(HostKeyError, match="nobody knows"):
        reach(make_lease(), [host], keys, source, seconds=30)
    spec = MachineSpec(name="tpu", provider="gcp-tpu", options={"host-key": "unchecked"})
    shell, notes = reach(make_lease(machine=spec), [host], keys, source, seconds=30)
    assert "was not checked" in notes[0]
    close_shell(shell)


def test_a_cancelled_run_stops_waiting(keys: LeaseKeys, source: Source) -> None:
    cancellation = Cancellation()
    host = Host(address="127.0.0.1", port=1, user=user(), host_key="ssh-ed25519 AAAA")
    timer = threading.Timer(0.3, cancellation.request, args=["a test"])
    timer.start()
    begin = time.monotonic()
    with pytest.raises(Cancelled):
        reach(make_lease(), [host], keys, source, seconds=60, cancellation=cancellation)
    assert time.monotonic() - begin < 5
    timer.join()


def test_a_source_that_cannot_be_had_stops_the_waiting(keys: LeaseKeys, tmp_path: Path) -> None:
    host = Host(address="127.0.0.1", port=1, user=user(), host_key="ssh-ed25519 AAAA")
    begin = time.monotonic()
    with pytest.raises(MachineError, match="does not exist"):
        reach(make_lease(), [host], keys, Source(root=str(tmp_path / "no"), commit=None), seconds=60)
    assert time.monotonic() - begin < 5


def test_a_lease_without_an_address_is_not_ready(keys: LeaseKeys) -> None:
    with pytest.raises(MachineError, match="is not ready"):
        shell_of(make_lease(), keys)


def test_hosts_are_read_from_a_lease() -> None:
    lease = known(make_lease(), Host(address="10.0.0.7", port=2222, host_key="ssh-ed25519 AAAA"))
    assert hosts_of(lease, {"CI_RUNNER_SSH_USER": "me"}) == [
        Host(address="10.0.0.7", port=2222, user="me", host_key="ssh-ed25519 AAAA")
    ]


@pytest.fixture
def four(machines: Machines, keys: LeaseKeys, source: Source) -> Iterator[SliceShell]:
    hosts = [boot(machines, keys, f"w{number}") for number in range(4)]
    shell, _ = reach(make_lease(), hosts, keys, source, seconds=60)
    assert isinstance(shell, SliceShell)
    yield shell
    shell.end()
    shell.close()
    for number in range(4):
        assert not (machines[f"w{number}"].home / ".ci-runner" / make_lease().id).exists()


def test_a_slice_runs_one_command_on_all_workers(four: SliceShell, tmp_path: Path) -> None:
    code = (
        "import os, sys; n = os.environ['CI_RUNNER_WORKER']; "
        "print('worker', n, 'of', os.environ['CI_RUNNER_WORKERS'], open('a.txt').read().strip()); "
        "sys.exit(5 if n == '2' else 0)"
    )
    job = remote_job(four, "unit.1", code)
    status = finish(four, job)
    assert status.exit_code == 5
    for number in range(4):
        assert four.read_worker(number, job.log).startswith(f"worker {number} of 4 one\n".encode())
    told = four.read(job.log).decode()
    assert "worker 2 of 4 failed (exit code 5)" in told
    assert "worker 2 of 4 one" in told
    assert four.poll(job) == status
    with pytest.raises(MachineError, match=r"worker \d of 4"):
        four.write("/proc/no/such", b"x")
    answer = four.run(["sh", "-c", f'exec test {four.work} = "$PWD"'], seconds=20)
    assert answer.exit_code == 0
    four.write(f"{four.scratch}/x", b"1")
    assert four.run(["cat", f"{four.scratch}/x"], seconds=20).stdout == b"1"
    assert four.glob("*.txt") == ["a.txt"]
    running = remote_job(four, "unit.2", "import time; time.sleep(60)")
    four.start(running)
    assert four.wait(running, seconds=0.1) is None
    four.cancel(running)
    assert ended(four, running).cancelled


def remote_job(shell: SliceShell, name: str, code: str) -> Job:
    """A job whose log is on the machines."""
    job = make_job(shell, Path("/run"), python(code), name=name)
    return dataclasses.replace(job, log=f"{job.folder}/log")


def test_a_worker_that_never_boots_is_named(machines: Machines, keys: LeaseKeys, source: Source) -> None:
    hosts = [
        boot(machines, keys, "w0"),
        Host(address="127.0.0.1", port=1, user=user(), host_key="ssh-ed25519 AAAA"),
    ]
    with pytest.raises(MachineError, match=r"worker 1 of 2: ssh did not get through .*refused"):
        reach(make_lease(), hosts, keys, source, seconds=3)


def test_one_machine_is_no_slice(machines: Machines, keys: LeaseKeys, source: Source) -> None:
    shell, _ = reach(make_lease(), [boot(machines, keys)], keys, source, seconds=30)
    assert isinstance(shell, OpenSSHShell)
    close_shell(shell)
    with pytest.raises(ValueError, match="at least one"):
        SliceShell([])
