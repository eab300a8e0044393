"""The column to learn: classes or a number, which is inferred unless given, and the rows that have it."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from macrograd._dataclass import dataclass
from macrograd.tables import cells, durations, kinds
from macrograd.tables.cells import Style
from macrograd.tables.plan import no_column, style_of
from macrograd.tables.table import Table

Array = NDArray[Any]

TASKS = ("classification", "regression")
# Integers with at most this many distinct values are codes, that is, classes.
_MOST_CODES = 3
# If the column's name implies classes, with at most this many.
_MOST_NAMED = 50
# With this many rows, a target that differs in all of them is their name.
_LEAST_NAMED = 10
_NAMES = re.compile(r".*(class|label|species|category|digit|type|group|outcome|diagnos|target_?class).*", re.I | re.S)


@dataclass(frozen=True)
class Target:
    """The target of learning.

    y         for the rows that have one: int64 indices into `classes`, or float64
    rows      the indices of these rows in the table
    classes   the table's names of the classes, sorted (numbers by size, text alphabetically); None for a number
    guessed   the reason for choosing classes or a number, in words; "" if the task was given
    numeric   whether its cells are numbers, so that both can be learned
    unit      of a number, or ""
    notes     on rows left out, and on spellings
    labels    the names of several yes-or-no columns, of which y (n, k) holds 0 and 1; () for one column
    """

    name: str
    y: Array
    rows: Array
    classes: tuple[str, ...] | None
    guessed: str = ""
    numeric: bool = True
    notes: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    unit: str = ""


def of(
    table: Table, name: str, *, task: str | None = None, markers: Collection[str] = (), kind: str | None = None
) -> Target:
    """The target `name` of a table. `task` is "classification" or "regression", or None to guess it. Durations and
    numbers may be given a `kind`: "duration", or "duration:h:mm" or "duration:m:ss" for what 40:18 is, and
    "number:point" or "number:comma" for their decimal mark.

    Raises ValueError for a column that the table does not have, a target that is empty, the same in all rows or another
    string in each, cells that are not numbers in a numeric target, and fewer than two rows.
    """
    if name not in table.columns:
        raise ValueError(no_column(table, name))
    if task is not None and task not in TASKS:
        raise ValueError(f"the task {task!r} is not known: use {' or '.join(TASKS)}")
    asked = _Asked.of(name, kind, style_of(table, markers))
    found = _understood(table, name, asked, task, markers)
    gone, notes = found.gone, []
    if gone.any():
        notes.append(_left_out(name, np.flatnonzero(gone)))
    rows = np.flatnonzero(~gone)
    if len(rows) < 2:
        how_many = "no rows" if not len(rows) else "only 1 row"
        raise ValueError(f"{table.name} has {how_many} with a target in {name!r}: learning needs at least 2")
    guessed, numeric = "", found.kind in ("number", "duration")
    if task is None:
        task, guessed = _guess(name, found.values[rows] if numeric else None)
    if task == "regression":
        y = _numbers(table, name, found, rows)
        notes += _doubts(table.columns[name][rows], name, found, asked)
        return Target(name, y, rows, None, guessed, True, tuple(notes), unit=found.unit)
    y, shown = _classes(table, name, found, rows)
    if guessed and len(shown) == len(y) >= _LEAST_NAMED:
        raise ValueError(
            f"{table.name}, column {name!r}: it has another string in every row, so it names the rows, and no class "
            "can be learned from one row: choose another target column"
        )
    return Target(name, y, rows, shown, guessed, numeric, tuple(notes + _weak_classes(name, y, shown)))


@dataclass(frozen=True)
class _Asked:
    """What the user said of a target: its kind, the order of a duration's parts, how numbers are written; or None."""

    kind: str | None
    order: str | None
    style: Style | None

    @classmethod
    def of(cls, name: str, kind: str | None, style: Style | None) -> _Asked:
        """What `kind` says of the target `name` of a table whose numbers are known to be written as `style`."""
        asked, _, order = (kind or "").partition(":")
        if asked == "number" and order in cells.DECIMALS:
            return cls(asked, None, Style(cells.DECIMALS[order]))
        if kind is not None and (asked != "duration" or order not in ("", *durations.ORDERS)):
            raise ValueError(
                f"the kind {kind!r} of the target {name!r} is not known: a target is a number or classes by its task, "
                "and its kind can only be duration, duration:h:mm, duration:m:ss, number:point or number:comma"
            )
        return cls(asked or None, order or None, style)


