"""Reads the sidecar: what each test came to, even if the run was killed in the middle of a line."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ci_runner.model import CaseResult, Outcome

LINE_LIMIT = 512 * 1024 * 1024  # the list of all node ids is one line
LINE_START = b'{"event":"'  # cannot stand inside a string of JSON, where quotes are escaped
METRIC = "metric."
OUTCOMES = {
    "passed": Outcome.PASSED,
    "xpassed": Outcome.PASSED,
    "failed": Outcome.FAILED,
    "errored": Outcome.ERRORED,
    "skipped": Outcome.SKIPPED,
    "xfailed": Outcome.SKIPPED,
}
RERUN = "rerun"


@dataclass(frozen=True, slots=True, kw_only=True)
class SidecarEnd:
    """One end of one test; `outcome` is pytest's word, `rerun` included."""

    id: str
    outcome: str
    time: float = 0.0
    duration: float = 0.0
    worker: str | None = None
    file: str | None = None
    line: int | None = None
    message: str | None = None
    details: str | None = None
    output: str | None = None
    phases: Mapping[str, float] = field(default_factory=dict)
    properties: tuple[tuple[str, object], ...] = ()
    subtests: tuple[Mapping[str, str], ...] = ()
    collector: bool = False  # a file or folder whose tests are not told, because it failed or skipped itself


@dataclass(frozen=True, slots=True, kw_only=True)
class SidecarLog:
    """Everything a sidecar says; `collected` is None if the collection never ended."""

    sessions: tuple[Mapping[str, Any], ...] = ()
    collected: tuple[str, ...] | None = None
    deselected: int = 0
    collection_errors: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()
    ended: tuple[SidecarEnd, ...] = ()
    running: tuple[str, ...] = ()
    exit_status: int | None = None
    bad_lines: int = 0


def read_sidecar(path: Path) -> SidecarLog:
    """The log in a file; empty if there is no file. A torn last line is ignored, other garbage is counted."""
    reader = _Reader()
    try:
        with path.open("rb") as file:
            while line := file.readline(LINE_LIMIT):
                if len(line) < LINE_LIMIT or line.endswith(b"\n"):
                    reader.take(line)
                    continue
                while line and not line.endswith(b"\n"):
                    line = file.readline(LINE_LIMIT)
                reader.bad += 1
    except (FileNotFoundError, NotADirectoryError):
        return SidecarLog()
    return reader.log()


def has_session(path: Path) -> bool:
    """Whether the plugin was loaded: the first line announces the process."""
    try:
        with path.open("rb") as file:
            return file.readline(1 << 16).startswith(LINE_START + b'session"')
    except (FileNotFoundError, NotADirectoryError):
        return False


class _Reader:
    def __init__(self) -> None:
        self.sessions: list[Mapping[str, Any]] = []
        self.collected: dict[str, None] | None = None
        self.deselected = 0
        self.errors: dict[str, None] = {}
        self.unknown: list[str] = []
        self.ended: list[SidecarEnd] = []
        self.running: dict[str, None] = {}
        self.exit_status: int | None = None
        self.bad = 0
        self.handlers = {
            "session": self._session,
            "collected": self._collected,
            "deselected": self._deselected,
            "start": self._start,
            "end": self._end,
            "exit": self._exit,
        }

    def take(self, line: bytes) -> None:
        """One line; without its end it was torn when the writer was killed."""
        if not line.strip():
            return
        if not self._understand(line):
            self.bad += line.endswith(b"\n")
            start = line.rfind(LINE_START)
            if start > 0:  # a worker was killed while it wrote, and another wrote on behind that
                self._understand(line[start:])

    def _understand(self, line: bytes) -> bool:
        """Whether the line says something."""
        try:
            entry = json.loads(line)
            if b"\\ud" in line or b"\\uD" in line:
                entry = _writable(entry)
            take = self.handlers.get(entry["event"])
            if take is not None:  # else it is of a kind that a newer plugin writes
                take(entry)
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError, OverflowError):
            return False
        return True

    def log(self) -> SidecarLog:
        """What was read."""
        return SidecarLog(
            sessions=tuple(self.sessions),
            collected=tuple(self.collected) if self.collected is not None else None,
            deselected=self.deselected,
            collection_errors=tuple(self.errors),
            unknown=tuple(self.unknown),
            ended=tuple(self.ended),
            running=tuple(self.running),
            exit_status=self.exit_status,
            bad_lines=self.bad,
        )

    def _session(self, entry: Mapping[str, Any]) -> None:
        self.sessions.append({"pid": int(entry["pid"]), **entry})

    def _collected(self, entry: Mapping[str, Any]) -> None:
        tests, unknown = _names(entry, "tests"), _names(entry, "unknown")
        deselected = int(entry.get("deselected", 0))
        self.errors.update(dict.fromkeys(_names(entry, "errors")))
        self.collected, self.unknown = dict.fromkeys(tests), unknown
        self.deselected = max(self.deselected, deselected)

    def _deselected(self, entry: Mapping[str, Any]) -> None:
        self.deselected = max(self.deselected, int(entry["count"]))  # every worker deselects the same

    def _start(self, entry: Mapping[str, Any]) -> None:
        self.running[str(entry["id"])] = None

    def _end(self, entry: Mapping[str, Any]) -> None:
        end = end_of(entry)
        self.ended.append(end)
        if end.collector and end.outcome == "errored":
            self.errors[end.id] = None
        if end.outcome != RERUN:
            self.running.pop(end.id, None)

    def _exit(self, entry: Mapping[str, Any]) -> None:
        if entry.get("worker") is None:
            self.exit_status = int(entry["status"])


