"""The spine: a plan becomes leases, attempts, cases, a verdict, and the files of the run folder."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from threading import Lock
from typing import TYPE_CHECKING, Any

from ci_runner import errors
from ci_runner.execution.leasing import machine_of
from ci_runner.execution.schedule import Capacity, next_to_start
from ci_runner.execution.selection import run_selection
from ci_runner.execution.session import Session, Signals
from ci_runner.model import Plan, RunResult, Selection, SuiteResult, Verdict
from ci_runner.results.whole import cost_of, total, verdict_of_run, worst

if TYPE_CHECKING:
    from ci_runner.execution.listener import Listener

TICK_SECONDS = 0.2
LEASES_AT_ONCE = 16  # each costs the runner a few processes and connections


def execute(session: Session, plan: Plan) -> RunResult:
    """Run every selection of the plan, side by side where their needs fit, and judge the whole."""
    started = session.clock()
    session.folder.create()
    session.folder.write_plan(plan)
    session.listener.planned(session.run_id, plan, session.folder.path)
    with Signals(session.cancellation):
        suites = _run_all(session, plan.selected)
    return conclude(session, plan, suites, started=started, ended=session.clock())


def conclude(
    session: Session, plan: Plan, suites: Sequence[SuiteResult], *, started: float, ended: float
) -> RunResult:
    """The run's verdict from its suites'."""
    exit_code = worst(result.exit_code for result in suites)
    if session.cancellation.requested:
        exit_code = errors.CANCELLED
    verdict = verdict_of_run(suites, plan, exit_code)
    if not suites and verdict is not Verdict.PASSED:
        exit_code = exit_code or errors.INCOMPLETE
    notes = list(plan.notes)
    notes += dict.fromkeys(note for result in suites for lease in result.leases for note in lease.notes)
    return RunResult(
        run_id=session.run_id,
        plan=plan,
        suites=tuple(suites),
        verdict=verdict,
        counts=total(result.counts for result in suites),
        started_at=started,
        ended_at=ended,
        developer=session.developer,
        exit_code=exit_code,
        findings=tuple(finding for result in suites for finding in result.findings),
        notes=tuple(notes),
        cost_usd=sum(cost_of(result) for result in suites),
    )


def _run_all(session: Session, selections: Sequence[Selection]) -> list[SuiteResult]:
    """Run selections in plan order, several at once where they fit; results come back in plan order."""
    waiting = list(selections)
    running: dict[Future[SuiteResult], Selection] = {}
    done: dict[str, SuiteResult] = {}
    with ThreadPoolExecutor(max_workers=max(1, len(waiting)), thread_name_prefix="suite") as pool:
        while waiting or running:
            while (chosen := _next(session, waiting, list(running.values()))) is not None:
                waiting.remove(chosen)
                running[pool.submit(run_selection, session, chosen)] = chosen
            finished, _ = wait(running, timeout=TICK_SECONDS, return_when=FIRST_COMPLETED)
            for future in finished:
                done[running.pop(future).id] = future.result()
    return [done[selection.id] for selection in selections]


def _next(session: Session, waiting: Sequence[Selection], running: Sequence[Selection]) -> Selection | None:
    """What may start now: on a machine of its own at once, and here if it fits beside what runs here."""

    def is_here(selection: Selection) -> bool:
        return machine_of(session, selection).provider == "local"

    elsewhere = sum(not is_here(selection) for selection in running)
    away = next((selection for selection in waiting if not is_here(selection)), None)
    if away is not None and elsewhere < LEASES_AT_ONCE:
        return away
    here = [selection for selection in waiting if is_here(selection)]
    if not here:
        return None
    machine = machine_of(session, here[0])
    capacity = Capacity(cpus=machine.cpus or os.cpu_count() or 1, memory_mb=machine.memory_mb)
    return next_to_start(here, [selection for selection in running if is_here(selection)], capacity)


class OneAtATime:
    """A listener that lets one thread speak at a time."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._lock = Lock()

    def __getattr__(self, name: str) -> Callable[..., None]:
        method: Callable[..., None] = getattr(self._listener, name)

        def speak(*args: Any, **kwargs: Any) -> None:
            with self._lock:
                method(*args, **kwargs)

        return speak


def in_ci(environ: Mapping[str, str]) -> bool:
    """Whether this is a CI system, where nobody's uncommitted changes are wanted."""
    return environ.get("CI", "").lower() in ("1", "true", "yes") or "GITHUB_ACTIONS" in environ
