"""One selection on machines that fail: taken away, sick, not to be had, cancelled, not to be given back."""

from __future__ import annotations

import dataclasses
import itertools
import json
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any, cast
from xml.sax.saxutils import quoteattr

import pytest

from ci_runner import errors
from ci_runner.config.settings import Settings
from ci_runner.errors import CiRunnerError
from ci_runner.execution.folder import RunFolder
from ci_runner.execution.listener import Listener
from ci_runner.execution.selection import run_selection
from ci_runner.execution.session import Cancellation, Session
from ci_runner.model import (
    AttemptState,
    Lease,
    LeaseState,
    Level,
    MachineSpec,
    Outcome,
    Risk,
    Runner,
    Selection,
    Shard,
    Suite,
    SuiteResult,
    Verdict,
)
from ci_runner.providers.base import Offer, Source
from ci_runner.providers.book import Book
from ci_runner.providers.failures import TakenError
from ci_runner.providers.fake import FakeProvider
from ci_runner.remote.base import Completed, Job, JobStatus, Shell
from ci_runner.remote.fake import FakeShell, Scripted
from ci_runner.results.sidecar import junit_name
from ci_runner.results.whole import cost_of

FILE = "tests/test_a.py"
FIVE = tuple(f"{FILE}::test_{number}" for number in range(1, 6))
PROBE = b'{"pytest": "8.3.0", "python": "3.12.1", "disk_free": 99999999999, "clock": 1800000000}\n'
LONG = 1000.0  # seconds on the fake clock: longer than any of these tests lets a job run


@dataclasses.dataclass
class World:
    """What the machines do: outcomes of tests by try, and what befalls which job."""

    tests: tuple[str, ...] = FIVE
    outcomes: dict[str, list[str]] = dataclasses.field(default_factory=dict)  # the last one stays
    lost_after: dict[str, int] = dataclasses.field(default_factory=dict)  # job → tests that end before
    broken: set[str] = dataclasses.field(default_factory=set)  # jobs in which a plugin breaks pytest
    silent: set[str] = dataclasses.field(default_factory=set)  # jobs that hang before they write anything
    exits: dict[str, int] = dataclasses.field(default_factory=dict)  # job → exit code, without any output
    ran: dict[str, list[str]] = dataclasses.field(default_factory=dict)  # job → tests that it was to run
    on_wait: Callable[[str], None] = lambda _job: None

    def outcome(self, test: str) -> str:
        """What the test comes to this time."""
        left = self.outcomes.get(test, ["passed"])
        return left.pop(0) if len(left) > 1 else left[0]


class Machine(FakeShell):
    """A machine that plays pytest: it writes what the sidecar plugin and `--junitxml` would."""

    def __init__(self, world: World, preempt: Callable[[], None], lease_id: str) -> None:
        super().__init__(lease_id=lease_id, root=f"/fake/{lease_id}")
        self.world, self.preempt = world, preempt
        self.files[f"{self.work}/{FILE}"] = b""
        self.answers = lambda _argv, _stdin: Completed(exit_code=0, stdout=PROBE, stderr=b"")

    def start(self, job: Job) -> None:
        """Write down at once what the job would write in its time."""
        world = self.world
        if ".setup" not in job.id:
            chosen = self.files.get(f"{job.folder}/select.json")
            tests = json.loads(chosen) if chosen else list(world.tests)
            world.ran[job.id] = tests
            self.scripts[job.id] = self.play(job, tests)
        super().start(job)

    def play(self, job: Job, tests: list[str]) -> Scripted:
        """The files of the job, and how it ends."""
        world, name = self.world, job.id
        if name in world.exits:
            return Scripted(exit_code=world.exits[name])
        if name in world.silent:
            return Scripted(seconds=LONG)
        python, lost = "CI_RUNNER_SIDECAR" in job.env, world.lost_after.get(name)
        listing = "--collect-only" in job.argv
        ended = [] if listing else [(test, world.outcome(test)) for test in tests[:lost]]
        if python:
            self.write_sidecar(job, tests, ended, tests[lost] if lost is not None else None)
        if name in world.broken:
            return Scripted(exit_code=3)
        if lost is not None:
            return Scripted(seconds=LONG)
        self.write_junit(job, ended)
        return Scripted(exit_code=int(any(outcome == "failed" for _, outcome in ended)), seconds=0.3)

    def write_sidecar(
        self, job: Job, tests: list[str], ended: list[tuple[str, str]], running: str | None
    ) -> None:
        """What the plugin tells; without `running` the session comes to its end."""
        lines: list[dict[str, Any]] = [
            {"event": "session", "v": 1, "pid": 1},
            {"event": "collected", "tests": tests},
        ]
        if job.id not in self.world.broken:
            for test, outcome in ended:
                lines.append({"event": "start", "id": test})
                lines.append({"event": "end", "id": test, "outcome": outcome, "duration": 0.1})
        if running is not None:
            lines.append({"event": "start", "id": running})
        elif job.id in self.world.broken:
            lines.append({"event": "exit", "status": 3})
        else:
            failed = any(outcome == "failed" for _, outcome in ended)
            lines.append({"event": "exit", "status": int(failed)})
        text = "".join(json.dumps(line, separators=(",", ":")) + "\n" for line in lines)
        self.files[f"{job.folder}/sidecar.jsonl"] = text.encode()

    def write_junit(self, job: Job, ended: list[tuple[str, str]]) -> None:
        """What `--junitxml` leaves."""
        cases = []
        for test, outcome in ended:
            classname, name = junit_name(test)
            inside = "<failure message='no'/>" if outcome == "failed" else ""
            cases.append(
                f"<testcase classname={quoteattr(classname)} name={quoteattr(name)} time='0.1'>{inside}</testcase>"
            )
        text = f"<testsuites><testsuite name='pytest'>{''.join(cases)}</testsuite></testsuites>"
        self.files[f"{job.folder}/junit/pytest.xml"] = text.encode()

    def wait(self, job: Job, *, seconds: float) -> JobStatus | None:
        """Take the machine away when its time has come."""
        self.world.on_wait(job.id)
        if job.id in self.world.lost_after and self.now >= 1.0:
            del self.world.lost_after[job.id]
            self.world.silent.discard(job.id)
            self.preempt()
        return super().wait(job, seconds=seconds)


