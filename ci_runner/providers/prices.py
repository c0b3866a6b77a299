"""What machines cost: a table with date and source of every row, what the configuration says instead, cost by the second."""

from __future__ import annotations

import functools
import json
import math
import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ci_runner.errors import ConfigurationError
from ci_runner.providers.choice import region_of
from ci_runner.providers.tpu_types import chips_of

if TYPE_CHECKING:
    from ci_runner.model import MachineSpec

TABLE = Path(__file__).with_name("prices.toml")
FREE = ("local", "ssh")  # nobody sends a bill for these by the hour
OPTION = "price-per-hour"
SPOT_OPTION = "spot-price-per-hour"

HEAD = """# What machines cost, in dollars an hour; prices.py reads it, scripts/update-prices refreshes it.
# Of gcp-tpu a row is for one chip, of aws-ec2 for the whole machine. A spot price is the highest seen in the region.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One row of the table; of a TPU the type is a generation and the prices are those of a chip."""

    provider: str
    type: str
    region: str
    on_demand: float
    spot: float | None = None
    date: str
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """What a machine costs an hour, and the row that says so."""

    per_hour: float
    row: Row
    elsewhere: bool = False  # the table has no price for this region: it is the highest of the others


def price_of(
    provider: str, type_: str, zone: str | None, spot: bool, rows: Sequence[Row] | None = None
) -> Price | None:
    """The price of a machine; None for a type that the table does not know.

    For a region that it does not know it is the highest price of the type, so that a cap errs on the safe side.
    """
    unit, count = unit_of(provider, type_)
    known = [
        row for row in (table() if rows is None else rows) if (row.provider, row.type) == (provider, unit)
    ]
    if not known:
        return None
    here = [row for row in known if row.region == region_of(zone)]
    row = max(here or known, key=lambda each: _hourly(each, spot))
    return Price(per_hour=round(_hourly(row, spot) * count, 6), row=row, elsewhere=not here)


def _hourly(row: Row, spot: bool) -> float:
    return row.spot if spot and row.spot is not None else row.on_demand


def unit_of(provider: str, type_: str) -> tuple[str, float]:
    """What the table calls this type, and how many of it the machine has: `v5litepod-8` is 8 × `v5e`."""
    found = chips_of(type_) if provider == "gcp-tpu" else None
    return found or (type_, 1.0)


def price_per_hour(machine: MachineSpec, zone: str | None, *, spot: bool, type_: str | None = None) -> float:
    """What this machine costs an hour there: the configuration's word, else the table's.

    Raises ConfigurationError for a type that has no price: 0 would be a guess that no budget survives.
    """
    where = f"machines.{machine.name}.options"
    for option in (SPOT_OPTION, OPTION) if spot else (OPTION,):
        if option in machine.options:
            return _dollars(machine.options[option], f"{where}.{option}")
    if machine.provider in FREE:
        return 0.0
    wanted = type_ or machine.type or ""
    found = price_of(machine.provider, wanted, zone, spot)
    if found is None:
        raise ConfigurationError(
            f'no price is known for "{wanted}"',
            where=f"machines.{machine.name}.type",
            fix=f'say what it costs in dollars: {OPTION} = "1.23" in [machines.{machine.name}.options]',
        )
    return found.per_hour


def _dollars(text: str, where: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value) or value < 0:
        raise ConfigurationError(
            f"not a price: {text!r}", where=where, fix='write dollars an hour, such as "1.23"'
        )
    return value


def cost(price_per_hour: float, seconds: float) -> float:
    """What so many seconds cost; every second that began counts."""
    return price_per_hour * math.ceil(max(0.0, seconds)) / 3600.0


@functools.cache
def table() -> tuple[Row, ...]:
    """The rows that the package brings."""
    return read_rows(TABLE.read_text(encoding="utf-8"))


def read_rows(text: str) -> tuple[Row, ...]:
    """The rows of a price table. Raises ValueError if it is not one."""
    found: list[dict[str, Any]] = tomllib.loads(text).get("price", [])
    try:
        return tuple(
            Row(**{key.replace("-", "_"): _number(value) for key, value in item.items()}) for item in found
        )
    except TypeError as error:
        raise ValueError(f"a row is not whole: {error}") from error


def _number(value: object) -> Any:
    return float(value) if isinstance(value, int) else value


def rows_text(rows: Iterable[Row]) -> str:
    """The price table as a file; the same rows give the same bytes."""
    parts = [HEAD]
    for row in sorted(rows, key=lambda each: (each.provider, each.type, each.region)):
        lines = ["[[price]]"]
        lines += [f"{name} = {_quoted(getattr(row, name))}" for name in ("provider", "type", "region")]
        lines.append(f"on-demand = {row.on_demand:g}")
        lines += [f"spot = {row.spot:g}"] if row.spot is not None else []
        lines += [f"{name} = {_quoted(getattr(row, name))}" for name in ("date", "source")]
        parts.append("\n".join(lines) + "\n")
    return "\n".join(parts)


def _quoted(text: str) -> str:
    """A basic string of TOML: JSON's, but for a character that only TOML wants escaped."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def reference_text() -> str:
    """The page docs/reference/prices.md."""
    lines = [
        "<!-- written by scripts/generate; change ci_runner/providers/prices.toml, not this file -->",
        "# Prices",
        "",
        "What a lease costs is its price an hour, by the second, from the request until the machine is gone. The price is",
        f'`{OPTION}` (for spot machines `{SPOT_OPTION}` first) in `[machines.NAME.options]`, in dollars, such as `"1.23"`;',
        "else the one of this table. Of a TPU the table has the price of a chip: `v5litepod-8` is eight `v5e`, and `v4-8`,",
        "whose name counts cores, is four `v4`. In a region that the table does not have, the highest price of the type",
        "counts. A type that it does not have needs a price of its own; nothing is ever taken to be free, except the",
        "machines of `local` and `ssh`.",
        "",
        "`scripts/update-prices` refreshes the table where there is a network.",
        "",
        "| provider | type | region | on demand, $/h | spot, $/h | read | source |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in sorted(table(), key=lambda each: (each.provider, each.type, each.region)):
        spot = f"{row.spot:g}" if row.spot is not None else ""
        cells = (row.provider, f"`{row.type}`", row.region, f"{row.on_demand:g}", spot, row.date, row.source)
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"
