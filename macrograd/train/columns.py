"""The columns of data frames, by name: their order in a frame does not matter."""

from __future__ import annotations

from typing import Any

import numpy as np


def names_of(data: Any) -> tuple[str, ...] | None:
    """The column names of a pandas, polars or Arrow table; None for data without names or with numbers as names."""
    if isinstance(data, np.ndarray) or not (hasattr(data, "columns") or hasattr(data, "column_names")):
        return None
    names = tuple(data.column_names if hasattr(data, "column_names") else data.columns)
    return names if names and all(isinstance(name, str) for name in names) else None


def in_order(data: Any, columns: tuple[str, ...] | None, name: str) -> Any:
    """Data reduced to the columns that a model was trained with, in that order. Data without names are returned
    unchanged, as are all if `columns` is None. Raises ValueError for missing or duplicate columns."""
    names = names_of(data)
    if names is None or columns is None:
        return np.column_stack([np.asarray(data[n]) for n in names]) if _arrow(data) and names else data
    missing = [column for column in columns if column not in names]
    if missing:
        raise ValueError(
            f"{name} lacks {_listed(missing)}, which the model was trained with; it has {_listed(list(names))}: "
            "columns are matched by name"
        )
    for column in columns:
        if names.count(column) > 1:
            raise ValueError(f"{name} has two columns named {column!r}: rename one")
    if _arrow(data):
        return np.column_stack([np.asarray(data[column]) for column in columns])
    return data if names == columns else data[list(columns)]


def one_in_order(x: Any, columns: tuple[str, ...]) -> Any:
    """One sample, a mapping or a pandas Series with the columns' names, as a list of numbers in their order; others as
    they are. Raises ValueError for names that are missing."""
    keys = getattr(x, "keys", None)
    if keys is None:
        return x
    names = list(keys())
    if not any(isinstance(name, str) for name in names):
        return x
    missing = [column for column in columns if column not in names]
    if missing:
        raise ValueError(f"the sample lacks {_listed(missing)}, which the model was trained with")
    return [x[column] for column in columns]


def _arrow(data: Any) -> bool:
    return hasattr(data, "column_names")


def _listed(names: list[str], most: int = 10) -> str:
    shown = ", ".join(map(repr, names[:most]))
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"
