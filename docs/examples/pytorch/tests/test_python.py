"""Core operations."""

import math

import pytest
from minitorch import ops


@pytest.mark.parametrize("size", [1, 3, 64])
def test_softmax_is_a_distribution(size):
    values = ops.softmax([float(x) for x in range(size)])
    assert math.isclose(sum(values), 1.0)
    assert values == sorted(values)


def test_matmul_by_the_identity_changes_nothing():
    assert ops.matmul([[1.0, 0.0], [0.0, 1.0]], [[5.0, 6.0], [7.0, 8.0]]) == [[5.0, 6.0], [7.0, 8.0]]


@pytest.mark.parametrize("operation", [ops.add, ops.mul])
def test_shapes_must_agree(operation):
    with pytest.raises(ValueError, match="shapes differ: 1 and 2"):
        operation([1.0], [1.0, 2.0])
