"""`ci-runner plan`: which suites an event needs, why, and the matrix that runs them."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from ci_runner.config.settings import Settings
    from ci_runner.model import Event, Plan
    from ci_runner.plan.matrix import Matrix

EXAMPLE = "ci-runner plan --event event.json --event-name pull_request --changed-files files.txt --explain"


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the arguments of `plan`."""
    what = parser.add_argument_group("what happened")
    what.add_argument(
        "suites", nargs="*", metavar="SUITE", help="suites by name; none: those that are due for the event"
    )
    what.add_argument("--all", action="store_true", help="every suite of the configuration")
    what.add_argument(
        "--event",
        metavar="FILE",
        help="GitHub's payload or a saved event (default: GITHUB_EVENT_PATH, else what git says of this folder)",
    )
    what.add_argument(
        "--event-name", metavar="NAME", help="the event of the payload (default: GITHUB_EVENT_NAME)"
    )
    what.add_argument(
        "--changed-files",
        metavar="FILE",
        help="one path a line, git diff --name-status, or GitHub's list of files (default: ask git)",
    )
    what.add_argument(
        "--input",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="an input of a called workflow, which payloads leave out (repeatable)",
    )
    what.add_argument(
        "--already-run",
        action="append",
        default=[],
        metavar="SUITE",
        help="a suite that has run on this commit, so that no rule selects it again (repeatable)",
    )
    what.add_argument(
        "--use-python-test-runner",
        metavar="BOOL",
        help="what the workflow's input of this name says; anything but true or false means the shell runner",
    )
    what.add_argument(
        "--config", metavar="FILE", help="the configuration to use (default: ci-runner.toml, found upwards)"
    )
    out = parser.add_argument_group("what comes out")
    out.add_argument("--explain", action="store_true", help="for every suite why or why not, and which rule")
    out.add_argument(
        "--format",
        choices=("text", "json"),
        default="text",
        help="json: the matrix for GitHub, alone on stdout",
    )
    out.add_argument(
        "--save-event", metavar="FILE", help="keep the event, to make the same plan again with --event"
    )
    out.add_argument("--save-plan", metavar="FILE", help="keep the plan, for the jobs of a matrix of parts")


def run(arguments: Namespace) -> int:
    """Plan, print, write the outputs of the step; an empty plan is green only if nothing was due."""
    import os
    from pathlib import Path

    from ci_runner.github.event import saved_text
    from ci_runner.github.outputs import write_outputs
    from ci_runner.plan.matrix import matrix_of

    settings = _settings(arguments, os.environ)
    event = _event(arguments, settings, os.environ)
    if arguments.save_event:
        _write(Path(arguments.save_event), saved_text(event))
    plan = _plan(arguments, settings, event, os.environ)
    if arguments.save_event and plan.event != event:
        _write(Path(arguments.save_event), saved_text(plan.event))
    matrix = matrix_of(plan, settings)
    if arguments.save_plan:
        from ci_runner import codec

        _write(Path(arguments.save_plan), codec.dumps(plan))
    print(_text(arguments, settings, plan, matrix))
    if os.environ.get("GITHUB_OUTPUT"):
        _check_grouped(arguments, matrix)
        write_outputs(Path(os.environ["GITHUB_OUTPUT"]), matrix.outputs)
    return _verdict(plan)


def _settings(arguments: Namespace, environ: Mapping[str, str]) -> Settings:
    """The configuration; without one, the suites that the repository seems to have."""
    import dataclasses
    from pathlib import Path

    from ci_runner.config.load import load_settings

    settings = load_settings(
        Path.cwd(), environ=environ, config_file=Path(arguments.config) if arguments.config else None
    )
    if settings.suites:
        return settings.named(arguments.config)
    from ci_runner.config.detect import unconfigured_suites

    return dataclasses.replace(settings, suites=unconfigured_suites(settings.root)).named(arguments.config)


def _event(arguments: Namespace, settings: Settings, environ: Mapping[str, str]) -> Event:
    from pathlib import Path

    from ci_runner.github.event import find_event

    return find_event(
        settings.root,
        environ,
        file=Path(arguments.event) if arguments.event else None,
        name=arguments.event_name,
        changed_files=Path(arguments.changed_files) if arguments.changed_files else None,
        inputs=_inputs(arguments.input),
        default_branch=settings.default_branch,
    )


def _inputs(given: Sequence[str]) -> dict[str, str]:
    from ci_runner.errors import UsageError

    inputs: dict[str, str] = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals or not name.strip():
            raise UsageError(f"--input {text!r} has no name or no value", fix="write it as NAME=VALUE")
        if inputs.setdefault(name.strip(), value) != value:
            raise UsageError(
                f"--input {name.strip()!r} is given twice with different values", fix="give it once"
            )
    return inputs


def _plan(arguments: Namespace, settings: Settings, event: Event, environ: Mapping[str, str]) -> Plan:
    from ci_runner.cli.remembered import with_runners, with_shards
    from ci_runner.cli.trusting import trusted_plan
    from ci_runner.plan.names import resolve
    from ci_runner.plan.select import select

    already = frozenset(
        name for given in arguments.already_run for name in resolve(given, settings, "--already-run")
    )

    def made(event: Event) -> Plan:
        return select(event, settings, names=arguments.suites, everything=arguments.all, already=already)

    # A file of another event is planned as it is: nobody spends by it, and a saved one knows what was decided.
    own = arguments.event is None or _is_own(arguments.event, environ)
    plan = trusted_plan(event, settings, environ, made) if own else made(event)
    plan = with_runners(plan, settings, environ, action_input=arguments.use_python_test_runner)
    return with_shards(plan, settings, environ)


def _is_own(path: str, environ: Mapping[str, str]) -> bool:
    from pathlib import Path

    own = environ.get("GITHUB_EVENT_PATH")
    return own is not None and Path(own).absolute() == Path(path).absolute()


def _text(arguments: Namespace, settings: Settings, plan: Plan, matrix: Matrix) -> str:
    from ci_runner.plan.explain import plan_object, plan_text

    if arguments.format == "text":
        return plan_text(plan, settings, explain=arguments.explain)
    import json

    from ci_runner import codec
    from ci_runner.plan.matrix import inert

    found = plan_object(plan, matrix, settings, explain=arguments.explain)
    return inert(json.dumps(codec.plain(found), indent=2))


def _check_grouped(arguments: Namespace, matrix: Matrix) -> None:
    if matrix.grouped and not arguments.save_plan:
        from ci_runner.errors import UsageError
        from ci_runner.plan.matrix import MOST_JOBS

        raise UsageError(
            f"the plan has more than {MOST_JOBS} jobs, so that a matrix can only name parts of it",
            fix="add --save-plan FILE, upload the file as an artifact, and give it to the jobs",
        )


def _verdict(plan: Plan) -> int:
    from ci_runner.errors import OK, TrustError, UsageError
    from ci_runner.plan.context import REFUSED
    from ci_runner.plan.select import empty_reason

    if plan.selected or plan.nothing_due:
        return OK
    what, fix = empty_reason(plan)
    refused = any(skip.code in REFUSED for skip in plan.skipped)
    raise (TrustError if refused else UsageError)(what, fix=fix)


def _write(path: Path, text: str) -> None:
    from ci_runner.errors import UsageError

    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(
            f"cannot write the file: {error.strerror or error}", where=str(path), fix="name another file"
        ) from error
