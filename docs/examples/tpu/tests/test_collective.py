"""A reduction over processes, as over the chips of a host."""

import math
import multiprocessing

import pytest


def part(numbers):
    return math.fsum(numbers)


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_a_sum_does_not_depend_on_how_many_add_it(workers):
    numbers = [1.0 / (n + 1) for n in range(1000)]
    shares = [numbers[at::workers] for at in range(workers)]
    with multiprocessing.get_context("spawn").Pool(workers) as pool:
        total = math.fsum(pool.map(part, shares))
    assert total == pytest.approx(math.fsum(numbers), rel=1e-12)
