"""Long-running operations of the emulated TPU API."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from tests.emulators.tpu.faults import Refusal

TYPES = "type.googleapis.com/google.cloud.tpu.v2"
EMPTY = {"@type": "type.googleapis.com/google.protobuf.Empty"}
CANCELLED = {"code": 1, "message": "The operation was cancelled"}


def stamp(seconds: float) -> str:
    """A time as Google writes it."""
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")


class Operations:
    """Every operation of a project; one that is done has a response or an error, and never both."""

    def __init__(self, project: str, clock: Callable[[], float]) -> None:
        self.all: dict[str, dict[str, Any]] = {}
        self._project = project
        self._clock = clock
        self._numbers = itertools.count(1)

    def begin(self, zone: str, target: str, verb: str) -> dict[str, Any]:
        """A new one."""
        name = f"projects/{self._project}/locations/{zone}/operations/operation-{next(self._numbers)}"
        self.all[name] = {
            "name": name,
            "done": False,
            "metadata": {
                "@type": f"{TYPES}.OperationMetadata",
                "createTime": stamp(self._clock()),
                "target": target,
                "verb": verb,
                "apiVersion": "v2",
            },
        }
        return self.all[name]

    def end(
        self, name: str, *, response: dict[str, Any] | None = None, error: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        """Let one be done, with what came of it; one that is done or unknown stays as it is."""
        operation = self.all.get(name)
        if operation is None or operation["done"]:
            return operation or {}
        operation["done"] = True
        operation["metadata"]["endTime"] = stamp(self._clock())
        if error is not None:
            operation["error"] = error
        else:
            operation["response"] = response or dict(EMPTY)
        return operation

    def get(self, zone: str, name: str) -> dict[str, Any]:
        """One that exists."""
        full = f"projects/{self._project}/locations/{zone}/operations/{name}"
        if full not in self.all:
            raise Refusal(404, "NOT_FOUND", f"Operation {full} was not found")
        return self.all[full]

    def listed(self, zone: str) -> list[dict[str, Any]]:
        """Those of a zone."""
        return [each for name, each in self.all.items() if zone in ("-", name.split("/")[3])]

    def cancel(self, zone: str, name: str) -> dict[str, Any]:
        """Give up waiting; what was begun goes on, as the API says."""
        operation = self.get(zone, name)
        if not operation["done"]:
            operation["metadata"]["cancelRequested"] = True
            self.end(operation["name"], error=dict(CANCELLED))
        return {}

    def forget(self, zone: str, name: str) -> dict[str, Any]:
        """No longer tell of one."""
        del self.all[self.get(zone, name)["name"]]
        return {}
