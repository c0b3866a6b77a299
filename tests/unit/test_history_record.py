"""The standard result, and the keys that it is kept under."""

from __future__ import annotations

import dataclasses
import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ci_runner.history.query import parse_record
from ci_runner.history.record import (
    Record,
    cases_bytes,
    is_weekly,
    key_part,
    record_key,
    record_of,
    run_record,
)
from ci_runner.history.store import check_key
from ci_runner.model import Event
from ci_runner.report.files import to_bytes
from tests import report_samples as samples

CONTRACT = [
    "run_id", "developer", "branch", "commit", "platform", "instance_type", "test_suite", "timestamp",
    "duration_seconds", "cost_usd", "results", "metrics", "schema", "repository", "event", "pull_request",
    "lease_id", "zone", "spot", "attempts", "runner", "fallback_reason", "exit_code", "cases",
]  # fmt: skip


def test_a_record_has_the_fields_of_the_standard_result() -> None:
    (record,) = record_of(samples.red())
    plain = json.loads(to_bytes(record))
    assert set(CONTRACT) <= plain.keys()
    assert {name: plain[name] for name in CONTRACT} == {
        "run_id": "20261123-161502-7f3c",
        "developer": "alice",
        "branch": "topic/labels",
        "commit": samples.COMMIT,
        "platform": "local",
        "instance_type": "local",
        "test_suite": "unit",
        "timestamp": "2026-11-23T16:15:02Z",
        "duration_seconds": 49.8,
        "cost_usd": 0.0,
        "results": {
            "passed": 1001, "failed": 1, "skipped": 1, "errored": 1, "flaky": 0, "missing": 0, "quarantined": 0,
        },
        "metrics": {},
        "schema": 1,
        "repository": "octo/kpt",
        "event": "local",
        "pull_request": None,
        "lease_id": "7f3c-local",
        "zone": None,
        "spot": False,
        "attempts": 1,
        "runner": "python",
        "fallback_reason": None,
        "exit_code": 1,
        "cases": "cases/daily/2026-11-23/local-unit-3f2a9c1b7d5e-20261123-161502-7f3c.jsonl.gz",
    }  # fmt: skip


def test_a_record_on_a_leased_machine() -> None:
    result = samples.everything()
    records = record_of(result)
    assert [record.test_suite for record in records] == ["unit", "tpu", "tpu", "distributed"]
    lost, fallen = records[1], records[2]
    assert (lost.platform, lost.instance_type, lost.zone, lost.spot) == ("gcp", "v6e-1", "us-east5-b", True)
    assert (lost.attempts, lost.selection, lost.pull_request) == (2, "tpu-1of2", 123)
    assert [attempt["state"] for attempt in lost.attempt_details] == ["preempted", "finished"]
    assert fallen.runner == "shell"
    assert str(fallen.fallback_reason).startswith("plugin-error")
    assert fallen.flag is not None
    assert fallen.flag["bucket"] == 0.11
    assert fallen.cost_usd == pytest.approx(0.6 * 292 / 3600, abs=1e-6)
    keys = [record_key(record, result.plan.event) for record in records]
    assert len(set(keys)) == 4
    assert keys[1] == "pr/pr-123/gcp-tpu-1of2-3f2a9c1b7d5e-20261123-161502-7f3c.json"


def test_a_suite_that_never_had_a_machine() -> None:
    (record,) = record_of(samples.no_capacity())
    assert (record.platform, record.instance_type, record.attempts) == ("unknown", "tpu", 0)
    assert (record.lease_id, record.cases, record.exit_code) == (None, None, 3)
    assert record.duration_seconds == 0


def test_the_record_of_the_run_holds_those_of_its_suites() -> None:
    whole = run_record(samples.everything())
    assert set(CONTRACT) <= whole.keys()
    assert whole["test_suite"] == "unit+tpu+distributed"
    assert whole["platform"] == "mixed"
    assert whole["attempts"] == 6
    assert whole["results"]["passed"] == 1222
    assert whole["cost_usd"] == 0.0712
    assert len(whole["suites"]) == 4
    one = run_record(samples.green())
    assert (one["platform"], one["lease_id"]) == ("local", "7f3c-local")
    nothing = run_record(dataclasses.replace(samples.green(), suites=()))
    assert (nothing["test_suite"], nothing["platform"], nothing["suites"]) == ("", "", [])


def test_what_is_written_is_read_back() -> None:
    for make in (samples.everything, samples.red, samples.no_capacity, samples.hostile):
        for record in record_of(make()):
            assert parse_record(to_bytes(record)) == record


def test_metrics_that_are_no_numbers_are_left_out() -> None:
    suite = samples.suite_result(
        [samples.case("a", metrics={"x": math.nan, "y": 1.5})], metrics={"x": math.inf, "y": 2.0}
    )
    (record,) = record_of(samples.run_result(suite))
    assert record.metrics == {"y": 2.0}
    assert b"NaN" not in cases_bytes(suite)


def test_keys_say_when_and_why() -> None:
    record = record_of(samples.green())[0]
    name = "local-unit-3f2a9c1b7d5e-20261123-161502-7f3c.json"
    assert record_key(record, Event(kind="push")) == f"daily/2026-11-23/{name}"
    assert record_key(record, Event(kind="schedule", schedule="0 2 * * *")) == f"daily/2026-11-23/{name}"
    assert record_key(record, Event(kind="schedule", schedule="0 2 * * 1")) == f"weekly/2026-w48/{name}"
    late = dataclasses.replace(record, timestamp="2027-01-01T00:00:00Z", commit=None)
    assert record_key(late, Event(kind="schedule", schedule="0 2 * * SUN")).startswith(
        "weekly/2026-w53/local-unit-none-"
    )


@pytest.mark.parametrize(
    ("cron", "weekly"),
    [
        ("0 2 * * 1", True),
        ("0 2 * * MON", True),
        ("0 2 * * *", False),
        ("0 2 * * 1-5", False),
        ("0 2 1 * 1", False),
        (None, False),
        ("x", False),
    ],
)
def test_which_schedules_are_weekly(cron: str | None, weekly: bool) -> None:
    assert is_weekly(cron) is weekly


@given(st.text(max_size=200), st.text(max_size=200))
def test_any_name_makes_a_safe_part_of_a_key(one: str, other: str) -> None:
    part = key_part(one)
    assert check_key(f"daily/{part}-x.json")
    assert "/" not in part
    assert not part.startswith(".")
    assert 0 < len(part) <= 60
    if one != other and {one, other} != {"", "none"}:
        assert part != key_part(other)


def test_hostile_names_in_keys() -> None:
    assert key_part("../../etc/passwd") == "%2E.%2F..%2Fetc%2Fpasswd"
    assert key_part("a b\n") == "a%20b%0A"
    assert key_part("") == "none"
    assert key_part("x" * 100).startswith("x" * 51 + "~")
    record = Record(run_id="r", test_suite="../..", timestamp="2026-11-23T16:15:02Z", platform="..")
    assert record_key(record, Event(kind="push")) == "daily/2026-11-23/%2E.-%2E.%2F..-none-r.json"


def test_the_same_cases_are_the_same_bytes() -> None:
    suite = samples.everything().suites[0]
    assert cases_bytes(suite) == cases_bytes(suite)
