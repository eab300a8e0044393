"""The functions that a lowered program calls on its views; each writes into its last array or the one it names.

The op table's `array` column defines the operations. `INTO` has forms with the same results, including NaN and signed
zeros, that need no temporary array.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from macrograd import ops
from macrograd.rows.composed import on_arrays

Array = NDArray[Any]
Flag = list[float]  # whether it is raised; then the first invalid index, and the number of values to choose from


# The first operand is a zero of the right type: a Python float would be converted to an array in every call.


def _relu(zero: Array, a: Array, out: Array) -> None:
    np.maximum(a, zero, out=out)
    np.add(out, zero, out)  # -0.0 + 0.0 is 0.0; everything else is unchanged, NaN too


def _where(zero: Array, c: Array, a: Array, b: Array, out: Array) -> None:
    np.copyto(out, b)
    np.copyto(out, a, where=np.not_equal(c, zero))


def _onehot(index: Array, k: Array, a: Array, out: Array) -> None:
    out.fill(0.0)
    np.copyto(out, a, where=np.equal(index, k))


def _copy(a: Array, out: Array) -> None:
    np.copyto(out, a)


def negate(a: Array, out: Array) -> None:
    # np.negative reads some strided operands as if they were contiguous (NumPy 2.4.6, findings/numpy-negative-strides).
    np.multiply(a, -1.0, out)


# For table forms that are not NumPy functions with an `out` argument, or whose function cannot be trusted with one.
INTO: dict[str, Callable[..., Any]] = {
    "neg": negate,
    "less": np.less,
    "less_equal": np.less_equal,
    "detach": _copy,
    "onehot": _onehot,
}
_WITH_ZERO: dict[str, Callable[..., Any]] = {"relu": _relu, "where": _where}


def _by_column(form: Callable[..., Any], *arrays: Array) -> None:
    arrays[-1][...] = form(*arrays[:-1])


def form(row: ops.Op, *, strict: bool = False) -> Callable[..., Any]:
    """The operation as a function of its operands."""
    formula = row.portable or row.formula
    return partial(on_arrays(formula, strict=True) if strict and formula is not None else row.array, np)


def into(row: ops.Op, dtype: Any, *, strict: bool = False) -> Callable[..., Any]:
    """The operation as a function (*operands, out)."""
    if strict and (row.portable or row.formula):
        return partial(_by_column, form(row, strict=True))
    if row.name in _WITH_ZERO:
        return partial(_WITH_ZERO[row.name], np.zeros(1, dtype))
    if row.name in INTO:
        return INTO[row.name]
    if row.ufunc is not None:
        found: Callable[..., Any] = getattr(np, row.ufunc)
        return found
    return partial(_by_column, form(row))


# --- moving -----------------------------------------------------------------------------------------------------------


def gather(slots: Array, source: Array, out: Array) -> None:
    # Slots are in range (every program is verified); with mode="raise" NumPy would copy the result once more.
    np.take(source, slots, axis=0, out=out, mode="clip")


def scatter(slots: Array, source: Array, target: Array) -> None:
    target[slots] = source


def take(slots: Array, flag: Flag, index: Array, source: Array, out: Array) -> None:
    """out[..., lane] = source[slots[..., index]]; `slots` has the values as its last axis.

    An index that is not an integer or out of range raises the flag, and value 0 is read instead.
    """
    count = slots.shape[-1]
    position = _checked(index, count, flag)
    members = np.broadcast_to(slots, (*position.shape[: slots.ndim - 1], count))
    if source.ndim == 1:
        chosen = np.take_along_axis(members, position.reshape(*members.shape[:-1], -1), axis=-1)
        np.copyto(out, source[chosen.reshape(position.shape)])
    else:
        np.copyto(out, source[np.take_along_axis(members, position, axis=-1), np.arange(source.shape[1])])


def take_number(number: float, count: int, flag: Flag, index: Array, out: Array) -> None:
    """`take` if all values are the same number."""
    _checked(index, count, flag)
    out[...] = number


def _checked(index: Array, count: int, flag: Flag) -> Array:
    """Indices as integers; those outside 0 … count - 1 become 0 and raise the flag."""
    good = (index >= 0) & (index < count) & (index == np.trunc(index))
    if not good.all() and not flag[0]:
        flag[:] = True, float(index[~good][0]), count
    found: Array = np.where(good, index, 0.0).astype(np.intp)
    return found


def add_at(slots: Array, first: int, index: Array, terms: Array, target: Array) -> None:
    """target[slots[..., k]] = the sum of the terms whose index is first + k; index and terms have axes [t, ..., lane],
    the last one only in blocks."""
    count, rows = slots.shape[-1], slots.reshape(-1, slots.shape[-1])
    position = index.reshape(len(index), len(rows), -1) - first
    good = (position >= 0) & (position < count) & (position == np.trunc(position))
    chosen = np.where(good, position, 0.0).astype(np.intp)
    target[slots] = 0.0
    more = np.where(good, terms.reshape(good.shape), 0.0).astype(target.dtype, copy=False)
    np.add.at(target, rows[np.arange(len(rows))[:, None], chosen], more)


# --- sums -------------------------------------------------------------------------------------------------------------


def inner(axes: str, left: Array, right: Array, out: Array) -> None:
    np.einsum(axes, left, right, out=out)


def matmul_terms(left: Array, right: Array, spare: Array, out: Array) -> None:
    """The sum of matrix products over the first axis."""
    np.matmul(left[0], right[0], out)
    for a, b in zip(left[1:], right[1:], strict=True):
        np.matmul(a, b, spare)
        np.add(out, spare, out)


def in_order(left: Array, right: Array, spare: Array, out: Array, *, begun: bool) -> None:
    """The sum of left·right over the first two axes, one product after the other from left to right.

    With `begun`, it is added to `out`. `spare` has room for the sum so far, followed by a few products.
    """
    for a, b in zip(left, right, strict=True):
        for first in range(0, len(a), len(spare) - 1):
            some = a[first : first + len(spare) - 1]
            part = spare[: 1 + len(some)]
            np.multiply(some, b[first : first + len(some)], part[1:])
            if begun:
                np.copyto(part[0], out)
            else:
                part = part[1:]
            # Unlike np.add.reduce, which may add in pairs, this adds one by one by definition.
            np.add.accumulate(part, axis=0, out=part)
            np.copyto(out, part[-1])
            begun = True


# --- loops and streams ------------------------------------------------------------------------------------------------


def rounds(count: int, calls: list[tuple[Callable[..., Any], slice]], *arrays: Array) -> None:
    """Make the calls of every round of a loop, each on its part of the arrays, whose first axis is the rounds."""
    for k in range(count):
        now = [array[k] for array in arrays]
        for function, mine in calls:
            function(*now[mine])


def guarded_rounds(count: int, calls: list[tuple[Callable[..., Any], slice]], guard: Array, *arrays: Array) -> None:
    """`rounds` without those whose guard is 0 in all lanes."""
    for k in range(count):
        if guard[k].any():
            now = [array[k] for array in arrays]
            for function, mine in calls:
                function(*now[mine])


def record(function: Callable[..., Array], out: Any, rows: tuple[Any, ...], target: Array, source: Array) -> None:
    """A stream's record; `out` and `rows` are slots of `target` and `source`."""
    target[out] = function(*[source[row] for row in rows])


def more(function: Callable[..., Array], out: Any, rows: tuple[Any, ...], target: Array, source: Array) -> None:
    target[out] += function(*[source[row] for row in rows])


def choose(flag: Flag, index: Array, *values: Array) -> Array:
    """For each index, the value that it selects; like `take`, but the values are separate rows."""
    position = _checked(index, len(values), flag)
    found: Array = np.take_along_axis(np.stack(values), position[None], axis=0)[0]
    return found


def fused(a: Array, b: Array, c: Array) -> Array:
    found: Array = c + a * b
    return found


def spread(a: Array) -> Array:
    return a[:, None]


def total(*factors: Array) -> Array:
    """The sum over the lanes."""
    product = factors[0] if len(factors) == 1 else factors[0] * factors[1]
    found: Array = product.sum(axis=1, initial=-0.0)
    return found


def total_in_order(*factors: Array) -> Array:
    product = factors[0] if len(factors) == 1 else factors[0] * factors[1]
    found: Array = np.add.accumulate(product, axis=1)[:, -1]
    return found
