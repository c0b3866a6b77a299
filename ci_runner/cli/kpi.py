"""`ci-runner kpi`: how well the python runner does, and what follows from it."""

from __future__ import annotations

import getpass
import math
import os
import sys
from argparse import ArgumentParser, Namespace
from typing import TYPE_CHECKING, Any

from ci_runner.cli.history import since

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from ci_runner.checks.kpi import Kpi
    from ci_runner.checks.kpi_alerts import Decisions
    from ci_runner.config.settings import Settings
    from ci_runner.github.client import Client
    from ci_runner.history.overrides import FlagHistory
    from ci_runner.history.store import Store
    from ci_runner.model import Problem

EXAMPLE = "ci-runner kpi --since 30d"
DEFAULT_SINCE = "30d"
WITHOUT_GITHUB = "printed, for --apply, GITHUB_TOKEN and GITHUB_REPOSITORY are needed for that"


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the arguments of `kpi`."""
    parser.add_argument(
        "--since",
        type=since,
        metavar="WHEN",
        default=None,
        help=f"only runs since a date (2026-11-23) or an age (12h, 7d, 4w; default: {DEFAULT_SINCE})",
    )
    what = parser.add_mutually_exclusive_group()
    what.add_argument(
        "--apply",
        action="store_true",
        help="act: turn flags off or on again in the store; with GITHUB_TOKEN and GITHUB_REPOSITORY also count the thumbs "
        "on our comments and keep the issue",
    )
    what.add_argument("--clear", metavar="FLAG", help="turn a flag on again that an alert has turned off")
    parser.add_argument("--config", metavar="FILE", help="the configuration to use (default: found upwards)")
    parser.add_argument(
        "--store", metavar="PLACE", help="the store (default: [stores] history, else .ci-runner/results)"
    )
    parser.add_argument(
        "--format", choices=("text", "json"), default="text", help="json: one object on stdout"
    )


def run(arguments: Namespace) -> int:
    """Print the figures; with --apply act on them; exit 1 if a limit is certainly broken."""
    from datetime import UTC, datetime

    from ci_runner.errors import ResultsError

    settings = settings_for(arguments)
    store = store_for(arguments, settings)
    now = datetime.now(UTC)
    try:
        if arguments.clear is not None:
            return _clear(arguments.clear, store, settings, now)
        return _report(arguments, store, settings, now)
    except BrokenPipeError:
        raise  # nobody reads on; that is no fault of the history
    except OSError as error:
        raise ResultsError(
            f"the history cannot be used: {error.strerror or error}",
            where=str(error.filename or settings.stores.get("history", "")),
            fix="see that the store of [stores] history is there and can be read and written",
        ) from error


def settings_for(arguments: Namespace) -> Settings:
    """The configuration."""
    from pathlib import Path

    from ci_runner.config.load import load_settings

    file = Path(arguments.config) if arguments.config else None
    return load_settings(Path.cwd(), environ=os.environ, config_file=file)


def store_for(arguments: Namespace, settings: Settings) -> Store:
    """The store that is named, configured or the usual one."""
    import os
    from pathlib import Path

    from ci_runner.history.store import open_store, usual_location

    if arguments.store:
        return open_store(arguments.store, Path())
    return open_store(usual_location(settings.stores, os.environ), settings.root)


def _report(arguments: Namespace, store: Store, settings: Settings, now: datetime) -> int:
    from ci_runner.checks.kpi import measure
    from ci_runner.checks.kpi_alerts import decide
    from ci_runner.errors import OK, TESTS_FAILED
    from ci_runner.history.feedback import load_feedback
    from ci_runner.history.overrides import load_flags
    from ci_runner.history.query import load_records

    problems: list[Problem] = []
    begin = arguments.since or since(DEFAULT_SINCE)
    records = [stored.record for stored in load_records(store, since=begin, problems=problems)]
    flags = load_flags(store)
    client = _client() if arguments.apply else None
    counted = _count(client, store, begin, now) if client else []
    kpis = measure(records, settings, load_feedback(store, problems))
    decisions = decide(records, settings, flags.overrides, flags.cleared)
    written = [*counted, *(_apply(decisions, store, now) if arguments.apply else [])]
    kept = _keep(client, decisions) if client else None
    if arguments.format == "json":
        print(_json(kpis, decisions, flags, len(records), begin, written, kept))
    else:
        print(_text(kpis, decisions, flags, len(records), begin, written, kept), end="")
    for problem in problems:
        print(f"ci-runner: warning: {problem.file}: {problem.text}", file=sys.stderr)
    return TESTS_FAILED if any(breach.certain for breach in decisions.breaches) else OK


def _apply(decisions: Decisions, store: Store, now: datetime) -> list[str]:
    """Write overrides; the keys of what was written."""
    from ci_runner.history.overrides import OFF, ON, put_override

    by = "ci-runner kpi"
    keys = [
        put_override(store, off.flag, OFF, reason=off.reason, by=by, now=now, evidence=off.evidence)
        for off in decisions.turn_off
    ]
    keys += [
        put_override(store, item.flag, ON, reason=item.reason, by=by, now=now) for item in decisions.turn_on
    ]
    return keys


def _client() -> Client | None:
    """A client if the environment has a token and names a repository."""
    if not (os.environ.get("GITHUB_TOKEN") and os.environ.get("GITHUB_REPOSITORY")):
        return None
    from ci_runner.errors import ConfigurationError

    try:
        from ci_runner.github.client import connect
    except ImportError as error:
        raise ConfigurationError(
            f"the library for GitHub is missing: {error.name or error}",
            fix='pip install "ci-runner[github]", or unset GITHUB_TOKEN',
        ) from error
    return connect(os.environ)


def _count(client: Client, store: Store, begin: datetime, now: datetime) -> list[str]:
    """Count the thumbs on our comments."""
    from ci_runner.history.feedback import put_feedback
    from ci_runner.report.publish.opinions import thumbs

    return put_feedback(store, list(thumbs(client, begin)), now)


def _keep(client: Client, decisions: Decisions) -> list[str]:
    """Open or update the issues; a line for each."""
    from ci_runner.report.publish.opinions import keep_issue

    return [keep_issue(client, issue) for issue in decisions.issues]


def _clear(flag: str, store: Store, settings: Settings, now: datetime) -> int:
    """Lift one override on somebody's word."""
    from ci_runner.errors import OK, ResultsError, UsageError
    from ci_runner.history.overrides import ON, load_flags, put_override

    found = load_flags(store).overrides
    if found.unreachable is not None:
        raise ResultsError(
            f"the overrides cannot be read: {found.unreachable}", fix="see that the store can be read"
        )
    if flag not in found.active:
        names = ", ".join(sorted(found.active)) or "none"
        raise UsageError(f'no alert has turned off a flag "{flag}"', fix=f"flags that are off: {names}")
    by = settings.developer or os.environ.get("GITHUB_ACTOR") or getpass.getuser()
    key = put_override(store, flag, ON, reason="cleared by hand", by=by, now=now)
    print(f"turned on {flag}; older runs no longer count for its alerts ({key})")
    return OK


