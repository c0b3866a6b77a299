"""The few lines of a traceback, a log or a stack that matter, so that nobody has to scroll for them."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

FRAME = re.compile(r'^\s*File "([^"]*)", line (\d+)(?:,)? in (.+)$')
PLACE = re.compile(r"^\S[^\n]*:\d+: ?\S*$")  # pytest's `tests/test_a.py:88: AssertionError`
RULE = re.compile(r"^(?:_ ){5,}_?$|^[-=_ ]{20,}$")
LOG_LINES = 8  # of the end of a log, where the verdict alone does not say what went wrong
LOG_TAIL_BYTES = 4096
OURS = ("/_pytest/", "/pluggy/", "/xdist/", "/execnet/", "runpy.py", "/unittest/", "<frozen")


def tail(text: str, lines: int, limit: int = 20_000) -> str:
    """The last lines, and no more characters than the limit."""
    text = text[-limit * 2 :].rstrip()
    kept = text.split("\n")[-lines:]
    return "\n".join(kept)[-limit:]


def clip(text: str, limit: int) -> str:
    """Text of any size cut in its middle, with a line that says how much is left out."""
    if len(text) <= limit:
        return text
    head, end = limit // 3, limit - limit // 3
    return f"{text[:head]}\n… {len(text) - head - end:,} characters left out …\n{text[-end:]}"


def traceback_excerpt(details: str, *, before: int = 4, limit: int = 14) -> str:
    """The failing line with what leads to it and what was wrong, from a traceback of pytest or of Python itself."""
    lines = clip(details, 60_000).split("\n")
    marked = [i for i, line in enumerate(lines) if line.startswith(">")]
    if marked:
        last = marked[-1]
        end = last + 1
        while end < len(lines) and not RULE.match(lines[end]) and not PLACE.match(lines[end]):
            end += 1
        if end < len(lines) and PLACE.match(lines[end]):
            end += 1
        start = last
        while start > max(0, last - before) and not RULE.match(lines[start - 1]):
            start -= 1
        chosen = _joined(
            lines[start : last + 1], [line for line in lines[last + 1 : end] if line.strip()], limit
        )
        return "\n".join(_dedent(chosen))
    kept = [line for line in lines if line.strip()]
    return "\n".join(kept if len(kept) <= limit else [*kept[:3], "…", *kept[-(limit - 4) :]])


def _joined(code: Sequence[str], wrong: Sequence[str], limit: int) -> list[str]:
    if len(wrong) > limit:
        half = limit // 2
        return [*code, *wrong[:half], f"… {len(wrong) - limit:,} lines left out …", *wrong[-(limit - half) :]]
    return [*code, *wrong]


def _dedent(lines: Sequence[str]) -> list[str]:
    """Take the indentation that all code lines share, after the marker column, away."""
    bodies = [line[1:] for line in lines if line[:1] in (">", " ", "E") and line[1:].strip()]
    if not bodies:
        return list(lines)
    common = min(len(body) - len(body.lstrip(" ")) for body in bodies)
    cut = max(0, common - 1)
    return [line[:1] + line[1 + cut :] if line[:1] in (">", " ", "E") else line for line in lines]


def stack_top(stacks: str, frames: int = 5) -> list[str]:
    """Where the main thread was, innermost call first: `tests/test_a.py:12 in test_hang`.

    Reads what faulthandler writes; the frames of the test framework are left out.
    """
    blocks: list[tuple[str, list[str]]] = []
    for line in stacks.split("\n"):
        if line.startswith(("Thread ", "Current thread ")):
            blocks.append((line, []))
        elif (match := FRAME.match(line)) and blocks:
            blocks[-1][1].append(f"{match[1]}:{match[2]} in {match[3].strip()}")
    if not blocks:
        return []
    current = [calls for title, calls in blocks if title.startswith("Current")]
    calls = (current or [blocks[-1][1]])[0]
    theirs = [call for call in calls if not any(word in call for word in OURS)]
    return (theirs or calls)[:frames]


def last_lines(log: Path) -> list[str]:
    """The end of a log, without empty lines; nothing if there is no such log."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - LOG_TAIL_BYTES))
            text = file.read(LOG_TAIL_BYTES).decode("utf-8", "replace")
    except OSError:
        return []
    return [line for line in text.splitlines() if line.strip()][-LOG_LINES:]
