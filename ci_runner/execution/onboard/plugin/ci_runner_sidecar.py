"""A pytest plugin that writes what happens, as it happens, to a file that survives the process.

One file, nothing but pytest needed, Python 3.9 syntax, pytest 7.4 and newer. The format is described in
docs/reference/run-folder.md. Environment: CI_RUNNER_SIDECAR is the file; CI_RUNNER_STACKS receives the stacks of all
threads when the announced signal arrives; CI_RUNNER_SELECT names a JSON list of the node ids to run.
Nothing is asserted here, so pytest need not look for that: PYTEST_DONT_REWRITE.
"""

from __future__ import annotations

import contextlib
import errno
import faulthandler
import fcntl
import itertools
import json
import math
import operator
import os
import resource
import signal
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest

VARIABLES = ("CI_RUNNER_SIDECAR", "CI_RUNNER_STACKS", "CI_RUNNER_SELECT")
NAME = "ci-runner-sidecar"
HIGH_FD = 200  # out of the way of tests that count on the next free descriptor
MESSAGE = 500
DETAILS = 64 * 1024
OUTPUT = 16 * 1024
PENDING = 32 * 1024 * 1024  # bytes kept while they cannot be written
SUBTESTS = 100  # how many of those that passed are told
BAD_SUBTESTS = 1000
PHASES = ("setup", "call", "teardown")
FLAGS = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC


class Kept:
    """What tests replace, as it was; in a class, because tools that freeze time search the globals of modules."""

    write, open, close, fstat, lseek, getpid = os.write, os.open, os.close, os.fstat, os.lseek, os.getpid
    fcntl, getrlimit, setrlimit, time = fcntl.fcntl, resource.getrlimit, resource.setrlimit, time.time


def shown(value: Any) -> str:
    """A foreign value as text, whatever its class does."""
    try:
        return str(value)[:MESSAGE]
    except Exception as error:  # noqa: BLE001 - a foreign __str__ may raise anything
        return f"({type(value).__name__} that cannot be shown: {type(error).__name__})"


encode = json.JSONEncoder(ensure_ascii=True, separators=(",", ":"), default=shown).encode
quoted = json.encoder.encode_basestring_ascii


class Appended:
    """A file that is appended to through a descriptor that tests may close or take over."""

    def __init__(self, path: str) -> None:
        self.path = os.path.abspath(path)
        self.open()

    def open(self) -> None:
        """Open the file, at a high descriptor if the limit on them allows it, and remember which file that is."""
        self.fd = Kept.open(self.path, FLAGS, 0o644)
        try:
            high = Kept.fcntl(self.fd, fcntl.F_DUPFD_CLOEXEC, HIGH_FD)
        except (OSError, ValueError):
            high = self.fd
        else:
            Kept.close(self.fd)
        self.fd = high
        found = Kept.fstat(high)
        self.device, self.inode, self.end = found.st_dev, found.st_ino, -1

    def check(self) -> bool:
        """Open the file again if our number is closed or stands for another file; whether that was so.

        A number whose file stands where our last line ended is still ours: that takes a quarter of the time to see.
        """
        try:
            end = Kept.lseek(self.fd, 0, os.SEEK_CUR)
            if end == self.end:
                return False
            found = Kept.fstat(self.fd)
        except OSError as error:
            if error.errno not in (errno.EBADF, errno.ESPIPE):
                raise
        else:
            if found.st_ino == self.inode and found.st_dev == self.device:
                self.end = end
                return False
        self.open()
        return True

    def append(self, data: bytes) -> int:
        """One write, even beyond a limit on the size of files that a test has set; how much was written."""
        try:
            return Kept.write(self.fd, data)
        except OSError as error:
            if error.errno != errno.EFBIG:
                raise
        soft, hard = Kept.getrlimit(resource.RLIMIT_FSIZE)
        for limit in (resource.RLIM_INFINITY, hard):
            try:
                Kept.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
            except (OSError, ValueError):
                continue  # only root may raise the hard limit
            try:
                return Kept.write(self.fd, data)
            finally:
                Kept.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        raise OSError(errno.EFBIG, "the limit on the size of files cannot be raised")


