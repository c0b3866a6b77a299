"""Keeps the lock of a host that many runs share: a folder, made in one step, with the record of the lease that holds it.

`python -I -S pool.py` with one JSON request on stdin and one JSON answer on stdout. Standard library, Python 3.9 syntax.
Times are compared by this machine's clock alone: a lease brings how long it lasts.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import sys
import tempfile
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

BASE = os.path.join(os.environ.get("HOME") or os.path.expanduser("~"), ".ci-runner")
LOCK = os.path.join(BASE, "lock")
RECORD = os.path.join(LOCK, "lease.json")


def look() -> dict[str, Any] | None:
    """The record in the lock; None if nobody holds it."""
    try:
        with open(RECORD, encoding="utf-8") as file:
            found = json.load(file)
    except (FileNotFoundError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def write(record: dict[str, Any]) -> None:
    """Put the record in place in one step."""
    fresh = os.path.join(LOCK, ".lease.json")
    with open(fresh, "w", encoding="utf-8") as file:
        json.dump(record, file)
    os.replace(fresh, RECORD)


def take(request: dict[str, Any]) -> dict[str, Any]:
    """Take the lock. An expired one is taken over, and whose it was is told, so that its remains can be ended."""
    held, now = look(), time.time()
    before = None
    if held is not None:
        if held["id"] == request["id"]:
            return {"taken": True, "record": held}
        if held["until"] > now:
            return {"taken": False, "record": held, "seconds_left": held["until"] - now}
        before = held["id"]
    if os.path.lexists(LOCK):
        shutil.rmtree(LOCK)
    record = {"id": request["id"], "until": now + request["seconds"], "lease": request["lease"]}
    fresh = tempfile.mkdtemp(prefix=".lock.", dir=BASE)
    with open(os.path.join(fresh, "lease.json"), "w", encoding="utf-8") as file:
        json.dump(record, file)
    os.rename(fresh, LOCK)
    return {"taken": True, "record": record, "before": before, "fresh": True}


def keep(request: dict[str, Any]) -> dict[str, Any]:
    """Write a new record into the lock, if the lease still holds it."""
    held = look()
    if held is None or held["id"] != request["id"]:
        return {"kept": False}
    write({**held, "lease": request["lease"]})
    return {"kept": True}


def drop(request: dict[str, Any]) -> dict[str, Any]:
    """Give the lock up, if the lease holds it."""
    held = look()
    if held is not None and held["id"] == request["id"]:
        shutil.rmtree(LOCK)
    return {}


def main() -> None:
    """Answer one request; one at a time on this machine."""
    request = json.load(sys.stdin)
    os.makedirs(BASE, mode=0o700, exist_ok=True)
    with open(os.path.join(BASE, "lock.guard"), "w", encoding="utf-8") as guard:
        fcntl.flock(guard, fcntl.LOCK_EX)
        if request["op"] == "look":
            answer = {"record": look(), "now": time.time()}
        else:
            answer = {"take": take, "keep": keep, "drop": drop}[request["op"]](request)
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