class Cloud(FakeProvider):
    """Lends such machines; what it cannot do can be set."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self.world = world
        self.leased: list[Lease] = []
        self.release_error: Exception | None = None
        self.describe_error: CiRunnerError | None = None
        self.stay_ready = False  # a connection is lost and the machine is not

    def acquire(self, lease: Lease, offer: Offer, source: Source, *, seconds: float) -> Lease:
        """A machine that plays."""
        ready = super().acquire(lease, offer, source, seconds=seconds)
        self._shells[ready.id] = Machine(self.world, lambda: self.take(ready), ready.id)
        self.leased.append(ready)
        return ready

    def take(self, lease: Lease) -> None:
        """The machine goes away, or only its network does."""
        if self.stay_ready:
            self.shell(lease).broken = "connection lost"
        else:
            self.preempt(lease)

    def describe(self, lease: Lease) -> LeaseState:
        """The state, unless the cloud does not answer."""
        if self.describe_error is not None:
            raise self.describe_error
        return super().describe(lease)

    def release(self, lease: Lease) -> None:
        """Give it back, unless that fails."""
        if self.release_error is not None:
            raise self.release_error
        super().release(lease)


class Impatient(Cancellation):
    """Waits as others do, and not as long: what is tried again after a pause is tried again at once."""

    def wait(self, seconds: float) -> bool:
        """Whether the request has come."""
        return super().wait(min(seconds, 0.01))


class Heard:
    """A listener that keeps what it is told."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, Any]] = []

    def __getattr__(self, name: str) -> Callable[..., None]:
        def note(*words: Any) -> None:
            self.calls.append((name, words[0]))

        return note

    def of(self, name: str) -> list[Any]:
        """What one kind of call said first."""
        return [said for called, said in self.calls if called == name]


@dataclasses.dataclass
class Stage:
    """Everything that one selection needs to run in memory."""

    world: World
    cloud: Cloud
    heard: Heard
    session: Session
    suite: Suite

    def run(self, *, shard: Shard | None = None, **suite: Any) -> SuiteResult:
        """Run the suite as one selection."""
        chosen = dataclasses.replace(self.suite, **suite)
        return run_selection(self.session, Selection(suite=chosen, reason="test", rule="test", shard=shard))

    def configure(self, **settings: Any) -> None:
        """Change the settings of the run."""
        changed = dataclasses.replace(self.session.settings, **settings)
        self.session = dataclasses.replace(self.session, settings=changed)


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    world, heard = World(), Heard()
    cloud = Cloud(world)
    folder = RunFolder(tmp_path / "run")
    folder.create()
    machine = MachineSpec(name="tpu", provider="fake", zones=("z1",))
    tick = itertools.count(1_800_000_000.0, 0.5)
    session = Session(
        run_id="20260101-000000-7f3c",
        folder=folder,
        settings=Settings(root=tmp_path, machines={"tpu": machine}),
        listener=cast("Listener", heard),
        source=Source(root=str(tmp_path), commit="c"),
        provider_of=lambda _name: cloud,
        book=Book,
        developer="someone",
        environ={},
        cancellation=Impatient(),
        today=date(2026, 1, 1),
        clock=lambda: next(tick),
    )
    suite = Suite(name="unit", title="Unit", tests=("tests",), machine="tpu")
    return Stage(world=world, cloud=cloud, heard=heard, session=session, suite=suite)


