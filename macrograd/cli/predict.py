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
from macrograd.train import Trainer, load
from macrograd.train.data import Samples
from macrograd.train.predictor import Predictor


def predict(chosen: argparse.Namespace) -> int:
    """Print the table with one more column, what the model answers for each row; 0. Nothing is printed before all is
    known."""
    known = facts.read(chosen.model)
    if known is None:
        return _of_program(chosen)
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


def _of_program(chosen: argparse.Namespace) -> int:
    """The same for what mg.save wrote of a trained model: its columns by name, or by position where it has no names."""
    model = load(chosen.model)
    signature = model._signature
    if signature is None:
        raise ValueError(
            f"{chosen.model} does not say what its inputs and outputs mean: mg.save writes that of a Trainer, or of a "
            "model that one has trained"
        )
    if len(signature.shape) != 1:
        raise ValueError(f"{chosen.model} takes samples of shape {signature.shape}, and a table has rows of numbers")
    columns = signature.columns or _all_columns(chosen.table, signature.shape[0], chosen.model)
    header, rows, X = read(chosen.table, columns, chosen.model)
    answers = Trainer(model).predict(X)
    name = "predicted" if signature.target is None else f"predicted_{signature.target}"
    names = [name] if answers.ndim == 1 else [f"{name}_{k + 1}" for k in range(answers.shape[1])]
    taken = next((column for column in names if column in header), None)
    if taken is not None:
        raise ValueError(f"{Path(chosen.table).name} has a column {taken!r} already: rename it")
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*header, *names])
    found = answers.reshape(len(rows), -1).tolist()
    writer.writerows([*cells, *map(_cell, row)] for cells, row in zip(rows, found, strict=True))
    sys.stdout.write(text.getvalue())
    return 0


def _cell(answer: Any) -> str:
    """Numbers read back bit for bit."""
    return repr(answer) if isinstance(answer, float) else str(answer)


def _all_columns(path: str, width: int, model: str) -> tuple[str, ...]:
    """The names of a table's columns, of which there must be `width`."""
    with open(path, encoding="utf-8-sig", newline="") as file:
        header = next((cells for cells in csv.reader(file) if any(cells)), [])
    if len(header) != width:
        raise ValueError(
            f"{model} does not name its inputs, and takes {width} numbers a row in the order of its training; "
            f"{Path(path).name} has {len(header)} columns"
        )
    return tuple(cell.strip() for cell in header)


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
