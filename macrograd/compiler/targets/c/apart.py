"""Constants apart: a program whose parameters and constants are read from a separate space, `w`.

They can then be in read-only memory, such as the flash of a microcontroller, and take up no space in the state.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from macrograd.compiler.program.program import Index, Instruction, Loop, Program, Step
from macrograd.compiler.program.stream import MORE, SPREAD, TOTAL, Stream
from macrograd.compiler.program.touches import Touch
from macrograd.compiler.program.walk import Walker, loop_of


def constants_apart(program: Program) -> Program | None:
    """The program with its first slots of u in `w`, and the other slots of u moved down.

    None if an operand spans both.
    """
    held = program.parameters + len(program.constants)
    try:
        phases = [tuple(map(_Apart(held).step, phase)) for phase in (program.before, program.block, program.after)]
    except _InBothError:
        return None
    results = tuple(
        (space, slot) if space == "v" else ("w", slot) if slot < held else ("u", slot - held)
        for space, slot in program.results
    )
    before, block, after = phases
    return replace(program, before=before, block=block, after=after, results=results, uniform=program.uniform - held)


class _InBothError(Exception):
    """An operand has slots on both sides."""


class _Apart(Walker[Step]):
    """The steps with their slots moved; `around` are the counts of the loops around."""

    def __init__(self, held: int) -> None:
        self.held = held

    def instruction(self, instruction: Instruction, around: tuple[int, ...]) -> Instruction:
        return instruction.mapped(lambda x, count: _index(x, instruction.dims, count, self.held, around))

    def loop(self, loop: Loop, around: tuple[int, ...]) -> Loop:
        counts = (*around, loop.count)
        guard = None if loop.guard is None else _index(loop.guard, (1,), 1, self.held, counts)
        return loop_of(loop.count, [self.step(x, counts) for x in loop.body], guard)

    def stream(self, stream: Stream, around: tuple[int, ...]) -> Stream:
        return _stream(stream, self.held)


def _index(x: Index, dims: tuple[int, ...], count: int, held: int, counts: tuple[int, ...]) -> Index:
    """An operand in its new space, in loops of these counts."""
    if x.space != "u":
        return x
    touch = Touch.of(x, dims, count, counts)
    if touch.high < held:
        return replace(x, space="w")
    if touch.low < held:
        raise _InBothError
    return x.displaced(-held)


def _stream(stream: Stream, held: int) -> Stream:
    """Slots of w are distinguished from those of u by their sign: w[k] is ~k."""
    words, at = stream.words.copy(), 0
    while at < len(words):
        code, n, arity = words[at : at + 3].tolist()
        body = words[at + 3 : at + 3 + n * (1 + arity)]
        if not stream.block:
            body[:] = np.where(body < held, ~body, body - held)
        elif code == SPREAD:
            body[n:] = np.where(body[n:] < held, ~body[n:], body[n:] - held)
        elif code in (TOTAL, MORE):
            body[:n] -= held
        at += 3 + n * (1 + arity)
    return replace(stream, words=words)
