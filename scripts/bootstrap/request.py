"""What the caller wants: which checkout, where the environment goes, and what is to be in it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from bootstrap.problems import Refused, SetupProblem

NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?\Z")
ALL = "all"  # instead of names: every group, every extra
WORDS = 5  # root, environment, entry, groups, extras; then the arguments of the entry


@dataclass(frozen=True)
class Wanted:
    """One start of scripts/ci-runner, as far as the environment is concerned."""

    root: Path
    venv: Path
    entry: str
    groups: tuple[str, ...]
    extras: tuple[str, ...]
    python: str = ""  # UV_PYTHON: an explicit choice of the caller

    @property
    def program(self) -> Path:
        """What is run in the end."""
        return self.venv / "bin" / self.entry

    def with_more(self, groups: Sequence[str], extras: Sequence[str]) -> Wanted:
        """The same with what is there already, so that nothing is taken away."""
        return replace(self, groups=merged(groups, self.groups), extras=merged(extras, self.extras))


def read_request(words: Sequence[str], environ: Mapping[str, str]) -> Wanted:
    """The request that start.sh passes on as its first words."""
    root, venv, entry, groups, extras = words[:WORDS]
    # the last part of the path stays as it is: an environment may be a link to one elsewhere
    place = Path(venv)
    return Wanted(
        root=Path(root).resolve(),
        venv=place.parent.resolve() / place.name,
        entry=entry,
        groups=names(groups, "CI_RUNNER_GROUPS"),
        extras=names(extras, "CI_RUNNER_EXTRAS"),
        python=environ.get("UV_PYTHON", ""),
    )


def names(text: str, variable: str) -> tuple[str, ...]:
    """The names in a variable; a word that cannot be a name is refused before it gets near a command line."""
    found = merged(text.split())
    for name in found:
        if not NAME.match(name):
            raise Refused(
                f"{name!r} is no name of a dependency group or extra ({variable})",
                fix=f"give names from pyproject.toml in {variable}, separated by spaces",
            )
    return found


def merged(*lists: Sequence[str]) -> tuple[str, ...]:
    """All names once, sorted."""
    return tuple(sorted({name for names_of_one in lists for name in names_of_one}))


def version_of(root: Path) -> str:
    """The version of the checkout, for the message."""
    text = (root / "ci_runner" / "__init__.py").read_text(encoding="utf-8")
    found = re.search(r'^__version__ = "([^"]+)"', text, re.MULTILINE)
    return found.group(1) if found else "(unknown version)"


def cache_folder(environ: Mapping[str, str]) -> Path:
    """Where fetched tools stay between starts and between checkouts."""
    base = Path(environ.get("XDG_CACHE_HOME", ""))
    if base.is_absolute():
        return base / "ci-runner"
    try:
        return Path.home() / ".cache" / "ci-runner"
    except RuntimeError:
        raise SetupProblem(
            "there is no home folder to keep fetched tools in", fix="set HOME or XDG_CACHE_HOME"
        ) from None
