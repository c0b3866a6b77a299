"""The supervisor on its bad days: whatever a suite does, its end is known, its log is kept, and nothing stays behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ci_runner.execution.attempt import FULL_BYTES
from ci_runner.execution.onboard import supervise
from ci_runner.remote import local
from ci_runner.remote.jobs import job_document
from ci_runner.remote.local import LocalShell
from tests.job_kit import ended, finish, is_alive, make_job, pid_in, python, until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="process trees are only known on Linux")

# A process that leaves its parent, its session and its output behind, and ends neither by itself nor when asked.
DAEMON = """
import os, signal, sys, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        os.closerange(0, 64)
        with open(sys.argv[1] + ".part", "w") as file:
            file.write(str(os.getpid()))
        os.rename(sys.argv[1] + ".part", sys.argv[1])
        time.sleep(300)
    os._exit(0)
os.wait()
while not os.path.exists(sys.argv[1]):
    time.sleep(0.005)
"""


@pytest.fixture(autouse=True)
def _measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let coverage into the supervisor when it is being measured: it starts from site-packages."""
    if "COVERAGE_PROCESS_CONFIG" in os.environ or "COVERAGE_PROCESS_START" in os.environ:
        monkeypatch.setattr(local, "SUPERVISOR_FLAGS", ())


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[LocalShell]:
    work = tmp_path / "a folder, größer" / "work"
    work.mkdir(parents=True)
    shell = LocalShell(
        lease_id=f"test-{os.getpid()}-{tmp_path.name[-20:]}",
        work=str(work),
        scratch=str(tmp_path),
        environ=os.environ,
    )
    yield shell
    supervise.end_all(lambda: supervise.marked(f"CI_RUNNER_LEASE={shell._lease_id}"), 5)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "läuft hier"


def status_file(folder: Path, name: str = "job") -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / name / "status.json").read_text())
    return found


def said_pids(folder: Path, shell: LocalShell, name: str = "job") -> tuple[int, int]:
    """The supervisor of a running job, and its guard."""
    supervisor = shell._running[name]._supervisor.pid
    guards = until(
        lambda: [p for p in supervise.process_table().values() if p.parent == supervisor], "a guard"
    )
    return supervisor, guards[0].pid


def test_the_status_file_says_what_the_shell_says(shell: LocalShell, folder: Path) -> None:
    status = finish(shell, make_job(shell, folder, python("print('out'); raise SystemExit(3)")))
    found = status_file(folder)
    assert (found["exit_code"], found["error"], found["log_bytes"], found["log_dropped_bytes"]) == (
        3,
        None,
        4,
        0,
    )
    assert status.exit_code == 3
    assert sorted(path.name for path in (folder / "job").iterdir()) == ["job.json", "log", "status.json"]


def test_a_signal_that_is_not_ours_is_a_negative_exit_code(shell: LocalShell, folder: Path) -> None:
    status = finish(shell, make_job(shell, folder, python("import os; os.kill(os.getpid(), 11)")))
    assert (status.exit_code, status.timed_out, status.cancelled) == (-11, False, False)


def test_the_command_starts_fresh(shell: LocalShell, folder: Path) -> None:
    code = """
import json, os, signal, sys
ignored = [n for n in (1, 2, 13, 15, 17, 25) if signal.getsignal(n) is signal.SIG_IGN]
fds = []
for n in range(256):
    try:
        os.fstat(n); fds.append(n)
    except OSError: pass
print(json.dumps({"cwd": os.getcwd(), "stdin": os.fstat(0).st_rdev == os.stat("/dev/null").st_rdev, "fds": fds,
    "mask": [int(n) for n in signal.pthread_sigmask(signal.SIG_BLOCK, ())], "leader": os.getsid(0) == os.getpid(),
    "env": {k: os.environ.get(k) for k in ("ADDED", "REMOVED", "CI_RUNNER_LEASE", "CI_RUNNER_JOB", "GIT_DIR")}}))
"""
    child = subprocess.run(
        [sys.executable, "-c", RUN_ONE, str(folder), shell.work, code],
        env={**os.environ, "REMOVED": "x", "GIT_DIR": "/elsewhere", "PYTHONPATH": os.pathsep.join(sys.path)},
        check=True,
        timeout=60,
    )
    assert child.returncode == 0
    found = json.loads((folder / "job" / "log").read_text())
    assert found["cwd"] == os.path.realpath(shell.work)
    assert found["stdin"]
    assert found["fds"] == [0, 1, 2]
    assert found["mask"] == []
    assert found["leader"]
    assert found["env"] == {
        "ADDED": "y",
        "REMOVED": None,
        "CI_RUNNER_LEASE": "one",
        "CI_RUNNER_JOB": "one/job",
        "GIT_DIR": None,
    }


