"""Vectors of floats.

>>> add([1.0, 2.0], [3.0, 4.0])
[4.0, 6.0]
>>> softmax([0.0, 0.0])
[0.5, 0.5]
"""

from __future__ import annotations

import math


def add(a, b):
    """Add element by element.

    >>> add([1.0], [2.0, 3.0])
    Traceback (most recent call last):
    ValueError: shapes differ: 1 and 2
    """
    if len(a) != len(b):
        raise ValueError(f"shapes differ: {len(a)} and {len(b)}")
    return [x + y for x, y in zip(a, b, strict=True)]


def mul(a, b):
    """Multiply element by element.

    >>> mul([2.0], [4.0])
    [8.0]
    """
    if len(a) != len(b):
        raise ValueError(f"shapes differ: {len(a)} and {len(b)}")
    return [x * y for x, y in zip(a, b, strict=True)]


def matmul(rows, columns):
    """The product of two matrices given as lists of rows.

    >>> matmul([[1.0, 2.0]], [[3.0], [4.0]])
    [[11.0]]
    """
    transposed = list(zip(*columns, strict=True))
    return [[sum(x * y for x, y in zip(row, column, strict=True)) for column in transposed] for row in rows]


def softmax(a):
    """Positive numbers that add up to one."""
    top = max(a)
    powers = [math.exp(x - top) for x in a]
    total = sum(powers)
    return [p / total for p in powers]
