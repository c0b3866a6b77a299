"""The reference of the command line, from the same parsers that read it.

argparse lays its help out differently from one Python to the next; this page is the same from all of them.
"""

from __future__ import annotations

import argparse
from argparse import ArgumentParser
from collections.abc import Iterator, Mapping

from ci_runner.cli.main import COMMANDS, load
from ci_runner.errors import EXIT_CODES

HEAD = """<!-- written by scripts/generate; change the code, not this file -->
# The command line

`ci-runner COMMAND`, and in a checkout `scripts/ci-runner COMMAND`, which first sets itself up.
`ci-runner --version` prints the version, and `ci-runner COMMAND --help` what is said here of a command.
With `--format json` there is one JSON object on standard output and nothing else; logs and errors go to standard error.
An error is two lines: `ci-runner: error: <what> (<where>)` and `fix: <what to do>`.

| command | what it does |
|---|---|
"""


def text() -> str:
    """The whole page."""
    rows = "".join(
        f"| [`{name}`](#ci-runner-{name}) | {cell(line)} |\n" for name, (_, line) in COMMANDS.items()
    )
    parts = [HEAD + rows]
    parts += ["\n".join(command(name, module, line)) + "\n" for name, (module, line) in COMMANDS.items()]
    parts.append("\n".join(exit_codes(EXIT_CODES)) + "\n")
    return "\n".join(parts)


def command(name: str, module: str, line: str) -> Iterator[str]:
    """The section of one command."""
    loaded = load(module)
    parser = ArgumentParser(prog=f"ci-runner {name}", add_help=False)
    loaded.add_arguments(parser)
    yield f"## ci-runner {name}"
    yield ""
    yield f"{line[0].upper()}{line[1:]}."
    yield ""
    yield f"Example: `{loaded.EXAMPLE}`"
    yield from arguments(parser, "###")


def arguments(parser: ArgumentParser, level: str) -> Iterator[str]:
    """A table of what the parser takes, then a section for each of its subcommands."""
    actions = [
        action
        for action in parser._actions  # noqa: SLF001 - argparse has no public way to ask
        if action.help != argparse.SUPPRESS and not isinstance(action, argparse._HelpAction)  # noqa: SLF001
    ]
    nested = [action for action in actions if isinstance(action, argparse._SubParsersAction)]  # noqa: SLF001
    plain = [action for action in actions if action not in nested]
    if plain:
        yield from ("", "| argument | meaning |", "|---|---|")
        for action in plain:
            yield f"| {cell(spelled(action))} | {cell(meaning(action, parser.prog))} |"
    for action in nested:
        texts = {choice.dest: choice.help for choice in action._choices_actions}  # noqa: SLF001
        for name, sub in action.choices.items():
            line = texts.get(name) or sub.description or ""
            yield from ("", f"{level} {sub.prog}")
            if line:
                yield from ("", cell(f"{line[0].upper()}{line[1:].rstrip('.')}."))
            yield from arguments(sub, level + "#")


def spelled(action: argparse.Action) -> str:
    """How the argument is written."""
    value = placeholder(action)
    if not action.option_strings:
        return f"`{value}`"
    names = ", ".join(f"`{name}`" for name in action.option_strings[:-1])
    last = f"`{action.option_strings[-1]}{' ' if value else ''}{value}`"
    return f"{names}, {last}" if names else last


def placeholder(action: argparse.Action) -> str:
    """What stands for the values of an argument."""
    if action.nargs == 0:
        return ""
    if isinstance(action.metavar, tuple):
        return " ".join(action.metavar)
    name = action.metavar
    if name is None and action.choices is not None:
        name = "{" + ",".join(str(choice) for choice in action.choices) + "}"
    if name is None:
        name = action.dest.upper()
    shapes = {"?": f"[{name}]", "*": f"[{name} …]", "+": f"{name} [{name} …]", "...": f"{name} …"}
    if isinstance(action.nargs, int):
        return " ".join([name] * action.nargs)
    return shapes.get(action.nargs or "", name)


def meaning(action: argparse.Action, program: str) -> str:
    """The help text with its values filled in."""
    values = {key: value for key, value in vars(action).items() if value != argparse.SUPPRESS}
    if values.get("choices") is not None:
        values["choices"] = ", ".join(str(choice) for choice in values["choices"])
    required = " (required)" if action.option_strings and action.required else ""
    return (action.help or "") % {**values, "prog": program} + required


def cell(words: str) -> str:
    """Text that stays in its cell of a Markdown table."""
    return " ".join(words.split()).replace("|", "\\|").replace("<", "&lt;")


def exit_codes(codes: Mapping[int, str]) -> Iterator[str]:
    """The section on exit codes."""
    yield "## Exit codes"
    yield ""
    yield "The same for every command; other programs may rely on them."
    yield ""
    yield "| code | meaning |"
    yield "|---|---|"
    for code, words in codes.items():
        yield f"| {code} | {cell(words)} |"
