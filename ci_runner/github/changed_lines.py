"""The lines that a change added or altered, from what `git diff --unified=0` prints."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

HUNK = re.compile(rb"@@ -\d+(?:,\d+)? \+(\d+)(?:,(\d+))? @@")
OPTIONS = (
    "diff",
    "--unified=0",
    "--no-color",
    "--no-ext-diff",
    "--no-textconv",
    "--no-renames",
    "--src-prefix=a/",
    "--dst-prefix=b/",
)
MOST = 1_000_000
ESCAPES = {
    b"n": b"\n",
    b"t": b"\t",
    b"r": b"\r",
    b'"': b'"',
    b"\\": b"\\",
    b"a": b"\a",
    b"b": b"\b",
    b"f": b"\f",
    b"v": b"\v",
}

Git = Callable[[Sequence[str]], "bytes | None"]


def changed_lines(git: Git, base: str, head: str | None) -> dict[str, frozenset[int]] | None:
    """Path → numbers of lines that are new since `base`, in `head` or in the working tree; None if git cannot tell."""
    printed = git(["-c", "core.quotePath=true", *OPTIONS, base, *([head] if head else []), "--"])
    return None if printed is None else parse_diff(printed)


def parse_diff(printed: bytes) -> dict[str, frozenset[int]]:
    """The lines in a diff without context; files that are gone or binary have none."""
    found: dict[str, set[int]] = {}
    path: str | None = None
    left = old_left = 0
    for line in printed.split(b"\n"):
        if left or old_left:  # inside a hunk whatever looks like a header is text
            if line.startswith(b"+"):
                left -= 1
            elif line.startswith(b"-"):
                old_left -= 1
            continue
        if line.startswith(b"diff --git "):
            path = None
        elif line.startswith(b"+++ "):
            path = _path(line[4:].rstrip(b"\r"))
        elif (match := HUNK.match(line)) is not None:
            start, count = int(match[1]), int(match[2] or 1)
            left, old_left = count, _old(line)
            if path is not None and 0 < count <= MOST:
                found.setdefault(path, set()).update(range(start, start + count))
    return {name: frozenset(lines) for name, lines in found.items()}


def _old(line: bytes) -> int:
    match = re.match(rb"@@ -\d+(?:,(\d+))? ", line)
    return int(match[1] or 1) if match else 0


def _path(text: bytes) -> str | None:
    """The path of a `+++` line: quoted by git if it holds anything unusual, with a tab after it if it holds blanks."""
    if text.startswith(b'"'):
        text = re.sub(rb"\\([0-7]{3}|.)", lambda m: _unescaped(m[1]), text.partition(b"\t")[0].strip(b'"'))
    else:
        text = text.rstrip(b"\t")
    return text[2:].decode("utf-8", "surrogateescape") if text.startswith(b"b/") else None


def _unescaped(code: bytes) -> bytes:
    return bytes([int(code, 8) & 255]) if len(code) == 3 else ESCAPES.get(code, code)
