"""Runs git on two kinds of repositories: a person's, which is only read, and ours, which nobody configures."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ci_runner.errors import MachineError, UsageError

# What a hook's or an alias' environment says about another repository than the one we name.
HIDDEN = (
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_COMMON_DIR",
    "GIT_DIR",
    "GIT_GRAFT_FILE",
    "GIT_IMPLICIT_WORK_TREE",
    "GIT_INDEX_FILE",
    "GIT_LITERAL_PATHSPECS",
    "GIT_NAMESPACE",
    "GIT_NO_REPLACE_OBJECTS",
    "GIT_OBJECT_DIRECTORY",
    "GIT_PREFIX",
    "GIT_QUARANTINE_PATH",
    "GIT_REPLACE_REF_BASE",
    "GIT_SHALLOW_FILE",
    "GIT_WORK_TREE",
)
# In ours nothing of the person's or the system's configuration counts: no hooks, no templates, no filters.
ISOLATED = {
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_ADVICE": "0",
}
READ_ONLY = {"GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0"}
FOREVER = float("inf")


@dataclass(frozen=True, slots=True)
class Git:
    """git in one folder, until a deadline on the monotonic clock."""

    folder: Path
    deadline: float = FOREVER
    extra: Mapping[str, str] = field(default_factory=lambda: READ_ONLY)

    def output(self, *words: str, stdin: bytes = b"") -> bytes:
        """What git prints. Raises MachineError if it fails."""
        done = self.call(*words, stdin=stdin)
        if done.returncode != 0:
            raise self.failure(words, done)
        return done.stdout

    def text(self, *words: str) -> str:
        """What git prints, decoded, without the end of the last line."""
        return os.fsdecode(self.output(*words)).rstrip("\n")

    def call(self, *words: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        """Run git; its exit code is the caller's to judge. Raises MachineError if there is no git or no time."""
        env = {name: value for name, value in os.environ.items() if name not in HIDDEN}
        env |= {**self.extra, "LC_ALL": "C"}
        left = self.deadline - time.monotonic()
        try:
            return subprocess.run(
                ["git", *words],
                cwd=self.folder,
                env=env,
                input=stdin,
                capture_output=True,
                check=False,
                timeout=None if left == FOREVER else max(0.1, left),
            )
        except FileNotFoundError as error:
            raise MachineError("git is not installed", fix="install git, 2.30 or newer") from error
        except subprocess.TimeoutExpired as error:
            raise MachineError(f"git {words[0]} did not end in time", where=str(self.folder)) from error

    def failure(
        self, words: Sequence[str], done: subprocess.CompletedProcess[bytes]
    ) -> MachineError | UsageError:
        """The error that git's words mean."""
        text = done.stderr.decode("utf-8", "replace").strip()
        if "dubious ownership" in text:
            return dubious(self.folder)
        last = text.splitlines()[-1] if text else f"exit code {done.returncode}"
        return MachineError(f"git {words[0]} failed: {last}", where=str(self.folder))


def dubious(folder: Path) -> UsageError:
    """git refuses a repository that belongs to somebody else; only the person may decide to trust it."""
    return UsageError(
        "git does not trust this repository: it belongs to another user",
        where=str(folder),
        fix=f"if you trust it: git config --global --add safe.directory '{folder}'",
    )


def toplevel(root: Path, deadline: float = FOREVER) -> Path | None:
    """The root of the git working tree that holds the folder; None if it is in none.

    Raises UsageError if git refuses the repository because of its owner.
    """
    git = Git(root, deadline)
    done = git.call("rev-parse", "--show-toplevel")
    if done.returncode == 0:
        return Path(os.fsdecode(done.stdout).rstrip("\n"))
    if b"dubious ownership" in done.stderr:
        raise dubious(root)
    return None


def head_commit(root: Path) -> str | None:
    """The full id of the commit that is checked out; None outside of git and before the first commit.

    Raises UsageError if git refuses the repository because of its owner.
    """
    try:
        done = Git(root).call("rev-parse", "--verify", "--quiet", "HEAD^{commit}")
        if done.returncode == 0:
            return os.fsdecode(done.stdout).strip() or None
        toplevel(root)
    except MachineError:
        return None  # no git here: the folder is copied, and says so
    return None
