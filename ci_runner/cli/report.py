"""`ci-runner report`: what all jobs of a run came to, told in one place."""

from __future__ import annotations

import dataclasses
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ci_runner.checks.compare import Comparison
    from ci_runner.model import Plan, RunResult, SuiteResult
    from ci_runner.report.loading import Joined

EXAMPLE = "ci-runner report --results .ci-runner/runs --publish summary,comment --dry-run"
SHOWN = 20
PUBLISHERS = ("summary", "annotations", "comment", "check", "issue", "history", "slack", "teams")


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the arguments of `report`."""
    what = parser.add_argument_group("what came of it")
    what.add_argument(
        "--results",
        nargs="+",
        required=True,
        type=Path,
        metavar="DIR",
        help="run folders, folders of them as downloaded artifacts are, JUnit files or folders of those",
    )
    what.add_argument(
        "--plan", type=Path, metavar="FILE", help="the saved plan: a part of it that is absent is red"
    )
    what.add_argument(
        "--base",
        metavar="BRANCH",
        help="compare with this branch (default: the pull request's base, else the branch's own past)",
    )
    told = parser.add_argument_group("who is told")
    told.add_argument(
        "--publish",
        default="",
        metavar="LIST",
        help=f"of {', '.join(PUBLISHERS)}; separated by commas (default: what is printed alone)",
    )
    told.add_argument(
        "--dry-run", action="store_true", help="print exactly what would be sent, and send nothing"
    )
    told.add_argument("--comment-key", default="tests", metavar="KEY", help="which of our comments this is")
    told.add_argument(
        "--comment-part",
        metavar="KEY",
        help="this job's share of a comment that several jobs write (default: one comment for all results)",
    )
    told.add_argument(
        "--comment-mode",
        default="update",
        choices=("update", "new", "hide-and-new", "delete-and-new", "only-on-failure", "only-on-change"),
        help="what happens to the comment that is there already",
    )
    told.add_argument("--check-name", default="ci-runner", metavar="NAME", help="the name of the check run")
    told.add_argument(
        "--config", metavar="FILE", help="the configuration (default: ci-runner.toml, if there is one)"
    )
    told.add_argument(
        "--out", type=Path, metavar="DIR", help="write the joined files there: report.html, junit.xml, …"
    )
    told.add_argument("--format", choices=("text", "json"), default="text", help="json: one object on stdout")


def run(arguments: Namespace) -> int:
    """Read, join, compare, tell; the exit code is the verdict's, and a publisher that fails is a warning."""
    import os

    from ci_runner.cli import reporting

    wanted = publishers_of(arguments.publish)
    settings = reporting.settings_of(arguments.config, os.environ)
    joined = reporting.with_true_event(joined_of(arguments), settings, os.environ)
    result = joined.result
    context = reporting.context_of(result, settings, os.environ, base=arguments.base)
    result = reporting.covered(result, arguments.results, settings, context)
    joined = dataclasses.replace(joined, result=result)
    stream = sys.stderr if arguments.format == "json" else sys.stdout
    print("\n".join(_text(joined, context.comparison, context.slower)), file=stream)
    told = reporting.publish(wanted, joined, context, settings, arguments, os.environ)
    for line in told.lines:
        print(line, file=stream)
    if arguments.out:
        for problem in reporting.write_files(result, arguments.out):
            print(f"warning: {problem}", file=sys.stderr)
    if arguments.format == "json":
        print(reporting.json_text(joined, context, told))
    return result.exit_code


def publishers_of(text: str) -> tuple[str, ...]:
    """The publishers that were named. Raises UsageError for one that there is not."""
    import difflib

    from ci_runner.errors import UsageError

    names = [name.strip() for name in text.split(",") if name.strip()]
    for name in names:
        if name not in PUBLISHERS:
            near = difflib.get_close_matches(name, PUBLISHERS, n=1)
            hint = f'perhaps you meant "{near[0]}"; ' if near else ""
            raise UsageError(
                f'there is no publisher "{name}"', fix=f"{hint}there are: {', '.join(PUBLISHERS)}"
            )
    return tuple(dict.fromkeys(names))


def joined_of(arguments: Namespace) -> Joined:
    """All results as one."""
    from ci_runner.errors import UsageError
    from ci_runner.report.loading import find_runs, join, load_run

    plan: Plan | None = None
    if arguments.plan:
        from ci_runner.plan.matrix import read_plan

        try:
            text = arguments.plan.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(
                f"cannot read the plan: {error}",
                where=str(arguments.plan),
                fix="download the artifact that holds it",
            ) from error
        plan = read_plan(text, str(arguments.plan))
    for path in arguments.results:
        if not path.exists() and plan is None:
            raise UsageError(
                "there are no results",
                where=str(path),
                fix="name the folder into which the artifacts were downloaded",
            )
    found = find_runs([path for path in arguments.results if path.exists()])
    return join([load_run(path) for path in found], expected=plan)


def _text(joined: Joined, comparison: Comparison, slower: Sequence[str]) -> list[str]:
    """The report for a terminal or a log: what is red, then what is unclear, then the verdict."""
    from ci_runner.github.commands import one_line
    from ci_runner.report import explain, view, words
    from ci_runner.report.markdown import plain_words

    result: RunResult = joined.result
    new = {(change.selection, change.test) for change in comparison.new}
    lines = []
    for suite in result.suites:
        red = explain.red_cases(suite)
        for case in red[:SHOWN]:
            word = "NEW" if (suite.selection.id, case.id) in new else case.outcome.value.upper()
            message = f"  {one_line(case.message, 160)}" if case.message else ""
            lines.append(f"{word} {one_line(suite.selection.id, 80)} · {one_line(case.id, 200)}{message}")
        if len(red) > SHOWN:
            lines.append(f"… and {words.number(len(red) - SHOWN)} more of {one_line(suite.selection.id, 80)}")
    for item in explain.explanations(result):
        lines.append(f"{one_line(item.subject, 80)}: {one_line(item.what, 300)}")
        lines.append(f"fix: {one_line(item.fix, 300)}")
    lines += [f"SLOWER {plain_words(line)}" for line in slower]
    for suite_name, arms in joined.arms.items():
        lines += _arms(suite_name, arms)
    lines += [f"note: {one_line(note, 300)}" for note in result.notes]
    return [*lines, f"{explain.headline_word(result):<10} {one_line(view.headline(result), 300)}"]


def _arms(suite: str, arms: Mapping[str, Sequence[SuiteResult]]) -> list[str]:
    """The comparison of both runners, whose runs came from different jobs."""
    from ci_runner.checks.ab import arm_run, compare, render_table

    runs = {
        runner: [
            arm_run(
                result.cases,
                duration_seconds=result.attempts[0].duration_seconds,
                peak_memory_bytes=result.attempts[0].usage.peak_memory_bytes,
            )
            for result in results
            if result.attempts
        ]
        for runner, results in arms.items()
    }
    return render_table(compare(runs["python"], runs["shell"], suite=suite)).splitlines()
