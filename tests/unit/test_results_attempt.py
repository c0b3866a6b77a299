"""What an attempt left, read from folders written by hand: two witnesses and an exit code that must agree."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ci_runner.model import Attempt, AttemptState, Outcome, Runner, Suite
from ci_runner.results.attempt import Collected, collect

SUITE = Suite(name="unit", title="U", tests=("tests",))
COMMAND = Suite(name="unit", title="U", command="make test", junit=("out/*.xml",))
A, B, C = "tests/test_x.py::test_a", "tests/test_x.py::test_b", "tests/test_x.py::test_c"
Line = dict[str, Any]


def session() -> Line:
    """The line with which a process announces itself."""
    return {"event": "session", "v": 1, "pid": 7, "time": 1.0, "worker": None}


def collected(*tests: str, **more: Any) -> Line:
    """The line after collection."""
    return {"event": "collected", "time": 2.0, "tests": list(tests), **more}


def start(test: str) -> Line:
    """A test begins."""
    return {"event": "start", "id": test, "time": 3.0, "worker": None}


def end(test: str, outcome: str = "passed", **more: Any) -> Line:
    """A test ends."""
    return {"event": "end", "id": test, "time": 4.0, "outcome": outcome, "duration": 0.5, **more}


def done(status: int) -> Line:
    """Pytest ends."""
    return {"event": "exit", "time": 9.0, "status": status, "worker": None}


def ran(*pairs: tuple[str, str]) -> list[Line]:
    """A whole run without its exit."""
    lines = [session(), collected(*(test for test, _ in pairs))]
    for test, outcome in pairs:
        lines += [start(test), end(test, outcome)]
    return lines


def junit(*cases: tuple[str, str], name: str = "pytest") -> str:
    """The file that pytest writes."""
    inner = {"passed": "", "failed": '<failure message="m"/>', "errored": "<error/>", "skipped": "<skipped/>"}
    body = "".join(f'<testcase classname="tests.test_x" name="{n}">{inner[o]}</testcase>' for n, o in cases)
    return f'<testsuites name="pytest tests"><testsuite name="{name}" tests="{len(cases)}">{body}</testsuite></testsuites>'


class Folder:
    """An attempt folder in the making."""

    def __init__(self, path: Path) -> None:
        self.path = path
        (path / "junit").mkdir()

    def sidecar(self, *lines: Line, tail: str = "") -> None:
        """Write the sidecar."""
        text = "".join(json.dumps(line, separators=(",", ":")) + "\n" for line in lines)
        (self.path / "sidecar.jsonl").write_text(text + tail, encoding="utf-8")

    def junit(self, text: str, name: str = "pytest.xml") -> None:
        """Write a JUnit file."""
        (self.path / "junit" / name).write_text(text, encoding="utf-8")

    def read(
        self,
        code: int | None = 0,
        state: AttemptState = AttemptState.FINISHED,
        *,
        suite: Suite = SUITE,
        runner: Runner = Runner.PYTHON,
        kind: str = "suite",
        reason: str | None = None,
    ) -> Collected:
        """What it comes to."""
        attempt = Attempt(
            id="unit.1",
            selection="unit",
            suite="unit",
            number=1,
            runner=runner,
            lease_id="l",
            folder="attempts/unit.1",
            log="logs/unit.1.log",
            state=state,
            exit_code=code,
            kind=kind,
            reason=reason,
        )
        return collect(self.path, suite=suite, attempt=attempt)


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """An empty attempt folder."""
    return Folder(tmp_path)


def kinds(found: Collected) -> list[tuple[str, bool]]:
    """What is wrong, and whether that is red."""
    return [(problem.kind, problem.fatal) for problem in found.problems]


def outcomes(found: Collected) -> dict[str, str]:
    """What became of each test."""
    return {case.id.rpartition("::")[2]: case.outcome.value for case in found.cases}


def test_three_witnesses_that_agree_leave_nothing_to_say(folder: Folder) -> None:
    folder.sidecar(*ran((A, "passed"), (B, "failed"), (C, "xfailed")), done(1))
    folder.junit(junit(("test_a", "passed"), ("test_b", "failed"), ("test_c", "skipped")))
    found = folder.read(1)
    assert kinds(found) == []
    assert outcomes(found) == {"test_a": "passed", "test_b": "failed", "test_c": "skipped"}
    assert (found.expected, found.sessions, found.started, found.exit_status) == ((A, B, C), 1, 3, 1)
    assert {case.attempt for case in found.cases} == {"unit.1"}


@pytest.mark.parametrize(
    ("lines", "file", "code", "kind"),
    [
        ([*ran((A, "failed")), done(1)], junit(("test_a", "passed")), 1, "disagreement"),
        ([*ran((A, "passed")), done(0)], junit(("test_a", "failed")), 0, "disagreement"),
        ([*ran((A, "passed")), done(0)], junit(("test_a", "skipped")), 0, "disagreement"),
        ([*ran((A, "passed")), done(0)], junit(("test_a", "passed"), ("test_b", "passed")), 0, "disagreement"),
        ([*ran((A, "passed"), (B, "passed")), done(0)], junit(("test_a", "passed")), 0, "disagreement"),
        ([*ran((A, "passed")), done(0)], junit(("test_a", "passed"))[:-20], 0, "truncated"),
        ([*ran((A, "passed")), done(0)], None, 0, "no-results"),
        ([*ran((A, "passed")), done(1)], junit(("test_a", "passed")), 1, "exit-code"),
        ([*ran((A, "passed")), done(0)], junit(("test_a", "passed")), 3, "exit-code"),
        ([*ran((A, "passed")), done(3)], junit(("test_a", "passed")), 3, "exit-code"),
        ([*ran((A, "passed")), done(2)], junit(("test_a", "passed")), 2, "exit-code"),
        ([*ran((A, "passed")), done(4)], junit(("test_a", "passed")), 4, "exit-code"),
        (ran((A, "passed")), junit(("test_a", "passed")), 0, "exit-code"),
        ([session(), done(0)], junit(), 0, "no-collection"),
        ([*ran((A, "passed"))[:-1], done(0)], junit(("test_a", "passed")), 0, "missing-tests"),
        ([session(), collected(A, B), start(A), end(A), done(0)], junit(("test_a", "passed")), 0, "missing-tests"),
        ([*ran((A, "passed")), collected(A, unknown=["x"]), done(0)], junit(("test_a", "passed")), 0, "unknown-test"),
    ],
)  # fmt: skip
def test_witnesses_that_disagree_are_a_fatal_problem(
    folder: Folder, lines: list[Line], file: str | None, code: int, kind: str
) -> None:
    folder.sidecar(*lines)
    if file is not None:
        folder.junit(file)
    assert (kind, True) in kinds(folder.read(code))


def test_exit_code_0_over_a_failure_is_told_and_the_failure_counts(folder: Folder) -> None:
    folder.sidecar(*ran((A, "failed")), done(0))
    folder.junit(junit(("test_a", "failed")))
    assert kinds(folder.read(0)) == [("exit-code", False)]


def test_a_process_that_a_test_ended_is_told(folder: Folder) -> None:
    folder.sidecar(session(), collected(A, B, C), start(A), end(A), start(B))
    found = folder.read(0)  # os._exit(0)
    assert outcomes(found) == {"test_a": "passed", "test_b": "missing", "test_c": "missing"}
    assert {case.id: case.interrupted for case in found.cases if case.outcome is Outcome.MISSING} == {
        B: True,
        C: False,
    }
    assert ("exit-code", True) in kinds(found)
    told = next(problem.text for problem in found.problems if problem.kind == "missing-tests")
    assert told == f"{B} did not end; never ran: {C}"


@pytest.mark.parametrize(
    ("state", "kind"),
    [
        (AttemptState.KILLED, "killed"),
        (AttemptState.RUNNING, "interrupted"),
        (AttemptState.PREEMPTED, "preempted"),
        (AttemptState.CANCELLED, "cancelled"),
        (AttemptState.RUNNER_FAILED, "runner"),
        (AttemptState.SETUP_FAILED, "setup"),
    ],
)
def test_an_attempt_that_did_not_simply_end_says_how(folder: Folder, state: AttemptState, kind: str) -> None:
    folder.sidecar(session(), collected(A, B), start(A), end(A), start(B), tail='{"event":"end","id":"tests')
    found = folder.read(None, state)
    assert kinds(found) == [(kind, True), ("missing-tests", True)]
    assert B in found.problems[0].text
    assert outcomes(found) == {"test_a": "passed", "test_b": "missing"}
    assert found.bad_lines == 0


def test_a_timeout_names_the_test_that_hung_and_keeps_the_stacks(folder: Folder) -> None:
    folder.sidecar(session(), collected(A), start(A))
    (folder.path / "stacks.txt").write_bytes(b"\nThread 0x1 (most recent call first):\n  File \xff\n")
    found = folder.read(-15, AttemptState.TIMED_OUT, reason="over its time of 10 s")
    assert found.problems[0].text == f"over its time of 10 s; running at that moment: {A}"
    assert found.stacks is not None
    assert found.stacks.startswith("Thread 0x1")


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (127, "was not found\nfix: install it"),
        (126, "may not be run\nfix: make it executable"),
        (3, "no test failed"),
    ],
)
def test_what_the_shell_means_by_a_code_is_said(folder: Folder, code: int, words: str) -> None:
    found = folder.read(code, suite=COMMAND)
    (told,) = [problem for problem in found.problems if problem.kind == "exit-code"]
    assert f"exit code {code}" in told.text
    assert words in told.text


def test_an_attempt_that_left_nothing_is_red_whatever_its_exit_code(folder: Folder) -> None:
    assert ("no-results", True) in kinds(folder.read(0))
    assert ("exit-code", True) in kinds(folder.read(1))
    assert ("exit-code", True) in kinds(folder.read(4))
    assert ("exit-code", True) in kinds(folder.read(-11))
    assert folder.read(0).expected is None


def test_no_tests_is_no_problem_of_its_own(folder: Folder) -> None:
    folder.sidecar(session(), collected(), done(5))
    found = folder.read(5)
    assert (found.cases, found.problems, found.expected) == ((), (), ())


def test_torn_lines_are_told_and_red_if_there_are_too_many_of_them(folder: Folder) -> None:
    lines = [*ran((A, "passed")), done(0)]
    folder.junit(junit(("test_a", "passed")))
    folder.sidecar(*lines, tail="rubbish\n")
    assert kinds(folder.read(0)) == [("sidecar", True)]
    worker = {**session(), "worker": "gw0"}
    folder.sidecar(session(), worker, *lines[1:], tail='{"event":"start","id"\n')
    assert kinds(folder.read(0)) == [("sidecar", False)]


def test_a_file_whose_collection_failed_is_a_case_in_red(folder: Folder) -> None:
    broken = "tests/test_bad.py"
    lines = [
        session(),
        end(broken, "errored", collector=True, message="SyntaxError"),
        collected(A, errors=[broken]),
        done(2),
    ]
    folder.sidecar(*lines)
    found = folder.read(2)
    assert outcomes(found) == {broken: "errored", "test_a": "missing"}
    assert ("exit-code", True) in kinds(found)


def test_tries_inside_pytest_are_one_flaky_test(folder: Folder) -> None:
    tries = [
        session(),
        collected(A),
        start(A),
        end(A, "rerun", message="boom"),
        start(A),
        end(A, "passed"),
        done(0),
    ]
    folder.sidecar(*tries)
    folder.junit(junit(("test_a", "passed"), ("test_a", "passed")))
    found = folder.read(0)
    (case,) = found.cases
    assert kinds(found) == []
    assert (case.outcome, case.flaky, [item.message for item in case.earlier]) == (
        Outcome.PASSED,
        True,
        ["boom"],
    )


def test_a_try_that_was_begun_again_and_never_ended_is_missing(folder: Folder) -> None:
    folder.sidecar(session(), collected(A), start(A), end(A, "rerun"), start(A))
    found = folder.read(-9, AttemptState.KILLED)
    assert [(case.outcome, case.interrupted) for case in found.cases] == [(Outcome.MISSING, True)]


def test_listing_tests_asks_for_no_results(folder: Folder) -> None:
    folder.sidecar(session(), collected(A, B), done(0))
    found = folder.read(0, kind="collect")
    assert (found.cases, found.problems, found.expected) == ((), (), (A, B))


def test_names_that_xml_cannot_hold_agree_with_the_sidecar(folder: Folder) -> None:
    test = "tests/test_x.py::test_a[\x1b\x7f \n]"
    folder.sidecar(*ran((test, "passed")), done(0))
    folder.junit(junit(("test_a[#x1B#x7F &#10;]", "passed")))
    assert kinds(folder.read(0)) == []


def test_one_test_that_pytest_writes_several_times_is_as_red_as_its_worst(folder: Folder) -> None:
    folder.sidecar(*ran((A, "errored"), (B, "failed"), (C, "skipped")), done(1))
    twice = ("test_a", "failed"), ("test_a", "errored"), ("test_b", "failed"), ("test_c", "skipped")
    folder.junit(junit(*twice, name="other"))
    assert kinds(folder.read(1)) == []


# -- suites that only leave files


def test_a_command_is_judged_by_its_files(folder: Folder) -> None:
    folder.junit(junit(("test_a", "passed"), ("test_b", "failed"), name="go"), "a.xml")
    folder.junit(junit(("test_a", "passed"), name="go"), "b.xml")
    folder.junit("not looked at", ".hidden.xml")
    found = folder.read(1, suite=COMMAND)
    assert kinds(found) == []
    assert [case.id for case in found.cases] == [
        "tests.test_x::test_a",
        "tests.test_x::test_b",
        "tests.test_x::test_a [2]",
    ]


def test_equal_names_of_several_files_never_hide_one_another(folder: Folder) -> None:
    folder.junit(junit(("t", "passed"), ("t", "failed"), ("t", "passed"), name="one"), "a.xml")
    folder.junit(junit(("t", "passed"), name="two"), "b.xml")
    found = folder.read(1, suite=COMMAND)
    assert sorted(case.id.rpartition("::")[2] for case in found.cases) == ["t", "t [2]", "t [3]", "t [4]"]
    assert [case.outcome.value for case in found.cases] == ["passed", "failed", "passed", "passed"]


@pytest.mark.parametrize(
    ("file", "code", "expected"),
    [
        (junit(("a", "passed")), 1, [("exit-code", True)]),
        (junit(("a", "failed")), 0, [("exit-code", False)]),
        (junit(("a", "passed"))[:-30], 0, [("truncated", True)]),
        (None, 0, [("no-results", True)]),
        (None, 2, [("no-results", True), ("exit-code", True)]),
        ("", 0, [("empty-file", True)]),
    ],
)
def test_a_command_fails_closed(
    folder: Folder, file: str | None, code: int, expected: list[tuple[str, bool]]
) -> None:
    if file is not None:
        folder.junit(file, "a.xml")
    assert kinds(folder.read(code, suite=COMMAND)) == expected


def test_the_reason_for_no_results_names_what_was_looked_for(folder: Folder) -> None:
    assert "out/*.xml" in folder.read(0, suite=COMMAND).problems[0].text
    nameless = Suite(name="unit", title="U", command="make")
    assert "names no junit files" in folder.read(0, suite=nameless).problems[0].text
    assert "shell runner" in folder.read(0, runner=Runner.SHELL).problems[0].text


def test_a_command_that_was_killed_keeps_its_files(folder: Folder) -> None:
    folder.junit(junit(("a", "passed")), "a.xml")
    found = folder.read(-9, AttemptState.KILLED, suite=COMMAND)
    assert kinds(found) == [("killed", True)]
    assert len(found.cases) == 1


def test_metrics_come_from_properties(folder: Folder) -> None:
    text = '<testsuite tests="1"><properties><property name="metric.a" value="1.5"/></properties><testcase name="t"><properties><property name="metric.b" value="2"/></properties></testcase></testsuite>'  # fmt: skip # noqa: E501
    folder.junit(text, "a.xml")
    assert folder.read(0, suite=COMMAND).metrics == {"a": 1.5, "b": 2.0}
