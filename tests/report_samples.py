"""Run results to render: one with everything in it, the plain ones, hostile ones and large ones.

`python -m tests.report_samples FOLDER [NAME]` writes the files of a sample, to look at.
"""

from __future__ import annotations

import dataclasses
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from ci_runner import errors
from ci_runner.model import (
    Attempt,
    AttemptState,
    CaseResult,
    Counts,
    Event,
    Finding,
    FlagDecision,
    Lease,
    LeaseState,
    Level,
    MachineSpec,
    Outcome,
    Plan,
    Problem,
    Runner,
    RunResult,
    Selection,
    Shard,
    Skip,
    Suite,
    SuiteResult,
    Usage,
    Verdict,
)

START = 1_795_450_502.0  # 2026-11-23T16:15:02Z, as every sample
COMMIT = "3f2a9c1b7d5e4f60718293a4b5c6d7e8f9012345"

HOSTILE = (
    "@everyone and @octocat/team",
    "<!-- hidden --> visible?",
    "</details></summary><script>alert(1)</script>",
    "`````` ``` ` backticks",
    "| pipe | pipe |",
    "first\nsecond\r\nthird\rfourth",
    "::set-output name=verdict::passed",
    "  ::error file=a.py::no",
    "x ##[error]not an error",
    "\x1b[31mred\x1b[0m \x1b]0;title\x07 \x1b[2J",
    "nul \x00 bell \x07 backspace \x08",
    "\u202egnp.exe \u2066 \u200f right to left",
    "emoji 😀 👩‍👩‍👧 é ",
    "</script><img src=x onerror=alert(1)>",
    "[link](javascript:alert(1)) ![track](https://evil.example/p.png) https://evil.example www.evil.example",
    "<img src=https://evil.example/p.png> <a href=javascript:alert(1)>x</a>",
    "'\"><svg/onload=alert(1)>",
    "{{ 7*7 }} {% raw %} ${{ secrets.X }}",
    "&lt;b&gt; &amp; &#64;octocat",
    "$(touch /tmp/pwned) `id` ; rm -rf / '",
    "-rf --help",
    "\udcff\ud800 lone surrogates",
    "# heading\n- list\n> quote\n---",
    "GH-1 #1 org/repo#1 3f2a9c1b7d5e4f60718293a4b5c6d7e8f9012345",
    "mail@evil.example xmpp:a@b.c",
    "\\`escaped\\` \\| \\<b>",
    "",
    "   ",
)

TRACEBACK = """\
def test_label_added_later(plan: Plan) -> None:
        event = replace(EVENT, labels=("docs",), label_added="tpu")

        chosen = {item.suite.name for item in select(event, SETTINGS).selected}

        # a label counts when it is the one just added
>       assert chosen == {"docs", "tpu"}
E       AssertionError: assert {'docs'} == {'docs', 'tpu'}
E
E         Extra items in the right set:
E         'tpu'

tests/test_plan.py:88: AssertionError"""

STACKS = """\
Thread 0x00007f3b0a7fe6c0 (most recent call first):
  File "/usr/lib/python3.11/threading.py", line 324 in wait
  File "/usr/lib/python3.11/threading.py", line 622 in wait

Current thread 0x00007f3b1c0d9740 (most recent call first):
  File "/usr/lib/python3.11/socket.py", line 706 in readinto
  File "/srv/work/kpt/minitorch/collective.py", line 41 in receive
  File "/srv/work/tests/test_collective.py", line 19 in test_all_reduce_waits
  File "/srv/venv/lib/python3.11/site-packages/_pytest/python.py", line 159 in pytest_pyfunc_call
  File "/srv/venv/lib/python3.11/site-packages/pluggy/_callers.py", line 121 in _multicall
"""


def count(cases: Iterable[CaseResult]) -> Counts:
    """Counts of judged cases, quarantined failures apart."""
    seen: Counter[str] = Counter()
    for case in cases:
        red = case.outcome in (Outcome.FAILED, Outcome.ERRORED)
        seen["quarantined" if red and case.quarantined else case.outcome.value] += 1
        seen["tests"] += 1
        seen["flaky"] += case.flaky
    return Counts(**{name: seen[name] for name in Counts.__slots__})


def total(parts: Iterable[Counts]) -> Counts:
    """The sum of counts."""
    items = list(parts)
    return Counts(**{name: sum(getattr(item, name) for item in items) for name in Counts.__slots__})


