"""What CI_RUNNER_* variables set."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ci_runner.config.layers import Layers
from ci_runner.config.places import PREFIX, is_setting
from ci_runner.config.settings import Origin
from ci_runner.config.shape import aliases, below, has_names, table_of
from ci_runner.config.tables import ProjectTable, RootTable
from ci_runner.config.values import FromEnvironment
from ci_runner.config.words import closest

SURE = 0.85  # how near to a setting a variable has to be before it counts as a slip of ours


def from_environment(layers: Layers, environ: Mapping[str, str]) -> None:
    """Lay CI_RUNNER_* over what is there: `CI_RUNNER_RETRY_LIMIT`, `CI_RUNNER_SUITES__UNIT__TIMEOUT`."""
    for name in sorted(environ):
        if not is_setting(name):
            continue
        words = name.removeprefix(PREFIX).split("__")
        try:
            keys = _project_key(words[0]) if len(words) == 1 else _path_of(layers, words)
        except LookupError as error:
            layers.problems.append(f"{name}: {error.args[0]}")
            continue
        if keys:
            value = FromEnvironment(environ[name])
            layers.set(keys, value, Origin(kind="environment", name=name))


def _project_key(word: str) -> tuple[str, ...]:
    """A key of [project]; nothing for a name that is far from all: other systems set variables that begin like ours."""
    known = {_plain(alias): alias for alias in aliases(ProjectTable)}
    if word.lower() in known:
        return "project", known[word.lower()]
    close = closest(word.lower(), known, SURE)
    if close is not None:
        raise LookupError(f"no setting has this name (did you mean {PREFIX}{close.upper()}?)")
    return ()


def _path_of(layers: Layers, words: list[str]) -> tuple[str, ...]:
    """The keys that the words of a variable mean, with dashes where the configuration has them. Raises LookupError."""
    keys: list[str] = []
    at: Any = RootTable
    here: Any = layers.data
    for index, word in enumerate(words):
        if not has_names(at):
            raise LookupError(f"{'.'.join(keys)} is set as a whole, and nothing below it")
        table = table_of(at)
        known = aliases(table) if table is not None else list(here) if isinstance(here, dict) else []
        fits = [name for name in known if _plain(name) == word.lower()]
        if len(fits) > 1:
            raise LookupError(f"means {' as well as '.join(fits)}: rename one, or set it in a file")
        if not fits and (table is not None or not word or keys == ["suites"]):
            if keys == ["suites"] and not layers.whole:
                return ()  # it may be in the file that could not be read
            raise LookupError(f"no setting has this name{_meant(words, index, known)}")
        if fits:
            keys.append(fits[0])
        else:
            keys.append(word if keys[-1] == "env" else word.lower())  # variables of tests keep their case
        at = below(at, keys[-1])
        here = here.get(keys[-1]) if isinstance(here, dict) else None
    return tuple(keys)


def _meant(words: list[str], index: int, known: list[str]) -> str:
    close = closest(words[index].lower(), [_plain(name) for name in known])
    if close is None:
        return ""
    return f" (did you mean {PREFIX}{'__'.join([*words[:index], close.upper(), *words[index + 1 :]])}?)"


def _plain(name: str) -> str:
    return name.replace("-", "_").lower()
