"""The bad days of a machine that is reached by ssh."""

from __future__ import annotations

import os
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ci_runner.errors import MachineError
from ci_runner.execution.onboard import supervise
from ci_runner.remote.keys import LeaseKeys
from ci_runner.remote.machine import Host, HostKeyError
from ci_runner.remote.openssh import OpenSSHShell, open_shell
from tests.emulators.machines import Machines, user
from tests.job_kit import ended, finish, is_alive, make_job, pid_in, python, until

pytestmark = pytest.mark.needs("sshd")
LEASE = f"lease-{os.getpid()}"  # by which processes are ended: tests that run at the same time must differ
HOSTILE = [
    "plain",
    "",
    "two words",
    "'single' \"double\" `back` \\ $HOME $(id) ;& | > < * ? ~ ! #",
    "line\nbreak\r\ttab",
    "-o ProxyCommand=x",
    "ünïcødé 試験 🙂",
    "\udcff not text",
]


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> LeaseKeys:
    return LeaseKeys.make(tmp_path_factory.mktemp("keys") / LEASE, LEASE)


@pytest.fixture
def machines(tmp_path: Path, keys: LeaseKeys) -> Iterator[Machines]:
    with Machines(tmp_path / "machines") as found:
        found.start("one", user_metadata={"ssh-keys": f"{user()}:{keys.public}"})
        yield found


def host_of(machines: Machines, name: str = "one", key: str | None = "its own") -> Host:
    machine = machines[name]
    known = machine.host_key if key == "its own" else key
    return Host(address=machine.address, port=machine.port, user=user(), host_key=known)


@pytest.fixture
def shell(machines: Machines, keys: LeaseKeys) -> Iterator[OpenSSHShell]:
    found = open_shell(LEASE, host_of(machines), identity=keys.private_path, reconnect_seconds=20)
    yield found
    found.close()


def test_a_machine_with_another_key_is_refused(machines: Machines, keys: LeaseKeys) -> None:
    other = " ".join(keys.host_public.split()[:2])
    shell = open_shell(LEASE, host_of(machines, key=other), identity=keys.private_path)
    with pytest.raises(HostKeyError, match="shows another host key") as caught:
        shell.read("/etc/passwd")
    assert machines["one"].address in str(caught.value.where)
    with pytest.raises(HostKeyError):  # and again, at once
        shell.run(["true"], seconds=5)
    shell.close()


def test_a_machine_whose_key_nobody_knows_is_refused(machines: Machines, keys: LeaseKeys) -> None:
    shell = open_shell(LEASE, host_of(machines, key=None), identity=keys.private_path)
    with pytest.raises(HostKeyError, match="nobody knows the host key") as caught:
        shell.read("/etc/passwd")
    assert "unchecked" in str(caught.value.fix)
    shell.close()


def test_an_unchecked_machine_is_held_to_the_first_key_that_it_shows(
    machines: Machines, keys: LeaseKeys
) -> None:
    shell = open_shell(LEASE, host_of(machines, key=None), identity=keys.private_path, unchecked=True)
    assert shell.run(["true"], seconds=5).exit_code == 0
    machines.stop("one")
    folder = machines["one"].folder / "ssh"
    (folder / "ssh_host_ed25519_key").write_text(keys.host_private)
    machines.start("one")
    with pytest.raises(HostKeyError, match="shows another host key"):
        shell.run(["true"], seconds=5)
    shell.close()


def test_a_key_that_is_not_authorised_is_told(machines: Machines, tmp_path: Path) -> None:
    others = LeaseKeys.make(tmp_path / "other", "other")
    shell = open_shell(LEASE, host_of(machines), identity=others.private_path, reconnect_seconds=0.5)
    with pytest.raises(MachineError, match=r"does not let us in: .*Permission denied"):
        shell.read("/etc/passwd")
    shell.close()


