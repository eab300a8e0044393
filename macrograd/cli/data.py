"""The data that a command line names: made ones by name, or a CSV file."""

from __future__ import annotations

import argparse
import difflib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from macrograd import datasets
from macrograd.cli.options import DATASETS


@dataclass(frozen=True)
class Data:
    """Samples ready for a net: features and number targets of a table are scaled to mean 0 and deviation 1.

    classes   what to call the classes; None for a number target
    axes      what to call the features in a picture
    middle    of the target before it was scaled, and `unit` its deviation
    notes     what was done to the data, to tell the user
    """

    name: str
    X: NDArray[np.float64]
    y: NDArray[Any]
    classes: tuple[str, ...] | None
    features: tuple[str, ...]
    target: str = "class"
    middle: float = 0.0
    unit: float = 1.0
    note: str = ""


def load(chosen: argparse.Namespace) -> Data:
    """The data of a command line. Raises ValueError for a name that is neither data set nor file, OSError for a file
    that cannot be read, and what `datasets` raises."""
    if chosen.data in DATASETS:
        if chosen.target is not None:
            raise ValueError(f"--target is for CSV files: {chosen.data} has its classes already")
        return _made(chosen)
    for option in ("samples", "noise", "classes"):
        if getattr(chosen, option) is not None:
            raise ValueError(f"--{option} is for the data sets {', '.join(DATASETS)}, not for the file {chosen.data}")
    if not Path(chosen.data).exists():
        close = difflib.get_close_matches(chosen.data, DATASETS, n=1)
        hint = f"did you mean {close[0]}?" if close else "give the path of a CSV file"
        raise ValueError(f"{chosen.data!r} is no data set ({', '.join(DATASETS)}) and no file: {hint}")
    if chosen.target is None:
        raise ValueError(f"{chosen.data}: name the column to learn, with --target COLUMN")
    return _table(datasets.load_csv(chosen.data, chosen.target), Path(chosen.data).name)


def _made(chosen: argparse.Namespace) -> Data:
    n = 100 if chosen.samples is None else chosen.samples
    noise = 0.1 if chosen.noise is None else chosen.noise
    seed = chosen.seed
    if chosen.classes is not None and chosen.data not in ("blobs", "spirals"):
        raise ValueError(f"--classes is for blobs and spirals: {chosen.data} has two classes")
    make: dict[str, Callable[[], datasets.synthetic.Samples]] = {
        "moons": lambda: datasets.make_moons(n, noise=noise, seed=seed),
        "circles": lambda: datasets.make_circles(n, noise=noise, factor=0.5, seed=seed),
        "blobs": lambda: datasets.make_blobs(
            n, centers=chosen.classes or 3, cluster_std=1.0 if chosen.noise is None else noise, seed=seed
        ),
        "spirals": lambda: datasets.make_spirals(n, arms=chosen.classes or 2, noise=noise, seed=seed),
        "xor": lambda: datasets.make_xor(n, noise=chosen.noise, seed=seed),
    }
    X, y = make[chosen.data]()
    found = len(np.unique(y))
    wanted = chosen.classes or (3 if chosen.data == "blobs" else 2)
    if found < wanted:
        raise ValueError(f"{n} samples of {chosen.data} hold only {found} of {wanted} classes: raise --samples")
    return Data(chosen.data, X, y, tuple(str(k) for k in range(found)), ("x1", "x2"))


def _table(table: datasets.Table, name: str) -> Data:
    X, _, _ = _scaled(table.X)
    if table.classes is not None:
        note = "features scaled to mean 0 and deviation 1"
        return Data(name, X, table.y, table.classes, table.features, table.target, note=note)
    y, middle, unit = _scaled(table.y)
    note = "features and target scaled to mean 0 and deviation 1"
    return Data(name, X, y, None, table.features, table.target, float(middle), float(unit), note)


def _scaled(columns: NDArray[np.float64]) -> tuple[NDArray[np.float64], Any, Any]:
    """The columns with mean 0 and deviation 1, what was taken off, and what they were divided by."""
    # By the largest first: the square of a number near the largest float is an infinity.
    size = np.abs(columns).max(axis=0)
    size = np.where(size > 0, size, 1.0)
    small = columns / size
    middle, deviation = small.mean(axis=0), small.std(axis=0)
    # A column that is the same everywhere says nothing: it becomes 0.
    deviation = np.where(deviation > 0, deviation, 1.0)
    return (small - middle) / deviation, middle * size, deviation * size
