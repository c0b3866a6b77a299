"""How well the python runner does, from history: rates and ratios with bounds, and what is not yet known. Pure."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from ci_runner.checks.stats import Interval, compare_strata, mean, rate, runs_that_settle
from ci_runner.config.settings import Settings
from ci_runner.errors import INCOMPLETE, OK, TESTS_FAILED
from ci_runner.history.record import Record
from ci_runner.model import AttemptState, Runner
from ci_runner.plan.flags import DEFAULT_FLAG, flags_of

SETTLED = (OK, TESTS_FAILED)  # the run knows what became of its tests
FORCED = ("command-line", "ab")  # a person or a comparison chose the runner, not the flag
MEGABYTE = 1e6


@dataclass(frozen=True, slots=True, kw_only=True)
class Kpi:
    """One figure: its value, bounds and number of runs, and how it stands to its target.

    `status` is met, missed, unclear (too few runs; `runs_needed` would do) or shown (there is no target).
    `unit` is rate, ratio, cores or MB.
    """

    name: str
    title: str
    unit: str
    interval: Interval | None
    n: int
    target: str
    status: str
    runs_needed: int | None = None
    text: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Feedback:
    """What people thought of one comment of ours, as counted last."""

    comment: str
    up: int
    down: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What a figure should be: under or over a limit, or within a margin of 1."""

    above: float | None = None
    below: float | None = None
    within: float | None = None

    def __str__(self) -> str:
        if self.within is not None:
            return f"within ±{self.within:.0%}"
        return f"over {self.above:.1%}" if self.above is not None else f"under {self.below or 0:.1%}"


TARGETS: dict[str, Target] = {
    "success-rate": Target(above=0.995),
    "fallback-rate": Target(below=0.02),
    "error-rate": Target(below=0.001),
    "time-ratio": Target(within=0.10),
    "memory-ratio": Target(within=0.15),
}


def flag_name(record: Record, settings: Settings) -> str:
    """The flag that governs a record's suite today; for a suite that is gone the one that decided then."""
    suite = settings.suites.get(record.test_suite)
    if suite is not None:
        return next((flag.name for flag in flags_of(suite, settings)), DEFAULT_FLAG)
    return str((record.flag or {}).get("flag") or DEFAULT_FLAG)


def was_forced(record: Record) -> bool:
    """Whether somebody chose the runner of this run by hand, as a comparison does."""
    return str((record.flag or {}).get("reason")) in FORCED


def started_python(record: Record) -> bool:
    """Whether the python runner was tried."""
    if record.fallback_reason:
        return True
    if record.attempt_details:
        return any(
            item.get("runner") == Runner.PYTHON and item.get("kind") != "collect"
            for item in record.attempt_details
        )
    return record.runner == Runner.PYTHON


def broke(record: Record) -> bool:
    """Whether the python runner itself broke, rescued or not."""
    return bool(record.fallback_reason) or any(
        item.get("runner") == Runner.PYTHON and item.get("state") == AttemptState.RUNNER_FAILED
        for item in record.attempt_details
    )


def counts_for_runner(record: Record) -> bool:
    """Whether a run says something of the python runner: it ended by itself, or the runner broke.

    Cancelled runs, missing machines, refused money and failed setup commands are nobody's success and nobody's failure.
    """
    return started_python(record) and (record.exit_code in (*SETTLED, INCOMPLETE) or broke(record))


def succeeded(record: Record) -> bool:
    """Whether the python runner brought results to the end by itself; failing tests are results."""
    return record.exit_code in SETTLED and not broke(record)


def erred(record: Record) -> bool:
    """Whether the python runner broke and nothing made up for it."""
    return broke(record) and not (record.fallback_reason and record.exit_code in SETTLED)


def measure(records: Sequence[Record], settings: Settings, feedback: Sequence[Feedback] = ()) -> list[Kpi]:
    """Every figure over these records, in the order of the report."""
    return [
        *reliability(records),
        *performance(records),
        *utilisation(records, settings),
        *adoption(records, settings),
        opinion(feedback),
    ]


