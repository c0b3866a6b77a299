"""What every store promises, asked of every implementation."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from ci_runner.errors import ConfigurationError
from ci_runner.github import client as github_client
from ci_runner.history.store import Conflict, FolderStore, MemoryStore, Store, check_key, open_store
from tests.github_kit import Hub, emulated_github
from tests.object_stores import Buckets
from tests.packages import needed

KEY = "daily/2026-11-23/local-unit-3f2a9c1-1.json"
STORES: dict[str, Callable[[Path], Store]] = {
    "folder": lambda path: FolderStore(path / "store"),
    "memory": lambda _path: MemoryStore(),
}


SERVICES = ("s3", "gs")


@pytest.fixture(scope="module")
def services() -> Iterator[dict[str, Buckets]]:
    """The object stores, on loopback ports; their lists have pages of three, so that every list has several."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MOTO_S3_DEFAULT_MAX_KEYS", "3")
        with Buckets("s3") as s3, Buckets("gs", page=3) as gs:
            yield {"s3": s3, "gs": gs}


@pytest.fixture
def hub() -> Iterator[Hub]:
    """A GitHub for the store that is a branch."""
    with emulated_github() as found:
        yield found


@pytest.fixture(params=[*STORES, *SERVICES, "branch"])
def store(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """An empty store of each kind."""
    if request.param in STORES:
        return STORES[request.param](tmp_path)
    if request.param == "branch":
        monkeypatch.setattr(
            github_client, "WRITE_SECONDS", None
        )  # paced in tests/integration/test_github_client.py
        for name, value in request.getfixturevalue("hub").environ.items():
            monkeypatch.setenv(name, value)
        return open_store("branch://ci-runner-history", tmp_path)
    for package in ("moto", "obstore"):
        needed(package)
    service: Buckets = request.getfixturevalue("services")[request.param]
    service.empty()
    for name, value in service.environ.items():
        monkeypatch.setenv(name, value)
    return open_store(service.location, tmp_path)


def test_an_object_comes_back(store: Store) -> None:
    assert not store.exists(KEY)
    store.put_new(KEY, b"\x00\xff data")
    assert store.exists(KEY)
    assert store.get(KEY) == b"\x00\xff data"


def test_an_object_that_is_not_there(store: Store) -> None:
    with pytest.raises(KeyError):
        store.get(KEY)
    assert list(store.list()) == []
    assert list(store.list("daily/")) == []


def test_the_same_again_changes_nothing_and_other_bytes_are_a_conflict(store: Store) -> None:
    store.put_new(KEY, b"one")
    store.put_new(KEY, b"one")
    with pytest.raises(Conflict) as caught:
        store.put_new(KEY, b"two")
    assert store.get(KEY) == b"one"
    assert "never rewritten" in str(caught.value.fix)
    assert list(store.list()) == [KEY]


def test_keys_are_listed_in_order_by_prefix(store: Store) -> None:
    for key in ("pr/pr-1/b.json", "daily/2026-11-23/a.json", "daily/2026-11-22/z.json", "daily/2026-11-2/x"):
        store.put_new(key, b"")
    assert list(store.list("daily/2026-11-2")) == [
        "daily/2026-11-2/x",
        "daily/2026-11-22/z.json",
        "daily/2026-11-23/a.json",
    ]
    assert list(store.list("daily/2026-11-22/z")) == ["daily/2026-11-22/z.json"]
    assert list(store.list("pr/")) == ["pr/pr-1/b.json"]
    assert len(list(store.list())) == 4
    assert list(store.list("weekly/")) == []


@pytest.mark.parametrize(
    "key",
    [
        "",
        "/",
        "/etc/passwd",
        "../x",
        "a/../../x",
        "a/./b",
        "a//b",
        "a/",
        "a\\b",
        "a\nb",
        "a\0b",
        "C:/x",
        "é",
        "x" * 901,
    ],
)
def test_a_key_cannot_point_outside(store: Store, key: str) -> None:
    for action in (store.exists, store.get, lambda name: store.put_new(name, b"x")):
        with pytest.raises(ValueError, match="not a key"):
            action(key)
    assert list(store.list()) == []


def test_many_writers_of_one_key_agree_on_one(store: Store) -> None:
    def put(number: int) -> bool:
        try:
            store.put_new(KEY, str(number).encode())
        except Conflict:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        won = [number for number, result in enumerate(pool.map(put, range(40))) if result]
    assert len(won) == 1
    assert store.get(KEY) == str(won[0]).encode()
    assert list(store.list()) == [KEY]


def test_twenty_writers_at_the_same_moment_and_one_wins(store: Store) -> None:
    ready = Barrier(20)

    def put(number: int) -> bool:
        ready.wait()
        try:
            store.put_new(KEY, str(number).encode())
        except Conflict:
            return False
        return True

    with ThreadPoolExecutor(20) as pool:
        won = [number for number, result in enumerate(pool.map(put, range(20))) if result]
    assert len(won) == 1
    assert store.get(KEY) == str(won[0]).encode()


def test_a_list_has_no_end_at_a_page(store: Store) -> None:
    keys = [f"daily/2026-11-23/{number:02}.json" for number in range(11)]
    for key in reversed(keys):
        store.put_new(key, b"x")
    assert list(store.list("daily/2026-11-23/")) == keys
    assert list(store.list("daily/2026-11-23/1")) == keys[10:]


@given(key=st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1, max_size=40))
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_every_key_is_kept_under_its_own_name(store: Store, key: str) -> None:
    try:
        check_key(key)
    except ValueError:
        assume(False)
    unique = f"{secrets.token_hex(8)}/{key}"
    store.put_new(unique, key.encode())
    assert store.get(unique) == key.encode()
    assert store.exists(unique)
    if not any(
        part.startswith(".") for part in key.split("/")
    ):  # a folder has files of its own that begin so
        assert list(store.list(unique.partition("/")[0] + "/")) == [unique]


