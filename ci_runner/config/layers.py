"""Finds and reads the configuration's sources, and puts them over one another; every value keeps its origin."""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ci_runner.config.settings import Origin
from ci_runner.config.tables import FromEnvironment, ProjectTable, RootTable

TEAM_FILE = "ci-runner.toml"
LOCAL_FILE = "ci-runner.local.toml"
PREFIX = "CI_RUNNER_"
_HEADER = re.compile(r"\s*\[\[?\s*(?P<key>[^\]]+?)\s*\]\]?\s*(#.*)?$")
_KEY = re.compile(
    r"""\s*(?P<key>(?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*')(?:\s*\.\s*(?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*'))*)\s*=(?P<rest>.*)"""
)
_PART = re.compile(r"""[A-Za-z0-9_-]+|"[^"]*"|'[^']*'""")


@dataclass(slots=True)
class Layers:
    """All sources, merged; later ones win key by key, and lists are replaced."""

    data: dict[str, Any] = field(default_factory=dict)
    origins: dict[str, Origin] = field(default_factory=dict)
    read: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def add_file(self, path: Path) -> None:
        """Lay a file over what is there."""
        try:
            text = path.read_bytes().decode("utf-8")
        except UnicodeDecodeError as error:
            line = error.object[: error.start].count(b"\n") + 1
            self.problems.append(f"{path}:{line}: not UTF-8 (byte {error.object[error.start]:#04x})")
            return
        except OSError as error:
            self.problems.append(f"{path}: cannot be read: {error.strerror or error}")
            return
        self.read.append(str(path))
        try:
            data = tomllib.loads(text)
        except (tomllib.TOMLDecodeError, RecursionError) as error:
            self.problems.append(f"{path}: not valid TOML: {error}")
            return
        lines = key_lines(text)
        for key, _value in leaves(data):
            self.origins[key] = Origin(kind="file", name=str(path), line=line_of(key, lines))
        merge(self.data, data)

    def set(self, keys: tuple[str, ...], value: object, origin: Origin) -> None:
        """Lay one value over what is there."""
        table = self.data
        for key in keys[:-1]:
            below = table.setdefault(key, {})
            if not isinstance(below, dict):
                self.problems.append(f"{origin.name}: {'.'.join(keys)} lies below a value")
                return
            table = below
        table[keys[-1]] = value
        self.origins[".".join(keys)] = origin

    def origin_of(self, key: str) -> Origin | None:
        """Where a value, or the nearest thing around it, comes from."""
        while key:
            if key in self.origins:
                return self.origins[key]
            inside = [name for name in self.origins if name.startswith(f"{key}.")]
            if inside:
                first = min(inside, key=lambda name: self.origins[name].line or 0)
                return self.origins[first]
            key = key.rpartition(".")[0]
        return None


def merge(under: dict[str, Any], over: Mapping[str, Any]) -> None:
    """Put one table over another, in place."""
    for key, value in over.items():
        if isinstance(value, dict) and isinstance(under.get(key), dict):
            merge(under[key], value)
        else:
            under[key] = value


