"""A suite on every host of a slice: the gravest outcome counts, and the host that says so is named."""

from __future__ import annotations

import json
from pathlib import Path

from ci_runner.model import Attempt, AttemptState, Outcome, Runner, Suite
from ci_runner.results.attempt import collect

SUITE = Suite(name="unit", title="unit", tests=("tests",))
TESTS = ("t.py::a", "t.py::b")


def host(
    folder: Path, number: int, outcomes: dict[str, str], *, code: int | None = None, ends: bool = True
) -> None:
    place = folder / "workers" / str(number)
    (place / "junit").mkdir(parents=True)
    failed = "failed" in outcomes.values()
    lines: list[dict[str, object]] = [
        {"event": "session", "v": 1, "pid": 1},
        {"event": "collected", "tests": TESTS},
    ]
    for test, outcome in outcomes.items():
        lines.append({"event": "start", "id": test})
        lines.append(
            {"event": "end", "id": test, "outcome": outcome, "duration": 0.1 * (number + 1), "message": "no"}
        )
    if ends:
        lines.append({"event": "exit", "status": int(failed)})
    (place / "sidecar.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    cases = "".join(
        f'<testcase classname="t" name="{test[-1]}">{"<failure/>" if outcome == "failed" else ""}</testcase>'
        for test, outcome in outcomes.items()
    )
    if ends:
        (place / "junit" / "pytest.xml").write_text(f"<testsuite>{cases}</testsuite>")
    (place / "status.json").write_text(json.dumps({"exit_code": int(failed) if code is None else code}))


def attempt(code: int = 0, state: AttemptState = AttemptState.FINISHED) -> Attempt:
    return Attempt(
        id="unit.1", selection="unit", suite="unit", number=1, runner=Runner.PYTHON, lease_id="l",
        folder="attempts/unit.1", log="logs/unit.1.log", state=state, exit_code=code, ended_at=1.0,
    )  # fmt: skip


GREEN = dict.fromkeys(TESTS, "passed")


def test_hosts_that_agree_are_one_result(tmp_path: Path) -> None:
    for number in range(4):
        host(tmp_path, number, GREEN)
    found = collect(tmp_path, suite=SUITE, attempt=attempt())
    assert [(case.id, case.outcome) for case in found.cases] == [(test, Outcome.PASSED) for test in TESTS]
    assert found.problems == ()
    assert found.expected == TESTS
    assert found.cases[0].duration_seconds == 0.4
    assert (found.sessions, found.exit_status) == (1, 0)


def test_the_host_on_which_a_test_failed_is_named(tmp_path: Path) -> None:
    for number in range(4):
        host(tmp_path, number, {**GREEN, TESTS[1]: "failed"} if number == 2 else GREEN)
    found = collect(tmp_path, suite=SUITE, attempt=attempt(1))
    outcomes = {case.id: (case.outcome, case.message, case.worker) for case in found.cases}
    assert outcomes[TESTS[1]] == (Outcome.FAILED, "worker 2 of 4: no", "2")
    assert outcomes[TESTS[0]][0] is Outcome.PASSED
    assert found.problems == ()


def test_a_host_that_was_killed_leaves_its_tests_missing(tmp_path: Path) -> None:
    host(tmp_path, 0, GREEN)
    host(tmp_path, 1, {TESTS[0]: "passed"}, code=-9, ends=False)
    found = collect(tmp_path, suite=SUITE, attempt=attempt(-9, AttemptState.KILLED))
    assert {case.id: case.outcome for case in found.cases} == {
        TESTS[0]: Outcome.PASSED,
        TESTS[1]: Outcome.MISSING,
    }
    assert {problem.kind for problem in found.problems} == {"killed", "missing-tests"}
    assert all(problem.text.startswith("worker 1 of 2: ") for problem in found.problems)


def test_hosts_that_know_other_tests_are_no_green_result(tmp_path: Path) -> None:
    host(tmp_path, 0, GREEN)
    host(tmp_path, 1, {**GREEN, "t.py::c": "passed"})
    found = collect(tmp_path, suite=SUITE, attempt=attempt())
    assert any(problem.kind == "uneven-workers" and problem.fatal for problem in found.problems)


def test_a_host_that_left_nothing_is_a_problem(tmp_path: Path) -> None:
    host(tmp_path, 0, GREEN)
    (tmp_path / "workers" / "1" / "junit").mkdir(parents=True)
    found = collect(tmp_path, suite=SUITE, attempt=attempt())
    assert any(problem.fatal and problem.text.startswith("worker 1 of 2") for problem in found.problems)