def outcomes(result: SuiteResult) -> dict[str, str]:
    return {case.id.rpartition("::")[2]: case.outcome.value for case in result.cases}


def kinds(result: SuiteResult) -> list[tuple[str, str]]:
    return [(attempt.kind, attempt.state.value) for attempt in result.attempts]


def all_released(stage: Stage) -> bool:
    return not stage.cloud.leases() and [lease.id for lease in stage.cloud.leased] == stage.cloud.released


# -- the plain case


def test_a_green_suite_needs_one_machine_which_is_given_back(stage: Stage) -> None:
    result = stage.run()
    assert (result.verdict, result.exit_code) == (Verdict.PASSED, errors.OK)
    assert outcomes(result) == {f"test_{number}": "passed" for number in range(1, 6)}
    assert [lease.state for lease in result.leases] == [LeaseState.GONE]
    assert all_released(stage)
    assert stage.heard.of("released")[0].id == result.leases[0].id
    assert stage.heard.of("suite_ended") == [result]


def test_setup_runs_once_on_each_machine_and_its_failure_is_no_test_failure(stage: Stage) -> None:
    stage.world.lost_after = {"unit.1": 2}
    result = stage.run(setup=("make",))
    assert result.exit_code == errors.OK, result.problems
    folders = sorted(path.name for path in (stage.session.folder.path / "attempts").glob("*/setup1"))
    assert folders == ["setup1", "setup1"]


# -- a machine is taken away


def test_a_resumed_run_runs_only_what_is_unfinished_and_counts_each_test_once(stage: Stage) -> None:
    stage.world.lost_after = {"unit.1": 2}
    stage.world.outcomes = {FIVE[4]: ["failed"]}
    result = stage.run()
    assert stage.world.ran == {"unit.1": list(FIVE), "unit.2": list(FIVE[2:])}
    assert kinds(result) == [("suite", "preempted"), ("resume", "finished")]
    assert (result.counts.tests, result.counts.passed, result.counts.failed) == (5, 4, 1)
    assert (result.verdict, result.exit_code) == (Verdict.FAILED, errors.TESTS_FAILED)
    assert [lease.state for lease in result.leases] == [LeaseState.PREEMPTED, LeaseState.GONE]
    (finding,) = result.findings
    assert finding.code == "preempted"
    assert "loss 1: connection lost" in finding.text
    assert "run on a new one" in finding.text
    assert all_released(stage)


def test_a_machine_may_be_lost_again_and_again_within_the_limit(stage: Stage) -> None:
    stage.world.lost_after = {"unit.1": 1, "unit.2": 2, "unit.3": 0}
    result = stage.run()
    assert [len(tests) for tests in stage.world.ran.values()] == [5, 4, 2, 2]
    assert (result.exit_code, result.counts.passed, result.counts.tests) == (errors.OK, 5, 5)
    assert all_released(stage)


def test_more_losses_than_the_limit_are_preemption_with_a_fix_and_keep_what_is_known(stage: Stage) -> None:
    stage.configure(resume_limit=1)
    stage.world.lost_after = {"unit.1": 2, "unit.2": 1}
    result = stage.run()
    assert (result.verdict, result.exit_code) == (Verdict.INCOMPLETE, errors.PREEMPTED)
    assert (result.counts.passed, result.counts.missing) == (3, 2)
    problem = result.problems[-1]
    assert problem.kind == "preemption"
    assert "taken away 2 times (the last time: connection lost)" in problem.text
    assert "resume-limit" in problem.text
    assert "no more may be leased" in result.findings[-1].text
    assert all_released(stage)


def test_no_resume_at_all_if_the_limit_is_zero(stage: Stage) -> None:
    stage.configure(resume_limit=0)
    stage.world.lost_after = {"unit.1": 2}
    assert stage.run().exit_code == errors.PREEMPTED
    assert len(stage.cloud.leased) == 1


