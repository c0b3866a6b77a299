"""Labels: every lease can be found again by them, on every cloud."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ci_runner.model import LeaseState
from ci_runner.providers.failures import TakenError
from ci_runner.providers.identity import (
    EXPIRES,
    KEY,
    LEASE,
    MARKED,
    RUN,
    check_holder,
    keyed,
    label_value,
    labels_of,
    lease_from,
    marked_at,
)
from tests.job_kit import make_lease

VALUE = re.compile(r"[a-z0-9_-]{0,63}")


@given(st.text(max_size=200))
def test_every_text_becomes_a_label_that_clouds_take(text: str) -> None:
    value = label_value(text)
    assert VALUE.fullmatch(value)
    assert label_value(value) == value


def test_a_lease_is_found_again_by_its_labels() -> None:
    lease = make_lease(owner="Ada L.")
    labels = labels_of(lease)
    found = lease_from(
        labels, provider="gcp-tpu", machine_type="v6e-1", zone="z", state=LeaseState.READY, created_at=5.0
    )
    assert found is not None
    assert (found.id, found.owner, found.suite) == (lease.id, "ada-l", lease.suite)
    assert (found.created_at, found.expires_at) == (int(lease.created_at), int(lease.expires_at))
    assert labels_of(found) == labels
    assert marked_at(found) is None


def test_a_mark_is_read_back_and_nonsense_is_none() -> None:
    labels = {**labels_of(make_lease()), MARKED: "1700000000"}
    for value, seen in (("1700000000", 1_700_000_000.0), ("soon", None), ("", None)):
        found = lease_from(
            {**labels, MARKED: value},
            provider="p",
            machine_type=None,
            zone=None,
            state=LeaseState.READY,
            created_at=0.0,
        )
        assert found is not None
        assert marked_at(found) == seen


def test_what_does_not_bear_our_mark_is_not_ours_and_a_lost_date_means_expired() -> None:
    assert (
        lease_from({}, provider="p", machine_type=None, zone=None, state=LeaseState.READY, created_at=1.0)
        is None
    )
    for date in ("never", "9" * 13, ""):
        found = lease_from(
            {LEASE: "a-b", EXPIRES: date},
            provider="p",
            machine_type=None,
            zone=None,
            state=LeaseState.READY,
            created_at=7.0,
        )
        assert found is not None
        assert found.expires_at == 7.0


def test_a_machine_of_the_same_run_and_key_is_its_own() -> None:
    lease = keyed(make_lease(), "ssh-ed25519 AAAA")
    check_holder(labels_of(lease), lease)
    check_holder({LEASE: lease.id}, lease)  # made by hand, or before machines bore this


@pytest.mark.parametrize(("name", "value"), [(RUN, "20260101-000000-0000"), (KEY, "0123456789abcdef")])
def test_a_machine_of_another_run_with_the_same_lease_id_is_refused(name: str, value: str) -> None:
    lease = keyed(make_lease(), "ssh-ed25519 AAAA")
    with pytest.raises(TakenError, match=lease.id) as caught:
        check_holder({**labels_of(lease), name: value}, lease)
    assert caught.value.exit_code == 8
    assert "start this run again" in str(caught.value.fix)


@given(st.text(max_size=80), st.text(max_size=80))
def test_every_key_has_a_label_of_its_own_that_clouds_take(one: str, other: str) -> None:
    first, second = (labels_of(keyed(make_lease(), each))[KEY] for each in (one, other))
    assert label_value(first) == first
    assert (first == second) == (one == other)
