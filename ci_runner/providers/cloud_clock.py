"""How far a cloud's clock is from this one; times on a machine go by the cloud's, whoever reads them later."""

from __future__ import annotations

import logging
from collections.abc import Callable
from email.utils import parsedate_to_datetime

from ci_runner.execution import clock as clocks

GRAIN = 60.0  # seconds: less is the way of the answer, and means nothing to a lease

log = logging.getLogger(__name__)


class CloudClock:
    """What the first dated answer of a cloud says of its clock; shared by threads.

    Later ones change nothing: the same request repeated has to be the same, with the times in its labels.
    """

    def __init__(self, cloud: str, clock: Callable[[], float] | None = None) -> None:
        self._cloud = cloud
        self._clock = clock or clocks.HERE
        self._ahead: float | None = None

    @property
    def ahead(self) -> float:
        """Seconds by which the cloud's clock is ahead of this one, in whole minutes; 0 as long as nobody knows."""
        return self._ahead or 0.0

    def heard(self, date: str | None) -> None:
        """Take note of the date of an answer, as HTTP writes it; what is no date is none."""
        if date is None or self._ahead is not None:
            return
        try:
            there = parsedate_to_datetime(date).timestamp()
        except (ValueError, OverflowError):
            return
        self._ahead = round((there - self._clock()) / GRAIN) * GRAIN
        if self._ahead:
            way = "behind" if self._ahead > 0 else "ahead of"
            log.warning(
                "this clock is %.0f minutes %s that of %s, by which leases end: timedatectl set-ntp true",
                abs(self._ahead) / 60,
                way,
                self._cloud,
            )
