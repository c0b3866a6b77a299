"""The clock of `ci-runner doctor`, compared with a server's on loopback."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from ci_runner.cli.doctor_checks import clock
from ci_runner.providers.checkup import Health


@pytest.fixture(params=[200, 403])
def api(request: pytest.FixtureRequest) -> Iterator[str]:
    """A server that says what time it is, whether it knows us or not."""

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.send_response(request.param)
            self.end_headers()

        def log_message(self, *_words: object) -> None:
            """Nothing is printed."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_the_clock_of_this_machine_beside_a_servers(api: str) -> None:
    assert clock({"GITHUB_API_URL": api}).health is Health.OK
    fast = clock({"GITHUB_API_URL": api}, now=lambda: time.time() + 3600.0)
    assert fast.health is Health.FAILED
    assert "ahead" in fast.text
    assert fast.fix == "set it: timedatectl set-ntp true"


def test_a_server_that_is_not_there_is_a_warning() -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as server:
        port = server.server_port
    assert clock({"GITHUB_API_URL": f"http://127.0.0.1:{port}"}).health is Health.WARNING
