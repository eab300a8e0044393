"""`Value`: a number that remembers how it was computed, and can therefore say how it would change.

This is the eager engine, and the meaning of every program: what the compiler makes of a program must give the numbers
that this file gives. A Value holds its number, its operation and its operands; nothing else. There are no closures and
no back references, so a graph has no cycles and is freed the moment it is dropped.
"""

from __future__ import annotations

from collections.abc import Iterable
from numbers import Real
from typing import Any

from macrograd import ops
from macrograd.ops import Op

_new = object.__new__

# While a function is traced (macrograd.compiler), the leaves it creates are constants and not parameters: they are
# noted here. None while nothing is traced.
_leaves_being_made: list[Value] | None = None


class Value:
    """A scalar and the operation that made it.

    data    the number, a float
    grad    the derivative of the last `backward()`'s result with respect to this number, 0.0 before
    op      the operation that made it, None for a leaf
    inputs  its operands, in order; the same operand twice stands there twice
    label   a name for drawings and error messages

    Arithmetic with numbers and other Values gives Values. Raises TypeError for data that is not a real number.
    """

    __slots__ = ("data", "grad", "inputs", "label", "op")

    # NumPy must not take `array * value` apart; it leaves the operation to the Value.
    __array_ufunc__ = None

    data: float
    grad: Any
    op: Op | None
    inputs: tuple[Value, ...]
    label: str

    def __init__(self, data: float, label: str = "") -> None:
        if data.__class__ is not float:
            if isinstance(data, Value) or not isinstance(data, (Real, int)) and not _is_scalar_array(data):
                raise TypeError(f"Value(data) takes one real number, got {data!r} of type {type(data).__name__}")
            data = float(data)
        self.data = data
        self.grad = 0.0
        self.op = None
        self.inputs = ()
        self.label = label
        if _leaves_being_made is not None:
            _leaves_being_made.append(self)

    # --- arithmetic ---------------------------------------------------------------------------------------------

    def __add__(self, other: Any) -> Value:
        if other.__class__ is not Value and (other := constant(other)) is None:
            return NotImplemented
        return _node(self.data + other.data, ops.add, (self, other))

    def __radd__(self, other: Any) -> Value:
        if (other := constant(other)) is None:
            return NotImplemented
        return _node(other.data + self.data, ops.add, (other, self))

    def __sub__(self, other: Any) -> Value:
        if other.__class__ is not Value and (other := constant(other)) is None:
            return NotImplemented
        return _node(self.data - other.data, ops.sub, (self, other))

    def __rsub__(self, other: Any) -> Value:
        if (other := constant(other)) is None:
            return NotImplemented
        return _node(other.data - self.data, ops.sub, (other, self))

    def __mul__(self, other: Any) -> Value:
        if other.__class__ is not Value and (other := constant(other)) is None:
            return NotImplemented
        return _node(self.data * other.data, ops.mul, (self, other))

    def __rmul__(self, other: Any) -> Value:
        if (other := constant(other)) is None:
            return NotImplemented
        return _node(other.data * self.data, ops.mul, (other, self))

    def __truediv__(self, other: Any) -> Value:
        if (other := constant(other)) is None:
            return NotImplemented
        return _node(ops.div.forward(self.data, other.data), ops.div, (self, other))

    def __rtruediv__(self, other: Any) -> Value:
        if (other := constant(other)) is None:
            return NotImplemented
        return _node(ops.div.forward(other.data, self.data), ops.div, (other, self))

    def __pow__(self, other: Any) -> Value:
        if (other := constant(other)) is None:
            return NotImplemented
        return _node(ops.power.forward(self.data, other.data), ops.power, (self, other))

    def __rpow__(self, other: Any) -> Value:
        if (other := constant(other)) is None:
            return NotImplemented
        return _node(ops.power.forward(other.data, self.data), ops.power, (other, self))

    def __neg__(self) -> Value:
        return _node(-self.data, ops.neg, (self,))

    def __pos__(self) -> Value:
        return self

    def __abs__(self) -> Value:
        return _node(abs(self.data), ops.absolute, (self,))

    # --- functions as methods -----------------------------------------------------------------------------------

    def abs(self) -> Value:
        return abs(self)

    def exp(self) -> Value:
        return self._apply(ops.exp, (self,))

    def log(self) -> Value:
        return self._apply(ops.log, (self,))

    def log1p(self) -> Value:
        return self._apply(ops.log1p, (self,))

    def sqrt(self) -> Value:
        return self._apply(ops.sqrt, (self,))

    def tanh(self) -> Value:
        return self._apply(ops.tanh, (self,))

    def sigmoid(self) -> Value:
        return self._apply(ops.sigmoid, (self,))

    def softplus(self) -> Value:
        return self._apply(ops.softplus, (self,))

    def relu(self) -> Value:
        return self._apply(ops.relu, (self,))

    def leaky_relu(self, slope: float = 0.01) -> Value:
        return ops.where(ops.less(0.0, self), self, slope * self)  # type: ignore[no-any-return]  # ops are generic

    def sin(self) -> Value:
        return self._apply(ops.sin, (self,))

    def cos(self) -> Value:
        return self._apply(ops.cos, (self,))

    # --- comparisons: of the numbers, and plain bools -----------------------------------------------------------

    def __lt__(self, other: Any) -> Any:
        return _compare(ops.less, self, other)

    def __le__(self, other: Any) -> Any:
        return _compare(ops.less_equal, self, other)

    def __gt__(self, other: Any) -> Any:
        return _compare(ops.less, other, self)

    def __ge__(self, other: Any) -> Any:
        return _compare(ops.less_equal, other, self)

    def __float__(self) -> float:
        return self.data

    def __int__(self) -> int:
        return int(self.data)

    def __bool__(self) -> bool:
        return self.data != 0.0

    # --- the graph ----------------------------------------------------------------------------------------------

    @classmethod
    def _apply(cls, op: Op, operands: tuple[Any, ...]) -> Value:
        """The Value of `op` on operands that are Values or numbers. (Traced values have their own.)"""
        inputs = tuple([_required(op, x) for x in operands])
        return _node(op.forward(*[x.data for x in inputs]), op, inputs)

    def backward(self, create_graph: bool = False) -> None:
        """Add the derivative of this Value to the `.grad` of every Value that it was computed from.

        Gradients of leaves accumulate over calls (set them to 0 in between, as `Module.zero_grad` does); those of
        interior Values are fresh in each call. With `create_graph` the gradients are Values themselves and can be
        differentiated again.

        Source: reverse accumulation; Griewank & Walther, *Evaluating Derivatives*, 2nd ed., 2008, §3.2.
        """
        order = topological(self)
        if create_graph:
            for node, gradient in sweep(order, self).items():
                old = node.grad
                node.grad = gradient if node.op is not None or old.__class__ is float and old == 0.0 else old + gradient
            return
        for node in order:
            if node.op is not None:
                node.grad = 0.0
        self.grad += 1.0
        for node in reversed(order):
            op = node.op
            if op is None or op is CONSTANT:
                continue
            g, out, inputs, rule = node.grad, node.data, node.inputs, op.derivative
            if op.arity == 2:
                a, b = inputs
                if a.op is not CONSTANT and rule[0] is not None:
                    a.grad += rule[0](g, out, a.data, b.data)
                if b.op is not CONSTANT and rule[1] is not None:
                    b.grad += rule[1](g, out, a.data, b.data)
            elif op.arity == 1:
                (a,) = inputs
                if rule[0] is not None:
                    a.grad += rule[0](g, out, a.data)
            else:
                for x, contribution in zip(
                    inputs, contributions(op, g, out, [x.data for x in inputs]), strict=True
                ):
                    if contribution is not None:
                        x.grad += contribution

    @property
    def _prev(self) -> tuple[Value, ...]:
        """micrograd's name for `inputs`."""
        return self.inputs

    @property
    def _op(self) -> str:
        """micrograd's name for the operation's symbol; '' for a leaf."""
        return "" if self.op is None or self.op is CONSTANT else self.op.symbol

    def __repr__(self) -> str:
        name = f", label={self.label!r}" if self.label else ""
        return f"Value(data={self.data}, grad={self.grad}{name})"


