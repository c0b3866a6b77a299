"""The stamp in an environment: what it was made from, so that the next start needs no more than a comparison."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from bootstrap.request import Wanted

FORMAT = "1"  # start.sh reads it too
FOLDER = "ci-runner-stamp"
SOURCES = ("pyproject.toml", "uv.lock")


@dataclass(frozen=True)
class Stamp:
    """What an environment holds."""

    root: str
    venv: str
    python: str
    groups: tuple[str, ...]
    extras: tuple[str, ...]


def read_stamp(venv: Path) -> Stamp | None:
    """The stamp of the environment, or None when it has none that can be read."""
    try:
        lines = (venv / FOLDER / "wanted").read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError):
        return None
    if len(lines) < 6 or lines[0] != FORMAT:
        return None
    root, place, python, groups, extras = lines[1:6]
    return Stamp(root, place, python, tuple(groups.split()), tuple(extras.split()))


def is_fresh(wanted: Wanted) -> bool:
    """Is everything that is wanted there, made from these very files?"""
    stamp = read_stamp(wanted.venv)
    if stamp is None or not is_at_home(wanted, stamp) or stamp.python != wanted.python:
        return False
    if not set(wanted.groups) <= set(stamp.groups) or not set(wanted.extras) <= set(stamp.extras):
        return False
    if not all(os.access(wanted.venv / "bin" / name, os.X_OK) for name in ("python", wanted.entry)):
        return False
    folder = wanted.venv / FOLDER
    return is_untouched(wanted.venv) and all(same(wanted.root / name, folder / name) for name in SOURCES)


def is_at_home(wanted: Wanted, stamp: Stamp) -> bool:
    """Is the environment where it was made, for the checkout that it was made for? Its scripts hold full paths."""
    try:
        return wanted.root.samefile(stamp.root) and wanted.venv.samefile(stamp.venv)
    except OSError:
        return False


def is_untouched(venv: Path) -> bool:
    """Has nobody else added or removed packages since the stamp?"""
    stamped = (venv / FOLDER / "wanted").stat().st_mtime_ns
    return all(place.stat().st_mtime_ns <= stamped for place in venv.glob("lib/python3*/site-packages"))


def same(one: Path, other: Path) -> bool:
    """Do the two files hold the same bytes?"""
    try:
        return one.read_bytes() == other.read_bytes()
    except OSError:
        return False


def write_stamp(wanted: Wanted, sources: dict[str, bytes]) -> None:
    """Say what the environment was made from: the sources as they were read before it was made."""
    folder = wanted.venv / FOLDER
    folder.mkdir(exist_ok=True)
    for name, content in sources.items():
        (folder / name).write_bytes(content)
    lines = [FORMAT, str(wanted.root), str(wanted.venv), wanted.python, " ".join(wanted.groups)]
    text = "\n".join([*lines, " ".join(wanted.extras), ""])
    (folder / "wanted.new").write_text(text, encoding="utf-8")
    (folder / "wanted.new").replace(folder / "wanted")
