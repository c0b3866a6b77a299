"""Lists of changed files as people and programs have them: lines, `git diff --name-status`, GitHub's files API."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from pathlib import Path

from ci_runner.errors import EventError
from ci_runner.github.commands import one_line
from ci_runner.github.payload import clean, parse_json, read_bytes
from ci_runner.model import ChangedFile, ChangeKind, Event

MOST_FILES = 3000  # docs.github.com/rest/pulls/pulls#list-pull-requests-files lists no more
STATUS = re.compile(r"([ADMTUXB]|[RC][0-9]{0,3})")
LETTERS = {"A": ChangeKind.ADDED, "C": ChangeKind.ADDED, "D": ChangeKind.REMOVED, "R": ChangeKind.RENAMED}
WORDS = {
    "added": ChangeKind.ADDED,
    "copied": ChangeKind.ADDED,
    "removed": ChangeKind.REMOVED,
    "renamed": ChangeKind.RENAMED,
}
QUOTED = re.compile(rb"\\([abfnrtv\"\\]|[0-7]{3})")
ESCAPES = {
    b"a": b"\a",
    b"b": b"\b",
    b"f": b"\f",
    b"n": b"\n",
    b"r": b"\r",
    b"t": b"\t",
    b"v": b"\v",
    b'"': b'"',
    b"\\": b"\\",
}
FIX = (
    "write one path a line, or the output of git diff --name-status (-z if you like), "
    "or the JSON of GitHub's list of a pull request's files"
)


def read_changed_files(path: Path) -> tuple[ChangedFile, ...]:
    """The files that a list names, ordered by path. Raises EventError with the place of what cannot be read."""
    return parse_changed_files(read_bytes(path, "list of changed files"), str(path))


def with_changed_files(event: Event, path: Path) -> Event:
    """The event with the changed files of a list; 3,000 of them may be all that GitHub lists, and not all there are."""
    files = read_changed_files(path)
    complete = len(files) != MOST_FILES
    return dataclasses.replace(
        event,
        changed_files=files,
        changed_files_complete=complete,
        changed_files_note=None
        if complete
        else f"the list has {MOST_FILES:,} entries, the most that GitHub lists: there may be more",
    )


def parse_changed_files(data: bytes, where: str = "list") -> tuple[ChangedFile, ...]:
    """The files that a text names, in whichever of the three forms it is."""
    start = data.lstrip()[:1]
    if start in (b"[", b"{") and _looks_like_json(data):
        files = _from_json(data, where)
    elif b"\0" in data:
        files = _from_zeros(data, where)
    else:
        files = _from_lines(data, where)
    unique = {(file.path, file.previous_path): file for file in files}
    return tuple(unique[key] for key in sorted(unique, key=lambda key: (key[0], key[1] or "")))


def _looks_like_json(data: bytes) -> bool:
    """A path may begin with a bracket; JSON also ends with one."""
    return data.rstrip()[-1:] in (b"]", b"}")


def _from_json(data: bytes, where: str) -> list[ChangedFile]:
    value = parse_json(data, where, "list of changed files")
    if isinstance(value, Mapping):  # the compare API wraps its list
        value = value.get("files")
    if isinstance(value, list) and value and all(isinstance(page, list) for page in value):
        value = [entry for page in value for entry in page]  # gh api --paginate --slurp
    if not isinstance(value, list):
        raise EventError("the list of changed files holds no list", where=where, fix=FIX)
    return [_entry(entry, f"{where}, entry {place}") for place, entry in enumerate(value, 1)]


def _entry(entry: object, where: str) -> ChangedFile:
    if isinstance(entry, str):
        return _file(entry, ChangeKind.MODIFIED, None, where)
    if not isinstance(entry, Mapping):
        raise EventError("this is neither a path nor an entry of GitHub's files API", where=where, fix=FIX)
    name, previous, status = (entry.get(key) for key in ("filename", "previous_filename", "status"))
    if (
        not isinstance(name, str)
        or not isinstance(previous, str | None)
        or not isinstance(status, str | None)
    ):
        raise EventError("an entry's filename, previous_filename and status are text", where=where, fix=FIX)
    return _file(name, WORDS.get(status or "", ChangeKind.MODIFIED), previous, where)


def _from_zeros(data: bytes, where: str) -> list[ChangedFile]:
    """The output of `git diff -z`, with `--name-status` or `--name-only`."""
    words = [_decode(word) for word in data.rstrip(b"\0").split(b"\0")]
    if not STATUS.fullmatch(words[0]):
        return [_file(word, ChangeKind.MODIFIED, None, where) for word in words]
    files = []
    at = 0
    while at < len(words):
        letter, size = words[at][:1], 3 if words[at][:1] in ("R", "C") else 2
        if not STATUS.fullmatch(words[at]) or at + size > len(words):
            raise EventError(
                f'the list of changed files breaks off or is mixed up at "{one_line(words[at], 80)}"',
                where=where,
                fix=FIX,
            )
        files.append(_moved(letter, words[at + 1 : at + size], where))
        at += size
    return files


def _from_lines(data: bytes, where: str) -> list[ChangedFile]:
    files = []
    for number, ended in enumerate(data.removeprefix(b"\xef\xbb\xbf").split(b"\n"), 1):
        line = ended.removesuffix(b"\r")
        if not line:
            continue
        status, *paths = line.split(b"\t")
        if paths and STATUS.fullmatch(_decode(status)):
            letter = _decode(status)[:1]
            if len(paths) != (2 if letter in ("R", "C") else 1):
                raise EventError(
                    f"a line of status {letter} has {len(paths)} paths", where=f"{where}:{number}", fix=FIX
                )
            files.append(_moved(letter, [_unquoted(path) for path in paths], f"{where}:{number}"))
        else:
            files.append(_file(_unquoted(line), ChangeKind.MODIFIED, None, f"{where}:{number}"))
    return files


def _moved(letter: str, paths: list[str], where: str) -> ChangedFile:
    previous = paths[0] if letter == "R" else None  # the source of a copy has not changed
    return _file(paths[-1], LETTERS.get(letter, ChangeKind.MODIFIED), previous, where)


def _file(path: str, kind: ChangeKind, previous: str | None, where: str) -> ChangedFile:
    path = clean(path).removeprefix("./")
    if not path or "\0" in path:
        raise EventError("a changed file has no path", where=where, fix=FIX)
    return ChangedFile(path=path, kind=kind, previous_path=clean(previous) if previous else None)


def _unquoted(word: bytes) -> str:
    """A path as git quotes it when it has unusual characters: `"d\\303\\266c.md"`."""
    if len(word) > 1 and word[:1] == word[-1:] == b'"':
        word = QUOTED.sub(
            lambda match: ESCAPES.get(match[1]) or (int(match[1], 8) & 0xFF).to_bytes(1, "big"), word[1:-1]
        )
    return _decode(word)


def _decode(word: bytes) -> str:
    return word.decode("utf-8", "replace")
