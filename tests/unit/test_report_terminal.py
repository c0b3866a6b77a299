"""What a person sees: lines in a log, bars on a terminal, and the last lines that name the verdict."""

from __future__ import annotations

import dataclasses
import io
import re
from collections.abc import Mapping
from pathlib import Path

import pytest

from ci_runner.model import AttemptState, MachineSpec, OfferAttempt, Outcome, Plan, RunResult, Verdict
from ci_runner.report.terminal import TerminalListener, is_terminal, shown_path, write
from tests import golden
from tests import report_samples as samples


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


class Clock:
    """Time that tests move."""

    def __init__(self) -> None:
        self.now = samples.START + 500

    def __call__(self) -> float:
        return self.now


def play(result: RunResult, listener: TerminalListener, folder: Path) -> None:
    """Tell a listener a whole run as the spine does."""
    listener.planned(result.run_id, result.plan, folder)
    for suite in result.suites:
        for lease in suite.leases:
            listener.leasing(lease)
            listener.leased(lease)
        for attempt in suite.attempts:
            listener.attempt_started(attempt)
            if attempt.kind in ("suite", "fallback") and suite.cases:
                listener.collected(attempt, [case.id for case in suite.cases])
                for case in suite.cases:
                    if case.outcome is not Outcome.MISSING:
                        listener.test_started(attempt, case.id)
                        listener.test_ended(attempt, case)
            listener.attempt_ended(attempt)
        for lease in suite.leases:
            listener.released(lease)
        listener.suite_ended(suite)
    listener.finished(result, folder)


def told(result: RunResult, folder: Path, environ: Mapping[str, str] | None = None) -> str:
    stream = io.StringIO()
    play(result, TerminalListener(stream, environ=environ or {}, clock=Clock()), folder)
    return stream.getvalue()


@pytest.mark.parametrize("name", [name for name in samples.SAMPLES if name not in ("hostile", "large")])
def test_a_log_is_as_expected(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / ".ci-runner" / "runs" / "20261123-161502-7f3c"
    folder.mkdir(parents=True)
    (folder / "report.html").touch()
    golden.check(f"{name}.terminal.txt", told(samples.SAMPLES[name](), folder))


def test_the_last_lines_are_verdict_and_report(tmp_path: Path) -> None:
    (tmp_path / "report.html").touch()
    *_, verdict, report = told(samples.red(), tmp_path).splitlines()
    assert verdict == "failed   1,001 passed, 1 failed, 1 errored, 1 skipped in 50.3 s (peak 214 MB)"
    assert report == f"report   {tmp_path}/report.html"


def test_without_a_page_the_folder_is_named(tmp_path: Path) -> None:
    assert told(samples.green(), tmp_path).splitlines()[-1] == f"results  {tmp_path}"


def test_hostile_text_stays_text(tmp_path: Path) -> None:
    text = told(samples.hostile(), tmp_path, {"GITHUB_ACTIONS": "true"})
    for line in re.split("[\n\r]", text):
        assert not line.lstrip().startswith("::"), line
        assert "##[" not in line
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\u200f\ud800-\udfff]", text)


def test_live_output_is_shown_without_being_obeyed(tmp_path: Path) -> None:
    stream = io.StringIO()
    listener = TerminalListener(stream, live_output=True, environ={"GITHUB_ACTIONS": "true"}, clock=Clock())
    attempt = samples.attempt("unit")
    listener.planned("r", Plan(event=samples.green().plan.event), tmp_path)
    listener.output(attempt, b"one\n::set-env name=A::b\nhal")
    listener.output(attempt, b"f\n\xff\x1b[31mred\x1b[0m\nrest")
    listener.attempt_ended(attempt)
    lines = stream.getvalue().splitlines()
    (token,) = (
        line.removeprefix("::stop-commands::") for line in lines if line.startswith("::stop-commands::")
    )
    start = lines.index(f"::stop-commands::{token}")
    end = lines.index(f"::{token}::")
    assert lines[start + 1 : end] == ["one", "\\::set-env name=A::b", "half", "\\xffred", "rest"]
    assert lines[end + 1] == "unit     attempt 1 ended in 49.8 s, exit 0"


def test_output_is_not_shown_unless_asked_for() -> None:
    stream = io.StringIO()
    TerminalListener(stream, environ={}, clock=Clock()).output(samples.attempt("unit"), b"x\n")
    assert stream.getvalue() == ""


