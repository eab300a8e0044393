"""The derivative of calls: what flows back through a section of a loop is another call.

The call of the section on operands x gave its results y. The call of its derivative takes x, the call itself, so that
it comes later, the adjoints of y, and for each operand from outside the sum of the contributions so far. It gives the
adjoints of the state and those sums, with the contributions of the section's rounds added.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from macrograd import ops
from macrograd.compiler.rewrite.entries import ADJOINTS, Entries
from macrograd.compiler.tape import tape as tapes
from macrograd.compiler.tape.tape import CALL, CONSTANT, OUT, Ints, Tape

Bools = NDArray[np.bool_]
Gains = tuple[Ints, Ints, Ints]  # using entry, used entry, id of the contribution


class Derivatives(Protocol):
    """Knows the sections that are called."""

    def shape(self, number: int) -> tuple[int, int]:
        """The operands of a call that are its state, and those from outside."""

    def derivative(self, number: int, wanted: tuple[int, ...]) -> int:
        """The number of the call that differentiates a call with respect to the operands at these positions."""


def flowing(tape: Tape) -> Bools:
    """The operand positions of calls and their results through which a gradient can flow."""
    found: Bools = tape.code[tape.owner] == CALL
    found[tape.start[:-1][tape.code == OUT]] = True
    return found


def through_calls(
    tape: Tape,
    edges: Ints,
    gains: Gains,
    entries: Entries,
    calls: Derivatives,
    taken: Ints,
    varies: Bools | None,
) -> Gains:
    """The contributions with those of the calls that these edges lead through. `taken` has the mask of an operand
    position whose call a choice may not have taken. With `varies`, in strict mode, contributions are added in the order
    of the eager engine."""
    source, target, gain = gains
    owner = tape.owner[edges]
    head = np.array([len(tape)])
    zero = entries.add(CONSTANT, [], entries.before(head), 0.0)
    for c in tapes.distinct(owner[tape.code[owner] == CALL])[::-1].tolist():
        call = np.array([c])
        positions = np.sort(edges[owner == c] - tape.start[c])
        number = int(tape.leaf[c])
        state, outside = calls.shape(number)
        outs = owner[(tape.code[owner] == OUT) & (tape.operand[edges] == c)]
        adjoint = np.repeat(zero, state)
        results = tape.leaf[tape.operand[tape.start[outs] + 1]].astype(np.int64)
        adjoint[results] = ADJOINTS + outs
        before = np.repeat(zero, outside)
        if varies is not None:
            for p in positions[(positions >= state) & (positions < state + outside)].tolist():
                used = tape.operand[tape.start[c] + p]
                earlier = np.flatnonzero((target == used) & (source > c) & (varies[source] == varies[c]))
                if not len(earlier):
                    continue
                earlier = earlier[np.argsort(-source[earlier], kind="stable")]
                before[p - state] = gain[earlier[0]]
                if len(earlier) > 1:
                    many, place = np.array([len(earlier)]), entries.before(call)
                    before[p - state] = entries.add_variadic(ops.sum_.code, many, gain[earlier], place)[0]
                rest = np.ones(len(source), dtype=bool)
                rest[earlier] = False
                source, target, gain = source[rest], target[rest], gain[rest]
        operand = np.concatenate([tape.operands(c), call, adjoint, before])
        back = calls.derivative(number, tuple(positions.tolist()))
        made = entries.add_variadic(CALL, np.array([len(operand)]), operand, entries.after(call), float(back))
        for k, p in enumerate(positions.tolist()):
            which = entries.add(CONSTANT, [], entries.before(head), float(k))
            result = entries.add(OUT, [made, which], entries.after(call))
            if (mask := taken[tape.start[c] + p]) >= 0:
                otherwise = before[p - state : p - state + 1] if state <= p < state + outside else zero
                result = entries.add(ops.where.code, [np.array([mask]), result, otherwise], entries.after(call))
            source, target = np.append(source, c), np.append(target, tape.operand[tape.start[c] + p])
            gain = np.append(gain, result)
    return source, target, gain
