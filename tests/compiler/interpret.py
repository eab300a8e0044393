"""A tape, read literally: one number per entry. Every rewriting must preserve the results."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from macrograd import ops
from macrograd.compiler.tape import tape as tapes
from macrograd.compiler.tape.tape import Tape


def interpret(
    tape: Tape,
    parameters: Sequence[Any],
    inputs: Sequence[Any],
    functions: dict[str, Callable[..., Any]] | None = None,
    uniform: Sequence[Any] = (),
) -> list[Any]:
    """The results of a tape for one sample, by the op table's functions on floats, or by `functions`."""
    numbers: list[Any] = []
    for i, code in enumerate(tape.code.tolist()):
        operands = [numbers[k] for k in tape.operands(i)]
        if code == tapes.PARAMETER:
            numbers.append(parameters[int(tape.leaf[i])])
        elif code == tapes.INPUT:
            numbers.append(inputs[int(tape.leaf[i])])
        elif code == tapes.UNIFORM:
            numbers.append(uniform[int(tape.leaf[i])])
        elif code == tapes.CONSTANT:
            numbers.append(float(tape.leaf[i]))
        elif code == tapes.REDUCE:
            numbers.append(operands[0])
        elif code == tapes.SCATTER:
            pairs = zip(operands[::2], operands[1::2], strict=True)
            numbers.append(sum((g for k, g in pairs if k == tape.leaf[i]), 0.0))
        else:
            op = ops.TABLE[code]
            numbers.append((functions[op.name] if functions else op.forward)(*operands))
    return [numbers[r] for r in tape.results]
