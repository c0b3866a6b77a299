"""The files at the end of a run, and that a publisher which fails is told and hides nothing."""

from __future__ import annotations

import dataclasses
import json
import sys
import types
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ci_runner import codec
from ci_runner.config.settings import Settings
from ci_runner.history.store import FolderStore, MemoryStore
from ci_runner.model import CaseResult, Outcome
from ci_runner.report import files, render
from tests import report_samples as samples

NUMBERS = ("tests", "passed", "failed", "errored", "skipped", "flaky", "missing")


@pytest.fixture
def junit(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """A writer of merged JUnit that notes where it wrote."""
    written: list[Path] = []

    def write_junit(path: Path, suites: object) -> None:
        path.write_text("<testsuites/>")
        written.append(path)

    module = types.ModuleType("ci_runner.results.writer")
    vars(module)["write_junit"] = write_junit
    monkeypatch.setitem(sys.modules, "ci_runner.results.writer", module)
    return written


@pytest.mark.parametrize("name", [name for name in samples.SAMPLES if name != "large"])
def test_every_file_of_every_run(name: str, tmp_path: Path, junit: list[Path]) -> None:
    result = samples.SAMPLES[name]()
    assert render.write_all(result, tmp_path) == ()
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "cases.jsonl",
        "junit.xml",
        "record.json",
        "report.html",
        "results.json",
    ]
    assert junit == [tmp_path / "junit.xml"]
    told = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))
    assert {key: told[key] for key in NUMBERS} == {key: getattr(result.counts, key) for key in NUMBERS}
    assert told["verdict"] == result.verdict.value
    assert told["exit_code"] == result.exit_code
    assert len(told["suites"]) == len(result.suites)
    lines = (tmp_path / "cases.jsonl").read_text(encoding="utf-8").splitlines()
    cases = [codec.build(CaseResult, json.loads(line)) for line in lines]
    assert cases == [case for suite in result.suites for case in suite.cases]
    record = json.loads((tmp_path / "record.json").read_text(encoding="utf-8"))
    assert record["run_id"] == result.run_id
    assert len(record["suites"]) == len(result.suites)


def test_the_object_for_programs_names_problems_files_and_commands() -> None:
    told = files.results_json(samples.everything())
    assert told["cost_usd"] == 0.0712
    assert told["event"]["pull_request"] == 123
    assert {problem["suite"] for problem in told["problems"]} == {"unit", "distributed"}
    assert all({"file", "line", "kind", "text"} <= problem.keys() for problem in told["problems"])
    assert told["files"] == []
    failures = [failure["again"] for suite in told["suites"] for failure in suite["failures"]]
    assert failures[0] == "ci-runner run unit --only tests/test_plan.py::test_label_added_later"
    assert [skip["suite"] for skip in told["not_run"]] == ["gpu", "docs"]
    assert [lease["zone"] for lease in told["suites"][1]["leases"]] == ["us-central1-b", "us-east5-b"]
    json.dumps(told, allow_nan=False)


