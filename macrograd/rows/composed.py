"""How an operation is composed of others where a target has no spelling for it: one rule for every target.

A row may have a `formula`: a function that writes the operation in other operations. Run on floats it computes; run on
`Term`s it writes code. A target wraps each operand in a Term, and each operation on Terms becomes whatever the target
makes of it: a NumPy array, a line of C, an LLVM instruction. So nothing is written twice, and where two targets round
their operations alike, the composed operation has the same bits.

A formula may not branch (`where` chooses), and may use these exact primitives besides the operations:

    product_rest(a, b)   a·b − fl(a·b), the rounding error of a product
    scaled(a, n)         a·2ⁿ for an integer n
    mantissa(a)          the m in a = m·2ᵏ with √½ ≤ m < √2, for finite a > 0
    exponent(a)          the k in that
    signed(a, b)         |a| with the sign bit of b
    multiply_add(a, b, c)  a·b + c, rounded once or twice, as the target likes
    two_over_pi(k)       bits 24k to 24k + 23 of 2/π after the point, as an integer, for k from 0 to 49
    elsewhere(c, a, what, *operands)   a, and where c holds `what` of the operands, the name of a C function that is
                                       exact or another formula: for such as are so rare or so large that they should
                                       cost nothing elsewhere
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from functools import cache, partial
from operator import itemgetter
from typing import Any

BY_NAME: dict[str, Any] = {}  # the table of operations (`ops`)
Elsewhere = str | Callable[..., Any]
_TWO_OVER_PI = (
    "A2F9836E4E441529FC2757D1F534DDC0DB6295993C439041FE5163ABDEBBC561B7246E3A424DD2E006492EEA09D1921CFE1D"
    "EB1CB129A73EE88235F52EBB4484E99C7026B45F7E413991D639835339F49C845F8BBDF9283B1FF897FFDE05980FEF2F118B"
    "5A0A6D1F6D367ECF27CB09B74F463F669E5FEA2D7527BAC7EBE5F17B3D0739F78A5292EA6BFB5FB11F8D5D0856033046FC7B"
)  # fmt: skip
TWO_OVER_PI = tuple(int(_TWO_OVER_PI[k : k + 6], 16) for k in range(0, 300, 6))


class Term:
    """An operand of a formula while a target writes it. Each target implements `number`, `apply` and `primitive`."""

    __slots__ = ()

    def number(self, x: float) -> Any:
        """A constant."""
        raise NotImplementedError

    def apply(self, op: Any, operands: list[Any]) -> Any:
        """An operation on Terms."""
        raise NotImplementedError

    def primitive(self, name: str, operands: list[Any]) -> Any:
        """One of the functions above."""
        raise NotImplementedError

    def elsewhere(self, condition: Any, value: Any, what: Elsewhere, operands: list[Any]) -> Any:
        """The last of the functions above."""
        raise NotImplementedError

    @classmethod
    def _apply(cls, op: Any, operands: tuple[Any, ...]) -> Any:
        me = next(x for x in operands if isinstance(x, Term))
        return me.apply(op, me.all(operands))

    def all(self, operands: Iterable[Any]) -> list[Any]:
        """The operands as Terms."""
        return [x if isinstance(x, Term) else self.number(float(x)) for x in operands]

    def __bool__(self) -> bool:
        raise TypeError("the formula of an operation may not branch: choose with where(condition, a, b)")

    def __float__(self) -> float:
        raise TypeError("the formula of an operation has no numbers to look at: it is written once for all of them")

    def __add__(self, other: Any) -> Any:
        return BY_NAME["add"](self, other)

    def __radd__(self, other: Any) -> Any:
        return BY_NAME["add"](other, self)

    def __sub__(self, other: Any) -> Any:
        return BY_NAME["sub"](self, other)

    def __rsub__(self, other: Any) -> Any:
        return BY_NAME["sub"](other, self)

    def __mul__(self, other: Any) -> Any:
        return BY_NAME["mul"](self, other)

    def __rmul__(self, other: Any) -> Any:
        return BY_NAME["mul"](other, self)

    def __truediv__(self, other: Any) -> Any:
        return BY_NAME["div"](self, other)

    def __rtruediv__(self, other: Any) -> Any:
        return BY_NAME["div"](other, self)

    def __neg__(self) -> Any:
        return BY_NAME["neg"](self)

    def __abs__(self) -> Any:
        return BY_NAME["abs"](self)


def _primitive(name: str, *operands: Any) -> Any:
    for x in operands:
        if isinstance(x, Term):
            return x.primitive(name, x.all(operands))
    return FLOATS[name](*operands)


def product_rest(a: Any, b: Any) -> Any:
    return _primitive("product_rest", a, b)


def scaled(a: Any, n: Any) -> Any:
    return _primitive("scaled", a, n)


def mantissa(a: Any) -> Any:
    return _primitive("mantissa", a)


def exponent(a: Any) -> Any:
    return _primitive("exponent", a)


def signed(a: Any, b: Any) -> Any:
    return _primitive("signed", a, b)


def multiply_add(a: Any, b: Any, c: Any) -> Any:
    return _primitive("multiply_add", a, b, c)


def two_over_pi(k: Any) -> Any:
    return _primitive("two_over_pi", k)


def elsewhere(condition: Any, value: Any, what: Elsewhere, *operands: Any) -> Any:
    for x in (condition, value, *operands):
        if isinstance(x, Term):
            condition, value, *others = x.all((condition, value, *operands))
            return x.elsewhere(condition, value, what, others)
    if not condition:
        return value
    return _own_function(what, *operands) if isinstance(what, str) else what(*operands)


# --- on floats --------------------------------------------------------------------------------------------------------

_SPLIT = 134217729.0  # 2²⁷ + 1


def _product_rest(a: float, b: float) -> float:
    """Dekker's product (T. J. Dekker, *Numerische Mathematik* 18, 1971); 0 where its parts would overflow."""
    p = a * b
    c, d = _SPLIT * a, _SPLIT * b
    a_high, b_high = c - (c - a), d - (d - b)
    a_low, b_low = a - a_high, b - b_high
    rest = ((a_high * b_high - p) + a_high * b_low + a_low * b_high) + a_low * b_low
    return rest if abs(rest) < math.inf else math.nan if p != p else 0.0


