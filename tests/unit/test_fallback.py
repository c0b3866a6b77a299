"""The shell runner takes over for faults of the python runner, and never because a test failed."""

from __future__ import annotations

import dataclasses

import pytest

from ci_runner.execution.fallback import Evidence, find_fault, may_fall_back
from ci_runner.model import Attempt, AttemptState, Risk, Runner, Suite

ATTEMPT = Attempt(
    id="unit.1",
    selection="unit",
    suite="unit",
    number=1,
    runner=Runner.PYTHON,
    lease_id="l",
    folder="attempts/unit.1",
    log="logs/unit.1.log",
    state=AttemptState.FINISHED,
    exit_code=0,
)
GOOD = Evidence(
    attempt=ATTEMPT,
    sessions=1,
    tests_started=3,
    tests_running=0,
    bad_lines=0,
    exit_status=0,
    sidecar_expected=True,
)


def evidence(state: AttemptState, exit_code: int | None, **changes: object) -> Evidence:
    attempt = dataclasses.replace(ATTEMPT, state=state, exit_code=exit_code)
    return dataclasses.replace(GOOD, attempt=attempt, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("case", "code"),
    [
        (evidence(AttemptState.RUNNER_FAILED, None, sessions=0), "runner-setup-failed"),
        (evidence(AttemptState.RUNNER_FAILED, 1, sessions=0), "runner-crashed"),
        (evidence(AttemptState.KILLED, -11, sessions=1, tests_started=0), "runner-crashed"),
        (evidence(AttemptState.FINISHED, 0, bad_lines=2), "sidecar-unreadable"),
        (evidence(AttemptState.FINISHED, 3, exit_status=3), "plugin-error"),
        (evidence(AttemptState.FINISHED, 3, exit_status=None), "plugin-error"),
    ],
)
def test_a_fault_of_the_runner_has_a_code_and_a_sentence(case: Evidence, code: str) -> None:
    fault = find_fault(case)
    assert fault is not None
    assert fault.code == code
    assert str(fault) == f"{code}: {fault.text}"


@pytest.mark.parametrize(
    "case",
    [
        GOOD,
        evidence(AttemptState.FINISHED, 1),
        evidence(AttemptState.FINISHED, 3, exit_status=None, tests_running=1),
        evidence(AttemptState.FINISHED, 1, sessions=3, bad_lines=1),
        evidence(AttemptState.FINISHED, 2),
        evidence(AttemptState.FINISHED, 4),
        evidence(AttemptState.FINISHED, 5, tests_started=0),
        evidence(AttemptState.KILLED, -11, tests_started=2),
        evidence(AttemptState.TIMED_OUT, -9),
        evidence(AttemptState.CANCELLED, -15, sessions=0),
        evidence(AttemptState.PREEMPTED, None, sessions=0),
        evidence(AttemptState.SETUP_FAILED, None, sessions=0),
        evidence(AttemptState.FINISHED, 1, sessions=0, sidecar_expected=False),
    ],
)
def test_failures_of_tests_and_of_machines_are_no_fault_of_the_runner(case: Evidence) -> None:
    assert find_fault(case) is None


def test_the_shell_runner_itself_never_falls_back() -> None:
    shell = dataclasses.replace(ATTEMPT, runner=Runner.SHELL, exit_code=3)
    assert find_fault(dataclasses.replace(GOOD, attempt=shell, sessions=0)) is None


def test_the_risk_decides_whether_the_shell_runner_may_take_over() -> None:
    suite = Suite(name="inductor", title="InductorTestSuite", risk=Risk.HIGH)
    refusal = may_fall_back(suite, (Risk.LOW, Risk.MEDIUM))
    assert refusal is not None
    assert '"inductor" (high)' in refusal.text
    assert refusal.fatal
    assert may_fall_back(suite, (Risk.HIGH,)) is None
