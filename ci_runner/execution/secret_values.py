"""Secrets of a suite: from the runner's environment, in a file that nobody else reads, gone from all that is kept."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from xml.sax.saxutils import escape

from ci_runner.errors import ConfigurationError, TrustError
from ci_runner.github.commands import one_line
from ci_runner.model import Lane

if TYPE_CHECKING:
    from ci_runner.model import Plan

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
SHORTEST = (
    8  # characters; a shorter word may be part of the results themselves, and hiding it would break them
)
HIDDEN = b"***"
BINARY = 8_000  # the bytes at the beginning of a file that tell whether it is text

Values = Mapping[str, str]


def secrets_of(plan: Plan, environ: Mapping[str, str]) -> dict[str, Values]:
    """Suite → its secrets. Raises ConfigurationError for one that is not there, TrustError for code of a fork."""
    found: dict[str, Values] = {}
    for selection in plan.selected:
        suite = selection.suite
        if not suite.secrets:
            continue
        if plan.event.lane is not Lane.SAME_REPOSITORY:
            raise TrustError(
                f'the suite "{suite.name}" has secrets, and code of a fork gets none',
                where=f"suites.{suite.name}.secrets",
                fix="give the tests that need no secret a suite of their own",
            )
        bad = [name for name in suite.secrets if NAME.fullmatch(name) is None]
        lacking = [name for name in suite.secrets if name not in bad and not environ.get(name)]
        if bad or lacking:
            names = ", ".join(one_line(name, 60) for name in bad or lacking)
            what = (
                "cannot be the name of a variable"
                if bad
                else "is not set"
                if len(lacking) == 1
                else "are not set"
            )
            raise ConfigurationError(
                f"{names} {what}",
                where=f"suites.{suite.name}.secrets",
                fix="name variables of the runner's environment; in a workflow: env: NAME: ${{ secrets.NAME }}",
            )
        found[suite.name] = {name: environ[name] for name in suite.secrets}
    return found


def place_of(scratch: str, attempt: str) -> str:
    """Where the file is on the machine: where it goes with the lease, if the supervisor never comes to remove it."""
    return f"{scratch}/secrets-{attempt}.json"


def as_file(values: Values) -> bytes:
    """What the supervisor reads."""
    return json.dumps(dict(values)).encode()


def masks(found: Iterable[Values]) -> list[str]:
    """Workflow commands that hide the values in the log, a line of a value each."""
    from ci_runner.github.commands import command

    return [command("add-mask", text) for text in dict.fromkeys(_texts(found))]


def scrub(folder: Path, logs: Sequence[Path], values: Values) -> None:
    """Replace the values in every file of an attempt, as text, in JSON and in XML."""
    words = forms(values)
    for path in [*logs, *sorted(folder.rglob("*"))]:
        if path.is_symlink() or not path.is_file():
            continue
        data = clean = path.read_bytes()
        if b"\0" in data[:BINARY]:
            continue  # a data base of some tool, which would be broken
        for word in words:
            clean = clean.replace(word, HIDDEN)
        if clean != data:
            path.write_bytes(clean)


def forms(values: Values) -> list[bytes]:
    """How the values may be written, the longest first, so that no end of one is left."""
    found: set[str] = set()
    for text in _texts([values]):
        found |= {text, json.dumps(text)[1:-1], json.dumps(text, ensure_ascii=False)[1:-1], repr(text)[1:-1]}
        quoted = {'"': "&quot;"}
        found |= {escape(text), escape(text, quoted), escape(text, {**quoted, "\n": "&#10;", "'": "&#x27;"})}
    return sorted((text.encode("utf-8", "surrogateescape") for text in found), key=len, reverse=True)


def _texts(found: Iterable[Values]) -> Iterable[str]:
    """The values, and the lines of those that have several."""
    for values in found:
        for value in values.values():
            for text in (value.strip(), *map(str.strip, value.splitlines())):
                if len(text) >= SHORTEST:
                    yield text
