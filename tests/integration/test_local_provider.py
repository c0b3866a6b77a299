"""The local provider in earnest: folders, processes and records, and what killed runs leave behind."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ci_runner.errors import MachineError, UsageError
from ci_runner.execution.onboard import supervise
from ci_runner.model import Lease, LeaseState
from ci_runner.providers import local
from ci_runner.providers.base import Source
from ci_runner.providers.leases import LeaseRecord
from ci_runner.providers.local import LocalProvider, lease_home, remove_tree
from tests.job_kit import LEASE, ended, is_alive, make_job, make_lease, make_repository, pid_in, python, until

ENVIRON = dict(os.environ)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "state" / "leases"


@pytest.fixture
def provider(home: Path) -> Iterator[LocalProvider]:
    provider = LocalProvider(home, ENVIRON)
    yield provider
    for lease in provider.leases():
        provider.release(lease)


@pytest.fixture
def source(tmp_path: Path) -> Source:
    commit = make_repository(tmp_path / "repo", {"a.txt": "one\n", "tests/test_a.py": "def test(): pass\n"})
    return Source(root=str(tmp_path / "repo"), commit=commit)


def acquire(provider: LocalProvider, source: Source, lease: Lease | None = None) -> Lease:
    lease = lease or make_lease()
    return provider.acquire(lease, provider.offers(lease.machine)[0], source, seconds=60)


def test_a_lease_is_private_and_holds_the_commit(provider: LocalProvider, source: Source, home: Path) -> None:
    lease = acquire(provider, source)
    shell = provider.shell(lease)
    assert stat.S_IMODE((home / lease.id).stat().st_mode) == 0o700
    assert Path(shell.work, "a.txt").read_text() == "one\n"
    assert shell.run(["git", "rev-parse", "HEAD"], seconds=30).stdout.decode().strip() == source.commit
    provider.release(lease)
    assert list(home.iterdir()) == []


def test_the_record_is_there_before_anything_else(
    provider: LocalProvider, source: Source, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[LeaseState] = []

    def look(_source: Source, target: Path, *, seconds: float) -> None:
        record = LeaseRecord.read(target.parent / "lease.json")
        assert record is not None
        assert record.owner.is_alive()
        assert not target.exists()
        seen.append(record.lease.state)
        raise KeyboardInterrupt

    monkeypatch.setattr(local, "stage", look)
    with pytest.raises(KeyboardInterrupt):
        acquire(provider, source)
    assert seen == [LeaseState.REQUESTED]
    assert [lease.state for lease in provider.leases()] == [LeaseState.REQUESTED]


def test_another_process_sees_and_releases_a_lease(
    provider: LocalProvider, source: Source, home: Path
) -> None:
    lease = acquire(provider, source)
    other = LocalProvider(home, ENVIRON)
    assert other.leases() == [lease]
    assert other.shell(lease).work == provider.shell(lease).work
    other.release(lease)
    assert provider.describe(lease) is LeaseState.GONE


def test_release_ends_processes_that_have_left_every_job(
    provider: LocalProvider, source: Source, tmp_path: Path
) -> None:
    lease = acquire(provider, source)
    shell = provider.shell(lease)
    code = """
