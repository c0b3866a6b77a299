"""`ci-runner results`: counts and exit codes, what it prints, round trips, and run folders finished or killed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ci_runner import codec, errors
from ci_runner.cli.main import main
from ci_runner.github.commands import one_line
from ci_runner.model import (
    Attempt,
    AttemptState,
    CaseResult,
    Counts,
    Event,
    Outcome,
    Plan,
    Runner,
    Selection,
    Suite,
)
from ci_runner.report.files import case_plain
from ci_runner.results.junit import read_junit
from ci_runner.results.summary import summarize
from ci_runner.results.writer import Group, write_groups

DATA = Path(__file__).parents[1] / "data" / "junit"
KEYS = {"tests", "passed", "failed", "errored", "skipped", "flaky", "missing", "duration_seconds", "verdict", "problems", "files"}  # fmt: skip # noqa: E501
P, F, E, S, M = Outcome.PASSED, Outcome.FAILED, Outcome.ERRORED, Outcome.SKIPPED, Outcome.MISSING


def told(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, dict[str, Any]]:
    """Exit code and the object on stdout."""
    code = main(["results", *arguments, "--format", "json"])
    value: dict[str, Any] = json.loads(capsys.readouterr().out)
    return code, value


def numbers(value: dict[str, Any]) -> Counts:
    """The counts in the object."""
    return Counts(**{name: value[name] for name in Counts.__slots__})


@pytest.mark.parametrize(
    ("files", "code", "verdict"),
    [
        (["default-namespace.xml"], errors.OK, "passed"),
        (["default-namespace.xml", "plain.xml"], errors.TESTS_FAILED, "failed"),
        (["default-namespace.xml", "absent.xml"], errors.INCOMPLETE, "incomplete"),
        (["plain.xml", "truncated.xml"], errors.INCOMPLETE, "incomplete"),
        (["no-tests.xml"], errors.INCOMPLETE, "empty"),
        (["no-tests.xml", "no-tests.xml"], errors.INCOMPLETE, "empty"),
        (["no-tests.xml", "default-namespace.xml"], errors.OK, "passed"),
    ],
)
def test_the_exit_code_is_the_verdicts(
    capsys: pytest.CaptureFixture[str], files: list[str], code: int, verdict: str
) -> None:
    paths = [str(DATA / name) for name in files]
    got, value = told(capsys, "summarize", *paths)
    assert (got, value["verdict"], value["exit_code"], value["files"]) == (code, verdict, code, paths)
    assert value.keys() >= KEYS


def test_problems_say_where_and_cases_what(capsys: pytest.CaptureFixture[str]) -> None:
    _, value = told(capsys, "summarize", str(DATA / "truncated-red.xml"))
    (problem,) = value["problems"]
    assert problem["kind"] == "truncated"
    assert (problem["file"], problem["line"]) == (str(DATA / "truncated-red.xml"), 1)
    (case,) = value["cases"]
    assert (case["id"], case["outcome"], case["message"]) == ("a::two", "failed", "known to be red")


def test_text_of_tests_cannot_speak_to_the_runner(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["results", "summarize", str(DATA / "hostile-names.xml")]) == errors.TESTS_FAILED
    printed = capsys.readouterr().out
    lines = printed.splitlines()
    assert not any(line.lstrip().startswith(("::", "##[")) for line in lines)
    assert "\x1b" not in printed
    assert "\r" not in printed
    assert lines[-1].startswith("failed")
    assert "pwned" in printed


def test_the_text_names_the_red_ones_and_how_many_more(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    cases = "".join(f'<testcase name="t{number}"><failure message="m"/></testcase>' for number in range(23))
    (tmp_path / "many.xml").write_text(f"<testsuite>{cases}</testsuite>")
    main(["results", "summarize", str(tmp_path)])
    lines = capsys.readouterr().out.splitlines()
    assert sum(line.startswith("FAILED ") for line in lines) == 20
    assert lines[20] == f"… and 3 more of {one_line(f'{tmp_path}/many.xml', 80)}"


def test_a_folder_is_all_its_files_and_one_without_is_a_problem(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    code, value = told(capsys, "summarize", str(tmp_path))
    assert (code, [problem["kind"] for problem in value["problems"]]) == (errors.INCOMPLETE, ["no-results"])
    (tmp_path / "deep").mkdir()
    for name in ("deep/b.xml", "a.xml"):
        (tmp_path / name).write_bytes((DATA / "plain.xml").read_bytes())
    code, value = told(capsys, "summarize", str(tmp_path))
    assert (code, value["tests"], value["files"]) == (
        errors.TESTS_FAILED,
        8,
        [str(tmp_path / "a.xml"), str(tmp_path / "deep" / "b.xml")],
    )


# -- round trips

WELL_READ = ["plain.xml", "our-missing.xml", "surefire.xml", "pytest-retry-red.xml", "pytest-retry-untold.xml",
             "pytest-xfail.xml", "same-names.xml", "same-names-retried.xml", "control-characters.xml",
             "hostile-names.xml", "skipped-and-failed.xml", "nested.xml", "nameless.xml", "times.xml"]  # fmt: skip


@pytest.mark.parametrize("name", WELL_READ)
def test_what_was_merged_is_read_as_the_same(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, name: str
) -> None:
    code, before = told(capsys, "summarize", str(DATA / name))
    merged = tmp_path / "merged.xml"
    assert told(capsys, "merge", str(DATA / name), "-o", str(merged))[0] == code
    again, after = told(capsys, "summarize", str(merged))
    assert (again, numbers(after)) == (code, numbers(before))
    assert after["problems"] == []
    repeated = name.startswith("pytest-retry")  # JUnit has no word for how long an earlier try took
    assert repeated or after["duration_seconds"] == pytest.approx(before["duration_seconds"], abs=1e-3)
    assert [case["outcome"] for case in after["cases"]] == [case["outcome"] for case in before["cases"]]
    assert [path.name for path in tmp_path.iterdir()] == ["merged.xml"]


def test_all_of_a_case_survives_the_way_to_junit_and_back(tmp_path: Path) -> None:
    earlier = CaseResult(id="c::n", classname="c", name="n", outcome=E, message="once", details="trace")
    common: dict[str, Any] = {"classname": "c", "duration_seconds": 0.25, "file": "c.py", "line": 7}
    cases = [
        CaseResult(id="c::n", name="n", outcome=P, earlier=(earlier,), flaky=True, **common),
        CaseResult(id="c::f", name="f", outcome=F, message="m\n<&>", details="d", output="o", **common),
        CaseResult(id="c::x", name="x", outcome=S, message="why", expected_failure=True, **common),
        CaseResult(id="c::i", name="i", outcome=M, message="was running", interrupted=True, **common),
        CaseResult(id="c::m", name="m", outcome=P, metrics={"qps": 1.5}, **common),
        CaseResult(id="c::r", name="r", outcome=F, message="m", earlier=(earlier,), **common),
    ]
    path = tmp_path / "out.xml"
    write_groups(path, [Group(name="g", cases=cases, metrics={"speed": 2.0})])
    content = read_junit(path, keep_passed=True)
    assert content.problems == ()
    assert content.metrics == {"speed": 2.0}
    assert [case.id for case in content.cases] == [case.id for case in cases]
    for wrote, read in zip(cases, content.cases, strict=True):
        for name in ("outcome", "flaky", "message", "details", "output", "file", "line", "expected_failure",
                     "interrupted", "metrics", "duration_seconds"):  # fmt: skip
            assert getattr(read, name) == getattr(wrote, name), (wrote.id, name)
        assert [(item.outcome, item.message) for item in read.earlier] == [
            (item.outcome, item.message) for item in wrote.earlier
        ]


@pytest.mark.parametrize(
    ("name", "to"), [("o.xml", None), ("o.json", None), ("o.jsonl", None), ("o.txt", "jsonl")]
)
def test_converting_writes_every_case(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, name: str, to: str | None
) -> None:
    out = tmp_path / name
    code = main(
        ["results", "convert", str(DATA / "plain.xml"), "-o", str(out), *(["--to", to] if to else [])]
    )
    assert code == errors.TESTS_FAILED
    assert capsys.readouterr().out.splitlines()[-1] == f"written to {out}"
    if name == "o.xml":
        assert read_junit(out).counts.tests == 4
        return
    text = out.read_text(encoding="utf-8")
    items = (
        json.loads(text)["cases"] if name == "o.json" else [json.loads(line) for line in text.splitlines()]
    )
    cases = [codec.build(CaseResult, item) for item in items]
    assert [case.outcome for case in cases] == [P, F, E, S]


def test_a_form_that_cannot_be_told_and_a_file_that_cannot_be_written_are_usage_errors(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    plain = str(DATA / "plain.xml")
    assert main(["results", "convert", plain, "-o", str(tmp_path / "o.txt")]) == errors.USAGE
    assert "--to junit" in capsys.readouterr().err
    assert main(["results", "merge", plain, "-o", str(tmp_path / "no" / "o.xml")]) == errors.USAGE
    assert "cannot write" in capsys.readouterr().err


# -- run folders


def selection(name: str, **more: Any) -> Selection:
    """A suite that was selected."""
    return Selection(suite=Suite(name=name, title=name, tests=("t",), **more), reason="r", rule="r")


def killed_run(path: Path, *names: str) -> Path:
    """A run whose ci-runner was killed: a plan, and what the first suite's attempt left."""
    plan = Plan(event=Event(kind="local"), selected=tuple(selection(name) for name in names))
    (path / "plan.json").write_text(codec.dumps(plan))
    folder = path / "attempts" / "unit.1"
    folder.mkdir(parents=True)
    attempt = Attempt(
        id="unit.1", selection="unit", suite="unit", number=1, runner=Runner.PYTHON, lease_id="l",
        folder="attempts/unit.1", log="logs/unit.1.log", state=AttemptState.RUNNING,
    )  # fmt: skip
    (folder / "attempt.json").write_text(codec.dumps(attempt))
    lines: list[dict[str, Any]] = [
        {"event": "session", "v": 1, "pid": 1, "time": 1},
        {"event": "collected", "time": 1, "tests": [f"t.py::t{number}" for number in range(5)]},
    ]
    for number, outcome in enumerate(("passed", "failed")):
        lines.append({"event": "start", "id": f"t.py::t{number}", "time": 1})
        lines.append(
            {"event": "end", "id": f"t.py::t{number}", "time": 2, "outcome": outcome, "duration": 1.5}
        )
    lines.append({"event": "start", "id": "t.py::t2", "time": 3})
    text = "".join(json.dumps(line, separators=(",", ":")) + "\n" for line in lines)
    (folder / "sidecar.jsonl").write_text(text + '{"event":"end","id":"t.py::t2","ti')
    torn = path / "attempts" / "unit.2"
    torn.mkdir()
    (torn / "attempt.json").write_text('{"id": "un')
    return path


