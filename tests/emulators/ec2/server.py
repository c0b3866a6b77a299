"""EC2 in one process: moto's server, and in front of it what moto leaves out and what goes wrong in the real one.

    python tests/emulators/ec2/server.py --port 0        prints one line of JSON with its URL

In front: idempotency by ClientToken, instant fleets made from launch templates, spot requests, refusals for capacity,
quota and price by zone and type, boot times on a clock that can be moved, interruptions, guests that shut themselves
down, and lost, late or garbled answers. A machine is a loopback host of tests/emulators/machines.py if there are any.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import parse_qsl

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from tests.emulators.ec2.faults import (
    HANG_SECONDS,
    MALFORMED,
    Fault,
    Faults,
    Refusal,
    break_connection,
    error_body,
)
from tests.emulators.ec2.wire import Answer, Call
from tests.emulators.ec2.world import World

if TYPE_CHECKING:
    from tests.emulators.machines import Machines

WITH_TOKEN = ("CreateFleet", "RunInstances", "CreateLaunchTemplate", "CreateVolume")
Start = Callable[[str, list[tuple[str, str]]], Any]


class Emulator:
    """An EC2 on a free loopback port. One at a time in a process: moto's state is global."""

    def __init__(
        self,
        *,
        port: int = 0,
        machines: Machines | None = None,
        clock: Callable[[], float] = time.monotonic,
        boot_seconds: float = 0.0,
    ) -> None:
        self.faults = Faults()
        self.ahead = 0.0  # of its clock, as far as answers tell it
        self.world = World(machines=machines, clock=clock, boot_seconds=boot_seconds, faults=self.faults)
        self.calls: list[Call] = []
        self._tokens: dict[tuple[str, str, str], tuple[dict[str, str], Answer]] = {}
        self._creating = threading.RLock()
        self._server = _listen(port, self._serve, lambda: time.time() + self.ahead)
        self._thread = threading.Thread(target=self._server.serve_forever, name="emulated EC2", daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self._server.server_port}"

    @property
    def environ(self) -> dict[str, str]:
        """The ecosystem's variables that point clients here."""
        found = {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE",
            "AWS_SECRET_ACCESS_KEY": "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
            "AWS_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
            "CI_RUNNER_SOURCE_CIDR": "127.0.0.1/32",
        }
        if self.world.machines is not None:
            from tests.emulators.machines import user

            found |= {"CI_RUNNER_SSH_PORT": str(self.world.machines.port), "CI_RUNNER_SSH_USER": user()}
        return found

    def close(self) -> None:
        """Stop serving; what hangs is let go."""
        self.faults.over.set()
        self._server.shutdown()
        self._thread.join(timeout=30)
        self._server.server_close()

    def reset(self) -> None:
        """Forget everything, the machines too, and let nothing go wrong."""
        self.world.reset()
        with self._creating:
            self._tokens.clear()
        self.calls.clear()

    def fail(self, action: str, how: str, **more: Any) -> Fault:
        """Script a fault of a call."""
        return self.faults.add(Fault(action, how, **more))

    def refuse(self, code: str, **more: Any) -> None:
        """Script that machines are not granted."""
        self.faults.refuse(Refusal(code=code, **more))

    def count(self, action: str) -> int:
        """How often a call was made."""
        return sum(call.action == action for call in self.calls)

    def _serve(self, environ: dict[str, Any], start: Start) -> Iterable[bytes]:
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        path = environ.get("PATH_INFO", "/")
        if path.startswith("/imds/"):
            return _send(self.world.metadata(path, environ), start)
        if path == "/checkip":
            return _send(Answer(200, b"127.0.0.1\n", "text/plain"), start)
        call = _read(environ, body)
        self.calls.append(call)
        fault = self.faults.of_call(call.action, call.region)
        if fault is None or fault.late:
            answer = self._answer(call)
        if fault is not None:
            return self._strike(fault, environ, start)
        return _send(answer, start)

    def _strike(self, fault: Fault, environ: Mapping[str, Any], start: Start) -> Iterable[bytes]:
        headers = list(fault.headers.items())
        if fault.how in ("timeout", "hang"):
            self.faults.over.wait(HANG_SECONDS)
        if fault.how in ("timeout", "hang", "reset"):
            break_connection(environ)
            return ()
        if fault.how == "malformed":
            return _send(Answer(200, MALFORMED, "text/xml"), start)
        if fault.how.isdecimal():
            return _send(Answer(int(fault.how), b"<html>scripted</html>", "text/html"), start, headers)
        return _send(Answer(fault.status, error_body(fault.code, fault.message), "text/xml"), start, headers)

    def _answer(self, call: Call) -> Answer:
        """The answer, the same one for the same token."""
        token = call.params.get("ClientToken")
        if call.action not in WITH_TOKEN or not token:
            return self.world.answer(call)
        with self._creating:
            key, params = (call.action, call.region, token), dict(call.params)
            if len(token) > 64 or not token.isascii():
                return Answer(400, error_body("InvalidParameterValue", "ClientToken"), "text/xml")
            if key in self._tokens:
                before, answer = self._tokens[key]
                if before == params:
                    return answer
                text = "Arguments on this idempotent request are inconsistent with arguments used in previous request(s)."
                return Answer(400, error_body("IdempotentParameterMismatch", text), "text/xml")
            answer = self.world.answer(call)
            if answer.status == 200:
                self._tokens[key] = (params, answer)
            return answer


