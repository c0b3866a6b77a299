"""Large things in a store, such as a cache of packages: parts, and an entry that is written last and names them all."""

from __future__ import annotations

import functools
import hashlib
import json
import re
import secrets
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from ci_runner.errors import ResultsError

if TYPE_CHECKING:
    from ci_runner.history.store import Store

PART_BYTES = 16 << 20
AT_ONCE = 4  # parts on their way
MOST_PARTS = 100_000
ENTRIES, PARTS = "entries", "parts"
T = TypeVar("T")
_NAME = re.compile(r"([0-9a-f]{16})-([0-9]{13})-([0-9a-f]{8})\.json")


class Damaged(ResultsError):  # noqa: N818 - it is what happened
    """An entry whose parts are gone or are not what it says."""

    def __init__(self, where: str, what: str) -> None:
        super().__init__(what, where=where, fix="nothing: the next run that may save it makes a new one")


@dataclass(frozen=True, slots=True, order=True)
class Entry:
    """One thing that is kept under a name: of which key, and when it was put there (milliseconds)."""

    made_at: int
    digest: str
    place: str
    name: str

    @property
    def key(self) -> str:
        """Where the store has it."""
        return f"{ENTRIES}/{self.place}/{self.name}.json"

    def part(self, number: int) -> str:
        """Where the store has one of its parts."""
        return f"{PARTS}/{self.place}/{self.name}/{number:05d}"


def digest_of(text: str) -> str:
    """How a key is written in names."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def entries(store: Store, place: str) -> list[Entry]:
    """What is kept at a place, the oldest first; other names are not looked at."""
    folder = f"{ENTRIES}/{place}/"
    found = []
    for key in store.list(folder):
        match = _NAME.fullmatch(key.removeprefix(folder))
        if match is not None:
            name = match[0].removesuffix(".json")
            found.append(Entry(made_at=int(match[2]), digest=match[1], place=place, name=name))
    return sorted(found)


def keep(store: Store, place: str, digest: str, parts: Iterable[bytes], *, at: float) -> tuple[Entry, int]:
    """Put the parts there, several at once, and then the entry; what was put and its size.

    If anything raises on the way there is no entry, and nobody sees the parts.
    """
    made_at = int(at * 1000)
    name = f"{digest}-{made_at:013d}-{secrets.token_hex(4)}"  # two that are made at once are two
    entry = Entry(made_at=made_at, digest=digest, place=place, name=name)
    hashes: list[str] = []
    size = 0

    def orders() -> Iterator[Callable[[], None]]:
        nonlocal size
        for number, part in enumerate(parts):
            hashes.append(hashlib.sha256(part).hexdigest())
            size += len(part)
            yield functools.partial(store.put_new, entry.part(number), part)

    for _ in _ahead(orders()):
        pass
    document = {"bytes": size, "parts": hashes}
    store.put_new(entry.key, json.dumps(document).encode())
    return entry, size


def fetch(store: Store, entry: Entry) -> Iterator[bytes]:
    """The parts in order, each as it was put there; some are on their way already. Raises Damaged."""
    hashes = _hashes(store, entry)

    orders = (functools.partial(store.get, entry.part(number)) for number in range(len(hashes)))
    try:
        for expected, part in zip(hashes, _ahead(orders), strict=True):
            if hashlib.sha256(part).hexdigest() != expected:
                raise Damaged(entry.key, "a part holds other bytes than were put there")
            yield part
    except KeyError as error:
        raise Damaged(str(error.args[0]), "a part is gone") from error


def _hashes(store: Store, entry: Entry) -> list[str]:
    """What an entry says of its parts."""
    try:
        document: Any = json.loads(store.get(entry.key))
        found = document["parts"]
        readable = len(found) <= MOST_PARTS and all(_is_hash(each) for each in found)
    except (ValueError, KeyError, TypeError, RecursionError):
        readable = False
    if not readable:
        raise Damaged(entry.key, "the entry cannot be read")
    return list(found)


def _is_hash(value: object) -> bool:
    return isinstance(value, str) and re.fullmatch(r"[0-9a-f]{64}", value) is not None


def _ahead(orders: Iterator[Callable[[], T]]) -> Iterator[T]:
    """Results in order, a few of them made ahead; the first that fails ends it."""
    with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="chunks") as pool:
        under_way: list[Future[T]] = []
        try:
            for order in orders:
                under_way.append(pool.submit(order))
                if len(under_way) >= AT_ONCE:
                    yield under_way.pop(0).result()
            while under_way:
                yield under_way.pop(0).result()
        finally:
            for future in under_way:
                future.cancel()