def test_an_endless_line_is_shown_in_pieces() -> None:
    stream = io.StringIO()
    listener = TerminalListener(stream, live_output=True, environ={}, clock=Clock())
    listener.output(samples.attempt("unit"), b"x" * 70_000)
    assert len(stream.getvalue()) == 70_001


def test_a_failure_is_told_once_and_at_once(tmp_path: Path) -> None:
    stream = io.StringIO()
    listener = TerminalListener(stream, environ={}, clock=Clock())
    result = samples.red()
    listener.planned(result.run_id, result.plan, tmp_path)
    attempt, case = samples.attempt("unit"), result.suites[0].cases[0]
    listener.test_ended(attempt, case)
    assert stream.getvalue().count("FAILED unit · tests/test_plan.py::test_label_added_later") == 1
    listener.test_ended(dataclasses.replace(attempt, number=2, kind="retry"), case)
    listener.suite_ended(result.suites[0])
    assert stream.getvalue().count("tests/test_plan.py::test_label_added_later   Assertion") == 1
    assert "tests/test_codec.py::test_round_trip[nan]   fixture" in stream.getvalue()


def test_of_many_failures_the_first_are_told(tmp_path: Path) -> None:
    text = told(samples.large(300, failing=100), tmp_path)
    assert text.count("FAILED ") == 20
    assert "80 more failures are in the report" in text


def test_a_long_run_says_where_it_is(tmp_path: Path) -> None:
    stream, clock = io.StringIO(), Clock()
    listener = TerminalListener(stream, environ={}, clock=clock)
    result = samples.no_capacity()
    listener.planned(result.run_id, result.plan, tmp_path)
    machine = dataclasses.replace(samples.everything().suites[1].leases[1], created_at=clock.now)
    listener.leasing(machine)
    clock.now += 41
    listener.leased(machine)
    attempt = samples.attempt("tpu", started_at=clock.now)
    listener.attempt_started(attempt)
    listener.collected(attempt, [f"t{i}" for i in range(18)])
    for i in range(11):
        clock.now += 5
        listener.test_ended(attempt, samples.case(f"t{i}"))
    listener.released(machine)
    assert stream.getvalue().splitlines()[1:] == [
        "lease    v6e-1 (spot) in us-east5-b  asked for  7f3c-1-us-east5-b",
        "lease    v6e-1 (spot) in us-east5-b  ready in 41.0 s, $0.60/h; "
        "7f3c-1-us-east5-b ends itself at 2026-11-23T16:37:12Z",
        "tpu      started (attempt 1, python runner)",
        "tpu      18 tests collected",
        "tpu      6/18 tests, 0 failed, 0:30, $0.01",
        "released 7f3c-1-us-east5-b after 1 min 36 s",
    ]


def test_bars_on_a_terminal(tmp_path: Path) -> None:
    stream = Terminal()
    listener = TerminalListener(stream, color=False, environ={"TERM": "xterm"}, clock=Clock())
    result = samples.red()
    listener.planned(result.run_id, result.plan, tmp_path)
    attempt = samples.attempt("unit")
    listener.attempt_started(attempt)
    listener.collected(attempt, [case.id for case in result.suites[0].cases])
    for case in result.suites[0].cases[:500]:
        listener.test_ended(attempt, case)
    listener.note("a note above the bars")
    listener.attempt_ended(attempt)
    listener.suite_ended(result.suites[0])
    listener.finished(result, tmp_path)
    text = stream.getvalue()
    assert "━" in text
    assert "500/1,004" in text
    assert "2 failed" in text
    assert "note     a note above the bars" in text
    assert "\x1b[?25h" in text  # the cursor is back
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)
    assert plain.splitlines()[-2].startswith("failed   1,001 passed")
    assert not re.search(r"\x1b\[[0-9;]*3[1-7]m", text)  # no colour


def test_colours_only_if_wanted(tmp_path: Path) -> None:
    stream = io.StringIO()
    play(samples.red(), TerminalListener(stream, color=True, environ={}, clock=Clock()), tmp_path)
    assert "\x1b[1;31mfailed  \x1b[0m 1,001 passed" in stream.getvalue()
    stream = Terminal()
    play(
        samples.red(),
        TerminalListener(stream, environ={"NO_COLOR": "", "TERM": "xterm"}, clock=Clock()),
        tmp_path,
    )
    assert not re.search(r"\x1b\[[0-9;]*3[1-7]m", stream.getvalue())


