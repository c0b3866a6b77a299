"""One pass over one JUnit file: what expat finds in it, taken down."""

from __future__ import annotations

import dataclasses
import itertools
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from xml.parsers import expat

from ci_runner.model import CaseResult, Outcome, Problem
from ci_runner.results.junit_cases import (
    LONGEST,
    OUTCOMES,
    RED,
    TRIES_LIMIT,
    Capture,
    first_line,
    make_case,
    red_by_status,
    seconds_of,
    with_earlier,
)
from ci_runner.results.junit_claims import Frame
from ci_runner.results.seen import Seen

ROOTS = ("testsuites", "testsuite", "testcase")
PYTEST = "pytest"  # its name of every suite; in these, equal names are tries of one test
OURS = "ci-runner"  # the name of the root of our own merged files, which hold each test once
ENTITY_LIMIT = 1000
LOOK_AHEAD = 64
UNTOLD = "this try was repeated; the file does not say what went wrong"
Key = tuple[int, str | None, str | None]  # number of the suite in the file, class name, name
Start = Callable[[str, dict[str, str]], None]
End = Callable[[str], None]
CUT_OFF = frozenset(  # what expat says when a document ends too early
    expat.errors.codes[getattr(expat.errors, name)]
    for name in (
        "XML_ERROR_NO_ELEMENTS",
        "XML_ERROR_UNCLOSED_TOKEN",
        "XML_ERROR_PARTIAL_CHAR",
        "XML_ERROR_UNCLOSED_CDATA_SECTION",
    )
)
JUNK_AFTER = expat.errors.codes[expat.errors.XML_ERROR_JUNK_AFTER_DOC_ELEMENT]
_NEXT_DOCUMENT = re.compile(rb"\s*<(?:\?xml\b|testsuite)")


class EntitiesError(Exception):
    """The file declares entities that could grow without bound."""