def end_of(entry: Mapping[str, Any]) -> SidecarEnd:
    """The end that a line tells of. Raises ValueError, TypeError or KeyError if it is none."""
    outcome = str(entry["outcome"])
    if outcome not in OUTCOMES and outcome != RERUN:
        raise ValueError(f"unknown outcome {outcome!r}")
    return SidecarEnd(
        id=str(entry["id"]),
        outcome=outcome,
        time=_finite(entry.get("time", 0.0)),
        duration=_finite(entry.get("duration", 0.0)),
        worker=_text(entry, "worker"),
        file=_text(entry, "file"),
        line=int(entry["line"]) if isinstance(entry.get("line"), int) else None,
        message=_text(entry, "message"),
        details=_text(entry, "details"),
        output=_text(entry, "output"),
        phases={str(name): _finite(seconds) for name, seconds in dict(entry.get("phases", {})).items()},
        properties=tuple((str(item[0]), item[1]) for item in entry.get("properties", ()) if len(item) == 2),
        subtests=tuple(
            {str(key): str(value) for key, value in item.items()} for item in entry.get("subtests", ())
        ),
        collector=entry.get("collector") is True,
    )


def _finite(value: Any) -> float:
    number = float(value)
    if not math.isfinite(number):
        raise ValueError(f"not a finite number: {value!r}")
    return number


def _names(entry: Mapping[str, Any], name: str) -> list[str]:
    value = entry.get(name, [])
    if not isinstance(value, list):
        raise TypeError(f"{name} is no list")
    return [str(item) for item in value]


def _writable(value: Any) -> Any:
    """The same without halves of characters, which no file in UTF-8 can hold."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode("utf-8")
    if isinstance(value, list):
        return [_writable(item) for item in value]
    if isinstance(value, dict):
        return {_writable(name): _writable(item) for name, item in value.items()}
    return value


def _text(entry: Mapping[str, Any], name: str) -> str | None:
    value = entry.get(name)
    return value if isinstance(value, str) else None


def case_of(end: SidecarEnd, *, suite: str = "", attempt: str | None = None) -> CaseResult:
    """The case that an end stands for; a try that was repeated counts as failed."""
    classname, name = junit_name(end.id)
    bad = [item for item in end.subtests if item.get("outcome") == "failed"]
    details = end.details
    if bad:
        listed = "\n".join(f"{item.get('description', '')}: {item.get('message', '')}" for item in bad)
        details = f"failed subtests:\n{listed}\n\n{details or ''}".rstrip()
    return CaseResult(
        id=end.id,
        outcome=OUTCOMES.get(end.outcome, Outcome.FAILED),
        suite=suite,
        name=name,
        classname=classname,
        duration_seconds=end.duration,
        file=end.file or end.id.partition("::")[0],
        line=end.line,
        message=end.message,
        details=details,
        output=end.output,
        worker=end.worker,
        attempt=attempt,
        expected_failure=end.outcome == "xfailed",
        metrics=metrics_of(end.properties),
    )


def metrics_of(properties: tuple[tuple[str, object], ...]) -> dict[str, float]:
    """The numbers that a test recorded under `metric.NAME`."""
    found = {}
    for name, value in properties:
        if name.startswith(METRIC) and isinstance(value, (int, float, str)) and not isinstance(value, bool):
            try:
                found[name.removeprefix(METRIC)] = _finite(value)
            except (ValueError, OverflowError):
                continue  # a property that only looks like a metric
    return found


def junit_name(nodeid: str) -> tuple[str, str]:
    """The class name and name under which pytest's JUnit file lists a node id."""
    bare, bracket, parameters = nodeid.partition("[")
    file, *rest = bare.replace("\\", "/").split("::")
    names = [file.removesuffix(".py").replace("/", "."), *rest]
    names[-1] += bracket + parameters
    return ".".join(names[:-1]), names[-1]
