"""Reads JSON that somebody else wrote, and says exactly which member is not what it should be."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from ci_runner.errors import EventError
from ci_runner.github.commands import one_line

LARGEST_FILE = 128 * 1024 * 1024  # GitHub's payloads end at 25 MB
_COMMIT = re.compile(r"(?:[0-9a-f]{40}|[0-9a-f]{64})", re.IGNORECASE)
_SURROGATE = re.compile("[\ud800-\udfff]")
FIX = "give the payload as GitHub wrote it (the file that GITHUB_EVENT_PATH names), or a file that --save-event wrote"


def read_bytes(path: Path, what: str = "event file") -> bytes:
    """The content of a file of a size that can be true. Raises EventError with the reason."""
    try:
        if path.stat().st_size > LARGEST_FILE:
            raise EventError(f"the {what} is larger than {LARGEST_FILE >> 20} MiB", where=str(path), fix=FIX)
        return path.read_bytes()
    except OSError as error:
        raise EventError(
            f"cannot read the {what}: {error.strerror or error}",
            where=str(path),
            fix="check the path; in a workflow it is $GITHUB_EVENT_PATH",
        ) from error


def parse_json(data: bytes, where: str, what: str = "event file") -> Any:
    """The value of a JSON text in UTF-8. Raises EventError with line and column."""
    try:
        return json.loads(data.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise EventError(
            f"the {what} is not UTF-8: byte {error.start} is {data[error.start]:#04x}", where=where, fix=FIX
        ) from error
    except json.JSONDecodeError as error:
        what = f"the {what} is empty" if not data.strip() else f"the {what} is not JSON: {error.msg}"
        raise EventError(what, where=f"{where}:{error.lineno}:{error.colno}", fix=FIX) from error
    except (RecursionError, ValueError) as error:  # nested too deep, or a number of thousands of digits
        raise EventError(f"the {what} is not JSON that can be read: {error}", where=where, fix=FIX) from error


def clean(text: str) -> str:
    """The text as it is, but without halves of characters, which no file could hold."""
    return _SURROGATE.sub("\ufffd", text)


def scalar_text(value: object) -> str:
    """A value of an input as text: true and false as JSON writes them, nothing as "", the rest as JSON."""
    if value is None:
        return ""
    return clean(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, sort_keys=True))


@dataclass(frozen=True, slots=True)
class Payload:
    """A JSON object and where it came from; members are asked for by path, such as `text("head", "sha")`."""

    data: Mapping[str, Any]
    where: str
    path: tuple[str, ...] = ()

    def fail(self, path: Sequence[str], problem: str) -> NoReturn:
        """Raise EventError about one member."""
        raise EventError(f"{'.'.join((*self.path, *path))} {problem}", where=self.where, fix=FIX)

    def get(self, *path: str) -> Any:
        """The member, or None if it or anything on the way is absent or null."""
        value: Any = self.data
        for place, name in enumerate(path):
            if value is None:
                return None
            if not isinstance(value, Mapping):
                self.fail(path[:place], f"is {_kind(value)}, not an object")
            value = value.get(name)
        return value

    def object(self, *path: str) -> Payload:
        """A member that must be an object."""
        value = self.get(*path)
        if value is None:
            self.fail(path, "is missing")
        if not isinstance(value, Mapping):
            self.fail(path, f"is {_kind(value)}, not an object")
        return Payload(value, self.where, (*self.path, *path))

    def optional_text(self, *path: str) -> str | None:
        """A member that is text, or None."""
        value = self.get(*path)
        if value is not None and not isinstance(value, str):
            self.fail(path, f"is {_kind(value)}, not text")
        return clean(value) if value else None

    def text(self, *path: str) -> str:
        """A member that must be text, and not empty."""
        value = self.optional_text(*path)
        if value is None:
            self.fail(path, "is missing")
        return value

    def flag(self, *path: str) -> bool:
        """A member that is true or false; absent is false."""
        value = self.get(*path)
        if value is not None and not isinstance(value, bool):
            self.fail(path, f"is {_kind(value)}, not true or false")
        return bool(value)

    def number(self, *path: str) -> int:
        """A member that must be a whole number above 0."""
        value = self.get(*path)
        if value is None:
            self.fail(path, "is missing")
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            self.fail(path, f"is {_kind(value)}, not a number counted from 1")
        return value

    def commit(self, *path: str) -> str:
        """A member that must be a full commit SHA."""
        value = self.text(*path)
        if not is_commit(value):
            self.fail(path, f'is no commit SHA: "{one_line(value, 80)}"')
        return value.lower()

    def items(self, *path: str) -> list[Any]:
        """A member that is a list; absent is empty."""
        value = self.get(*path)
        if value is None:
            return []
        if not isinstance(value, list):
            self.fail(path, f"is {_kind(value)}, not a list")
        return value


def is_commit(text: str) -> bool:
    """Whether the text is a full SHA-1 or SHA-256 name of a commit, and not the zeros that mean none."""
    return bool(_COMMIT.fullmatch(text)) and bool(text.strip("0"))


def _kind(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    kinds = {
        str: "text",
        int: f"the number {value!s:.40}",
        float: "a number",
        list: "a list",
        dict: "an object",
    }
    return kinds.get(type(value), "null")
