"""Google Cloud Storage as far as its XML API is used here: objects of buckets, made under preconditions, read, and listed.

Held to what Google documents of the XML API: `x-goog-if-generation-match: 0` creates and is answered with 412
PreconditionFailed if there is a live object; names are listed in UTF-8 order, a page at a time, as of version 2 of the list.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from email.utils import formatdate
from typing import Any
from urllib.parse import parse_qs
from xml.sax.saxutils import escape

DATE = "2026-11-23T10:00:00.000Z"
WHY = {
    400: ("400 Bad Request", "InvalidArgument"),
    404: ("404 Not Found", "NoSuchKey"),
    405: ("405 Method Not Allowed", "MethodNotAllowed"),
    412: ("412 Precondition Failed", "PreconditionFailed"),
}

Start = Callable[[str, list[tuple[str, str]]], Any]


@dataclass(frozen=True, slots=True)
class Kept:
    """A live object."""

    data: bytes
    generation: int

    @property
    def headers(self) -> list[tuple[str, str]]:
        """What is told of it in every answer."""
        return [
            ("ETag", f'"{hashlib.md5(self.data).hexdigest()}"'),
            ("x-goog-generation", str(self.generation)),
            ("Last-Modified", formatdate(1_795_428_000, usegmt=True)),
        ]


@dataclass(slots=True)
class Gcs:
    """The service as a WSGI application; a bucket is there if it is named in `buckets`."""

    buckets: dict[str, dict[str, Kept]] = field(default_factory=dict)
    page: int = 1000
    _generation: int = 1
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __call__(self, environ: dict[str, Any], start: Start) -> Iterable[bytes]:
        """Answer a request."""
        # the server has undone one layer of %XX already, which is the only one
        bucket, _, name = environ["PATH_INFO"].encode("latin-1").decode().lstrip("/").partition("/")
        method = environ["REQUEST_METHOD"]
        objects = self.buckets.get(bucket)
        if objects is None:
            return _refuse(start, 404, method, "NoSuchBucket")
        if method == "PUT" and name:
            return self._put(objects, name, environ, start)
        if method in ("GET", "HEAD") and name:
            return _get(objects, name, method, start)
        if method == "GET":
            return self._list(bucket, objects, parse_qs(environ.get("QUERY_STRING", "")), start)
        return _refuse(start, 405, method)

    def _put(
        self, objects: dict[str, Kept], name: str, environ: dict[str, Any], start: Start
    ) -> Iterable[bytes]:
        data = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        wanted = environ.get("HTTP_X_GOOG_IF_GENERATION_MATCH")
        if wanted is not None and not wanted.isdigit():
            return _refuse(start, 400, "PUT")
        with self._lock:
            live = objects[name].generation if name in objects else 0
            if wanted is not None and int(wanted) != live:
                return _refuse(start, 412, "PUT")
            self._generation += 1
            kept = objects[name] = Kept(data, self._generation)
        start("200 OK", [*kept.headers, ("Content-Length", "0")])
        return []

    def _list(
        self, bucket: str, objects: dict[str, Kept], query: dict[str, list[str]], start: Start
    ) -> Iterable[bytes]:
        def asked(name: str, default: str = "") -> str:
            return query.get(name, [default])[0]

        if asked("list-type") != "2":
            return _refuse(start, 400, "GET")
        after = max(asked("continuation-token"), asked("start-after"))
        with self._lock:
            found = sorted(
                name for name in objects if name.startswith(asked("prefix")) and (not after or name > after)
            )
            size = min(self.page, int(asked("max-keys", str(self.page))))
            contents = "".join(_entry(name, objects[name]) for name in found[:size])
        more = len(found) > size
        token = f"<NextContinuationToken>{escape(found[size - 1])}</NextContinuationToken>" if more else ""
        text = (
            "<?xml version='1.0' encoding='UTF-8'?><ListBucketResult xmlns='http://doc.s3.amazonaws.com/2006-03-01'>"
            f"<Name>{bucket}</Name><Prefix>{escape(asked('prefix'))}</Prefix><KeyCount>{len(found[:size])}</KeyCount>"
            f"<IsTruncated>{str(more).lower()}</IsTruncated>{token}{contents}</ListBucketResult>"
        )
        start("200 OK", [("Content-Type", "application/xml; charset=UTF-8")])
        return [text.encode()]


def _get(objects: dict[str, Kept], name: str, method: str, start: Start) -> Iterable[bytes]:
    kept = objects.get(name)
    if kept is None:
        return _refuse(start, 404, method)
    start("200 OK", [*kept.headers, ("Content-Length", str(len(kept.data)))])
    return [kept.data] if method == "GET" else []


def _entry(name: str, kept: Kept) -> str:
    tag = hashlib.md5(kept.data).hexdigest()
    return (
        f"<Contents><Key>{escape(name)}</Key><Generation>{kept.generation}</Generation>"
        f"<LastModified>{DATE}</LastModified><ETag>&quot;{tag}&quot;</ETag><Size>{len(kept.data)}</Size></Contents>"
    )


def _refuse(start: Start, status: int, method: str, code: str | None = None) -> Iterable[bytes]:
    line, usual = WHY[status]
    body = f"<?xml version='1.0' encoding='UTF-8'?><Error><Code>{code or usual}</Code></Error>".encode()
    start(line, [("Content-Type", "application/xml; charset=UTF-8")])
    return [] if method == "HEAD" else [body]
