"""Annotations and checks: the most useful ones, within every limit, and no foreign text is a command."""

from __future__ import annotations

import dataclasses

import pytest

from ci_runner import errors
from ci_runner.checks.compare import Base, Comparison, compare
from ci_runner.model import Outcome, RunResult
from ci_runner.report.annotations import MESSAGE_LIMIT, PER_LEVEL, Annotation, annotations_of, as_commands
from ci_runner.report.budget import in_bytes, in_characters
from ci_runner.report.check import BATCH, MESSAGE_BYTES, TEXT_LIMIT, check_of, conclusion_of, cut_bytes, plain
from ci_runner.report.comment import Context
from tests import report_samples as samples


def result_with(*failing: str, details: str | None = None) -> RunResult:
    cases = [
        samples.case(
            test,
            Outcome.FAILED,
            file="tests/test_a.py",
            line=number,
            message=f"broke {test}",
            details=details,
        )
        for number, test in enumerate(failing, start=1)
    ]
    return samples.run_result(samples.suite_result(cases))


def base_of(result: RunResult, **outcomes: str) -> Comparison:
    name = result.suites[0].selection.suite.name
    base = Base(suite=name, commit="c" * 40, run_id="r", timestamp="", outcomes=outcomes)
    return compare(result.suites, {name: base})


def test_new_failures_come_before_old_ones() -> None:
    result = result_with("old", "new")
    found = annotations_of(result, base_of(result, old="failed", new="passed"))
    assert [item.title for item in found] == ["new failed", "old failed (failed before this change too)"]
    assert (found[0].level, found[0].file, found[0].line) == ("error", "tests/test_a.py", 2)
    assert found[0].message.startswith("broke new\n\n")
    assert found[0].message.endswith("--only new")


def test_a_failure_with_a_line_comes_before_one_without() -> None:
    cases = [
        samples.case("nowhere", Outcome.FAILED),
        samples.case("outside", Outcome.FAILED, file="/usr/lib/x.py", line=1),
        samples.case("fixture", Outcome.ERRORED, file="tests/a.py", line=1),
        samples.case("there", Outcome.FAILED, file="tests/a.py", line=2),
    ]
    found = annotations_of(samples.run_result(samples.suite_result(cases)), Comparison())
    assert [item.title.split()[0] for item in found] == ["there", "fixture", "nowhere", "outside"]
    assert next(item for item in found if item.title.startswith("outside")).file is None


def test_why_nothing_was_tested_is_the_first_annotation() -> None:
    (first, *_rest) = annotations_of(samples.no_capacity(), Comparison())
    assert first.level == "error"
    assert "no TPU capacity in 3 zones" in first.title
    assert "fix: " in first.message


def test_ten_of_a_level_and_the_last_one_counts_the_rest() -> None:
    lines = as_commands(annotations_of(result_with(*(f"t{n}" for n in range(25))), Comparison()))
    assert len(lines) == PER_LEVEL
    assert lines[-1] == "::error::and 16 more; the summary and the report have them all"
    exactly = as_commands(annotations_of(result_with(*(f"t{n}" for n in range(10))), Comparison()))
    assert len(exactly) == PER_LEVEL
    assert "more;" not in exactly[-1]


def test_foreign_text_is_no_command_and_fits() -> None:
    lines = as_commands(annotations_of(samples.hostile(), Comparison()))
    assert lines
    for line in lines:
        assert line.startswith(("::error", "::warning", "::notice"))
        assert "\n" not in line
        assert "\r" not in line
        assert "##[" not in line
        assert len(line) < 8 * MESSAGE_LIMIT
    (line,) = as_commands([Annotation(level="error", title="a::b", message="x" * 9_000)])
    assert line.startswith("::error title=a%3A%3Ab::")
    assert len(line.rpartition("::")[2]) <= MESSAGE_LIMIT


def test_a_check_is_within_its_limits() -> None:
    many = result_with(*(f"t{n}" for n in range(130)), details="E" * 100)
    check = check_of("tests", many, Context(comparison=base_of(many)))
    assert check.conclusion == "failure"
    assert check.title.startswith("130 new failures · ")
    assert [len(batch) for batch in check.annotations] == [BATCH, BATCH, 30]
    assert check.annotations[0][0]["annotation_level"] == "failure"
    hostile = check_of("tests", samples.hostile(), Context())
    assert in_characters(hostile.summary) <= TEXT_LIMIT
    for batch in hostile.annotations:
        for item in batch:
            assert in_bytes(str(item["message"])) <= MESSAGE_BYTES
            assert len(str(item["title"])) <= 255


@pytest.mark.parametrize(
    ("code", "word"),
    [
        (errors.OK, "success"),
        (errors.TESTS_FAILED, "failure"),
        (errors.NO_CAPACITY, "failure"),
        (errors.CANCELLED, "cancelled"),
        (errors.NOT_TRUSTED, "action_required"),
        (errors.REFUSED_BUDGET, "action_required"),
    ],
)
def test_the_conclusion_says_who_has_to_act(code: int, word: str) -> None:
    assert conclusion_of(dataclasses.replace(samples.green(), exit_code=code)) == word


def test_nothing_due_is_neutral_and_what_has_no_file_is_no_check_annotation() -> None:
    assert conclusion_of(dataclasses.replace(samples.green(), suites=())) == "neutral"
    assert plain(Annotation(level="error", title="t", message="m")) is None


def test_a_cut_breaks_no_character() -> None:
    assert cut_bytes("aé😀", 4) == "aé"
    assert cut_bytes("aé", 3) == "aé"
