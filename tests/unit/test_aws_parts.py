"""What a machine of EC2 is put together from, as far as no cloud is needed to tell."""

from __future__ import annotations

import base64
import dataclasses
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ci_runner.errors import ConfigurationError, MachineError
from ci_runner.model import LeaseState, MachineSpec
from ci_runner.providers import aws_parts as parts
from ci_runner.providers.aws_machines import is_preempted, lease_of, state_of
from ci_runner.providers.aws_notice import announced, spot_notice_command
from ci_runner.providers.aws_offers import TypeFacts, regions_of, types_of
from tests.job_kit import LEASE, make_lease

PLACE = parts.Place(subnet="subnet-1", vpc="vpc-1")


def machine(**options: str) -> MachineSpec:
    return MachineSpec(name="gpu", provider="aws-ec2", type="g5.xlarge", options=options)


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        (TypeFacts(name="g5.xlarge", gpus=1), "deeplearning/ami/x86_64/base-oss-nvidia-driver-gpu"),
        (TypeFacts(name="g5g.xlarge", gpus=1, architecture="arm64"), "deeplearning/ami/arm64/"),
        (TypeFacts(name="c7i.large"), "canonical/ubuntu/server/24.04/stable/current/amd64/"),
        (TypeFacts(name="c7g.large", architecture="arm64"), "current/arm64/"),
    ],
)
def test_the_image_fits_the_type(facts: TypeFacts, words: str) -> None:
    assert words in parts.parameter_of(machine(), facts)


def test_an_image_is_asked_for_where_none_is_known() -> None:
    facts = TypeFacts(name="trn1.2xlarge", neurons=1)
    with pytest.raises(ConfigurationError, match=r"trn1.2xlarge") as caught:
        parts.parameter_of(machine(), facts)
    assert "image-parameter" in (caught.value.fix or "")
    assert parts.parameter_of(machine(**{"image-parameter": "/mine"}), facts) == "/mine"


@pytest.mark.parametrize(
    ("given", "cidr"),
    [
        ("203.0.113.7", "203.0.113.7/32"),
        (" 203.0.113.9/24\n", "203.0.113.0/24"),
        ("2001:db8::7", "2001:db8::7/128"),
    ],
)
def test_the_runner_is_let_in_and_nobody_else(given: str, cidr: str) -> None:
    assert parts.source_cidr(machine(), {"CI_RUNNER_SOURCE_CIDR": given}) == cidr
    assert parts.source_cidr(machine(), {}, lambda _service: given) == cidr
    assert (
        parts.source_cidr(machine(**{"source-cidr": "10.0.0.1"}), {"CI_RUNNER_SOURCE_CIDR": given})
        == "10.0.0.1/32"
    )


@pytest.mark.parametrize(
    "text", ["0.0.0.0/0", "::/0", "", "here", "1.2.3.4/99", "<html>", "1.2.3.4\n5.6.7.8"]
)
def test_a_network_that_is_none_or_everybody_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError):
        parts.source_cidr(machine(), {}, lambda _service: text)


def test_in_a_private_network_the_runner_must_be_named() -> None:
    with pytest.raises(ConfigurationError, match="private network") as caught:
        parts.source_cidr(machine(address="private"), {}, lambda _service: "203.0.113.7")
    assert "security-group" in (caught.value.fix or "")


@pytest.mark.parametrize("service", ["http://example.org/", "file:///etc/hostname", "ftp://x"])
def test_the_address_is_asked_for_in_private(service: str) -> None:
    with pytest.raises(ConfigurationError, match="not a https address"):
        parts.runner_address(service)


def template(**options: str) -> dict[str, Any]:
    return parts.template_data(
        make_lease(),
        image=parts.Image(id="ami-1", root_device="/dev/xvda"),
        groups=["sg-1"],
        script="#!/bin/bash\n",
        public=True,
        volume_gb=parts.volume_gb(machine(**options)),
    )


def test_a_template_makes_machines_that_end_and_know_nothing() -> None:
    found = template(**{"volume-gb": "80"})
    assert found["InstanceInitiatedShutdownBehavior"] == "terminate"
    assert found["MetadataOptions"]["HttpTokens"] == "required"
    assert "IamInstanceProfile" not in found
    assert "KeyName" not in found
    (disk,) = found["BlockDeviceMappings"]
    assert disk == {
        "DeviceName": "/dev/xvda",
        "Ebs": {"DeleteOnTermination": True, "VolumeType": "gp3", "VolumeSize": 80},
    }
    assert base64.b64decode(found["UserData"]) == b"#!/bin/bash\n"
    kinds = {each["ResourceType"] for each in found["TagSpecifications"]}
    assert kinds == {"instance", "volume", "spot-instances-request"}
    assert "VolumeSize" not in template()["BlockDeviceMappings"][0]["Ebs"]


