"""`ci-runner action ACTION STEP`: one step of an action of ours, with the action's inputs in INPUT_* variables."""

from __future__ import annotations

import os
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Mapping, MutableMapping
from pathlib import Path
from typing import TYPE_CHECKING

from ci_runner.cli.action_table import ACTIONS

if TYPE_CHECKING:
    from ci_runner.cli.action_inputs import Input
    from ci_runner.cli.action_table import Action
    from ci_runner.config.settings import Settings

EXAMPLE = "INPUT_SUITES=unit RUNNER_TEMP=/tmp ci-runner action test run"
PREFIX = "INPUT_"
OURS = (
    "CI_RUNNER_VENV",
    "CI_RUNNER_GROUPS",
    "CI_RUNNER_EXTRAS",
)  # they are scripts/action's, not the suites'
FLAGS = {"true": True, "false": False, "": False}


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the arguments of `action`."""
    parser.add_argument("action", choices=tuple(ACTIONS), help="the action")
    parser.add_argument("step", help="the step of it")


def run(arguments: Namespace) -> int:
    """Read the inputs, do the step; whatever an error says is harmless on a runner's log."""
    from ci_runner.errors import CiRunnerError
    from ci_runner.github.commands import neutralise

    action, began = ACTIONS[arguments.action], dict(os.environ)
    try:
        step = step_of(action, arguments.step)
        values = take_inputs(action, arguments.step, os.environ)
        if "working-directory" in values:
            enter(values["working-directory"], os.environ)
        return step(action, values, began)
    except CiRunnerError as error:
        if arguments.step == "report":
            given = [output.name for output in action.outputs if output.step == "report"]
            give(os.environ, {name: "error" if name == "conclusion" else "" for name in given})
        print(neutralise("\n".join(error.lines())), file=sys.stderr)
        return error.exit_code


def step_of(action: Action, name: str) -> Callable[[Action, Mapping[str, str], Mapping[str, str]], int]:
    """The function of a step; it takes the inputs, and the variables that it began with.

    Raises UsageError for a step that the action does not have.
    """
    from ci_runner.cli import action_report, action_run
    from ci_runner.errors import UsageError

    steps: Mapping[str, Callable[[Action, Mapping[str, str], Mapping[str, str]], int]] = {
        "setup": action_run.set_up,
        "plan": action_run.plan,
        "run": action_run.run,
        "report": action_report.report,
        "release": action_run.release,
    }
    known = [step.id for step in action.steps]
    if name not in known:
        raise UsageError(
            f"the action {action.name} has no step {name!r}", fix=f"its steps are: {', '.join(known)}"
        )
    return steps[name]


def take_inputs(action: Action, step: str, environ: MutableMapping[str, str]) -> dict[str, str]:
    """The inputs of the step, checked, and out of the environment: what runs here is not told of them.

    Raises UsageError for a value that an input cannot have.
    """
    values = {
        item.name: environ.get(variable(item.name), item.default).strip() for item in action.inputs_of(step)
    }
    given = next(item.given for item in action.steps if item.id == step)
    values |= {output: environ.get(variable(output), "") for _, output in given}
    for name in [name for name in environ if name.startswith(PREFIX) or name in OURS]:
        del environ[name]
    token = values.pop("github-token", "")
    if token and not token.startswith("${{"):
        environ["GITHUB_TOKEN"] = token
    for item in action.inputs_of(step):
        if item.name in values:
            check(item, values[item.name])
    return values


def variable(name: str) -> str:
    """The variable in which a step finds an input or an earlier step's output."""
    return PREFIX + name.upper().replace("-", "_")


def check(item: Input, value: str) -> None:
    """Raise UsageError for a value that the input cannot have."""
    from ci_runner.errors import UsageError
    from ci_runner.github.commands import one_line

    shown = one_line(value, 80)
    where = f"input {item.name}"
    if "\0" in value:
        raise UsageError("the value holds a zero byte", where=where, fix="remove it")
    if item.choices and value not in item.choices:
        raise UsageError(
            f'"{shown}" is no choice', where=where, fix=f"choose one of: {', '.join(item.choices)}"
        )
    if item.kind == "flag" and value.lower() not in FLAGS:
        raise UsageError(f'"{shown}" is neither true nor false', where=where, fix="say true or false")
    if item.kind == "number" and value and not is_positive(value):
        raise UsageError(f'"{shown}" is no number above 0', where=where, fix="say a number such as 30")
    if item.kind != "lines" and any(line.strip() for line in value.splitlines()[1:]) and item.kind != "words":
        raise UsageError(f'"{shown}" has several lines', where=where, fix="give one line")


def is_positive(text: str) -> bool:
    """Whether the text is a plain number above 0."""
    whole, _, part = text.partition(".")
    plain = text.isascii() and len(text) <= 12 and whole.isdigit() and (part.isdigit() or "." not in text)
    return plain and float(text) > 0


