"""The values of ci-runner.toml: how each kind is written, and what is wrong with one that is not."""

from __future__ import annotations

import math
import re
from datetime import date, datetime
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema

from ci_runner.config.settings import KEY_FILES
from ci_runner.config.words import shown
from ci_runner.model import Risk

UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
WORKERS = r"auto|logical|[1-9][0-9]{0,3}|\{[A-Za-z0-9_-]+\}"
TRUTHS = {
    "true": True, "1": True, "on": True, "yes": True,
    "false": False, "0": False, "off": False, "no": False,
}  # fmt: skip
SIZES = {"": 1, "B": 1, "KB": 1000, "MB": 1000**2, "GB": 1000**3, "KIB": 1024, "MIB": 1024**2, "GIB": 1024**3}
_DURATION = re.compile(r"\s*(?:[0-9]+(?:\.[0-9]+)?\s*[smhd]\s*)+")
_DURATION_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([smhd])")
_NUMBER = re.compile(r"\s*[+-]?[0-9]{1,18}(?:\.[0-9]{1,18})?\s*")
_SIZE = re.compile(r"\s*([0-9]{1,15}(?:\.[0-9]{1,6})?)\s*([KMG]i?B|B)?\s*", re.IGNORECASE)
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_AXIS = re.compile(r"[A-Za-z0-9_-]+")
_CRON_ITEM = re.compile(r"(?:\*|([0-9A-Za-z]+)(?:-([0-9A-Za-z]+))?)(?:/([0-9]+))?")
_MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
_DAYS = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")
_CRON_FIELDS: tuple[tuple[str, int, int, tuple[str, ...]], ...] = (
    ("minute", 0, 59, ()),
    ("hour", 0, 23, ()),
    ("day of the month", 1, 31, ()),
    ("month", 1, 12, _MONTHS),
    ("day of the week", 0, 6, _DAYS),
)


class FromEnvironment(str):
    """Text of an environment variable or argument, which may stand for a list, a number, or true and false."""

    __slots__ = ()


# -- values. Each function raises ValueError with the reason; pydantic collects them.


def whole_number(value: object) -> int:
    """A whole number; text stands for one only where there is nothing but text."""
    if isinstance(value, FromEnvironment) and _NUMBER.fullmatch(value) and "." not in value:
        return int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"must be a whole number, not {shown(value)}")  # noqa: TRY004 - pydantic collects ValueError
    return value


def number(value: object) -> float:
    """A finite number; text stands for one only where there is nothing but text."""
    if isinstance(value, FromEnvironment) and _NUMBER.fullmatch(value):
        return float(value)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise ValueError(f"must be a number, not {shown(value)}")
    return float(value)


def truth(value: object) -> bool:
    """True or false; text stands for one only where there is nothing but text."""
    if isinstance(value, FromEnvironment) and value.strip().lower() in TRUTHS:
        return TRUTHS[value.strip().lower()]
    if not isinstance(value, bool):
        raise ValueError(f"must be true or false, not {shown(value)}")  # noqa: TRY004 - pydantic collects ValueError
    return value


