"""The data that a command line names: made ones by name, or a CSV file."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from macrograd import datasets
from macrograd.cli.options import DATASETS


@dataclass(frozen=True)
class Scale:
    """One scale a column: what a net sees is (raw − middle) / unit."""

    middle: Any = 0.0
    unit: Any = 1.0

    @classmethod
    def of(cls, columns: NDArray[np.float64]) -> Scale:
        """The scale that gives each column mean 0 and deviation 1; a column that is the same everywhere becomes 0."""
        # By the largest first: the square of a number near the largest float is an infinity.
        size = np.abs(columns).max(axis=0)
        size = np.where(size > 0, size, 1.0)
        deviation = (columns / size).std(axis=0)
        return cls((columns / size).mean(axis=0) * size, np.where(deviation > 0, deviation, 1.0) * size)

    def scaled(self, raw: Any) -> Any:
        return (raw - self.middle) / self.unit

    def raw(self, scaled: Any) -> Any:
        return scaled * self.unit + self.middle


_AS_IT_IS = Scale()


@dataclass(frozen=True)
class Data:
    """Samples ready for a net.

    X, y           what the net sees: X of shape (n, features), y of shape (n,), class indices or scaled numbers
    classes        what to call the classes; None for a number target
    features       what to call the columns of X, and `target` what to call y
    feature_scale  the scale that X is on, and `target_scale` that of a number target
    """

    name: str
    X: NDArray[np.float64]
    y: NDArray[Any]
    classes: tuple[str, ...] | None
    features: tuple[str, ...]
    target: str = "class"
    feature_scale: Scale = _AS_IT_IS
    target_scale: Scale = _AS_IT_IS

    def scaled(self) -> Data:
        """The same with features, and a target that is a number, of mean 0 and deviation 1."""
        features = Scale.of(self.X)
        data = replace(self, X=features.scaled(self.X), feature_scale=features)
        if self.classes is not None:
            return data
        target = Scale.of(self.y)
        return replace(data, y=target.scaled(self.y), target_scale=target)

    def __str__(self) -> str:
        samples, features = self.X.shape
        target = f"{len(self.classes)} classes" if self.classes is not None else f"a number, {self.target}"
        scaled = ["features"] if self.feature_scale is not _AS_IT_IS else []
        if self.target_scale is not _AS_IT_IS:
            scaled.append("target")
        note = f" ({' and '.join(scaled)} scaled to mean 0 and deviation 1)" if scaled else ""
        return f"{self.name}: {samples} samples, {features} feature{'s' if features > 1 else ''}, {target}{note}"


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
        import difflib  # only a misspelling needs it, and it takes long to load

        close = difflib.get_close_matches(chosen.data, DATASETS, n=1)
        hint = f"did you mean {close[0]}?" if close else "give the path of a CSV file"
        raise ValueError(f"{chosen.data!r} is no data set ({', '.join(DATASETS)}) and no file: {hint}")
    if chosen.target is None:
        raise ValueError(f"{chosen.data}: name the column to learn, with --target COLUMN")
    table = datasets.load_csv(chosen.data, chosen.target)
    return Data(Path(chosen.data).name, table.X, table.y, table.classes, table.features, table.target).scaled()


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
    data = Data(chosen.data, X, y, tuple(str(k) for k in range(found)), ("x1", "x2"))
    # Blobs lie anywhere in a square of side 20; the others have the size of 1, which nets like.
    return data.scaled() if chosen.data == "blobs" else data
