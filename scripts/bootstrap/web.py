"""Reads addresses as pip and uv would: proxies, certificates and credentials from where everyone keeps them."""

from __future__ import annotations

import base64
import errno
import http.client
import netrc
import ssl
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from email.message import Message
from pathlib import Path
from typing import IO, Protocol
from urllib.parse import unquote, urlsplit, urlunsplit

from bootstrap.problems import SetupProblem, Unreachable

SECONDS = 30.0  # without a byte
TRIES = 3
CERTIFICATES = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "PIP_CERT", "CURL_CA_BUNDLE")
BROKEN = (OSError, http.client.HTTPException)  # URLError is an OSError


class Answer(Protocol):
    """What urllib gives back, as far as it is used here."""

    headers: Message

    def read(self, amount: int = -1, /) -> bytes: ...
    def geturl(self) -> str: ...


@dataclass(frozen=True)
class Page:
    """One page, whole."""

    url: str
    media_type: str
    content: bytes


class Web:
    """A client made from the environment variables of the caller."""

    def __init__(self, environ: Mapping[str, str], agent: str = "ci-runner") -> None:
        self.environ = environ
        self.agent = agent
        context = trusted(environ)
        handlers = [urllib.request.HTTPSHandler(context=context)]
        self.opener = urllib.request.build_opener(
            *handlers
        )  # proxies: from the environment, by urllib itself

    def read(self, url: str, *, limit: int, accept: str = "*/*") -> Page:
        """The whole page; fails when it is larger than the limit."""
        for left in reversed(range(TRIES)):
            try:
                with self.opened(url, accept) as answer:
                    content = answer.read(limit + 1)
                    if len(content) > limit:
                        raise SetupProblem(
                            f"{shown(url)} is larger than {limit} bytes",
                            fix="check the address of the package index",
                        )
                    return Page(answer.geturl(), answer.headers.get_content_type(), content)
            except BROKEN as error:
                if not left or not is_worth_another_try(error):
                    raise explained(url, error) from error
        raise AssertionError("unreachable")

    def save(self, url: str, into: IO[bytes], *, limit: int) -> int:
        """Write what the address gives into the file, up to the limit and one byte more; returns the size."""
        for left in reversed(range(TRIES)):
            try:
                into.seek(0)
                into.truncate()
                with self.opened(url, "*/*") as answer:
                    return copied(answer, into, limit)
            except BROKEN as error:
                if is_local(error):
                    raise
                if not left or not is_worth_another_try(error):
                    raise explained(url, error) from error
        raise AssertionError("unreachable")

    @contextmanager
    def opened(self, url: str, accept: str) -> Iterator[Answer]:
        """The answer to one request; credentials go to the host that they are for and to no other."""
        bare, credentials = split_credentials(url, self.environ)
        request = urllib.request.Request(bare, headers={"Accept": accept, "User-Agent": self.agent})  # noqa: S310
        if credentials:
            request.add_unredirected_header("Authorization", credentials)
        with self.opener.open(request, timeout=SECONDS) as answer:
            yield answer


def copied(answer: Answer, into: IO[bytes], limit: int) -> int:
    """Copy in pieces; stop one byte over the limit, for that is wrong anyway."""
    size = 0
    while size <= limit:
        piece = answer.read(min(1 << 20, limit + 1 - size))
        if not piece:
            break
        into.write(piece)
        size += len(piece)
    promised = answer.headers.get("Content-Length", "")
    if promised.isdecimal() and size < min(int(promised), limit + 1):
        raise http.client.IncompleteRead(b"", int(promised) - size)
    return size


def trusted(environ: Mapping[str, str]) -> ssl.SSLContext:
    """The certificates of the system (SSL_CERT_FILE, SSL_CERT_DIR: OpenSSL's own), and those of pip's variables."""
    context = ssl.create_default_context()
    for variable in CERTIFICATES:
        path = environ.get(variable, "")
        if path and Path(path).exists():
            try:
                if Path(path).is_dir():
                    context.load_verify_locations(capath=path)
                else:
                    context.load_verify_locations(cafile=path)
            except ssl.SSLError as error:
                raise SetupProblem(
                    f"{variable} names {path}, which holds no certificates ({error})",
                    fix=f"let {variable} name a file of certificates in PEM format, or unset it",
                ) from error
    return context


def split_credentials(url: str, environ: Mapping[str, str]) -> tuple[str, str]:
    """The address without user and password, and the header for them (from the address, else from netrc)."""
    parts = urlsplit(url)
    user, password = unquote(parts.username or ""), unquote(parts.password or "")
    host = parts.netloc.rpartition("@")[2]
    if not user and parts.scheme in {"http", "https"}:
        user, password = from_netrc(parts.hostname or "", environ)
    bare = urlunsplit((parts.scheme, host, parts.path, parts.query, ""))
    if not user:
        return bare, ""
    return bare, "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def from_netrc(host: str, environ: Mapping[str, str]) -> tuple[str, str]:
    """User and password for the host from ~/.netrc; empty when it names none."""
    path = Path(environ.get("NETRC") or Path(environ.get("HOME") or "/") / ".netrc")
    try:
        found = netrc.netrc(str(path)).authenticators(host)
    except (OSError, netrc.NetrcParseError):
        return "", ""
    return (found[0], found[2] or "") if found else ("", "")


def shown(url: str) -> str:
    """The address without what must not be printed."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit((parts.scheme, host, parts.path, "", ""))


def is_local(error: BaseException) -> bool:
    """Did writing here fail, rather than reading from there?"""
    return isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO}


def is_worth_another_try(error: BaseException) -> bool:
    """Could the same request succeed a moment later?"""
    if isinstance(error, urllib.error.HTTPError):
        return error.code >= 500 or error.code in {408, 429}
    reason = getattr(error, "reason", error)
    return not isinstance(reason, ssl.SSLCertVerificationError | ConnectionRefusedError | FileNotFoundError)


def explained(url: str, error: BaseException) -> SetupProblem:
    """What the failure means, and what a person can do."""
    place = shown(url)
    if isinstance(error, urllib.error.HTTPError):
        if error.code in {401, 403, 407}:
            return SetupProblem(
                f"{place} refuses access ({error.code} {error.reason})",
                fix="put user and password into the address of the index or into ~/.netrc",
            )
        return Unreachable(
            f"{place} answers {error.code} {error.reason}",
            fix="check the address of the package index (UV_DEFAULT_INDEX, PIP_INDEX_URL), or try again later",
        )
    reason = getattr(error, "reason", error)
    if isinstance(reason, ssl.SSLCertVerificationError):
        return Unreachable(
            f"the certificate of {place} is not trusted ({reason.verify_message})",
            fix="install ca-certificates, or name your organisation's certificates in SSL_CERT_FILE",
        )
    return Unreachable(
        f"cannot reach {place} ({reason})",
        fix="connect to a network, or set HTTPS_PROXY, or name a package index that can be reached in UV_DEFAULT_INDEX",
    )