RUN_ONE = """
import os, signal, sys
from pathlib import Path
from ci_runner.remote.base import Job
from ci_runner.remote.local import LocalShell
signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGUSR1, signal.SIGTERM))
signal.signal(signal.SIGHUP, signal.SIG_IGN)
folder, work, code = sys.argv[1:]
os.set_inheritable(os.open("/dev/null", os.O_RDONLY), True)
shell = LocalShell(lease_id="one", work=work, scratch=work, environ=os.environ)
job = Job(id="job", argv=(sys.executable, "-I", "-S", "-c", code), cwd=work, folder=folder + "/job",
          log=folder + "/job/log", env={"ADDED": "y"}, unset=("REMOVED",))
shell.start(job)
print(os.getpid(), flush=True)
assert shell.wait(job, seconds=60) is not None
"""


@pytest.mark.parametrize(
    ("argv", "more", "words"),
    [
        (("no-such-program",), {}, "no-such-program: No such file or directory"),
        (("/etc",), {}, "/etc: Permission denied"),
        (("true",), {"cwd": "/no/such/folder"}, "/no/such/folder: No such file or directory"),
    ],
    ids=["program", "folder", "cwd"],
)
def test_what_cannot_start_says_why(
    shell: LocalShell, folder: Path, argv: tuple[str, ...], more: dict[str, Any], words: str
) -> None:
    status = finish(shell, make_job(shell, folder, argv, **more))
    assert (status.exit_code, status.error) == (127, words)


def test_a_job_that_cannot_start_leaves_no_file_of_secrets(
    shell: LocalShell, folder: Path, tmp_path: Path
) -> None:
    secrets = tmp_path / "secrets.json"
    secrets.write_text('{"TOKEN": "hunter2"}')
    status = finish(shell, make_job(shell, folder, ["true"], cwd="/nowhere", secrets=str(secrets)))
    assert status.error is not None
    assert "/nowhere" in status.error
    assert not secrets.exists()


def test_a_log_that_cannot_be_opened_is_an_error_and_not_a_hang(shell: LocalShell, folder: Path) -> None:
    (folder / "job" / "log").mkdir(parents=True)
    status = finish(shell, make_job(shell, folder, ("true",)))
    assert status.error is not None
    assert "Is a directory" in status.error


def test_a_daemon_is_ended_and_counted(shell: LocalShell, folder: Path, tmp_path: Path) -> None:
    status = finish(shell, make_job(shell, folder, (*python(DAEMON), str(tmp_path / "pid"))))
    assert status.exit_code == 0
    assert status.processes_left == 1
    assert not is_alive(pid_in(tmp_path / "pid"))


def test_a_daemon_with_an_empty_environment_is_ended_too(
    shell: LocalShell, folder: Path, tmp_path: Path
) -> None:
    argv = ("env", "-i", *python(DAEMON), str(tmp_path / "pid"))
    assert finish(shell, make_job(shell, folder, argv)).processes_left == 1
    assert not is_alive(pid_in(tmp_path / "pid"))


def test_helpers_that_end_by_themselves_are_not_counted(shell: LocalShell, folder: Path) -> None:
    status = finish(shell, make_job(shell, folder, ("sh", "-c", "(exec sleep 0.05) & exit 2")))
    assert (status.exit_code, status.processes_left) == (2, 0)


