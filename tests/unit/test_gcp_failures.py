"""Google's errors, in Google's words: each has its kind and its next step."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ci_runner.errors import AuthenticationError
from ci_runner.providers import gcp_failures as gcp
from ci_runner.providers.failures import Kind, ProviderError, Scope
from ci_runner.providers.gcp_failures import error_of, failure_of

ZONE = 'in the zone "us-central1-b"'
SAID = [
    (
        gcp.EXHAUSTED,
        f"There is no more capacity {ZONE}; you can try in another zone",
        Kind.STOCKOUT,
        Scope.OFFER,
    ),
    (gcp.EXHAUSTED, f"Insufficient reserved capacity {ZONE}", Kind.STOCKOUT, Scope.OFFER),
    (
        gcp.PRECONDITION,
        "Insufficient reserved capacity. Contact customer support",
        Kind.STOCKOUT,
        Scope.OFFER,
    ),
    (
        gcp.EXHAUSTED,
        "Quota limit 'TPUV6EPerProjectPerRegion' has been exceeded. Limit: 0 in region us-east5.",
        Kind.QUOTA,
        Scope.POOL,
    ),
    (
        gcp.EXHAUSTED,
        "Quota limit 'TPUV5sLitepodServingPerProjectPerZone' has been exceeded. Limit: 4 in zone us-west4-a.",
        Kind.QUOTA,
        Scope.OFFER,
    ),
    (
        gcp.EXHAUSTED,
        "Quota exceeded for quota metric 'Create requests' and limit 'Maximum number of CreateNode requests per minute'",
        Kind.RATE,
        Scope.NOTHING,
    ),
    (gcp.EXHAUSTED, "Resource has been exhausted", Kind.RATE, Scope.NOTHING),
    (
        gcp.INVALID,
        "Cloud TPU received a bad request. failed while in state PREEMPTED",
        Kind.PREEMPTED,
        Scope.OFFER,
    ),
    (
        gcp.DENIED,
        "Location us-east9-z is not found or access is unauthorized.",
        Kind.CONFIGURATION,
        Scope.ZONE,
    ),
    (gcp.DENIED, "Permission 'tpu.nodes.create' denied on 'projects/p'", Kind.AUTH, Scope.PROVIDER),
    (gcp.UNAUTHENTICATED, "Request had invalid authentication credentials", Kind.AUTH, Scope.PROVIDER),
    (gcp.INVALID, "Accelerator type not found: v6e-3", Kind.CONFIGURATION, Scope.OFFER),
    (gcp.NOT_FOUND, "The network 'x' was not found", Kind.CONFIGURATION, Scope.ZONE),
    (gcp.UNAVAILABLE, "The service is currently unavailable", Kind.UNKNOWN, Scope.NOTHING),
    (gcp.UNKNOWN, "Internal error", Kind.UNKNOWN, Scope.NOTHING),
]


@pytest.mark.parametrize(("code", "message", "kind", "scope"), SAID)
def test_what_google_says_has_a_meaning(code: str, message: str, kind: Kind, scope: Scope) -> None:
    found = failure_of(code, message)
    assert (found.kind, found.scope, found.text) == (kind, scope, message)


@given(st.sampled_from([*gcp.GRPC.values(), gcp.UNKNOWN]), st.text(max_size=2_000))
def test_whatever_is_said_is_a_failure_of_one_line(code: str, message: str) -> None:
    found = failure_of(code, message)
    assert found.text
    assert len(found.text) <= gcp.MAX_TEXT
    assert "\n" not in found.text


def test_identity_stops_and_says_how_to_get_one() -> None:
    error = error_of(failure_of(gcp.UNAUTHENTICATED, "no"), where="tpu")
    assert isinstance(error, AuthenticationError)
    assert "gcloud auth application-default login" in str(error.fix)
    denied = error_of(failure_of(gcp.DENIED, "Permission denied"), where="tpu")
    assert "doctor" in str(denied.fix)


def test_other_failures_decide_what_comes_next() -> None:
    error = error_of(failure_of(gcp.EXHAUSTED, SAID[3][1]), where="tpu")
    assert isinstance(error, ProviderError)
    assert error.failure.kind is Kind.QUOTA
    assert "quotas" in str(error.fix)
