"""The reader of the sidecar: every complete line counts, whatever happened to the rest of the file."""

from __future__ import annotations

import json
import string
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ci_runner.model import Outcome
from ci_runner.results import sidecar
from ci_runner.results.sidecar import SidecarEnd, SidecarLog, case_of, junit_name, metrics_of, read_sidecar

WORDS = ("passed", "failed", "errored", "skipped", "xfailed", "xpassed", "rerun")
TEXT = st.text(st.characters(codec=None), max_size=20)  # halves of characters too
IDS = st.text(string.ascii_lowercase + "[]:\n{}\"'é\ud800", min_size=1, max_size=8)
shared = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


def line(event: str, **fields: Any) -> bytes:
    """A line as the plugin writes it."""
    return json.dumps({"event": event, **fields}, separators=(",", ":")).encode() + b"\n"


def read(folder: Path, data: bytes) -> SidecarLog:
    """What a file with these bytes says."""
    path = folder / "sidecar.jsonl"
    path.write_bytes(data)
    return read_sidecar(path)


def writable(text: str) -> str:
    """The text as the reader gives it."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


@st.composite
def logs(draw: st.DrawFn) -> list[bytes]:
    """The lines of a run: a session, the collection, starts and ends."""
    ids = draw(st.lists(IDS, max_size=6, unique=True))
    lines = [line("session", pid=7), line("collected", tests=ids)]
    for name in ids:
        lines.append(line("start", id=name, time=1.0))
        if draw(st.booleans()):
            lines.append(
                line("end", id=name, outcome=draw(st.sampled_from(WORDS)), message=draw(TEXT), duration=0.5)
            )
    return lines


@shared
@given(lines=logs(), data=st.data())
def test_any_beginning_yields_all_its_complete_lines(
    tmp_path: Path, lines: list[bytes], data: st.DataObject
) -> None:
    """Cut anywhere, a log says what its complete lines say, and nothing counts as garbage."""
    whole = b"".join(lines)
    cut = data.draw(st.integers(0, len(whole)))
    complete = whole[: whole.rfind(b"\n", 0, cut) + 1]
    found, expected = read(tmp_path, whole[:cut]), read(tmp_path, complete)
    if whole[cut : cut + 1] == b"\n":  # all but the end of the line is there
        expected = read(tmp_path, whole[: cut + 1])
    assert found == expected
    assert found.bad_lines == 0
    assert len(found.ended) == complete.count(b'{"event":"end"') + (
        whole[cut : cut + 1] == b"\n" and whole[len(complete) : cut].startswith(b'{"event":"end"')
    )


@shared
@given(data=st.binary(max_size=300))
def test_garbage_never_raises(tmp_path: Path, data: bytes) -> None:
    """Bytes that say nothing end nothing and start nothing."""
    found = read(tmp_path, data)
    assert (found.ended, found.running, found.collected, found.exit_status) == ((), (), None, None)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT | st.sampled_from(WORDS),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=5,
)
KEYS = st.sampled_from(
    ("id", "outcome", "time", "tests", "errors", "status", "phases", "properties", "subtests", "pid")
)


@shared
@given(
    event=st.sampled_from(("session", "collected", "deselected", "start", "end", "exit", "newer")),
    fields=st.dictionaries(KEYS, VALUES, max_size=6),
)
def test_lines_of_the_wrong_shape_never_raise(tmp_path: Path, event: str, fields: dict[str, Any]) -> None:
    """A line is taken whole or counted as bad; the lines around it stand."""
    before, after = line("start", id="before"), line("start", id="after")
    found = read(tmp_path, before + line(event, **fields) + after)
    assert found.bad_lines in (0, 1)
    assert {"before", "after"} <= {*found.running, *(end.id for end in found.ended)}
    if found.bad_lines:
        assert found == replace(read(tmp_path, before + after), bad_lines=1)


@shared
@given(lines=logs(), data=st.data())
def test_a_line_behind_a_torn_one_is_read(tmp_path: Path, lines: list[bytes], data: st.DataObject) -> None:
    """A worker killed while it wrote costs its own line, not the one that another wrote behind it."""
    victim = data.draw(st.integers(0, len(lines) - 1))
    torn = lines[victim][: data.draw(st.integers(1, len(lines[victim]) - 2))]
    found = read(
        tmp_path, b"".join([*lines[:victim], torn, line("start", id="behind"), *lines[victim + 1 :]])
    )
    expected = read(tmp_path, b"".join([*lines[:victim], line("start", id="behind"), *lines[victim + 1 :]]))
    assert found == replace(expected, bad_lines=1)


def test_no_file_is_an_empty_log(tmp_path: Path) -> None:
    """The plugin was never loaded."""
    assert read_sidecar(tmp_path / "sidecar.jsonl") == SidecarLog()
    (tmp_path / "file").touch()
    assert read_sidecar(tmp_path / "file" / "sidecar.jsonl") == SidecarLog()


def test_a_line_without_end_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What nobody writes is passed over in pieces, and the next line is read."""
    monkeypatch.setattr(sidecar, "LINE_LIMIT", 100)
    found = read(tmp_path, b"x" * 1000 + b"\n" + line("start", id="a"))
    assert found.running == ("a",)
    assert found.bad_lines == 1
    assert read(tmp_path, b"x" * 1000).running == ()