def test_a_stopped_child_is_ended(shell: LocalShell, folder: Path, tmp_path: Path) -> None:
    code = (
        "import os, signal, sys; open(sys.argv[1], 'w').write(str(os.getpid())); os.kill(0, signal.SIGSTOP)"
    )
    job = make_job(shell, folder, (*python(code), str(tmp_path / "pid")), timeout_seconds=0.5)
    status = finish(shell, job)
    assert status.timed_out
    assert not is_alive(pid_in(tmp_path / "pid"))


def test_the_end_of_the_command_is_noticed_at_once(shell: LocalShell, folder: Path) -> None:
    job = make_job(shell, folder, python("import time; print(time.time(), flush=True)"))
    status = finish(shell, job)
    gap = status.ended_at - float(shell.read(job.log))
    assert (
        gap < 0.5
    )  # about 10 ms on an idle machine: far less than any polling interval would allow on average


def test_a_command_that_ignores_sigterm_is_killed(shell: LocalShell, folder: Path, tmp_path: Path) -> None:
    code = """
import os, signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
signal.signal(signal.SIGQUIT, signal.SIG_IGN)
open(sys.argv[1], "w").write(str(os.getpid()))
time.sleep(300)
"""
    job = make_job(
        shell, folder, (*python(code), str(tmp_path / "pid")), timeout_seconds=0.5, stacks_grace_seconds=0.2
    )
    status = finish(shell, job)
    assert (status.exit_code, status.timed_out) == (-9, True)
    assert not is_alive(pid_in(tmp_path / "pid"))


def test_whoever_forks_faster_than_we_look_is_beaten(shell: LocalShell, folder: Path, tmp_path: Path) -> None:
    code = """
import os, signal, sys
for number in (signal.SIGTERM, signal.SIGQUIT, signal.SIGHUP):
    signal.signal(number, signal.SIG_IGN)
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
open(sys.argv[1], "w").write(str(os.getpid()))
while True:  # each child replaces its parent, in a session of its own
    if os.fork():
        os._exit(0)
    os.setsid()
"""
    job = make_job(
        shell, folder, (*python(code), str(tmp_path / "pid")), timeout_seconds=0.3, term_grace_seconds=0.1
    )
    shell.start(job)
    pid_in(tmp_path / "pid")
    ended(shell, job)
    assert status_file(folder)["processes_stuck"] == 0
    assert supervise.marked(f"CI_RUNNER_JOB={shell._lease_id}/job") == []


def test_a_test_that_kills_its_parent_changes_nothing(shell: LocalShell, folder: Path) -> None:
    code = "import os, time; os.kill(os.getppid(), 9); print('still here', flush=True); raise SystemExit(5)"
    job = make_job(shell, folder, python(code))
    status = finish(shell, job)
    assert (status.exit_code, status.supervisor_lost) == (5, False)
    assert shell.read(job.log) == b"still here\n"


def test_a_test_that_stops_its_parent_changes_nothing(shell: LocalShell, folder: Path) -> None:
    code = "import os, signal; os.kill(os.getppid(), signal.SIGSTOP); raise SystemExit(6)"
    assert finish(shell, make_job(shell, folder, python(code))).exit_code == 6


def test_a_supervisor_that_is_stopped_is_woken(shell: LocalShell, folder: Path) -> None:
    job = make_job(shell, folder, ("sleep", "0.2"))
    shell.start(job)
    os.kill(shell._running["job"]._supervisor.pid, signal.SIGSTOP)
    assert ended(shell, job).exit_code == 0


def test_without_its_supervisor_a_job_is_lost_and_everything_ended(
    shell: LocalShell, folder: Path, tmp_path: Path
) -> None:
    code = DAEMON + "\nopen(sys.argv[2], 'w').write(str(os.getpid())); time.sleep(300)"
    job = make_job(
        shell, folder, ("env", "-i", *python(code), str(tmp_path / "daemon"), str(tmp_path / "main"))
    )
    shell.start(job)
    pids = [pid_in(tmp_path / "daemon"), pid_in(tmp_path / "main")]
    supervisor, _guard = said_pids(folder, shell)
    os.kill(supervisor, signal.SIGKILL)
    status = ended(shell, job)
    assert status.supervisor_lost
    assert (status.exit_code, status.error) == (-9, None)
    assert [pid for pid in pids if is_alive(pid)] == []
    assert not (folder / "job" / "status.json").exists()