def _text(
    kpis: Sequence[Kpi],
    decisions: Decisions,
    flags: FlagHistory,
    runs: int,
    begin: datetime,
    written: Sequence[str],
    kept: Sequence[str] | None,
) -> str:
    from ci_runner.checks.kpi import render
    from ci_runner.github.commands import neutralise

    lines = [f"python runner, {runs:,} runs since {begin:%Y-%m-%d}", "", render(kpis)]
    if flags.overrides.unreachable is not None:
        lines.append(
            f"overrides cannot be read ({flags.overrides.unreachable}): the committed configuration decides"
        )
    lines += [
        f"off      {item.flag} since {item.at}, by {item.by}: {item.problem or item.reason}"
        for item in flags.overrides.active.values()
    ]
    for breach in decisions.breaches:
        certain = "" if breach.certain else "; too few runs to act on it"
        lines.append(f"alert    {breach.alert.name} ({breach.flag}): {breach.text}{certain}")
    would = "" if written else " (not done: ask with --apply)"
    lines += [f"turn off {item.flag}: {item.reason}{would}" for item in decisions.turn_off]
    lines += [f"turn on  {item.flag}: {item.reason}{would}" for item in decisions.turn_on]
    lines += [f"issue    {line}" for line in kept or ()]
    for issue in decisions.issues if kept is None else ():
        place = f"to open, or to update where {issue.key} stands already; {WITHOUT_GITHUB}"
        body = (f"    {line}".rstrip() for line in issue.body.splitlines())
        lines += ["", f"issue    {issue.title} ({place})", "", *body]
    return neutralise("\n".join(lines)).rstrip("\n") + "\n"


def _json(
    kpis: Sequence[Kpi],
    decisions: Decisions,
    flags: FlagHistory,
    runs: int,
    begin: datetime,
    written: Sequence[str],
    kept: Sequence[str] | None,
) -> str:
    import json

    from ci_runner import codec

    value: dict[str, Any] = {
        "since": f"{begin:%Y-%m-%dT%H:%M:%SZ}",
        "runs": runs,
        "kpis": {kpi.name: _without_nan(codec.plain(kpi)) for kpi in kpis},
        "flags_off": [codec.plain(item) for item in flags.overrides.active.values()],
        "overrides_unreachable": flags.overrides.unreachable,
        **{
            name: _without_nan(codec.plain(getattr(decisions, name)))
            for name in ("breaches", "turn_off", "turn_on", "issues")
        },
        "written": list(written),
        "kept_issues": None if kept is None else list(kept),
    }
    return json.dumps(value, ensure_ascii=False, indent=2, allow_nan=False)


def _without_nan(value: Any) -> Any:
    """What JSON can hold: an estimate that does not exist is null."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_nan(item) for item in value]
    return value
