"""Sharding: how much longer the longest shard is than it has to be, beside pytest-split's algorithms.

`python tests/bench/bench_shard.py`. 5,000 tests in files of uneven length; 1.000 is the lower
bound (the even share, or the longest test). With stale durations every duration is off by about 30 % and 10 % of the tests
are unknown; the split is made with those and judged by the true ones.
"""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from pytest_split.algorithms import Algorithms

from ci_runner.plan.shard import file_of, lower_bound, make_shards

TESTS, FILES, SEEDS = 5000, 250, 5
SHARDS = (2, 4, 8, 16, 32)
Split = Callable[[Sequence[str], Mapping[str, float], int], list[list[str]]]


@dataclass(frozen=True)
class Item:
    """All that pytest-split asks of a test."""

    nodeid: str


def ours(tests: Sequence[str], durations: Mapping[str, float], total: int) -> list[list[str]]:
    return [list(shard.tests or ()) for shard in make_shards(tests, durations, total)]


def theirs(algorithm: Callable[..., Any]) -> Split:
    def split(tests: Sequence[str], durations: Mapping[str, float], total: int) -> list[list[str]]:
        groups = algorithm(total, [Item(test) for test in tests], dict(durations))
        return [[item.nodeid for item in group.selected] for group in groups]

    return split


SPLITS: dict[str, Split] = {
    "ci-runner": ours,
    "least_duration": theirs(Algorithms.least_duration.value),
    "duration_based_chunks": theirs(Algorithms.duration_based_chunks.value),
}


def true_durations(seed: int) -> dict[str, float]:
    """Durations as suites have them: most tests short, some long, few files with many tests and a pace of their own."""
    source = random.Random(seed)
    pace = [source.lognormvariate(0, 0.8) for _ in range(FILES)]
    found = {}
    for number in range(TESTS):
        file = int(FILES * source.random() ** 2)
        found[f"tests/test_{file:03}.py::test_{number}"] = pace[file] * source.lognormvariate(-1.5, 1.2)
    return dict(sorted(found.items()))


def stale(durations: Mapping[str, float], seed: int) -> dict[str, float]:
    source = random.Random(seed)
    return {
        test: seconds * source.lognormvariate(0, 0.3)
        for test, seconds in durations.items()
        if source.random() >= 0.1
    }


def measured(
    split: Split, known: Mapping[str, float], true: Mapping[str, float], total: int
) -> tuple[float, int]:
    """The longest shard over the bound, and how many files are cut."""
    shards = split(list(true), known, total)
    assert sorted(test for shard in shards for test in shard) == sorted(true)
    span = max(sum(true[test] for test in shard) for shard in shards)
    homes: dict[str, set[int]] = {}
    for index, shard in enumerate(shards):
        for test in shard:
            homes.setdefault(file_of(test), set()).add(index)
    cut = sum(len(where) - 1 for where in homes.values())
    return span / lower_bound(true, total), cut


def moved(split: Split, true: Mapping[str, float], total: int) -> float:
    """The share of tests that change their shard when one test is added; shards are told apart by what they hold."""

    def homes(tests: Sequence[str]) -> dict[str, int]:
        return {test: index for index, shard in enumerate(split(tests, true, total)) for test in shard}

    before = homes(list(true))
    shares = []
    for number in range(3):
        after = homes(sorted([*true, f"tests/test_{61 * number:03}.py::test_new"]))
        shares.append(sum(before[test] != after[test] for test in before) / len(before))
    return sum(shares) / len(shares)


def table(title: str, cells: Callable[[Split, int], str]) -> None:
    """One line for each number of shards, one column for each algorithm."""
    print(f"\n{title}\nshards  " + "".join(f"{name:<26}" for name in SPLITS))
    for total in SHARDS:
        print(f"{total:<8}" + "".join(cells(split, total).ljust(26) for split in SPLITS.values()).rstrip())


def main() -> int:
    """Print the tables; 1 if a limit is missed."""
    suites = [true_durations(seed) for seed in range(SEEDS)]
    for kind in ("true", "stale"):
        known = suites if kind == "true" else [stale(true, seed + 100) for seed, true in enumerate(suites)]

        def cell(split: Split, total: int, known: Sequence[Mapping[str, float]] = known) -> str:
            pairs = [measured(split, seen, true, total) for seen, true in zip(known, suites, strict=True)]
            ratios, cuts = [ratio for ratio, _ in pairs], [cut for _, cut in pairs]
            return f"{fmean(ratios):.3f} ≤ {max(ratios):.3f} ({fmean(cuts):,.0f})"

        title = f"{TESTS:,} tests in {FILES} files, {kind} durations: longest shard over the bound"
        table(f"{title}, mean ≤ worst of {SEEDS} suites (cuts of files)", cell)
    true = suites[0]
    table(
        "tests that change their shard when one test is added",
        lambda split, n: f"{moved(split, true, n):.1%}",
    )
    began = time.process_time()
    worst = max(measured(ours, true, true, total)[0] for true in suites for total in SHARDS)
    seconds = (time.process_time() - began) / len(SHARDS) / SEEDS
    print(
        f"\nlongest shard over the bound, true durations: {worst:.4f} (limit 1.01); {seconds:.2f} s of CPU a split"
    )
    return 0 if worst <= 1.01 else 1


if __name__ == "__main__":
    sys.exit(main())
