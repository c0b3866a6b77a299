"""`ci-runner results`: what JUnit files and run folders come to, merged into one file, or written as JSON."""

from __future__ import annotations

import json
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ci_runner.results.summary import Summary

EXAMPLE = "ci-runner results summarize build/test-results"
SHOWN = 20


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the arguments of `results`."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    texts = {
        "summarize": "count and judge; the exit code is the verdict's",
        "merge": "write everything into one JUnit file; the exit code is the verdict's",
        "convert": "write everything as JUnit, JSON or JSON lines",
    }
    for name, text in texts.items():
        action = actions.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
        action.add_argument(
            "paths",
            nargs="+",
            type=Path,
            metavar="PATH",
            help="a JUnit file, a folder of them, or a run folder",
        )
        if name != "summarize":
            action.add_argument(
                "--output", "-o", type=Path, required=True, metavar="FILE", help="the file to write"
            )
        if name == "convert":
            action.add_argument(
                "--to",
                choices=("junit", "json", "jsonl"),
                help="the form to write (default: by the file's name)",
            )
        action.add_argument(
            "--format",
            choices=("text", "json"),
            default="text",
            help="json: nothing but one object on stdout",
        )


def run(arguments: Namespace) -> int:
    """Read, write what was asked for, say what it came to."""
    from ci_runner.results.summary import summarize, summary_json

    summary = summarize(arguments.paths, keep_passed=arguments.action != "summarize")
    if arguments.action != "summarize":
        _write(summary, arguments.output, "junit" if arguments.action == "merge" else arguments.to)
    if arguments.format == "json":
        value = summary_json(summary)
        if arguments.action != "summarize":
            value.pop("cases")
            value["output"] = str(arguments.output)
        print(json.dumps(value, indent=2))
    else:
        print("\n".join(text_of(summary)))
        if arguments.action != "summarize":
            print(f"written to {arguments.output}")
    return summary.exit_code


def _write(summary: Summary, path: Path, form: str | None) -> None:
    from ci_runner.errors import UsageError
    from ci_runner.execution.folder import write_atomically
    from ci_runner.report.files import case_plain
    from ci_runner.results.summary import summary_json
    from ci_runner.results.writer import Group, write_groups

    forms = {".xml": "junit", ".json": "json", ".jsonl": "jsonl"}
    form = form or forms.get(path.suffix)
    if form is None:
        raise UsageError(
            f"cannot tell from the name {path.name!r} what to write",
            fix="add --to junit, --to json or --to jsonl",
        )
    cases = [case for part in summary.parts for case in part.cases]
    try:
        if form == "junit":
            groups = [Group(name=part.name, cases=part.cases, metrics=part.metrics) for part in summary.parts]
            write_groups(path, groups)
        elif form == "json":
            value = {**summary_json(summary), "cases": [case_plain(case) for case in cases]}
            write_atomically(path, (json.dumps(value, indent=2) + "\n").encode())
        else:
            write_atomically(path, "".join(json.dumps(case_plain(case)) + "\n" for case in cases).encode())
    except OSError as error:
        raise UsageError(
            f"cannot write the file: {error.strerror or error}",
            where=str(path),
            fix="name another file with --output",
        ) from error


def text_of(summary: Summary) -> list[str]:
    """The summary for people: what went wrong first, then the verdict and the numbers."""
    from ci_runner.github.commands import one_line
    from ci_runner.model import Outcome
    from ci_runner.report.words import counts_text, duration, number

    lines = []
    for part in summary.parts:
        bad = [case for case in part.cases if case.outcome not in (Outcome.PASSED, Outcome.SKIPPED)]
        for case in bad[:SHOWN]:
            word = "interrupted" if case.interrupted else case.outcome.value
            message = f"  {one_line(case.message, 160)}" if case.message else ""
            lines.append(f"{word.upper()} {one_line(part.name, 80)} · {one_line(case.id, 200)}{message}")
        if len(bad) > SHOWN:
            lines.append(f"… and {number(len(bad) - SHOWN)} more of {one_line(part.name, 80)}")
    for problem in summary.problems[: 2 * SHOWN]:
        place = f" ({one_line(problem.file, 120)})" if problem.file else ""
        lines.append(f"{'problem' if problem.fatal else 'note'}: {one_line(problem.text, 400)}{place}")
    lines.append("")
    lines.append(
        f"{summary.verdict.value:<10} {counts_text(summary.counts)} in {duration(summary.duration_seconds)}"
    )
    return lines
