"""Groups: entries of one level that share an operation and kinds of operands."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from macrograd import ops
from macrograd._dataclass import dataclass
from macrograd.compiler.program.calls import CALLS
from macrograd.compiler.roll.layout import Layout, Terms
from macrograd.compiler.tape.tape import CALL, REDUCE, SCATTER, Ints, Tape
from macrograd.compiler.tape.tape import at as looked_up


@dataclass(frozen=True)
class Group:
    """Members that share an operation and kinds of operands, as arrays of entries.

    kind      map, dot, reduce, take or scatter
    members   (n,)
    operands  (n, columns): for a map its operands; for a take the index and the values; for a scatter its pairs; for
              sums all left operands, then all right ones, -1 for a left one that is 1
    kinds     for sums: the kind of each term (`Terms.kind`)
    shifts    (n, columns, loops) the slots that each operand moves per round of each loop around it, outermost first
    moves     (n, loops) the same for the results
    fixed     whether the results must keep their slots
    """

    kind: str
    code: int
    members: Ints
    operands: Ints
    kinds: Ints
    shifts: Ints
    moves: Ints
    fixed: bool = False

    def part(self, which: Ints) -> Group:
        return replace(
            self,
            members=self.members[which],
            operands=self.operands[which],
            shifts=self.shifts[which],
            moves=self.moves[which],
        )


def group_of(tape: Tape, terms: Terms, members: Ints) -> Group:
    """The group of these members, outside of any loop."""
    code = int(tape.code[members[0]])
    kinds = np.empty(0, dtype=np.int64)
    if code == ops.dot.code or code == REDUCE:
        kind = "reduce" if code == REDUCE else "dot"
        count = int(terms.start[members[0] + 1] - terms.start[members[0]])
        at = terms.start[members][:, None] + np.arange(count, dtype=np.int32)
        operands, kinds = np.concatenate([terms.left[at], terms.right[at]], axis=1), terms.kind[at[0]]
    else:
        kind = {ops.take.code: "take", SCATTER: "scatter"}.get(code, "map")
        arity = len(tape.operands(members[0]))
        places = np.add.outer(tape.start[members], np.arange(arity, dtype=np.int32))
        operands = looked_up(tape.operand, places.ravel()).reshape(-1, arity)
        if code == CALL:
            code = CALLS - int(tape.leaf[members[0]])
    nothing = np.zeros((*operands.shape, 0), dtype=np.int64)
    return Group(kind, code, members, operands, kinds, nothing, nothing[:, 0])


@dataclass(frozen=True)
class Groups:
    """The groups order[bounds[k]] … order[bounds[k + 1] - 1] of a tape whose entries have slots.

    least_inside  groups in all rounds of a loop within another; fewer are just as well unrolled
    """

    tape: Tape
    terms: Terms
    layout: Layout
    order: Ints
    bounds: list[int]
    least_inside: int = 48

    def group(self, k: int) -> Group:
        return group_of(self.tape, self.terms, self.order[self.bounds[k] : self.bounds[k + 1]])
