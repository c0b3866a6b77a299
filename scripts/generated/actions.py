"""The action.yml files and their reference, from the table that the code reads its inputs from."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial

from ci_runner.cli.action import variable
from ci_runner.cli.action_inputs import Input
from ci_runner.cli.action_table import ACTIONS, Action, Step
from ci_runner.cli.docker_table import DOCKER, ENTRIES

DOCKER_HEAD = "# written by scripts/generate from ci_runner/cli/docker_table.py; change that, not this\n"
BUILT_HERE = "# zizmor: ignore[unpinned-images] it is built from this repository, and pins its base by digest"
PROGRAMS = "/usr/local/bin"  # where the Dockerfile puts the entries
HEAD = "# written by scripts/generate from ci_runner/cli/action_table.py; change that, not this\n"
ALWAYS = "always()"
REFERENCE = """<!-- written by scripts/generate; change ci_runner/cli/action_table.py, not this file -->
# The actions

Each one is a step of a job, `uses: ORG/kpt/actions/NAME@VERSION`. They work on Linux and macOS runners with bash and
Python 3.11 or newer. What they need is installed into `RUNNER_TEMP`, from `uv.lock` and with its hashes; nothing is written
into the checkout or on PATH, but for `setup`, whose purpose that is: it puts a folder with `ci-runner` alone there.

`guard` and `reap` run in a container instead, on Linux runners with Docker, and bring their own Python.

An input that has a default need not be given. A list is separated by commas or blanks, unless it says one a line; a flag is
`true` or `false`. A value that an input cannot have ends the step with exit code 2 before anything is leased.

"""
GUARD = (
    "It stands before the step that leases, and after the one that signs in to the cloud: the last phases of steps run in",
    "reverse, so that its own comes while the credentials are there. It fails at once if a cloud does not answer.",
)


def text(name: str) -> str:
    """The action.yml of one action."""
    action = ACTIONS[name]
    lines = [*head_lines(action), "outputs:"]
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


def docker_text(name: str) -> str:
    """The action.yml of one that runs in the image; its last phase is one that GitHub runs after the job's steps."""
    action = DOCKER[name]
    lines = [*head_lines(action), "outputs:"]
    for output in action.outputs:
        lines += [f"  {output.name}:", f"    description: {quoted(output.text)}"]
    first, *later = [entry for entry, (owner, _) in ENTRIES.items() if owner == name]
    lines += [
        "runs:",
        "  using: docker",
        f"  image: ../../Dockerfile  {BUILT_HERE}",
        f"  entrypoint: {PROGRAMS}/{first}",
    ]
    lines += [f"  post-entrypoint: {PROGRAMS}/{entry}" for entry in later]
    return DOCKER_HEAD + "\n".join(lines) + "\n"


def head_lines(action: Action) -> Iterator[str]:
    """What an action is called, and its inputs."""
    yield f"name: {quoted(action.title)}"
    yield f"description: {quoted(action.text)}"
    yield "inputs:"
    for item in action.inputs:
        yield f"  {item.name}:"
        yield f"    description: {quoted(described(item))}"
        yield "    required: false"
        yield f"    default: {quoted(item.default)}"


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
    every = {**ACTIONS, **DOCKER}
    parts = [REFERENCE + "\n".join(f"- [`{name}`](#{name}): {action.text}" for name, action in every.items())]
    parts += ["\n".join(section(action)) for action in every.values()]
    return "\n\n".join(parts) + "\n"


def section(action: Action) -> Iterator[str]:
    """One action: its inputs and outputs."""
    yield f"## {action.name}"
    yield ""
    yield action.text
    if action.name == "guard":
        yield from ("", *GUARD)
    elif any(step.id == "release" for step in action.steps):
        yield ""
        yield "Its last step always runs, and gives back by name whatever this job has leased."
    yield from ("", "| input | default | meaning |", "|---|---|---|")
    for item in action.inputs:
        yield f"| `{item.name}` | {f'`{item.default}`' if item.default else ''} | {described(item)} |"
    yield from ("", "| output | meaning |", "|---|---|")
    for output in action.outputs:
        yield f"| `{output.name}` | {output.text} |"


setup, plan, test, tpu_test, gpu_test, benchmark, report = (partial(text, name) for name in ACTIONS)
guard, reap = (partial(docker_text, name) for name in DOCKER)
