"""The run folder: where each file of a run is, and writing that a kill cannot leave half done."""

from __future__ import annotations

import os
import re
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from ci_runner import codec
from ci_runner.errors import UsageError
from ci_runner.model import Attempt, Plan

HOME = ".ci-runner"


def new_run_id(now: float) -> str:
    """`YYYYMMDD-HHMMSS-xxxx`: sorts by time, and two runs of one second differ."""
    return f"{datetime.fromtimestamp(now, UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"


def default_folder(root: Path, run_id: str) -> Path:
    """The folder of a run beside the configuration. Raises UsageError where none can be made."""
    try:
        return hidden_home(root) / "runs" / run_id
    except OSError as error:
        raise _cannot_make(root / HOME, error) from error


def _cannot_make(path: Path, error: OSError) -> UsageError:
    return UsageError(
        f"cannot make the run folder: {error.strerror or error}",
        where=str(path),
        fix="name a folder that can be written with --out",
    )


def hidden_home(root: Path) -> Path:
    """`.ci-runner` beside the configuration, made if need be; it hides itself from git."""
    home = root / HOME
    home.mkdir(parents=True, exist_ok=True)
    ignore = home / ".gitignore"
    if not ignore.exists():
        write_atomically(ignore, b"*\n")
    return home


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file so that a reader sees all of it or what was there before."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(3)}")
    try:
        temporary.write_bytes(data)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@dataclass(frozen=True, slots=True)
class RunFolder:
    """The paths of one run; docs/reference/run-folder.md is the contract."""

    path: Path

    def create(self) -> None:
        """Make the folder. Raises UsageError if it holds another run already or cannot be made."""
        try:
            if (self.path / "plan.json").exists():
                raise UsageError(
                    "the output folder holds another run already",
                    where=str(self.path),
                    fix="name a new folder with --out, or leave --out away",
                )
            for part in ("attempts", "logs"):
                (self.path / part).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise _cannot_make(self.path, error) from error

    def write_plan(self, plan: Plan) -> None:
        """Record what is going to happen, before it does."""
        write_atomically(self.path / "plan.json", codec.dumps(plan).encode())

    def attempt(self, attempt_id: str) -> Path:
        """The folder of one attempt, made if need be."""
        folder = self.path / "attempts" / attempt_id
        (folder / "junit").mkdir(parents=True, exist_ok=True)
        return folder

    def write_attempt(self, attempt: Attempt) -> None:
        """Record the state of an attempt as it is now."""
        write_atomically(self.path / attempt.folder / "attempt.json", codec.dumps(attempt).encode())


def safe_name(text: str) -> str:
    """A file name made of foreign text: letters, digits, dot, dash and underscore, and not too long."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip(".-")[:80] or "unnamed"
