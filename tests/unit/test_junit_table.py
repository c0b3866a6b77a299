"""Every kind of bad file: one fixture, and what it must be read as."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ci_runner.model import Counts, Outcome
from ci_runner.results.junit import JunitContent, read_junit
from ci_runner.results.summary import summarize

DATA = Path(__file__).parents[1] / "data" / "junit"
TABLE: list[dict[str, Any]] = json.loads((DATA / "table.json").read_text(encoding="utf-8"))


def test_every_fixture_is_in_the_table() -> None:
    assert {path.name for path in DATA.glob("*.xml")} == {
        row["file"] for row in TABLE if row["file"] != "absent.xml"
    }
    assert len({row["file"] for row in TABLE}) == len(TABLE)


@pytest.fixture(params=TABLE, ids=lambda row: row["file"].removesuffix(".xml"))
def row(request: pytest.FixtureRequest) -> dict[str, Any]:
    found: dict[str, Any] = request.param
    return found


def _kinds(content: JunitContent) -> list[list[object]]:
    return [[problem.kind, problem.fatal] for problem in content.problems]


def test_a_file_is_read_as_the_table_says(row: dict[str, Any]) -> None:
    content = read_junit(DATA / row["file"])
    assert content.counts == Counts(**row["counts"]), row["why"]
    assert _kinds(content) == row["problems"], content.problems
    assert summarize([DATA / row["file"]]).verdict.value == row["verdict"]
    if "ids" in row:
        assert {case.id: case.outcome.value for case in content.cases} == row["ids"]
    if "seconds" in row:
        assert content.duration_seconds == pytest.approx(row["seconds"])
    assert all(problem.text and problem.file == str(DATA / row["file"]) for problem in content.problems)


def test_keeping_passed_cases_changes_nothing_else(row: dict[str, Any]) -> None:
    lean, full = read_junit(DATA / row["file"]), read_junit(DATA / row["file"], keep_passed=True)
    assert (full.counts, full.problems) == (lean.counts, lean.problems)
    assert full.duration_seconds == pytest.approx(lean.duration_seconds)
    assert len(full.cases) == full.counts.tests
    notable = [case for case in full.cases if case.outcome is not Outcome.PASSED or case.earlier]
    assert notable == list(lean.cases)
