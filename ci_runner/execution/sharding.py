"""Which tests a shard holds when the plan could not say: collect on the machine, then split what is there."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from ci_runner.errors import ResultsError
from ci_runner.execution.attempt import run_attempt
from ci_runner.model import Runner, Selection
from ci_runner.plan import shard as planning

if TYPE_CHECKING:
    from ci_runner.execution.prepare import Prepared
    from ci_runner.execution.session import Session


def is_split(selection: Selection) -> bool:
    """Whether this is one part of several."""
    return selection.shard is not None and selection.shard.total > 1


def tests_of_shard(
    session: Session, prepared: Prepared, selection: Selection, *, lease_id: str
) -> tuple[str, ...] | None:
    """The node ids of this shard; None if the suite is one piece.

    A plan made from history knows neither new tests nor removed ones, so the machine is always asked what there is.
    """
    shard = selection.shard
    if shard is None or not is_split(selection):
        return None
    collected = _collect_only(session, prepared, selection, lease_id=lease_id)
    if shard.tests is not None:
        planned = session.shards.get(selection.suite.name, (shard,))
        return tuple(planning.tests_of_shard(collected, shard, planned))
    # no plan, no durations: other machines split the same tests and know nothing of the history seen here
    return tuple(planning.split_collected(collected, shard.index, shard.total))


def _collect_only(
    session: Session, prepared: Prepared, selection: Selection, *, lease_id: str
) -> tuple[str, ...]:
    suite = dataclasses.replace(
        selection.suite, pytest_args=(*selection.suite.pytest_args, "--collect-only", "-q"), workers=None
    )
    tried = run_attempt(
        session,
        prepared,
        dataclasses.replace(selection, suite=suite),
        lease_id=lease_id,
        number=0,
        kind="collect",
        runner=Runner.PYTHON,
        only=None,
        setup=True,
    )
    from ci_runner.results.sidecar import read_sidecar

    tests = read_sidecar(session.folder.path / tried.attempt.folder / "sidecar.jsonl").collected
    if not tests:
        raise tried.error or ResultsError(
            f'the tests of "{suite.name}" could not be listed, so they cannot be split',
            where=tried.attempt.log,
            fix="read the log; a suite that is split must collect without errors",
        )
    return tests
