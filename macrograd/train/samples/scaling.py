"""Scales for columns: how they are measured, and the warning if they are missing."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from macrograd._dataclass import dataclass
from macrograd.train.samples.data import Samples

SCALES = ("standard", "robust")
# Unscaled columns whose deviations differ by more than this train badly: the large ones drown out the others.
_FAR_APART = 100.0
_SAMPLE = 100_000  # rows of a file that are examined


@dataclass(frozen=True)
class Scale:
    """One scale per column: a net sees (raw − middle) / unit."""

    middle: Any = 0.0
    unit: Any = 1.0

    @classmethod
    def of(cls, columns: NDArray[np.float64], weights: NDArray[np.float64] | None = None) -> Scale:
        """The scale that gives each column mean 0 and deviation 1; a constant column becomes 0.

        weights  of the rows, if not all equal
        """
        # Divided by the largest first: the square of a number near the largest float overflows.
        size = np.abs(columns).max(axis=0)
        size = np.where(size > 0, size, 1.0)
        if weights is None:
            middle, deviation = (columns / size).mean(axis=0), (columns / size).std(axis=0)
        else:
            middle = np.average(columns / size, axis=0, weights=weights)
            deviation = np.sqrt(np.average((columns / size - middle) ** 2, axis=0, weights=weights))
        return cls(middle * size, np.where(deviation > 0, deviation, 1.0) * size)

    @classmethod
    def robust(cls, columns: NDArray[np.float64], weights: NDArray[np.float64] | None = None) -> Scale:
        """The scale by median and interquartile range of each column, which a few outliers do not move; a column whose
        interquartile range is 0 is scaled as by `of`."""
        parts = (0.25, 0.5, 0.75)
        if weights is None:
            low, middle, high = np.quantile(columns, parts, axis=0)
        else:
            low, middle, high = np.quantile(columns, parts, axis=0, weights=weights, method="inverted_cdf")
        plain = cls.of(columns, weights)
        # The interquartile range of a normal distribution is 1.349 deviations.
        wide = (high - low) / 1.3489795003921634
        good = wide > 0
        return cls(np.where(good, middle, plain.middle), np.where(good, wide, plain.unit))

    def scaled(self, raw: Any) -> Any:
        return (raw - self.middle) / self.unit

    def raw(self, scaled: Any) -> Any:
        return scaled * self.unit + self.middle


def found(how: str, samples: Samples, weights: NDArray[np.float64] | None = None) -> Scale:
    """The scale of samples that are rows of numbers, "standard" or "robust". Raises ValueError for other samples."""
    if len(samples.shape) != 1:
        raise ValueError(f"scale={how!r} needs samples that are rows of numbers, but these have shape {samples.shape}")
    rows = _some(samples)
    if weights is not None:
        weights = weights[:: _step(samples)]
    return Scale.of(rows, weights) if how == "standard" else Scale.robust(rows, weights)


def warning(samples: Samples) -> str:
    """The warning if columns differ in scale by more than 100; "" if they do not."""
    if len(samples.shape) != 1 or samples.shape[0] < 2 or samples.count < 2:
        return ""
    deviations = np.asarray(Scale.of(_some(samples)).unit)
    varying = np.flatnonzero(np.ptp(_some(samples), axis=0) > 0)
    if len(varying) < 2:
        return ""
    least, most = (int(varying[pick(deviations[varying])]) for pick in (np.argmin, np.argmax))
    if deviations[most] <= _FAR_APART * deviations[least]:
        return ""
    return (
        f"the features differ in scale: column {most} has the deviation {deviations[most]:.3g}, column {least} "
        f"{deviations[least]:.3g}; nets learn better from columns of similar scale: use Trainer(..., scale='standard')"
    )


def _some(samples: Samples) -> NDArray[np.float64]:
    if not samples.streamed:
        return samples.array().astype(np.float64, copy=False)
    return samples.rows(np.arange(0, samples.count, _step(samples))).astype(np.float64)


def _step(samples: Samples) -> int:
    """Every how many rows are examined: of a file some represent all."""
    return max(1, samples.count // _SAMPLE) if samples.streamed else 1
