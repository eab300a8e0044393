"""The derivative of calls: what flows back through a call is another call (`trace/calls.py`)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from macrograd import ops
from macrograd.compiler.rewrite.entries import ADJOINTS, Entries
from macrograd.compiler.tape import tape as tapes
from macrograd.compiler.tape.tape import CALL, CONSTANT, OUT, Ints, Tape
from macrograd.compiler.trace.calls import Calls, Derivative

Bools = NDArray[np.bool_]
Gains = tuple[Ints, Ints, Ints]  # using entry, used entry, id of the contribution


def through_calls(
    tape: Tape,
    edges: Ints,
    gains: Gains,
    entries: Entries,
    calls: Calls,
    taken: Ints,
    varies: Bools | None,
) -> Gains:
    """The contributions with those of the calls that these edges lead through. `taken` has the mask of an operand
    position whose call a choice may not have taken. With `varies`, in strict mode, contributions are added in the order
    of the eager engine."""
    through = _Through(tape, gains, entries, calls, taken, varies)
    owner = tape.owner[edges]
    which = np.flatnonzero(tape.code[owner] == CALL)
    order = which[np.argsort(edges[which], kind="stable")]
    results = np.flatnonzero(tape.code[owner] == OUT)
    results = results[np.argsort(tape.operand[edges[results]], kind="stable")]
    of = tape.operand[edges[results]]
    for c in tapes.distinct(owner[order])[::-1].tolist():
        begin, end = np.searchsorted(owner[order], (c, c + 1))
        first, last = np.searchsorted(of, (c, c + 1))
        through.call(c, edges[order[begin:end]] - tape.start[c], owner[results[first:last]])
    return through.source, through.target, through.gain


class _Through:
    """Goes back through calls, the last one first; the contributions so far are `source`, `target`, `gain`."""

    def __init__(
        self, tape: Tape, gains: Gains, entries: Entries, calls: Calls, taken: Ints, varies: Bools | None
    ) -> None:
        self.tape, self.entries, self.calls, self.taken, self.varies = tape, entries, calls, taken, varies
        self.source, self.target, self.gain = gains
        self.head = np.array([len(tape)])
        self.zero = entries.add(CONSTANT, [], entries.before(self.head), 0.0)
        # By call: its row, and the row of the adjoint, the number of that call, and its entry.
        self.rows: dict[int, list[tuple[int, int, int, int]]] = {}

    def call(self, c: int, positions: Ints, outs: Ints) -> None:
        tape, entries, calls, call = self.tape, self.entries, self.calls, np.array([c])
        number, operands = int(tape.leaf[c]), tape.operands(c)
        shape = calls.shape(number)
        results = tape.leaf[tape.operand[tape.start[outs] + 1]].astype(np.int64)
        adjoint = np.repeat(self.zero, shape.results)
        adjoint[results] = ADJOINTS + outs
        wanted, rows = calls.asked(number, set(positions.tolist()))
        added = sorted(self.rows.get(c, []))
        masks = [self.taken[tape.start[c] + shape.scalars + row] for row in rows]
        mask = np.array([x for x in masks if x >= 0][:1], dtype=np.int64)
        made = Derivative(
            number, wanted, rows, tuple([(row, other, theirs) for row, theirs, other, _ in added]), bool(len(mask))
        )
        sums = calls.sums(made)
        before = {p: self._before(c, int(operands[p])) if self.varies is not None else self.zero[0] for p in sums}
        given = np.array([x for *_, x in added], dtype=np.int64)
        parts = (
            adjoint[: shape.carry],
            np.array([before[p] for p in sums], dtype=np.int64),
            operands[shape.carry : shape.inner],
            mask,
            operands[shape.inner : shape.scalars],
            adjoint[shape.carry :],
            call,
            operands[shape.scalars :],
            given,
        )
        operand = np.concatenate(parts)
        back = calls.derived(made)
        place = entries.after(call)
        found = entries.add_variadic(CALL, np.array([len(operand)]), operand, place, float(back))
        if wanted:
            self._gains(c, np.array(wanted), np.array([calls.place(made, p) for p in wanted]), before, int(found[0]))
        for k, row in enumerate(rows):
            filler, (_, theirs) = int(operands[shape.scalars + row]), calls.filled(number, row)
            self.rows.setdefault(filler, []).append((theirs, 1 + k, back, int(found[0])))

    def _gains(self, c: int, wanted: Ints, numbers: Ints, before: dict[int, int], back: int) -> None:
        """Add the results of the derivative of a call, with these numbers, to what its operands get."""
        tape, entries = self.tape, self.entries
        place = np.repeat(entries.after(np.array([c])), len(wanted))
        head = np.repeat(entries.before(self.head), len(wanted))
        which = entries.add(CONSTANT, [], head, numbers.astype(np.float64))
        found = entries.add(OUT, [np.repeat(back, len(wanted)), which], place)
        masks = self.taken[tape.start[c] + wanted]
        some = np.flatnonzero(masks >= 0)
        if len(some):
            otherwise = np.array([before.get(p, int(self.zero[0])) for p in wanted[some].tolist()])
            found[some] = entries.add(ops.where.code, [masks[some], found[some], otherwise], place[some])
        self.source = np.concatenate([self.source, np.repeat(c, len(wanted))])
        self.target = np.concatenate([self.target, tape.operands(c)[wanted]])
        self.gain = np.concatenate([self.gain, found])

    def _before(self, c: int, used: int) -> int:
        """The sum of the contributions to an entry that come before those of a call, which are taken out."""
        varies = self.varies
        assert varies is not None
        earlier = np.flatnonzero((self.target == used) & (self.source > c) & (varies[self.source] == varies[c]))
        if not len(earlier):
            return int(self.zero[0])
        earlier = earlier[np.argsort(-self.source[earlier], kind="stable")]
        found = self.gain[earlier[0]]
        if len(earlier) > 1:
            many, place = np.array([len(earlier)]), self.entries.before(np.array([c]))
            found = self.entries.add_variadic(ops.sum_.code, many, self.gain[earlier], place)[0]
        rest = np.ones(len(self.source), dtype=bool)
        rest[earlier] = False
        self.source, self.target, self.gain = self.source[rest], self.target[rest], self.gain[rest]
        return int(found)
