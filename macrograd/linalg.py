"""Linear algebra of small dense matrices of Values: `solve`, `det`, `slogdet`, `inv`, `cholesky`, `triangular_solve`.

A matrix is a list, Vector or array of n rows of n numbers and Values. Everything is written in scalar operations, so it
is differentiated like any other program, to any order, eager and compiled, and each sample of a batch has its own order
of pivots. The algorithms are the textbook ones, with about n³/3 multiplications, and each is recorded as an operation:
use them for matrices of a few dozen rows at most.
"""

from __future__ import annotations

from typing import Any

from macrograd import ops
from macrograd.value import Value, recording
from macrograd.vector import Vector, vector

Rows = list[list[Any]]


def solve(matrix: Any, right: Any) -> Vector:
    """The x with matrix · x = right, for a vector or a matrix of columns on the right; nested as `right`.

    Gaussian elimination with partial pivoting. Raises ValueError for shapes that do not fit, and for a singular matrix
    (in a compiled function RuntimeError, when it runs).
    """
    rows = _square("solve", matrix)
    columns, flat = _right("solve", right, len(rows))
    upper, columns, _ = _eliminated("solve", rows, columns, singular=False)
    found = _substituted(upper, columns, lower=False)
    return vector([row[0] for row in found]) if flat else vector([vector(row) for row in found])


def inv(matrix: Any) -> Vector:
    """The inverse, as a Vector of rows. Raises as `solve` does."""
    rows = _square("inv", matrix)
    n = len(rows)
    upper, columns, _ = _eliminated("inv", rows, [[float(i == j) for j in range(n)] for i in range(n)], singular=False)
    return vector([vector(row) for row in _substituted(upper, columns, lower=False)])


def det(matrix: Any) -> Any:
    """The determinant; 0 for a singular matrix, for which beyond 3 rows the derivative is that of the elimination and
    may differ from the adjugate. Raises ValueError for a matrix that is not square."""
    rows = _square("det", matrix)
    if len(rows) <= 3:
        return _cofactors(rows)
    upper, _, sign = _eliminated("det", rows, [[] for _ in rows], singular=True)
    found = sign
    for k, row in enumerate(upper):
        found = found * row[k]
    return found


def slogdet(matrix: Any) -> tuple[Any, Any]:
    """The sign of the determinant and the logarithm of its absolute value, which cannot overflow or underflow; 0 and
    −∞ for a singular matrix. Raises ValueError for a matrix that is not square."""
    rows = _square("slogdet", matrix)
    upper, _, sign = _eliminated("slogdet", rows, [[] for _ in rows], singular=True)
    logs: Any = 0.0
    for k, row in enumerate(upper):
        sign = sign * ops.sign(row[k])
        logs = logs + ops.log(abs(row[k]))
    return sign, logs


def cholesky(matrix: Any) -> Vector:
    """The lower triangular L with L · Lᵀ = matrix, as a Vector of rows; only the lower half of the matrix is read.

    Raises ValueError for a matrix that is not square or not positive definite (a compiled function raises RuntimeError
    for the latter, when it runs).
    """
    rows = _square("cholesky", matrix)
    lower: Rows = []
    for i, row in enumerate(rows):
        new: list[Any] = []
        for j in range(i + 1):
            left = row[j]
            for k in range(j):
                left = left - new[k] * (new[k] if i == j else lower[j][k])
            if i == j:
                wrong = ops.where(ops.less(0.0, left), 0.0, 1.0)
                message = f"cholesky(): the matrix is not positive definite: pivot {i} of {len(rows)} is not above 0"
                new.append(ops.sqrt(_checked(left, wrong, message)))
            else:
                new.append(ops.div(left, lower[j][j]))
        lower.append(new)
    return vector([vector([*row, *[0.0] * (len(rows) - len(row))]) for row in lower])


def triangular_solve(matrix: Any, right: Any, *, lower: bool = True) -> Vector:
    """The x with matrix · x = right for a triangular matrix, of which only the named half is read; nested as `right`.

    Raises ValueError for shapes that do not fit, and for a 0 on the diagonal (in a compiled function RuntimeError, when
    it runs).
    """
    rows = _square("triangular_solve", matrix)
    columns, flat = _right("triangular_solve", right, len(rows))
    for k, row in enumerate(rows):
        row[k] = _pivot("triangular_solve", row[k], k, len(rows))
    found = _substituted(rows, columns, lower=lower)
    return vector([row[0] for row in found]) if flat else vector([vector(row) for row in found])


