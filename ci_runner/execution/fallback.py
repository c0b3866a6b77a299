"""When the shell runner takes over: only for faults of the python runner, never for failures of tests. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ci_runner.model import Attempt, AttemptState, Problem, Risk, Runner, Suite

RUNNER_CRASHED = "runner-crashed"
PLUGIN_ERROR = "plugin-error"
SIDECAR_UNREADABLE = "sidecar-unreadable"
RUNNER_SETUP_FAILED = "runner-setup-failed"

PYTEST_INTERNAL_ERROR = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """What broke in the python runner: a code for the figures, a sentence for people."""

    code: str
    text: str

    def __str__(self) -> str:
        return f"{self.code}: {self.text}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What an attempt of the python runner left behind, as far as the question goes."""

    attempt: Attempt
    sessions: int  # how many processes announced themselves in the sidecar
    tests_started: int
    tests_running: int  # that were running when the process ended
    bad_lines: int
    exit_status: int | None  # what pytest said that it would exit with; None if it did not come to that
    sidecar_expected: bool  # a pytest suite; a command suite has none


def find_fault(evidence: Evidence) -> Fault | None:
    """The fault of the runner in this attempt, if it was the runner that broke."""
    attempt = evidence.attempt
    if attempt.runner is not Runner.PYTHON or attempt.state in (
        AttemptState.CANCELLED,
        AttemptState.TIMED_OUT,
        AttemptState.PREEMPTED,
        AttemptState.SETUP_FAILED,
    ):
        return None
    if attempt.state is AttemptState.RUNNER_FAILED and attempt.exit_code is None:
        return Fault(code=RUNNER_SETUP_FAILED, text=attempt.reason or "the python runner could not be set up")
    return _fault_of_pytest(evidence) if evidence.sidecar_expected else None


def _fault_of_pytest(evidence: Evidence) -> Fault | None:
    code = evidence.attempt.exit_code
    ended = f"exit {code}" if code is None or code >= 0 else f"signal {-code}"
    if evidence.sessions == 0:
        return Fault(code=RUNNER_CRASHED, text=f"pytest ended ({ended}) before the sidecar plugin was loaded")
    if code is not None and code < 0 and evidence.tests_started == 0:
        return Fault(code=RUNNER_CRASHED, text=f"pytest ended ({ended}) before any test started")
    if (
        evidence.bad_lines >= evidence.sessions
    ):  # a killed xdist worker may tear one line; its tests are told anyway
        return Fault(
            code=SIDECAR_UNREADABLE, text=f"{evidence.bad_lines} lines of the sidecar cannot be read"
        )
    said = evidence.exit_status if evidence.exit_status is not None else code
    if (
        said == PYTEST_INTERNAL_ERROR and not evidence.tests_running
    ):  # a test may end the process with 3 as well
        return Fault(
            code=PLUGIN_ERROR, text="pytest reported an internal error, raised by a plugin or by itself"
        )
    return None


def may_fall_back(suite: Suite, allowed: Sequence[Risk]) -> Problem | None:
    """None if the suite's risk allows the shell runner to take over, else the reason why not."""
    if suite.risk in allowed:
        return None
    return Problem(
        kind="no-fallback",
        text=f'the python runner broke, and the risk of "{suite.name}" ({suite.risk.value}) does not allow '
        "the shell runner to take over ([project] fallback-risks)",
    )
