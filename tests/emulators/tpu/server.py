"""tpu.googleapis.com on a loopback port: REST as Google's clients and gcloud send it, held to Google's description.

The quotas of the zones are told as cloudquotas.googleapis.com tells them.

`python tests/emulators/tpu/server.py --port 0` prints its address as one line of JSON and serves until it is ended.
"""

from __future__ import annotations

import argparse
import copy
import json
import signal
import socket
import struct
import sys
import threading
import time
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from tests.emulators.tpu import quotas, schema
from tests.emulators.tpu.actions import actions
from tests.emulators.tpu.faults import Fault, Refusal, read_script
from tests.emulators.tpu.world import World

NUMBERS = "enum-encoding=int"  # what Google's own clients ask for; gcloud does not


class Server(ThreadingHTTPServer):
    """The API over one world."""

    daemon_threads = True

    def __init__(self, world: World, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.world = world
        self.hung = threading.Event()  # set at the end, so that calls that hang let go
        self._thread = threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True)

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.server_address[1]}/"

    def begin(self) -> Server:
        """Serve in the background."""
        self._thread.start()
        return self

    def end(self) -> None:
        """Stop serving and end every machine."""
        self.hung.set()
        self.shutdown()
        self.server_close()
        self.world.close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is no fault of ours."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


class Handler(BaseHTTPRequestHandler):
    """One request: find the method, check, act, check again, answer."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # head and body are two writes, and the second must not wait for an answer
    server: Server

    def date_time_string(self, timestamp: float | None = None) -> str:
        """The date of an answer, by the cloud's clock."""
        return super().date_time_string(
            time.time() + self.server.world.ahead if timestamp is None else timestamp
        )

    def log_message(self, *_args: Any) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        """Read."""
        self._serve("GET")

    def do_POST(self) -> None:
        """Create or act."""
        self._serve("POST")

    def do_PATCH(self) -> None:
        """Change."""
        self._serve("PATCH")

    def do_DELETE(self) -> None:
        """End."""
        self._serve("DELETE")

    def _serve(self, verb: str) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        raw = self.rfile.read(length) if length else b""
        parts = urlsplit(self.path)
        query = dict(parse_qsl(parts.query, keep_blank_values=True))
        world = self.server.world
        found = schema.find(verb, unquote(parts.path)) or quotas.find(verb, unquote(parts.path))
        if found is None:
            self._refuse(404, "NOT_FOUND", f"The requested URL {parts.path} was not found on this server.")
            return
        method, path = found
        zone = path[1] if len(path) > 1 else "*"
        with world.lock:
            world.calls.append((method.id, parts.path))
        if self._befallen(world.take_fault(method.id, zone, after=False)):
            return
        try:
            answer = self._act(method, path, query, raw)
        except Refusal as refusal:
            self._refuse(refusal.status, refusal.word, refusal.message)
            return
        except schema.Violation as violation:
            self._refuse(400, "INVALID_ARGUMENT", str(violation))
            return
        if not self._befallen(world.take_fault(method.id, zone, after=True)):
            self._answer(200, answer)

    def _act(
        self, method: schema.Method, path: tuple[str, ...], query: dict[str, str], raw: bytes
    ) -> dict[str, Any]:
        world = self.server.world
        schema.check_query(method, query)
        body: dict[str, Any] = {}
        if raw:
            try:
                body = json.loads(raw)
            except ValueError as error:
                raise schema.Violation(f"Invalid JSON payload received. {error}") from error
        if method.request is not None:
            schema.check(method.request, body, request=True)
        elif body:
            raise schema.Violation("Invalid JSON payload received. The method takes no body.")
        if path[0] != world.project:
            raise Refusal(403, "PERMISSION_DENIED", f"Permission denied on resource project {path[0]}.")
        with world.lock:
            world.tick()
            action = actions(world).get(method.id)
            if action is None:
                raise Refusal(501, "UNIMPLEMENTED", f"{method.id} is not emulated")
            answer = copy.deepcopy(action(path[1:], query, body))
        numbers = NUMBERS in query.get("$alt", "")
        if method is quotas.LIST:
            return quotas.told(answer, numbers=numbers)
        schema.check(method.response, answer)
        return schema.numbered(method.response, answer) if numbers else answer

    def _befallen(self, fault: Fault | None) -> bool:
        """Let a fault happen; whether the request is over."""
        if fault is None:
            return False
        if fault.kind == "hang":
            self.server.hung.wait(60.0)
            self.close_connection = True
        elif fault.kind == "reset":
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()
            self.close_connection = True
        elif fault.kind == "malformed":
            self._send(200, b'{"name": "projects/')
        else:
            self._refuse(fault.status, fault.word, fault.message, retry_after=fault.retry_after)
        return True

    def _refuse(self, status: int, word: str, message: str, *, retry_after: int | None = None) -> None:
        body = {"error": {"code": status, "message": message, "status": word}}
        headers = {} if retry_after is None else {"Retry-After": str(retry_after)}
        self._send(status, json.dumps(body).encode(), headers)

    def _answer(self, status: int, body: dict[str, Any]) -> None:
        self._send(status, json.dumps(body).encode())

    def _send(self, status: int, data: bytes, headers: Mapping[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Type", "application/json; charset=UTF-8")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


def main() -> int:
    """Serve until ended."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--port", type=int, default=0, help="0: a free one")
    parser.add_argument("--project", default="emulated")
    parser.add_argument("--boot-seconds", type=float, default=0.0, help="how long a node is CREATING")
    parser.add_argument("--delete-seconds", type=float, default=0.0, help="how long a node is DELETING")
    parser.add_argument(
        "--script",
        type=Path,
        metavar="FILE",
        help="what is to go wrong: a JSON list of faults {method, status, word, message, kind, after, times, zone},"
        " dooms {code, message, seconds, node, zone} and raids {preempt, seconds}",
    )
    arguments = parser.parse_args()
    world = World(
        project=arguments.project,
        boot_seconds=arguments.boot_seconds,
        delete_seconds=arguments.delete_seconds,
    )
    if arguments.script:
        world.obey(read_script(json.loads(arguments.script.read_text())))
    ending = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, ending)  # before there are threads, which inherit it
    server = Server(world, arguments.port).begin()
    print(json.dumps({"url": server.url}), flush=True)
    signal.sigwait(ending)
    server.end()
    return 0


if __name__ == "__main__":
    sys.exit(main())
