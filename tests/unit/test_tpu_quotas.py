"""Google's quotas of TPUs: what their names mean, which of them a type counts against, and what doctor says of it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ci_runner.cli import doctor
from ci_runner.errors import QUOTA
from ci_runner.providers.checkup import Check, Health
from ci_runner.providers.gcp_checkup import quota_checks
from ci_runner.providers.tpu_quotas import (
    Held,
    Look,
    Market,
    Pool,
    Room,
    UnreadableError,
    counted,
    limit_at,
    look,
    need_of,
    pools_of,
)
from ci_runner.providers.tpu_types import TpuType, known_type

HERE, THERE = "us-central1-b", "us-east5-b"
SPOT, ON_DEMAND = Market.SPOT, Market.ON_DEMAND
V6E = "TPUV6EPerProjectPerZoneForTPUAPI"
V6E_SPOT = "TPUV6EPreemptiblePerProjectPerZoneForTPUAPI"
V6E_SPOT_REGION = "TPUV6EPreemptiblePerProjectPerRegionForTPUAPI"
V5P = "TPUV5PPerProjectPerZoneForTPUAPI"
V5E = "TPUV5sLitepodPerProjectPerZoneForTPUAPI"
V5E_SERVING = "TPUV5sLitepodServingPerProjectPerZoneForTPUAPI"


def kind(name: str) -> TpuType:
    found = known_type(name)
    assert found is not None
    return found


def entry(limit: int | None, *places: str, **dimensions: str) -> dict[str, Any]:
    """One of a quota's limits, as Google writes it: without what is 0 or empty."""
    found: dict[str, Any] = {"details": {"value": str(limit)} if limit else {}}
    if places:
        found["applicableLocations"] = list(places)
    return {**found, "dimensions": dimensions} if dimensions else found


def quota(name: str, **limits: int) -> dict[str, Any]:
    """A quota with a limit for each zone."""
    zones = {zone.replace("_", "-"): limit for zone, limit in limits.items()}
    return {
        "quotaId": name,
        "dimensionsInfos": [entry(each, zone, zone=zone) for zone, each in zones.items()],
    }


def rooms(
    name: str, *infos: Mapping[str, Any], market: Market = ON_DEMAND, held: Sequence[Held] = ()
) -> list[str]:
    return [each.room.value for each in look(kind(name), (HERE, THERE), market, infos, held)]


def checks(name: str, *infos: Mapping[str, Any], markets: Sequence[Market] = (ON_DEMAND,)) -> list[Check]:
    looks = [each for market in markets for each in look(kind(name), (HERE, THERE), market, infos, ())]
    return list(quota_checks(kind(name), "octo-project", looks))


