"""Columns that tell the target: the same numbers in other units, its logarithm, its classes under other names.

A net that learns from one is perfect on all rows of the table, and useless for rows whose target nobody knows yet.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from macrograd.tables.plan import Plan
from macrograd.tables.target import Target

Array = NDArray[Any]
_LEAST = 20  # rows, and different numbers of a target: a few have the same order by chance
_FIRST = 200  # rows that are looked at first: hardly any other column passes them


def notes(plan: Plan, X: Array, target: Target) -> list[str]:
    """A note for each column that alone tells the target in every row, by its order or by its classes; [] if none
    does, or if there are fewer than 20 rows or numbers.

    X  the features of the rows of `target`, as `plan.numbers` makes them, (rows, len(plan.names))
    """
    y = target.y
    if len(y) < _LEAST or y.ndim > 1 or (target.classes is None and len(np.unique(y)) < _LEAST):
        return []
    alike = _same_order if target.classes is None else _same_classes
    return [
        f"{name!r} alone tells {target.name!r} in every row: if it is computed from it, or not known before it, leave "
        f"it out with --drop {name}"
        for name, column in _single(plan, X)
        if alike(column[:_FIRST], y[:_FIRST]) and alike(column, y)
    ]


def _single(plan: Plan, X: Array) -> Iterator[tuple[str, Array]]:
    """The columns that have one number or one category in every row, with their names."""
    end = 0
    for feature in plan.features:
        begin, end = end, end + len(feature.names)
        if feature.kind == "category":
            yield feature.name, X[:, begin:end] @ np.arange(1.0, end - begin + 1)
        elif end - begin == 1:  # dates become several, and numbers that may be missing two
            yield feature.name, X[:, begin]


def _same_order(column: Array, y: Array) -> bool:
    """Whether equal numbers of one go with equal ones of the other, and larger ones always with larger, or always with
    smaller ones."""
    order = np.argsort(column, kind="stable")
    steps, target = np.sign(np.diff(column[order])), np.sign(np.diff(y[order]))
    return bool(np.array_equal(steps, target) or np.array_equal(steps, -target))


def _same_classes(column: Array, y: Array) -> bool:
    """Whether each value of one goes with one of the other."""
    pairs = np.unique(np.stack([column, y]), axis=1).shape[1]
    return bool(pairs == len(np.unique(column)) == len(np.unique(y)))
