"""Where a store in a bucket is, and what to do when its service says no; nothing here needs the library for buckets."""

from __future__ import annotations

import errno
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from ci_runner.errors import AuthenticationError, CiRunnerError, ConfigurationError, ResultsError
from ci_runner.github.commands import one_line
from ci_runner.history.store import check_key

BUCKET = re.compile(r"[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]")
MAX_PREFIX = 100  # with the longest key it stays under the 1024 bytes that both services allow
STATUS = re.compile(r"(?:non-2xx status code|error response): (\d{3})")
CODE = re.compile(r"<Code>([A-Za-z]{1,60})</Code>")
ASKS_FOR_CREDENTIALS = re.compile(
    r"https?://[^/ ]+/(?:latest/(?:api/token|meta-data)|computeMetadata)|https?://sts\.|Error performing token request"
)
ENDPOINTS = {"s3": ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"), "gs": ("STORAGE_EMULATOR_HOST",)}
REFUSED = frozenset(
    (
        "AccessDenied",
        "AuthenticationRequired",
        "ExpiredToken",
        "InvalidAccessKeyId",
        "InvalidSecurity",
        "InvalidToken",
        "RequestTimeTooSkewed",
        "SignatureDoesNotMatch",
        "TokenRefreshRequired",
    )
)
ELSEWHERE = frozenset(
    ("AuthorizationHeaderMalformed", "IllegalLocationConstraintException", "PermanentRedirect")
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Location:
    """Where a store is: the bucket of a service, and the folder in it."""

    scheme: str
    bucket: str
    prefix: str = ""
    name: str = field(default="history", compare=False)  # its key in [stores]

    def __str__(self) -> str:
        return f"{self.scheme}://{self.bucket}" + (f"/{self.prefix}" if self.prefix else "")

    @property
    def service(self) -> str:
        """The service's name for people."""
        return "S3" if self.scheme == "s3" else "Google Cloud Storage"


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """What an error of the library says: the HTTP status and the service's code, or how the connection failed."""

    status: int | None = None
    code: str = ""
    unknown_user: bool = False  # the credentials were not to be had; the service has not been asked
    connected: bool = True
    timed_out: bool = False
    redirected: bool = False
    foreign_name: bool = False

    @property
    def may_have_arrived(self) -> bool:
        """Whether the service may have done what was asked although no answer came."""
        return self.status is None and self.connected and not self.unknown_user and not self.redirected

    def __str__(self) -> str:
        if self.status is not None:
            return f"HTTP {self.status}" + (f" {self.code}" if self.code else "")
        if not self.connected:
            return "no connection"
        return "no answer in time" if self.timed_out else "the connection broke"


def parse_location(text: str, name: str = "history") -> Location:
    """`s3://bucket/prefix` or `gs://bucket/prefix`; `name` is its key in [stores].

    Raises ConfigurationError for anything else.
    """
    scheme, _, rest = text.partition("://")
    bucket, _, prefix = rest.partition("/")
    problem, named = "", prefix != ""
    prefix = prefix.removesuffix("/")
    if scheme not in ("s3", "gs"):
        problem = "it begins neither with s3:// nor with gs://"
    elif not BUCKET.fullmatch(bucket):
        problem = "what follows :// is no name of a bucket"
    elif len(prefix) > MAX_PREFIX:
        problem = f"its prefix is longer than {MAX_PREFIX} characters"
    elif named:
        try:
            check_key(prefix)
        except ValueError:
            problem = "its prefix has a part that no key may have"
    if problem:
        raise ConfigurationError(
            f"the location of the {name} cannot be used: {problem}",
            where=f"stores.{name} = {one_line(text, 120)!r}",
            fix="write s3://BUCKET/PREFIX or gs://BUCKET/PREFIX",
        )
    return Location(scheme=scheme, bucket=bucket, prefix=prefix, name=name)


def endpoint_of(location: Location, environ: Mapping[str, str]) -> str | None:
    """The service's address if the environment names one. Raises ConfigurationError if that is no URL."""
    names = ENDPOINTS[location.scheme]
    name = next((name for name in names if environ.get(name)), None)
    if name is None:
        return None
    text = environ[name]
    if name == "STORAGE_EMULATOR_HOST" and "://" not in text:
        text = f"http://{text}"  # Google's own clients take a host and port too
    try:
        parts = urlsplit(text)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable or not re.fullmatch(r"[A-Za-z0-9._~:/\[\]%-]+", text):
        raise ConfigurationError(
            "the address of the object store is no URL",
            where=f"{name} = {one_line(environ[name], 120)!r}",
            fix=f"set {name} to an address such as http://127.0.0.1:9000, or unset it",
        )
    return text.rstrip("/")


def failure_of(error: Exception) -> Failure:
    """What an error of the library says. Of a server's own words only its code is kept: they are foreign text."""
    text = str(error)
    status, code = STATUS.search(text), CODE.search(text)
    asked = text.partition("\nDebug source")[0].partition("status code:")[0]
    return Failure(
        status=int(status[1]) if status else None,
        code=code[1] if code else "",
        unknown_user=(type(error).__name__ == "UnauthenticatedError" and status is None)
        or ASKS_FOR_CREDENTIALS.search(asked) is not None,
        connected=re.search(r"kind: Connect\b|ConnectError", text) is None,
        timed_out=re.search(r"kind: Timeout\b", text) is not None,
        redirected="redirect without LOCATION" in text,
        foreign_name=type(error).__name__ == "InvalidPathError",
    )


def error_of(found: Failure, location: Location, key: str = "") -> CiRunnerError | OSError:
    """The error to raise: what happened and what to do about it, or an OSError if the network or the service is to blame."""
    where = f"{location}/{key}" if key else str(location)
    if found.foreign_name:
        return ResultsError(
            "the bucket holds an object whose name is no key",
            where=where,
            fix=f"give the {location.name} a prefix of its own, or remove the object with an empty part in its name",
        )
    if found.unknown_user:
        return AuthenticationError(
            f"there are no credentials for {location.service}", where=where, fix=_credentials_fix(location)
        )
    if found.status in (401, 403) or found.code in REFUSED:
        return AuthenticationError(
            f"{location.service} refuses this: {found}", where=where, fix=_permissions_fix(location)
        )
    if found.redirected or found.status in (301, 307) or found.code in ELSEWHERE:
        return ConfigurationError(
            "the bucket is in another region", where=where, fix="set AWS_REGION to the bucket's region"
        )
    if found.status == 404:
        return ConfigurationError(
            f'{location.service} has no bucket "{location.bucket}"', where=where, fix=_bucket_fix(location)
        )
    return OSError(errno.EIO, f"{location.service}: {found}", where)


def _credentials_fix(location: Location) -> str:
    if location.scheme == "s3":
        return (
            "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE; "
            "in a workflow use aws-actions/configure-aws-credentials"
        )
    return (
        "run gcloud auth application-default login, or set GOOGLE_APPLICATION_CREDENTIALS; "
        "in a workflow use google-github-actions/auth"
    )


def _permissions_fix(location: Location) -> str:
    if location.scheme == "s3":
        rights = "s3:GetObject, s3:PutObject and s3:ListBucket"
    else:
        rights = "storage.objects.get, storage.objects.create and storage.objects.list"
    return f"see that the credentials have not expired and allow {rights} on {location.bucket}"


def _bucket_fix(location: Location) -> str:
    url = f"{location.scheme}://{location.bucket}"
    make = f"aws s3 mb {url}" if location.scheme == "s3" else f"gcloud storage buckets create {url}"
    return f"make it ({make}) or name another in [stores] {location.name}"
