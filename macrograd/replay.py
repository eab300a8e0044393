"""Replays a computation of Values and notes the source line of each operation."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from macrograd.interpreter import Interpreter
from macrograd.ops import CONSTANT
from macrograd.value import Value, interpret, topological

_PACKAGE = str(Path(__file__).resolve().parent)
# Files that every operation passes through: they do not tell where it came from.
_MACHINERY = [
    str(Path(_PACKAGE, f"{name}.py"))
    for name in (
        "ops",
        "special",
        "value",
        "rules",
        "functions",
        "vector",
        "replay",
        "rows/floats",
        "rows/op",
        "rows/composed",
        "formulas/functions",
    )
]


class Replay(Interpreter):
    """The interpreter of a replay: it notes the source line of each operation."""

    def __init__(self) -> None:
        self._places: dict[int, str] = {}  # by the id of a Value, which the graph keeps alive

    def run(self, make: Callable[[], Any]) -> Any:
        """Call `make()` and return its result; keep the graph that it builds alive as long as its places are asked
        for."""
        return interpret(self, make)

    def new(self, kind: Any) -> Any:
        node = object.__new__(kind)
        self._places[id(node)] = _line()
        return node

    def place(self, node: Value) -> str:
        """File, line and function that made a Value; "" if the replay did not make it."""
        return self._places.get(id(node), "")

    def at(self, node: Value) -> str:
        """The same as part of a sentence: " at …", or nothing."""
        return at(self.place(node))


def at(place: str) -> str:
    return f" at {place}" if place else ""


def operations(result: Value) -> list[Value]:
    """The operations that made a Value, operands before results."""
    return [node for node in topological(result) if node.op is not None and node.op is not CONSTANT]


def _line() -> str:
    """File, line and function of the innermost frame outside this package; if the replay has none, of the innermost
    frame that is not machinery: a layer's or a loss's."""
    frame, within = sys._getframe(2), ""
    while frame is not None:
        name = frame.f_code.co_filename
        place = f"{name}:{frame.f_lineno}, in {frame.f_code.co_qualname}"
        if frame.f_code is Replay.run.__code__:
            return within
        if not name.startswith(_PACKAGE):
            return place
        if not within and name not in _MACHINERY:
            within = f"macrograd{place.removeprefix(_PACKAGE)}"
        frame = frame.f_back  # type: ignore[assignment]  # None ends the walk
    return within
