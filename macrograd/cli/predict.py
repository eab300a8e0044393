"""`macrograd predict`."""

from __future__ import annotations

import argparse
import csv
import io
import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from macrograd.cli import facts
from macrograd.datasets.table import _listed, _number
from macrograd.train.data import Samples
from macrograd.train.predictor import Predictor


def predict(chosen: argparse.Namespace) -> int:
    """Print the table with one more column, what the model answers for each row; 0. Nothing is printed before all is
    known."""
    known = facts.read(chosen.model)
    if known is None:
        raise ValueError(
            f"{chosen.model} does not say what its inputs and outputs mean: `predict` takes models of "
            "`macrograd train --save`; use mg.load in a program for others"
        )
    model = facts.model_of(chosen.model, known)
    column = f"predicted_{known.target}"
    header, rows, X = read(chosen.table, known.features, chosen.model)
    if column in header:
        raise ValueError(f"{Path(chosen.table).name} has a column {column!r} already: rename it")
    outputs = Predictor(model, "compiled", "float64", 1)(Samples(known.feature_scale.scaled(X)))
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*header, column])
    writer.writerows([*cells, answer] for cells, answer in zip(rows, known.answers(outputs), strict=True))
    sys.stdout.write(text.getvalue())
    return 0


def read(path: str, features: tuple[str, ...], model: str) -> tuple[list[str], list[list[str]], NDArray[np.float64]]:
    """(header, rows, the columns `features` as numbers) of a CSV file. Raises OSError, and ValueError that names the
    place for whatever is wrong."""
    name = Path(path).name
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            return _read(name, csv.reader(file, strict=True), features, model)
    except UnicodeDecodeError as error:
        raise ValueError(f"{name} is not a text file in UTF-8: {error}") from None
    except csv.Error as error:
        raise ValueError(f"{name} is not a CSV file: {error}") from None


def _read(
    name: str, lines: Any, features: tuple[str, ...], model: str
) -> tuple[list[str], list[list[str]], NDArray[np.float64]]:
    header = next((cells for cells in lines if any(cells)), None)
    if header is None:
        raise ValueError(f"{name} is empty: it needs a header line with the names of the columns, and rows below it")
    header = [cell.strip() for cell in header]
    missing = [feature for feature in features if feature not in header]
    if missing:
        raise ValueError(f"{name} lacks {_listed(missing)}, from which {model} predicts; it has {_listed(header)}")
    for feature in features:
        if header.count(feature) > 1:
            raise ValueError(f"{name} has two columns named {feature!r}: rename one")
    places = [(feature, header.index(feature)) for feature in features]
    rows: list[list[str]] = []
    numbers: list[list[float]] = []
    for cells in lines:
        if not any(cells):
            continue
        place = f"{name}, row {len(rows) + 1} (line {lines.line_num})"
        if len(cells) != len(header):
            raise ValueError(f"{place} has {len(cells)} cell{'s'[: len(cells) - 1]}, the header has {len(header)}")
        numbers.append([_number(place, feature, cells[k]) for feature, k in places])
        rows.append(cells)
    if not rows:
        raise ValueError(f"{name} has no rows below the header: there is nothing to predict")
    return header, rows, np.array(numbers, dtype=np.float64)
