"""Reading records back: newest first, and broken or foreign objects are told and skipped."""

from __future__ import annotations

import dataclasses
import gzip
import json
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ci_runner.history import query
from ci_runner.history.query import (
    BadRecord,
    case_durations,
    known_run_ids,
    load_cases,
    load_records,
    parse_record,
    records_of_run,
)
from ci_runner.history.record import record_of
from ci_runner.history.store import MemoryStore
from ci_runner.model import Outcome, Problem, RunResult
from ci_runner.report.files import publish_records
from tests import report_samples as samples

# The form that teams had before: fewer fields, no schema, another key.
SEED = {
    "run_id": "uuid-here", "developer": "alice", "branch": "feature/new-optimizer", "commit": "abc123",
    "platform": "aws", "instance_type": "p4d.24xlarge", "test_suite": "nvidia_backend",
    "timestamp": "2024-01-15T10:30:00Z", "duration_seconds": 1234, "cost_usd": 12.50,
    "results": {"passed": 150, "failed": 2, "skipped": 5}, "metrics": {"avg_latency_ms": 1.5, "throughput": 1000},
}  # fmt: skip


def run_at(day: int, *, seconds: float = 0.01, make: Callable[[], RunResult] = samples.green) -> RunResult:
    """A run of a day of November."""
    result = make()
    shift = (day - 23) * 86_400.0
    suites = []
    for suite in result.suites:
        attempts = tuple(
            dataclasses.replace(a, started_at=a.started_at + shift, ended_at=(a.ended_at or 0) + shift)
            for a in suite.attempts
        )
        cases = tuple(dataclasses.replace(case, duration_seconds=seconds) for case in suite.cases[:3])
        suites.append(dataclasses.replace(suite, attempts=attempts, cases=cases))
    return dataclasses.replace(
        result,
        run_id=f"202611{day:02}-161502-7f3c",
        suites=tuple(suites),
        started_at=result.started_at + shift,
    )


@pytest.fixture
def store() -> MemoryStore:
    """Runs of five days, and one in the old form."""
    kept = MemoryStore()
    for day in (20, 22, 19, 23, 21):
        publish_records(run_at(day, seconds=day / 100), kept)
    publish_records(samples.everything(), kept)
    kept.put_new("daily/2024-01-15/aws-nvidia-abc123.json", json.dumps(SEED).encode())
    return kept


def test_newest_first(store: MemoryStore) -> None:
    days = [stored.record.timestamp[:10] for stored in load_records(store, suite="unit")]
    assert days == ["2026-11-23", "2026-11-23", "2026-11-22", "2026-11-21", "2026-11-20", "2026-11-19"]
    assert next(iter(load_records(store, suite="tpu"))).record.selection == "tpu-2of2"
    assert len(list(load_records(store))) == 10


def test_limits(store: MemoryStore) -> None:
    assert len(list(load_records(store, limit=3))) == 3
    since = datetime(2026, 11, 22, tzinfo=UTC)
    assert len(list(load_records(store, suite="unit", since=since))) == 3
    noon = datetime(2026, 11, 22, 18, tzinfo=UTC)
    assert len(list(load_records(store, suite="unit", since=noon))) == 2


def test_a_limit_reads_no_more_than_it_must(store: MemoryStore, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    get = store.get

    def noted(key: str) -> bytes:
        read.append(key)
        return get(key)

    monkeypatch.setattr(store, "get", noted)
    list(load_records(store, suite="unit", limit=2))
    assert len(read) == 2


def test_the_old_form_is_read(store: MemoryStore) -> None:
    (stored,) = load_records(store, suite="nvidia_backend")
    record = stored.record
    assert record.results == {
        "passed": 150, "failed": 2, "skipped": 5, "errored": 0, "flaky": 0, "missing": 0, "quarantined": 0,
    }  # fmt: skip
    assert record.duration_seconds == 1234.0
    assert record.metrics["throughput"] == 1000


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (b"", "no JSON"),
        (b"\xff\xfe", "no JSON"),
        (b"[1]", "not an object"),
        (b"[" * 100_000, "no JSON"),
        (b'{"run_id": NaN}', "no JSON"),
        ({"run_id": None}, "run_id is missing"),
        ({"run_id": 7}, "run_id is not text"),
        ({"timestamp": "yesterday"}, "timestamp is no RFC 3339 time"),
        ({"duration_seconds": "long"}, "duration_seconds is not a number"),
        ({"duration_seconds": -1}, "duration_seconds is out of range"),
        ({"cost_usd": 1e999}, "cost_usd is out of range"),
        ({"attempts": True}, "attempts is not a number"),
        ({"attempts": 1.5}, "attempts is not a number"),
        ({"spot": 1}, "spot is not true or false"),
        ({"results": [1]}, "results is not an object"),
        ({"results": {"passed": "many"}}, "results.passed is not a number"),
        ({"results": {"passed": -1}}, "results.passed is not a number"),
        ({"metrics": {"x": None}}, "metrics.x is not a number"),
        ({"attempt_details": ["x"]}, "attempt_details is not a list of objects"),
    ],
)
def test_what_is_no_record_says_why(change: Any, reason: str) -> None:
    data = (
        change
        if isinstance(change, bytes)
        else json.dumps(SEED | change).replace("Infinity", "1e999").encode()
    )
    with pytest.raises(BadRecord, match=f"^{reason}"):
        parse_record(data)