@pytest.mark.parametrize(
    ("name", "generation", "market", "pool", "per"),
    [
        ("TPUV2sPodPerProjectPerRegionForTPUAPI", "v2", ON_DEMAND, Pool.POD, "region"),
        ("TPUV2sPreemptiblePodPerProjectPerZoneForTPUAPI", "v2", SPOT, Pool.POD, "zone"),
        ("TPUV3sPerProjectPerZoneForTPUAPI", "v3", ON_DEMAND, Pool.PLAIN, "zone"),
        ("TPUV4sPreemptiblePodPerProjectPerRegionForTPUAPI", "v4", SPOT, Pool.POD, "region"),
        ("TPUV4PodPerProjectPerZoneForTPUAPI", "v4", ON_DEMAND, Pool.POD, "zone"),
        (V5E, "v5e", ON_DEMAND, Pool.PLAIN, "zone"),
        ("TPUV5sPreemptibleLitepodPerProjectPerZoneForTPUAPI", "v5e", SPOT, Pool.PLAIN, "zone"),
        ("TPUV5sReservedLitepodPerProjectPerZoneForTPUAPI", "v5e", Market.RESERVED, Pool.PLAIN, "zone"),
        (V5E_SERVING, "v5e", ON_DEMAND, Pool.SERVING, "zone"),
        ("TPUV5sPreemptibleLitepodServingPerProjectPerZoneForTPUAPI", "v5e", SPOT, Pool.SERVING, "zone"),
        (V5P, "v5p", ON_DEMAND, Pool.PLAIN, "zone"),
        ("TPUV5PPreemptiblePerProjectPerZoneForTPUAPI", "v5p", SPOT, Pool.PLAIN, "zone"),
        ("TPUV6EPerProjectPerRegion", "v6e", ON_DEMAND, Pool.PLAIN, "region"),
        (V6E_SPOT, "v6e", SPOT, Pool.PLAIN, "zone"),
        ("TPUV7XPreemptiblePerProjectPerZoneForTPUAPI", "v7x", SPOT, Pool.PLAIN, "zone"),
    ],
)
def test_a_name_says_what_a_quota_counts(
    name: str, generation: str, market: Market, pool: Pool, per: str
) -> None:
    found = counted(name)
    assert found is not None
    assert (found.generation, found.market, found.pool, found.per) == (generation, market, pool, per)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "CreateNodeRequestsPerMinutePerProject",
        "TPUPerProjectPerZone",
        "TPUV6EXPerProjectPerZoneForTPUAPI",
        "TPUV6EReservedPreemptiblePerProjectPerZoneForTPUAPI",
        "TPUV6ESpecialPerProjectPerZoneForTPUAPI",
        "TPUV6EPerProjectPerMinuteForTPUAPI",
        f"{V6E}\n",
        f"{V6E} --quiet; rm",
    ],
)
def test_a_name_that_nobody_understands_counts_nothing(name: str) -> None:
    assert counted(name) is None


@given(
    st.text(max_size=80)
    | st.from_regex(r"TPUV[0-9]{1,2}[A-Za-z]{0,20}PerProjectPer(Zone|Region)(ForTPUAPI)?")
)
def test_any_name_is_understood_or_not(name: str) -> None:
    found = counted(name)
    assert found is None or (found.generation.startswith("v") and name.isalnum())


@pytest.mark.parametrize(
    ("name", "least", "most", "pools"),
    [
        ("v2-8", 8, 8, {Pool.PLAIN}),
        ("v3-32", 32, 32, {Pool.POD}),
        ("v4-8", 4, 8, {Pool.PLAIN, Pool.POD}),
        ("v5litepod-1", 1, 1, {Pool.PLAIN, Pool.SERVING}),
        ("v5litepod-8", 8, 8, {Pool.PLAIN, Pool.SERVING}),
        ("v5litepod-16", 16, 16, {Pool.PLAIN}),
        ("v5p-128", 64, 128, {Pool.PLAIN, Pool.POD}),
        ("v6e-8", 8, 8, {Pool.PLAIN, Pool.POD}),
    ],
)
def test_what_a_type_takes(name: str, least: int, most: int, pools: set[Pool]) -> None:
    need = need_of(kind(name))
    assert (need.least, need.most) == (least, most)
    assert str(most) in need.words
    assert pools_of(kind(name)) == pools


def test_of_an_unknown_generation_only_nothing_is_too_little() -> None:
    new = TpuType(name="v7x-8", generation="v7x", chips=8, hosts=2, runtime="r")
    for limit, room in ((0, Room.SHORT), (1, Room.UNSURE), (15, Room.UNSURE), (16, Room.ENOUGH)):
        infos = [quota("TPUV7XPerProjectPerZoneForTPUAPI", us_central1_b=limit)]
        assert [each.room for each in look(new, (HERE,), ON_DEMAND, infos, ())] == [room]


def test_types_that_are_not_known_have_no_place_among_what_is_held() -> None:
    assert [known_type(name) for name in (None, "", "v9z-1", "v6e-18")] == [None] * 4


# -- limits


