"""One question to GitHub with the standard library alone: asked once, by commands that must begin without its library."""

from __future__ import annotations

import http.client
import json
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from ci_runner.errors import GitHubError
from ci_runner.github.address import api_of, token_of
from ci_runner.github.commands import one_line
from ci_runner.web import staying_opener

SECONDS = 10.0
MOST_BYTES = 16 << 20


def ask_once(environ: Mapping[str, str], query: str, variables: Mapping[str, Any]) -> dict[str, Any]:
    """The data that a GraphQL query gives. Raises a CiRunnerError for anything else; nothing is tried twice."""
    address = _graphql(api_of(environ))
    request = urllib.request.Request(  # noqa: S310 - its scheme has been checked
        address,
        data=json.dumps({"query": query, "variables": dict(variables)}).encode(),
        headers={
            "Authorization": f"Bearer {token_of(environ)}",
            "Content-Type": "application/json",
            "User-Agent": "ci-runner",
        },
    )
    try:
        with staying_opener(address).open(request, timeout=SECONDS) as answer:
            body = answer.read(MOST_BYTES + 1)
    except urllib.error.HTTPError as error:
        with error:
            raise GitHubError(f"GitHub answers with HTTP {error.code}", where=address) from error
    except (OSError, http.client.HTTPException, ValueError) as error:
        reason = error.reason if isinstance(error, urllib.error.URLError) else error
        text = one_line(str(reason) or type(reason).__name__, 120)
        raise GitHubError(f"GitHub gives no answer: {text}", where=address) from error
    return _data(body, address)


def _data(body: bytes, address: str) -> dict[str, Any]:
    try:
        answer = json.loads(body) if len(body) <= MOST_BYTES else None
    except (ValueError, RecursionError):
        answer = None
    if not isinstance(answer, dict):
        raise GitHubError("GitHub's answer cannot be read", where=address)
    if answer.get("errors") or not isinstance(answer.get("data"), dict):
        errors = answer.get("errors")
        first = errors[0] if isinstance(errors, list) and errors else None
        said = first.get("message") if isinstance(first, dict) else "there is no data in the answer"
        raise GitHubError(f"GitHub answers: {one_line(str(said), 120)}", where=address)
    return dict(answer["data"])


def _graphql(api: str) -> str:
    """The address for queries that belongs to an API: GitHub's own, and that of an Enterprise Server."""
    parts = urlsplit(api)
    path = parts.path.rstrip("/")
    place = path.removesuffix("/v3") + "/graphql" if path.endswith("/api/v3") else f"{path}/graphql"
    return parts._replace(path=place).geturl()