def test_without_supervisor_and_guard_the_mark_finds_what_is_left(
    shell: LocalShell, folder: Path, tmp_path: Path
) -> None:
    code = DAEMON + "\nopen(sys.argv[2], 'w').write(str(os.getpid())); time.sleep(300)"
    job = make_job(shell, folder, (*python(code), str(tmp_path / "daemon"), str(tmp_path / "main")))
    shell.start(job)
    pids = [pid_in(tmp_path / "daemon"), pid_in(tmp_path / "main")]
    supervisor, guard = said_pids(folder, shell)
    os.kill(supervisor, signal.SIGSTOP)
    os.kill(guard, signal.SIGKILL)
    os.kill(supervisor, signal.SIGKILL)
    assert ended(shell, job).supervisor_lost
    assert [pid for pid in pids if is_alive(pid)] == []


def test_a_supervisor_that_breaks_says_how(
    shell: LocalShell, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "ONBOARD", "/no/such/folder")
    status = finish(shell, make_job(shell, folder, ("true",)))
    assert status.supervisor_lost
    assert status.error is not None
    assert "No module named 'supervise'" in status.error


@pytest.mark.parametrize("end", ["main", "daemon"])
def test_killing_whoever_started_the_job_ends_it(tmp_path: Path, folder: Path, end: str) -> None:
    code = DAEMON + "\nopen(sys.argv[2], 'w').write(str(os.getpid())); time.sleep(300)"
    code = code.replace("sys.argv[1]", repr(str(tmp_path / "daemon"))).replace(
        "sys.argv[2]", repr(str(tmp_path / "main"))
    )
    starter = subprocess.Popen(
        [sys.executable, "-c", RUN_ONE, str(folder), str(tmp_path), code],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.PIPE,
    )
    with starter:
        pid = pid_in(tmp_path / end)
        pid_in(tmp_path / "main")
        starter.kill()
        killed = time.monotonic()
    until(lambda: not is_alive(pid), "the end of what the suite started", seconds=10)
    assert time.monotonic() - killed < 5
    until((folder / "job" / "status.json").exists, "the status", seconds=10)
    found = status_file(folder)
    assert (found["lifeline_lost"], found["cancelled"]) == (True, True)


def test_cancelling_takes_less_than_a_second(shell: LocalShell, folder: Path, tmp_path: Path) -> None:
    code = "import os, sys, time; open(sys.argv[1], 'w').write(str(os.getpid())); time.sleep(300)"
    job = make_job(shell, folder, (*python(code), str(tmp_path / "pid")), term_grace_seconds=10)
    shell.start(job)
    pid = pid_in(tmp_path / "pid")
    begin = time.monotonic()
    shell.cancel(job)
    status = ended(shell, job)
    assert time.monotonic() - begin < 1.0
    assert (status.cancelled, status.exit_code) == (True, -15)
    assert not is_alive(pid)


def test_a_cancel_file_is_enough(shell: LocalShell, folder: Path) -> None:
    job = make_job(shell, folder, ("sleep", "300"))
    shell.start(job)
    until((folder / "job" / "job.json").exists)
    (folder / "job" / "cancel").touch()
    assert ended(shell, job).cancelled


def test_a_cancellation_cuts_the_wait_for_stacks_short(shell: LocalShell, folder: Path) -> None:
    code = "import signal, time; signal.signal(3, signal.SIG_IGN); print('up', flush=True); time.sleep(300)"
    job = make_job(shell, folder, python(code), timeout_seconds=0.3, stacks_grace_seconds=60)
    shell.start(job)
    until(lambda: b"up" in shell.read(job.log))
    os.kill(shell._running["job"]._supervisor.pid, signal.SIGTERM)
    assert ended(shell, job, seconds=20).cancelled


