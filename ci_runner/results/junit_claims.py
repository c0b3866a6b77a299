"""What a `testsuite` claims in its attributes, against what it holds."""

from __future__ import annotations

from collections.abc import Mapping

from ci_runner.model import Counts, Outcome, Problem

CLAIMS = ("tests", "failures", "errors", "skipped", "disabled")


class Frame:
    """An open `testsuite` (or the whole file): claims, and tallies of its own cases and of all below it."""

    __slots__ = ("all", "claims", "dropped", "line", "name", "number", "own", "passed", "reds")

    def __init__(self, name: str, line: int, attributes: Mapping[str, str], number: int = 0) -> None:
        self.name = name
        self.line = line
        self.number = number
        self.claims = {key: value for key in CLAIMS if (value := _count(attributes.get(key))) is not None}
        self.passed = 0
        self.own: dict[Outcome, int] = {}
        self.all: dict[Outcome, int] = {}
        self.reds = 0  # failures and errors as elements: a case with failed subtests holds several
        self.dropped: dict[Outcome, int] = {}  # earlier tries of a test that comes again

    def add(self, outcome: Outcome, reds: int = 0) -> None:
        """A case of its own."""
        self.reds += reds
        if outcome is Outcome.PASSED:
            self.passed += 1
        else:
            self.own[outcome] = self.own.get(outcome, 0) + 1

    def superseded(self, outcome: Outcome) -> None:
        """The case that was just added was not the last try of its test."""
        self.dropped[outcome] = self.dropped.get(outcome, 0) + 1

    @property
    def raw(self) -> int:
        """How many cases stood directly in it, every try counted."""
        return self.passed + sum(self.own.values())

    def into(self, parent: Frame) -> None:
        """The suite is over: its tallies count for the one around it."""
        for outcome, count in self._below().items():
            parent.all[outcome] = parent.all.get(outcome, 0) + count
        parent.reds += self.reds
        for outcome, count in self.dropped.items():
            parent.dropped[outcome] = parent.dropped.get(outcome, 0) + count

    def _own(self) -> dict[Outcome, int]:
        return {**self.own, Outcome.PASSED: self.passed}

    def _below(self) -> dict[Outcome, int]:
        found = self._own()
        for outcome, count in self.all.items():
            found[outcome] = found.get(outcome, 0) + count
        return found

    def counts(self, *, flaky: int) -> Counts:
        """The tally of the whole file, each test once."""
        found = self._below()
        for outcome, count in self.dropped.items():
            found[outcome] -= count
        return Counts(
            tests=sum(found.values()),
            passed=found.get(Outcome.PASSED, 0) - flaky,
            failed=found.get(Outcome.FAILED, 0),
            errored=found.get(Outcome.ERRORED, 0),
            skipped=found.get(Outcome.SKIPPED, 0),
            missing=found.get(Outcome.MISSING, 0),
            flaky=flaky,
        )

    def lies(self, file: str, *, by_pytest: bool = False) -> list[Problem]:
        """The claims that no way of counting makes true.

        More tests than it holds are no contradiction in a suite of pytest's, which counts subtests and teardowns too and
        writes its file in one go when all is over.
        """
        if not self.claims:
            return []
        below = self._below()
        last = {outcome: count - self.dropped.get(outcome, 0) for outcome, count in below.items()}
        tallies = [self._own(), below, last]
        found = []
        tests = self.claims.get("tests")
        if tests is not None and not any(tests in _totals(tally) for tally in tallies):
            held = sum(last.values())
            found.append(
                self._lie(
                    file, f"claims {tests} tests and holds {held}", fatal=not (by_pytest and tests > held)
                )
            )
        named = [name for name in ("failures", "errors") if name in self.claims]
        red = sum(self.claims[name] for name in named)
        if named and red != self.reds and not any(red in _reds(tally, len(named)) for tally in tallies):
            held = _reds(last, 2)[0]
            found.append(
                self._lie(file, f"claims {red} {' and '.join(named)} and holds {held}", fatal=red > held)
            )
        return found

    def _lie(self, file: str, text: str, *, fatal: bool) -> Problem:
        return Problem(
            kind="lying-attribute",
            text=f'the suite "{self.name[:80]}" {text}',
            file=file,
            line=self.line,
            fatal=fatal,
        )


def _totals(tally: Mapping[Outcome, int]) -> tuple[int, int]:
    total = sum(tally.values())
    return total, total - tally.get(Outcome.SKIPPED, 0)


def _reds(tally: Mapping[Outcome, int], named: int) -> tuple[int, ...]:
    """What a claim about red cases may add up to: if it names but one kind, perhaps only that one."""
    failed, errored = (
        tally.get(Outcome.FAILED, 0),
        tally.get(Outcome.ERRORED, 0) + tally.get(Outcome.MISSING, 0),
    )
    return (failed + errored,) if named == 2 else (failed + errored, failed, errored)


def _count(text: str | None) -> int | None:
    if text is None:
        return None
    digits = text.strip().replace(",", "")
    return int(digits) if digits.isascii() and digits.isdigit() and len(digits) < 12 else None
