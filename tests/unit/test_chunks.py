"""Large things in a store: what is put there comes back as it was, or is known to be damaged."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ci_runner.history import chunks
from ci_runner.history.chunks import AT_ONCE, Damaged, digest_of, entries, fetch, keep
from ci_runner.history.store import MemoryStore

PLACE = "org--repo/pip"
DIGEST = digest_of("pip-1")


@given(st.lists(st.binary(max_size=50), max_size=12))
def test_what_is_kept_comes_back_in_order(parts: list[bytes]) -> None:
    store = MemoryStore()
    entry, size = keep(store, PLACE, DIGEST, parts, at=1_790_000_000.0)
    assert entries(store, PLACE) == [entry]
    assert list(fetch(store, entry)) == parts
    assert size == sum(map(len, parts))


def test_entries_are_told_apart_by_key_and_age_and_names_of_others_are_not_looked_at() -> None:
    store = MemoryStore()
    late, _ = keep(store, PLACE, digest_of("b"), [b"late"], at=2000.0)
    soon, _ = keep(store, PLACE, digest_of("a"), [b"soon"], at=1000.0)
    keep(store, "org--repo/pip-two", DIGEST, [b"x"], at=1.0)
    store.put_new(f"entries/{PLACE}/README.json", b"{}")
    store.put_new(f"entries/{PLACE}/{'0' * 16}-{'1' * 13}-zz.json", b"{}")
    assert entries(store, PLACE) == [soon, late]
    assert [entry.digest for entry in entries(store, PLACE)] == [digest_of("a"), digest_of("b")]


def test_two_that_are_kept_at_the_same_moment_are_two() -> None:
    store = MemoryStore()
    kept = [keep(store, PLACE, DIGEST, [text], at=5.0)[0] for text in (b"one", b"two")]
    assert {b"".join(fetch(store, entry)) for entry in kept} == {b"one", b"two"}


def test_nothing_is_seen_of_what_broke_off() -> None:
    def parts() -> Iterator[bytes]:
        yield from [b"one", b"two", b"three", b"four", b"five", b"six"]
        raise OSError("the machine is gone")

    store = MemoryStore()
    with pytest.raises(OSError, match="gone"):
        keep(store, PLACE, DIGEST, parts(), at=1.0)
    assert entries(store, PLACE) == []


class Broken(MemoryStore):
    """A store that changes or loses what it keeps."""

    def __init__(self, change: dict[str, bytes | None]) -> None:
        super().__init__()
        self.change = change

    def get(self, key: str) -> bytes:
        """The object, or what became of it."""
        for end, data in self.change.items():
            if key.endswith(end):
                if data is None:
                    raise KeyError(key)
                return data
        return super().get(key)


@pytest.mark.parametrize(
    ("end", "data", "what"),
    [
        ("/00001", b"other", "other bytes"),
        ("/00001", b"", "other bytes"),
        ("/00002", None, "a part is gone"),
        (".json", None, "cannot be read"),
        (".json", b"", "cannot be read"),
        (".json", b"[]", "cannot be read"),
        (".json", b'{"parts": 3}', "cannot be read"),
        (".json", b'{"parts": ["../x"]}', "cannot be read"),
        (".json", b'{"parts": "abc"}', "cannot be read"),
        (".json", b"[" * 100_000, "cannot be read"),
        (".json", json.dumps({"parts": ["0" * 64] * 4}).encode(), "other bytes"),
    ],
)
def test_damage_is_noticed(end: str, data: bytes | None, what: str) -> None:
    store = Broken({})
    entry, _ = keep(store, PLACE, DIGEST, [b"a", b"b", b"c"], at=1.0)
    store.change = {end: data}
    with pytest.raises(Damaged, match=what):
        list(fetch(store, entry))


def test_a_few_parts_are_on_their_way_and_never_all() -> None:
    together = threading.Barrier(AT_ONCE, timeout=20)
    most, now, lock = 0, 0, threading.Lock()

    class Slow(MemoryStore):
        """A store in which parts wait for one another."""

        def get(self, key: str) -> bytes:
            """The object, when enough others are asked for."""
            nonlocal most, now
            if key.startswith(chunks.PARTS):
                with lock:
                    now += 1
                    most = max(most, now)
                together.wait()
                with lock:
                    now -= 1
            return super().get(key)

    store = Slow()
    parts = [bytes([number]) for number in range(3 * AT_ONCE)]
    entry, _ = keep(store, PLACE, DIGEST, parts, at=1.0)
    assert list(fetch(store, entry)) == parts
    assert most == AT_ONCE
