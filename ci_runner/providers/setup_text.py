"""What an administrator runs once so that a repository may lease machines: a template for AWS, a script for Google Cloud.

Every value that comes from outside is held to a pattern first, so that nothing in it can mean anything to YAML, to
a shell, to a pattern of IAM or to an expression of Google's.
"""

from __future__ import annotations

import functools
import hashlib
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ci_runner.errors import UsageError
from ci_runner.github.commands import one_line
from ci_runner.providers.identity import LEASE, MARKED
from ci_runner.providers.permissions import AWS, GCP, Reach, granted, permissions_of

if TYPE_CHECKING:
    from jinja2 import Environment

CLOUDS = (GCP, AWS)
ENVIRONMENT = "accelerators"
ISSUER = "token.actions.githubusercontent.com"
TEMPLATES = Path(__file__).with_name("setup")
MAX_SUBJECT = 127  # bytes that Google allows for google.subject
MAX_ID = 10  # digits of an id of GitHub's, as far as subjects have room for them

# GitHub's own rules for names (owners of managed accounts have an underscore), and the clouds' rules for theirs
_RULES: Mapping[str, tuple[str, str]] = {
    "repository": (
        r"[A-Za-z0-9][A-Za-z0-9_-]{0,38}/(?!\.{1,2}$)[A-Za-z0-9._-]{1,100}",
        "--repository octo-org/octo-repo",
    ),
    "environment": (r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", "a name of letters, digits, dots, - and _"),
    "owner_id": (r"[0-9]{1,19}", "gh api repos/OWNER/REPO --jq .owner.id"),
    "repository_id": (r"[0-9]{1,19}", "gh api repos/OWNER/REPO --jq .id"),
    "project": (r"[a-z][a-z0-9-]{4,28}[a-z0-9]", "the id of a project, as gcloud projects list shows it"),
    "region": (r"[a-z]{2}(-[a-z]{2,12}){1,2}-[0-9]{1,2}", "a region such as us-east-1"),
    "history_bucket": (r"[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]", "the name of a bucket, without s3:// or gs://"),
}
_ABROAD = ("image", "snapshot")  # belong to whoever published them
_SHARED = ("subnet", "vpc", "security-group")  # may be another account's, which shares them
_BIRTHS = ["CreateFleet", "CreateLaunchTemplate", "CreateSecurityGroup", "RunInstances"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """Who gets credentials: the jobs of one repository in one environment. Raises UsageError for what is no name."""

    repository: str
    environment: str = ENVIRONMENT
    owner_id: str | None = None
    repository_id: str | None = None
    project: str | None = None
    region: str | None = None
    history_bucket: str | None = None

    def __post_init__(self) -> None:
        for name, (pattern, fix) in _RULES.items():
            value = getattr(self, name)
            if value is not None and not re.fullmatch(pattern, value, re.ASCII):
                option = f"--{name.replace('_', '-')}"
                raise UsageError(f"not a name for {option}: {one_line(value, 80)!r}", fix=fix)
        if bool(self.owner_id) != bool(self.repository_id):
            raise UsageError(
                "one id of two",
                fix="name both: gh api repos/OWNER/REPO --jq '.owner.id, .id' prints --owner-id and --repository-id",
            )

    @property
    def owner(self) -> str:
        """Whose repository it is."""
        return self.repository.partition("/")[0]

    @property
    def name(self) -> str:
        """The repository without its owner."""
        return self.repository.partition("/")[2]

    @property
    def key(self) -> str:
        """Eight letters that tell this repository and environment from all others in an account."""
        return hashlib.sha256(f"{self.repository}:{self.environment}".encode()).hexdigest()[:8]

    @property
    def subject(self) -> str:
        """What GitHub calls such a job in its tokens."""
        return f"repo:{self.repository}:environment:{self.environment}"

    @property
    def subject_with_ids(self) -> str:
        """The same as new repositories have it; without ids, a pattern that every id fits."""
        owner_id, repository_id = self.owner_id or "*", self.repository_id or "*"
        return f"repo:{self.owner}@{owner_id}/{self.name}@{repository_id}:environment:{self.environment}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """A statement of an AWS policy; resources may hold `${AWS::…}`, and a condition REGIONS, the parameter of the stack."""

    sid: str
    actions: tuple[str, ...]
    resources: tuple[str, ...]
    conditions: Mapping[str, Mapping[str, Any]]


REGIONS = object()  # where a condition takes the parameter `Regions` of the stack


def statements(*, history: bool = False) -> list[Statement]:
    """The policy of the role from the list of permissions; with `history` only the part about its bucket."""
    found: dict[tuple[Reach, tuple[str, ...]], set[str]] = {}
    for each in permissions_of(AWS):
        if (each.reach in (Reach.BUCKET, Reach.OBJECTS)) is history:
            found.setdefault((each.reach, each.kinds), set()).add(each.grants)
    return [
        Statement(
            sid=_camel(reach, *kinds[:1]),
            actions=tuple(sorted(actions)),
            resources=tuple(_resources(reach, kinds)),
            conditions=_conditions(reach),
        )
        for (reach, kinds), actions in found.items()
    ]


def _camel(*words: str) -> str:
    return "".join(part.capitalize() for word in words for part in word.split("-"))


def _resources(reach: Reach, kinds: tuple[str, ...]) -> list[str]:
    fixed = {
        Reach.ALL: "*",
        Reach.IMAGES: "arn:${AWS::Partition}:ssm:*::parameter/aws/service/*",
        Reach.SPOT_ROLE: (
            "arn:${AWS::Partition}:iam::${AWS::AccountId}:role/aws-service-role/spot.amazonaws.com/AWSServiceRoleForEC2Spot"
        ),
        Reach.BUCKET: "arn:${AWS::Partition}:s3:::${HistoryBucket}",
        Reach.OBJECTS: "arn:${AWS::Partition}:s3:::${HistoryBucket}/*",
    }
    if reach in fixed:
        return [fixed[reach]]

    def account(kind: str) -> str:
        if kind in _ABROAD:
            return ""
        return "*" if reach is Reach.PARTS and kind in _SHARED else "${AWS::AccountId}"

    return [f"arn:${{AWS::Partition}}:ec2:*:{account(kind)}:{kind}/*" for kind in sorted(kinds)]


def _conditions(reach: Reach) -> Mapping[str, Mapping[str, Any]]:
    """What makes "new", "ours" and the rest true. Regions bound creation only: what exists can be ended everywhere."""
    asked = {f"aws:RequestTag/{LEASE}": "?*"}
    ours = {f"aws:ResourceTag/{LEASE}": "?*"}
    regions = {"aws:RequestedRegion": REGIONS}
    found: Mapping[Reach, Mapping[str, Mapping[str, Any]]] = {
        Reach.NEW: {"StringLike": {**asked, **regions}},
        Reach.PARTS: {"StringLike": regions},
        Reach.BIRTH: {"StringEquals": {"ec2:CreateAction": _BIRTHS}, "StringLike": {**asked, **regions}},
        Reach.OURS: {"StringLike": ours},
        Reach.MARK: {"StringLike": ours, "ForAllValues:StringEquals": {"aws:TagKeys": [MARKED]}},
        Reach.SPOT_ROLE: {"StringEquals": {"iam:AWSServiceName": "spot.amazonaws.com"}},
    }
    return found.get(reach, {})


def aws_template(setup: Setup) -> str:
    """A CloudFormation template in YAML."""
    return (
        _environment()
        .get_template("aws.yaml.j2")
        .render(
            setup=setup,
            issuer=ISSUER,
            statements=statements(),
            history=statements(history=True),
            regions=REGIONS,
        )
    )


def gcp_script(setup: Setup) -> str:
    """A script for bash and gcloud that may be run any number of times. Raises UsageError for names that are too long."""
    longest = f"{setup.subject}{'@' * 2}{'0' * MAX_ID * 2}"
    if len(longest) > MAX_SUBJECT:
        raise UsageError(
            f"repository and environment are too long for Google Cloud ({len(longest)} of {MAX_SUBJECT} bytes)",
            fix="choose a shorter name for the environment",
        )
    return (
        _environment()
        .get_template("gcp.sh.j2")
        .render(
            setup=setup,
            issuer=ISSUER,
            condition=_condition(setup),
            machines=granted(GCP, Reach.ALL),
            identity=granted(GCP, Reach.MACHINE_ACCOUNT),
            history=granted(GCP, Reach.BUCKET),
        )
    )


def _condition(setup: Setup) -> str:
    """The expression that a token of GitHub has to fulfil."""
    claims = {"repository": setup.repository, "environment": setup.environment}
    if setup.owner_id and setup.repository_id:
        claims |= {"repository_owner_id": setup.owner_id, "repository_id": setup.repository_id}
    return " && ".join(f"assertion.{name} == '{value}'" for name, value in claims.items())


@functools.cache
def _environment() -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        undefined=StrictUndefined,
        autoescape=False,  # noqa: S701 - neither is HTML; values are held to patterns, and quoted
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["quote"] = shlex.quote
    return environment
