"""The way to the TPU API: Google's client over REST, every call with a timeout, and errors as Failures."""

from __future__ import annotations

import configparser
import importlib
import logging
import random
import re
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar, cast
from urllib.parse import urlsplit

from ci_runner.errors import AuthenticationError, ConfigurationError
from ci_runner.providers import gcp_failures as google
from ci_runner.providers.cloud_clock import CloudClock
from ci_runner.providers.failures import Failure, Kind
from ci_runner.providers.gcp_failures import error_of, failure_of

ENDPOINT = "CLOUDSDK_API_ENDPOINT_OVERRIDES_TPU"
SCOPE = "https://www.googleapis.com/auth/cloud-platform"
PROJECTS = ("GOOGLE_CLOUD_PROJECT", "CLOUDSDK_CORE_PROJECT", "GCLOUD_PROJECT")
CALL_SECONDS = 30.0
TRIES = 4  # of one call whose repetition changes nothing
PAUSE_BASE = 0.2
PAUSE_CAP = 5.0

_REQUEST = re.compile(r"^[A-Z]+ https?://\S+: ")  # which Google's client puts before what Google said

T = TypeVar("T")
log = logging.getLogger(__name__)


class Tpus:
    """Calls to the TPU API on behalf of one set of credentials; shared by threads."""

    def __init__(
        self,
        environ: Mapping[str, str],
        *,
        sleep: Callable[[float], object] = time.sleep,
        rng: random.Random | None = None,
        call_seconds: float = CALL_SECONDS,
    ) -> None:
        self._environ = environ
        self._sleep = sleep
        self._rng = rng or random.Random()  # noqa: S311 - spreads retries, hides nothing
        self._seconds = call_seconds
        self._client: Any = None
        self.clock = CloudClock("Google Cloud")

    def project(self, options: Mapping[str, str]) -> str:
        """The project: of the machine's options, the environment, or gcloud's configuration.

        Raises ConfigurationError that asks for it.
        """
        named = options.get("project") or next(
            (self._environ[name] for name in PROJECTS if self._environ.get(name)), None
        )
        found = named or gcloud_project(self._environ)
        if not found:
            raise ConfigurationError(
                "no project of Google Cloud is named",
                where="gcp-tpu",
                fix="set GOOGLE_CLOUD_PROJECT, or gcloud config set project NAME",
            )
        return found

    def call(self, method: str, *, again: bool = True, where: str = "gcp-tpu", **values: Any) -> Any:
        """One call of the client, such as `get_node(name=…)`. Raises ProviderError or AuthenticationError.

        What got no answer, a server's fault and a refusal for too many calls are tried again if `again` says that a
        second call does no harm.
        """
        function = getattr(self._connected(), method)
        return self.tried(
            lambda: function(request=values, timeout=self._seconds, retry=None), method, where, again=again
        )

    def listed(self, method: str, *, where: str = "gcp-tpu", **values: Any) -> list[Any]:
        """All entries of a listing, over all pages."""
        function = getattr(self._connected(), method)
        return self.tried(
            lambda: list(function(request=values, timeout=self._seconds, retry=None)), method, where
        )

    def operation(self, name: str) -> Any:
        """A long-running operation as it is now."""
        operations = self._connected().transport.operations_client
        return self.tried(
            lambda: operations.get_operation(name, timeout=self._seconds, retry=None),
            "get_operation",
            name,
        )

    def tried(self, ask: Callable[[], T], method: str, where: str, *, again: bool = True) -> T:
        """What came of a call in a few tries. Raises ProviderError or AuthenticationError."""
        number = 0
        while True:
            failure, answer = self._try(ask)
            if failure is None:
                return cast("T", answer)
            number += 1
            if not again or number == TRIES or failure.kind not in (Kind.UNKNOWN, Kind.RATE):
                raise error_of(failure, where=where) from None
            log.debug("%s failed, trying again: %s", method, failure.text)
            ceiling = min(PAUSE_CAP, PAUSE_BASE * 4.0**number)
            self._sleep(max(failure.retry_after or 0.0, self._rng.uniform(ceiling / 2, ceiling)))

    def _try(self, ask: Callable[[], T]) -> tuple[Failure | None, T | None]:
        """What came back, or why nothing did."""
        from google.api_core.exceptions import GoogleAPIError
        from google.auth.exceptions import GoogleAuthError

        json_error: Any = importlib.import_module("google.protobuf.json_format").Error  # it has no types
        try:
            return None, ask()
        except GoogleAPIError as error:
            return failure_from(error), None
        except GoogleAuthError as error:
            return failure_of(google.UNAUTHENTICATED, str(error)), None
        except (OSError, ValueError, json_error) as error:  # cut, silent, or no JSON
            return failure_of(google.UNKNOWN, f"{type(error).__name__}: {error}"), None

    def _connected(self) -> Any:
        if self._client is None:
            self._client = self._connect()
            session = getattr(self._client.transport, "_session", None)  # Google's client shows no headers
            if session is not None:
                session.hooks["response"].append(self._dated)
        return self._client

    def _dated(self, response: Any, **_: Any) -> None:
        self.clock.heard(response.headers.get("Date"))

    def _connect(self) -> Any:
        try:
            from google.auth import credentials
            from google.auth.exceptions import DefaultCredentialsError
            from google.cloud import tpu_v2
            from google.cloud.tpu_v2.services.tpu.transports.rest import TpuRestTransport
        except ImportError as error:
            raise ConfigurationError(
                "machines of Google Cloud need the Python package google-cloud-tpu",
                where="gcp-tpu",
                fix="pip install 'ci-runner[gcp]'",
            ) from error
        anonymous: Any = credentials.AnonymousCredentials
        override = self._override(ENDPOINT)
        if override:
            parts = urlsplit(override)
            transport = TpuRestTransport(host=parts.netloc, credentials=anonymous(), url_scheme=parts.scheme)
            return tpu_v2.TpuClient(transport=transport)
        try:
            return tpu_v2.TpuClient(transport="rest")
        except DefaultCredentialsError as error:
            raise _nobody() from error

    def session(self, override: str, usual: str) -> tuple[Any, str] | None:
        """A session of HTTP with our identity, and the address of another API of Google's, which a variable may override.

        None if only the TPU API is somewhere else: what Google tells is then no matter of it.
        """
        from google.auth.exceptions import DefaultCredentialsError

        address = self._override(override)
        if address is None and self._override(ENDPOINT) is not None:
            return None
        auth: Any = importlib.import_module("google.auth")
        requests: Any = importlib.import_module("google.auth.transport.requests")
        if address is not None:
            anonymous: Any = importlib.import_module("google.auth.credentials").AnonymousCredentials
            return requests.AuthorizedSession(anonymous()), address.rstrip("/")
        try:
            identity, _ = auth.default(scopes=[SCOPE])
        except DefaultCredentialsError as error:
            raise _nobody() from error
        return requests.AuthorizedSession(identity), usual

    @property
    def seconds(self) -> float:
        """How long one call may take."""
        return self._seconds

    def _override(self, name: str) -> str | None:
        """The address that a variable of gcloud's sets. Raises ConfigurationError for what is none."""
        override = self._environ.get(name)
        if not override:
            return None
        parts = urlsplit(override)
        if parts.scheme not in ("http", "https") or not parts.netloc:
            raise ConfigurationError(f"{override!r} is no address of an API", where=name)
        return override


