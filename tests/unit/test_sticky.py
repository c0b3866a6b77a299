"""One comment, whatever happens: by author and marker, in each mode, when it vanishes, and with twenty jobs at once."""

from __future__ import annotations

import itertools
import random
import threading
from collections.abc import Callable, Sequence

import pytest

from ci_runner.model import Counts
from ci_runner.report import sticky
from ci_runner.report.parts import Part, assemble, parts_in
from ci_runner.report.sticky import CommentGone, Mode, Publisher, Remark, TooLong


class Thread:
    """The comments of a pull request in memory, with the delays of a network between reading and writing."""

    def __init__(self, *, limit: int = 65_536, delay: Callable[[], object] = lambda: None) -> None:
        self.kept: dict[int, Remark] = {}
        self.hidden: list[int] = []
        self.calls: list[str] = []
        self.before_update: Callable[[], object] = lambda: None
        self._limit = limit
        self._delay = delay
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()

    def author(self) -> str:
        return "bot"

    def all(self) -> Sequence[Remark]:
        self._called("all")
        with self._lock:
            found = list(self.kept.values())
        self._delay()
        return found

    def create(self, body: str, author: str = "bot") -> Remark:
        self._called("create")
        self._delay()
        self._check(body)
        with self._lock:
            made = Remark(id=next(self._numbers), author=author, body=body, url="u")
            self.kept[made.id] = made
        return made

    def update(self, remark: Remark, body: str) -> Remark:
        self._called("update")
        self.before_update()
        self._delay()
        self._check(body)
        with self._lock:
            if remark.id not in self.kept:
                raise CommentGone
            self.kept[remark.id] = Remark(id=remark.id, author=remark.author, body=body, url="u")
            return self.kept[remark.id]

    def delete(self, remark: Remark) -> None:
        self._called("delete")
        with self._lock:
            self.kept.pop(remark.id, None)

    def hide(self, remark: Remark) -> None:
        self.hidden.append(remark.id)

    def _check(self, body: str) -> None:
        if len(body) > self._limit:
            raise TooLong

    def _called(self, what: str) -> None:
        with self._lock:
            self.calls.append(what)


def part(key: str = "unit", **values: object) -> Part:
    given: dict[str, object] = {"commit": "a" * 40, "counts": Counts(tests=1, passed=1), "body": f"of {key}"}
    return Part(key=key, **{**given, **values})  # type: ignore[arg-type]


RED = part(exit_code=1, word="failed", counts=Counts(tests=1, failed=1))


def test_a_second_run_updates_in_place_and_an_unchanged_one_writes_nothing() -> None:
    thread = Thread()
    assert Publisher(thread, "k").publish(part()).action == "created"
    assert Publisher(thread, "k").publish(RED).action == "updated"
    thread.calls.clear()
    assert Publisher(thread, "k").publish(RED).action == "unchanged"
    assert thread.calls == ["all"] or thread.calls == ["all", "all"]
    assert len(thread.kept) == 1
    assert parts_in(thread.kept[1].body) == [RED]


def test_a_comment_of_somebody_else_with_our_marker_is_not_ours() -> None:
    thread = Thread()
    thread.create(assemble("k", [part()]), author="mallory")
    thread.create("quoting: " + assemble("k", [part()]))
    thread.create(assemble("other", [part()]))
    assert Publisher(thread, "k").publish(RED).action == "created"
    assert len(thread.kept) == 4


def test_a_comment_that_is_deleted_meanwhile_is_made_again() -> None:
    thread = Thread()
    Publisher(thread, "k").publish(part())
    thread.before_update = thread.kept.clear
    Publisher(thread, "k").publish(RED)
    assert [parts_in(item.body) for item in thread.kept.values()] == [[RED]]


