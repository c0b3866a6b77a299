"""Reads JUnit XML as the field writes it: streaming, complete up to the byte where a file ends, never believing more."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO
from xml.parsers import expat

from ci_runner.model import CaseResult, Counts, Problem
from ci_runner.results.junit_pass import Key, Reader
from ci_runner.results.sidecar import metrics_of
from ci_runner.results.xml_bytes import Cleaned, raw_pieces


def _codes(*names: str) -> frozenset[int]:
    return frozenset(expat.errors.codes[getattr(expat.errors, f"XML_ERROR_{name}")] for name in names)


JUNK_BEFORE = _codes("SYNTAX", "MISPLACED_XML_PI")
CLEANABLE = JUNK_BEFORE | _codes(  # what reading again with forbidden bytes replaced can mend
    "INVALID_TOKEN",
    "BAD_CHAR_REF",
    "UNDEFINED_ENTITY",
    "UNKNOWN_ENCODING",
    "INCORRECT_ENCODING",
    "PARTIAL_CHAR",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class JunitContent:
    """What one file says: all counts, and the cases that did not simply pass (all of them if that was asked for)."""

    file: str
    counts: Counts = field(default_factory=Counts)
    cases: tuple[CaseResult, ...] = ()
    problems: tuple[Problem, ...] = ()
    duration_seconds: float = 0.0
    metrics: Mapping[str, float] = field(default_factory=dict)


def read_junit(
    path: Path, *, suite: str = "", attempt: str | None = None, keep_passed: bool = False
) -> JunitContent:
    """Read a file; whatever is wrong with it becomes a problem of the content, and nothing is raised for it.

    Cases of one name in one `testsuite` are tries of one test, of which the last counts, if pytest wrote the file or if
    the suite's own `tests` says so. Elsewhere they are tests of their own: parametrised ones often share a name.
    """
    name = str(path)
    try:
        with path.open("rb") as file:
            reader = _read(file, Reader(name, suite, attempt, keep_passed=keep_passed))
            if reader.suspects:
                repeated, retried = _repeated(file, reader)
                if repeated:
                    again = Reader(name, suite, attempt, keep_passed=keep_passed)
                    again.knows(repeated, retried)
                    reader = _read(file, again)
    except OSError as error:
        kind = "missing-file" if isinstance(error, FileNotFoundError) else "unreadable"
        text = (
            "there is no such file"
            if kind == "missing-file"
            else f"cannot be read: {error.strerror or error}"
        )
        return JunitContent(file=name, problems=(Problem(kind=kind, text=text, file=name),))
    return JunitContent(
        file=name,
        counts=reader.frames[0].counts(flaky=reader.flaky),
        cases=tuple(reader.cases),
        problems=tuple(reader.problems),
        duration_seconds=reader.seconds,
        metrics=metrics_of(tuple(reader.properties.items())),
    )


def _read(file: BinaryIO, reader: Reader) -> Reader:
    """Let the reader take the whole file, cleaned if it is not XML as it stands."""
    file.seek(0)
    fault = reader.take(raw_pieces(file))
    if fault is not None and fault.code in CLEANABLE:
        junk = reader.root is None and fault.code in JUNK_BEFORE
        cleaned = Cleaned(file)
        reader.reset("utf-8", cleaned.lines_before)
        said = expat.ErrorString(fault.code)
        reader.problem(
            "junk" if junk else "encoding",
            f"begins with what is no XML ({said}); passed over"
            if junk
            else f"not XML as it stands ({said}, line {fault.lineno}); read with what is wrong replaced",
            fault.lineno,
            fatal=False,
        )
        fault = reader.take(cleaned.pieces())
    reader.finish(fault)
    return reader


def _repeated(file: BinaryIO, first: Reader) -> tuple[dict[Key, int], dict[int, bool]]:
    """How often each name occurs that occurs more than once; and the suites (by number) where these are retries.

    True for a suite whose own count of tests leaves the repeated ones out.
    """
    counter = Reader(first.file, "", None, keep_passed=False)
    counter.counts_only(first.suspects)
    _read(file, counter)
    repeated = {key: times for key, times in counter.occurrences.items() if times > 1}
    surplus: Counter[int] = Counter()
    for (number, _classname, _name), times in repeated.items():
        surplus[number] += times - 1
    retried = {}
    for number, more in surplus.items():
        claims_so = first.claimed.get(number) == first.held.get(number, 0) - more
        if claims_so or number in first.by_pytest:
            retried[number] = claims_so
    return repeated, retried