class Stacks:
    """Answers a signal with the stacks of all threads; `number` is None where that cannot be done."""

    def __init__(self, path: str | None) -> None:
        number = signal.SIGRTMIN + 5 if hasattr(signal, "SIGRTMIN") else getattr(signal, "SIGUSR2", None)
        self.path = path
        self.number = int(number) if number is not None and hasattr(faulthandler, "register") else None
        self.register()

    def register(self) -> None:
        """Listen to the signal; once more after a test has closed our descriptors."""
        if self.number is None or not self.path:
            self.number = None
            return
        try:
            faulthandler.register(self.number, file=Appended(self.path).fd, all_threads=True, chain=False)
        except (OSError, ValueError, RuntimeError):
            self.number = None


class Writer:
    """Appends lines to the file, one write each; no fault of the disk or the test reaches the session."""

    def __init__(self, path: str, stacks: Stacks) -> None:
        self.file = Appended(path)
        self.stacks = stacks
        self.pid = Kept.getpid()
        self.pending: list[bytes] = []
        self.torn: tuple[bytes, int] | None = None  # the line whose end waits, and where the file ended then

    def line(self, event: str, fields: dict[str, Any]) -> None:
        """Write one line; fields that are empty are left out."""
        values = {"event": event}
        values.update((name, value) for name, value in fields.items() if value or value in (0, False))
        try:
            text = encode(values)
        except (ValueError, RecursionError, MemoryError):
            few = {name: values[name] for name in ("event", "id", "time", "outcome") if name in values}
            text = encode({**few, "message": "(what happened cannot be put into a line)"})
        self.put(text + "\n")

    def put(self, text: str, *, checked: bool = False) -> bool:
        """Write a line, after those that wait; what cannot be written waits for the next one. Whether all is well.

        A process that a test forked has nothing to say. `checked`: all was well with the last line, and no test ran since.
        """
        if not checked and Kept.getpid() != self.pid:
            return False
        data, written, file = text.encode("ascii"), 0, self.file
        try:
            if not checked and file.check():
                self.stacks.register()
            if not self.pending:  # the way of nearly all lines, so without a detour
                written = Kept.write(file.fd, data)
                if written == len(data):
                    file.end += written
                    return True
        except OSError as error:
            if error.errno != errno.EFBIG:
                self.keep(data)
                return False
        if written:
            self.torn = (data, Kept.lseek(file.fd, 0, os.SEEK_CUR))
        self.keep(data[written:])
        with contextlib.suppress(OSError):  # full disk, limit on files: again with the next line
            while self.pending:
                self.write(self.pending.pop(0))
        return False

    def keep(self, data: bytes) -> None:
        """Let a line wait; when they are too many the oldest go, but not the end of a torn one."""
        self.pending.append(data)
        room = PENDING
        for index in range(len(self.pending) - 1, 0, -1):
            room -= len(self.pending[index])
            if room < 0:
                del self.pending[1 : index + 1]
                break

    def write(self, data: bytes) -> None:
        """Write what was taken from those that wait; the end of a torn line goes where its beginning stands."""
        try:
            if self.torn is not None and Kept.fstat(self.file.fd).st_size != self.torn[1]:
                data, self.torn = b"\n" + self.torn[0], None  # another process has written since
            written = self.file.append(data)
        except OSError:
            self.pending.insert(0, data)
            raise
        if written == len(data):
            self.torn = None
            return
        self.torn = (self.torn[0] if self.torn else data, Kept.lseek(self.file.fd, 0, os.SEEK_CUR))
        self.pending.insert(0, data[written:])
        if not written:
            raise OSError(errno.ENOSPC, "nothing was written")


