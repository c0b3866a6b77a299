"""Which lines ran: read from coverage.py's JSON, Cobertura's XML and lcov's text, whatever is in them, and joined."""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO
from xml.parsers import expat

LARGEST = 256 * 1024 * 1024  # bytes of one file
LARGEST_JSON = 64 * 1024 * 1024  # it is read as a whole, and takes many times its size
LONGEST = 64 * 1024  # bytes of one line of lcov
HIGHEST = 10_000_000  # no file has more lines
MOST = 5_000_000  # lines in one report
INSTALLED = ("site-packages", "dist-packages", "node_modules")


@dataclass(frozen=True, slots=True)
class FileLines:
    """The lines of one file that ran, and those that could have and did not."""

    covered: frozenset[int]
    missing: frozenset[int]


Coverage = Mapping[str, FileLines]


class Unreadable(ValueError):  # noqa: N818 - it is a finding about a file
    """Why a file is no report of coverage."""


def read_coverage(path: Path, *, exists: Callable[[str], bool] = lambda _: True) -> dict[str, FileLines]:
    """The lines in one file of any known kind; `exists` says which paths the repository has. Raises Unreadable, OSError."""
    with path.open("rb") as file:
        size = path.stat().st_size
        start = file.read(400).lstrip(b"\xef\xbb\xbf \t\r\n")
        file.seek(0)
        largest = LARGEST_JSON if start.startswith(b"{") else LARGEST
        if size > largest:
            raise Unreadable(f"larger than {largest >> 20} MB")
        if start.startswith(b"{"):
            found = _json(file.read())
        elif start.startswith(b"<"):
            found = _cobertura(file)
        elif re.match(rb"(TN|SF):", start):
            found = _lcov(file)
        else:
            raise Unreadable("it is neither coverage.py's JSON nor Cobertura's XML nor lcov's text")
    lines: dict[str, FileLines] = {}
    for name, (covered, missing) in found.items():
        inside = within(name, exists)
        if inside is not None:
            one = FileLines(frozenset(covered), frozenset(missing - covered))
            lines[inside] = joined(lines[inside], one) if inside in lines else one
    return lines


def join(reports: Iterable[Coverage]) -> dict[str, FileLines]:
    """Reports of shards, machines and retries as one: a line that ran anywhere has run."""
    found: dict[str, FileLines] = {}
    for report in reports:
        for path, lines in report.items():
            found[path] = joined(found[path], lines) if path in found else lines
    return found


def joined(one: FileLines, other: FileLines) -> FileLines:
    """Both reports of one file."""
    covered = one.covered | other.covered
    return FileLines(covered, (one.missing | other.missing) - covered)


def counted(coverage: Coverage) -> tuple[int, int]:
    """How many lines ran, of how many."""
    covered = sum(len(lines.covered) for lines in coverage.values())
    return covered, covered + sum(len(lines.missing) for lines in coverage.values())


def within(name: str, exists: Callable[[str], bool]) -> str | None:
    """A path inside the repository for one that a tool wrote; None for one outside.

    A tool may write where the file lay on its machine: then the longest end of the path that the repository has is meant.
    """
    text = posixpath.normpath(name.replace("\\", "/").strip())
    if not text.isprintable() or text in (".", "..") or "\0" in text:
        return None
    if not text.startswith(("/", "../")) and not re.match(r"[A-Za-z]:/", text):
        return text if exists(text) else None
    parts = [part for part in text.split("/") if part not in ("", "..")]
    for at in range(1 if parts and parts[0].endswith(":") else 0, len(parts)):
        if exists(end := "/".join(parts[at:])):
            return end
        if parts[at] in INSTALLED:
            return None  # a library's setup.py is not the project's
    return None


Raw = dict[str, tuple[set[int], set[int]]]


class _Counter:
    """Keeps lines, and stops at more than there can be."""

    def __init__(self) -> None:
        self.found: Raw = {}
        self.count = 0

    def add(self, name: str, line: object, hits: object) -> None:
        number, times = _whole(line), _whole(hits)
        if number is None or times is None or not 0 < number <= HIGHEST:
            return
        self.count += 1
        if self.count > MOST:
            raise Unreadable(f"more than {MOST:,} lines")
        self.found.setdefault(name, (set(), set()))[0 if times > 0 else 1].add(number)


def _whole(value: object) -> int | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value
    return int(value) if isinstance(value, str) and re.fullmatch(r"-?\d{1,18}", value) else None


def _json(data: bytes) -> Raw:
    try:
        value: Any = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise Unreadable(f"no JSON: {error}") from None
    files = value.get("files")
    if not isinstance(files, dict):
        raise Unreadable('it has no "files": it is not what `coverage json` writes')
    kept = _Counter()
    for name, lines in files.items():
        for key, hits in (("executed_lines", 1), ("missing_lines", 0)):
            listed = lines.get(key) if isinstance(lines, dict) else None
            for line in listed if isinstance(listed, list) else ():
                kept.add(name, line, hits)
    return kept.found


def _cobertura(file: BinaryIO) -> Raw:
    kept = _Counter()
    sources: list[str] = []
    state = {"file": "", "source": "", "root": "", "inside": ""}

    def start(tag: str, attributes: dict[str, str]) -> None:
        state["root"] = state["root"] or tag
        state["inside"] = tag
        if tag == "class":
            state["file"] = attributes.get("filename", "")
        elif tag == "line" and state["file"]:
            kept.add(state["file"], attributes.get("number"), attributes.get("hits"))

    def end(tag: str) -> None:
        if tag == "source" and state["source"].strip() and len(sources) < 2:  # only a single one is used
            sources.append(state["source"].strip())
        state["source"] = state["inside"] = ""
        if tag == "class":
            state["file"] = ""

    def text(chunk: str) -> None:
        if state["inside"] == "source" and len(state["source"]) < 4_000:
            state["source"] += chunk[:4_000]

    def refuse(*_: object) -> None:
        raise Unreadable("it declares entities")

    parser = expat.ParserCreate()
    parser.StartElementHandler, parser.EndElementHandler, parser.CharacterDataHandler = start, end, text
    parser.EntityDeclHandler = refuse
    try:
        parser.ParseFile(file)
    except expat.ExpatError as error:
        raise Unreadable(f"no XML: {error}") from None
    if state["root"] != "coverage":
        raise Unreadable("its XML is not Cobertura's")
    return {_under(sources, name): lines for name, lines in kept.found.items()}


def _under(sources: list[str], name: str) -> str:
    """A file of Cobertura is below the first of its sources, unless its name is whole."""
    if name.startswith("/") or len(sources) != 1 or sources[0] in (".", "./"):
        return name
    return posixpath.join(sources[0].replace("\\", "/"), name)


def _lcov(file: BinaryIO) -> Raw:
    kept = _Counter()
    name = ""
    while piece := file.readline(LONGEST):
        kind, _, rest = piece.decode("utf-8", "replace").lstrip("\ufeff").partition(":")
        if kind == "SF":
            name = rest.strip()
        elif kind == "DA" and name:
            number, _, hits = rest.partition(",")
            kept.add(name, number.strip(), hits.partition(",")[0].strip())
        elif kind.strip() == "end_of_record":
            name = ""
    return kept.found