def enter(folder: str, environ: Mapping[str, str]) -> None:
    """Change to the working directory. Raises UsageError if there is none."""
    from ci_runner.errors import UsageError

    path = Path(environ.get("GITHUB_WORKSPACE") or ".") / (folder or ".")
    try:
        os.chdir(path)
    except OSError as error:
        raise UsageError(
            f"cannot work there: {error.strerror or error}",
            where=f"input working-directory: {path}",
            fix="name a folder of the checkout",
        ) from error


def settings_of(values: Mapping[str, str], environ: Mapping[str, str]) -> Settings:
    """The configuration that the inputs name."""
    from ci_runner.config.load import load_settings

    file = Path(values["config"]) if values.get("config") else None
    return load_settings(Path.cwd(), environ=environ, config_file=file)


def keep_records(values: Mapping[str, str], folder: Path, environ: MutableMapping[str, str]) -> Settings:
    """The settings; without a place for records these go below `folder`, for the checkout is the caller's."""
    import dataclasses

    from ci_runner.cli.remembered import UNKEPT

    settings = settings_of(values, environ)
    if settings.stores.get("history") is None:
        place = str(folder / "history")
        environ["CI_RUNNER_STORES__HISTORY"] = environ[UNKEPT] = place
        settings = dataclasses.replace(settings, stores={**settings.stores, "history": place})
    return settings


def with_library(action: Action, step: str, began: Mapping[str, str]) -> None:
    """Begin the step again with GitHub's library, unless it is there; jobs that never ask GitHub need not install it.

    `began` is the environment that the step began with.
    """
    from importlib.util import find_spec

    extras = began.get("CI_RUNNER_EXTRAS", "").split()
    if "github" in extras or find_spec("github") is not None:
        return
    program = str(Path(__file__).resolve().parents[2] / "scripts" / "action")
    sys.stdout.flush()
    again = {**began, "CI_RUNNER_EXTRAS": " ".join([*extras, "github"])}
    os.execve(program, [program, action.name, step], again)  # noqa: S606 - no shell, our own words


def words_for(command: str, action: Action, values: Mapping[str, str]) -> list[str]:
    """The inputs as arguments of a command; values are never taken for options."""
    words: list[str] = []
    names: list[str] = []
    for item in action.inputs:
        option, value = item.options.get(command), values.get(item.name, "")
        if option is None or not value:
            continue
        if item.kind == "flag":
            words += [option] if FLAGS[value.lower()] else []
        elif option:
            words += [f"{option}={part}" for part in parts_of(item, value)]
        elif value == "all":
            words.append("--all")
        else:
            names += parts_of(item, value)
    return [*words, "--", *names] if names else words


def parts_of(item: Input, value: str) -> list[str]:
    """The single values in an input."""
    if item.kind == "words":
        return [word for word in value.replace(",", " ").split() if word]
    if item.kind == "lines":
        return [line.strip() for line in value.splitlines() if line.strip()]
    return [value]


def is_true(value: str) -> bool:
    """Whether a flag is set."""
    return FLAGS[value.lower()]


def temporary(environ: Mapping[str, str]) -> Path:
    """The folder for what the steps of this job keep, outside of the checkout. Raises UsageError if there is none."""
    from ci_runner.errors import UsageError

    base = environ.get("RUNNER_TEMP", "")
    if not base:
        raise UsageError("RUNNER_TEMP is not set", fix="steps of actions run in GitHub Actions")
    folder = Path(base).absolute() / "ci-runner"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(
            f"cannot make a folder for the results: {error.strerror or error}",
            where=str(folder),
            fix="let RUNNER_TEMP name a folder that can be written",
        ) from error
    return folder


def give(environ: Mapping[str, str], values: Mapping[str, str]) -> None:
    """Set outputs of the step; outside of a workflow there is nowhere to."""
    from ci_runner.github.outputs import write_outputs

    if environ.get("GITHUB_OUTPUT"):
        write_outputs(Path(environ["GITHUB_OUTPUT"]), values)


def command(*words: str) -> int:
    """Run a command of ci-runner in this process; its exit code. Errors come through."""
    arguments = parsed(*words)
    return int(arguments.run_command(arguments))


def parsed(*words: str) -> Namespace:
    """The arguments of a command. Raises UsageError instead of ending the process."""
    from contextlib import redirect_stderr
    from io import StringIO

    from ci_runner.cli.main import build_parser
    from ci_runner.errors import UsageError

    said = StringIO()
    try:
        with redirect_stderr(said):
            return build_parser(words[0]).parse_args(words)
    except SystemExit:
        text = said.getvalue().partition("error: ")[2].partition("\n")[0]
        raise UsageError(text or "the inputs contradict each other", fix="correct the inputs") from None
