"""Linear algebra of small dense matrices of Values: `solve`, `det`, `slogdet`, `inv`, `cholesky`, `triangular_solve`,
`eigh`.

A matrix is a list, Vector or array of n rows of n numbers and Values. Everything is written in scalar operations, so it
is differentiated like any other program, to any order, eager and compiled, and each sample of a batch has its own order
of pivots.

The textbook's loops subtract one product at a time, n³/3 operations. Here each entry of a factor is computed once, when
all that it is made of is known, as one sum of products (Crout, 1941): about 18 n² operations, whose sums have about n³
terms together, and the derivative adds 12 n². Matrices of 64 rows are compiled in seconds (docs/loops.md).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from macrograd import ops, special
from macrograd._flags import flag
from macrograd.callees import Writing
from macrograd.linalg.eigen import Eigen
from macrograd.linalg.matrices import Rows, by_columns, checked, first_of, less, pairwise, picked, right_side, square
from macrograd.vector import Vector, vector


def solve(matrix: Any, right: Any) -> Vector:
    """The x with matrix · x = right, for a vector or a matrix of columns on the right; nested as `right`.

    Gaussian elimination with partial pivoting. Raises ValueError for shapes that do not fit, and for a singular matrix
    (in a compiled function RuntimeError, when it runs).
    """
    rows = square("solve", matrix)
    columns, flat = right_side("solve", right, len(rows))
    with _of("solve", rows):
        found = Factors("solve", rows, _singular).solved(columns)
    return vector(found[0]) if flat else by_columns(found)


def inv(matrix: Any) -> Vector:
    """The inverse, as a Vector of rows. Raises as `solve` does."""
    rows = square("inv", matrix)
    n = len(rows)
    with _of("inv", rows):
        found = Factors("inv", rows, _singular).solved([[float(i == j) for i in range(n)] for j in range(n)])
    return by_columns(found)


def det(matrix: Any) -> Any:
    """The determinant; 0 for a singular matrix. The derivative of a singular matrix of more than 3 rows is the adjugate
    if only the last pivot is 0, and may differ from it otherwise. Raises ValueError for a matrix that is not square."""
    rows = square("det", matrix)
    with _of("det", rows):
        return _cofactors(rows) if len(rows) <= 3 else _by_pivots(rows)


def slogdet(matrix: Any) -> tuple[Any, Any]:
    """The sign of the determinant and the logarithm of its absolute value, which cannot overflow or underflow; 0 and
    −∞ for a singular matrix. Raises ValueError for a matrix that is not square."""
    rows = square("slogdet", matrix)
    with _of("slogdet", rows):
        factors = Factors("slogdet", rows)
        sign, logs = factors.sign(), []
        for pivot in factors.pivots:
            sign = sign * ops.sign(pivot)
            logs.append(ops.log(abs(pivot)))
        return sign, ops.sum_(*logs)


def cholesky(matrix: Any) -> Vector:
    """The lower triangular L with L · Lᵀ = matrix, as a Vector of rows; only the lower half of the matrix is read.

    Raises ValueError for a matrix that is not square or not positive definite (a compiled function raises RuntimeError
    for the latter, when it runs).
    """
    rows = square("cholesky", matrix)
    with _of("cholesky", rows):
        lower = _lower(rows)
    return vector([vector([*row, *[0.0] * (len(rows) - len(row))]) for row in lower])


def triangular_solve(matrix: Any, right: Any, *, lower: bool = True) -> Vector:
    """The x with matrix · x = right for a triangular matrix, of which only the named half is read; nested as `right`.

    Raises ValueError for shapes that do not fit, and for a 0 on the diagonal (in a compiled function RuntimeError, when
    it runs).
    """
    rows = square("triangular_solve", matrix)
    n = len(rows)
    columns, flat = right_side("triangular_solve", right, n)
    order = range(n) if flag("triangular_solve", "lower", lower) else range(n - 1, -1, -1)
    with _of("triangular_solve", rows):
        for k, row in enumerate(rows):
            row[k] = row[k] * checked(1.0, _is_zero(row[k]), "triangular_solve", *_without(k, n))
        found = [_substituted(rows, column, order) for column in columns]
    return vector(found[0]) if flat else by_columns(found)


def eigh(matrix: Any) -> tuple[Vector, Vector]:
    """The eigenvalues of a symmetric matrix, from the smallest, and a matrix whose columns are their eigenvectors; only
    the lower half of the matrix is read. Of each vector the first of the largest elements is positive.

    Ten sweeps of Jacobi's rotations, which record about 20 n³ operations: for up to 16 rows. Derivatives are right to
    the seventh, and wrong beyond. Between eigenvalues that agree to 1e-13 of the largest (5e-5 in float32), what
    rotates their vectors into each other is left out: first derivatives are then right for all that does not depend on
    the choice of vectors, such as the sum of the two eigenvalues or the projection on their plane.

    Raises ValueError for a matrix that is not square and for one whose rotations do not converge, which happens if it
    holds NaN or infinity (a compiled function raises RuntimeError for the latter, when it runs).

    Source: Golub & Van Loan, *Matrix Computations*, 4th ed., 2013, §8.5; Ogita & Aishima, "Iterative refinement for
    symmetric eigenvalue decomposition", 2018, for the derivatives.
    """
    rows = square("eigh", matrix)
    with _of("eigh", rows):
        values, vectors = Eigen(rows).moved()
    return vector(values), by_columns(vectors)


# --- the steps ------------------------------------------------------------------------------------------------------


class Factors:
    """P · matrix = lower · upper, with ones on the diagonal of `lower` and the largest possible pivots.

    The pivots of a singular matrix are as they are, or an error of the function `name`, whose cause and remedy
    `singular(k, n)` says for pivot k of n.

    chosen  P: row k picks, with a 1 among zeros, the row of the matrix with pivot k
    rows    the rows of `lower` and `upper` together, without the ones
    pivots  the diagonal of `upper`

    The matrix keeps its order of rows: exchanging rows that depend on numbers would be another n³ operations.
    """

    def __init__(self, name: str, matrix: Rows, singular: Callable[[int, int], tuple[str, str]] | None = None) -> None:
        n = len(matrix)
        self.chosen: Rows = []
        self.rows: Rows = []
        self.pivots: list[Any] = []
        left: Rows = [[] for _ in matrix]  # the rows of `lower`, in the order of the matrix
        upper: Rows = []  # by columns
        free: list[Any] = [1.0] * n  # 0 for a row that has its pivot
        used: list[Any] = [0.0] * n  # 1 for it
        for k in range(n):
            column = [row[k] for row in matrix]
            above: list[Any] = []
            for m in range(k):
                above.append(less(picked(self.chosen[m], column), self.rows[m], above))
            below = [less(x, row, above) * f for x, row, f in zip(column, left, free, strict=True)]
            sizes = [abs(ops.detach(x)) - u for x, u in zip(below, used, strict=True)]
            largest = pairwise(ops.maximum, sizes)
            if singular is not None:
                largest = checked(largest, _is_zero(largest), name, *singular(k, n))
            chosen = first_of(sizes, largest)
            pivot = picked(chosen, below)
            self.pivots.append(pivot)
            divisor = (
                pivot + (1.0 - abs(ops.sign(pivot))) if singular is None else pivot
            )  # if it is 0, all below it are, too
            self.chosen.append(chosen)
            self.rows.append([picked(chosen, [row[m] for row in left]) for m in range(k)])
            for row, x in zip(left, below, strict=True):
                row.append(ops.div(x, divisor))
            free = [f * (1.0 - one) for f, one in zip(free, chosen, strict=True)]
            used = [u + one for u, one in zip(used, chosen, strict=True)]
            upper.append(above)
        for k, row in enumerate(self.rows):
            row += [self.pivots[k], *(column[k] for column in upper[k + 1 :])]

    def sign(self) -> Any:
        """1 or −1: the sign of the permutation, by the pairs of rows that it exchanges."""
        order = [picked(row, [float(i) for i in range(len(row))]) for row in self.chosen]
        pairs = [ops.less(order[j], order[i]) for i in range(len(order)) for j in range(i + 1, len(order))]
        return 1.0 - 2.0 * special.mod(ops.sum_(*pairs), 2.0) if pairs else 1.0

    def solved(self, columns: Rows) -> Rows:
        """The solution for each right side."""
        n = len(self.rows)
        found = []
        for column in columns:
            half: list[Any] = []
            for chosen, row in zip(self.chosen, self.rows, strict=True):
                half.append(less(picked(chosen, column), row[: len(half)], half))
            found.append(_substituted(self.rows, half, range(n - 1, -1, -1)))
        return found


def _substituted(rows: Rows, right: list[Any], order: range) -> list[Any]:
    """The solution for a triangular matrix, whose unknowns are found in this order."""
    found: list[Any] = []
    known: list[int] = []
    for i in order:
        found.append(ops.div(less(right[i], [rows[i][k] for k in known], found), rows[i][i]))
        known.append(i)
    return found[:: order.step]


def _lower(rows: Rows) -> Rows:
    """The rows of Cholesky's factor, each up to its diagonal."""
    lower: Rows = []
    for i, row in enumerate(rows):
        new: list[Any] = []
        for j in range(i + 1):
            left = less(row[j], new, new if i == j else lower[j][:j])
            if i == j:
                wrong = ops.where(ops.less(0.0, left), 0.0, 1.0)
                what = f"the matrix is not positive definite: pivot {i} of {len(rows)} is not above 0"
                remedy = "a matrix of covariances needs a little on its diagonal if its columns nearly depend"
                new.append(checked(1.0, wrong, "cholesky", what, remedy) * ops.sqrt(left))
            else:
                new.append(ops.div(left, lower[j][j]))
        lower.append(new)
    return lower