def reliability(records: Sequence[Record]) -> list[Kpi]:
    """Success, fallback and error rate of the runs that the python runner began."""
    runs = [record for record in records if counts_for_runner(record)]
    tests: dict[str, int] = defaultdict(int)
    for record in runs:
        for name in ("passed", "failed", "errored"):
            tests[name] += int(record.results.get(name, 0))
    return [
        _rate("success-rate", "runs brought to the end", runs, succeeded),
        _rate("fallback-rate", "runs that fell back", runs, lambda record: bool(record.fallback_reason)),
        _rate("error-rate", "runs lost to the runner", runs, erred),
        _shown("tests-passed", "tests that passed", tests["passed"], sum(tests.values()), "tests"),
    ]


def _rate(name: str, title: str, runs: Sequence[Record], hit: Callable[[Record], bool]) -> Kpi:
    target = TARGETS[name]
    hits = sum(hit(record) for record in runs)
    found = rate(hits, len(runs))
    # A target over a limit is the same as one under the rest for what did not happen.
    bad = len(runs) - hits if target.above is not None else hits
    limit = 1 - target.above if target.above is not None else target.below or 0.0
    status = status_of(found, target)
    needed = runs_that_settle(limit, bad, len(runs)) if status == "unclear" else None
    return Kpi(
        name=name,
        title=title,
        unit="rate",
        interval=found,
        n=len(runs),
        target=str(target),
        status=status,
        runs_needed=needed,
        text=f"{hits} of {len(runs)}",
    )


def status_of(found: Interval | None, target: Target) -> str:
    """Met or missed only if the bounds say so."""
    if found is None:
        return "unclear"
    if target.within is not None:
        low, high = 1 - target.within, 1 + target.within
        if low <= found.low and found.high <= high:
            return "met"
        return "missed" if found.low > high or found.high < low else "unclear"
    limit = target.above if target.above is not None else target.below or 0.0
    over, under = ("met", "missed") if target.above is not None else ("missed", "met")
    return over if found.low > limit else under if found.high < limit else "unclear"


def _shown(name: str, title: str, events: int, n: int, of: str) -> Kpi:
    return Kpi(
        name=name,
        title=title,
        unit="rate",
        interval=rate(events, n),
        n=n,
        target="",
        status="shown",
        text=f"{events:,} of {n:,} {of}",
    )


def performance(records: Sequence[Record]) -> list[Kpi]:
    """Time and memory of the python runner against the shell runner, suite by suite on the same kind of machine."""
    return [
        _ratio("time-ratio", "time, python over shell", records, duration_of),
        _ratio("memory-ratio", "memory, python over shell", records, lambda record: record.peak_memory_bytes),
    ]


def duration_of(record: Record) -> float | None:
    """Seconds of the suite itself, without retries and listing of tests, where the attempts are known."""
    own = [
        float(item.get("duration_seconds") or 0.0)
        for item in record.attempt_details
        if item.get("kind") in ("suite", "resume")
    ]
    return (sum(own) if own else record.duration_seconds) or None


def _ratio(name: str, title: str, records: Sequence[Record], value: Callable[[Record], float | None]) -> Kpi:
    strata: dict[tuple[str, str, str], tuple[list[float], list[float]]] = defaultdict(lambda: ([], []))
    for record in records:
        amount = value(record)
        # Only green runs: a run that stops at its failures is no shorter for its runner.
        if (
            record.exit_code != OK
            or record.fallback_reason
            or not amount
            or record.runner not in list(Runner)
        ):
            continue
        arm = 0 if record.runner == Runner.PYTHON else 1
        key = (record.selection or record.test_suite, record.platform, record.instance_type)
        strata[key][arm].append(float(amount))
    found = compare_strata(list(strata.values()))
    target = TARGETS[name]
    both = {key[0] for key, (python, shell) in strata.items() if len(python) > 1 and len(shell) > 1}
    if found is None:
        text = "no suite has two green runs by each runner on one kind of machine"
    else:
        text = f"{len(both)} {'suite' if len(both) == 1 else 'suites'} with runs by both"
    return Kpi(
        name=name,
        title=title,
        unit="ratio",
        interval=found,
        n=int(found.n) if found else 0,
        target=str(target),
        status=status_of(found, target),
        text=text + ("" if found else "; ci-runner ab SUITE makes some"),
    )


