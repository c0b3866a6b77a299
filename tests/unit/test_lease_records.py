"""Ids of leases, who holds them, and records on disk that anything may have happened to; providers by name."""

from __future__ import annotations

import dataclasses
import json
import os
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ci_runner.errors import ConfigurationError
from ci_runner.execution.onboard import supervise
from ci_runner.model import Lease, LeaseState, MachineSpec
from ci_runner.providers.leases import ID, ID_LENGTH, LeaseRecord, Owner, check_lease, new_lease_id
from ci_runner.providers.registry import PROVIDERS, provider_named

LEASE = Lease(
    id="7f3c-unit-00000a",
    machine=MachineSpec(name="local", options={"a": "b"}),
    owner="someone",
    run_id="20260101-000000-7f3c",
    suite="unit",
    created_at=1000.0,
    expires_at=2000.0,
    state=LeaseState.READY,
    labels={"team": "x"},
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(st.text(), st.text())
def test_every_id_can_be_found_again(run_id: str, selection: str) -> None:
    made = new_lease_id(run_id, selection)
    assert ID.fullmatch(made)
    assert len(made) <= ID_LENGTH
    check_lease(dataclasses.replace(LEASE, id=made))


def test_an_id_says_whose_it_is_and_two_are_never_the_same() -> None:
    assert (
        new_lease_id("20260101-000000-7f3c", "unit-2of4", token=lambda: "5b02e1") == "7f3c-unit-2of4-5b02e1"
    )
    assert new_lease_id("r", "s") != new_lease_id("r", "s")


@pytest.mark.parametrize("name", ["", "-a", "a-", "A", "a/b", "a b", "..", "a\n", "é", "a" * 41])
def test_an_id_that_is_no_name_everywhere_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="not an id of a lease"):
        check_lease(dataclasses.replace(LEASE, id=name))


def test_a_lease_that_ends_before_it_begins_is_refused() -> None:
    with pytest.raises(ValueError, match="expires before it begins"):
        check_lease(dataclasses.replace(LEASE, expires_at=LEASE.created_at))


# -- who holds it


def test_this_process_is_alive_and_its_number_used_again_is_not() -> None:
    us = Owner.this_process()
    assert us.is_alive() is True
    assert dataclasses.replace(us, start=us.start + 1).is_alive() is False


@pytest.mark.parametrize(
    ("change", "alive"),
    [({"host": "elsewhere"}, None), ({"boot": "earlier"}, False), ({"namespace": "pid:[1]"}, None)],
)
def test_what_cannot_be_known_from_here_is_not_guessed(change: dict[str, str], alive: bool | None) -> None:
    changed: Any = {**change}
    assert dataclasses.replace(Owner.this_process(), **changed).is_alive() is alive


def test_where_there_is_no_proc_the_number_alone_has_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    us = dataclasses.replace(Owner.this_process(), start=0)
    monkeypatch.setattr(supervise, "LINUX", False)
    assert us.is_alive() is True

    def refuse(kind: type[OSError]) -> Any:
        def kill(_pid: int, _number: int) -> None:
            raise kind

        return kill

    monkeypatch.setattr(os, "kill", refuse(ProcessLookupError))
    assert us.is_alive() is False
    monkeypatch.setattr(os, "kill", refuse(PermissionError))
    assert us.is_alive() is True


def test_without_a_namespace_to_read_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_path: str) -> str:
        raise OSError

    monkeypatch.setattr(os, "readlink", refuse)
    assert Owner.this_process().namespace == ""


# -- records


def record() -> LeaseRecord:
    return LeaseRecord(lease=LEASE, owner=Owner.this_process(), work="/w")


def test_a_record_comes_back_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "lease.json"
    record().write(path)
    assert LeaseRecord.read(path) == record()
    assert [item.name for item in tmp_path.iterdir()] == ["lease.json"]


def test_no_record_is_none(tmp_path: Path) -> None:
    assert LeaseRecord.read(tmp_path / "gone.json") is None
    assert LeaseRecord.read(tmp_path) is None


@given(st.binary(max_size=40) | JSON.map(lambda value: json.dumps(value).encode()))
def test_garbage_is_no_record_and_no_error(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "lease.json")
        path.write_bytes(data)
        assert LeaseRecord.read(path) is None


@given(st.sampled_from(["lease", "owner", "work"]), st.sampled_from(["pid", "id", "machine", "state"]), JSON)
def test_a_record_with_a_part_that_is_garbage_is_read_or_none(part: str, name: str, value: Any) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "lease.json")
        record().write(path)
        found = json.loads(path.read_text())
        for changed in ({**found, part: value}, {**found, "lease": {**found["lease"], name: value}}):
            path.write_text(json.dumps(changed))
            read = LeaseRecord.read(path)
            assert read is None or isinstance(read.lease, Lease)


def test_a_lease_is_stale_when_its_time_or_its_holder_is_gone() -> None:
    held = record()
    assert not held.is_stale(1999.0)
    assert held.is_stale(2000.0)
    earlier = dataclasses.replace(held, owner=dataclasses.replace(held.owner, boot="earlier"))
    assert earlier.is_stale(1000.0)
    elsewhere = dataclasses.replace(held, owner=dataclasses.replace(held.owner, host="elsewhere"))
    assert not elsewhere.is_stale(1000.0)


# -- providers by name


def test_an_unknown_provider_names_those_that_there_are_and_the_nearest() -> None:
    with pytest.raises(ConfigurationError, match='no provider is called "locall"') as caught:
        provider_named("locall", {})
    assert 'perhaps you meant "local"' in str(caught.value.fix)
    assert ", ".join(sorted(PROVIDERS)) in str(caught.value.fix)
    with pytest.raises(ConfigurationError) as caught:
        provider_named("zzz", {})
    assert "perhaps" not in str(caught.value.fix)


def test_a_provider_knows_its_name(tmp_path: Path) -> None:
    environ = {"HOME": str(tmp_path), "XDG_STATE_HOME": str(tmp_path / "state")}
    assert provider_named("local", environ).name == "local"
