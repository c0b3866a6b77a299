"""What may stand at a path of the configuration, read from the tables' annotations."""

from __future__ import annotations

import types
import typing
from collections.abc import Iterable
from typing import Any

from pydantic import BaseModel


def aliases(table: type[BaseModel]) -> list[str]:
    """The keys of a table as they are written."""
    return [str(item.alias or name) for name, item in table.model_fields.items()]


def bare(annotation: Any) -> Any:
    """An annotation without validators and without None."""
    while True:
        origin = typing.get_origin(annotation)
        if origin is typing.Annotated:
            annotation = typing.get_args(annotation)[0]
        elif origin in (typing.Union, types.UnionType):
            annotation = next(item for item in typing.get_args(annotation) if item is not type(None))
        else:
            return annotation


def table_of(annotation: Any) -> type[BaseModel] | None:
    """The table that an annotation means, if it means one with keys of its own."""
    found = bare(annotation)
    return found if isinstance(found, type) and issubclass(found, BaseModel) else None


def below(annotation: Any, key: str) -> Any:
    """What stands under a key, a freely chosen name or a number; None if nothing can."""
    table = table_of(annotation)
    if table is not None:
        return next((item.annotation for item in table.model_fields.values() if item.alias == key), None)
    arguments = typing.get_args(bare(annotation))
    kind = typing.get_origin(bare(annotation))
    return arguments[1] if kind is dict else arguments[0] if kind is tuple else None


def has_names(annotation: Any) -> bool:
    """Whether keys may stand there: a table, or names that the team chooses."""
    return table_of(annotation) is not None or typing.get_origin(bare(annotation)) is dict


def keys_at(root: type[BaseModel], path: Iterable[str]) -> list[str]:
    """The keys that may stand at a path; none where names are chosen freely or nothing can stand."""
    at: Any = root
    for key in path:
        at = below(at, key)
    table = table_of(at)
    return aliases(table) if table is not None else []