def test_a_machine_that_is_about_to_be_taken_away_is_left_in_time(stage: Stage) -> None:
    stage.configure(machines={"tpu": MachineSpec(name="tpu", provider="fake", spot="only")})
    stage.cloud._offers = lambda spec: [Offer(machine=spec, zone="z1", spot=True)]
    stage.world.silent = {"unit.1"}

    def warn(job: str) -> None:
        if job == "unit.1":
            stage.cloud.notices[stage.cloud.leased[0].id] = "action terminate at 12:00"

    stage.world.on_wait = warn
    result = stage.run()
    assert (result.exit_code, result.counts.passed) == (errors.OK, 5), result.problems
    assert kinds(result) == [("suite", "preempted"), ("resume", "finished")]
    assert "the machine is being taken away: action terminate at 12:00" in str(result.attempts[0].reason)
    assert all_released(stage)


def test_a_cloud_that_does_not_say_whether_the_machine_stays_ends_nothing(stage: Stage) -> None:
    stage.configure(machines={"tpu": MachineSpec(name="tpu", provider="fake", spot="only")})
    stage.cloud._offers = lambda spec: [Offer(machine=spec, zone="z1", spot=True)]

    def fail(_lease: Lease, _shell: Shell) -> str | None:
        raise errors.MachineError("no answer")

    stage.cloud.notice = fail  # type: ignore[method-assign,assignment]
    assert stage.run().exit_code == errors.OK


@pytest.mark.parametrize("ended", range(20))
def test_preempted_at_any_test_each_test_counts_once(stage: Stage, ended: int) -> None:
    stage.world.tests = tuple(f"{FILE}::test_{number}" for number in range(20))
    stage.world.outcomes = {f"{FILE}::test_7": ["failed"]}
    stage.world.lost_after = {"unit.1": ended}
    result = stage.run()
    assert [case.id for case in result.cases] == list(stage.world.tests)
    assert (result.counts.tests, result.counts.passed, result.counts.failed) == (20, 19, 1)
    assert stage.world.ran["unit.2"] == list(stage.world.tests[ended:])
    assert all_released(stage)


def test_a_machine_lost_before_it_was_looked_at_is_a_failed_try(stage: Stage) -> None:
    original = stage.cloud.acquire

    def acquire(lease: Lease, offer: Offer, source: Source, *, seconds: float) -> Lease:
        ready = original(lease, offer, source, seconds=seconds)
        if len(stage.cloud.leased) == 1:
            stage.cloud.preempt(ready)
        return ready

    stage.cloud.acquire = acquire  # type: ignore[method-assign]
    result = stage.run()
    assert (result.exit_code, result.counts.passed) == (errors.OK, 5), result.problems
    assert kinds(result) == [("suite", "finished")]
    (lease,) = result.leases
    assert [tried.failure for tried in lease.tries] == ["unknown", None]
    assert "connection lost" in lease.tries[0].text
    assert all_released(stage)


def test_a_sick_machine_is_given_back_and_replaced(stage: Stage) -> None:
    sick = Completed(exit_code=0, stdout=b'{"python": "3.12.1", "disk_free": 0}\n', stderr=b"")
    original = stage.cloud.acquire

    def acquire(lease: Lease, offer: Offer, source: Source, *, seconds: float) -> Lease:
        ready = original(lease, offer, source, seconds=seconds)
        if len(stage.cloud.leased) == 1:
            stage.cloud.shell(ready).answers = lambda _argv, _stdin: sick
        return ready

    stage.cloud.acquire = acquire  # type: ignore[method-assign]
    result = stage.run()
    assert (result.exit_code, result.counts.passed) == (errors.OK, 5), result.problems
    assert "the machine is sick: 0.0 GiB of disk are free" in result.leases[0].tries[0].text
    assert len(stage.cloud.leased) == 2
    assert len(stage.cloud.released) == 2


# -- what is lost, retried and taken over


def test_a_lost_connection_to_a_machine_that_is_still_there_gives_it_back_too(stage: Stage) -> None:
    stage.cloud.stay_ready = True
    stage.world.lost_after = {"unit.1": 2}
    result = stage.run()
    assert result.exit_code == errors.OK
    assert all_released(stage)