SIDECAR_WRITER = """
import faulthandler, json, os, signal, sys, threading, time
faulthandler.register(signal.SIGUSR2, file=open(sys.argv[1] + "/stacks.txt", "w"), all_threads=True)
with open(sys.argv[1] + "/sidecar.jsonl", "w") as file:
    for pid, number in ((1, 9), (os.getpid(), None), (os.getpid(), 9999), (os.getpid(), int(signal.SIGUSR2))):
        file.write(json.dumps({"event": "session", "v": 1, "pid": pid, "stack_signal": number}) + "\\n")
    file.write('{"event": "session", "pid": ')
def the_function_that_hangs():
    time.sleep(300)
threading.Thread(target=the_function_that_hangs, daemon=True).start()
time.sleep(300)
"""


def test_when_the_time_is_up_the_stacks_of_every_thread_are_asked_for(
    shell: LocalShell, folder: Path
) -> None:
    place = folder / "job"
    job = make_job(
        shell,
        folder,
        (*python(SIDECAR_WRITER), str(place)),
        timeout_seconds=2,
        stacks_grace_seconds=30,
        sidecar=str(place / "sidecar.jsonl"),
    )
    begin = time.monotonic()
    status = finish(shell, job)
    assert (status.timed_out, status.exit_code) == (True, -15)
    assert len(status_file(folder)["stacks_asked"]) == 1
    stacks = (place / "stacks.txt").read_text()
    assert "the_function_that_hangs" in stacks
    assert stacks.count("most recent call first") == 2
    assert time.monotonic() - begin < 20  # it went on when the stacks were there


def test_other_commands_are_asked_by_sigquit_and_answer_in_the_log(shell: LocalShell, folder: Path) -> None:
    code = """
import signal, time
signal.signal(signal.SIGQUIT, lambda *_: print("goroutine 1 [running]", flush=True))
print("ready", flush=True)
time.sleep(300)
"""
    job = make_job(shell, folder, python(code), timeout_seconds=1, stacks_grace_seconds=30)
    assert finish(shell, job).timed_out
    assert shell.read(job.log) == b"ready\ngoroutine 1 [running]\n"


def test_a_pytest_that_never_came_up_is_not_asked(shell: LocalShell, folder: Path) -> None:
    job = make_job(
        shell,
        folder,
        ("sleep", "300"),
        timeout_seconds=0.2,
        sidecar=str(folder / "none"),
        stacks_grace_seconds=60,
    )
    assert finish(shell, job, seconds=20).exit_code == -15
    assert status_file(folder)["stacks_asked"] == []


def test_an_overlong_log_keeps_its_beginning_and_its_end(shell: LocalShell, folder: Path) -> None:
    code = "import sys\nfor n in range(200_000): sys.stdout.write('line %d\\n' % n)"
    job = make_job(shell, folder, python(code), log_limit_bytes=100_000)
    assert finish(shell, job).exit_code == 0
    log = (folder / "job" / "log").read_text()
    found = status_file(folder)
    assert log.startswith("line 0\nline 1\n")
    assert log.endswith("line 199998\nline 199999\n")
    assert f"[ci-runner: {found['log_dropped_bytes']} bytes of output are missing here]" in log
    kept = len(log) - log.count("[") * len(
        f"\n[ci-runner: {found['log_dropped_bytes']} bytes of output are missing here]\n"
    )
    assert kept == 100_000
    assert found["log_bytes"] == found["log_dropped_bytes"] + 100_000


def test_two_hundred_megabytes_are_taken_fast_and_in_little_memory(shell: LocalShell, folder: Path) -> None:
    job = make_job(shell, folder, ("sh", "-c", "head -c 200000000 /dev/zero"), log_limit_bytes=16_000_000)
    shell.start(job)
    supervisor = shell._running["job"]._supervisor.pid
    peak = 0
    while shell.wait(job, seconds=0.02) is None:
        peak = max(peak, supervise.rss_bytes(supervisor))
    status = ended(shell, job)
    assert status.exit_code == 0
    assert status_file(folder)["log_bytes"] == 200_000_000
    assert (folder / "job" / "log").stat().st_size < 16_000_200
    assert status.ended_at - status.started_at < 10
    assert peak < 64_000_000


