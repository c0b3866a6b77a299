"""What a person or a log sees while a run goes on, and the last lines that say what came of it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TextIO

from ci_runner.github.commands import StopCommands, neutralise, one_line
from ci_runner.model import AttemptState, Verdict
from ci_runner.report import excerpt, explain, words
from ci_runner.report.notable import RED

if TYPE_CHECKING:
    from ci_runner.model import (
        Attempt,
        CaseResult,
        Lease,
        OfferAttempt,
        Plan,
        RunResult,
        Selection,
        SuiteResult,
    )

SHOWN_FAILURES = 20  # of each suite; the report has them all
HEARTBEAT_SECONDS = 30.0  # a log that is silent for longer looks like a hang
MESSAGE_LIMIT = 160
STYLES = {
    "passed": "32",
    "failed": "31",
    "incomplete": "33",
    "empty": "33",
    "not tested": "33",
    "cancelled": "33",
}


class Bars(Protocol):
    """The moving part of the display; absent where the stream is no terminal."""

    def begin(self, attempt: Attempt, expected: int | None) -> None:
        """A bar for this selection, from zero."""
        ...

    def advance(self, attempt: Attempt, done: int, expected: int | None, failed: int, cost: float) -> None:
        """The bar as it is now."""
        ...

    def above(self, text: str) -> None:
        """Print lines above the bars; `text` may hold our own colours."""
        ...

    def close(self) -> None:
        """Take the bars away."""
        ...


class Progress:
    """Where one selection is: tests expected, done and failed, and what was told about it."""

    def __init__(self, now: float) -> None:
        self.expected: int | None = None
        self.done: set[str] = set()
        self.failed: set[str] = set()
        self.told: set[str] = set()
        self.last_line = now
        self.partial = b""


class TerminalListener:
    """Tells a stream what a run does: with bars on a terminal, else one line for each change of state."""

    def __init__(
        self,
        stream: TextIO,
        *,
        color: bool | None = None,
        live_output: bool = False,
        environ: Mapping[str, str] | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._environ = os.environ if environ is None else environ
        self._stream = stream
        self._clock = clock
        self._live_output = live_output
        terminal = is_terminal(stream, self._environ)
        self._color = (terminal and "NO_COLOR" not in self._environ) if color is None else color
        self._stop = StopCommands(self._raw) if "GITHUB_ACTIONS" in self._environ else None
        self._selections: dict[str, Selection] = {}
        self._progress: dict[str, Progress] = {}
        self._leases: dict[str, tuple[Lease, float]] = {}
        self._noted: set[str] = set()
        self._settled = 0.0  # dollars of leases that are given back
        self._column = 8
        self._bars: Bars | None = None
        if terminal:
            from ci_runner.report.bars import RichBars

            self._bars = RichBars(stream, color=self._color)

    # -- the run as it goes -------------------------------------------------------------------------------

    def planned(self, run_id: str, plan: Plan, folder: Path) -> None:
        """Say what is going to run."""
        self._selections = {selection.id: selection for selection in plan.selected}
        self._column = max([8, *(min(24, len(one_line(name))) for name in self._selections)])
        if self._bars is None:  # a log that is cut off still says where the results are
            self._row("run", f"{one_line(run_id)} in {one_line(shown_path(folder))}")
        for text in plan.notes:
            self.note(text)
        if len(plan.selected) > 1:
            names = ", ".join(one_line(name) for name in self._selections)
            self._row("plan", f"{words.plural(len(plan.selected), 'suite')}: {names}")

    def note(self, text: str) -> None:
        """Pass on a sentence, once."""
        if text in self._noted:
            return
        self._noted.add(text)
        self._row("note", one_line(text, 500))

    def leasing(self, lease: Lease) -> None:
        """Say that a machine is asked for, unless it is this one."""
        if not _is_here(lease):
            self._row("lease", f"{one_line(words.machine_text(lease))}  asked for  {one_line(lease.id)}")
        self._leases[lease.id] = (lease, self._clock())

    def tried(self, lease: Lease, attempt: OfferAttempt) -> None:
        """Say why an offer brought no machine."""
        if attempt.failure is not None:
            where = one_line(words.offer_text(attempt), 80)
            why = one_line(words.failure_text(attempt), 300)
            self._row("lease", f"{where}  {why}{self._whose(lease)}")

    def checked(self, lease: Lease, facts: str) -> None:
        """Say what a leased machine has."""
        self._row("check", f"{one_line(facts, 200)}{self._whose(lease)}")

    def _whose(self, lease: Lease) -> str:
        """Which of several leases a line is about."""
        return f"  ({one_line(lease.id)})" if len(self._selections) > 1 else ""

    def leased(self, lease: Lease) -> None:
        """Say that the machine is there, what it costs and when it ends by itself."""
        asked = self._leases.get(lease.id, (lease, self._clock()))[1]
        self._leases[lease.id] = (lease, asked)
        if not _is_here(lease):
            price = f", {words.money(lease.price_per_hour)}/h" if lease.price_per_hour else ""
            end = words.moment(lease.expires_at)
            ready = words.duration(self._clock() - asked)
            machine = one_line(words.machine_text(lease))
            self._row(
                "lease", f"{machine}  ready in {ready}{price}; {one_line(lease.id)} ends itself at {end}"
            )

    def released(self, lease: Lease) -> None:
        """Say that the machine is given back."""
        known = self._leases.pop(lease.id, None)
        if known is not None:
            self._settled += _price(lease, self._clock())
        if not _is_here(lease):
            held = words.duration(self._clock() - lease.created_at)
            self._row("released", f"{one_line(lease.id)} after {held}")

    def attempt_started(self, attempt: Attempt) -> None:
        """Say that a try begins; a suite's first one only where there are no bars."""
        progress = self._progress.setdefault(attempt.selection, Progress(self._clock()))
        if self._bars is not None and attempt.kind != "retry":
            self._bars.begin(attempt, progress.expected)
        if self._bars is None or attempt.kind != "suite":
            how = {
                "suite": "started",
                "retry": "running a failed test again",
                "resume": "resuming on a new machine",
                "fallback": "started with the shell runner",
            }.get(attempt.kind, attempt.kind)
            self._row(attempt.selection, f"{how} (attempt {attempt.number}, {attempt.runner.value} runner)")

    def collected(self, attempt: Attempt, tests: Sequence[str]) -> None:
        """Say how many tests there are."""
        progress = self._of(attempt)
        if attempt.kind == "retry" or (progress.expected is not None and attempt.kind == "suite"):
            return
        if progress.expected is None:
            progress.expected = len(set(tests))
            if self._bars is None:
                self._row(attempt.selection, f"{words.plural(progress.expected, 'test')} collected")
        self._show(attempt, progress)

    def test_started(self, attempt: Attempt, test: str) -> None:
        """Nothing is shown for it: the end of a test is what counts."""

    def test_ended(self, attempt: Attempt, case: CaseResult) -> None:
        """Count the test, and tell a failure at once."""
        progress = self._of(attempt)
        progress.done.add(case.id)
        if case.outcome in RED:
            progress.failed.add(case.id)
            self._failure(attempt.selection, case, progress)
        else:
            progress.failed.discard(case.id)
        self._show(attempt, progress)

    def output(self, attempt: Attempt, data: bytes) -> None:
        """Show what the suite prints, line by line, without obeying it."""
        if not self._live_output:
            return
        progress = self._of(attempt)
        complete, newline, progress.partial = (progress.partial + data).rpartition(b"\n")
        if not newline and len(progress.partial) > 65_536:  # a line without end is shown in pieces
            complete, newline, progress.partial = progress.partial, b"\n", b""
        if newline:
            self._foreign(complete.decode("utf-8", "backslashreplace"))

    def attempt_ended(self, attempt: Attempt) -> None:
        """Say how a try ended if that was not in the ordinary way."""
        progress = self._of(attempt)
        if progress.partial:
            self._foreign(progress.partial.decode("utf-8", "backslashreplace"))
            progress.partial = b""
        if attempt.state is not AttemptState.FINISHED:
            reason = f": {one_line(attempt.reason, 300)}" if attempt.reason else ""
            self._row(
                attempt.selection, f"attempt {attempt.number} {attempt.state.value.replace('-', ' ')}{reason}"
            )
        elif self._bars is None:
            took = words.duration(attempt.duration_seconds)
            self._row(
                attempt.selection, f"attempt {attempt.number} ended in {took}, exit {attempt.exit_code}"
            )

    def suite_ended(self, result: SuiteResult) -> None:
        """Tell what was not told yet about this suite, and its own verdict if there are several suites."""
        name = result.selection.id
        progress = self._progress.setdefault(name, Progress(self._clock()))
        self._selections.setdefault(name, result.selection)
        red = explain.red_cases(result)
        for case in red:
            self._failure(name, case, progress)
        if len(red) > len(progress.told):
            self._row(name, f"{words.number(len(red) - len(progress.told))} more failures are in the report")
        for case in result.cases:
            if case.flaky:
                self._row(
                    "flaky", f"{one_line(name)} · {one_line(case.id)}  failed and passed on the same commit"
                )
        if len(self._selections) > 1:
            self._row(name, f"{self._paint(result.verdict.value)}  {words.counts_text(result.counts)}")

    def finished(self, result: RunResult, folder: Path) -> None:
        """The last lines: what stands in the way of a verdict, the verdict, and where the report is."""
        if self._bars is not None:
            self._bars.close()
            self._bars = None
        for explained in explain.explanations(result):
            self._explanation(explained, folder)
        for text in result.notes:
            self.note(text)
        for finding in result.findings:
            self._row(finding.level.value, one_line(f"{finding.subject}: {finding.text}", 400))
        for problem in _minor_problems(result):
            self._row("note", one_line(problem, 400))
        if result.verdict is not Verdict.PASSED:
            self._line("")
        word = explain.headline_word(result)
        width = max(8, len(word))
        self._line(f"{self._paint(word, width)} {words.counts_text(result.counts)} in {words.spent(result)}")
        report = folder / "report.html"
        label, path = ("report", report) if report.exists() else ("results", folder)
        self._line(f"{label:{width}} {one_line(shown_path(path))}")

    # -- lines --------------------------------------------------------------------------------------------

    def _failure(self, selection: str, case: CaseResult, progress: Progress) -> None:
        if case.id in progress.told or len(progress.told) >= SHOWN_FAILURES:
            return
        progress.told.add(case.id)
        head = f"{one_line(selection)} · {one_line(case.id, 300)}"
        message = f"   {one_line(case.message, MESSAGE_LIMIT)}" if case.message else ""
        self._line(f"{self._paint('failed', word='FAILED')} {head}{message}")
        place = f"{one_line(case.file, 200)}{f':{case.line}' if case.line else ''} · " if case.file else ""
        chosen = self._selections.get(selection)
        again = f"again: {words.reproduce(chosen, case.id)}" if chosen is not None else ""
        if place or again:
            self._line(f"       {place}{one_line(again)}")

    def _explanation(self, explained: explain.Explanation, folder: Path) -> None:
        self._line("")
        subject = one_line(explained.subject)
        self._row(subject, one_line(explained.what, 600))
        for line in explained.evidence:
            self._row("", one_line(line, 300))
        self._row("", one_line(explained.means, 300))
        if explained.log and (end := excerpt.last_lines(folder / explained.log)):
            told = bool(
                explained.evidence
            )  # where a test was running, the log ends in the middle of something
            self._row("log:", f"{one_line(shown_path(folder / explained.log))}{'' if told else ' ends so:'}")
            for line in () if told else end:
                self._row("", f"  {one_line(line, MESSAGE_LIMIT)}")
        self._row("fix:", one_line(explained.fix, 600))
        if explained.command:
            self._row("again:", one_line(explained.command))

    def _row(self, label: str, text: str) -> None:
        self._line(f"{one_line(label, 40):{self._column}} {text}")

    def _paint(self, verdict: str, width: int = 0, *, word: str | None = None) -> str:
        text = f"{word or verdict:{width}}"
        style = STYLES.get(verdict)
        return f"\x1b[1;{style}m{text}\x1b[0m" if self._color and style else text

    def _of(self, attempt: Attempt) -> Progress:
        return self._progress.setdefault(attempt.selection, Progress(self._clock()))

    def _show(self, attempt: Attempt, progress: Progress) -> None:
        """Move the bar; without bars say where it is, but not often."""
        done, failed, now = len(progress.done), len(progress.failed), self._clock()
        if self._bars is not None:
            self._bars.advance(attempt, done, progress.expected, failed, self._cost(now))
        elif now - progress.last_line >= HEARTBEAT_SECONDS:
            progress.last_line = now
            of = f"/{words.number(progress.expected)}" if progress.expected is not None else ""
            cost = self._cost(now)
            price = f", {words.money(cost)}" if cost else ""
            took = words.clock(now - attempt.started_at)
            self._row(attempt.selection, f"{words.number(done)}{of} tests, {failed} failed, {took}{price}")

    def _cost(self, now: float) -> float:
        return self._settled + sum(_price(lease, now) for lease, _ in self._leases.values())

    def _foreign(self, text: str) -> None:
        """Lines of a suite's own output."""
        if self._stop is not None:
            self._stop.stop()
        self._print(neutralise(text) + "\n")

    def _line(self, text: str) -> None:
        if self._stop is not None:
            self._stop.resume()
        self._print(text + "\n")

    def _print(self, text: str) -> None:
        if self._bars is not None:
            self._bars.above(text)
        else:
            self._raw(text)

    def _raw(self, text: str) -> None:
        write(self._stream, text)


def write(stream: TextIO, text: str) -> None:
    """Write and flush; what the stream's encoding lacks is written as an escape."""
    try:
        stream.write(text)
    except UnicodeEncodeError:
        encoding = stream.encoding or "ascii"
        stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
    stream.flush()


def is_terminal(stream: TextIO, environ: Mapping[str, str]) -> bool:
    """Whether bars can be shown: a terminal that can move its cursor, and no CI system."""
    if environ.get("TERM") == "dumb" or environ.get("CI", "").lower() in ("1", "true", "yes"):
        return False
    return "GITHUB_ACTIONS" not in environ and stream.isatty()


def shown_path(path: Path) -> str:
    """A path as a person would type it: relative to where they are, if it is below."""
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)


def _is_here(lease: Lease) -> bool:
    return lease.machine.provider == "local"


def _price(lease: Lease, now: float) -> float:
    return lease.price_per_hour * max(0.0, now - lease.created_at) / 3600


def _minor_problems(result: RunResult) -> list[str]:
    seen = [
        f"{suite.selection.id}: {problem.text}"
        for suite in result.suites
        for problem in suite.problems
        if not problem.fatal or suite.verdict is Verdict.FAILED
    ]
    return list(dict.fromkeys(seen))
