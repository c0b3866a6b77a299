"""Reads the sidecar: what each test came to, even if the run was killed in the middle of a line."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ci_runner.model import CaseResult, Outcome

LINE_LIMIT = 64 * 1024 * 1024  # the list of all node ids is one line
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
                reader.take(line)
    except (FileNotFoundError, NotADirectoryError):
        return SidecarLog()
    return reader.log()


class _Reader:
    def __init__(self) -> None:
        self.sessions: list[Mapping[str, Any]] = []
        self.collected: dict[str, None] | None = None
        self.deselected = 0
        self.errors: list[str] = []
        self.unknown: list[str] = []
        self.ended: list[SidecarEnd] = []
        self.running: dict[str, None] = {}
        self.exit_status: int | None = None
        self.bad = 0

    def take(self, line: bytes) -> None:
        """One line; without its end it was torn when the writer was killed."""
        if not line.strip():
            return
        try:
            entry = json.loads(line)
            event = entry["event"]
            getattr(self, f"_{event}", self._other)(entry)
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            self.bad += line.endswith(b"\n")

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
        self.collected = dict.fromkeys(str(test) for test in entry.get("tests", ()))
        self.deselected = int(entry.get("deselected", 0))
        self.errors = [str(test) for test in entry.get("errors", ())]
        self.unknown = [str(test) for test in entry.get("unknown", ())]

    def _start(self, entry: Mapping[str, Any]) -> None:
        self.running[str(entry["id"])] = None

    def _end(self, entry: Mapping[str, Any]) -> None:
        end = end_of(entry)
        self.ended.append(end)
        if end.outcome != RERUN:
            self.running.pop(end.id, None)

    def _exit(self, entry: Mapping[str, Any]) -> None:
        if entry.get("worker") is None:
            self.exit_status = int(entry["status"])

    def _other(self, _entry: Mapping[str, Any]) -> None:
        """A kind of line that a newer plugin writes."""


def end_of(entry: Mapping[str, Any]) -> SidecarEnd:
    """The end that a line tells of. Raises ValueError, TypeError or KeyError if it is none."""
    outcome = str(entry["outcome"])
    if outcome not in OUTCOMES and outcome != RERUN:
        raise ValueError(f"unknown outcome {outcome!r}")
    return SidecarEnd(
        id=str(entry["id"]),
        outcome=outcome,
        time=float(entry.get("time", 0.0)),
        duration=float(entry.get("duration", 0.0)),
        worker=_text(entry, "worker"),
        file=_text(entry, "file"),
        line=int(entry["line"]) if isinstance(entry.get("line"), int) else None,
        message=_text(entry, "message"),
        details=_text(entry, "details"),
        output=_text(entry, "output"),
        phases={str(name): float(seconds) for name, seconds in dict(entry.get("phases", {})).items()},
        properties=tuple((str(item[0]), item[1]) for item in entry.get("properties", ()) if len(item) == 2),
        subtests=tuple(
            {str(key): str(value) for key, value in item.items()} for item in entry.get("subtests", ())
        ),
    )


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
                found[name.removeprefix(METRIC)] = float(value)
            except ValueError:
                continue  # a property that only looks like a metric
    return found


def junit_name(nodeid: str) -> tuple[str, str]:
    """The class name and name under which pytest's JUnit file lists a node id."""
    bare, bracket, parameters = nodeid.partition("[")
    file, *rest = bare.replace("\\", "/").split("::")
    names = [file.removesuffix(".py").replace("/", "."), *rest]
    names[-1] += bracket + parameters
    return ".".join(names[:-1]), names[-1]