def test_a_new_machine_that_cannot_be_had_says_so_and_keeps_what_is_known(stage: Stage) -> None:
    stage.world.lost_after = {"unit.1": 2}
    stage.world.on_wait = lambda _job: stage.cloud.fail_next.__setitem__(
        slice(None), [errors.CapacityError("no zone has any", fix="add a zone")]
    )
    result = stage.run()
    assert (result.verdict, result.exit_code) == (Verdict.INCOMPLETE, errors.NO_CAPACITY)
    assert (result.counts.passed, result.counts.missing) == (2, 3)
    assert "fix: add a zone" in result.problems[-1].text


def test_the_end_of_the_time_that_was_allowed_is_no_reason_for_another_machine(stage: Stage) -> None:
    machine = dataclasses.replace(stage.session.settings.machines["tpu"], max_minutes=3 / 60)
    stage.configure(machines={"tpu": machine})
    stage.world.lost_after = {"unit.1": 2}
    result = stage.run()
    assert result.exit_code == errors.MACHINE
    assert "max-minutes" in result.problems[-1].text
    assert len(stage.cloud.leased) == 1
    assert all_released(stage)


def test_a_job_that_dies_with_its_machine_is_resumed_and_not_retried_there(stage: Stage) -> None:
    def die(job: str) -> None:
        if job == "unit.1":
            lease = stage.cloud.leased[0]
            stage.cloud._leases[lease.id] = dataclasses.replace(lease, state=LeaseState.PREEMPTED)

    stage.world.exits = {"unit.1": -15}
    stage.world.on_wait = die
    result = stage.run(retries=2)
    assert kinds(result) == [("suite", "preempted"), ("resume", "finished")]
    assert result.exit_code == errors.OK
    assert result.fallback_reason is None
    saved = json.loads((stage.session.folder.path / "attempts/unit.1/attempt.json").read_text())
    assert saved["state"] == "preempted"


def test_each_machine_costs_until_its_own_end(stage: Stage) -> None:
    stage.cloud._offers = lambda spec: [Offer(machine=spec, price_per_hour=3600.0)]
    stage.world.lost_after = {"unit.1": 2}
    result = stage.run()
    first, second = result.attempts
    assert first.ended_at is not None
    assert second.ended_at is not None
    held = [
        first.ended_at - result.leases[0].created_at,
        second.ended_at - result.leases[1].created_at,
    ]
    assert cost_of(result) == pytest.approx(sum(held))
    assert sum(held) < 2 * (second.ended_at - result.leases[0].created_at)


def test_what_passes_when_tried_again_is_flaky(stage: Stage) -> None:
    stage.world.outcomes = {FIVE[1]: ["failed", "passed"]}
    result = stage.run(retries=2)
    assert stage.world.ran == {"unit.1": list(FIVE), "unit.2": [FIVE[1]]}
    assert (result.counts.flaky, result.counts.passed, result.exit_code) == (1, 4, errors.OK)


def test_what_keeps_failing_is_tried_as_often_as_is_allowed(stage: Stage) -> None:
    stage.world.outcomes = {FIVE[1]: ["failed"], FIVE[2]: ["failed", "failed", "passed"]}
    result = stage.run(retries=2)
    assert list(stage.world.ran.values())[1:] == [[FIVE[1]], [FIVE[2]], [FIVE[1]], [FIVE[2]]]
    assert (result.counts.flaky, result.counts.failed, result.exit_code) == (1, 1, errors.TESTS_FAILED)


def test_more_failures_than_the_limit_are_no_flakiness(stage: Stage) -> None:
    stage.configure(retry_limit=1)
    stage.world.outcomes = {FIVE[1]: ["failed", "passed"], FIVE[2]: ["failed", "passed"]}
    result = stage.run(retries=3)
    assert len(result.attempts) == 1
    assert result.exit_code == errors.TESTS_FAILED
    (finding,) = result.findings
    assert (finding.code, finding.level) == ("no-retry", Level.NOTICE)
    assert "2 tests failed, more than retry-limit (1)" in finding.text


def test_a_machine_lost_in_a_retry_is_replaced_for_the_retry_alone(stage: Stage) -> None:
    stage.world.outcomes = {FIVE[1]: ["failed", "passed"], FIVE[2]: ["failed", "passed"]}
    stage.world.lost_after = {"unit.2": 0}
    result = stage.run(retries=1, setup=("make",))
    assert list(stage.world.ran.values()) == [list(FIVE), [FIVE[1]], [FIVE[1]], [FIVE[2]]]
    assert kinds(result) == [
        ("suite", "finished"), ("retry", "preempted"), ("retry", "finished"), ("retry", "finished")
    ]  # fmt: skip
    assert (result.counts.flaky, result.counts.tests, result.exit_code) == (2, 5, errors.OK), result.problems
    set_up = sorted(p.parent.name for p in (stage.session.folder.path / "attempts").glob("*/setup1"))
    assert set_up == ["unit.1", "unit.3"]
    assert all_released(stage)


