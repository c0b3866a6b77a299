"""One `testcase` element: what its children and attributes say became of the test."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

from ci_runner.model import CaseResult, Outcome
from ci_runner.results.sidecar import metrics_of

DETAILS_LIMIT = 64 * 1024
OUTPUT_LIMIT = 16 * 1024
MESSAGE_LIMIT = 500
TRIES_LIMIT = 20
LONGEST = 1e9  # seconds; beyond that a duration is no duration

OUTCOMES: dict[str, Outcome] = {
    "failure": Outcome.FAILED,
    "error": Outcome.ERRORED,
    "skipped": Outcome.SKIPPED,
}
RED = (Outcome.FAILED, Outcome.ERRORED)
GRAVITY = {"": 0, "skipped": 1, "error": 2, "failure": 3}
TRIES = {  # Surefire: what went wrong in other tries of the same test
    "flakyFailure": Outcome.FAILED,
    "flakyError": Outcome.ERRORED,
    "rerunFailure": Outcome.FAILED,
    "rerunError": Outcome.ERRORED,
}
MISSING_TYPE = "ci-runner.missing"  # how our own files say that a test never ran
INTERRUPTED_TYPE = "ci-runner.interrupted"  # and that it was running when the run ended
XFAIL_TYPE = "pytest.xfail"
ALIASES = {"skip": "skipped", "ignored": "skipped", "disabled": "skipped"}
OUTPUTS = ("system-out", "system-err")
STATUS = {
    "failed": Outcome.FAILED,
    "failure": Outcome.FAILED,
    "fail": Outcome.FAILED,
    "error": Outcome.ERRORED,
    "errored": Outcome.ERRORED,
    "broken": Outcome.ERRORED,
    "skipped": Outcome.SKIPPED,
    "disabled": Outcome.SKIPPED,
    "notrun": Outcome.SKIPPED,
    "ignored": Outcome.SKIPPED,
    "suppressed": Outcome.SKIPPED,
    "pending": Outcome.SKIPPED,
}


class Text:
    """Character data of any length, of which the beginning and the end are kept."""

    __slots__ = ("_half", "_head", "_length", "_tail")

    def __init__(self, limit: int) -> None:
        self._half = limit // 2
        self._head = ""
        self._tail = ""
        self._length = 0

    def add(self, data: str) -> None:
        """Take a piece."""
        self._length += len(data)
        room = self._half - len(self._head)
        if room > 0:
            self._head += data[:room]
            data = data[room:]
        if data:
            self._tail = (self._tail + data)[-self._half :]

    def __str__(self) -> str:
        left_out = self._length - len(self._head) - len(self._tail)
        if left_out <= 0:
            return self._head + self._tail
        return f"{self._head}\n… {left_out} characters left out …\n{self._tail}"


class Capture:
    """What the children of a `testcase` say, while they are being read."""

    __slots__ = (
        "_depth",
        "_open",
        "_text",
        "_told",
        "_tries",
        "details",
        "kind",
        "message",
        "output",
        "properties",
        "reds",
        "type",
    )

    def __init__(self) -> None:
        self.kind = ""
        self.reds = 0  # failures and errors: pytest writes one for each subtest that failed
        self.type = ""
        self.message = ""
        self.details = ""
        self.output: Text | None = None
        self.properties: list[tuple[str, object]] = []
        self._tries: list[tuple[Outcome, str, str]] = []
        self._open: tuple[str, Mapping[str, str]] | None = None
        self._depth = 0
        self._text: Text | None = None
        self._told = ""  # the kind of child whose message is the case's

    def begin(self, tag: str, attributes: Mapping[str, str]) -> bool:
        """A child begins; True if its text is wanted."""
        if self._open is not None:
            self._depth += 1
            return False
        tag = ALIASES.get(tag, tag)
        if tag in OUTPUTS:
            if self.output is None:
                self.output = Text(OUTPUT_LIMIT)
            self._text = self.output
        elif tag in OUTCOMES or tag in TRIES:
            self._text = Text(DETAILS_LIMIT)
            self.reds += OUTCOMES.get(tag) in RED
            if GRAVITY.get(tag, -1) > GRAVITY[self.kind]:
                self.kind = tag
        else:
            if tag == "property" and "name" in attributes and "value" in attributes:
                self.properties.append((attributes["name"], attributes["value"]))
            return False
        self._open, self._depth = (tag, attributes), 0
        return True

    def text(self, data: str) -> None:
        """Character data of the open child."""
        if self._text is not None:
            self._text.add(data)

    def end(self) -> bool:
        """A child ends; True if it was the one whose text was wanted."""
        if self._open is None:
            return False
        if self._depth:
            self._depth -= 1
            return False
        self.close()
        return True

    def close(self) -> None:
        """Take what the open child said, even if it never ended."""
        if self._open is None:
            return
        (tag, attributes), self._open = self._open, None
        if tag in OUTPUTS:
            return
        text = str(self._text).strip()
        message = attributes.get("message") or first_line(text) or attributes.get("type") or ""
        if tag in TRIES:
            if len(self._tries) < TRIES_LIMIT:
                self._tries.append((TRIES[tag], message, text))
            return
        both = bool(self.details or self.message)
        self.details = f"{self.details}\n\n{message}\n{text}".strip()[: 2 * DETAILS_LIMIT] if both else text
        if tag == self.kind and tag != self._told:
            self.message, self.type, self._told = message, attributes.get("type") or "", tag

    @property
    def outcome(self) -> Outcome:
        """What the children say."""
        if self.type in (MISSING_TYPE, INTERRUPTED_TYPE):
            return Outcome.MISSING
        return OUTCOMES.get(self.kind, Outcome.PASSED)

    @property
    def tries(self) -> Sequence[tuple[Outcome, str, str]]:
        """Other tries of the same test: outcome, message, details."""
        return self._tries


def first_line(text: str) -> str:
    """The first line that says something."""
    return next((line.strip() for line in text[: 8 * MESSAGE_LIMIT].splitlines() if line.strip()), "")


def red_by_status(outcome: Outcome, attributes: Mapping[str, str]) -> Outcome:
    """The outcome when attributes speak too, as GoogleTest, CTest and others write them; red outranks green."""
    if outcome is not Outcome.PASSED or not ("status" in attributes or "result" in attributes):
        return outcome  # the way of nearly all cases
    said = [STATUS.get((attributes.get(name) or "").lower()) for name in ("status", "result")]
    for candidate in (Outcome.FAILED, Outcome.ERRORED, Outcome.SKIPPED):
        if candidate in said:
            return candidate
    return outcome


def seconds_of(text: str) -> float:
    """A duration as people's locales write it: `1.5`, `1,234.5`, `0,5`; 0 for what is no duration."""
    try:
        value = float(text)
    except ValueError:
        value = _local(text.strip())
    return value if 0.0 <= value < LONGEST else 0.0


