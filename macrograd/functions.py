"""Functions of scalars, on floats and Values alike.

The elementary ones are the rows of the op table itself; the others are written here in terms of them, so that their
derivatives need no rule of their own.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

from macrograd import ops
from macrograd.value import Value

exp, log, log1p, sqrt, sin, cos = ops.exp, ops.log, ops.log1p, ops.sqrt, ops.sin, ops.cos
tanh, sigmoid, softplus, relu = ops.tanh, ops.sigmoid, ops.softplus, ops.relu
maximum, minimum, where, sign = ops.maximum, ops.minimum, ops.where, ops.sign
detach, leaky_relu = ops.detach, ops.leaky_relu

_FEW = 16  # numbers whose largest is found one after the other


def sum(values: Iterable[Any], start: Any = None) -> Any:  # noqa: A001 - the field's name; users write mg.sum
    """The sum of numbers and Values, added from left to right, as one operation; `start` first if given.

    An empty sum is 0.0.
    """
    terms = list(values) if start is None else [start, *values]
    if not terms:
        return 0.0
    return ops.sum_(*terms)


def dot(a: Iterable[Any], b: Iterable[Any]) -> Any:
    """Σ aᵢ·bᵢ from left to right, as one operation. Raises ValueError if the lengths differ; 0.0 for empty ones."""
    left, right = list(a), list(b)
    if len(left) != len(right):
        raise ValueError(f"dot() takes two sequences of the same length, got {len(left)} and {len(right)} numbers")
    if not left:
        return 0.0
    return ops.dot(*[x for pair in zip(left, right, strict=True) for x in pair])


def mean(values: Iterable[Any]) -> Any:
    """The arithmetic mean. Raises ValueError for no values."""
    terms = list(values)
    if not terms:
        raise ValueError("mean() of no values is not defined: give at least one")
    return sum(terms) / float(len(terms))


def logsumexp(values: Iterable[Any]) -> Any:
    """log Σ exp(xᵢ), exact in its limits: shifted by the largest value. Raises ValueError for no values."""
    terms, shift = _shifted("logsumexp", values)
    return shift + ops.log(sum(ops.exp(x - shift) for x in terms))


def softmax(values: Iterable[Any]) -> list[Any]:
    """exp(xᵢ) / Σ exp(xⱼ) for each i, shifted by the largest value. Raises ValueError for no values."""
    terms, shift = _shifted("softmax", values)
    exponentials = [ops.exp(x - shift) for x in terms]
    total = sum(exponentials)
    return [ops.div(e, total) for e in exponentials]


def _shifted(name: str, values: Iterable[Any]) -> tuple[list[Any], Any]:
    """The values and their largest, which the result does not depend on: it gets no gradient, and is finite."""
    terms = list(values)
    if not terms:
        raise ValueError(f"{name}() of no values is not defined: give at least one")
    rest = terms
    while len(rest) > _FEW:  # in pairs, which need not wait for each other
        odd = len(rest) % 2
        rest = [ops.maximum(a, b) for a, b in zip(rest[:-1:2], rest[1::2], strict=True)] + rest[len(rest) - odd :]
    largest = rest[0]
    for x in rest[1:]:
        largest = ops.maximum(largest, x)
    return terms, ops.detach(ops.where(ops.less(abs(largest), math.inf), largest, 0.0))


def take(values: Sequence[Any], index: Any) -> Any:
    """The element of `values` at an integer `index`, which may be an input; gradients go back to what was chosen.

    `values` is a sequence of numbers or Values, or a table (a sequence of equally long rows), of which a row is taken
    as a list. Raises IndexError for an index outside 0 … len(values) - 1 and TypeError for one that is not an integer.
    """
    traced = getattr(index.__class__, "_take", None)
    if traced is not None:
        if len(values) and hasattr(values[0], "__len__"):
            return [traced(list(column), index) for column in zip(*values, strict=True)]
        return traced(list(values), index)
    number = ops.as_float(ops.take, index.data if isinstance(index, Value) else index)
    if not number.is_integer():
        raise TypeError(f"take() needs an integer index, got {index!r}")
    if not len(values):
        raise IndexError("take() from an empty sequence: it needs at least one value to choose from")
    if not 0 <= number < len(values):
        raise IndexError(f"take() index {int(number)} is outside 0 … {len(values) - 1}")
    chosen = values[int(number)]
    return list(chosen) if hasattr(chosen, "__len__") else chosen


__all__ = [
    "Value",
    "cos",
    "detach",
    "dot",
    "exp",
    "leaky_relu",
    "log",
    "log1p",
    "logsumexp",
    "maximum",
    "mean",
    "minimum",
    "relu",
    "sigmoid",
    "sign",
    "sin",
    "softmax",
    "softplus",
    "sqrt",
    "sum",
    "take",
    "tanh",
    "where",
]
