"""Trends in block characters: shaped by the values, calm where they hardly differ, and nothing foreign acts."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ci_runner.report.trend import BLOCKS, blocks, trend_line
from tests.hostile_text import active_in_markdown
from tests.report_samples import HOSTILE


@pytest.mark.parametrize(
    ("values", "shown"),
    [
        ([1, 2, 3, 4, 5, 6, 7, 8], BLOCKS),
        ([60, 61, 62, 60], "▄▄▄▄"),
        ([10, 10, 20, 10], "▁▁█▁"),
        ([0, 0], "▄▄"),
    ],
)
def test_the_longest_is_the_highest_and_noise_is_flat(values: list[float], shown: str) -> None:
    assert blocks(values) == shown


def test_a_line_says_from_where_to_where() -> None:
    assert trend_line("unit", [40, 41, 40, 80], "main") == (
        "unit ▁▁▁█ 40.0 s → 1 min 20 s, the last 3 runs of main and this one"
    )
    assert trend_line("unit", [40, 41, 0, 80], "main") is None
    assert str(trend_line("unit", list(range(1, 40)), "main")).split()[1] == blocks(list(range(28, 40)))


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=30))
@example([5e-324])  # a tenth of it is nothing
def test_every_value_has_a_block(values: list[float]) -> None:
    assert len(blocks(values)) == len(values)
    assert set(blocks(values)) <= set(BLOCKS)


@pytest.mark.parametrize("foreign", HOSTILE)
def test_names_are_only_names(foreign: str) -> None:
    line = trend_line(foreign, [1, 2, 3, 4], foreign)
    assert active_in_markdown(f"*Trend* of {line}\n") == []
