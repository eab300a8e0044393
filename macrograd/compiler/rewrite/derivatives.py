"""The derivative rules of the op table as small tapes, traced once and copied for every entry."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

from macrograd import ops
from macrograd.compiler.tape import tape as tapes
from macrograd.compiler.tape.tape import CONSTANT
from macrograd.compiler.trace.traced import Traced, record
from macrograd.rules import contributions
from macrograd.value import CONSTANT as NUMBER
from macrograd.value import topological

# Operands of a rule's small tape: the adjoint of the result, the result, the k-th operand, or an earlier line.
ADJOINT, RESULT, OPERAND, LINE = 0, 1, 2, 3


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
