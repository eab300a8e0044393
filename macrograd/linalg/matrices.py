"""What the algorithms on small matrices share: sums of products, the largest of several numbers, checks.

A matrix is a list of rows. `program.checked` and the comparisons work on numbers that no derivative follows, so that no
operation behind them needs a gate.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from macrograd import ops
from macrograd.callees import user_line
from macrograd.value import Value, recording
from macrograd.vector import Vector, vector

Rows = list[list[Any]]


def held(x: Any) -> Any:
    """A number without a derivative."""
    if recording() is not None:
        return ops.detach(x)
    return x._data if isinstance(x, Value) else float(x)


def less(x: Any, left: list[Any], right: list[Any]) -> Any:
    """x less a sum of products."""
    return x - dot(left, right) if right else x


def dot(left: list[Any], right: list[Any]) -> Any:
    return ops.dot(*[x for pair in zip(left, right, strict=True) for x in pair])


def picked(chosen: list[Any], column: list[Any]) -> Any:
    """The element of a column in the chosen row."""
    return dot(chosen, column)


def first_of(sizes: list[Any], largest: Any) -> list[Any]:
    """1 at the first of the largest numbers, else 0."""
    n = float(len(sizes))
    first = pairwise(ops.minimum, [float(i) + n * ops.less(size, largest) for i, size in enumerate(sizes)])
    return [1.0 - ops.minimum(1.0, abs(first - float(i))) for i in range(len(sizes))]


def pairwise(of_two: Callable[[Any, Any], Any], values: list[Any]) -> Any:
    while len(values) > 1:
        odd = values[len(values) // 2 * 2 :]
        values = [of_two(a, b) for a, b in zip(values[::2], values[1::2], strict=False)] + odd
    return values[0]


def by_columns(columns: Rows) -> Vector:
    """The matrix with these columns."""
    return vector([vector(list(row)) for row in zip(*columns, strict=True)])


def checked(x: Any, wrong: Any, name: str, what: str, remedy: str) -> Any:
    """x, with an error where `wrong` is not 0. x is no Value that derivatives flow through: the check is a choice, and
    all operations behind a choice need gates."""
    program = recording()
    if program is None and not (wrong._data if isinstance(wrong, Value) else wrong):
        return x
    message = f"{name}(): {what}, at {user_line()}; {remedy}"
    if program is None:
        raise ValueError(message)
    return program.checked(x, wrong, message)


def square(name: str, matrix: Any) -> Rows:
    """New rows of a square matrix."""
    try:
        rows = [list(row) for row in matrix]
    except TypeError:
        what = f"{name}() takes a matrix, as n rows of n numbers, got {matrix!r}"[:200]
        raise TypeError(f"{what}, at {user_line()}") from None
    if not rows or any(len(row) != len(rows) for row in rows):
        lengths = " or ".join(map(str, sorted({len(row) for row in rows}))) or "no"
        raise ValueError(
            f"{name}() takes a square matrix, and got {len(rows)} row{'s' * (len(rows) != 1)} of {lengths} numbers, "
            f"at {user_line()}"
        )
    for row in rows:
        ops.check_operands(name, row)
    return rows


def right_side(name: str, right: Any, n: int) -> tuple[Rows, bool]:
    """The columns of the right side, and whether it is one vector."""
    if not hasattr(right, "__len__"):
        raise TypeError(f"{name}() takes a list on the right side, of length {n}, got {right!r}, at {user_line()}")
    listed = list(right)
    if len(listed) != n:
        raise ValueError(f"{name}(): the matrix has {n} rows and the right side {len(listed)}, at {user_line()}")
    flat = not hasattr(listed[0], "__len__")
    rows = [[x] for x in listed] if flat else [list(row) for row in listed]
    if len({len(row) for row in rows}) > 1:
        raise ValueError(f"{name}(): the rows of the right side have different lengths, at {user_line()}")
    for row in rows:
        ops.check_operands(name, row)
    return [list(column) for column in zip(*rows, strict=True)], flat
