"""Deploys a CloudFormation template on moto, reads back what came of it, and judges calls by a policy as IAM would."""

from __future__ import annotations

import ast
import fnmatch
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from tests.emulators.ec2 import world  # noqa: F401 - moto learns which images there are before it is imported

# isort: split
import boto3
import pytest
from moto import mock_aws
from moto.cloudformation import parsing
from moto.core.common_models import CloudFormationModel
from moto.iam.models import iam_backends

ACCOUNT = "123456789012"
REGION = "us-east-1"
Context = Mapping[str, str | Sequence[str]]


class OidcProvider(CloudFormationModel):
    """AWS::IAM::OIDCProvider, which moto's stacks do not know though its IAM does."""

    def __init__(self, arn: str) -> None:
        self.arn = arn

    @property
    def physical_resource_id(self) -> str:
        """What !Ref gives."""
        return self.arn

    @staticmethod
    def cloudformation_name_type() -> str:
        """It has no name."""
        return ""

    @staticmethod
    def cloudformation_type() -> str:
        """Its type in a template."""
        return "AWS::IAM::OIDCProvider"

    @classmethod
    def create_from_cloudformation_json(
        cls, resource_name: str, cloudformation_json: Any, account_id: str, region_name: str, **_more: Any
    ) -> OidcProvider:
        """Make it in moto's IAM."""
        wanted = cloudformation_json["Properties"]
        made = iam_backends[account_id]["aws"].create_open_id_connect_provider(
            url=wanted["Url"],
            thumbprint_list=wanted.get("ThumbprintList", []),
            client_id_list=wanted["ClientIdList"],
            tags=[],
        )
        return cls(made.arn)


@dataclass(frozen=True, kw_only=True)
class Stack:
    """What a template made."""

    outputs: Mapping[str, str]
    resources: Mapping[str, str]
    trust: Mapping[str, Any]  # of its role
    policies: Mapping[str, Mapping[str, Any]]


@contextmanager
def account(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An empty account in which a stack may have an OIDC provider."""
    monkeypatch.setenv("AWS_DEFAULT_REGION", REGION)
    # moto may have looked for its kinds of resources before this one was there
    monkeypatch.setitem(parsing.get_model_map(), OidcProvider.cloudformation_type(), OidcProvider)
    with mock_aws():
        yield


def deploy(template: str, **parameters: str) -> Stack:
    """Make a stack of the template, as an administrator does, and read back what it made."""
    client = boto3.client("cloudformation")
    client.create_stack(
        StackName="setup",
        TemplateBody=template,
        Capabilities=["CAPABILITY_IAM"],
        Parameters=[{"ParameterKey": name, "ParameterValue": value} for name, value in parameters.items()],
    )
    (stack,) = client.describe_stacks(StackName="setup")["Stacks"]
    assert stack["StackStatus"] == "CREATE_COMPLETE"
    found = client.describe_stack_resources(StackName="setup")["StackResources"]
    # moto lists what a condition has left out, without a name
    resources = {
        each["LogicalResourceId"]: each["PhysicalResourceId"] for each in found if "LogicalResourceId" in each
    }
    iam, role = boto3.client("iam"), resources["Role"]
    return Stack(
        outputs={each["OutputKey"]: each["OutputValue"] for each in stack["Outputs"]},
        resources=resources,
        trust=iam.get_role(RoleName=role)["Role"]["AssumeRolePolicyDocument"],
        policies={
            name: _document(iam.get_role_policy(RoleName=role, PolicyName=name)["PolicyDocument"])
            for name in iam.list_role_policies(RoleName=role)["PolicyNames"]
        },
    )


def _document(found: Any) -> Mapping[str, Any]:
    """A policy; moto keeps those that a role brings with it as Python writes them."""
    document = ast.literal_eval(found) if isinstance(found, str) else found
    assert isinstance(document, dict)
    return document


@dataclass(frozen=True, kw_only=True)
class Asked:
    """One thing that a call wants to do to one resource, with what IAM would know about it."""

    action: str
    resource: str
    context: Context = field(default_factory=dict)


def allows(policy: Mapping[str, Any], asked: Asked) -> bool:
    """Whether a statement of the policy allows it; what these policies do not use is not understood, and an error."""
    return any(
        _fits(asked.action, statement["Action"])
        and _fits(asked.resource, statement["Resource"])
        and _holds(statement.get("Condition", {}), asked.context)
        for statement in policy["Statement"]
        if statement["Effect"] == "Allow"
    )


def _listed(value: str | Sequence[str]) -> Sequence[str]:
    return [value] if isinstance(value, str) else value


def _fits(value: str, patterns: str | Sequence[str]) -> bool:
    return any(fnmatch.fnmatchcase(value, pattern) for pattern in _listed(patterns))


def _holds(conditions: Mapping[str, Mapping[str, Any]], context: Context) -> bool:
    return all(
        _one(operator, wanted, context.get(key))
        for operator, keys in conditions.items()
        for key, wanted in keys.items()
    )


def _one(operator: str, wanted: str | Sequence[str], value: str | Sequence[str] | None) -> bool:
    each, _, plain = operator.rpartition(":")
    if plain not in ("StringEquals", "StringLike") or each not in ("", "ForAllValues"):
        raise AssertionError(f"these policies have used no {operator} so far")
    if value is None:
        return bool(each)  # a condition for all values holds for none
    found = _listed(value)
    if plain == "StringLike":
        return all(_fits(one, wanted) for one in found)
    return all(one in _listed(wanted) for one in found)