def test_a_folder_store_ignores_what_is_not_its_own(tmp_path: Path) -> None:
    import os

    store = FolderStore(tmp_path)
    store.put_new("daily/a.json", b"a")
    (tmp_path / "daily" / ".123.tmp").write_bytes(b"half")
    (tmp_path / "daily" / "loop").symlink_to(tmp_path, target_is_directory=True)
    os.mkfifo(tmp_path / "daily" / "pipe")
    assert list(store.list("daily/")) == ["daily/a.json", "daily/pipe"]
    with pytest.raises(KeyError):
        store.get("daily/pipe")
    with pytest.raises(KeyError):
        store.get("daily")
    with pytest.raises(ValueError, match="not a key"):
        list(store.list("../"))


def test_a_folder_store_without_hard_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import errno
    import os

    def refuse(*_args: object) -> None:
        raise OSError(errno.EPERM, "no links here")

    monkeypatch.setattr(os, "link", refuse)
    store = FolderStore(tmp_path)
    store.put_new(KEY, b"one")
    store.put_new(KEY, b"one")
    with pytest.raises(Conflict):
        store.put_new(KEY, b"two")
    assert store.get(KEY) == b"one"
    assert len(list(tmp_path.rglob("*.tmp"))) == 0


def test_a_full_disk_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import errno
    import os

    def full(*_args: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "link", full)
    with pytest.raises(OSError, match="No space left"):
        FolderStore(tmp_path).put_new(KEY, b"one")
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_stores_are_opened_by_location(tmp_path: Path) -> None:
    for location, folder in ((None, ".ci-runner/results"), ("kept", "kept"), (f"file://{tmp_path}/x", "x")):
        store = open_store(location, tmp_path)
        assert isinstance(store, FolderStore)
        assert store.root == tmp_path / folder
    with pytest.raises(ConfigurationError, match="ftp"):
        open_store("ftp://x", tmp_path)
