"""Groups of instructions that run together: which they are, that their order is sound, and that no number changes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from random_programs import RandomProgram, Recurrence, programs, recurrences

import macrograd as mg
from macrograd import Value, ops
from macrograd.compiler import pipeline
from macrograd.compiler.jit.text import DOUBLE
from macrograd.compiler.program.program import Index, Instruction, Loop, Program, Segment, counted, verify
from macrograd.compiler.roll.groups import Group
from macrograd.compiler.targets.scalar import fuse
from macrograd.compiler.targets.scalar.fuse import groups, readers
from macrograd.compiler.targets.scalar.machine import Machine

pytest.importorskip("llvmlite")

TARGET = Machine(DOUBLE, vector_bytes=32, lanes=16, single=True, strict=False)


def net(x: Any, t: Any) -> Any:
    hidden = [mg.relu(sum((w * a for w, a in zip(row, x, strict=True)), Value(0.1))) for row in W]
    return (sum(v * h for v, h in zip(V, hidden, strict=True)) - t) ** 2


W = [[Value(0.1 * i - 0.07 * j) for j in range(5)] for i in range(7)]
V = [Value(0.3 * i - 1.0) for i in range(7)]


def gradient(function: Any, shapes: list[tuple[int, ...]]) -> Program:
    return pipeline.gradient_program(pipeline.record(function, shapes), batch=True)


def of_steps(
    program: Program, target: Machine = TARGET
) -> Iterator[tuple[list[Instruction], list[Group], tuple[int, ...]]]:
    """Instructions of the block in a row, their groups, and how often the loops around them run."""
    read = readers(program)

    def runs(steps: Sequence[Any], counts: tuple[int, ...]) -> Iterator[Any]:
        plain: list[Instruction] = []
        for step in [*steps, None]:
            if isinstance(step, Instruction):
                plain.append(step)
                continue
            if plain:
                yield plain, groups(plain, read, target, counts), counts
            plain = []
            if isinstance(step, Loop):
                yield from runs(step.body, (*counts, step.count))

    return runs(program.block, ())


def test_what_follows_a_sum_of_products_is_in_its_group() -> None:
    ((_, found, _),) = of_steps(gradient(net, [(5,), ()]))
    kinds = [[i.kind for i in group.instructions] for group in found]
    assert kinds[0] == ["dot", "map"]  # the neurons and their relu
    assert kinds[4] == ["map", "map", "reduce"]  # the adjoint through relu; the gradient of v, which reads it too


def map_of(op: Any, dims: tuple[int, ...], out: Index, *args: Index) -> Instruction:
    return Instruction("map", op.code, dims, out, args)


def v(base: int, *member: int, term: int = 0) -> Index:
    return Index("v", base, member, term)


SUM = Instruction("dot", 0, (6, 4), v(100, 4, 1), segments=(Segment(3, v(0, 3, 0, term=1), v(20, 0, 3, term=1)),))


@pytest.mark.parametrize(
    "follows",
    [
        map_of(ops.relu, (4, 6), v(200, 6, 1), v(100, 1, 4)),  # column by column
        map_of(ops.relu, (24,), v(200, 1), v(100, 1)),  # by one counter
        map_of(ops.relu, (24,), v(200, 2), v(123, -1)),  # and backwards
        map_of(ops.relu, (6, 4), v(200, 4, 1), v(120, -4, 1)),  # from the last row to the first
        map_of(ops.mul, (4, 6), v(200, 6, 1), v(40, 6, 1), v(103, -1, 4)),
    ],
    ids=str,
)
def test_a_map_gets_the_counters_of_the_sums_that_it_reads(follows: Instruction) -> None:
    (group,) = groups([SUM, follows], np.ones(300, np.int64), TARGET)
    moved = group.instructions[1]
    assert moved.dims == SUM.dims
    assert any(x.affine and (x.base, x.member) == (100, (4, 1)) for x, _ in moved.operands() if isinstance(x, Index))
    np.testing.assert_array_equal(members(follows), members(moved))
    assert group.stored == (False, True)


@pytest.mark.parametrize(
    "apart",
    [
        map_of(ops.relu, (4, 6), v(200, 6, 1), v(101, 1, 4)),  # partly of other results
        map_of(ops.relu, (4, 5), v(200, 6, 1), v(100, 1, 4)),  # of some results
        map_of(ops.relu, (24,), v(200, 1), v(100, 2)),
        map_of(ops.relu, (2, 3, 4), v(200, 12, 4, 1), v(100, 12, 4, 1)),  # its first two would have to be one
        map_of(ops.relu, (8, 3), v(200, 3, 1), v(100, 3, 1)),  # a row of four would begin in the middle of one of three
        map_of(ops.mul, (24,), v(200, 1), v(100, 1), Index("v", 40, (0,), members=np.arange(24) ** 2)),
    ],
    ids=str,
)
def test_a_map_keeps_its_counters_if_others_do_not_lead_it_along(apart: Instruction) -> None:
    found = groups([SUM, apart], np.ones(1000, np.int64), TARGET)
    assert [group.instructions for group in found] == [(SUM,), (apart,)]


def test_what_only_the_group_reads_is_not_stored() -> None:
    ((_, found, _),) = of_steps(gradient(net, [(5,), ()]))
    assert found[0].stored == (False, True)  # relu's argument; relu itself is read by the next sum
    assert found[4].stored == (False, True, True)


def test_costly_maps_do_not_follow_sums() -> None:
    program = gradient(
        lambda x: mg.sum([mg.tanh(sum(w * a for w, a in zip(row, x, strict=True))) for row in W]), [(5,)]
    )
    ((_, found, _),) = of_steps(program)
    assert [i.kind for i in found[0].instructions] == ["dot"]


def test_sums_over_the_batch_wait_where_a_tile_has_not_all_lanes() -> None:
    wide = replace(TARGET, lanes=64)
    ((_, found, _),) = of_steps(gradient(net, [(5,), ()]), wide)
    assert all(i.kind != "reduce" for group in found if len(group.instructions) > 1 for i in group.instructions)


def check(program: Program) -> None:
    """Every instruction is there once, the order of the groups is sound, and what is not stored is not missed."""
    for before, found, counts in of_steps(program):
        after = [instruction for group in found for instruction in group.instructions]
        assert sorted(map(name, before)) == sorted(map(name, after))
        moved = {name(instruction): instruction for instruction in after}
        for instruction in before:
            np.testing.assert_array_equal(members(instruction), members(moved[name(instruction)]))
        for group in found:
            for instruction, stored in zip(group.instructions, group.stored, strict=True):
                assert stored or not read_elsewhere(program, instruction, group, counts)
    read = readers(program)

    def again(steps: Sequence[Any], counts: tuple[int, ...]) -> tuple[Any, ...]:
        if all(isinstance(step, Instruction) for step in steps):
            return tuple(i for group in groups(steps, read, TARGET, counts) for i in group.instructions)
        return tuple(
            Loop(step.count, again(step.body, (*counts, step.count))) if isinstance(step, Loop) else step
            for step in steps
        )

    verify(replace(program, block=again(program.block, ())))


def name(instruction: Instruction) -> tuple[str, int]:
    """Its first result: every slot is written once."""
    return instruction.out.space, int(instruction.out.slots(instruction.dims).min())


def members(instruction: Instruction) -> Any:
    """For each result of an instruction its slot and those of its operands, in the order of the results."""
    operands = [(x, count) for x, count in instruction.operands() if isinstance(x, Index)]
    slots = [x.slots(instruction.dims, count) for x, count in [(instruction.out, 1), *operands]]
    rows = np.concatenate(slots, axis=1)
    return rows[np.argsort(rows[:, 0], kind="stable")]


def read_elsewhere(program: Program, made: Instruction, group: Group, counts: tuple[int, ...]) -> bool:
    slots = {int(s) for r in np.ndindex(*counts) for s in made.out.slots(made.dims, 1, r).ravel()}
    if slots & {slot for space, slot in program.results if space == made.out.space}:
        return True
    inside = {name(instruction): instruction for instruction in group.instructions}
    for step in program.block:
        for instruction, around in counted(step):
            instruction = inside.get(name(instruction), instruction)
            for x, count in instruction.operands():
                if not isinstance(x, Index) or x.space != "v":
                    continue
                for r in np.ndindex(*around):
                    read = x.slots(instruction.dims, count, r)
                    if name(instruction) in inside and np.array_equal(read, made.out.slots(made.dims, 1, r)):
                        continue
                    if slots & set(read.ravel().tolist()):
                        return True
    return False


@settings(max_examples=25)
@given(programs())
def test_random_programs(program: RandomProgram) -> None:
    check(gradient(program.loss, [(program.inputs,), ()]))


@settings(max_examples=25)
@given(recurrences(["add", "sub", "mul", "neg", "tanh", "sigmoid", "sum"]))
def test_random_recurrences(program: Recurrence) -> None:
    check(gradient(program.loss, [(program.inputs,), ()]))


@settings(max_examples=12)
@given(programs())
def test_groups_change_no_number(program: RandomProgram) -> None:
    def run() -> Any:
        values = mg.compile(program, batch=True, strict=True, backend="llvm")
        loss = mg.compile(program.loss, batch=True, strict=True, backend="llvm")
        found = []
        for samples in (3, 29, 300):
            X, index = program.data(samples)
            found.append(np.asarray(values(X, index)))
            for p in program.parameters:
                p.grad = 0.0
            loss.backward(X, index)
            found.append(np.array([p.grad for p in program.parameters]))
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MACROGRAD_CACHE", "off")
        together = run()
        patch.setattr(fuse, "WINDOW", 0)
        alone = run()
    for k, (a, b) in enumerate(zip(together, alone, strict=True)):
        if k % 2:
            np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12)
        else:
            assert a.tobytes() == b.tobytes()


def test_lanes_without_a_sample_do_not_reach_the_sums() -> None:
    """They repeat the last sample with the weight 0, and 0·∞ would be NaN."""
    w = Value(2.0)
    f = mg.compile(lambda x: mg.where(x, w * x, 1.0) * x, batch=True, backend="llvm")
    assert f.backward(np.array([1.0, 2.0, 1e200])) == np.inf
    assert w.grad == np.inf


LATE_USES: dict[str, Any] = {
    "tanh": lambda s: mg.tanh(s) + s,
    "sigmoid": lambda s: mg.sigmoid(s) + s,
    "exp": lambda s: mg.exp(s) - 0.5 * s,
    "maximum": lambda s: mg.tanh(mg.maximum(s, 0.5 * s)) + s,
    "where": lambda s: mg.tanh(mg.where(s, 1.0, 0.5 * s)) + s,
}


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", LATE_USES)
def test_what_is_read_outside_of_its_group_is_in_memory_for_every_vector_of_lanes(name: str, dtype: str) -> None:
    p, q, function = Value(0.3), Value(0.7), LATE_USES[name]
    f, reference = (
        mg.compile(lambda x: function(x * q - p), batch=True, dtype=dtype, backend=backend)
        for backend in ("llvm", "numpy")
    )
    for samples in (1, 7, 8, 9, 15, 16, 17, 24, 31, 32, 33, 48, 63, 64, 65, 200):
        X = np.linspace(-1.0, 0.99, samples)  # away from where q·x is p, a kink
        np.testing.assert_allclose(f(X), reference(X), rtol=0, atol=1e-13 if dtype == "float64" else 1e-5)
        found = []
        for compiled in (f, reference):
            p.grad = q.grad = 0.0
            found.append([compiled.backward(X), p.grad, q.grad])
        np.testing.assert_allclose(*found, rtol=0, atol=1e-13 if dtype == "float64" else 1e-5)
