"""The page docs/reference/configuration.md and `ci-runner config schema --keys`: every key, from the tables themselves."""

from __future__ import annotations

import enum
import types
import typing
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from ci_runner.config.environment import environment_lines
from ci_runner.config.options import option_lines
from ci_runner.config.places import LOCAL_FILE, PREFIX, TEAM_FILE
from ci_runner.config.tables import (
    AlertTable,
    CacheTable,
    FlagTable,
    KpiTable,
    MachineTable,
    NeedsTable,
    NotifyTable,
    ProjectTable,
    QuarantineTable,
    RootTable,
    SuiteTable,
    TrustTable,
    WhenTable,
)
from ci_runner.config.values import Day, Duration, Size

TABLES: tuple[tuple[str, type[BaseModel]], ...] = (
    ("[project]", ProjectTable),
    ("[machines.NAME]", MachineTable),
    ("[suites.NAME]", SuiteTable),
    ("[suites.NAME.when]", WhenTable),
    ("[suites.NAME.needs]", NeedsTable),
    ("[caches.NAME]", CacheTable),
    ("[flags.NAME]", FlagTable),
    ("[[quarantine]]", QuarantineTable),
    ("[[alerts]]", AlertTable),
    ("[kpi]", KpiTable),
    ("[trust]", TrustTable),
    ("[notify.NAME]", NotifyTable),
)
KINDS = (("duration", Duration), ("size", Size), ("day", Day))
LISTS = ("path_groups", "budgets", "stores")
INTRODUCTION = f"""\
# Configuration

<!-- written by scripts/generate -->

`{TEAM_FILE}` is the team's file, committed at the top of the repository. Other sources lie over it, later ones win:

1. `{TEAM_FILE}`: found in the current folder or above it, or named with `--config`
2. `~/.config/ci-runner/config.toml`: yours, for all projects (`XDG_CONFIG_HOME` moves it)
3. `{LOCAL_FILE}` beside the team's file: yours, for this project; keep it out of git
4. environment variables: `{PREFIX}RETRY_LIMIT` is `project.retry-limit`, `{PREFIX}SUITES__UNIT__TIMEOUT` is
   `suites.unit.timeout`; lists are separated by commas (cron expressions, which have commas, by a comma and a space)
5. arguments of the command

Tables are merged key by key; lists are replaced. `ci-runner config show` prints every value with the place it comes from.
All problems are reported at once. Editors complete the file with `docs/reference/ci-runner.schema.json`.

A duration is a number of seconds or text such as `"90s"`, `"10m"`, `"1h30m"`; a size is a number of bytes or text such as
`"256MB"`, `"1GiB"`; a day is `2027-01-31`, with or without quotes.

A suite that `extends` another starts from all its keys but `abstract`; `tests-add` adds to its tests, and `env` and `when`
are merged key by key. With a `matrix`, a suite becomes one for each combination of the axes, named
`suite-value-value`, and `{{axis}}` stands for the value in `title`, `tests`, `command`, `junit`, `machine`, `setup`,
`pytest-args`, `env` and `workers`.
"""


def reference_text() -> str:
    """The whole page."""
    parts = [INTRODUCTION]
    for title, table in TABLES:
        parts.append(
            f"\n## {title}\n\n{(table.__doc__ or '').strip()}\n\n| key | value | default | meaning |\n|---|---|---|---|\n"
        )
        parts.extend(
            f"| `{key}` | {kind} | {default} | {text} |\n" for key, kind, default, text in rows(table)
        )
    parts.append("\n" + "\n".join(option_lines()) + "\n")
    parts.append("\n## Other tables\n\n| table | value | meaning |\n|---|---|---|\n")
    for name in LISTS:
        field = RootTable.model_fields[name]
        inside = typing.get_args(field.annotation)
        parts.append(f"| `[{field.alias}]` | {_name_of(inside[1])} by name | {field.description} |\n")
    parts.append("\n" + "\n".join(environment_lines()) + "\n")
    return "".join(parts)


def rows(table: type[BaseModel]) -> Iterator[tuple[str, str, str, str]]:
    """Key, kind of value, default and meaning of each key of a table."""
    for name, field in table.model_fields.items():
        kind = next((word for word, kept in KINDS if _is(field, kept)), None) or _kind(field)
        yield field.alias or name, kind, _default(field), field.description or ""


def key_lines() -> Iterator[str]:
    """One line a key, for a terminal."""
    for title, table in TABLES:
        yield title
        for key, kind, default, text in rows(table):
            shown = f" = {default.strip('`')}" if default else ""
            yield f"  {key}{shown}  ({kind.replace('`', '')})  {text}"
    for name in LISTS:
        field = RootTable.model_fields[name]
        yield f"[{field.alias}]  {field.description}"


def _is(field: FieldInfo, annotation: Any) -> bool:
    return any(item in field.metadata for item in typing.get_args(annotation)[1:])


def _kind(field: FieldInfo) -> str:
    extra = field.json_schema_extra
    if isinstance(extra, dict) and "type" in extra:
        return {"boolean": "true or false"}.get(str(extra["type"]), str(extra["type"]))
    return _name_of(field.annotation)


def _name_of(annotation: Any) -> str:
    origin = typing.get_origin(annotation)
    if origin is typing.Annotated:
        return _name_of(typing.get_args(annotation)[0])
    if origin in (typing.Union, types.UnionType):
        kinds = [_name_of(arg) for arg in typing.get_args(annotation) if arg is not type(None)]
        return " or ".join(dict.fromkeys(kinds))
    if origin is typing.Literal:
        return ", ".join(f"`{value}`" for value in typing.get_args(annotation))
    if origin is tuple:
        return f"list of {_name_of(typing.get_args(annotation)[0])}"
    if origin is dict:
        return "table"
    if isinstance(annotation, type) and issubclass(annotation, enum.Enum):
        return ", ".join(f"`{item.value}`" for item in annotation)
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return "table"
    return {str: "text", int: "whole number", float: "number", bool: "true or false"}.get(annotation, "text")


def _default(field: FieldInfo) -> str:
    value = field.default
    if value is PydanticUndefined:
        return "required"
    if value is None or value in ((), {}, "") or isinstance(value, BaseModel):
        return ""
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, tuple):
        return (
            "`["
            + ", ".join(f'"{item.value if isinstance(item, enum.Enum) else item}"' for item in value)
            + "]`"
        )
    if isinstance(value, enum.Enum):
        return f'`"{value.value}"`'
    return f'`"{value}"`' if isinstance(value, str) else f"`{value:g}`"
