"""What `ci-runner doctor` asks of AWS: who we are there, what we may do, how much, and whether the machine exists."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ci_runner.errors import QUOTA, AuthenticationError, CiRunnerError
from ci_runner.model import Lease
from ci_runner.providers import aws_parts as parts
from ci_runner.providers.aws_machines import instances, is_live, of_ours
from ci_runner.providers.aws_offers import Catalogue, regions_of, types_of
from ci_runner.providers.checkup import Check
from ci_runner.providers.failures import ProviderError

if TYPE_CHECKING:
    from ci_runner.model import MachineSpec
    from ci_runner.providers.aws_client import Aws

ALLOWED = "DryRunOperation"  # EC2's word for "it would have worked"


@dataclass(frozen=True, slots=True, kw_only=True)
class Quota:
    """A limit of vCPUs that a family of types shares; its code is the same in every account and region."""

    family: str  # a pattern for the letters before a type's generation
    on_demand: str
    spot: str
    words: str


# https://docs.aws.amazon.com/ec2/latest/instancetypes/ec2-instance-quotas.html; the first that fits counts
QUOTAS = (
    Quota(family=r"p5.*", on_demand="L-417A185B", spot="L-C4BD4855", words="P"),
    Quota(family=r"p\d.*", on_demand="L-417A185B", spot="L-7212CCBC", words="P"),
    Quota(family=r"(g|vt)\d.*", on_demand="L-DB2E81BA", spot="L-3819A6DF", words="G and VT"),
    Quota(family=r"inf\d.*", on_demand="L-1945791B", spot="L-B5D1601B", words="Inf"),
    Quota(family=r"trn\d.*", on_demand="L-2C3B7624", spot="L-6B0D517C", words="Trn"),
    Quota(family=r"[acdhimrtz]\d.*", on_demand="L-1216C47A", spot="L-34B43A08", words="standard"),
)


def quota_of(type_: str, *, spot: bool) -> tuple[str, str] | None:
    """The code of the quota that a type counts against, and its name; None if nobody knows."""
    for quota in QUOTAS:
        if re.fullmatch(quota.family, type_):
            market = "spot" if spot else "on-demand"
            return (quota.spot if spot else quota.on_demand), f"{market} {quota.words} instances"
    return None


class Checkup:
    """The checks for one machine."""

    def __init__(self, aws: Aws, catalogue: Catalogue, machine: MachineSpec) -> None:
        self._aws = aws
        self._catalogue = catalogue
        self._machine = machine

    def run(self) -> Iterator[Check]:
        """All checks; if nobody knows us, the first is the last."""
        who = self._told("credentials", self._identity)
        yield from who
        if any(check.exit_code for check in who):
            return
        types = types_of(self._machine)
        home = None if self._machine.zones else self._aws.home_region()
        for region in regions_of(self._machine, home):
            yield from self._told("permissions", lambda region=region: self._permissions(region))
            yield from self._told("zones", lambda region=region: self._zones(region, types))
            for name in types:
                yield from self._told("quota", lambda region=region, name=name: self._quotas(region, name))
                yield from self._told("image", lambda region=region, name=name: self._image(region, name))

    def _told(self, name: str, ask: Callable[..., Iterable[Check]]) -> list[Check]:
        try:
            return list(ask())
        except CiRunnerError as error:
            return [Check.from_error(name, error)]

    def _identity(self) -> Iterator[Check]:
        region = self._aws.home_region() or "us-east-1"
        found = self._aws.call("sts", region, "GetCallerIdentity", needs="Account")
        yield Check.ok("credentials", f"{found.get('Arn')} of account {found['Account']}")

    def _permissions(self, region: str) -> Iterator[Check]:
        """Every call that makes or ends something, as a dry run."""
        refused = []
        for operation, values in self._calls(region).items():
            try:
                self._aws.call("ec2", region, operation, DryRun=True, **values)
            except AuthenticationError as error:
                # a policy that knows our templates by their tag cannot know the one of a dry run, which does not exist
                if ":launch-template/" not in error.what or operation != "CreateFleet":
                    refused.append(f"ec2:{operation}")
            except ProviderError as error:
                code = error.failure.code or ""
                if code != ALLOWED and "NotFound" not in code:
                    yield Check.warning("permissions", f"ec2:{operation} in {region}: {error.what}")
        if refused:
            words = ", ".join(refused)
            fix = f"allow {words} in the policy of the role"
            yield Check.failed(
                "permissions", f"{words} refused in {region}", fix, exit_code=AuthenticationError.exit_code
            )
        else:
            yield Check.ok("permissions", f"machines can be made in {region}")

    def _calls(self, region: str) -> Mapping[str, Mapping[str, Any]]:
        lease = Lease(
            id="doctor", machine=self._machine, owner="", run_id="", suite="", created_at=0.0, expires_at=1.0
        )
        fleet = parts.fleet_request(
            lease,
            type_=types_of(self._machine)[0],
            place=parts.Place(subnet="subnet-00000000", vpc="vpc-00000000"),
            spot=False,
            token="doctor",  # noqa: S106 - names a request that is never made
            max_price=None,
        )
        name = parts.name_of(lease)
        # with tags, as the calls of a lease are: a policy may ask for them
        calls: dict[str, Mapping[str, Any]] = {
            "CreateFleet": fleet,
            "CreateLaunchTemplate": {
                "LaunchTemplateName": name,
                "LaunchTemplateData": {"EbsOptimized": True},
                "TagSpecifications": parts.tagged(lease, "launch-template"),
            },
            "CreateSecurityGroup": {
                "GroupName": name,
                "Description": "a dry run",
                "TagSpecifications": parts.tagged(lease, "security-group"),
            },
        }
        # whether a machine may be ended is only known of one that bears our tag
        live = [each for each in instances(self._aws, region, of_ours()) if is_live(each)]
        if live:
            calls["TerminateInstances"] = {"InstanceIds": [live[0]["InstanceId"]]}
        return calls

    def _zones(self, region: str, types: tuple[str, ...]) -> Iterator[Check]:
        for name, zones in self._catalogue.zones(region, types).items():
            if zones:
                yield Check.ok("zones", f"{name} in {', '.join(zones)}")
            else:
                yield Check.warning("zones", f"no zone of {region} has {name}", "name another region or type")

    def _quotas(self, region: str, type_: str) -> Iterator[Check]:
        needed = self._catalogue.facts(region, type_).vcpus
        markets = {"never": (False,), "only": (True,)}.get(self._machine.spot, (True, False))
        for spot in markets:
            found = quota_of(type_, spot=spot)
            if found is None:
                yield Check.warning("quota", f"nobody knows which quota {type_} counts against")
                continue
            code, words = found
            try:
                answer = self._aws.call(
                    "service-quotas",
                    region,
                    "GetServiceQuota",
                    needs="Quota",
                    ServiceCode="ec2",
                    QuotaCode=code,
                )
            except (AuthenticationError, ProviderError) as error:
                yield Check.warning(
                    "quota", f"{words} in {region}: {error.what}", "allow servicequotas:GetServiceQuota"
                )
                continue
            value = float(answer["Quota"].get("Value", 0.0))
            text = f"{value:g} vCPUs of {words} in {region}, {type_} takes {needed}"
            if value >= needed:
                yield Check.ok("quota", text)
            else:
                ask = (
                    "aws service-quotas request-service-quota-increase --service-code ec2"
                    f" --quota-code {code} --desired-value {needed} --region {region}"
                )
                yield Check.failed("quota", text, f"ask for more: {ask}", exit_code=QUOTA)

    def _image(self, region: str, type_: str) -> Iterator[Check]:
        facts = self._catalogue.facts(region, type_)
        image = parts.find_image(self._aws, region, self._machine, facts)
        yield Check.ok("image", f"{image.id} for {type_} in {region}")
