"""The list of permissions holds every call that the code makes, and none that it does not."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ci_runner.providers import permissions
from ci_runner.providers.permissions import AWS, GCP, PERMISSIONS, PURPOSES, Purpose, Reach, granted
from tests.packages import needed

Loader: Any = needed("botocore.loaders").Loader
CODE = Path(permissions.__file__).parents[1]
DATA = {"permissions.py", "setup_text.py"}  # speak about calls and make none
SERVICES = ("ec2", "ssm", "sts", "service-quotas")


def texts(folder: str, pattern: str) -> Iterator[str]:
    """Every text that stands by itself in the code."""
    for file in (CODE / folder).glob(pattern):
        if file.name not in DATA:
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Constant) and isinstance(node.value, str):
                    yield node.value


def listed(cloud: str, *, history: bool = False) -> set[str]:
    return {
        each.call
        for each in PERMISSIONS
        if each.cloud == cloud and (each.purposes == (Purpose.HISTORY,)) is history
    }


def test_every_operation_of_aws_that_the_code_names_is_listed() -> None:
    operations = {
        name: service
        for service in SERVICES
        for name in Loader().load_service_model(service, "service-2")["operations"]
    }
    used = {f"{operations[text]}:{text}" for text in texts(".", "**/*.py") if text in operations}
    assert used == listed(AWS)


def test_every_method_of_googles_client_that_the_code_names_is_listed() -> None:
    from google.cloud.cloudquotas_v1 import CloudQuotasClient
    from google.cloud.tpu_v2 import TpuClient

    clients = (TpuClient, CloudQuotasClient)
    methods = {name for client in clients for name, _ in inspect.getmembers(client, inspect.isfunction)}
    methods |= {"get_operation"}
    used = {text for text in texts("providers", "gcp_*.py") if text in methods}
    assert used == listed(GCP)


def test_no_other_service_is_asked() -> None:
    services = set(Loader().list_available_services("service-2"))
    assert {text for text in texts("providers", "aws_*.py") if text in services} == set(SERVICES)


@pytest.mark.parametrize("cloud", [AWS, GCP])
def test_every_function_of_the_library_of_buckets_is_listed(cloud: str) -> None:
    used = {
        node.func.attr
        for file in (CODE / "history").glob("*.py")
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and isinstance(node.func.value, ast.Name)
        and node.func.value.id == "obstore"
    }
    assert used == listed(cloud, history=True)


def test_a_row_is_there_once_and_says_why() -> None:
    keys = [(each.cloud, each.call, each.grants, each.reach, each.kinds) for each in PERMISSIONS]
    assert len(keys) == len(set(keys))
    for each in PERMISSIONS:
        assert each.why, each
        assert each.purposes, each
        assert len(set(each.purposes)) == len(each.purposes), each
        assert bool(each.grants) == (each.reach is not Reach.NOTHING), each
    assert set(PURPOSES) == set(Purpose)


def test_nobody_may_hand_out_rights_or_change_what_is_recorded() -> None:
    everything = granted(AWS) + granted(GCP)
    assert len(everything) == len(set(everything))
    for each in everything:
        assert "*" not in each
        assert not each.startswith(("iam:Pass", "iam:Put", "iam:Attach", "resourcemanager.", "iam.roles."))
        assert each not in ("s3:DeleteObject", "storage.objects.delete", "storage.objects.update")
