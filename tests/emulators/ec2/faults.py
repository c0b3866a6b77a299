"""What can go wrong with a call to EC2, on script: which call, which time, and how."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

MALFORMED = b'<?xml version="1.0"?><DescribeInstancesResponse><reservationSet><item><insta'
HANG_SECONDS = 60.0


@dataclass(slots=True)
class Fault:
    """One scripted fault. `how` is a status such as "503", or timeout, reset, malformed, hang, or error.

    With `late` the call takes effect and only its answer is lost. It befalls the matching calls from number `first`,
    counted from 1, `times` times.
    """

    action: str  # "*": every call
    how: str
    code: str = "InternalError"
    message: str = "scripted"
    status: int = 400
    first: int = 1
    times: int = 1
    late: bool = False
    region: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    seen: int = 0

    def strikes(self, action: str, region: str) -> bool:
        """Whether it befalls this call, which is counted."""
        if self.action not in ("*", action) or self.region not in (None, region):
            return False
        self.seen += 1
        return self.first <= self.seen < self.first + self.times


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """A machine that is not granted: in this zone, of this type, spot or not; None means any.

    `asynchronous` grants it and takes it away while it is pending.
    """

    code: str
    message: str = "scripted"
    zone: str | None = None
    type: str | None = None
    spot: bool | None = None
    asynchronous: bool = False

    def covers(self, zone: str, type_: str, spot: bool) -> bool:
        """Whether this machine is refused."""
        return self.zone in (None, zone) and self.type in (None, type_) and self.spot in (None, spot)


class Faults:
    """The faults and refusals that are due, shared by the threads of the server."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._faults: list[Fault] = []
        self._refusals: list[Refusal] = []
        self.over = threading.Event()  # ends what hangs

    def add(self, fault: Fault) -> Fault:
        """Script one fault."""
        with self._lock:
            self._faults.append(fault)
        return fault

    def refuse(self, refusal: Refusal) -> None:
        """Script one refusal; it stays."""
        with self._lock:
            self._refusals.append(refusal)

    def clear(self) -> None:
        """Nothing goes wrong any more."""
        with self._lock:
            self._faults.clear()
            self._refusals.clear()

    def of_call(self, action: str, region: str) -> Fault | None:
        """The fault of this call, if it has one."""
        with self._lock:
            struck = [fault for fault in self._faults if fault.strikes(action, region)]
        return struck[0] if struck else None

    def of_machine(self, zone: str, type_: str, spot: bool) -> Refusal | None:
        """Why this machine is not granted; None if it is."""
        with self._lock:
            return next((each for each in self._refusals if each.covers(zone, type_, spot)), None)


def error_body(code: str, message: str, request_id: str = "00000000-0000-0000-0000-000000000000") -> bytes:
    """An error as EC2 writes it."""
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f"<Response><Errors><Error><Code>{code}</Code><Message>{message}</Message></Error></Errors>"
        f"<RequestID>{request_id}</RequestID></Response>"
    ).encode()


def break_connection(environ: Mapping[str, Any]) -> None:
    """Reset the connection of a request, as a router that lost its mind does."""
    connection: socket.socket = environ["werkzeug.socket"]
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()
