"""The shell runner by itself: bash runs run_suite.sh on plans that Python wrote, and on broken ones."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ci_runner.errors import CANCELLED, INCOMPLETE, MACHINE, OK, TESTS_FAILED, USAGE
from ci_runner.execution.shell_plan import (
    PLAN_NAME,
    STATUS_NAME,
    ShellStatus,
    encode,
    read_shell_status,
    shell_command,
    write_shell_plan,
)
from ci_runner.model import Shard, Suite
from ci_runner.plan.shard import split_by_count

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "shell_fallback" / "run_suite.sh"
HOSTILE = (
    "with space",
    "$(touch pwned)",
    "`id`",
    "'single'",
    '"double"',
    "new\nline",
    "semi;colon",
    "a&b<c>",
    "é%41",
)
ENVIRONMENT = {
    **{name: value for name, value in os.environ.items() if not name.startswith(("GITHUB_", "PYTEST_"))},
    "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",  # starts in half the time
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """A finished run of the script."""

    code: int
    stdout: str
    stderr: str
    status: ShellStatus | None
    cases: Mapping[str, tuple[str, ET.Element]]  # our own cases: name → (passed, failure or error, element)
    junit: Path

    def inner(self) -> list[str]:
        """The names of the tests in the files that pytest wrote."""
        return [
            str(case.get("name"))
            for file in sorted(self.junit.glob("target-*.xml"))
            for case in ET.parse(file).iter("testcase")
        ]


class Bench:
    """A folder with tests, and the script run on it."""

    def __init__(self, folder: Path) -> None:
        self.work = folder / "work"
        self.work.mkdir()
        (self.work / "pytest.ini").write_text("[pytest]\naddopts = -p no:cacheprovider\n")
        self.plan = folder / "suite.plan"
        self.status = folder / "status"
        self.junit = folder / "junit"

    def file(self, name: str, text: str) -> None:
        path = self.work / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def entries(self, *pairs: tuple[str, str]) -> None:
        base = [
            ("shell-plan", "1"),
            ("suite", "bench"),
            ("cwd", str(self.work)),
            ("python", sys.executable),
            ("junit_dir", str(self.junit)),
            ("status", str(self.status)),
        ]
        named = {key for key, _value in pairs}
        self.plan.write_bytes(encode([*(pair for pair in base if pair[0] not in named), *pairs]))

    def suite(self, suite: Suite, **more: object) -> None:
        self.plan.write_bytes(
            write_shell_plan(
                suite,
                python=sys.executable,
                cwd=str(self.work),
                junit_dir=str(self.junit),
                status=str(self.status),
                **more,  # type: ignore[arg-type]
            )
        )

    def start(self, env: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
        return subprocess.Popen(
            ["bash", str(SCRIPT), str(self.plan)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            env={**ENVIRONMENT, **(env or {})},
            start_new_session=True,
        )

    def end(self, process: subprocess.Popen[str]) -> Ended:
        try:
            stdout, stderr = process.communicate(timeout=60)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        cases = {}
        own = self.junit / "shell-runner.xml"
        if own.exists():
            for case in ET.parse(own).iter("testcase"):
                kind = next((child.tag for child in case if child.tag in ("failure", "error")), "passed")
                cases[str(case.get("name"))] = (kind, case)
        status = None
        if self.status.is_file() and self.status.stat().st_size:
            status = read_shell_status(self.status.read_bytes())
        return Ended(
            code=process.returncode,
            stdout=stdout,
            stderr=stderr,
            status=status,
            cases=cases,
            junit=self.junit,
        )

    def run(self, env: Mapping[str, str] | None = None) -> Ended:
        return self.end(self.start(env))


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def wait_for(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    """Return when the condition holds; fail if it never does."""
    import select

    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        select.select([], [], [], 0.02)


def alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and is not yet reaped does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_green_suite_is_green_and_its_tests_are_in_junit(bench: Bench) -> None:
    bench.file("test_a.py", "def test_one(): pass\ndef test_two(): pass\n")
    bench.file("test_b.py", "def test_three(): print('said this')\n")
    bench.suite(Suite(name="unit", title="Unit", tests=("test_a.py", "test_b.py")))
    ended = bench.run()
    assert (ended.code, ended.stderr) == (OK, "")
    assert ended.inner() == ["test_one", "test_two", "test_three"]
    assert {name: kind for name, (kind, _case) in ended.cases.items()} == {
        "test_a.py": "passed",
        "test_b.py": "passed",
    }
    assert ended.status is not None
    assert (ended.status.exit_code, ended.status.targets, ended.status.passed) == (OK, 2, 2)
    assert ended.status.junit == ("target-0001.xml", "target-0002.xml", "shell-runner.xml")
    assert ended.status.cpu_seconds > 0
    assert ended.status.peak_memory_bytes is None or ended.status.peak_memory_bytes > 1_000_000


def test_a_failing_target_is_red_and_the_next_one_still_runs(bench: Bench) -> None:
    bench.file("test_a.py", "def test_bad():\n    print('colour \\x1b[31m & <tag>')\n    assert 1 == 2\n")
    bench.file("test_b.py", "def test_good(): pass\n")
    bench.suite(Suite(name="unit", title="Unit", tests=("test_a.py", "test_b.py")))
    ended = bench.run()
    assert ended.code == TESTS_FAILED
    kind, case = ended.cases["test_a.py"]
    failure = case.find("failure")
    assert kind == "failure"
    assert failure is not None
    assert failure.text is not None
    assert failure.get("message") == "ended with exit code 1"
    assert "& <tag>" in failure.text
    assert "\x1b" not in failure.text
    assert ended.cases["test_b.py"][0] == "passed"


@pytest.mark.parametrize(
    ("body", "exit_code", "kind", "said"),
    [
        (
            "import os, signal\ndef test_x(): os.kill(os.getpid(), signal.SIGSEGV)\n",
            INCOMPLETE,
            "error",
            "signal 11",
        ),
        (
            "import os\ndef test_x(): os._exit(0)\n",
            INCOMPLETE,
            "error",
            "exit code 0 and left no whole results",
        ),
        (
            "import os\ndef test_x(): os._exit(1)\n",
            INCOMPLETE,
            "error",
            "exit code 1 and left no whole results",
        ),
        ("", INCOMPLETE, "error", "collected no tests"),
        ("import nothing_of_that_name\n", INCOMPLETE, "error", "exit code 2"),
    ],
    ids=["segfault", "exit-0-without-results", "exit-1-without-results", "no-tests", "cannot-be-imported"],
)
def test_an_end_without_a_verdict_is_incomplete(
    bench: Bench, body: str, exit_code: int, kind: str, said: str
) -> None:
    bench.file("test_x.py", body)
    bench.suite(Suite(name="unit", title="Unit", tests=("test_x.py",)))
    ended = bench.run()
    assert ended.cases["test_x.py"][0] == kind
    assert ended.code == exit_code
    assert said in ET.tostring(ended.cases["test_x.py"][1], encoding="unicode")


def test_no_tests_is_green_only_where_the_suite_may_be_empty(bench: Bench) -> None:
    bench.file("test_x.py", "")
    bench.suite(Suite(name="unit", title="Unit", tests=("test_x.py",), allow_empty=True))
    assert bench.run().code == OK


def test_hostile_names_are_names_and_nothing_else(bench: Bench) -> None:
    names = [f"test_{number} {name}.py" for number, name in enumerate(HOSTILE)]
    names.append("-x --help.py")
    for number, name in enumerate(names):
        bench.file(name, f"def test_number_{number}(): pass\n")
    bench.suite(Suite(name='a <b> & "c"\n::error::', title="", tests=tuple(names)))
    ended = bench.run()
    assert (ended.code, ended.stderr) == (OK, "")
    assert ended.inner() == [f"test_number_{number}" for number in range(len(names))]
    assert set(ended.cases) == set(names)
    assert not (bench.work / "pwned").exists()
    assert not [line for line in ended.stdout.splitlines() if line.startswith("::")]


def test_hostile_output_becomes_valid_xml(bench: Bench) -> None:
    noise = bytes(range(256)) * 200 + b"\xef\xbf\xbe \xed\xa0\x80 ]]> end"
    bench.file("noise.py", f"import sys\nsys.stdout.buffer.write({noise!r})\nsys.exit(1)\n")
    bench.suite(Suite(name="noise", title="", command=f"{sys.executable} noise.py"))
    ended = bench.run()
    kind, case = ended.cases[f"{sys.executable} noise.py"]
    text = "".join(case.itertext())
    assert (ended.code, kind) == (TESTS_FAILED, "failure")
    assert text.endswith("]]> end")
    assert len(text.encode()) < 17_000


def test_without_iconv_what_is_no_ascii_becomes_a_question_mark(bench: Bench, tmp_path: Path) -> None:
    tools = tmp_path / "tools"
    tools.mkdir()
    names = "bash cat env mkdir mkfifo mv rm sed tail tr date sleep od printf"
    for name in names.split():
        found = shutil.which(name)
        if found:
            (tools / name).symlink_to(found)
    bench.suite(Suite(name="u", title="", command="printf 'caf\\303\\251\\n'; exit 1"))
    ended = bench.run({"PATH": str(tools)})
    assert ended.code == TESTS_FAILED
    assert "caf??" in "".join(next(iter(ended.cases.values()))[1].itertext())


def test_dotted_names_are_found_as_files_or_left_to_unittest(bench: Bench) -> None:
    text = "import unittest\nclass Score(unittest.TestCase):\n def test_batch(self): pass\n def test_other(self): pass\n"
    bench.file("test/srt/test_score.py", text)
    bench.file("single/__init__.py", text)
    bench.suite(Suite(name="u", title="", tests=("test.srt.test_score.Score.test_batch", "single.Score")))
    ended = bench.run()
    assert ended.code == OK
    assert ended.inner() == ["test_batch"]
    assert "Ran 2 tests" in "".join(ended.cases["single.Score"][1].itertext())


def test_only_runs_these_tests_with_one_process_for_a_file(bench: Bench) -> None:
    bench.file("test_a.py", "def test_1(): pass\ndef test_2(): pass\ndef test_3(): assert 0\n")
    bench.file("test_b.py", "def test_4(): pass\n")
    suite = Suite(name="u", title="", tests=("test_a.py", "test_b.py"))
    bench.suite(suite, only=["test_a.py::test_1", "test_a.py::test_2", "test_b.py::test_4"])
    ended = bench.run()
    assert ended.code == OK
    assert ended.inner() == ["test_1", "test_2", "test_4"]
    assert list(ended.cases) == ["test_a.py (2 tests)", "test_b.py::test_4"]


@pytest.mark.parametrize("total", [1, 3, 7])
def test_shards_by_count_are_the_python_runners(bench: Bench, total: int) -> None:
    bench.file(
        "test_a.py",
        "import pytest\n@pytest.mark.parametrize('x', ['a b', 'c::d', '$(e)', 'f'])\ndef test_p(x): pass\n",
    )
    bench.file("test_b.py", "def test_q(): pass\n")
    ids = [f"test_p[{x}]" for x in ("a b", "c::d", "$(e)", "f")] + ["test_q"]
    suite = Suite(name="u", title="", tests=("test_a.py", "test_b.py"), pytest_args=("-q",))
    ran = []
    for index in range(1, total + 1):
        shutil.rmtree(bench.junit, ignore_errors=True)
        bench.suite(suite, shard=Shard(index=index, total=total))
        ended = bench.run()
        assert ended.code == OK
        expected = split_by_count(ids, index, min(total, len(ids))) if index <= len(ids) else []
        assert ended.inner() == expected
        ran += ended.inner()
    assert ran == ids


def test_a_shard_that_cannot_be_listed_is_incomplete(bench: Bench) -> None:
    bench.file("test_a.py", "import nothing_of_that_name\n")
    bench.suite(Suite(name="u", title="", tests=("test_a.py",)), shard=Shard(index=1, total=2))
    ended = bench.run()
    assert ended.code == INCOMPLETE
    assert ended.cases["collection"][0] == "error"


def test_a_planned_shard_runs_the_tests_it_was_given(bench: Bench) -> None:
    bench.file("test_a.py", "def test_1(): pass\ndef test_2(): assert 0\n")
    shard = Shard(index=2, total=2, tests=("test_a.py::test_1",))
    bench.suite(Suite(name="u", title="", tests=("test_a.py",)), shard=shard)
    ended = bench.run()
    assert (ended.code, ended.inner()) == (OK, ["test_1"])


def test_the_time_of_a_suite_is_up_and_the_rest_is_named(bench: Bench) -> None:
    bench.file("test_a.py", "import time\ndef test_slow(): time.sleep(60)\n")
    bench.file("test_b.py", "def test_never(): pass\n")
    bench.suite(Suite(name="u", title="", tests=("test_a.py", "test_b.py"), timeout_seconds=2.0))
    began = time.monotonic()
    ended = bench.run()
    assert time.monotonic() - began < 20
    assert ended.code == INCOMPLETE
    assert "longer than its timeout" in ET.tostring(ended.cases["test_a.py"][1], encoding="unicode")
    assert "not started" in ET.tostring(ended.cases["test_b.py"][1], encoding="unicode")


def test_what_ignores_the_first_signal_gets_a_harder_one(bench: Bench) -> None:
    bench.file(
        "stubborn.py", "import signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\ntime.sleep(60)\n"
    )
    bench.entries(("timeout", "1"), ("grace", "1"), ("command", f"{sys.executable} stubborn.py"))
    began = time.monotonic()
    assert bench.run().code == INCOMPLETE
    assert time.monotonic() - began < 15


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
def test_a_signal_ends_the_command_and_what_it_started(bench: Bench, number: signal.Signals) -> None:
    bench.file(
        "test_a.py",
        "import os, subprocess, time\ndef test_quick(): pass\ndef test_slow():\n"
        "    child = subprocess.Popen(['sleep', '60'])\n"
        "    open('pids.tmp', 'w').write(f'{os.getpid()} {child.pid}')\n"
        "    os.rename('pids.tmp', 'pids')\n    time.sleep(60)\n",
    )
    bench.file("test_b.py", "def test_never(): open('ran', 'w')\n")
    bench.suite(Suite(name="u", title="", tests=("test_a.py", "test_b.py")))
    process = bench.start()
    wait_for((bench.work / "pids").exists)
    process.send_signal(number)
    ended = bench.end(process)
    assert ended.code == CANCELLED
    assert f"cancelled by {number.name}" in ended.stdout
    assert ended.status is not None
    assert (ended.status.exit_code, ended.status.cancelled) == (CANCELLED, number.name.removeprefix("SIG"))
    assert "test_a.py" in ended.cases
    assert not (bench.work / "ran").exists()
    for pid in (bench.work / "pids").read_text().split():
        wait_for(lambda pid=pid: not alive(int(pid)))  # type: ignore[misc]


def test_a_signal_that_is_ignored_is_followed_by_a_harder_one(bench: Bench) -> None:
    bench.file(
        "stubborn.py",
        "import os, signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nopen('ready', 'w')\ntime.sleep(60)\n",
    )
    bench.entries(("grace", "1"), ("command", f"{sys.executable} stubborn.py"))
    process = bench.start()
    wait_for((bench.work / "ready").exists)
    process.terminate()
    assert bench.end(process).code == CANCELLED


def test_output_appears_while_the_suite_runs(bench: Bench) -> None:
    bench.entries(("command", "echo early; read -r _ <go"))
    os.mkfifo(bench.work / "go")
    process = bench.start()
    assert process.stdout is not None
    assert process.stdout.readline() == "early\n"
    with (bench.work / "go").open("w") as go:
        go.write("\n")
    assert bench.end(process).code == OK


def test_a_daemon_that_holds_the_output_does_not_hold_the_runner(bench: Bench) -> None:
    bench.entries(("command", "sleep 60 & echo $! >pid"))
    began = time.monotonic()
    assert bench.run().code == OK
    assert time.monotonic() - began < 20
    pid = int((bench.work / "pid").read_text())
    wait_for(lambda: not alive(pid))


def test_setup_that_fails_is_the_machines_fault(bench: Bench) -> None:
    bench.file("test_a.py", "def test_1(): pass\n")
    suite = Suite(
        name="u", title="", tests=("test_a.py",), setup=("echo fine", "echo broken; exit 3", "touch third")
    )
    bench.suite(suite)
    ended = bench.run()
    assert ended.code == MACHINE
    assert list(ended.cases) == ["setup 2"]
    assert "broken" in "".join(ended.cases["setup 2"][1].itertext())
    assert not (bench.work / "third").exists()


def test_setup_prepares_the_tests(bench: Bench) -> None:
    bench.file(
        "test_a.py",
        "import os\ndef test_1(): assert open('made').read() == os.environ['MADE_OF'] == 'a=b \"c\"'\n",
    )
    suite = Suite(
        name="u",
        title="",
        tests=("test_a.py",),
        setup=('printf %s "$MADE_OF" >made',),
        env={"MADE_OF": 'a=b "c"'},
    )
    bench.suite(suite)
    assert bench.run().code == OK


@pytest.mark.parametrize(
    ("command", "code"), [("exit 1", 1), ("exit 42", 1), ("no-such-program", 8), ("kill -9 $$", 9)]
)
def test_commands_map_to_the_exit_codes_of_the_project(bench: Bench, command: str, code: int) -> None:
    bench.suite(Suite(name="go", title="", command=command))
    assert bench.run().code == code


def test_the_worst_target_decides(bench: Bench) -> None:
    bench.file("test_a.py", "def test_bad(): assert 0\n")
    bench.file("test_b.py", "import os\ndef test_x(): os.abort()\n")
    bench.suite(Suite(name="u", title="", tests=("test_b.py", "test_a.py")))
    ended = bench.run()
    assert ended.code == INCOMPLETE
    assert {name: kind for name, (kind, _case) in ended.cases.items()} == {
        "test_b.py": "error",
        "test_a.py": "failure",
    }


def test_a_missing_interpreter_and_a_missing_pytest_are_the_machines_fault(bench: Bench) -> None:
    bench.file("test_a.py", "def test_1(): pass\n")
    bench.entries(("python", "/nowhere/python"), ("target", "test_a.py"))
    ended = bench.run()
    assert ended.code == MACHINE
    assert "/nowhere/python" in ended.stderr
    assert "fix: " in ended.stderr
    bench.file("bare", f'#!/bin/sh\nexec {sys.executable} -S -I "$@"\n')
    (bench.work / "bare").chmod(0o755)
    bench.entries(("python", str(bench.work / "bare")), ("target", "test_a.py"))
    ended = bench.run()
    assert ended.code == MACHINE
    assert "pytest is missing" in ET.tostring(ended.cases["test_a.py"][1], encoding="unicode")


def test_results_that_cannot_be_written_are_incomplete(bench: Bench) -> None:
    bench.file("test_a.py", "def test_1(): pass\n")
    (bench.work / "plain").write_text("")
    bench.entries(("junit_dir", str(bench.work / "plain" / "junit")), ("target", "test_a.py"))
    ended = bench.run()
    assert ended.code == INCOMPLETE
    assert "cannot be written" in ended.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_incomplete(bench: Bench) -> None:
    bench.entries(("status", "/dev/full"), ("command", "true"))
    ended = bench.run()
    assert ended.code == INCOMPLETE
    assert "could not be written" in ended.stderr


def test_under_supervision_a_target_that_told_its_end_is_not_told_twice(bench: Bench, tmp_path: Path) -> None:
    bench.file("test_a.py", "def test_1(): pass\ndef test_2(): assert 0\n")
    bench.file("test_b.py", "import os\ndef test_3(): os._exit(7)\n")
    attempt = tmp_path / "attempt"
    attempt.mkdir()
    suite = Suite(
        name="u", title="", tests=("test_a.py", "test_b.py"), setup=("exit 1",), timeout_seconds=0.1
    )
    argv, env, files = shell_command(
        suite,
        python=sys.executable,
        work=str(bench.work),
        attempt_folder=str(attempt),
        shell_fallback=str(SCRIPT.parent),
        only=None,
        shard=None,
    )
    for name, data in files.items():
        (attempt / name).write_bytes(data)
    assert set(files) == {PLAN_NAME}
    done = subprocess.run(
        argv, env={**ENVIRONMENT, **env}, capture_output=True, text=True, timeout=60, check=False
    )
    status = read_shell_status((attempt / STATUS_NAME).read_bytes())
    assert done.returncode == status.exit_code == INCOMPLETE
    assert status.junit == ("target-0001.xml", "shell-runner.xml")
    own = ET.parse(attempt / "junit" / "shell-runner.xml")
    assert [case.get("name") for case in own.iter("testcase")] == ["test_b.py"]


def test_in_a_workflow_the_output_is_kept_from_being_commands(bench: Bench) -> None:
    bench.entries(("command", "echo ::error::mine"))
    lines = bench.run({"GITHUB_ACTIONS": "true"}).stdout.splitlines()
    token = lines[0].removeprefix("::stop-commands::")
    assert lines[0] != token
    assert len(token) == 32
    assert lines.index("::error::mine") < lines.index(f"::{token}::")
    again = bench.run({"GITHUB_ACTIONS": "true"}).stdout.splitlines()
    assert again[0] != lines[0]
    bench.entries(("supervised", "yes"), ("command", "echo ::error::mine"))
    assert "stop-commands" not in bench.run({"GITHUB_ACTIONS": "true"}).stdout


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "the file is empty"),
        ("suite=x\n", "first line"),
        ("shell-plan=2\n", "first line"),
        ("shell-plan=1\nnonsense\n", "line 2"),
        ("shell-plan=1\ntarget=a b\n", "percent-encoded"),
        ("shell-plan=1\ntarget=%4\n", "percent-encoded"),
        ("shell-plan=1\ntarget=a%00b\n", "percent-encoded"),
        ("shell-plan=1\r\n", "percent-encoded"),
        ("shell-plan=1\ntarget=$(id)\n", "percent-encoded"),
        ("shell-plan=1\ncolour=red\n", "colour is no key"),
        ("shell-plan=1\ntimeout=soon\n", "whole seconds"),
        ("shell-plan=1\nshard=3/2\n", "I/N"),
        ("shell-plan=1\nenv=1=2\n", "NAME=VALUE"),
        ("shell-plan=1\nown_junit=some\n", "all or missing"),
        ("shell-plan=1\nallow_empty=perhaps\n", "yes or no"),
        ("shell-plan=1\nsuite=x\n", "nothing to run"),
        ("shell-plan=1\ncommand=true\n", "junit_dir"),
    ],
)
def test_a_bad_plan_is_refused_with_its_line(bench: Bench, text: str, said: str) -> None:
    bench.plan.write_text(text, newline="")
    ended = bench.run()
    assert ended.code == USAGE
    assert said in ended.stderr
    assert ended.stderr.startswith("run_suite: error: ")
    assert "\nfix: " in ended.stderr


def test_usage_and_help(tmp_path: Path) -> None:
    def call(*words: str) -> tuple[int, str, str]:
        done = subprocess.run(
            ["bash", str(SCRIPT), *words], capture_output=True, text=True, timeout=30, check=False
        )
        return done.returncode, done.stdout, done.stderr

    assert call("--help")[0] == OK
    assert "--print-plan PLAN" in call("--help")[1]
    assert call()[0] == USAGE
    assert call(str(tmp_path / "none"))[0] == USAGE


TEXT = st.text(
    st.characters(blacklist_categories=["Cs"], blacklist_characters="\0")
    | st.sampled_from("%$`'\"\\\n\r\t =;&<>-é"),
    max_size=12,
)
PATHS = st.lists(TEXT.filter(bool), min_size=1, max_size=4)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    name=TEXT, tests=PATHS, only=PATHS, arguments=PATHS, setup=PATHS, value=TEXT, raw=st.binary(max_size=8)
)
def test_bash_reads_what_python_wrote(
    tmp_path: Path,
    name: str,
    tests: Sequence[str],
    only: Sequence[str],
    arguments: Sequence[str],
    setup: Sequence[str],
    value: str,
    raw: bytes,
) -> None:
    plan = tmp_path / "round.plan"
    odd = os.fsdecode(raw.replace(b"\0", b"")) + "x"
    suite = Suite(
        name=name,
        title="",
        tests=(*tests, odd),
        pytest_args=tuple(arguments),
        setup=tuple(setup),
        env={"VALUE": value},
        workers="auto",
    )
    plan.write_bytes(
        write_shell_plan(suite, python="python3", junit_dir=value, status=name, cwd=odd, only=only)
    )
    done = subprocess.run(
        ["bash", str(SCRIPT), "--print-plan", str(plan)], capture_output=True, timeout=30, check=True
    )
    words = os.fsdecode(done.stdout).split("\0")[:-1]
    read = list(zip(words[::2], words[1::2], strict=True))
    assert [found for key, found in read if key == "target"] == [*tests, odd]
    assert [found for key, found in read if key == "only"] == list(only)
    assert [found for key, found in read if key == "pytest_arg"] == list(arguments)
    assert [found for key, found in read if key == "setup"] == list(setup)
    assert dict(read)["env"] == f"VALUE={value}"
    assert (dict(read)["suite"], dict(read)["cwd"], dict(read)["junit_dir"]) == (name, odd, value)
    assert (dict(read)["workers"], dict(read)["timeout"]) == ("auto", "3600")


@pytest.mark.parametrize(
    "tool", [["shellcheck"], ["shfmt", "-i", "2", "-ci", "-d"]], ids=["shellcheck", "shfmt"]
)
def test_the_script_is_clean(tool: Sequence[str]) -> None:
    program = Path(sys.executable).parent / tool[0]
    assert program.exists(), f"{tool[0]} is missing: uv sync --all-groups"
    done = subprocess.run(
        [str(program), *tool[1:], str(SCRIPT)], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout) == (0, "")


def test_many_short_commands_do_not_hold_the_runner(bench: Bench) -> None:
    # Their ends fall together with the first look at the clock (50 ms), where bash can lose the byte that wakes it.
    commands = [f"echo {number}; sleep 0.0{30 + number % 20}" for number in range(60)]
    bench.suite(Suite(name="u", title="", command="true", setup=tuple(commands)))
    ended = bench.run()
    assert ended.code == OK
    assert [line for line in ended.stdout.splitlines() if line.isdigit()] == [
        str(number) for number in range(60)
    ]
