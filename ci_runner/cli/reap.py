"""`ci-runner reap`: find machines that outlived their lease, and end them; with --all, everything of ours at once."""

from __future__ import annotations

import time
from argparse import ArgumentParser, Namespace
from typing import TYPE_CHECKING, Any

from ci_runner.cli import clouds

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from ci_runner.config.settings import Settings
    from ci_runner.model import Lease
    from ci_runner.providers.reaper import Reaped

EXAMPLE = "ci-runner reap --dry-run --format json"


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the arguments of `reap`."""
    parser.add_argument(
        "--dry-run", action="store_true", help="say what would be marked or deleted; change nothing"
    )
    parser.add_argument(
        "--all",
        action="store_true",
        help="the emergency stop: every machine of ours, expired or not, at once (needs --yes)",
    )
    parser.add_argument("--yes", action="store_true", help="yes, delete machines that are in use")
    parser.add_argument("--team", metavar="X", help="only machines of this team")
    clouds.add_arguments(parser)
    parser.add_argument("--post-mortem", metavar="FILE", help="where --all writes down what it did")
    parser.add_argument(
        "--format", choices=("text", "json"), default="text", help="json: one object on stdout"
    )


def run(arguments: Namespace) -> int:
    """Visit every provider; 8 if something could not be deleted, 5 if a provider does not know us."""
    from ci_runner.errors import MACHINE, UsageError
    from ci_runner.providers.reaper import Result

    if arguments.all and not (arguments.yes or arguments.dry_run):
        raise UsageError(
            "--all deletes machines that are in use",
            fix="see which with: ci-runner reap --all --dry-run; then add --yes",
        )
    settings = clouds.settings_for(arguments)
    now = time.time()
    answer = clouds.ask(names(arguments, settings))
    reaped = visit(arguments, settings, answer, now)
    known = {lease.id for _, lease in answer.leases}
    listed = len(known | {each.lease.id for each in reaped})  # some only the book remembers
    file = None
    if arguments.all and not arguments.dry_run and reaped:
        file = write_post_mortem(arguments, settings, reaped, now)
    if arguments.format == "json":
        print(json_text(arguments, answer, reaped, listed, now, file))
    else:
        print("\n".join(lines(arguments, answer, reaped, listed, now, file)))
    silent = answer.complain()
    return MACHINE if any(each.result is Result.FAILED for each in reaped) else silent


def names(arguments: Namespace, settings: Settings) -> list[str]:
    """The providers to visit: this machine cleans up after itself, so it is visited only if it is named.

    Without a configuration the emergency stop asks everybody. Raises UsageError if nobody is left to ask otherwise.
    """
    from ci_runner.errors import UsageError

    if arguments.provider:
        return clouds.names_for(settings, arguments.provider)
    found = [name for name in clouds.names_for(settings, ()) if name != clouds.LOCAL]
    if not found and not settings.fetched_from:
        if arguments.all:
            return [name for name in clouds.names_for(settings, ["all"]) if name != clouds.LOCAL]
        raise UsageError(
            "no configuration here says which providers to visit", fix="name one: --provider all"
        )
    return found


def visit(arguments: Namespace, settings: Settings, answer: clouds.Answer, now: float) -> list[Reaped]:
    """What the reaper does at each provider that answered, side by side."""
    from concurrent.futures import ThreadPoolExecutor

    from ci_runner.providers.reaper import Reaper

    book = clouds.book_of(settings)

    def one(asked: clouds.Asked) -> list[Reaped]:
        reaper = Reaper(asked.provider, now=now, book=book)
        found = [lease for lease in asked.leases if of_team(lease, arguments.team)]
        lost = reaper.forgotten(asked.leases, everything=arguments.all, dry_run=arguments.dry_run)
        found += [lease for lease in lost if of_team(lease, arguments.team)]
        return reaper.visit(found, everything=arguments.all, dry_run=arguments.dry_run)

    with ThreadPoolExecutor(max_workers=max(1, len(answer.asked))) as pool:
        return [each for part in pool.map(one, answer.asked) for each in part]


def of_team(lease: Lease, team: str | None) -> bool:
    """Whether a machine belongs to a team; labels hold names in the form that clouds take."""
    from ci_runner.providers.identity import label_value

    return team is None or label_value(lease.labels.get("team", "")) == label_value(team)


def lines(
    arguments: Namespace,
    answer: clouds.Answer,
    reaped: Sequence[Reaped],
    listed: int,
    now: float,
    file: Path | None,
) -> list[str]:
    """One line a machine that was not kept, and what it came to."""
    if not answer.asked:
        silent = (
            "no provider answered"
            if answer.unreachable
            else "this configuration leases no machine in a cloud"
        )
        return [f"nothing was looked at: {silent}"]
    if not reaped:
        return [f"nothing to do: {_machines(listed)} of ours, none past its time"]
    told = clouds.table([row(each, now) for each in reaped])
    told.append(summary(reaped, listed, now, dry_run=arguments.dry_run))
    if file is not None:
        told.append(f"written down in {file}")
    return told


def row(each: Reaped, now: float) -> tuple[str, ...]:
    """One machine as cells."""
    from ci_runner.github.commands import one_line
    from ci_runner.report import words

    lease = each.lease
    price = "price unknown" if each.price_per_hour is None else f"{words.money(each.price_per_hour)}/h"
    return (
        one_line(lease.id),
        lease.machine.provider,
        clouds.kind_text(lease),
        one_line(lease.zone or "", 40),
        one_line(lease.owner, 24),
        clouds.until(lease, now),
        price,
        what_became(each),
    )


def what_became(each: Reaped) -> str:
    """`deleted`, `would be marked`, `not deleted: …`."""
    from ci_runner.github.commands import one_line
    from ci_runner.providers.reaper import Result, Step

    done = "deleted" if each.step is Step.DELETE else "marked"
    match each.result:
        case Result.WOULD:
            return f"would be {done}"
        case Result.GOING:
            return "being deleted"
        case Result.FAILED:
            return f"not {done}: {one_line(each.error or '', 200)}"
        case Result.DONE:
            return done


def summary(reaped: Sequence[Reaped], listed: int, now: float, *, dry_run: bool) -> str:
    """The last line: how many, and the money."""
    from ci_runner.providers.reaper import Result, Step, overspent, saved_per_hour
    from ci_runner.report import words

    if dry_run:
        counts = [
            f"{sum(each.step is step for each in reaped)} to {step}" for step in (Step.DELETE, Step.MARK)
        ]
        return f"{_machines(listed)} of ours: {', '.join(counts)}; nothing was changed"
    ended = [each for each in reaped if each.ended]
    parts = [f"{len(ended)} deleted"]
    marked = sum(each.step is Step.MARK and each.result is Result.DONE for each in reaped)
    parts += [f"{marked} marked for the next visit"] if marked else []
    failed = sum(each.result is Result.FAILED for each in reaped)
    parts += [f"{failed} failed"] if failed else []
    text = f"{_machines(listed)} of ours: {', '.join(parts)}"
    saved = saved_per_hour(reaped)
    if saved:
        text += f"; saves {words.money(saved)} an hour, {words.money(24 * saved)} a day"
    late = overspent(ended, now)
    return text + (f"; {words.money(late)} had been spent past their time" if late else "")


def _machines(count: int) -> str:
    from ci_runner.report import words

    return words.plural(count, "machine")


def json_text(
    arguments: Namespace,
    answer: clouds.Answer,
    reaped: Sequence[Reaped],
    listed: int,
    now: float,
    file: Path | None,
) -> str:
    """The same as one object: every machine that is not kept, and nothing else in `machines`."""
    import json

    from ci_runner.providers.reaper import Result, Step, overspent, saved_per_hour

    ended = [each for each in reaped if each.ended]
    saved = saved_per_hour(reaped)
    value: dict[str, Any] = {
        "dry_run": arguments.dry_run,
        "all": arguments.all,
        "listed": listed,
        "kept": listed - len(reaped),
        "marked": sum(each.step is Step.MARK and each.result is Result.DONE for each in reaped),
        "deleted": len(ended),
        "failed": sum(each.result is Result.FAILED for each in reaped),
        "saved_per_hour_usd": round(saved, 6),
        "saved_per_day_usd": round(24 * saved, 6),
        "overspent_usd": round(overspent(ended, now), 6),
        "machines": [plain(each, now) for each in reaped],
        "unreachable": answer.plain(),
        "post_mortem": str(file) if file else None,
    }
    return json.dumps(value, ensure_ascii=False, indent=2)


def plain(each: Reaped, now: float) -> dict[str, Any]:
    """One machine for JSON."""
    from ci_runner.providers.identity import marked_at
    from ci_runner.report.words import moment

    lease, marked = each.lease, marked_at(each.lease)
    return {
        "lease_id": lease.id,
        "provider": lease.machine.provider,
        "type": lease.machine.type,
        "zone": lease.zone,
        "spot": lease.spot,
        "state": lease.state.value,
        "owner": lease.owner,
        "team": lease.labels.get("team", ""),
        "run_id": lease.run_id,
        "suite": lease.suite,
        "created_at": moment(lease.created_at),
        "expires_at": moment(lease.expires_at),
        "marked_at": moment(marked) if marked is not None else None,
        "overdue_seconds": round(max(0.0, now - lease.expires_at), 1),
        "price_per_hour_usd": each.price_per_hour,
        "step": each.step.value,
        "result": each.result.value,
        "error": each.error,
    }


def write_post_mortem(
    arguments: Namespace, settings: Settings, reaped: Sequence[Reaped], now: float
) -> Path | None:
    """The file that an emergency stop leaves: what was ended, what it had cost, and the questions to answer.

    Losing it is no reason to call the stop failed: then the table on the screen is all there is.
    """
    import sys
    from datetime import UTC, datetime
    from pathlib import Path

    from ci_runner.execution.folder import hidden_home, write_atomically

    try:
        if arguments.post_mortem:
            path = Path(arguments.post_mortem)
        else:
            name = f"{datetime.fromtimestamp(now, UTC):%Y%m%d-%H%M%S}.md"
            path = hidden_home(settings.root) / "post-mortems" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, post_mortem(reaped, now, arguments.team).encode())
    except OSError as error:
        print(f"ci-runner: warning: no post-mortem was written: {error}", file=sys.stderr)
        return None
    return path


def post_mortem(reaped: Sequence[Reaped], now: float, team: str | None) -> str:
    """The text of that file."""
    import os

    from ci_runner.cli.running import developer_of
    from ci_runner.providers.prices import cost
    from ci_runner.report import words
    from ci_runner.report.markdown import cell, text

    who = f"by {developer_of(os.environ)}" + (f", machines of team {team}" if team else "")
    rows = []
    for each in reaped:
        lease = each.lease
        spent = (
            "unknown"
            if each.price_per_hour is None
            else words.money(cost(each.price_per_hour, now - lease.created_at))
        )
        cells = (
            lease.id,
            lease.machine.provider,
            clouds.kind_text(lease),
            lease.zone or "",
            lease.owner,
            lease.run_id,
            lease.suite,
            words.moment(lease.created_at),
            clouds.until(lease, now),
            spent,
            what_became(each),
        )
        rows.append(f"| {' | '.join([cell(cells[0]), *map(text, cells[1:])])} |")
    return "\n".join(
        [
            f"# Emergency stop, {words.moment(now)}",
            "",
            f"`ci-runner reap --all --yes`, {text(who)}.",
            "",
            summary(reaped, len(reaped), now, dry_run=False) + ".",
            "",
            "| lease | provider | type | zone | owner | run | suite | created | expiry | spent | what became of it |",
            "|---|---|---|---|---|---|---|---|---|---|---|",
            *rows,
            "",
            "## What happened",
            "",
            "## Why these machines were not given back by themselves",
            "",
            "The ladder has five rungs: expiry in the machine, the run's own release, the guard, the clean-up job, the",
            "reaper. Which of them did not hold, and how is that seen next time?",
            "",
            "## What changes",
            "",
        ]
    )