class Sidecar:
    """The hooks. In an xdist run the workers tell of tests, the controller of the collection and of crashes."""

    def __init__(self, config: Any, writer: Writer, given: dict[str, str]) -> None:
        self.config = config
        self.writer = writer
        self.given = given
        self.worker = getattr(config, "workerinput", {}).get("workerid")
        self.controls = False
        self.grouped = False
        self.deselected = 0
        self.errors: list[str] = []
        self.told = False
        self.only = wanted_tests(given.get("CI_RUNNER_SELECT"))
        self.current: dict[str, dict[str, Any]] = {}
        self.checked = False  # whether the file was found in order after the last test
        self.reports: list[Any] = []  # the phases of this test as long as they passed
        self.location: Any = None
        self.told_as = ""
        self.by = f'"worker":{quoted(self.worker)},' if self.worker else ""

    def line(self, event: str, **fields: Any) -> None:
        """Write one line with the time and the worker."""
        self.checked = False
        self.writer.line(event, {"time": Kept.time(), "worker": self.worker, **fields})

    def name(self, nodeid: str) -> str:
        """A node id as it is told: without the group that xdist appends, and writable as UTF-8."""
        if self.grouped and nodeid.rfind("@") > max(nodeid.rfind("]"), nodeid.rfind("::")):
            nodeid = nodeid[: nodeid.rfind("@")]
        return nodeid if nodeid.isascii() else nodeid.encode("utf-8", "backslashreplace").decode("utf-8")

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionstart(self, session: Any) -> None:
        """See whether tests run in other processes; xdist says so only when everything is configured."""
        option = self.config.option
        self.controls = bool(self.config.pluginmanager.hasplugin("dsession"))
        self.grouped = bool(getattr(option, "loadgroup", False)) or getattr(option, "dist", "") == "loadgroup"

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        """Give a worker what we were given: our variables are gone from the environment."""
        node.workerinput[NAME] = self.given

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, config: Any, items: list[Any]) -> None:
        """Keep the tests that were asked for."""
        if self.only is None:
            return
        wanted = set(self.only)
        keep = [not wanted.isdisjoint(wholes(self.name(item.nodeid))) for item in items]
        if not all(keep):
            config.hook.pytest_deselected(items=list(itertools.compress(items, map(operator.not_, keep))))
            items[:] = itertools.compress(items, keep)

    def pytest_deselected(self, items: Any) -> None:
        """Count what somebody's selection left out."""
        self.deselected += len(items)

    def pytest_collectreport(self, report: Any) -> None:
        """Tell of a file that could not be collected, or that skips itself: none of its tests will be told."""
        if report.passed or self.worker is not None:
            return
        name = self.name(report.nodeid) or "."
        if report.failed and name not in self.errors:
            self.errors.append(name)
        told = {"outcome": "errored" if report.failed else "skipped", "duration": 0.0, "collector": True}
        if report.failed:
            told["details"] = cut(text_of(report), DETAILS)
            told["message"] = f"collection failed: {last_line(text_of(report))}"[:MESSAGE]
        else:
            told["message"] = message_of(report)
        self.line("end", id=name, **told)

    @pytest.hookimpl(trylast=True)
    def pytest_collection_finish(self, session: Any) -> None:
        """Tell what will run, unless other processes collect."""
        if self.worker is None and not self.controls:
            self.tell([item.nodeid for item in session.items])
        elif self.worker is not None and self.deselected:
            self.line("deselected", count=self.deselected)

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, node: Any, ids: list[str]) -> None:
        """Tell what the first worker collected: xdist insists that all collect the same."""
        if not self.told:
            self.tell(ids)

    def tell(self, nodeids: Any) -> None:
        """The line that says which tests are expected."""
        self.told = True
        tests = [self.name(nodeid) for nodeid in nodeids]
        unknown: list[str] = []
        if self.only is not None:
            known = {whole for test in tests for whole in wholes(test)}
            unknown = [name for name in self.only if name not in known]
        self.line(
            "collected", tests=tests, deselected=self.deselected or None, errors=self.errors, unknown=unknown
        )

    def pytest_runtest_logstart(self, nodeid: str, location: Any) -> None:
        """One test begins."""
        if self.controls:
            return
        if self.reports or self.current:
            self.look_closely()
            self.current.pop(nodeid, None)
        plain = nodeid.isascii() and not self.grouped
        self.told_as = quoted(nodeid if plain else self.name(nodeid))
        self.location = location
        text = '{"event":"start","time":%.4f,%s"id":%s}\n' % (Kept.time(), self.by, self.told_as)
        self.writer.put(text, checked=self.checked)
        self.checked = False

    def pytest_runtest_logreport(self, report: Any) -> None:
        """One phase of a test ended; what that means is seen at the test's end, unless it is out of the ordinary."""
        self.reports.append(report)
        if report.outcome != "passed" or len(self.reports) > len(PHASES) or self.controls:
            self.look_closely()

    def look_closely(self) -> None:
        """Take in the phases that wait."""
        waiting, self.reports = self.reports, []
        for report in waiting:
            self.take(report)

    def take(self, report: Any) -> None:
        """Take in one phase; a try that will be repeated, and a worker that crashed, end a test here."""
        if self.controls:
            if report.when not in PHASES:
                told = settle(add({"phases": {}}, report))
                worker = getattr(getattr(getattr(report, "node", None), "gateway", None), "id", None)
                self.line("end", id=self.name(report.nodeid), **{"worker": worker, **told})
            return
        nodeid = report.nodeid
        told = self.current.setdefault(nodeid, {"phases": {}})  # a plugin may tell of no start
        if type(report).__name__.lower() == "subtestreport" and hasattr(report, "context"):
            add_subtest(told, report)
            return
        add(told, report)
        if told["outcome"] == "rerun":
            self.line("end", id=self.name(nodeid), **settle(told))
            self.current[nodeid] = {"phases": {}}

    def pytest_runtest_logfinish(self, nodeid: str, location: Any) -> None:
        """One test ended."""
        if self.controls:
            return
        if (
            location is self.location
            and nodeid not in self.current
            and passed_plainly(self.reports, location)
        ):
            setup, call, teardown = [report.duration for report in self.reports]
            self.reports = []
            self.checked = self.writer.put(
                '{"event":"end","time":%.4f,%s"id":%s,"outcome":"passed","duration":%.6f,'
                '"phases":{"setup":%.6f,"call":%.6f,"teardown":%.6f}}\n'
                % (Kept.time(), self.by, self.told_as, setup + call + teardown, setup, call, teardown)
            )
            return
        self.look_closely()
        told = self.current.pop(nodeid, None)
        if told is not None and tuple(told["phases"]) not in ((), ("teardown",)):
            self.line(
                "end", id=self.name(nodeid), **settle(told)
            )  # the others follow a try that will be repeated

    @pytest.hookimpl(hookwrapper=True, tryfirst=True)
    def pytest_sessionfinish(self, session: Any) -> Iterator[None]:
        """The session is over, and everybody has had a say in its status."""
        outcome: Any = yield
        if outcome.excinfo is None:
            self.line("exit", status=int(session.exitstatus))


