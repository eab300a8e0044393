"""The derivative rules of the op table as small tapes, traced once and copied for every entry."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from macrograd import ops
from macrograd._dataclass import dataclass
from macrograd.compiler.rewrite.entries import Entries
from macrograd.compiler.tape import tape as tapes
from macrograd.compiler.tape.tape import CALL, CONSTANT, OUT, Ints, Tape
from macrograd.compiler.trace.traced import Traced, record
from macrograd.rules import contributions
from macrograd.value import CONSTANT as NUMBER
from macrograd.value import topological

# Operands of a rule's small tape: the adjoint of the result, the result, the k-th operand, or an earlier line.
ADJOINT, RESULT, OPERAND, LINE = 0, 1, 2, 3

Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Rule:
    """A derivative as lines (code, operand references, constant), and the reference to its value."""

    lines: tuple[tuple[int, tuple[tuple[int, int], ...], float], ...]
    value: tuple[int, int]


@cache
def rules(code: int) -> tuple[Rule | None, ...]:
    """The derivative rules of an operation, one per slot of its operands (see `Op.slot`)."""
    op = ops.TABLE[code]
    g, out, operands = record(None, ()), record(None, ()), [record(None, ()) for _ in range(op.slots)]
    known = {id(g): (ADJOINT, 0), id(out): (RESULT, 0)} | {id(x): (OPERAND, k) for k, x in enumerate(operands)}
    gains = contributions(op, g, out, operands)
    return tuple(None if gain is None else _rule(gain, dict(known)) for gain in gains)


def _rule(gain: Any, known: dict[int, tuple[int, int]]) -> Rule:
    if not isinstance(gain, Traced):
        raise tapes.TapeError(f"a derivative rule gave {gain!r}, which does not depend on the incoming derivative")
    lines: list[tuple[int, tuple[tuple[int, int], ...], float]] = []
    for node in topological(gain):
        if id(node) in known:
            continue
        assert node.op is not None
        if node.op is NUMBER:
            lines.append((CONSTANT, (), node._data))
        else:
            lines.append((node.op.code, tuple(known[id(x)] for x in node.inputs), 0.0))
        known[id(node)] = (LINE, len(lines) - 1)
    return Rule(tuple(lines), known[id(gain)])


def flows(tape: Tape) -> Bools:
    """The operand positions through which a derivative can flow."""
    owner = tape.owner
    position = np.arange(len(tape.operand)) - tape.start[owner]
    found: Bools = tape.code[owner] == CALL
    found[tape.start[:-1][tape.code == OUT]] = True
    for code in tapes.distinct(tape.code).tolist():
        if code < 0:
            continue
        here = tape.code[owner] == code
        slot = ops.TABLE[code].slot(position)
        for k, rule in enumerate(rules(code)):
            if rule is not None:
                found |= here & (slot == k)
    return found


def instantiate(
    rule: Rule, users: Ints, base: Ints, tape: Tape, entries: Entries, adjoint: Ints, taken: Ints | None = None
) -> Ints:
    """One copy of the rule for each user; `base` is where its operands (or those of its term) start. Where `taken` has
    a mask, the numbers from which it computes slopes go through gates."""
    place = entries.after(users)
    lines: list[Ints] = []
    gated = taken >= 0 if taken is not None else np.zeros(len(users), dtype=bool)
    through: dict[tuple[int, int], Ints] = {}

    def resolve(reference: tuple[int, int]) -> Ints:
        kind, k = reference
        if kind == ADJOINT:
            return adjoint
        if kind == LINE:
            return lines[k]
        found = users if kind == RESULT else tape.operand[base + k]
        if taken is not None and gated.any():
            if reference not in through:
                size = np.abs(tape.leaf[found])  # 1/0 is infinite, and in float32 so is 1/x² for small x other than 0
                moderate = (tape.code[found] == CONSTANT) & (size >= 1e-18) & (size <= 1e18)
                some = np.flatnonzero(gated & ~moderate)
                through[reference] = found = found.copy()
                found[some] = entries.add(ops.gate.code, [taken[some], found[some]], place[some])
            found = through[reference]
        return found

    for code, operands, leaf in rule.lines:
        if code == CONSTANT:  # one for all users
            lines.append(np.repeat(entries.add(code, [], entries.before(np.array([len(tape)])), leaf), len(users)))
        else:
            lines.append(entries.add(code, [resolve(x) for x in operands], place, leaf))
    return resolve(rule.value)
