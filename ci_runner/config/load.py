"""The configuration from all its sources as Settings, or every problem in it at once."""

from __future__ import annotations

import re
import typing
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from ci_runner.config.layers import (
    LOCAL_FILE,
    TEAM_FILE,
    Layers,
    aliases,
    find_team_file,
    from_environment,
    leaves,
    personal_file,
    top_of,
)
from ci_runner.config.settings import Alert, FlagSpec, Origin, Quarantine, Settings
from ci_runner.config.suites import build_suites, near, resolve_extends
from ci_runner.config.tables import NAME, FlagTable, KpiTable, ProjectTable, RootTable, SuiteTable
from ci_runner.errors import ConfigurationError, UsageError
from ci_runner.model import MachineSpec, Suite

SIZES = {"": 1, "B": 1, "KB": 1000, "MB": 1000**2, "GB": 1000**3, "KIB": 1024, "MIB": 1024**2, "GIB": 1024**3}
LOCAL = "local"
REASONS = {
    "extra_forbidden": "there is no such key",
    "missing": "is missing",
    "string_type": "must be text",
    "tuple_type": "must be a list",
    "dict_type": "must be a table",
    "model_type": "must be a table",
    "int_parsing": "must be a whole number",
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_parsing": "must be a number",
    "float_type": "must be a number",
    "bool_parsing": "must be true or false",
    "bool_type": "must be true or false",
}


def load_settings(
    start: Path,
    *,
    environ: Mapping[str, str],
    flags: Mapping[str, str] | None = None,
    config_file: Path | None = None,
) -> Settings:
    """Read everything that says something about this folder; later sources win.

    In order: team file, personal file, local file, environment, command line (`flags`: keys such as
    "project.retry-limit"). Raises ConfigurationError with all problems, UsageError if `config_file` is not there.
    """
    start = start.absolute()
    if config_file is not None and not config_file.is_file():
        raise UsageError(
            "there is no such configuration", where=str(config_file), fix="check the path after --config"
        )
    team = config_file.absolute() if config_file is not None else find_team_file(start)
    root = team.parent if team is not None else top_of(start)
    layers = Layers()
    for path in (team, personal_file(environ), root / LOCAL_FILE):
        if path is not None and path.is_file():
            layers.add_file(path)
    from_environment(layers, environ)
    for key, value in (flags or {}).items():
        layers.set(tuple(key.split(".")), value, Origin(kind="flag", name=key))
    return _settings(root, layers)


def _settings(root: Path, layers: Layers) -> Settings:
    data = dict(layers.data)
    raw_suites = data.get("suites", {})
    problems = list(layers.problems)
    table, found = _checked(data, layers)
    problems += found
    suites: dict[str, Suite] = {}
    if isinstance(raw_suites, dict):
        suites, found = _suites(raw_suites, layers)
        problems += found
    if table is not None:
        problems += _cross_checks(table, suites, layers)
    if problems or table is None:
        count = len(problems)
        raise ConfigurationError(
            f"{count} problem{'s' if count != 1 else ''} in the configuration",
            where=", ".join(layers.read) or "environment",
            fix="ci-runner config schema --keys lists all keys; docs/reference/configuration.md explains them",
            problems=problems,
        )
    project = table.project
    machines = {
        name: MachineSpec(name=name, **{key: getattr(item, key) for key in type(item).model_fields})
        for name, item in table.machines.items()
    }
    machines.setdefault(LOCAL, MachineSpec(name=LOCAL))
    return Settings(
        root=root,
        name=project.name or root.name,
        default_branch=project.default_branch,
        default_runner=project.default_runner,
        phase=project.phase,
        fallback_risks=project.fallback_risks,
        retry_limit=project.retry_limit,
        resume_limit=project.resume_limit,
        developer=project.developer,
        team=project.team,
        suites=suites,
        machines=machines,
        flags={name: flag_spec(name, item) for name, item in table.flags.items()},
        path_groups=dict(table.path_groups),
        ignored_paths=project.ignored_paths,
        allow_nothing_due=project.nothing_due == "green",
        quarantine=tuple(Quarantine(**item.model_dump()) for item in table.quarantine),
        alerts=tuple(Alert(**item.model_dump()) for item in table.alerts),
        shadow_runs=table.kpi.shadow_runs,
        budgets=dict(table.budgets),
        notify={name: dict(item) for name, item in table.notify.items()},
        stores=dict(table.stores),
        log_limit_bytes=parse_size(project.log_limit) or 0,
        fetched_from=tuple(layers.read),
        **_provenance(layers),
    )


