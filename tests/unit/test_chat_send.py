"""Posting to a webhook without a network: which addresses may be posted to, when it is tried again, what is told."""

from __future__ import annotations

import http.client
import socket
import ssl
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from ci_runner.report.publish.chat_send import Answer, _failed, _read, _seconds, deliver, webhook_address

SECRET = "https://hooks.slack.com/services/T00000000/B00000000/XXXXXXXXXXXXXXXXXXXXXXXX"


@pytest.mark.parametrize(
    "text",
    [
        SECRET,
        f"  {SECRET}\n",
        "http://127.0.0.1:8080/x",
        "http://localhost/x",
        "http://[::1]:9/x",
        "https://x.example",
    ],
)
def test_addresses_that_may_be_posted_to(text: str) -> None:
    assert webhook_address(text) == text.strip()


@pytest.mark.parametrize(
    "text",
    [
        "http://hooks.slack.com/services/secret1",
        "http://127.0.0.1.evil.example/secret1",
        "http://localhost.evil.example/secret1",
        "ftp://x.example/secret1",
        "file:///etc/secret1",
        "https://name:secret1@x.example/",
        "https:///secret1",
        "https://x.example/secret1\nHeader: x",
        "https://x.example/secret1 2",
        "https://x.example:99999/secret1",
        "https://x.example:0/secret1",
        "https://[secret1/",
        "https://x.example/secret1ü",
        "secret1",
        "https://x.example/" + "secret1" * 400,
    ],
)
def test_addresses_that_may_not_are_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(ValueError, match="address") as caught:
        webhook_address(text)
    assert "secret1" not in str(caught.value)


class Script:
    """Answers in order; remembers what was posted and how long was waited."""

    def __init__(self, *answers: Answer) -> None:
        self.answers = list(answers)
        self.bodies: list[bytes] = []
        self.waits: list[float] = []

    def post(self, address: str, body: bytes) -> Answer:
        assert address == SECRET
        self.bodies.append(body)
        return self.answers.pop(0)

    def deliver(self, *bodies: bytes) -> str:
        """What `deliver` says; every answer was asked for."""
        told = deliver(SECRET, bodies or (b"long", b"short"), post=self.post, pause=self.waits.append)
        assert self.answers == []
        assert "XXXX" not in told
        assert "T0000" not in told
        return told


def test_what_arrives_says_nothing() -> None:
    script = Script(Answer(status=202, text="1"))
    assert script.deliver() == ""
    assert (script.bodies, script.waits) == ([b"long"], [])


def test_too_many_calls_and_faults_of_the_server_are_waited_out() -> None:
    script = Script(
        Answer(status=429, retry_after=7.5), Answer(status=503), Answer(status=500), Answer(status=200)
    )
    assert script.deliver() == ""
    assert script.waits == [7.5, 2.0, 4.0]


def test_four_tries_are_all() -> None:
    script = Script(*[Answer(status=500, text="oops")] * 4)
    assert script.deliver() == "the answer was 500: oops, 4 times"
    assert script.waits == [1.0, 2.0, 4.0]


@pytest.mark.parametrize(("wait", "waits"), [(31.0, []), (25.0, [25.0, 25.0])])
def test_patience_ends(wait: float, waits: list[float]) -> None:
    script = Script(*[Answer(status=429, retry_after=wait)] * (len(waits) + 1))
    assert f"the next try would have been {wait:.0f} s later, too late" in script.deliver()
    assert script.waits == waits


def test_what_may_have_arrived_is_not_said_twice_and_what_has_not_left_is_tried_again() -> None:
    broken = Script(Answer(failure="the connection broke before an answer came, so it may have arrived"))
    assert broken.deliver() == "the connection broke before an answer came, so it may have arrived"
    refused = Script(Answer(failure="its host refuses connections", unsent=True), Answer(status=200))
    assert refused.deliver() == ""


@pytest.mark.parametrize("status", [400, 413])
def test_what_is_too_large_is_sent_shorter_once(status: int) -> None:
    script = Script(Answer(status=status, text="invalid_blocks"), Answer(status=200))
    assert script.deliver() == ""
    assert script.bodies == [b"long", b"short"]
    never = Script(Answer(status=status), Answer(status=status, text="invalid_blocks"))
    assert never.deliver() == f"the answer was {status}: invalid_blocks"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("no_service", "the answer was 404: no_service"),
        (f"no hook at {SECRET}", "the answer was 404: no hook at ***"),
        (
            "unknown token XXXXXXXXXXXXXXXXXXXXXXXX of T00000000",
            "the answer was 404: unknown token *** of ***",
        ),
        ("::error::<b>\x1b[31mno", "the answer was 404: \\::error::<b>no"),
        ("x" * 5_000, "the answer was 404: " + "x" * 119 + "…"),
        ("", "the answer was 404"),
    ],
)
def test_what_a_service_says_is_told_without_the_address(text: str, told: str) -> None:
    assert Script(Answer(status=404, text=text)).deliver() == told


def test_a_redirect_is_not_followed_and_says_so() -> None:
    assert (
        Script(Answer(status=302, text="moved")).deliver()
        == "the answer was 302 (redirects are not followed)"
    )


def test_teams_says_in_words_what_went_wrong_behind_it() -> None:
    text = b"Webhook message delivery failed with error: Microsoft Teams endpoint returned HTTP error 429 with ContextId x."
    assert _read(200, None, text).status == 429
    assert _read(200, None, b"1").status == 200
    assert _read(404, None, text).status == 404


def test_retry_after_is_seconds_or_a_date() -> None:
    assert _seconds("12") == 12.0
    assert _seconds("0.5") == 0.5
    soon = _seconds(format_datetime(datetime.now(UTC) + timedelta(seconds=20), usegmt=True))
    assert soon is not None
    assert 10 < soon <= 20
    assert _seconds("Wed, 21 Oct 2015 07:28:00 GMT") == 0.0
    for nothing in (None, "", "soon", "-1", "nan", "1e9999"):
        assert _seconds(nothing) is None


@pytest.mark.parametrize(
    ("make", "words", "unsent"),
    [
        (lambda: socket.gaierror(-2, SECRET), "not known", True),
        (lambda: ConnectionRefusedError(111, SECRET), "refuses", True),
        (lambda: ssl.SSLCertVerificationError(SECRET), "certificate", False),
        (lambda: TimeoutError(SECRET), "no answer came within 10 s", False),
        (lambda: ConnectionResetError(SECRET), "broke", False),
        (lambda: http.client.RemoteDisconnected(SECRET), "broke", False),
        (lambda: http.client.InvalidURL(SECRET), "broke", False),
        (lambda: OSError(SECRET), "OSError", False),
        (lambda: SECRET, "str", False),
    ],
)
def test_failures_are_told_in_words_of_ours(make: Callable[[], object], words: str, unsent: bool) -> None:
    answer = _failed(make(), 10.0)
    assert words in answer.failure
    assert "hooks" not in answer.failure
    assert answer.unsent is unsent
