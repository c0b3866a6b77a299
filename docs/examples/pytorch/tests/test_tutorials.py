"""What the tutorial promises holds for other numbers too."""

import pytest
from minitorch.jit import simplify, trace


@pytest.mark.parametrize(("x", "y"), [(0.0, 1.0), (-2.5, 4.0), (1e9, 1e-9)])
def test_the_tutorial_function(x, y):
    graph = simplify(trace(lambda a, b: a * b * 1 + 0, 2))
    assert graph(x, y) == x * y