def test_a_killed_run_tells_what_finished_what_ran_and_what_never_did(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    code, value = told(capsys, "summarize", str(killed_run(tmp_path, "unit")))
    assert (code, value["verdict"]) == (errors.INCOMPLETE, "incomplete")
    assert numbers(value) == Counts(tests=5, passed=1, failed=1, missing=3)
    assert value["duration_seconds"] == 3.0
    assert {case["id"]: (case["outcome"], case["interrupted"]) for case in value["cases"]} == {
        "t.py::t1": ("failed", False),
        "t.py::t2": ("missing", True),
        "t.py::t3": ("missing", False),
        "t.py::t4": ("missing", False),
    }
    assert "interrupted" in {problem["kind"] for problem in value["problems"]}
    main(["results", "summarize", str(tmp_path)])
    assert "INTERRUPTED unit · t.py::t2" in capsys.readouterr().out


def test_a_killed_run_merged_is_read_as_the_same_numbers(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "run").mkdir()
    run = killed_run(tmp_path / "run", "unit")
    out = tmp_path / "o.xml"
    assert main(["results", "merge", str(run), "-o", str(out)]) == errors.INCOMPLETE
    capsys.readouterr()
    code, value = told(capsys, "summarize", str(out))
    assert (code, numbers(value)) == (errors.INCOMPLETE, Counts(tests=5, passed=1, failed=1, missing=3))


def test_a_suite_that_a_killed_run_never_began_is_told(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    _, value = told(capsys, "summarize", str(killed_run(tmp_path, "unit", "later")))
    assert "never-started" in {problem["kind"] for problem in value["problems"]}


@pytest.mark.parametrize("plan", ["", "[]", '{"event": 1}', '{"event": {"kind": "local"}, "selected": []}'])
def test_a_run_without_a_plan_to_go_by_is_incomplete(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, plan: str
) -> None:
    (tmp_path / "plan.json").write_text(plan)
    code, value = told(capsys, "summarize", str(tmp_path))
    assert (code, value["tests"]) == (errors.INCOMPLETE, 0)
    assert value["problems"][0]["kind"] in ("plan", "interrupted")


def finished_run(path: Path, suites: dict[str, list[Outcome]], **changes: Any) -> Path:
    """A run that wrote its results."""
    (path / "plan.json").write_text("{}")
    told_of, lines = [], []
    for name, outcomes in suites.items():
        red = outcomes.count(F)
        counts = {
            "tests": len(outcomes),
            "passed": outcomes.count(P),
            "failed": red,
            "errored": 0,
            "skipped": 0,
        }
        counts |= {"flaky": 0, "missing": 0, "quarantined": 0}
        verdict = "failed" if red else "passed" if outcomes else "empty"
        code = {"failed": 1, "passed": 0, "empty": 9}[verdict]
        told_of.append({"id": name, "verdict": verdict, "exit_code": code, "metrics": {"m": 1}, **counts})
        for number, outcome in enumerate(outcomes):
            case = CaseResult(id=f"{name}.py::t{number}", outcome=outcome, attempt=f"{name}.1")
            lines.append(json.dumps(case_plain(case)))
    results = {
        "verdict": "passed",
        "exit_code": 0,
        "duration_seconds": 4.0,
        "suites": told_of,
        "problems": [],
    }
    (path / "results.json").write_text(json.dumps(results | changes))
    (path / "cases.jsonl").write_text("".join(line + "\n" for line in lines))
    return path


def test_a_finished_run_is_what_it_wrote(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    run = finished_run(tmp_path, {"unit": [P, F], "docs": [P]})
    code, value = told(capsys, "summarize", str(run))
    assert (code, numbers(value)) == (errors.TESTS_FAILED, Counts(tests=3, passed=2, failed=1))
    assert [(case["part"], case["id"]) for case in value["cases"]] == [("unit", "unit.py::t1")]
    assert value["duration_seconds"] == 4.0
    assert value["problems"] == []
    full = summarize([run], keep_passed=True)
    assert [len(part.cases) for part in full.parts] == [2, 1]
    assert full.parts[0].metrics == {"m": 1.0}


def test_an_empty_suite_of_a_run_is_no_quiet_green(tmp_path: Path) -> None:
    summary = summarize([finished_run(tmp_path, {"unit": [P], "docs": []})])
    assert (summary.verdict.value, summary.exit_code) == ("empty", errors.INCOMPLETE)


def test_a_run_that_ended_worse_than_its_suites_keeps_its_exit_code(tmp_path: Path) -> None:
    run = finished_run(tmp_path, {"unit": [P]}, verdict="incomplete", exit_code=errors.CANCELLED)
    assert summarize([run]).exit_code == errors.CANCELLED
    (nothing := tmp_path / "nothing").mkdir()
    summary = summarize([finished_run(nothing, {})])
    assert (summary.verdict.value, summary.exit_code, summary.counts) == ("passed", errors.OK, Counts())


@pytest.mark.parametrize("victim", ["results.json", "cases.jsonl"])
def test_a_torn_file_of_a_finished_run_is_no_green(tmp_path: Path, victim: str) -> None:
    run = finished_run(tmp_path, {"unit": [P, P]})
    text = (run / victim).read_text()
    for cut in range(len(text)):
        (run / victim).write_text(text[:cut])
        if text[cut:].strip():
            assert summarize([run]).exit_code == errors.INCOMPLETE, cut


def test_numbers_that_contradict_a_green_verdict_are_red(tmp_path: Path) -> None:
    run = finished_run(tmp_path, {"unit": [P, F]})
    results = json.loads((run / "results.json").read_text())
    results["suites"][0] |= {"verdict": "passed", "exit_code": 0}
    (run / "results.json").write_text(json.dumps(results))
    summary = summarize([run])
    assert [problem.kind for problem in summary.problems] == ["disagreement"]
    assert summary.exit_code == errors.INCOMPLETE
