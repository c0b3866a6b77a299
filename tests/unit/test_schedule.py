"""Suites run side by side only if their needs fit."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ci_runner.execution.schedule import Capacity, fits, next_to_start
from ci_runner.model import Needs, Selection, Suite


def selection(name: str, needs: Needs | None) -> Selection:
    return Selection(suite=Suite(name=name, title=name, needs=needs), reason="r", rule="r")


TWO = Capacity(cpus=2, memory_mb=1000)


def test_a_suite_without_declared_needs_runs_alone() -> None:
    assert fits(None, [], TWO)
    assert not fits(None, [Needs(cpus=1)], TWO)
    assert not fits(Needs(cpus=1), [None], TWO)


def test_cpus_memory_and_exclusive_names_are_counted() -> None:
    assert fits(Needs(cpus=1), [Needs(cpus=1)], TWO)
    assert not fits(Needs(cpus=1.5), [Needs(cpus=1)], TWO)
    assert not fits(Needs(memory_mb=600), [Needs(memory_mb=600)], TWO)
    assert fits(Needs(memory_mb=400), [Needs(memory_mb=600)], TWO)
    assert fits(Needs(memory_mb=9999), [Needs(memory_mb=9999)], Capacity(cpus=2))
    assert not fits(Needs(exclusive=("tpu",), cpus=0), [Needs(exclusive=("tpu",), cpus=0)], TWO)


def test_what_is_larger_than_the_machine_still_runs_alone() -> None:
    assert fits(Needs(cpus=64), [], TWO)


def test_a_small_suite_overtakes_a_large_one_but_never_one_that_needs_the_whole_machine() -> None:
    running = [selection("a", Needs(cpus=1))]
    large, small = selection("large", Needs(cpus=2)), selection("small", Needs(cpus=1))
    assert next_to_start([large, small], running, TWO) is small
    assert next_to_start([selection("whole", None), small], running, TWO) is None


needs = st.none() | st.builds(
    Needs,
    cpus=st.floats(0.1, 4),
    memory_mb=st.none() | st.integers(1, 2000),
    exclusive=st.lists(st.sampled_from(["tpu", "port"]), max_size=2, unique=True).map(tuple),
)


@given(st.lists(needs, max_size=8))
def test_every_suite_starts_sooner_or_later_and_the_machine_is_never_overbooked(
    wanted: list[Needs | None],
) -> None:
    waiting = [selection(str(number), need) for number, need in enumerate(wanted)]
    running: list[Selection] = []
    started = 0
    while waiting or running:
        chosen = next_to_start(waiting, running, TWO)
        if chosen is None:
            assert running, "nothing runs and nothing may start"
            running.pop(0)
            continue
        waiting.remove(chosen)
        running.append(chosen)
        started += 1
        taken = [item.suite.needs for item in running]
        if len(taken) > 1:
            known = [item for item in taken if item is not None]
            assert len(known) == len(taken)
            assert sum(item.cpus for item in known) <= TWO.cpus + 1e-9
            names = [name for item in known for name in item.exclusive]
            assert len(names) == len(set(names))
    assert started == len(wanted)