def passed_plainly(reports: list[Any], location: Any) -> bool:
    """Whether these are the three phases of the test that stands there, in their turn, with nothing else to tell.

    Nearly all tests are like this, so it looks at little: pytest gives one object to all reports of an item.
    """
    if len(reports) != len(PHASES):
        return False
    setup, call, teardown = reports
    return (
        setup.location is location
        and call.location is location
        and teardown.location is location
        and setup.when == "setup"
        and call.when == "call"
        and teardown.when == "teardown"
        and not (setup.user_properties or call.user_properties or teardown.user_properties)
        and not hasattr(call, "wasxfail")
    )


def wanted_tests(path: str | None) -> list[str] | None:
    """The node ids that are to run; None for all."""
    if not path:
        return None
    try:
        with open(path, encoding="utf-8") as file:
            return [str(item) for item in json.load(file)]
    except (OSError, ValueError, TypeError) as error:
        raise pytest.UsageError(f"ci-runner: the selection {path} cannot be read: {error}") from error


def wholes(name: str) -> Iterator[str]:
    """The names of a test and of everything that it is part of."""
    yield name
    for index, character in enumerate(name):
        if character == "[" or (character == ":" and name.startswith("::", index)):
            yield name[:index]


def add(told: dict[str, Any], report: Any) -> dict[str, Any]:
    """Take one phase into what is told of a test."""
    when = report.when
    told["phases"][when if when in PHASES else "call"] = float(getattr(report, "duration", 0.0))
    outcome = outcome_of(report)
    if outcome == "passed":
        told.setdefault("outcome", outcome)
    elif outcome == "rerun" or told.get("outcome") not in ("failed", "errored"):
        told["outcome"] = outcome
        explain(told, report)
    else:
        told["details"] = cut(f"{told.get('details', '')}\n\n{when}: {text_of(report)}", DETAILS)
    if report.user_properties:
        told["properties"] = [
            [shown(item[0]), plain(item[1])] for item in report.user_properties if len(item) == 2
        ]
    return told


