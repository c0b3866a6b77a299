"""A machine described on the command line, as the people who asked for this would type it."""

from __future__ import annotations

from argparse import ArgumentParser, ArgumentTypeError, Namespace
from pathlib import Path

import pytest

from ci_runner.cli import adhoc, run
from ci_runner.cli.running import check_upload
from ci_runner.config.settings import Settings
from ci_runner.errors import UsageError
from ci_runner.model import MachineSpec

SETTINGS = Settings(
    root=Path(),
    machines={
        "local": MachineSpec(name="local"),
        "gpu": MachineSpec(name="gpu", provider="aws-ec2", type="g5.xlarge", options={"subnet": "subnet-1"}),
    },
)


def parsed(text: str) -> Namespace:
    parser = ArgumentParser()
    run.add_arguments(parser)
    return parser.parse_args(text.split())


def described(text: str) -> MachineSpec:
    settings, name = adhoc.with_machine(SETTINGS, parsed(text))
    assert name == adhoc.NAME
    return settings.machines[adhoc.NAME]


def test_the_commands_that_were_asked_for_describe_a_machine() -> None:
    gpu = described("--platform aws --instance-type p4d.24xlarge --test-path tests/ --spot --upload-results")
    assert (gpu.provider, gpu.type, gpu.spot) == ("aws-ec2", "p4d.24xlarge", "only")
    assert gpu.options == {"subnet": "subnet-1"}  # what another machine of that cloud has configured
    tpu = described("--platform gcp --tpu-type v5litepod-8 --preemptible")
    assert (tpu.provider, tpu.type, tpu.spot, tpu.options) == ("gcp-tpu", "v5litepod-8", "only", {})
    assert tpu.max_minutes == adhoc.LONGEST_MINUTES


def test_the_platform_follows_from_the_type() -> None:
    assert described("--tpu-type v6e-1 --zone us-east5-b --zone us-central1-b").zones == (
        "us-east5-b",
        "us-central1-b",
    )
    assert described("--instance-type g6.xlarge --max-minutes 5").max_minutes == 5
    hosts = described("--host a@h1 --host b@h2:2222 --option known-hosts=f")
    assert (hosts.provider, hosts.options) == ("ssh", {"hosts": "a@h1,b@h2:2222", "known-hosts": "f"})
    assert described("--platform local").provider == "local"


def test_without_a_description_the_machine_is_the_one_that_was_named() -> None:
    assert adhoc.with_machine(SETTINGS, parsed("--machine gpu")) == (SETTINGS, "gpu")
    assert adhoc.with_machine(SETTINGS, parsed("")) == (SETTINGS, None)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("--platform aws", "needs a type"),
        ("--platform gcp", "--tpu-type v6e-1"),
        ("--platform ssh", "needs a host"),
        ("--platform aws --tpu-type v6e-1", "from aws and gcp at once"),
        ("--instance-type a --tpu-type b", "from aws and gcp at once"),
        ("--zone us-east5-b", "who lends the machine"),
        ("--machine gpu --spot", "--spot describes another one"),
        ("--instance-type a --option x", "no name or no value"),
        ("--instance-type a --option subent=s-1", 'no option "subent": aws-ec2 does not read this option'),
    ],
)
def test_contradictions_are_told(text: str, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        adhoc.with_machine(SETTINGS, parsed(text))
    assert said in f"{caught.value.what} {caught.value.fix}"
    assert caught.value.fix


@pytest.mark.parametrize("location", [None, ".ci-runner/results", "file:///srv/results"])
def test_results_cannot_be_uploaded_to_this_disk(location: str | None) -> None:
    settings = Settings(root=Path(), stores={} if location is None else {"history": location})
    with pytest.raises(UsageError, match="nowhere to upload to"):
        check_upload(settings)


def test_results_can_be_uploaded_to_a_bucket(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str | None] = []
    monkeypatch.setattr("ci_runner.history.store.open_store", lambda place, _root: opened.append(place))
    check_upload(Settings(root=Path(), stores={"history": "s3://bucket/kpt"}))
    assert opened == ["s3://bucket/kpt"]


@pytest.mark.parametrize("given", ["0", "-1", "nan", "inf", "soon", ""])
def test_a_lease_lasts_some_minutes(given: str) -> None:
    with pytest.raises(ArgumentTypeError, match="no number of minutes above 0"):
        adhoc.minutes(given)
    assert adhoc.minutes("1.5") == 1.5
