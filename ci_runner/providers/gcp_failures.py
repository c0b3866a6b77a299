"""What Google's errors mean: a code and a message become one Failure that decides what is tried next. Pure.

RESOURCE_EXHAUSTED alone has three causes that only its message tells apart: no capacity, no quota, too many calls.
"""

from __future__ import annotations

import re

from ci_runner.errors import AuthenticationError, CiRunnerError
from ci_runner.github.commands import one_line
from ci_runner.providers.failures import Failure, Kind, ProviderError, Scope

MAX_TEXT = 600
# gRPC's numbers, as operations bear them, and the HTTP statuses of calls
INVALID, DEADLINE, NOT_FOUND, EXISTS, DENIED = "invalid", "deadline", "not-found", "exists", "denied"
EXHAUSTED, PRECONDITION, UNAVAILABLE, UNKNOWN, UNAUTHENTICATED = (
    "exhausted",
    "precondition",
    "unavailable",
    "unknown",
    "unauthenticated",
)
GRPC = {
    3: INVALID,
    4: DEADLINE,
    5: NOT_FOUND,
    6: EXISTS,
    7: DENIED,
    8: EXHAUSTED,
    9: PRECONDITION,
    14: UNAVAILABLE,
    16: UNAUTHENTICATED,
}
HTTP = {
    400: INVALID,
    401: UNAUTHENTICATED,
    403: DENIED,
    404: NOT_FOUND,
    408: DEADLINE,
    409: EXISTS,
    412: PRECONDITION,
    429: EXHAUSTED,
    503: UNAVAILABLE,
    504: DEADLINE,
}
_STOCKOUT = re.compile(
    r"no more capacity|insufficient (?:reserved )?capacity|not enough (?:resources|capacity)|stockout|"
    r"does not have enough resources|resources? (?:is|are) (?:currently )?unavailable",
    re.IGNORECASE,
)
_RATE = re.compile(
    r"per[ -](?:minute|second|100 seconds|user)|rate[ -]?limit|too many requests|maximum number of",
    re.IGNORECASE,
)
_QUOTA = re.compile(r"quota", re.IGNORECASE)
_IN_ZONE = re.compile(r"\bin zone\b|\bper zone\b", re.IGNORECASE)
_PREEMPTED = re.compile(r"state (?:PREEMPTED|TERMINATED)|was preempted", re.IGNORECASE)
_LOCATION = re.compile(r"location .* is not found or access is unauthorized", re.IGNORECASE)
_TYPE = re.compile(r"accelerator ?type|runtime ?version", re.IGNORECASE)


def failure_of(code: str, message: str, *, retry_after: float | None = None) -> Failure:
    """The Failure for one of the words above and what Google said."""
    kind, scope = _meaning(code, message)
    return Failure(
        kind=kind,
        scope=scope,
        text=one_line(message, MAX_TEXT) or code,
        code=code,
        retry_after=retry_after,
    )


def _meaning(code: str, message: str) -> tuple[Kind, Scope]:
    if _PREEMPTED.search(message):
        return Kind.PREEMPTED, Scope.OFFER
    if code in (EXHAUSTED, PRECONDITION, UNAVAILABLE, UNKNOWN) and _STOCKOUT.search(message):
        return Kind.STOCKOUT, Scope.OFFER
    if code == EXHAUSTED:
        if _RATE.search(message) or not _QUOTA.search(message):
            return Kind.RATE, Scope.NOTHING
        # a quota counts one generation, spot or not, in a zone or a region
        return Kind.QUOTA, Scope.OFFER if _IN_ZONE.search(message) else Scope.POOL
    if code == DENIED and _LOCATION.search(message):
        return Kind.CONFIGURATION, Scope.ZONE
    if code in (DENIED, UNAUTHENTICATED):
        return Kind.AUTH, Scope.PROVIDER
    if code in (INVALID, NOT_FOUND, PRECONDITION):
        return Kind.CONFIGURATION, Scope.OFFER if _TYPE.search(message) else Scope.ZONE
    if code == EXISTS:
        return Kind.CONFIGURATION, Scope.PROVIDER
    return Kind.UNKNOWN, Scope.NOTHING


def error_of(failure: Failure, *, where: str) -> CiRunnerError:
    """The error for a failure; identity stops everything, and says how to get one."""
    if failure.kind is Kind.AUTH:
        fix = (
            "log in: gcloud auth application-default login, or in a workflow google-github-actions/auth"
            if failure.code == UNAUTHENTICATED
            else "ci-runner doctor says who we are there, and which permission is missing"
        )
        return AuthenticationError(failure.text, where=where, fix=fix)
    return ProviderError(failure, where=where, fix=_fix(failure))


def _fix(failure: Failure) -> str | None:
    if failure.kind is Kind.QUOTA:
        return "ask for more: https://console.cloud.google.com/iam-admin/quotas, service tpu.googleapis.com"
    if failure.kind is Kind.STOCKOUT:
        return "name more zones, or allow both spot and on-demand machines"
    return None