def settle(told: dict[str, Any]) -> dict[str, Any]:
    """What is told of a test that has ended: subtests and a body that was not run have a say in its outcome."""
    bad = [item for item in told.get("subtests", ()) if item["outcome"] == "failed"]
    if bad and told["outcome"] in ("passed", "skipped", "xfailed", "xpassed"):
        told["outcome"], told["message"] = (
            "failed",
            bad[0].get("message"),
        )  # the plugin for older pytest leaves it green
    elif told["outcome"] == "passed" and "call" not in told["phases"]:
        told["outcome"], told["message"] = "skipped", "only its setup was run"
    told["phases"] = {when: round(seconds, 6) for when, seconds in told["phases"].items()}
    told["duration"] = round(sum(told["phases"].values()), 6)
    return told


def add_subtest(told: dict[str, Any], report: Any) -> None:
    """Take a subtest into what is told of its test; of many only the first are kept."""
    found = told.setdefault("subtests", [])
    if len(found) >= (SUBTESTS if report.outcome == "passed" else BAD_SUBTESTS):
        return
    context = report.context
    parts = [f"[{shown(context.msg)}]"] if getattr(context, "msg", None) is not None else []
    parts += [
        f"{name}={shown(value)}" for name, value in dict(getattr(context, "kwargs", None) or {}).items()
    ]
    entry = {"description": " ".join(parts)[:MESSAGE] or "(subtest)", "outcome": outcome_of(report)}
    if report.outcome != "passed":
        entry["message"] = message_of(report)
    found.append(entry)


def outcome_of(report: Any) -> str:
    """The word for a phase; an outcome that nobody knows is no success."""
    outcome = report.outcome
    if outcome == "passed":
        return "xpassed" if report.when == "call" and hasattr(report, "wasxfail") else "passed"
    if outcome in ("rerun", "retried"):
        return "rerun"
    if outcome == "skipped":
        return "xfailed" if hasattr(report, "wasxfail") else "skipped"
    return "errored" if report.when in ("setup", "teardown") else "failed"


def explain(told: dict[str, Any], report: Any) -> None:
    """Where and why: message, details, captured output, place."""
    file, line, _domain = report.location or (None, None, None)
    told["file"], told["line"] = file, (line + 1) if line is not None else None
    told["message"] = message_of(report)
    if report.outcome in ("skipped", "passed"):
        return
    told["details"] = cut(text_of(report), DETAILS)
    told["output"] = output_of(report)
    entries = getattr(getattr(report.longrepr, "reprtraceback", None), "reprentries", None) or ()
    for entry in entries:
        place = getattr(entry, "reprfileloc", None)
        if place is not None and file and str(place.path).replace(os.sep, "/").endswith(str(file)):
            told["line"] = place.lineno


