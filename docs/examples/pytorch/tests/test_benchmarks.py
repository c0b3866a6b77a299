"""Benchmarks emit metrics: a property whose name begins with `metric.` goes into the record."""

import time

import pytest
from minitorch.ops import matmul


@pytest.mark.parametrize("size", [8, 32])
def test_matmul_throughput(size, record_property):
    matrix = [[float(row * column) for column in range(size)] for row in range(size)]
    rounds, start = 20, time.perf_counter()
    for _ in range(rounds):
        product = matmul(matrix, matrix)
    seconds = time.perf_counter() - start
    record_property(f"metric.matmul_{size}_per_second", rounds / seconds)
    assert len(product) == size
