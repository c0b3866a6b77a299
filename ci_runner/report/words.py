"""Numbers and commands as people read them, the same on every surface."""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from ci_runner.results.whole import cost_of

if TYPE_CHECKING:
    from ci_runner.model import Counts, Lease, OfferAttempt, RunResult, Selection, SuiteResult

AD_HOC = "test-path"  # the suite that `--test-path` makes


def number(value: int) -> str:
    """1,001."""
    return f"{value:,}"


def plural(value: int, noun: str, many: str | None = None) -> str:
    """`1 test`, `2 tests`."""
    return f"{number(value)} {noun if value == 1 else many or noun + 's'}"


def duration(seconds: float) -> str:
    """`12 ms`, `1.4 s`, `50.3 s`, `6 min 12 s`, `2 h 5 min`."""
    if not math.isfinite(seconds) or seconds < 0:
        return "unknown time"
    if round(seconds, 3) < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 10:
        return f"{seconds:.2f} s"
    if round(seconds, 1) < 60:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    hours, minutes, rest = whole // 3600, whole % 3600 // 60, whole % 60
    if hours:
        return f"{number(hours)} h {minutes} min" if minutes else f"{number(hours)} h"
    return f"{minutes} min {rest} s" if rest else f"{minutes} min"


def clock(seconds: float) -> str:
    """`0:41`, `12:03`, `1:02:03`: what a running clock shows."""
    whole = max(0, int(seconds))
    hours, minutes, rest = whole // 3600, whole % 3600 // 60, whole % 60
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def size(count: float) -> str:
    """`214 MB`, in powers of 1000."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 999.5:
            return f"{count:.0f} {unit}" if count >= 10 or unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def money(dollars: float) -> str:
    """`$0.07`, `$1,788`; less than a cent says so."""
    if 0 < dollars < 0.01:
        return "under $0.01"
    return f"${dollars:,.2f}" if dollars < 1000 else f"${dollars:,.0f}"


def moment(seconds: float) -> str:
    """A point in time, UTC, RFC 3339, to the second."""
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%SZ}"


def counts_text(counts: Counts, separator: str = ", ") -> str:
    """`1,001 passed, 2 failed, 1 skipped`: passed always, the others when there are any."""
    if not counts.tests:
        return "no test ran"
    named = [
        (counts.failed, "failed"),
        (counts.errored, "errored"),
        (counts.missing, "missing"),
        (counts.flaky, "flaky"),
        (counts.quarantined, "quarantined"),
        (counts.skipped, "skipped"),
    ]
    return separator.join(
        [f"{number(counts.passed)} passed", *(f"{number(value)} {word}" for value, word in named if value)]
    )


def peak_memory(suites: Iterable[SuiteResult]) -> int | None:
    """The most that any one attempt took, in bytes."""
    peaks = [
        a.usage.peak_memory_bytes for suite in suites for a in suite.attempts if a.usage.peak_memory_bytes
    ]
    return max(peaks, default=None)


def spent(result: RunResult) -> str:
    """How long it took and what it cost, as the last words of a verdict: `50.3 s (peak 214 MB, $0.03)`."""
    peak = peak_memory(result.suites)
    extra = [f"peak {size(peak)}"] if peak else []
    extra += [money(result.cost_usd)] if result.cost_usd > 0 else []
    return duration(result.duration_seconds) + (f" ({', '.join(extra)})" if extra else "")


def suite_cost(result: SuiteResult) -> float:
    """Dollars for the time in which the suite's machines were held, until its last attempt ended."""
    return cost_of(result)


def machine_text(lease: Lease) -> str:
    """`v6e-1 (spot) in us-east5-b`, or just the machine's name."""
    words = lease.machine.type or lease.machine.name
    return f"{words}{' (spot)' if lease.spot else ''}{f' in {lease.zone}' if lease.zone else ''}"


FAILURES = {
    "stockout": "no capacity",
    "quota": "no quota",
    "rate": "too many calls",
    "auth": "not allowed",
    "configuration": "cannot be had like this",
    "preempted": "taken away while it was made",
    "unknown": "failed",
}


def offer_text(attempt: OfferAttempt) -> str:
    """`us-central1-b v6e-1 spot`."""
    what = (attempt.zone, attempt.type, "spot" if attempt.spot else None)
    return " ".join(part for part in what if part)


def failure_text(attempt: OfferAttempt) -> str:
    """`no capacity: There is no more capacity in the zone`: foreign text."""
    word = FAILURES.get(attempt.failure or "", attempt.failure or "ready")
    return f"{word}: {attempt.text}" if attempt.text else word


def shell_word(text: str) -> str:
    r"""Text as one word of a bash command line; control characters as `$'\x07'`, so that it stays one line."""
    if text.isprintable():
        return shlex.quote(text)
    quoted = "".join(_quoted(character) for character in text)
    return f"$'{quoted}'"


def _quoted(character: str) -> str:
    if character in "'\\":
        return f"\\{character}"
    if character.isprintable():
        return character
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # a byte that was no UTF-8, as os.fsdecode keeps it
        return f"\\x{code - 0xDC00:02x}"
    if code < 0x80:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"


def reproduce(selection: Selection, test: str | None = None) -> str:
    """The command that runs one test again, or the whole suite where one test cannot be named to it."""
    suite = selection.suite
    ad_hoc = suite.name == AD_HOC
    words = (
        [f"--test-path {shell_word(path)}" for path in suite.tests] if ad_hoc else [shell_word(suite.name)]
    )
    if suite.configuration:
        words.append(_option("--config", suite.configuration))
    if test is not None and suite.command is None:
        words.append(_option("--only", test))
    return " ".join(["ci-runner run", *words])


def _option(name: str, value: str) -> str:
    """An option and its value, which may look like an option itself."""
    return f"{name}{'=' if value.startswith('-') else ' '}{shell_word(value)}"
