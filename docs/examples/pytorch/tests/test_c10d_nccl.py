"""The accelerator backend needs accelerators; without them the tests say so."""

import shutil

import pytest
from minitorch.collective import all_reduce


@pytest.mark.skipif(shutil.which("nvidia-smi") is None, reason="no NVIDIA driver on this machine")
def test_one_rank_a_device():
    assert all_reduce([[1.0], [2.0]]) == [[3.0], [3.0]]


def test_a_single_rank_needs_no_device():
    assert all_reduce([[5.0]]) == [[5.0]]
