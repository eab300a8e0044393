"""Constants apart: parameters and constants in a space of their own, and all else moved down by their number."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

import macrograd as mg
from macrograd import Value, ops
from macrograd.compiler import pipeline
from macrograd.compiler.program.program import Index, Instruction, Loop, Program
from macrograd.compiler.program.stream import Stream
from macrograd.compiler.program.walk import counted
from macrograd.compiler.targets.c.apart import constants_apart

W = [Value(0.1 * k) for k in range(40)]


def program(f: Any, *shapes: tuple[int, ...], batch: bool = False) -> Program:
    return pipeline.gradient_program(pipeline.record(f, list(shapes)), batch=batch)


def net(x: Any) -> Any:
    hidden = [mg.tanh(mg.dot(W[4 * j : 4 * j + 4], x) + 0.7) for j in range(8)]
    return mg.dot(W[32:40], hidden)


def recurrence(x: Any) -> Any:
    state = 0.0
    for k in range(40):
        state = mg.tanh(W[k] * state + x[0])
    return state


def scalars(x: Any) -> Any:
    """A stream: no two of its operations are alike."""
    found, each = x[0], [mg.sin, mg.exp, mg.tanh, mg.sigmoid, mg.cos]
    for k in range(12):
        found = each[k % 5](found * W[k] + x[(k * k) % 4]) - W[(5 * k) % 11] / (x[k % 3] + 1.5 + k)
    return found


def operands(step: Any) -> list[tuple[Index, int, int]]:
    """Each operand, and the lowest and highest of its slots over all rounds."""
    found = []
    for instruction, rounds in counted(step):
        for x, terms in (*instruction.operands(), (instruction.out, 1)):
            if isinstance(x, Index):
                slots = x.slots(instruction.dims, terms)
                moves = [shift * (many - 1) for shift, many in zip(x.shifts, rounds, strict=True)]
                low, high = int(slots.min()), int(slots.max())
                found.append((x, low + sum(min(0, m) for m in moves), high + sum(max(0, m) for m in moves)))
    return found


def check(before: Program) -> None:
    made = constants_apart(before)
    assert made is not None
    held = before.parameters + len(before.constants)
    assert made.uniform == before.uniform - held
    for old, new in zip(before.steps(), made.steps(), strict=True):
        if isinstance(old, Stream):
            assert isinstance(new, Stream)
            for (_, out, rows), (_, to, there) in zip(old.records(), new.records(), strict=True):
                for a, b in ((out, to), *zip(rows, there, strict=True)):
                    if not old.block:
                        np.testing.assert_array_equal(np.where(b < 0, ~b, b + held), a)
                        np.testing.assert_array_equal(b < 0, a < held)
            continue
        for (x, low, high), (y, *moved) in zip(operands(old), operands(new), strict=True):
            if x.space == "v":
                assert (y.space, *moved) == ("v", low, high)
            elif high < held:
                assert (y.space, *moved) == ("w", low, high)
            else:
                assert (y.space, *moved) == ("u", low - held, high - held)
    for (space, slot), (to, there) in zip(before.results, made.results, strict=True):
        expected = (space, slot) if space == "v" else ("w", slot) if slot < held else ("u", slot - held)
        assert (to, there) == expected


def test_every_operand_is_where_it_was() -> None:
    for made in (program(net, (4,)), program(net, (4,), batch=True), program(recurrence, (1,)), program(scalars, (4,))):
        check(made)


def test_an_operand_on_both_sides_cannot_be_told_apart() -> None:
    made = program(net, (4,))
    held = made.parameters + len(made.constants)
    across = Instruction("map", ops.exp.code, (2,), Index("u", held + 1, (1,)), (Index("u", held - 1, (1,)),))
    assert constants_apart(replace(made, before=(across, *made.before))) is None


def test_a_loop_keeps_its_guard_on_the_same_number() -> None:
    def guarded(guard: Index) -> Program:
        before = program(recurrence, (1,))
        steps = [replace(step, guard=guard) if isinstance(step, Loop) else step for step in before.before]
        return replace(before, before=tuple(steps))

    plain = program(recurrence, (1,))
    held = plain.parameters + len(plain.constants)
    for slot, space, moved in ((held + 3, "u", 3), (1, "w", 1)):
        made = constants_apart(guarded(Index("u", slot, (0,), shifts=(0,))))
        assert made is not None
        guards = [step.guard for step in made.before if isinstance(step, Loop)]
        assert guards
        assert all(x is not None and (x.space, x.base) == (space, moved) for x in guards)
    assert constants_apart(guarded(Index("u", held - 1, (0,), shifts=(1,)))) is None