def test_a_boot_script_that_is_too_long_is_refused_before_the_cloud_does() -> None:
    with pytest.raises(MachineError, match="longer than EC2 takes"):
        parts.template_data(
            make_lease(),
            image=parts.Image(id="ami-1", root_device="/dev/xvda"),
            groups=[],
            script="x" * 16385,
            public=True,
            volume_gb=None,
        )


@pytest.mark.parametrize("text", ["0", "-5", "ten", "1e3", "99999999"])
def test_a_disk_has_a_size(text: str) -> None:
    with pytest.raises(ConfigurationError, match="no size of a disk"):
        parts.volume_gb(machine(**{"volume-gb": text}))


@given(st.booleans(), st.one_of(st.none(), st.floats(0.01, 99)))
def test_a_request_is_for_one_machine_at_once(spot: bool, cap: float | None) -> None:
    found = parts.fleet_request(
        make_lease(), type_="g5.xlarge", place=PLACE, spot=spot, token="t", max_price=cap
    )
    assert found["Type"] == "instant"
    assert found["TargetCapacitySpecification"]["TotalTargetCapacity"] == 1
    (override,) = found["LaunchTemplateConfigs"][0]["Overrides"]
    assert ("MaxPrice" in override) == (spot and cap is not None)
    assert ("SpotOptions" in found) == spot


def test_tags_name_the_lease_and_fit() -> None:
    tags = parts.tags_of(make_lease(labels={"repository": "Org/" + "x" * 300}))
    assert {"Key": "ci-runner-lease", "Value": LEASE} in tags
    assert all(len(tag["Key"]) <= 128 and len(tag["Value"]) <= 256 for tag in tags)


def instance(word: str, reason: str = "") -> Mapping[str, Any]:
    return {"InstanceId": "i-1", "State": {"Name": word}, "StateReason": {"Code": reason}}


SPOT = "Server.SpotInstanceTermination"


@pytest.mark.parametrize(
    ("found", "rest", "state"),
    [
        ([], [], LeaseState.GONE),
        ([], [{}], LeaseState.RELEASING),
        ([instance("pending")], [], LeaseState.REQUESTED),
        ([instance("running")], [{}], LeaseState.READY),
        ([instance("stopping")], [], LeaseState.STOPPED),
        ([instance("stopped")], [], LeaseState.STOPPED),
        ([instance("shutting-down")], [], LeaseState.RELEASING),
        ([instance("shutting-down", SPOT)], [], LeaseState.PREEMPTED),
        ([instance("terminated", SPOT)], [{}], LeaseState.PREEMPTED),
        ([instance("terminated", SPOT)], [], LeaseState.GONE),
        ([instance("terminated", SPOT), instance("running")], [{}], LeaseState.READY),
        ([instance("a word of the future")], [], LeaseState.REQUESTED),
    ],
)
def test_the_state_of_a_lease(found: list[Any], rest: list[Any], state: LeaseState) -> None:
    assert state_of(found, rest) is state


def test_what_bears_no_mark_is_nobody_s_lease() -> None:
    assert lease_of({"Tags": [{"Key": "Name", "Value": "x"}]}, "us-east-1", LeaseState.READY) is None
    assert not is_preempted({"InstanceId": "i-1"})


def test_types_and_regions_of_a_machine() -> None:
    assert types_of(dataclasses.replace(machine(), type="g5.xlarge,g6.xlarge  g5.xlarge")) == (
        "g5.xlarge",
        "g6.xlarge",
    )
    zones = dataclasses.replace(machine(), zones=("us-east-1a", "us-east-1b", "us-gov-west-1a", "eu-west-1"))
    assert regions_of(zones, None) == ("us-east-1", "us-gov-west-1", "eu-west-1")
    assert regions_of(machine(region="eu-west-1"), "us-east-1") == ("eu-west-1",)
    assert regions_of(machine(), "us-east-1") == ("us-east-1",)


def test_an_announcement_is_made_harmless() -> None:
    assert spot_notice_command()[0] == "python3"
    assert announced(1, b"anything") is None
    said = announced(0, b'{"action": "terminate"}\n::error::x')
    assert said is not None
    assert "\n" not in said
