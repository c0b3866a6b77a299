"""Finds the command, lets its module parse and act, and turns errors into two lines and an exit code."""

from __future__ import annotations

import importlib
import sys
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections.abc import Callable, Sequence
from typing import NoReturn, Protocol, cast

from ci_runner import __version__

# name → (module, one line of help). A module defines `EXAMPLE`, `add_arguments(parser)` and `run(arguments) -> int`.
COMMANDS: dict[str, tuple[str, str]] = {
    "init": ("ci_runner.cli.init", "write a commented configuration and a workflow for this repository"),
    "plan": (
        "ci_runner.cli.plan",
        "say which suites an event needs, and why; print the matrix that runs them",
    ),
    "run": ("ci_runner.cli.run", "run suites here or on a leased machine, and say what came of it"),
    "results": (
        "ci_runner.cli.results",
        "say what JUnit files and run folders come to; merge and convert them",
    ),
    "report": (
        "ci_runner.cli.report",
        "join the results of all jobs, compare them with the base, tell people",
    ),
    "machines": ("ci_runner.cli.machines", "list the machines of ours, and start, stop or give back one"),
    "reap": (
        "ci_runner.cli.reap",
        "end machines that outlived their lease; with --all, everything of ours at once",
    ),
    "doctor": (
        "ci_runner.cli.doctor",
        "look at everything a first run needs, and say how to mend what is missing",
    ),
    "config": ("ci_runner.cli.config", "show every setting and where it comes from; print the schema"),
    "ab": ("ci_runner.cli.ab", "compare the python and the shell runner on one suite, test by test"),
    "history": ("ci_runner.cli.history", "list and show the records of earlier runs"),
    "kpi": ("ci_runner.cli.kpi", "say how well the python runner does, and turn its flag off or on"),
}

# commands that nobody types: they are found, and not listed
INTERNAL: dict[str, tuple[str, str]] = {
    "action": ("ci_runner.cli.action", "one step of an action of ours, with its inputs in INPUT_* variables"),
}


class Command(Protocol):
    """What every module of a command offers."""

    EXAMPLE: str
    add_arguments: Callable[[ArgumentParser], None]
    run: Callable[[Namespace], int]


class Parser(ArgumentParser):
    """Says what is wrong with the words in two lines, as every other error is said."""

    def error(self, message: str) -> NoReturn:
        """End with the usage's exit code."""
        from ci_runner.errors import USAGE, UsageError
        from ci_runner.github.commands import one_line

        error = UsageError(one_line(message), fix=f"see {self.get_default('help_of') or self.prog} --help")
        self.exit(USAGE, "\n".join(error.lines()) + "\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the return value is the exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    name = next((word for word in words if not word.startswith("-")), None)
    parser = build_parser(name if words[:1] == [name] else None)
    arguments = parser.parse_args(words)
    if not hasattr(arguments, "run_command"):
        parser.print_help()
        return 0
    code = guarded(lambda: cast("int", arguments.run_command(arguments)))
    if argv is None:
        import gc

        gc.freeze()  # the process ends: nobody need look for garbage once more
    return code


def build_parser(only: str | None = None) -> ArgumentParser:
    """The parser of all commands; with `only`, just that command's arguments are filled in (imports are dear)."""
    parser = Parser(
        prog="ci-runner",
        description="Choose the tests a change needs, lease a machine that can run them, run them, and say what broke.",
        epilog="example: ci-runner run --test-path tests",
        formatter_class=RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"ci-runner {__version__}")
    parser.set_defaults(help_of=f"ci-runner {only}" if only in COMMANDS else None)
    commands = parser.add_subparsers(metavar="COMMAND", title="commands")
    known = COMMANDS if only not in INTERNAL else INTERNAL
    for name, (module, text) in known.items():
        if only in known and name != only:
            continue
        sub = commands.add_parser(name, help=text, formatter_class=RawDescriptionHelpFormatter)
        if name == only:
            fill(sub, load(module), text)
    return parser


def load(module: str) -> Command:
    """The module of a command."""
    return cast("Command", importlib.import_module(module))


def fill(parser: ArgumentParser, command: Command, text: str) -> None:
    """Give a command its description, arguments, example and action."""
    parser.description = text[0].upper() + text[1:] + "."
    parser.epilog = f"example: {command.EXAMPLE}"
    command.add_arguments(parser)
    parser.set_defaults(run_command=command.run)


def guarded(action: Callable[[], int]) -> int:
    """Run the action; a known error becomes its lines on stderr and its exit code."""
    from ci_runner.errors import CANCELLED, CiRunnerError, UsageError

    try:
        return action()
    except CiRunnerError as error:
        print("\n".join(error.lines()), file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("ci-runner: cancelled", file=sys.stderr)
        return CANCELLED
    except UnicodeEncodeError as error:
        if error.encoding.startswith("utf"):
            raise  # no locale is to blame
        what = f"{error.object[error.start : error.end]!a} has no place in this locale's {error.encoding}"
        told = UsageError(what, fix="set PYTHONUTF8=1, or a locale of UTF-8 such as LC_ALL=C.UTF-8")
        print("\n".join(told.lines()), file=sys.stderr)
        return told.exit_code
    except BrokenPipeError:
        sys.stderr.close()  # the reader went away, as `| head` does; nothing is left to say
        return 0