def suite(name: str = "unit", **values: object) -> Suite:
    """A suite of this name."""
    return dataclasses.replace(Suite(name=name, title=f"{name} tests", tests=("tests",)), **values)  # type: ignore[arg-type]


def attempt(
    name: str, number: int = 1, start: float = 0.5, seconds: float = 49.8, **values: object
) -> Attempt:
    """A finished attempt, its times counted from the start of the run."""
    plain = Attempt(
        id=f"{name}.{number}",
        selection=name,
        suite=name.partition("-")[0],
        number=number,
        runner=Runner.PYTHON,
        lease_id="7f3c-local",
        folder=f"attempts/{name}.{number}",
        log=f"logs/{name}.{number}.log",
        state=AttemptState.FINISHED,
        started_at=START + start,
        ended_at=START + start + seconds,
        exit_code=0,
        usage=Usage(cpu_seconds=seconds * 0.9, peak_memory_bytes=214_000_000),
    )
    return dataclasses.replace(plain, **values)  # type: ignore[arg-type]


def lease(lease_id: str = "7f3c-local", start: float = 0.0, **values: object) -> Lease:
    """A machine that was given back."""
    plain = Lease(
        id=lease_id,
        machine=MachineSpec(name="local"),
        owner="alice",
        run_id="20261123-161502-7f3c",
        suite="unit",
        created_at=START + start,
        expires_at=START + start + 1200,
        state=LeaseState.GONE,
    )
    return dataclasses.replace(plain, **values)  # type: ignore[arg-type]


def case(test: str, outcome: Outcome = Outcome.PASSED, seconds: float = 0.01, **values: object) -> CaseResult:
    """A judged case of suite unit."""
    plain = CaseResult(
        id=test,
        outcome=outcome,
        suite="unit",
        duration_seconds=seconds,
        attempt="unit.1",
        file=test.partition("::")[0],
    )
    return dataclasses.replace(plain, **values)  # type: ignore[arg-type]


def suite_result(cases: Sequence[CaseResult] = (), **values: object) -> SuiteResult:
    """What suite unit came to; the verdict follows from the cases unless it is given."""
    counts = count(cases)
    red = bool(counts.failed or counts.errored)
    verdict = Verdict.INCOMPLETE if counts.missing else Verdict.FAILED if red else Verdict.PASSED
    code = {Verdict.INCOMPLETE: errors.INCOMPLETE, Verdict.FAILED: errors.TESTS_FAILED}.get(
        verdict, errors.OK
    )
    selection = Selection(suite=suite(), reason="named on the command line", rule="command line")
    plain = SuiteResult(
        selection=selection,
        verdict=verdict,
        counts=counts,
        attempts=(attempt("unit", exit_code=int(red)),),
        leases=(lease(),),
        cases=tuple(cases),
        exit_code=code,
    )
    return dataclasses.replace(plain, **values)  # type: ignore[arg-type]


def run_result(*suites: SuiteResult, **values: object) -> RunResult:
    """A run of these suites."""
    codes = [item.exit_code for item in suites]
    order = (Verdict.INCOMPLETE, Verdict.EMPTY, Verdict.FAILED, Verdict.PASSED)
    event = Event(
        kind="local", repository="octo/kpt", branch="topic/labels", commit=COMMIT, default_branch="main"
    )
    plain = RunResult(
        run_id="20261123-161502-7f3c",
        plan=Plan(event=event, selected=tuple(item.selection for item in suites)),
        suites=suites,
        verdict=next(word for word in order if any(item.verdict is word for item in suites)),
        counts=total(item.counts for item in suites),
        started_at=START,
        ended_at=START + 50.3,
        developer="alice",
        exit_code=max(codes),
        findings=tuple(finding for item in suites for finding in item.findings),
    )
    return dataclasses.replace(plain, **values)  # type: ignore[arg-type]


def passing(many: int = 1004) -> list[CaseResult]:
    """Passed tests over a few files, some slow."""
    return [
        case(
            f"tests/test_{('plan', 'codec', 'labels', 'shards')[i % 4]}.py::test_rule[{i}]",
            seconds=1.7 - i * 0.06 if i < 25 else 0.012,
        )
        for i in range(many)
    ]


