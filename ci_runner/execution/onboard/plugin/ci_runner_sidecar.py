"""A pytest plugin that writes what happens, as it happens, to a file that survives the process.

One file, nothing but pytest needed, Python 3.9 syntax, pytest 7.4 and newer. The format is described in
docs/reference/run-folder.md. Environment: CI_RUNNER_SIDECAR is the file; CI_RUNNER_STACKS receives the stacks of all
threads when the announced signal arrives; CI_RUNNER_SELECT names a JSON list of the node ids to run.
"""

from __future__ import annotations

import contextlib
import errno
import faulthandler
import fcntl
import json
import os
import signal
import sys
import time
from typing import Any

import pytest

# Taken now: tests replace these.
_write, _getpid, _fstat, _open, _time, _dumps = os.write, os.getpid, os.fstat, os.open, time.time, json.dumps
VARIABLES = ("CI_RUNNER_SIDECAR", "CI_RUNNER_STACKS", "CI_RUNNER_SELECT")
HIGH_FD = 200  # out of the way of tests that count on the next free descriptor
MESSAGE = 500
DETAILS = 64 * 1024
OUTPUT = 16 * 1024
PENDING = 10_000  # lines kept while they cannot be written
SUBTESTS = 100
FLAGS = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC


class Writer:
    """Appends lines to a file, one write each; no fault of the disk or the test reaches the session."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.pid = _getpid()
        self.fd = -1
        self.identity: Any = None
        self.pending: list[bytes] = []
        self.torn = False
        self.open()

    def open(self) -> None:
        """Open the file at a high descriptor and remember which file that is."""
        fd = _open(self.path, FLAGS, 0o644)
        try:
            self.fd = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, HIGH_FD)
        except (OSError, ValueError):  # the limit on descriptors is below that
            self.fd, fd = fd, -1
        finally:
            if fd >= 0:
                os.close(fd)
        found = _fstat(self.fd)
        self.identity = (found.st_dev, found.st_ino)

    def check(self) -> None:
        """Open the file again if a test closed our descriptor, or got the number for a file of its own."""
        try:
            found = _fstat(self.fd)
            if (found.st_dev, found.st_ino) == self.identity:
                return
        except OSError as error:
            if error.errno != errno.EBADF:
                raise
        self.open()

    def line(self, event: str, **fields: Any) -> None:
        """Write one line; a process that a test forked has nothing to say."""
        if _getpid() != self.pid:
            return
        values = {"event": event}
        values.update(item for item in fields.items() if item[1] not in (None, "", [], {}, ()))
        try:
            data = (
                _dumps(values, ensure_ascii=True, separators=(",", ":"), default=str).encode("ascii") + b"\n"
            )
        except (ValueError, RecursionError):  # a property that holds itself
            values.pop("properties", None)
            data = (
                _dumps(values, ensure_ascii=True, separators=(",", ":"), default=repr).encode("ascii") + b"\n"
            )
        self.pending.append(data)
        try:
            self.check()
            while self.pending:
                self.put(self.pending[0])
                del self.pending[0]
        except OSError:  # full disk, file limit: try again with the next line
            del self.pending[:-PENDING]

    def put(self, data: bytes) -> None:
        """One write; after a torn one the next begins on a fresh line."""
        if self.torn:
            data = b"\n" + data
        written = _write(self.fd, data)
        self.torn = 0 < written < len(data)
        if written < len(data):
            raise OSError(errno.ENOSPC, "short write")


class Sidecar:
    """The hooks. In an xdist run the workers tell of tests, the controller of the collection and of crashes."""

    def __init__(self, config: Any, writer: Writer) -> None:
        self.config = config
        self.writer = writer
        self.worker = getattr(config, "workerinput", {}).get("workerid")
        self.deselected = 0
        self.errors: list[str] = []
        self.told = False
        self.only = self.wanted()
        self.current: dict[str, Any] = {}

    @property
    def controls(self) -> bool:
        """Whether tests run in other processes."""
        return bool(self.config.pluginmanager.hasplugin("dsession"))

    def wanted(self) -> list[str] | None:
        """The node ids that are to run; None for all."""
        path = os.environ.get("CI_RUNNER_SELECT")
        if not path:
            return None
        with open(path, encoding="utf-8") as file:
            return [str(item) for item in json.load(file)]

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, config: Any, items: list[Any]) -> None:
        """Keep the tests that were asked for."""
        if self.only is None:
            return
        wanted = set(self.only)
        keep = [item for item in items if matches(item.nodeid, wanted)]
        if len(keep) < len(items):
            kept = set(map(id, keep))
            config.hook.pytest_deselected(items=[item for item in items if id(item) not in kept])
            items[:] = keep

    def pytest_deselected(self, items: Any) -> None:
        """Count what somebody's selection left out."""
        self.deselected += len(items)

    def pytest_collectreport(self, report: Any) -> None:
        """Remember what could not be collected."""
        if report.failed and self.worker is None:
            self.errors.append(report.nodeid)
            self.writer.line(
                "end",
                id=report.nodeid or ".",
                time=_time(),
                outcome="errored",
                duration=0.0,
                message=f"collection failed: {last_line(text_of(report))}"[:MESSAGE],
                details=cut(text_of(report), DETAILS),
            )

    def pytest_collection_finish(self, session: Any) -> None:
        """Tell what will run, unless other processes collect."""
        if self.worker is None and not self.controls:
            self.tell([item.nodeid for item in session.items])

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, node: Any, ids: list[str]) -> None:
        """Tell what the first worker collected: xdist insists that all collect the same."""
        if not self.told:
            self.tell(list(ids))

    def tell(self, tests: list[str]) -> None:
        """The line that says which tests are expected."""
        self.told = True
        unknown = (
            []
            if self.only is None
            else [name for name in self.only if not any(covers(name, test) for test in tests)]
        )
        self.writer.line(
            "collected",
            time=_time(),
            tests=tests or None,
            deselected=self.deselected or None,
            errors=self.errors,
            unknown=unknown,
        )

    def pytest_runtest_logstart(self, nodeid: str, location: Any) -> None:
        """One test begins."""
        if not self.controls:
            self.current = {}
            self.writer.line("start", id=nodeid, time=_time(), worker=self.worker)

    def pytest_runtest_logreport(self, report: Any) -> None:
        """One phase of a test ended; a try that will be repeated, and a worker that crashed, end it here."""
        if self.controls:
            if report.when not in ("setup", "call", "teardown"):
                self.end(report.nodeid, add({}, report))
            return
        if hasattr(report, "context") and type(report).__name__.lower() == "subtestreport":
            add_subtest(self.current, report)
            return
        add(self.current, report)
        if report.outcome == "rerun":
            self.end(report.nodeid, self.current)
            self.current = {}

    def pytest_runtest_logfinish(self, nodeid: str, location: Any) -> None:
        """One test ended."""
        if not self.controls and self.current.get("phases"):
            self.end(nodeid, self.current)
            self.current = {}

    def end(self, nodeid: str, told: dict[str, Any]) -> None:
        """The line of an end."""
        bad = [item for item in told.get("subtests", ()) if item["outcome"] == "failed"]
        if bad and told["outcome"] == "passed":  # the plugin for older pytest leaves the test itself green
            told["outcome"], told["message"] = "failed", bad[0].get("message")
        self.writer.line("end", id=nodeid, time=_time(), worker=self.worker, **told)

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: Any, exitstatus: Any) -> None:
        """The session is over."""
        self.writer.line("exit", time=_time(), status=int(exitstatus), worker=self.worker)


