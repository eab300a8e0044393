"""Values without a number: the arguments of a traced function, and what is computed from them.

Making one is where a trace spends its time, so `record` has twins for no operands and for two, and the binary operators
are written out here and not in `_apply`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from macrograd import ops, value
from macrograd._numbers import not_mine
from macrograd.compiler.trace.counting import Counting
from macrograd.compiler.trace.refusals import OF_A_BRANCH, OF_A_COUNT, WAY_OUT, WAY_OUT_OF_GRADIENTS, refuse
from macrograd.ops import Op
from macrograd.value import Value


class Traced(Value):
    """A Value without a number: an argument of the traced function, or computed from one."""

    __slots__ = ()

    _traced = True

    @property
    def data(self) -> float:
        refuse("the number of a traced value (.data) was asked for")

    @data.setter
    def data(self, number: float) -> None:
        refuse("the number of a traced value (.data) was set")

    @property
    def grad(self) -> float:
        refuse("the gradient of a traced value (.grad) was asked for", WAY_OUT_OF_GRADIENTS)

    @grad.setter
    def grad(self, gradient: Any) -> None:
        refuse("the gradient of a traced value (.grad) was set", WAY_OUT_OF_GRADIENTS)

    @classmethod
    def _apply(cls, op: Op, operands: tuple[Any, ...]) -> Traced:
        if not all(issubclass(kind, Value) for kind in set(map(type, operands))):  # a dot has thousands of operands
            operands = tuple([value.required(op, x) for x in operands])
        return record(op, operands)

    def backward(self, create_graph: bool = False) -> None:
        refuse("backward() of a traced value, in place of mg.grad or mg.value_and_grad,")

    def _known(self) -> None:
        return None

    def __neg__(self) -> Traced:
        return record(ops.neg, (self,))

    def __abs__(self) -> Traced:
        return record(ops.absolute, (self,))

    def __float__(self) -> float:
        refuse("float() of a traced value")

    def __int__(self) -> int:
        refuse("int() of a traced value", WAY_OUT + OF_A_COUNT)

    def __index__(self) -> int:
        refuse("a traced value as an index (mg.take) or a count (mg.loop)", WAY_OUT + OF_A_COUNT)

    def __bool__(self) -> bool:
        refuse("a branch on a traced value (if, while, and, or, not, max, min, sorted)", WAY_OUT + OF_A_BRANCH)

    def __format__(self, spec: str) -> str:
        if spec:
            refuse(f"a traced value was formatted with {spec!r}")
        return str(self)

    def __round__(self, ndigits: int | None = None) -> int:
        refuse("round() of a traced value")

    def __lt__(self, other: Any) -> Any:
        return value.compared(ops.less, self, other)

    def __le__(self, other: Any) -> Any:
        return value.compared(ops.less_equal, self, other)

    def __gt__(self, other: Any) -> Any:
        return value.compared(ops.less, other, self)

    def __ge__(self, other: Any) -> Any:
        return value.compared(ops.less_equal, other, self)

    def __eq__(self, other: object) -> bool:
        if other is self or isinstance(other, Value) or value.constant(other) is None:
            return other is self
        refuse("a traced value was compared with == or !=")

    __hash__ = object.__hash__

    def __repr__(self) -> str:
        made = "input" if self.op is None else f"of {self.op.name}"
        return f"Traced({made}{f', label={self.label!r}' if self.label else ''})"

    __str__ = __repr__


class RoundNumber(Counting, Traced):
    """The round number of a loop, in its body."""

    __slots__ = ()


_numbers: dict[float, Value] = {}
_new: Callable[[Any], Any] = object.__new__  # in a trace, makes and lists Values


@contextmanager
def listing(new: Callable[[Any], Any]) -> Iterator[None]:
    """Traced values are made by `new`; after the context, as before it."""
    global _new, _numbers
    around = _new, _numbers  # of an enclosing trace
    _new, _numbers = new, {}
    try:
        yield
    finally:
        _new, _numbers = around


def record(op: Op | None, inputs: tuple[Value, ...]) -> Traced:
    node: Traced = _new(Value)
    node.__class__ = Traced
    node.op = op
    node.inputs = inputs
    node.label = ""
    return node


def leaf() -> Traced:
    """`record` for what has no operands."""
    node: Traced = _new(Value)
    node.__class__ = Traced
    node.op = node._a = node._b = None
    node.label = ""
    return node


def counter() -> Traced:
    node = leaf()
    node.__class__ = RoundNumber
    return node


def _record_two(op: Op, a: Any, b: Any) -> Traced:
    """`record` for two operands, where a trace spends most of its time."""
    node: Traced = _new(Value)
    node.__class__ = Traced
    node.op = op
    node._a = a
    node._b = b
    node.label = ""
    return node


def operand(x: Any) -> Any:
    """`x` as a Value, or None; equal numbers of a trace are one constant."""
    kind = x.__class__
    if kind is float or kind is int:
        key = x or math.copysign(1.0, x) * math.inf  # 0.0 and −0.0 are equal, but not the same number
        found = _numbers.get(key) if x - x == 0 else None
        if found is None:
            found = value.constant(x)
            if x - x == 0:
                _numbers[key] = found
        return found
    return value.constant(x)


def _binary(op: Op) -> tuple[Callable[[Any, Any], Any], Callable[[Any, Any], Any]]:
    def forwards(self: Traced, other: Any) -> Any:
        if other.__class__ is not Traced and other.__class__ is not Value:
            given, other = other, operand(other)
            if other is None:
                return not_mine(given)
        return _record_two(op, self, other)

    def backwards(self: Traced, other: Any) -> Any:
        if other.__class__ is not Traced and other.__class__ is not Value:
            given, other = other, operand(other)
            if other is None:
                return not_mine(given)
        return _record_two(op, other, self)

    return forwards, backwards


for _name, _op in (("add", ops.add), ("sub", ops.sub), ("mul", ops.mul), ("truediv", ops.div), ("pow", ops.power)):
    _forwards, _backwards = _binary(_op)
    setattr(Traced, f"__{_name}__", _forwards)
    setattr(Traced, f"__r{_name}__", _backwards)
