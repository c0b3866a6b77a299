"""Puts the configuration's sources over one another; every value keeps its origin."""

from __future__ import annotations

import re
import stat
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ci_runner.config.lines import key_lines
from ci_runner.config.settings import Origin

_PLACE = re.compile(r" \(at (?:line (?P<line>\d+), column (?P<column>\d+)|end of document)\)\Z")
BITS = 63  # of a whole number, as TOML has them; beyond that other readers see another number


@dataclass(slots=True)
class Layers:
    """All sources, merged; later ones win key by key, and lists are replaced."""

    data: dict[str, Any] = field(default_factory=dict)
    origins: dict[str, Origin] = field(default_factory=dict)  # of values
    places: dict[str, Origin] = field(default_factory=dict)  # of tables and items of lists too
    read: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    whole: bool = True  # False: a file could not be read, so what is not there may yet be somewhere

    def add_file(self, path: Path) -> None:
        """Lay a file over what is there."""
        text = self._text(path)
        data = self._parsed(path, text) if text is not None else None
        if text is None or data is None:
            self.whole = False
            return
        for key in merge(self.data, data):
            self.forget(key)
        lines = key_lines(text)
        for key, _value in leaves(data):
            self.origins[key] = Origin(kind="file", name=str(path), line=lines.get(key))
        for key, line in lines.items():
            self.places.setdefault(key, Origin(kind="file", name=str(path), line=line))

    def _text(self, path: Path) -> str | None:
        try:
            if not stat.S_ISREG(path.stat().st_mode):
                what = "a directory" if path.is_dir() else "no regular file"
                self.problems.append(f"{path}: cannot be read: is {what}")
                return None
            raw = path.read_bytes()
            self.read.append(str(path))
            return raw.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            line = error.object[: error.start].count(b"\n") + 1
            self.problems.append(f"{path}:{line}: not UTF-8 (byte {error.object[error.start]:#04x})")
        except OSError as error:
            self.problems.append(f"{path}: cannot be read: {error.strerror or error}")
        return None

    def _parsed(self, path: Path, text: str) -> dict[str, Any] | None:
        try:
            data = tomllib.loads(text)
        except RecursionError:
            self.problems.append(f"{path}: not valid TOML: nested too deeply")
            return None
        except ValueError as error:  # TOMLDecodeError, and what int() says about thousands of digits
            message = str(error)
            found = _PLACE.search(message)
            line = (found["line"] or text.rstrip().count("\n") + 1) if found else None
            place = f":{line}" + (f":{found['column']}" if found and found["column"] else "") if line else ""
            self.problems.append(f"{path}{place}: not valid TOML: {message}")
            return None
        if not _fits(data):
            self.problems.append(f"{path}: not valid TOML: a whole number has more than 64 bits")
            return None
        return data

    def set(self, keys: tuple[str, ...], value: object, origin: Origin) -> None:
        """Lay one value over what is there."""
        table = self.data
        for key in keys[:-1]:
            below = table.setdefault(key, {})
            if not isinstance(below, dict):
                self.problems.append(f"{origin.name}: {'.'.join(keys)} lies below a value")
                return
            table = below
        self.forget(".".join(keys))
        table[keys[-1]] = value
        self.origins[".".join(keys)] = origin

    def forget(self, key: str) -> None:
        """A value is replaced: nothing of it comes from where it was."""
        for known in (self.origins, self.places):
            for name in [name for name in known if name == key or name.startswith(f"{key}.")]:
                del known[name]

    def origin_of(self, key: str) -> Origin | None:
        """Where a value, or the nearest thing around it, comes from."""
        while key:
            if key in self.origins:
                return self.origins[key]
            if key in self.places:
                return self.places[key]
            for name, origin in self.origins.items():
                if name.startswith(f"{key}."):
                    return origin
            key = key.rpartition(".")[0]
        return None


def merge(under: dict[str, Any], over: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Put one table over another, in place; returns the paths of what was replaced."""
    replaced = []
    for key, value in over.items():
        if isinstance(value, dict) and isinstance(under.get(key), dict):
            replaced += merge(under[key], value, f"{prefix}{key}.")
            continue
        if key in under:
            replaced.append(f"{prefix}{key}")
        under[key] = value
    return replaced


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


def _fits(value: object) -> bool:
    if isinstance(value, int):
        return value.bit_length() <= BITS
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return all(_fits(item) for item in items)
