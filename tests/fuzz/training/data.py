"""The data of a run as the loss sees them, plainly computed: weights, scales, targets, and what is held out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import nets
from .cases import Case

Array = NDArray[Any]
DEFAULTS = {"numbers": "squared_error", "two": "binary_cross_entropy", "two outputs": "cross_entropy",
            "classes": "cross_entropy", "labels": "binary_cross_entropy"}  # fmt: skip


@dataclass
class Table:
    """X, t, w     the samples of training, their targets as the loss takes them, and weights, if any
    Xv, tv, wv     those of validation, if any
    loss           by name
    middle, unit   of each column that a loss of the model itself sees scaled; `scaled` says of what X is scaled by
    """

    X: Array
    t: Array
    w: Array | None
    loss: str
    middle: Array
    unit: Array
    target_middle: Array
    target_unit: Array
    Xv: Any = None
    tv: Any = None
    wv: Any = None


def table(case: Case, fit: dict[str, Any], before: Table | None) -> Table:
    """The data of a fit; scales are those of the fit `before`, if there was one."""
    dtype = case.trainer.get("dtype", "float64")
    X = case.X.astype(dtype).astype(float)
    loss = case.loss or DEFAULTS[case.task]
    t = _encoded(case, case.y, loss)
    own = fit.get("sample_weight")
    w = own
    if (given := fit.get("class_weight")) is not None:
        each = _class_weights(given, case.y, own)
        w = each if own is None else own * each
    if before is not None:
        scale, targets = (before.middle, before.unit), (before.target_middle, before.target_unit)
    else:
        how = case.trainer.get("scale")
        scale = _scale(X, own, how) if how else (np.zeros(X.shape[1]), np.ones(X.shape[1]))
        wanted = case.trainer.get("scale_target") and loss not in nets.OWN
        columns = t.reshape(len(t), -1)
        one = (np.zeros(columns.shape[1]), np.ones(columns.shape[1]))
        targets = _scale(columns.astype(float), own, "standard") if wanted else one
    apart = loss != "whole"
    found = Table(
        _scaled(X, scale).astype(dtype).astype(float) if apart else X, _scaled(t, targets), w, loss, *scale, *targets
    )
    _hold_out(case, fit, found, scale if apart else None, targets, dtype)
    return found


def _hold_out(case: Case, fit: dict[str, Any], found: Table, scale: Any, targets: Any, dtype: str) -> None:
    validation = fit.get("validation")
    if isinstance(validation, float):
        n = len(found.X)
        held = round(n * validation)
        order = np.random.RandomState(fit["seed"]).permutation(n)
        here, there = np.sort(order[held:]), np.sort(order[:held])
        found.Xv, found.tv = found.X[there], found.t[there]
        found.X, found.t = found.X[here], found.t[here]
        found.w = None if found.w is None else found.w[here]
    elif validation is not None:
        Xv, yv, *weights = validation
        Xv = Xv.astype(dtype).astype(float)
        found.Xv = Xv if scale is None else _scaled(Xv, scale).astype(dtype).astype(float)
        found.tv = _scaled(_encoded(case, yv, found.loss), targets)
        found.wv = weights[0] / weights[0].mean() if weights else None


def _encoded(case: Case, y: Array, loss: str) -> Array:
    if case.task not in ("two", "two outputs", "classes"):
        return y.astype(float)
    labels = sorted(set(case.y.tolist()))
    index = np.array([labels.index(label) for label in y.tolist()], dtype=float)
    return 2.0 * index - 1.0 if loss == "hinge" else index


def _class_weights(given: Any, y: Array, own: Array | None) -> Array:
    if given != "balanced":
        return np.array([given.get(label, 1.0) for label in y.tolist()])
    w = np.ones(len(y)) if own is None else own
    labels = sorted(set(y.tolist()))
    mass = {label: float(w[y == label].sum()) for label in labels}
    total = sum(mass.values())
    return np.array([total / (len(labels) * mass[label]) if mass[label] else 0.0 for label in y.tolist()])


def _scale(columns: Array, weights: Array | None, how: str) -> tuple[Array, Array]:
    """(middle, unit) of each column."""
    w = np.ones(len(columns)) if weights is None else weights
    middle = (columns * w[:, None]).sum(axis=0) / w.sum()
    unit = np.sqrt((((columns - middle) ** 2) * w[:, None]).sum(axis=0) / w.sum())
    unit = np.where(unit > 1e-12 * np.maximum(1.0, np.abs(middle)), unit, 1.0)
    if how == "robust":
        for k, column in enumerate(columns.T):
            low, half, high = _quantiles(column, weights)
            if high > low:
                middle[k], unit[k] = half, (high - low) / 1.3489795003921634
    return middle, unit


def _quantiles(column: Array, weights: Array | None) -> list[float]:
    if weights is None:
        return [float(np.quantile(column, q)) for q in (0.25, 0.5, 0.75)]
    order = np.argsort(column, kind="stable")
    share = np.cumsum(weights[order]) / weights.sum()
    return [float(column[order][np.searchsorted(share, q - 1e-12)]) for q in (0.25, 0.5, 0.75)]


def _scaled(rows: Array, scale: tuple[Array, Array]) -> Array:
    middle, unit = scale
    return np.asarray(((rows.reshape(len(rows), -1) - middle) / unit).reshape(rows.shape))
