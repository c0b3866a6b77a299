"""The set-up of a cloud, as printed: what the clouds' own tools say of it, and what comes of it when it is run."""

from __future__ import annotations

import fnmatch
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest

from ci_runner.providers.permissions import AWS, Reach, granted
from ci_runner.providers.setup_text import Setup, aws_template
from tests.gcloud_kit import Gcloud, flag, gcloud_tree, verbs
from tests.stack_kit import ACCOUNT, Asked, Stack, account, allows, deploy

BIN = Path(sys.executable).parent
REPOSITORY = "octo-org/octo.repo_1"
SECONDS = 120.0


def printed(cloud: str, *words: str) -> str:
    """What the command prints."""
    done = subprocess.run(
        [str(BIN / "ci-runner"), "doctor", "--print-setup", cloud, "--repository", REPOSITORY, *words],
        stdout=subprocess.PIPE,
        check=True,
        timeout=SECONDS,
        text=True,
    )
    return done.stdout


def checked(*words: str) -> None:
    """A tool that must have nothing to say."""
    done = subprocess.run(
        words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=SECONDS, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, ""), done.stdout


LONGEST = ("--owner-id", "1", "--repository-id", "2", "--history-bucket", "records")
both_ends = pytest.mark.parametrize("words", [(), LONGEST], ids=["shortest", "longest"])


def test_cfn_lint_accepts_the_template(tmp_path: Path) -> None:
    files = [tmp_path / "shortest.yaml", tmp_path / "longest.yaml"]
    for file, words in zip(files, ((), (*LONGEST, "--region", "eu-west-1")), strict=True):
        file.write_text(printed("aws", *words))
    checked(str(BIN / "cfn-lint"), "--include-checks", "I", "--", *map(str, files))


@both_ends
def test_shellcheck_accepts_the_script(words: tuple[str, ...], tmp_path: Path) -> None:
    file = tmp_path / "setup.sh"
    file.write_text(printed("gcp", *words))
    checked(str(BIN / "shellcheck"), "--enable=all", "--exclude=SC2310,SC2311,SC2312", str(file))
    checked(str(BIN / "shfmt"), "-d", "-i", "2", "-ci", str(file))


# --- AWS: the stack ---

ISSUER = "token.actions.githubusercontent.com"
OURS = {"aws:ResourceTag/ci-runner-lease": "7f3c-unit-00000a"}
BORN = {"aws:RequestTag/ci-runner-lease": "7f3c-unit-00000a", "aws:RequestedRegion": "us-west-2"}


