"""Splits tests over shards: by measured duration, longest first, and so that a small change moves little. Pure.

Three wishes pull against each other: an even load, the tests of a file together (they share imports and fixtures), and
the same test on the same shard as yesterday. So files are the pieces at first; a long file is cut into runs of
neighbouring tests; and only if the shards are uneven by more than TOLERANCE are the pieces made smaller. Each piece has
a home shard by its hash and goes there unless that shard is full, so that one more test moves few others.
"""

from __future__ import annotations

import dataclasses
import hashlib
import heapq
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from ci_runner.config.settings import Settings
from ci_runner.errors import UsageError
from ci_runner.model import Plan, Selection, Shard, Suite

TOLERANCE = 0.01  # shards may be longer than the lower bound by this before files are cut further
FULL = 0.004  # a shard is full when it is over the even share by this
FINEST = 7  # how often the size of a piece is halved before every test is a piece of its own
STEPS_PER_OCTAVE = 4  # sizes are compared on this scale, so that the noise of a duration changes no order
SHORTEST = 0.001  # seconds that every test costs, however short
LONGEST = 1e7  # seconds; what claims to have taken longer was not measured


@dataclass(frozen=True, slots=True)
class Piece:
    """Tests of one file that stay together."""

    key: str
    seconds: float
    tests: tuple[str, ...]


def make_shards(tests: Sequence[str], durations: Mapping[str, float], total: int) -> list[Shard]:
    """At most `total` shards that hold each test once, in the order in which the tests were given.

    There are fewer when there are fewer tests; `Shard.total` says how many there really are. Durations are seconds;
    without a usable one for any of the tests the split is by count. Raises UsageError for a total under 1.
    """
    if total < 1:
        raise UsageError(f"cannot split into {total} shards", fix="ask for at least 1")
    order = list(dict.fromkeys(tests))
    count = min(total, len(order))
    seconds = estimate(order, durations)
    if seconds is None:
        parts = [split_by_count(order, index, count) for index in range(1, count + 1)]
        return [
            Shard(index=index, total=count, tests=tuple(part)) for index, part in enumerate(parts, start=1)
        ]
    place = {test: position for position, test in enumerate(order)}
    return [
        Shard(
            index=index,
            total=count,
            tests=tuple(sorted(held, key=place.__getitem__)),
            expected_seconds=round(sum(seconds[test] for test in held), 3),
        )
        for index, held in enumerate(_balance(order, seconds, count), start=1)
    ]