def add(told: dict[str, Any], report: Any) -> dict[str, Any]:
    """Take one phase into what is told of a test."""
    phases = told.setdefault("phases", {})
    seconds = round(getattr(report, "duration", 0.0) or 0.0, 6)
    phases[report.when if report.when in ("setup", "call", "teardown") else "call"] = seconds
    told["duration"] = round(sum(phases.values()), 6)
    outcome = outcome_of(report)
    if outcome != "passed" and told.get("outcome") not in ("failed", "errored"):
        told["outcome"] = outcome
        explain(told, report)
    elif report.when == "call" or "outcome" not in told:
        told.setdefault("outcome", outcome)
    if report.user_properties:
        told["properties"] = [[str(name), plain(value)] for name, value in report.user_properties]
    return told


def add_subtest(told: dict[str, Any], report: Any) -> None:
    """Take a subtest into what is told of its test; passing ones beyond the first hundred are not kept."""
    found = told.setdefault("subtests", [])
    context = report.context
    parts = [f"[{context.msg}]"] if getattr(context, "msg", None) is not None else []
    parts += [f"{name}={value!r}" for name, value in dict(getattr(context, "kwargs", None) or {}).items()]
    entry = {"description": " ".join(parts)[:MESSAGE] or "(subtest)", "outcome": outcome_of(report)}
    if report.outcome != "passed":
        entry["message"] = message_of(report)
    if report.outcome == "failed" or len(found) < SUBTESTS:
        found.append(entry)


def outcome_of(report: Any) -> str:
    """The word for a phase."""
    if report.outcome == "rerun":
        return "rerun"
    if report.outcome == "skipped":
        return "xfailed" if hasattr(report, "wasxfail") else "skipped"
    if report.outcome == "failed":
        return "failed" if report.when in ("call", "???") else "errored"
    return "xpassed" if hasattr(report, "wasxfail") and report.when == "call" else "passed"


def explain(told: dict[str, Any], report: Any) -> None:
    """Where and why: message, details, captured output, place."""
    file, line, _domain = report.location or (None, None, None)
    told["file"], told["line"] = file, (line + 1) if line is not None else None
    told["message"] = message_of(report)
    if report.outcome not in ("failed", "rerun"):
        return
    told["details"] = cut(text_of(report), DETAILS)
    told["output"] = "\n".join(f"--- {name}\n{content}" for name, content in report.sections)[-OUTPUT:]
    entries = getattr(getattr(report.longrepr, "reprtraceback", None), "reprentries", None) or ()
    for entry in entries:
        place = getattr(entry, "reprfileloc", None)
        if place is not None and file and str(place.path).replace(os.sep, "/").endswith(str(file)):
            told["line"] = place.lineno


