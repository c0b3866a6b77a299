"""What `run` (and `ab`) do between the command line and the spine: settings, plan, session, publishing."""

from __future__ import annotations

import dataclasses
import getpass
import importlib
import json
import os
import sys
from argparse import Namespace
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from pathlib import Path, PurePosixPath
from threading import Thread
from typing import TYPE_CHECKING, TextIO

from ci_runner import errors
from ci_runner.cli import adhoc, trusting
from ci_runner.cli.remembered import with_runners, with_shards
from ci_runner.config.kept import settings_at
from ci_runner.config.places import TEAM_FILE
from ci_runner.config.settings import Settings
from ci_runner.errors import UsageError
from ci_runner.execution.clock import HERE
from ci_runner.execution.folder import RunFolder, default_folder, new_run_id
from ci_runner.execution.run import OneAtATime, in_ci
from ci_runner.execution.session import Session
from ci_runner.github.commands import one_line
from ci_runner.github.event import find_event
from ci_runner.model import Event, Plan, Runner, RunResult, Selection, Shard, Suite
from ci_runner.plan.select import select
from ci_runner.providers.base import Source
from ci_runner.providers.git import head_commit
from ci_runner.providers.registry import provider_named

if TYPE_CHECKING:
    from ci_runner.providers.book import Book

LONGEST_SHARD = 20  # characters of I/N; beyond that no number is meant


def settings_of(config: str | None, test_paths: Sequence[str]) -> Settings:
    """The configuration; without a file, the suites that the repository seems to have."""
    settings = settings_at(Path.cwd(), environ=os.environ, config_file=Path(config) if config else None)
    if test_paths:
        suite = Suite(name="test-path", title="--test-path", tests=tuple(test_paths))
        return dataclasses.replace(settings, suites={suite.name: suite}).named(config)
    if not settings.suites:
        from ci_runner.config.detect import unconfigured_suites

        found = unconfigured_suites(settings.root)
        if not found:
            there = (settings.root / TEAM_FILE).is_file()
            raise UsageError(
                f"{'no suite in' if there else 'no'} {TEAM_FILE} here, and nothing that looks like tests",
                where=str(settings.root),
                fix="name a folder with --test-path, or "
                + ("write [suites.NAME] into it" if there else "write a configuration with: ci-runner init"),
            )
        what = ", ".join(
            f"pytest on {' '.join(s.tests)}" if s.tests else str(s.command) for s in found.values()
        )
        print(
            f"no {TEAM_FILE} here: running {one_line(what)} (write one with: ci-runner init)", file=sys.stderr
        )
        settings = dataclasses.replace(settings, suites=found)
    return settings.named(config)


