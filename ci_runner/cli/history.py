"""`ci-runner history`: the records of earlier runs."""

from __future__ import annotations

from argparse import ArgumentParser, ArgumentTypeError, Namespace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ci_runner.history.query import Stored
    from ci_runner.history.store import Store
    from ci_runner.model import Problem

EXAMPLE = "ci-runner history list --suite unit --since 7d"
UNITS = {"h": 3600, "d": 86_400, "w": 604_800}


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the arguments of `history`."""
    actions = parser.add_subparsers(metavar="ACTION", required=True, dest="action")
    listing = actions.add_parser("list", help="the newest records, one a line")
    listing.add_argument("--suite", metavar="S", help="only this suite")
    listing.add_argument(
        "--limit", type=positive, default=20, metavar="N", help="at most N records (default: 20)"
    )
    listing.add_argument(
        "--since",
        type=since,
        metavar="WHEN",
        help="only records since a date (2026-11-23) or an age (12h, 7d, 4w)",
    )
    listing.set_defaults(history_action=list_records)
    showing = actions.add_parser("show", help="everything that is known of one run")
    showing.add_argument("run", metavar="RUN_ID|KEY", help="the run's id, or a record's key in the store")
    showing.set_defaults(history_action=show_run)
    for action in (listing, showing):
        action.add_argument(
            "--store", metavar="PLACE", help="the store (default: [stores] history, else .ci-runner/results)"
        )
        action.add_argument(
            "--format", choices=("text", "json"), default="text", help="json: one object on stdout"
        )


def run(arguments: Namespace) -> int:
    """List or show."""
    from ci_runner.errors import ResultsError

    try:
        return int(arguments.history_action(arguments))
    except BrokenPipeError:
        raise  # nobody reads on; that is no fault of the history
    except OSError as error:
        raise ResultsError(
            f"the history cannot be read: {error.strerror or error}",
            where=str(error.filename or arguments.store or "stores.history"),
            fix="see that the store of [stores] history is there and can be read",
        ) from error


def positive(text: str) -> int:
    """A count of at least 1."""
    if not (text.isascii() and text.isdigit() and int(text)):
        raise ArgumentTypeError(f"{text!r} is not a count of at least 1")
    return int(text)


def since(text: str) -> datetime:
    """A date, a time or an age as a moment in UTC."""
    if text[:-1].isascii() and text[:-1].isdigit() and text[-1:] in UNITS:
        try:
            return datetime.now(UTC) - timedelta(seconds=int(text[:-1]) * UNITS[text[-1]])
        except OverflowError:
            raise ArgumentTypeError(f"{text!r} is before the first record of anything") from None
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise ArgumentTypeError(f"{text!r} is neither a date (2026-11-23) nor an age (12h, 7d, 4w)") from None
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)


def store_of(arguments: Namespace) -> Store:
    """The store that is named, configured or the usual one."""
    from pathlib import Path

    from ci_runner.history.store import open_store, usual_location

    if arguments.store:
        return open_store(arguments.store, Path())
    import os

    from ci_runner.config.load import load_settings

    settings = load_settings(Path.cwd(), environ=os.environ)
    return open_store(usual_location(settings.stores, os.environ), settings.root)


def list_records(arguments: Namespace) -> int:
    """Print the newest records."""
    from ci_runner.history.query import load_records

    problems: list[Problem] = []
    found = list(
        load_records(
            store_of(arguments),
            suite=arguments.suite,
            since=arguments.since,
            limit=arguments.limit,
            problems=problems,
        )
    )
    if arguments.format == "json":
        _print_json(found, problems)
        return 0
    for line in table(found):
        print(line)
    if not found:
        print("no records" + (" of this suite and time" if arguments.suite or arguments.since else " yet"))
    _tell(problems)
    return 0


def table(found: Sequence[Stored]) -> list[str]:
    """One line a record, in columns."""
    from ci_runner.github.commands import one_line
    from ci_runner.report import words

    rows = []
    for stored in found:
        record = stored.record
        numbers = ", ".join(
            f"{words.number(value)} {name}"
            for name, value in record.results.items()
            if value or name == "passed"
        )
        rows.append(
            (
                one_line(record.timestamp[:16].replace("T", " ")),
                one_line(record.run_id, 24),
                one_line(record.selection or record.test_suite, 32),
                one_line(record.platform, 12),
                one_line(record.verdict or "", 12),
                words.duration(record.duration_seconds),
                words.money(record.cost_usd) if record.cost_usd else "",
                one_line(numbers, 120),
            )
        )
    widths = [max((len(row[i]) for row in rows), default=0) for i in range(8)]
    return [
        "  ".join(f"{word:{width}}" for word, width in zip(row, widths, strict=True) if width).rstrip()
        for row in rows
    ]


def show_run(arguments: Namespace) -> int:
    """Print everything that is known of one run."""
    from ci_runner.history.query import records_of_run

    store = store_of(arguments)
    problems: list[Problem] = []
    found = records_of_run(store, arguments.run, problems)
    if not found and not problems:
        _unknown(store, arguments.run)
    if arguments.format == "json":
        _print_json(found, problems)
        return 0 if found else 9
    for stored in found:
        print("\n".join(describe(stored)))
    _tell(problems)
    return 0 if found else 9


def describe(stored: Stored) -> list[str]:
    """A record as lines of name and value; what is empty is left out."""
    import json

    from ci_runner import codec
    from ci_runner.github.commands import one_line

    lines = [one_line(stored.key)]
    for name, value in codec.plain(stored.record).items():
        if value in (None, "", [], {}) or name in ("attempt_details", "flag"):
            continue
        text = value if isinstance(value, str) else json.dumps(value)
        lines.append(f"  {name:18} {one_line(text, 400)}")
    for attempt in stored.record.attempt_details:
        words = (f"{name} {value}" for name, value in attempt.items() if name != "id" and value is not None)
        lines.append(f"  {'attempt':18} {one_line(', '.join(words), 400)}")
    return lines


def _unknown(store: Store, wanted: str) -> None:
    import difflib

    from ci_runner.errors import UsageError
    from ci_runner.history.query import known_run_ids

    known = known_run_ids(store)
    near = difflib.get_close_matches(wanted, known, n=3, cutoff=0.7)
    if near:
        fix = f"perhaps you meant: {', '.join(near)}"
    elif known:
        fix = f"the newest is {known[0]}; see them all with: ci-runner history list"
    else:
        fix = "the store is empty: run something first with: ci-runner run"
    raise UsageError("no record of this run", where=wanted, fix=fix)


def _print_json(found: Sequence[Stored], problems: Sequence[Problem]) -> None:
    import json

    from ci_runner import codec

    records = [{"key": stored.key, **codec.plain(stored.record)} for stored in found]
    print(json.dumps({"records": records, "problems": codec.plain(problems)}, indent=2))


def _tell(problems: Sequence[Problem]) -> None:
    import sys

    from ci_runner.github.commands import one_line

    for problem in problems:
        print(one_line(f"ci-runner: warning: {problem.text} ({problem.file})"), file=sys.stderr)
