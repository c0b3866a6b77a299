"""`ci-runner ab`: the same suite by both runners, compared test by test."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from ci_runner.checks.ab import ArmRun
    from ci_runner.config.settings import Settings
    from ci_runner.model import Event, Plan, Runner, RunResult

EXAMPLE = "ci-runner ab docs_test --repeats 5"


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the arguments of `ab`."""
    parser.add_argument("suite", metavar="SUITE", help="the suite to run by both runners")
    parser.add_argument(
        "--repeats", type=int, default=5, metavar="N", help="runs for each runner (default: 5)"
    )
    parser.add_argument("--machine", metavar="NAME", help="the machine to use instead of the suite's own")
    parser.add_argument("--config", metavar="FILE", help="the configuration to use (default: found upwards)")
    parser.add_argument("--clean", action="store_true", help="leave uncommitted changes out, as CI does")
    parser.add_argument("--out", metavar="DIR", help="where the run folders go (default: .ci-runner/runs)")
    parser.add_argument(
        "--format", choices=("text", "json"), default="text", help="json: one object on stdout"
    )


def run(arguments: Namespace) -> int:
    """Run both arms alternately, so that whatever drifts on the machine drifts for both, and compare them."""
    from ci_runner import codec, errors
    from ci_runner.checks.ab import Answer, compare, render_table
    from ci_runner.model import Runner

    if arguments.repeats < 1:
        raise errors.UsageError(
            "--repeats must be 1 or more", fix="5 shows gross differences, about 20 small ones"
        )
    settings, plan = _plan(arguments)
    arms: dict[Runner, list[ArmRun]] = {Runner.PYTHON: [], Runner.SHELL: []}
    for number in range(arguments.repeats):
        order = list(arms) if number % 2 == 0 else list(reversed(arms))
        for runner in order:
            result, folder = _once(arguments, settings, plan, runner, number + 1)
            arms[runner].append(_arm(result, runner, folder))
    report = compare(arms[Runner.PYTHON], arms[Runner.SHELL], suite=arguments.suite)
    print(codec.dumps(report).rstrip("\n") if arguments.format == "json" else render_table(report))
    return errors.TESTS_FAILED if report.outcomes is Answer.DIFFERENT else errors.OK


def _plan(arguments: Namespace) -> tuple[Settings, Plan]:
    import os

    from ci_runner.cli import running, trusting
    from ci_runner.errors import UsageError
    from ci_runner.plan.select import empty_reason, select

    settings = running.settings_of(arguments.config, ())
    event = running.event_of(settings, event=None, event_name=None, changed_files=None)

    def made(event: Event) -> Plan:
        return select(event, settings, names=[arguments.suite])

    plan = trusting.trusted_plan(event, settings, os.environ, made)
    trusting.check_skips(plan, asked=True)
    plan = trusting.check(plan, settings, os.environ, machine=arguments.machine)
    if not plan.selected:
        what, fix = empty_reason(plan)
        raise UsageError(what, fix=fix)
    if len(plan.selected) > 1:
        names = [selection.suite.name for selection in plan.selected]
        raise UsageError(
            f'"{arguments.suite}" stands for {len(names)} suites, and one is compared at a time',
            fix=f"name one of: {', '.join(names[:12])}",
        )
    return settings, plan


def _once(
    arguments: Namespace, settings: Settings, plan: Plan, runner: Runner, number: int
) -> tuple[RunResult, Path]:
    """One run of one arm, in a run folder of its own; what happens goes to stderr."""
    from pathlib import Path

    from ci_runner.cli import running, trusting
    from ci_runner.execution.run import execute

    out = Path(arguments.out, f"{runner.value}-{number}") if arguments.out else None
    session = running.session_of(
        settings,
        sys.stderr,
        out=out,
        machine=arguments.machine,
        runner=runner,
        clean=arguments.clean,
        commit=trusting.commit_of(plan),
    )
    session = running.with_caches(running.with_secrets(session, plan), plan)
    result = execute(session, plan)
    running.publish(session, result)
    return result, session.folder.path


def _arm(result: RunResult, runner: Runner, folder: Path) -> ArmRun:
    """What a run says of its arm. Raises an error with the run's exit code if it says nothing."""
    from ci_runner import errors
    from ci_runner.checks.ab import arm_run

    if result.exit_code == errors.CANCELLED:
        raise errors.Cancelled("cancelled; the runs so far were not compared", where=str(folder.parent))
    if result.exit_code not in (errors.OK, errors.TESTS_FAILED):
        known: tuple[type[errors.CiRunnerError], ...] = (
            errors.UsageError,
            errors.CapacityError,
            errors.QuotaError,
            errors.AuthenticationError,
            errors.BudgetError,
            errors.PreemptionError,
            errors.MachineError,
            errors.TrustError,
        )
        kinds = {kind.exit_code: kind for kind in known}
        raise kinds.get(result.exit_code, errors.ResultsError)(
            f"the {runner.value} runner gave no result to compare (exit {result.exit_code})",
            where=str(folder),
            fix="read the report there; A/B needs runs that end",
        )
    (suite,) = result.suites
    if suite.fallback_reason is not None:
        raise errors.ResultsError(
            f"the {runner.value} runner broke and the other took over: {suite.fallback_reason}",
            where=str(folder),
            fix="read the report there; A/B needs both runners whole",
        )
    first = suite.attempts[0]
    return arm_run(
        suite.cases, duration_seconds=first.duration_seconds, peak_memory_bytes=first.usage.peak_memory_bytes
    )