def leaves(data: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every value that is no table, with its path; entries of lists of tables are numbered."""
    for key, value in data.items():
        path = f"{prefix}{key}"
        if isinstance(value, dict):
            yield from leaves(value, f"{path}.")
        elif isinstance(value, list) and value and all(isinstance(item, dict) for item in value):
            for number, item in enumerate(value):
                yield from leaves(item, f"{path}.{number}.")
        else:
            yield path, value


def key_lines(text: str) -> dict[str, int]:
    """The line of each key, as well as one can see it without parsing; strings of several lines are stepped over."""
    found: dict[str, int] = {}
    table: list[str] = []
    counters: dict[str, int] = {}
    inside = ""  # the quotes of a string of several lines
    depth = 0  # of brackets that stay open over lines
    for number, line in enumerate(text.splitlines(), start=1):
        if not inside and depth == 0:
            header = _HEADER.match(line)
            key = _KEY.match(line)
            if header is not None:
                table = parts_of(header["key"])
                if line.lstrip().startswith("[["):
                    name = ".".join(table)
                    counters[name] = counters.get(name, -1) + 1
                    table = [*table, str(counters[name])]
                found.setdefault(".".join(table), number)
                continue
            if key is not None:
                found.setdefault(".".join([*table, *parts_of(key["key"])]), number)
            inside, depth = _after(key["rest"] if key is not None else line, inside, depth)
        else:
            inside, depth = _after(line, inside, depth)
    return found


def parts_of(key: str) -> list[str]:
    """The parts of a dotted key, without quotes."""
    return [part.strip("\"'") for part in _PART.findall(key)]


def _after(line: str, inside: str, depth: int) -> tuple[str, int]:
    at = 0
    while at < len(line):
        if inside:
            end = line.find(inside, at)
            if end < 0:
                return (inside, depth) if len(inside) == 3 else ("", depth)
            at, inside = end + len(inside), ""
            continue
        char = line[at]
        if char == "#":
            break
        if char in "\"'":
            inside = char * 3 if line.startswith(char * 3, at) else char
            at += len(inside)
            continue
        depth += (char in "[{") - (char in "]}")
        at += 1
    return (inside if len(inside) == 3 else ""), max(0, depth)


def line_of(key: str, lines: Mapping[str, int]) -> int | None:
    """The line of a key, or of what stands around it."""
    while key:
        if key in lines:
            return lines[key]
        key = key.rpartition(".")[0]
    return None


# -- environment variables


def from_environment(layers: Layers, environ: Mapping[str, str]) -> None:
    """Lay CI_RUNNER_* over what is there: `CI_RUNNER_RETRY_LIMIT`, `CI_RUNNER_SUITES__UNIT__TIMEOUT`."""
    for name in sorted(environ):
        if not name.startswith(PREFIX):
            continue
        words = name.removeprefix(PREFIX).lower().split("__")
        origin = Origin(kind="environment", name=name)
        value = FromEnvironment(environ[name])
        if len(words) == 1:
            _project_variable(layers, name, words[0], value, origin)
        elif (keys := _path_of(layers, words)) is not None:
            layers.set(keys, value, origin)
        else:
            layers.problems.append(f"{name}: no setting has this name")


def _project_variable(layers: Layers, name: str, word: str, value: FromEnvironment, origin: Origin) -> None:
    """A key of [project]. Other systems set variables that begin like ours (GitLab: CI_RUNNER_ID): those are theirs."""
    known = {_plain(alias): alias for alias in aliases(ProjectTable)}
    if word in known:
        layers.set(("project", known[word]), value, origin)
        return
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.85)
    if close:
        layers.problems.append(f"{name}: no setting has this name (did you mean {PREFIX}{close[0].upper()}?)")


def _path_of(layers: Layers, words: list[str]) -> tuple[str, ...] | None:
    """The keys that words of a variable mean: names that exist, with dashes where the configuration has them."""
    tables = {_plain(alias): alias for alias in aliases(RootTable)}
    if words[0] not in tables or not all(words):
        return None
    keys = [tables[words[0]]]
    at: Any = layers.data.get(keys[0], {})
    for word in words[1:]:
        names = {_plain(name): name for name in at} if isinstance(at, dict) else {}
        keys.append(names.get(word) or word.replace("_", "-"))
        at = at.get(keys[-1], {}) if isinstance(at, dict) else {}
    return tuple(keys)


def _plain(name: str) -> str:
    return name.replace("-", "_").lower()


def aliases(table: type[Any]) -> list[str]:
    """The keys of a table as they are written."""
    return [str(item.alias or name) for name, item in table.model_fields.items()]


# -- where the files are


def find_team_file(start: Path) -> Path | None:
    """ci-runner.toml in the folder or above it, no further up than the top of the repository."""
    for folder in (start, *start.parents):
        candidate = folder / TEAM_FILE
        if candidate.is_file():
            return candidate
        if (folder / ".git").exists():
            return None
    return None


def top_of(start: Path) -> Path:
    """The top of the repository around a folder, or the folder itself."""
    return next((folder for folder in (start, *start.parents) if (folder / ".git").exists()), start)


def personal_file(environ: Mapping[str, str]) -> Path | None:
    """~/.config/ci-runner/config.toml, wherever XDG_CONFIG_HOME puts it."""
    base = environ.get("XDG_CONFIG_HOME") or (f"{environ['HOME']}/.config" if environ.get("HOME") else "")
    return Path(base, "ci-runner", "config.toml") if base.startswith("/") else None