def _read(environ: Mapping[str, Any], body: bytes) -> Call:
    """What is asked: the action, its parameters and the region that the signature names."""
    scope = str(environ.get("HTTP_AUTHORIZATION", "")).partition("Credential=")[2].split("/")
    region = scope[2] if len(scope) > 3 else "us-east-1"
    target = str(environ.get("HTTP_X_AMZ_TARGET", ""))
    if target:
        return Call(target.rpartition(".")[2], region, {}, body, environ)
    params = dict(parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True))
    return Call(params.get("Action", ""), region, params, body, environ)


def _send(answer: Answer, start: Start, headers: list[tuple[str, str]] | None = None) -> Iterable[bytes]:
    kind = [("Content-Type", answer.kind), ("Content-Length", str(len(answer.body)))]
    start(f"{answer.status} Scripted", kind + (headers or []))
    return [answer.body]


def _listen(port: int, app: Callable[..., Iterable[bytes]], clock: Callable[[], float]) -> Any:
    from werkzeug.serving import WSGIRequestHandler, make_server

    class Quiet(WSGIRequestHandler):
        """Serves without a log line for each request, and takes a connection that it lost for granted."""

        protocol_version = "HTTP/1.1"

        def date_time_string(self, timestamp: float | None = None) -> str:
            """The date of an answer, by the cloud's clock."""
            return super().date_time_string(clock() if timestamp is None else timestamp)

        def log(self, type: str, message: str, *args: Any) -> None:  # noqa: A002 - the name of the base class
            """Say nothing."""

        def handle(self) -> None:
            """Serve one connection."""
            try:
                super().handle()
            except (OSError, ValueError):
                logging.getLogger(__name__).debug("a connection is gone")

    return make_server("127.0.0.1", port, app, threaded=True, request_handler=Quiet)


def shut_down(guests: list[Emulator], name: str) -> None:
    """Tell the emulator that one of its loopback machines has shut itself down."""
    for emulator in guests:
        emulator.world.guest_shutdown(name)


def main(arguments: list[str] | None = None) -> int:
    """Serve until the standard input ends or a signal comes."""
    parser = argparse.ArgumentParser(description="An emulated EC2 for tests and curious people.")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--machines", type=Path, help="the folder for loopback machines that run sshd")
    parser.add_argument("--boot-seconds", type=float, default=0.0)
    given = parser.parse_args(arguments)
    machines = None
    guests: list[Emulator] = []
    if given.machines is not None:
        from tests.emulators.machines import Machines

        machines = Machines(given.machines, on_shutdown=lambda name: shut_down(guests, name))
    try:
        with Emulator(port=given.port, machines=machines, boot_seconds=given.boot_seconds) as emulator:
            guests.append(emulator)
            print(
                json.dumps({"url": emulator.url, "environ": emulator.environ, "pid": os.getpid()}), flush=True
            )
            try:
                sys.stdin.buffer.read()
            except KeyboardInterrupt:
                return 0
    finally:
        if machines is not None:
            machines.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
