"""Stores in buckets when things go wrong, and runs of ci-runner that keep their records there."""

from __future__ import annotations

import json
import signal
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ci_runner.errors import AuthenticationError, ConfigurationError, ResultsError
from ci_runner.history import objects
from ci_runner.history.objects import ObjectStore, open_objects
from ci_runner.history.store import Conflict
from tests.object_stores import ACCOUNT, BUCKET, Buckets, Fault, serve
from tests.projects import Project, make_project

KEY = "daily/2026-11-23/local-unit-3f2a9c1-1.json"
UNIT = '[suites.unit]\ntests = ["tests"]\n'
GREEN = "def test_a():\n    assert True\n"


@pytest.fixture(scope="module", params=["s3", "gs"])
def shared(request: pytest.FixtureRequest) -> Iterator[Buckets]:
    """A service for all tests of this file."""
    with Buckets(request.param) as service:
        yield service


@pytest.fixture
def service(shared: Buckets, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Buckets:
    """The service with an empty bucket, and the environment that leads there."""
    shared.empty()
    monkeypatch.setenv("HOME", str(tmp_path))
    for name, value in shared.environ.items():
        monkeypatch.setenv(name, value)
    return shared


@pytest.fixture
def s3_account(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Credentials, and a home without any."""
    monkeypatch.setenv("HOME", str(tmp_path))
    for name, value in ACCOUNT.items():
        monkeypatch.setenv(name, value)


def at(service: Buckets) -> ObjectStore:
    """The store, which waits for nothing."""
    store = open_objects(service.location)
    store._pause = 0.0
    return store


def ask(store: ObjectStore, method: str) -> None:
    """Ask the store for what takes a request of this method."""
    if method == "PUT":
        store.put_new(KEY, b"1")
    elif method == "HEAD":
        store.exists(KEY)
    else:
        store.get(KEY)


def test_objects_lie_under_the_prefix_and_others_are_not_seen(service: Buckets) -> None:
    service.place("elsewhere/x.json", b"1")
    service.place("ci/results-of-others/x.json", b"1")
    store = at(service)
    store.put_new(KEY, b"one")
    assert service.names() == ["ci/results-of-others/x.json", f"ci/results/{KEY}", "elsewhere/x.json"]
    assert list(store.list()) == [KEY]
    whole = open_objects(f"{service.scheme}://{BUCKET}")
    assert whole.get("elsewhere/x.json") == b"1"
    assert len(list(whole.list())) == 3


def test_marks_of_folders_are_no_objects(service: Buckets) -> None:
    for name in ("ci/results/", "ci/results/daily/", "ci/results/daily/2026-11-23/"):
        service.place(name)
    store = at(service)
    store.put_new(KEY, b"one")
    store.put_new("daily/empty", b"")
    assert list(store.list()) == [KEY, "daily/empty"]
    assert list(store.list("daily/")) == [KEY, "daily/empty"]


def test_a_name_that_no_store_writes_is_told(service: Buckets) -> None:
    service.place("ci/results/daily//x.json")
    with pytest.raises(ResultsError, match="name is no key"):
        at(service).list()


def test_a_lost_answer_is_no_lost_object_and_no_conflict(service: Buckets) -> None:
    service.app.faults = [Fault(method="PUT", status="503 Service Unavailable", code="SlowDown", done=True)]
    store = at(service)
    store.put_new(KEY, b"one")
    assert store.get(KEY) == b"one"
    assert [line.split()[0] for line in service.app.seen].count("PUT") == 2
    service.app.faults = [Fault(method="PUT", status="503 Service Unavailable", code="SlowDown", done=True)]
    with pytest.raises(Conflict):
        store.put_new(KEY, b"two")


def test_a_busy_key_is_asked_for_again(service: Buckets) -> None:
    service.app.faults = [Fault(method="PUT", status="409 Conflict", code="ConditionalRequestConflict")]
    store = at(service)
    store.put_new(KEY, b"one")
    assert store.get(KEY) == b"one"


def test_a_key_that_stays_busy_is_told(service: Buckets) -> None:
    busy = Fault(method="PUT", status="409 Conflict", code="ConditionalRequestConflict")
    service.app.faults = [busy] * objects.PUT_ATTEMPTS
    with pytest.raises(OSError, match="HTTP 409 ConditionalRequestConflict"):
        at(service).put_new(KEY, b"one")
    assert service.names() == []


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT"])
def test_a_service_that_is_down_is_asked_a_few_times_and_then_told(service: Buckets, method: str) -> None:
    store = at(service)
    service.app.faults = [Fault(method=method, status="503 Service Unavailable", code="SlowDown")] * 50
    with pytest.raises(OSError, match="HTTP 503") as caught:
        ask(store, method)
    assert caught.value.filename == f"{service.location}/{KEY}"
    assert len(service.app.seen) == 1 + objects.RETRIES


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT"])
def test_what_is_forbidden_is_told_with_the_rights_that_lack(service: Buckets, method: str) -> None:
    store = at(service)
    service.app.faults = [Fault(method=method, status="403 Forbidden", code="AccessDenied")]
    with pytest.raises(AuthenticationError, match="HTTP 403") as caught:
        ask(store, method)
    assert BUCKET in str(caught.value.fix)
    assert len(service.app.seen) == 1


def test_a_bucket_that_is_not_there_is_told_and_never_looks_empty(service: Buckets) -> None:
    store = open_objects(f"{service.scheme}://no-such-bucket/ci")
    for action in (
        lambda: store.put_new(KEY, b"1"),
        lambda: store.get(KEY),
        lambda: store.exists(KEY),
        store.list,
    ):
        with pytest.raises(ConfigurationError, match='no bucket "no-such-bucket"') as caught:
            action()
        assert f"{service.scheme}://no-such-bucket" in str(caught.value.fix)


def test_whether_the_bucket_is_there_is_asked_once(service: Buckets) -> None:
    store = at(service)
    assert not store.exists(KEY)
    assert not store.exists(KEY)
    assert [line.split()[0] for line in service.app.seen] == ["HEAD", "GET", "HEAD"]


def test_nobody_at_the_address(s3_account: None, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"http://127.0.0.1:{closed.getsockname()[1]}")
        store = open_objects("s3://bucket")
        for action in (lambda: store.put_new(KEY, b"1"), lambda: store.get(KEY), store.list):
            with pytest.raises(OSError, match="S3: no connection"):
                action()


def test_a_service_that_never_answers_is_given_up(s3_account: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(objects, "ANSWER_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{silent.getsockname()[1]}")
        store = open_objects("s3://bucket")
        store._pause = 0.0
        with pytest.raises(OSError, match="S3: no answer in time"):
            store.put_new(KEY, b"1")
        with pytest.raises(OSError, match="S3: no answer in time"):
            store.get(KEY)


def test_a_signal_is_heard_while_the_service_is_silent(
    s3_account: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    class HeardError(Exception):
        pass

    def hear(*_args: object) -> None:
        raise HeardError

    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{silent.getsockname()[1]}")
        monkeypatch.setattr(objects, "ANSWER_SECONDS", 20)
        store = open_objects("s3://bucket")
        before = signal.signal(signal.SIGALRM, hear)
        start = time.monotonic()
        try:
            signal.setitimer(signal.ITIMER_REAL, 0.2)
            with pytest.raises(HeardError):
                store.get(KEY)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
    assert time.monotonic() - start < 10


def test_no_credentials_for_s3(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*objects.CREDENTIALS_OF_AWS, "AWS_PROFILE", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        monkeypatch.setenv("AWS_METADATA_ENDPOINT", f"http://127.0.0.1:{closed.getsockname()[1]}")
        store = open_objects("s3://bucket")
        for action in (lambda: store.put_new(KEY, b"1"), lambda: store.get(KEY), store.list):
            with pytest.raises(AuthenticationError, match="no credentials for S3") as caught:
                action()
            assert "AWS_ACCESS_KEY_ID" in str(caught.value.fix)


def test_a_profile_of_aws_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".aws").mkdir()
    (tmp_path / ".aws" / "credentials").write_text(
        "[team]\naws_access_key_id = AKIATEAM\naws_secret_access_key = x\n"
    )
    for name in ACCOUNT:
        monkeypatch.delenv(name, raising=False)
    with Buckets("s3") as service:
        monkeypatch.setenv("HOME", str(tmp_path))
        monkeypatch.setenv("AWS_ENDPOINT_URL", service.url)
        monkeypatch.setenv("AWS_PROFILE", "team")
        at(service).put_new(KEY, b"1")
        assert service.names() == [f"ci/results/{KEY}"]
        monkeypatch.setenv("AWS_PROFILE", "nobody")
        with pytest.raises(AuthenticationError, match="credentials for S3 cannot be used"):
            open_objects(service.location)


@pytest.mark.parametrize(
    ("document", "why"),
    [
        (None, "No such file"),
        ("{", "cannot be used"),
        ("[]", "that is no account"),
        ('{"type": "external_account"}', "cannot be used"),
        ('{"type": "service_account"}', "cannot be used"),
    ],
)
def test_a_file_of_google_that_is_no_account(
    document: str | None, why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "account.json"
    if document is not None:
        file.write_text(document)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("STORAGE_EMULATOR_HOST", raising=False)
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(file))
    with pytest.raises(AuthenticationError, match=why) as caught:
        open_objects("gs://bucket")
    assert "GOOGLE_" in str(caught.value.fix)


def test_a_workflow_without_keys_gets_its_token_from_google(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[bytes] = []

    def exchange(environ: dict[str, Any], start: Any) -> list[bytes]:
        asked.append(environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"])))
        start("200 OK", [("Content-Type", "application/json")])
        return [b'{"access_token": "ours-for-an-hour", "expires_in": 3600, "token_type": "Bearer"}']

    (tmp_path / "identity").write_text("token-of-the-workflow")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("STORAGE_EMULATOR_HOST", raising=False)
    file = tmp_path / "account.json"
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(file))
    with serve(exchange) as url:
        account = {
            "type": "external_account",
            "audience": "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/p/providers/q",
            "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
            "token_url": f"{url}/v1/token",
            "credential_source": {"file": str(tmp_path / "identity")},
        }
        file.write_text(json.dumps(account))
        assert open_objects("gs://bucket/ci").location.prefix == "ci"
        assert objects._google_credentials(account)()["token"] == "ours-for-an-hour"
    assert b"token-of-the-workflow" in asked[0]


def test_a_token_that_is_not_to_be_had_is_told_when_it_is_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    account = {
        "type": "external_account",
        "audience": "a",
        "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
        "token_url": "http://127.0.0.1:1/token",
        "credential_source": {"file": str(tmp_path / "none")},
    }
    (tmp_path / "account.json").write_text(json.dumps(account))
    monkeypatch.delenv("STORAGE_EMULATOR_HOST", raising=False)
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "account.json"))
    store = open_objects("gs://bucket/ci")
    for action in (lambda: store.put_new(KEY, b"1"), lambda: store.get(KEY), store.list):
        with pytest.raises(AuthenticationError, match="no credentials for Google Cloud Storage") as caught:
            action()
        assert "google-github-actions/auth" in str(caught.value.fix)


@pytest.mark.parametrize(
    ("location", "module", "extra"),
    [("s3://bucket", "obstore.auth.boto3", "aws"), ("gs://bucket", "obstore.auth.google", "gcp")],
)
def test_credentials_that_need_another_library_name_its_extra(
    location: str, module: str, extra: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in (*objects.CREDENTIALS_OF_AWS, "STORAGE_EMULATOR_HOST"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "account.json").write_text('{"type": "external_account"}')
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_PROFILE", "team")
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "account.json"))
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ConfigurationError, match=r"a library for .* is missing") as caught:
        open_objects(location)
    assert f"ci-runner[{extra}]" in str(caught.value.fix)


def make(service: Buckets, path: Path) -> tuple[Project, dict[str, Any]]:
    """A project and the environment in which its history is in the bucket."""
    project = make_project(path, {"tests/test_a.py": GREEN}, configuration=UNIT)
    return project, {**service.environ, "CI_RUNNER_STORES__HISTORY": service.location}


def test_a_run_leaves_its_record_in_the_bucket_and_history_shows_it(service: Buckets, tmp_path: Path) -> None:
    project, environ = make(service, tmp_path)
    ended = project.ci("run", "--upload-results", **environ)
    assert ended.code == 0, ended
    record = project.load("record.json")
    names = [name for name in service.names() if name.startswith("ci/results/daily/")]
    assert [record["run_id"] in name for name in names if name.endswith(".json")] == [True]
    assert not (project.root / ".ci-runner" / "results").exists()
    listed = project.ci("history", "list", **environ)
    assert listed.code == 0, listed
    assert "unit" in listed.out
    assert "1 passed" in listed.out
    named = project.ci("history", "list", "--store", service.location, "--format", "json", **service.environ)
    assert record["run_id"] in named.out, named
    shown = project.ci("history", "show", record["run_id"], **environ)
    assert shown.code == 0, shown
    assert record["commit"] in shown.out


def test_a_history_that_is_down_takes_no_verdict_away(service: Buckets, tmp_path: Path) -> None:
    project, environ = make(service, tmp_path)
    service.app.faults = [Fault(method=method, status="503 Down") for method in ("GET", "PUT") * 100]
    ended = project.ci("run", **environ)
    assert ended.code == 0, ended
    assert "the record in the history could not be written" in ended.out + ended.err
    assert "HTTP 503" in ended.out + ended.err
    listed = project.ci("history", "list", **environ)
    assert listed.code == 9, listed
    assert "the history cannot be read" in listed.err
    assert "Traceback" not in listed.err


def test_a_bucket_that_is_not_there_takes_no_verdict_away(service: Buckets, tmp_path: Path) -> None:
    project, environ = make(service, tmp_path)
    environ["CI_RUNNER_STORES__HISTORY"] = f"{service.scheme}://no-such-bucket"
    ended = project.ci("run", **environ)
    assert ended.code == 0, ended
    assert 'no bucket "no-such-bucket"' in ended.out + ended.err
    listed = project.ci("history", "list", **environ)
    assert listed.code == 2, listed
    assert "fix: make it (" in listed.err


def test_an_upload_that_cannot_work_is_refused_before_anything_runs(tmp_path: Path) -> None:
    project = make_project(tmp_path, {"tests/test_a.py": GREEN}, configuration=UNIT)
    wrong = project.ci("run", "--upload-results", CI_RUNNER_STORES__HISTORY="s3://UPPER")
    assert wrong.code == 2, wrong
    assert "write s3://BUCKET/PREFIX" in wrong.err
    away = {"CI_RUNNER_STORES__HISTORY": "gs://bucket", "GOOGLE_APPLICATION_CREDENTIALS": "/none.json"}
    unknown = project.ci("run", "--upload-results", cwd=None, **away)
    assert unknown.code == 5, unknown
    assert "credentials for Google Cloud Storage cannot be used" in unknown.err
    assert not (project.root / ".ci-runner" / "runs").exists()
