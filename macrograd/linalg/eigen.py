"""Eigenvalues and eigenvectors of a symmetric matrix, by Jacobi's rotations, and how they move with the matrix."""

from __future__ import annotations

from typing import Any

from macrograd import ops
from macrograd.linalg.matrices import Rows, checked, dot, first_of, held, pairwise, picked
from macrograd.value import epsilon

_SWEEPS = 10  # of all pairs of rows: convergence is quadratic, and 64 rows take 8
_CORRECTIONS = 3
_REPEATED = 450  # eigenvalues that differ by less, in units of the largest one's last place, count as one: 1e-13


class Eigen:
    """The decomposition of a matrix's numbers, which no derivative follows, and the Values of the matrix.

    values   from the smallest
    vectors  the vector of each
    """

    def __init__(self, matrix: Rows) -> None:
        n = len(matrix)
        self.matrix = [[matrix[max(i, j)][min(i, j)] for j in range(n)] for i in range(n)]
        self.numbers = [[held(x) for x in row] for row in self.matrix]
        values, columns, left = _rotated([list(row) for row in self.numbers])
        self.size = pairwise(ops.maximum, [abs(x) for x in values])
        converged = ops.less_equal(left, 1e-10 * self.size) * ops.less(self.size, float("inf"))
        wrong = ops.where(converged, 0.0, 1.0)
        what = f"the rotations of a symmetric matrix of {n} rows did not converge in {_SWEEPS} sweeps"
        values[0] = values[0] * checked(1.0, wrong, "eigh", what, "look for NaN or infinity in the matrix")
        order = _ranked(values)
        self.values = [picked(chosen, values) for chosen in order]
        sorted_columns = [[picked(chosen, list(row)) for row in zip(*columns, strict=True)] for chosen in order]
        self.vectors = [_with_sign(column) for column in sorted_columns]

    def moved(self) -> tuple[list[Any], Rows]:
        """The eigenvalues and vectors as functions of the matrix: the decomposition of its numbers, corrected for the
        matrix itself.

        The corrections are 0 but for rounding; their derivatives count. The vectors follow the matrix to order 0, and
        after one, two and three corrections to order 1, 3 and 7 (Ogita & Aishima, 2018).
        """
        n = len(self.values)
        apart = [[self._apart(i, j) if i != j else 0.0 for j in range(n)] for i in range(n)]
        values, vectors = self.values, self.vectors
        for _ in range(_CORRECTIONS):
            images = [[dot(row, v) for row in self.matrix] for v in vectors]
            inner = [[dot(v, image) for image in images] for v in vectors]
            skew = [[float(v is w) - dot(v, w) for w in vectors] for v in vectors]  # 0 if they are orthonormal
            values = [ops.div(inner[i][i], 1.0 - skew[i][i]) for i in range(n)]
            shares = []
            for j, value in enumerate(values):
                gaps = [value - other for other in values]
                shares.append(
                    [
                        0.5 * skew[j][j] + 1.0
                        if i == j
                        else apart[i][j] * ops.div(inner[i][j] + value * skew[i][j], gaps[i] + (1.0 - apart[i][j]))
                        + (1.0 - apart[i][j]) * 0.5 * skew[i][j]
                        for i in range(n)
                    ]
                )
            vectors = [[dot(some, list(row)) for row in zip(*vectors, strict=True)] for some in shares]
        return values, vectors

    def _apart(self, i: int, j: int) -> Any:
        """1 for two eigenvalues that differ, 0 for equal ones."""
        return ops.less(_REPEATED * epsilon() * self.size, abs(self.values[i] - self.values[j]))


def _rotated(a: Rows) -> tuple[list[Any], Rows, Any]:
    """The diagonal after the last sweep, the vectors as columns, and the sum of what is left beside the diagonal."""
    n = len(a)
    columns: Rows = [[float(i == j) for i in range(n)] for j in range(n)]
    for _ in range(_SWEEPS if n > 1 else 0):
        for p in range(n - 1):
            for q in range(p + 1, n):
                _rotate(a, columns, p, q)
    left: Any = 0.0
    for p in range(n - 1):
        for q in range(p + 1, n):
            left = left + abs(a[p][q])
    return [a[k][k] for k in range(n)], columns, left


def _rotate(a: Rows, columns: Rows, p: int, q: int) -> None:
    """The rotation of two rows and columns that makes a[p][q] 0."""
    off = a[p][q]
    theta = ops.div(a[q][q] - a[p][p], 2.0 * ops.where(off, off, 1.0))
    t = ops.div(ops.where(ops.less(theta, 0.0), -1.0, 1.0), abs(theta) + ops.sqrt(1.0 + theta * theta))
    t = ops.where(off, t, 0.0)
    c = ops.div(1.0, ops.sqrt(1.0 + t * t))
    s = t * c
    a[p][p], a[q][q] = a[p][p] - t * off, a[q][q] + t * off
    a[p][q] = a[q][p] = 0.0
    for k in range(len(a)):
        if k not in (p, q):
            x, y = a[k][p], a[k][q]
            a[k][p] = a[p][k] = c * x - s * y
            a[k][q] = a[q][k] = s * x + c * y
    first, second = columns[p], columns[q]
    columns[p] = [c * x - s * y for x, y in zip(first, second, strict=True)]
    columns[q] = [s * x + c * y for x, y in zip(first, second, strict=True)]


def _ranked(values: list[Any]) -> Rows:
    """For each rank a 1 at the value that has it, from the smallest, and equal ones in their order."""
    ranks = []
    for i, x in enumerate(values):
        before = [ops.less_equal(y, x) if j < i else ops.less(y, x) for j, y in enumerate(values) if j != i]
        ranks.append(ops.sum_(*before) if before else 0.0)
    return [[1.0 - ops.minimum(1.0, abs(rank - float(k))) for rank in ranks] for k in range(len(values))]


def _with_sign(column: list[Any]) -> list[Any]:
    sizes = [abs(x) for x in column]
    sign = ops.sign(picked(first_of(sizes, pairwise(ops.maximum, sizes)), column))
    return [sign * x for x in column]
