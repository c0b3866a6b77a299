"""Locations of stores in buckets, and what errors of their services mean."""

from __future__ import annotations

import errno
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ci_runner.errors import AuthenticationError, CiRunnerError, ConfigurationError, ResultsError
from ci_runner.history.location import Failure, Location, endpoint_of, error_of, failure_of, parse_location
from ci_runner.history.store import open_store

S3 = Location(scheme="s3", bucket="team-history", prefix="ci")
GS = Location(scheme="gs", bucket="team-history")
ASKED = "Error performing GET http://127.0.0.1:9/b/k in 3ms"


class UnauthenticatedError(Exception):
    """Named as the library's."""


class InvalidPathError(Exception):
    """Named as the library's."""


def refused(status: int, code: str = "", *, asked: str = ASKED) -> Exception:
    """An error as the library words an answer of the service."""
    return Exception(
        f"Generic S3 error: {asked} - Server returned non-2xx status code: {status} Nope: "
        f"<Error><Code>{code}</Code><Message>::error::hostile\x1b[31m</Message></Error>\n\nDebug source:\nRetryError"
    )


def cut(kind: str) -> Exception:
    """An error as the library words a connection that failed."""
    return Exception(
        f"Generic S3 error: {ASKED} - HTTP error: error sending request\n\nDebug source:\n kind: {kind},"
    )


@pytest.mark.parametrize(
    ("text", "location"),
    [
        ("s3://team-history", Location(scheme="s3", bucket="team-history")),
        ("s3://team-history/", Location(scheme="s3", bucket="team-history")),
        ("s3://team-history/ci/kpt/", Location(scheme="s3", bucket="team-history", prefix="ci/kpt")),
        ("gs://a.b_c/x", Location(scheme="gs", bucket="a.b_c", prefix="x")),
    ],
)
def test_locations_are_read(text: str, location: Location) -> None:
    assert parse_location(text) == location
    assert parse_location(str(location)) == location


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("http://bucket/x", "neither with s3"),
        ("s3:/bucket", "neither with s3"),
        ("S3://bucket", "neither with s3"),
        ("s3://", "no name of a bucket"),
        ("s3:///ci", "no name of a bucket"),
        ("s3://UPPER", "no name of a bucket"),
        ("s3://user:secret@bucket/x", "no name of a bucket"),
        ("s3://bucket?x=1", "no name of a bucket"),
        ("s3://bucket\n", "no name of a bucket"),
        ("s3://bucket/a//b", "no key may have"),
        ("s3://bucket/../b", "no key may have"),
        ("s3://bucket//", "no key may have"),
        ("gs://bucket/é", "no key may have"),
        ("gs://bucket/" + "x" * 101, "longer than 100"),
    ],
)
def test_what_is_no_location_is_told(text: str, why: str) -> None:
    with pytest.raises(ConfigurationError, match=why) as caught:
        parse_location(text)
    assert "\n" not in str(caught.value.where)
    assert caught.value.fix == "write s3://BUCKET/PREFIX or gs://BUCKET/PREFIX"


@given(st.text() | st.text().map("s3://bucket/".__add__) | st.text().map("gs://".__add__))
def test_a_location_is_read_or_refused_and_never_leaves_its_bucket(text: str) -> None:
    try:
        location = parse_location(text)
    except ConfigurationError:
        return
    assert parse_location(str(location)) == location
    assert not {"", ".", ".."} & set(f"{location.bucket}/{location.prefix or 'x'}".split("/"))


@pytest.mark.parametrize(
    ("scheme", "environ", "endpoint"),
    [
        ("s3", {}, None),
        ("s3", {"AWS_ENDPOINT_URL": ""}, None),
        ("s3", {"AWS_ENDPOINT_URL": "http://127.0.0.1:5000/"}, "http://127.0.0.1:5000"),
        ("s3", {"AWS_ENDPOINT_URL": "http://a", "AWS_ENDPOINT_URL_S3": "https://b"}, "https://b"),
        ("s3", {"STORAGE_EMULATOR_HOST": "http://a"}, None),
        ("gs", {"STORAGE_EMULATOR_HOST": "localhost:9023"}, "http://localhost:9023"),
        ("gs", {"STORAGE_EMULATOR_HOST": "https://[::1]:9023"}, "https://[::1]:9023"),
        ("gs", {"AWS_ENDPOINT_URL": "http://a"}, None),
    ],
)
def test_endpoints_come_from_the_usual_variables(
    scheme: str, environ: dict[str, str], endpoint: str | None
) -> None:
    assert endpoint_of(Location(scheme=scheme, bucket="bucket"), environ) == endpoint


