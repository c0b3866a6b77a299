"""The lines that a change added or altered, from what `git diff --unified=0` prints."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

HUNK = re.compile(rb"@@ -\d+(?:,(\d{1,9}))? \+(\d{1,9})(?:,(\d{1,9}))? @@")
OPTIONS = (
    "diff",
    "--unified=0",
    "--inter-hunk-context=0",  # a person's own settings would bring context back
    "--find-renames",  # a file that was only moved has no changed line
    "--relative",  # paths as the configuration's folder has them, which may be below the repository's
    "--submodule=short",
    "--no-color",
    "--no-ext-diff",
    "--no-textconv",
    "--src-prefix=a/",
    "--dst-prefix=b/",
)
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
    """The lines that a diff adds; files that are gone or binary have none."""
    found: dict[str, set[int]] = {}
    path: str | None = None
    number = left = old_left = 0
    for line in printed.split(b"\n"):
        if left > 0 or old_left > 0:  # inside a hunk whatever looks like a header is text
            if line.startswith(b"+"):
                if path is not None:
                    found.setdefault(path, set()).add(number)
                number, left = number + 1, left - 1
            elif line.startswith(b"-"):
                old_left -= 1
            elif not line.startswith(b"\\"):  # "\ No newline at end of file" is no line
                number, left, old_left = number + 1, left - 1, old_left - 1
        elif line.startswith(b"diff --git "):
            path = None
        elif line.startswith(b"+++ "):
            path = _path(line[4:].rstrip(b"\r"))
        elif (match := HUNK.match(line)) is not None:
            old_left, number, left = int(match[1] or 1), int(match[2]), int(match[3] or 1)
    return {name: frozenset(lines) for name, lines in found.items()}


def _path(text: bytes) -> str | None:
    """The path of a `+++` line: quoted by git if it holds anything unusual, with a tab after it if it holds blanks."""
    text = text.rstrip(b"\t")
    if text.startswith(b'"'):
        text = re.sub(rb"\\([0-7]{3}|.)", lambda m: _unescaped(m[1]), text[1:].removesuffix(b'"'))
    return text[2:].decode("utf-8", "surrogateescape") if text.startswith(b"b/") else None


def _unescaped(code: bytes) -> bytes:
    return bytes([int(code, 8) & 255]) if len(code) == 3 else ESCAPES.get(code, code)
