"""A store in a bucket of S3 or Google Cloud Storage; the only module that imports the library for these."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError
from obstore.store import GCSStore, S3Store

from ci_runner.errors import AuthenticationError, ConfigurationError
from ci_runner.github.commands import one_line
from ci_runner.history.location import Location, endpoint_of, error_of, failure_of, parse_location
from ci_runner.history.store import Conflict, OneByOne, check_key

if TYPE_CHECKING:
    from obstore.store import ClientConfig, RetryConfig

CONNECT_SECONDS = 3
ANSWER_SECONDS = 30
RETRIES = 3
PUT_ATTEMPTS = 3
PAUSE = 0.1
FAULTS = (BaseError, FileNotFoundError, PermissionError)
CREDENTIALS_OF_AWS = (
    "AWS_ACCESS_KEY_ID",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
)
PLAIN_ACCOUNTS = ("service_account", "authorized_user")  # the kinds of file that the library reads by itself
SCOPE = "https://www.googleapis.com/auth/devstorage.read_write"

Result = TypeVar("Result")


class ObjectStore(OneByOne):
    """A store in a bucket; any number of processes may write at once: the service creates only what is new."""

    def __init__(self, store: S3Store | GCSStore, location: Location, *, pause: float = PAUSE) -> None:
        self._store = store
        self._pause = pause
        self._bucket_seen = False
        self.location = location

    def put_new(self, key: str, data: bytes) -> None:
        """Keep an object by a request that the service refuses if the key is taken.

        The library does not repeat such a request if its answer was lost. Here that is safe: if the lost one arrived,
        the object holds the same bytes.
        """
        check_key(key)
        failed: Exception | None = None
        for attempt in range(PUT_ATTEMPTS):
            if attempt:
                time.sleep(self._pause * 2**attempt)
            try:
                _awaited(lambda: obstore.put(self._store, key, data, mode="create", use_multipart=False))
            except AlreadyExistsError as error:
                failed = error
                if self._holds(key, data):
                    return
            except FAULTS as error:
                failed = error
                if not failure_of(error).may_have_arrived:
                    break
            else:
                return
        assert failed is not None
        raise error_of(failure_of(failed), self.location, key) from failed

    def _holds(self, key: str, data: bytes) -> bool:
        """Whether the key holds these bytes; no, while S3 is busy with another writer of it. Raises Conflict for others."""
        try:
            found = self.get(key)
        except KeyError:
            return False
        if found != data:
            raise Conflict(key)
        return True

    def get(self, key: str) -> bytes:
        """The object."""
        check_key(key)
        try:
            return _awaited(lambda: bytes(obstore.get(self._store, key).bytes()))
        except FAULTS as error:
            raise self._absent(error, key) from error

    def list(self, prefix: str = "") -> Iterator[str]:
        """The keys with this prefix; the marks that consoles leave for folders are not among them."""
        folder = prefix.rpartition("/")[0]
        if folder:
            check_key(folder)
        try:
            found = _awaited(lambda: self._listed(folder))
        except FAULTS as error:
            raise error_of(failure_of(error), self.location, folder) from error
        self._bucket_seen = True
        folders = {key[:at] for key in found for at, letter in enumerate(key) if letter == "/"}
        keys = (key for key, size in found.items() if size or key not in folders)
        return iter(sorted(key for key in keys if key and key.startswith(prefix)))

    def _listed(self, folder: str) -> dict[str, int]:
        pages = obstore.list(self._store, prefix=folder or None)
        return {meta["path"]: meta["size"] for page in pages for meta in page}

    def exists(self, key: str) -> bool:
        """Whether the key is taken."""
        check_key(key)
        try:
            _awaited(lambda: obstore.head(self._store, key))
        except FAULTS as error:
            absent = self._absent(error, key)
            if not isinstance(absent, KeyError):
                raise absent from error
            return False
        return True

    def _absent(self, error: Exception, key: str) -> Exception:
        """KeyError if there is no object, else what an error means.

        An answer to HEAD has no body, so that a bucket that is not there looks like an object that is not there: until
        the bucket has been seen, the first page of its list tells.
        """
        found = failure_of(error)
        if found.status != 404 or found.code == "NoSuchBucket":
            return error_of(found, self.location, key)
        if not found.code and not self._bucket_seen:
            try:
                _awaited(lambda: next(obstore.list(self._store, chunk_size=1), None))
            except FAULTS as other:
                return error_of(failure_of(other), self.location)
            self._bucket_seen = True
        return KeyError(key)


def _awaited(action: Callable[[], Result]) -> Result:
    """The action's result, awaited so that a signal is heard at once: the library hears none before its call is over."""
    if threading.current_thread() is not threading.main_thread():
        return action()
    results: list[Result] = []
    faults: list[BaseException] = []

    def act() -> None:
        try:
            results.append(action())
        except BaseException as error:  # noqa: BLE001 - raised again below, in the thread that asked
            faults.append(error)

    thread = threading.Thread(target=act, name="object-store", daemon=True)
    thread.start()
    thread.join()
    if faults:
        raise faults[0]
    return results[0]


