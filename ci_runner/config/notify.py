"""The values of [notify.NAME]: events, spans of quiet hours, time zones, limits; and what contradicts itself there."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import time
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema

from ci_runner.config.values import Strings
from ci_runner.config.words import near, shown

Event = Literal["failure", "success", "fixed", "regression", "cost", "booking"]
Pass = Literal["urgent", "failure", "success", "fixed", "regression", "cost", "booking"]
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,254}")
_SPAN = re.compile(r"\s*([0-9]{1,2}):([0-9]{2})\s*[-–]\s*([0-9]{1,2}):([0-9]{2})\s*")
_LIMIT = re.compile(r"\s*([0-9]{1,4})\s*/\s*(h|d)\s*")
_ZONE = re.compile(r"[A-Za-z][A-Za-z0-9_+-]*(?:/[A-Za-z0-9_+-]+){0,3}")
SECONDS = {"h": 3_600, "d": 86_400}
ONLY_QUIET = ("quiet-passes", "time-zone")  # keys that mean nothing without quiet hours


def split_text(value: object) -> object:
    """A list, also as one text with commas."""
    if isinstance(value, str):
        return [item for item in (part.strip() for part in value.split(",")) if item]
    return value


def check_variable(value: str) -> str:
    """The name of an environment variable. The reason never repeats the text: it may be the secret itself."""
    if "://" in value:
        raise ValueError(
            "is an address, and an address is a secret: put it into a variable, and name that here"
        )
    if not _VARIABLE.fullmatch(value):
        raise ValueError("is no name of an environment variable: it has letters, digits and underscores")
    return value


def check_some(value: tuple[str, ...]) -> tuple[str, ...]:
    """A list with something in it."""
    if not value:
        raise ValueError("is empty, so nothing would ever be told")
    return value


def parse_span(text: str) -> tuple[time, time]:
    """`22:00-07:00` as two times of the day; an end of 24:00 is midnight. Raises ValueError with the reason."""
    match = _SPAN.fullmatch(text)
    hours = [int(item) for item in match.groups()] if match else []
    if not hours or max(hours[1], hours[3]) > 59 or hours[0] > 23 or (hours[2] * 60 + hours[3]) > 24 * 60:
        raise ValueError(f'{shown(text)} is no span of the day: write it as "22:00-07:00"')
    start, end = time(hours[0], hours[1]), time(hours[2] % 24, hours[3])
    if start == end and hours[2] != 24:
        raise ValueError(f"{shown(text)} has no length: a whole day is 00:00-24:00")
    return start, end


def check_spans(value: tuple[str, ...]) -> tuple[str, ...]:
    """Spans of the day, as they are written."""
    for item in value:
        parse_span(item)
    return value


def check_zone(value: str) -> str:
    """The name of a time zone."""
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

    found = False
    if _ZONE.fullmatch(value):  # no path gets as far as the file system
        with suppress(ZoneInfoNotFoundError, ValueError, OSError):
            found = ZoneInfo(value) is not None
    if not found:
        raise ValueError(f"there is no time zone {shown(value)}{near(value, available_timezones())}")
    return value


def parse_limit(text: str) -> tuple[int, int]:
    """`6/h` as a number and the seconds in which so many are allowed. Raises ValueError with the reason."""
    match = _LIMIT.fullmatch(text)
    if match is None or int(match[1]) == 0:
        raise ValueError(f'{shown(text)} is no limit: write it as "6/h" or "20/d"')
    return int(match[1]), SECONDS[match[2]]


def check_limit(value: str) -> str:
    """A limit, as it is written."""
    parse_limit(value)
    return value


def contradictory(entry: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Key and reason, for keys that do nothing where they stand."""
    if not entry.get("quiet-hours"):
        for key in ONLY_QUIET:
            if key in entry:
                yield key, "is for quiet hours, and there are none"


def _text_or_list(words: tuple[str, ...] = ()) -> WithJsonSchema:
    item: dict[str, Any] = {"type": "string"} | ({"enum": list(words)} if words else {})
    return WithJsonSchema({"anyOf": [{"type": "array", "items": item}, {"type": "string"}]})


Kind = Literal["slack", "teams"]
Variable = Annotated[
    str, AfterValidator(check_variable), Field(json_schema_extra={"pattern": f"^{_VARIABLE.pattern}$"})
]
Events = Annotated[
    tuple[Event, ...],
    BeforeValidator(split_text),
    AfterValidator(check_some),
    _text_or_list(get_args(Event)),
]
Passes = Annotated[tuple[Pass, ...], BeforeValidator(split_text), _text_or_list(get_args(Pass))]
Spans = Annotated[tuple[str, ...], BeforeValidator(split_text), AfterValidator(check_spans), _text_or_list()]
Branches = Annotated[Strings, BeforeValidator(split_text), _text_or_list()]
Zone = Annotated[str, AfterValidator(check_zone)]
Limit = Annotated[
    str,
    AfterValidator(check_limit),
    WithJsonSchema({"type": "string", "pattern": r"^\s*[0-9]{1,4}\s*/\s*[hd]\s*$"}),
]
