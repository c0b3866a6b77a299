"""The few cases of a suite that people are told of, found in one pass however often they are asked for."""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ci_runner.model import Outcome

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ci_runner.model import CaseResult

RED = (Outcome.FAILED, Outcome.ERRORED)
SLOW_SECONDS = 0.05  # what takes less is not worth a line
SLOWEST = 10
KEPT = 512  # suites whose answer is remembered


@dataclass(frozen=True, slots=True, kw_only=True)
class Notable:
    """Cases by what is notable about them, each in the order in which they ran."""

    red: tuple[CaseResult, ...]  # failed and errored ones that count
    quarantined: tuple[CaseResult, ...]
    missing: tuple[CaseResult, ...]
    interrupted: tuple[CaseResult, ...]
    flaky: tuple[CaseResult, ...]
    slowest: tuple[CaseResult, ...]  # the longest first


_known: dict[int, tuple[Sequence[CaseResult], Notable]] = {}


def notable(cases: Sequence[CaseResult]) -> Notable:
    """What is notable among the cases of a suite; the same object is looked through once, for its cases cannot change."""
    known = _known.get(id(cases))
    if known is not None and known[0] is cases:
        return known[1]
    found = _look(cases)
    while len(_known) >= KEPT:
        del _known[next(iter(_known))]
    _known[id(cases)] = (cases, found)
    return found


def _look(cases: Sequence[CaseResult]) -> Notable:
    red: list[CaseResult] = []
    quarantined: list[CaseResult] = []
    missing, interrupted, flaky, slow = [], [], [], []
    passed, failed, errored, lost = Outcome.PASSED, Outcome.FAILED, Outcome.ERRORED, Outcome.MISSING
    for index, case in enumerate(cases):
        outcome = case.outcome
        if outcome is not passed:
            if outcome is failed or outcome is errored:
                (quarantined if case.quarantined else red).append(case)
            elif outcome is lost:
                missing.append(case)
        if case.interrupted:
            interrupted.append(case)
        if case.flaky:
            flaky.append(case)
        if case.duration_seconds >= SLOW_SECONDS:
            slow.append((case.duration_seconds, -index, case))
    slowest = heapq.nlargest(SLOWEST, slow, key=lambda item: item[:2])
    return Notable(
        red=tuple(red),
        quarantined=tuple(quarantined),
        missing=tuple(missing),
        interrupted=tuple(interrupted),
        flaky=tuple(flaky),
        slowest=tuple(case for _, _, case in slowest),
    )