def _by_pivots(rows: Rows) -> Any:
    """The determinant, as a product of pivots."""
    factors = Factors("det", rows)
    found = factors.sign()
    for pivot in factors.pivots:
        found = found * pivot
    return found


def _cofactors(rows: Rows) -> Any:
    """The determinant of up to three rows, by cofactors of the first."""
    if len(rows) == 1:
        return rows[0][0]
    if len(rows) == 2:
        return rows[0][0] * rows[1][1] - rows[0][1] * rows[1][0]
    minors = [[[x for j, x in enumerate(row) if j != k] for row in rows[1:]] for k in range(3)]
    a, b, c = (rows[0][k] * _cofactors(minors[k]) for k in range(3))
    return a - b + c


def _of(name: str, rows: Rows) -> Writing:
    return Writing(f"{name}() of {len(rows)} row{'s' * (len(rows) != 1)}")


def _is_zero(x: Any) -> Any:
    return ops.where(x, 0.0, 1.0)


def _singular(k: int, n: int) -> tuple[str, str]:
    """What is wrong with a matrix whose pivot k is 0, and the remedy."""
    column = f"is a sum of multiples of {'that' if k == 1 else 'those'} before it" if k else "is all zeros"
    return (
        f"the matrix is singular: pivot {k} of {n} is 0",
        f"its column {k} {column}: leave it out, or add a little to the diagonal",
    )


def _without(k: int, n: int) -> tuple[str, str]:
    """The same of a triangular matrix, whose pivots are its diagonal."""
    return (
        f"the matrix is singular: number {k} of the {n} on its diagonal is 0",
        "leave out that row and column, or add a little to the diagonal",
    )


__all__ = ["cholesky", "det", "eigh", "inv", "slogdet", "solve", "triangular_solve"]
