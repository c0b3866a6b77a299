"""Makes or mends the environment, one start at a time, and then becomes the command that was asked for."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import NoReturn, Self

from bootstrap.index import index_in_use
from bootstrap.locking import holding, read_note, write_note
from bootstrap.problems import CANCELLED, SETUP_FAILED, Refused, SetupProblem, Unreachable, one_line
from bootstrap.request import WORDS, Wanted, read_request, version_of
from bootstrap.stamp import SOURCES, is_at_home, is_fresh, read_stamp, write_stamp
from bootstrap.sync import Uv, is_usable, synchronise
from bootstrap.uvtool import find_uv, read_pins


def main(words: Sequence[str]) -> int:
    """Set up as start.sh asks; returns only when that fails."""
    signal.signal(signal.SIGTERM, stop)
    try:
        wanted = read_request(words[:WORDS], os.environ)
        make(wanted, os.environ)
        become(wanted.program, words[WORDS:])
    except SetupProblem as problem:
        print(problem.lines(), file=sys.stderr)
        return problem.code
    except OSError as error:
        print(explained(error).lines(), file=sys.stderr)
        return SETUP_FAILED
    except KeyboardInterrupt:
        print("ci-runner: cancelled while setting up; the next start finishes it", file=sys.stderr)
        return CANCELLED


def stop(_signal: int, _frame: FrameType | None) -> NoReturn:
    """Let SIGTERM unwind as Ctrl-C does."""
    raise KeyboardInterrupt


def become(program: Path, arguments: Sequence[str]) -> NoReturn:
    """Replace this process by the program, with signals as a shell would have left them."""
    for name in ("SIGINT", "SIGTERM", "SIGPIPE", "SIGXFSZ"):
        signal.signal(getattr(signal, name), signal.SIG_DFL)
    if not os.access(program, os.X_OK):
        raise SetupProblem(
            f"{program} is not there after setting up", fix="report this with the output of: uv --version"
        )
    sys.stderr.flush()
    os.execv(program, [str(program), *arguments])  # noqa: S606 - no shell, the caller's own words


def make(wanted: Wanted, environ: Mapping[str, str]) -> None:
    """Let the environment hold what is wanted, whatever state it was left in."""
    lock = wanted.venv.with_name(wanted.venv.name + ".lock")
    waiting = f"waiting for another start that is setting up {wanted.venv}"
    with holding(lock, waiting) as descriptor:
        note = read_note(descriptor)
        if note or not is_fresh(wanted):
            make_alone(wanted, environ, descriptor, note)


def make_alone(wanted: Wanted, environ: Mapping[str, str], lock: int, note: str) -> None:
    """The same while nobody else does; a note in the lock says that somebody began and did not end."""
    before = read_stamp(wanted.venv)
    wanted = wanted.with_more(*noted(note))
    if before:
        wanted = wanted.with_more(before.groups, before.extras)
    start_over = bool(note) or (before is not None and not is_at_home(wanted, before))
    sources = {name: (wanted.root / name).read_bytes() for name in SOURCES}
    index = index_in_use(environ)
    with Progress(wanted, is_new=start_over or not is_usable(wanted.venv)) as progress:
        program = find_uv(environ, index, read_pins())
        write_note(lock, json.dumps({"groups": wanted.groups, "extras": wanted.extras}))
        try:
            synchronise(Uv(program, wanted, index, environ, lock, progress.is_slow), start_over)
        except (Refused, Unreachable):
            write_note(lock, note)  # uv gave up before it changed anything
            raise
        write_stamp(wanted, sources)
        write_note(lock, "")


def noted(note: str) -> tuple[list[str], list[str]]:
    """The groups and extras of a start that did not end; none if even its note is broken."""
    try:
        data = json.loads(note)
        return [str(name) for name in data["groups"]], [str(name) for name in data["extras"]]
    except (ValueError, KeyError, TypeError):
        return [], []


class Progress:
    """Tells a person once that something is set up, and how long it took."""

    WORTH_SAYING = 1.0  # seconds; a check that finds nothing to do stays silent

    def __init__(self, wanted: Wanted, *, is_new: bool) -> None:
        self.version = version_of(wanted.root)
        self.is_new = is_new
        self.start = time.monotonic()
        self.on_terminal = sys.stderr.isatty()
        if self.on_terminal and is_new:
            self.say(f"setting up ci-runner {self.version} (once) …", end="")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_rest: object) -> None:
        if kind is None:
            self.is_done()
        elif self.on_terminal:
            print(file=sys.stderr)  # what went wrong gets a line of its own

    def is_slow(self) -> None:
        """It takes longer than a person waits without wondering."""
        if not (self.on_terminal and self.is_new):
            self.say(f"{self.verb} ci-runner {self.version}: fetching and installing packages", end="\n")

    def is_done(self) -> None:
        """The last word, with the time it took."""
        seconds = time.monotonic() - self.start
        if self.is_new or seconds >= self.WORTH_SAYING:
            once = "once, " if self.is_new else ""
            self.say(f"{self.verb} ci-runner {self.version} ({once}{in_words(seconds)})", end="\n")

    @property
    def verb(self) -> str:
        """What is being done to the environment."""
        return "setting up" if self.is_new else "updating"

    def say(self, text: str, end: str) -> None:
        """Write over the line before on a terminal, else a line of its own."""
        before = "\r" if self.on_terminal else ""
        print(before + text, end=end, file=sys.stderr, flush=True)


def in_words(seconds: float) -> str:
    """A duration as a person says it."""
    return f"{seconds:.1f} s" if seconds < 1 else f"{seconds:.0f} s"


def explained(error: OSError) -> SetupProblem:
    """What the system refused."""
    what = one_line(error.strerror or str(error)).lower()
    where = f" ({error.filename})" if error.filename else ""
    return SetupProblem(
        f"cannot set up the environment: {what}{where}",
        fix="make room or give write access there, or name other folders in CI_RUNNER_VENV and XDG_CACHE_HOME",
    )