def green() -> RunResult:
    """1,004 tests passed, one skipped."""
    skipped = case("tests/test_codec.py::test_windows_paths", Outcome.SKIPPED, 0.0, message="needs Windows")
    return run_result(suite_result([*passing(), skipped]))


def red() -> RunResult:
    """Two of 1,004 failed, as in the sketch."""
    failing = [
        case(
            "tests/test_plan.py::test_label_added_later",
            Outcome.FAILED,
            0.021,
            message="AssertionError: assert {'docs'} == {'docs', 'tpu'}",
            line=88,
            details=TRACEBACK,
            output="selecting suites for pull_request labeled\nrule suites.tpu.when.labels: not matched\n",
        ),
        case(
            "tests/test_codec.py::test_round_trip[nan]",
            Outcome.ERRORED,
            0.3,
            message="fixture 'codec' not found",
            line=12,
            details="file /srv/work/tests/test_codec.py, line 12\n  def test_round_trip(codec):\n"
            "E       fixture 'codec' not found\n>       available fixtures: cache, capfd, tmp_path\n",
        ),
    ]
    skipped = case("tests/test_codec.py::test_windows_paths", Outcome.SKIPPED, 0.0, message="needs Windows")
    return run_result(suite_result([*failing, *passing(1001), skipped]))


def hung() -> RunResult:
    """A test hung until the time was up; ten never ran."""
    cases = [
        case("tests/test_collective.py::test_all_reduce_waits", Outcome.MISSING, 0.0, interrupted=True),
        *(case(f"tests/test_collective.py::test_later[{i}]", Outcome.MISSING, 0.0) for i in range(10)),
        *passing(40),
    ]
    timed_out = attempt(
        "unit", state=AttemptState.TIMED_OUT, reason="the time limit of 10 min was reached", exit_code=-15
    )
    return run_result(
        suite_result(
            cases,
            attempts=(timed_out,),
            stacks=STACKS,
            problems=(Problem(kind="missing-tests", text="11 of 51 tests have no result"),),
        )
    )


def setup_failed() -> RunResult:
    """The suite's setup command failed."""
    failed = attempt(
        "unit", state=AttemptState.SETUP_FAILED, reason="setup command 1 ended with exit 1", exit_code=None
    )
    return run_result(
        suite_result(
            verdict=Verdict.INCOMPLETE,
            exit_code=errors.MACHINE,
            attempts=(failed,),
            problems=(
                Problem(
                    kind="setup",
                    text="setup command 1 of \"unit\" ended with exit 1: pip install -e '.[test]'\n"
                    "fix: run it by hand; its output is in logs/unit.1.log",
                ),
            ),
        )
    )


def empty() -> RunResult:
    """No test was collected."""
    return run_result(
        suite_result(
            verdict=Verdict.EMPTY,
            exit_code=errors.INCOMPLETE,
            problems=(Problem(kind="empty", text="pytest collected 0 tests in tests"),),
        )
    )


def no_capacity() -> RunResult:
    """No zone had a machine."""
    selection = Selection(
        suite=suite("tpu", machine="tpu"),
        reason="label run-tpu-tests was added",
        rule="suites.tpu.when.labels",
        evidence="run-tpu-tests",
    )
    return run_result(
        suite_result(
            selection=selection,
            verdict=Verdict.INCOMPLETE,
            exit_code=errors.NO_CAPACITY,
            attempts=(),
            leases=(),
            problems=(
                Problem(
                    kind="capacity",
                    text="no TPU capacity in 3 zones for 20 min (tried us-central1-b, us-east5-b, us-south1-a)\n"
                    'fix: add a zone under [machines.tpu] zones, or set spot = "never"',
                ),
            ),
        )
    )


