"""Generated C computes what the graph computes, where there is a compiler."""

import pytest
from minitorch.inductor import c_source, compile_c, compiler
from minitorch.jit import trace


@pytest.mark.skipif(compiler() is None, reason="no C compiler on this machine")
def test_compiled_c_equals_the_graph(tmp_path):
    graph = trace(lambda x, y: x * y - 0.5, 2)
    assert compile_c(graph, tmp_path)(3.0, 4.0) == graph(3.0, 4.0) == 11.5


def test_the_source_declares_its_arguments():
    assert c_source(trace(lambda x: x + 1, 1)).startswith("double compiled(double x0) {")
