"""Numerics that must not depend on the machine."""

import math
import random

import pytest


def softmax(values):
    top = max(values)
    powers = [math.exp(value - top) for value in values]
    return [power / math.fsum(powers) for power in powers]


@pytest.mark.parametrize("size", [1, 2, 16, 256])
def test_softmax_sums_to_one(size):
    generator = random.Random(size)  # noqa: S311
    assert math.fsum(softmax([generator.gauss(0, 50) for _ in range(size)])) == pytest.approx(1.0)


def test_softmax_survives_large_values():
    assert softmax([1e308, 1e308]) == [0.5, 0.5]


@pytest.mark.parametrize("shift", [-700.0, 0.0, 700.0])
def test_softmax_does_not_see_a_shift(shift):
    assert softmax([1.0 + shift, 2.0 + shift]) == pytest.approx(softmax([1.0, 2.0]))
