"""What every Shell promises, asked of the one for this machine, the one over ssh and the one in memory."""

from __future__ import annotations

import os
import secrets
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from ci_runner.errors import MachineError
from ci_runner.remote.base import Completed, Job, Shell
from ci_runner.remote.fake import FakeShell, Scripted
from ci_runner.remote.keys import LeaseKeys
from ci_runner.remote.local import LocalShell
from ci_runner.remote.machine import Host
from tests.emulators.machines import Machines, user
from tests.job_kit import ended, finish, make_job, python


@dataclass
class Bench:
    """A shell, and jobs for it that do the same thing on every implementation."""

    shell: Shell
    folder: Path
    script: Callable[[str, Scripted], None]

    def job(self, name: str, scripted: Scripted, **more: object) -> Job:
        """A job that behaves as scripted, in earnest where the machine is real."""
        self.script(name, scripted)
        code = f"import sys, time; sys.stdout.write({scripted.output.decode()!r}); sys.stdout.flush(); "
        code += f"time.sleep({scripted.seconds}); sys.exit({scripted.exit_code})"
        return make_job(self.shell, self.folder, python(code), name=name, **more)


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Host, LeaseKeys]]:
    """A machine that knows us, for all the tests."""
    folder = tmp_path_factory.mktemp("machines")
    keys = LeaseKeys.make(folder / "keys", "contract")
    with Machines(folder) as machines:
        there = machines.start("one", user_metadata={"ssh-keys": f"{user()}:{keys.public}"})
        yield Host(address=there.address, port=there.port, user=user(), host_key=there.host_key), keys


@pytest.fixture
def openssh(request: pytest.FixtureRequest) -> Iterator[Shell]:
    """A shell over ssh, for a lease of its own."""
    from ci_runner.remote.openssh import open_shell

    host, keys = request.getfixturevalue("machine")
    shell = open_shell(f"contract-{secrets.token_hex(3)}", host, identity=keys.private_path)
    yield shell
    shell.end()
    shell.close()


@pytest.fixture(params=["local", "fake", pytest.param("openssh", marks=pytest.mark.needs("sshd"))])
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Bench]:
    if request.param == "openssh":
        yield Bench(request.getfixturevalue("openssh"), tmp_path / "run", lambda _name, _script: None)
        return
    if request.param == "fake":
        fake = FakeShell()
        fake.answers = lambda argv, stdin: Completed(exit_code=int(argv[-1]), stdout=stdin, stderr=b"")
        yield Bench(fake, Path("/run"), fake.scripts.__setitem__)
        return
    for name in ("work", "scratch"):
        (tmp_path / name).mkdir()
    local = LocalShell(
        lease_id=f"contract-{os.getpid()}",
        work=str(tmp_path / "work"),
        scratch=str(tmp_path / "scratch"),
        environ=os.environ,
    )
    yield Bench(local, tmp_path / "run", lambda _name, _script: None)


def test_a_job_ends_with_its_exit_code_and_output(bench: Bench) -> None:
    job = bench.job("unit.1", Scripted(exit_code=3, output=b"hello\n"))
    status = finish(bench.shell, job)
    assert (status.exit_code, status.timed_out, status.cancelled, status.supervisor_lost) == (
        3,
        False,
        False,
        False,
    )
    assert status.error is None
    assert status.ended_at >= status.started_at
    assert bench.shell.read(job.log) == b"hello\n"


def test_the_answer_is_the_same_every_time(bench: Bench) -> None:
    job = bench.job("unit.1", Scripted())
    status = finish(bench.shell, job)
    assert bench.shell.poll(job) == status
    assert bench.shell.wait(job, seconds=5) == status


def test_start_returns_at_once_and_poll_says_that_it_runs(bench: Bench) -> None:
    job = bench.job("unit.1", Scripted(seconds=30))
    bench.shell.start(job)
    assert bench.shell.poll(job) is None
    assert bench.shell.wait(job, seconds=0.05) is None
    bench.shell.cancel(job)
    assert ended(bench.shell, job).cancelled


def test_a_cancelled_job_says_so(bench: Bench) -> None:
    job = bench.job("unit.1", Scripted(seconds=30))
    bench.shell.start(job)
    bench.shell.cancel(job)
    bench.shell.cancel(job)
    status = ended(bench.shell, job)
    assert status.cancelled
    assert status.exit_code < 0
    assert not status.timed_out


