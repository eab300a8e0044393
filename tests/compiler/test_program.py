"""The array program: its print, its digest, and a verifier that refuses every unsound program."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from macrograd import ops
from macrograd.compiler.program import program as programs
from macrograd.compiler.program.program import (
    Index,
    Instruction,
    Loop,
    Program,
    ProgramError,
    Segment,
    body_of,
    counted,
    executed,
    verify,
)
from macrograd.compiler.program.stream import SPREAD, SUM, TOTAL, Stream

ADD, MUL = ops.add.code, ops.mul.code


def at(space: str, base: int, *member: int, shift: int | None = None, **more: Any) -> Index:
    return Index(space, base, member or (1,), shifts=() if shift is None else (shift,), **more)


def product(**changed: Any) -> Instruction:
    """v[3..4] = v[0..1]·u[0]"""
    return replace(Instruction("map", MUL, (2,), at("v", 3), (at("v", 0), at("u", 0, 0))), **changed)


def total(**changed: Any) -> Instruction:
    """u[2] = Σ over samples and terms of v[3..4]·v[3..4]"""
    segments = (Segment(2, at("v", 3, 0, term=1), at("v", 3, 0, term=1)),)
    return replace(Instruction("reduce", 0, (1,), at("u", 2, 0), segments=segments), **changed)


def program(**changed: Any) -> Program:
    """u: a parameter, a constant, a sum; v: three inputs, the last one the weight, and two products."""
    constants = np.array([0.5])
    whole = Program((), (product(), total()), (), 1, 3, constants, 3, 5, (("u", 2),), batch=True, weight=2)
    return replace(whole, **changed)


RECORDS = np.array([SPREAD, 1, 1, 3, 0, MUL, 1, 2, 4, 3, 0, TOTAL, 1, 1, 2, 4], dtype=np.int32)
STREAM = Stream(RECORDS, 2, block=True)
LOOP = Loop(3, (Instruction("map", ADD, (1,), at("v", 3, shift=1), (at("v", 2, shift=1), at("v", 0, shift=0))),))
# v[4 + 2r + s] = v[3 + 2r + s] + v[0]
STEP = Instruction(
    "map", ADD, (1,), Index("v", 4, (0,), shifts=(2, 1)),
    (Index("v", 3, (0,), shifts=(2, 1)), Index("v", 0, (0,), shifts=(0, 0))),
)  # fmt: skip
FIRST = Instruction("map", ADD, (1,), at("v", 3, 0), (at("v", 0, 0), at("v", 1, 0)))


def nest(**changed: Any) -> Program:
    return program(block=(FIRST, Loop(3, (Loop(2, (replace(STEP, **changed),)),))), varying=10, results=(("v", 9),))


SOUND = {
    "instructions": program(),
    "loop in a loop": nest(),
    "stream": program(block=(STREAM,)),
    "loop": program(block=(LOOP,), varying=6, results=(("v", 5),)),
}


@pytest.mark.parametrize("name", SOUND)
def test_a_sound_program_is_passed_on(name: str) -> None:
    assert verify(SOUND[name]) is SOUND[name]


UNSOUND = {
    "an operand of one more member than there are": (
        program(block=(product(args=(at("v", 4), at("u", 0, 0))), total())),
        "outside space v",
    ),
    "a read before the write": (program(block=(total(), product())), "read before it is written"),
    "a result past the end": (program(block=(product(out=at("v", 4)), total())), "outside space v"),
    "a negative slot": (program(block=(product(out=at("v", -1)), total())), "outside space v"),
    "two members in one slot": (program(block=(product(out=at("v", 3, 0)), total())), "written twice"),
    "an input overwritten": (program(block=(product(out=at("v", 0)), total())), "written twice"),
    "a parameter overwritten": (program(block=(product(), total(out=at("u", 0, 0)))), "written twice"),
    "a sum over the batch that varies": (program(block=(product(), total(out=at("v", 4, 0)))), "in the wrong space"),
    "a map of the block that does not vary": (program(block=(product(out=at("u", 2)),)), "in the wrong space"),
    "a varying operand behind the blocks": (program(after=(total(out=at("u", 2, 0)),)), "outside of the block"),
    "a result that nobody computes": (program(block=(product(),)), "is never computed"),
    "a result outside": (program(results=(("u", 3),)), "is never computed"),
    "an operand that moves with a loop that is not there": (
        program(block=(product(args=(at("v", 0, shift=1), at("u", 0, 0))), total())),
        "moves with 1 loops, not 0",
    ),
    "an operand that stays in its loop": (program(block=(Loop(2, (product(),)),)), "moves with 0 loops, not 1"),
    "a second round that writes what the first one wrote": (
        program(block=(Loop(2, (replace(LOOP.body[0], out=at("v", 3, shift=0)),)),), results=(("v", 3),)),
        "written twice",
    ),
    "a round that reads what the next one writes": (
        nest(args=(Index("v", 4, (0,), shifts=(2, 1)), STEP.args[1])),
        "read before it is written",
    ),
    "an outer round that reads what the next one writes": (
        nest(args=(Index("v", 6, (0,), shifts=(1, 1)), STEP.args[1])),
        "read before it is written",
    ),
    "an inner round that writes what the outer one wrote": (
        nest(out=Index("v", 4, (0,), shifts=(1, 1))),
        "written twice",
    ),
    "a round that leaves its space": (program(block=(LOOP,), results=(("v", 3),)), "outside space v"),
    "a stream of a block elsewhere": (program(before=(STREAM,), block=()), "in phase 'before'"),
    "a record that reads what is not yet there": (
        program(block=(Stream(np.array([SUM, 1, 4, 3, 0, 1, 3, 0], dtype=np.int32), 1, block=True),)),
        "not yet computed",
    ),
    "a record that writes outside": (
        program(block=(Stream(np.array([MUL, 1, 2, 5, 0, 1], dtype=np.int32), 1, block=True),)),
        "a result of a stream is outside",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", UNSOUND)
def test_an_unsound_program_is_refused(name: str) -> None:
    broken, message = UNSOUND[name]
    with pytest.raises(ProgramError, match=message):
        verify(broken)


def test_long_loops_are_checked_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(programs, "AT_ONCE", 1)
    for sound in SOUND.values():
        verify(sound)
    for broken, message in UNSOUND.values():
        with pytest.raises(ProgramError, match=message):
            verify(broken)


def test_a_program_prints_its_phases_maps_and_results() -> None:
    assert str(program(before=(), results=(("u", 2), ("v", 3), ("v", 4)))) == (
        "1 parameters, 3 inputs, 1 constants; 3 slots in u, 5 in v\n"
        "block:\n"
        "  v[3+i] = mul v[i] u[0] for 2\n"
        "  u[2] = reduce + 2×(v[3+t] v[3+t]) for 1\n"
        "return u[2] v[3..4]"
    ).replace("v[i]", "v[0+i]")
    assert str(LOOP) == "loop 3:\n  v[3+i+r] = add v[2+i+r] v[0+i] for 1"
    table = Index("v", 4, (0, 2), members=np.zeros((3, 1), dtype=np.int64))
    assert str(table) == "v[4+2j+table]"


def test_an_index_names_its_slots() -> None:
    moving = Index("v", 5, (10, -1), term=3, shifts=(100, 7))
    np.testing.assert_array_equal(moving.slots((2, 2), 2, (1, 2)), 119 + np.array([[0, 3], [-1, 2], [10, 13], [9, 12]]))
    rows = Index("u", 0, (0, 1), members=np.array([[4], [0]]), terms=np.array([0, 20]))
    np.testing.assert_array_equal(rows.slots((2, 3), 2), [[4, 24], [5, 25], [6, 26], [0, 20], [1, 21], [2, 22]])
    full = Index("u", 0, (0,), full=np.array([[3, 1], [2, 2]]), shifts=(1,))
    np.testing.assert_array_equal(full.slots((2,), 2, (3,)), [[6, 4], [5, 5]])


CHANGES: list[dict[str, Any]] = [
    {"parameters": 2}, {"inputs": 2}, {"constants": np.array([0.25])}, {"constants": np.array([-0.0])}, {"uniform": 4},
    {"varying": 6}, {"results": (("u", 1),)}, {"batch": False}, {"weight": None}, {"first_output": 3},
    {"uniform_inputs": 1}, {"block": (total(), product())}, {"block": (product(), total()), "after": (product(),)},
    {"block": (product(code=ADD), total())}, {"block": (product(dims=(1,)), total())},
    {"block": (product(args=(at("v", 1), at("u", 0, 0))), total())},
    {"block": (product(args=(0.5, at("u", 0, 0))), total())},
    {"block": (product(args=(-0.0, at("u", 0, 0))), total())},
    {"block": (product(args=(0.0, at("u", 0, 0))), total())},
    {"block": (product(), total(), STREAM)}, {"block": (LOOP,)}, {"block": (Loop(4, LOOP.body),)},
    {"block": (Loop(3, (*LOOP.body, *LOOP.body)),)},
    {"block": (product(), total(segments=(Segment(1, at("v", 3, 0, term=1), at("v", 3, 0, term=1)),)))},
    {"block": (product(args=(at("v", 0, 0, members=np.array([0, 1])), at("u", 0, 0))), total())},
    {"block": (product(args=(at("v", 0, 0, members=np.array([1, 0])), at("u", 0, 0))), total())},
]  # fmt: skip


def test_mapping_an_instruction_visits_each_operand_once_in_order() -> None:
    table = Index("u", 0, (0,), full=np.array([[3, 5]]))
    segments = (Segment(2, 0.5, table), Segment(1, Index("u", 7, (0,)), -1.0))
    instruction = Instruction("dot", 0, (1,), Index("u", 9, (0,)), segments=segments)
    seen: list[Any] = []

    def index(x: Index, count: int) -> Index:
        seen.append(count)
        return x.displaced(10)

    def number(x: float) -> float:
        seen.append(x)
        return x + 1.0

    found = instruction.mapped(index, number)
    assert seen == [1, 0.5, 2, 1, -1.0]
    assert str(found) == "u[19] = dot + 2×(1.5 u[0+table]) + 1×(u[17] 0.0) for 1"
    assert [x.slots((1,), count).tolist() for x, count in found.operands() if isinstance(x, Index)] == [
        [[13, 15]],
        [[17]],
    ]
    take = Instruction("take", ops.take.code, (1,), Index("u", 9, (0,)), args=(1.0, table), count=2)
    assert [count for _, count in take.mapped(index, number).operands()] == [1, 2]
    assert seen[5:] == [1, 1.0, 2]


def test_programs_that_differ_have_other_digests() -> None:
    digests = [program(**change).fingerprint() for change in ({}, *CHANGES)]
    assert len(set(digests)) == len(digests)
    assert program().fingerprint() == program().fingerprint()


def test_walks_go_through_loops_in_loops() -> None:
    step = LOOP.body[0]
    nest = Loop(2, (step, Loop(3, (step,))))
    assert body_of(nest) == (step, step)
    assert [around for _, around in counted(nest)] == [(2,), (2, 3)]
    assert [rounds for _, rounds in executed(nest)] == [
        (0,), (0, 0), (0, 1), (0, 2), (1,), (1, 0), (1, 1), (1, 2),
    ]  # fmt: skip
    assert body_of(STREAM) == ()
