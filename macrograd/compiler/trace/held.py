"""Leaves whose numbers the program of a loop holds, and which leaves the tape of a trace has.

Only some rounds of a long loop are written, and nothing in the trace may depend on how many. Constants would: they are
folded. So the numbers of the rounds, the constants that a state begins with, and the elements of a closed-over array
that is read by the round are leaves like uniform arguments, except that the program supplies their numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import field, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from macrograd import ops
from macrograd._dataclass import dataclass
from macrograd.compiler.tape.tape import INPUT, UNIFORM, Ints, Tape
from macrograd.compiler.trace.rounds import Rounds
from macrograd.value import Value, constant

_ONE = ("one", 0)


@dataclass
class Held:
    """Leaves whose numbers the program holds: element k of `numbers` is leaf k, for `size` leaves."""

    numbers: Any
    size: int
    source: Any  # kept alive, because its id is the key
    leaves: dict[int, Value] = field(default_factory=dict)

    def array(self) -> NDArray[np.float64]:
        if isinstance(self.numbers, range):  # the rounds of a loop, which few bodies compute with
            return np.arange(len(self.numbers), dtype=np.float64)
        return np.asarray(self.numbers, dtype=np.float64)


@dataclass
class Leaves:
    """The given leaves of a tape.

    one     the index of the leaf that seeds a derivative, if that is not a constant
    nodes   the leaves; `same` says which are the same for all samples
    places  their indices among all leaves of their kind, if some are left out
    held    the numbers that the program holds, for all rounds
    """

    one: int | None
    nodes: Sequence[Any]
    same: Sequence[bool]
    places: Ints
    held: NDArray[np.float64]

    def numbered(self, tape: Tape) -> Tape:
        """The tape with its leaves renumbered by `places`."""
        if not len(self.places):
            return tape
        leaf = tape.leaf.copy()
        for code, kind in ((UNIFORM, True), (INPUT, False)):
            mine = np.flatnonzero(tape.code == code)
            leaf[mine] = self.places[np.array(self.same, dtype=bool) == kind][leaf[mine].astype(np.int64)]
        return replace(tape, leaf=leaf)


class Given(Protocol):
    """The arguments' scalars."""

    inputs: Any
    same: list[bool]

    def number(self) -> dict[int, int]: ...


class HeldLeaves:
    """The held leaves of one trace; `new` makes one."""

    def __init__(self, rounds: Rounds, new: Callable[[], Any]) -> None:
        self.rounds, self._new = rounds, new
        self._held: dict[tuple[str, int], Held] = {}

    def start(self, x: Any, depends: Callable[[Value], bool]) -> Any:
        """A scalar of the first state; a constant is held."""
        if isinstance(x, Value) and x.op is not ops.CONSTANT and depends(x):
            return x
        if isinstance(x, Value) and x.op is not ops.CONSTANT:  # a derivative may be taken by it
            return ops.sum_(x, self._number(-0.0))
        return self._number(x._data if isinstance(x, Value) else ops.as_float("loop", x))

    def _number(self, number: float) -> Value:
        key = ("start", np.float64(number).view(np.int64).item())
        return self._leaf(key, 0, lambda: Held([number], 1, None))

    def one(self) -> Any:
        """The 1 that seeds a derivative: held, or the constants that it meets would be folded."""
        return self._leaf(_ONE, 0, lambda: Held([1.0], 1, None)) if self.rounds.counts else 1.0

    def number(self, count: int, k: int, written: int) -> Value:
        return self._leaf(("counter", count), k, lambda: Held(range(count), written, None))

    def element(self, values: Sequence[Any], k: int) -> Value:
        """An element of an array of numbers."""
        if (held := self._held.get(("array", id(values)))) is None:
            if any(isinstance(x, Value) for x in values):
                found = constant(values[k])
                assert isinstance(found, Value)
                return found
            held = Held(np.array([ops.as_float("take", x) for x in values]), len(values), values)
        return self._leaf(("array", id(values)), k, lambda: held)

    def _leaf(self, key: tuple[str, int], k: int, make: Callable[[], Held]) -> Value:
        held = self._held.get(key) or self._held.setdefault(key, make())
        if k not in held.leaves:
            held.leaves[k] = self._new()
        return held.leaves[k]

    def leaves(self, values: Sequence[Any], results: Sequence[Any], given: Given) -> Leaves:
        """The leaves of the trace's tape: all scalars of the arguments. If some rounds of a loop are not written, only
        the used ones, and the last one of each kind, which shows how many there are."""
        if not self.rounds.counts:
            return Leaves(None, given.inputs, given.same, np.arange(0), np.empty(0))
        used = {id(y) for x in values for y in x.inputs}
        used.update(map(id, results))
        self.one()
        last = self._held[_ONE]
        held = [h for h in self._held.values() if h is not last and any(id(x) in used for x in h.leaves.values())]
        held.append(last)
        begin = np.cumsum([0, *(h.size for h in held)]).tolist()
        nodes = [h.leaves[k] for h in held for k in sorted(h.leaves)]
        numbers = [first + k for first, h in zip(begin, held, strict=False) for k in sorted(h.leaves)]
        kind = np.array(given.same, dtype=bool)
        place = np.where(kind, begin[-1] + np.cumsum(kind) - 1, np.cumsum(~kind) - 1)
        keep = {int(where[-1]) for where in (np.flatnonzero(kind), np.flatnonzero(~kind)) if len(where)}
        number = given.number()
        keep.update(number[x] for x in used if x in number)
        some = sorted(keep)
        parts = [h.array() for h in held]
        return Leaves(
            begin[-1] - 1,
            [*nodes, *(given.inputs[k] for k in some)],
            [True] * len(nodes) + [given.same[k] for k in some],
            np.concatenate([np.array(numbers, dtype=np.int64), place[some]]),
            np.concatenate([np.empty(0), *parts]),
        )
