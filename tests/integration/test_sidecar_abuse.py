"""Tests that do their worst: what they ended before is told, and pytest goes on as it would without the plugin."""

from __future__ import annotations

import json
import os
import signal
import textwrap
import time
from pathlib import Path

import pytest

from ci_runner.results.sidecar import SidecarLog, read_sidecar
from tests.sidecar_kit import XDIST, Ran, await_log, finish, run, start, write

BEFORE_AND_AFTER = """
def test_before(): pass

{body}

def test_after(): pass
"""


def abuse(folder: Path, body: str, *arguments: str) -> Ran:
    """Run a test of this body between two harmless ones."""
    lines = "\n".join(f"    {line}" for line in body.strip("\n").splitlines())
    write(folder, BEFORE_AND_AFTER.format(body=f"def test_it():\n    import builtins, os, time\n{lines}"))
    return run(folder, *arguments)


SURVIVED = {
    "closes every descriptor but the standard ones": "os.closerange(3, 4096)",
    "closes ours and takes the number": """
        os.closerange(3, 4096)
        for _ in range(300):
            os.open("mine.txt", os.O_CREAT | os.O_RDWR)
    """,
    "closes stdout": "os.close(1)",
    "replaces what writes": """
        def no(*_args, **_more):
            raise RuntimeError("replaced")
        os.write = os.open = os.fstat = os.close = os.getpid = time.time = builtins.open = no
        import fcntl, json
        fcntl.fcntl = json.dumps = no
    """,
    "goes elsewhere and closes": "os.mkdir('gone'); os.chdir('gone'); os.rmdir('../gone'); os.closerange(3, 4096)",
    "empties the environment": "os.environ.clear()",
    "allows itself few files": """
        import resource
        os.closerange(3, 4096)
        resource.setrlimit(resource.RLIMIT_NOFILE, (20, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    """,
    "allows itself small files": """
        import resource
        resource.setrlimit(resource.RLIMIT_FSIZE, (400, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
    """,
    "forks a child that goes on": """
        if os.fork() == 0:
            return  # the child runs the rest of the session as well
        os.wait()
    """,
    "forks a child that leaves pytest": """
        if os.fork() == 0:
            raise SystemExit(0)
        os.wait()
    """,
    "prints 50 MB": "for _ in range(50): print('x' * 1_000_000)",
    "freezes the clock of every module": """
        import sys
        real = time.time
        for module in list(sys.modules.values()):
            for name, value in list(vars(module).items()):
                if value is real and not module.__name__.startswith("_pytest"):
                    setattr(module, name, lambda: 0.0)
    """,
}
CAPTURED = {
    SURVIVED["closes stdout"]: (),
    SURVIVED["prints 50 MB"]: (),
    # pytest's own report would be a file that is too large
    SURVIVED["allows itself small files"]: ("-p", "no:terminal"),
}


@pytest.mark.parametrize("body", SURVIVED.values(), ids=SURVIVED)
def test_everything_is_told_once(tmp_path: Path, body: str) -> None:
    """Three tests, three ends, and nothing torn, whatever the one in the middle does to the process."""
    ran = abuse(tmp_path, textwrap.dedent(body), *CAPTURED.get(body, ("--capture=no",)))
    told = [(name, outcome) for name, outcome in ran.outcomes if name != "test_it"]
    assert told == [("test_before", "passed"), ("test_after", "passed")], ran.output
    assert [name for name, _ in ran.outcomes] == ["test_before", "test_it", "test_after"]
    assert (ran.log.running, ran.log.bad_lines) == ((), 0)
    assert ran.log.exit_status is not None
    assert all(end.time > 1e9 for end in ran.log.ended)


DIED = {
    "os._exit": ("os._exit(5)", 5),
    "SIGSEGV": ("import ctypes; ctypes.string_at(0)", -signal.SIGSEGV),
    "SIGKILL": ("import signal; os.kill(os.getpid(), signal.SIGKILL)", -signal.SIGKILL),
    "SIGTERM": ("import signal; os.kill(os.getpid(), signal.SIGTERM)", -signal.SIGTERM),
    "KeyboardInterrupt": ("raise KeyboardInterrupt", 2),
}


@pytest.mark.parametrize(("body", "code"), DIED.values(), ids=DIED)
def test_the_end_of_the_process_names_its_test(tmp_path: Path, body: str, code: int) -> None:
    """What ended is told, the test that ended the process was running, the rest never ran."""
    ran = abuse(tmp_path, body)
    assert ran.code == code, ran.output
    assert ran.outcomes == [("test_before", "passed")]
    assert ran.log.running == ("test_it.py::test_it",)
    assert ran.missing == {"test_it", "test_after"}
    assert ran.log.exit_status == (2 if code == 2 else None)
    assert ran.log.bad_lines == 0


def test_killed_from_outside(tmp_path: Path) -> None:
    """SIGKILL while a test runs, at a moment that the sidecar itself names."""
    write(
        tmp_path,
        """
        import threading

        def test_before(): pass
        def test_hangs(): threading.Event().wait()
        def test_after(): pass
        """,
    )
    process = start(tmp_path)
    await_log(tmp_path, process, lambda log: log.running == ("test_it.py::test_hangs",))
    process.kill()
    ran = finish(process, tmp_path)
    assert ran.outcomes == [("test_before", "passed")]
    assert ran.log.running == ("test_it.py::test_hangs",)
    assert ran.missing == {"test_hangs", "test_after"}
    assert ran.log.exit_status is None


