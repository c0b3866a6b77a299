"""The standard result: one immutable Record for each suite of a run, and the keys under which stores keep it."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import Any
from urllib.parse import quote

from ci_runner import codec
from ci_runner.model import Attempt, CaseResult, Counts, Event, RunResult, SuiteResult
from ci_runner.report.words import moment, suite_cost

SCHEMA = 1
RESULTS = ("passed", "failed", "skipped", "errored", "flaky", "missing", "quarantined")
PLATFORMS = {"gcp-tpu": "gcp", "aws-ec2": "aws"}
MESSAGE_LIMIT = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What history keeps of one suite (or shard) of one run; docs/reference/record.md is the contract."""

    run_id: str
    test_suite: str
    timestamp: str  # UTC, RFC 3339: when its first attempt began
    developer: str = ""
    branch: str | None = None
    commit: str | None = None
    platform: str = "unknown"  # local | ssh | gcp | aws | unknown
    instance_type: str = ""
    duration_seconds: float = 0.0
    cost_usd: float = 0.0
    results: Mapping[str, int] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    schema: int = SCHEMA
    repository: str | None = None
    event: str | None = None
    pull_request: int | None = None
    lease_id: str | None = None
    zone: str | None = None
    spot: bool = False
    attempts: int = 0
    runner: str | None = None  # python | shell: the one that the last attempt used
    fallback_reason: str | None = None
    exit_code: int = 0
    cases: str | None = None  # key of the per-case file in the same store
    verdict: str | None = None
    selection: str | None = None  # the suite's name, or `unit-2of4` for a shard
    flag: Mapping[str, Any] | None = None  # the FlagDecision: why this runner
    cpu_seconds: float | None = None
    peak_memory_bytes: int | None = None
    attempt_details: tuple[Mapping[str, Any], ...] = ()


def record_of(result: RunResult) -> list[Record]:
    """One Record for each suite or shard of the run, in plan order."""
    return [_record(result, suite) for suite in result.suites]


def _record(result: RunResult, suite: SuiteResult) -> Record:
    event, selection = result.plan.event, suite.selection
    started = min((attempt.started_at for attempt in suite.attempts), default=result.started_at)
    ends = [attempt.ended_at for attempt in suite.attempts if attempt.ended_at is not None]
    last = suite.leases[-1] if suite.leases else None
    runner = suite.attempts[-1].runner if suite.attempts else None
    if runner is None and selection.runner is not None:
        runner = selection.runner.variant
    cpu = [a.usage.cpu_seconds for a in suite.attempts if a.usage.cpu_seconds is not None]
    peak = [a.usage.peak_memory_bytes for a in suite.attempts if a.usage.peak_memory_bytes is not None]
    platform, instance = _platform(suite)
    record = Record(
        run_id=result.run_id,
        test_suite=selection.suite.name,
        timestamp=moment(started),
        developer=result.developer,
        branch=event.branch,
        commit=event.commit,
        platform=platform,
        instance_type=instance,
        duration_seconds=round(max(ends) - started, 3) if ends else 0.0,
        cost_usd=round(suite_cost(suite), 6),
        results=_results(suite.counts),
        metrics={name: value for name, value in suite.metrics.items() if math.isfinite(value)},
        repository=event.repository,
        event=event.kind,
        pull_request=event.pull_request,
        lease_id=last.id if last else None,
        zone=last.zone if last else None,
        spot=last.spot if last else False,
        attempts=len(suite.attempts),
        runner=runner.value if runner else None,
        fallback_reason=suite.fallback_reason,
        exit_code=suite.exit_code,
        verdict=suite.verdict.value,
        selection=selection.id,
        flag=codec.plain(selection.runner) if selection.runner else None,
        cpu_seconds=round(sum(cpu), 3) if cpu else None,
        peak_memory_bytes=max(peak, default=None),
        attempt_details=tuple(_attempt(attempt) for attempt in suite.attempts),
    )
    return _with_cases(record, event, has_cases=bool(suite.cases))


def _with_cases(record: Record, event: Event, *, has_cases: bool) -> Record:
    if not has_cases:
        return record
    values = {f.name: getattr(record, f.name) for f in fields(record)}
    return Record(**{**values, "cases": f"cases/{record_key(record, event).removesuffix('.json')}.jsonl.gz"})


def _platform(suite: SuiteResult) -> tuple[str, str]:
    wanted = suite.selection.suite.machine
    if not suite.leases:
        return ("local" if wanted == "local" else "unknown"), wanted
    machine = suite.leases[-1].machine
    return PLATFORMS.get(machine.provider, machine.provider), machine.type or machine.name


def _results(counts: Counts) -> dict[str, int]:
    return {name: getattr(counts, name) for name in RESULTS}


