"""Reads JUnit XML as the field writes it: streaming, complete up to the byte where a file ends, never believing more."""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO
from xml.parsers import expat

from ci_runner.model import CaseResult, Counts, Outcome, Problem
from ci_runner.results.junit_cases import (
    OUTCOMES,
    TRIES_LIMIT,
    Capture,
    make_case,
    red_by_status,
    seconds_of,
    with_earlier,
)
from ci_runner.results.junit_claims import Frame
from ci_runner.results.seen import Seen
from ci_runner.results.sidecar import metrics_of
from ci_runner.results.xml_bytes import cleaned_pieces, raw_pieces

ROOTS = ("testsuites", "testsuite", "testcase")
PYTEST, PYTEST_ROOT = (
    "pytest",
    "pytest tests",
)  # its names of suites; under them, equal names are tries of one test
ENTITY_LIMIT = 1000
Key = tuple[int, str, str]  # number of the suite in the file, class name, name
CUT_OFF = {  # what expat says when a document ends too early
    expat.errors.codes[getattr(expat.errors, name)]
    for name in (
        "XML_ERROR_NO_ELEMENTS",
        "XML_ERROR_UNCLOSED_TOKEN",
        "XML_ERROR_PARTIAL_CHAR",
        "XML_ERROR_UNCLOSED_CDATA_SECTION",
    )
}
JUNK_AFTER = expat.errors.codes[expat.errors.XML_ERROR_JUNK_AFTER_DOC_ELEMENT]
CLEANABLE = {  # what reading again with forbidden bytes replaced can mend
    expat.errors.codes[getattr(expat.errors, name)]
    for name in (
        "XML_ERROR_SYNTAX",
        "XML_ERROR_INVALID_TOKEN",
        "XML_ERROR_BAD_CHAR_REF",
        "XML_ERROR_UNDEFINED_ENTITY",
        "XML_ERROR_MISPLACED_XML_PI",
        "XML_ERROR_UNKNOWN_ENCODING",
        "XML_ERROR_INCORRECT_ENCODING",
        "XML_ERROR_PARTIAL_CHAR",
    )
}
_NEXT_DOCUMENT = re.compile(rb"\s*<(\?xml\b|testsuite)")


@dataclass(frozen=True, slots=True, kw_only=True)
class JunitContent:
    """What one file says: all counts, and the cases that did not simply pass (all of them if that was asked for)."""

    file: str
    counts: Counts = field(default_factory=Counts)
    cases: tuple[CaseResult, ...] = ()
    problems: tuple[Problem, ...] = ()
    duration_seconds: float = 0.0
    metrics: Mapping[str, float] = field(default_factory=dict)


class _EntitiesError(Exception):
    """The file declares entities that could grow without bound."""


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
            reader = _read(file, _Reader(name, suite, attempt, keep_passed=keep_passed))
            if reader.suspects:
                repeated, retried = _repeated(file, reader)
                if repeated:
                    file.seek(0)
                    again = _Reader(name, suite, attempt, keep_passed=keep_passed)
                    again.repeated, again.retried = repeated, retried
                    reader = _read(file, again)
    except OSError as error:
        kind = "missing-file" if isinstance(error, FileNotFoundError) else "unreadable"
        text = (
            "there is no such file"
            if kind == "missing-file"
            else f"cannot be read: {error.strerror or error}"
        )
        return JunitContent(file=name, problems=(Problem(kind=kind, text=text, file=name),))
    return reader.content()


def _read(file: BinaryIO, reader: _Reader) -> _Reader:
    """Let the reader take the whole file, cleaned if it is not XML as it stands."""
    fault = reader.take(raw_pieces(file))
    while fault is not None and fault.code == JUNK_AFTER:
        file.seek(reader.base + reader.parser.ErrorByteIndex)
        rest = file.read(64)
        if not _NEXT_DOCUMENT.match(rest):
            break
        reader.base += reader.parser.ErrorByteIndex + len(rest) - len(rest.lstrip())
        file.seek(reader.base)
        reader.next_document()
        fault = reader.take(raw_pieces(file))
    if fault is not None and fault.code in CLEANABLE:
        file.seek(0)
        reader.reset("utf-8")
        text = f"not XML as it stands ({fault}); read with what is wrong replaced"
        reader.problem("encoding", text, fault.lineno, fatal=False)
        fault = reader.take(cleaned_pieces(file))
    reader.finish(fault)
    return reader


def _repeated(file: BinaryIO, first: _Reader) -> tuple[dict[Key, int], set[int]]:
    """How often each name occurs that occurs more than once; and the suites (by number) where these are retries."""
    counter = _Reader(first.file, "", None, keep_passed=False)
    counter.only_count = first.suspects
    file.seek(0)
    _read(file, counter)
    repeated = {key: times for key, times in counter.occurrences.items() if times > 1}
    surplus: Counter[int] = Counter()
    for (number, _classname, _name), times in repeated.items():
        surplus[number] += times - 1
    retried = {
        number
        for number, more in surplus.items()
        if number in first.by_pytest or first.claimed.get(number) == first.held[number] - more
    }
    return repeated, retried


