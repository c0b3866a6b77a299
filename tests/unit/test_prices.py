"""Prices: types and regions found in the table, the configuration's word before it, and no guess for what is unknown."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prices import update
from prices.update import CannotUpdate, Seen

from ci_runner.errors import ConfigurationError
from ci_runner.model import MachineSpec
from ci_runner.providers.prices import (
    TABLE,
    Row,
    cost,
    price_of,
    price_per_hour,
    read_rows,
    reference_text,
    rows_text,
    table,
    unit_of,
)


def test_every_row_has_a_date_and_a_source_and_sane_prices() -> None:
    for row in table():
        assert row.date.startswith("20")
        assert row.source
        assert 0.01 < row.on_demand < 500
        assert row.spot is None or 0.01 < row.spot <= row.on_demand
    assert len({(row.provider, row.type, row.region) for row in table()}) == len(table())


def test_the_file_is_what_its_rows_write() -> None:
    assert rows_text(table()) == TABLE.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("provider", "type_", "zone", "spot", "dollars"),
    [
        ("aws-ec2", "g5.xlarge", "us-east-1a", False, 1.006),
        ("aws-ec2", "g5.xlarge", "us-east-1", True, 0.45),
        ("gcp-tpu", "v6e-1", "us-central1-b", True, 0.544),
        ("gcp-tpu", "v6e-8", "us-east5-b", True, 9.72),
        ("gcp-tpu", "v5litepod-8", "us-central1-a", False, 9.6),
        ("gcp-tpu", "v5p-8", "us-east5-a", False, 16.8),  # eight cores are four chips
        ("gcp-tpu", "v6e-1", "southamerica-west1-a", True, 2.7),  # no spot price there: the one on demand
    ],
)
def test_what_a_machine_costs(provider: str, type_: str, zone: str, spot: bool, dollars: float) -> None:
    found = price_of(provider, type_, zone, spot)
    assert found is not None
    assert found.per_hour == pytest.approx(dollars)
    assert not found.elsewhere


@pytest.mark.parametrize("zone", [None, "mars-north1-a"])
def test_an_unknown_region_costs_the_most_that_is_known(zone: str | None) -> None:
    found = price_of("gcp-tpu", "v6e-1", zone, False)
    assert found is not None
    assert found.per_hour == max(row.on_demand for row in table() if row.type == "v6e")
    assert found.elsewhere


@pytest.mark.parametrize(
    ("type_", "unit"),
    [
        ("v5litepod-16", ("v5e", 16.0)),
        ("v5e-4", ("v5e", 4.0)),
        ("v4-8", ("v4", 4.0)),
        ("v2-8", ("v2", 4.0)),
        ("v9-8", ("v9-8", 1.0)),
        ("v6e-0", ("v6e-0", 1.0)),
    ],
)
def test_names_of_tpu_types(type_: str, unit: tuple[str, float]) -> None:
    assert unit_of("gcp-tpu", type_) == unit
    assert unit_of("aws-ec2", type_) == (type_, 1.0)


def test_the_configuration_decides_before_the_table() -> None:
    options = {"price-per-hour": "3", "spot-price-per-hour": "1.5"}
    machine = MachineSpec(name="tpu", provider="gcp-tpu", type="v9-8", options=options)
    assert price_per_hour(machine, "us-east5-b", spot=False) == 3.0
    assert price_per_hour(machine, "us-east5-b", spot=True) == 1.5
    plain = MachineSpec(name="tpu", provider="gcp-tpu", type="v6e-1")
    assert price_per_hour(plain, "us-east5-b", spot=True) == 1.215
    assert price_per_hour(plain, "us-east5-b", spot=False, type_="v6e-4") == 10.8
    rack = MachineSpec(name="rack", provider="ssh")
    assert price_per_hour(rack, None, spot=False) == 0.0
    paid = MachineSpec(name="rack", provider="ssh", options={"price-per-hour": "0.5"})
    assert price_per_hour(paid, None, spot=False) == 0.5


def test_an_unknown_type_asks_for_its_price() -> None:
    machine = MachineSpec(name="new", provider="gcp-tpu", type="v9-8")
    with pytest.raises(ConfigurationError, match='no price is known for "v9-8"') as caught:
        price_per_hour(machine, "us-east5-b", spot=False)
    assert (
        caught.value.fix == 'say what it costs in dollars: price-per-hour = "1.23" in [machines.new.options]'
    )
    assert caught.value.where == "machines.new.type"


@pytest.mark.parametrize("text", ["much", "-1", "nan", "inf", ""])
def test_a_price_that_is_none_is_refused(text: str) -> None:
    machine = MachineSpec(name="x", provider="aws-ec2", type="g5.xlarge", options={"price-per-hour": text})
    with pytest.raises(ConfigurationError, match="not a price"):
        price_per_hour(machine, None, spot=False)


def test_cost_is_by_the_second() -> None:
    assert cost(3600.0, 1.0) == 1.0
    assert cost(3600.0, 1.2) == 2.0
    assert cost(3600.0, -5.0) == 0.0
    assert cost(0.6, 372.0) == pytest.approx(0.062)


ROWS = st.lists(
    st.builds(
        Row,
        provider=st.sampled_from(["aws-ec2", "gcp-tpu"]),
        type=st.text(min_size=1, max_size=9),
        region=st.text(min_size=1, max_size=9),
        on_demand=st.floats(0.1, 100).map(lambda value: round(value, 3)),
        spot=st.one_of(st.none(), st.floats(0.1, 100).map(lambda value: round(value, 3))),
        date=st.just("2026-11-23"),
        source=st.text(max_size=9),
    ),
    max_size=4,
)


@given(ROWS)
def test_a_table_is_read_back_as_it_was_written(rows: list[Row]) -> None:
    assert sorted(read_rows(rows_text(rows)), key=repr) == sorted(rows, key=repr)


def test_a_table_with_half_a_row_is_refused() -> None:
    with pytest.raises(ValueError, match="a row is not whole"):
        read_rows('[[price]]\nprovider = "x"\n')


def test_the_page_has_every_row() -> None:
    page = reference_text()
    for row in table():
        assert f"| {row.provider} | `{row.type}` | {row.region} | {row.on_demand:g} |" in page


def row(**more: object) -> Row:
    values: dict[str, object] = {
        "provider": "aws-ec2",
        "type": "g5.xlarge",
        "region": "us-east-1",
        "on_demand": 1.0,
        "spot": 0.5,
        "date": "2026-01-01",
        "source": "old",
    }
    return Row(**{**values, **more})  # type: ignore[arg-type]


def catalogue(**seen: Seen) -> dict[str, dict[tuple[str, str], Seen]]:
    return {
        "aws-ec2": {("g5.xlarge", "us-east-1"): Seen(2.0, 0.6), **{(k, "r"): v for k, v in seen.items()}},
        "gcp-tpu": {},
    }


def test_refreshing_takes_plausible_prices_and_keeps_the_rest() -> None:
    rows = [row(), row(type="gone"), row(type="wild", region="r"), row(type="spotless", region="r")]
    found = catalogue(wild=Seen(700.0, 1.0), spotless=Seen(1.2, None))
    fresh, told, doubtful = update.refreshed(rows, found, "there")
    assert doubtful
    assert [(each.on_demand, each.spot) for each in fresh] == [(2.0, 0.6), (1.0, 0.5), (1.0, 0.5), (1.2, 0.5)]
    assert [each.source for each in fresh] == ["there", "old", "old", "there"]
    assert [line.split()[0] for line in told] == ["read", "kept", "DOUBTFUL", "read"]


def test_a_catalogue_that_knows_nothing_of_ours_changes_nothing() -> None:
    with pytest.raises(CannotUpdate, match="no price for any row"):
        update.refreshed([row(type="gone")], catalogue(), "there")


def test_a_new_row_gets_its_price_or_stays_out() -> None:
    new = update.new_row("aws-ec2:g5.xlarge:us-east-1")
    assert math.isnan(new.on_demand)
    unknown = update.new_row("aws-ec2:g9.xlarge:us-east-1")
    fresh, _, doubtful = update.refreshed([new, unknown], catalogue(), "there")
    assert [each.on_demand for each in fresh] == [2.0]
    assert not doubtful
    for text in ("g5.xlarge", "azure:x:y", "aws-ec2::y"):
        with pytest.raises(CannotUpdate, match="not PROVIDER:TYPE:REGION"):
            update.new_row(text)
