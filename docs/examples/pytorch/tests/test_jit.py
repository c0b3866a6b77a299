"""Tracing keeps the meaning of a function."""

import pytest
from minitorch.jit import simplify, trace


def polynomial(x, y):
    return 3 * x * x + y - 1


@pytest.mark.parametrize("point", [(0, 0), (1, 2), (-3, 0.5)])
def test_a_trace_computes_what_the_function_computes(point):
    assert trace(polynomial, 2)(*point) == polynomial(*point)


def test_simplifying_removes_steps_and_keeps_the_meaning():
    graph = trace(lambda x: (x * 1 + 0) * 2, 1)
    simple = simplify(graph)
    assert len(simple.steps) < len(graph.steps)
    assert simple(21.0) == graph(21.0) == 42.0
