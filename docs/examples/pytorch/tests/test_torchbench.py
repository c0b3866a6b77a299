"""The torchbench benchmark: one mlp step, with its latency as a metric."""

import time

from minitorch.ops import matmul, softmax


def test_mlp_latency(record_property):
    weights = [[1.0 / (row + column + 1) for column in range(16)] for row in range(16)]
    start = time.perf_counter()
    scores = [softmax(row) for row in matmul(weights, weights)]
    record_property("metric.mlp_ms", (time.perf_counter() - start) * 1000)
    assert all(abs(sum(row) - 1.0) < 1e-9 for row in scores)
