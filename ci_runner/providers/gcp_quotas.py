"""Asks the Cloud Quotas API for the limits of TPUs, which the TPU API does not tell."""

from __future__ import annotations

import importlib
import re
import shlex
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from ci_runner.errors import AuthenticationError, CiRunnerError
from ci_runner.providers.gcp_failures import UNKNOWN, error_of, failure_of
from ci_runner.providers.tpu_quotas import UnreadableError

if TYPE_CHECKING:
    from ci_runner.providers.gcp_client import Tpus

ENDPOINT = "CLOUDSDK_API_ENDPOINT_OVERRIDES_CLOUDQUOTAS"
ADDRESS = "https://cloudquotas.googleapis.com"
SERVICE = "tpu.googleapis.com"
METHOD = "list_quota_infos"
PAGE = 200
MOST_PAGES = 50  # there are some hundred quotas; an answer that never ends is none

_DISABLED = re.compile(r"has not been used in project|it is disabled|SERVICE_DISABLED", re.IGNORECASE)
_NO_QUOTA_PROJECT = re.compile(r"requires a quota project|quota project, which is not set", re.IGNORECASE)


def quota_infos(tpus: Tpus, project: str) -> list[Mapping[str, Any]] | None:
    """Every quota of TPUs as Google tells it, each an object; None if this TPU API is not Google's.

    Raises AuthenticationError, ProviderError or ConfigurationError.
    """
    reached = tpus.session(ENDPOINT, ADDRESS)
    if reached is None:
        return None
    session, address = reached
    parent = f"projects/{quote(project, safe='')}/locations/global/services/{SERVICE}"
    with session:
        return list(_pages(tpus, session, f"{address}/v1/{parent}/quotaInfos"))


def _pages(tpus: Tpus, session: Any, url: str) -> Iterator[Mapping[str, Any]]:
    values = {"pageSize": str(PAGE)}
    for _ in range(MOST_PAGES):
        infos, token = tpus.tried(lambda: _page(session, url, dict(values), tpus.seconds), METHOD, SERVICE)
        yield from infos
        if not token:
            return
        values["pageToken"] = token
    raise error_of(failure_of(UNKNOWN, f"more than {MOST_PAGES} pages of quotas"), where=SERVICE)


def _page(
    session: Any, url: str, values: Mapping[str, str], seconds: float
) -> tuple[list[Mapping[str, Any]], str]:
    """One page, and the token of the next. Raises UnreadableError, and what Google's client raises."""
    exceptions: Any = importlib.import_module("google.api_core.exceptions")
    answer = session.get(url, params=values, timeout=seconds)
    if answer.status_code != 200:
        raise exceptions.from_http_response(answer)
    page = answer.json()
    if not isinstance(page, dict):
        raise UnreadableError("a page of quotas is no object")
    infos, token = page.get("quotaInfos", []), page.get("nextPageToken", "")
    if not isinstance(infos, list) or not all(isinstance(each, dict) for each in infos):
        raise UnreadableError("quotas are no list of objects")
    if not isinstance(token, str):
        raise UnreadableError("the token of a page is no text")
    return infos, token


def remedy(error: CiRunnerError, project: str) -> str | None:
    """What makes the limits readable, after an error."""
    name = shlex.quote(project)
    if _NO_QUOTA_PROJECT.search(error.what):
        return f"gcloud auth application-default set-quota-project {name}"
    if _DISABLED.search(error.what):
        return f"gcloud services enable cloudquotas.googleapis.com --project={name}"
    if isinstance(error, AuthenticationError) and "gcloud auth" not in (
        error.fix or ""
    ):  # known, and not allowed
        return (
            "allow cloudquotas.quotas.get, which the role roles/cloudquotas.viewer has; the set-up of"
            " ci-runner doctor --print-setup gcp brings it"
        )
    return error.fix
