"""Every error of EC2 becomes a failure with a kind and a scope, and a refusal says what to do."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ci_runner.errors import AuthenticationError
from ci_runner.providers.aws_failures import NO_CREDENTIALS, error_of, failure_of
from ci_runner.providers.failures import Failure, Kind, ProviderError, Scope

ZONAL = "Your requested instance type (g5.xlarge) is not supported in your requested Availability Zone (us-east-1e)."


@pytest.mark.parametrize(
    ("code", "text", "kind", "scope"),
    [
        ("InsufficientInstanceCapacity", "We currently do not have", Kind.STOCKOUT, Scope.OFFER),
        ("UnfulfillableCapacity", "Unable to fulfill capacity", Kind.STOCKOUT, Scope.OFFER),
        ("InsufficientCapacityOnHost", "", Kind.STOCKOUT, Scope.OFFER),
        ("Server.InsufficientInstanceCapacity", "", Kind.STOCKOUT, Scope.OFFER),
        ("Unsupported", ZONAL, Kind.STOCKOUT, Scope.OFFER),
        ("Unsupported", "The requested configuration is not supported.", Kind.CONFIGURATION, Scope.TYPE),
        ("SpotMaxPriceTooLow", "Your Spot request price of 0.01 is lower", Kind.STOCKOUT, Scope.OFFER),
        ("InsufficientFreeAddressesInSubnet", "", Kind.STOCKOUT, Scope.ZONE),
        ("VcpuLimitExceeded", "You have requested more vCPU capacity", Kind.QUOTA, Scope.POOL),
        ("MaxSpotInstanceCountExceeded", "", Kind.QUOTA, Scope.POOL),
        ("InstanceLimitExceeded", "", Kind.QUOTA, Scope.POOL),
        ("Client.VolumeLimitExceeded", "", Kind.QUOTA, Scope.REGION),
        ("SecurityGroupLimitExceeded", "", Kind.QUOTA, Scope.REGION),
        ("SomethingNewLimitExceeded", "", Kind.QUOTA, Scope.REGION),
        ("RequestLimitExceeded", "Request limit exceeded.", Kind.RATE, Scope.NOTHING),
        ("ThrottlingException", "Rate exceeded", Kind.RATE, Scope.NOTHING),
        ("UnauthorizedOperation", "You are not authorized", Kind.AUTH, Scope.PROVIDER),
        ("ExpiredToken", "The security token included in the request is expired", Kind.AUTH, Scope.PROVIDER),
        ("RequestExpired", "", Kind.AUTH, Scope.PROVIDER),
        ("InvalidInstanceType", "", Kind.CONFIGURATION, Scope.TYPE),
        ("InvalidAMIID.NotFound", "", Kind.CONFIGURATION, Scope.REGION),
        ("InvalidParameterValue", "", Kind.CONFIGURATION, Scope.OFFER),
        ("Server.SpotInstanceTermination", "", Kind.PREEMPTED, Scope.OFFER),
        ("Server.InternalError", "", Kind.UNKNOWN, Scope.NOTHING),
        ("Client.InternalError", "", Kind.CONFIGURATION, Scope.REGION),
        ("InternalError", "", Kind.UNKNOWN, Scope.NOTHING),
        ("NobodyHasSeenThis", "", Kind.UNKNOWN, Scope.NOTHING),
    ],
)
def test_a_code_has_a_kind_and_a_scope(code: str, text: str, kind: Kind, scope: Scope) -> None:
    failure = failure_of(code, text, status=400)
    assert (failure.kind, failure.scope) == (kind, scope)
    assert failure.code == code.removeprefix("Server.").removeprefix("Client.")
    assert failure.text


@pytest.mark.parametrize(
    ("status", "kind"),
    [(429, Kind.RATE), (401, Kind.AUTH), (403, Kind.AUTH), (500, Kind.UNKNOWN), (503, Kind.UNKNOWN)],
)
def test_without_a_code_the_status_decides(status: int, kind: Kind) -> None:
    failure = failure_of(None, status=status)
    assert failure.kind is kind
    assert str(status) in failure.text


def test_the_text_is_one_line_and_short() -> None:
    assert failure_of("Unavailable", "one\n::error::two\r" + "x" * 9999).text.startswith(
        "one ::error::two xxx"
    )
    assert len(failure_of("Unavailable", "x" * 9999).text) <= 600


@pytest.mark.parametrize(
    ("code", "word"),
    [
        (NO_CREDENTIALS, "log in"),
        ("ExpiredToken", "anew"),
        ("SignatureDoesNotMatch", "clock"),
        ("InvalidClientTokenId", "keys exist"),
        ("OptInRequired", "enable the region"),
        ("UnauthorizedOperation", "allow ec2:CreateFleet"),
    ],
)
def test_a_refusal_is_an_authentication_error_with_a_fix(code: str, word: str) -> None:
    known = failure_of("AuthFailure", "no")
    failure = Failure(kind=known.kind, scope=known.scope, text="no", code=code)
    error = error_of(failure, what="ec2:CreateFleet")
    assert isinstance(error, AuthenticationError)
    assert error.exit_code == 5
    assert word in (error.fix or "")


def test_any_other_failure_keeps_its_value() -> None:
    failure = failure_of("VcpuLimitExceeded", "no more", retry_after=3.0)
    error = error_of(failure, what="ec2:CreateFleet", where="ec2:CreateFleet in us-east-1")
    assert isinstance(error, ProviderError)
    assert error.failure is failure
    assert error.where == "ec2:CreateFleet in us-east-1"


CODES = st.one_of(
    st.none(),
    st.text(max_size=40),
    st.from_regex(
        r"(Server\.|Client\.)?(Invalid|Insufficient|Unsupported|Spot)[A-Za-z.]{0,30}", fullmatch=True
    ),
)


@given(CODES, st.text(max_size=80), st.one_of(st.none(), st.integers(100, 599)))
def test_any_code_is_a_failure(code: str | None, text: str, status: int | None) -> None:
    failure = failure_of(code, text, status=status)
    assert failure.kind in Kind
    assert failure.scope in Scope
    assert failure.text
    assert "\n" not in failure.text
    assert (failure.kind is Kind.RATE) <= (failure.scope is Scope.NOTHING)
    assert isinstance(error_of(failure, what="ec2:X"), AuthenticationError) == (failure.kind is Kind.AUTH)
