"""The body of a loop as a graph that is written once for all rounds.

Slots in the body are those of round 0; each reader or writer moves them by its shift from round to round. An operand
may come from

    this round        it is a value of the body
    earlier rounds    it is carried: the loop passes on as many rounds of it as the reader looks back
    outside the loop  if it moves, its rounds are stacked, and each round of the body gets one of them

A loop that gets such a stacked input is a Scan, any other a Loop. An operand that comes from outside in some rounds and
from the loop in others, or from a varying number of rounds back, has no such form: `Body.fits` says so.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from macrograd._dataclass import dataclass
from macrograd.compiler.targets.onnx.graph import Graph, Node
from macrograd.compiler.targets.onnx.scope import Scope
from macrograd.compiler.targets.onnx.tensor import Slots

Shifts = tuple[int, ...]


@dataclass(frozen=True)
class Access:
    """Slots that are read or written in every round: those of round 0, and how far they move in each round of the
    enclosing loops and, last, of this one."""

    space: str
    slots: Slots
    shifts: Shifts


@dataclass(frozen=True)
class Carried:
    """Results whose `lag` latest rounds are passed on, the latest last."""

    space: str
    shifts: Shifts
    lag: int
    slots: Slots

    def window(self, first: int) -> Slots:
        """Their slots in the `lag` rounds that end `first` rounds back, the latest last."""
        back = np.arange(first + self.lag - 1, first - 1, -1)
        return (self.slots - back[:, None] * self.shifts[-1]).ravel()


class Body(Scope):
    """The slots in the body of a loop of `count` rounds, whose steps make these reads and writes."""

    def __init__(self, around: Scope, count: int, reads: Sequence[Access], writes: Sequence[Access]) -> None:
        super().__init__(Graph(around.graph.dtype, around=around.graph), around.sizes, around.samples)
        self.around, self.count = around, count
        self._given: dict[str, str] = {}  # the input of each round, by the name of the stacked value outside
        self._stacked: list[tuple[Access, str]] = []
        self.fits, lags = _lags(self.sizes, count, reads, writes)
        self._carried: list[tuple[Carried, str]] = []
        for (space, shifts), here in lags.items():
            for lag in sorted(set(here.values())):
                slots = np.array(sorted(slot for slot, k in here.items() if k == lag))
                carried = Carried(space, shifts, lag, slots)
                name = self.flat(self.graph.name("carried"), lag * len(slots), space)
                self._carried.append((carried, name))
                self.define(space, carried.window(1), name, shifts)

    def write(self, space: str, slots: Slots, name: str, shifts: Shifts = ()) -> None:
        self.define(space, slots, name, shifts)
        self._stacked.append((Access(space, slots.ravel(), shifts), name))

    def outside(self, space: str, slots: Slots, shifts: Shifts) -> str:
        """Slots that neither this round nor earlier ones have computed."""
        if not shifts[-1]:
            return self.around.read(space, slots, shifts[:-1])
        once, back = np.unique(slots, return_inverse=True)
        rounds = once + np.arange(self.count)[:, None] * shifts[-1]
        outer = _laid(self.around, self.around.read(space, rounds, shifts[:-1]), space, rounds.shape)
        if outer not in self._given:
            self._given[outer] = self.flat(self.graph.name("given"), len(once), space)
        return self.pick(self._given[outer], len(once), back.ravel(), space)

    def end(self) -> None:
        """Add the loop to the graph, once its body is written."""
        graph, around = self.graph, self.around
        states = [name for _, name in self._carried]
        begun = [around.read(c.space, c.window(1), c.shifts[:-1]) for c, _ in self._carried]
        following = [self.read(c.space, c.window(0), c.shifts) for c, _ in self._carried]
        stacks = [around.graph.name("rounds") for _ in self._stacked]
        ends = [around.graph.name("last") for _ in states]
        inputs, given = begun + list(self._given), list(self._given.values())
        graph.outputs = following + [name for _, name in self._stacked]
        graph.inputs = [(name, graph.dtype) for name in states + given]
        # The results of a body must be distinct values made in it.
        graph.outputs = [graph.renamed(name) for name in graph.outputs]
        node = Node("Scan", inputs, ends + stacks, bodies={"body": graph}, states=len(states))
        if not given:
            node.op = "Loop"
            node.inputs = [graph.constant(self.count, np.int64), graph.constant(True, np.bool_), *inputs]
            goes_on = graph.name("goes_on")
            graph.inputs = [(graph.name("round"), np.dtype(np.int64)), (goes_on, np.dtype(np.bool_)), *graph.inputs]
            graph.shaped(graph.inputs[0][0], ())
            graph.shaped(goes_on, ())
            graph.outputs = [graph.renamed(goes_on), *graph.outputs]
        around.graph.nodes.append(node)
        for (access, _), stack in zip(self._stacked, stacks, strict=True):
            rounds = access.slots + np.arange(self.count)[:, None] * access.shifts[-1]
            around.write(access.space, rounds, _side_by_side(around, stack, access.space, rounds), access.shifts[:-1])
        for (c, _), end in zip(self._carried, ends, strict=True):
            slots = c.window(0) + c.shifts[-1] * (self.count - 1)
            around.define(c.space, slots, around.flat(end, len(slots), c.space), c.shifts[:-1], alone=True)


def _laid(around: Scope, name: str, space: str, shape: tuple[int, ...]) -> str:
    """Consecutive rounds as an array whose first axis is the rounds."""
    graph = around.graph
    if space == "u":
        return graph.reshape(name, *shape)
    return graph.transpose(graph.reshape(name, -1, *shape), (1, 0, 2))


def _side_by_side(around: Scope, stack: str, space: str, rounds: Slots) -> str:
    """The inverse, for the results of all rounds."""
    graph = around.graph
    if space == "u":
        return graph.reshape(stack, rounds.size)
    return graph.reshape(graph.transpose(stack, (1, 0, 2)), -1, rounds.size)


Lags = dict[tuple[str, Shifts], dict[int, int]]


def _lags(sizes: dict[str, int], count: int, reads: Sequence[Access], writes: Sequence[Access]) -> tuple[bool, Lags]:
    """Whether the loop can get every operand; and for each space and shifts, by the slots that are written in round 0,
    how many rounds later they are read if not in the same round."""
    who = {space: np.full(size, -1, dtype=np.int32) for space, size in sizes.items()}
    when = {space: np.zeros(size, dtype=np.int32) for space, size in sizes.items()}
    rounds = np.arange(count)[:, None]
    for k, write in enumerate(writes):
        slots = write.slots + rounds * write.shifts[-1]
        who[write.space][slots] = k
        when[write.space][slots] = rounds
    fits = True
    found: Lags = {}
    for read in reads:
        shift = read.shifts[-1]
        alike = np.array([write.shifts == read.shifts for write in writes])
        last = read.slots + shift * (count - 1)
        writer = who[read.space][last]
        inside = (writer >= 0) & alike[writer]
        rest = read.slots[~inside] + (rounds if shift else rounds[:1]) * shift
        fits = fits and not (who[read.space][rest] >= 0).any()
        lag = count - 1 - when[read.space][last]
        late = inside & (lag > 0)
        here = found.setdefault((read.space, read.shifts), {})
        for slot, k in zip((read.slots + lag * shift)[late].tolist(), lag[late].tolist(), strict=True):
            here[slot] = max(here.get(slot, 0), k)
    return fits, found
