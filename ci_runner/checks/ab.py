"""Python runner against shell runner: outcomes test by test, time and memory against what equal arms differ by. Pure."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from ci_runner.checks.stats import (
    MOST_RUNS,
    Difference,
    Interval,
    compare_logs,
    noise_floor,
    runs_for_equivalence,
)
from ci_runner.model import CaseResult, Outcome

TIME_MARGIN = 0.10
MEMORY_MARGIN = 0.15
FEWEST_RUNS = 2  # below that nothing is known about the noise
CHANCE = (
    0.01  # a test is called different, and not flaky, if chance explains its outcomes in under 1 of 100 cases
)
RUNS_FOR_OUTCOMES = 5  # an arm: 5 against 5 is the first that chance explains in under 1 of 100 cases


class Answer(StrEnum):
    """What a comparison came to."""

    EQUAL = "equal"
    DIFFERENT = "different"
    UNDECIDED = "not enough data"


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmRun:
    """One run of a suite by one runner."""

    outcomes: Mapping[str, Outcome]
    duration_seconds: float
    peak_memory_bytes: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class OutcomeDifference:
    """A test that the two runners do not agree on; `kind` is different, only-python, only-shell or flaky.

    `certain` is False for a test that may still turn out to be flaky with more runs.
    """

    test: str
    kind: str
    certain: bool
    python: Mapping[Outcome, int]
    shell: Mapping[Outcome, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """The comparison of one quantity; ratios are python over shell.

    `floor` is the largest ratio less one by which two equal arms of this size differ by chance in 19 of 20 tries.
    `runs_needed` is for each arm, and None if no number of runs up to 100,000 would do.
    """

    name: str
    margin: float
    answer: Answer
    ratio: Interval | None
    floor: float | None
    runs: tuple[int, int]
    runs_needed: int | None
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AbReport:
    """Both arms side by side."""

    suite: str
    python_runs: int
    shell_runs: int
    tests: int
    differences: tuple[OutcomeDifference, ...]
    outcomes: Answer
    time: Measure
    memory: Measure

    @property
    def answer(self) -> Answer:
        """Different if anything is, equal if everything is."""
        answers = (self.outcomes, self.time.answer, self.memory.answer)
        if Answer.DIFFERENT in answers:
            return Answer.DIFFERENT
        return Answer.EQUAL if set(answers) == {Answer.EQUAL} else Answer.UNDECIDED


def arm_run(cases: Iterable[CaseResult], *, duration_seconds: float, peak_memory_bytes: int | None) -> ArmRun:
    """A run as an arm sees it, with names that both runners give to a test."""
    return ArmRun(
        outcomes={key_of(case): case.outcome for case in cases},
        duration_seconds=duration_seconds,
        peak_memory_bytes=peak_memory_bytes,
    )


def key_of(case: CaseResult) -> str:
    """The same name for a test, whether it comes from a sidecar (node id) or from JUnit (class and name)."""
    file, colons, rest = case.id.partition("::")
    if colons and file.endswith(".py"):
        module = file.removesuffix(".py").replace("/", ".")
        bare, bracket, parameters = rest.partition("[")
        *classes, name = bare.split("::")
        return f"{'.'.join([module, *classes])}::{name}{bracket}{parameters}"
    if case.classname or case.name:
        return f"{case.classname}::{case.name}"
    return case.id


def compare(
    python: Sequence[ArmRun],
    shell: Sequence[ArmRun],
    *,
    suite: str = "",
    again: Sequence[ArmRun] = (),
    time_margin: float = TIME_MARGIN,
    memory_margin: float = MEMORY_MARGIN,
) -> AbReport:
    """Compare the arms. `again` is a second arm of the shell runner, if one was run: it shows what chance alone does."""
    differences = compare_outcomes(python, shell)
    tests = {test for run in (*python, *shell) for test in run.outcomes}
    return AbReport(
        suite=suite,
        python_runs=len(python),
        shell_runs=len(shell),
        tests=len(tests),
        differences=tuple(differences),
        outcomes=_answer_of_outcomes(python, shell, differences),
        time=_measure("time", time_margin, *(_durations(arm) for arm in (python, shell, again))),
        memory=_measure("memory", memory_margin, *(_memories(arm) for arm in (python, shell, again))),
    )


def compare_outcomes(python: Sequence[ArmRun], shell: Sequence[ArmRun]) -> list[OutcomeDifference]:
    """Every test whose outcomes are not one and the same in all runs of both arms, the gravest first."""
    tests = sorted({test for run in (*python, *shell) for test in run.outcomes})
    found = []
    for test in tests:
        ours, theirs = _tally(test, python), _tally(test, shell)
        kind = _kind(ours, theirs, bool(python), bool(shell))
        if kind is not None:
            certain = kind != "different" or chance_of(ours, theirs) < CHANCE
            found.append(OutcomeDifference(test=test, kind=kind, certain=certain, python=ours, shell=theirs))
    order = ("different", "only-python", "only-shell", "flaky")
    return sorted(found, key=lambda difference: order.index(difference.kind))


def _tally(test: str, runs: Sequence[ArmRun]) -> dict[Outcome, int]:
    count = Counter(run.outcomes[test] for run in runs if test in run.outcomes)
    return {outcome: count[outcome] for outcome in Outcome if count[outcome]}


def _kind(
    python: Mapping[Outcome, int], shell: Mapping[Outcome, int], python_ran: bool, shell_ran: bool
) -> str | None:
    if not (python_ran and shell_ran):
        return None
    if not shell:
        return "only-python"
    if not python:
        return "only-shell"
    if set(python) == set(shell) and len(python) == 1:
        return None
    disjoint = not set(python) & set(shell)
    return "different" if disjoint or chance_of(python, shell) < CHANCE else "flaky"


def chance_of(python: Mapping[Outcome, int], shell: Mapping[Outcome, int]) -> float:
    """How often two equal arms differ as much as this or more: Fisher's exact test on the shell's usual outcome."""
    usual = max(shell, key=lambda outcome: shell[outcome])
    n, m = sum(python.values()), sum(shell.values())
    hits = python.get(usual, 0) + shell[usual]
    ways = {k: math.comb(n, k) * math.comb(m, hits - k) for k in range(max(0, hits - m), min(n, hits) + 1)}
    seen = ways[python.get(usual, 0)]
    return sum(way for way in ways.values() if way <= seen) / sum(ways.values())


def _answer_of_outcomes(
    python: Sequence[ArmRun], shell: Sequence[ArmRun], differences: Sequence[OutcomeDifference]
) -> Answer:
    if not any(run.outcomes for run in python) or not any(run.outcomes for run in shell):
        return Answer.UNDECIDED
    grave = [difference for difference in differences if difference.kind != "flaky"]
    if any(difference.certain for difference in grave):
        return Answer.DIFFERENT
    return Answer.UNDECIDED if grave else Answer.EQUAL


def _durations(runs: Sequence[ArmRun]) -> list[float]:
    return [run.duration_seconds for run in runs if run.duration_seconds > 0]


def _memories(runs: Sequence[ArmRun]) -> list[float]:
    return [float(run.peak_memory_bytes) for run in runs if run.peak_memory_bytes]


def _measure(
    name: str, margin: float, python: Sequence[float], shell: Sequence[float], again: Sequence[float]
) -> Measure:
    found = compare_logs(python, shell)
    runs = (len(python), len(shell))
    if found is None:
        text = f"at least {FEWEST_RUNS} measured runs an arm are needed to know the noise"
        return Measure(
            name=name,
            margin=margin,
            answer=Answer.UNDECIDED,
            ratio=None,
            floor=None,
            runs=runs,
            runs_needed=FEWEST_RUNS,
            text=text if any(runs) else f"no run has measured {name}",
        )
    drift = compare_logs(again, shell)
    if drift is not None and decide(drift.ratio, margin) is Answer.DIFFERENT:
        text = f"the shell runner differs from itself by {_percent(drift.ratio)}: this machine is not steady"
        return _measured(name, margin, found, runs, Answer.UNDECIDED, None, text)
    answer = decide(found.ratio, margin)
    if answer is not Answer.UNDECIDED:
        sign = "within" if answer is Answer.EQUAL else "outside of"
        return _measured(name, margin, found, runs, answer, None, f"{sign} ±{margin:.0%}")
    needed = runs_that_decide(found, margin)
    if needed is None:
        text = f"too near the limit of ±{margin:.0%}: not even {MOST_RUNS:,} runs an arm would decide"
    else:
        text = f"about {needed:,} runs an arm would decide"
    return _measured(name, margin, found, runs, answer, needed, text)


def runs_that_decide(found: Difference, margin: float) -> int | None:
    """Runs an arm that would decide, if the true ratio is the one nearest to 1 that is still possible.

    Where that many have been run already, the ratio that was seen is believed instead.
    """
    ratio = found.ratio
    hopeful = min(max(1.0, ratio.low), ratio.high)
    for assumed in (hopeful, ratio.estimate):
        needed = runs_for_equivalence(found.noise, margin, assumed)
        if needed is None or needed > ratio.n:
            return needed
    return math.ceil(ratio.n * 1.25)


def _measured(
    name: str,
    margin: float,
    found: Difference,
    runs: tuple[int, int],
    answer: Answer,
    needed: int | None,
    text: str,
) -> Measure:
    return Measure(
        name=name,
        margin=margin,
        answer=answer,
        ratio=found.ratio,
        floor=noise_floor(found.noise, min(runs)),
        runs=runs,
        runs_needed=needed,
        text=text,
    )


def decide(ratio: Interval, margin: float) -> Answer:
    """Equal if the whole interval is within the margin, different if all of it is outside."""
    low, high = 1 - margin, 1 + margin
    if low <= ratio.low and ratio.high <= high:
        return Answer.EQUAL
    if ratio.low > high or ratio.high < low:
        return Answer.DIFFERENT
    return Answer.UNDECIDED


def render_table(report: AbReport, *, limit: int = 20) -> str:
    """The comparison as text for a terminal; names of tests are foreign text and come out on one line each."""
    rows = [("", "python / shell", "95 % bounds", "chance alone", "answer")]
    rows.append(("outcomes", f"{report.tests:,} tests", "", "", _outcomes_text(report)))
    rows += [_row(measure) for measure in (report.time, report.memory)]
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    lines = [f"{report.suite}: {report.python_runs} runs by python, {report.shell_runs} by shell"]
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
        lines.append("  ".join([*cells, row[4]]).rstrip())
    lines += [_difference_line(difference) for difference in report.differences[:limit]]
    if len(report.differences) > limit:
        lines.append(f"… and {len(report.differences) - limit:,} more tests")
    return "\n".join(lines) + "\n"


def _outcomes_text(report: AbReport) -> str:
    kinds = Counter(difference.kind for difference in report.differences)
    detail = ", ".join(f"{number} {kind}" for kind, number in kinds.items())
    if report.outcomes is Answer.UNDECIDED and not report.differences:
        return f"{report.outcomes}: an arm has no results"
    if report.outcomes is Answer.UNDECIDED:
        return f"{report.outcomes}: {detail}; {RUNS_FOR_OUTCOMES} runs an arm tell different from flaky"
    return f"{report.outcomes}{': ' + detail if detail else ''}"


def _row(measure: Measure) -> tuple[str, str, str, str, str]:
    if measure.ratio is None:
        return measure.name, "", "", "", f"{measure.answer}: {measure.text}"
    ratio = measure.ratio
    floor = (
        ""
        if measure.floor is None
        else f"±{measure.floor:.1%}"
        if math.isfinite(measure.floor)
        else "unknown"
    )
    return (
        measure.name,
        f"{ratio.estimate:.3f}",
        f"{ratio.low:.3f} to {ratio.high:.3f}",
        floor,
        f"{measure.answer}: {measure.text}",
    )


def _percent(ratio: Interval) -> str:
    return f"{ratio.estimate - 1:+.1%}"


def _difference_line(difference: OutcomeDifference) -> str:
    name = (
        difference.test.encode("unicode_escape").decode("ascii")
        if not difference.test.isprintable()
        else difference.test
    )
    return f"{difference.kind:<11}  {name}  python: {_counts(difference.python)}  shell: {_counts(difference.shell)}"


def _counts(tally: Mapping[Outcome, int]) -> str:
    return ", ".join(f"{number} {outcome.value}" for outcome, number in tally.items()) or "not run"
