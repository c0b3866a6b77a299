"""`ci-runner doctor` beside the quotas of the emulated TPU zones, and Google's own client beside both."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from google.auth.credentials import AnonymousCredentials
from google.cloud import cloudquotas_v1
from google.cloud.cloudquotas_v1.services.cloud_quotas.transports.rest import CloudQuotasRestTransport

from ci_runner.errors import QUOTA
from ci_runner.model import MachineSpec
from ci_runner.providers import gcp_quotas
from ci_runner.providers.base import Source
from ci_runner.providers.checkup import Check, Health
from ci_runner.providers.failures import Kind, ProviderError
from ci_runner.providers.gcp_quotas import METHOD
from tests.tpu_kit import PROJECT, TPU, ZONE, Google, offer, tpu_lease

OTHER = "us-east5-b"
BOTH = dataclasses.replace(TPU, zones=(ZONE, OTHER))
V6E, V6E_SPOT = "TPUV6EPerProjectPerZoneForTPUAPI", "TPUV6EPreemptiblePerProjectPerZoneForTPUAPI"
TODAY = f"nothing idle holds quota; limits are at https://console.cloud.google.com/iam-admin/quotas?project={PROJECT}"


@pytest.fixture
def google() -> Iterator[Google]:
    with Google() as google:
        yield google


@pytest.fixture
def source(tmp_path: Path) -> Source:
    return Source(root=str(tmp_path), commit=None)


def quota_of(google: Google, machine: MachineSpec = BOTH) -> list[Check]:
    """What doctor says of quotas."""
    return [check for check in google.provider().examine(machine) if check.name == "quota"]


def test_no_quota_in_any_zone_fails(google: Google, source: Source) -> None:
    for zone in (ZONE, OTHER):
        google.world.zones[zone].quota = 0
    failed, idle = quota_of(google)
    assert (failed.health, failed.exit_code) == (Health.FAILED, QUOTA)
    assert failed.text == f"{V6E} allows 0 in {ZONE}, {OTHER}; on-demand v6e-1 takes 1 chip"
    assert f"--quota-id={V6E} --dimensions=zone={ZONE} --preferred-value=1" in str(failed.fix)
    assert (idle.health, idle.text) == (Health.OK, "nothing idle holds quota")
    with pytest.raises(ProviderError, match=V6E) as caught:  # as the creation itself would have said
        google.provider().acquire(tpu_lease(), offer(), source, seconds=60)
    assert caught.value.failure.kind is Kind.QUOTA


def test_no_quota_in_one_zone_of_two_is_a_warning(google: Google) -> None:
    google.world.zones[ZONE].quota = 0
    warning, ok, _idle = quota_of(google)
    assert (warning.health, ok.health) == (Health.WARNING, Health.OK)
    assert f"{V6E} allows 0 in {ZONE};" in warning.text
    assert f"{V6E} allows 1000 in {OTHER};" in ok.text


def test_a_quota_smaller_than_one_machine_fails(google: Google) -> None:
    google.world.zones[ZONE].limits["TPUV6E"] = 7
    failed, _idle = quota_of(google, dataclasses.replace(TPU, type="v6e-8"))
    assert (failed.health, failed.exit_code) == (Health.FAILED, QUOTA)
    assert "allows 7" in failed.text
    ok, _idle = quota_of(google, dataclasses.replace(TPU, type="v6e-4"))
    assert ok.health is Health.OK


def test_spot_and_on_demand_are_told_apart(google: Google) -> None:
    google.world.zones[ZONE].limits["TPUV6EPreemptible"] = 0
    spot, plain, _idle = quota_of(google, dataclasses.replace(TPU, spot="prefer"))
    assert (spot.health, plain.health) == (Health.WARNING, Health.OK)
    assert spot.text.startswith(f"{V6E_SPOT} allows 0 in {ZONE}; spot v6e-1")
    only, _idle = quota_of(google, dataclasses.replace(TPU, spot="only"))
    assert only.exit_code == QUOTA


def test_no_quota_in_the_region_fails_although_the_zone_has_some(google: Google, source: Source) -> None:
    google.world.region_quotas["TPUV6E", "us-central1"] = 0
    failed, _idle = quota_of(google, TPU)
    assert failed.text.startswith("TPUV6EPerProjectPerRegionForTPUAPI allows 0 in us-central1;")
    assert "--dimensions=region=us-central1" in str(failed.fix)
    with pytest.raises(ProviderError, match="in region us-central1"):
        google.provider().acquire(tpu_lease(), offer(), source, seconds=60)


def test_what_is_taken_already_is_a_warning(google: Google, source: Source) -> None:
    google.world.zones[ZONE].limits["TPUV6E"] = 1
    google.provider().acquire(tpu_lease(), offer(), source, seconds=600)
    warning, _idle = quota_of(google, TPU)
    assert warning.health is Health.WARNING
    assert warning.text.endswith("on-demand v6e-1 takes 1 chip, and 1 are taken")
    assert "--preferred-value=2" in str(warning.fix)


FAULTS: dict[str, tuple[dict[str, Any], str, str]] = {
    "forbidden": (
        {"status": 403, "word": "PERMISSION_DENIED", "message": "Permission 'cloudquotas.quotas.get' denied"},
        "Permission 'cloudquotas.quotas.get' denied",
        "roles/cloudquotas.viewer",
    ),
    "disabled": (
        {
            "status": 403,
            "word": "PERMISSION_DENIED",
            "message": "Cloud Quotas API has not been used in project 1 before or it is disabled.",
        },
        "has not been used",
        f"gcloud services enable cloudquotas.googleapis.com --project={PROJECT}",
    ),
    "malformed": ({"kind": "malformed", "times": 9}, "JSON", ""),
    "reset": ({"kind": "reset", "times": 9}, "Connection", ""),
    "hang": ({"kind": "hang", "times": 9}, "timed out", ""),
}


@pytest.mark.parametrize("name", FAULTS)
def test_limits_that_cannot_be_read_are_a_warning_and_what_was_said_without_them_stays(
    google: Google, name: str
) -> None:
    values, says, fix = FAULTS[name]
    google.world.fault("quotaInfos.list", **values)
    google.world.zones[ZONE].quota = 0
    warning, idle = quota_of(google)
    assert (warning.health, warning.exit_code) == (Health.WARNING, 0)
    assert warning.text.startswith("limits cannot be read: ")
    assert says in warning.text
    assert fix in str(warning.fix)
    assert (idle.health, idle.text) == (Health.OK, TODAY)


def test_a_limit_that_is_no_number_is_a_warning(google: Google, monkeypatch: pytest.MonkeyPatch) -> None:
    odd = [{"quotaId": V6E, "dimensionsInfos": [{"details": {"value": "many"}}]}]
    monkeypatch.setattr("ci_runner.providers.gcp_checkup.quota_infos", lambda _tpus, _project: odd)
    warning, idle = quota_of(google)
    assert warning.text == f"limits cannot be read: {V6E} has a limit that is no number"
    assert f"quotas?project={PROJECT}" in str(warning.fix)
    assert idle.text == TODAY


def test_a_tpu_api_that_is_somewhere_else_has_no_quotas_at_google(google: Google) -> None:
    del google.environ[gcp_quotas.ENDPOINT]
    (idle,) = quota_of(google)
    assert (idle.health, idle.text) == (Health.OK, TODAY)


def test_the_command_names_the_quota_and_ends_with_its_code(google: Google, tmp_path: Path) -> None:
    (tmp_path / "ci-runner.toml").write_text(
        f'[machines.tpu]\nprovider = "gcp-tpu"\ntype = "v6e-1"\nzones = ["{ZONE}"]\n'
    )
    google.world.zones[ZONE].quota = 0
    done = subprocess.run(
        [sys.executable, "-m", "ci_runner", "doctor", "--format", "json"],
        cwd=tmp_path,
        env={
            **os.environ,
            **google.environ,
            "CI_RUNNER_HOME": str(tmp_path),
            "GITHUB_API_URL": google.server.url,
        },
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == QUOTA, done.stdout + done.stderr
    (failed,) = [each for each in json.loads(done.stdout)["checks"] if each["health"] == "failed"]
    assert (failed["place"], failed["name"]) == ("tpu", "quota")
    assert V6E in failed["text"]
    assert failed["fix"].startswith("ask for more")


# -- the emulated API is one that Google's own client understands


def test_googles_own_client_reads_the_same_limits(google: Google, monkeypatch: pytest.MonkeyPatch) -> None:
    google.world.zones[ZONE].limits["TPUV6E"] = 0
    host = google.server.url.removeprefix("http://").rstrip("/")
    transport = CloudQuotasRestTransport(host=host, credentials=AnonymousCredentials(), url_scheme="http")  # type: ignore[no-untyped-call]
    client = cloudquotas_v1.CloudQuotasClient(transport=transport)
    parent = f"projects/{PROJECT}/locations/global/services/{gcp_quotas.SERVICE}"
    pages = list(getattr(client, METHOD)(request={"parent": parent, "page_size": 7}).pages)
    infos = {info.quota_id: info for page in pages for info in page.quota_infos}
    assert len(pages) > 1
    assert {tuple(each.applicable_locations): each.details.value for each in infos[V6E].dimensions_infos} == {
        (ZONE,): 0,
        (OTHER, "europe-west4-a"): 1000,
    }
    assert infos[V6E].container_type is cloudquotas_v1.QuotaInfo.ContainerType.PROJECT
    monkeypatch.setattr(gcp_quotas, "PAGE", 7)
    assert [check.health for check in quota_of(google)] == [Health.WARNING, Health.OK, Health.OK]
    assert sum(method == "quotaInfos.list" for method, _ in google.world.calls) == 2 * len(pages)