class Reader:
    """The state of one pass."""

    __slots__ = (
        "attempt", "by_pytest", "capture", "case", "cases", "claimed", "encoding", "end", "file", "flaky",
        "frame", "frames", "held", "keep_passed", "lines_before", "nth", "occurrences", "only_count",
        "parser", "plain", "problems", "properties", "repeated", "retried", "root", "seconds", "seen",
        "start", "suite", "suites", "suspects", "tries",
    )  # fmt: skip

    def __init__(self, file: str, suite: str, attempt: str | None, *, keep_passed: bool) -> None:
        self.file, self.suite, self.attempt, self.keep_passed = file, suite, attempt, keep_passed
        self.repeated: Mapping[Key, int] = {}
        self.retried: Mapping[int, bool] = {}
        self.only_count: set[int] | None = None
        self.reset()

    def knows(self, repeated: Mapping[Key, int], retried: Mapping[int, bool]) -> None:
        """Let this pass tell apart, or bring together, the cases that share a name."""
        self.repeated, self.retried = repeated, retried
        self.reset()

    def counts_only(self, suspects: set[int]) -> None:
        """Let this pass do no more than count the names whose hashes are suspect."""
        self.only_count = suspects
        self.reset()

    def reset(self, encoding: str | None = None, lines_before: int = 0) -> None:
        """Forget what was read."""
        self.nth: Counter[Key] = Counter()
        self.tries: dict[Key, list[CaseResult]] = {}
        self.occurrences: Counter[Key] = Counter()
        self.seen = Seen()
        self.suspects: set[int] = set()
        self.frames = [Frame("", 0, {})]
        self.frame = self.frames[0]
        self.suites = 0
        self.root: str | None = None
        self.lines_before = lines_before
        self.case: dict[str, str] | None = None
        self.capture: Capture | None = None  # None whenever `case` is
        self.properties: dict[str, object] = {}
        self.cases: list[CaseResult] = []
        self.problems: list[Problem] = []
        self.flaky = 0
        self.seconds = 0.0
        self.claimed: dict[int, int] = {}
        self.held: dict[int, int] = {}
        self.by_pytest: set[int] = set()
        self.plain = not self.keep_passed and not self.repeated and self.only_count is None
        self.start, self.end = self.handlers()
        self.encoding = encoding
        self.next_document()

    def next_document(self) -> None:
        """A parser for the next document of the file."""
        parser = expat.ParserCreate(self.encoding)
        parser.buffer_text = True
        parser.buffer_size = 1 << 16
        parser.StartElementHandler = self.first
        parser.EndElementHandler = self.end
        parser.EntityDeclHandler = self.entity
        self.parser = parser

    # -- bytes

    def take(self, pieces: Iterator[bytes]) -> expat.ExpatError | None:
        """Parse all pieces, document after document; returns expat's complaint if it has one."""
        while True:
            fault, rest = self._document(pieces)
            if fault is None or fault.code != JUNK_AFTER:
                return fault
            while len(rest) < LOOK_AHEAD and (more := next(pieces, b"")):
                rest += more
            if not _NEXT_DOCUMENT.match(rest):
                return fault
            self.lines_before += fault.lineno - 1
            self.next_document()
            pieces = itertools.chain([rest.lstrip()], pieces)

    def _document(self, pieces: Iterator[bytes]) -> tuple[expat.ExpatError | None, bytes]:
        """Parse one document; returns expat's complaint and the bytes from there on that were taken."""
        parse = self.parser.Parse
        taken, before, piece = 0, b"", b""
        try:
            for piece in pieces:
                parse(piece, False)  # noqa: FBT003 - expat takes no names
                self.seen.make_room()
                taken += len(piece)
                before = piece
            piece = b""
            parse(piece, True)  # noqa: FBT003
        except expat.ExpatError as error:
            window = before + piece
            return error, window[max(0, self.parser.ErrorByteIndex - (taken - len(before))) :]
        except EntitiesError as error:
            self.problem("entities", str(error), self.line())
        except (
            LookupError,
            ValueError,
        ):  # from pyexpat, for an encoding that it does not know or that is multi-byte
            if self.root is not None:
                raise
            return _unknown_encoding(), b""
        return None, b""

    def line(self) -> int:
        """The line of the file that the parser is at."""
        return self.lines_before + self.parser.CurrentLineNumber

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
            raise EntitiesError(
                f"declares the entity {name!r:.60}, which could grow without bound; not read any further"
            )
        if self.parser.DefaultHandler is None:
            self.parser.DefaultHandler = lambda _data: None  # expat then leaves entities unexpanded
            what = "an external entity" if system else "entities"
            self.problem("entities", f"declares {what}, left unexpanded", self.line(), fatal=False)

    # -- elements

    def handlers(self) -> tuple[Start, End]:
        """What expat calls for elements: closures, for they run for every case of a file and have to be fast."""
        seen = self.seen
        begin, ended = self.begin, self.ended

        def start(tag: str, attributes: dict[str, str]) -> None:
            if tag == "testcase" and self.case is None:
                self.case = attributes
            else:
                begin(tag, attributes)

        def end(tag: str) -> None:
            """A case without children, in a pass that only has to count these; all else goes the long way."""
            case = self.case
            if tag != "testcase" or case is None or self.capture is not None:
                ended(tag)
                return
            if "status" in case or "result" in case:
                ended(tag)
                return
            self.case = None
            get = case.get
            frame = self.frame
            frame.passed += 1
            key = hash((frame.number, get("classname"), get("name")))
            if key not in seen.exact and not seen.full:
                seen.exact.add(key)
            elif seen.add(key):
                self.suspects.add(key)
            if time := get("time"):
                try:
                    seconds = float(time)
                except ValueError:
                    seconds = seconds_of(time)
                if 0.0 <= seconds < LONGEST:
                    self.seconds += seconds

        return start, end if self.plain else ended

    def first(self, tag: str, attributes: dict[str, str]) -> None:
        """The root element of a document begins."""
        self.parser.StartElementHandler = self.start
        if self.root is None:
            self.root = tag.rpartition(":")[2]
        self.start(tag, attributes)

    def begin(self, tag: str, attributes: dict[str, str]) -> None:
        """An element begins that is no `testcase` in its place."""
        if ":" in tag:
            tag = tag.rpartition(":")[2]
        if tag in ("testcase", "testsuite", "testsuites"):
            if self.case is not None:
                self.interrupted_by(tag)
            if tag == "testcase":
                self.case = attributes
                return
            self.suites += tag == "testsuite"
            number = self.suites if tag == "testsuite" else 0
            self.frame = Frame(attributes.get("name", tag), self.line(), attributes, number)
            self.frames.append(self.frame)
        elif self.case is not None:
            if self.capture is None:
                self.capture = Capture()
            if self.capture.begin(tag, attributes):
                self.parser.CharacterDataHandler = self.capture.text
        elif tag == "property":
            name, value = attributes.get("name"), attributes.get("value")
            if name is not None and value is not None:
                self.properties[name] = value
        elif OUTCOMES.get(tag) in RED and len(self.frames) > 1:
            text = first_line(attributes.get("message", "")) or attributes.get("type") or "no message"
            where = f'the suite "{self.frame.name[:80]}" failed outside of its tests'
            self.problem("suite-failure", f"{where}: {text[:300]}", self.line())

    def interrupted_by(self, tag: str) -> None:
        """A case holds another one, or a suite: it is taken as it is up to there."""
        open_case, capture = self.case, self.capture
        self.case = self.capture = None
        self.parser.CharacterDataHandler = None
        if open_case is not None:
            if capture is not None:
                capture.close()
            text = f"a {tag} stands inside the test {_title(open_case)}; what follows it there is not known"
            self.problem("nested-case", text, self.line())
            self.finished(open_case, capture)

    def ended(self, tag: str) -> None:
        """An element ends."""
        if ":" in tag:
            tag = tag.rpartition(":")[2]
        if tag == "testcase":
            case, capture = self.case, self.capture
            if case is not None:
                self.case = self.capture = None
                self.finished(case, capture)
        elif self.case is not None:
            if self.capture is not None and self.capture.end():
                self.parser.CharacterDataHandler = None
        elif tag in ("testsuite", "testsuites") and len(self.frames) > 1:
            self.suite_ended()

    def suite_ended(self) -> None:
        """A suite ended: what it claims is compared with what it held."""
        frame = self.frames.pop()
        self.frame = self.frames[-1]
        frame.into(self.frame)
        by_pytest = frame.name == PYTEST and all(outer.name != OURS for outer in self.frames)
        self.problems.extend(frame.lies(self.file, by_pytest=by_pytest))
        if frame.number:
            self.held[frame.number] = frame.raw
            if "tests" in frame.claims:
                self.claimed[frame.number] = frame.claims["tests"]
            if by_pytest:
                self.by_pytest.add(frame.number)

    # -- cases

    def finished(self, attributes: dict[str, str], capture: Capture | None) -> None:
        """A case is complete."""
        get, frame = attributes.get, self.frame
        name: Key = (frame.number, get("classname"), get("name"))
        key = hash(name)
        if self.only_count is not None:
            if key in self.only_count:
                self.occurrences[name] += 1
            return
        if self.seen.add(key):
            self.suspects.add(key)
        outcome = red_by_status(capture.outcome if capture is not None else Outcome.PASSED, attributes)
        seconds = seconds_of(get("time") or "")
        self.seconds += seconds
        frame.add(outcome, capture.reds if capture is not None else 0)
        if capture is None and outcome is Outcome.PASSED and self.plain:
            return
        made = make_case(attributes, capture, outcome, seconds, suite=self.suite, attempt=self.attempt)
        case = self.one_of_several(name, made) if self.repeated else made
        if case is None:
            frame.superseded(outcome)
            return
        self.flaky += case.flaky
        if self.keep_passed or case.outcome is not Outcome.PASSED or case.earlier or case.metrics:
            self.cases.append(case)

    def one_of_several(self, key: Key, case: CaseResult) -> CaseResult | None:
        """The case as it counts among those of its name: None for a try with more to come."""
        times = self.repeated.get(key)
        if times is None:
            return case
        self.nth[key] += 1
        nth = self.nth[key]
        if key[0] not in self.retried:
            return dataclasses.replace(case, id=f"{case.id} [{nth}]") if nth > 1 else case
        tries = self.tries.setdefault(key, [])
        if nth < times:
            if case.outcome is Outcome.PASSED and self.retried[key[0]]:
                case = dataclasses.replace(case, outcome=Outcome.FAILED, message=UNTOLD, flaky=False)
            if case.outcome in RED and len(tries) < TRIES_LIMIT:
                tries.append(case)
            return None
        return with_earlier(case, (*tries, *case.earlier))

    # -- the end

    def finish(self, fault: expat.ExpatError | None) -> None:
        """The file is over; an open case counts if it is known to be red."""
        if fault is not None:
            self.broken(fault)
        elif self.root is not None and self.root not in ROOTS:
            self.problem("not-junit", f"is no JUnit file: its root element is <{self.root[:60]}>", 1)
        open_case, capture = self.case, self.capture
        self.case = self.capture = None
        if open_case is not None and capture is not None and OUTCOMES.get(capture.kind) in RED:
            capture.close()
            self.finished(open_case, capture)
        while len(self.frames) > 1:
            self.frames.pop().into(self.frames[-1])

    def broken(self, fault: expat.ExpatError) -> None:
        """Say how the file is broken."""
        inside = f", inside the test {_title(self.case)}" if self.case is not None else ""
        line = self.lines_before + fault.lineno
        said = expat.ErrorString(fault.code)
        if self.root is None and fault.code in CUT_OFF:
            self.problem("empty-file", "is empty: whatever should have written it did not get that far")
        elif self.root is None:
            self.problem("not-junit", f"is no JUnit file: {said}", line)
        elif fault.code in CUT_OFF:
            self.problem("truncated", f"ends too early (line {line}){inside}", line)
        elif fault.code == JUNK_AFTER:
            self.problem("junk", f"goes on after its end (line {line})", line)
        else:
            self.problem("malformed", f"cannot be read beyond line {line}: {said}{inside}", line)


def _unknown_encoding() -> expat.ExpatError:
    text = expat.errors.XML_ERROR_UNKNOWN_ENCODING
    error = expat.ExpatError(text)
    error.code, error.lineno, error.offset = expat.errors.codes[text], 1, 0
    return error


def _title(attributes: Mapping[str, str]) -> str:
    return f"{attributes.get('classname', '')}::{attributes.get('name', '')}"[:200]
