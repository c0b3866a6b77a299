"""What EC2's errors mean: a code, a status and a message become one Failure that decides what is tried next."""

from __future__ import annotations

from collections.abc import Mapping

from ci_runner.errors import AuthenticationError, CiRunnerError
from ci_runner.providers.failures import Failure, Kind, ProviderError, Scope

MAX_TEXT = 600

# https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html, and the state reasons of instances
# (https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_StateReason.html), whose "Server." is left out here.
_GROUPS: Mapping[tuple[Kind, Scope], tuple[str, ...]] = {
    (Kind.STOCKOUT, Scope.OFFER): (
        "InsufficientInstanceCapacity",
        "InsufficientCapacity",
        "InsufficientCapacityOnHost",
        "InsufficientHostCapacity",
        "InsufficientReservedInstanceCapacity",
        "UnfulfillableCapacity",
        # nobody sells a spot machine at the price that is allowed: another zone may
        "SpotMaxPriceTooLow",
    ),
    (Kind.STOCKOUT, Scope.ZONE): ("InsufficientFreeAddressesInSubnet", "InsufficientAddressCapacity"),
    # a quota counts one family of types, spot or not, in one region
    (Kind.QUOTA, Scope.POOL): (
        "VcpuLimitExceeded",
        "MaxSpotInstanceCountExceeded",
        "InstanceLimitExceeded",
    ),
    (Kind.QUOTA, Scope.REGION): (
        "VolumeLimitExceeded",
        "SecurityGroupLimitExceeded",
        "RulesPerSecurityGroupLimitExceeded",
        "SecurityGroupsPerInstanceLimitExceeded",
        "NetworkInterfaceLimitExceeded",
        "AddressLimitExceeded",
        "LaunchTemplateLimitExceeded",
        "MaxSpotFleetRequestCountExceeded",
        "PendingVerification",
    ),
    (Kind.RATE, Scope.NOTHING): (
        "RequestLimitExceeded",
        "Throttling",
        "ThrottlingException",
        "ThrottledException",
        "RequestThrottled",
        "RequestThrottledException",
        "EC2ThrottledException",
        "TooManyRequestsException",
        "BandwidthLimitExceeded",
        "PriorRequestNotComplete",
        "SlowDown",
    ),
    (Kind.AUTH, Scope.PROVIDER): (
        "UnauthorizedOperation",
        "AuthFailure",
        "ExpiredToken",
        "ExpiredTokenException",
        "RequestExpired",
        "InvalidClientTokenId",
        "InvalidAccessKeyId",
        "InvalidSecurity",
        "SignatureDoesNotMatch",
        "IncompleteSignature",
        "InvalidSignatureException",
        "UnrecognizedClientException",
        "MissingAuthenticationToken",
        "AccessDenied",
        "AccessDeniedException",
        "OptInRequired",
        "Blocked",
    ),
    (Kind.CONFIGURATION, Scope.TYPE): ("InvalidInstanceType",),
    (Kind.CONFIGURATION, Scope.ZONE): (
        "InvalidAvailabilityZone",
        "InvalidSubnet",
        "InvalidSubnetID.NotFound",
        "DefaultSubnetDoesNotExist",
        "MissingInput",
    ),
    (Kind.CONFIGURATION, Scope.REGION): (
        "InvalidAMIID.NotFound",
        "InvalidAMIID.Unavailable",
        "InvalidGroup.NotFound",
        "InvalidVpcID.NotFound",
        "VPCIdNotSpecified",
        "DefaultVpcDoesNotExist",
        "ParameterNotFound",
        "KMSKeyNotAccessibleFault",
    ),
    (Kind.CONFIGURATION, Scope.PROVIDER): (
        "InvalidUserData.Malformed",
        "InvalidTagKey.Malformed",
        "TagLimitExceeded",
        "UnknownParameter",
        "MissingParameter",
        "ValidationError",
        "MalformedQueryString",
    ),
    (Kind.PREEMPTED, Scope.OFFER): (
        "SpotInstanceTermination",
        "SpotInstanceShutdown",
        "SpotInstanceInterruption",
    ),
    (Kind.UNKNOWN, Scope.NOTHING): (
        "InternalError",
        "InternalFailure",
        "Unavailable",
        "ServiceUnavailable",
        "RequestTimeout",
        "RequestTimeoutException",
    ),
}
_BY_CODE: Mapping[str, tuple[Kind, Scope]] = {
    code: group for group, codes in _GROUPS.items() for code in codes
}

