"""Instructions that their readers compute outside of blocks: which they are, and that no bit changes."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

import macrograd as mg
from macrograd import Value, ops
from macrograd.compiler import pipeline
from macrograd.compiler.program.program import Index, Instruction, Program, Segment
from macrograd.compiler.targets.llvm import lower
from macrograd.compiler.targets.scalar.inline import inlined, mapping_of
from macrograd.compiler.targets.scalar.inside import Computed

pytest.importorskip("llvmlite")

from written import MACHINE, dot

X = [Value(x) for x in np.random.default_rng(3).normal(size=60).tolist()]
RATE = Value(0.25)


def rosenbrock() -> Any:
    total = 0.0
    for a, b in pairwise(X):
        u, v = b - a * a, 1.0 - a
        total = total + 100.0 * u * u + v * v
    return total


def smoothed() -> Any:
    """A stencil of three steps whose ends stay."""
    x = X
    for _ in range(3):
        x = [x[0], *(b + RATE * (a - 2.0 * b + c) for a, b, c in zip(x, x[1:], x[2:], strict=False)), x[-1]]
    return mg.sum([a * a for a in x])


def backwards() -> Any:
    """Operands that run the other way, and products of both ends."""
    differences = [a * b - RATE for a, b in zip(X, reversed(X), strict=True)]
    return mg.sum([a / (1.0 + b * b) for a, b in zip(reversed(differences), X, strict=True)])


def program_of(fn: Callable[[], Any], strict: bool = False) -> Program:
    return pipeline.gradient_program(pipeline.record(fn, [], strict=strict), batch=False, strict=strict)


def written(program: Program) -> list[Instruction]:
    return [x for name in ("before", "after") for x in inlined(program, MACHINE)[name] if isinstance(x, Instruction)]


def test_the_derivative_of_a_sum_over_neighbours_is_two_passes() -> None:
    """One for the sum, one for the gradient; and a few members at the ends."""
    found = written(program_of(rosenbrock))
    assert [x.members for x in found if x.members > 8] == [57]
    assert [max(s.count for s in x.segments) for x in found if x.kind == "dot" and x.members == 1 and x.terms > 99] == [
        59
    ]
    assert sum(x.members for x in found if x.members <= 8) <= 8


@pytest.mark.parametrize(("fn", "strict"), [(rosenbrock, False), (smoothed, True), (backwards, False)])
def test_no_bit_changes(fn: Callable[[], Any], strict: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    program = program_of(fn, strict)
    assert any(isinstance(x, Computed) for i in written(program) for x, _ in i.operands())
    found = []
    for plain in (False, True):
        if plain:
            monkeypatch.setenv("MACROGRAD_CACHE", "off")
            monkeypatch.setattr(lower, "inlined", lambda program, _: dict(program.phases()))
        f = mg.compile(fn, strict=strict)
        f()
        value, gradient = f.value_and_grad(f.theta())
        found.append((struct.pack("d", value), gradient.tobytes()))
        for p in f.parameters:
            p.grad = 0.0
        expected = fn()
        expected.backward()
        eager = np.array([p.grad for p in f.parameters])
        if strict:
            assert (value, gradient.tolist()) == (expected.data, eager.tolist())
        np.testing.assert_allclose(gradient, eager, rtol=1e-12, atol=1e-12)
    assert found[0] == found[1]


# --- which instructions are left out ----------------------------------------------------------------------------------

N = 40


def row(op: str, at: int, *args: Index | float, n: int = N) -> Instruction:
    return Instruction("map", ops.BY_NAME[op].code, (n,), Index("u", at, (1,)), args)


def u(base: int, stride: int = 1, **more: Any) -> Index:
    return Index("u", base, (stride,), **more)


def left(*steps: Any, results: Sequence[int] = (), **more: Any) -> list[int]:
    """Where the results of the instructions that are written begin. N parameters are in the slots from 0."""
    program = Program(
        steps, (), (), parameters=N, inputs=0, constants=np.zeros(0), uniform=1000, varying=0,
        results=tuple(("u", slot) for slot in results), batch=False, **more,
    )  # fmt: skip
    return [x.out.base for x in inlined(program, MACHINE)["before"] if isinstance(x, Instruction)]


DOUBLED = row("add", 100, u(0), u(0))


def test_results_of_the_program_are_written() -> None:
    reader = row("relu", 200, u(100))
    assert left(DOUBLED, reader, results=range(200, 240)) == [200]
    assert left(DOUBLED, reader, results=range(100, 140)) == [100, 200]
    assert left(DOUBLED, reader, results=[120, 200]) == [100, 200]


def test_costly_operations_are_written_and_may_read_what_is_not() -> None:
    assert left(row("tanh", 100, u(0)), row("relu", 200, u(100)), results=[200]) == [100, 200]
    assert left(DOUBLED, row("tanh", 200, u(100)), results=[200]) == [200]


def test_how_often_it_is_read_decides() -> None:
    """Each reader computes it again; two operands of a reader that move alike are one."""
    readers = [row("add", 200 + 100 * k, u(100), u(100)) for k in range(6)]
    assert left(DOUBLED, *readers[:4], results=range(200, 1000)) == [200, 300, 400, 500]
    assert left(DOUBLED, *readers, results=range(200, 1000)) == [100, 200, 300, 400, 500, 600, 700]
    shifted = [row("add", 200 + 100 * k, u(100), u(101), n=N - 1) for k in range(4)]
    assert left(DOUBLED, *shifted, results=range(200, 1000)) == [100, 200, 300, 400, 500]


def test_a_product_with_a_matrix_reads_it_too_often() -> None:
    def sums(n: int) -> Instruction:
        return dot((n,), u(200), Segment(N, Index("u", 0, (0,), term=1), Index("u", 100, (0,), term=1)))

    assert left(DOUBLED, sums(1), results=[200]) == [200]
    assert left(DOUBLED, sums(20), results=[200]) == [100, 200]


def test_what_others_read_is_written() -> None:
    reader = row("relu", 200, u(100))
    table = row("relu", 300, u(0, 0, members=np.arange(100, 140)))
    assert left(DOUBLED, reader, table, results=[200, 300]) == [100, 200, 300]
    beyond = row("relu", 300, u(90))  # reads other slots, too
    assert left(DOUBLED, reader, beyond, results=[200, 300]) == [100, 200, 300]
    later = Program(
        (DOUBLED, reader), (), (row("relu", 300, u(100)),), parameters=N, inputs=0, constants=np.zeros(0),
        uniform=1000, varying=0, results=(("u", 200), ("u", 300)), batch=False,
    )  # fmt: skip
    assert inlined(later, MACHINE)["before"] == later.before


def test_a_few_members_at_an_end_are_separate_where_they_read_another_instruction() -> None:
    ends = row("mul", 140, u(0), 2.0, n=1)
    assert left(DOUBLED, ends, row("relu", 200, u(101)), results=[200]) == [140, 200, 239]


# --- members as their readers see them --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("base", "stride", "n", "expected"),
    [
        (100, 1, 40, ((0, (1,), 0),)),
        (139, -1, 40, ((39, (-1,), 0),)),
        (103, 2, 18, ((3, (2,), 0),)),
        (120, 0, 99, ((20, (0,), 0),)),
        (101, 1, 40, None),
        (99, 1, 10, None),
        (105, -1, 7, None),
    ],
)
def test_a_member_as_a_reader_sees_it(base: int, stride: int, n: int, expected: Any) -> None:
    assert mapping_of(u(base, stride), (n,), 1, DOUBLED) == expected


def test_members_of_several_counters() -> None:
    """Every slot that an operand reads is the result of the member that it is mapped to."""
    made = Instruction("map", ops.add.code, (4, 6), Index("u", 100, (6, 1)), (1.0, 2.0))
    found = 0
    for base in range(98, 126):
        for strides in [(6, 1), (-6, 1), (1, 6), (7, -1), (5, 1), (12, -2), (0, 1), (6, 0), (1, 1)]:
            operand = Index("u", base, strides, term=1)
            mapping = mapping_of(operand, (2, 3), 2, made)
            slots = operand.slots((2, 3), 2).reshape(2, 3, 2)
            whole = set(slots.ravel().tolist()) <= set(range(100, 124))
            if mapping is None:
                continue
            found += 1
            assert whole
            for (i, j, t), slot in np.ndenumerate(slots):
                member = [start + moves[0] * i + moves[1] * j + term * t for start, moves, term in mapping]
                assert all(0 <= k < n for k, n in zip(member, made.dims, strict=True))
                assert 100 + 6 * member[0] + member[1] == slot
    assert found > 60
