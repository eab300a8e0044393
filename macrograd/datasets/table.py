"""CSV files: a header line, numbers in the feature columns, and a target column of classes or of numbers."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

# A column of whole numbers is a column of classes if it has no more different values than this.
MOST_WHOLE_CLASSES = 20


@dataclass(frozen=True)
class Table:
    """What `load_csv` read; `X, y = table` takes the arrays alone.

    X         the features, of shape (rows, features), float64
    y         the target, of shape (rows,): int64 indices into `classes`, or float64
    features  the names of the columns of X
    target    the name of the target's column
    classes   what the file calls each class, sorted (numbers by size, text by letters); None for a number target
    """

    X: NDArray[np.float64]
    y: NDArray[Any]
    features: tuple[str, ...]
    target: str
    classes: tuple[str, ...] | None

    def __iter__(self) -> Iterator[NDArray[Any]]:
        return iter((self.X, self.y))


def load_csv(
    path: str | Path, target: str, *, kind: Literal["auto", "classes", "number"] = "auto", delimiter: str = ","
) -> Table:
    """The table in a CSV file with a header line (UTF-8, quotes as RFC 4180 has them; empty lines are skipped).

    All columns but `target` are features and must be finite numbers. With kind "auto" a target of text, or of whole
    numbers with at most 20 different values, is classes, and any other a number; "classes" and "number" decide it.

    Raises OSError if the file cannot be read, and ValueError, which names the row (counted from 1 below the header),
    the line of the file and the column, for: an empty file, a missing or doubled column name, rows of another length,
    text or NaN or an infinity or nothing where a number must be, fewer than two rows, and a target that is the same in
    all rows.
    """
    if kind not in ("auto", "classes", "number"):
        raise ValueError(f"load_csv() has the kinds 'auto', 'classes' and 'number', got {kind!r}")
    name = Path(path).name
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            return _read(name, csv.reader(file, delimiter=delimiter, strict=True), target, kind)
    except UnicodeDecodeError as error:
        raise ValueError(f"{name} is not a text file in UTF-8: {error}") from None
    except csv.Error as error:
        raise ValueError(f"{name} is not a CSV file: {error}") from None


def _read(name: str, lines: Any, target: str, kind: str) -> Table:
    header = _header(name, lines, target)
    where_target = header.index(target)
    where_features = [i for i in range(len(header)) if i != where_target]
    numbers: list[list[float]] = []
    labels: list[str] = []
    places: list[str] = []
    for cells in lines:
        if not any(cells):
            continue
        place = f"{name}, row {len(labels) + 1} (line {lines.line_num})"
        if len(cells) != len(header):
            raise ValueError(f"{place} has {len(cells)} cell{'s'[: len(cells) - 1]}, the header has {len(header)}")
        numbers.append([_number(place, header[i], cells[i]) for i in where_features])
        labels.append(cells[where_target].strip())
        places.append(place)
        if not labels[-1]:
            raise ValueError(f"{place}, column {target!r}: the cell is empty; give the row a target or take it out")
    if len(labels) < 2:
        rows = "no rows" if not labels else "only 1 row"
        raise ValueError(f"{name} has {rows} below the header: learning needs at least 2")
    if len(set(labels)) == 1:
        raise ValueError(
            f"{name}: the target {target!r} is {labels[0]!r} in all {len(labels)} rows, so there is nothing to tell "
            "apart: choose another target column, or add rows of another class"
        )
    y, classes = _target(places, target, labels, kind)
    features = tuple(header[i] for i in where_features)
    return Table(np.array(numbers, dtype=np.float64), y, features, target, classes)


def _header(name: str, lines: Any, target: str) -> list[str]:
    header = next((cells for cells in lines if any(cells)), None)
    if header is None:
        raise ValueError(f"{name} is empty: it needs a header line with the names of the columns, and rows below it")
    header = [cell.strip() for cell in header]
    if target not in header:
        import difflib  # only a misspelling needs it, and it takes long to load

        close = difflib.get_close_matches(target, header, n=1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        if all(_is_number(cell) for cell in header):
            hint = "; its first line holds numbers only: is the header missing?"
        raise ValueError(f"{name} has no column {target!r}, it has {_listed(header)}{hint}")
    for i, column in enumerate(header):
        if column in header[:i]:
            raise ValueError(f"{name} has two columns named {column!r}: rename one")
    if len(header) < 2:
        raise ValueError(f"{name} has the target column {target!r} only: there must be features to learn from")
    return header


def _listed(names: Sequence[str], most: int = 20) -> str:
    shown = ", ".join(repr(n) for n in names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return "_" not in cell  # Python reads 1_000; no other program that writes CSV means it


def _number(place: str, column: str, cell: str) -> float:
    if not _is_number(cell):
        got = f"{cell.strip()!r} is not a number" if cell.strip() else "the cell is empty"
        remedy = "take the column out or write its text as numbers" if cell.strip() else "fill it or take the row out"
        raise ValueError(f"{place}, column {column!r}: {got}; {remedy}")
    number = float(cell)
    if not math.isfinite(number):
        raise ValueError(f"{place}, column {column!r}: {cell.strip()!r} is not a finite number; take the row out")
    return number


def _target(
    places: list[str], target: str, labels: list[str], kind: str
) -> tuple[NDArray[Any], tuple[str, ...] | None]:
    numeric = [_is_number(label) for label in labels]
    different = {float(label) for label, is_number in zip(labels, numeric, strict=True) if is_number}
    whole = all(math.isfinite(x) and x == int(x) for x in different)
    if kind == "auto":
        if all(numeric):
            kind = "classes" if whole and len(different) <= MOST_WHOLE_CLASSES else "number"
        else:
            # A few texts among fractions are a spoilt number column, and not so many classes.
            kind = "classes" if whole else "number"
    if kind == "number":
        return np.array([_number(*row) for row in _cells(places, target, labels)], dtype=np.float64), None
    if all(numeric) and all(math.isfinite(x) for x in different):
        # "1" and "1.0" are one class: the number counts, not its spelling.
        keys: list[Any] = [float(label) for label in labels]
        names = {key: f"{key:g}" if key != int(key) else str(int(key)) for key in keys}
    else:
        keys, names = list(labels), {label: label for label in labels}
    order = {key: i for i, key in enumerate(sorted(names))}
    if len(order) < 2:
        raise ValueError(f"{places[0].split(',')[0]}: the target {target!r} has the single class {names[keys[0]]!r}")
    return np.array([order[key] for key in keys], dtype=np.int64), tuple(names[key] for key in order)


def _cells(places: list[str], target: str, labels: list[str]) -> Iterator[tuple[str, str, str]]:
    return ((place, target, label) for place, label in zip(places, labels, strict=True))