def _provenance(layers: Layers) -> dict[str, Any]:
    """Every value that was set, with its origin, and the project's defaults."""
    values: dict[str, object] = {}
    origins: dict[str, Origin] = {}
    for prefix, model in (("project", ProjectTable), ("kpi", KpiTable)):
        for key, value in model().model_dump(by_alias=True, mode="json").items():
            values[f"{prefix}.{key}"] = value
            origins[f"{prefix}.{key}"] = Origin(kind="default", name="")
    for key, value in leaves(layers.data):
        values[key] = str(value) if isinstance(value, str) else value
        origins[key] = layers.origins.get(key) or Origin(kind="default", name="")
    for key, origin in layers.origins.items():
        origins.setdefault(key, origin)
    return {"values": values, "origins": origins}


# -- problems


def _checked(data: Mapping[str, Any], layers: Layers) -> tuple[RootTable | None, list[str]]:
    """The tables, and what pydantic has to say against them, in our words. Suites are checked with what they inherit."""
    try:
        return RootTable.model_validate({**data, "suites": {}}), _not_tables(data, layers)
    except ValidationError as error:
        return None, [*_explained(error, RootTable, (), layers), *_not_tables(data, layers)]


def _not_tables(data: Mapping[str, Any], layers: Layers) -> list[str]:
    suites = data.get("suites", {})
    if not isinstance(suites, dict):
        return [_problem(("suites",), "must be a table", layers)]
    return [
        _problem(("suites", name), "must be a table", layers)
        for name, item in suites.items()
        if not isinstance(item, dict)
    ]


def _suites(raw: Mapping[str, Any], layers: Layers) -> tuple[dict[str, Suite], list[str]]:
    resolved, problems = resolve_extends(raw)
    problems = [_placed(text, layers) for text in problems]
    suites: dict[str, Suite] = {}
    for name, merged in resolved.items():
        where = ("suites", name)
        if not re.match(NAME, name):
            problems.append(
                _problem(where, "a name has letters, digits, dots, dashes and underscores only", layers)
            )
        own = raw[name]
        try:
            table = SuiteTable.model_validate(
                {**merged, **{key: own[key] for key in ("tests-add",) if key in own}}
            )
        except ValidationError as error:
            problems += _explained(error, SuiteTable, where, layers, own=own)
            continue
        problems += [_problem((*where, key), text, layers) for key, text in _contradictions(table)]
        try:
            for suite in build_suites(name, table):
                if suite.name in suites:
                    problems.append(_problem(where, f'makes a second suite "{suite.name}"', layers))
                suites[suite.name] = suite
        except ValueError as error:
            problems.append(_problem((*where, "matrix"), str(error), layers))
    return suites, list(dict.fromkeys(problems))


def _contradictions(table: SuiteTable) -> Iterator[tuple[str, str]]:
    if table.abstract:
        return
    if table.tests and table.command:
        yield "command", "a suite has tests or a command, not both"
    if not table.tests and not table.command:
        yield "tests", "a suite needs tests or a command (or abstract = true)"
    if table.command and not table.junit:
        yield "junit", 'a command needs the files it writes: junit = ["junit.xml"]'
    if table.junit and not table.command:
        yield "junit", "belongs to a command; tests are run by pytest, which writes its own"
    if table.command and table.shards > 1:
        yield "shards", "a command is one piece and cannot be split"
    if table.command and (table.workers or table.pytest_args):
        yield "pytest-args" if table.pytest_args else "workers", "is for pytest, and this suite is a command"
    for entry in table.exclude:
        for axis in entry:
            if axis not in table.matrix:
                yield "exclude", f'there is no axis "{axis}"{near(axis, table.matrix)}'


def _cross_checks(table: RootTable, suites: Mapping[str, Suite], layers: Layers) -> Iterator[str]:
    machines = {LOCAL, *table.machines}
    for suite in suites.values():
        where = ("suites", suite.base or suite.name)
        if suite.machine not in machines:
            text = f'there is no machine "{suite.machine}"{near(suite.machine, sorted(machines))}'
            yield _problem((*where, "machine"), text, layers)
        for group in suite.when.path_groups:
            if group not in table.path_groups:
                text = f'there is no group "{group}"{near(group, table.path_groups)}'
                yield _problem((*where, "when", "path-groups"), text, layers)
    yield from _unknown_suites(table, suites, layers)
    for number, alert in enumerate(table.alerts):
        if (alert.above is None) == (alert.below is None):
            yield _problem(("alerts", str(number)), "needs either above or below", layers)
    if parse_size(table.project.log_limit) is None:
        text = f'{table.project.log_limit!r} is no size: write it as "256MB"'
        yield _problem(("project", "log-limit"), text, layers)


