"""The way to the Cloud Quotas API: pages, errors, identity, and what mends each of them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Self

import pytest
import requests

from ci_runner.errors import AuthenticationError, CiRunnerError, ConfigurationError
from ci_runner.providers import gcp_client, gcp_quotas
from ci_runner.providers.failures import ProviderError
from ci_runner.providers.gcp_client import TRIES, Tpus
from ci_runner.providers.gcp_quotas import ADDRESS, ENDPOINT, MOST_PAGES, quota_infos, remedy
from tests.packages import needed

auth_exceptions: Any = needed("google.auth.exceptions")
PROJECT = "octo-project"
URL = f"{ADDRESS}/v1/projects/{PROJECT}/locations/global/services/tpu.googleapis.com/quotaInfos"
DISABLED = (
    "Cloud Quotas API has not been used in project 123 before or it is disabled. Enable it by visiting"
    " https://console.developers.google.com/apis/api/cloudquotas.googleapis.com/overview?project=123 then retry."
)
NO_QUOTA_PROJECT = (
    "Your application is authenticating by using local Application Default Credentials. The"
    " cloudquotas.googleapis.com API requires a quota project, which is not set by default."
)
DENIED = "Permission 'cloudquotas.quotas.get' denied on resource '//cloudquotas.googleapis.com/projects/octo-project'"


def answered(body: Any, status: int = 200) -> requests.Response:
    response = requests.Response()
    response.status_code = status
    response._content = body if isinstance(body, bytes) else json.dumps(body).encode()
    response.request = requests.Request("GET", URL).prepare()
    return response


def refused(status: int, message: str) -> requests.Response:
    return answered({"error": {"code": status, "message": message, "status": "X"}}, status)


class Session:
    """Answers from a list, the last one for ever; it keeps what was asked."""

    def __init__(self, *answers: requests.Response | Exception) -> None:
        self.answers = list(answers)
        self.asked: list[tuple[str, Mapping[str, str], float]] = []
        self.closed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.closed = True

    def get(self, url: str, *, params: Mapping[str, str], timeout: float) -> requests.Response:
        self.asked.append((url, params, timeout))
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


def connected(monkeypatch: pytest.MonkeyPatch, session: Session) -> Tpus:
    monkeypatch.setattr(Tpus, "session", lambda _self, _override, usual: (session, usual))
    return Tpus({}, sleep=lambda _seconds: None, call_seconds=7.0)


def test_all_pages_are_read_with_a_time_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    session = Session(
        answered({"quotaInfos": [{"quotaId": "a"}], "nextPageToken": "more&"}),
        answered({"nextPageToken": "last"}),
        answered({"quotaInfos": [{"quotaId": "b"}]}),
    )
    assert quota_infos(connected(monkeypatch, session), PROJECT) == [{"quotaId": "a"}, {"quotaId": "b"}]
    assert [(url, timeout) for url, _, timeout in session.asked] == [(URL, 7.0)] * 3
    assert [values.get("pageToken") for _, values, _ in session.asked] == [None, "more&", "last"]
    assert session.closed


def test_a_project_cannot_lead_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    session = Session(answered({}))
    assert quota_infos(connected(monkeypatch, session), "a/../b?c#d") == []
    assert session.asked[0][0] == URL.replace(PROJECT, "a%2F..%2Fb%3Fc%23d")


def test_a_listing_that_never_ends_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    session = Session(answered({"nextPageToken": "again"}))
    with pytest.raises(ProviderError, match="pages of quotas"):
        quota_infos(connected(monkeypatch, session), PROJECT)
    assert len(session.asked) == MOST_PAGES


@pytest.mark.parametrize(
    "body",
    [b'{"quotaInfos": [', b"<html>", [], {"quotaInfos": {}}, {"quotaInfos": [1]}, {"nextPageToken": 3}],
)
def test_an_answer_that_is_none_is_asked_for_again_and_then_told(
    monkeypatch: pytest.MonkeyPatch, body: Any
) -> None:
    session = Session(answered(body))
    with pytest.raises(ProviderError):
        quota_infos(connected(monkeypatch, session), PROJECT)
    assert len(session.asked) == TRIES


def test_a_fault_of_the_server_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    session = Session(refused(500, "oops"), requests.ConnectionError("cut"), answered({"quotaInfos": [{}]}))
    assert quota_infos(connected(monkeypatch, session), PROJECT) == [{}]


@pytest.mark.parametrize(
    ("answer", "kind", "says", "fix"),
    [
        (
            refused(403, DENIED),
            AuthenticationError,
            "cloudquotas.quotas.get",
            "which the role roles/cloudquotas.viewer has",
        ),
        (
            refused(403, DISABLED),
            AuthenticationError,
            "has not been used",
            "gcloud services enable cloudquotas.googleapis.com --project=octo-project",
        ),
        (
            refused(403, NO_QUOTA_PROJECT),
            AuthenticationError,
            "quota project",
            "gcloud auth application-default set-quota-project octo-project",
        ),
        (
            refused(401, "invalid credentials"),
            AuthenticationError,
            "invalid",
            "gcloud auth application-default login",
        ),
        (
            auth_exceptions.RefreshError("expired"),
            AuthenticationError,
            "expired",
            "application-default login",
        ),
        (refused(404, "no such project"), ProviderError, "no such project", None),
    ],
)
def test_what_is_refused_says_what_is_lacking(
    monkeypatch: pytest.MonkeyPatch,
    answer: requests.Response | Exception,
    kind: type[CiRunnerError],
    says: str,
    fix: str | None,
) -> None:
    session = Session(answer)
    with pytest.raises(kind, match=says) as caught:
        quota_infos(connected(monkeypatch, session), PROJECT)
    assert "GET http" not in caught.value.what
    assert len(session.asked) == 1
    found = remedy(caught.value, PROJECT)
    assert found is None if fix is None else fix in str(found)


def test_a_name_in_a_command_is_quoted() -> None:
    assert remedy(AuthenticationError(DISABLED), "a b; rm") == (
        "gcloud services enable cloudquotas.googleapis.com --project='a b; rm'"
    )


# -- who we are there


def test_another_tpu_api_has_no_quotas_at_google() -> None:
    tpus = Tpus({gcp_client.ENDPOINT: "http://127.0.0.1:9"})
    assert quota_infos(tpus, PROJECT) is None


def test_an_address_of_its_own_is_asked_without_identity() -> None:
    found = Tpus({ENDPOINT: "http://127.0.0.1:9/"}).session(ENDPOINT, ADDRESS)
    assert found is not None
    session, address = found
    assert address == "http://127.0.0.1:9"
    assert type(session.credentials).__name__ == "AnonymousCredentials"
    session.close()


def test_google_is_asked_with_the_credentials_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    scopes: list[object] = []
    identity = object()
    monkeypatch.setattr("google.auth.default", lambda scopes: (identity, None))
    found = Tpus({}).session(ENDPOINT, ADDRESS)
    assert found is not None
    session, address = found
    assert (session.credentials, address, scopes) == (identity, ADDRESS, [])
    session.close()


def test_nobody_is_told_how_to_log_in(monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody(scopes: object) -> None:
        raise auth_exceptions.DefaultCredentialsError("none")

    monkeypatch.setattr("google.auth.default", nobody)
    with pytest.raises(AuthenticationError, match="does not know who we are") as caught:
        quota_infos(Tpus({}), PROJECT)
    assert "application-default login" in str(remedy(caught.value, PROJECT))


def test_what_is_no_address_is_told() -> None:
    with pytest.raises(ConfigurationError, match="no address") as caught:
        gcp_quotas.quota_infos(Tpus({ENDPOINT: "cloudquotas"}), PROJECT)
    assert caught.value.where == ENDPOINT