def utilisation(records: Sequence[Record], settings: Settings) -> list[Kpi]:
    """How many cores and how much memory the runs of each runner kept busy, and how much of the machine that is."""
    found = []
    for runner in Runner:
        runs = [record for record in records if record.runner == runner and record.exit_code in SETTLED]
        cores = [
            (record, record.cpu_seconds / record.duration_seconds)
            for record in runs
            if record.cpu_seconds is not None and record.duration_seconds > 0
        ]
        memory = [
            (record, record.peak_memory_bytes / MEGABYTE) for record in runs if record.peak_memory_bytes
        ]
        found.append(_use(f"cpu-{runner}", f"cores busy, {runner}", "cores", cores, settings))
        found.append(_use(f"memory-{runner}", f"peak memory, {runner}", "MB", memory, settings))
    return found


def _use(name: str, title: str, unit: str, values: Sequence[tuple[Record, float]], settings: Settings) -> Kpi:
    shares = [
        amount / capacity
        for record, amount in values
        if (capacity := _capacity(record, settings, unit)) is not None and capacity > 0
    ]
    text = f"{fmean(shares):.0%} of the machine ({len(shares)} runs)" if shares else ""
    return Kpi(
        name=name,
        title=title,
        unit=unit,
        interval=mean([amount for _record, amount in values]),
        n=len(values),
        target="",
        status="shown",
        text=text,
    )


def _capacity(record: Record, settings: Settings, unit: str) -> float | None:
    suite = settings.suites.get(record.test_suite)
    machine = settings.machines.get(suite.machine) if suite else None
    if machine is None:
        return None
    return machine.cpus if unit == "cores" else machine.memory_mb


def adoption(records: Sequence[Record], settings: Settings) -> list[Kpi]:
    """Which part of the configurations and of the runs the flags give to the python runner."""
    chosen = [record for record in records if not was_forced(record) and record.runner in list(Runner)]
    latest: dict[str, Record] = {}
    for record in chosen:
        if settings.suites and record.test_suite not in settings.suites:
            continue
        seen = latest.get(record.test_suite)
        if seen is None or record.timestamp > seen.timestamp:
            latest[record.test_suite] = record
    suites = len(settings.suites) or len(latest)
    python = sum(started_python(record) for record in latest.values())
    runs = sum(started_python(record) for record in chosen)
    return [
        Kpi(
            name="suites-on-python",
            title="configurations on python",
            unit="rate",
            interval=Interval(python / suites, python / suites, python / suites, suites) if suites else None,
            n=suites,
            target="",
            status="shown",
            text=f"{python} of {suites} by their latest run, {suites - len(latest)} without a run",
        ),
        _shown("runs-on-python", "runs on python", runs, len(chosen), "runs"),
    ]


def opinion(feedback: Sequence[Feedback]) -> Kpi:
    """What developers think, by thumbs on our comments; each comment counts as it was counted last."""
    up, down = sum(item.up for item in feedback), sum(item.down for item in feedback)
    return _shown("thumbs-up", "thumbs up on comments", up, up + down, f"thumbs on {len(feedback)} comments")


def render(kpis: Sequence[Kpi]) -> str:
    """The figures as a table for a terminal."""
    rows = [("", "value", "95 % bounds", "runs", "target", "")]
    rows += [(kpi.title, *_cells(kpi), f"{kpi.n:,}", kpi.target, verdict_text(kpi)) for kpi in kpis]
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    lines = [
        "  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[5]]).rstrip()
        for row in rows
    ]
    return "\n".join(lines) + "\n"


def _cells(kpi: Kpi) -> tuple[str, str]:
    found = kpi.interval
    if found is None or math.isnan(found.estimate):
        return "unknown", ""
    form = FORMATS[kpi.unit]
    same = form(found.low) == form(found.high)
    return form(found.estimate), "" if same else f"{form(found.low)} to {form(found.high)}"


FORMATS: Mapping[str, Callable[[float], str]] = {
    "rate": lambda value: f"{value:.1%}" if 0.001 <= value <= 0.999 or value in (0, 1) else f"{value:.2%}",
    "ratio": "{:.3f}".format,
    "cores": "{:.2f}".format,
    "MB": "{:,.0f} MB".format,
}


def verdict_text(kpi: Kpi) -> str:
    """The status in words, with the number of runs it would take."""
    detail = f"; {kpi.text}" if kpi.text else ""
    if kpi.status == "shown":
        return kpi.text
    if kpi.status != "unclear":
        return f"{kpi.status}{detail}"
    if kpi.runs_needed is None:
        return f"too few runs{detail}"
    if kpi.runs_needed <= kpi.n:
        return f"too near the target to tell{detail}"
    return f"too few runs (needs {kpi.runs_needed:,}){detail}"
