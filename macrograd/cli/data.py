"""The data that a command line names: a synthetic data set, or a table."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from macrograd import datasets, tables
from macrograd._dataclass import dataclass
from macrograd.cli.options import DATASETS
from macrograd.train.samples.scaling import Scale

Array = NDArray[Any]

# The share of a table's rows that is held out unless --validation is given; with fewer rows than this, none are.
HELD, LEAST_ROWS = 0.2, 10
TABLE_OPTIONS = (
    "target", "task", "features", "drop", "kind", "query", "delimiter", "no-header", "missing", "scale", "validation",
)  # fmt: skip
NUMBER_LOSSES = ("squared_error", "absolute_error", "huber")


_AS_IT_IS = Scale()


@dataclass(frozen=True)
class Data:
    """Samples ready for a net.

    X, y           the training data: X of shape (n, features), y of shape (n,), class indices or scaled numbers, or
                   (n, k) of 0 and 1 for several yes-or-no labels
    held           the same for held-out samples; None if there are none
    classes        the names of the classes; None for a number target
    features       the names of the columns of X, and `target` that of y
    feature_scale  the scale of X, and `target_scale` that of a number target
    table          the source of X, and `plan` its encoding; None for synthetic data
    """

    name: str
    X: NDArray[np.float64]
    y: Array
    classes: tuple[str, ...] | None
    features: tuple[str, ...]
    target: str = "class"
    feature_scale: Scale = _AS_IT_IS
    target_scale: Scale = _AS_IT_IS
    held: tuple[NDArray[np.float64], Array] | None = None
    table: tables.Table | None = None
    plan: tables.Plan | None = None
    learned: tables.Target | None = None

    @property
    def labels(self) -> tuple[str, ...]:
        """The names of several yes-or-no targets; () for a single target."""
        return () if self.learned is None else self.learned.labels

    def scaled(self, how: str = "standard") -> Data:
        """The same with features and a number target scaled to mean 0 and deviation 1 ("standard"), or by median and
        interquartile range ("robust"); "none" scales only the target."""
        features = {"standard": Scale.of, "robust": Scale.robust}[how](self.X) if how != "none" else _AS_IT_IS
        number = self.classes is None and not self.labels
        target = Scale.of(self.y) if number else _AS_IT_IS
        y, held = target.scaled(self.y) if number else self.y, self.held
        if held is not None:
            held = features.scaled(held[0]), target.scaled(held[1]) if number else held[1]
        return replace(self, X=features.scaled(self.X), y=y, held=held, feature_scale=features, target_scale=target)

    def __str__(self) -> str:
        samples, features = self.X.shape
        held = 0 if self.held is None or self.table is None else len(self.held[0])
        target = f"{len(self.classes)} classes" if self.classes is not None else f"a number, {self.target}"
        target = f"{len(self.labels)} labels, {self.target}" if self.labels else target
        scaled = ["features"] if self.feature_scale is not _AS_IT_IS else []
        if self.target_scale is not _AS_IT_IS:
            scaled.append("target")
        note = f" ({' and '.join(scaled)} scaled to mean 0 and deviation 1)" if scaled else ""
        apart = f", {held} of them held out" if held else ""
        many = "s" if features > 1 else ""
        return f"{self.name}: {samples + held} samples{apart}, {features} feature{many}, {target}{note}"


def load(arguments: argparse.Namespace) -> Data:
    """The data of a command line. Raises ValueError for a name that is neither a data set nor a file and for options
    that do not fit, OSError for a file that cannot be read, and as `tables` does."""
    if arguments.data in DATASETS:
        for option in TABLE_OPTIONS:
            if getattr(arguments, option.replace("-", "_"), None):
                raise ValueError(f"--{option} is for tables: {arguments.data} is made, and has its classes already")
        return _made(arguments)
    for option in ("samples", "noise", "classes"):
        if getattr(arguments, option) is not None:
            raise ValueError(f"--{option} is for the data sets {', '.join(DATASETS)}, not for {arguments.data}")
    if arguments.data.endswith(".safetensors"):
        raise ValueError(
            f"{arguments.data} is a saved net, not a table: `macrograd inspect` describes it, and `macrograd predict` "
            "uses it"
        )
    if not tables.is_address(arguments.data) and not Path(arguments.data).exists():
        import difflib  # needed only for misspellings, and slow to load

        close = difflib.get_close_matches(arguments.data, DATASETS, n=1)
        hint = f"did you mean {close[0]}?" if close else "give the path of a table"
        raise ValueError(f"{arguments.data!r} is neither a data set ({', '.join(DATASETS)}) nor a file: {hint}")
    table = read(arguments.data, arguments)
    if arguments.target is None:
        raise ValueError(
            f"{table.name}: name the column to learn, with --target COLUMN; it has {tables.listed(list(table))}"
        )
    return _of_table(table, arguments)


def read(path: str, arguments: argparse.Namespace) -> tables.Table:
    """The table of a command line."""
    return tables.read(
        path, query=arguments.query, delimiter=arguments.delimiter, header=False if arguments.no_header else None
    )


def _of_table(table: tables.Table, arguments: argparse.Namespace) -> Data:
    task = arguments.task
    if arguments.loss is not None:
        says = "regression" if arguments.loss in NUMBER_LOSSES else "classification"
        if task is not None and task != says:
            raise ValueError(f"--loss {arguments.loss} is for {says}: it does not go with --task {task}")
        task = says
    names = _several(table, arguments.target)
    if names and task == "regression":
        what = "--task regression" if arguments.loss is None else f"--loss {arguments.loss}"
        raise ValueError(f"{what} learns one number: it does not go with {len(names)} targets")
    kinds = dict(arguments.kind)
    own = None if names else kinds.pop(arguments.target, None)
    target = (
        tables.labels_of(table, names, markers=arguments.missing)
        if names
        else tables.target_of(table, arguments.target, task=task, markers=arguments.missing, kind=own)
    )
    fraction = HELD if getattr(arguments, "validation", None) is None else arguments.validation
    trained, held = _split(target, fraction, arguments.seed)
    plan = tables.plan_of(
        table, names or target.name, rows=target.rows[trained], only=arguments.features, drop=arguments.drop,
        kind=kinds, markers=arguments.missing,
    )  # fmt: skip
    X, _ = plan.numbers(table.rows(target.rows))
    target = replace(target, notes=(*target.notes, *tables.telling_notes(plan, X, target)))
    data = Data(
        table.name, X[trained], target.y[trained], target.classes, plan.names, target.name,
        held=(X[held], target.y[held]) if len(held) else None, table=table, plan=plan, learned=target,
    )  # fmt: skip
    return data.scaled(getattr(arguments, "scale", None) or "standard")


def _several(table: tables.Table, named: str) -> tuple[str, ...]:
    """The columns that "a,b,c" names, if there is none of this whole name; () for a single column."""
    parts = tuple(part.strip() for part in named.split(","))
    return (
        parts if named not in table.columns and len(parts) > 1 and any(part in table.columns for part in parts) else ()
    )


def _split(target: tables.Target, fraction: float, seed: int) -> tuple[Array, Array]:
    """(training rows, held-out rows), sorted; the same share of each class, and at least one training row."""
    n = len(target.y)
    order = np.random.RandomState(seed).permutation(n)
    if not fraction or n < LEAST_ROWS:
        return np.arange(n), np.arange(0)
    classes = range(0 if target.classes is None else len(target.classes))
    groups = [order[target.y[order] == k] for k in classes] or [order]
    held = [group[: min(len(group) - 1, round(fraction * len(group)))] for group in groups]
    found = np.sort(np.concatenate(held))
    return np.setdiff1d(np.arange(n), found), found


def _made(arguments: argparse.Namespace) -> Data:
    n = 100 if arguments.samples is None else arguments.samples
    noise = 0.1 if arguments.noise is None else arguments.noise
    if arguments.classes is not None and arguments.data not in ("blobs", "spirals"):
        raise ValueError(f"--classes is for blobs and spirals: {arguments.data} has two classes")
    X, y, more = _samples(arguments, n, noise)
    found = len(np.unique(y))
    wanted = arguments.classes or (3 if arguments.data == "blobs" else 2)
    if found < wanted:
        raise ValueError(f"{n} samples of {arguments.data} hold only {found} of {wanted} classes: raise --samples")
    data = Data(arguments.data, X, y, tuple(str(k) for k in range(found)), ("x1", "x2"), held=more)
    # Blobs are anywhere in a square of side 20; the others are of magnitude 1, which suits nets.
    return data.scaled() if arguments.data == "blobs" else data


def _samples(arguments: argparse.Namespace, n: int, noise: float) -> tuple[Array, Array, tuple[Array, Array]]:
    """(X, y, as many new samples of the same kind for evaluation)."""
    make: dict[str, Callable[[int, int], datasets.synthetic.Samples]] = {
        "moons": lambda n, seed: datasets.make_moons(n, noise=noise, seed=seed),
        "circles": lambda n, seed: datasets.make_circles(n, noise=noise, factor=0.5, seed=seed),
        "spirals": lambda n, seed: datasets.make_spirals(n, arms=arguments.classes or 2, noise=noise, seed=seed),
        "xor": lambda n, seed: datasets.make_xor(n, noise=arguments.noise, seed=seed),
    }
    if arguments.data != "blobs":
        # The largest seed has no successor.
        return *make[arguments.data](n, arguments.seed), make[arguments.data](n, (arguments.seed + 1) % 2**32)
    # The centres of blobs are drawn with them: new samples are drawn around the same centres.
    k, deviation = arguments.classes or 3, 1.0 if arguments.noise is None else noise
    X, y = datasets.make_blobs(n, centers=k, cluster_std=deviation, seed=arguments.seed)
    middles = np.array([X[y == c].mean(axis=0) for c in np.unique(y)])
    random = np.random.RandomState((arguments.seed + 1) % 2**32)
    labels = np.unique(y)[random.randint(len(middles), size=n)]
    index = np.searchsorted(np.unique(y), labels)
    return X, y, (middles[index] + deviation * random.normal(size=(n, 2)), labels)
