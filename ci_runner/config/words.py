"""How problems of the configuration speak of values and names."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from datetime import date, time

SHOWN = 80


def shown(value: object) -> str:
    """A value as TOML would have it in a problem; long ones are cut."""
    if isinstance(value, bool):
        text = str(value).lower()
    elif isinstance(value, (date, time)):
        text = value.isoformat()
    else:
        text = repr(value)
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 1]}…"


def closest(name: str, known: Iterable[str], cutoff: float = 0.6) -> str | None:
    """The known name that was probably meant."""
    close = difflib.get_close_matches(name[:SHOWN], list(known), n=1, cutoff=cutoff)
    return close[0] if close else None


def near(name: str, known: Iterable[str]) -> str:
    """` (did you mean "unit"?)`, or nothing."""
    close = closest(name, known)
    return f' (did you mean "{close}"?)' if close is not None else ""
