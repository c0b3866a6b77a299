"""`doctor --print-setup`: what is printed is bound to one repository and environment, and takes no other text in."""

from __future__ import annotations

import json
import re
import shlex
from argparse import ArgumentParser
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ci_runner.cli import doctor
from ci_runner.errors import UsageError
from ci_runner.providers.permissions import AWS, GCP, Reach, granted
from ci_runner.providers.setup_text import CLOUDS, Setup, aws_template, gcp_script, statements

REPOSITORY = "octo-org/octo.repo_1"
HOSTILE = (
    "",
    "o/r'; rm -rf ~; '",
    "o/$(id)",
    "o/`id`",
    'o/r"',
    "o/r\nproject=evil",
    "o/r\r",
    "o/r\0",
    "o/{{ setup }}",
    "o/${AWS::AccountId}",
    "o/r: {a: b}",
    "o/r #",
    "o/r' || true || '",
    "o/r:environment:accelerators",
    "o@1/r",
    "o/r@1",
    "--repository/x",
    "../r",
)
TEXTS = {"aws": aws_template, "gcp": gcp_script}


def printed(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    parser = ArgumentParser()
    doctor.add_arguments(parser)
    assert doctor.run(parser.parse_args(words)) == 0
    return capsys.readouterr().out


def refused(*words: str) -> UsageError:
    parser = ArgumentParser()
    doctor.add_arguments(parser)
    with pytest.raises(UsageError) as caught:
        doctor.run(parser.parse_args(words))
    assert caught.value.fix
    return caught.value


# --- the command ---


@pytest.mark.parametrize("cloud", CLOUDS)
def test_the_text_is_all_that_is_printed(cloud: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("--print-setup", cloud, "--repository", REPOSITORY)
    text = printed(capsys, *words)
    assert text == TEXTS[cloud](Setup(repository=REPOSITORY))
    assert json.loads(printed(capsys, *words, "--format", "json")) == {
        "cloud": cloud,
        "repository": REPOSITORY,
        "environment": "accelerators",
        "text": text,
    }


def test_every_option_reaches_the_text(capsys: pytest.CaptureFixture[str]) -> None:
    ids = (
        "--owner-id",
        "11",
        "--repository-id",
        "22",
        "--environment",
        "gpus",
        "--history-bucket",
        "records",
    )
    words = ("--repository", REPOSITORY, *ids)
    aws = printed(capsys, "--print-setup", "aws", *words, "--region", "eu-west-1")
    assert 'Default: "eu-west-1"' in aws
    assert 'Default: "records"' in aws
    assert '- "repo:octo-org@11/octo.repo_1@22:environment:gpus"' in aws
    gcp = printed(capsys, "--print-setup", "gcp", *words, "--project", "octo-project")
    assert "\nproject=octo-project\n" in gcp
    assert "\nbucket=records\n" in gcp
    assert (
        "condition=\"assertion.repository == 'octo-org/octo.repo_1' && assertion.environment == 'gpus'"
        " && assertion.repository_owner_id == '11' && assertion.repository_id == '22'\"\n"
    ) in gcp


@pytest.mark.parametrize(
    ("words", "option"),
    [
        (("--repository", REPOSITORY), "--repository"),
        (("--environment", "x"), "--environment"),
        (("--print-setup", "aws", "--repository", REPOSITORY, "--project", "octo-project"), "--project"),
        (("--print-setup", "gcp", "--repository", REPOSITORY, "--region", "us-east-1"), "--region"),
        (("--print-setup", "gcp", "--repository", REPOSITORY, "--machine", "tpu"), "--machine"),
        (("--print-setup", "gcp", "--repository", REPOSITORY, "--config", "x.toml"), "--config"),
        (("--print-setup", "aws"), "whose workflows"),
        (("--print-setup", "aws", "--repository", REPOSITORY, "--owner-id", "1"), "one id of two"),
    ],
)
def test_an_option_that_would_do_nothing_is_refused(words: tuple[str, ...], option: str) -> None:
    assert option in refused(*words).what


# --- names ---


@pytest.mark.parametrize(
    "text", [*HOSTILE, "o/..", "o/.", "o/r/x", "o", "/r", "o/", "-o/r", "o/r\n", "ö/r", "o/*", "o*/r"]
)
def test_nothing_but_a_repository_is_a_repository(text: str) -> None:
    with pytest.raises(UsageError):
        Setup(repository=text)


FIELDS = ("repository", "environment", "owner_id", "repository_id", "project", "region", "history_bucket")


@given(field=st.sampled_from(FIELDS), text=st.text(max_size=40))
def test_whatever_is_let_in_means_nothing_to_yaml_shells_and_patterns(field: str, text: str) -> None:
    values = {"repository": REPOSITORY, "owner_id": "1", "repository_id": "2"} | {field: text}
    try:
        setup = Setup(**values)
    except UsageError:
        return
    assert re.fullmatch(r"[A-Za-z0-9._/-]+", getattr(setup, field), re.ASCII)
    assert getattr(setup, field) not in ("", ".", "..")


def test_subjects_have_both_forms_and_bind_the_owner_in_each() -> None:
    setup = Setup(repository=REPOSITORY)
    assert setup.subject == "repo:octo-org/octo.repo_1:environment:accelerators"
    assert setup.subject_with_ids == "repo:octo-org@*/octo.repo_1@*:environment:accelerators"
    exact = Setup(repository=REPOSITORY, owner_id="1", repository_id="2")
    assert exact.subject_with_ids == "repo:octo-org@1/octo.repo_1@2:environment:accelerators"
    # with both ids nothing in the trust policy is a pattern any more
    assert "StringLike:\n                #" not in aws_template(exact)
    assert "@*" not in aws_template(exact)


def test_a_subject_that_google_would_refuse_is_refused_here() -> None:
    setup = Setup(repository=f"{'o' * 39}/{'r' * 60}")
    with pytest.raises(UsageError, match="too long"):
        gcp_script(setup)
    assert setup.subject in aws_template(setup)


def test_each_repository_and_environment_has_a_key_of_its_own() -> None:
    keys = {
        Setup(repository=repository, environment=environment).key
        for repository in ("o/r", "o/s", "p/r")
        for environment in ("accelerators", "gpus")
    }
    assert len(keys) == 6


# --- permissions ---


def test_the_policy_grants_the_list_and_nothing_else() -> None:
    both = [*statements(), *statements(history=True)]
    assert sorted({action for each in both for action in each.actions}) == granted(AWS)
    assert len({each.sid for each in both}) == len(both)
    for each in both:
        assert each.resources, each.sid


def test_what_changes_something_is_bound_to_the_tag_of_a_lease() -> None:
    reading = ("ec2:Describe", "ssm:Get", "servicequotas:Get", "s3:", "iam:CreateServiceLinkedRole")
    for each in statements():
        if all(action.startswith(reading) for action in each.actions):
            continue
        keys = {key for operator in each.conditions.values() for key in operator}
        assert keys & {
            "aws:RequestTag/ci-runner-lease",
            "aws:ResourceTag/ci-runner-lease",
            # the parts of a machine; the machine itself is bound by another statement
            "aws:RequestedRegion",
        }, each.sid
        if "ec2:TerminateInstances" in each.actions:
            assert "aws:ResourceTag/ci-runner-lease" in keys


def test_machines_get_no_identity_at_aws() -> None:
    assert "iam:PassRole" not in granted(AWS)


def test_the_custom_roles_hold_exactly_the_list() -> None:
    text = gcp_script(Setup(repository=REPOSITORY, history_bucket="records"))
    found = {match[1]: match[2] for match in re.finditer(r"^(\w*permissions)=(\S+)$", text, re.MULTILINE)}
    assert found == {
        "permissions": ",".join(granted(GCP, Reach.ALL)),
        "identity_permissions": ",".join(granted(GCP, Reach.MACHINE_ACCOUNT)),
        "history_permissions": ",".join(granted(GCP, Reach.BUCKET)),
    }
    assert "history" not in gcp_script(Setup(repository=REPOSITORY))


# --- the page ---


def test_the_page_about_credentials_says_what_there_is() -> None:
    page = (Path(__file__).parents[2] / "docs" / "how-to" / "credentials.md").read_text(encoding="utf-8")
    commands = re.findall(r"^ci-runner doctor (--print-setup .+?) > ", page, re.MULTILINE)
    assert len(commands) == 2
    parser = ArgumentParser()
    doctor.add_arguments(parser)
    for command in commands:
        parser.parse_args(shlex.split(command))
    parameters = re.findall(r"`([A-Z]\w+)`", "".join(re.findall(r"^\| (`.+?) \|", page, re.MULTILINE)))
    template = aws_template(Setup(repository=REPOSITORY))
    declared = template.partition("\nParameters:\n")[2].partition("\nRules:")[0]
    assert sorted(parameters) == sorted(re.findall(r"^  (\w+):$", declared, re.MULTILINE))
    workflow = [block for block in re.findall(r"```yaml\n(.*?)```", page, re.DOTALL) if "jobs:" in block]
    assert len(workflow) == 2
    for block in workflow:
        assert "environment: accelerators\n" in block
        assert all(
            re.search(r"@[0-9a-f]{40} # v\d", line)
            for line in re.findall(r"uses: \S+/\S+@.*", block)
            if "kpt/" not in line
        )