def _scaled(a: float, n: float) -> float:
    if n != n or abs(n) == math.inf:
        return math.nan
    try:
        return math.ldexp(a, int(n))
    except OverflowError:
        return math.copysign(math.inf, a)


def _split(a: float) -> tuple[float, float]:
    m, k = math.frexp(a)
    return (2.0 * m, k - 1.0) if m < 0.7071067811865476 else (m, float(k))


FLOATS: dict[str, Callable[..., float]] = {
    "product_rest": _product_rest,
    "scaled": _scaled,
    "mantissa": lambda a: _split(a)[0],
    "exponent": lambda a: _split(a)[1],
    "signed": math.copysign,
    "multiply_add": lambda a, b, c: a * b + c,
    "two_over_pi": lambda k: float(TWO_OVER_PI[int(k)]),
}


def _own_function(name: str, *operands: float) -> float:
    try:
        found: float = getattr(math, name)(*operands)
    except ValueError:  # outside its domain
        return math.nan
    return found


class _Float(Term):
    """A float whose operators follow IEEE 754, as the operations do, where Python's would raise."""

    __slots__ = ("x",)

    def __init__(self, x: float) -> None:
        self.x = x

    def number(self, x: float) -> _Float:
        return _Float(x)

    def apply(self, op: Any, operands: list[_Float]) -> _Float:
        return _Float(op.forward(*[operand.x for operand in operands]))

    def primitive(self, name: str, operands: list[_Float]) -> _Float:
        return _Float(FLOATS[name](*[operand.x for operand in operands]))

    def elsewhere(self, condition: _Float, value: _Float, what: Elsewhere, operands: list[_Float]) -> _Float:
        if not condition.x:
            return value
        if isinstance(what, str):
            return _Float(_own_function(what, *[x.x for x in operands]))
        found: _Float = what(*operands)
        return found


def on_floats(formula: Callable[..., Any]) -> Callable[..., float]:
    """The formula as a function of floats."""

    def forward(*operands: float) -> float:
        try:
            return float(formula(*operands))
        except ZeroDivisionError:
            return float(formula(*map(_Float, operands)).x)

    return forward


# --- on NumPy's arrays ------------------------------------------------------------------------------------------------


class _Calls:
    """A formula as calls of NumPy's functions one after the other, written once: it has no branches. Of a thousand
    numbers or fewer, running these takes a fifth to a tenth of the time of writing the formula again.

    A call is a function, what takes its operands from the list of values, the place of its result there, and the places
    of values that are not needed any more, which later calls use again.
    """

    def __init__(self, np: Any, formula: Callable[..., Any], arity: int, strict: bool) -> None:
        self.np, self.strict = np, strict
        self._first: list[Any] = [None] * arity  # the operands, and after them the constants
        self._known: dict[str, int] = {}
        self._written: list[tuple[Callable[..., Any], list[_Array]]] = []
        operands = [_Array(self) for _ in range(arity)]
        self._constants: list[_Array] = []
        result = formula(*operands)
        self._place([*operands, *self._constants], result)

    def constant(self, x: float) -> _Array:
        key = x.hex()
        if key not in self._known:
            self._known[key] = len(self._constants)
            self._first.append(self.np.float64(x))
            self._constants.append(_Array(self))
        return self._constants[self._known[key]]

    def call(self, function: Callable[..., Any], operands: list[_Array]) -> _Array:
        result = _Array(self)
        self._written.append((function, [*operands, result]))
        return result

    def _place(self, first: list[_Array], result: _Array) -> None:
        last = {id(x): k for k, (_, values) in enumerate(self._written) for x in values}
        last[id(result)] = len(self._written)
        places, free = {id(x): k for k, x in enumerate(first)}, list[int]()
        self._calls = []
        for k, (function, (*operands, out)) in enumerate(self._written):
            taken = [places[id(x)] for x in operands]
            ended = {places[id(x)] for x in operands if last[id(x)] == k}
            free += ended
            if not free:
                free.append(len(self._first))
                self._first.append(None)
            places[id(out)] = free.pop()
            one = itemgetter(slice(taken[0], taken[0] + 1))
            ended.discard(places[id(out)])
            many = itemgetter(*taken) if len(taken) > 1 else one
            self._calls.append((function, many, places[id(out)], tuple(ended)))
        self._result = places[id(result)]
        del self._written, self._constants, self._known

    def run(self, *operands: Any) -> Any:
        values = self._first.copy()
        values[: len(operands)] = operands
        for function, taken, place, ended in self._calls:
            values[place] = function(*taken(values))
            for k in ended:
                values[k] = None
        return values[self._result]


