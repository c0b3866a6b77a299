"""Thumbs on comments of ours, as somebody counted them last: `feedback/*.json` in the store."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from ci_runner.checks.kpi import Feedback
from ci_runner.history.record import key_part
from ci_runner.history.store import Store
from ci_runner.model import Problem

FOLDER = "feedback/"


def load_feedback(store: Store, problems: list[Problem]) -> list[Feedback]:
    """The latest count of every comment; an object is {"comment": …, "at": RFC 3339, "up": N, "down": N}."""
    latest: dict[str, tuple[str, Feedback]] = {}
    for key in store.list(FOLDER):
        if not key.endswith(".json"):
            continue
        try:
            at, found = _parse(store.get(key))
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            text = f"not a count of thumbs: {type(error).__name__}: {error}"
            problems.append(Problem(kind="bad-feedback", text=text, file=key, fatal=False))
            continue
        if found.comment not in latest or at >= latest[found.comment][0]:
            latest[found.comment] = (at, found)
    return [found for _at, found in latest.values()]


def _parse(data: bytes) -> tuple[str, Feedback]:
    value: Any = json.loads(data)
    counts = {name: value[name] for name in ("up", "down")}
    for name, count in counts.items():
        if not isinstance(count, int) or isinstance(count, bool) or count < 0:
            raise ValueError(f"{name} is no count")
    return str(value["at"]), Feedback(comment=str(value["comment"]), up=counts["up"], down=counts["down"])


def put_feedback(store: Store, found: Sequence[Feedback], now: datetime) -> list[str]:
    """Write down counts that are not known yet; the keys of what was written."""
    known = {item.comment: item for item in load_feedback(store, [])}
    keys = []
    for item in found:
        if known.get(item.comment, Feedback(comment=item.comment, up=0, down=0)) == item:
            continue
        at = f"{now:%Y-%m-%dT%H:%M:%SZ}"
        key = f"{FOLDER}{key_part(item.comment)}-{now:%Y%m%d-%H%M%S}-{item.up}-{item.down}.json"
        value = {"comment": item.comment, "at": at, "up": item.up, "down": item.down}
        store.put_new(key, json.dumps(value).encode())
        keys.append(key)
    return keys