@pytest.mark.parametrize(
    ("environ", "terminal"),
    [
        ({}, True),
        ({"TERM": "dumb"}, False),
        ({"CI": "true"}, False),
        ({"GITHUB_ACTIONS": "true"}, False),
        ({"CI": ""}, True),
    ],
)
def test_where_bars_can_be_shown(environ: dict[str, str], terminal: bool) -> None:
    assert is_terminal(Terminal(), environ) is terminal
    assert not is_terminal(io.StringIO(), environ)


def test_a_stream_that_cannot_write_it_gets_escapes() -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii")
    write(stream, "a · b\n")
    assert raw.getvalue() == b"a \\xb7 b\n"


def test_paths_as_a_person_types_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert shown_path(tmp_path / "a" / "b") == "a/b"
    assert shown_path(tmp_path.parent / "b") == str(tmp_path.parent / "b")


def test_notes_are_told_once(tmp_path: Path) -> None:
    stream = io.StringIO()
    listener = TerminalListener(stream, environ={}, clock=Clock())
    listener.note("with uncommitted changes")
    result = dataclasses.replace(
        samples.green(), notes=("with uncommitted changes", "junit.xml could not be written")
    )
    listener.finished(result, tmp_path)
    assert stream.getvalue().count("with uncommitted changes") == 1
    assert "note     junit.xml could not be written" in stream.getvalue()


def test_every_odd_end_of_an_attempt_is_told() -> None:
    stream = io.StringIO()
    listener = TerminalListener(stream, environ={}, clock=Clock())
    listener.attempt_ended(
        samples.attempt("unit", state=AttemptState.KILLED, reason="ended by signal 11 (SIGSEGV)")
    )
    assert stream.getvalue() == "unit     attempt 1 killed: ended by signal 11 (SIGSEGV)\n"


@pytest.mark.parametrize(("suites", "whose"), [(1, ""), (2, "  (7f3c-b)")])
def test_lines_of_machines_asked_for_side_by_side_say_which(tmp_path: Path, suites: int, whose: str) -> None:
    stream = io.StringIO()
    listener = TerminalListener(stream, environ={}, clock=Clock())
    plan = samples.green().plan
    others = [
        dataclasses.replace(each, suite=dataclasses.replace(each.suite, name=f"suite-{number}"))
        for number, each in enumerate(plan.selected * suites)
    ]
    listener.planned("run", dataclasses.replace(plan, selected=tuple(others[:suites])), tmp_path)
    lease = samples.lease("7f3c-b", machine=MachineSpec(name="tpu", provider="gcp-tpu", type="v6e-1"))
    listener.tried(lease, OfferAttempt(zone="us-east5-b", type="v6e-1", failure="stockout", text="none left"))
    listener.checked(lease, "1 TPU chip")
    lines = stream.getvalue().splitlines()
    assert lines[-2].endswith(f"us-east5-b v6e-1  no capacity: none left{whose}")
    assert lines[-1].endswith(f"1 TPU chip{whose}")


def test_what_is_incomplete_shows_the_end_of_its_log(tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    log = tmp_path / "logs" / "go.1.log"
    log.write_bytes(b"begin\n" * 2000 + b"\n::error::bash: gotestsum: \xff command not found\n\n")
    broken = samples.attempt("go", log="logs/go.1.log", exit_code=127)
    result = samples.run_result(
        samples.suite_result(attempts=(broken,), verdict=Verdict.INCOMPLETE, exit_code=9),
        verdict=Verdict.INCOMPLETE,
        exit_code=9,
    )
    text = told(result, tmp_path)
    assert f"log:     {log} ends so:\n           begin\n" in text
    assert text.count("           begin\n") == 7
    assert "  \\::error::bash" in text
    assert "gotestsum: \ufffd command not found" in text


def test_a_log_that_is_not_there_is_not_spoken_of(tmp_path: Path) -> None:
    broken = samples.attempt("go", log="logs/none.log", exit_code=127)
    suite = samples.suite_result(attempts=(broken,), verdict=Verdict.INCOMPLETE, exit_code=9)
    result = samples.run_result(suite, verdict=Verdict.INCOMPLETE, exit_code=9)
    assert "log:" not in told(result, tmp_path)
