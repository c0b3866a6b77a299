"""Feature flags as configured become FlagSpecs; what cannot be parsed is a problem of the flag and turns it off."""

from __future__ import annotations

import re

from ci_runner.config.settings import FlagSpec
from ci_runner.config.tables import FlagTable
from ci_runner.config.values import TRUTHS
from ci_runner.config.words import shown

_PERCENTAGE = re.compile(r"([0-9]{1,3}(?:\.[0-9]{1,12})?)\s*%?")


def flag_spec(name: str, table: FlagTable) -> FlagSpec:
    """The flag; it never raises, since a flag that nobody understands must not stop the shell runner."""
    problems = []
    enabled = _boolean(table.enabled)
    if enabled is None:
        problems.append(f"flags.{name}.enabled is {shown(table.enabled)}, neither true nor false")
    percentage = None
    if table.percentage is not None:
        percentage = _percentage(table.percentage)
        if percentage is None:
            problems.append(f"flags.{name}.percentage is {shown(table.percentage)}, no number from 0 to 100")
    return FlagSpec(
        name=name,
        enabled=bool(enabled),
        percentage=percentage,
        salt=table.salt,
        opt_in={str(kind): tuple(names) for kind, names in table.opt_in.items()},
        opt_out={str(kind): tuple(names) for kind, names in table.opt_out.items()},
        suites=table.suites,
        problems=tuple(problems),
    )


def _boolean(value: object) -> bool | None:
    if isinstance(value, bool):
        return value
    return TRUTHS.get(str(value).strip().lower()) if isinstance(value, (str, int)) else None


def _percentage(value: object) -> float | None:
    if isinstance(value, str):
        match = _PERCENTAGE.fullmatch(value.strip())
        value = float(match[1]) if match else None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 100:
        return None
    return float(value)