def test_a_limit_is_that_of_the_most_exact_entry() -> None:
    info = {
        "quotaId": V6E,
        "dimensionsInfos": [
            entry(16, HERE, THERE),
            entry(4, HERE, region="us-central1"),
            entry(None, HERE, zone=HERE),
        ],
    }
    assert limit_at(info, HERE) == 0  # Google leaves a 0 out
    assert limit_at(info, "us-central1-a") == 4
    assert limit_at(info, THERE) == 16
    assert limit_at(info, "mars-a") is None


@pytest.mark.parametrize(
    ("given_entry", "limit"),
    [
        ({"details": {"value": "-1"}}, math.inf),
        ({"details": {"value": "-2"}}, 0),
        ({"details": {"value": 8}}, 8),
        ({"applicableLocations": [HERE]}, None),
        (entry(8, "global"), 8),
        (entry(8, HERE, zone=HERE, network="vpc"), None),
    ],
)
def test_a_limit_as_it_may_be_written(given_entry: dict[str, Any], limit: float | None) -> None:
    assert limit_at({"quotaId": V6E, "dimensionsInfos": [given_entry]}, HERE) == limit


@pytest.mark.parametrize(
    "entries",
    [
        "",
        [1],
        [{"dimensions": []}],
        [{"applicableLocations": "us"}],
        [{"details": []}],
        [{"details": {"value": "many"}}],
        [{"details": {"value": True}}],
        [{"details": {"value": "9" * 30}}],
    ],
)
def test_what_is_no_limit_is_told(entries: Any) -> None:
    with pytest.raises(UnreadableError):
        limit_at({"quotaId": V6E, "dimensionsInfos": entries}, HERE)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
ENTRIES = st.fixed_dictionaries(
    {},
    optional={
        "dimensions": JSON | st.dictionaries(st.sampled_from(["zone", "region"]), st.just(HERE)),
        "details": JSON | st.fixed_dictionaries({"value": JSON | st.integers().map(str)}),
        "applicableLocations": JSON | st.just([HERE]),
    },
)


@given(JSON | st.lists(ENTRIES, max_size=4))
def test_any_answer_is_a_limit_or_unreadable(entries: Any) -> None:
    try:
        limit = limit_at({"quotaId": V6E, "dimensionsInfos": entries}, HERE)
    except UnreadableError:
        return
    assert limit is None or limit >= 0


# -- room


def test_the_market_and_the_generation_decide_which_quota_counts() -> None:
    infos = [quota(V6E, us_central1_b=8, us_east5_b=7), quota(V6E_SPOT, us_central1_b=0, us_east5_b=8)]
    assert rooms("v6e-8", *infos) == ["enough", "short"]
    assert rooms("v6e-8", *infos, market=SPOT) == ["short", "enough"]
    assert rooms("v6e-8", *infos, market=Market.RESERVED) == ["unknown", "unknown"]
    assert rooms("v5p-8", *infos) == ["unknown", "unknown"]


def test_the_region_has_to_leave_room_as_well() -> None:
    region = {"quotaId": V6E_SPOT_REGION, "dimensionsInfos": [entry(None, "us-east5", region="us-east5")]}
    zones = quota(V6E_SPOT, us_central1_b=8, us_east5_b=8)
    found = list(look(kind("v6e-8"), (HERE, THERE), SPOT, [zones, region], ()))
    assert [each.room for each in found] == [Room.ENOUGH, Room.SHORT]
    bound = found[1].bound
    assert bound is not None
    assert (bound.quota, bound.per, bound.place) == (V6E_SPOT_REGION, "region", "us-east5")


def test_where_the_unit_is_not_known_it_is_not_sure() -> None:
    assert rooms("v5p-8", quota(V5P, us_central1_b=3, us_east5_b=4)) == ["short", "unsure"]
    assert rooms("v5p-8", quota(V5P, us_central1_b=7, us_east5_b=8)) == ["unsure", "enough"]