def test_a_retry_whose_machine_is_not_replaced_stays_red(stage: Stage) -> None:
    stage.configure(resume_limit=0)
    stage.world.outcomes = {FIVE[1]: ["failed", "passed"]}
    stage.world.lost_after = {"unit.2": 0}
    result = stage.run(retries=1)
    assert (result.verdict, result.exit_code) == (Verdict.INCOMPLETE, errors.PREEMPTED)
    assert result.counts.failed == 1


@pytest.mark.parametrize("risk", [Risk.LOW, Risk.MEDIUM])
def test_a_fault_of_the_runner_lets_the_shell_runner_take_over(stage: Stage, risk: Risk) -> None:
    stage.world.broken = {"unit.1"}
    result = stage.run(risk=risk)
    assert [attempt.runner for attempt in result.attempts] == [Runner.PYTHON, Runner.SHELL]
    assert (result.exit_code, result.counts.passed, result.counts.tests) == (errors.OK, 5, 5), result.problems
    assert str(result.fallback_reason).startswith("plugin-error: ")
    (finding,) = result.findings
    assert (finding.level, finding.code) == (Level.WARNING, "plugin-error")
    assert len(stage.cloud.leased) == 1


def test_a_high_risk_refuses_the_shell_runner_and_says_which_setting_decides(stage: Stage) -> None:
    stage.world.broken = {"unit.1"}
    result = stage.run(risk=Risk.HIGH)
    assert (result.verdict, result.exit_code) == (Verdict.INCOMPLETE, errors.INCOMPLETE)
    assert result.fallback_reason is None
    assert any(p.kind == "no-fallback" and "fallback-risks" in p.text for p in result.problems)
    assert [attempt.runner for attempt in result.attempts] == [Runner.PYTHON]


def test_a_failing_test_never_falls_back(stage: Stage) -> None:
    stage.world.outcomes = {FIVE[1]: ["failed"]}
    result = stage.run()
    assert (result.fallback_reason, result.exit_code) == (None, errors.TESTS_FAILED)


def test_a_machine_lost_under_the_shell_runner_gives_all_of_it_to_the_shell_runner_again(
    stage: Stage,
) -> None:
    stage.world.broken = {"unit.1"}
    stage.world.lost_after = {"unit.2": 3}
    result = stage.run()
    assert [(a.runner, a.kind) for a in result.attempts] == [
        (Runner.PYTHON, "suite"), (Runner.SHELL, "fallback"), (Runner.SHELL, "fallback")
    ]  # fmt: skip
    assert (result.exit_code, result.counts.passed, result.counts.tests) == (errors.OK, 5, 5), result.problems


def test_the_shell_runner_that_takes_over_a_resumed_run_runs_everything(stage: Stage) -> None:
    stage.world.lost_after = {"unit.1": 2}
    stage.world.broken = {"unit.2"}
    result = stage.run()
    assert [a.kind for a in result.attempts] == ["suite", "resume", "fallback"]
    assert (result.exit_code, result.counts.passed, result.counts.missing) == (errors.OK, 5, 0), (
        result.problems
    )


# -- a machine that cannot be had


@pytest.mark.parametrize(
    ("error", "code", "kind"),
    [
        (errors.CapacityError("no zone has any", fix="add a zone"), errors.NO_CAPACITY, "capacity"),
        (errors.QuotaError("0 of 8 chips allowed", fix="ask for more"), errors.QUOTA, "quota"),
        (
            errors.AuthenticationError("not known", fix="log in", where="gcp"),
            errors.AUTHENTICATION,
            "authentication",
        ),
        (errors.MachineError("it never booted", fix="read the console"), errors.MACHINE, "machine"),
    ],
)
def test_a_machine_that_cannot_be_had_is_the_result_and_is_released_all_the_same(
    stage: Stage, error: CiRunnerError, code: int, kind: str
) -> None:
    stage.cloud.fail_next = [error]
    result = stage.run()
    assert (result.verdict, result.exit_code) == (Verdict.INCOMPLETE, code)
    (problem,) = result.problems
    assert problem.kind == kind
    assert error.what in problem.text
    assert f"fix: {error.fix}" in problem.text
    assert result.attempts == ()
    assert not stage.cloud.leases()
    assert len(stage.cloud.released) == 1


