"""`ci-runner run` from the first byte to the last, on small repositories with real tests."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.projects import Project, make_project

UNIT = '[suites.unit]\ntests = ["tests"]\n'
GREEN = "def test_a():\n    assert True\n\ndef test_b():\n    assert True\n"


def counts(project: Project) -> dict[str, int]:
    results = project.load("results.json")
    return {
        name: results[name]
        for name in ("tests", "passed", "failed", "errored", "skipped", "flaky", "missing")
    }


def test_a_green_run_leaves_every_file_that_is_promised(tmp_path: Path) -> None:
    project = make_project(tmp_path, {"tests/test_a.py": GREEN}, configuration=UNIT)
    ended = project.ci("run")
    assert ended.code == 0, ended
    assert "2 passed" in ended.out
    folder = project.last_run()
    for name in ("plan.json", "junit.xml", "results.json", "report.html", "record.json", "cases.jsonl"):
        assert (folder / name).stat().st_size > 0, name
    assert "report.html" in ended.out
    assert counts(project) == {
        "tests": 2, "passed": 2, "failed": 0, "errored": 0, "skipped": 0, "flaky": 0, "missing": 0
    }  # fmt: skip
    record = project.load("record.json")
    assert record["test_suite"] == "unit"
    assert record["results"]["passed"] == 2
    assert record["commit"] == project.git("rev-parse", "HEAD").strip()
    stored = list((project.root / ".ci-runner" / "results" / "daily").rglob("*.json"))
    assert len(stored) == 1
    assert project.git("status", "--porcelain") == ""
    shown = project.ci("history", "list", "--format", "json")
    assert shown.code == 0
    assert record["run_id"] in shown.out


def test_json_is_alone_on_stdout(tmp_path: Path) -> None:
    project = make_project(tmp_path, {"tests/test_a.py": GREEN}, configuration=UNIT)
    ended = project.ci("run", "--format", "json")
    assert ended.code == 0, ended
    assert ended.json["verdict"] == "passed"
    assert ended.json["tests"] == 2


def test_a_failing_test_is_red_and_says_where_and_how_to_run_it_again(tmp_path: Path) -> None:
    text = "def test_a():\n    value = 1\n    assert value == 2\n"
    project = make_project(tmp_path, {"tests/test_a.py": text}, configuration=UNIT)
    ended = project.ci("run")
    assert ended.code == 1, ended
    assert "tests/test_a.py:3" in ended.out
    assert "ci-runner run unit --only tests/test_a.py::test_a" in ended.out
    again = project.ci("run", "unit", "--only", "tests/test_a.py::test_a")
    assert again.code == 1
    assert counts(project)["tests"] == 1


def test_without_configuration_what_is_there_runs(tmp_path: Path) -> None:
    project = make_project(tmp_path, {"tests/test_a.py": GREEN}, configuration=None)
    environ = str(Path(sys.executable).parent.parent)
    ended = project.ci("run", "--test-path", "tests", VIRTUAL_ENV=environ)
    assert ended.code == 0, ended
    assert "2 passed" in ended.out
    found = project.ci("run", VIRTUAL_ENV=environ)
    assert found.code == 0, found
    assert "ci-runner init" in found.out + found.err


def test_uncommitted_changes_go_along_and_are_named_unless_clean(tmp_path: Path) -> None:
    project = make_project(tmp_path, {"tests/test_a.py": GREEN}, configuration=UNIT)
    project.write({"tests/test_new.py": "def test_new():\n    assert False\n"})
    with_changes = project.ci("run")
    assert with_changes.code == 1, with_changes
    assert "uncommitted" in with_changes.out
    assert "uncommitted" in (project.last_run() / "report.html").read_text()
    clean = project.ci("run", "--clean")
    assert clean.code == 0, clean
    in_ci = project.ci("run", CI="true")
    assert in_ci.code == 0, in_ci


def test_no_test_collected_is_red(tmp_path: Path) -> None:
    project = make_project(tmp_path, {"tests/test_a.py": "x = 1\n"}, configuration=UNIT)
    ended = project.ci("run")
    assert ended.code == 9, ended
    assert project.load("results.json")["verdict"] == "empty"


def test_an_unknown_suite_is_an_error_with_a_near_miss(tmp_path: Path) -> None:
    project = make_project(tmp_path, {"tests/test_a.py": GREEN}, configuration=UNIT)
    ended = project.ci("run", "untit")
    assert ended.code == 2
    assert "unit" in ended.err
    assert ended.err.startswith("ci-runner: error: ")


def test_missing_pytest_is_said_with_the_fix_and_is_the_machines_fault(tmp_path: Path) -> None:
    project = make_project(tmp_path, {"tests/test_a.py": GREEN}, configuration=None)
    bare = tmp_path / "bare"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(bare)], check=True)
    project.write({"ci-runner.toml": f'{UNIT}\n[machines.local]\npython = "{bare}/bin/python"\n'})
    ended = project.ci("run")
    assert ended.code == 8, ended
    assert "pytest is missing" in ended.out + ended.err
    assert f"{bare}/bin/python -m pip install pytest" in ended.out + ended.err


def test_a_setup_command_that_fails_is_no_test_failure(tmp_path: Path) -> None:
    project = make_project(
        tmp_path, {"tests/test_a.py": GREEN}, configuration=UNIT + 'setup = ["echo hello; exit 7"]\n'
    )
    ended = project.ci("run")
    assert ended.code == 8, ended
    assert "setup command 1" in ended.out
    assert "exit code 7" in ended.out
    (log,) = (project.last_run() / "logs").glob("*setup1.log")
    assert log.read_text() == "hello\n"


def test_a_command_that_writes_junit_is_a_suite_and_an_old_report_does_not_count(tmp_path: Path) -> None:
    script = 'printf \'<testsuite><testcase classname="c" name="n" time="0.5"/></testsuite>\' > out/junit.xml'
    configuration = f"[suites.go]\ncommand = '''mkdir -p out; {script}'''\njunit = [\"out/*.xml\"]\n"
    stale = '<testsuite><testcase classname="old" name="old"/></testsuite>'
    project = make_project(tmp_path, {"out/stale.xml": stale}, configuration=configuration)
    ended = project.ci("run", "go")
    assert ended.code == 0, ended
    assert counts(project)["tests"] == 1
    assert [
        json.loads(line)["id"] for line in (project.last_run() / "cases.jsonl").read_text().splitlines()
    ] == ["c::n"]


def test_junit_files_whose_names_are_alike_are_each_read_once(tmp_path: Path) -> None:
    def report(name: str) -> str:
        return f'<testsuite><testcase classname="c" name="{name}" time="0.5"/></testsuite>'

    script = f"mkdir a; printf '%s' '{report('one')}' > a/x.xml; printf '%s' '{report('two')}' > a-x.xml"
    configuration = f"[suites.go]\ncommand = {json.dumps(script)}\njunit = ['a/*.xml', '**/*.xml']\n"
    project = make_project(tmp_path, {}, configuration=configuration)
    ended = project.ci("run", "go")
    assert ended.code == 0, ended
    lines = (project.last_run() / "cases.jsonl").read_text(encoding="utf-8").splitlines()
    assert sorted(json.loads(line)["id"] for line in lines) == ["c::one", "c::two"]
    kept = sorted(path.name for path in project.last_run().glob("attempts/*/junit/*"))
    assert kept == ["0001-a-x.xml", "0002-a-x.xml"]


def test_a_command_that_writes_nothing_is_red(tmp_path: Path) -> None:
    project = make_project(
        tmp_path, {}, configuration='[suites.go]\ncommand = "true"\njunit = ["junit.xml"]\n'
    )
    ended = project.ci("run", "go")
    assert ended.code == 9, ended


def test_a_hanging_test_names_itself_and_shows_its_stack(tmp_path: Path) -> None:
    text = "import threading\n\ndef test_ok():\n    pass\n\ndef test_hangs():\n    threading.Event().wait()\n"
    project = make_project(tmp_path, {"tests/test_a.py": text}, configuration=UNIT + 'timeout = "3s"\n')
    ended = project.ci("run")
    assert ended.code == 9, ended
    assert "tests/test_a.py::test_hangs" in ended.out
    (stacks,) = (project.last_run() / "attempts").rglob("stacks.txt")
    assert "test_hangs" in stacks.read_text()
    assert "test_hangs" in (project.last_run() / "report.html").read_text()
    assert counts(project) | {"tests": 0} == counts(project) | {"tests": 0, "passed": 1, "missing": 1}


def test_retries_make_a_flaky_test_flaky_and_not_passed(tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    text = (
        "import os, pathlib\nMARKER = pathlib.Path(os.environ['MARKER'])\n\n"
        "def test_flaky():\n    seen = MARKER.exists()\n    MARKER.touch()\n    assert seen\n\n"
        "def test_fine():\n    pass\n"
    )
    configuration = UNIT + f'retries = 2\nenv = {{ MARKER = "{marker}" }}\n'
    project = make_project(tmp_path, {"tests/test_a.py": text}, configuration=configuration)
    ended = project.ci("run")
    assert ended.code == 0, ended
    assert counts(project) == {
        "tests": 2, "passed": 1, "failed": 0, "errored": 0, "skipped": 0, "flaky": 1, "missing": 0
    }  # fmt: skip
    assert "flaky" in ended.out
    attempts = sorted(path.name for path in (project.last_run() / "attempts").iterdir())
    assert attempts == ["unit.1", "unit.2"]
    assert project.load("record.json")["results"]["flaky"] == 1


def test_a_failure_that_stays_is_red_after_its_retries(tmp_path: Path) -> None:
    text = "def test_bad():\n    assert 0\n"
    project = make_project(tmp_path, {"tests/test_a.py": text}, configuration=UNIT + "retries = 2\n")
    assert project.ci("run").code == 1
    assert len(list((project.last_run() / "attempts").iterdir())) == 3
    assert counts(project)["failed"] == 1


def test_quarantine_shows_and_forgives_until_it_expires(tmp_path: Path) -> None:
    text = "def test_bad():\n    assert 0\n\ndef test_good():\n    pass\n"
    entry = '\n[[quarantine]]\ntest = "tests/test_a.py::test_bad"\nowner = "alice"\nexpires = "{}"\n'
    project = make_project(
        tmp_path, {"tests/test_a.py": text}, configuration=UNIT + entry.format("2999-01-01")
    )
    ended = project.ci("run")
    assert ended.code == 0, ended
    assert "quarantine" in ended.out
    expired = make_project(
        tmp_path / "x", {"tests/test_a.py": text}, configuration=UNIT + entry.format("2020-01-01")
    )
    late = expired.ci("run")
    assert late.code == 1, late
    assert "alice" in late.out


CRASH = (
    "import sys\n\ndef pytest_sessionstart(session):\n"
    "    if 'ci_runner_sidecar' in sys.modules:\n        raise RuntimeError('the python runner breaks here')\n"
)


def test_a_broken_python_runner_falls_back_and_says_so(tmp_path: Path) -> None:
    project = make_project(tmp_path, {"conftest.py": CRASH, "tests/test_a.py": GREEN}, configuration=UNIT)
    ended = project.ci("run")
    assert ended.code == 0, ended
    assert "plugin-error" in ended.out
    record = project.load("record.json")
    assert record["runner"] == "shell"
    assert record["fallback_reason"].startswith("plugin-error: ")
    kpi = project.ci("kpi", "--format", "json")
    fallbacks = kpi.json["kpis"]["fallback-rate"]
    assert fallbacks["text"] == "1 of 1"


def test_the_risk_of_a_suite_may_forbid_the_fallback(tmp_path: Path) -> None:
    configuration = UNIT + 'risk = "high"\n'
    project = make_project(
        tmp_path, {"conftest.py": CRASH, "tests/test_a.py": GREEN}, configuration=configuration
    )
    ended = project.ci("run")
    assert ended.code == 9, ended
    assert project.load("record.json")["fallback_reason"] is None
    assert "fallback-risks" in ended.out


def test_failing_tests_never_fall_back(tmp_path: Path) -> None:
    text = "import os\n\ndef test_a():\n    assert 0\n\ndef test_b():\n    os._exit(3)\n"
    project = make_project(tmp_path, {"tests/test_a.py": text}, configuration=UNIT)
    ended = project.ci("run")
    assert ended.code in (1, 9), ended
    record = project.load("record.json")
    assert record["runner"] == "python"
    assert record["fallback_reason"] is None


def test_the_shell_runner_can_be_chosen(tmp_path: Path) -> None:
    project = make_project(tmp_path, {"tests/test_a.py": GREEN}, configuration=UNIT)
    ended = project.ci("run", "--runner", "shell")
    assert ended.code == 0, ended
    assert project.load("record.json")["runner"] == "shell"
    assert counts(project)["passed"] == 2


@pytest.mark.parametrize("total", [2, 3])
def test_shards_hold_every_test_once(tmp_path: Path, total: int) -> None:
    text = "".join(f"def test_{number}():\n    pass\n\n" for number in range(7))
    project = make_project(tmp_path, {"tests/test_a.py": text, "tests/test_b.py": text}, configuration=UNIT)
    seen: list[str] = []
    for index in range(1, total + 1):
        ended = project.ci("run", "unit", "--shard", f"{index}/{total}")
        assert ended.code == 0, ended
        seen += [
            json.loads(line)["id"] for line in (project.last_run() / "cases.jsonl").read_text().splitlines()
        ]
    assert len(seen) == 14
    assert len(set(seen)) == 14


def test_suites_whose_needs_fit_run_side_by_side(tmp_path: Path) -> None:
    meet = (
        "import os, pathlib, time\nHERE = pathlib.Path(os.environ['MEET'])\n\n"
        "def test_meet():\n    (HERE / os.environ['ME']).touch()\n    end = time.monotonic() + 30\n"
        "    while len(list(HERE.iterdir())) < 2 and time.monotonic() < end:\n        time.sleep(0.02)\n"
        "    assert len(list(HERE.iterdir())) == 2\n"
    )
    place = tmp_path / "meet"
    place.mkdir()
    suite = (
        '[suites.{0}]\ntests = ["tests"]\nneeds = {{ cpus = 0.5 }}\nenv = {{ MEET = "{1}", ME = "{0}" }}\n'
    )
    project = make_project(
        tmp_path,
        {"tests/test_a.py": meet},
        configuration=suite.format("one", place) + suite.format("two", place),
    )
    ended = project.ci("run", "one", "two")
    assert ended.code == 0, ended


def start(project: Project, *words: str) -> subprocess.Popen[bytes]:
    """Start ci-runner; the caller ends it by its id."""
    return subprocess.Popen(
        project.command(*words),
        cwd=project.root,
        env=project.environ(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


HALFWAY = (
    "import pathlib, os, threading\n\ndef test_1():\n    pass\n\ndef test_2():\n"
    "    fifo = os.environ['FIFO']\n    with open(fifo, 'w') as f:\n        f.write(str(os.getpid()))\n"
    "    threading.Event().wait()\n\ndef test_3():\n    pass\n"
)


def halfway(tmp_path: Path) -> tuple[Project, Path]:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    configuration = UNIT + f'env = {{ FIFO = "{fifo}" }}\n'
    return make_project(tmp_path, {"tests/test_a.py": HALFWAY}, configuration=configuration), fifo


def gone(pid: int) -> None:
    """Wait until a process that is not our child has ended."""
    descriptor = os.pidfd_open(pid)
    try:
        import select

        assert select.select([descriptor], [], [], 20.0)[0], f"process {pid} is still there"
    finally:
        os.close(descriptor)


def test_sigkill_halfway_keeps_what_is_known_and_ends_the_suite(tmp_path: Path) -> None:
    project, fifo = halfway(tmp_path)
    process = start(project, "run")
    try:
        pid = int(fifo.read_text())
        descriptor = os.pidfd_open(pid)
        process.kill()
        process.wait(20)
        import select

        assert select.select([descriptor], [], [], 20.0)[0], "the suite outlived ci-runner"
        os.close(descriptor)
    finally:
        process.kill()
        process.communicate()
    ended = project.ci("results", "summarize", "--format", "json", str(project.last_run()))
    assert ended.code == 9, ended
    assert ended.json["verdict"] == "incomplete"
    assert (ended.json["passed"], ended.json["missing"], ended.json["tests"]) == (1, 2, 3)
    text = project.ci("results", "summarize", str(project.last_run()))
    assert "test_2" in text.out
    assert "test_3" in text.out


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_cancelled_run_gives_everything_back_and_keeps_its_results(
    tmp_path: Path, number: signal.Signals
) -> None:
    project, fifo = halfway(tmp_path)
    process = start(project, "run")
    try:
        pid = int(fifo.read_text())
        descriptor = os.pidfd_open(pid)
        process.send_signal(number)
        out, _ = process.communicate(timeout=60)
        import select

        assert select.select([descriptor], [], [], 20.0)[0]
        os.close(descriptor)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 130, out.decode()
    assert counts(project)["passed"] == 1
    assert b"cancelled" in out
    leases = list((project.home / "state").rglob("work"))
    assert leases == []