def test_a_small_v5e_is_short_only_if_both_quotas_are() -> None:
    serving, plain = (
        quota(V5E_SERVING, us_central1_b=4, us_east5_b=4),
        quota(V5E, us_central1_b=0, us_east5_b=8),
    )
    assert rooms("v5litepod-8", serving, plain) == ["short", "unsure"]
    assert rooms("v5litepod-4", serving, plain) == ["unsure", "enough"]
    assert rooms("v5litepod-16", quota(V5E, us_central1_b=16), quota(V5E_SERVING, us_central1_b=0)) == [
        "enough",
        "unknown",
    ]


def test_slices_of_v2_do_not_count_against_the_quota_of_single_machines() -> None:
    infos = [
        quota("TPUV2sPerProjectPerZoneForTPUAPI", us_central1_b=16, us_east5_b=0),
        quota("TPUV2sPodPerProjectPerZoneForTPUAPI", us_central1_b=0, us_east5_b=32),
    ]
    assert rooms("v2-8", *infos) == ["enough", "short"]
    assert rooms("v2-32", *infos) == ["short", "enough"]


def test_what_is_held_takes_its_part() -> None:
    infos = [quota(V6E, us_central1_b=16, us_east5_b=16)]
    held = [
        Held(kind=kind("v6e-8"), zone=HERE, market=ON_DEMAND),
        Held(kind=kind("v6e-1"), zone=HERE, market=ON_DEMAND),
        Held(kind=kind("v6e-8"), zone=THERE, market=ON_DEMAND),
        Held(kind=kind("v6e-8"), zone=THERE, market=SPOT),
        Held(kind=kind("v5litepod-8"), zone=THERE, market=ON_DEMAND),
    ]
    assert rooms("v6e-8", *infos, held=held) == ["taken", "enough"]
    looks = list(look(kind("v6e-8"), (HERE,), ON_DEMAND, infos, held))
    (check,) = quota_checks(kind("v6e-8"), "octo-project", looks)
    assert check.health is Health.WARNING
    assert "and 9 are taken" in check.text
    assert "--preferred-value=17" in str(check.fix)


@given(
    st.sampled_from(["v2-8", "v4-8", "v5litepod-8", "v5p-16", "v6e-8"]),
    st.sampled_from(list(Market)),
    st.lists(st.integers(-1, 40), min_size=12, max_size=12),
)
def test_more_quota_never_leaves_less_room(name: str, market: Market, limits: list[int]) -> None:
    """Raising every limit to "any number" leaves room wherever a limit is told at all."""
    word = {ON_DEMAND: "", SPOT: "Preemptible", Market.RESERVED: "Reserved"}[market]
    around = (
        ("V2s", ""),
        ("V4s", "Pod"),
        ("V5s", "Litepod"),
        ("V5s", "LitepodServing"),
        ("V5P", ""),
        ("V6E", ""),
    )
    names = [f"TPU{before}{word}{after}PerProjectPerZoneForTPUAPI" for before, after in around]
    infos = [
        quota(each, us_central1_b=here, us_east5_b=there)
        for each, here, there in zip(names, limits[::2], limits[1::2], strict=True)
    ]
    free = [quota(each, us_central1_b=-1, us_east5_b=-1) for each in names]
    assert "unknown" not in rooms(name, *infos, market=market)
    assert rooms(name, *free, market=market) == ["enough", "enough"]


# -- what is said


def test_no_room_anywhere_fails_as_a_run_would_and_says_how_to_get_it() -> None:
    (check,) = checks("v6e-8", quota(V6E, us_central1_b=0, us_east5_b=0))
    assert (check.name, check.health, check.exit_code) == ("quota", Health.FAILED, QUOTA)
    assert check.text == f"{V6E} allows 0 in us-central1-b, us-east5-b; on-demand v6e-8 takes 8 chips"
    assert check.fix == (
        "ask for more, at https://console.cloud.google.com/iam-admin/quotas?project=octo-project or:"
        " gcloud beta quotas preferences create --project=octo-project --service=tpu.googleapis.com"
        f" --quota-id={V6E} --dimensions=zone=us-central1-b --preferred-value=8"
        " --email=ADDRESS"
    )


