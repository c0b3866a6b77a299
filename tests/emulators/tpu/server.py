"""tpu.googleapis.com on a loopback port: REST as Google's clients and gcloud send it, held to Google's description.

`python tests/emulators/tpu/server.py --port 0` prints its address as one line of JSON and serves until it is ended.
"""

from __future__ import annotations

import argparse
import json
import signal
import socket
import struct
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from tests.emulators.tpu import schema
from tests.emulators.tpu.world import Fault, Refusal, World

PAGE = 100
TYPES = (
    "v2-8",
    "v3-8",
    "v4-8",
    "v5litepod-1",
    "v5litepod-4",
    "v5litepod-8",
    "v5litepod-16",
    "v5p-8",
    "v6e-1",
    "v6e-4",
    "v6e-8",
    "v6e-16",
)
RUNTIMES = ("tpu-ubuntu2204-base", "v2-alpha-tpuv5-lite", "v2-alpha-tpuv5", "v2-alpha-tpuv6e")


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
    server: Server

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
        found = schema.find(verb, unquote(parts.path))
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
            answer: dict[str, Any] = actions(world)[method.id](path[1:], query, body)
        schema.check(method.response, answer)
        return answer

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
            self._refuse(fault.status, fault.word, fault.message)
        return True

    def _refuse(self, status: int, word: str, message: str) -> None:
        self._answer(status, {"error": {"code": status, "message": message, "status": word}})

    def _answer(self, status: int, body: dict[str, Any]) -> None:
        self._send(status, json.dumps(body).encode())

    def _send(self, status: int, data: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json; charset=UTF-8")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


def actions(world: World) -> dict[str, Any]:
    """What each method does: (path after the project, query, body) → answer."""

    def nodes(path: tuple[str, ...], query: dict[str, str], _body: Any) -> dict[str, Any]:
        found = [world.shown(node) for node in world.nodes.values() if path[0] in ("-", node.zone)]
        return paged("nodes", found, query)

    def requests(path: tuple[str, ...], query: dict[str, str], _body: Any) -> dict[str, Any]:
        found = [world.shown_request(item) for item in world.queued.values() if path[0] in ("-", item.zone)]
        return paged("queuedResources", found, query)

    def operation(path: tuple[str, ...], _query: Any, _body: Any) -> dict[str, Any]:
        name = f"projects/{world.project}/locations/{path[0]}/operations/{path[1]}"
        if name not in world.operations:
            raise Refusal(404, "NOT_FOUND", f"Operation {name} was not found")
        return world.operations[name]

    def location(name: str) -> dict[str, Any]:
        world.zone(name)
        return {"name": f"projects/{world.project}/locations/{name}", "locationId": name}

    def kinds(path: tuple[str, ...], query: dict[str, str], _body: Any) -> dict[str, Any]:
        world.zone(path[0])
        base = f"projects/{world.project}/locations/{path[0]}/acceleratorTypes"
        return paged("acceleratorTypes", [{"name": f"{base}/{kind}", "type": kind} for kind in TYPES], query)

    def runtimes(path: tuple[str, ...], query: dict[str, str], _body: Any) -> dict[str, Any]:
        base = f"projects/{world.project}/locations/{path[0]}/runtimeVersions"
        return paged(
            "runtimeVersions", [{"name": f"{base}/{name}", "version": name} for name in RUNTIMES], query
        )

    return {
        "nodes.create": lambda path, query, body: world.create(path[0], query.get("nodeId", ""), body),
        "nodes.get": lambda path, _query, _body: world.shown(world.node(path[0], path[1])),
        "nodes.list": nodes,
        "nodes.delete": lambda path, _query, _body: world.delete(path[0], path[1]),
        "nodes.stop": lambda path, _query, _body: world.switch(path[0], path[1], "STOPPED"),
        "nodes.start": lambda path, _query, _body: world.switch(path[0], path[1], "READY"),
        "nodes.patch": lambda path, query, body: world.patch(
            path[0], path[1], query.get("updateMask", ""), body
        ),
        "queuedResources.create": lambda path, query, body: world.enqueue(
            path[0], query.get("queuedResourceId", ""), query.get("requestId", ""), body
        ),
        "queuedResources.get": lambda path, _query, _body: world.shown_request(
            world.request(path[0], path[1])
        ),
        "queuedResources.list": requests,
        "queuedResources.delete": lambda path, query, _body: world.dequeue(
            path[0], path[1], force=query.get("force", "").lower() == "true"
        ),
        "operations.get": operation,
        "operations.list": lambda path, query, _body: paged(
            "operations", list(world.operations.values()), query
        ),
        "locations.get": lambda path, _query, _body: location(path[0]),
        "locations.list": lambda _path, query, _body: paged(
            "locations", [location(name) for name, zone in world.zones.items() if zone.known], query
        ),
        "acceleratorTypes.list": kinds,
        "runtimeVersions.list": runtimes,
    }


def paged(key: str, items: list[dict[str, Any]], query: dict[str, str]) -> dict[str, Any]:
    """One page of a listing."""
    size = min(int(query.get("pageSize") or PAGE) or PAGE, PAGE)
    start = int(query.get("pageToken") or 0)
    answer: dict[str, Any] = {key: items[start : start + size]}
    if start + size < len(items):
        answer["nextPageToken"] = str(start + size)
    return answer


def main() -> int:
    """Serve until ended."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--project", default="emulated")
    parser.add_argument("--boot-seconds", type=float, default=0.0)
    arguments = parser.parse_args()
    server = Server(
        World(project=arguments.project, boot_seconds=arguments.boot_seconds), arguments.port
    ).begin()
    print(json.dumps({"url": server.url}), flush=True)
    signal.sigwait({signal.SIGTERM, signal.SIGINT})
    server.end()
    return 0


if __name__ == "__main__":
    sys.exit(main())
