"""Lets one start at a time change an environment; the lock ends with its holder, however that ends."""

from __future__ import annotations

import errno
import fcntl
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bootstrap.problems import SetupProblem

LONGEST = 900.0  # seconds; far beyond any set-up, so it is hung
PAUSE = 0.05
NO_LOCKS_HERE = (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS)


@contextmanager
def holding(path: Path, waiting: str, longest: float = LONGEST) -> Iterator[int]:
    """Hold the lock file and give its descriptor: a child that inherits it keeps the lock until it ends."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        wait_for(descriptor, path, waiting, longest)
        yield descriptor
    finally:
        os.close(descriptor)


def wait_for(descriptor: int, path: Path, waiting: str, longest: float) -> None:
    """Take the lock; say so once when another one has it."""
    end = time.monotonic() + longest
    said = False
    while not taken(descriptor):
        if not said:
            print(waiting, file=sys.stderr, flush=True)
            said = True
        if time.monotonic() > end:
            raise SetupProblem(
                f"another start has held {path} for {longest:.0f} s",
                fix=f"find it with: fuser {path}; end it, and start again",
            )
        time.sleep(PAUSE)


def taken(descriptor: int) -> bool:
    """Is the lock ours now? A file system without locks is trusted to have one user."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in NO_LOCKS_HERE:
            raise
    return True


def read_note(descriptor: int) -> str:
    """What an unfinished holder left in the lock file; empty when the last one came to its end."""
    return os.pread(descriptor, 65536, 0).decode("utf-8", "replace")


def write_note(descriptor: int, text: str) -> None:
    """Replace what is in the lock file."""
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, text.encode(), 0)
    os.fsync(descriptor)