def test_room_in_one_zone_of_two_is_a_warning_about_the_other() -> None:
    warning, ok = checks("v6e-8", quota(V6E, us_central1_b=4, us_east5_b=-1))
    assert (warning.health, warning.exit_code) == (Health.WARNING, 0)
    assert warning.text.startswith(f"{V6E} allows 4 in us-central1-b; ")
    assert ok.health is Health.OK
    assert ok.text.startswith(f"{V6E} allows any number in us-east5-b; ")


def test_room_on_demand_makes_no_room_for_spot_a_warning() -> None:
    infos = (quota(V6E_SPOT, us_central1_b=0, us_east5_b=0), quota(V6E, us_central1_b=8, us_east5_b=8))
    spot, plain = checks("v6e-8", *infos, markets=(SPOT, ON_DEMAND))
    assert [spot.health, plain.health] == [Health.WARNING, Health.OK]
    alone = checks("v6e-8", *infos, markets=(SPOT,))
    assert [check.exit_code for check in alone] == [QUOTA]
    neither = checks("v6e-8", infos[0], quota(V6E, us_central1_b=0, us_east5_b=7), markets=(SPOT, ON_DEMAND))
    assert [check.health for check in neither] == [Health.FAILED] * 3


def test_a_reservation_without_quota_is_a_warning() -> None:
    infos = [quota("TPUV6EReservedPerProjectPerZoneForTPUAPI", us_central1_b=0, us_east5_b=0)]
    (check,) = checks("v6e-8", *infos, markets=(Market.RESERVED,))
    assert check.health is Health.WARNING


def test_what_is_not_sure_is_said_so() -> None:
    (unit, _) = checks("v5p-8", quota(V5P, us_central1_b=4, us_east5_b=8))
    assert unit.health is Health.WARNING
    assert "takes 4 chips or 8 TensorCores: enough only if it counts chips" in unit.text
    infos = (quota(V5E_SERVING, us_central1_b=0, us_east5_b=0), quota(V5E, us_central1_b=8, us_east5_b=8))
    (pool,) = checks("v5litepod-8", *infos)
    assert pool.health is Health.WARNING
    assert "enough only if another quota is what it counts against" in pool.text
    new = TpuType(name="v7x-8", generation="v7x", chips=8, hosts=2, runtime="r")
    looks = look(new, (HERE,), ON_DEMAND, [quota("TPUV7XPerProjectPerZoneForTPUAPI", us_central1_b=4)], ())
    (generation,) = quota_checks(new, "octo-project", list(looks))
    assert generation.text.endswith("enough only if that is so few, which Google does not tell")
    (unknown,) = checks("v6e-1")
    assert unknown.health is Health.WARNING
    assert unknown.text == "no quota is told that on-demand v6e-1 counts against in us-central1-b, us-east5-b"


def test_many_zones_and_long_names_fit_their_lines() -> None:
    zones = [f"northamerica-northeast{number}-a" for number in range(40)]
    name = "TPUV5sPreemptibleLitepodServingPerProjectPerZoneForTPUAPI"
    plain = "TPUV5sPreemptibleLitepodPerProjectPerZoneForTPUAPI"
    infos = [{"quotaId": each, "dimensionsInfos": [entry(None, *zones)]} for each in (name, plain)]
    looks = list(look(kind("v5litepod-8"), zones, SPOT, infos, ()))
    (check,) = quota_checks(kind("v5litepod-8"), "p" * 30, looks)
    assert "and 35 more" in check.text
    lines = doctor.lines([("tpu", [check])])
    assert "--preferred-value=8" in lines[1]
    assert "takes 8 chips" in lines[0]


def test_a_look_without_a_quota_is_a_warning_with_the_page() -> None:
    looks = [Look(zone=HERE, market=SPOT, room=Room.UNKNOWN)]
    (check,) = quota_checks(kind("v6e-1"), "octo-project", looks)
    assert check.fix == "https://console.cloud.google.com/iam-admin/quotas?project=octo-project"
