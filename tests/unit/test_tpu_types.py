"""Names of TPU types, by the table of facts: chips, hosts, software."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ci_runner.errors import ConfigurationError
from ci_runner.model import MachineSpec
from ci_runner.providers.tpu_types import GENERATIONS, tpu_type


def machine(name: str | None, **options: str) -> MachineSpec:
    given_options = {key.replace("_", "-"): value for key, value in options.items()}
    return MachineSpec(name="tpu", provider="gcp-tpu", type=name, options=given_options)


@pytest.mark.parametrize(
    ("name", "chips", "hosts", "runtime"),
    [
        ("v2-8", 4, 1, "tpu-ubuntu2204-base"),
        ("v3-32", 16, 4, "tpu-ubuntu2204-base"),
        ("v4-8", 4, 1, "tpu-ubuntu2204-base"),
        ("v4-32", 16, 4, "tpu-ubuntu2204-base"),
        ("v5litepod-1", 1, 1, "v2-alpha-tpuv5-lite"),
        ("v5litepod-4", 4, 1, "v2-alpha-tpuv5-lite"),
        ("v5litepod-8", 8, 1, "v2-alpha-tpuv5-lite"),
        ("v5litepod-16", 16, 4, "v2-alpha-tpuv5-lite"),
        ("v5p-8", 4, 1, "v2-alpha-tpuv5"),
        ("v5p-128", 64, 16, "v2-alpha-tpuv5"),
        ("v6e-1", 1, 1, "v2-alpha-tpuv6e"),
        ("v6e-8", 8, 1, "v2-alpha-tpuv6e"),
        ("v6e-256", 256, 64, "v2-alpha-tpuv6e"),
    ],
)
def test_a_name_says_chips_and_hosts(name: str, chips: int, hosts: int, runtime: str) -> None:
    found = tpu_type(machine(name))
    assert (found.chips, found.hosts, found.runtime) == (chips, hosts, runtime)
    assert found.chips_per_host * found.hosts == chips


@pytest.mark.parametrize("name", [None, "", "v6e", "v6e-0", "g5.xlarge", "v6e-1; rm", "v6e-1\n", "v6e-18"])
def test_what_is_no_type_is_told(name: str | None) -> None:
    with pytest.raises(ConfigurationError) as caught:
        tpu_type(machine(name))
    assert caught.value.fix
    assert caught.value.where == "machines.tpu.type"


def test_a_later_generation_is_described_by_options() -> None:
    with pytest.raises(ConfigurationError, match="does not know"):
        tpu_type(machine("v9x-16"))
    found = tpu_type(machine("v9x-16", chips_per_host="4", runtime_version="v2-alpha-tpuv9"))
    assert (found.chips, found.hosts, found.runtime) == (16, 4, "v2-alpha-tpuv9")
    with pytest.raises(ConfigurationError, match="no number of chips"):
        tpu_type(machine("v9x-16", chips_per_host="many", runtime_version="r"))


def test_options_outrank_the_table() -> None:
    assert tpu_type(machine("v6e-4", runtime_version="mine")).runtime == "mine"
    assert tpu_type(machine("v6e-8", chips_per_host="4")).hosts == 2


@given(st.sampled_from(sorted(GENERATIONS)), st.integers(1, 4096))
def test_every_size_is_whole_or_refused(generation: str, size: int) -> None:
    try:
        found = tpu_type(machine(f"{generation}-{size}"))
    except ConfigurationError:
        return
    assert found.chips_per_host * found.hosts == found.chips >= 1
