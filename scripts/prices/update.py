"""Reads SkyPilot's public catalogue of prices and brings the rows of our table up to date.

The catalogue is plain CSV, needs no account and covers both clouds: github.com/skypilot-org/skypilot-catalog.
"""

from __future__ import annotations

import csv
import dataclasses
import io
import math
import sys
import urllib.error
import urllib.request
from argparse import ArgumentParser
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from ci_runner.providers.prices import TABLE, Row, read_rows, rows_text, unit_of

CATALOGUE = "https://raw.githubusercontent.com/skypilot-org/skypilot-catalog/master/catalogs/v8"
FILES = {"aws-ec2": "aws/vms.csv", "gcp-tpu": "gcp/vms.csv"}
COLUMNS = ("InstanceType", "AcceleratorName", "Region", "Price", "SpotPrice")
SECONDS = 60.0
LIMIT = 256 * 1024 * 1024
PLACEHOLDER = 700.0  # what the catalogue says where it has no price
PLAUSIBLE = 5.0  # times more or less than before; beyond it is somebody's mistake


class CannotUpdate(Exception):  # noqa: N818 - it is what happened
    """Why nothing was changed."""


@dataclass(frozen=True)
class Seen:
    """What the catalogue says of one type in one region; the highest of its zones."""

    on_demand: float | None = None
    spot: float | None = None


def main(words: Sequence[str]) -> int:
    """Refresh; 1 if the catalogue could not be read or a row's price was not believed."""
    parser = ArgumentParser(prog="scripts/update-prices", description="Refresh the table of prices.")
    parser.add_argument(
        "--from", dest="base", default=CATALOGUE, metavar="URL", help="where the catalogue is"
    )
    parser.add_argument("--table", type=Path, default=TABLE, metavar="FILE", help="the table to refresh")
    parser.add_argument(
        "--add",
        action="append",
        default=[],
        metavar="PROVIDER:TYPE:REGION",
        help="add a row, such as aws-ec2:g5.2xlarge:us-west-2 or gcp-tpu:v5e:europe-west4",
    )
    arguments = parser.parse_args(words)
    try:
        rows = [*read_rows(arguments.table.read_text(encoding="utf-8")), *map(new_row, arguments.add)]
        catalogue = {name: read(f"{arguments.base}/{file}", name) for name, file in FILES.items()}
        fresh, told, doubtful = refreshed(rows, catalogue, arguments.base)
    except (CannotUpdate, OSError, ValueError) as error:
        print(f"update-prices: error: {error}", file=sys.stderr)
        print("fix: run it where there is a network; the table stays as it was", file=sys.stderr)
        return 1
    arguments.table.write_text(rows_text(fresh), encoding="utf-8")
    print("\n".join(told))
    print("then: scripts/generate, for docs/reference/prices.md")
    return 1 if doubtful else 0


def new_row(text: str) -> Row:
    """A row without a price yet. Raises CannotUpdate for words that name none."""
    parts = text.split(":")
    if len(parts) != 3 or parts[0] not in FILES or not all(parts):
        raise CannotUpdate(f"not PROVIDER:TYPE:REGION: {text}")
    return Row(
        provider=parts[0], type=parts[1], region=parts[2], on_demand=math.nan, date="never", source="none"
    )


def read(url: str, provider: str) -> dict[tuple[str, str], Seen]:
    """The prices of a catalogue's file, by type and region. Raises CannotUpdate if it cannot be had or is another."""
    if not url.startswith(("https://", "http://127.0.0.1", "http://localhost")):
        raise CannotUpdate(f"not https: {url}")
    try:
        with urllib.request.urlopen(url, timeout=SECONDS) as answer:  # noqa: S310 - the scheme was looked at
            data = answer.read(LIMIT)
    except (urllib.error.URLError, TimeoutError, OSError) as error:
        raise CannotUpdate(f"the catalogue cannot be read: {url}: {error}") from error
    reader = csv.DictReader(io.StringIO(data.decode("utf-8", "replace")))
    missing = [name for name in COLUMNS if name not in (reader.fieldnames or ())]
    if missing:
        raise CannotUpdate(f"the catalogue has no column {missing[0]}: {url}")
    found: dict[tuple[str, str], Seen] = {}
    for line in reader:
        key = key_of(line, provider)
        if key is None:
            continue
        name, count = key
        place = (name, line["Region"])
        price, spot = number(line["Price"], count), number(line["SpotPrice"], count)
        if spot is not None and price is not None and spot > price:
            spot = None
        before = found.get(place, Seen())
        found[place] = Seen(on_demand=highest(before.on_demand, price), spot=highest(before.spot, spot))
    return found


def key_of(line: Mapping[str, str], provider: str) -> tuple[str, float] | None:
    """What our table calls the line's machine, and how many units it has; None if the line is about another thing."""
    if provider == "aws-ec2":
        return (line["InstanceType"], 1.0) if line["InstanceType"] else None
    name = line["AcceleratorName"] or ""
    unit, count = unit_of(provider, name.removeprefix("tpu-"))
    return (unit, count) if name.startswith("tpu-") and unit != name.removeprefix("tpu-") else None


def number(text: str | None, count: float) -> float | None:
    """A price for one unit; None if there is none."""
    try:
        value = float(text or "")
    except ValueError:
        return None
    if not math.isfinite(value) or value <= 0 or value == PLACEHOLDER:
        return None
    return round(value / count, 4)


def highest(one: float | None, other: float | None) -> float | None:
    """The higher of two prices."""
    return max((each for each in (one, other) if each is not None), default=None)


def refreshed(
    rows: Sequence[Row], catalogue: Mapping[str, Mapping[tuple[str, str], Seen]], source: str
) -> tuple[list[Row], list[str], bool]:
    """The rows with new prices, what there is to tell, and whether a price was not believed.

    Raises CannotUpdate if the catalogue knows none of them: then it is not what it was.
    """
    today = datetime.now(UTC).date().isoformat()
    fresh, told, doubtful, known = [], [], False, 0
    for row in rows:
        seen = catalogue[row.provider].get((row.type, row.region))
        name = f"{row.provider} {row.type} {row.region}"
        if seen is None or seen.on_demand is None:
            told.append(f"kept     {name}: not in the catalogue")
        elif not plausible(row.on_demand, seen.on_demand):
            told.append(f"DOUBTFUL {name}: ${row.on_demand:g} → ${seen.on_demand:g}, kept")
            doubtful = True
        else:
            known += 1
            spot = seen.spot if seen.spot is not None else row.spot
            told.append(
                f"read     {name}: ${seen.on_demand:g}, spot {'none' if spot is None else f'${spot:g}'}"
            )
            changed = {"on_demand": seen.on_demand, "spot": spot, "date": today, "source": source}
            row = dataclasses.replace(row, **changed)  # type: ignore[arg-type]  # noqa: PLW2901
        if not math.isnan(row.on_demand):
            fresh.append(row)
    if not known:
        raise CannotUpdate("the catalogue has no price for any row of the table")
    return fresh, told, doubtful


def plausible(before: float, now: float) -> bool:
    """Whether a price can have moved like this."""
    return math.isnan(before) or before / PLAUSIBLE <= now <= before * PLAUSIBLE
