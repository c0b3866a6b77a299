"""What the old tracer refused, the new one refuses too."""

import pytest
from minitorch.jit import trace


def test_control_flow_on_data_cannot_be_traced():
    with pytest.raises(TypeError, match="cannot be traced"):
        trace(lambda x: x or x + 1, 1)
