"""Nouns to plain JSON values and back, the same way in every file that ci-runner writes."""

from __future__ import annotations

import dataclasses
import functools
import json
import sys
import types
import typing
from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Any, TypeVar

from ci_runner import model

T = TypeVar("T")
PLAIN = frozenset({str, int, float, bool})


def plain(value: object) -> Any:
    """A JSON-ready copy of a noun: fields that hold their default stay, so that files have one shape."""
    if value is None or type(value) in PLAIN:  # most values, and the other questions are dear
        return value
    if isinstance(value, Enum):
        return value.value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(item) for item in (sorted(value) if isinstance(value, (set, frozenset)) else value)]
    return value


def dumps(value: object, *, indent: int | None = 2) -> str:
    """The canonical JSON text of a noun: same value, same bytes."""
    return json.dumps(plain(value), indent=indent, ensure_ascii=False, sort_keys=False) + "\n"


def build(kind: type[T], data: Mapping[str, Any]) -> T:
    """A noun from what `plain` made of it; unknown fields are ignored, so that older readers read newer files.

    Raises ValueError or TypeError if the data do not fit.
    """
    values = {
        name: _value(annotation, data[name])
        for name, annotation in _annotations(typing.cast("typing.Hashable", kind)).items()
        if name in data
    }
    return kind(**values)


@functools.cache
def _annotations(kind: Any) -> dict[str, Any]:
    hints = typing.get_type_hints(kind, {**vars(model), **vars(sys.modules[kind.__module__])})
    return {f.name: hints[f.name] for f in dataclasses.fields(kind)}


def _value(annotation: Any, data: Any) -> Any:
    origin = typing.get_origin(annotation)
    if data is None or annotation is Any:
        return data
    if origin in (typing.Union, types.UnionType):
        (inner,) = [arg for arg in typing.get_args(annotation) if arg is not type(None)]
        return _value(inner, data)
    if origin is tuple:
        if not isinstance(data, Sequence) or isinstance(data, str):
            raise TypeError(f"expected a list, found {type(data).__name__}")
        return tuple(_value(typing.get_args(annotation)[0], item) for item in data)
    if origin is Mapping:
        return {key: _value(typing.get_args(annotation)[1], item) for key, item in dict(data).items()}
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return annotation(data)
    if dataclasses.is_dataclass(annotation) and isinstance(annotation, type):
        return build(annotation, data)
    if annotation is float and isinstance(data, int):
        return float(data)
    return data