SERVER_FAULTS = frozenset(_GROUPS[Kind.UNKNOWN, Scope.NOTHING])
EXPIRED = frozenset({"ExpiredToken", "ExpiredTokenException"})
_CLOCK = frozenset({"RequestExpired", "SignatureDoesNotMatch", "InvalidSignatureException"})
_UNKNOWN_KEYS = frozenset(
    {"InvalidClientTokenId", "InvalidAccessKeyId", "UnrecognizedClientException", "AuthFailure"}
)
DENIED = frozenset({"UnauthorizedOperation", "AccessDenied", "AccessDeniedException"})
NO_CREDENTIALS = "NoCredentials"


def failure_of(
    code: str | None, text: str = "", *, status: int | None = None, retry_after: float | None = None
) -> Failure:
    """What one error of EC2 amounts to; a code that nobody knows is judged by its form, then by the HTTP status."""
    plain = " ".join((code or "").split())[:100].removeprefix("Server.").removeprefix("Client.")
    kind, scope = _judge(plain, code or "", text, status)
    words = " ".join(text.split())[:MAX_TEXT] or plain or f"EC2 answered with HTTP status {status}"
    return Failure(kind=kind, scope=scope, text=words, code=plain or None, retry_after=retry_after)


def _judge(plain: str, whole: str, text: str, status: int | None) -> tuple[Kind, Scope]:
    if whole.startswith("Client.") and plain == "InternalError":
        # EC2's word for a volume that it may not decrypt
        # https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/troubleshooting-launch.html
        return Kind.CONFIGURATION, Scope.REGION
    if plain in _BY_CODE:
        return _BY_CODE[plain]
    if plain in ("Unsupported", "UnsupportedOperation"):
        zonal = "availability zone" in text.lower() or "capacity" in text.lower()
        return (Kind.STOCKOUT, Scope.OFFER) if zonal else (Kind.CONFIGURATION, Scope.TYPE)
    if plain.endswith("LimitExceeded"):
        return Kind.QUOTA, Scope.REGION
    if status == 429 or "throttl" in plain.lower():
        return Kind.RATE, Scope.NOTHING
    if status in (401, 403):
        return Kind.AUTH, Scope.PROVIDER
    if plain.startswith(("Invalid", "Missing", "Malformed")):
        return Kind.CONFIGURATION, Scope.OFFER
    return Kind.UNKNOWN, Scope.NOTHING


def error_of(failure: Failure, *, what: str, where: str | None = None) -> CiRunnerError:
    """The error to raise for a failed call; `what` names the call, such as `ec2:CreateFleet`."""
    if failure.kind is Kind.AUTH:
        return AuthenticationError(
            f"AWS refuses {what}: {failure.text}", where=where or failure.code, fix=auth_fix(failure, what)
        )
    return ProviderError(failure, where=where or what)


def auth_fix(failure: Failure, what: str) -> str:
    """What to do about a refusal, by its kind."""
    code = failure.code or ""
    if code == NO_CREDENTIALS:
        return "log in (aws sso login, aws configure), or let the workflow assume a role before this step"
    if code in EXPIRED:
        return (
            "log in again, or let the workflow assume its role anew (role-duration-seconds) before this step"
        )
    if code in _CLOCK:
        return "see that this machine's clock is right, and that the secret key belongs to the key id"
    if code in _UNKNOWN_KEYS:
        return "see that the keys exist, are active, and that the region is enabled for the account"
    if code == "OptInRequired":
        return "enable the region for the account, or name another one"
    return f"allow {what} in the policy of the role; ci-runner doctor --print-setup aws prints a whole one"
