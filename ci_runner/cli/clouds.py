"""What `machines` and `reap` share: which providers are asked, all of them at once, and what each of them said."""

from __future__ import annotations

import difflib
import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ci_runner.config.load import load_settings
from ci_runner.errors import AUTHENTICATION, AuthenticationError, CiRunnerError, MachineError, UsageError
from ci_runner.github.commands import one_line
from ci_runner.providers.failures import Kind, ProviderError
from ci_runner.providers.registry import PROVIDERS, provider_named
from ci_runner.report import words

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

    from ci_runner.config.settings import Settings
    from ci_runner.model import Lease
    from ci_runner.providers.base import Provider
    from ci_runner.providers.book import Book

LOCAL = "local"
EXTRAS = {
    "aws-ec2": "aws",
    "gcp-tpu": "gcp",
    "ssh": "ssh",
}  # the extra of pyproject.toml that has its library


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A provider that answered, and its machines."""

    provider: Provider
    leases: tuple[Lease, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Unreachable:
    """A provider that did not answer, and why."""

    name: str
    error: CiRunnerError

    @property
    def exit_code(self) -> int:
        """5 if it does not know us, else what the error says."""
        unknown = isinstance(self.error, ProviderError) and self.error.failure.kind is Kind.AUTH
        return AUTHENTICATION if unknown else self.error.exit_code


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What all providers said together."""

    asked: tuple[Asked, ...]
    unreachable: tuple[Unreachable, ...]

    @property
    def leases(self) -> list[tuple[Provider, Lease]]:
        """Every machine with its provider."""
        return [(each.provider, lease) for each in self.asked for lease in each.leases]

    def complain(self) -> int:
        """Say on stderr who did not answer, so that nobody takes silence for nothing there; the exit code of that."""
        for each in self.unreachable:
            print(
                f"ci-runner: warning: {each.name} did not answer: {one_line(each.error.what)}",
                file=sys.stderr,
            )
            if each.error.fix:
                print(f"fix: {one_line(each.error.fix)}", file=sys.stderr)
        codes = [each.exit_code for each in self.unreachable]
        return AUTHENTICATION if AUTHENTICATION in codes else max(codes, default=0)

    def plain(self) -> list[dict[str, Any]]:
        """Who did not answer, for JSON."""
        return [
            {"provider": each.name, "error": each.error.what, "exit_code": each.exit_code}
            for each in self.unreachable
        ]


def add_arguments(parser: ArgumentParser) -> None:
    """The arguments that say where to look."""
    parser.add_argument(
        "--provider",
        action="append",
        default=[],
        metavar="P",
        help='ask this provider (repeatable; "all" for every one; default: those of the configuration\'s machines)',
    )
    add_config(parser)


def add_config(parser: ArgumentParser) -> None:
    """The argument that names the configuration."""
    parser.add_argument("--config", metavar="FILE", help="the configuration to use (default: found upwards)")


def settings_for(arguments: Namespace) -> Settings:
    """The configuration."""
    file = Path(arguments.config) if arguments.config else None
    return load_settings(Path.cwd(), environ=os.environ, config_file=file)


def names_for(settings: Settings, named: Sequence[str]) -> list[str]:
    """The providers to ask: those named, else those that the configuration's machines use, `local` last.

    Raises UsageError for a name that there is not.
    """
    for name in named:
        if name not in PROVIDERS and name != "all":
            near = difflib.get_close_matches(name, PROVIDERS, n=1)
            hint = f"perhaps you meant {near[0]}; " if near else ""
            raise UsageError(
                f'no provider is called "{one_line(name, 60)}"',
                fix=f"{hint}there are: {', '.join(sorted(PROVIDERS))}",
            )
    chosen = set(named) or {machine.provider for machine in settings.machines.values()}
    if "all" in chosen:
        chosen = set(PROVIDERS)
    return sorted(chosen, key=lambda name: (name == LOCAL, name))