def contributions(op: Op, g: Any, out: Any, operands: list[Any]) -> list[Any]:
    """What each operand's gradient gains; None where nothing flows."""
    if op.arity is None:
        return list(op.derivative(g, out, *operands))
    return [None if rule is None else rule(g, out, *operands) for rule in op.derivative]


def topological(*roots: Value) -> list[Value]:
    """Every Value that the roots were computed from and the roots themselves, operands before results.

    The order is that of a depth-first walk that takes operands from left to right, so it depends on the graph alone
    and not on addresses. Iterative: a chain of a million operations is no deeper than a short one.
    """
    order: list[Value] = []
    seen: set[int] = set()
    mark = seen.add
    # An int on the stack means that the Value below it has had all its operands listed.
    stack: list[Any] = list(reversed(roots))
    pop, push, extend, emit = stack.pop, stack.append, stack.extend, order.append
    while stack:
        node = pop()
        if node is None:
            emit(pop())
            continue
        key = id(node)
        if key in seen:
            continue
        mark(key)
        inputs = node.inputs
        if inputs:
            push(node)
            push(None)
            extend(inputs[::-1])
        else:
            emit(node)
    return order


def sweep(order: Iterable[Value], root: Value, seed: Any = 1.0) -> dict[Value, Any]:
    """Gradients of `root` as new Values (or traced values), by Value, for all of `order` that root depends on.

    The same walk as `Value.backward`, but on the graph itself instead of on its numbers, so that the result can be
    differentiated again.
    """
    gradients: dict[Value, Any] = {root: seed}
    for node in reversed(list(order)):
        op = node.op
        if op is None or op is CONSTANT or node not in gradients:
            continue
        active = [x.op is not CONSTANT for x in node.inputs]
        g = gradients[node]
        if op.arity is None:
            gains = list(op.derivative(g, node, *node.inputs))
        else:
            gains = [
                rule(g, node, *node.inputs) if wanted and rule is not None else None
                for rule, wanted in zip(op.derivative, active, strict=True)
            ]
        for x, gain in zip(node.inputs, gains, strict=True):
            if gain is not None and x.op is not CONSTANT:
                gradients[x] = gradients[x] + gain if x in gradients else gain
    return gradients


