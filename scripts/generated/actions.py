"""The action.yml files and their reference, from the table that the code reads its inputs from."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial

from ci_runner.cli.action import variable
from ci_runner.cli.action_inputs import Input
from ci_runner.cli.action_table import ACTIONS, Action, Step

HEAD = "# written by scripts/generate from ci_runner/cli/action_table.py; change that, not this\n"
ALWAYS = "always()"
REFERENCE = """<!-- written by scripts/generate; change ci_runner/cli/action_table.py, not this file -->
# The actions

Each one is a step of a job, `uses: ORG/kpt/actions/NAME@VERSION`. They work on Linux and macOS runners with bash and
Python 3.11 or newer. What they need is installed into `RUNNER_TEMP`, from `uv.lock` and with its hashes; nothing is written
into the checkout or on PATH, but for `setup`, whose purpose that is: it puts a folder with `ci-runner` alone there.

An input that has a default need not be given. A list is separated by commas or blanks, unless it says one a line; a flag is
`true` or `false`. A value that an input cannot have ends the step with exit code 2 before anything is leased.

"""


def text(name: str) -> str:
    """The action.yml of one action."""
    action = ACTIONS[name]
    lines = [f"name: {quoted(action.title)}", f"description: {quoted(action.text)}", "inputs:"]
    for item in action.inputs:
        lines += [
            f"  {item.name}:",
            f"    description: {quoted(described(item))}",
            "    required: false",
            f"    default: {quoted(item.default)}",
        ]
    lines.append("outputs:")
    for output in action.outputs:
        value = f"${{{{ steps.{output.step}.outputs.{output.name} }}}}"
        lines += [
            f"  {output.name}:",
            f"    description: {quoted(output.text)}",
            f"    value: {value}",
        ]
    lines += ["runs:", "  using: composite", "  steps:"]
    for step in action.steps:
        lines += step_lines(action, step)
    return HEAD + "\n".join(lines) + "\n"


def step_lines(action: Action, step: Step) -> Iterator[str]:
    """One step: inputs into variables, and one exec, so that a signal arrives where it is understood."""
    yield f"    - name: {step.title}"
    yield f"      id: {step.id}"
    if step.always:
        yield f"      if: {ALWAYS}"
    yield "      shell: bash"
    yield "      env:"
    for item in action.inputs_of(step.id):
        yield f"        {variable(item.name)}: ${{{{ inputs.{item.name} }}}}"
    for earlier, output in step.given:
        yield f"        {variable(output)}: ${{{{ steps.{earlier}.outputs.{output} }}}}"
    yield f'      run: exec "$GITHUB_ACTION_PATH/../../scripts/action" {action.name} {step.id}'


def described(item: Input) -> str:
    """What an input means, with its choices."""
    return f"{item.text} One of {', '.join(item.choices)}." if item.choices else item.text


def quoted(words: str) -> str:
    """A YAML scalar that is nothing but text."""
    return json.dumps(words, ensure_ascii=False)


def reference() -> str:
    """The page on all actions."""
    parts = [
        REFERENCE + "\n".join(f"- [`{name}`](#{name}): {action.text}" for name, action in ACTIONS.items())
    ]
    parts += ["\n".join(section(action)) for action in ACTIONS.values()]
    return "\n\n".join(parts) + "\n"


def section(action: Action) -> Iterator[str]:
    """One action: its inputs and outputs."""
    yield f"## {action.name}"
    yield ""
    yield action.text
    if any(step.id == "release" for step in action.steps):
        yield ""
        yield "Its last step always runs, and gives back by name whatever this job has leased."
    yield from ("", "| input | default | meaning |", "|---|---|---|")
    for item in action.inputs:
        yield f"| `{item.name}` | {f'`{item.default}`' if item.default else ''} | {described(item)} |"
    yield from ("", "| output | meaning |", "|---|---|")
    for output in action.outputs:
        yield f"| `{output.name}` | {output.text} |"


setup, plan, test, tpu_test, gpu_test, benchmark, report = (partial(text, name) for name in ACTIONS)
