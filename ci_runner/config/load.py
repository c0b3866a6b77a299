"""The configuration from all its sources as Settings, or every problem in it at once."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ci_runner.config.checks import contradictions, cross_checks
from ci_runner.config.flags import flag_spec
from ci_runner.config.layers import Layers, leaves
from ci_runner.config.notify import parse_limit, parse_span
from ci_runner.config.places import sources_of
from ci_runner.config.problems import explained, problem
from ci_runner.config.settings import Alert, Cache, Notify, Origin, Quarantine, Settings, TrustRules
from ci_runner.config.sources import from_environment
from ci_runner.config.suites import build_suites, resolve_extends
from ci_runner.config.tables import (
    CacheTable,
    KpiTable,
    NotifyTable,
    ProjectTable,
    RootTable,
    SuiteTable,
    TrustTable,
)
from ci_runner.config.values import FromEnvironment, parse_size
from ci_runner.errors import ConfigurationError, UsageError
from ci_runner.github.commands import one_line
from ci_runner.model import MachineSpec, Suite

LOCAL = "local"
PROBLEM_LENGTH = 2000


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
    if config_file is not None and not os.path.lexists(config_file):
        raise UsageError(
            "there is no such configuration", where=str(config_file), fix="check the path after --config"
        )
    root, files = sources_of(start, environ, config_file)
    layers = Layers()
    for path in files:
        if os.path.lexists(path):
            layers.add_file(path)
    from_environment(layers, environ)
    for key, value in (flags or {}).items():
        layers.set(tuple(key.split(".")), FromEnvironment(value), Origin(kind="flag", name=key))
    return _settings(root, layers)


def _settings(root: Path, layers: Layers) -> Settings:
    table, problems = _tables(layers.data, layers)
    suites, known, found = _suites(layers.data.get("suites"), layers)
    problems = [*layers.problems, *problems, *found]
    if layers.whole:
        problems += cross_checks(layers.data, known, suites, layers)
    if problems or table is None:
        raise _refusal(problems, layers)
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
        trust=TrustRules(forks=table.trust.forks, bots=table.trust.bots),
        budgets=dict(table.budgets),
        notify={name: _channel(name, item) for name, item in table.notify.items()},
        stores=dict(table.stores),
        caches={name: _cache(name, item) for name, item in table.caches.items()},
        log_limit_bytes=parse_size(project.log_limit),
        fetched_from=tuple(layers.read),
        **_provenance(layers),
    )


def _cache(name: str, item: CacheTable) -> Cache:
    return Cache(
        name=name,
        path=item.path,
        key=item.key,
        limit_bytes=parse_size(item.limit),
        timeout_seconds=item.timeout,
    )


def _channel(name: str, item: NotifyTable) -> Notify:
    values = {key: getattr(item, key) for key in type(item).model_fields}
    quiet = tuple(parse_span(span) for span in item.quiet_hours)
    limit = parse_limit(item.at_most) if item.at_most else None
    return Notify(name=name, **{**values, "quiet_hours": quiet, "at_most": limit})


def _provenance(layers: Layers) -> dict[str, Any]:
    """Every value that was set, with its origin, and the project's defaults."""
    values: dict[str, object] = {}
    origins: dict[str, Origin] = {}
    for prefix, model in (("project", ProjectTable), ("kpi", KpiTable), ("trust", TrustTable)):
        for key, value in model().model_dump(by_alias=True, mode="json").items():
            values[f"{prefix}.{key}"] = value
            origins[f"{prefix}.{key}"] = Origin(kind="default", name="")
    for key, value in leaves(layers.data):
        values[key] = str(value) if isinstance(value, str) else value
        origins[key] = layers.origins.get(key) or Origin(kind="default", name="")
    for key, origin in layers.origins.items():
        origins.setdefault(key, origin)
    return {"values": values, "origins": origins}


def _refusal(problems: list[str], layers: Layers) -> ConfigurationError:
    told = list(dict.fromkeys(one_line(text, PROBLEM_LENGTH) for text in problems))
    return ConfigurationError(
        f"{len(told)} problem{'s' if len(told) != 1 else ''} in the configuration",
        where=one_line(", ".join(layers.read) or "environment"),
        fix="ci-runner config schema --keys lists all keys; docs/reference/configuration.md explains them",
        problems=told,
    )


def _tables(data: Mapping[str, Any], layers: Layers) -> tuple[RootTable | None, list[str]]:
    """The tables, and what pydantic has to say against them in our words. Suites come later, with what they inherit."""
    try:
        return RootTable.model_validate({**data, "suites": {}}), []
    except ValidationError as error:
        return None, list(explained(error, RootTable, (), layers))


def _suites(raw: Any, layers: Layers) -> tuple[dict[str, Suite], dict[str, dict[str, Any]], list[str]]:
    """Suites by name, the table of each as configured and inherited, and what is wrong with them."""
    if raw is None:
        return {}, {}, []
    if not isinstance(raw, dict):
        return {}, {}, [problem(("suites",), "must be a table", layers)]
    problems = [
        problem(("suites", name), "must be a table", layers)
        for name, item in raw.items()
        if not isinstance(item, dict)
    ]
    resolved, orphans, found = resolve_extends(raw)
    problems += [problem(("suites", name, "extends"), text, layers) for name, text in found]
    suites: dict[str, Suite] = {}
    for name, merged in resolved.items():
        table, spoilt, found_here = _suite_table(name, merged, raw[name], layers)
        problems += found_here
        if name in orphans:
            continue
        said = [(key, text) for key, text, about in contradictions(table) if not spoilt.intersection(about)]
        problems += [problem(("suites", name, key), text, layers) for key, text in said]
        if not spoilt:
            problems += _add_variants(name, table, suites, layers)
    return suites, resolved, problems


def _suite_table(
    name: str, merged: Mapping[str, Any], own: Mapping[str, Any], layers: Layers
) -> tuple[SuiteTable, set[str], list[str]]:
    """The suite without the keys that are wrong, these keys, and what is wrong with them."""
    try:
        return SuiteTable.model_validate(merged), set(), []
    except ValidationError as error:
        spoilt = {str(item["loc"][0]) for item in error.errors(include_url=False) if item["loc"]}
        problems = list(explained(error, SuiteTable, ("suites", name), layers, own=own))
    kept = {key: value for key, value in merged.items() if key not in spoilt}
    return SuiteTable.model_validate(kept), spoilt, problems


def _add_variants(name: str, table: SuiteTable, suites: dict[str, Suite], layers: Layers) -> list[str]:
    problems = []
    where = ("suites", name)
    try:
        for suite in build_suites(name, table):
            if suite.name in suites:
                problems.append(problem(where, f'makes a second suite "{suite.name}"', layers))
            suites[suite.name] = suite
    except ValidationError as error:  # a value of an axis, at the place where it was put
        problems += explained(error, SuiteTable, where, layers)
    except ValueError as error:
        problems.append(problem((*where, "matrix"), str(error), layers))
    return problems
