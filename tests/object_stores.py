"""What tests of stores in buckets share: an S3 (moto) and a Google Cloud Storage on loopback ports, and their faults."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Self

from tests.emulators.gcs.server import Gcs, Kept

BUCKET = "history-of-tests"
ACCOUNT = {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_REGION": "us-east-1",
}

Start = Callable[[str, list[tuple[str, str]]], Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """The next request of a method goes wrong: it is refused, or done and then answered with something else."""

    method: str
    status: str
    code: str = ""
    done: bool = False


@dataclass(slots=True)
class Faulty:
    """A WSGI application whose requests go wrong as ordered; what changes objects is done one at a time, as S3 promises."""

    app: Callable[[dict[str, Any], Start], Iterable[bytes]]
    faults: list[Fault] = field(default_factory=list)
    seen: list[str] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __call__(self, environ: dict[str, Any], start: Start) -> Iterable[bytes]:
        """Answer a request."""
        method = environ["REQUEST_METHOD"]
        with self._lock:
            self.seen.append(f"{method} {environ['PATH_INFO']}?{environ.get('QUERY_STRING', '')}")
            fault = next((each for each in self.faults if each.method == method), None)
            if fault is not None:
                self.faults.remove(fault)
            if fault is None or fault.done:
                answer = list(self.app(environ, (lambda *_: None) if fault else start))
        if fault is None:
            return answer
        if not fault.done:  # else the application has read it
            environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        body = b"" if method == "HEAD" else f"<Error><Code>{fault.code}</Code></Error>".encode()
        start(fault.status, [("Content-Length", str(len(body)))])
        return [body]


class Buckets:
    """A service with one bucket, served until `close`; `environ` is what leads a process to it."""

    def __init__(self, scheme: str, *, page: int = 1000, bucket: str = BUCKET) -> None:
        self.scheme = scheme
        self.bucket = bucket
        self.gcs = Gcs({bucket: {}}, page=page)
        self.app = Faulty(_s3_app() if scheme == "s3" else self.gcs)
        self._serving = serve(self.app)
        self.url = self._serving.__enter__()
        self.environ: dict[str, Any] = (
            {**ACCOUNT, "AWS_ENDPOINT_URL": self.url}
            if scheme == "s3"
            else {"STORAGE_EMULATOR_HOST": self.url}
        )
        self.empty()

    def empty(self) -> None:
        """Begin again: one bucket, nothing in it, no faults."""
        self.app.faults.clear()
        self.app.seen.clear()
        self.gcs.buckets = {self.bucket: {}}
        if self.scheme == "s3":
            backend = _backend()
            backend.reset()
            backend.create_bucket(self.bucket, "us-east-1")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    @property
    def location(self) -> str:
        """The location of a store in the bucket."""
        return f"{self.scheme}://{self.bucket}/ci/results"

    def names(self) -> list[str]:
        """The names of all objects in the bucket."""
        if self.scheme == "gs":
            return sorted(self.gcs.buckets[self.bucket])
        return sorted(_backend().buckets[self.bucket].keys)

    def place(self, name: str, data: bytes = b"") -> None:
        """Put an object there as others do: no key of ours."""
        if self.scheme == "gs":
            self.gcs.buckets[self.bucket][name] = Kept(data, 1)
            return
        _backend().put_object(self.bucket, name, data)

    def close(self) -> None:
        """End the server."""
        self._serving.__exit__(None, None, None)


@contextmanager
def serve(app: Callable[[dict[str, Any], Start], Iterable[bytes]]) -> Iterator[str]:
    """The address of an application while it is served on a loopback port."""
    from werkzeug.serving import make_server

    server = make_server("127.0.0.1", 0, app, threaded=True, request_handler=_quiet())
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _backend() -> Any:
    from moto.s3.models import s3_backends

    return s3_backends["123456789012"]["aws"]


def _s3_app() -> Callable[[dict[str, Any], Start], Iterable[bytes]]:
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app

    app: Callable[[dict[str, Any], Start], Iterable[bytes]] = DomainDispatcherApplication(create_backend_app)
    return app


def _quiet() -> Any:
    from werkzeug.serving import WSGIRequestHandler

    class Handler(WSGIRequestHandler):
        """One that writes no log, and keeps connections."""

        protocol_version = "HTTP/1.1"

        def log(self, type: str, message: str, *args: Any) -> None:  # noqa: A002 - the parameter's name there
            """Say nothing."""

    return Handler
