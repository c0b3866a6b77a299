"""The book of leases: written before, closed after, and read by others."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from ci_runner.errors import AuthenticationError, MachineError
from ci_runner.history.store import FolderStore, MemoryStore
from ci_runner.model import MachineSpec
from ci_runner.providers.book import Book, Closing
from tests.job_kit import make_lease


def test_leases_are_open_until_they_are_closed(tmp_path: Path) -> None:
    book = Book(FolderStore(tmp_path))
    leases = [make_lease(f"7f3c-unit-{n}", created_at=1.0, expires_at=2.0) for n in range(3)]
    assert list(book.open()) == []
    for lease in leases:
        book.request(lease)
        book.request(lease)
    book.close(leases[1], at=5.0, how="released", cost_usd=0.25)
    other = Book(FolderStore(tmp_path))
    assert list(other.open()) == [leases[0], leases[2]]
    assert other.lease("7f3c-unit-1") == leases[1]
    assert other.closing("7f3c-unit-1") == Closing(
        lease_id="7f3c-unit-1", at=5.0, how="released", cost_usd=0.25
    )
    assert other.closing("7f3c-unit-0") is None
    assert other.lease("7f3c-unit-9") is None


def test_what_was_closed_first_stays() -> None:
    book, lease = Book(MemoryStore()), make_lease()
    book.request(lease)
    book.close(lease, at=5.0, how="released")
    book.close(lease, at=6.0, how="reaped")
    closing = book.closing(lease.id)
    assert closing is not None
    assert closing.how == "released"


def test_two_different_leases_with_one_id_are_refused() -> None:
    book = Book()
    book.request(make_lease())
    with pytest.raises(MachineError, match="another lease is called"):
        book.request(make_lease(machine=MachineSpec(name="other")))


def test_an_id_that_cannot_be_found_again_is_refused() -> None:
    with pytest.raises(ValueError, match="not an id"):
        Book().request(make_lease("../x"))


@pytest.mark.parametrize(
    "error", [OSError(28, "No space left on device"), AuthenticationError("the credentials have expired")]
)
def test_a_store_that_fails_at_the_end_is_told_and_no_more(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    class Failing(MemoryStore):
        def put_new(self, key: str, data: bytes) -> None:
            raise error

    with caplog.at_level(logging.WARNING):
        Book(Failing()).close(make_lease(), at=1.0, how="released")
    assert str(error) in caplog.text


def test_objects_that_are_no_leases_hide_none(caplog: pytest.LogCaptureFixture) -> None:
    store = MemoryStore()
    book, lease = Book(store), make_lease()
    book.request(lease)
    whole = store.get(f"leases/{lease.id}/requested.json")
    for name, data in {
        "leases/a/requested.json": b"{",
        "leases/b/requested.json": b"[]",
        "leases/c/requested.json": b'{"id": "c"}',
        "leases/d/requested.json": whole,  # another lease's name is inside
        "leases/e/note.txt": b"",
        "daily/x/requested.json": whole,
        "leases/f/closed.json": b'{"at": 1}',
    }.items():
        store.put_new(name, data)
    assert list(book.open()) == [lease]
    assert book.closing("f") is None
    assert "leases/a/requested.json cannot be read" in caplog.text
