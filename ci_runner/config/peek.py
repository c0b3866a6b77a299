"""Reads the files of other tools, which may hold anything: what cannot be read or understood is empty."""

from __future__ import annotations

import configparser
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

READ_LIMIT = 1 << 20


def is_file(path: Path) -> bool:
    """Whether it is there and can be read to an end; a pipe or a folder cannot."""
    return os.path.isfile(path)  # noqa: PTH113 - Path.is_file raises where the folder may not be looked into


def text_of(path: Path) -> str:
    """The first megabyte, without a byte order mark."""
    if not is_file(path):
        return ""
    try:
        with path.open("rb") as file:
            return file.read(READ_LIMIT).decode("utf-8-sig", "replace")
    except OSError:
        return ""


def toml_of(path: Path) -> dict[str, Any]:
    """A TOML file; its own tools say what is wrong with it."""
    try:
        return tomllib.loads(text_of(path))
    except (ValueError, RecursionError):
        return {}


def ini_of(path: Path, section: str) -> Mapping[str, str] | None:
    """One section of an INI file, None if it is not there; its own tools say what is wrong with it."""
    parser = configparser.RawConfigParser(strict=False)
    try:
        parser.read_string(text_of(path))
    except configparser.Error:
        return None
    return dict(parser.items(section)) if parser.has_section(section) else None


def table_in(value: Any, *keys: str) -> dict[str, Any] | None:
    """The table below a table, None if there is none."""
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value if isinstance(value, dict) else None
