"""A graph under construction: nodes in the order in which they run, constants, and the bodies of loops.

It holds plain data; only `model.py`, which turns it into a model, needs the `onnx` package.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from macrograd._dataclass import dataclass

Array = NDArray[Any]
OWN = "macrograd"  # the domain of functions that belong to the model
_LEFT_OUT = ("Add", "Sub", "Mul", "Div")  # where a constant of one element makes no difference


@dataclass
class Node:
    """One call of an operator. `bodies` holds the body of a Scan or Loop, or the branches of an If; `states` is the
    number of values that a loop carries."""

    op: str
    inputs: list[str]
    outputs: list[str]
    attributes: dict[str, Any] = field(default_factory=dict)
    domain: str = ""
    bodies: dict[str, Graph] = field(default_factory=dict)
    states: int = 0

    def used(self) -> Iterator[str]:
        """The names that it reads, those of its bodies included."""
        yield from self.inputs
        for body in self.bodies.values():
            yield from body.used()


class Graph:
    """Nodes, and the names of their results. Equal nodes are made once. In a body, nodes that do not depend on the
    round move out to the graph around it; those of a `lazy` graph stay."""

    def __init__(
        self, dtype: np.dtype[Any], prefix: str = "", around: Graph | None = None, *, lazy: bool = False
    ) -> None:
        self.dtype, self.prefix, self.around, self.lazy = dtype, prefix, around, lazy
        self.nodes: list[Node] = []
        self.inputs: list[tuple[str, np.dtype[Any]]] = []  # of the body of a loop
        self.outputs: list[str] = []
        self._made: dict[Any, str] = {}
        self._names: set[str] = set()  # in the body of a loop, the values that change from round to round
        self.root: Graph = self if around is None else around.root
        # All graphs share those of the root.
        self.constants: dict[str, Array] = {}
        self.functions: dict[str, Function] = {}
        self.shapes: dict[str, tuple[int, ...]] = {}
        self._known: dict[Any, str] = {}
        self._before: dict[str, str] = {}  # reshaped value: the original
        self._count = 0

    def name(self, what: str) -> str:
        """A new name."""
        root = self.root
        root._count += 1
        name = f"{root.prefix}{what}_{root._count}"
        self._names.add(name)
        return name

    def renamed(self, name: str) -> str:
        """A copy of the value under a new name, as the results of a body must be."""
        out = self.name("out")
        self.nodes.append(Node("Identity", [name], [out]))
        self.root.shapes[out] = self.root.shapes[name]
        return out

    def constant(self, x: Any, dtype: Any = None) -> str:
        """An array or a number that does not change; equal ones are kept once."""
        array = np.ascontiguousarray(np.asarray(x, dtype=dtype or self.dtype)).reshape(np.shape(x))
        key = array.dtype.str, array.shape, array.tobytes()
        root = self.root
        if key not in root._known:
            root._known[key] = self.name("c")
            root.constants[root._known[key]] = array
        return root._known[key]

    def integers(self, *numbers: int) -> str:
        return self.constant(np.array(numbers, dtype=np.int64), np.int64)

    def call(self, op: str, *inputs: str, domain: str = "", **attributes: Any) -> str:
        """The result of an operator, shared with an equal call if there was one. A result that is the same in all
        rounds of a loop is computed outside it."""
        if op in _LEFT_OUT and not domain and (kept := self._kept(op, *inputs)) is not None:
            return kept
        if self.around is not None and not self.lazy and self._names.isdisjoint(inputs):
            return self.around.call(op, *inputs, domain=domain, **attributes)
        key = op, domain, inputs, tuple(sorted(attributes.items()))
        if key in self._made:
            return self._made[key]
        out = self.name(op.lower())
        self.nodes.append(Node(op, list(inputs), [out], attributes, domain))
        self._made[key] = out
        return out

    def _kept(self, op: str, a: str, b: str) -> str | None:
        """The result in a form that ONNX Runtime's optimiser keeps, where it would take the constant for a 0 or 1 that
        makes no difference, since it looks at it in float32; otherwise None."""
        x, name = (b, a) if a in self.root.constants and op in ("Add", "Mul") else (a, b)
        constant = self.root.constants.get(name)
        if constant is None or constant.size != 1 or constant.dtype.kind != "f":
            return None
        c = constant.item()
        with np.errstate(over="ignore"):
            single = float(np.float32(c))
        if op in ("Mul", "Div"):
            if single != 1.0 or c == 1.0:
                return None
            half = self.constant(constant * (0.5 if op == "Mul" else 2.0), constant.dtype)
            return self.call("Mul", self.call(op, x, half), self.constant(np.full(constant.shape, 2.0), constant.dtype))
        if single != 0.0 or c == 0.0:
            return None
        return self.call("Sum", x, self.constant(constant if op == "Add" else -constant, constant.dtype))

    def shaped(self, name: str, shape: tuple[int, ...]) -> str:
        """The value, with its shape recorded; -1 stands for the number of samples."""
        self.root.shapes[name] = shape
        return name

    def reshape(self, name: str, *shape: int) -> str:
        """The same elements in another shape, in which one axis may be -1: the number of samples."""
        root = self.root
        name = root._before.get(name, name)
        if name in root.constants:
            return self.constant(root.constants[name].reshape(shape), root.constants[name].dtype)
        if root.shapes.get(name) == shape:
            return name
        out = self.shaped(self.call("Reshape", name, self.integers(*shape)), shape)
        root._before[out] = name
        return out

    def transpose(self, name: str, order: tuple[int, ...]) -> str:
        """The same elements with their axes in another order."""
        root = self.root
        if name in root.constants:
            return self.constant(root.constants[name].transpose(order), root.constants[name].dtype)
        shape = root.shapes.get(name)
        out = self.call("Transpose", name, perm=order)
        return out if shape is None else self.shaped(out, tuple(shape[k] for k in order))

    def used(self) -> Iterator[str]:
        """The names that its nodes read, and those of its outputs."""
        yield from self.outputs
        for node in self.nodes:
            yield from node.used()

    def prune(self) -> None:
        """Remove nodes that no output needs, and constants that nothing reads."""
        self._prune(set(self.outputs))
        if self.around is None:
            used = set(self.used())
            self.constants = {name: array for name, array in self.constants.items() if name in used}

    def _prune(self, needed: set[str]) -> None:
        kept = []
        for node in reversed(self.nodes):
            if needed.isdisjoint(node.outputs):
                continue
            if node.op == "If":
                for branch in node.bodies.values():
                    branch._prune(set(branch.outputs))
            elif node.bodies:
                _prune_loop(node, node.bodies["body"], needed)
            needed.update(node.used())
            kept.append(node)
        self.nodes = kept[::-1]


def _prune_loop(node: Node, body: Graph, needed: set[str]) -> None:
    """Remove stacked results that nothing reads, and then inputs that the body does not need."""
    own = 1 if node.op == "Loop" else 0  # the condition among the body's outputs
    stacked = [
        (outer, inner)
        for outer, inner in zip(node.outputs[node.states :], body.outputs[own + node.states :], strict=True)
        if outer in needed
    ]
    node.outputs = node.outputs[: node.states] + [outer for outer, _ in stacked]
    body.outputs = body.outputs[: own + node.states] + [inner for _, inner in stacked]
    body._prune(set(body.outputs))
    used = set(body.used())
    if node.op == "Scan":
        fixed = node.states
        pairs = list(zip(node.inputs[fixed:], body.inputs[fixed:], strict=True))
        kept = [pair for pair in pairs if pair[1][0] in used] or pairs[:1]
        node.inputs[fixed:] = [outer for outer, _ in kept]
        body.inputs[fixed:] = [inner for _, inner in kept]


@dataclass
class Function:
    """An operation that the model defines: its nodes, the first of which are constants."""

    name: str
    inputs: list[str]
    output: str
    nodes: list[Node]


def ordered(functions: Iterable[Function]) -> list[Function]:
    return sorted(functions, key=lambda function: function.name)


__all__ = ["OWN", "Array", "Function", "Graph", "Node", "ordered"]