@pytest.mark.parametrize(
    "text", ["::::", "ftp://x", "http://", "http://x:y", "http://x:0", "http://a b", "x"]
)
def test_an_endpoint_that_is_no_url_is_told_with_its_variable(text: str) -> None:
    with pytest.raises(ConfigurationError, match="no URL") as caught:
        endpoint_of(S3, {"AWS_ENDPOINT_URL": text})
    assert str(caught.value.where).startswith("AWS_ENDPOINT_URL = ")


@pytest.mark.parametrize(
    ("error", "location", "kind", "what", "fix"),
    [
        (refused(404, "NoSuchBucket"), S3, ConfigurationError, "no bucket", "aws s3 mb s3://team-history"),
        (refused(404, "NoSuchBucket"), GS, ConfigurationError, "no bucket", "buckets create gs://team-history"),
        (refused(403, "AccessDenied"), S3, AuthenticationError, "403 AccessDenied", "s3:PutObject"),
        (refused(401), GS, AuthenticationError, "HTTP 401", "storage.objects.create"),
        (refused(400, "ExpiredToken"), S3, AuthenticationError, "ExpiredToken", "not expired"),
        (refused(400, "AuthorizationHeaderMalformed"), S3, ConfigurationError, "another region", "AWS_REGION"),
        (Exception("Received redirect without LOCATION"), S3, ConfigurationError, "another region", "AWS_REGION"),
        (
            refused(403, asked="Error performing PUT http://169.254.169.254/latest/api/token"),
            S3, AuthenticationError, "no credentials for S3", "AWS_ACCESS_KEY_ID",
        ),
        (
            refused(404, asked="Error performing token request: GET http://x/computeMetadata/v1/token"),
            GS, AuthenticationError, "no credentials for Google", "gcloud auth",
        ),
        (UnauthenticatedError("External AWS credential provider"), S3, AuthenticationError, "no credentials", "AWS"),
        (InvalidPathError("a//b"), S3, ResultsError, "no key", "prefix of its own"),
    ],
)  # fmt: skip
def test_an_error_says_what_to_do(
    error: Exception, location: Location, kind: type[CiRunnerError], what: str, fix: str
) -> None:
    raised = error_of(failure_of(error), location, "daily/x.json")
    assert type(raised) is kind
    assert what in raised.what
    assert fix in str(raised.fix)
    assert raised.where == f"{location}/daily/x.json"
    assert "hostile" not in "\n".join(raised.lines())


@pytest.mark.parametrize(
    ("error", "text", "arrived"),
    [
        (refused(503, "SlowDown"), "S3: HTTP 503 SlowDown", False),
        (refused(500), "S3: HTTP 500", False),
        (cut("Connect"), "S3: no connection", False),
        (cut("Timeout"), "S3: no answer in time", True),
        (cut("Interrupted"), "S3: the connection broke", True),
    ],
)
def test_what_the_network_or_the_service_does_is_an_oserror(
    error: Exception, text: str, arrived: bool
) -> None:
    found = failure_of(error)
    raised = error_of(found, S3)
    assert isinstance(raised, OSError)
    assert (raised.errno, raised.strerror, raised.filename) == (errno.EIO, text, "s3://team-history/ci")
    assert found.may_have_arrived is arrived


@given(st.text())
def test_any_text_of_an_error_means_something(text: str) -> None:
    found = failure_of(Exception(text))
    assert isinstance(error_of(found, S3), (CiRunnerError, OSError))
    assert str(found).isprintable()


def test_a_key_that_looks_like_a_question_for_credentials_is_none() -> None:
    asked = "Error performing GET http://127.0.0.1:9/team-history/ci/latest/meta-data/computeMetadata in 3ms"
    assert failure_of(refused(503, "SlowDown", asked=asked)) == Failure(status=503, code="SlowDown")


@pytest.mark.parametrize("place", ["s3://team-history/ci", "gs://team-history"])
def test_without_its_library_a_store_names_the_extra(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "ci_runner.history.objects", raising=False)
    monkeypatch.setitem(sys.modules, "obstore", None)
    with pytest.raises(ConfigurationError, match=r"library for .*:// is missing: obstore") as caught:
        open_store(place, tmp_path)
    assert caught.value.fix == 'pip install "ci-runner[stores]"; in a checkout set CI_RUNNER_EXTRAS=stores'