def _local(text: str) -> float:
    whole, comma, rest = text.rpartition(",")
    decimal = comma and "." not in text and "," not in whole and (len(rest) != 3 or whole in ("", "0"))
    try:
        return float(f"{whole}.{rest}" if decimal else text.replace(",", "").removesuffix("s"))
    except ValueError:
        return math.nan


def make_case(
    attributes: Mapping[str, str],
    capture: Capture | None,
    outcome: Outcome,
    seconds: float,
    *,
    suite: str = "",
    attempt: str | None = None,
) -> CaseResult:
    """The case that a `testcase` element stands for."""
    get = attributes.get
    classname, name, line = get("classname") or "", get("name") or "", get("line") or ""
    case = CaseResult(
        id=f"{classname}::{name}" if classname else name or "(no name)",
        outcome=outcome,
        suite=suite,
        name=name,
        classname=classname,
        duration_seconds=seconds,
        file=get("file") or None,
        line=int(line) if line.isascii() and line.isdigit() and len(line) < 10 else None,
        attempt=attempt,
        **(_told(capture, outcome) if capture is not None else {}),
    )
    if capture is None or not capture.tries:
        return case
    tries = [
        dataclasses.replace(case, outcome=kind, message=message[:MESSAGE_LIMIT], details=details or None)
        for kind, message, details in capture.tries
    ]
    return with_earlier(case, tries)


def _told(capture: Capture, outcome: Outcome) -> dict[str, Any]:
    """The fields of a case that its children fill."""
    told: dict[str, Any] = {"message": capture.message[:MESSAGE_LIMIT] or None}
    if outcome in RED:
        told["details"] = capture.details or None
        told["output"] = str(capture.output) if capture.output is not None else None
    if capture.type == XFAIL_TYPE:
        told["expected_failure"] = True
    elif capture.type == INTERRUPTED_TYPE:
        told["interrupted"] = True
    if capture.properties:
        told["metrics"] = metrics_of(tuple(capture.properties))
    return told


def with_earlier(case: CaseResult, earlier: Sequence[CaseResult]) -> CaseResult:
    """The case with what went wrong in earlier tries; flaky if it passed in the end."""
    if not earlier:
        return case
    plain = tuple(dataclasses.replace(item, earlier=(), flaky=False) for item in earlier[:TRIES_LIMIT])
    return dataclasses.replace(case, earlier=plain, flaky=case.outcome is Outcome.PASSED)
