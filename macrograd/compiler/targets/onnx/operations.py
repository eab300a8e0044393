"""An operation as nodes of a graph: the form in its row (`Op.onnx`), or its formula as a function of the model.

A row's form is the name of an operator, or a function (o, *operands) in which `o.Exp(a)` is a node. Formulas are long
and need 53 bits: each becomes one function that computes in float64, whatever type the graph's numbers have.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from macrograd.compiler.targets.onnx.graph import OWN, Function, Graph, Node
from macrograd.ops import Op
from macrograd.rows.composed import TWO_OVER_PI, Elsewhere, Term

_DOUBLE, _FLOAT, _INT64, _UINT64 = 11, 1, 7, 13  # TensorProto.DataType


def spell(graph: Graph, row: Op, operands: Sequence[str]) -> str:
    """The operation on values of the graph. Raises LookupError for one without a form or a formula."""
    if row.onnx is not None:
        return _spelled(graph, row, operands)
    if row.formula is None:
        raise LookupError(f"operation {row.name!r} has neither an ONNX form nor a formula to compose one from")
    functions = graph.root.functions
    if row.name not in functions:
        functions[row.name] = _function(row, graph.dtype)
    return graph.call(row.name, *operands, domain=OWN)


def _spelled(graph: Graph, row: Op, operands: Sequence[str]) -> str:
    assert row.onnx is not None
    if isinstance(row.onnx, str):
        return graph.call(row.onnx, *operands)
    found: str = row.onnx(Writing(graph), *operands)
    return found


class Writing:
    """The namespace in which a row's form is written: every attribute is an operator, and numbers are constants."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph

    @property
    def single(self) -> bool:
        """Whether the graph's numbers are float32."""
        return self._graph.dtype == np.float32

    def __getattr__(self, op: str) -> Any:
        graph = self._graph

        def call(*operands: Any, **attributes: Any) -> str:
            names = [x if isinstance(x, str) else self.number(x) for x in operands]
            return graph.call(op, *names, **attributes)

        return call

    def number(self, x: Any) -> str:
        """A constant; Python integers and arrays of integers stay integers."""
        kind = np.asarray(x).dtype
        return self._graph.constant(x, None if kind.kind == "f" else kind)

    def real(self, a: str) -> str:
        """Integers or truth values as the graph's numbers."""
        return self._graph.call("Cast", a, to=_FLOAT if self.single else _DOUBLE)

    def whole(self, a: str) -> str:
        return self._graph.call("Cast", a, to=_INT64)

    def shifted(self, z: str, bits: int) -> str:
        """The bits of an integer shifted right, filled with zeros."""
        found = self.BitShift(self._graph.call("Cast", z, to=_UINT64), np.uint64(bits), direction="RIGHT")
        return self.whole(found)

    def mixed(self, z: str, bits: int) -> str:
        return str(self.BitwiseXor(z, self.shifted(z, bits)))


# --- formulas ---------------------------------------------------------------------------------------------------------


def _function(row: Op, dtype: np.dtype[Any]) -> Function:
    """A row's formula as a function."""
    assert row.formula is not None
    graph = Graph(np.dtype(np.float64))
    inputs = [f"x{k}" for k in range(row.arity or 0)]
    single = dtype == np.float32
    wide = [graph.call("Cast", name, to=_DOUBLE) for name in inputs] if single else inputs
    found = row.formula(*[_Written(graph, name) for name in wide])
    result = found.x if isinstance(found, _Written) else graph.constant(float(found))
    graph.outputs = [graph.call("Cast", result, to=_FLOAT) if single else result]
    graph.prune()
    constants = [Node("Constant", [], [name], {"value": array}) for name, array in graph.constants.items()]
    return Function(row.name, inputs, graph.outputs[0], constants + graph.nodes)