def everything() -> RunResult:
    """Shards, machines with prices, preemption, flakiness, quarantine, fallback, hanging tests, skips and notes."""
    unit = red().suites[0]
    flaky = case(
        "tests/test_retry.py::test_backoff",
        flaky=True,
        seconds=0.8,
        earlier=(
            case("tests/test_retry.py::test_backoff", Outcome.FAILED, 1.1, message="TimeoutError: 1.0 s"),
        ),
    )
    quarantined = case(
        "tests/test_net.py::test_dns",
        Outcome.FAILED,
        2.0,
        quarantined=True,
        message="gaierror: try again",
        line=7,
    )
    cases = (*unit.cases, flaky, quarantined)
    unit = dataclasses.replace(
        unit,
        cases=cases,
        counts=count(cases),
        attempts=(
            attempt("unit", exit_code=1),
            attempt("unit", 2, 50.5, 1.2, kind="retry", lease_id="7f3c-local"),
        ),
        leases=(lease(notes=("with uncommitted changes (3 files)",)),),
        problems=(
            Problem(
                kind="lying-attribute",
                text='suite "pytest" says failures="0" and holds 2 failures',
                fatal=False,
            ),
        ),
    )
    return run_result(
        unit,
        *_tpu_shards(),
        _hanging_suite(),
        ended_at=START + 431.0,
        cost_usd=0.0712,
        exit_code=errors.INCOMPLETE,
        notes=(
            "with uncommitted changes (3 files)",
            "the merge base is not in this shallow clone: every suite is due",
        ),
        plan=Plan(
            event=Event(
                kind="pull_request",
                action="labeled",
                repository="octo/kpt",
                branch="topic/labels",
                base_branch="main",
                commit=COMMIT,
                pull_request=123,
                labels=("run-tpu-tests",),
                label_added="run-tpu-tests",
                actor="alice",
            ),
            selected=(
                unit.selection,
                *(part.selection for part in _tpu_shards()),
                _hanging_suite().selection,
            ),
            skipped=(
                Skip(suite="gpu", reason="no label run-gpu-tests", rule="suites.gpu.when.labels"),
                Skip(
                    suite="docs",
                    reason="no changed file matches",
                    rule="suites.docs.when.paths",
                    evidence="docs/**",
                ),
            ),
        ),
    )


def _tpu_shards() -> tuple[SuiteResult, ...]:
    spec = MachineSpec(name="tpu", provider="gcp-tpu", type="v6e-1", zones=("us-central1-b", "us-east5-b"))
    parts = []
    for index in (1, 2):
        selection = Selection(
            suite=suite("tpu", machine="tpu", title="TPU tests"),
            reason="label run-tpu-tests was added",
            rule="suites.tpu.when.labels",
            evidence="run-tpu-tests",
            shard=Shard(index=index, total=2, expected_seconds=300.0),
            runner=FlagDecision(
                flag="python-runner", variant=Runner.PYTHON, reason="rollout", text="25 % of tpu", bucket=0.11
            ),
        )
        cases = [
            case(f"tests/test_score_{index}.py::test_batch[{i}]", suite="tpu", seconds=1.5 + i % 7)
            for i in range(90)
        ]
        name = selection.id
        first = lease(
            f"7f3c-{index}-us-central1-b",
            1.0,
            machine=spec,
            zone="us-central1-b",
            spot=True,
            price_per_hour=0.544,
            state=LeaseState.PREEMPTED,
        )
        second = lease(
            f"7f3c-{index}-us-east5-b", 130.0, machine=spec, zone="us-east5-b", spot=True, price_per_hour=0.6
        )
        lost = index == 1
        parts.append(
            suite_result(
                cases,
                selection=selection,
                leases=(first, second) if lost else (second,),
                attempts=(
                    attempt(
                        name,
                        1,
                        42.0,
                        80.0,
                        lease_id=first.id,
                        state=AttemptState.PREEMPTED,
                        exit_code=None,
                        reason="the machine was taken away by its zone",
                    ),
                    attempt(name, 2, 171.0, 210.0, lease_id=second.id, kind="resume"),
                )
                if lost
                else (
                    attempt(name, 1, 172.0, 250.0, lease_id=second.id, runner=Runner.SHELL, kind="fallback"),
                ),
                fallback_reason=None if lost else "plugin-error: the sidecar plugin did not load",
                findings=(
                    Finding(
                        level=Level.NOTICE,
                        subject=name,
                        code="preempted",
                        text=f"machine {first.id} was taken away (loss 1); unfinished tests run on a new one",
                    ),
                )
                if lost
                else (
                    Finding(
                        level=Level.WARNING,
                        subject=name,
                        code="plugin-error",
                        text="shell runner took over: the sidecar plugin did not load",
                    ),
                ),
            )
        )
    return tuple(parts)