class _Array(Term):
    """The value of a call, a constant or an operand."""

    __slots__ = ("calls",)

    def __init__(self, calls: _Calls) -> None:
        self.calls = calls

    def number(self, x: float) -> _Array:
        return self.calls.constant(x)

    def apply(self, op: Any, operands: list[_Array]) -> _Array:
        np = self.calls.np
        if self.calls.strict and op.portable is not None:
            found: _Array = op.portable(*operands)
            return found
        return self.calls.call(getattr(np, op.ufunc) if op.ufunc else partial(op.array, np), operands)

    def primitive(self, name: str, operands: list[_Array]) -> _Array:
        return self.calls.call(partial(_ARRAYS[name], self.calls.np), operands)

    def elsewhere(self, condition: _Array, value: _Array, what: Elsewhere, operands: list[_Array]) -> _Array:
        choose = partial(_choose, self.calls.np, _elsewhere(self.calls, what))
        return self.calls.call(choose, [condition, value, *operands])


_written = cache(_Calls)  # a formula is written when it is needed for the first time


def _elsewhere(calls: _Calls, what: Elsewhere) -> Callable[..., Any]:
    """A function of arrays."""
    if isinstance(what, str):
        found: Callable[..., Any] = getattr(calls.np, what)
        return found
    return lambda *operands: _written(calls.np, what, len(operands), calls.strict).run(*operands)


def _choose(np: Any, what: Callable[..., Any], condition: Any, value: Any, *operands: Any) -> Any:
    here = condition != 0.0
    return np.where(here, what(*operands), value) if here.any() else value


def _array_rest(np: Any, a: Any, b: Any) -> Any:
    p = a * b
    c, d = _SPLIT * a, _SPLIT * b
    a_high, b_high = c - (c - a), d - (d - b)
    a_low, b_low = a - a_high, b - b_high
    rest = ((a_high * b_high - p) + a_high * b_low + a_low * b_high) + a_low * b_low
    return np.where(np.isfinite(rest), rest, np.where(np.isnan(p), p, 0.0))


def _array_split(np: Any, a: Any) -> tuple[Any, Any]:
    m, k = np.frexp(a)
    small = m < 0.7071067811865476
    return np.where(small, 2.0 * m, m), np.where(small, k - 1.0, k.astype(np.float64))


def _array_scaled(np: Any, a: Any, n: Any) -> Any:
    good = np.isfinite(n)
    return np.where(good, np.ldexp(a, np.clip(np.where(good, n, 0.0), -10000.0, 10000.0).astype(np.int32)), np.nan)


_ARRAYS: dict[str, Callable[..., Any]] = {
    "product_rest": _array_rest,
    "scaled": _array_scaled,
    "mantissa": lambda np, a: _array_split(np, a)[0],
    "exponent": lambda np, a: _array_split(np, a)[1],
    "signed": lambda np, a, b: np.copysign(a, b),
    "multiply_add": lambda np, a, b, c: a * b + c,
    "two_over_pi": lambda np, k: np.asarray(TWO_OVER_PI, dtype=np.float64)[k.astype(np.int64)],
}


def on_arrays(formula: Callable[..., Any], *, strict: bool = False) -> Callable[..., Any]:
    """The formula as a function (numpy, *arrays) → array. It is computed in float64 whatever the arrays hold; if
    `strict`, without NumPy's exp and its like."""

    def array(np: Any, *operands: Any) -> Any:
        dtype = np.result_type(*operands)
        with np.errstate(all="ignore"):  # a formula computes all sides of its choices
            calls = _written(np, formula, len(operands), strict)
            found = calls.run(*[np.asarray(x, dtype=np.float64) for x in operands])
        return found.astype(dtype) if dtype.kind == "f" else found

    return array


__all__ = ["FLOATS", "Term", "elsewhere", "exponent", "mantissa", "multiply_add", "on_arrays", "on_floats"]
__all__ += ["product_rest", "scaled", "signed", "two_over_pi"]
