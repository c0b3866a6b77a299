"""What changed between a base and now, test by test: new failures, still broken, fixed, added, removed. Pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ci_runner.model import CaseResult, Outcome, SuiteResult

RED = (Outcome.FAILED, Outcome.ERRORED)
SHOWN_BASE = ("failed", "errored")


@dataclass(frozen=True, slots=True, kw_only=True)
class Base:
    """The run that a suite is compared with: its commit, how far before the merge base it is, and its outcomes."""

    suite: str
    commit: str
    run_id: str
    timestamp: str
    distance: int | None = 0  # commits before the merge base; None: it is not known to be an ancestor
    outcomes: Mapping[str, str] | None = None  # test → outcome; None: there is no base
    flaky: frozenset[str] = frozenset()
    metrics: Mapping[str, float] = dataclasses.field(
        default_factory=dict
    )  # those that all its parts tell alike
    total: Mapping[str, float] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A test of a suite's selection whose result means something beside the base's."""

    selection: str
    suite: str
    test: str
    known_flaky: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """All changes; a suite without a base is named, and nothing is guessed about it."""

    new: tuple[Change, ...] = ()  # red now, green or absent then
    still: tuple[Change, ...] = ()  # red in both
    fixed: tuple[Change, ...] = ()  # green now, red then
    added: tuple[Change, ...] = ()
    removed: tuple[Change, ...] = ()
    bases: Mapping[str, Base] | None = None  # by suite
    without_base: tuple[str, ...] = ()

    def counts(self, selection: str) -> dict[str, int]:
        """The numbers of one selection."""
        return {
            name: sum(1 for change in getattr(self, name) if change.selection == selection)
            for name in ("new", "still", "fixed")
        }


def compare(suites: Sequence[SuiteResult], bases: Mapping[str, Base]) -> Comparison:
    """Every suite's cases against those of its base. Quarantined failures are no failures, on neither side."""
    found: dict[str, list[Change]] = {name: [] for name in ("new", "still", "fixed", "added", "removed")}
    seen: dict[str, set[str]] = {}
    whole: dict[str, bool] = {}
    for suite in suites:
        name = suite.selection.suite.name
        base = bases.get(name)
        if base is None or base.outcomes is None:
            continue
        seen.setdefault(name, set()).update(case.id for case in suite.cases)
        whole[name] = whole.get(name, True) and _is_whole(suite)
        for case in suite.cases:
            kind = _kind(case, base)
            if kind is not None:
                known = case.id in base.flaky
                found[kind].append(
                    Change(selection=suite.selection.id, suite=name, test=case.id, known_flaky=known)
                )
    for name, tests in seen.items():
        base = bases[name]
        if whole[name]:  # what did not run is missing, and not removed
            found["removed"] += [
                Change(selection=name, suite=name, test=test)
                for test in base.outcomes or ()
                if test not in tests
            ]
    names = {suite.selection.suite.name for suite in suites if suite.cases}
    lacking = sorted(name for name in names if name not in bases or bases[name].outcomes is None)
    return Comparison(
        **{kind: tuple(changes) for kind, changes in found.items()},
        bases={name: _without_tests(base) for name, base in bases.items()},
        without_base=tuple(lacking),
    )


def _without_tests(base: Base) -> Base:
    """What readers are told of a base; its tests have been compared, and there may be very many."""
    return dataclasses.replace(base, outcomes=base.outcomes and {}, flaky=frozenset())


def _is_whole(suite: SuiteResult) -> bool:
    return suite.exit_code in (0, 1) and not suite.counts.missing


def _kind(case: CaseResult, base: Base) -> str | None:
    before = (base.outcomes or {}).get(case.id)
    red = case.outcome in RED and not case.quarantined
    if red:
        return "still" if before in SHOWN_BASE else "new"
    if before is None:
        return "added" if case.outcome is not Outcome.MISSING else None
    if before in SHOWN_BASE and case.outcome is Outcome.PASSED:
        return "fixed"
    return None
