"""Generated Python computes what the graph computes."""

from minitorch.inductor import compile_python, python_source
from minitorch.jit import trace


def test_compiled_python_equals_the_graph():
    graph = trace(lambda x, y: (x + y) * (x - y), 2)
    assert compile_python(graph)(5.0, 3.0) == graph(5.0, 3.0) == 16.0


def test_the_source_is_readable():
    assert python_source(trace(lambda x: x * 2, 1)).splitlines()[1] == "    t0 = x0 * 2.0"
