"""Inputs and outputs of the actions: declared, known to the code, used, documented, and the same everywhere."""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from typing import Any

import pytest

from ci_runner.cli.action import step_of, take_inputs, variable
from ci_runner.cli.action_inputs import Input
from ci_runner.cli.action_report import NUMBERS, outputs_of
from ci_runner.cli.action_table import ACTIONS, Action
from ci_runner.cli.main import build_parser
from ci_runner.errors import UsageError
from tests.runner_harness import ROOT, read_action

EVERY = pytest.mark.parametrize("action", ACTIONS.values(), ids=list(ACTIONS))
KEBAB = re.compile(r"[a-z]+(-[a-z]+)*")
# what the code reads by name, and what scripts/action does before Python starts
BY_NAME: dict[str, set[str]] = {
    "setup": {"add-to-path"},
    "run": {
        *("test-config", "suites", "ids", "test-path", "plan"),
        *("machine", "tpu-type", "instance-type", "platform", "github-token"),
    },
    "report": {
        *("publish", "github-token", "comment-part", "fail-on", "results", "files"),
        *("test-config", "suites", "ids", "shard"),
    },
    "release": {"platform"},
    "plan": {"github-token"},
}
EVERYWHERE = {"config", "working-directory", "extras"}
TYPED = [
    "conclusion", *NUMBERS, "duration-seconds", "cost-usd", "report-json", "summary-file", "comment-url", "lease-id"
]  # fmt: skip


def steps(action: Action) -> list[dict[str, Any]]:
    """The steps as the file has them."""
    found = read_action(action.name)["runs"]["steps"]
    assert isinstance(found, list)
    return found


@EVERY
def test_the_file_declares_the_inputs_that_the_code_knows_with_the_same_defaults(action: Action) -> None:
    told = read_action(action.name)["inputs"]
    assert {name: (item["default"], item["required"]) for name, item in told.items()} == {
        item.name: (item.default, False) for item in action.inputs
    }
    for item in action.inputs:
        assert KEBAB.fullmatch(item.name)
        assert told[item.name]["description"].startswith(item.text)
        assert not item.choices or item.default in item.choices


@EVERY
def test_every_input_reaches_a_step_that_uses_it(action: Action) -> None:
    for step in steps(action):
        known = {item.name for item in action.inputs_of(step["id"])}
        told = {
            name: match[1]
            for name, value in step["env"].items()
            if (match := re.fullmatch(r"\$\{\{ inputs\.([a-z-]+) \}\}", value))
        }
        assert told == {variable(name): name for name in known}
        command = {"release": "machines"}.get(step["id"], step["id"])
        used = {item.name for item in action.inputs if command in item.options}
        assert known - used - BY_NAME.get(step["id"], set()) <= EVERYWHERE
    reached = {item.name for step in action.steps for item in action.inputs_of(step.id)}
    assert reached == {item.name for item in action.inputs}


@EVERY
def test_every_option_is_one_that_the_command_has(action: Action) -> None:
    for item in action.inputs:
        for command, option in item.options.items():
            words = [command] if command != "machines" else [command, "release"]
            value = "1" if item.kind == "number" else item.choices[-1] if item.choices else "true"
            given = [] if not option else [option] if item.kind == "flag" else [f"{option}={value}"]
            needed = ["--results", "x"] if command == "report" else []
            parsed = build_parser(command).parse_args(
                [*words, *given, *needed, *([] if option else ["--", value])]
            )
            assert vars(parsed)[option.removeprefix("--").replace("-", "_") or "suites"], (item.name, option)


@EVERY
def test_the_outputs_of_the_file_are_those_of_the_table_from_steps_that_are_there(action: Action) -> None:
    told = read_action(action.name)["outputs"]
    assert {name: item["value"] for name, item in told.items()} == {
        output.name: f"${{{{ steps.{output.step}.outputs.{output.name} }}}}" for output in action.outputs
    }
    ids = [step["id"] for step in steps(action)]
    assert {output.step for output in action.outputs} <= set(ids)


def test_the_numbers_are_all_seven() -> None:
    assert " ".join(NUMBERS) == "tests passed failed errored skipped flaky missing"


