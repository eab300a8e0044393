"""det: a determinant by expansion along the rows, n! products if written down as it stands.

Two minors of the same rows and columns are one number. The cache finds them before they are recorded: a matrix of 11
rows has 2,047 minors.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

import macrograd as mg


def determinant(rows: Any) -> Any:
    n = len(rows)

    @cache
    def minor(columns: tuple[int, ...]) -> Any:
        """The determinant of the last rows and these columns."""
        row = rows[n - len(columns)]
        if len(columns) == 1:
            return row[columns[0]]
        left = [row[c] if k % 2 == 0 else -row[c] for k, c in enumerate(columns)]
        return mg.dot(left, [minor(columns[:k] + columns[k + 1 :]) for k in range(len(columns))])

    return minor(tuple(range(n)))


def _matrix(given: dict[str, Any]) -> NDArray[np.float64]:
    return np.array(given["A"]).reshape(given["ell"], given["ell"])


def primal(given: dict[str, Any]) -> Callable[[], float]:
    matrix, f = _matrix(given), mg.compile(determinant)
    return lambda: float(f(matrix))


def gradient(given: dict[str, Any]) -> Callable[[], NDArray[np.float64]]:
    matrix, f = _matrix(given), mg.compile(mg.grad(determinant))
    return lambda: np.asarray(f(matrix)).ravel()


FUNCTIONS = {"primal": primal, "gradient": gradient}
