"""Which quota of EC2 a type counts against."""

from __future__ import annotations

import pytest

from ci_runner.providers.aws_checkup import quota_of


@pytest.mark.parametrize(
    ("type_", "on_demand", "spot"),
    [
        ("g5.xlarge", "L-DB2E81BA", "L-3819A6DF"),
        ("g4dn.xlarge", "L-DB2E81BA", "L-3819A6DF"),
        ("vt1.3xlarge", "L-DB2E81BA", "L-3819A6DF"),
        ("p4d.24xlarge", "L-417A185B", "L-7212CCBC"),
        ("p5.48xlarge", "L-417A185B", "L-C4BD4855"),
        ("inf2.xlarge", "L-1945791B", "L-B5D1601B"),
        ("trn1.2xlarge", "L-2C3B7624", "L-6B0D517C"),
        ("m7i.large", "L-1216C47A", "L-34B43A08"),
        ("t3.micro", "L-1216C47A", "L-34B43A08"),
    ],
)
def test_a_type_counts_against_the_quota_of_its_family(type_: str, on_demand: str, spot: str) -> None:
    found, of_spot = quota_of(type_, spot=False), quota_of(type_, spot=True)
    assert found is not None
    assert of_spot is not None
    assert (found[0], of_spot[0]) == (on_demand, spot)
    assert (found[1].split(maxsplit=1)[0], of_spot[1].split(maxsplit=1)[0]) == ("on-demand", "spot")


@pytest.mark.parametrize("type_", ["mac2.metal", "", "gpu", "x2idn.16xlarge"])
def test_of_other_types_nobody_knows(type_: str) -> None:
    assert quota_of(type_, spot=False) is None
