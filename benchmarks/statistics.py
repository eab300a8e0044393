"""Medians, spreads, differences: the arithmetic of the report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np


def summary(rounds: Sequence[float]) -> dict[str, float]:
    """Median, quartiles and extremes of the rounds' times. Raises ValueError for no rounds."""
    if not rounds:
        raise ValueError("a summary needs at least one round")
    low, median, high = np.quantile(np.asarray(rounds, dtype=float), [0.25, 0.5, 0.75])
    return {
        "median": float(median),
        "q1": float(low),
        "q3": float(high),
        "min": float(min(rounds)),
        "max": float(max(rounds)),
        "rounds": len(rounds),
    }


def parts(answer: Any) -> dict[str, np.ndarray]:
    """An answer as a dict of float64 arrays."""
    named = answer if isinstance(answer, Mapping) else {"answer": answer}
    return {name: np.asarray(numbers, dtype=np.float64) for name, numbers in named.items()}


def difference(answer: Any, reference: Any) -> tuple[float, str]:
    """The largest difference of any part, relative to the largest number of that part, and the part's name.

    Parts that only the reference has are not required: a contender may leave them out. A missing, wrongly shaped or
    non-finite answer is infinitely different.
    """
    got, wanted = parts(answer), parts(reference)
    worst, where = 0.0, ""
    if not set(got) & set(wanted):
        return float("inf"), "nothing to compare"
    for name, right in wanted.items():
        if name not in got:
            continue
        numbers = got[name]
        if numbers.shape != right.shape:
            return float("inf"), f"{name}: shape {numbers.shape} instead of {right.shape}"
        if not right.size:
            continue
        scale = float(np.max(np.abs(right))) or 1.0
        gap = float(np.max(np.abs(numbers - right))) / scale
        if not gap <= worst:
            worst, where = (gap, name) if gap == gap else (float("inf"), f"{name}: not finite")
    return worst, where


def regression(new: Mapping[str, Any], old: Mapping[str, Any], scale: float, slack: float) -> float | None:
    """The factor by which `new` is slower than `old` beyond the spread of both; None if it is not.

    `scale` is the machine's own change (the floor's new time over its old one). The quartiles must be apart by more
    than the factor 1 + slack.
    """
    if new["q1"] > old["q3"] * scale * (1.0 + slack):
        return float(new["median"] / (old["median"] * scale))
    return None
