"""Posts a message to an incoming webhook; whatever happens comes back as a line, and the address is in none of them."""

from __future__ import annotations

import http.client
import re
import socket
import ssl
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

from ci_runner.github.commands import one_line
from ci_runner.web import is_loopback, staying_opener

SECONDS = 10.0  # for one try, from the name's look-up to the last byte of the answer
TRIES = 4
LONGEST = 30.0  # seconds that are waited before one more try
PATIENCE = 60.0  # seconds that are waited before all of them together
TOO_LARGE = (400, 413)  # both services say one of these to a message that they cannot take
_ADDRESS = re.compile(r"[!-~]{8,2000}")
# Teams answers 200 and says in words what went wrong behind it.
_WORDS = re.compile(r"HTTP error (?:code )?(\d{3})", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What came of one try: a status with the beginning of the text, or a failure in words."""

    status: int = 0
    text: str = ""
    retry_after: float | None = None
    failure: str = ""
    unsent: bool = False  # no byte of the message has left, so another try cannot say it twice


Post = Callable[[str, bytes], Answer]


def webhook_address(text: str) -> str:
    """The address, if a secret may be sent there. Raises ValueError, whose text does not repeat it."""
    address = text.strip()
    try:
        parts = urlsplit(address)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise ValueError("holds no address") from None
    if not _ADDRESS.fullmatch(address) or not host or port == 0 or parts.scheme not in ("http", "https"):
        raise ValueError("holds no address that begins with https://")
    if parts.username is not None or parts.password is not None:
        raise ValueError("holds an address with a name or a password in it, which no webhook has")
    if parts.scheme == "http" and not is_loopback(host):
        raise ValueError("holds an http:// address, which everybody on the way can read: use https://")
    return address


def deliver(
    address: str,
    bodies: Sequence[bytes],
    *,
    post: Post | None = None,
    pause: Callable[[float], object] = time.sleep,
) -> str:
    """Post the first body, or the next shorter one if it is too large. Returns "" or what went wrong."""
    send = post or exchange
    waited, shorter = 0.0, list(bodies[1:])
    body, tried = bodies[0], 0
    while True:
        tried += 1
        answer = send(address, body)
        if 200 <= answer.status < 300:
            return ""
        if answer.status in TOO_LARGE and shorter:
            body, tried = shorter.pop(0), 0
            continue
        wait = answer.retry_after if answer.retry_after is not None else 2.0 ** (tried - 1)
        if not _is_passing(answer) or tried >= TRIES:
            return _told(answer, address, tried)
        if wait > LONGEST or waited + wait > PATIENCE:
            return (
                f"{_told(answer, address, tried)}; the next try would have been {wait:,.0f} s later, too late"
            )
        pause(wait)
        waited += wait


def exchange(address: str, body: bytes, seconds: float = SECONDS) -> Answer:
    """One request. A thread of its own bounds it as a whole: a socket's limit begins anew with every byte."""
    found: list[Answer] = []
    thread = threading.Thread(target=lambda: found.append(_request(address, body, seconds)), daemon=True)
    thread.start()
    thread.join(seconds)
    return found[0] if found else Answer(failure=_late(seconds))


def _request(address: str, body: bytes, seconds: float) -> Answer:
    request = urllib.request.Request(  # noqa: S310 - webhook_address() has looked at the scheme
        address, data=body, method="POST", headers={"Content-Type": "application/json; charset=utf-8"}
    )
    try:
        with staying_opener(address).open(request, timeout=seconds) as answer:
            return _read(answer.status, answer.headers.get("Retry-After"), answer.read(2_000))
    except urllib.error.HTTPError as error:
        with error:
            return _read(error.code, error.headers.get("Retry-After"), error.read(2_000))
    except urllib.error.URLError as error:
        return _failed(error.reason, seconds)
    except (OSError, http.client.HTTPException, ValueError) as error:
        return _failed(error, seconds)


def _read(status: int, retry_after: str | None, raw: bytes) -> Answer:
    text = raw.decode("utf-8", "replace")
    told = _WORDS.search(text) if status == http.HTTPStatus.OK else None
    return Answer(status=int(told[1]) if told else status, text=text, retry_after=_seconds(retry_after))


def _seconds(text: str | None) -> float | None:
    """Retry-After: a number of seconds, or a date."""
    if not text:
        return None
    if re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9})?", text.strip()):
        return float(text)
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError):
        return None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return max(0.0, (moment - datetime.now(UTC)).total_seconds())


def _failed(reason: object, seconds: float) -> Answer:
    """A failure without an answer, in words of ours: those of the libraries may hold parts of the address."""
    if isinstance(reason, socket.gaierror):
        return Answer(failure="its host is not known here", unsent=True)
    if isinstance(reason, ConnectionRefusedError):
        return Answer(failure="its host refuses connections", unsent=True)
    if isinstance(reason, ssl.SSLCertVerificationError):
        return Answer(failure="its host's certificate cannot be verified")
    if isinstance(reason, TimeoutError):
        return Answer(failure=_late(seconds))
    if isinstance(reason, (ConnectionError, http.client.HTTPException)):
        return Answer(failure="the connection broke before an answer came, so it may have arrived")
    return Answer(failure=f"the request failed ({type(reason).__name__})")


def _late(seconds: float) -> str:
    return f"no answer came within {seconds:g} s, so it may have arrived"


def _is_passing(answer: Answer) -> bool:
    """Whether another try may help and cannot say the same twice."""
    return answer.unsent or answer.status == http.HTTPStatus.TOO_MANY_REQUESTS or answer.status >= 500


def _told(answer: Answer, address: str, tried: int) -> str:
    text = answer.failure
    if not text:
        said = one_line(_without(answer.text, address).strip(), 120)
        moved = " (redirects are not followed)" if 300 <= answer.status < 400 else ""
        text = f"the answer was {answer.status}{moved}" + (f": {said}" if said and not moved else "")
    return f"{text}, {tried} times" if tried > 1 else text


def _without(text: str, address: str) -> str:
    """What a service said, without the address or a part of it that is long enough to be a secret."""
    parts = urlsplit(address)
    words = [
        address,
        f"{parts.path}?{parts.query}",
        parts.path,
        *re.split(r"[/?&=]", parts.path + "?" + parts.query),
    ]
    for word in sorted((word for word in words if len(word) >= 6), key=len, reverse=True):
        text = text.replace(word, "***")
    return text
