"""What `report` does between the results and the people: the trusted event, the base, the publishers."""

from __future__ import annotations

import dataclasses
import json
import sys
import time
from argparse import Namespace
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from ci_runner.checks.compare import Comparison, compare
from ci_runner.cli.chatting import chat
from ci_runner.cli.telling import GitHub
from ci_runner.errors import CiRunnerError
from ci_runner.model import Event, RunResult
from ci_runner.report.comment import Context, Money
from ci_runner.report.loading import Joined

if TYPE_CHECKING:
    from ci_runner.config.settings import Settings


TRENDS = 8  # suites whose past is looked up


@dataclass(slots=True)
class Told:
    """What was told to whom, in words, and the address of the comment if there is one."""

    lines: list[str] = field(default_factory=list)
    comment_url: str = ""
    failed: list[str] = field(default_factory=list)


def settings_of(config: str | None, environ: Mapping[str, str]) -> Settings:
    """The configuration; a report needs none."""
    from ci_runner.config.load import load_settings

    return load_settings(Path.cwd(), environ=environ, config_file=Path(config) if config else None)


def with_true_event(joined: Joined, settings: Settings, environ: Mapping[str, str]) -> Joined:
    """The results with the event of this very job: artifacts may say anything about who they belong to."""
    path = environ.get("GITHUB_EVENT_PATH")
    if not path:
        return joined
    from ci_runner.github.event import find_event

    event = find_event(settings.root, environ, default_branch=settings.default_branch)
    plan = dataclasses.replace(joined.result.plan, event=event)
    return dataclasses.replace(joined, result=dataclasses.replace(joined.result, plan=plan))


def context_of(
    result: RunResult, settings: Settings, environ: Mapping[str, str], *, base: str | None
) -> Context:
    """The comparison with the base, and where things are."""
    server = environ.get("GITHUB_SERVER_URL", "https://github.com").rstrip("/")
    run = environ.get("GITHUB_RUN_ID")
    repository = environ.get("GITHUB_REPOSITORY")
    return Context(
        comparison=comparison_of(result, settings, environ, base),
        money=money_of(result, settings, environ),
        trends=trends_of(result, settings, environ, base),
        slower=slower_of(result, settings, environ, base),
        server=server,
        run_url=f"{server}/{repository}/actions/runs/{run}" if run and repository else None,
    )


def comparison_of(
    result: RunResult, settings: Settings, environ: Mapping[str, str], base: str | None
) -> Comparison:
    """What changed since the base; without a readable history nothing is said to be new."""
    from ci_runner.github.local import git_at
    from ci_runner.history.base import ancestors, base_branch_of, find_bases
    from ci_runner.history.store import open_store, usual_location

    event = result.plan.event
    branch = base or base_branch_of(event, settings.default_branch)
    if base is not None:
        event = dataclasses.replace(event, base_commit=None, kind="local")
    names = [suite.selection.suite.name for suite in result.suites]
    try:
        commits = ancestors(git_at(settings.root), event, branch)
        if len(commits) < 2 and environ.get("GITHUB_ACTIONS") == "true" and environ.get("GITHUB_TOKEN"):
            commits = _asked(event, branch, environ) or commits  # a checkout in a job has one commit
        store = open_store(usual_location(settings.stores, environ), settings.root)
        bases = find_bases(store, names, commits, branch=branch, but=frozenset(result.run_id.split()))
    except (CiRunnerError, OSError) as error:
        print(f"warning: the history cannot be read, nothing is compared: {error}", file=sys.stderr)
        bases = {}
    return compare(result.suites, bases)


def trends_of(
    result: RunResult, settings: Settings, environ: Mapping[str, str], base: str | None
) -> list[str]:
    """How long each suite took in its last complete runs of the base branch, as far as the history says it at once."""
    from ci_runner.history.base import COMPLETE, base_branch_of
    from ci_runner.history.query import load_records
    from ci_runner.history.store import open_store, usual_location
    from ci_runner.report.trend import SHOWN, trend_line

    branch = base or base_branch_of(result.plan.event, settings.default_branch)
    lines = []
    try:
        store = open_store(usual_location(settings.stores, environ), settings.root)
        for suite in result.suites[:TRENDS]:
            if suite.selection.shard is not None and suite.selection.shard.total > 1:
                continue  # shards are cut anew each time
            name = suite.selection.suite.name
            past = [
                each.record.duration_seconds
                for each in load_records(store, suite=name, limit=2 * SHOWN)
                if each.record.branch == branch
                and each.record.pull_request is None
                and each.record.verdict in COMPLETE
                and each.record.run_id not in result.run_id.split()
            ]
            now = sum(attempt.duration_seconds for attempt in suite.attempts)
            lines.append(trend_line(name, [*reversed(past[: SHOWN - 1]), now], branch))
    except (CiRunnerError, OSError):
        return []  # whoever compares with the history says that it cannot be read
    return [line for line in lines if line is not None]


def slower_of(
    result: RunResult, settings: Settings, environ: Mapping[str, str], base: str | None
) -> list[str]:
    """The tests that take longer than they did, as far as several runs in the history say so."""
    from ci_runner.history.base import base_branch_of
    from ci_runner.history.pace import find_slow_downs
    from ci_runner.history.store import open_store, usual_location
    from ci_runner.report import slow_downs, words

    branch = base or base_branch_of(result.plan.event, settings.default_branch)
    try:
        store = open_store(usual_location(settings.stores, environ), settings.root)
        found = find_slow_downs(store, result, branch, suites=TRENDS)
    except (CiRunnerError, OSError):
        return []  # whoever compares with the history says that it cannot be read
    lines: list[str] = [
        slow_downs.slow_down_line(each.slow_down, each.commit) for each in found[: slow_downs.SHOWN]
    ]
    more = len(found) - len(lines)
    return [*lines, f"and {words.plural(more, 'more test')}"] if more > 0 else lines


