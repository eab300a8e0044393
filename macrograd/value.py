"""`Value`: a number that remembers how it was computed, and can therefore say how it would change.

This is the eager engine, and it defines the meaning of every program: compiled code must give the numbers that this
file gives. A Value holds its number, its operation and its operands, and nothing else. There are no closures and no
back references, so a graph has no cycles and is freed the moment it is dropped.

Python's cyclic garbage collector looks at every container again and again while a graph grows, and never finds anything
to free. A Value is therefore the only container that an operation on one or two operands makes: the operands are in two
of its slots (`_a`, `_b`), and the tuple `inputs` is made on request. The hot operators below are written out for the
same reason, speed: each is `_node` inlined.
"""

from __future__ import annotations

import os
import sys
from _thread import RLock, _count, get_ident  # `threading` would be a heavy import
from collections import deque
from collections.abc import Callable, Iterable
from operator import attrgetter
from typing import Any, NoReturn, TypeVar

from macrograd import _numbers, ops
from macrograd._forks import free_in_child
from macrograd._methods import Methods
from macrograd._names import elsewhere
from macrograd._numbers import is_number, real, refuse_step
from macrograd._numpy import called, operators
from macrograd.graph import interior, topological
from macrograd.interpreter import Interpreter
from macrograd.ops import CONSTANT, Op
from macrograd.rules import accumulate, sweep

Result = TypeVar("Result")
not_mine: Callable[[Any], Value] = _numbers.not_mine  # typed as an operator, whose NotImplemented mypy understands
_ADD, _MUL = ops.add, ops.mul  # a global is found faster than a module's attribute

# The interpreter in charge (`macrograd.interpreter`), or None; the function that makes an empty Value, which is the
# interpreter's if there is one; and so is the one that makes an operand of a number, `constant` below otherwise.
_interpreter: Interpreter | None = None
_new: Any = object.__new__
_operand: Callable[[Any], Any]
# The gradient 0.0 of a new result: another object after each `value.data = …`. A gradient that is this object belongs
# to a result that is newer than every such write and that no backward has met; where backward finds any other object,
# it checks whether the graph is still up to date.
_ZERO = 0.0
_fresh: float = 0.0
turn = free_in_child(RLock())  # of the thread that has an interpreter in charge


def interpret(by: Interpreter, run: Callable[..., Result], *args: Any) -> Result:
    """`run(*args)` with the interpreter in charge of this thread, and then the previous one again. Other threads that
    want one wait; Values that they make and look at meanwhile are none of its business.

    No context manager in Python: Ctrl-C as its end begins would leave the interpreter in charge for good. A lock's is
    in C, and nothing interrupts the assignments of a `finally`.
    """
    global _interpreter, _new, _operand
    with turn:
        around = _interpreter, _new, _operand
        try:
            by.thread = get_ident()
            new, operand = by.new, by.operand or constant
            if not is_alone():  # otherwise at full speed
                new, operand = _own(new, object.__new__), _own(operand, constant)
            _interpreter, _new, _operand = by, new, operand
            return run(*args)
        finally:
            _interpreter, _new, _operand = around


def _forked() -> None:
    """In a forked child: end what a thread of the parent traced, which is not here."""
    global _interpreter, _new, _operand
    if _interpreter is not None and _interpreter.thread != get_ident():
        _interpreter, _new, _operand = None, object.__new__, constant


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)