def test_a_record_of_a_newer_version_is_read() -> None:
    newer = json.dumps(SEED | {"schema": 9, "colour": "blue", "zone": None}).encode()
    assert parse_record(newer).schema == 9
    offset = json.dumps(SEED | {"timestamp": "2024-01-15T12:30:00+02:00"}).encode()
    assert parse_record(offset).timestamp == "2024-01-15T10:30:00Z"
    assert (
        parse_record(json.dumps(SEED | {"timestamp": "2024-01-15"}).encode()).timestamp
        == "2024-01-15T00:00:00Z"
    )
    with pytest.raises(BadRecord, match="larger than"):
        parse_record(b" " * (query.MAX_RECORD + 1))


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda x: st.lists(x) | st.dictionaries(st.sampled_from([*SEED, "flag", "attempts"]), x),
    )
)
def test_no_json_crashes_the_reader(value: object) -> None:
    for data in (
        json.dumps(value),
        json.dumps({**SEED, "results": value}),
        json.dumps({**SEED, "metrics": value}),
    ):
        with suppress(BadRecord):  # nothing else may come out
            parse_record(data.encode())


def test_broken_objects_are_told_and_skipped(store: MemoryStore, monkeypatch: pytest.MonkeyPatch) -> None:
    store.put_new("daily/2026-11-23/local-unit-x-20261123-999999-aaaa.json", b"{")
    store.put_new("daily/2026-11-23/notes.txt", b"not for us")
    problems: list[Problem] = []
    assert len(list(load_records(store, suite="unit", problems=problems))) == 6
    (problem,) = problems
    assert problem.file == "daily/2026-11-23/local-unit-x-20261123-999999-aaaa.json"
    assert problem.text.startswith("not a record: no JSON")
    assert not problem.fatal
    assert len(list(load_records(store, suite="unit"))) == 6

    def fail(_key: str) -> bytes:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(store, "get", fail)
    problems.clear()
    assert list(load_records(store, suite="unit", limit=1, problems=problems)) == []
    assert problems[0].text == "not a record: Input/output error"


def test_an_object_that_goes_away_meanwhile(store: MemoryStore, monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(key: str) -> bytes:
        raise KeyError(key)

    monkeypatch.setattr(store, "get", gone)
    problems: list[Problem] = []
    assert list(load_records(store, problems=problems)) == []
    assert problems == []


def test_the_records_of_a_run(store: MemoryStore) -> None:
    found = records_of_run(store, "20261123-161502-7f3c")
    assert [stored.record.selection for stored in found] == [
        "unit",
        "tpu-1of2",
        "tpu-2of2",
        "distributed",
        "unit",
    ]
    assert records_of_run(store, found[0].key) == found[:1]
    assert records_of_run(store, "daily/../x") == []
    assert records_of_run(store, "20990101-000000-0000") == []
    assert known_run_ids(store)[0] == "20261123-161502-7f3c"
    assert len(known_run_ids(store)) == 5


def test_cases_come_back(store: MemoryStore) -> None:
    record = records_of_run(store, "20261123-161502-7f3c")[-1].record
    cases = list(load_cases(store, record))
    assert len(cases) == 1006
    assert cases[0]["message"].startswith("AssertionError")
    flaky = next(case for case in cases if case.get("flaky"))
    assert flaky["earlier"] == [{"outcome": "failed", "attempt": "unit.1"}]
    assert next(case for case in cases if case.get("quarantined"))["outcome"] == "failed"
    assert "details" not in cases[0]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"no gzip",
        gzip.compress(b'{"id": "a"}\n', mtime=0)[:-6],
        gzip.compress(b"[1]\n", mtime=0),
        gzip.compress(b"{\n", mtime=0),
        gzip.compress(b'{"id": 1}\n', mtime=0),
    ],
)
def test_broken_cases_are_told(data: bytes) -> None:
    store = MemoryStore()
    store.put_new("cases/x.jsonl.gz", data)
    record = dataclasses.replace(record_of(samples.green())[0], cases="cases/x.jsonl.gz")
    problems: list[Problem] = []
    cases = list(load_cases(store, record, problems))
    assert len(cases) <= 1
    if data:
        assert problems[0].text.startswith("cases cannot be read: ")
    assert list(load_cases(store, dataclasses.replace(record, cases="cases/none"), problems)) == []
    assert problems[-1].text == "cases cannot be read: there is no such object"
    assert list(load_cases(store, dataclasses.replace(record, cases=None), problems)) == []


def test_a_gzip_bomb_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(query, "MAX_CASES", 1 << 20)
    store = MemoryStore()
    store.put_new("cases/x.jsonl.gz", gzip.compress(b" " * (3 << 20)))
    record = dataclasses.replace(record_of(samples.green())[0], cases="cases/x.jsonl.gz")
    problems: list[Problem] = []
    assert list(load_cases(store, record, problems)) == []
    assert "larger than" in problems[0].text


def test_durations_of_the_last_runs(store: MemoryStore) -> None:
    found = case_durations(store, "unit", limit=3)
    assert found["tests/test_plan.py::test_rule[0]"] == [1.7, 0.23, 0.22]
    assert found["tests/test_plan.py::test_label_added_later"] == [0.021]
    assert "tests/test_codec.py::test_windows_paths" not in found
    assert case_durations(store, "none") == {}


def test_durations_of_a_test_that_only_fails() -> None:
    store = MemoryStore()
    publish_records(samples.run_result(samples.suite_result([samples.case("a", Outcome.FAILED, 3.0)])), store)
    assert case_durations(store, "unit") == {"a": [3.0]}
