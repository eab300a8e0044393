"""The emitter: along which axis an instruction is a vector, what stays in registers between rounds, and the rest."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from written import MACHINE, agrees, before, count, dot

from macrograd import ops
from macrograd.compiler.program.program import Index, Instruction, Loop, Program, Segment, verify
from macrograd.compiler.program.stream import Stream
from macrograd.compiler.targets.llvm.code import code_for
from macrograd.compiler.targets.scalar.access import Tables
from macrograd.compiler.targets.scalar.emit import Emitter
from macrograd.compiler.targets.scalar.machine import Machine

TANH = ops.BY_NAME["tanh"].code


def written(*steps: Any, phase: str = "before", machine: Machine = MACHINE) -> list[str]:
    """The lines of these steps."""
    code = code_for(machine.kind, strict=machine.strict)
    Emitter(code, machine, Tables(), phase, np.zeros(100, dtype=np.int64)).steps(steps)
    return code.lines


def add(n: int, *args: Index | float, space: str = "u", at: int = 50, stride: int = 1) -> Instruction:
    return Instruction("map", ops.add.code, (n,), Index(space, at, (stride,)), args)


def test_in_a_block_the_lanes_are_the_vector() -> None:
    lines = written(add(20, Index("v", 0, (3,)), 1.0, space="v"), phase="block")
    assert count(lines, "fadd <4 x double>") > 0
    assert count(lines, "fadd double") == 0


@pytest.mark.parametrize(
    ("x", "stride", "vectors"),
    [
        (Index("u", 0, (1,)), 1, True),
        (Index("u", 0, (0,)), 1, True),  # one number for all
        (Index("u", 0, (2,)), 1, False),
        (Index("u", 0, (1,)), 2, False),
        (Index("u", 0, (0,), members=np.arange(20) % 7), 1, False),
    ],
)
def test_outside_of_blocks_contiguous_members_are_the_vector(x: Index, stride: int, vectors: bool) -> None:
    lines = written(add(20, x, 1.0, stride=stride))
    assert (count(lines, "fadd <4 x double>") > 0) is vectors
    agrees(before(add(20, x, 1.0, at=40), 40))


def product(terms: int, stride: int = 1) -> Instruction:
    """u[150] = Σ u[t]·u[stride·t + 50]"""
    return dot((1,), Index("u", 150, (1,)), Segment(terms, Index("u", 0, (0,), 1), Index("u", 50, (0,), stride)))


def test_of_long_sums_the_contiguous_terms_are_the_vector() -> None:
    assert count(written(product(64)), "fmuladd.v4f64") > 0
    assert count(written(product(64, 2)), "x double>") == 0
    assert count(written(product(64), machine=replace(MACHINE, strict=True)), "x double>") == 0  # another order
    agrees(before(product(50), 150))


def test_few_scalars_are_written_out_without_a_loop() -> None:
    assert count(written(add(8, Index("u", 0, (2,)), 1.0)), "^loop") == 0
    assert count(written(add(64, Index("u", 0, (2,)), 1.0)), "^loop") == 1


def test_few_long_operations_are_gathered_into_a_vector() -> None:
    tanh = Instruction("map", TANH, (4,), Index("u", 50, (1,)), (Index("u", 0, (2,)),))
    assert count(written(tanh), "extractelement <4 x double>") == 4
    assert count(written(replace(tanh, dims=(1,))), "extractelement") == 0


def test_sums_are_vectors_too_if_a_long_operation_reads_them() -> None:
    """Else each would be taken out of a register and put back into another."""
    x, y = Index("u", 0, (2,)), Index("u", 20, (2,))
    sums = dot((4,), Index("u", 50, (1,)), Segment(1, x, y))
    tanh = Instruction("map", TANH, (4,), Index("u", 60, (1,)), (Index("u", 50, (1,)),))
    assert count(written(sums, tanh), "fmul <4 x double> %") > count(written(tanh), "fmul <4 x double> %")
    assert count(written(sums, replace(tanh, args=(Index("u", 70, (1,)),))), "fmul double") == 4


def recurrence(rounds: int) -> Loop:
    """h[k + 1] = h[k] + u[k + 20], h from slot 40."""
    state, given = Index("u", 40, (0,), shifts=(1,)), Index("u", 20, (0,), shifts=(1,))
    return Loop(rounds, (Instruction("map", ops.add.code, (1,), Index("u", 41, (0,), shifts=(1,)), (state, given)),))


def test_a_scalar_that_a_round_leaves_for_the_next_stays_in_a_register() -> None:
    lines = written(recurrence(9))
    assert count(lines, "phi double") == 1
    assert count(lines, "load double") == 2  # before the first round, and what each round is given
    skipping = recurrence(9)
    (step,) = skipping.body
    assert isinstance(step, Instruction)
    far = replace(step, args=(Index("u", 38, (0,), shifts=(1,)), step.args[1]))  # made three rounds before
    assert count(written(replace(skipping, body=(far,))), "phi double") == 0


def test_a_loop_is_its_rounds() -> None:
    results = tuple(("u", 41 + k) for k in range(9))
    program = verify(Program((recurrence(9),), (), (), 41, 0, np.empty(0), 50, 0, results, batch=False))
    found = agrees(program)
    given = np.random.default_rng(0).normal(size=41)
    np.testing.assert_allclose(found, given[40] + np.cumsum(given[20:29]), rtol=1e-14)


@pytest.mark.parametrize("kind", ["reduce", "scatter"])
def test_lanes_without_a_sample_are_cleared_before_sums_over_the_batch(kind: str) -> None:
    x = Index("v", 5, (1,))
    if kind == "reduce":
        step = dot((3,), Index("u", 50, (1,)), Segment(1, x, x), kind="reduce")
    else:
        step = Instruction("scatter", 0, (3,), Index("u", 50, (1,)), (Index("v", 5, (0,)), Index("v", 6, (0,))))
    lines = written(step, phase="block")
    cleared = [line.partition("i64 ")[2] for line in lines if "@clean" in line]
    assert set(cleared) == ({"5, i64 8)"} if kind == "reduce" else {"5, i64 6)", "6, i64 7)"})
    last = max(k for k, line in enumerate(lines) if "@clean" in line)
    assert last < min(k for k, line in enumerate(lines) if re.search("load (double|<)", line))


def test_a_stream_is_a_call_with_its_table() -> None:
    words = np.array([TANH, 1, 1, 1, 0], dtype=np.int32)
    tables, code = Tables(), code_for(MACHINE.kind, strict=False)
    stream = Stream(words, 1, block=False)
    Emitter(code, MACHINE, tables, "before", np.zeros(9, dtype=np.int64)).steps([stream])
    assert tables.array()[: len(stream.table())].tolist() == stream.table().tolist()
    assert count(code.lines, r"call void %\w+\(ptr %u, ptr %v") == 1