def _understood(table: Table, name: str, asked: _Asked, task: str | None, markers: Collection[str]) -> kinds.Understood:
    """The target's column as what it is. Raises ValueError for dates and for spoilt cells that shall be numbers."""
    column, where, style = table.columns[name], f"{table.name}, column {name!r}", asked.style or Style()
    try:
        found = kinds.understand(column, style=style, markers=markers, kind=asked.kind, order=asked.order)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None
    if task == "classification":
        return found
    if found.order == "hms":
        # As a column to learn from these may be times of day; as a number to learn they are durations.
        with contextlib.suppress(ValueError):
            found = kinds.understand(column, style=style, markers=markers, kind="duration")
    if found.kind == "date":
        raise ValueError(
            f"{where}: it holds dates, which cannot be a target: learn a number (such as the days until then), or "
            "classes with --task classification"
        )
    if found.spoilt:
        raise ValueError(
            f"{where}: it holds {found.kind}s, and {found.spoilt} other cell{'s' * (found.spoilt > 1)}, such as "
            f"{found.example}: if that is a mark for missing values, say so with --missing; --task classification "
            "makes every text a class"
        )
    return found


def _doubts(column: Array, name: str, found: kinds.Understood, asked: _Asked) -> list[str]:
    """What was read in one of two ways without being asked for, and how to ask for the other."""
    if found.kind == "duration" and found.order != durations.FULL:
        short = next((str(t).strip() for t in column if durations.two_numbers(str(t))), "40:18")
        other = durations.HOURS if found.order == durations.MINUTES else durations.MINUTES
        how = "" if asked.order else f"; otherwise --kind {name}=duration:{other}"
        return [f"{short!r} in {name!r} is read as {durations.MEANINGS[found.order]}{how}"]
    if found.kind == "number" and found.doubt and asked.style is None:
        what, otherwise = cells.as_read(found.doubt, Style())
        return [f"column {name!r}: {what}; otherwise --kind {name}={otherwise}"]
    return []


def _weak_classes(name: str, y: Array, shown: Sequence[str]) -> list[str]:
    """Notes on classes of one row, and on those that may be one class."""
    notes = []
    if alone := int((np.bincount(y) == 1).sum()):
        notes.append(
            f"{alone} of the {len(shown)} classes of {name!r} {'have' if alone > 1 else 'has'} one row only, which is "
            "too few to learn and to test"
        )
    return notes + [
        f"the classes {', '.join(map(repr, group))} of {name!r} differ only in capitals or spaces: correct the table "
        "if they are the same"
        for group in cells.several_spellings(shown)
    ]


def labels_of(table: Table, names: Sequence[str], *, markers: Collection[str] = ()) -> Target:
    """Several yes-or-no columns as one target, (n, k) of 0 and 1, for the rows that have all of them.

    Raises ValueError for columns that the table does not have, are named twice, hold anything but yes and no, or are
    the same in all rows, and for fewer than two rows.
    """
    joined, columns = ",".join(names), []
    for name in names:
        if name not in table.columns:
            raise ValueError(no_column(table, name))
        if names.count(name) > 1:
            raise ValueError(f"the target {name!r} is named twice")
        columns.append(_yes_or_no(table, name, markers))
    gone = np.isnan(columns).any(axis=0)
    rows = np.flatnonzero(~gone)
    notes = [_left_out(joined, np.flatnonzero(gone))] if gone.any() else []
    if len(rows) < 2:
        how_many = "1 row" if len(rows) else "no rows"
        raise ValueError(f"{table.name} has {how_many} with all of {joined}: learning needs at least 2")
    y = np.stack(columns, axis=1)[rows].astype(np.int64)
    for name, column in zip(names, y.T, strict=True):
        if (column == column[0]).all():
            raise ValueError(_same(table, name, "yes" if column[0] else "no", len(rows)))
    return Target(joined, y, rows, None, "", False, tuple(notes), tuple(names))


def _yes_or_no(table: Table, name: str, markers: Collection[str]) -> Array:
    """A column as 0.0, 1.0, and NaN where it is missing."""
    found = kinds.understand(table.columns[name], style=style_of(table, markers) or Style(), markers=markers)
    numbers = found.values if found.kind in ("yes/no", "number") and not found.spoilt else None
    if numbers is None or not np.isin(numbers[~np.isnan(numbers)], (0.0, 1.0)).all():
        raise ValueError(
            f"{table.name}, column {name!r}: several targets must be columns of yes and no (or 1 and 0, true and "
            "false), and it holds others: give it as the only --target, or leave it out"
        )
    return np.asarray(numbers, dtype=np.float64)