def _unknown_suites(table: RootTable, suites: Mapping[str, Suite], layers: Layers) -> Iterator[str]:
    names = sorted({name for suite in suites.values() for name in (suite.name, suite.base) if name})
    named = [
        (("quarantine", str(number), "suite"), entry.suite)
        for number, entry in enumerate(table.quarantine)
        if entry.suite is not None
    ]
    named += [(("flags", flag, "suites"), name) for flag, item in table.flags.items() for name in item.suites]
    for where, name in named:
        if name not in names:
            yield _problem(where, f'there is no suite "{name}"{near(name, names)}', layers)


def _explained(
    error: ValidationError,
    model: type[BaseModel],
    where: tuple[str, ...],
    layers: Layers,
    own: Mapping[str, Any] | None = None,
) -> Iterator[str]:
    """Each complaint of pydantic with path, reason, place and what was meant."""
    for item in error.errors(include_url=False):
        keys = tuple(str(part) for part in item["loc"] if part != "[key]")
        if own is not None and keys and keys[0] not in own and item["type"] != "missing":
            continue  # inherited: the suite that has it says so
        if item["type"] == "extra_forbidden":
            text = REASONS["extra_forbidden"] + near(keys[-1], _keys_beside(model, keys))
        elif item["type"] in ("enum", "literal_error"):
            text = f"{item['input']!r} is none of {item['ctx']['expected'].replace(' or ', ', ')}"
            text += near(str(item["input"]), re.findall(r"'([^']*)'", item["ctx"]["expected"]))
        elif item["type"] == "value_error":
            text = str(item["ctx"]["error"])
        else:
            text = REASONS.get(item["type"]) or item["msg"][:1].lower() + item["msg"][1:]
            if not isinstance(item["input"], (dict, list)) and item["type"] != "missing":
                text += f", not {item['input']!r}"
        yield _problem((*where, *keys), text, layers)


def _keys_beside(model: type[BaseModel], keys: Sequence[str]) -> list[str]:
    """The keys that could stand where an unknown one stands."""
    at: Any = model
    for key in keys[:-1]:
        if not (isinstance(at, type) and issubclass(at, BaseModel)):
            continue  # the name of a machine or suite, the number of an entry
        fields = {item.alias: item.annotation for item in at.model_fields.values()}
        at = fields.get(key)
        while at is not None and not isinstance(at, type):
            inside = [arg for arg in typing.get_args(at) if arg not in (type(None), str, ...)]
            at = inside[-1] if inside else None
    return aliases(at) if isinstance(at, type) and issubclass(at, BaseModel) else []


def _problem(keys: Sequence[str], text: str, layers: Layers) -> str:
    path = ".".join(keys)
    origin = layers.origin_of(path)
    place = ""
    if origin is not None and origin.name:
        place = f" ({origin.name}:{origin.line})" if origin.line else f" ({origin.name})"
    return f"{path}: {text}{place}"


def _placed(text: str, layers: Layers) -> str:
    path, _colon, rest = text.partition(": ")
    return _problem(path.split("."), rest, layers)


# -- values


def parse_size(value: str | int) -> int | None:
    """Bytes for `256MB`, `1 GiB` or a number; None for anything else."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMG]i?B|B)?", str(value).strip(), re.IGNORECASE)
    return int(float(match[1]) * SIZES[(match[2] or "").upper()]) if match else None


def flag_spec(name: str, table: FlagTable) -> FlagSpec:
    """The flag; what cannot be parsed is a problem of the flag and turns it off."""
    problems = []
    enabled = _boolean(table.enabled)
    if enabled is None:
        problems.append(f"flags.{name}.enabled is {table.enabled!r}, neither true nor false")
    percentage = None
    if table.percentage is not None:
        percentage = _percentage(table.percentage)
        if percentage is None:
            problems.append(f"flags.{name}.percentage is {table.percentage!r}, no number from 0 to 100")
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
    return {
        "true": True,
        "1": True,
        "on": True,
        "yes": True,
        "false": False,
        "0": False,
        "off": False,
        "no": False,
    }.get(str(value).strip().lower())


def _percentage(value: object) -> float | None:
    if isinstance(value, bool):
        return None
    try:
        number = float(str(value).strip().removesuffix("%"))
    except ValueError:
        return None
    return number if 0 <= number <= 100 else None


__all__ = ["LOCAL_FILE", "TEAM_FILE", "load_settings", "parse_size"]
