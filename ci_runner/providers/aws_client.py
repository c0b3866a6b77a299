"""The way to AWS: clients by region, every call with a timeout, a policy of retries, and errors that say what to do."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from ci_runner.errors import ConfigurationError
from ci_runner.providers.aws_failures import EXPIRED, NO_CREDENTIALS, SERVER_FAULTS, error_of, failure_of
from ci_runner.providers.cloud_clock import CloudClock
from ci_runner.providers.failures import Failure, Kind

CONNECT_SECONDS = 5.0
READ_SECONDS = 30.0
TRIES = 4  # of one call, if nobody can know whether the last try arrived
PAUSE_BASE = 0.2
PAUSE_CAP = 5.0
WORKERS = 16
REGIONS_VARIABLE = "CI_RUNNER_AWS_REGIONS"
FALLBACK_REGION = "us-east-1"  # to ask which regions there are, if no other is configured

T = TypeVar("T")
log = logging.getLogger(__name__)


class Aws:
    """Calls to AWS on behalf of one set of credentials; shared by threads."""

    def __init__(
        self,
        environ: Mapping[str, str],
        *,
        sleep: Callable[[float], object] = time.sleep,
        rng: random.Random | None = None,
        read_seconds: float = READ_SECONDS,
    ) -> None:
        self._environ = environ
        self._sleep = sleep
        self._rng = rng or random.Random()  # noqa: S311 - spreads retries, hides nothing
        self._read_seconds = read_seconds
        self._lock = threading.RLock()
        self._session: Any = None
        self._clients: dict[tuple[str, str], Any] = {}
        self._regions: tuple[str, ...] | None = None
        self.clock = CloudClock("AWS")

    def home_region(self) -> str | None:
        """The region that the usual configuration of AWS names; None if it names none."""
        with self._lock:
            found = self._environ.get("AWS_REGION") or self._environ.get("AWS_DEFAULT_REGION")
            return found or self._connected().region_name

    def regions(self) -> tuple[str, ...]:
        """Where machines of ours may be: the regions named in CI_RUNNER_AWS_REGIONS, else all that are enabled."""
        with self._lock:
            if self._regions is None:
                named = self._environ.get(REGIONS_VARIABLE, "").replace(",", " ").split()
                self._regions = tuple(dict.fromkeys(named)) or self._enabled()
            return self._regions

    def _enabled(self) -> tuple[str, ...]:
        answer = self.call("ec2", self.home_region() or FALLBACK_REGION, "DescribeRegions", AllRegions=False)
        return tuple(sorted(each["RegionName"] for each in answer.get("Regions", ())))

    def everywhere(self, ask: Callable[[str], T], regions: tuple[str, ...] | None = None) -> list[T]:
        """The answers of all regions, asked at once, in their order. Raises the first error, by order of regions."""
        places = self.regions() if regions is None else regions
        if len(places) == 1:
            return [ask(places[0])]
        with ThreadPoolExecutor(max_workers=WORKERS) as pool:
            return list(pool.map(ask, places))

    def call(
        self,
        service: str,
        region: str,
        operation: str,
        *,
        needs: str | None = None,
        patient: bool = True,
        **values: Any,
    ) -> Mapping[str, Any]:
        """One call. Every one that is made here may be repeated: it reads, ends, or bears a token or a unique name.

        What got no answer, or a server's fault as one, is tried again; so is a refusal for too many calls, unless
        `patient` is False: then whoever chooses among offers decides. Credentials that expired are read once more.
        An answer without the key `needs` is no answer. Raises ProviderError, AuthenticationError or ConfigurationError.
        """
        what = f"{service}:{operation}"
        number, renewed = 0, False
        while True:
            answer, failure, lost = self._try(service, region, operation, values)
            if failure is None and (needs is None or needs in answer):
                return answer
            if failure is None:
                failure, lost = failure_of("InternalError", f"an answer without {needs}"), True
            if failure.code in EXPIRED and not renewed:
                renewed = True
                self._forget()
                continue
            number += 1
            again = (lost and failure.kind is Kind.UNKNOWN) or (patient and failure.kind is Kind.RATE)
            if not again or number == TRIES:
                raise error_of(failure, what=what, where=f"{what} in {region}")
            log.debug("%s in %s failed, trying again: %s", what, region, failure.text)
            ceiling = min(PAUSE_CAP, PAUSE_BASE * 4.0**number)
            self._sleep(max(failure.retry_after or 0.0, self._rng.uniform(ceiling / 2, ceiling)))

    def pages(self, region: str, operation: str, key: str, **values: Any) -> list[Mapping[str, Any]]:
        """All entries of a listing of EC2."""
        found: list[Mapping[str, Any]] = []
        token: str | None = None
        while True:
            more: dict[str, Any] = {"NextToken": token} if token else {}
            answer = self.call("ec2", region, operation, **values, **more)
            found += answer.get(key) or ()
            token = answer.get("NextToken")
            if not token:
                return found

    def _try(
        self, service: str, region: str, operation: str, values: Mapping[str, Any]
    ) -> tuple[Mapping[str, Any], Failure | None, bool]:
        """The answer, or a failure and whether nobody can know what came of the call."""
        from botocore.exceptions import BotoCoreError, ClientError, ParamValidationError
        from botocore.parsers import ResponseParserError

        try:
            client = self._client(service, region)
            method: Callable[..., Mapping[str, Any]] = getattr(client, _method(operation))
            answer = method(**values)
        except ClientError as error:
            self._dated(error.response)
            failure = _answered(error.response)
            status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 500)
            return {}, failure, status >= 500 or failure.code in SERVER_FAULTS
        except ResponseParserError as error:
            return {}, failure_of("InternalError", f"an answer that makes no sense: {error}"), True
        except ParamValidationError as error:
            raise ConfigurationError(
                f"AWS cannot be asked for this: {' '.join(str(error).split())}",
                where=f"{service}:{operation}",
            ) from error
        except BotoCoreError as error:
            return {}, _unanswered(error), True
        self._dated(answer)
        return answer, None, False

    def _dated(self, answer: Mapping[str, Any]) -> None:
        self.clock.heard(answer.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("date"))

    def _client(self, service: str, region: str) -> Any:
        from botocore.config import Config

        with self._lock:
            key = (service, region)
            if key not in self._clients:
                config = Config(
                    connect_timeout=min(CONNECT_SECONDS, self._read_seconds),
                    read_timeout=self._read_seconds,
                    retries={"total_max_attempts": 1, "mode": "standard"},
                    max_pool_connections=WORKERS,
                    user_agent_extra="ci-runner",
                )
                self._clients[key] = self._connected().client(
                    service, region_name=region, config=config, endpoint_url=self._endpoint(service)
                )
            return self._clients[key]

    def _connected(self) -> Any:
        """A session with the credentials of `environ` if it has any, else with those that boto3 finds by itself."""
        if self._session is None:
            try:
                import boto3
            except ModuleNotFoundError as error:
                raise ConfigurationError(
                    "machines of AWS need boto3, which is not installed",
                    where='provider = "aws-ec2"',
                    fix='pip install "ci-runner[aws]"',
                ) from error
            found = self._environ
            keys = {}
            if found.get("AWS_ACCESS_KEY_ID") and found.get("AWS_SECRET_ACCESS_KEY"):
                keys = {
                    "aws_access_key_id": found["AWS_ACCESS_KEY_ID"],
                    "aws_secret_access_key": found["AWS_SECRET_ACCESS_KEY"],
                    "aws_session_token": found.get("AWS_SESSION_TOKEN"),
                }
            self._session = boto3.session.Session(
                **keys, region_name=found.get("AWS_REGION") or found.get("AWS_DEFAULT_REGION")
            )
        return self._session

    def _endpoint(self, service: str) -> str | None:
        own = f"AWS_ENDPOINT_URL_{service.upper().replace('-', '_')}"
        return self._environ.get(own) or self._environ.get("AWS_ENDPOINT_URL")

    def _forget(self) -> None:
        """Let go of clients and credentials; the next call reads them anew."""
        log.info("the credentials of AWS have expired, reading them again")
        with self._lock:
            self._session = None
            self._clients.clear()


def _method(operation: str) -> str:
    """`DescribeVpcs` → `describe_vpcs`, as botocore names its methods."""
    from botocore import xform_name

    return str(xform_name(operation))


def _answered(response: Mapping[str, Any]) -> Failure:
    error = response.get("Error", {})
    meta = response.get("ResponseMetadata", {})
    asked = str(meta.get("HTTPHeaders", {}).get("retry-after", ""))
    return failure_of(
        _code(error.get("Code")),
        str(error.get("Message") or ""),
        status=meta.get("HTTPStatusCode"),
        retry_after=float(asked) if asked.isdecimal() and len(asked) < 5 else None,
    )


def _code(value: object) -> str | None:
    """EC2's code; botocore puts the HTTP status in its place if the answer had none."""
    text = str(value or "")
    return None if text.isdecimal() else text


def _unanswered(error: Exception) -> Failure:
    from botocore import exceptions

    credentials = (
        exceptions.NoCredentialsError,
        exceptions.PartialCredentialsError,
        exceptions.CredentialRetrievalError,
        exceptions.TokenRetrievalError,
        exceptions.SSOError,
        exceptions.ProfileNotFound,
    )
    text = str(error)
    if isinstance(error, credentials):
        return failure_of("AuthFailure", text, status=403) if _is_found(error) else _absent(text)
    return failure_of("RequestTimeout", f"no answer: {text}")


def _is_found(error: Exception) -> bool:
    """Whether there are credentials at all, which could not be used."""
    from botocore import exceptions

    return not isinstance(error, (exceptions.NoCredentialsError, exceptions.ProfileNotFound))


def _absent(text: str) -> Failure:
    failure = failure_of("AuthFailure", text)
    return Failure(kind=failure.kind, scope=failure.scope, text=failure.text, code=NO_CREDENTIALS)