import os, subprocess, sys, time
if os.fork(): os._exit(0)
os.setsid()
null = subprocess.DEVNULL
child = subprocess.Popen(["env", "-i", "sleep", "300"], stdout=null, stderr=null)
with open(sys.argv[1] + ".part", "w") as file: file.write(str(child.pid))
os.rename(sys.argv[1] + ".part", sys.argv[1])
os.closerange(0, 64)
time.sleep(300)
"""
    assert shell.run([*python(code)[:-1], code, str(tmp_path / "pid")], seconds=30).exit_code == 0
    pid = pid_in(tmp_path / "pid")
    assert is_alive(pid)
    provider.release(lease)
    until(lambda: not is_alive(pid), "the end of the process that the mark finds only through its parent")


def test_release_ends_a_job_that_still_runs(provider: LocalProvider, source: Source, tmp_path: Path) -> None:
    lease = acquire(provider, source)
    shell = provider.shell(lease)
    code = "import os, sys, time; open(sys.argv[1], 'w').write(str(os.getpid())); time.sleep(300)"
    job = make_job(shell, tmp_path / "run", (*python(code), str(tmp_path / "pid")))
    shell.start(job)
    pid = pid_in(tmp_path / "pid")
    provider.release(lease)
    assert ended(shell, job).supervisor_lost
    assert not is_alive(pid)


def test_two_leases_do_not_end_each_others_processes(
    provider: LocalProvider, source: Source, tmp_path: Path
) -> None:
    first, second = (acquire(provider, source, make_lease(f"{LEASE}-{n}")) for n in (1, 2))
    shell = provider.shell(second)
    job = make_job(shell, tmp_path / "run", ("sleep", "300"))
    shell.start(job)
    provider.release(first)
    assert shell.poll(job) is None
    assert Path(shell.work, "a.txt").exists()
    shell.cancel(job)
    assert ended(shell, job).cancelled


def test_everything_that_tests_leave_is_removed(
    provider: LocalProvider, source: Source, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").write_text("x")
    lease = acquire(provider, source)
    work = Path(provider.shell(lease).work)
    (work / "link").symlink_to(outside)
    os.mkfifo(work / "pipe")
    (work / "closed" / "inside").mkdir(parents=True)
    (work / "closed" / "inside" / "file").write_text("x")
    (work / "closed" / "inside").chmod(0)
    (work / "closed").chmod(0o500)
    (work / "strange \n\t 'name' \udcff").write_text("x")
    deep = work
    here = Path.cwd()
    try:
        os.chdir(work)
        for _ in range(1500):  # deeper than Python's recursion, longer than a path may be
            Path("deep").mkdir()
            os.chdir("deep")
    finally:
        os.chdir(here)
    provider.release(lease)
    assert not deep.exists()
    assert (outside / "precious").read_text() == "x"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may enter every folder")
def test_closed_folders_are_opened_before_they_are_removed(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "c").write_text("x")
    (tmp_path / "a" / "b").chmod(0)
    remove_tree(tmp_path / "a")
    assert not (tmp_path / "a").exists()


def test_removing_what_cannot_be_removed_says_what_and_how(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a").mkdir()
    failed = subprocess.CompletedProcess([], 1, b"", b"rm: cannot remove 'a/b': Operation not permitted\n")
    monkeypatch.setattr(subprocess, "run", lambda *_args, **_more: failed)
    monkeypatch.setattr(shutil, "rmtree", lambda *_args, **_more: None)
    with pytest.raises(MachineError, match="Operation not permitted") as caught:
        remove_tree(tmp_path / "a")
    assert caught.value.fix == f"sudo rm -rf '{tmp_path / 'a'}'"


def test_removing_a_link_or_a_file_leaves_its_target(tmp_path: Path) -> None:
    (tmp_path / "target").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "target")
    (tmp_path / "file").write_text("x")
    for name in ("link", "file", "none"):
        remove_tree(tmp_path / name)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["target"]


def test_twenty_thousand_files_are_removed_quickly(provider: LocalProvider, source: Source) -> None:
    lease = acquire(provider, source)
    work = Path(provider.shell(lease).work)
    for n in range(100):
        (work / f"d{n}").mkdir()
        for m in range(200):
            os.close(os.open(work / f"d{n}" / str(m), os.O_CREAT))
    begin = time.monotonic()
    provider.release(lease)
    assert time.monotonic() - begin < 10
    assert not work.exists()


HOLDER = """
import os, sys, time
from pathlib import Path
from ci_runner.providers.base import Source
from ci_runner.providers.local import LocalProvider
from tests.job_kit import make_job, make_lease
home, root, run, seconds = sys.argv[1:]
provider = LocalProvider(Path(home), os.environ)
lease = make_lease("dead-unit-1", expires_at=time.time() + float(seconds))
lease = provider.acquire(lease, provider.offers(lease.machine)[0], Source(root=root, commit=None), seconds=60)
shell = provider.shell(lease)
shell.start(make_job(shell, Path(run), ("sleep", "300")))
print("up", flush=True)
time.sleep(300)
"""


def hold(home: Path, source: Source, tmp_path: Path, seconds: float = 3600) -> subprocess.Popen[bytes]:
    """A process that holds a lease and runs a job on it."""
    path = os.pathsep.join([str(Path.cwd()), *sys.path])
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(home), source.root, str(tmp_path / "run"), str(seconds)],
        env={**os.environ, "PYTHONPATH": path},
        stdout=subprocess.PIPE,
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"up\n"
    return holder


def test_a_killed_run_is_cleaned_up_by_the_next(
    provider: LocalProvider, source: Source, home: Path, tmp_path: Path
) -> None:
    with hold(home, source, tmp_path) as holder:
        assert provider.sweep() == []
        assert (home / "dead-unit-1").exists()
        holder.kill()
    acquire(provider, source)
    assert [lease.id for lease in provider.leases()] == [LEASE]
    until(
        lambda: not supervise.marked("CI_RUNNER_LEASE=dead-unit-1"), "the end of the killed run's processes"
    )


def test_a_lease_past_its_time_is_taken(
    provider: LocalProvider, source: Source, home: Path, tmp_path: Path
) -> None:
    with hold(home, source, tmp_path) as holder:
        later = LocalProvider(home, ENVIRON, clock=lambda: time.time() + 3700)
        assert [lease.id for lease in later.sweep()] == ["dead-unit-1"]
        assert supervise.marked("CI_RUNNER_LEASE=dead-unit-1") == []
        holder.kill()
    assert provider.leases() == []


def test_a_folder_without_record_is_let_be_for_an_hour(home: Path) -> None:
    (home / "half-made").mkdir(parents=True)
    (home / "half-made" / "lease.json").write_text('{"lease": ')
    (home / "Not a lease").mkdir()
    (home / "file").write_text("")
    assert LocalProvider(home, ENVIRON).sweep() == []
    assert (home / "half-made").exists()
    assert LocalProvider(home, ENVIRON, clock=lambda: time.time() + 3601).sweep() == []
    assert sorted(path.name for path in home.iterdir()) == ["Not a lease", "file"]


def test_a_sweep_that_fails_is_told_and_does_not_stop_the_run(
    provider: LocalProvider,
    source: Source,
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    lease = acquire(provider, source)
    later = LocalProvider(home, ENVIRON, clock=lambda: time.time() + 7200)

    def refuse(_path: Path) -> None:
        raise MachineError("it is stuck")

    with monkeypatch.context() as patch:
        patch.setattr(local, "remove_tree", refuse)
        assert later.sweep() == []
    assert f"could not release lease {lease.id}: it is stuck" in caplog.text


def test_a_lease_that_cannot_be_made_says_where(source: Source, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    provider = LocalProvider(tmp_path / "file", ENVIRON)
    with pytest.raises(MachineError, match="cannot make the lease's folder"):
        acquire(provider, source)


def test_a_half_made_lease_is_made_anew(provider: LocalProvider, source: Source, home: Path) -> None:
    lease = acquire(provider, source)
    record = LeaseRecord.read(home / lease.id / "lease.json")
    assert record is not None
    LeaseRecord(lease=make_lease(), owner=record.owner).write(home / lease.id / "lease.json")
    (home / lease.id / "work" / "a.txt").unlink()
    assert provider.describe(lease) is LeaseState.REQUESTED
    again = acquire(provider, source)
    assert again.state is LeaseState.READY
    assert Path(provider.shell(again).work, "a.txt").exists()


def test_where_leases_are_kept(tmp_path: Path) -> None:
    home, temp = tmp_path / "home", tmp_path / "temp"
    assert lease_home({"HOME": str(home)}) == home / ".local/state/ci-runner/leases"
    assert (
        lease_home({"HOME": str(home), "XDG_STATE_HOME": "relative"})
        == home / ".local/state/ci-runner/leases"
    )
    assert lease_home({"HOME": str(home), "XDG_STATE_HOME": str(temp)}) == temp / "ci-runner/leases"
    action = {"HOME": str(home), "RUNNER_TEMP": str(temp / "t")}
    assert lease_home({**action, "GITHUB_ACTIONS": "true"}) == temp / "t" / "ci-runner" / "leases"
    assert lease_home(action) == home / ".local/state/ci-runner/leases"
    assert lease_home({**action, "CI_RUNNER_HOME": str(temp / "named")}) == temp / "named" / "leases"


def test_a_home_that_cannot_be_written_gives_way_to_a_private_temporary_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "gettempdir", lambda: str(tmp_path))
    (tmp_path / "file").write_text("")
    expected = tmp_path / f"ci-runner-{os.getuid()}" / "leases"
    assert lease_home({"HOME": str(tmp_path / "file")}) == expected
    assert lease_home({}) == expected
    expected.parent.chmod(0o777)
    with pytest.raises(MachineError, match="belongs to somebody else, or others may write there"):
        lease_home({})


def test_a_named_home_that_cannot_be_used_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="cannot use CI_RUNNER_HOME"):
        lease_home({"CI_RUNNER_HOME": str(tmp_path / "file" / "below")})
