"""`ci-runner run`: the whole flow on this machine or a leased one."""

from __future__ import annotations

import os
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ci_runner.cli import adhoc

if TYPE_CHECKING:
    from ci_runner.cli.running import Chosen
    from ci_runner.model import RunResult

PLUGINS = "PYDANTIC_DISABLE_PLUGINS"
EXAMPLE = "ci-runner run unit --only tests/unit/test_plan.py::test_label_added_later"


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the arguments of `run`."""
    what = parser.add_argument_group("what to run")
    what.add_argument(
        "suites", nargs="*", metavar="SUITE", help="suites by name; none: those that are due here"
    )
    what.add_argument("--all", action="store_true", help="every suite of the configuration")
    what.add_argument(
        "--test-path",
        action="append",
        default=[],
        metavar="PATH",
        help="run what is there, without configuration",
    )
    what.add_argument(
        "--only",
        action="append",
        default=[],
        metavar="TEST",
        help="run only this test of the suite (repeatable)",
    )
    what.add_argument("--shard", metavar="I/N", help="run only part I of N of each suite")
    what.add_argument(
        "--event", metavar="FILE", help="choose suites by this event, as GitHub wrote it or plan saved it"
    )
    what.add_argument(
        "--event-name", metavar="NAME", help="what kind of event the file holds (default: the saved kind)"
    )
    what.add_argument(
        "--changed-files", metavar="FILE", help="the changed files, one a line or as GitHub lists them"
    )
    what.add_argument(
        "--plan", metavar="FILE", help="run a plan that plan --save-plan kept, as it was decided"
    )
    what.add_argument(
        "--id",
        action="append",
        default=[],
        metavar="ID",
        help="run only this part of the plan: ids of its matrix (repeatable)",
    )
    how = parser.add_argument_group("how")
    how.add_argument("--machine", metavar="NAME", help="the machine to use instead of the suites' own")
    how.add_argument(
        "--runner", choices=("python", "shell"), help="the runner to use instead of the flags' choice"
    )
    how.add_argument(
        "--use-python-test-runner",
        metavar="BOOL",
        help="what the workflow's input of this name says; anything but true or false means the shell runner",
    )
    how.add_argument(
        "--config", metavar="FILE", help="the configuration to use (default: ci-runner.toml, found upwards)"
    )
    how.add_argument("--clean", action="store_true", help="leave uncommitted changes out, as CI does")
    how.add_argument("--dry-run", action="store_true", help="print what would run, and run nothing")
    adhoc.add_arguments(parser)
    out = parser.add_argument_group("what comes out")
    out.add_argument("--out", metavar="DIR", help="the run folder (default: .ci-runner/runs/ID)")
    out.add_argument(
        "--upload-results",
        action="store_true",
        help="fail before anything is leased if records would stay on this disk",
    )
    out.add_argument("--live", action="store_true", help="show the suites' output while they run")
    out.add_argument(
        "--format", choices=("text", "json"), default="text", help="json: nothing but one object on stdout"
    )


@contextmanager
def quick_start() -> Iterator[None]:
    """Within it, no look for garbage in what is loaded to stay, and none for plugins of pydantic in every distribution."""
    import gc

    before = os.environ.get(PLUGINS)
    os.environ[PLUGINS] = "__all__"
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()  # nor later
        gc.enable()
        del os.environ[PLUGINS]
        if before is not None:
            os.environ[PLUGINS] = before  # the suites see what they would see without us


def run(arguments: Namespace) -> int:
    """Plan, execute, report and record."""
    with quick_start():
        from ci_runner.cli import running

        chosen = running.chosen_by(arguments)
    if arguments.upload_results:
        running.check_upload(chosen.settings)
    if arguments.dry_run:
        print(running.dry_run_text(chosen.plan, arguments.format))
        return running.exit_of_empty(chosen.plan)
    _warn_of_stored_keys()
    result = _execute(arguments, chosen)
    if arguments.format == "json":
        print(running.json_text(result))
    return result.exit_code


def _warn_of_stored_keys() -> None:
    """Say on stderr, which GitHub reads as well, that a job has keys that last."""
    from ci_runner.github.commands import command
    from ci_runner.providers.stored_keys import stored_keys

    for found in stored_keys(os.environ):
        print(command("warning", f"{found.text}\nfix: {found.fix}", title="stored key"), file=sys.stderr)


def _execute(arguments: Namespace, chosen: Chosen) -> RunResult:
    from pathlib import Path

    from ci_runner.cli import running, trusting
    from ci_runner.execution.run import execute
    from ci_runner.model import Runner

    plan = trusting.check(chosen.plan, chosen.settings, os.environ, machine=chosen.machine)
    session = running.session_of(
        chosen.settings,
        sys.stderr if arguments.format == "json" else sys.stdout,
        out=Path(arguments.out) if arguments.out else None,
        machine=chosen.machine,
        runner=Runner(arguments.runner) if arguments.runner else None,
        only=arguments.only,
        clean=arguments.clean,
        live=arguments.live,
        shards=chosen.shards,
        commit=trusting.commit_of(plan),
    )
    session = running.with_caches(running.with_secrets(session, plan), plan)
    result = execute(session, plan)
    if any(item.suite.coverage or item.suite.coverage_files for item in plan.selected):
        from ci_runner.cli.covering import with_coverage

        result = with_coverage(result, [session.folder.path], chosen.settings.root)
    return running.publish(session, result)
