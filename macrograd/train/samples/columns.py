"""The columns of data frames, by name: their order in a frame does not matter.

A frame of finite numbers is those numbers. One with texts, dates, bools or gaps has a `Plan`, which is learned once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np

from macrograd import tables
from macrograd._warn import warn


def names_of(data: Any) -> tuple[str, ...] | None:
    """The column names of a pandas, polars or Arrow table; None for data without names or with numbers as names."""
    if isinstance(data, np.ndarray) or not (hasattr(data, "columns") or hasattr(data, "column_names")):
        return None
    names = tuple(data.column_names if hasattr(data, "column_names") else data.columns)
    return names if names and all(isinstance(name, str) for name in names) else None


def plan_of(data: Any, name: str) -> tables.Plan | None:
    """The plan for the columns of a frame with more than finite numbers; None for other data. Warns about what their
    cells did not say."""
    if not tables.is_frame(data) or (names_of(data) is None and not isinstance(data, Mapping)):
        return None
    table = tables.from_frame(data, name)
    if not isinstance(data, (Mapping, tables.Table)) and not tables.needs_plan(table):
        return None
    plan = tables.plan_of(table)
    warn_assumed(plan, name)
    return plan


def warn_assumed(plan: tables.Plan, name: str) -> None:
    """Warn about what the cells of a frame did not say."""
    for note in plan.assumed:
        warn(f"{name}: {note}; if that is wrong, give numbers or moments instead of text", UserWarning)


def planned(data: Any, plan: tables.Plan, name: str) -> Any:
    """The numbers that a plan makes of a frame; rows of numbers that it has made already are returned unchanged.

    Warns about cells of a kind that training did not have. Raises ValueError for missing columns, and for data without
    named columns."""
    if tables.is_frame(data):
        found, notes = plan.numbers(tables.from_frame(data, name))
        for note in notes:
            warn(f"{name}: {note}", UserWarning)
        return found
    width = np.shape(data)[1:2]
    if width != (len(plan.names),):
        raise ValueError(
            f"{name} has no named columns, and the model was trained with a table: give a table with "
            f"{tables.listed(plan.needed)}"
        )
    return data


def in_order(data: Any, columns: tuple[str, ...] | None, name: str, plan: tables.Plan | None = None) -> Any:
    """Data reduced to the columns that a model was trained with, in that order, as numbers by the plan if there is one.
    Data without names are returned unchanged, as are all if `columns` is None. Raises ValueError for missing or
    duplicate columns."""
    if plan is not None:
        return planned(data, plan, name)
    names = names_of(data)
    if names is None or columns is None:
        return np.column_stack([np.asarray(column) for column in data.columns]) if _arrow(data) and names else data
    found = Counter(names)
    missing = [column for column in columns if column not in found]
    if missing:
        raise ValueError(
            f"{name} lacks {_listed(missing)}, which the model was trained with; it has {_listed(list(names))}: "
            "columns are matched by name"
        )
    for column in columns:
        if found[column] > 1:
            raise ValueError(f"{name} has two columns named {column!r}: rename one")
    if _arrow(data):
        of_name = dict(zip(names, data.columns, strict=True))
        return np.column_stack([np.asarray(of_name[column]) for column in columns])
    return data if names == columns else data[list(columns)]


def one_in_order(x: Any, columns: tuple[str, ...], plan: tables.Plan | None = None) -> Any:
    """One sample, a mapping or a pandas Series with the columns' names, as a list of numbers in their order; others as
    they are. Raises ValueError for names that are missing."""
    keys = getattr(x, "keys", None)
    if keys is None:
        return x
    names = list(keys())
    if plan is not None:
        return planned({name: [x[name]] for name in names}, plan, "the sample")[0].tolist()
    if not any(isinstance(name, str) for name in names):
        return x
    there = set(names)
    missing = [column for column in columns if column not in there]
    if missing:
        raise ValueError(f"the sample lacks {_listed(missing)}, which the model was trained with")
    return [x[column] for column in columns]


def _arrow(data: Any) -> bool:
    return hasattr(data, "column_names")


def _listed(names: list[str], most: int = 10) -> str:
    shown = ", ".join(map(repr, names[:most]))
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"
