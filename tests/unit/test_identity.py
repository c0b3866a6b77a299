"""Labels: every lease can be found again by them, on every cloud."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from ci_runner.model import LeaseState
from ci_runner.providers.identity import EXPIRES, LEASE, MARKED, label_value, labels_of, lease_from, marked_at
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
