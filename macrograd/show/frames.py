"""What `live` draws, frame by frame: the numbers of a run while it trains, for `live.js`."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from macrograd.nn import inside
from macrograd.show._figure import LARGEST

_POINTS = 300  # of a curve
_SAMPLES, SIDE = 400, 48  # drawn, and points of the field in each direction
_MARGIN = 0.12


class Frames:
    """The frames of the runs of a Trainer, as plain numbers.

    points  the samples that are drawn, [x, y, class]; none if samples are not points in the plane
    box     the part of the plane, [left, right, bottom, top]
    """

    def __init__(self) -> None:
        self.points: list[list[float]] = []
        self.box: list[float] = []

    def begin(self, run: Any) -> None:
        """Look at the samples of a new run."""
        X, y = run.examples(_SAMPLES)
        self.points, self.box = [], []
        if X.ndim == 2 and X.shape[1] == 2:
            low, high = X.min(axis=0), X.max(axis=0)
            margin = np.where(high > low, (high - low) * _MARGIN, 1.0)
            self.box = [float(v) for k in (0, 1) for v in ((low - margin)[k], (high + margin)[k])]
            self.points = [[float(a), float(b), k] for (a, b), k in zip(X, _classes(y), strict=True)]

    def frame(self, run: Any) -> dict[str, Any]:
        """The numbers of one picture, except the field."""
        history = run.history
        losses = history.first_losses(len(history))
        held = history.metrics.get("validation_loss", [])
        return {
            "step": len(history),
            "steps": run.steps,
            "losses": curve(np.arange(1.0, len(losses) + 1.0), losses),
            "held": curve(np.array(history.metric_steps[: len(held)], dtype=float), np.array(held)),
            "layers": _norms(run),
        }

    def field(self, run: Any) -> tuple[str, bytes]:
        """(kind, a byte for each point of the field, row by row from the bottom): "score" from 0 to 255 with 127.5 at
        the boundary, or "class" with the number of the class; ("", b"") without a field."""
        if not self.box:
            return "", b""
        left, right, bottom, top = self.box
        across, up = np.meshgrid(np.linspace(left, right, SIDE), np.linspace(bottom, top, SIDE))
        scores = np.asarray(run.trainer.outputs(np.stack([across.ravel(), up.ravel()], axis=1)), dtype=np.float64)
        if not (np.abs(scores) < LARGEST).all():
            return "", b""
        if scores.ndim == 2 and scores.shape[1] > 1:
            return "class", scores.argmax(axis=1).astype(np.uint8).tobytes()
        score = scores.ravel()
        reach = float(np.quantile(np.abs(score), 0.95)) or 1.0
        return "score", np.rint(127.5 + 127.5 * np.clip(score / reach, -1.0, 1.0)).astype(np.uint8).tobytes()


def curve(steps: NDArray[Any], values: NDArray[Any]) -> list[list[float]]:
    """At most 300 points [step, value] of a curve: means of equal parts. Values that are not finite are left out."""
    known = np.isfinite(values)
    steps, values = steps[known], values[known]
    if len(values) <= _POINTS:
        points: list[list[float]] = np.stack([steps, values], axis=1).tolist()
        return points
    parts = np.array_split(np.stack([steps, values], axis=1), _POINTS)
    return [part.mean(axis=0).tolist() for part in parts]


def _classes(y: NDArray[Any]) -> list[int]:
    """A small number for each target: the number of its class, or for numbers whether it is above the median."""
    flat = y if y.ndim == 1 else y.reshape(len(y), -1).argmax(axis=1)
    if flat.dtype.kind == "f":
        return [int(v) for v in flat > np.median(flat)]
    known = sorted(set(flat.tolist()))
    return [known.index(v) for v in flat.tolist()]


def _norms(run: Any) -> list[list[Any]]:
    """[layer, norm of its gradient in the latest step]."""
    place = {id(p): k for k, p in enumerate(run.parameters)}
    gradient = run.gradient
    found = []
    for name, members in inside.layers(run.model).items():
        at = [place[id(p)] for p in members if id(p) in place]
        norm = float(np.linalg.norm(gradient[at]))
        if at and np.isfinite(norm):
            found.append([name, norm])
    return found
