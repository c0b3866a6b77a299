"""The first process of a container: runs the command as its child, and buries the processes that nobody else waits for.

A suite may leave daemons behind. Whoever has number 1 inherits them, and a dead one stays in the process table until
number 1 asks after it, so that it looks alive to everybody who waits for its end.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import NoReturn

PASSED_ON = {
    signal.SIGTERM,
    signal.SIGINT,
    signal.SIGHUP,
    signal.SIGQUIT,
    signal.SIGUSR1,
    signal.SIGUSR2,
    signal.SIGWINCH,
}


def main(command: list[str]) -> NoReturn:
    """Run the command to its end, and end as it did."""
    awaited = PASSED_ON | {signal.SIGCHLD}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, awaited)
    child = os.fork()
    if child == 0:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        os.execv(command[0], command)  # noqa: S606 - no shell, the caller's own words
    while True:
        caught = signal.sigwaitinfo(awaited)
        if caught.si_signo == signal.SIGCHLD:
            status = buried(child)
            if status is not None:
                sys.exit(exit_code(status))
        elif caught.si_code <= 0:  # sent by a process; what the terminal sends has reached the child already
            os.kill(child, caught.si_signo)


def buried(child: int) -> int | None:
    """Ask after everyone who has ended; the status of the child if it is among them."""
    found = None
    while True:
        try:
            process, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return found
        if process == 0:
            return found
        if process == child:
            found = status


def exit_code(status: int) -> int:
    """The exit code as a shell gives it: 128 and the signal's number for whoever was killed."""
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    main(sys.argv[1:])
