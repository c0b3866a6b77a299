"""A problem of the configuration as a person reads it: path, reason, what was meant, file and line."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ValidationError

from ci_runner.config.layers import Layers
from ci_runner.config.shape import keys_at
from ci_runner.config.words import near, shown

UNKNOWN = "extra_forbidden"
REASONS = {
    "missing": "is missing",
    "string_type": "must be text",
    "tuple_type": "must be a list",
    "dict_type": "must be a table",
    "model_type": "must be a table",
}
LIMITS = {
    "greater_than": ("must be more than", "gt"),
    "greater_than_equal": ("must be at least", "ge"),
    "less_than_equal": ("must be at most", "le"),
}
PATH_LENGTH = 200


def problem(keys: Sequence[str], text: str, layers: Layers) -> str:
    """One line on what is wrong with what stands at a path."""
    path = ".".join(keys)
    origin = layers.origin_of(path)
    place = ""
    if origin is not None and origin.name:
        place = f" ({origin.name}:{origin.line})" if origin.line else f" ({origin.name})"
    return f"{path[:PATH_LENGTH]}: {text}{place}"


def explained(
    error: ValidationError,
    model: type[BaseModel],
    where: tuple[str, ...],
    layers: Layers,
    own: Mapping[str, Any] | None = None,
) -> Iterator[str]:
    """Each complaint of pydantic; with `own`, only about what the table itself says and does not inherit."""
    for item in error.errors(include_url=False):
        keys = tuple(str(part) for part in item["loc"] if part != "[key]")
        if own is None or _stands_in(own, item["loc"]):
            yield problem((*where, *keys), _reason(item, model, keys), layers)


def _stands_in(own: Mapping[str, Any], keys: Sequence[str | int]) -> bool:
    """Whether a complaint is about the suite's own words; what it inherits, the suite that says it is told about."""
    at: Any = own
    for key in keys:
        if isinstance(at, dict):
            if key not in at and key != "[key]":
                return False
            at = at.get(key)
        elif isinstance(at, list) and isinstance(key, int):
            if key >= len(at):
                return False  # added by tests-add, which is checked by itself
            at = at[key]
    return True


def _reason(item: Mapping[str, Any], model: type[BaseModel], keys: Sequence[str]) -> str:
    kind, value = item["type"], item["input"]
    if kind == UNKNOWN:
        return "there is no such key" + near(keys[-1], keys_at(model, keys[:-1]))
    if kind in ("enum", "literal_error"):
        expected = item["ctx"]["expected"]
        text = f"{shown(value)} is none of {expected.replace(' or ', ', ')}"
        return text + near(str(value), re.findall(r"'([^']*)'", expected))
    if kind == "value_error":
        return str(item["ctx"]["error"])
    if kind in LIMITS:
        return f"{LIMITS[kind][0]} {item['ctx'][LIMITS[kind][1]]:g}, not {shown(value)}"
    text = REASONS.get(kind) or item["msg"][:1].lower() + item["msg"][1:]
    if kind == "missing" or isinstance(value, (dict, list)):
        return text
    return f"{text}, not {shown(value)}"
