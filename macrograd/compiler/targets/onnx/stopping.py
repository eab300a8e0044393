"""The body of a loop that may end early, as a graph: all its rounds write the same slots, and what a round reads before
it writes it is passed on from round to round.

Such a loop has a guard among these slots, and a round whose guard is 0 for all samples would change nothing: neither
would those after it, so that the loop of the graph ends there.
"""

from __future__ import annotations

import numpy as np

from macrograd._dataclass import dataclass
from macrograd.compiler.program.instruction import Index, Instruction, Loop, Step
from macrograd.compiler.targets.onnx.graph import Graph, Node
from macrograd.compiler.targets.onnx.operations import Writing
from macrograd.compiler.targets.onnx.scope import Scope
from macrograd.compiler.targets.onnx.tensor import Slots

_MOST = 20_000  # operations of a round that are looked at
_HERE = (0,)  # no slot moves from round to round


@dataclass(frozen=True)
class Round:
    """The slots of each space that a round writes, and those of them that it reads before it does."""

    written: dict[str, Slots]
    carried: dict[str, Slots]


def round_of(loop: Loop, around: Scope) -> Round | None:
    """What a round of a loop that may end early writes and reads; None if that is another in each round, its guard is
    not the round's own, or the scope around it does not hold what the first round reads."""
    guard = loop.guard
    if guard is None or guard.shifts[0] or sum(map(_steps, loop.body)) > _MOST:
        return None
    written = {space: np.zeros(size, dtype=bool) for space, size in around.sizes.items()}
    before = {space: np.zeros(size, dtype=bool) for space, size in around.sizes.items()}

    def see(step: Step, rounds: tuple[int, ...]) -> bool:
        if isinstance(step, Loop):
            return all(see(inner, (*rounds, k)) for k in range(step.count) for inner in step.body)
        assert isinstance(step, Instruction)
        for x, count in step.operands():
            if isinstance(x, float):
                continue
            slots = x.slots(step.dims, count, rounds).ravel()
            before[x.space][slots[~written[x.space][slots]]] = True
            if x.shifts[0]:
                return False
        written[step.out.space][step.out.slots(step.dims, 1, rounds).ravel()] = True
        return not step.out.shifts[0]

    if not all(see(step, (0,)) for step in loop.body) or not written[guard.space][guard.base]:
        return None
    before[guard.space][guard.base] = True  # it is asked for before each round
    carried = {space: np.flatnonzero(written[space] & some) for space, some in before.items()}
    if not all(around.holds(space, slots) for space, slots in carried.items()):
        return None
    return Round({space: np.flatnonzero(some) for space, some in written.items()}, carried)


def _steps(step: Step) -> int:
    return step.count * sum(map(_steps, step.body)) if isinstance(step, Loop) else 1


class Stopping(Scope):
    """The slots in the body of a loop at the top level of a program, whose rounds are such ones."""

    def __init__(self, around: Scope, loop: Loop, round_: Round) -> None:
        super().__init__(Graph(around.graph.dtype, around=around.graph), around.sizes, around.samples)
        assert loop.guard is not None
        self.around, self._count, self._guard, self._round = around, loop.count, loop.guard, round_
        self._spaces = [space for space, slots in round_.carried.items() if len(slots)]
        self._names = [self._carried(space) for space in self._spaces]

    def _carried(self, space: str) -> str:
        slots = self._round.carried[space]
        name = self.flat(self.graph.name("carried"), len(slots), space)
        self.define(space, slots, name, _HERE)
        return name

    def outside(self, space: str, slots: Slots, shifts: tuple[int, ...]) -> str:
        return self.around.read(space, slots, shifts[:-1])

    def end(self) -> None:
        """Add the loop to the graph, once its body is written."""
        graph, around, carried = self.graph, self.around, self._round.carried
        begun = [around.read(space, carried[space]) for space in self._spaces]
        begins = _goes_on(around, self._guard, ())
        following = [self.read(space, carried[space], _HERE) for space in self._spaces]
        goes_on = _goes_on(self, self._guard, _HERE)
        ends = [around.graph.name("last") for _ in begun]
        before = graph.name("round"), graph.name("goes_on")
        for name in before:
            graph.shaped(name, ())
        kinds = np.dtype(np.int64), np.dtype(np.bool_)
        graph.inputs = [*zip(before, kinds, strict=True), *[(name, graph.dtype) for name in self._names]]
        graph.outputs = [graph.renamed(name) for name in (goes_on, *following)]
        inputs = [graph.constant(self._count, np.int64), begins, *begun]
        around.graph.nodes.append(Node("Loop", inputs, ends, bodies={"body": graph}, states=len(ends)))
        for space, slots in self._round.written.items():
            around.forget(space, slots)
        for space, end in zip(self._spaces, ends, strict=True):
            around.define(space, carried[space], around.flat(end, len(carried[space]), space))


def _goes_on(scope: Scope, guard: Index, shifts: tuple[int, ...]) -> str:
    """Whether the guard is not 0 for some sample."""
    o = Writing(scope.graph)
    guards = scope.read(guard.space, np.array([guard.base]), shifts)
    return scope.graph.shaped(o.Greater(o.ReduceSum(o.Abs(guards), keepdims=0), 0.0), ())
