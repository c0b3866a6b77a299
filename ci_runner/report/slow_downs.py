"""What is said of tests that take longer than they did. Pure."""

from __future__ import annotations

from ci_runner.checks.slower import SlowDown
from ci_runner.report import words
from ci_runner.report.markdown import Trusted, code, text

SHOWN = 10


def slow_down_line(found: SlowDown, commit: str) -> Trusted:
    """One slow-down: which test, by how much, since when, and what says so."""
    if found.test is None:
        who = f"{words.plural(found.tests, 'test')} of {text(found.suite, 80)} take"
    else:
        who = f"{text(found.suite, 80)} · {code(found.test, 200)} takes"
    since = f" since {code(commit[:12])}" if commit else ""
    runs = f"the last {found.after} runs against {found.earlier} before them"
    return Trusted(
        f"{who} {found.ratio.estimate:.1f} times as long{since}: {words.duration(found.before)} → "
        f"{words.duration(found.now)} ({runs}; {found.ratio.low:.1f} times at least)"
    )
