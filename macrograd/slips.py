"""Beginners' slips that would otherwise stay silent: a graph used again after its leaves changed, a number taken out of
a graph by `math.tanh` or `float`, data that is not a number.

Everything here is called only where something already looks wrong, so correct programs pay nothing.
"""

from __future__ import annotations

import ast
import linecache
import math
import sys
import warnings
from collections.abc import Iterable
from itertools import islice
from types import CodeType, FrameType
from typing import Any

from macrograd.ops import CONSTANT


class GradientWarning(UserWarning):
    """Something legal that is usually a mistake: gradients will be missing or 0."""


# --- data that is not a number ----------------------------------------------------------------------------------------


def refused_data(value: Any, data: Any) -> TypeError:
    """The error for data that is not a real number."""
    name = f"the Value {value.label!r}" if value.label else "a Value"
    remedy = "give it one number, as in p.data = 0.5"
    if hasattr(data, "_a"):
        remedy = "give it the other's number, as in p.data = other.data"
    elif hasattr(data, "__len__") and not isinstance(data, (str, bytes)):
        remedy = "a Value is one number: make one for each element"
    return TypeError(f"{name} was given the data {data!r} of type {type(data).__name__}: {remedy}")


# --- a graph whose leaves have changed --------------------------------------------------------------------------------


def check_unchanged(order: Iterable[Any]) -> None:
    """Raise RuntimeError if the operations of a graph, operands before results, no longer give its numbers."""
    for node in order:
        inputs = node.inputs
        now = node.op.forward(*[x.data for x in inputs])
        if now == node.data or (now != now and node.data != node.data):
            continue
        names = [f"{x.label}={x.data:.6g}" if x.label else f"{x.data:.6g}" for x in inputs[:4]]
        operands = ", ".join([*names, *["…"] * (len(inputs) > 4)])
        raise RuntimeError(
            f"backward() on a graph whose leaves have changed since it was built: {node.op.name}({operands}) was "
            f"{node.data:.6g} then and is {now:.6g} now. Build the graph again after every change: call the model and "
            "the loss inside the loop"
        )


# --- numbers taken out of a graph -------------------------------------------------------------------------------------

# Functions that only inspect a number.
_LOOKS = {"isnan", "isfinite", "isinf", "isclose"}
_INSTEAD = {"fabs": "abs(x)", "pow": "x ** y", "fsum": "mg.sum", "prod": "a product of Values", "sumprod": "mg.dot"}
_OURS = ("exp", "log", "log1p", "sqrt", "sin", "cos", "tanh")
_told: set[tuple[CodeType, int]] = set()  # the places already checked


def number_taken(value: Any) -> None:
    """Warn, once per place, where `float()` or a function of `math` takes the number out of a Value and loses its
    graph.

    Formatting and tests such as math.isnan lose nothing. A leaf has no graph to lose: `float(leaf)` is fine,
    math.tanh(leaf) is not.
    """
    frame = sys._getframe(2)
    place = frame.f_code, frame.f_lasti
    if value.op is CONSTANT or place in _told:
        return
    _told.add(place)
    if str(frame.f_globals.get("__name__", "")).partition(".")[0] == "macrograd":
        return
    name = _called(frame)
    of_math = hasattr(math, name)
    if name == "%" or name in _LOOKS or (value._a is None and not of_math):
        return
    if of_math:
        instead = f"mg.{name}" if name in _OURS else _INSTEAD.get(name, "Values' own arithmetic")
        text = f"math.{name}() takes the number out of a Value, and gradients stop there: use {instead}"
    else:
        text = (
            f"{name or 'float'}() takes the number out of a computed Value, and gradients stop there: use mg.exp, "
            "mg.tanh … for functions"
        )
    warnings.warn(f"{text}, or value.data if you want the number alone", GradientWarning, stacklevel=3)


def _called(frame: FrameType) -> str:
    """The name of the function that is called at the frame's instruction, "%" for formatting, "" if unknown."""
    line, end, column, end_column = next(islice(frame.f_code.co_positions(), frame.f_lasti // 2, None))
    if line is None or end is None or column is None or end_column is None:
        return ""
    lines = [x.encode() for x in linecache.getlines(frame.f_code.co_filename, frame.f_globals)[line - 1 : end]]
    if len(lines) != end - line + 1:
        return ""
    lines[-1] = lines[-1][:end_column]
    lines[0] = lines[0][column:]
    try:
        found: Any = ast.parse(b"(" + b"".join(lines) + b")", mode="eval").body
    except (SyntaxError, ValueError):
        return ""
    if isinstance(found, ast.BinOp) and isinstance(found.op, ast.Mod):
        return "%"
    function = getattr(found, "func", None)
    return str(getattr(function, "attr", getattr(function, "id", "")))
