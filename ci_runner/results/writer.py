"""Writes JUnit: groups of cases as one file, each test once, with its earlier tries as Surefire writes them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from junitparser import Attr, Error, Failure, Skipped
from junitparser.xunit2 import (
    FlakyError,
    FlakyFailure,
    InterimResult,
    JUnitXml,
    RerunError,
    RerunFailure,
    TestSuite,
)
from junitparser.xunit2 import TestCase as PlainCase

from ci_runner.model import CaseResult, Outcome, SuiteResult
from ci_runner.results.junit_cases import INTERRUPTED_TYPE, MISSING_TYPE
from ci_runner.results.xml_bytes import without_forbidden


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Cases that become one `testsuite`."""

    name: str
    cases: Sequence[CaseResult]
    metrics: Mapping[str, float] = field(default_factory=dict)


class PlacedCase(PlainCase):
    """A `testcase` that says where the test is, as pytest's older files and many others do."""

    file = Attr()
    line = Attr()


def write_junit(path: Path, suites: Sequence[SuiteResult]) -> None:
    """Write the results of a run. Raises OSError."""
    groups = [Group(name=suite.selection.id, cases=suite.cases, metrics=suite.metrics) for suite in suites]
    write_groups(path, groups)


def write_groups(path: Path, groups: Iterable[Group]) -> None:
    """Write groups of cases as one file; a reader sees the old file or the whole new one. Raises OSError."""
    document = JUnitXml("ci-runner")
    for group in groups:
        document.append(_suite(group))
    totals = dict.fromkeys(("tests", "failures", "errors"), 0)
    seconds = 0.0
    for suite in document:
        for name in totals:
            totals[name] += getattr(suite, name)
        seconds += suite.time
    for name, value in totals.items():
        setattr(document, name, value)
    document.time = round(seconds, 6)
    temporary = path.with_name(f".{path.name}.part")
    try:
        document.write(str(temporary))
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _suite(group: Group) -> TestSuite:
    suite = TestSuite(without_forbidden(group.name))
    for name, value in group.metrics.items():
        suite.add_property(f"metric.{without_forbidden(name)}", repr(value))
    for case in group.cases:
        suite.append(_case(case))
    outcomes = [case.outcome for case in group.cases]
    suite.tests = len(outcomes)
    suite.failures = outcomes.count(Outcome.FAILED)
    suite.errors = outcomes.count(Outcome.ERRORED) + outcomes.count(Outcome.MISSING)
    suite.skipped = outcomes.count(Outcome.SKIPPED)
    suite.time = round(sum(case.duration_seconds for case in group.cases), 6)
    return suite


def _case(case: CaseResult) -> PlacedCase:
    written = PlacedCase(without_forbidden(case.name or case.id), without_forbidden(case.classname))
    written.time = round(case.duration_seconds, 6)
    if case.file is not None:
        written.file = without_forbidden(case.file)
    if case.line is not None:
        written.line = str(case.line)
    for name, value in case.metrics.items():
        written.add_property(f"metric.{without_forbidden(name)}", repr(value))
    for earlier in case.earlier:
        written.add_interim_result(_interim(case, earlier))
    if case.outcome is not Outcome.PASSED:
        written.append(_result(case))
    if case.output:
        written.system_out = without_forbidden(case.output)
    return written


def _result(case: CaseResult) -> Failure | Error | Skipped:
    message = without_forbidden(case.message or "")
    if case.outcome is Outcome.SKIPPED:
        return Skipped(message, "pytest.xfail" if case.expected_failure else None)
    if case.outcome is Outcome.MISSING:
        return Error(message, INTERRUPTED_TYPE if case.interrupted else MISSING_TYPE)
    result = (Failure if case.outcome is Outcome.FAILED else Error)(message)
    if case.details:
        result.text = without_forbidden(case.details)
    return result


def _interim(case: CaseResult, earlier: CaseResult) -> InterimResult:
    """An earlier try: "flaky" if the test passed in the end, "rerun" if it did not."""
    failed = earlier.outcome is Outcome.FAILED
    if case.outcome is Outcome.PASSED:
        kind: type[InterimResult] = FlakyFailure if failed else FlakyError
    else:
        kind = RerunFailure if failed else RerunError
    result = kind(without_forbidden(earlier.message or ""))
    if earlier.details:
        result.stack_trace = without_forbidden(earlier.details)
    return result