@pytest.mark.parametrize(
    ("broken", "fault"),
    [
        ("render_page", OSError(28, "No space left on device")),
        ("render_page", MemoryError()),
        ("render_page", "template"),
        ("run_record", KeyError("x")),
    ],
)
def test_a_broken_publisher_is_told_and_the_others_write(
    broken: str, fault: Any, tmp_path: Path, junit: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    from jinja2 import TemplateRuntimeError

    def fail(*_args: object, **_kwargs: object) -> None:
        raise TemplateRuntimeError("undefined") if fault == "template" else fault

    where = "ci_runner.report.page" if broken == "render_page" else "ci_runner.history.record"
    monkeypatch.setattr(f"{where}.{broken}", fail)
    (problem,) = render.write_all(samples.red(), tmp_path)
    name = "report.html" if broken == "render_page" else "record.json"
    assert problem.file == name
    assert not problem.fatal
    assert problem.text.startswith(f"{name} could not be written: ")
    assert not (tmp_path / name).exists()
    assert len(list(tmp_path.iterdir())) == 4


def test_a_folder_that_is_gone_is_told_for_every_file(tmp_path: Path) -> None:
    problems = render.write_all(samples.red(), tmp_path / "gone")
    assert {problem.file for problem in problems} == {
        "results.json", "record.json", "cases.jsonl", "junit.xml", "report.html",
    }  # fmt: skip


def publish(tmp_path: Path, **environ: str) -> tuple[Any, Path]:
    folder = tmp_path / "run"
    folder.mkdir(exist_ok=True)
    settings = Settings(root=tmp_path)
    return files.publish_files(samples.red(), folder, settings=settings, environ=environ), folder


def test_publishing_keeps_files_summary_and_records(tmp_path: Path, junit: list[Path]) -> None:
    summary = tmp_path / "summary.md"
    summary.write_text("before\n")
    result, folder = publish(tmp_path, GITHUB_STEP_SUMMARY=str(summary))
    assert result == samples.red()
    assert (folder / "report.html").exists()
    assert summary.read_text().startswith("before\n\n### ❌ 1 failed")
    keys = list(FolderStore(tmp_path / ".ci-runner" / "results").list())
    assert keys == [
        "cases/daily/2026-11-23/local-unit-3f2a9c1b7d5e-20261123-161502-7f3c.jsonl.gz",
        "daily/2026-11-23/local-unit-3f2a9c1b7d5e-20261123-161502-7f3c.json",
    ]


def test_what_could_not_be_published_is_a_note_and_the_verdict_stays(
    tmp_path: Path, junit: list[Path]
) -> None:
    (tmp_path / ".ci-runner").write_text("a file where the store should be")
    full = tmp_path / "full.md"
    full.write_bytes(b"x" * 1_000_000)
    result, _ = publish(tmp_path, GITHUB_STEP_SUMMARY=str(full))
    assert result.verdict is samples.red().verdict
    assert result.exit_code == 1
    summary, history = result.notes
    assert summary == "the step summary could not be written: ValueError: the step's summary is full already"
    assert history.startswith("the record in the history could not be written: ")
    assert full.stat().st_size == 1_000_000


def test_a_store_of_an_unknown_kind_is_a_note(tmp_path: Path, junit: list[Path]) -> None:
    settings = Settings(root=tmp_path, stores={"history": "ftp://x"})
    result = files.publish_files(samples.green(), tmp_path, settings=settings, environ={})
    assert result.notes == (
        'the record in the history could not be written: ValueError: no store is known for "ftp://"',
    )


def test_records_are_written_once(tmp_path: Path) -> None:
    store = MemoryStore()
    keys = files.publish_records(samples.everything(), store)
    assert keys == files.publish_records(samples.everything(), store)
    assert len(keys) == 4
    assert all(key.startswith("pr/pr-123/") for key in keys)
    assert len(list(store.list("cases/"))) == 4


def test_logs_of_attempts_that_ended_badly(tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "unit.1.log").write_bytes(b"a" * 50_000 + b"the end \xff")
    (tail,) = files.log_tails(samples.hung(), tmp_path)
    assert tail[0] == "unit.1"
    assert tail[1].endswith("the end \ufffd")
    assert len(tail[1]) == files.LOG_TAIL
    assert list(files.log_tails(samples.red(), tmp_path)) == []
    assert list(files.log_tails(samples.setup_failed(), tmp_path / "none")) == []


@given(
    st.builds(
        CaseResult,
        id=st.text(min_size=1),
        outcome=st.sampled_from(Outcome),
        message=st.none() | st.text(),
        line=st.none() | st.integers(0, 9),
        duration_seconds=st.floats(0, 100),
        flaky=st.booleans(),
        metrics=st.dictionaries(st.text(), st.floats(0, 9)),
    )
)
def test_a_case_comes_back_as_it_was(case: CaseResult) -> None:
    case = dataclasses.replace(case, earlier=(case,))
    assert codec.build(CaseResult, json.loads(json.dumps(files.case_plain(case)))) == case
