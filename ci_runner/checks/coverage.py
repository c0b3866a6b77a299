"""What coverage says about a run: the total, its change, and the changed lines that no test ran. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ci_runner.github.commands import one_line
from ci_runner.model import Finding, Level, Suite
from ci_runner.results.coverage import Coverage, counted

METRIC = "coverage_percent"
CODE = "coverage"
SHOWN = 20  # places with uncovered changed lines


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """The figures of one suite, or of all together."""

    covered: int
    lines: int
    base: float | None = None  # percent at the commit that is compared with
    changed: int | None = None  # changed lines that can run; None: it is not known what changed
    uncovered: tuple[tuple[str, tuple[int, ...]], ...] = ()  # of those, the ones that did not, by file

    @property
    def percent(self) -> float:
        """Lines that ran, of 100."""
        return 100.0 * self.covered / self.lines if self.lines else 0.0

    @property
    def changed_percent(self) -> float | None:
        """Changed lines that ran, of 100; None if nothing that can run has changed."""
        if not self.changed:
            return None
        return 100.0 * (self.changed - sum(len(lines) for _, lines in self.uncovered)) / self.changed


def figures(
    coverage: Coverage, *, changed: Mapping[str, frozenset[int]] | None, base: float | None = None
) -> Figures:
    """The figures of a joined report."""
    covered, lines = counted(coverage)
    if changed is None:
        return Figures(covered=covered, lines=lines, base=base)
    uncovered, can_run = [], 0
    for path in sorted(changed):
        known = coverage.get(path)
        if known is None:
            continue
        missing = tuple(sorted(changed[path] & known.missing))
        can_run += len(missing) + len(changed[path] & known.covered)
        if missing:
            uncovered.append((path, missing))
    return Figures(covered=covered, lines=lines, base=base, changed=can_run, uncovered=tuple(uncovered))


def findings(suite: Suite, found: Figures) -> list[Finding]:
    """One for each minimum of the suite that is not reached."""
    made = []
    if suite.coverage_minimum is not None and found.percent < suite.coverage_minimum:
        text = f"{found.percent:.1f} % of the lines are covered, and coverage-minimum is {suite.coverage_minimum:g} %"
        made.append(Finding(level=Level.ERROR, subject=suite.name, text=text, code=CODE))
    share, least = found.changed_percent, suite.coverage_minimum_changed
    if least is not None and found.changed is None:
        text = "coverage-minimum-changed was not judged: git cannot tell here what changed (fetch-depth: 0 in a job)"
        made.append(Finding(level=Level.WARNING, subject=suite.name, text=text, code=CODE))
    if least is not None and share is not None and share < least:
        text = f"{share:.1f} % of the changed lines are covered, and coverage-minimum-changed is {least:g} %"
        text += f": {places(found)}"
        made.append(Finding(level=Level.ERROR, subject=suite.name, text=text, code=CODE))
    return made


def plain(found: Figures) -> dict[str, Any]:
    """The figures as results.json has them."""
    changed = found.changed_percent
    return {
        "percent": round(found.percent, 3),
        "covered": found.covered,
        "lines": found.lines,
        "base_percent": found.base,
        "changed_lines": found.changed,
        "changed_percent": None if changed is None else round(changed, 3),
        "uncovered": {path: spans(lines) for path, lines in found.uncovered},
    }


def told(found: Figures) -> str:
    """The figures in one line of plain text."""
    text = f"coverage {found.percent:.1f} % of {plural(found.lines, 'line')}"
    if found.base is not None:
        text += f" ({found.percent - found.base:+.1f} points)"
    if found.changed is None:
        return text
    missing = sum(len(lines) for _, lines in found.uncovered)
    if not found.changed:
        return f"{text}; no line that can run has changed"
    if not missing:
        every = "the changed line is" if found.changed == 1 else f"all {found.changed:,} changed lines are"
        return f"{text}; {every} covered"
    verb = "is" if missing == 1 else "are"
    return (
        f"{text}; {missing:,} of {plural(found.changed, 'changed line')} {verb} not covered: {places(found)}"
    )


def places(found: Figures) -> str:
    """Where changed lines did not run: `src/a.py:3-5, 9`."""
    shown = [f"{one_line(path, 120)}:{ranges(lines)}" for path, lines in found.uncovered[:SHOWN]]
    more = len(found.uncovered) - SHOWN
    return "; ".join(shown) + (f"; and {plural(more, 'more file')}" if more > 0 else "")


def plural(count: int, what: str) -> str:
    """1 line, 1,240 lines."""
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def ranges(lines: Sequence[int], most: int = 12) -> str:
    """Numbers as ranges: 3-5, 9."""
    found = spans(lines)
    shown = [str(a) if a == b else f"{a}-{b}" for a, b in found[:most]]
    return ", ".join(shown) + (", …" if len(found) > most else "")


def spans(lines: Sequence[int]) -> list[list[int]]:
    """The first and the last of each run of numbers without a gap."""
    found: list[list[int]] = []
    for line in lines:
        if found and line == found[-1][1] + 1:
            found[-1][1] = line
        else:
            found.append([line, line])
    return found
