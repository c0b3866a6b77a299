"""Fits Markdown into a limit: whole sections are shed, the least important first, and the reader is told which."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

LEFT_OUT = "left_out"  # the block that says what is not there


def in_bytes(text: str) -> int:
    """What a step summary counts."""
    return len(text.encode("utf-8", "surrogatepass"))


def in_characters(text: str) -> int:
    """What comments, issues and checks count: UTF-16 units, the larger of the two ways to count characters."""
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


def fit(
    template: Any,
    values: Mapping[str, Any],
    order: Sequence[str],
    shed: Sequence[tuple[str, str]],
    room: int,
    measure: Callable[[str], int] = in_bytes,
) -> str:
    """The template's blocks in this order, without as many of `shed` (block, its name for readers) as it takes.

    `details` in `shed` is no block: it turns the long form of failures into the short one. Text that is too long even
    so is cut, which only happens to the first lines of a tiny budget.
    """
    made = ""
    whole = template.new_context({**values, "details": True, LEFT_OUT: ""})
    for kept in range(len(shed) + 1):
        gone = dict(shed[:kept])
        said = [label for name, label in gone.items() if name == "details" or _says(template, name, whole)]
        context = template.new_context(
            {**values, "details": "details" not in gone, LEFT_OUT: ", ".join(said)}
        )
        names = [name for name in order if name not in gone] + ([LEFT_OUT] if gone else [])
        made = "".join("".join(template.blocks[name](context)) for name in names).rstrip("\n") + "\n"
        if measure(made) <= room:
            return made
    while made and measure(made) > room:
        made = made[: max(0, min(len(made) - 1, len(made) * room // measure(made)))]
    return made


def _says(template: Any, name: str, context: Any) -> bool:
    """Whether a section says anything: nobody misses one that is empty."""
    return bool("".join(template.blocks[name](context)).strip())