def _numbers(table: Table, name: str, found: kinds.Understood, rows: Array) -> Array:
    """The numbers to learn. Raises ValueError if they are not numbers, not finite, or all the same."""
    where = f"{table.name}, column {name!r}"
    if found.kind not in ("number", "duration", "yes/no"):
        raise ValueError(
            f"{where}: {_example(table.columns[name], rows)} is not a number: --task classification treats strings as "
            "classes"
        )
    y: Array = found.values[rows]
    if not np.isfinite(y).all():
        row = int(rows[int(np.argmax(~np.isfinite(y)))])
        raise ValueError(f"{where}: {found.values[row]} in row {row + 1} is not a finite number: remove the row")
    if (y == y[0]).all():
        raise ValueError(_same(table, name, kinds.name_of(y[0]), len(y)))
    return y


def _classes(table: Table, name: str, found: kinds.Understood, rows: Array) -> tuple[Array, tuple[str, ...]]:
    """The index of each row's class, and the names of the classes. Raises ValueError if there is only one."""
    labels = _labels(table.columns[name], found, rows)
    classes = sorted(set(labels.tolist()))
    shown = tuple(kinds.name_of(c) if isinstance(c, float) else c for c in classes)
    if len(classes) == 1:
        raise ValueError(_same(table, name, shown[0], len(rows)))
    index = {label: k for k, label in enumerate(classes)}
    return np.fromiter((index[label] for label in labels.tolist()), np.int64, len(labels)), shown


def _labels(column: Array, found: kinds.Understood, rows: Array) -> Array:
    """The label of each row: numbers by value, so that 1 and 1.0 are one class, and strings unchanged."""
    if found.kind == "number" or column.dtype.kind not in "O":
        if column.dtype.kind == "b":
            return np.array([str(bool(x)) for x in column[rows]], dtype=object)
        if column.dtype.kind in "Mm":
            shown = column[rows].tolist() if column.dtype.kind == "m" else column[rows]
            return np.array([str(x) for x in shown], dtype=object)
        return np.array(found.values[rows].tolist(), dtype=object)
    labels = np.empty(len(rows), dtype=object)
    labels[:] = [str(t) for t in column[rows]]
    # Spaces around a label belong to the file, not the label, unless they distinguish two labels.
    stripped = np.empty(len(rows), dtype=object)
    stripped[:] = [label.strip() for label in labels]
    return stripped


def _guess(name: str, numbers: Array | None) -> tuple[str, str]:
    """(the task, why)."""
    if numbers is None:
        return "classification", "its cells are not numbers"
    if not (np.isfinite(numbers).all() and (numbers == np.floor(numbers)).all()):
        return "regression", "it holds fractions"
    values, counts = np.unique(numbers, return_counts=True)
    k, n = len(values), len(numbers)
    if (k == 2 < n) or (k <= _MOST_CODES and n >= 4 * k):
        return "classification", f"it has {k} different values"
    if k <= _MOST_NAMED and _NAMES.fullmatch(name) and counts.min() >= 2:
        return "classification", f"it has {k} different values and the name of a class"
    # Codes 0, 1, 2, … of roughly equal frequency: counts, prices, years and ratings are not like that.
    if k <= 20 and values[0] == 0 and values[-1] == k - 1 and counts.min() >= max(10.0, 0.5 * counts.mean()):
        return "classification", f"it has the codes 0 to {k - 1}, all about as often"
    return "regression", f"it has {k} different values"


def _left_out(name: str, gone: Array) -> str:
    count = len(gone)
    shown = ", ".join(str(row + 1) for row in gone[:10].tolist()) + (", …" if count > 10 else "")
    rows = f"row {shown} has" if count == 1 else f"{count} rows have"
    where = "" if count == 1 else f" ({shown})"
    return f"{rows} no {name!r} and {'is' if count == 1 else 'are'} left out{where}"


def _example(column: Array, rows: Array) -> str:
    row = int(rows[0])
    return f"{str(column[row]).strip()!r} in row {row + 1}"


def _same(table: Table, name: str, label: str, count: int) -> str:
    return (
        f"{table.name}: the target {name!r} is {label!r} in all {count} rows, so there is nothing to tell apart: "
        "choose another target column, or add rows of another class"
    )