# --- the steps ------------------------------------------------------------------------------------------------------


def _eliminated(name: str, rows: Rows, columns: Rows, *, singular: bool) -> tuple[Rows, Rows, Any]:
    """The upper triangular matrix, its right side, and the sign of the permutation of the pivots."""
    n, sign = len(rows), 1.0
    for k in range(n):
        for i in range(k + 1, n):  # the largest moves up by successive exchanges
            larger = ops.less(abs(rows[k][k]), abs(rows[i][k]))
            above, below = rows[k][k:] + columns[k], rows[i][k:] + columns[i]
            up = [ops.where(larger, b, a) for a, b in zip(above, below, strict=True)]
            down = [ops.where(larger, a, b) for a, b in zip(above, below, strict=True)]
            rows[k][k:], columns[k] = up[: n - k], up[n - k :]
            rows[i][k:], columns[i] = down[: n - k], down[n - k :]
            sign = ops.where(larger, -sign, sign)
        pivot = rows[k][k]
        if singular:
            pivot = ops.where(pivot, pivot, 1.0)  # if it is 0, all below it are, too
        else:
            pivot = rows[k][k] = _pivot(name, pivot, k, n)
        for i in range(k + 1, n):
            factor = ops.div(rows[i][k], pivot)
            rows[i][k + 1 :] = [b - factor * a for a, b in zip(rows[k][k + 1 :], rows[i][k + 1 :], strict=True)]
            columns[i] = [b - factor * a for a, b in zip(columns[k], columns[i], strict=True)]
    return rows, columns, sign


def _substituted(rows: Rows, columns: Rows, *, lower: bool) -> Rows:
    """The solution for a triangular matrix."""
    n = len(rows)
    found: dict[int, list[Any]] = {}
    for i in range(n) if lower else range(n - 1, -1, -1):
        row = []
        for c in range(len(columns[i])):
            left = columns[i][c]
            for k in sorted(found):
                left = left - rows[i][k] * found[k][c]
            row.append(ops.div(left, rows[i][i]))
        found[i] = row
    return [found[i] for i in range(n)]


def _cofactors(rows: Rows) -> Any:
    """The determinant of up to three rows, by cofactors of the first."""
    if len(rows) == 1:
        return rows[0][0]
    if len(rows) == 2:
        return rows[0][0] * rows[1][1] - rows[0][1] * rows[1][0]
    minors = [[[x for j, x in enumerate(row) if j != k] for row in rows[1:]] for k in range(3)]
    a, b, c = (rows[0][k] * _cofactors(minors[k]) for k in range(3))
    return a - b + c


def _pivot(name: str, pivot: Any, k: int, n: int) -> Any:
    message = f"{name}(): the matrix is singular: pivot {k} of {n} is 0"
    return _checked(pivot, ops.where(pivot, 0.0, 1.0), message)


def _checked(x: Any, wrong: Any, message: str) -> Any:
    """x, with an error where `wrong` is not 0."""
    program = recording()
    if program is not None:
        return program.checked(x, wrong, message)
    if wrong._data if isinstance(wrong, Value) else wrong:
        raise ValueError(message)
    return x


# --- what is given --------------------------------------------------------------------------------------------------


def _square(name: str, matrix: Any) -> Rows:
    """New rows of a square matrix."""
    try:
        rows = [list(row) for row in matrix]
    except TypeError:
        raise TypeError(f"{name}() takes a matrix, as n rows of n numbers, got {matrix!r}"[:200]) from None
    if not rows or any(len(row) != len(rows) for row in rows):
        raise ValueError(f"{name}() takes a square matrix, got {len(rows)} rows of {sorted({len(r) for r in rows})}")
    for row in rows:
        ops.check_operands(name, row)
    return rows


def _right(name: str, right: Any, n: int) -> tuple[Rows, bool]:
    """New rows of the right side, and whether it is one vector."""
    listed = list(right)
    if len(listed) != n:
        raise ValueError(f"{name}(): the matrix has {n} rows and the right side {len(listed)}")
    flat = not hasattr(listed[0], "__len__")
    columns = [[x] for x in listed] if flat else [list(row) for row in listed]
    if len({len(row) for row in columns}) > 1:
        raise ValueError(f"{name}(): the rows of the right side have different lengths")
    for row in columns:
        ops.check_operands(name, row)
    return columns, flat


__all__ = ["cholesky", "det", "inv", "slogdet", "solve", "triangular_solve"]