@pytest.mark.parametrize("mode", [Mode.UPDATE, Mode.NEW])
def test_a_body_that_github_calls_too_long_shrinks(mode: Mode) -> None:
    thread = Thread(limit=5_000)
    Publisher(thread, "k", mode=mode).publish(part(body="x" * 30_000))
    (kept,) = thread.kept.values()
    assert len(kept.body) <= 5_000
    assert "details left out" in kept.body


def test_each_mode_does_what_it_says() -> None:
    def ran(mode: Mode, *parts: Part) -> Thread:
        thread = Thread()
        for item in parts:
            Publisher(thread, "k", mode=mode).publish(item)
        return thread

    assert len(ran(Mode.NEW, part(), RED).kept) == 2
    hidden = ran(Mode.HIDE_AND_NEW, part(), RED)
    assert (len(hidden.kept), hidden.hidden) == (2, [1])
    assert list(ran(Mode.DELETE_AND_NEW, part(), RED).kept) == [2]
    assert ran(Mode.ONLY_ON_FAILURE, part()).kept == {}
    turned_green = ran(Mode.ONLY_ON_FAILURE, RED, part())
    assert parts_in(turned_green.kept[1].body) == [part()]


def test_only_on_change_leaves_a_comment_alone_that_says_the_same() -> None:
    thread = Thread()
    Publisher(thread, "k", mode=Mode.ONLY_ON_CHANGE).publish(part(seconds=1.0))
    again = Publisher(thread, "k", mode=Mode.ONLY_ON_CHANGE).publish(part(seconds=2.0))
    assert again.action == "unchanged"
    assert Publisher(thread, "k", mode=Mode.ONLY_ON_CHANGE).publish(RED).action == "updated"
    assert Publisher(thread, "k", mode=Mode.ONLY_ON_CHANGE).publish(part("other")).action == "updated"


def test_an_old_run_that_ends_late_takes_nothing_back() -> None:
    thread = Thread()
    newer = part(commit="b" * 40, started=9.0)
    Publisher(thread, "k").publish(newer)
    assert Publisher(thread, "k").publish(part(started=1.0)).action == "unchanged"
    assert parts_in(thread.kept[1].body) == [newer]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("mode", [Mode.UPDATE, Mode.HIDE_AND_NEW])
def test_twenty_jobs_at_once_are_one_comment_with_twenty_parts(
    mode: Mode, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # the protocol needs that nobody takes longer between reading and writing than others wait for him
    monkeypatch.setattr(sticky, "SETTLE_SECONDS", 3.0)
    monkeypatch.setattr(sticky, "FRESH_SECONDS", 0.3)
    rng = random.Random(seed)
    wait = threading.Event().wait
    thread = Thread(delay=lambda: wait(rng.random() * 0.02))
    if mode is Mode.HIDE_AND_NEW:
        thread.create(assemble("k", [part(commit="0" * 40)]))

    def job(number: int) -> None:
        publisher = Publisher(
            thread,
            "k",
            mode=mode,
            shared=True,
            rng=random.Random(seed * 100 + number),
            pause=lambda seconds: wait(seconds / 8),
        )
        publisher.publish(part(f"job-{number}"))

    threads = [threading.Thread(target=job, args=(number,)) for number in range(20)]
    for item in threads:
        item.start()
    for item in threads:
        item.join()
    bodies = [item.body for item in thread.kept.values() if "0" * 40 not in item.body]
    assert [sorted(part.key for part in parts_in(body)) for body in bodies] == [
        sorted(f"job-{number}" for number in range(20))
    ]


def test_a_second_comment_that_nobody_will_join_is_joined() -> None:
    thread = Thread()
    thread.create(assemble("k", [part("a")]))
    thread.create(assemble("k", [part("b")]))
    Publisher(thread, "k", now=lambda: 1e9).publish(part("c"))
    Publisher(thread, "k", now=lambda: 1e9).publish(part("c"))
    assert [sorted(item.key for item in parts_in(kept.body)) for kept in thread.kept.values()] == [
        ["a", "b", "c"]
    ]
