"""Gates that are not needed: `gate(t, x)` is x where neither x nor a slope computed from it can be infinite or NaN.

`macrograd.grad` in a compiled function records a gate behind every choice. `choices.py` says what counts as finite,
except that a tape with derivatives on it does not show which entries are hidden.
"""

from __future__ import annotations

import numpy as np

from macrograd import ops
from macrograd.compiler.rewrite.bounds import COMPARES, Bools, Bounds, untamed, wild
from macrograd.compiler.tape import tape as tapes
from macrograd.compiler.tape import walks
from macrograd.compiler.tape.tape import CONSTANT, Ints, Tape


def without_gates(tape: Tape) -> Tape:
    """The tape without the gates that are not needed."""
    gates = np.flatnonzero(tape.code == ops.gate.code)
    if not len(gates):
        return tape
    taken, x = tape.operand[tape.start[gates]], tape.operand[tape.start[gates] + 1]
    slopes = untamed(tape, np.flatnonzero(tapes.reached(tape)), Bounds(tape))
    used = walks.reached(tape.start, tape.operand, tape.operand[slopes[tape.owner]])
    leaf = tapes.given(tape)
    loose, sure = wild(tape, slopes | leaf), wild(tape, slopes)
    needless = ~np.where(_of_clamps(tape, taken)[taken], sure[x], loose[x]) & ~used[gates]
    needless |= (tape.code[taken] == CONSTANT) & (tape.leaf[taken] != 0.0)
    alias = np.arange(len(tape))
    alias[gates[needless]] = x[needless]
    if not needless.any():
        return tape
    while not np.array_equal(further := alias[alias], alias):
        alias = further
    return tapes.make(tape.code, tape.start, alias[tape.operand], tape.leaf, alias[tape.results])


def _of_clamps(tape: Tape, taken: Ints) -> Bools:
    """Which masks depend on clamps alone; of the choices by a comparison, only those of `maximum`, `minimum` and
    dropout can be recognised here."""
    found = np.zeros(len(tape), dtype=bool)
    code, leaf = tape.code.tolist(), tape.leaf.tolist()
    masks = walks.reached(tape.start, tape.operand, taken) & tapes.among(tape.code, [ops.where.code, ops.maximum.code])
    for i in np.flatnonzero(masks).tolist():
        operands = tape.operands(i).tolist()
        if code[i] == ops.maximum.code:
            found[i] = found[operands].any()
            continue
        condition, a, b = operands
        if code[a] != CONSTANT:  # where(mask, the mask behind it, 0)
            found[i] = found[condition] and found[a]
            continue
        inner = tape.operands(b).tolist() if code[b] == ops.where.code else []
        halves = any(code[k] == CONSTANT and leaf[k] == 0.5 for k in inner)
        drawn = code[condition] in COMPARES and code[tape.operands(condition)[0]] == ops.random.code
        found[i] = code[condition] == ops.relu.code or drawn or halves
    return found
