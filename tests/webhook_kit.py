"""A service with an incoming webhook on the loopback interface, which can be told to fail in every way."""

from __future__ import annotations

import json
import socket
import struct
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

PATH = "/services/T0SECRET/B0SECRET/verysecrettoken"


@dataclass(frozen=True, kw_only=True)
class Act:
    """What the service does with one request."""

    status: int = 200
    body: bytes = b"ok"
    headers: Mapping[str, str] = field(default_factory=dict)
    how: str = "answer"  # answer | reset | hang | drip


@dataclass
class Hook:
    """The service: what it was sent, and what it does next; without acts it takes everything."""

    server: ThreadingHTTPServer
    acts: list[Act] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    types: list[str] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)

    @property
    def url(self) -> str:
        """The address of the webhook, a secret."""
        return f"http://127.0.0.1:{self.server.server_address[1]}{PATH}"

    @property
    def payloads(self) -> list[dict[str, Any]]:
        """What was posted."""
        return [json.loads(body) for body in self.bodies]


@contextmanager
def webhook(*acts: Act) -> Iterator[Hook]:
    """A service that does these acts, one a request, and takes everything after them."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.daemon_threads = False  # those that hang are let go below, and awaited
    hook = server.hook = Hook(server, list(acts))  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield hook
    finally:
        hook.over.set()
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        """Take a message."""
        hook: Hook = self.server.hook  # type: ignore[attr-defined]
        act = hook.acts.pop(0) if hook.acts else Act()
        hook.bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
        hook.types.append(self.headers["Content-Type"])
        self.close_connection = True
        if act.how == "reset":
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()
        elif act.how == "hang":
            hook.over.wait(60)
        elif act.how == "drip":
            self._drip(hook)
        else:
            self.send_response(act.status)
            for name, value in {**act.headers, "Content-Length": str(len(act.body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(act.body)

    def do_GET(self) -> None:
        """Nothing is to be had here; whoever follows a redirect ends here."""
        hook: Hook = self.server.hook  # type: ignore[attr-defined]
        hook.bodies.append(b'"followed"')
        self.send_error(404)

    def _drip(self, hook: Hook) -> None:
        """One byte at a time, each well within any limit on a single read."""
        try:
            for byte in b"HTTP/1.1 200 OK\r\nX-Slow: " + b"x" * 10_000:
                self.wfile.write(bytes([byte]))
                if hook.over.wait(0.05):
                    return
        except OSError:
            return  # whoever called has gone

    def log_message(self, *_: object) -> None:
        """Nothing is logged."""

    def finish(self) -> None:
        """End quietly where the connection is gone already."""
        try:
            super().finish()
        except (OSError, ValueError):
            self.close_connection = True
