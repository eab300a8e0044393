"""Which steps read the slots that a loop writes again (`targets/scalar/held.py`)."""

from __future__ import annotations

import numpy as np
import pytest

from macrograd import ops
from macrograd.compiler.program.program import Index, Instruction, Loop, Program, Step
from macrograd.compiler.targets.scalar.held import Readers, held


def copy(source: int, target: int, *shifts: int) -> Instruction:
    """One number from a slot to another, both moving so many slots in each round."""
    return Instruction(
        "map",
        ops.neg.code,
        (1,),
        Index("u", target, (0,), shifts=shifts),
        (Index("u", source, (0,), shifts=shifts),),
    )


def program(*steps: Step, reused: tuple[tuple[int, int], ...]) -> Program:
    ranges = tuple([("u", a, b) for a, b in reused])
    return Program((), (), steps, 0, 0, np.empty(0), 100, 0, [("u", 22)], batch=False, reused=ranges)


FIRST, LOOP, LAST = copy(10, 11), Loop(3, (copy(12, 15, 1), copy(15, 16, 0))), copy(14, 17)


def test_readers_of_a_slot_beside_a_step() -> None:
    readers = Readers(program(FIRST, LOOP, LAST, reused=((10, 18), (12, 14), (20, 24))))
    assert readers
    assert not readers.beside(10, FIRST)
    assert readers.beside(10, LOOP)
    assert not readers.beside(12, LOOP)  # read in the first round
    assert readers.beside(14, LOOP)  # in the last one, and by the last step
    assert readers.beside(14, LAST)
    assert not readers.beside(17, FIRST)  # by nobody
    assert readers.beside(22, FIRST)  # a result
    assert readers.touched(Index("u", 16, (1,)), (6,), 1, ()).tolist() == [16, 17, 20, 21]


def test_a_program_that_writes_nothing_again_has_no_readers() -> None:
    assert not Readers(program(FIRST, LOOP, LAST, reused=()))
    assert not held(LOOP, Readers(program(FIRST, reused=())), lambda instruction: True)


def test_what_one_instruction_writes_and_none_reads_elsewhere_is_held() -> None:
    loop = Loop(3, (copy(12, 15, 0), copy(15, 16, 0), copy(15, 13, 0), copy(12, 13, 0)))
    readers = Readers(program(loop, reused=((10, 18),)))
    assert held(loop, readers, lambda instruction: True) == {15, 16}  # 13 is written twice
    assert held(loop, readers, lambda instruction: instruction.out.base != 16) == {15} - {15}
    moving = Loop(3, (copy(12, 15, 1), copy(12, 16, 0)))
    assert held(moving, Readers(program(moving, reused=((10, 18),))), lambda instruction: True) == set()


def test_millions_of_slots_take_no_memory_each() -> None:
    tracemalloc = pytest.importorskip("tracemalloc")
    whole = program(FIRST, LOOP, LAST, reused=((10, 1_000_000),))
    tracemalloc.start()
    try:
        readers = Readers(whole)
        assert tracemalloc.get_traced_memory()[1] < 20_000_000
    finally:
        tracemalloc.stop()
    assert not readers.beside(999_999, FIRST)