def _nobody() -> AuthenticationError:
    return AuthenticationError(
        "Google Cloud does not know who we are",
        where="gcp-tpu",
        fix="gcloud auth application-default login, or in a workflow google-github-actions/auth",
    )


def failure_from(error: Exception) -> Failure:
    """The Failure for an exception of Google's client."""
    from google.api_core.exceptions import GoogleAPICallError, RetryError

    if isinstance(error, RetryError) and error.cause is not None:
        return failure_from(error.cause)
    if not isinstance(error, GoogleAPICallError):
        return failure_of(google.UNKNOWN, str(error))
    status = int(error.code) if error.code is not None else 0
    message = _REQUEST.sub("", error.message or str(error))
    return failure_of(google.HTTP.get(status, google.UNKNOWN), message)


def gcloud_project(environ: Mapping[str, str]) -> str | None:
    """The project of gcloud's active configuration; None without one."""
    home = environ.get("CLOUDSDK_CONFIG") or str(Path(environ.get("HOME", "/"), ".config", "gcloud"))
    try:
        active = Path(home, "active_config").read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        active = "default"
    parser = configparser.RawConfigParser()
    try:
        parser.read(Path(home, "configurations", f"config_{active}"), encoding="utf-8")
    except (configparser.Error, UnicodeDecodeError):
        return None
    return parser.get("core", "project", fallback=None)