def open_objects(
    text: str, environ: Mapping[str, str] | None = None, *, name: str = "history"
) -> ObjectStore:
    """The store at `s3://bucket/prefix` or `gs://bucket/prefix`; nothing is asked of the service yet.

    Raises ConfigurationError for a location or an endpoint that is none, AuthenticationError for unusable credentials.
    """
    environ = os.environ if environ is None else environ
    location = parse_location(text, name)
    endpoint = endpoint_of(location, environ)
    options: dict[str, Any] = {"client_options": _client(endpoint), "retry_config": _retries()}
    if location.prefix:
        options["prefix"] = location.prefix
    try:
        if location.scheme == "s3":
            return ObjectStore(_s3(location, endpoint, environ, options), location)
        return ObjectStore(_gcs(location, endpoint, environ, options), location)
    except (BaseError, OSError, ValueError) as error:
        why = one_line(str(error).partition("\n")[0], 200)
        raise AuthenticationError(
            f"the credentials for {location.service} cannot be used: {why}",
            where=str(location),
            fix=f"see what the environment says about {'AWS_*' if location.scheme == 's3' else 'GOOGLE_*'}",
        ) from error


def _client(endpoint: str | None) -> ClientConfig:
    return {
        "allow_http": endpoint is not None and endpoint.startswith("http://"),
        "connect_timeout": timedelta(seconds=CONNECT_SECONDS),
        "timeout": timedelta(seconds=ANSWER_SECONDS),
        "user_agent": "ci-runner",
    }


def _retries() -> RetryConfig:
    return {
        "max_retries": RETRIES,
        "retry_timeout": timedelta(seconds=ANSWER_SECONDS),
        "backoff": {
            "init_backoff": timedelta(seconds=PAUSE),
            "max_backoff": timedelta(seconds=2),
            "base": 2,
        },
    }


def _s3(
    location: Location, endpoint: str | None, environ: Mapping[str, str], options: dict[str, Any]
) -> S3Store:
    if endpoint is not None:
        options["endpoint"] = endpoint
    if not any(environ.get(name) for name in CREDENTIALS_OF_AWS) and _has_profiles(environ):
        options["credential_provider"] = _profile_credentials()
    region = environ.get("AWS_REGION") or environ.get("AWS_DEFAULT_REGION")
    if region:
        options["region"] = region
    return S3Store(location.bucket, **options)


def _profile_credentials() -> Callable[[], Any]:
    try:
        from botocore.exceptions import BotoCoreError
        from obstore.auth.boto3 import Boto3CredentialProvider
    except ImportError as error:
        raise _missing(error, "profiles of AWS", "aws") from error
    try:
        return Boto3CredentialProvider()
    except BotoCoreError as error:
        raise ValueError(str(error)) from error


def _has_profiles(environ: Mapping[str, str]) -> bool:
    home = Path(environ.get("HOME") or "/") / ".aws"
    files = (
        environ.get("AWS_SHARED_CREDENTIALS_FILE") or home / "credentials",
        environ.get("AWS_CONFIG_FILE") or home / "config",
    )
    return bool(environ.get("AWS_PROFILE")) or any(Path(file).is_file() for file in files)


def _gcs(
    location: Location, endpoint: str | None, environ: Mapping[str, str], options: dict[str, Any]
) -> GCSStore:
    if endpoint is not None:
        # an emulator: no account of ours may be asked for, nor shown to it
        options |= {
            "base_url": endpoint,
            "credential_provider": lambda: {"token": "emulator", "expires_at": None},
        }
    else:
        account = _account(environ)
        if account is not None and account.get("type") not in PLAIN_ACCOUNTS:
            options["credential_provider"] = _google_credentials(account)
    return GCSStore(location.bucket, **options)


def _account(environ: Mapping[str, str]) -> dict[str, Any] | None:
    """What the file of credentials says; in workflows without keys its type is `external_account`."""
    file = environ.get("GOOGLE_APPLICATION_CREDENTIALS")
    if not file:
        return None
    document = json.loads(Path(file).read_bytes())
    if not isinstance(document, dict):
        raise ValueError("GOOGLE_APPLICATION_CREDENTIALS names a file that is no account")  # noqa: TRY004
    return document


def _google_credentials(account: Mapping[str, Any]) -> Callable[[], Any]:
    try:
        import google.auth
        from google.auth import identity_pool
        from google.auth.exceptions import GoogleAuthError
        from obstore.auth.google import GoogleCredentialProvider
    except ImportError as error:
        raise _missing(error, "credentials of this kind", "gcp") from error
    source = account.get("credential_source")
    try:
        if (
            account.get("type") == "external_account"
            and isinstance(source, dict)
            and {"file", "url"} & {*source}
        ):
            # as `default` does, which besides asks for the project's name: a request, and a right that few have
            read: Any = identity_pool.Credentials.from_info  # has no types
            credentials = read(account, scopes=[SCOPE])
        else:
            credentials, _project = google.auth.default(scopes=[SCOPE])
    except GoogleAuthError as error:
        raise ValueError(str(error)) from error
    return GoogleCredentialProvider(credentials)


def _missing(error: ImportError, what: str, extra: str) -> ConfigurationError:
    return ConfigurationError(
        f"a library for {what} is missing: {error.name or error}",
        where="stores",
        fix=f'pip install "ci-runner[{extra}]"; in a checkout set CI_RUNNER_EXTRAS={extra}',
    )
