"""One way of one program against the reference."""

from __future__ import annotations

import traceback
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import noise, reference, ways
from .generate import EXACT, Case
from .reference import Answer
from .ways import Way

Array = NDArray[Any]
# Relative to 1 or the number itself, if larger: a range this wide decides nothing.
WIDE = {"float64": 2.0**-12, "float32": 2.0**-6}


@dataclass
class Verdict:
    """failure      what is wrong, "" if nothing is
    compared     numbers
    undecidable  of those, the number that the noise moves too far to judge
    exact        of those, the number compared bit by bit"""

    failure: str = ""
    compared: int = 0
    undecidable: int = 0
    exact: int = 0


def check(case: Case, way: Way) -> Verdict:
    outcome = Verdict()
    rows = list(way.rows)
    if way.dtype == "float32":
        case = Case(case.program, case.data.rounded())
    try:
        answers = _expected(case, way)
    except Exception as error:  # noqa: BLE001 - whatever it is, the eager engine should not raise it
        outcome.failure = f"the reference raises {_said(error)}"
        return outcome
    try:
        found = ways.run(case.program, case.data, way)
    except Exception as error:  # noqa: BLE001 - a program that runs eagerly must run compiled
        outcome.failure = f"raises {_said(error)}"
        return outcome
    bits = _same_bits(case, way)
    for answer, numbers, what in zip(answers, found, ("value", "gradient"), strict=False):
        expected = answer.rows(np.array(rows)) if way.what in ("values", "inputs") else answer
        name = {"inputs": "gradient by x", "training": "parameters"}.get(way.what, what)
        if expected.trusts and numbers.shape == expected.eager.shape:
            # What was not taken passes nothing on eagerly, and a NaN on a tape: nothing can be said of that.
            eager = expected.eager
            silent = (~np.isfinite(numbers) & np.isfinite(eager)) | (np.isnan(numbers) & ~np.isnan(eager))
            outcome.undecidable += int(silent.sum())
            numbers = np.where(silent, expected.eager, numbers)
        compare(expected, numbers, way, outcome, bits, name)
    return outcome


def _expected(case: Case, way: Way) -> tuple[Answer, ...]:
    program, data, rows = case.program, case.data, list(way.rows)
    with noise.summing(signs=way.strict or way.backend == "llvm"):
        if way.what == "values":
            return (reference.values(program, data, way.dtype),)
        if way.what == "inputs":
            return (reference.by_inputs(program, data, way.dtype),)
        if way.what == "second":
            return reference.second(program, data, way.dtype, rows)
        if way.what == "training":
            train = partial(ways.trained, program, way=way, engine="eager")
            return (reference.training(program, data, train, way.dtype, rows),)
        return reference.gradient(program, data, way.dtype, rows)


def _said(error: Exception) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    return f"{type(error).__name__}: {error} ({frames[-1].filename.rsplit('/', 1)[-1]}:{frames[-1].lineno})"


def _same_bits(case: Case, way: Way) -> bool:
    """Whether the contract promises the eager engine's bits."""
    if not way.strict or way.dtype != "float64" or (way.batch and way.what not in ("values", "inputs")):
        return False
    return reference.operations(case.program, case.data) <= EXACT | {"take"}


def compare(answer: Answer, found: Array, way: Way, outcome: Verdict, bits: bool, what: str) -> None:
    eager = answer.eager
    outcome.compared += found.size
    if found.shape != eager.shape:
        outcome.failure = f"{what}: shape {found.shape}, eager has {eager.shape}"
        return
    nan, eager_nan = np.isnan(found), np.isnan(eager)
    if bits:
        outcome.exact += found.size
        same = (nan & eager_nan) | ((found == eager) & (np.signbit(found) == np.signbit(eager)))
        _report(outcome, ~same, what + ", strict", found, eager, None)
        return
    low, high, undecidable = _range(answer, way)
    if way.dtype == "float64":
        unlike = _differs(answer) & ~undecidable
        _report(outcome, unlike, f"{what}, reference", answer.replicas[0], eager, None)
    outcome.undecidable += int(undecidable.sum())
    with np.errstate(all="ignore"):
        width = np.where(np.isfinite(low), high - low, 0.0) + answer.slack
        inside = (found == eager) | ((found >= low - width) & (found <= high + width))
    _report(outcome, ~(undecidable | inside | (nan & np.isnan(low))), what, found, eager, width)
    if way.what == "values" and way.backend != "onnx":  # whose runtime has zeros of any sign
        zero = (answer.replicas == 0.0).all(axis=0) & (eager == 0.0) & (found == 0.0) & ~undecidable
        sign = (np.signbit(answer.replicas) == np.signbit(eager)).all(axis=0)
        _report(outcome, zero & sign & (np.signbit(found) != np.signbit(eager)), f"{what}, zero", found, eager, None)


def _range(answer: Answer, way: Way) -> tuple[Array, Array, Array]:
    """The lowest and highest number under noise (both NaN if all are), and which numbers are undecidable."""
    replicas = answer.replicas
    finite, nan = np.isfinite(replicas), np.isnan(replicas)
    with np.errstate(all="ignore"):
        low, high = replicas.min(axis=0), replicas.max(axis=0)
        mixed = (finite.any(axis=0) & ~finite.all(axis=0)) | (nan.any(axis=0) & ~nan.all(axis=0))
        mixed |= np.isinf(low) & (low != high)
        wide = high - low > WIDE[way.dtype] * np.maximum(1.0, np.maximum(np.abs(low), np.abs(high)))
        if way.dtype == "float32":  # constants are folded in float64, where fewer numbers are 0 or infinite
            mixed |= (np.isnan(answer.eager) != np.isnan(low)) | (np.isinf(answer.eager) != np.isinf(low))
            far = np.abs(answer.eager - low) > np.abs(high - low) + WIDE["float32"] * np.maximum(1.0, np.abs(low))
            mixed |= np.isfinite(low) & np.isfinite(answer.eager) & far  # tan(asin(1)) has another sign there
        else:
            both = np.isfinite(low) & np.isfinite(answer.eager)
            low = np.where(both, np.minimum(low, answer.eager), low)
            high = np.where(both, np.maximum(high, answer.eager), high)
    # Strict programs keep every order but that of means: eagerly the samples' derivatives are scaled in the end.
    ordered = way.strict and not (way.batch and way.what not in ("values", "inputs"))
    return low, high, mixed | wide | (answer.extreme & (not ordered))


def _differs(answer: Answer) -> Array:
    """Where the eager number differs from the noisy run's without noise: then the reference itself is wrong."""
    first, eager = answer.replicas[0], answer.eager
    with np.errstate(all="ignore"):
        far = np.abs(first - eager) > 2 * (answer.replicas.max(axis=0) - answer.replicas.min(axis=0)) + answer.slack
    kind = (np.isnan(first) != np.isnan(eager)) | (np.isinf(first) & (first != eager))
    found: Array = kind | (np.isfinite(eager) & ~np.isfinite(first)) | (np.isfinite(eager) & far)
    return found


def _report(outcome: Verdict, wrong: Array, what: str, found: Array, eager: Array, width: Array | None) -> None:
    if outcome.failure or not wrong.any():
        return
    at = tuple(int(k[0]) for k in np.nonzero(wrong))
    count = f"{int(wrong.sum())} of {wrong.size}"
    allowed = "" if width is None else f" ± {width[at]:.2g}"
    outcome.failure = f"{what} {list(at)}: {float(found[at])!r}, eager {float(eager[at])!r}{allowed}; {count}"