def output_of(report: Any) -> str:
    """The end of what the test printed and logged."""
    room, parts = OUTPUT, []
    for name, content in reversed(report.sections):
        if room > 0:
            parts.append(f"--- {name}\n{content[-room:]}")
            room -= len(parts[-1])
    return "\n".join(reversed(parts))


def message_of(report: Any) -> str:
    """One line that says why."""
    if getattr(report, "wasxfail", None):
        return first_lines(shown(report.wasxfail).removeprefix("reason: "))
    longrepr = report.longrepr
    if isinstance(longrepr, tuple) and len(longrepr) == 3:
        return first_lines(shown(longrepr[2]).removeprefix("Skipped: "))
    crash = getattr(longrepr, "reprcrash", None)
    return first_lines(shown(crash.message)) if crash is not None else last_line(text_of(report))


def text_of(report: Any) -> str:
    """The failure as pytest would print it."""
    try:
        return str(report.longreprtext)
    except Exception as error:  # noqa: BLE001 - a foreign representation may raise anything
        return f"(the failure cannot be shown: {type(error).__name__})"


def first_lines(text: str) -> str:
    """The first line that says something, with a few of those after it if it is short."""
    lines = [line.strip() for line in text[: 4 * MESSAGE].splitlines() if line.strip()]
    return " ".join(lines[:3])[:MESSAGE]


def last_line(text: str) -> str:
    """The last line that says something: where tracebacks put the reason."""
    lines = [line.strip() for line in text[-4 * MESSAGE :].splitlines() if line.strip()]
    return lines[-1][:MESSAGE] if lines else ""


def cut(text: str, limit: int) -> str:
    """The text, or its head and tail with a line that says how much is missing."""
    if len(text) <= limit:
        return text
    half = limit // 2
    return f"{text[:half]}\n… {len(text) - limit} characters left out …\n{text[-half:]}"


def plain(value: Any) -> Any:
    """A property's value as JSON can hold it."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        return value if abs(value) < 2**63 else shown(value)
    return value if isinstance(value, float) and math.isfinite(value) else shown(value)


def take_variables() -> dict[str, str]:
    """What we are told through the environment, taken out of it: tests see what they would see under pytest alone."""
    found = {name: os.environ.pop(name) for name in VARIABLES if name in os.environ}
    given = os.environ.get("PYTHONPATH", "")
    rest = [path for path in given.split(os.pathsep) if not path or os.path.abspath(path) != HERE]
    if rest not in ([], [""]):
        os.environ["PYTHONPATH"] = os.pathsep.join(rest)
    else:
        os.environ.pop("PYTHONPATH", None)
    return found


HERE = os.path.dirname(os.path.abspath(__file__))
given_to_us = take_variables()


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests() -> None:
    """Take our folder out of the search path: before any conftest, after xdist has noted the path for its workers."""
    sys.path[:] = [path for path in sys.path if os.path.abspath(path or ".") != HERE]
    sys.path_importer_cache.pop(HERE, None)


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: Any) -> None:
    """Announce this process and start to listen."""
    given = dict(getattr(config, "workerinput", {}).get(NAME, given_to_us))
    given_to_us.clear()  # a session that a test starts inside this one is not ours
    path = given.get("CI_RUNNER_SIDECAR")
    if not path:
        return
    stacks = Stacks(given.get("CI_RUNNER_STACKS"))
    try:
        writer = Writer(path, stacks)
    except OSError as error:
        raise pytest.UsageError(f"ci-runner: the sidecar {path} cannot be written: {error}") from error
    sidecar = Sidecar(config, writer, given)
    sidecar.line(
        "session",
        v=1,
        pid=writer.pid,
        python=".".join(map(str, sys.version_info[:3])),
        pytest=pytest.__version__,
        rootdir=str(config.rootpath),
        stack_signal=stacks.number,
    )
    config.pluginmanager.register(sidecar, NAME)