@pytest.mark.parametrize("closed", [False, True], ids=["undisturbed", "after a test closed all files"])
def test_the_signal_is_answered_with_stacks(tmp_path: Path, closed: bool) -> None:
    """The announced signal writes what every thread does, and the session goes on."""
    write(
        tmp_path,
        f"""
        import os, pathlib, threading

        def test_first():
            if {closed}:
                os.closerange(3, 4096)

        def waits_for_the_file():
            pathlib.Path("waiting").touch()
            while not pathlib.Path("go").exists():
                threading.Event().wait(0.01)

        def test_hangs():
            thread = threading.Thread(target=waits_for_the_file)
            thread.start()
            thread.join()
        """,
    )
    process = start(tmp_path, "--capture=no")
    log = await_log(
        tmp_path,
        process,
        lambda log: log.running == ("test_it.py::test_hangs",) and (tmp_path / "waiting").exists(),
    )
    os.kill(int(log.sessions[0]["pid"]), int(log.sessions[0]["stack_signal"]))
    stacks = tmp_path / "stacks.txt"
    await_log(tmp_path, process, lambda _log: "in test_hangs" in stacks.read_text())
    (tmp_path / "go").touch()
    ran = finish(process, tmp_path)
    assert ran.outcomes == [("test_first", "passed"), ("test_hangs", "passed")], ran.output
    assert "in waits_for_the_file" in stacks.read_text()


def test_workers_answer_the_signal_too(tmp_path: Path) -> None:
    """Under xdist each worker announces itself and shows its own stacks."""
    write(
        tmp_path,
        """
        import pathlib, threading

        def test_hangs():
            while not pathlib.Path("go").exists():
                threading.Event().wait(0.01)
        """,
    )
    process = start(tmp_path, *XDIST, "-n", "1")
    log = await_log(tmp_path, process, lambda log: log.running == ("test_it.py::test_hangs",))
    (worker,) = (entry for entry in log.sessions if entry.get("worker") == "gw0")
    asked: list[float] = []

    def shown(_log: SidecarLog) -> bool:
        """Asks again every few seconds: a stack that is taken in the middle of a call lacks its frames."""
        if not asked or time.monotonic() - asked[-1] > 3:
            asked.append(time.monotonic())
            os.kill(int(worker["pid"]), int(worker["stack_signal"]))
        return "in test_hangs" in (tmp_path / "stacks.txt").read_text()

    await_log(tmp_path, process, shown)
    (tmp_path / "go").touch()
    assert finish(process, tmp_path).outcomes == [("test_hangs", "passed")]


def test_a_full_disk_loses_nothing_that_fits_later(tmp_path: Path) -> None:
    """Lines wait while nothing can be written; a torn line is finished where it stands."""
    write(
        tmp_path,
        """
        import ctypes, os, resource, pytest
        import ci_runner_sidecar

        class Full:
            room = 30

            def write(self, fd, data):
                if not self.room:
                    raise OSError(28, "full")
                written = os.write(fd, data[: self.room])
                self.room -= written
                return written

        full = Full()

        def test_fills(monkeypatch):
            ci_runner_sidecar.Kept.write = full.write

        def test_unseen(): pass
        def test_frees(): full.room = 1 << 30
        def test_after(): pass
        """,
    )
    ran = run(tmp_path)
    assert [name for name, _ in ran.outcomes] == ["test_fills", "test_unseen", "test_frees", "test_after"]
    assert (ran.log.bad_lines, ran.log.running, ran.log.exit_status) == (0, (), 0)
    lines = (tmp_path / "sidecar.jsonl").read_text().splitlines()
    assert all(json.loads(line)["event"] for line in lines)


def test_a_torn_line_before_anothers_is_written_again(tmp_path: Path) -> None:
    """If somebody else has written since, the whole line follows on a line of its own."""
    write(
        tmp_path,
        """
        import os
        import ci_runner_sidecar

        def tear(fd, data):
            ci_runner_sidecar.Kept.write = full
            return os.write(fd, data[:30])

        def full(fd, data):
            raise OSError(28, "full")

        def test_torn():
            ci_runner_sidecar.Kept.write = tear

        def test_after():
            ci_runner_sidecar.Kept.write = os.write
            with open("sidecar.jsonl", "a") as file:
                file.write('{"event":"start","id":"another"}\\n')
        """,
    )
    ran = run(tmp_path)
    assert [name for name, _ in ran.outcomes] == ["test_torn", "test_after"]
    assert ran.log.running == ("another",)
    assert ran.log.bad_lines == 1


def test_lines_that_never_fit_are_bounded(tmp_path: Path) -> None:
    """What waits does not grow without end; the session is not disturbed."""
    write(
        tmp_path,
        """
        import pytest
        import ci_runner_sidecar

        def full(fd, data):
            raise OSError(28, "full")

        @pytest.fixture(scope="module")
        def waiting(request):
            ci_runner_sidecar.PENDING = 10_000
            ci_runner_sidecar.Kept.write = full
            return request.config.pluginmanager.get_plugin("ci-runner-sidecar").writer.pending

        @pytest.mark.parametrize("x", range(200))
        def test_p(x, waiting):
            assert sum(map(len, waiting)) < 11_000
        """,
    )
    ran = run(tmp_path)
    assert ran.code == 0, ran.output
    assert ran.log.exit_status is None
    assert len(read_sidecar(tmp_path / "sidecar.jsonl").ended) == 0
