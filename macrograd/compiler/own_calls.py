"""Calls of a function whose ranks each pass their own rows of a batch, and get the results of these rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from numpy.typing import NDArray

from macrograd.compiler.specialised import Specialised, picked, results
from macrograd.ranks.own import OwnRows

_MOST_KNOWN = 16


class OwnCall:
    """A program for batches of which the ranks have some numbers of rows; see `calls.Call`. Not thread-safe, as no
    messages between ranks are."""

    def __init__(self, special: Specialised, what: str, own: OwnRows) -> None:
        self.special, self.own = special, own
        self.prepared = special.prepared(what, own.samples, one=own.samples == 1)
        self.state = self.prepared.state(len(own.computed), own)

    def value_and_grad(self, theta: Any, arrays: Sequence[Any]) -> tuple[float, NDArray[Any]]:
        self._run(theta, arrays)
        value, gradient = results(self.prepared.program, self.state)
        return float(value), gradient.copy()

    def values(self, theta: Any, arrays: Sequence[Any]) -> Any:
        self._run(theta, arrays)
        rows = self.special.table(self.prepared, self.state, self.own)
        return self.special.map_results(lambda which: picked(self.special, which, rows))

    def _run(self, theta: Any, arrays: Sequence[Any]) -> None:
        self.special.fill(self.state, theta)
        self.special.load(self.state, list(arrays), self.own)
        self.state.run()
        self.special.check_indices(self.prepared, self.state)


class OwnCalls:
    """The latest such calls of a function; see `calls.Calls`."""

    def __init__(self) -> None:
        self._known: dict[tuple[Any, ...], OwnCall] = {}

    def find(self, what: str, args: tuple[Any, ...]) -> None:
        """None: how many rows the others have is only known when all have met."""

    def of(self, what: str, special: Specialised, arrays: list[NDArray[Any]]) -> OwnCall:
        own = special.own(arrays)
        key = (what, special.shapes, own.counts)
        if key not in self._known:
            if len(self._known) >= _MOST_KNOWN:
                self._known = {}
            self._known[key] = OwnCall(special, what, own)
        return self._known[key]