def test_workers_and_repeated_tries(tmp_path: Path) -> None:
    """A test is running until its last try ends; workers' statuses are not the session's."""
    found = read(
        tmp_path,
        line("session", pid=1)
        + line("session", pid=2, worker="gw0", stack_signal=39)
        + line("deselected", count=3, worker="gw0")
        + line("end", id="bad.py", outcome="errored", collector=True)
        + line("end", id="skipped.py", outcome="skipped", collector=True)
        + line("collected", tests=["a", "b", "c"], errors=["other.py"], unknown=["x"], deselected=1)
        + line("start", id="a", worker="gw0")
        + line("end", id="a", outcome="rerun", worker="gw0", line=3, phases={"call": 1})
        + line("start", id="b", worker="gw1")
        + line("exit", status=1, worker="gw0"),
    )
    assert found.running == ("a", "b")
    assert found.exit_status is None
    assert (found.deselected, found.unknown) == (3, ("x",))
    assert found.collection_errors == ("bad.py", "other.py")
    assert [end.collector for end in found.ended] == [True, True, False]
    assert found.ended[2].phases == {"call": 1.0}
    assert found.sessions[1]["stack_signal"] == 39


def test_halves_of_characters_become_text(tmp_path: Path) -> None:
    """Whatever the log says can be written as UTF-8."""
    name = "a\udc80\ud83d"
    found = read(
        tmp_path,
        line("collected", tests=[name])
        + line("start", id=name)
        + line(
            "end",
            id=name,
            outcome="failed",
            message=name,
            properties=[[name, name]],
            subtests=[{"description": name}],
        ),
    )
    assert found.collected == (found.ended[0].id,) == (r"a\udc80\ud83d",)
    assert found.running == ()
    repr(found).encode("utf-8")
    assert read(tmp_path, line("start", id="😀")).running == ("😀",)


def test_the_case_of_an_end() -> None:
    """Outcome, name, metrics and the list of failed subtests."""
    end = SidecarEnd(
        id="tests/test_a.py::TestB::test_c[x::y]",
        outcome="failed",
        duration=1.5,
        details="why",
        properties=(("metric.speed", "2.5"), ("metric.bad", "fast"), ("metric.flag", True), ("other", 1)),
        subtests=(
            {"description": "one", "outcome": "passed"},
            {"description": "two", "outcome": "failed", "message": "no"},
        ),
    )
    case = case_of(end, suite="unit", attempt="unit.1")
    assert (case.classname, case.name) == ("tests.test_a.TestB", "test_c[x::y]")
    assert (case.outcome, case.suite, case.attempt, case.file) == (
        Outcome.FAILED,
        "unit",
        "unit.1",
        "tests/test_a.py",
    )
    assert case.details == "failed subtests:\ntwo: no\n\nwhy"
    assert case.metrics == {"speed": 2.5}
    assert case_of(replace(end, outcome="rerun", subtests=())).outcome is Outcome.FAILED
    assert case_of(replace(end, outcome="xfailed")).expected_failure
    assert case_of(replace(end, outcome="xpassed")).outcome is Outcome.PASSED


def test_names_as_in_junit() -> None:
    """pytest's JUnit writer says the same."""
    assert junit_name("a/b.py::test_c") == ("a.b", "test_c")
    assert junit_name("a.py") == ("", "a")
    assert junit_name("a.py::T::test[/x.py::y]") == ("a.T", "test[/x.py::y]")


def test_metrics_are_numbers() -> None:
    """Only finite numbers under `metric.` count."""
    assert metrics_of((("metric.a", 1), ("metric.b", "x"), ("c", 2), ("metric.d", "nan"))) == {"a": 1.0}
