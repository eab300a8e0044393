"""Functions of scalars, on floats and Values alike.

The elementary functions are rows of the op table; the others are written in terms of them, so they need no derivative
rules.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

from macrograd import ops, special
from macrograd.callees import user_line
from macrograd.value import Value, is_open, recording
from macrograd.vector import Vector, concat, vector

exp, log, log1p, sqrt, sin, cos = ops.exp, ops.log, ops.log1p, ops.sqrt, ops.sin, ops.cos
tanh, sigmoid, softplus, relu = ops.tanh, ops.sigmoid, ops.softplus, ops.relu
maximum, minimum, where, sign = ops.maximum, ops.minimum, ops.where, ops.sign
detach, leaky_relu = ops.detach, ops.leaky_relu
erf, erfc, norm_cdf, expm1 = special.erf, special.erfc, special.norm_cdf, special.expm1
sinh, cosh, tan, asin, acos = special.sinh, special.cosh, special.tan, special.asin, special.acos
atan, atan2, hypot, cbrt = special.atan, special.atan2, special.hypot, special.cbrt
floor, ceil, round, mod = special.floor, special.ceil, special.round_, special.mod  # noqa: A001 - the field's names
lgamma, digamma, polygamma = special.lgamma, special.digamma, special.polygamma


def sum(values: Iterable[Any], start: Any = None) -> Any:  # noqa: A001 - the field's name; users write mg.sum
    """The sum of numbers and Values, added from left to right, as one operation; it begins with `start` if given.

    An empty sum is 0.0.
    """
    terms = _terms("sum", values)
    if start is not None:
        terms.insert(0, start)
    if not terms:
        return 0.0
    return ops.sum_(*terms)


def dot(a: Any, b: Any) -> Any:
    """Σ aᵢ·bᵢ, added from left to right, as one operation; 0.0 if empty. Raises ValueError if the lengths differ."""
    both_kept = hasattr(a, "every") and hasattr(b, "every") and len(a) == len(b)  # see _terms
    left, right = (_terms("dot", x) if both_kept else _listed("dot", x) for x in (a, b))
    if len(left) != len(right):
        raise ValueError(f"dot() takes two sequences of the same length, got {len(left)} and {len(right)} numbers")
    if not left:
        return 0.0
    return ops.dot(*[x for pair in zip(left, right, strict=True) for x in pair])


def mean(values: Any) -> Any:
    """The arithmetic mean. Raises ValueError if there are no values."""
    terms = _terms("mean", values)
    if not terms:
        raise ValueError("mean() needs at least one value, got none")
    try:
        return sum(terms) / float(len(values if hasattr(values, "every") else terms))
    except (TypeError, OverflowError):
        ops.check_operands("mean", terms)
        raise


def logsumexp(values: Iterable[Any]) -> Any:
    """log Σ exp(xᵢ), shifted by the largest value to avoid overflow. Raises ValueError if there are no values."""
    terms, shift = _shifted("logsumexp", values)
    return shift + ops.log(sum(ops.exp(x - shift) for x in terms))


def softmax(values: Iterable[Any]) -> Vector:
    """exp(xᵢ) / Σ exp(xⱼ) for each i, shifted by the largest value. Raises ValueError if there are no values."""
    terms, shift = _shifted("softmax", values)
    exponentials = [ops.exp(x - shift) for x in terms]
    total = sum(exponentials)
    return vector([ops.div(e, total) for e in exponentials])


def _shifted(name: str, values: Iterable[Any]) -> tuple[list[Any], Any]:
    """The values and the shift, the largest of them made finite. The result does not depend on it: no gradient."""
    terms = _listed(name, values)
    if not terms:
        raise ValueError(f"{name}() needs at least one value, got none")
    try:
        largest = _largest(terms)
        return terms, ops.detach(ops.where(ops.less(abs(largest), math.inf), largest, 0.0))
    except (TypeError, OverflowError):
        ops.check_operands(name, terms)
        raise


def _largest(rest: list[Any]) -> Any:
    """The largest value, found in a tree of pairs, which do not depend on each other."""
    while len(rest) > 1:
        odd = len(rest) % 2
        rest = [ops.maximum(a, b) for a, b in zip(rest[:-1:2], rest[1::2], strict=True)] + rest[len(rest) - odd :]
    return rest[0]


def _terms(name: str, values: Any) -> list[Any]:
    """The values as the terms of a sum. Of what a compiled loop keeps (`collect=`) these are not all elements, but as
    many as stand for all."""
    return list(values.every()) if hasattr(values, "every") else _listed(name, values)


def _listed(name: str, values: Iterable[Any]) -> list[Any]:
    """The values as a list; TypeError, naming the function that was called, if they are not a sequence."""
    try:
        return list(values)
    except TypeError:
        if hasattr(values, "__iter__") and not isinstance(values, Value):  # it failed while iterating
            raise
    raise TypeError(f"{name}() takes a sequence of numbers and Values, got {values!r} of type {type(values).__name__}")


def take(values: Any, index: Any) -> Any:
    """The element of `values` at an integer `index`, which may be an input; gradients flow to the selected element.

    `values` are numbers or Values, or a table (rows of equal length), from which a row is taken as a `Vector`. Raises
    IndexError if the index is outside 0 … len(values) - 1, TypeError if it is not an integer or the values are not
    numeric, ValueError for a ragged table.
    """
    program = recording() if isinstance(index, Value) else None
    if program is not None and is_open(index):
        found = program.take(values, index)
        if found is not None:
            return found
    if not isinstance(values, (list, tuple)) and not getattr(values, "shape", None):
        values = _listed("take", values)
    is_table = _is_table(values)
    if not len(values):
        raise IndexError("take() needs at least one value to choose from, got an empty sequence")
    number = None if isinstance(index, Value) and index._traced else _index(index, len(values))
    if number is None or is_open(index):
        columns = zip(*values, strict=True) if is_table else [values]
        if program is None:
            found = [ops.take(index, *column) for column in columns]
        else:
            at = program.index(index)
            found = [program.chosen(ops.take(at, *column)) for column in columns]
            program.taken(found, len(values))
        return vector(found) if is_table else found[0]
    chosen = values[number]
    ops.check_operands("take", chosen if is_table else (chosen,))
    return Vector(chosen) if is_table else chosen


def _index(index: Any, count: int) -> int:
    """The checked index as an int."""
    number = ops.as_float("take", index._data if isinstance(index, Value) else index)
    if not number.is_integer():
        raise TypeError(f"take() needs an integer index, got {index!r}, at {user_line()}")
    if not 0 <= number < count:
        raise IndexError(f"take() index {number:.15g} is outside 0 … {count - 1}, at {user_line()}")
    return int(number)


def static(x: Any) -> Any:
    """The current number of a Value. In a compiled function it is a constant, fixed when the function is traced, even
    if the Value changes later.

    Use it for numbers that shape the program: a count (`range(int(mg.static(steps)))`), a branch
    (`if mg.static(rate) > 0`). No gradient flows through it. A number is returned as a float, and a `Vector` of Values
    as a Vector of numbers.

    Raises TraceError for a value that depends on an argument of a compiled function, since it has no number while
    tracing, and TypeError for anything that is not numeric.
    """
    if isinstance(x, Vector):
        return vector([static(item) for item in x])
    if not isinstance(x, Value):
        return ops.as_float("static", x)
    return x.data if x._traced else x._data


def _is_table(values: Sequence[Any]) -> bool:
    """Whether the values are rows, as the first is; all must then have the same length."""
    if not len(values) or not hasattr(values[0], "__len__"):
        return False
    try:
        lengths = set(map(len, values))
    except TypeError:
        raise TypeError("take() chooses from numbers or from rows of numbers, got both") from None
    if len(lengths) > 1:
        raise ValueError(f"take() needs rows of equal length, got rows of {min(lengths)} to {max(lengths)} numbers")
    return True


__all__ = [
    "Value",
    "Vector",
    "acos",
    "asin",
    "atan",
    "atan2",
    "cbrt",
    "ceil",
    "concat",
    "cos",
    "cosh",
    "detach",
    "digamma",
    "dot",
    "erf",
    "erfc",
    "exp",
    "expm1",
    "floor",
    "hypot",
    "leaky_relu",
    "lgamma",
    "log",
    "log1p",
    "logsumexp",
    "maximum",
    "mean",
    "minimum",
    "mod",
    "norm_cdf",
    "polygamma",
    "relu",
    "round",
    "sigmoid",
    "sign",
    "sin",
    "sinh",
    "softmax",
    "softplus",
    "sqrt",
    "static",
    "sum",
    "take",
    "tan",
    "tanh",
    "where",
]
