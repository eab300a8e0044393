"""Calls of a function whose ranks each pass their own rows of a batch, and get the results of these rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from macrograd.compiler.calls import picked
from macrograd.compiler.specialised import Prepared, Specialised, results
from macrograd.compiler.targets.target import State
from macrograd.ranks.own import OwnRows
from macrograd.ranks.ranks import Ranks

_MOST_KNOWN = 16


def own_of(special: Specialised, arrays: list[NDArray[Any]]) -> OwnRows:
    """Which rows the ranks have; they call it together."""
    ranks = special.settings.ranks
    assert ranks is not None
    return OwnRows.of(ranks, special.samples(arrays), special.shapes, special.settings.name)


def load(special: Specialised, state: State, own: OwnRows, arrays: Sequence[NDArray[Any]]) -> None:
    """Write the rows that this rank computes into a state, and the uniform arguments."""
    given = list(arrays)
    if not own.stays:
        for k in special.varying:
            given[k] = own.inward(np.asarray(given[k], dtype=special.settings.dtype))
    special.load(state, given)


def table(special: Specialised, prepared: Prepared, state: State, own: OwnRows) -> NDArray[Any]:
    """The results of this rank's rows as (rows, results)."""
    if prepared.uniform:
        return np.broadcast_to(state.u[prepared.places], (len(own.rows), len(prepared.slots)))
    return own.outward(special.table(prepared, state))


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
        rows = table(self.special, self.prepared, self.state, self.own)
        return self.special.map_results(lambda which: picked(self.special, which, rows))

    def _run(self, theta: Any, arrays: Sequence[Any]) -> None:
        self.special.fill(self.state, theta)
        load(self.special, self.state, self.own, arrays)
        self.state.run()
        self.special.check_indices(self.prepared, self.state)


class OwnCalls:
    """The latest such calls of a function; see `calls.Calls`."""

    def __init__(self, ranks: Ranks) -> None:
        self._ranks = ranks
        self._known: dict[tuple[Any, ...], OwnCall] = {}

    def find(self, what: str, args: tuple[Any, ...]) -> None:
        """None: how many rows the others have is only known when all have met."""

    def of(self, what: str, special: Specialised, arrays: list[NDArray[Any]]) -> OwnCall:
        own = own_of(special, arrays)
        key = (what, special.shapes, own.counts)
        if key not in self._known:
            if len(self._known) >= _MOST_KNOWN:
                self._known = {}
            self._known[key] = OwnCall(special, what, own)
        return self._known[key]