class _Written(Term):
    """A value of a function that is being written."""

    __slots__ = ("graph", "x")

    def __init__(self, graph: Graph, x: str) -> None:
        self.graph, self.x = graph, x

    def number(self, x: float) -> _Written:
        return _Written(self.graph, self.graph.constant(x))

    def apply(self, op: Any, operands: list[_Written]) -> _Written:
        names = [operand.x for operand in operands]
        if op.onnx is not None:
            return _Written(self.graph, _spelled(self.graph, op, names))
        found = op.formula(*operands)  # written out: these functions do not call each other
        return found if isinstance(found, _Written) else self.number(float(found))

    def primitive(self, name: str, operands: list[_Written]) -> _Written:
        return _Written(self.graph, _PRIMITIVES[name](Writing(self.graph), *[operand.x for operand in operands]))

    def elsewhere(self, condition: _Written, value: _Written, what: Elsewhere, operands: list[_Written]) -> _Written:
        o = Writing(self.graph)
        there = o.Less(0.0, condition.x)
        found = _LIBRARY[what](o, *[x.x for x in operands]) if isinstance(what, str) else what(*operands).x
        return _Written(self.graph, o.Where(there, found, value.x))


def _product_rest(o: Any, a: str, b: str) -> str:
    """Dekker's product, as in `rows.composed`."""
    p = o.Mul(a, b)

    def halves(x: str) -> tuple[str, str]:
        c = o.Mul(x, 134217729.0)
        high = o.Sub(c, o.Sub(c, x))
        return high, o.Sub(x, high)

    (a_high, a_low), (b_high, b_low) = halves(a), halves(b)
    rest = o.Add(o.Sub(o.Mul(a_high, b_high), p), o.Mul(a_high, b_low))
    rest = o.Add(o.Add(rest, o.Mul(a_low, b_high)), o.Mul(a_low, b_low))
    other = o.Where(o.IsNaN(p), p, 0.0)
    return str(o.Where(o.Less(o.Abs(rest), np.inf), rest, other))


def _scaled(o: Any, a: str, n: str) -> str:
    """Scaled in three parts, so that the result may be subnormal or infinite for any a."""
    near = o.Max(o.Min(n, 3000.0), -3000.0)
    third = o.Floor(o.Div(near, 3.0))
    for power in (o.Sub(near, o.Add(third, third)), third, third):
        a = o.Mul(a, o.Pow(2.0, power))
    return str(o.Where(o.Less(o.Abs(n), np.inf), a, np.nan))


def _split(o: Any, a: str) -> tuple[str, str]:
    """m and k with a = m·2ᵏ, √½ ≤ m < √2: k from the logarithm, corrected where rounding made it off by one."""
    small = o.Less(a, 2.0**-1000)
    up = o.Where(small, o.Mul(a, 2.0**100), a)
    k = o.Round(o.Mul(o.Log(up), 1.4426950408889634))
    half = o.Floor(o.Mul(k, 0.5))  # 2⁻ᵏ itself may be subnormal
    m = o.Mul(o.Mul(up, o.Pow(2.0, o.Neg(half))), o.Pow(2.0, o.Sub(half, k)))
    over, under = o.GreaterOrEqual(m, 1.4142135623730951), o.Less(m, 0.7071067811865476)
    m = o.Where(over, o.Mul(m, 0.5), o.Where(under, o.Mul(m, 2.0), m))
    k = o.Where(over, o.Add(k, 1.0), o.Where(under, o.Sub(k, 1.0), k))
    return m, o.Where(small, o.Sub(k, 100.0), k)


def _decider(o: Any, b: str) -> str:
    """A number, not 0, with the sign of b; for −0 only division shows it."""
    return str(o.Where(o.Equal(b, 0.0), o.Div(1.0, b), b))


_PRIMITIVES: dict[str, Callable[..., str]] = {
    "product_rest": _product_rest,
    "scaled": _scaled,
    "mantissa": lambda o, a: _split(o, a)[0],
    "exponent": lambda o, a: _split(o, a)[1],
    # Of −0.0, ONNX Runtime's Where keeps the sign only in its second array; a Not before it would be optimised away.
    "signed": lambda o, a, b: o.Where(o.GreaterOrEqual(_decider(o, b), 0.0), o.Abs(a), o.Neg(o.Abs(a))),
    "multiply_add": lambda o, a, b, c: o.Add(o.Mul(a, b), c),
    "two_over_pi": lambda o, k: o.Gather(o.number(np.array(TWO_OVER_PI, np.float64)), o.Cast(k, to=_INT64)),
}
# C functions in terms of operators that have a kernel for float64.
_LIBRARY: dict[str, Callable[..., str]] = {
    "fmod": lambda o, a, b: o.Mod(a, b, fmod=1),
}
