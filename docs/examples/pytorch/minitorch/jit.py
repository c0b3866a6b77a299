"""Traces a function of numbers into a list of steps, simplifies it and runs it again without the function."""

from __future__ import annotations

import operator

OPERATORS = {"add": operator.add, "mul": operator.mul, "sub": operator.sub}


class Traced:
    """Stands for a number while a function is traced."""

    def __init__(self, graph, name):
        self.graph = graph
        self.name = name

    def _step(self, kind, other, swapped=False):
        value = other.name if isinstance(other, Traced) else float(other)
        arguments = (value, self.name) if swapped else (self.name, value)
        return self.graph.step(kind, arguments)

    def __add__(self, other):
        return self._step("add", other)

    def __radd__(self, other):
        return self._step("add", other, swapped=True)

    def __mul__(self, other):
        return self._step("mul", other)

    def __rmul__(self, other):
        return self._step("mul", other, swapped=True)

    def __sub__(self, other):
        return self._step("sub", other)

    def __bool__(self):
        raise TypeError("a traced value has no truth: control flow that depends on data cannot be traced")


class Graph:
    """The steps of a traced function: (result, kind, arguments)."""

    def __init__(self, inputs):
        self.inputs = inputs
        self.steps = []
        self.result = None

    def step(self, kind, arguments):
        """Add a step and return what stands for its result."""
        name = f"t{len(self.steps)}"
        self.steps.append((name, kind, arguments))
        return Traced(self, name)

    def __call__(self, *values):
        known = dict(zip(self.inputs, values, strict=True))
        for name, kind, arguments in self.steps:
            left, right = (known[item] if isinstance(item, str) else item for item in arguments)
            known[name] = OPERATORS[kind](left, right)
        return known[self.result]


def trace(function, count):
    """The graph of a function of `count` numbers."""
    graph = Graph([f"x{number}" for number in range(count)])
    graph.result = function(*(Traced(graph, name) for name in graph.inputs)).name
    return graph


def simplify(graph):
    """The same function without multiplications by one and additions of zero."""
    simple, alias = Graph(graph.inputs), {}
    for name, kind, arguments in graph.steps:
        left, right = (alias.get(item, item) if isinstance(item, str) else item for item in arguments)
        neutral = 1.0 if kind == "mul" else 0.0
        if right == neutral:
            alias[name] = left
        elif left == neutral and kind != "sub":
            alias[name] = right
        else:
            alias[name] = simple.step(kind, (left, right)).name
    simple.result = alias[graph.result]
    return simple