@pytest.fixture
def empty_account(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with account(monkeypatch):
        yield


@pytest.fixture(scope="module")
def two_regions() -> Stack:
    """A stack that others only look at."""
    with pytest.MonkeyPatch.context() as patch, account(patch):
        return deploy(template(), Regions="us-east-1,us-west-2")


@pytest.fixture(scope="module")
def with_ids() -> Stack:
    """A stack for one repository, whoever has its names."""
    with pytest.MonkeyPatch.context() as patch, account(patch):
        return deploy(template(owner_id="1", repository_id="2"))


def template(**more: str) -> str:
    return aws_template(Setup(repository=REPOSITORY, **more))


def subject_fits(trust: Any, subject: str, audience: str = "sts.amazonaws.com") -> bool:
    """Whether a token with this subject gets the role."""
    (statement,) = trust["Statement"]
    assert statement["Action"] == "sts:AssumeRoleWithWebIdentity"
    conditions = statement["Condition"]
    exact = conditions["StringEquals"]
    patterns = conditions.get("StringLike", exact)[f"{ISSUER}:sub"]
    return exact[f"{ISSUER}:aud"] == audience and any(
        fnmatch.fnmatchcase(subject, pattern) for pattern in patterns
    )


@pytest.mark.usefixtures("empty_account")
def test_the_stack_deploys_and_its_role_may_do_what_the_list_says() -> None:
    stack = deploy(template())
    assert set(stack.resources) == {"Provider", "Role"}
    assert stack.outputs["RoleArn"] == f"arn:aws:iam::{ACCOUNT}:role/{stack.resources['Role']}"
    provider = boto3.client("iam").get_open_id_connect_provider(
        OpenIDConnectProviderArn=stack.resources["Provider"]
    )
    assert (provider["Url"], provider["ClientIDList"]) == (ISSUER, ["sts.amazonaws.com"])
    assert stack.trust["Statement"][0]["Principal"] == {"Federated": stack.resources["Provider"]}
    assert set(stack.policies) == {"machines"}
    actions = [action for each in stack.policies["machines"]["Statement"] for action in each["Action"]]
    history = set(granted(AWS, Reach.BUCKET, Reach.OBJECTS))
    assert sorted(set(actions)) == [each for each in granted(AWS) if each not in history]
    # https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html: all inline policies of a role together
    assert len(json.dumps(stack.policies["machines"], separators=(",", ":"))) < 10_240 - 600


@pytest.mark.usefixtures("empty_account")
def test_a_provider_of_the_account_is_used_again() -> None:
    there = boto3.client("iam").create_open_id_connect_provider(
        Url=f"https://{ISSUER}", ClientIDList=["sts.amazonaws.com"]
    )["OpenIDConnectProviderArn"]
    stack = deploy(template(), OidcProviderArn=there)
    assert set(stack.resources) == {"Role"}
    assert stack.trust["Statement"][0]["Principal"] == {"Federated": there}


@pytest.mark.parametrize(
    ("subject", "fits"),
    [
        ("repo:octo-org/octo.repo_1:environment:accelerators", (True, True)),
        ("repo:octo-org@1/octo.repo_1@2:environment:accelerators", (True, True)),
        # the same names, taken over by somebody else
        ("repo:octo-org@8/octo.repo_1@9:environment:accelerators", (True, False)),
        ("repo:octo-org/octo.repo_1:environment:other", (False, False)),
        ("repo:octo-org/octo.repo_1:ref:refs/heads/main", (False, False)),
        ("repo:octo-org/octo.repo_1:pull_request", (False, False)),
        ("repo:octo-org/octo-repo_1:environment:accelerators", (False, False)),
        ("repo:octo-org/octo.repo_12:environment:accelerators", (False, False)),
        ("repo:octo-org2@1/octo.repo_1@2:environment:accelerators", (False, False)),
        ("repo:other@1/octo.repo_1@2:environment:accelerators", (False, False)),
        ("repo:octo-org@1/other@3:environment:accelerators", (False, False)),
        # GitHub writes a colon in a name as %3A, so that no name of an environment goes on as another subject
        ("repo:octo-org@1/other@3:environment:octo.repo_1@2%3Aenvironment%3Aaccelerators", (False, False)),
        ("", (False, False)),
    ],
)
def test_only_jobs_of_the_repository_in_the_environment_get_the_role(
    two_regions: Stack, with_ids: Stack, subject: str, fits: tuple[bool, bool]
) -> None:
    assert (subject_fits(two_regions.trust, subject), subject_fits(with_ids.trust, subject)) == fits
    assert not subject_fits(two_regions.trust, subject, audience="https://github.com/octo-org")
    assert "StringLike" not in with_ids.trust["Statement"][0]["Condition"]


@pytest.mark.usefixtures("empty_account")
def test_the_security_group_lets_in_ssh_from_the_runner_and_nothing_else() -> None:
    ec2 = boto3.client("ec2")
    vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    stack = deploy(template(), VpcId=vpc, RunnerCidr="203.0.113.7/32")
    (group,) = ec2.describe_security_groups(GroupIds=[stack.outputs["SecurityGroupId"]])["SecurityGroups"]
    assert group["VpcId"] == vpc
    (rule,) = group["IpPermissions"]
    assert (rule["IpProtocol"], rule["FromPort"], rule["ToPort"]) == ("tcp", 22, 22)
    assert [each["CidrIp"] for each in rule["IpRanges"]] == ["203.0.113.7/32"]
    assert not rule.get("Ipv6Ranges")


@pytest.mark.usefixtures("empty_account")
def test_a_network_without_the_runners_opens_nothing() -> None:
    assert "SecurityGroup" not in deploy(template(), VpcId="vpc-0a1b2c3d").resources


@pytest.mark.usefixtures("empty_account")
def test_the_history_is_its_bucket_alone() -> None:
    policy = deploy(template(history_bucket="records")).policies["history"]
    for action in ("s3:GetObject", "s3:PutObject"):
        assert allows(policy, Asked(action=action, resource="arn:aws:s3:::records/daily/x.json"))
        assert not allows(policy, Asked(action=action, resource="arn:aws:s3:::records2/daily/x.json"))
    assert allows(policy, Asked(action="s3:ListBucket", resource="arn:aws:s3:::records"))
    assert not allows(policy, Asked(action="s3:DeleteObject", resource="arn:aws:s3:::records/daily/x.json"))


def ec2_thing(kind: str, account: str = ACCOUNT) -> str:
    return f"arn:aws:ec2:us-west-2:{account}:{kind}/x"


@pytest.mark.parametrize(
    ("action", "kind", "context", "allowed"),
    [
        ("ec2:TerminateInstances", "instance", OURS, True),
        ("ec2:TerminateInstances", "instance", {}, False),
        ("ec2:TerminateInstances", "instance", {"aws:ResourceTag/ci-runner-lease": ""}, False),
        ("ec2:StopInstances", "instance", {}, False),
        ("ec2:DeleteVolume", "volume", OURS, True),
        ("ec2:DeleteVolume", "volume", {}, False),
        ("ec2:DeleteSecurityGroup", "security-group", {}, False),
        ("ec2:AuthorizeSecurityGroupIngress", "security-group", {}, False),
        ("ec2:RunInstances", "instance", BORN, True),
        ("ec2:RunInstances", "instance", {"aws:RequestedRegion": "us-west-2"}, False),
        ("ec2:RunInstances", "instance", {**BORN, "aws:RequestedRegion": "eu-west-1"}, False),
        ("ec2:RunInstances", "launch-template", OURS, True),
        ("ec2:RunInstances", "launch-template", {}, False),
        ("ec2:CreateFleet", "fleet", BORN, True),
        ("ec2:CreateFleet", "fleet", {"aws:RequestedRegion": "us-west-2"}, False),
        ("ec2:CreateTags", "instance", {**BORN, "ec2:CreateAction": "RunInstances"}, True),
        ("ec2:CreateTags", "instance", {**BORN}, False),
        ("ec2:CreateTags", "instance", {**OURS, "aws:TagKeys": ["ci-runner-reap"]}, True),
        ("ec2:CreateTags", "instance", {**OURS, "aws:TagKeys": ["ci-runner-lease"]}, False),
        ("ec2:CreateTags", "instance", {"aws:TagKeys": ["ci-runner-reap"]}, False),
        ("iam:PassRole", "instance", {}, False),
        ("ec2:ModifyInstanceAttribute", "instance", OURS, False),
    ],
)
def test_what_is_nobodys_lease_cannot_be_touched(
    two_regions: Stack, action: str, kind: str, context: dict[str, Any], *, allowed: bool
) -> None:
    policy = two_regions.policies["machines"]
    assert allows(policy, Asked(action=action, resource=ec2_thing(kind), context=context)) is allowed


# --- Google Cloud: the script ---


@both_ends
def test_the_second_run_of_the_script_makes_nothing(words: tuple[str, ...], tmp_path: Path) -> None:
    gcloud = Gcloud(tmp_path, printed("gcp", *words))
    first = gcloud.run()
    assert first.returncode == 0, first.stderr
    key = Setup(repository=REPOSITORY).key
    assert first.stdout.splitlines() == [
        f"workload_identity_provider: projects/424242424242/locations/global/workloadIdentityPools/ci-runner-{key}"
        "/providers/github",
        f"service_account: ci-runner-{key}@octo-project.iam.gserviceaccount.com",
    ]
    assert verbs(gcloud.take_calls()) == {"create", "create-oidc"}
    second = gcloud.run()
    assert (second.returncode, second.stdout) == (0, first.stdout)
    # brought up to date, so that a newer script's permissions and conditions arrive
    assert verbs(gcloud.take_calls()) == {"update", "update-oidc"}


def test_what_was_deleted_lately_is_taken_back(tmp_path: Path) -> None:
    gcloud = Gcloud(tmp_path, printed("gcp"))
    assert gcloud.run().returncode == 0
    for kind in ("pool", "provider", "role"):
        for file in gcloud.state.glob(f"{kind}-*"):
            file.write_text("DELETED")
    gcloud.take_calls()
    assert gcloud.run().returncode == 0
    assert verbs(gcloud.take_calls()) == {"undelete", "update", "update-oidc"}


def test_a_binding_that_comes_too_early_is_tried_again(tmp_path: Path) -> None:
    gcloud = Gcloud(tmp_path, printed("gcp"))
    (gcloud.state / "flaky").touch()
    done = gcloud.run()
    assert done.returncode == 0
    assert "trying again in 2 s" in done.stderr


def test_without_a_project_the_script_does_nothing(tmp_path: Path) -> None:
    gcloud = Gcloud(tmp_path, printed("gcp"))
    done = gcloud.run(project="")
    assert done.returncode == 2
    assert "fix: gcloud config set project" in done.stderr
    assert gcloud.take_calls() == [["config", "get", "project"]]


def test_the_jobs_of_one_repository_and_environment_may_act_as_the_account(tmp_path: Path) -> None:
    gcloud = Gcloud(tmp_path, printed("gcp", *LONGEST, "--project", "other-project"))
    assert gcloud.run().returncode == 0
    calls = gcloud.take_calls()
    assert all(flag(call, "project") == "other-project" for call in calls if "iam" in call)
    (provider,) = [call for call in calls if "create-oidc" in call]
    assert flag(provider, "issuer-uri") == f"https://{ISSUER}"
    assert flag(provider, "attribute-condition") == (
        "assertion.repository == 'octo-org/octo.repo_1' && assertion.environment == 'accelerators'"
        " && assertion.repository_owner_id == '1' && assertion.repository_id == '2'"
    )
    assert flag(provider, "attribute-mapping") == (
        'google.subject=assertion.sub,attribute.job=assertion.repository+":"+assertion.environment'
    )
    bindings = {
        (flag(call, "member").partition(":")[0], flag(call, "role").rpartition("/")[2]): call
        for call in calls
        if "add-iam-policy-binding" in call
    }
    assert set(bindings) == {
        ("principalSet", "iam.workloadIdentityUser"),
        ("serviceAccount", "ciRunnerMachines"),
        ("serviceAccount", "ciRunnerMachineIdentity"),
        ("serviceAccount", "ciRunnerHistory"),
    }
    member = flag(bindings["principalSet", "iam.workloadIdentityUser"], "member")
    assert member.endswith("/attribute.job/octo-org/octo.repo_1:accelerators")
    assert bindings["serviceAccount", "ciRunnerMachineIdentity"][3] == (
        "ci-runner-machine@other-project.iam.gserviceaccount.com"
    )
    assert bindings["serviceAccount", "ciRunnerHistory"][3] == "gs://records"


@pytest.mark.needs("gcloud")
def test_gcloud_knows_every_command_and_flag_of_the_script(tmp_path: Path) -> None:
    gcloud = Gcloud(tmp_path, printed("gcp", *LONGEST))
    assert gcloud.run().returncode == 0
    calls = gcloud.take_calls()
    for file in [*gcloud.state.glob("role-*"), *gcloud.state.glob("p*-*")]:
        file.write_text("DELETED")
    assert gcloud.run().returncode == 0
    tree = gcloud_tree()
    everywhere = set(tree["flags"])
    for call in calls + gcloud.take_calls():
        node, rest = tree, list(call)
        while rest and rest[0] in node.get("commands", {}):
            node = node["commands"][rest.pop(0)]
        assert not node.get("commands"), f"gcloud {' '.join(call)} is no command"
        for word in rest:
            if word.startswith("--"):
                name = word.partition("=")[0]
                assert name in node["flags"] or name in everywhere, f"gcloud {' '.join(call)}: {name}"