def _attempt(attempt: Attempt) -> dict[str, Any]:
    return {
        "id": attempt.id,
        "number": attempt.number,
        "kind": attempt.kind,
        "runner": attempt.runner.value,
        "state": attempt.state.value,
        "exit_code": attempt.exit_code,
        "reason": attempt.reason,
        "lease_id": attempt.lease_id,
        "started": moment(attempt.started_at),
        "duration_seconds": round(attempt.duration_seconds, 3),
        "cpu_seconds": attempt.usage.cpu_seconds,
        "peak_memory_bytes": attempt.usage.peak_memory_bytes,
    }


def run_record(result: RunResult) -> dict[str, Any]:
    """The standard result of the whole run, with those of its suites under `suites`."""
    event, records = result.plan.event, record_of(result)
    first = records[0] if len(records) == 1 else None
    whole = Record(
        run_id=result.run_id,
        test_suite="+".join(dict.fromkeys(record.test_suite for record in records)),
        timestamp=moment(result.started_at),
        developer=result.developer,
        branch=event.branch,
        commit=event.commit,
        platform=_common(record.platform for record in records),
        instance_type=_common(record.instance_type for record in records),
        duration_seconds=round(result.duration_seconds, 3),
        cost_usd=round(result.cost_usd, 6),
        results=_results(result.counts),
        metrics=first.metrics if first else {},
        repository=event.repository,
        event=event.kind,
        pull_request=event.pull_request,
        lease_id=first.lease_id if first else None,
        zone=first.zone if first else None,
        spot=any(record.spot for record in records),
        attempts=sum(record.attempts for record in records),
        runner=_common(record.runner for record in records) or None,
        fallback_reason=next((record.fallback_reason for record in records if record.fallback_reason), None),
        exit_code=result.exit_code,
        verdict=result.verdict.value,
        peak_memory_bytes=max((r.peak_memory_bytes for r in records if r.peak_memory_bytes), default=None),
    )
    return {**codec.plain(whole), "suites": [codec.plain(record) for record in records]}


def _common(values: Any) -> str:
    """The value if all agree, else `mixed`."""
    seen = set(values)
    return (seen.pop() or "") if len(seen) == 1 else "mixed" if seen else ""


# -- keys ---------------------------------------------------------------------------------------------------


def record_key(record: Record, event: Event) -> str:
    """`daily/YYYY-MM-DD/…`, `weekly/YYYY-wWW/…` for a weekly schedule, `pr/pr-N/…` for a pull request."""
    started = datetime.fromisoformat(record.timestamp)
    if record.pull_request is not None:
        folder = f"pr/pr-{record.pull_request}"
    elif event.kind == "schedule" and is_weekly(event.schedule):
        year, week, _ = started.isocalendar()
        folder = f"weekly/{year}-w{week:02}"
    else:
        folder = f"daily/{started:%Y-%m-%d}"
    words = (
        record.platform,
        record.selection or record.test_suite,
        (record.commit or "none")[:12],
        record.run_id,
    )
    return f"{folder}/{'-'.join(key_part(word) for word in words)}.json"


def is_weekly(cron: str | None) -> bool:
    """Whether a cron line names one day of the week."""
    words = (cron or "").split()
    return (
        len(words) == 5
        and words[2:4] == ["*", "*"]
        and re.fullmatch(r"[0-7]|[A-Za-z]{3}", words[4]) is not None
    )


def key_part(text: str, limit: int = 60) -> str:
    """Foreign text as part of an object key: percent-encoded, and if too long cut and told apart by a hash."""
    encoded = quote(text.encode("utf-8", "surrogatepass"), safe="") or "none"
    if encoded.startswith("."):
        encoded = "%2E" + encoded[1:]
    if len(encoded) <= limit:
        return encoded
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return f"{re.sub('%[0-9A-F]?$', '', encoded[: limit - 9])}~{digest}"


# -- cases --------------------------------------------------------------------------------------------------


def cases_bytes(suite: SuiteResult) -> bytes:
    """The per-case file of a Record: JSON lines, gzip, the same bytes for the same cases; no tracebacks, no output."""
    buffer = io.BytesIO()
    with gzip.GzipFile(fileobj=buffer, mode="wb", compresslevel=6, mtime=0, filename="") as file:
        for case in suite.cases:
            line = json.dumps(case_line(case), ensure_ascii=True, separators=(",", ":"))
            file.write(line.encode() + b"\n")
    return buffer.getvalue()


def case_line(case: CaseResult) -> dict[str, Any]:
    """One case for history: what queries need, nothing that is empty."""
    line: dict[str, Any] = {
        "id": case.id,
        "outcome": case.outcome.value,
        "duration_seconds": round(case.duration_seconds, 6) if math.isfinite(case.duration_seconds) else 0.0,
    }
    for name in ("flaky", "quarantined", "interrupted", "expected_failure", "worker"):
        if value := getattr(case, name):
            line[name] = value
    if case.message:
        line["message"] = case.message[:MESSAGE_LIMIT]
    if case.metrics:
        line["metrics"] = {name: value for name, value in case.metrics.items() if math.isfinite(value)}
    if case.earlier:
        line["earlier"] = [{"outcome": item.outcome.value, "attempt": item.attempt} for item in case.earlier]
    return line
