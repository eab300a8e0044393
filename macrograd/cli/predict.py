"""`macrograd predict`."""

from __future__ import annotations

import argparse
import csv
import io
import re
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

from macrograd import tables
from macrograd.cli import data, facts
from macrograd.tables.show import printable
from macrograd.tables.table import in_utc
from macrograd.train import Trainer, load
from macrograd.train.predictor import Predictor
from macrograd.train.samples.data import Samples

# The characters at which a spreadsheet starts a formula, which it would run.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_RUN = re.compile(r"[=@].|[+-].*[^\W\d]", re.DOTALL)  # of cells, among which -5 % and +49 171 are none


def predict(arguments: argparse.Namespace) -> int:
    """Print the table with the model's prediction for each row, and return 0. Output starts only when all are known."""
    known = facts.read(arguments.model)
    if known is None:
        return _of_program(arguments)
    table = _read(arguments)
    X, notes = _numbers(known.plan, table, arguments.model)
    outputs = Predictor(known.net, "compiled", "float64", 1)(Samples(known.feature_scale.scaled(X)))
    columns = {f"predicted_{name}": _harmless(found, notes) for name, found in known.answers(outputs).items()}
    if arguments.probabilities:
        shares = known.probabilities(outputs, arguments.model)
        columns |= _shares(list(known.classes or known.labels), shares, notes)
    return _print(table, columns, notes)


def _of_program(arguments: argparse.Namespace) -> int:
    """The same for a trained model written by mg.save, with columns by name, or by position if it has no names."""
    model = load(arguments.model)
    signature = model._signature
    if signature is None:
        raise ValueError(
            f"{arguments.model} does not describe its inputs and outputs: mg.save writes this for a Trainer, or for a "
            "model that a Trainer has trained"
        )
    if len(signature.shape) != 1:
        raise ValueError(f"{arguments.model} takes samples of shape {signature.shape}, and a table has rows of numbers")
    table, width = _read(arguments), signature.shape[0]
    plan = signature.plan or facts.numbers_alone(signature.columns or tuple(table))
    if signature.columns is None and len(table.columns) != width:
        raise ValueError(
            f"{arguments.model} does not name its inputs, and takes {width} numbers a row, ordered as in training; "
            f"{table.name} has {len(table.columns)} columns"
        )
    X, notes = _numbers(plan, table, arguments.model)
    trainer = Trainer(model)
    answers = trainer.predict(X)
    name = "predicted" if signature.target is None else f"predicted_{signature.target}"
    names = [name] if answers.ndim == 1 else [f"{name}_{k + 1}" for k in range(answers.shape[1])]
    listed = answers.reshape(len(table), -1).T.tolist()
    columns = {name: [_cell(x) for x in column] for name, column in zip(names, listed, strict=True)}
    columns = {name: _harmless(column, notes) for name, column in columns.items()}
    if arguments.probabilities:
        labels = [str(label) for label in trainer.classes or range(1, answers.reshape(len(table), -1).shape[1] + 1)]
        columns |= _shares(labels, trainer.probabilities(X), notes)
    return _print(table, columns, notes)


def _read(arguments: argparse.Namespace) -> tables.Table:
    table = data.read(arguments.table, arguments)
    if not len(table):
        raise ValueError(f"{table.name} has no rows below the header: there is nothing to predict")
    return table


def _numbers(plan: tables.Plan, table: tables.Table, model: str) -> tuple[Any, list[str]]:
    absent = [name for name in plan.needed if name not in table.columns]
    if absent:
        raise ValueError(
            f"{table.name} lacks {tables.listed(absent)}, from which {model} predicts; it has "
            f"{tables.listed(list(table))}"
        )
    return plan.numbers(table)


def _shares(labels: list[str], shares: Any, notes: list[str]) -> dict[str, list[str]]:
    """The columns of probabilities."""
    names = _harmless([f"probability_{label}" for label in labels], notes)
    return {name: [repr(x) for x in share.tolist()] for name, share in zip(names, shares.T, strict=True)}


def _print(table: tables.Table, columns: dict[str, list[str]], notes: list[str]) -> int:
    for column in columns:
        if column in table.columns:
            raise ValueError(f"{table.name} has a column {column!r} already: rename it")
    for note in (*table.notes, *notes, *_copied_formulas(table)):
        print(f"macrograd: note: {printable(note)}", file=sys.stderr)
    sys.stdout.write(_written(table, columns))
    return 0


def _harmless(labels: list[str], notes: list[str]) -> list[str]:
    """Labels that no spreadsheet takes for a formula: those that would be get a ' in front. Numbers are unchanged."""
    found = [f"'{label}" if label.startswith(_FORMULA) and not _is_number(label) else label for label in labels]
    changed = sorted({label for label, new in zip(labels, found, strict=True) if new != label})
    if changed:
        notes.append(
            f"{tables.listed(changed, 3)}: a spreadsheet would run what begins like that, so it is written with a ' in "
            "front"
        )
    return found


def _copied_formulas(table: tables.Table) -> list[str]:
    """A note on the columns of the table itself that a spreadsheet would run cells of."""
    columns = {name: [x for x in c.tolist() if isinstance(x, str)] for name, c in table.columns.items()}
    found = [name for name, cells in columns.items() if any(map(_RUN.match, cells))]
    return [f"{tables.listed(found, 3)}: cells that a spreadsheet would run are copied as they came"] if found else []


def _is_number(label: str) -> bool:
    try:
        return bool(np.isfinite(float(label)))
    except ValueError:
        return False


def _written(table: tables.Table, more: dict[str, list[str]]) -> str:
    """The table as CSV, followed by the columns of `more`."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*table, *more])
    cells: Sequence[Any] = [
        [_cell(x) + "+00:00" * (in_utc(column) and x is not None) for x in column.tolist()]
        for column in table.columns.values()
    ]
    writer.writerows(zip(*cells, *more.values(), strict=True))
    return text.getvalue()


def _cell(value: Any) -> str:
    """A cell as text: empty if missing; numbers read back bit for bit."""
    if value is None or value != value:
        return ""
    return value if isinstance(value, str) else repr(value) if isinstance(value, float) else str(value)
