"""The tests are tested: a pass that is slightly wrong is caught, by a verifier or because the numbers differ."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from random_programs import LINES, RandomProgram, every_line
from test_equality import check

import macrograd as mg
from macrograd import Value, ops
from macrograd.compiler import pipeline
from macrograd.compiler.program import program as programs
from macrograd.compiler.program.program import Index, Instruction, Program
from macrograd.compiler.rewrite import derivatives, differentiate
from macrograd.compiler.tape import tape as tapes
from macrograd.compiler.tape.tape import Tape, TapeError

PROGRAM = every_line(list(LINES))


def test_the_program_is_right_before_it_is_broken() -> None:
    check(PROGRAM, (5,), "float64", "llvm")


# --- tapes --------------------------------------------------------------------------------------------------


def swapped(tape: Tape, code: int) -> Tape:
    """The operands of the last entry with this operation stand the other way round."""
    i = int(np.flatnonzero(tape.code == code)[-1])
    operand = tape.operand.copy()
    operand[tape.start[i] : tape.start[i + 1]] = tape.operands(i)[::-1]
    return replace(tape, operand=operand)


def dropped(tape: Tape) -> Tape:
    """The last entry is gone."""
    return tapes.make(tape.code[:-1], tape.start[:-1], tape.operand[: tape.start[-2]], tape.leaf[:-1], tape.results)


def shifted(tape: Tape) -> Tape:
    """Every operand is the entry behind the right one."""
    return replace(tape, operand=tape.operand + 1)


def one_shifted(tape: Tape) -> Tape:
    """One operand of the last sum of products is the entry before the right one."""
    i = int(np.flatnonzero(tape.code == ops.dot.code)[-1])
    operand = tape.operand.copy()
    operand[tape.start[i]] -= 1
    return replace(tape, operand=operand)


def other_constant(tape: Tape) -> Tape:
    """The constants that something is multiplied by are off by a millionth."""
    leaf = tape.leaf.copy()
    factor = tape.operand[np.isin(tape.code[tape.owner], [ops.mul.code, ops.dot.code])]
    leaf[factor[tape.code[factor] == tapes.CONSTANT]] *= 1.000001
    return replace(tape, leaf=leaf)


def term_lost(tape: Tape) -> Tape:
    """A sum of products lacks its last term."""
    i = int(np.flatnonzero((tape.code == ops.dot.code) & (tape.arity > 2))[-1])
    start = tape.start.copy()
    start[i + 1 :] -= 2
    operand = np.delete(tape.operand, [tape.start[i + 1] - 2, tape.start[i + 1] - 1])
    return replace(tape, start=start, operand=operand)


BROKEN_TAPES: dict[str, Callable[[Tape], Tape]] = {
    "operands of a division swapped": lambda tape: swapped(tape, ops.div.code),
    "operands of a choice swapped": lambda tape: swapped(tape, ops.where.code),
    "operands of a comparison swapped": lambda tape: swapped(tape, ops.less.code),
    "entry dropped": dropped,
    "operands shifted": shifted,
    "one operand shifted": one_shifted,
    "constant changed": other_constant,
    "term lost": term_lost,
}


@pytest.mark.parametrize("name", BROKEN_TAPES)
def test_a_broken_pass_over_the_tape_is_caught(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    right = pipeline.simplify

    def broken(tape: Tape, **options: Any) -> Tape:
        found = right(tape, **options)
        return BROKEN_TAPES[name](found) if options.get("final", True) else found  # the pass runs twice: break it once

    monkeypatch.setattr(pipeline, "simplify", broken)
    with pytest.raises((TapeError, AssertionError, IndexError)):
        check(PROGRAM, (40,), "float64", "llvm")


def test_a_wrong_derivative_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """Off by a thousandth in one rule."""
    (rule,) = derivatives.rules(ops.tanh.code)
    assert rule is not None
    lines = tuple((code, operands, 1.001 * leaf) for code, operands, leaf in rule.lines)  # g·(1.001 − out²)
    wrong = replace(rule, lines=lines)
    assert wrong != rule
    every = derivatives.rules
    monkeypatch.setattr(differentiate, "rules", lambda code: (wrong,) if code == ops.tanh.code else every(code))
    with pytest.raises(AssertionError):
        check(PROGRAM, (5,), "float64", "llvm")


# --- programs -----------------------------------------------------------------------------------------------


def in_block(program: Program, k: int, change: Callable[[Instruction], Any]) -> Program:
    """The program with the k-th instruction of the block changed; dropped if `change` gives None."""
    steps = list(program.block)
    new = change(steps[k])
    steps[k : k + 1] = [] if new is None else [new]
    return replace(program, block=tuple(steps))


def plus_one(x: Any) -> Any:
    return replace(x, base=x.base + 1) if isinstance(x, Index) else x


def broken_programs(program: Program) -> dict[str, Program]:
    maps = [k for k, step in enumerate(program.block) if step.kind == "map" and isinstance(step.args[0], Index)]
    k = maps[len(maps) // 2]
    last = len(program.block) - 1
    found = {
        "result shifted": in_block(program, k, lambda step: replace(step, out=plus_one(step.out))),
        "instruction dropped": in_block(program, k, lambda step: None),
        "result outside": in_block(program, k, lambda step: replace(step, out=replace(step.out, base=program.varying))),
        "operand outside": in_block(
            program, k, lambda step: replace(step, args=(replace(step.args[0], base=10**6), *step.args[1:]))
        ),
        "result in the wrong space": in_block(program, k, lambda step: replace(step, out=replace(step.out, space="u"))),
        "result lost": replace(program, results=(*program.results, ("u", program.uniform))),
        "too late": replace(program, block=(), after=program.block + program.after),
        "in reverse": replace(program, block=program.block[::-1]),
    }
    assert last > 0
    return found


def test_the_programs_verifier_sees_what_is_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("macrograd.compiler.roll.cost_model.MOST_TINY", 10**9)  # instructions, not a stream of them
    monkeypatch.setattr("macrograd.compiler.roll.cost_model.FREE", 10**9)
    program = pipeline.gradient_program(pipeline.record(PROGRAM.loss, [(3,), ()]), batch=True)
    programs.verify(program)
    for name, broken in broken_programs(program).items():
        try:
            programs.verify(broken)
        except programs.ProgramError:
            continue
        pytest.fail(f"the verifier accepts: {name}")


def test_a_shifted_operand_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each operand of each instruction of the block, one at a time: the verifier or the numbers."""
    right = pipeline.roll
    w = [[Value(0.1 * i - 0.2 * j) for i in range(2)] for j in range(3)]

    def fn(x: Any, index: Any) -> Any:
        h = [mg.tanh(mg.dot(row, x)) for row in w]
        return h[0] * h[1] / (h[2] + 3.0)

    case = Wrapped(fn, [p for row in w for p in row])
    expected = pipeline.gradient_program(pipeline.record(fn, [(2,), ()]), batch=True)
    places = [
        (k, position)
        for k, step in enumerate(expected.block)
        for position, arg in enumerate(indices(step))
        if isinstance(arg, Index)
    ]
    assert len(places) >= 12
    for k, position in places:

        def broken(tape: Tape, k: int = k, position: int = position, **options: Any) -> Program:
            rolled = right(tape, **options)
            if not options.get("weighted"):
                return rolled
            return in_block(rolled, k, lambda step: with_shifted(step, position))

        monkeypatch.setattr(pipeline, "roll", broken)
        try:
            check(case, (5,), "float64", "llvm")
        except (programs.ProgramError, AssertionError):
            continue
        pytest.fail(f"operand {position} of {expected.block[k]} may be shifted")


class Wrapped(RandomProgram):
    """A function as a program that `check` takes."""

    def __init__(self, fn: Callable[..., Any], parameters: list[Value]) -> None:
        super().__init__([], 2, parameters, [])
        object.__setattr__(self, "fn", fn)

    def __call__(self, x: Any, index: Any) -> list[Any]:
        return [self.fn(x, index)]


def indices(step: Instruction) -> list[Any]:
    return [*step.args, *(side for segment in step.segments for side in (segment.left, segment.right))]


def with_shifted(step: Instruction, position: int) -> Instruction:
    """The instruction with one operand's slots moved by one."""
    if position < len(step.args):
        return replace(step, args=tuple(plus_one(x) if p == position else x for p, x in enumerate(step.args)))
    position -= len(step.args)
    segments = list(step.segments)
    side = "right" if position % 2 else "left"
    segment = segments[position // 2]
    segments[position // 2] = replace(segment, **{side: plus_one(getattr(segment, side))})
    return replace(step, segments=tuple(segments))