def test_a_provider_without_offers_has_no_capacity(stage: Stage) -> None:
    stage.cloud._offers = lambda _spec: []
    result = stage.run()
    assert result.exit_code == errors.NO_CAPACITY
    assert "machines.tpu" in result.problems[0].text


def test_what_was_never_asked_for_is_not_given_back_either(stage: Stage) -> None:
    def no_type(_spec: MachineSpec) -> list[Offer]:
        raise errors.ConfigurationError("there is no such type")

    stage.cloud._offers = no_type
    stage.cloud.release_error = errors.MachineError("the cloud does not answer")
    result = stage.run()
    (problem,) = result.problems
    assert "there is no such type" in problem.text
    assert result.findings == ()


def test_what_another_run_has_under_the_same_id_is_not_given_back(stage: Stage) -> None:
    stage.cloud.fail_next = [TakenError("another run has a machine", fix="start this run again")]
    result = stage.run()
    assert (result.exit_code, result.leases) == (errors.MACHINE, ())
    assert "another run has a machine" in result.problems[0].text
    assert stage.cloud.released == []


def test_a_machine_that_cannot_be_used_is_its_fault(stage: Stage) -> None:
    original = stage.cloud.acquire

    def acquire(lease: Lease, offer: Offer, source: Source, *, seconds: float) -> Lease:
        ready = original(lease, offer, source, seconds=seconds)
        stage.cloud.shell(ready).broken = "permission denied"
        return ready

    stage.cloud.acquire = acquire  # type: ignore[method-assign]
    result = stage.run()
    assert (result.exit_code, result.attempts) == (errors.MACHINE, ())
    assert "permission denied" in result.problems[0].text
    assert all_released(stage)


# -- cancellation


def test_a_cancellation_in_the_middle_gives_the_machine_back_and_keeps_what_ran(stage: Stage) -> None:
    stage.world.lost_after = {"unit.1": 2}

    def cancel(_job: str) -> None:
        stage.session.cancellation.request("SIGINT")

    stage.world.on_wait = cancel
    result = stage.run(retries=2)
    assert (result.verdict, result.exit_code) == (Verdict.INCOMPLETE, errors.CANCELLED)
    assert result.problems[-1].kind == "cancelled"
    assert [attempt.state for attempt in result.attempts] == [AttemptState.CANCELLED]
    assert all_released(stage)


def test_a_cancellation_before_anything_leases_nothing(stage: Stage) -> None:
    stage.session.cancellation.request("SIGTERM")
    result = stage.run()
    assert result.exit_code == errors.CANCELLED
    assert stage.cloud.leased == []
    assert "cancelled by SIGTERM" in result.problems[0].text


def test_a_cancellation_while_a_machine_is_made_is_no_fault_of_the_machine(stage: Stage) -> None:
    def acquire(lease: Lease, offer: Offer, source: Source, *, seconds: float) -> Lease:
        stage.session.cancellation.request("SIGTERM")
        raise errors.MachineError("the machine went away while it was made")

    stage.cloud.acquire = acquire  # type: ignore[method-assign]
    result = stage.run()
    assert (result.exit_code, result.problems[-1].kind) == (errors.CANCELLED, "cancelled")


def test_a_cancellation_during_setup_ends_the_attempt_on_disk_too(stage: Stage) -> None:
    stage.world.on_wait = lambda _job: stage.session.cancellation.request("SIGINT")
    result = stage.run(setup=("make",))
    assert result.exit_code == errors.CANCELLED
    saved = json.loads((stage.session.folder.path / "attempts/unit.1/attempt.json").read_text())
    assert (saved["state"], saved["reason"]) == ("cancelled", "cancelled by SIGINT")
    assert [attempt.id for attempt in stage.heard.of("attempt_ended")] == ["unit.1"]


# -- giving back


@pytest.mark.parametrize(
    "error", [errors.MachineError("the API is down", fix="try again"), OSError(5, "Input/output error")]
)
def test_a_machine_that_cannot_be_given_back_is_told_and_hides_no_result(
    stage: Stage, error: Exception
) -> None:
    stage.cloud.release_error = error
    stage.world.outcomes = {FIVE[1]: ["failed"]}
    result = stage.run()
    assert (result.verdict, result.exit_code) == (Verdict.FAILED, errors.TESTS_FAILED)
    (finding,) = result.findings
    (lease,) = stage.cloud.leased
    assert (finding.level, finding.code) == (Level.ERROR, "not-released")
    assert lease.id in finding.text
    assert "the reaper takes it after 2027-" in finding.text
    assert "ci-runner machines release" in finding.text
    assert str(error) in finding.text
    assert stage.heard.of("note") == [finding.text]
    assert stage.heard.of("released") == []
    assert result.leases[0].state is LeaseState.RELEASING


