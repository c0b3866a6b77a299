"""GitHub's API for one repository, over PyGithub: paced, retried only where that is safe, and errors that say what to do."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import requests
from github import Auth, Github, GithubException, GithubRetry
from github.GithubException import RateLimitExceededException
from urllib3.exceptions import HTTPError, MaxRetryError, NewConnectionError

from ci_runner.errors import AuthenticationError, GitHubError
from ci_runner.github.address import api_of, repository_of, token_of
from ci_runner.github.commands import one_line

WRITE_SECONDS = 1.0  # GitHub asks for a second between two writes
WAIT_SECONDS = 120.0  # longer than this no report waits for a limit to pass
TIMEOUT_SECONDS = 30
RETRIES = 5
PAGE = 100
MOST_PAGES = 100
NEXT = re.compile(r'<([^>]+)>;\s*rel="next"')


class Absent(GitHubError):  # noqa: N818 - it is what happened
    """There is nothing (any more), or this token may not see it."""


class Unacceptable(GitHubError):  # noqa: N818 - it is what happened
    """GitHub understood the request and does not do it (422); `codes` are its words for why."""

    def __init__(self, what: str, *, codes: tuple[str, ...] = (), fix: str | None = None) -> None:
        super().__init__(what, fix=fix)
        self.codes = codes


class Uncertain(GitHubError):  # noqa: N818 - it is what happened
    """No answer came to a request that may have been done."""


class _Retry(GithubRetry):
    """Waits for limits to pass, and repeats what reads; what makes something is repeated only if it was refused."""

    def increment(
        self,
        method: str | None = None,
        url: str | None = None,
        response: Any = None,
        error: Any = None,
        _pool: Any = None,
        _stacktrace: Any = None,
    ) -> Any:
        """The next try, or the end of trying."""
        made = not _may_repeat(method or "", url or "")
        if made and response is not None and response.status >= 500:
            raise GithubException(
                response.status, {"message": "it may have been done"}, dict(response.headers)
            )
        if made and error is not None and not isinstance(error, NewConnectionError):
            raise error
        return super().increment(method, url, response, error, _pool, _stacktrace)


def _may_repeat(method: str, url: str) -> bool:
    """Whether doing a request twice is doing it once; a PATCH of a check run adds its annotations each time."""
    if url.endswith("/graphql"):
        return True  # we ask who we are, and fold comments away
    return method != "POST" and not (method == "PATCH" and "/check-runs/" in url)


@dataclass(slots=True)
class Client:
    """Says requests about one repository; every error that it raises is a CiRunnerError."""

    github: Github
    repository: str
    calls: int = 0
    _pages: dict[str, tuple[str, Any, str]] = field(default_factory=dict)  # address → (ETag, body, next)
    _login: str = ""

    def get(self, path: str, **parameters: str | int) -> Any:
        """One object. Raises Absent."""
        return self._said("GET", self._address(path), parameters)[1]

    def pages(self, path: str, **parameters: str | int) -> Iterator[Any]:
        """The entries of a list over all its pages; pages that have not changed since they were read cost nothing."""
        address, query = self._address(path), {"per_page": PAGE, **parameters}
        for _ in range(MOST_PAGES):
            body, following = self._page(address, query)
            yield from (
                body
                if isinstance(body, list)
                else next(iter(v for v in body.values() if isinstance(v, list)))
            )
            if not following:
                return
            parts = urlsplit(following)
            address, query = parts.path, dict(parse_qsl(parts.query))

    def send(self, verb: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """Change something: POST, PATCH or DELETE. Raises Absent, Unacceptable, Uncertain."""
        return self._said(verb, self._address(path), {}, body)[1]

    def login(self) -> str:
        """The name under which this token writes."""
        if not self._login:
            data = self.ask("query { viewer { login } }", {})
            self._login = str(data["viewer"]["login"])
        return self._login

    def ask(self, query: str, variables: Mapping[str, Any]) -> Any:
        """The data of a GraphQL query, for the few things that REST has not."""
        body = {"query": query, "variables": dict(variables)}
        answer = self._said("POST", self.github.requester.graphql_url, {}, body)[1]
        if answer.get("errors"):
            first = answer["errors"][0]
            if first.get("type") == "NOT_FOUND":
                raise Absent(one_line(str(first.get("message")), 200))
            raise Unacceptable(f"GitHub answers: {one_line(str(first.get('message')), 200)}")
        return answer["data"]

    def _address(self, path: str) -> str:
        return f"/repos/{self.repository}/{path}".rstrip("/")

    def _page(self, address: str, query: Mapping[str, Any]) -> tuple[Any, str]:
        key = f"{address}?{sorted(query.items())}"
        known = self._pages.get(key)
        headers = {"If-None-Match": known[0]} if known else {}
        response, body = self._said("GET", address, query, headers=headers)
        if known and body is _UNCHANGED:
            return known[1], known[2]
        match = NEXT.search(response.get("link", ""))
        following = match[1] if match else ""
        if response.get("etag"):
            self._pages[key] = (response["etag"], body, following)
        return body, following

    def _said(
        self,
        verb: str,
        address: str,
        parameters: Mapping[str, Any],
        body: Mapping[str, Any] | None = None,
        *,
        headers: Mapping[str, str] | None = None,
    ) -> tuple[dict[str, str], Any]:
        self.calls += 1
        what = f"{verb} {address}"
        requester = self.github.requester
        try:
            status, response, text = requester.requestJson(
                verb, address, dict(parameters), dict(headers or {}), None if body is None else dict(body)
            )
        except GithubException as error:
            status, response, text = error.status, dict(error.headers or {}), json.dumps(error.data or {})
            if isinstance(error, RateLimitExceededException):
                status = 429
        except (requests.RequestException, HTTPError, RuntimeError) as error:
            raise _unheard(error, what, verb) from error
        if status == 304:
            return response, _UNCHANGED
        try:
            value = json.loads(text) if text else None
        except ValueError:
            value, status = {"message": "the answer is no JSON"}, status if status >= 400 else 502
        if status >= 300:
            raise _error(status, value if isinstance(value, dict) else {}, what)
        return response, value


_UNCHANGED = object()


def connect(environ: Mapping[str, str], repository: str | None = None, *, token: str | None = None) -> Client:
    """A client for the repository of this job, or another. Raises ConfigurationError and AuthenticationError."""
    name, secret = repository_of(environ, repository), token_of(environ, token)
    retry = _Retry(
        total=RETRIES,
        backoff_factor=0.5,
        backoff_jitter=0.5,
        status_forcelist=[429, *range(500, 600)],
        allowed_methods=frozenset(("GET", "POST", "PATCH", "DELETE")),
        retry_after_max=int(WAIT_SECONDS),
        max_rate_limit_wait=WAIT_SECONDS,
        secondary_rate_wait=WAIT_SECONDS / 2,
        raise_on_status=False,
    )
    github = Github(
        auth=Auth.Token(secret),
        base_url=api_of(environ),
        user_agent="ci-runner",
        timeout=TIMEOUT_SECONDS,
        retry=retry,
        seconds_between_requests=None,
        seconds_between_writes=WRITE_SECONDS,
        lazy=True,
    )
    return Client(github, name)


def _unheard(error: Exception, what: str, verb: str) -> GitHubError:
    """What to say of a request without an answer."""
    cause = next((each for each in _chain(error) if isinstance(each, NewConnectionError)), None)
    if cause is not None or isinstance(error, requests.exceptions.ConnectTimeout):
        return GitHubError(
            "GitHub cannot be reached",
            where=what,
            fix="look at the network and at GITHUB_API_URL, and run this again",
        )
    if not _may_repeat(verb, what):
        return Uncertain("no answer came from GitHub, so it is not known whether this was done", where=what)
    text = one_line(f"{type(error).__name__}: {error}", 160)
    return GitHubError(f"no answer came from GitHub: {text}", where=what, fix="run this again")


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    seen = 0
    while error is not None and seen < 10:
        yield error
        for inner in (*error.args, getattr(error, "reason", None)):
            if isinstance(inner, MaxRetryError) and inner.reason is not None:
                yield inner.reason
            elif isinstance(inner, BaseException):
                yield inner
        error, seen = error.__cause__ or error.__context__, seen + 1


def _error(status: int, body: Mapping[str, Any], what: str) -> GitHubError | AuthenticationError:
    """The error that a refusal stands for."""
    said = one_line(str(body.get("message") or f"HTTP {status}"), 200)
    if status in (404, 410):
        return Absent(f"GitHub knows nothing there: {said}", where=what)
    if status == 422:
        errors = [each for each in body.get("errors") or [] if isinstance(each, Mapping)]
        codes = tuple(
            f"{each.get('field', '')}:{each.get('code', '')}:{each.get('message', '')}" for each in errors
        )
        more = "; ".join(
            one_line(str(each.get("message") or each.get("code") or ""), 120) for each in errors[:3]
        )
        return Unacceptable(
            f"GitHub does not accept this: {said}" + (f" ({more})" if more else ""), codes=codes
        )
    if status == 401:
        return AuthenticationError(
            f"GitHub does not know the token: {said}", where=what, fix="pass a token that has not expired"
        )
    if status == 429 or "rate limit" in said.lower():
        return GitHubError(
            f"GitHub's limit on requests is reached: {said}",
            where=what,
            fix="wait until it is over, or give this job a token of its own",
        )
    if status == 403:
        return AuthenticationError(
            f"GitHub does not allow this: {said}", where=what, fix=_permission_fix(what, said)
        )
    if status >= 500 and not _may_repeat(what.partition(" ")[0], what):
        return Uncertain(f"GitHub failed with {status}, so it is not known whether this was done", where=what)
    return GitHubError(f"GitHub failed with {status}: {said}", where=what, fix="run this again")


def _permission_fix(what: str, said: str) -> str:
    if "locked" in said:
        return "unlock the conversation, or leave the comment out"
    needed = (
        "checks: write"
        if "/check-runs" in what
        else "contents: write"
        if "/git/" in what
        else "pull-requests: write"
        if "/comments" in what
        else "pull-requests: read"
        if "/pulls" in what
        else "issues: write"
    )
    return (
        f"give the job `permissions: {needed}`; a pull request from a fork has a token that only reads, "
        "and its report is published by a workflow_run job (docs/how-to/forks.md)"
    )