def covered(result: RunResult, results: Sequence[Path], settings: Settings, context: Context) -> RunResult:
    """The result with the coverage of all its parts, where any was measured."""
    if not any(
        item.selection.suite.coverage or item.selection.suite.coverage_files for item in result.suites
    ):
        return result
    from ci_runner.cli.covering import with_coverage
    from ci_runner.report.loading import find_runs

    folders = find_runs([path for path in results if path.exists()])
    return with_coverage(result, folders, settings.root, context.comparison.bases)


def money_of(result: RunResult, settings: Settings, environ: Mapping[str, str]) -> Money:
    """What else was spent on the pull request and on the budget; only asked for where this run cost anything."""
    from ci_runner.history.spending import budget_of, spent_on_pull_request, spent_this_month
    from ci_runner.history.store import open_store, usual_location

    number, budget = (
        result.plan.event.pull_request,
        budget_of(settings.budgets, settings.team, result.developer),
    )
    if not result.cost_usd or (number is None and budget is None):
        return Money()
    mine = frozenset(result.run_id.split())
    spent: float | None = None
    on_pull: float | None = None
    try:
        store = open_store(usual_location(settings.stores, environ), settings.root)
        on_pull = spent_on_pull_request(store, number, but=mine) if number is not None else None
        if budget is not None:
            spent = spent_this_month(store, time.time(), developer=budget[1], but=mine)
    except (CiRunnerError, OSError) as error:
        print(
            f"warning: the history cannot be read, so what was spent is not known: {error}", file=sys.stderr
        )
    return Money(
        pull_request=None if on_pull is None else on_pull + result.cost_usd,
        budget=budget[0] if budget else "",
        spent=None if spent is None else spent + result.cost_usd,
        limit=settings.budgets[budget[0]] if budget else None,
    )


def _asked(event: Event, branch: str, environ: Mapping[str, str]) -> list[str]:
    """The ancestors that GitHub knows; without its library, none."""
    try:
        from ci_runner.github.ancestry import ancestors_on_github
        from ci_runner.github.client import connect
    except ImportError:
        return []
    return ancestors_on_github(connect(environ), event, branch)


def publish(
    wanted: Sequence[str],
    joined: Joined,
    context: Context,
    settings: Settings,
    arguments: Namespace,
    environ: Mapping[str, str],
) -> Told:
    """Tell everyone who was named; one who cannot be told is a line and never hides the verdict."""
    told, result = Told(), joined.result
    github = GitHub(result, joined.runs, context, settings, arguments, environ)
    senders: Mapping[str, Callable[[], str]] = {
        "summary": lambda: _summary(result, context, arguments, environ),
        "annotations": lambda: _annotations(result, context, arguments),
        "comment": github.comment,
        "check": github.check,
        "issue": github.issue,
        "history": github.history,
        "slack": lambda: chat("slack", result, context, settings, arguments, environ),
        "teams": lambda: chat("teams", result, context, settings, arguments, environ),
    }
    for name in wanted:
        try:
            line = senders[name]()
        except CiRunnerError as error:
            told.failed.append(name)
            line = f"warning: {name} was not published: {error.what}" + (
                f"; {error.fix}" if error.fix else ""
            )
        except OSError as error:
            told.failed.append(name)
            line = f"warning: {name} was not published: {error.strerror or error}"
        if line:
            told.lines.append(line)
    told.comment_url = github.comment_url
    return told


def _summary(result: RunResult, context: Context, arguments: Namespace, environ: Mapping[str, str]) -> str:
    from ci_runner.report.files import append_summary
    from ci_runner.report.summary import render_summary_markdown

    if arguments.dry_run:
        return f"would write the step summary:\n{render_summary_markdown(result, slower=context.slower)}"
    if not environ.get("GITHUB_STEP_SUMMARY"):
        return "summary: not written, since GITHUB_STEP_SUMMARY is not set"
    append_summary(result, environ, slower=context.slower)
    return ""


def _annotations(result: RunResult, context: Context, arguments: Namespace) -> str:
    from ci_runner.report.annotations import annotations_of, as_commands

    lines = as_commands(annotations_of(result, context.comparison))
    if arguments.dry_run:
        return "\n".join(["would annotate:", *(line.replace("::", ": :", 1) for line in lines)])
    return "\n".join(lines)


def write_files(result: RunResult, folder: Path) -> list[str]:
    """The joined files: the page, JUnit, the object. Returns what could not be written."""
    from ci_runner.report.files import write_all

    folder.mkdir(parents=True, exist_ok=True)
    return [problem.text for problem in write_all(result, folder)]


def json_text(joined: Joined, context: Context, told: Told) -> str:
    """The one object on stdout with --format json."""
    from ci_runner import codec
    from ci_runner.report.files import results_json
    from ci_runner.report.markdown import plain_words

    found = context.comparison
    value = {
        **results_json(joined.result),
        "comparison": {
            **{
                name: codec.plain(getattr(found, name))
                for name in ("new", "still", "fixed", "added", "removed")
            },
            "bases": {
                name: {"commit": base.commit, "run_id": base.run_id, "distance": base.distance}
                for name, base in (found.bases or {}).items()
            },
            "without_base": list(found.without_base),
        },
        "slower": [plain_words(line) for line in context.slower],
        "comment_url": told.comment_url,
        "not_published": told.failed,
    }
    return json.dumps(value, indent=2)
