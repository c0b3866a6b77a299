"""Reads Records back: newest first, and whatever is broken or foreign is told and skipped."""

from __future__ import annotations

import gzip
import io
import json
import math
import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from typing import Any

from ci_runner.history.record import RESULTS, SCHEMA, Record, key_part
from ci_runner.history.store import Store
from ci_runner.model import Problem

FOLDERS = ("daily/", "weekly/", "pr/")
RUN_ID = re.compile(r"-(\d{8}-\d{6}-[0-9a-f]{4})\.json$")
MAX_RECORD = 16 * 1024 * 1024
MAX_CASES = 1 << 30  # bytes of one per-case file once unpacked
CHUNK = 1 << 20
_TYPES: dict[str, tuple[type, ...]] = {
    "str": (str,), "int": (int,), "float": (int, float), "bool": (bool,), "Mapping": (dict,), "tuple": (list,),
}  # fmt: skip


_KINDS: dict[type, str] = {
    str: "text", int: "a number", float: "a number", bool: "true or false", dict: "an object", list: "a list",
}  # fmt: skip


class BadRecord(ValueError):  # noqa: N818 - it is a finding about an object, told and not raised to people
    """Why an object is no Record."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """A Record and the key it was read from."""

    key: str
    record: Record


def parse_record(data: bytes) -> Record:
    """A Record from its JSON; fields that are not known are ignored. Raises BadRecord with the reason."""
    if len(data) > MAX_RECORD:
        raise BadRecord(f"larger than {MAX_RECORD >> 20} MB")
    try:
        value = json.loads(data.decode("utf-8"), parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise BadRecord(f"no JSON: {error}") from None
    if not isinstance(value, dict):
        raise BadRecord("not an object")
    for name in ("run_id", "test_suite", "timestamp"):
        if not value.get(name):
            raise BadRecord(f"{name} is missing")
    known = {f.name: _checked(f.name, str(f.type), value[f.name]) for f in fields(Record) if f.name in value}
    known["timestamp"] = _moment(known["timestamp"])
    known["results"] = _numbers(
        "results", dict.fromkeys(RESULTS, 0) | dict(known.get("results") or {}), whole=True
    )
    known["metrics"] = _numbers("metrics", known.get("metrics") or {})
    known["schema"] = known.get("schema", SCHEMA)
    return Record(**{name: item for name, item in known.items() if item is not None})


def _refuse(text: str) -> float:
    raise ValueError(f"{text} is no number")


def _checked(name: str, kind: str, value: Any) -> Any:
    """The value if it fits the field; null is always taken for the default."""
    if value is None:
        return None
    allowed = _TYPES[re.split(r"[\[ |]", kind)[0]]
    if not isinstance(value, allowed) or (isinstance(value, bool) and bool not in allowed):
        raise BadRecord(f"{name} is not {_KINDS[allowed[0]]}")
    if isinstance(value, (int, float)) and (not math.isfinite(value) or value < 0) and name != "exit_code":
        raise BadRecord(f"{name} is out of range")
    if isinstance(value, list):
        if not all(isinstance(item, dict) for item in value):
            raise BadRecord(f"{name} is not a list of objects")
        return tuple(value)
    return float(value) if isinstance(value, int) and float in allowed else value


def _moment(text: str) -> str:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise BadRecord("timestamp is no RFC 3339 time") from None
    utc = found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
    return f"{utc:%Y-%m-%dT%H:%M:%SZ}"


def _numbers(name: str, values: Mapping[str, Any], *, whole: bool = False) -> dict[str, Any]:
    for key, value in values.items():
        if (
            isinstance(value, bool)
            or not isinstance(value, int if whole else (int, float))
            or (whole and value < 0)
        ):
            raise BadRecord(f"{name}.{key} is not a number")
    return dict(values)


def load_records(
    store: Store,
    *,
    suite: str | None = None,
    since: datetime | None = None,
    limit: int | None = None,
    problems: list[Problem] | None = None,
) -> Iterator[Stored]:
    """Records newest first, lazily; `problems` collects what could not be read, each with its key."""
    found = 0
    for key in sorted_keys(store, suite=suite, since=since):
        if limit is not None and found >= limit:
            return
        stored = read_record(store, key, problems)
        if stored is None or (suite is not None and stored.record.test_suite != suite):
            continue
        if since is not None and datetime.fromisoformat(stored.record.timestamp) < since:
            continue
        found += 1
        yield stored


def sorted_keys(store: Store, *, suite: str | None = None, since: datetime | None = None) -> list[str]:
    """Keys of Records, newest first as far as their names tell; those of others (no run id) come last."""
    part = f"-{key_part(suite)}" if suite is not None and len(key_part(suite)) < 40 else None
    known: list[tuple[str, str]] = []
    foreign = []
    for folder in FOLDERS:
        for key in store.list(folder):
            match = RUN_ID.search(key)
            if match is None:
                if key.endswith(".json"):
                    foreign.append(key)
            elif (part is None or part in key) and (since is None or match[1] >= f"{since:%Y%m%d}"):
                known.append((match[1], key))
    known.sort(reverse=True)
    return [key for _, key in known] + sorted(foreign, reverse=True)


def read_record(store: Store, key: str, problems: list[Problem] | None = None) -> Stored | None:
    """The Record under a key; None if it is none, which is told in `problems`."""
    try:
        return Stored(key=key, record=parse_record(store.get(key)))
    except BadRecord as error:
        reason = str(error)
    except KeyError:
        return None  # removed since it was listed
    except OSError as error:
        reason = error.strerror or str(error)
    except ValueError as error:  # a file whose name is no key
        reason = str(error)
    if problems is not None:
        problems.append(Problem(kind="bad-record", text=f"not a record: {reason}", file=key, fatal=False))
    return None


def records_of_run(store: Store, run_id: str, problems: list[Problem] | None = None) -> list[Stored]:
    """The Records of one run, in the order of their keys; `run_id` may be a key too."""
    if "/" in run_id:
        keys = [run_id] if _is_there(store, run_id) else []
    else:
        ending = f"-{key_part(run_id)}.json"
        keys = [key for folder in FOLDERS for key in store.list(folder) if key.endswith(ending)]
    found = [read_record(store, key, problems) for key in sorted(keys)]
    return [stored for stored in found if stored is not None]


def _is_there(store: Store, key: str) -> bool:
    try:
        return store.exists(key)
    except ValueError:
        return False


def known_run_ids(store: Store) -> list[str]:
    """The run ids that keys tell, newest first."""
    found = {match[1] for folder in FOLDERS for key in store.list(folder) if (match := RUN_ID.search(key))}
    return sorted(found, reverse=True)


def load_cases(
    store: Store, record: Record, problems: list[Problem] | None = None
) -> Iterator[dict[str, Any]]:
    """The cases of a Record, one object each as `cases_bytes` wrote it; stops with a problem at the first damage."""
    if record.cases is None:
        return
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(store.get(record.cases))) as file:
            yield from _lines(file)
    except (KeyError, ValueError, OSError, EOFError, zlib.error, RecursionError) as error:
        text = (
            "there is no such object" if isinstance(error, KeyError) else str(error) or type(error).__name__
        )
        if problems is not None:
            problems.append(
                Problem(
                    kind="bad-cases", text=f"cases cannot be read: {text}", file=record.cases, fatal=False
                )
            )


def _values(lines: Sequence[bytes]) -> Iterator[Any]:
    """The values of lines of JSON, read in one go; where that fails, one by one up to the one that is broken."""
    try:
        found = json.loads(b"[" + b",".join(lines) + b"]")
    except ValueError:
        found = ()
    if len(found) == len(lines):
        yield from found
    else:
        yield from map(json.loads, lines)


def _lines(file: gzip.GzipFile) -> Iterator[dict[str, Any]]:
    rest, total = b"", 0
    while chunk := file.read(CHUNK):
        total += len(chunk)
        if total > MAX_CASES:
            raise ValueError(f"larger than {MAX_CASES >> 30} GB")
        *lines, rest = (rest + chunk).split(b"\n")
        for value in _values(lines):
            if not isinstance(value, dict) or not isinstance(value.get("id"), str):
                raise BadRecord("a line is no case")
            yield value


def case_durations(store: Store, suite: str, limit: int = 20) -> dict[str, list[float]]:
    """Seconds of each test in the last runs of a suite, newest first: of passing runs, or of failing ones if none passed."""
    passed: dict[str, list[float]] = {}
    failed: dict[str, list[float]] = {}
    for stored in load_records(store, suite=suite, limit=limit):
        for case in load_cases(store, stored.record):
            seconds = case.get("duration_seconds")
            if not isinstance(seconds, (int, float)) or isinstance(seconds, bool) or seconds < 0:
                continue
            kept = {"passed": passed, "failed": failed}.get(str(case.get("outcome")))
            if kept is not None:
                kept.setdefault(case["id"], []).append(float(seconds))
    return failed | passed
