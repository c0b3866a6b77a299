"""What time it is, for a whole run: evenly, whatever is done to this machine's clock meanwhile."""

from __future__ import annotations

import time
from collections.abc import Callable


def steady(
    wall: Callable[[], float] = time.time, ticks: Callable[[], float] | None = None
) -> Callable[[], float]:
    """A clock that shows what time it is and runs on evenly, whatever is done to this machine's meanwhile."""
    ticks = ticks or _ticks
    ahead = wall() - ticks()
    return lambda: ahead + ticks()


def _ticks() -> float:
    """Seconds since whenever, those included in which the machine slept: a leased one does not sleep."""
    clock = getattr(time, "CLOCK_BOOTTIME", None)  # of Linux alone
    return time.monotonic() if clock is None else time.clock_gettime(clock)


# one for the whole process: the times of a lease and the distance to its cloud's clock have to be of the same clock
HERE = steady()