def test_a_full_disk_loses_output_and_nothing_else(shell: LocalShell, folder: Path) -> None:
    job = make_job(shell, folder, python("import sys; sys.stdout.write('x' * 300_000); sys.exit(4)"))
    (folder / "job").mkdir(parents=True)
    (folder / "job" / "job.json").write_bytes(job_document(job, f"supervise-{os.getpid()}"))
    limit = "import resource, os, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (100_000,) * 2); "
    limit += "os.execv(sys.argv[1], sys.argv[1:])"
    words = [sys.executable, "-c", limit, sys.executable, *local.SUPERVISOR_FLAGS, supervise.__file__]
    done = subprocess.run(
        [*words, str(folder / "job" / "job.json")], check=True, capture_output=True, timeout=60
    )
    found = status_file(folder)
    assert (found["exit_code"], found["log_bytes"], found["log_error"]) == (4, 300_000, "File too large")
    assert found["log_dropped_bytes"] == 200_000
    assert json.loads(done.stdout.splitlines()[-1]) == found


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small file system needs root")
def test_a_disk_without_room_for_a_byte_does_not_lose_the_status(
    shell: LocalShell, folder: Path, tmp_path: Path
) -> None:
    small = tmp_path / "small"
    small.mkdir()
    mount = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "none", str(small)], capture_output=True, check=False
    )
    if mount.returncode != 0:
        pytest.skip("this root may not mount a file system")
    try:
        code = f"""
import sys
try:
    with open({str(small / "hog")!r}, "wb", buffering=0) as file:
        while True:
            file.write(bytes(1024))
except OSError:
    sys.stdout.write("x" * 200_000)
    sys.exit(4)
"""
        status = finish(shell, make_job(shell, small, python(code)))
        found = status_file(small)
        assert status.exit_code == 4
        assert (found["exit_code"], found["log_error"]) == (4, "No space left on device")
        assert status.log_error == "No space left on device"
        assert status.disk_free_bytes is not None
        assert status.disk_free_bytes < FULL_BYTES
        assert found["log_dropped_bytes"] > 0
    finally:
        subprocess.run(["umount", str(small)], check=True)


def test_cpu_and_memory_are_those_of_the_whole_tree(shell: LocalShell, folder: Path) -> None:
    code = """
import os, time
pids = []
for n in range(2):
    if (pid := os.fork()) == 0:
        block = bytearray(os.urandom(1)) * 60_000_000
        end = time.process_time() + 0.4
        while time.process_time() < end: pass
        time.sleep(1.2)
        os._exit(0)
    pids.append(pid)
for pid in pids: os.waitpid(pid, 0)
"""
    status = finish(shell, make_job(shell, folder, python(code)))
    assert status.cpu_seconds is not None
    assert status.peak_memory_bytes is not None
    assert 0.8 <= status.cpu_seconds < 3
    assert 110_000_000 < status.peak_memory_bytes < 220_000_000


def test_fifty_jobs_at_once(shell: LocalShell, folder: Path) -> None:
    many = [make_job(shell, folder, ("sh", "-c", f"exit {n}"), name=f"job-{n}") for n in range(50)]
    for job in many:
        shell.start(job)
    assert [ended(shell, job, seconds=60).exit_code for job in many] == list(range(50))


def test_a_job_that_closes_its_output_goes_on(shell: LocalShell, folder: Path) -> None:
    job = make_job(shell, folder, ("sh", "-c", "echo before; exec >&- 2>&-; sleep 0.2; exit 8"))
    assert finish(shell, job).exit_code == 8
    assert shell.read(job.log) == b"before\n"


def test_limits_that_a_test_sets_are_its_own(shell: LocalShell, folder: Path) -> None:
    code = "import resource as r; [r.setrlimit(n, (0, 0)) for n in (r.RLIMIT_FSIZE, r.RLIMIT_NPROC, r.RLIMIT_CPU)]; print(1)"
    job = make_job(shell, folder, python(code))
    assert finish(shell, job).exit_code in (0, -9, -24)  # a CPU limit of 0 may end it at once
    assert status_file(folder)["log_error"] is None


def test_it_keeps_to_the_syntax_of_old_interpreters() -> None:
    import ast

    ast.parse(Path(supervise.__file__).read_text(), feature_version=(3, 9))