def _hanging_suite() -> SuiteResult:
    source = hung().suites[0]
    selection = dataclasses.replace(
        source.selection,
        suite=suite("distributed", timeout_seconds=600.0),
        reason="a changed file matches",
        rule="suites.distributed.when.paths",
        evidence="minitorch/collective.py",
    )
    timed_out = dataclasses.replace(
        source.attempts[0],
        id="distributed.1",
        selection="distributed",
        suite="distributed",
        log="logs/distributed.1.log",
    )
    return dataclasses.replace(
        source,
        selection=selection,
        attempts=(timed_out,),
        cases=tuple(
            dataclasses.replace(item, suite="distributed", attempt="distributed.1") for item in source.cases
        ),
    )


def hostile() -> RunResult:
    """Every hostile text in every place that can hold foreign text."""
    everywhere = " ".join(HOSTILE)
    cases = []
    for i, text in enumerate(HOSTILE):
        values = {
            "message": text,
            "details": f"> {text}\nE {text}\n{everywhere}",
            "output": everywhere,
            "file": text,
        }
        cases.append(case(f"{i}{text}", Outcome.FAILED, 0.1, line=3, **values))
        cases.append(case(f"{i}p{text}", Outcome.PASSED, 0.1))
        cases.append(case(f"{i}s{text}", Outcome.SKIPPED, 0.0, message=text))
        cases.append(case(f"{i}m{text}", Outcome.MISSING, 0.0, interrupted=True))
        cases.append(
            case(
                f"{i}f{text}",
                Outcome.PASSED,
                0.1,
                flaky=True,
                earlier=(case(text, Outcome.FAILED, message=text),),
            )
        )
    cases.append(case("1 MB line", Outcome.FAILED, 0.1, message="x" * 1_000_000, details="y" * 1_000_000))
    machine = MachineSpec(name=everywhere, provider=everywhere, type=everywhere)
    selection = Selection(
        suite=suite(everywhere, title=everywhere),
        reason=everywhere,
        rule=everywhere,
        evidence=everywhere,
        runner=FlagDecision(flag=everywhere, variant=Runner.PYTHON, reason=everywhere, text=everywhere),
    )
    mine = suite_result(
        cases,
        selection=selection,
        leases=(lease(everywhere, machine=machine, zone=everywhere, price_per_hour=1.0),),
        attempts=(
            attempt(
                "unit",
                state=AttemptState.TIMED_OUT,
                reason=everywhere,
                selection=everywhere,
                suite=everywhere,
                id=everywhere,
                lease_id=everywhere,
            ),
        ),
        problems=(
            Problem(kind="truncated", text=everywhere, file=everywhere, line=1),
            Problem(kind="x", text=everywhere, fatal=False),
        ),
        findings=(Finding(level=Level.ERROR, subject=everywhere, text=everywhere),),
        stacks=f'Current thread 0x1 (most recent call first):\n  File "{everywhere}", line 3 in {everywhere}\n',
        fallback_reason=everywhere,
    )
    event = Event(
        kind=everywhere, repository=everywhere, branch=everywhere, commit=everywhere, pull_request=1
    )
    return run_result(
        mine,
        developer=everywhere,
        notes=(everywhere,),
        plan=Plan(
            event=event,
            selected=(selection,),
            skipped=(Skip(suite=everywhere, reason=everywhere, rule=everywhere, evidence=everywhere),),
        ),
    )


def large(many: int = 100_000, failing: int = 50) -> RunResult:
    """Very many tests."""
    cases = [
        case(
            f"tests/package_{i % 100}/test_module_{i % 1000}.py::TestThing::test_behaviour[{i}]",
            Outcome.FAILED if i < failing else Outcome.PASSED,
            0.001 * (i % 97),
            message="AssertionError: no" if i < failing else None,
            details=TRACEBACK if i < failing else None,
        )
        for i in range(many)
    ]
    return run_result(suite_result(cases))


SAMPLES = {
    "green": green,
    "red": red,
    "hung": hung,
    "setup_failed": setup_failed,
    "empty": empty,
    "no_capacity": no_capacity,
    "everything": everything,
    "hostile": hostile,
    "large": large,
}


def main(folder: str, *names: str) -> None:
    """Write the files of the samples, each in a folder of its own."""
    from ci_runner.report.files import write_all

    for name in names or SAMPLES:
        target = Path(folder) / name
        target.mkdir(parents=True, exist_ok=True)
        for problem in write_all(SAMPLES[name](), target):
            print(f"{name}: {problem.text}")
        print(target)


if __name__ == "__main__":
    main(*sys.argv[1:])