def split_by_count(tests: Sequence[str], index: int, total: int) -> list[str]:
    """Part `index` of `total` by position: neighbours stay together, and one more test moves at most total - 1.

    shell_fallback/run_suite.sh computes the same, so that both runners agree on a shard.
    """
    return list(tests[len(tests) * (index - 1) // total : len(tests) * index // total])


def split_collected(
    ids: Sequence[str], index: int, total: int, durations: Mapping[str, float] | None = None
) -> list[str]:
    """The tests of one shard when only the machine knows the tests; empty if there are fewer tests than shards.

    Every shard must be given the same ids and the same durations, or a test runs twice or never.
    """
    if not 1 <= index <= total:
        raise UsageError(f"there is no shard {index} of {total}", fix=f"count from 1 to {total}")
    shards = make_shards(ids, durations or {}, total)
    return list(shards[index - 1].tests or ()) if index <= len(shards) else []


def tests_of_shard(ids: Sequence[str], shard: Shard, planned: Sequence[Shard]) -> list[str]:
    """The collected tests that a planned shard has to run: its own that still exist, and its part of the new ones.

    `planned` are all shards of the suite. New tests go round by position, the same way on every machine.
    """
    known = {test: other.index for other in planned for test in other.tests or ()}
    fresh = 0
    mine = []
    for test in dict.fromkeys(ids):
        home = known.get(test)
        if home is None:
            home = fresh % shard.total + 1
            fresh += 1
        if home == shard.index:
            mine.append(test)
    return mine


def shard_selections(
    plan: Plan, settings: Settings, durations_of: Callable[[str], Mapping[str, float]]
) -> Plan:
    """The plan with each suite that asks for shards split by the durations in its history.

    Without history nobody knows the tests yet: then each shard's `tests` is None, and the machine splits what it
    collects (`split_collected`). A suite that is a command cannot be split; a note says so.
    """
    selected: list[Selection] = []
    notes = list(plan.notes)
    for selection in plan.selected:
        suite = settings.suites.get(selection.suite.name, selection.suite)
        if selection.shard is not None or suite.shards <= 1:
            selected.append(selection)
        elif suite.command is not None:
            selected.append(selection)
            notes.append(
                f"{suite.name} runs in one piece: a command cannot be split into {suite.shards} shards"
            )
        else:
            shards = _shards_of(suite, durations_of(suite.name))
            selected += [dataclasses.replace(selection, shard=shard) for shard in shards]
    return dataclasses.replace(plan, selected=tuple(selected), notes=tuple(notes))


def _shards_of(suite: Suite, durations: Mapping[str, float]) -> list[Shard]:
    if durations:
        return make_shards(sorted(durations), durations, suite.shards)
    return [Shard(index=index, total=suite.shards) for index in range(1, suite.shards + 1)]


def file_of(test: str) -> str:
    """The file of a node id; anything else is a file of its own."""
    return test.partition("::")[0]


def estimate(tests: Sequence[str], durations: Mapping[str, float]) -> dict[str, float] | None:
    """Seconds for every test: measured, else the median of its file, else of all; None if nothing was measured."""
    known = {
        test: max(SHORTEST, durations[test])
        for test in tests
        if test in durations and 0 <= durations[test] <= LONGEST
    }
    if not known:
        return None
    by_file: dict[str, list[float]] = {}
    for test, seconds in known.items():
        by_file.setdefault(file_of(test), []).append(seconds)
    from statistics import median  # dear to load, and only wanted where there is a history

    medians = {file: median(values) for file, values in by_file.items()}
    overall = median(known.values())
    return {test: known.get(test, medians.get(file_of(test), overall)) for test in tests}


def lower_bound(seconds: Mapping[str, float], total: int) -> float:
    """No split can be shorter than the even share, nor than the longest test."""
    return max(math.fsum(seconds.values()) / total, *seconds.values())


def _balance(tests: Sequence[str], seconds: Mapping[str, float], count: int) -> list[list[str]]:
    """The split with the largest pieces that is within TOLERANCE of the bound, else the best one seen."""
    bound = lower_bound(seconds, count)
    files: dict[str, list[str]] = {}
    for test in tests:
        files.setdefault(file_of(test), []).append(test)
    best: list[list[Piece]] = []
    best_span = math.inf
    limit = 2 ** (_step(bound) / STEPS_PER_OCTAVE)
    for level in range(FINEST + 1):
        pieces = _cut(files, seconds, limit / 2**level if level < FINEST else 0.0)
        if len(pieces) < count:
            continue
        for place in (_place_at_home, _place_longest_first):
            shards = _improve(place(pieces, count, bound), bound)
            span = max(map(_load, shards))
            if span < best_span * (1 - TOLERANCE / 10):
                best, best_span = shards, span
            if best_span <= bound * (1 + TOLERANCE):
                return [[test for piece in shard for test in piece.tests] for shard in best]
    return [[test for piece in shard for test in piece.tests] for shard in best]


def _step(seconds: float) -> int:
    return math.floor(math.log2(seconds) * STEPS_PER_OCTAVE)


def _load(pieces: Sequence[Piece]) -> float:
    return math.fsum(piece.seconds for piece in pieces)


def _cut(files: Mapping[str, Sequence[str]], seconds: Mapping[str, float], limit: float) -> list[Piece]:
    """Files as pieces; one longer than the limit is cut into runs of neighbours, each under it where it can be."""
    pieces = []
    for file, tests in files.items():
        run: list[str] = []
        length, number = 0.0, 0
        for test in tests:
            if run and length + seconds[test] > limit:
                pieces.append(Piece(f"{file}\0{number}", length, tuple(run)))
                run, length, number = [], 0.0, number + 1
            run.append(test)
            length += seconds[test]
        pieces.append(Piece(f"{file}\0{number}", length, tuple(run)))
    return pieces


def _number(key: str) -> int:
    return int.from_bytes(
        hashlib.blake2b(key.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big"
    )


def _place_at_home(pieces: Sequence[Piece], count: int, bound: float) -> list[list[Piece]]:
    """Longest first, each on the shard that its hash names if that has room, else on the next with room."""
    order = sorted((-_step(piece.seconds), _number(piece.key), piece.key, piece) for piece in pieces)
    full = bound * (1 + FULL)
    shards: list[list[Piece]] = [[] for _ in range(count)]
    loads = [0.0] * count
    for _size, number, _key, piece in order:
        home, other = number % count, number // count % count
        fitting = (index for index in (home, other) if loads[index] + piece.seconds <= full)
        index = next(fitting, None)
        if index is None:
            index = min(range(count), key=loads.__getitem__)
        shards[index].append(piece)
        loads[index] += piece.seconds
    return shards


def _place_longest_first(pieces: Sequence[Piece], count: int, _bound: float) -> list[list[Piece]]:
    """Longest first, each on the shard with the least to do: the most even, and the least stable."""
    heap = [(0.0, index) for index in range(count)]
    shards: list[list[Piece]] = [[] for _ in range(count)]
    for piece in sorted(pieces, key=lambda piece: (-piece.seconds, piece.key)):
        load, index = heapq.heappop(heap)
        shards[index].append(piece)
        heapq.heappush(heap, (load + piece.seconds, index))
    return shards


def _improve(shards: list[list[Piece]], bound: float) -> list[list[Piece]]:
    """Move pieces from the longest shard to the shortest until it is short enough or no move helps."""
    loads = [_load(shard) for shard in shards]
    for _move in range(8 * len(shards)):
        longest = max(range(len(shards)), key=lambda index: (loads[index], -index))
        shortest = min(range(len(shards)), key=lambda index: (loads[index], index))
        if loads[longest] <= bound * (1 + FULL) and all(shards):
            break
        gap = loads[longest] - loads[shortest]
        movable = [piece for piece in shards[longest] if piece.seconds < gap]
        if len(shards[longest]) < 2 or not movable:
            break
        piece = min(movable, key=lambda piece: (abs(piece.seconds - gap / 2), piece.key))
        shards[longest].remove(piece)
        shards[shortest].append(piece)
        loads[longest] -= piece.seconds
        loads[shortest] += piece.seconds
    return _fill(shards)


def _fill(shards: list[list[Piece]]) -> list[list[Piece]]:
    """Give each empty shard the smallest piece of a shard that has several."""
    for shard in shards:
        if not shard:
            giver = max((other for other in shards if len(other) > 1), key=_load)
            piece = min(giver, key=lambda piece: (piece.seconds, piece.key))
            giver.remove(piece)
            shard.append(piece)
    return shards