def test_cancelling_what_does_not_run_is_success(bench: Bench) -> None:
    job = bench.job("unit.1", Scripted())
    bench.shell.cancel(job)
    assert finish(bench.shell, job).exit_code == 0
    bench.shell.cancel(job)
    assert not ended(bench.shell, job).cancelled


def test_a_job_that_takes_too_long_is_timed_out(bench: Bench) -> None:
    job = bench.job("unit.1", Scripted(seconds=30), timeout_seconds=0.3)
    status = finish(bench.shell, job)
    assert status.timed_out
    assert status.exit_code < 0
    assert not status.cancelled


def test_jobs_run_side_by_side(bench: Bench) -> None:
    first = bench.job("unit.1", Scripted(seconds=30))
    second = bench.job("docs.1", Scripted(exit_code=5))
    bench.shell.start(first)
    assert finish(bench.shell, second).exit_code == 5
    assert bench.shell.poll(first) is None
    bench.shell.cancel(first)
    assert ended(bench.shell, first).cancelled


def test_a_job_starts_once(bench: Bench) -> None:
    job = bench.job("unit.1", Scripted())
    finish(bench.shell, job)
    with pytest.raises(ValueError, match=r"unit\.1 was started already"):
        bench.shell.start(job)


def test_a_job_that_was_never_started_is_an_error(bench: Bench) -> None:
    with pytest.raises(MachineError, match="never started"):
        bench.shell.poll(bench.job("unit.1", Scripted()))


@pytest.mark.parametrize(
    "wrong",
    [
        {"cwd": "relative"},
        {"env": {"A=B": "x"}},
        {"env": {"A": "x\0y"}},
        {"timeout_seconds": 0.0},
        {"log_limit_bytes": -1},
    ],
    ids=str,
)
def test_a_job_that_no_machine_could_run_is_refused(bench: Bench, wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"job unit\.1"):
        bench.shell.start(bench.job("unit.1", Scripted(), **wrong))


def test_a_helper_command_answers(bench: Bench) -> None:
    code = "import sys; sys.stdout.write(sys.stdin.read()); sys.exit(int(sys.argv[1]))"
    done = bench.shell.run([sys.executable, "-c", code, "4"], seconds=20, stdin=b"question")
    assert (done.exit_code, done.stdout, done.stderr) == (4, b"question", b"")


def test_files_are_read_in_parts(bench: Bench) -> None:
    path = f"{bench.shell.scratch}/new/folder/data"
    bench.shell.write(path, b"0123456789")
    assert bench.shell.read(path) == b"0123456789"
    assert bench.shell.read(path, offset=7) == b"789"
    assert bench.shell.read(path, offset=2, limit=3) == b"234"
    assert bench.shell.read(path, offset=10) == b""
    bench.shell.write(path, b"new")
    assert bench.shell.read(path) == b"new"


def test_a_file_that_is_not_there_is_empty(bench: Bench) -> None:
    assert bench.shell.read(f"{bench.shell.work}/none") == b""
    bench.shell.write(f"{bench.shell.work}/file", b"x")
    assert bench.shell.read(f"{bench.shell.work}/file/below") == b""


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("*.xml", ["a.xml"]),
        ("**/*.xml", ["a.xml", "out/b.xml", "out/deep/c.xml"]),
        ("out/**", ["out/b.xml", "out/deep", "out/deep/c.xml"]),
        ("out/*/c.xml", ["out/deep/c.xml"]),
        ("./out//b.xml", ["out/b.xml"]),
        ("out", ["out"]),
        (".hidden/d.xml", [".hidden/d.xml"]),
        ("o[tu]t/b.xml", ["out/b.xml"]),
        ("none/*.xml", []),
        ("../*", []),
        ("out/../../*", []),
        ("/etc/*", []),
        ("", []),
    ],
)
def test_globs_stay_in_the_working_folder(bench: Bench, pattern: str, found: list[str]) -> None:
    for name in ("a.xml", "out/b.xml", "out/deep/c.xml", ".hidden/d.xml"):
        bench.shell.write(f"{bench.shell.work}/{name}", b"<x/>")
    bench.shell.write(f"{bench.shell.scratch}/not.xml", b"<x/>")
    assert bench.shell.glob(pattern) == found


def test_several_threads_wait_for_one_job(bench: Bench) -> None:
    job = bench.job("unit.1", Scripted(seconds=0.2, exit_code=7))
    bench.shell.start(job)
    answers: list[int] = []
    threads = [
        threading.Thread(target=lambda: answers.append(ended(bench.shell, job).exit_code)) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
    assert answers == [7, 7, 7, 7]