def message_of(report: Any) -> str:
    """One line that says why."""
    if hasattr(report, "wasxfail") and report.wasxfail:
        return one_line(str(report.wasxfail).removeprefix("reason: "))
    longrepr = report.longrepr
    if isinstance(longrepr, tuple) and len(longrepr) == 3:
        return one_line(str(longrepr[2]).removeprefix("Skipped: "))
    crash = getattr(longrepr, "reprcrash", None)
    return one_line(str(crash.message)) if crash is not None else last_line(text_of(report))


def text_of(report: Any) -> str:
    """The failure as pytest would print it."""
    try:
        return str(report.longreprtext)
    except Exception as error:  # noqa: BLE001 - a foreign __repr__ or plugin may raise anything here
        return f"(the failure cannot be shown: {type(error).__name__})"


def one_line(text: str) -> str:
    """The first line that says something, with a few of those after it if it is short."""
    lines = [line.strip() for line in text.strip().splitlines() if line.strip()]
    return " ".join(lines[:3])[:MESSAGE] if lines else ""


def last_line(text: str) -> str:
    """The last line that says something: where tracebacks put the reason."""
    lines = [line.strip() for line in text.strip().splitlines() if line.strip()]
    return lines[-1][:MESSAGE] if lines else ""


def cut(text: str, limit: int) -> str:
    """The text, or its head and tail with a line that says how much is missing."""
    if len(text) <= limit:
        return text
    half = limit // 2
    return f"{text[:half]}\n… {len(text) - limit} characters left out …\n{text[-half:]}"


def plain(value: Any) -> Any:
    """A property's value as JSON can hold it."""
    if isinstance(value, bool) or value is None:
        return value
    return value if isinstance(value, (int, float, str)) else str(value)[:MESSAGE]


def matches(nodeid: str, wanted: set[str]) -> bool:
    """Whether a test, or something that it is part of, was asked for."""
    if nodeid in wanted:
        return True
    parts = nodeid.split("::")
    return any("::".join(parts[:count]) in wanted for count in range(1, len(parts))) or (
        "[" in nodeid and nodeid.split("[", 1)[0] in wanted
    )


def covers(name: str, nodeid: str) -> bool:
    """Whether asking for `name` asks for this test."""
    return nodeid == name or nodeid.startswith((f"{name}::", f"{name}["))


def register_stacks() -> int | None:
    """Answer a signal with the stacks of all threads; the signal's number, or None if it cannot be done."""
    path = os.environ.get("CI_RUNNER_STACKS")
    number = signal.SIGRTMIN + 5 if hasattr(signal, "SIGRTMIN") else getattr(signal, "SIGUSR2", None)
    if not path or number is None or not hasattr(faulthandler, "register"):
        return None
    try:
        fd = _open(path, FLAGS, 0o644)
        with contextlib.suppress(OSError, ValueError):
            high = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, HIGH_FD)
            os.close(fd)
            fd = high
        faulthandler.register(number, file=fd, all_threads=True, chain=False)
    except (OSError, ValueError, RuntimeError):
        return None
    return int(number)


def leave_no_trace() -> None:
    """Take our folder and variables away: tests see what they would see under pytest alone."""
    here = os.path.dirname(os.path.abspath(__file__))
    sys.path[:] = [path for path in sys.path if os.path.abspath(path or ".") != here]
    rest = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path != here]
    if rest and rest != [""]:
        os.environ["PYTHONPATH"] = os.pathsep.join(rest)
    else:
        os.environ.pop("PYTHONPATH", None)
    for name in VARIABLES:
        os.environ.pop(name, None)


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: Any) -> None:
    """Announce this process and start to listen."""
    path = os.environ.get("CI_RUNNER_SIDECAR")
    if not path:
        return
    writer = Writer(path)
    number = register_stacks()
    sidecar = Sidecar(config, writer)
    writer.line(
        "session",
        v=1,
        pid=writer.pid,
        time=_time(),
        python=".".join(map(str, sys.version_info[:3])),
        pytest=pytest.__version__,
        rootdir=str(config.rootpath),
        worker=sidecar.worker,
        stack_signal=number,
    )
    config.pluginmanager.register(sidecar, "ci-runner-sidecar")
    if sidecar.worker is not None or not starts_workers(config):
        leave_no_trace()


def starts_workers(config: Any) -> bool:
    """Whether xdist will start processes from this one, which need what we were given."""
    option = config.option
    return bool(
        getattr(option, "numprocesses", None)
        or getattr(option, "tx", None)
        or getattr(option, "looponfail", None)
    )
