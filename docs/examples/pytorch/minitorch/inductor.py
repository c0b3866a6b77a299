"""Turns a traced graph into source code, Python or C, and compiles it."""

from __future__ import annotations

import ctypes
import shutil
import subprocess

SIGNS = {"add": "+", "mul": "*", "sub": "-"}


def python_source(graph):
    """A Python function with the graph's meaning."""
    lines = [f"def compiled({', '.join(graph.inputs)}):"]
    for name, kind, (left, right) in graph.steps:
        lines.append(f"    {name} = {left} {SIGNS[kind]} {right}")
    return "\n".join([*lines, f"    return {graph.result}", ""])


def compile_python(graph):
    """The graph as a Python function."""
    scope = {}
    exec(compile(python_source(graph), "<inductor>", "exec"), scope)  # noqa: S102 - compiling is what it is for
    return scope["compiled"]


def c_source(graph):
    """A C function with the graph's meaning."""
    arguments = ", ".join(f"double {name}" for name in graph.inputs)
    lines = [f"double compiled({arguments}) {{"]
    for name, kind, (left, right) in graph.steps:
        lines.append(f"    double {name} = {left} {SIGNS[kind]} {right};")
    return "\n".join([*lines, f"    return {graph.result};", "}", ""])


def compiler():
    """The C compiler of this machine, or None."""
    return shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")


def compile_c(graph, folder):
    """The graph as a C function, called through ctypes."""
    source, library = folder / "graph.c", folder / "graph.so"
    source.write_text(c_source(graph))
    subprocess.run([compiler(), "-O2", "-shared", "-fPIC", "-o", str(library), str(source)], check=True)
    function = ctypes.CDLL(str(library)).compiled
    function.restype = ctypes.c_double
    function.argtypes = [ctypes.c_double] * len(graph.inputs)
    return function