def parse_duration(value: object) -> float:
    """Seconds for `90`, `"90s"`, `"10m"` or `"1h30m"`."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        seconds = float(value)
    elif isinstance(value, str) and _DURATION.fullmatch(value):
        parts = _DURATION_PART.findall(value)
        seconds = sum(float(amount) * UNITS[unit] for amount, unit in parts)
    elif isinstance(value, FromEnvironment) and _NUMBER.fullmatch(value):
        seconds = float(value)
    else:
        raise ValueError(f'{shown(value)} is no duration: write it as 90, "90s", "10m" or "1h30m"')
    if not 0 < seconds <= 30 * UNITS["d"]:
        raise ValueError("a duration is more than 0 and at most 30 days")
    return seconds


def parse_size(value: object) -> int:
    """Bytes for `"256MB"`, `"1 GiB"` or a number."""
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    match = _SIZE.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise ValueError(f'{shown(value)} is no size: write it as "256MB"')
    return int(float(match[1]) * SIZES[(match[2] or "").upper()])


def check_size(value: object) -> object:
    """A size, as it is written."""
    parse_size(value)
    return value


def split_list(value: object) -> object:
    """A list, also from the text of a variable: `a, b`."""
    if isinstance(value, FromEnvironment):
        return [item for item in (part.strip() for part in value.split(",")) if item]
    return value


def split_crons(value: object) -> object:
    """A list of cron expressions; in the text of a variable a comma and a space separate them, as they have commas."""
    if isinstance(value, FromEnvironment):
        return [item.strip() for item in re.split(r",\s+", value) if item.strip()]
    return value


def check_cron(value: str) -> str:
    """A cron expression of five fields, as GitHub understands it."""
    fields = value.split()
    if len(fields) != len(_CRON_FIELDS):
        raise ValueError(f'{shown(value)} is no cron expression of five fields, such as "0 2 * * *"')
    for text, (name, low, high, names) in zip(fields, _CRON_FIELDS, strict=True):
        if not all(_cron_item(item, low, high, names) for item in text.split(",")):
            raise ValueError(f"{shown(text)} is no {name} in {shown(value)}: it goes from {low} to {high}")
    return value


def _cron_item(text: str, low: int, high: int, names: tuple[str, ...]) -> bool:
    match = _CRON_ITEM.fullmatch(text)
    if match is None or (match[3] is not None and not 1 <= int(match[3][:4]) <= high):
        return False
    ends = []
    for word in (match[1], match[2]):
        if word is None:
            continue
        if word.upper() in names:
            ends.append(names.index(word.upper()) + low)
        elif word.isascii() and word.isdigit() and low <= int(word[:4]) <= high:
            ends.append(int(word[:4]))
        else:
            return False
    return ends == sorted(ends)


def check_date(value: object) -> str:
    """A day, as text or as TOML writes it."""
    if isinstance(value, datetime):
        return value.date().isoformat()
    if isinstance(value, date):
        return value.isoformat()
    try:
        if isinstance(value, str) and _DAY.fullmatch(value.strip()):
            return date.fromisoformat(value.strip()).isoformat()
    except ValueError:
        pass  # such as the 30th of February: told below
    raise ValueError(f'{shown(value)} is no day: write it as "2027-01-31"')


def check_relative(value: str) -> str:
    """A path or pattern inside the project."""
    check_filled(value)
    if value.startswith("/") or ".." in value.split("/"):
        raise ValueError(f"{shown(value)} leads out of the project: write it relative to its folder")
    return value


def check_test(value: str) -> str:
    """What pytest may get as a test."""
    check_relative(value)
    if value.startswith("-"):
        raise ValueError(f"{shown(value)} looks like an option: options belong into pytest-args")
    return value


def check_folder(value: str) -> str:
    """A folder on a machine that may be filled from elsewhere: below the home, the working folder or the root."""
    check_filled(value)
    parts = value.strip().split("/")
    if ".." in parts or not any(part not in ("", ".") and not part.startswith("~") for part in parts):
        raise ValueError(f"{shown(value)} is no folder of its own: name one, such as ~/.cache/pip")
    if parts[0].startswith("~") and parts[0] != "~":
        raise ValueError(f"{shown(value)} is in the home of somebody else: write ~/ for that of the suite")
    return value.strip()


def check_cache_key(value: str) -> str:
    """The key of a cache: text, and {files:GLOB,…} for what files hold."""
    check_text(value)
    left = KEY_FILES.sub("", value)
    if "{" in left or "}" in left:
        raise ValueError(f"{shown(value)} has a brace that is no {{files:GLOB}}")
    for found in KEY_FILES.findall(value):
        for word in found.split(","):
            check_relative(word.strip())
    return value


def check_filled(value: str) -> str:
    """Text that says something."""
    if not value.strip():
        raise ValueError("is empty")
    return check_text(value)


def check_text(value: str) -> str:
    """Text that a process may get."""
    if "\0" in value:
        raise ValueError(f"{shown(value)} has a NUL character in it, which no process can get")
    return value


def check_environment(value: dict[str, str]) -> dict[str, str]:
    """Names and values that a process may get in its environment."""
    for name, text in value.items():
        if not name or "=" in name or "\0" in name:
            raise ValueError(f"{shown(name)} is no name of an environment variable")
        check_text(text)
    return value


def check_workers(value: object) -> str:
    """How many processes pytest-xdist starts, or the axis of the matrix that says so."""
    text = str(value) if isinstance(value, (int, str)) and not isinstance(value, bool) else ""
    if not re.fullmatch(WORKERS, text):
        raise ValueError(f'{shown(value)} is neither "auto", "logical" nor a number from 1 to 9999')
    return text


def check_matrix(value: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    """Axes that make at least one variant."""
    for axis, values in value.items():
        if not _AXIS.fullmatch(axis):
            raise ValueError(
                f"{shown(axis)} is no name of an axis: it has letters, digits, dashes and underscores"
            )
        if not values:
            raise ValueError(f'the axis "{axis}" has no value, so the suite would never run')
        if len(set(values)) != len(values):
            raise ValueError(f'the axis "{axis}" has a value twice')
    return value


Retries = Annotated[int, Field(ge=0, le=10), BeforeValidator(whole_number)]
Shards = Annotated[int, Field(ge=1, le=256), BeforeValidator(whole_number)]
Count = Annotated[int, Field(ge=0), BeforeValidator(whole_number)]
Positive = Annotated[int, Field(gt=0), BeforeValidator(whole_number)]
Number = Annotated[float, BeforeValidator(number)]
Amount = Annotated[float, Field(ge=0), BeforeValidator(number)]
PositiveNumber = Annotated[float, Field(gt=0), BeforeValidator(number)]
Percent = Annotated[float, Field(ge=0, le=100), BeforeValidator(number)]
Truth = Annotated[bool, BeforeValidator(truth)]
Size = Annotated[
    str | int,
    BeforeValidator(check_size),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "integer", "minimum": 0},
                {"type": "string", "pattern": r"^\s*[0-9]+(\.[0-9]+)?\s*([KkMmGg][Ii]?[Bb]|[Bb])?\s*$"},
            ]
        }
    ),
]
Filled = Annotated[str, AfterValidator(check_filled)]
Folder = Annotated[str, AfterValidator(check_folder)]
CacheKey = Annotated[str, AfterValidator(check_cache_key)]
Inside = Annotated[str, AfterValidator(check_relative)]
Duration = Annotated[
    float,
    BeforeValidator(parse_duration),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "number", "exclusiveMinimum": 0},
                {"type": "string", "pattern": r"^\s*([0-9]+(\.[0-9]+)?\s*[smhd]\s*)+$"},
            ]
        }
    ),
]
Strings = Annotated[tuple[Filled, ...], BeforeValidator(split_list)]
Paths = Annotated[tuple[Inside, ...], BeforeValidator(split_list)]
Tests = Annotated[tuple[Annotated[str, AfterValidator(check_test)], ...], BeforeValidator(split_list)]
Crons = Annotated[tuple[Annotated[str, AfterValidator(check_cron)], ...], BeforeValidator(split_crons)]
Environment = Annotated[dict[str, str], AfterValidator(check_environment)]
Matrix = Annotated[dict[str, Strings], AfterValidator(check_matrix)]
Risks = Annotated[tuple[Risk, ...], BeforeValidator(split_list)]
Day = Annotated[str, BeforeValidator(check_date), WithJsonSchema({"type": "string", "format": "date"})]
Workers = Annotated[
    str,
    BeforeValidator(check_workers),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "integer", "minimum": 1, "maximum": 9999},
                {"type": "string", "pattern": f"^(?:{WORKERS})$"},
            ]
        }
    ),
]
