"""A saved event: everything a plan was made from, so that it can be made again on another day and machine."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping
from enum import Enum
from typing import Any

from ci_runner import codec, model
from ci_runner.errors import EventError
from ci_runner.github.commands import one_line
from ci_runner.model import Event

SAVED = "ci-runner-event"  # the member that tells a saved event from a payload; its value is the version
VERSION = 1
FIX = "save the event again: ci-runner plan --save-event FILE"


def saved_text(event: Event) -> str:
    """The event as the text of a file: same event, same bytes."""
    return codec.dumps({SAVED: VERSION, **codec.plain(event)})


def read_saved(data: Mapping[str, Any], where: str) -> Event:
    """The event that `saved_text` wrote. Raises EventError if the file was damaged or is from a newer version."""
    if data[SAVED] != VERSION or isinstance(data[SAVED], bool):
        raise EventError(
            f"the saved event is of version {one_line(str(data[SAVED]), 40)}, and this is version {VERSION}",
            where=where,
            fix="read it with the ci-runner that wrote it, or save the event again",
        )
    known = {field.name for field in dataclasses.fields(Event)}
    strange = sorted(set(data) - known - {SAVED})
    if strange:
        raise EventError(
            f'the saved event has a member "{one_line(strange[0], 80)}", which no event has',
            where=where,
            fix=FIX,
        )
    if "kind" not in data:
        raise EventError("the saved event has no kind", where=where, fix=FIX)
    problem = _problem(Event, {name: data[name] for name in data if name != SAVED}, "")
    if problem is not None:
        raise EventError(f"the saved event is damaged: {problem}", where=where, fix=FIX)
    return codec.build(Event, data)


def _problem(annotation: Any, value: Any, path: str) -> str | None:
    """What is wrong with a plain value that stands for this type; None if nothing is."""
    origin, inner = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (typing.Union, types.UnionType):
        return None if value is None else _problem(inner[0], value, path)
    if origin is tuple:
        if not isinstance(value, list):
            return f"{path} is no list"
        return _first(_problem(inner[0], item, f"{path}.{index}") for index, item in enumerate(value))
    if origin is Mapping:
        if not isinstance(value, Mapping):
            return f"{path} is no object"
        return _first(_problem(inner[1], item, f"{path}.{one_line(key, 40)}") for key, item in value.items())
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        choices = [member.value for member in annotation]
        return None if value in choices else f"{path} is none of {', '.join(choices)}"
    if dataclasses.is_dataclass(annotation):
        return _problem_of_object(annotation, value, path)
    return None if type(value) is annotation else f"{path} is no {WORDS.get(annotation, annotation)}"


def _problem_of_object(annotation: Any, value: Any, path: str) -> str | None:
    if not isinstance(value, Mapping):
        return f"{path} is no object"
    hints = typing.get_type_hints(annotation, vars(model))
    for field in dataclasses.fields(annotation):
        place = f"{path}.{field.name}".lstrip(".")
        if field.name in value:
            problem = _problem(hints[field.name], value[field.name], place)
            if problem is not None:
                return problem
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            return f"{place} is missing"
    return None


def _first(problems: typing.Iterable[str | None]) -> str | None:
    return next((problem for problem in problems if problem is not None), None)


WORDS: dict[Any, str] = {str: "text", int: "whole number", bool: "true or false"}
