"""The line of every key, table and list item of a TOML file, which the standard library's parser does not tell."""

from __future__ import annotations

import re
import tomllib
from bisect import bisect_left
from contextlib import suppress

_BLANK = re.compile(r"(?:[ \t\r\n]+|#[^\n]*)*")
_PART = re.compile(r"""[ \t]*([A-Za-z0-9_-]+|"(?:[^"\\\n]|\\.)*"|'[^'\n]*')[ \t]*""")
_TEXT = re.compile(
    r'"""(?:[^\\]|\\.)*?"""(?:""|")?' r"|'''.*?'''(?:''|')?" r'|"(?:[^"\\\n]|\\.)*"' r"|'[^'\n]*'",
    re.DOTALL,
)
_BARE = re.compile(r"[^\[\]{},#\"'\n]+")


def key_lines(text: str) -> dict[str, int]:
    """Dotted path → line, counted from 1; list items are numbered. Of what is no TOML, the part before the fault."""
    scan = _Scan(text)
    with suppress(_LostError, RecursionError):  # only what the parser has accepted has to be complete here
        scan.document()
    return {**scan.around, **scan.found}


class _LostError(Exception):
    """The text does not go on as TOML does."""


class _Scan:
    """Reads values only as far as it must to know where they end."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.ends = [match.start() for match in re.finditer("\n", text)]
        self.found: dict[str, int] = {}
        self.around: dict[str, int] = {}  # tables that only the keys inside them name
        self.counts: dict[tuple[str, ...], int] = {}

    def document(self) -> None:
        table: tuple[str, ...] = ()
        while self.more():
            start = self.at
            if self.takes("[["):
                table = self.table(self.key(), start, several=True)
                self.expect("]]")
            elif self.takes("["):
                table = self.table(self.key(), start, several=False)
                self.expect("]")
            else:
                self.pair(table)

    def table(self, keys: list[str], start: int, *, several: bool) -> tuple[str, ...]:
        """The path of the table that a header opens: below a list of tables, that is its last one."""
        path: tuple[str, ...] = ()
        for key in keys:
            path = (*path, key)
            if key is keys[-1] and several:
                self.note(path, start, self.around)
                self.counts[path] = self.counts.get(path, -1) + 1
            if path in self.counts:
                path = (*path, str(self.counts[path]))
            self.note(path, start, self.around)
        self.note(path, start, self.found)
        return path

    def pair(self, table: tuple[str, ...]) -> None:
        start = self.at
        path = table
        for key in self.key():
            path = (*path, key)
            self.note(path, start, self.around)
        self.note(path, start, self.found)
        self.expect("=")
        self.value(path)

    def value(self, path: tuple[str, ...]) -> None:
        if self.takes("["):
            number = 0
            while self.more() and not self.takes("]"):
                self.note((*path, str(number)), self.at, self.found)
                self.value((*path, str(number)))
                number += 1
                self.comma("]")
        elif self.takes("{"):
            while self.more() and not self.takes("}"):
                self.pair(path)
                self.comma("}")
        else:
            match = _TEXT.match(self.text, self.at) or _BARE.match(self.text, self.at)
            if match is None:
                raise _LostError
            self.at = match.end()

    def key(self) -> list[str]:
        parts: list[str] = []
        while not parts or self.takes("."):
            match = _PART.match(self.text, self.at)
            if match is None:
                raise _LostError
            self.at = match.end()
            parts.append(_unquoted(match[1]))
        return parts

    def more(self) -> bool:
        """Step over white space, line ends and comments; whether anything follows."""
        match = _BLANK.match(self.text, self.at)
        self.at = match.end() if match else self.at
        return self.at < len(self.text)

    def comma(self, end: str) -> None:
        self.more()
        if not self.takes(",") and not self.text.startswith(end, self.at):
            raise _LostError

    def takes(self, word: str) -> bool:
        there = self.text.startswith(word, self.at)
        self.at += len(word) if there else 0
        return there

    def expect(self, word: str) -> None:
        if not self.takes(word):
            raise _LostError
        while self.text.startswith((" ", "\t"), self.at):
            self.at += 1

    def note(self, path: tuple[str, ...], start: int, where: dict[str, int]) -> None:
        where.setdefault(".".join(path), bisect_left(self.ends, start) + 1)


def _unquoted(part: str) -> str:
    if part[0] == "'":
        return part[1:-1]
    if part[0] != '"':
        return part
    try:
        return str(tomllib.loads(f"key = {part}")["key"])
    except ValueError:
        raise _LostError from None