def ask(
    names: Iterable[str],
    *,
    environ: Mapping[str, str] | None = None,
    connect: Callable[[str, Mapping[str, str]], Provider] | None = None,
) -> Answer:
    """Every machine of every provider; one that cannot answer hides no other's."""
    todo = list(names)
    connect = connect or provider_named

    def one(name: str) -> Asked | Unreachable:
        try:
            provider = connect(name, os.environ if environ is None else environ)
            return Asked(provider=provider, leases=tuple(provider.leases()))
        except CiRunnerError as error:
            return Unreachable(name=name, error=error)
        except OSError as error:
            return Unreachable(name=name, error=MachineError(f"{error.strerror or error}"))
        except ImportError as error:
            return Unreachable(name=name, error=missing_library(name, error))

    with ThreadPoolExecutor(max_workers=max(1, len(todo))) as pool:
        answers = list(pool.map(one, todo))
    return Answer(
        asked=tuple(each for each in answers if isinstance(each, Asked)),
        unreachable=tuple(each for each in answers if isinstance(each, Unreachable)),
    )


def missing_library(name: str, error: ImportError) -> MachineError:
    """What to do about a cloud's library that is not installed."""
    extra = EXTRAS.get(name, "all")
    return MachineError(
        f"a library for {name} is missing: {error.name or error}",
        fix=f'pip install "ci-runner[{extra}]"; in a checkout set CI_RUNNER_EXTRAS={extra}',
    )


def find(answer: Answer, wanted: str) -> tuple[Provider, Lease] | None:
    """The machine of a lease's id, or of the only one that begins like this; None if there is none.

    Raises UsageError if several do.
    """
    exact = [each for each in answer.leases if each[1].id == wanted]
    found = exact or [each for each in answer.leases if wanted and each[1].id.startswith(wanted)]
    if len(found) > 1:
        names = ", ".join(f"{lease.id} ({provider.name})" for provider, lease in found[:5])
        raise UsageError(f'several leases begin with "{one_line(wanted, 60)}"', fix=f"name one of: {names}")
    return found[0] if found else None


def found(answer: Answer, wanted: str) -> tuple[Provider, Lease]:
    """The machine of a lease's id. Raises UsageError with near ones if there is none, or the error that hides it."""
    one = find(answer, wanted)
    if one is not None:
        return one
    if answer.unreachable:
        silent = ", ".join(each.name for each in answer.unreachable)
        text = f'no lease is called "{one_line(wanted, 60)}" where an answer came from; silent: {silent}'
        cause = answer.unreachable[0].error
        failed = AuthenticationError if answer.unreachable[0].exit_code == AUTHENTICATION else MachineError
        raise failed(text, fix=cause.fix) from cause
    known = [lease.id for _, lease in answer.leases]
    near = difflib.get_close_matches(wanted, known, n=3, cutoff=0.6)
    fix = f"perhaps you meant: {', '.join(near)}" if near else "see them all with: ci-runner machines list"
    raise UsageError(f'no lease is called "{one_line(wanted, 60)}"', fix=fix)


def book_of(settings: Settings) -> Book:
    """The book of leases beside the history."""
    from ci_runner.history.store import open_store
    from ci_runner.providers.book import Book

    return Book(open_store(settings.stores.get("history"), settings.root))


def table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines with columns; a column that is empty everywhere takes no room."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(f"{cell:{width}}" for cell, width in zip(row, widths, strict=True) if width).rstrip()
        for row in rows
    ]


def kind_text(lease: Lease) -> str:
    """`v6e-1 spot`."""
    return one_line(
        " ".join([lease.machine.type or lease.machine.name, *(["spot"] if lease.spot else [])]), 40
    )


def until(lease: Lease, now: float) -> str:
    """`expires in 12 min`, `expired 3 h 2 min ago`."""
    seconds = lease.expires_at - now
    told = words.duration(float(round(abs(seconds))))
    return f"expires in {told}" if seconds > 0 else f"expired {told} ago"
