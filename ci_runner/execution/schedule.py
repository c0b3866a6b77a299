"""Which suites may run side by side: a ledger of what the machine has and what is in use. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ci_runner.model import Needs, Selection


@dataclass(frozen=True, slots=True, kw_only=True)
class Capacity:
    """What one machine has to give."""

    cpus: float
    memory_mb: int | None = None


def fits(needs: Needs | None, running: Sequence[Needs | None], capacity: Capacity) -> bool:
    """Whether a suite may start beside those that run. One that needs more than there is still runs, alone."""
    if not running:
        return True
    if needs is None or None in running:
        return False
    beside = [other for other in running if other is not None]
    if any(set(needs.exclusive) & set(other.exclusive) for other in beside):
        return False
    if needs.cpus + sum(other.cpus for other in beside) > capacity.cpus:
        return False
    return _memory_fits([needs, *beside], capacity)


def _memory_fits(needs: Sequence[Needs], capacity: Capacity) -> bool:
    if capacity.memory_mb is None:
        return True
    return sum(item.memory_mb or 0 for item in needs) <= capacity.memory_mb


def next_to_start(
    waiting: Sequence[Selection], running: Sequence[Selection], capacity: Capacity
) -> Selection | None:
    """The first waiting selection that fits; later ones overtake only if they fit beside what runs.

    A selection that needs everything is not starved: nothing overtakes the head once it waits for an empty machine.
    """
    taken = [selection.suite.needs for selection in running]
    for selection in waiting:
        if fits(selection.suite.needs, taken, capacity):
            return selection
        if selection.suite.needs is None:
            return None
    return None