# A number that took part in an operation becomes a leaf of this operation: it gets no gradient and is no parameter.
CONSTANT = Op(
    "constant",
    "",
    0,
    lambda: ops.NAN,
    (),
    array=lambda np: np.nan,
    llvm="constant",
    c="",
)


def constant(x: Any) -> Any:
    """`x` as a Value: itself if it is one, a constant if it is a number, None if it is neither."""
    kind = x.__class__
    if kind is not float and kind is not int:
        if isinstance(x, Value):
            return x
        if not isinstance(x, Real) and not _is_scalar_array(x):
            return None
    return _node(float(x), CONSTANT, ())


def _required(op: Op, x: Any) -> Value:
    """`x` as a Value, or a TypeError that names the operation."""
    value: Value | None = constant(x)
    if value is None:
        raise TypeError(f"{op.name}() takes numbers and Values, got {x!r} of type {type(x).__name__}")
    return value


def _node(data: float, op: Op, inputs: tuple[Value, ...]) -> Value:
    value: Value = _new(Value)
    value.data = data
    value.grad = 0.0
    value.op = op
    value.inputs = inputs
    value.label = ""
    return value


def _compare(op: Op, left: Any, right: Any) -> Any:
    left, right = constant(left), constant(right)
    if left is None or right is None:
        return NotImplemented
    return bool(op.forward(left.data, right.data))


def _is_scalar_array(x: Any) -> bool:
    """Whether x is a zero-dimensional array or array scalar of real numbers, without importing NumPy."""
    return getattr(x, "shape", None) == () and getattr(getattr(x, "dtype", None), "kind", "") in "biuf"
