"""A collective over real processes."""

import pytest
from minitorch.collective import all_reduce


@pytest.mark.parametrize("ranks", [1, 2, 4])
def test_every_rank_holds_the_sum(ranks):
    vectors = [[float(rank), 1.0] for rank in range(ranks)]
    expected = [float(sum(range(ranks))), float(ranks)]
    assert all_reduce(vectors) == [expected] * ranks


def test_ranks_must_agree_on_the_length():
    with pytest.raises(ValueError, match="one length"):
        all_reduce([[1.0], [1.0, 2.0]])