def test_a_machine_that_never_answers_is_given_up_in_time(keys: LeaseKeys) -> None:
    """It takes the connection and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        host = Host(address="127.0.0.1", port=listener.getsockname()[1], host_key="ssh-ed25519 AAAA")
        shell = open_shell(LEASE, host, identity=keys.private_path, connect_seconds=1, reconnect_seconds=1.5)
        begin = time.monotonic()
        with pytest.raises(MachineError, match="did not get through"):
            shell.read("/etc/passwd")
        assert time.monotonic() - begin < 10
        shell.close()


def test_closing_ends_a_connection_that_is_being_made(keys: LeaseKeys) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        host = Host(address="127.0.0.1", port=listener.getsockname()[1], host_key="ssh-ed25519 AAAA")
        shell = open_shell(LEASE, host, identity=keys.private_path)
        caught: list[MachineError] = []

        def ask() -> None:
            try:
                shell.read("/etc/passwd")
            except MachineError as error:
                caught.append(error)

        thread = threading.Thread(target=ask)
        thread.start()
        until(lambda: shell.connection.pid, "ssh")
        begin = time.monotonic()
        shell.close()
        thread.join(timeout=20)
        assert time.monotonic() - begin < 8
        assert "closed" in str(caught)


def test_a_job_goes_on_while_the_connection_is_cut(
    machines: Machines, shell: OpenSSHShell, tmp_path: Path
) -> None:
    go = tmp_path / "go"
    code = (
        "import os, sys, time; print('first', flush=True)\n"
        f"while not os.path.exists({str(go)!r}): time.sleep(0.01)\n"
        "print('second', flush=True); sys.exit(7)"
    )
    job = make_job(shell, tmp_path / "run", python(code))
    shell.start(job)
    first: bytes = until(lambda: shell.read(job.log), "output")
    assert first == b"first\n"
    before = shell.connection.pid
    assert machines.cut("one") >= 1
    go.touch()
    status = ended(shell, job)
    assert (status.exit_code, status.supervisor_lost, status.cancelled) == (7, False, False)
    assert shell.read(job.log, offset=len(first)) == b"second\n"
    assert shell.connection.pid != before


def test_waiting_goes_on_through_cuts(machines: Machines, shell: OpenSSHShell, tmp_path: Path) -> None:
    go = tmp_path / "go"
    code = f"import os, time\nwhile not os.path.exists({str(go)!r}): time.sleep(0.01)"
    job = make_job(shell, tmp_path / "run", python(code))
    shell.start(job)
    answers: list[int] = []
    thread = threading.Thread(target=lambda: answers.append(ended(shell, job).exit_code))
    thread.start()
    for _ in range(3):
        seen = shell.connection.pid
        machines.cut("one")
        until(lambda: shell.connection.pid not in (None, seen), "another connection")  # noqa: B023
        shell.read(job.log)
    go.touch()
    thread.join(timeout=30)
    assert answers == [0]


def test_the_end_of_a_job_is_noticed_soon(shell: OpenSSHShell, tmp_path: Path) -> None:
    job = make_job(shell, tmp_path / "run", python("import time; time.sleep(0.5)"))
    shell.start(job)
    status = ended(shell, job)
    assert time.time() - status.ended_at < 0.3


def test_a_command_that_the_cut_hits_is_not_run_again(
    machines: Machines, shell: OpenSSHShell, tmp_path: Path
) -> None:
    count = tmp_path / "count"
    words = ["sh", "-c", f"echo run >>{shlex.quote(str(count))}; sleep 60"]
    caught: list[MachineError] = []

    def ask() -> None:
        try:
            shell.run(words, seconds=60)
        except MachineError as error:
            caught.append(error)

    thread = threading.Thread(target=ask)
    thread.start()
    until(count.exists, "the command")
    machines.cut("one")
    thread.join(timeout=20)
    assert "lost while run was under way" in str(caught)
    assert shell.run(["true"], seconds=5).exit_code == 0
    assert count.read_text() == "run\n"


def test_a_machine_that_is_gone_is_an_error_and_then_at_once(
    machines: Machines, keys: LeaseKeys, tmp_path: Path
) -> None:
    shell = open_shell(LEASE, host_of(machines), identity=keys.private_path, reconnect_seconds=0.6)
    job = make_job(shell, tmp_path / "run", python("import time; time.sleep(60)"))
    shell.start(job)
    machines.kill("one")
    with pytest.raises(MachineError, match=r"did not get through .*refused"):
        shell.wait(job, seconds=30)
    begin = time.monotonic()
    with pytest.raises(MachineError):
        shell.cancel(job)
    assert time.monotonic() - begin < 2
    shell.close()


def test_another_process_can_take_over(
    shell: OpenSSHShell, machines: Machines, keys: LeaseKeys, tmp_path: Path
) -> None:
    job = make_job(shell, tmp_path / "run", python("import time; time.sleep(30)"))
    shell.start(job)
    shell.close()
    other = open_shell(LEASE, host_of(machines), identity=keys.private_path)
    assert other.poll(job) is None
    with pytest.raises(ValueError, match="was started already"):
        other.start(job)
    other.cancel(job)
    assert ended(other, job).cancelled
    other.close()


def test_a_supervisor_that_is_killed_is_told_and_nothing_is_left(shell: OpenSSHShell, tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    code = f"import os, time; open({str(pid_file)!r}, 'w').write(str(os.getpid())); time.sleep(60)"
    job = make_job(shell, tmp_path / "run", python(code))
    shell.start(job)
    pid = pid_in(pid_file)
    known = supervise.process(pid)
    assert known is not None
    guard = supervise.process(known.parent)
    assert guard is not None
    os.kill(guard.parent, signal.SIGKILL)
    status = ended(shell, job)
    assert status.supervisor_lost
    assert status.exit_code == -9
    until(lambda: not is_alive(pid), "the end of the command")
    assert shell.poll(job) == status


def test_words_arrive_as_they_are(shell: OpenSSHShell, tmp_path: Path) -> None:
    code = "import os, sys; sys.stdout.buffer.write(b'\\0'.join(map(os.fsencode, sys.argv[1:])))"
    expected = b"\0".join(map(os.fsencode, HOSTILE))
    assert shell.run([*python(code), *HOSTILE], seconds=20).stdout == expected
    job = make_job(shell, tmp_path / "run", [*python(code), *HOSTILE])
    assert finish(shell, job).exit_code == 0
    assert shell.read(job.log) == expected
    name = f"{shell.work}/a b'\"$;\nü"
    shell.write(name, b"data")
    assert shell.read(name) == b"data"
    assert shell.glob("a*") == [Path(name).name]


def test_nothing_secret_is_in_a_command_line_or_the_environment(
    shell: OpenSSHShell, machines: Machines, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLOUD_TOKEN", "token-of-the-cloud")
    secret = "the-secret-of-the-suite"
    shell.write(f"{shell.scratch}/secret", secret.encode(), mode=0o600)
    done = shell.run(["sh", "-c", "cat >there; stat -c %a there"], seconds=20, stdin=secret.encode())
    assert done.exit_code == 0
    pid = shell.connection.pid
    table = supervise.process_table()
    mine = {pid, *(item.pid for item in supervise.below(table, [os.getpid()]))}
    mine |= {item.pid for item in machines["one"].processes()}
    masters = [
        item.pid
        for item in table.values()
        if b"ci-runner-ssh-" in supervise.read_file(f"/proc/{item.pid}/cmdline")
    ]
    seen = b"".join(supervise.read_file(f"/proc/{one}/cmdline") for one in {*mine, *masters} if one)
    assert b"ControlPath" in seen
    assert secret.encode() not in seen
    assert b"PRIVATE KEY" not in seen
    environment = supervise.read_file(f"/proc/{pid}/environ")
    assert b"token-of-the-cloud" not in environment
    assert (Path(f"{shell.scratch}/secret").stat().st_mode & 0o777) == 0o600


def test_a_full_disk_is_an_error_that_says_so(machines: Machines, keys: LeaseKeys, tmp_path: Path) -> None:
    """Files may not grow beyond a limit, which is what a full disk is to whoever writes."""
    program = machines["one"].folder / "bin" / "python3"
    limit = "import resource, os, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, 1 << 16)); "
    limit += "os.execv(sys.executable, [sys.executable, *sys.argv[1:]])"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -c {shlex.quote(limit)} "$@"\n')
    shell = open_shell(LEASE, host_of(machines), identity=keys.private_path)
    for size in (1 << 17, 3 << 20):
        path = f"{shell.scratch}/large{size}"
        with pytest.raises(MachineError, match="cannot write a file: File too large") as caught:
            shell.write(path, b"x" * size)
        assert caught.value.where == path
        assert shell.read(path) == b""
    shell.write(f"{shell.scratch}/small", b"x")
    shell.close()


def test_a_machine_without_python_is_told(machines: Machines, keys: LeaseKeys) -> None:
    program = machines["one"].folder / "bin" / "python3"
    program.write_text("#!/bin/sh\necho not here >&2; exit 127\n")
    shell = open_shell(LEASE, host_of(machines), identity=keys.private_path)
    with pytest.raises(MachineError, match="no python3 that can be used: not here") as caught:
        shell.run(["true"], seconds=5)
    assert "3.9" in str(caught.value.fix)
    shell.close()


def test_what_a_login_shell_prints_is_no_answer(machines: Machines, keys: LeaseKeys) -> None:
    (machines["one"].home / ".bashrc").write_text('echo \'{"id": 1, "size": 0}\'; echo welcome >&2\n')
    shell = open_shell(LEASE, host_of(machines), identity=keys.private_path)
    assert shell.run(["echo", "yes"], seconds=5).stdout == b"yes\n"
    shell.close()


def test_large_files_go_in_parts(shell: OpenSSHShell, machines: Machines) -> None:
    data = os.urandom((5 << 20) + 17)
    path = f"{shell.scratch}/large"

    def parts() -> Iterator[bytes]:
        for at in range(0, len(data), 1 << 20):
            if at == 3 << 20:
                machines.cut("one")
            yield data[at : at + (1 << 20)]

    assert shell.write_parts(path, parts(), mode=0o640) == len(data)
    assert shell.read(path, limit=1 << 24) == data
    assert (Path(path).stat().st_mode & 0o777) == 0o640
    assert [item.name for item in Path(path).parent.iterdir() if ".parts" in item.name] == []


def test_parts_may_have_any_size_and_one_that_never_comes_leaves_no_file(shell: OpenSSHShell) -> None:
    data = os.urandom((3 << 20) + 5)
    assert shell.write_parts(f"{shell.scratch}/whole", [data[:7], b"", data[7:]]) == len(data)
    assert shell.read(f"{shell.scratch}/whole", limit=1 << 24) == data

    def parts() -> Iterator[bytes]:
        yield data
        raise KeyError("gone")

    with pytest.raises(KeyError):
        shell.write_parts(f"{shell.scratch}/broken", parts())
    assert not Path(shell.scratch, "broken").exists()


def test_the_end_of_a_lease_leaves_nothing_there(shell: OpenSSHShell, tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    code = (
        "import os, time\n"
        f"open({str(pid_file)!r}, 'w').write(str(os.getpid()))\n"
        "os.mkdir('closed'); os.mkdir('closed/in'); os.chmod('closed', 0)\n"
        "time.sleep(60)"
    )
    job = make_job(shell, tmp_path / "run", python(code))
    shell.start(job)
    pid = pid_in(pid_file)
    until(Path(shell.work, "closed").exists, "the folder")
    base = Path(shell.work).parent
    shell.end()
    assert not is_alive(pid)
    assert not base.exists()
    shell.end()


def test_no_ssh_is_an_error_with_a_fix(
    machines: Machines, keys: LeaseKeys, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    shell = open_shell(LEASE, host_of(machines), identity=keys.private_path)
    with pytest.raises(MachineError, match="ssh is not installed"):
        shell.read("/etc/passwd")
    shell.close()


def test_nothing_is_left_of_a_connection(shell: OpenSSHShell) -> None:
    shell.read("/etc/passwd")
    folder = shell.connection._folder
    assert folder.is_dir()
    shell.close()
    assert not folder.exists()
    needle = os.fsencode(folder)
    mine = [pid for pid in supervise.process_ids() if needle in supervise.read_file(f"/proc/{pid}/cmdline")]
    assert mine == []


def test_no_configuration_of_the_person_counts(machines: Machines, keys: LeaseKeys, tmp_path: Path) -> None:
    """A configuration that would run a command of its own is not read."""
    (tmp_path / ".ssh").mkdir()
    flag = tmp_path / "flag"
    (tmp_path / ".ssh" / "config").write_text(f"Host *\n  ProxyCommand touch {flag}\n")
    shell = open_shell(
        LEASE, host_of(machines), identity=keys.private_path, environ={**os.environ, "HOME": str(tmp_path)}
    )
    assert shell.run(["true"], seconds=5).exit_code == 0
    assert not flag.exists()
    options = subprocess.run(
        ["ssh", "-G", *shell.connection._login.words()], capture_output=True, text=True, check=True
    ).stdout
    for line in ("stricthostkeychecking true", "forwardagent no", "permitlocalcommand no", "batchmode yes"):
        assert line in options.splitlines()
    shell.close()