def test_the_code_gives_exactly_the_outputs_of_a_report(tmp_path: Path) -> None:
    told = {
        "verdict": "passed",
        "suites": [],
        "duration_seconds": 1.5,
        "cost_usd": 0,
        **dict.fromkeys(NUMBERS, 0),
    }
    given = outputs_of(told, tmp_path)
    assert sorted(given) == sorted(TYPED)
    for name in ("test", "tpu-test", "gpu-test", "benchmark", "report"):
        assert [output.name for output in ACTIONS[name].outputs if output.step == "report"] == TYPED


@EVERY
def test_a_step_is_one_exec_in_a_shell_without_expressions_and_nests_no_action(action: Action) -> None:
    found = steps(action)
    assert [step["id"] for step in found] == [step.id for step in action.steps]
    for step, known in zip(found, action.steps, strict=True):
        assert step["shell"] == "bash"
        assert step["run"] == f'exec "$GITHUB_ACTION_PATH/../../scripts/action" {action.name} {known.id}'
        assert "uses" not in step
        assert step.get("if") == ("always()" if known.always else None)
        assert callable(step_of(action, known.id))
    with pytest.raises(UsageError, match="has no step"):
        step_of(action, "nothing")


@pytest.mark.parametrize("name", ["tpu-test", "gpu-test", "benchmark"])
def test_what_leases_gives_back_in_its_last_step_whatever_happened(name: str) -> None:
    assert (steps(ACTIONS[name])[-1]["id"], steps(ACTIONS[name])[-1]["if"]) == ("release", "always()")


@EVERY
def test_the_reference_has_every_input_with_its_default_and_every_output(action: Action) -> None:
    page = (ROOT / "docs" / "reference" / "actions.md").read_text()
    section = page.partition(f"\n## {action.name}\n")[2].partition("\n## ")[0]
    rows = {line.split("|")[1].strip() for line in section.splitlines() if line.startswith("| `")}
    assert rows == {f"`{item.name}`" for item in action.inputs} | {
        f"`{output.name}`" for output in action.outputs
    }
    for item in action.inputs:
        assert f"| `{item.name}` | {f'`{item.default}`' if item.default else ''} | {item.text}" in section


def test_every_action_of_the_table_has_a_file_and_extras_name_actions_and_steps_that_there_are() -> None:
    for name in ACTIONS:
        assert (ROOT / "actions" / name / "action.yml").is_file()
    known = {f"action/{action.name}/{step.id}" for action in ACTIONS.values() for step in action.steps}
    rows = [line.split() for line in (ROOT / "scripts/bootstrap/extras.txt").read_text().splitlines()]
    named = {command for command, _ in rows if command.startswith("action/")}
    assert named
    assert named <= known
    tables = importlib.import_module("tomllib").loads((ROOT / "pyproject.toml").read_text())
    assert {extra for _, extra in rows} <= set(tables["project"]["optional-dependencies"])


def bad(item: Input) -> list[str]:
    """Values that an input cannot have."""
    found = ["a\0b"]
    if item.choices:
        found += ["", "nothing", f"{item.choices[0]}\n::set-output name=conclusion::passed"]
    if item.kind == "flag":
        found += ["yes please", "1"]
    if item.kind == "number":
        found += ["0", "-1", "1e9", "nan", "1.", "\u0663", "9" * 40]
    if item.kind == "text":
        found += ["one\ntwo"]
    return found


@EVERY
def test_a_value_that_an_input_cannot_have_is_refused_by_name(action: Action) -> None:
    for step in action.steps:
        for item in action.inputs_of(step.id):
            for value in bad(item) if item.name != "github-token" else ():
                with pytest.raises(UsageError) as raised:
                    take_inputs(action, step.id, {variable(item.name): value})
                assert raised.value.where == f"input {item.name}"
                assert "\n" not in raised.value.what


@EVERY
def test_defaults_are_values_and_nothing_of_the_inputs_stays_in_the_environment(action: Action) -> None:
    for step in action.steps:
        environ = {variable(item.name): item.default for item in action.inputs_of(step.id)} | {
            "INPUT_OF_ANOTHER_ACTION": "x",
            "CI_RUNNER_EXTRAS": "gcp",
            "PATH": "/bin",
        }
        told = "INPUT_GITHUB_TOKEN" in environ
        if told:
            environ["INPUT_GITHUB_TOKEN"] = "t"
        values = take_inputs(action, step.id, environ)
        assert set(environ) - {"GITHUB_TOKEN"} == {"PATH"}
        assert environ.get("GITHUB_TOKEN") == ("t" if told else None)
        assert not told or (action.name, step.id) != ("test", "run")  # code of pull requests runs there
        assert "github-token" not in values
