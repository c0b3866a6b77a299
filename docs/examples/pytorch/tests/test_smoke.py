"""The package can be imported and adds two vectors."""

from minitorch.ops import add


def test_addition():
    assert add([1.0], [2.0]) == [3.0]