class _Reader:
    """One pass over one file."""

    def __init__(self, file: str, suite: str, attempt: str | None, *, keep_passed: bool) -> None:
        self.file, self.suite, self.attempt, self.keep_passed = file, suite, attempt, keep_passed
        self.repeated: dict[Key, int] = {}
        self.retried: set[int] = set()
        self.only_count: set[int] | None = None
        self.reset()

    def reset(self, encoding: str | None = None) -> None:
        """Forget what was read."""
        self.nth: Counter[Key] = Counter()
        self.tries: dict[Key, list[CaseResult]] = {}
        self.occurrences: Counter[Key] = Counter()
        self.seen = Seen()
        self.suspects: set[int] = set()
        self.frames = [Frame("", 0, {})]
        self.suites = 0
        self.root: str | None = None
        self.base = 0
        self.case: dict[str, str] | None = None
        self.capture: Capture | None = None
        self.properties: dict[str, object] = {}
        self.cases: list[CaseResult] = []
        self.problems: list[Problem] = []
        self.flaky = 0
        self.seconds = 0.0
        self.claimed: dict[int, int] = {}
        self.held: dict[int, int] = {}
        self.by_pytest: set[int] = set()
        self.next_document(encoding)

    def next_document(self, encoding: str | None = None) -> None:
        """A parser for the next document of the file."""
        parser = expat.ParserCreate(encoding)
        parser.buffer_text = True
        parser.buffer_size = 1 << 16
        parser.StartElementHandler = self.start
        parser.EndElementHandler = self.end
        parser.EntityDeclHandler = self.entity
        self.parser = parser

    def take(self, pieces: Iterator[bytes]) -> expat.ExpatError | None:
        """Parse all pieces; returns expat's complaint if it has one."""
        parse = self.parser.Parse
        try:
            for piece in pieces:
                parse(piece, False)  # noqa: FBT003 - expat takes no names
            parse(b"", True)  # noqa: FBT003
        except expat.ExpatError as error:
            return error
        except _EntitiesError as error:
            self.problem("entities", str(error), self.parser.CurrentLineNumber)
        return None

    def problem(self, kind: str, text: str, line: int | None = None, *, fatal: bool = True) -> None:
        """Note what is wrong."""
        self.problems.append(Problem(kind=kind, text=text, file=self.file, line=line, fatal=fatal))

    def entity(
        self,
        name: str,
        _parameter: bool,
        value: str | None,
        _base: str | None,
        system: str | None,
        *_rest: object,
    ) -> None:
        """A declared entity: none is expanded, and what could grow without bound ends the reading."""
        if value is not None and ("&" in value or len(value) > ENTITY_LIMIT):
            raise _EntitiesError(
                f"declares the entity {name!r:.60}, which could grow without bound; not read any further"
            )
        if self.parser.DefaultHandler is None:
            self.parser.DefaultHandler = lambda _data: None  # expat then leaves entities unexpanded
            what = "an external entity" if system else "entities"
            self.problem(
                "entities", f"declares {what}, left unexpanded", self.parser.CurrentLineNumber, fatal=False
            )

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        """An element begins."""
        if ":" in tag:
            tag = tag.rpartition(":")[2]
        if tag == "testcase":
            self.case = attributes
            self.capture = None
            if self.root is None:
                self.root = tag
        elif tag in ("testsuite", "testsuites"):
            if self.root is None:
                self.root = tag
            self.suites += tag == "testsuite"
            self.frames.append(
                Frame(attributes.get("name", tag), self.parser.CurrentLineNumber, attributes, self.suites)
            )
            self.case = None
        elif self.root is None:
            self.root = tag
        elif tag == "property":
            self.property(attributes)
        elif self.case is not None:
            if self.capture is None:
                self.capture = Capture()
            if self.capture.begin(tag, attributes):
                self.parser.CharacterDataHandler = self.capture.text

    def property(self, attributes: Mapping[str, str]) -> None:
        """A property of a case, or of a suite."""
        name, value = attributes.get("name"), attributes.get("value")
        if name is None or value is None:
            return
        if self.case is None:
            self.properties[name] = value
        else:
            if self.capture is None:
                self.capture = Capture()
            self.capture.properties.append((name, value))

    def end(self, tag: str) -> None:
        """An element ends."""
        if tag == "testcase" or tag.endswith(":testcase"):
            case, capture = self.case, self.capture
            if case is not None:
                self.case = self.capture = None
                self.finished(case, capture)
        elif self.case is not None:
            if self.capture is not None and self.capture.end():
                self.parser.CharacterDataHandler = None
        elif tag in ("testsuite", "testsuites") or tag.endswith((":testsuite", ":testsuites")):
            self.suite_ended()

    def suite_ended(self) -> None:
        """A suite ended: what it claims is compared with what it held."""
        if len(self.frames) == 1:
            return
        frame = self.frames.pop()
        frame.into(self.frames[-1])
        self.problems.extend(frame.lies(self.file))
        if frame.number:
            self.held[frame.number] = frame.raw
            if "tests" in frame.claims:
                self.claimed[frame.number] = frame.claims["tests"]
            if frame.name == PYTEST or any(outer.name == PYTEST_ROOT for outer in self.frames):
                self.by_pytest.add(frame.number)

    def finished(self, attributes: dict[str, str], capture: Capture | None) -> None:
        """A case is complete."""
        get = attributes.get
        frame = self.frames[-1]
        classname, name = get("classname") or "", get("name") or ""
        key = hash((frame.number, classname, name))
        if self.only_count is not None:
            if key in self.only_count:
                self.occurrences[frame.number, classname, name] += 1
            return
        if self.seen.add(key):
            self.suspects.add(key)
        outcome = capture.outcome if capture is not None else Outcome.PASSED
        if "status" in attributes or "result" in attributes:
            outcome = red_by_status(outcome, attributes)
        time = get("time")
        seconds = seconds_of(time) if time else 0.0
        self.seconds += seconds
        frame.add(outcome)
        if capture is None and outcome is Outcome.PASSED and not self.keep_passed and not self.repeated:
            return
        case = make_case(attributes, capture, outcome, seconds, suite=self.suite, attempt=self.attempt)
        if (
            self.repeated
            and (known := self.one_of_several((frame.number, classname, name), case)) is not case
        ):
            if known is None:
                frame.superseded(outcome)
                return
            case = known
        self.flaky += case.flaky
        if self.keep_passed or case.outcome is not Outcome.PASSED or case.earlier or case.metrics:
            self.cases.append(case)

    def one_of_several(self, key: Key, case: CaseResult) -> CaseResult | None:
        """The case as it counts among those of its name: None for a try with more to come."""
        times = self.repeated.get(key)
        if times is None:
            return case
        self.nth[key] += 1
        if key[0] not in self.retried:
            nth = self.nth[key]
            return dataclasses.replace(case, id=f"{case.id} [{nth}]") if nth > 1 else case
        tries = self.tries.setdefault(key, [])
        if self.nth[key] < times:
            if case.outcome in (Outcome.FAILED, Outcome.ERRORED) and len(tries) < TRIES_LIMIT:
                tries.append(case)
            return None
        return with_earlier(case, (*tries, *case.earlier))

    def finish(self, fault: expat.ExpatError | None) -> None:
        """The file is over; an open case counts if it is known to be red."""
        if fault is not None:
            self.broken(fault)
        elif self.root is not None and self.root.rpartition(":")[2] not in ROOTS:
            self.problem("not-junit", f"is no JUnit file: its root element is <{self.root[:60]}>", 1)
        if self.case is not None:
            open_case, capture = self.case, self.capture
            self.case = None
            if capture is not None and OUTCOMES.get(capture.kind) in (Outcome.FAILED, Outcome.ERRORED):
                capture.close()
                self.finished(open_case, capture)
        while len(self.frames) > 1:
            self.frames.pop().into(self.frames[-1])

    def broken(self, fault: expat.ExpatError) -> None:
        """Say how the file is broken."""
        inside = ""
        if self.case is not None:
            inside = f", inside the test {self.case.get('classname', '')}::{self.case.get('name', '')}"
        if self.root is None and fault.code in CUT_OFF:
            self.problem("empty-file", "is empty: whatever should have written it did not get that far")
        elif self.root is None:
            self.problem("not-junit", f"is no JUnit file: {expat.ErrorString(fault.code)}", fault.lineno)
        elif fault.code in CUT_OFF:
            self.problem("truncated", f"ends too early (line {fault.lineno}){inside}", fault.lineno)
        elif fault.code == JUNK_AFTER:
            self.problem("junk", f"goes on after its end (line {fault.lineno})", fault.lineno)
        else:
            self.problem(
                "malformed",
                f"cannot be read beyond line {fault.lineno}: {expat.ErrorString(fault.code)}{inside}",
                fault.lineno,
            )

    def content(self) -> JunitContent:
        """What was read."""
        return JunitContent(
            file=self.file,
            counts=self.frames[0].counts(flaky=self.flaky),
            cases=tuple(self.cases),
            problems=tuple(self.problems),
            duration_seconds=self.seconds,
            metrics=metrics_of(tuple(self.properties.items())),
        )