def _own(mine: Callable[[Any], Any], eager: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """`mine` in this thread, `eager` in all others."""
    thread = get_ident()
    return lambda x: mine(x) if get_ident() == thread else eager(x)


def is_alone() -> bool:
    """Whether this is the only thread that runs Python code, of those that Python started.

    `sys._current_frames` knows all, but in Python 3.11 it waits forever for a thread that is just ending.
    """
    if _count():
        return False
    threading = sys.modules.get("threading")  # without which this is the main thread
    return threading is None or threading.main_thread().ident == get_ident()


def _observer(x: Any = None) -> Interpreter | None:
    """The interpreter in charge of this thread, if there is one. Whoever works on traced Values works for the trace."""
    by = _interpreter  # once: it may be another's, which ends it meanwhile
    return by if by is not None and (by.thread == get_ident() or (x is not None and x._traced)) else None


# Counts the bulk writes of parameters (by an optimiser, a training run, `load_parameters`). A cached copy of their
# numbers is stale once the count has changed: comparing all the numbers would cost more than using them.
parameter_writes = [0]


class Value(Methods):
    """A scalar and the operation that made it.

    data    the number, a float
    grad    the derivative of the last `backward()`'s result with respect to this number, 0.0 before
    op      the operation that made it, None for a leaf
    inputs  its operands, in order; an operand used twice is listed twice
    label   a name for drawings and error messages

    Arithmetic with numbers and other Values gives Values. Raises TypeError for data that is not a real number.
    """

    # _a and _b are the operands of an operation on one or two; with more, _a is the tuple of all. None where there is
    # no operand. `data` and `grad` are read through properties, which a trace can forbid; the arithmetic here reads
    # the slots themselves.
    __slots__ = ("_a", "_b", "_data", "_grad", "label", "op")

    _spreads = False  # whether operations apply element by element (macrograd.vector)
    _traced = False  # whether it has no number at all (macrograd.compiler.trace)

    _data: float
    _grad: Any
    op: Op | None
    label: str
    _a: Any
    _b: Value | None

    def __init__(self, data: float, label: str = "") -> None:
        self._data = data if data.__class__ is float else real("Value(data)", data)
        self._grad = 0.0
        self.op = None
        self._a = self._b = None
        self.label = label
        if _interpreter is not None and (by := _observer()):
            by.leaf(self)

    @property
    def data(self) -> float:
        """The number. Raises TypeError when set to anything that is not a real number."""
        if _interpreter is not None and (by := _observer()):
            by.look(self, "the number of {} (.data) was asked for")
        return self._data

    @data.setter
    def data(self, number: float) -> None:
        if number.__class__ is not float:
            if not is_number(number):
                from macrograd.slips import refused_data

                raise refused_data(self, number)
            number = real("value.data = …", number)
        if _interpreter is not None and (by := _observer()):
            by.write(self)
        global _fresh
        self._data = number
        _fresh = _ZERO + 0.0

    @property
    def grad(self) -> Any:
        """The derivative that `backward()` has added up."""
        if _interpreter is not None and (by := _observer()):
            by.gradient(self, "the gradient of {} (.grad) was asked for")
        return self._grad

    @grad.setter
    def grad(self, gradient: Any) -> None:
        if _interpreter is not None and (by := _observer()):
            by.gradient(self, "the gradient of {} (.grad = …) was set")
        self._grad = gradient

    # --- arithmetic ---------------------------------------------------------------------------------------------

    def __add__(self, other: Any) -> Value:
        if other.__class__ is not Value:
            if (number := _operand(other)) is None:
                return not_mine(other)
            other = number
        out: Value = _new(Value)
        out._data = self._data + other._data
        out._grad = _fresh
        out.op = _ADD
        out._a = self
        out._b = other
        out.label = ""
        return out

    def __radd__(self, other: Any) -> Value:
        if (number := _operand(other)) is None:
            return not_mine(other)
        return _node(number._data + self._data, ops.add, number, self)

    def __sub__(self, other: Any) -> Value:
        if other.__class__ is not Value:
            if (number := _operand(other)) is None:
                return not_mine(other)
            other = number
        return _node(self._data - other._data, ops.sub, self, other)

    def __rsub__(self, other: Any) -> Value:
        if (number := _operand(other)) is None:
            return not_mine(other)
        return _node(number._data - self._data, ops.sub, number, self)

    def __mul__(self, other: Any) -> Value:
        if other.__class__ is not Value:
            if (number := _operand(other)) is None:
                return not_mine(other)
            other = number
        out: Value = _new(Value)
        out._data = self._data * other._data
        out._grad = _fresh
        out.op = _MUL
        out._a = self
        out._b = other
        out.label = ""
        return out

    def __rmul__(self, other: Any) -> Value:
        if (number := _operand(other)) is None:
            return not_mine(other)
        return _node(number._data * self._data, ops.mul, number, self)

    def __truediv__(self, other: Any) -> Value:
        if (number := _operand(other)) is None:
            return not_mine(other)
        return _node(ops.div.forward(self._data, number._data), ops.div, self, number)

    def __rtruediv__(self, other: Any) -> Value:
        if (number := _operand(other)) is None:
            return not_mine(other)
        return _node(ops.div.forward(number._data, self._data), ops.div, number, self)

    def __pow__(self, other: Any) -> Value:
        if (number := _operand(other)) is None:
            return not_mine(other)
        return _node(ops.power.forward(self._data, number._data), ops.power, self, number)

    def __rpow__(self, other: Any) -> Value:
        if (number := _operand(other)) is None:
            return not_mine(other)
        return _node(ops.power.forward(number._data, self._data), ops.power, number, self)

    def __neg__(self) -> Value:
        return _node(-self._data, ops.neg, self)

    def __pos__(self) -> Value:
        return self

    def __abs__(self) -> Value:
        return _node(abs(self._data), ops.absolute, self)

    def __floordiv__(self, other: Any) -> Value:
        refuse_step("//", "value.data // 2")

    def __mod__(self, other: Any) -> Value:
        refuse_step("%", "value.data % 2")

    def __divmod__(self, other: Any) -> tuple[Value, Value]:
        refuse_step("divmod()", "divmod(value.data, 2)")

    __rfloordiv__, __rmod__, __rdivmod__ = __floordiv__, __mod__, __divmod__

    def __round__(self, ndigits: int | None = None) -> int:
        if _interpreter is not None and (by := _observer()):
            by.look(self, "round() of {}")
        raise TypeError(
            "round() is not supported on Value: it returns an int; write mg.round(value), or round(value.data)"
        )

    def __index__(self) -> int:
        if _interpreter is not None and (by := _observer()):
            by.look(self, "{} as an index (mg.take) or a count (mg.loop)")
        raise TypeError(
            "a Value cannot be an index or a count: use int(value.data), or mg.take(values, value) to choose by one"
        )

    def __getitem__(self, key: Any) -> Value:
        raise TypeError(
            f"a Value is one number and has no element [{key!r}]: give a list or an array to a function that indexes "
            "it (a row of numbers for each sample if batch=True)"
        )

    def __iter__(self) -> NoReturn:
        raise TypeError(
            "a Value is one number and cannot be unpacked or looped over: give a list or an array to a function that "
            "does so (a row of numbers for each sample if batch=True)"
        )

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
        """NumPy leaves its functions, and the operators of its numbers, to the Value (`macrograd._numpy`)."""
        operator = operators.get(ufunc)
        if operator is not None and inputs[-1] is self and method == "__call__" and not options:
            found = getattr(self, operator)(inputs[0])
            if found is not NotImplemented:
                return found
        return called(self, ufunc, method, inputs, options)

    # --- comparisons: plain bools; in a trace, operations where a number is not known yet -----------------------------

    def __lt__(self, other: Any) -> Any:
        return _compare(ops.less, self, other)

    def __le__(self, other: Any) -> Any:
        return _compare(ops.less_equal, self, other)

    def __gt__(self, other: Any) -> Any:
        return _compare(ops.less, other, self)

    def __ge__(self, other: Any) -> Any:
        return _compare(ops.less_equal, other, self)

    def __float__(self) -> float:
        if _interpreter is not None and (by := _observer()):
            by.look(self, "float() of {}, which math's functions take too,")
        from macrograd.slips import number_taken

        number_taken(self)
        return self._data

    def __int__(self) -> int:
        if _interpreter is not None and (by := _observer()):
            by.look(self, "int() of {}")
        return int(self._data)

    def __bool__(self) -> bool:
        if _interpreter is not None and (by := _observer()):
            by.look(self, "a branch on {} (if, while, and, or, not, max, min, sorted)")
        return self._data != 0.0

    def _known(self) -> float | None:
        """The number, for the rules of choices; None if a trace would bake it in (`macrograd.ops.known`)."""
        return by.known(self) if _interpreter is not None and (by := _observer()) else self._data

    # --- the graph ----------------------------------------------------------------------------------------------

    @property
    def inputs(self) -> tuple[Value, ...]:
        """The operands, in order; an operand used twice is listed twice; () for a leaf."""
        a, b = self._a, self._b
        if b is not None:
            return (a, b)
        if a is None:
            return ()
        return a if a.__class__ is tuple else (a,)

    @inputs.setter
    def inputs(self, operands: tuple[Value, ...]) -> None:
        count = len(operands)
        self._a = operands if count > 2 else operands[0] if count else None
        self._b = operands[1] if count == 2 else None

    @classmethod
    def _apply(cls, op: Op, operands: tuple[Any, ...]) -> Value:
        """Apply `op` to Values and numbers. (Traced values override this.)"""
        b = None
        if len(operands) == 1:
            (a,) = operands
            data = op.forward(a._data)
        elif len(operands) == 2:
            a, b = operands
            if a.__class__ is not Value:
                a = required(op, a)
            if b.__class__ is not Value:
                b = required(op, b)
            data = op.forward(a._data, b._data)
        else:
            a = tuple([x if x.__class__ is Value else required(op, x) for x in operands])
            data = op.forward(*[x._data for x in a])
        out: Value = _new(Value)
        out._data = data
        out._grad = _fresh
        out.op = op
        out._a = a
        out._b = b
        out.label = ""
        return out

    def backward(self, create_graph: bool = False) -> None:
        """Add the derivative of this Value to the `.grad` of every Value that it was computed from.

        Gradients of leaves accumulate over calls (set them to 0 in between, as `Module.zero_grad` does); those of
        interior Values are fresh in each call. With `create_graph` the gradients are Values themselves and can be
        differentiated again; they then refer to the Values that they belong to and keep them alive until the gradients
        are set to 0.

        A graph keeps the numbers that it was built with. Raises RuntimeError if its leaves have changed since.

        Source: reverse accumulation; Griewank & Walther, *Evaluating Derivatives*, 2nd ed., 2008, §3.2.
        """
        if _interpreter is not None and (by := _observer()):
            by.look(self, "backward() of {}, in place of mg.grad or mg.value_and_grad,")
        if create_graph:
            self._check_unchanged()
            self._backward_graph()
            return
        order, again = interior(self, _fresh)
        nothing = float("0")  # a distinct object: a node that still holds it in the end has received no gradient
        for node in order:
            node._grad = nothing
        if again:
            from macrograd.slips import check_unchanged

            check_unchanged(order)
        self._grad += 1.0
        accumulate(order, nothing)

    def _check_unchanged(self) -> None:
        order = [x for x in topological(self) if x._a is not None]
        if any(x._grad is not _fresh for x in order):
            from macrograd.slips import check_unchanged

            check_unchanged(order)

    def _backward_graph(self) -> None:
        """`backward` with gradients that are Values, 0 for what a choice did not take."""
        order = [node for node in topological(self) if node.op is not CONSTANT]
        gradients = sweep(order, self)
        for node in order:
            gradient = gradients.get(node, 0.0)
            new = gradient if isinstance(gradient, Value) else constant(gradient)
            accumulates = node.op is None and (isinstance(node._grad, Value) or node._grad != 0.0)
            node._grad = node._grad + new if accumulates else new

    def __reduce__(self) -> tuple[Any, ...]:
        from macrograd.copying import reduced

        return reduced(self)

    def __setstate__(self, items: list[Any]) -> None:
        from macrograd.copying import fill

        fill(items)

    def __copy__(self) -> Value:
        out: Value = object.__new__(self.__class__)
        out.data, out.grad, out.op, out._a, out._b, out.label = (
            self.data, self.grad, self.op, self._a, self._b, self.label,
        )  # fmt: skip
        if hasattr(self, "__dict__"):  # a custom subclass
            out.__dict__.update(self.__dict__)
        return out

    @property
    def _prev(self) -> tuple[Value, ...]:
        """micrograd's name for `inputs`."""
        return self.inputs

    @property
    def _op(self) -> str:
        """micrograd's name for the operation's symbol; '' for a leaf."""
        return "" if self.op is None or self.op is CONSTANT else self.op.symbol

    def __format__(self, spec: str) -> str:
        """`f"{x:.3f}"` formats the number; without a format spec it is `str(x)`."""
        if _interpreter is not None and spec and (by := _observer()):
            by.look(self, f"the format {spec!r} of {{}}")
        return format(self._data, spec) if spec else str(self)

    def __dir__(self) -> list[str]:
        return [name for name in object.__dir__(self) if name not in _ELSEWHERE]

    def __repr__(self) -> str:
        name = f", label={self.label!r}" if self.label else ""
        return f"Value(data={self._data}, grad={self._grad}{name})"


_DATA = "value.data is the plain number"
_ELSEWHERE = {
    **dict.fromkeys(("item", "numpy", "cpu", "value"), _DATA),
    "detach": "write mg.detach(value), or value.data for the plain number",
    "requires_grad": "every Value has a gradient; write mg.detach(value) for one without",
    "requires_grad_": "every Value has a gradient; write mg.detach(value) for one without",
    "retain_grad": "backward keeps the gradients of all Values",
    "grad_fn": "value.op is the operation that made it, and value.inputs its operands",
    "zero_": "write value.data = 0.0",
    "zero_grad": "write value.grad = 0.0, or model.zero_grad() for all parameters",
    "clone": "write value + 0.0 for a copy in the graph, or mg.Value(value.data) for a new leaf",
    "pow": "write value ** n",
    "square": "write value ** 2",
    "clamp": "write mg.minimum(mg.maximum(value, low), high)",
    "backwards": "write value.backward()",
}
elsewhere(Value, "a Value", _ELSEWHERE)


def constant(x: Any) -> Any:
    """`x` as a Value: itself if it is one, a constant if it is a number, None if it is neither."""
    kind = x.__class__
    if kind is not float and kind is not int:
        if isinstance(x, Value):
            return x
        if not is_number(x):
            return None
    try:
        return _node(float(x), CONSTANT)
    except OverflowError:
        raise ops.too_large("a Value", x) from None


_operand = constant


def required(op: Op, x: Any) -> Value:
    """`x` as a Value, or a TypeError that names the operation."""
    value: Value | None = constant(x)
    if value is None:
        raise ops.no_number(op.name, x)
    return value


def _node(data: float, op: Op, a: Value | None = None, b: Value | None = None) -> Value:
    out: Value = _new(Value)
    out._data = data
    out._grad = _fresh
    out.op = op
    out._a = a
    out._b = b
    out.label = ""
    return out


def is_open(x: Any) -> bool:
    """Whether x is a Value whose number is not known yet: during a trace, one that depends on an argument or a
    parameter."""
    return isinstance(x, Value) and (x._traced or bool((by := _observer()) and by.depends(x)))


def positive_zero(x: Value) -> Value:
    """x, and 0.0 for −0.0: of a gradient, which begins with 0.0 and is added to, as `.grad` is."""
    if (by := _observer(x)) is None:
        return x + 0.0 if x._data == 0.0 else x
    return by.same(ops.add(0.0, x)) if by.signed_zero(x) else x


def is_interpreted() -> bool:
    """Whether operations mean more than their numbers at the moment, as in a trace."""
    return _observer() is not None


def recording() -> Interpreter | None:
    """The interpreter that records this thread's program, if one does."""
    by = _observer()
    return by if by is not None and by.records() else None


def epsilon() -> float:
    """The distance from 1 to the next number, of the numbers with which this thread's program will compute."""
    program = recording()
    return Interpreter.epsilon if program is None else program.epsilon


def numbers_of(values: Iterable[Value]) -> list[float]:
    """The `.data` of many Values."""
    if _interpreter is not None:
        return [x.data for x in values]
    return list(map(_number_of, values))


def write_numbers(values: Iterable[Value], numbers: Iterable[float]) -> None:
    """Set the `.data` of many parameters to floats, and count it as one write (`parameter_writes`)."""
    global _fresh
    if _interpreter is not None:
        for x, number in zip(values, numbers, strict=True):
            x.data = number
    else:
        deque(map(_set_number, values, numbers), maxlen=0)
        _fresh = _ZERO + 0.0
    parameter_writes[0] += 1


_number_of = attrgetter("_data")
_set_number = vars(Value)["_data"].__set__


def compared(op: Op, left: Any, right: Any) -> Any:
    """The recorded comparison that Python's operator is while a function is traced."""
    made = op(left, right)
    if by := _observer(made):
        by.compared(made)
    return made


def _compare(op: Op, left: Any, right: Any) -> Any:
    left, right = constant(left), constant(right)
    if left is None or right is None:
        return NotImplemented
    if (by := _observer()) and (by.depends(left) or by.depends(right)):
        return compared(op, left, right)
    return bool(op.forward(left._data, right._data))


__all__ = [
    "CONSTANT",
    "Value",
    "compared",
    "constant",
    "interpret",
    "is_interpreted",
    "is_open",
    "numbers_of",
    "positive_zero",
    "recording",
    "topological",
    "write_numbers",
]