def test_a_release_that_fails_does_not_hide_why_the_machine_was_not_had(stage: Stage) -> None:
    stage.cloud.fail_next = [errors.QuotaError("0 of 8 chips allowed")]
    stage.cloud.release_error = errors.MachineError("the API is down")
    result = stage.run()
    assert result.exit_code == errors.QUOTA
    assert result.findings[0].code == "not-released"


def test_a_state_that_cannot_be_asked_for_does_not_spoil_a_green_suite(stage: Stage) -> None:
    stage.cloud.describe_error = errors.AuthenticationError("the token has expired")
    assert stage.run().exit_code == errors.OK


def test_a_state_that_cannot_be_asked_for_leaves_the_attempt_as_it_was(stage: Stage) -> None:
    stage.cloud.describe_error = errors.AuthenticationError("the token has expired")
    stage.world.exits = {"unit.1": -11}
    result = stage.run(risk=Risk.HIGH)
    assert result.attempts[0].state is AttemptState.KILLED
    assert "the token has expired" in stage.heard.of("note")[0]


# -- shards and choices


def test_a_shard_is_listed_there_and_only_its_tests_run(stage: Stage) -> None:
    seen: list[str] = []
    for index in (1, 2):
        result = stage.run(shard=Shard(index=index, total=2), setup=("make",))
        assert result.exit_code == errors.OK, result.problems
        seen += [case.id for case in result.cases]
        set_up = sorted(p.parent.name for p in (stage.session.folder.path / "attempts").glob("*/setup1"))
        assert f"unit-{index}of2.1" not in set_up
    assert sorted(seen) == sorted(FIVE)


def test_a_shard_whose_machine_is_lost_owes_only_its_own_tests(stage: Stage) -> None:
    stage.world.lost_after = {"unit-1of2.1": 1}
    result = stage.run(shard=Shard(index=1, total=2))
    first, second = stage.world.ran["unit-1of2.1"], stage.world.ran["unit-1of2.2"]
    assert second == first[1:]
    assert result.counts.tests == len(first)
    assert result.exit_code == errors.OK


def test_a_machine_lost_while_a_shard_is_listed_is_replaced(stage: Stage) -> None:
    stage.world.lost_after = {"unit-1of2.0": 0}
    stage.world.silent = {"unit-1of2.0"}
    result = stage.run(shard=Shard(index=1, total=2))
    assert result.exit_code == errors.OK, result.problems
    assert len(stage.cloud.leased) == 2
    assert all_released(stage)


def test_a_name_that_leads_nowhere_is_usage_and_is_written_down(stage: Stage) -> None:
    result = stage.run(tests=("tests.test_b.TestC",))
    assert result.exit_code == errors.USAGE
    assert "tests/test_b.py" in result.problems[-1].text
    saved = json.loads((stage.session.folder.path / "attempts/unit.1/attempt.json").read_text())
    assert saved["state"] == "setup-failed"
    assert all_released(stage)


def test_the_command_line_may_force_the_runner(stage: Stage) -> None:
    stage.session = dataclasses.replace(stage.session, runner=Runner.SHELL)
    result = stage.run()
    assert [attempt.runner for attempt in result.attempts] == [Runner.SHELL]
    assert result.selection.runner is not None
    assert result.selection.runner.reason == "command-line"
    assert {case.outcome for case in result.cases} == {Outcome.PASSED}


def test_the_shell_runner_retries_the_whole_suite(stage: Stage) -> None:
    stage.session = dataclasses.replace(stage.session, runner=Runner.SHELL)
    stage.world.outcomes = {FIVE[1]: ["failed", "passed"]}
    result = stage.run(retries=1)
    assert [len(tests) for tests in stage.world.ran.values()] == [5, 5]
    assert (result.counts.flaky, result.exit_code) == (1, errors.OK)


def test_the_shell_runner_starts_again_on_a_new_machine(stage: Stage) -> None:
    stage.session = dataclasses.replace(stage.session, runner=Runner.SHELL)
    stage.world.lost_after = {"unit.1": 2}
    result = stage.run()
    assert kinds(result) == [("suite", "preempted"), ("resume", "finished")]
    assert (result.counts.passed, result.counts.tests, result.exit_code) == (5, 5, errors.OK), result.problems
