"""Overrides of flags in the store: small objects that are only ever added; the latest one of a flag is in force."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote

from ci_runner.errors import CiRunnerError
from ci_runner.history.record import key_part
from ci_runner.history.store import Store
from ci_runner.plan.flags import Override, Overrides

SCHEMA = 1
FOLDER = "flags/"
STAMP = "%Y%m%dT%H%M%S.%fZ"  # in keys; what follows within a second must still be told apart
OFF, ON = "off", "on"


@dataclass(frozen=True, slots=True, kw_only=True)
class FlagHistory:
    """What the store says of flags: the overrides in force, and when each lifted one was lifted (RFC 3339)."""

    overrides: Overrides = field(default_factory=Overrides)
    cleared: Mapping[str, str] = field(default_factory=dict)


def load_flags(store: Store) -> FlagHistory:
    """The overrides in force; a store that cannot be asked is a value too, for then the configuration decides."""
    latest: dict[str, tuple[tuple[str, str], Override | None]] = {}
    try:
        for order, flag, override in _events(store):
            if flag not in latest or order > latest[flag][0]:
                latest[flag] = (order, override)
    except (OSError, CiRunnerError) as error:
        return FlagHistory(overrides=Overrides(unreachable=_reason(error)))
    return FlagHistory(
        overrides=Overrides(
            active={flag: item for flag, (_order, item) in latest.items() if item is not None}
        ),
        cleared={
            flag: _seconds(datetime.fromisoformat(order[0]))
            for flag, (order, item) in latest.items()
            if item is None
        },
    )


def _reason(error: Exception) -> str:
    if isinstance(error, OSError):
        return error.strerror or str(error)
    return str(error)


def _events(store: Store) -> Iterator[tuple[tuple[str, str], str, Override | None]]:
    for key in store.list(FOLDER):
        if key.endswith(".json") and "/override-" in key:
            try:
                data = store.get(key)
            except KeyError:
                continue  # removed since it was listed
            yield _event(key, data)


def _event(key: str, data: bytes) -> tuple[tuple[str, str], str, Override | None]:
    """When, which flag, and the override (None: lifted). What cannot be read turns off the flag that its key names."""
    named = unquote(key.removeprefix(FOLDER).partition("/")[0])
    try:
        value: Any = json.loads(data)
        flag, action, moment = str(value["flag"]), value["action"], datetime.fromisoformat(value["at"])
        if action not in (OFF, ON) or value["schema"] != SCHEMA:
            return _unreadable(key, named, "an action or schema that this version does not know")
        override = Override(flag=flag, reason=str(value["reason"]), at=_seconds(moment), by=str(value["by"]))
        return (_utc(moment).isoformat(), key), flag, override if action == OFF else None
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        return _unreadable(key, named, f"{type(error).__name__}: {error}")


def _unreadable(key: str, flag: str, problem: str) -> tuple[tuple[str, str], str, Override | None]:
    stamp = key.rpartition("/override-")[2].partition("Z")[0] + "Z"
    try:
        moment = datetime.strptime(stamp, STAMP).replace(tzinfo=UTC)
    except ValueError:
        order, at = "", ""
    else:
        order, at = moment.isoformat(), _seconds(moment)
    return (order, key), flag, Override(flag=flag, reason="", at=at, problem=f"{key}: {problem}")


def _utc(moment: datetime) -> datetime:
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def _seconds(moment: datetime) -> str:
    """As Records write a time, so that the two compare."""
    return f"{_utc(moment):%Y-%m-%dT%H:%M:%SZ}"


def put_override(
    store: Store,
    flag: str,
    action: str,
    *,
    reason: str,
    by: str,
    now: datetime,
    evidence: Mapping[str, object] | None = None,
) -> str:
    """Add an override (`off`) or lift it (`on`); the key of the new object. Raises what the store raises."""
    key = f"{FOLDER}{key_part(flag)}/override-{now:{STAMP}}-{secrets.token_hex(4)}.json"
    value = {
        "schema": SCHEMA,
        "flag": flag,
        "action": action,
        "at": f"{now:%Y-%m-%dT%H:%M:%S.%fZ}",
        "by": by,
        "reason": reason,
        "evidence": dict(evidence or {}),
    }
    store.put_new(key, (json.dumps(value, indent=2) + "\n").encode())
    return key