def event_of(
    settings: Settings, *, event: str | None, event_name: str | None, changed_files: str | None
) -> Event:
    """The event that the run answers to: the one named, GitHub's own, or the person at the keyboard."""
    if event_name and not event and not in_ci(os.environ):
        raise UsageError("--event-name says what a file holds, and no file is named", fix="add --event FILE")
    return find_event(
        settings.root,
        os.environ if in_ci(os.environ) else {},
        file=Path(event) if event else None,
        name=event_name,
        changed_files=Path(changed_files) if changed_files else None,
        default_branch=settings.default_branch,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """What to run, and all shards of the suites that other machines run the rest of."""

    settings: Settings
    plan: Plan
    shards: Mapping[str, tuple[Shard, ...]] = field(default_factory=dict)
    machine: str | None = None  # instead of the suites' own


def chosen_by(arguments: Namespace) -> Chosen:
    """Settings and the plan of what to run: made here, or the part of a saved one."""
    settings, machine = adhoc.with_machine(settings_of(arguments.config, arguments.test_path), arguments)
    check_machine(settings, machine)
    if arguments.plan:
        return dataclasses.replace(_saved(arguments, settings), machine=machine)
    if arguments.id:
        raise UsageError("--id names a part of a saved plan", fix="add --plan FILE")
    names = ["test-path"] if arguments.test_path else arguments.suites
    if arguments.only and len(names) != 1 and len(settings.suites) != 1:
        raise UsageError(
            "--only needs to know the suite of the test",
            fix=f"name one suite: {', '.join(sorted(settings.suites))}",
        )
    event = event_of(
        settings,
        event=arguments.event,
        event_name=arguments.event_name,
        changed_files=arguments.changed_files,
    )

    def made(event: Event) -> Plan:
        return select(event, settings, names=names, everything=arguments.all, machine=machine)

    plan = trusting.trusted_plan(event, settings, os.environ, made)
    trusting.check_skips(plan, asked=bool(names or arguments.all))
    plan = with_runners(plan, settings, os.environ, action_input=arguments.use_python_test_runner)
    plan = (
        _part(plan, *parse_shard(arguments.shard))
        if arguments.shard
        else with_shards(plan, settings, os.environ)
    )
    return Chosen(settings=settings, plan=plan, shards=shards_of(plan), machine=machine)


def check_machine(settings: Settings, machine: str | None) -> None:
    """Raises UsageError for a machine that the configuration does not have."""
    if machine is not None and machine not in settings.machines:
        raise UsageError(
            f'no machine is called "{one_line(machine, 80)}"',
            fix=f"choose one of: {', '.join(sorted(settings.machines))}",
        )


def _saved(arguments: Namespace, settings: Settings) -> Chosen:
    """The plan of `plan --save-plan`, or the selections of it that are named; nothing is decided again."""
    decided = (
        "suites",
        "all",
        "test_path",
        "shard",
        "event",
        "event_name",
        "changed_files",
        "use_python_test_runner",
    )
    if again := [name for name in decided if getattr(arguments, name)]:
        what = "SUITE" if again[0] == "suites" else f"--{again[0].replace('_', '-')}"
        raise UsageError(
            f"--plan has decided what runs, and {what} decides it again",
            fix="leave one of them away; --id names a part of the plan",
        )
    path = Path(arguments.plan)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = (error.strerror if isinstance(error, OSError) else None) or "it is no text"
        raise UsageError(
            f"cannot read the plan: {why}",
            where=str(path),
            fix="save one with: ci-runner plan --save-plan FILE",
        ) from error
    from ci_runner.plan.matrix import part_of, read_plan

    plan = read_plan(text, str(path))
    # The file may have come through an artifact: who may spend is decided again, from this job's own event.
    plan = dataclasses.replace(plan, event=dataclasses.replace(plan.event, trust=None))
    for item in plan.selected:
        if item.suite.machine not in settings.machines:
            raise UsageError(
                f'the plan needs machine "{one_line(item.suite.machine, 80)}", which the configuration does not have',
                where=str(path),
                fix="use the configuration that the plan was made with",
            )
    ids = [name for given in arguments.id for name in given.split()]
    return Chosen(settings=settings, plan=part_of(plan, ids) if ids else plan, shards=shards_of(plan))


def shards_of(plan: Plan) -> dict[str, tuple[Shard, ...]]:
    """All shards of each split suite of a plan."""
    found: dict[str, tuple[Shard, ...]] = {}
    for item in plan.selected:
        if item.shard is not None:
            found[item.suite.name] = (*found.get(item.suite.name, ()), item.shard)
    return found


def _part(plan: Plan, index: int, total: int) -> Plan:
    """The plan with one shard of each suite, as --shard asks for."""
    for item in plan.selected:
        if item.suite.command is not None and total > 1:
            raise UsageError(
                f'"{item.suite.name}" is one command and cannot be split',
                fix="leave --shard away, or name other suites",
            )
    shard = Shard(index=index, total=total)
    selected = [dataclasses.replace(item, shard=shard) if total > 1 else item for item in plan.selected]
    return dataclasses.replace(plan, selected=tuple(selected))


def parse_shard(text: str) -> tuple[int, int]:
    """`2/4` as (2, 4). Raises UsageError for anything else."""
    index, slash, total = text.partition("/")
    if (
        slash
        and len(text) <= LONGEST_SHARD
        and index.isascii()
        and total.isascii()
        and index.isdigit()
        and total.isdigit()
    ):
        first, last = int(index), int(total)
        if 1 <= first <= last:
            return first, last
    raise UsageError(
        f"--shard {text!r} is not a part of a whole", fix="write it as I/N with 1 ≤ I ≤ N, such as 2/4"
    )


def session_of(
    settings: Settings,
    stream: TextIO,
    *,
    out: Path | None = None,
    machine: str | None = None,
    runner: Runner | None = None,
    only: Sequence[str] = (),
    clean: bool = False,
    live: bool = False,
    shards: Mapping[str, tuple[Shard, ...]] | None = None,
    commit: str | None = None,
) -> Session:
    """Everything that attempts share; `commit` is the one to run if it is not the one that is checked out."""
    from ci_runner.report.terminal import TerminalListener

    check_machine(settings, machine)
    now = HERE()
    run_id = new_run_id(now)
    listener = TerminalListener(stream, color=None, live_output=live, environ=os.environ, clock=HERE)
    return Session(
        run_id=run_id,
        folder=RunFolder(out.absolute() if out else default_folder(settings.root, run_id)),
        settings=settings,
        listener=OneAtATime(listener),
        source=Source(
            root=str(settings.root),
            commit=commit or head_commit(settings.root),
            with_changes=not clean and not in_ci(os.environ),
        ),
        provider_of=cache(lambda name: provider_named(name, os.environ)),
        developer=settings.developer or developer_of(os.environ),
        environ=os.environ,
        only=tuple(only),
        machine=machine,
        runner=runner,
        live_output=live,
        shards=shards or {},
        book=cache(lambda: book_of(settings)),
        when_busy=cache(load_meanwhile),
        repository=os.environ.get("GITHUB_REPOSITORY") or settings.name,
        today=datetime.fromtimestamp(now, UTC).date(),
        clock=HERE,
    )


def with_secrets(session: Session, plan: Plan) -> Session:
    """The session with the secrets of its suites, hidden from GitHub's log. Raises ConfigurationError and TrustError."""
    if not any(selection.suite.secrets for selection in plan.selected):
        return session
    from ci_runner.execution.secret_values import masks, secrets_of

    found = secrets_of(plan, session.environ)
    if session.environ.get("GITHUB_ACTIONS"):
        for line in masks(found.values()):
            print(line, file=sys.stderr)  # GitHub reads commands there too, and stdout may be one object
    return dataclasses.replace(session, secrets=found)


def with_caches(session: Session, plan: Plan) -> Session:
    """The session with the shelf of its caches; the store is opened when a machine first wants one."""
    if not any(selection.suite.caches for selection in plan.selected):
        return session
    from ci_runner.execution.caches import shelf_of
    from ci_runner.history.store import open_store

    settings = session.settings
    store = cache(lambda: open_store(settings.stores.get("caches"), settings.root, "caches"))
    shelf = shelf_of(plan, settings, session.repository, store, in_ci=in_ci(session.environ))
    if shelf is None:
        session.listener.note("code of a fork gets no caches")
    return dataclasses.replace(session, caches=shelf)


def book_of(settings: Settings) -> Book:
    """Where leases are written down: beside the records."""
    from ci_runner.history.store import open_store
    from ci_runner.providers.book import Book

    return Book(open_store(settings.stores.get("history"), settings.root))


def check_upload(settings: Settings) -> None:
    """Raise UsageError if records would be kept on this disk alone: every run publishes to [stores] history.

    Raises ConfigurationError or AuthenticationError if the bucket's library, location or credentials are not there.
    """
    location = settings.stores.get("history")
    if location is None or "://" not in location or location.startswith("file:"):
        raise UsageError(
            "--upload-results has nowhere to upload to",
            where=f"stores.history = {location!r}" if location else "stores.history is not set",
            fix="set CI_RUNNER_STORES__HISTORY=s3://BUCKET/PREFIX or gs://BUCKET/PREFIX",
        )
    from ci_runner.history.store import open_store

    open_store(location, settings.root)  # what lacks for it is told before the run, not after


def developer_of(environ: Mapping[str, str]) -> str:
    """Who started this, for the record: GitHub's actor, else the login name."""
    if environ.get("GITHUB_ACTOR"):
        return environ["GITHUB_ACTOR"]
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user may have no name
        return str(os.getuid())


def load_meanwhile() -> None:
    """Load what publishing needs while the suites run; before the first of them it would only delay it."""
    Thread(target=load_publishers, name="load-publishers", daemon=True).start()


def load_publishers() -> None:
    """Import what `publish` will need and compile its templates; a fault shows again, and is told, when it is used."""
    with suppress(ImportError, OSError):
        importlib.import_module("ci_runner.results.verdict")
        importlib.import_module("ci_runner.results.writer")
        importlib.import_module("ci_runner.history.record")
        importlib.import_module("ci_runner.history.store")
        importlib.import_module("ci_runner.report.page").page_template()


def publish(session: Session, result: RunResult) -> RunResult:
    """Write the run's files and its record, tell the listener, and return the result as published."""
    from ci_runner.report.files import publish_files

    result = publish_files(result, session.folder.path, settings=session.settings, environ=session.environ)
    session.listener.finished(result, session.folder.path)
    return result


def dry_run_text(plan: Plan, form: str) -> str:
    """What would run: one line a selection, `docs_test → DocsTestSuite: test_docs, test_tutorials`."""
    if form == "json":
        from ci_runner import codec

        return codec.dumps(plan).rstrip("\n")
    if not plan.selected:
        return "nothing would run (ci-runner plan --explain says why)"
    return "\n".join(dry_run_line(selection) for selection in plan.selected)


def dry_run_line(selection: Selection) -> str:
    """One selection in words."""
    suite = selection.suite
    what = ", ".join(short_test(test) for test in suite.tests) if suite.tests else str(suite.command)
    part = f" (shard {selection.shard.index} of {selection.shard.total})" if selection.shard else ""
    return f"{suite.name} → {suite.title}: {what}{part}"


def short_test(test: str) -> str:
    """`test_docs` for `tests/test_docs.py`; folders and single tests stay as they are."""
    return PurePosixPath(test).stem if test.endswith(".py") else test


def exit_of_empty(plan: Plan) -> int:
    """An empty plan is green only if the configuration says that nothing was due."""
    return errors.OK if plan.selected or plan.nothing_due else errors.USAGE


def json_text(result: RunResult) -> str:
    """The one object on stdout with --format json."""
    from ci_runner.report.files import results_json

    return json.dumps(results_json(result), ensure_ascii=False, indent=2)
