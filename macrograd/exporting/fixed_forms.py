"""Which form of 16-bit integers an operation has, and with which factors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from macrograd.exporting.fixed import MOST, Floats, Ints, Table
from macrograd.exporting.int8 import CannotQuantizeError

_MOST_ENTRIES = 2049  # of a table
_FINE, _COARSE = 2.0**-12, 2.0**-7  # errors of a table, relative to its range: one that ends the search, and the limit
_LINEAR = {"add": (1.0, 1.0), "sub": (1.0, -1.0), "neg": (-1.0, 0.0), "detach": (1.0, 0.0)}


def as_factor(real: float | Floats) -> tuple[Any, Any]:
    """Factors of 31 bits and shifts: real ≈ factor·2^−shift."""
    real = np.asarray(real, dtype=np.float64)
    _, e = np.frexp(real)
    shift = np.clip(31 - e.astype(np.int64), 1, 62)
    return np.clip(np.rint(np.ldexp(real, shift)), -(2**31 - 1), 2**31 - 1).astype(np.int64), shift


def common_factors(*reals: Any) -> tuple[Any, ...]:
    """Factors that share a shift, which comes last."""
    arrays = np.broadcast_arrays(*(np.asarray(r, dtype=np.float64) for r in reals))
    _, shift = as_factor(np.max(np.abs(arrays), axis=0))
    most = 2**31 - 1
    return *(np.clip(np.rint(np.ldexp(r, shift)), -most, most).astype(np.int64) for r in arrays), shift


def settings_of(
    name: str, scales: list[Floats], fixed: Sequence[Floats | None], out: Floats
) -> tuple[str, dict[str, Any]] | None:
    """The form of an operation and its settings; None if it becomes a table."""
    one = np.rint(1.0 / out)
    if name in _LINEAR:
        a, b = _LINEAR[name]
        f, g, s = common_factors(a * scales[0] / out, b * (scales[1] if len(scales) > 1 else 0 * out) / out)
        return "lin", {"f": f, "g": g, "s": s}
    if name in ("relu", "abs"):
        f, s = as_factor(scales[0] / out)
        return name, {"f": f, "s": s}
    if name == "sign":
        return name, {"k": one}
    if name == "mul":
        f, s = as_factor(scales[0] * scales[1] / out)
        return name, {"f": f, "s": s}
    if name == "div" and fixed[1] is None and fixed[0] is None:
        f, s = as_factor(scales[0] / (scales[1] * out))
        return name, {"f": f, "s": s}
    if name in ("maximum", "minimum"):
        f, g, s = common_factors(scales[0] / out, scales[1] / out)
        return name, {"f": f, "g": g, "s": s}
    if name in ("less", "less_equal"):
        f, g, _ = common_factors(*scales)
        return name, {"f": f, "g": g, "k": one}
    if name == "where":
        f, g, s = common_factors(scales[1] / out, scales[2] / out)
        return name, {"f": f, "g": g, "s": s}
    if name == "onehot":
        (f, g, s), (k, t) = common_factors(scales[0], -scales[1]), as_factor(scales[2] / out)
        return name, {"f": f, "g": g, "s": s, "k": k, "t": t}
    if name in ("floor", "ceil", "round"):
        (f, s), (g, t) = as_factor(scales[0]), as_factor(1.0 / out)
        return name, {"f": f, "s": s, "g": g, "t": t}
    return None


def table_of(
    curve: Callable[[Floats], Floats], scale: float, out: float, low: float, high: float
) -> tuple[Table | None, float]:
    """The table of a function on a range, with as few entries as it takes (None if it cannot follow the function), and
    its largest error relative to the largest integer. `scale` is that of the operand, `out` that of the results."""
    least, most = (int(np.rint(x / scale)) for x in (low, high))
    room = max(1, (most - least) // 8)
    ends: Floats = np.asarray([scale * (least - room), scale * (most + room)], dtype=np.float64)
    wider = curve(ends)
    if np.isfinite(wider).all() and np.abs(wider).max() <= out * MOST:
        least, most = least - room, most + room
    exact: Floats = np.clip(curve(np.arange(least, most + 1).astype(np.float64) * scale) / out, -MOST, MOST)
    changes = np.flatnonzero(np.diff(np.rint(exact))).tolist() or [0, most - least - 1]
    first, last = least + changes[0], least + changes[-1] + 1  # no entries where it is flat at an end, as tanh is
    error = np.inf
    best: Table | None = None
    for bits in range(14, -1, -1):
        count = max(1, -(-(last - first) >> bits)) + 1
        if count > _MOST_ENTRIES:
            break
        nodes: Floats = np.minimum(first + (np.arange(count) << bits), most).astype(np.float64) * scale
        # Beyond the range the last one goes on along the line through its neighbour.
        entries = curve(nodes) / out
        over = first + ((count - 1) << bits) - most
        if over > 0 and count > 1:
            step = (1 << bits) - over
            entries[-1] = entries[-2] + (entries[-1] - entries[-2]) * (1 << bits) / max(1, step)
        whole: Ints = np.clip(np.rint(np.nan_to_num(entries)), -MOST, MOST).astype(np.int64)
        table = Table(first, first + ((count - 1) << bits), bits, whole)
        off = float(np.abs(table.at(np.arange(least, most + 1)) - exact).max())
        if off < error:
            error, best = off, table
        if off <= _FINE * MOST:
            break
    return (best if error <= _COARSE * MOST else None), error / MOST


def table_number(
    tables: list[Table], name: str, curve: Callable[[Floats], Floats], scale: float, out: float, low: float, high: float
) -> int:
    """The number of the table of a function on a range, which is added to the tables unless it is there. Raises
    CannotQuantizeError for one that a table cannot follow."""
    best, error = table_of(curve, scale, out, low, high)
    if best is None:
        raise CannotQuantizeError(
            f"export(dtype='int8') cannot quantise {name}: between {low:.6g} and {high:.6g} it changes too fast "
            f"for a table, which would be off by {error:.1%} of the largest result; keep its operand away from "
            "there, or use dtype='float32'",
            name,
        )
    for k, other in enumerate(tables):
        same = (other.low, other.high, other.bits) == (best.low, best.high, best.bits)
        if same and (other.entries == best.entries).all():
            return k
    tables.append(best)
    return len(tables) - 1
