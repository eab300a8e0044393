"""The kernel of streams: every record, of numbers or of lanes, as `program/stream.py` states it."""

from __future__ import annotations

import ctypes
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from macrograd import ops
from macrograd.compiler.jit import native
from macrograd.compiler.jit.text import DOUBLE, SINGLE, Float
from macrograd.compiler.program.stream import MORE, SPREAD, SUM, TOTAL
from macrograd.compiler.targets.llvm.kernel import kernel, kernel_text, plain, rare
from macrograd.compiler.targets.scalar.machine import Machine

LANES, VALID = 32, 29
Row = tuple[int, list[list[int]]]  # an operation; its results' slots, and those of each operand


def machine(*, single: bool = True, in_order: bool = False) -> Machine:
    return Machine(DOUBLE, native.machine().vector_bytes, LANES, single, strict=in_order, in_order=in_order)


def run(
    made: Machine,
    u: Any,
    v: Any,
    *rows: Row,
    block: bool,
    composed: tuple[int, ...] = (),
    code: native.Native | None = None,
) -> bool:
    """Run the records on u and v, with the machine's kernel or other code; whether an index was out of range."""
    words = [x for op, slots in rows for x in (op, len(slots[0]), len(slots) - 1, *np.ravel(slots).tolist())]
    code = code or kernel(made, block=block, composed=composed)
    pointer, integer = ctypes.c_void_p, ctypes.c_int64
    address = ctypes.cast(code.functions["stream"], pointer).value
    flag, records = np.zeros(1, dtype=np.int64), np.array(words, dtype=np.int32)
    ctypes.CFUNCTYPE(None, pointer, pointer, pointer, integer, pointer, integer)(address)(
        u.ctypes.data, v.ctypes.data, records.ctypes.data, len(words), flag.ctypes.data, VALID
    )
    return bool(flag[0])


def lanes(slots: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).uniform(0.5, 2.0, (slots, LANES))


def test_numbers_outside_blocks() -> None:
    u = np.array([2.0, 3.0, 5.0, 0.0, 0.0, 0.0, 0.0, 0.0])
    records: list[Row] = [
        (ops.mul.code, [[3, 4], [0, 1], [1, 2]]),
        (SUM, [[5], [0], [1], [4], [0]]),
        (ops.take.code, [[6, 7], [0, 0], [0, 1], [1, 2], [5, 4]]),
    ]
    assert not run(machine(), u, np.zeros(1), *records, block=False)
    assert u.tolist() == [2.0, 3.0, 5.0, 6.0, 15.0, 36.0, 36.0, 15.0]
    u[0] = 7.0
    assert run(machine(), u, np.zeros(1), records[-1], block=False)


def test_lanes_of_a_block() -> None:
    u, v = np.array([4.0, 0.0]), lanes(6)
    a, b, c = v[:3].copy()
    index = v[4] = np.arange(LANES) % 3.0
    flagged = run(
        machine(),
        u,
        v,
        (ops.exp.code, [[3], [0]]),
        (ops.take.code, [[5], [4], [0], [1], [3]]),
        (SPREAD, [[1], [0]]),
        (SUM, [[2], [2], [1], [0], [1]]),
        block=True,
    )
    assert not flagged
    np.testing.assert_allclose(v[3], np.exp(a), rtol=1e-15)
    np.testing.assert_array_equal(v[5], np.choose(index.astype(int), [a, b, v[3]]))
    np.testing.assert_array_equal(v[1], 4.0)
    np.testing.assert_allclose(v[2], 4.0 * c + 4.0 * a, rtol=1e-15)


@pytest.mark.parametrize("in_order", [False, True])
@pytest.mark.parametrize("block", [False, True])
@pytest.mark.parametrize("terms", [1, 2, 4, 5, 8, 11])
def test_sums_of_products(terms: int, block: bool, in_order: bool) -> None:
    numbers = lanes(2 * terms + 3, seed=terms)
    held = numbers.copy() if block else numbers[:, 0].copy()
    out = [2 * terms, 2 * terms + 2]  # two members; the second has other right factors
    lists = [[2 * t + k, 2 * ((t + 1) % terms) + k] if k else [2 * t, 2 * t] for t in range(terms) for k in (0, 1)]
    run(machine(in_order=in_order), *(held,) * 2, (SUM, [out, *lists]), block=block)
    numbers = numbers if block else numbers[:, 0]
    for member, place in enumerate(out):
        expected = 0.0
        for t in range(terms):
            expected = expected + numbers[lists[2 * t][member]] * numbers[lists[2 * t + 1][member]]
        if in_order:
            np.testing.assert_array_equal(held[place], expected)
        np.testing.assert_allclose(held[place], expected, rtol=1e-14)
    np.testing.assert_array_equal(held[out[0] + 1], numbers[out[0] + 1])


@pytest.mark.parametrize("members", [1, 7, 8, 9])
def test_costly_operations_take_several_members_at_once(members: int) -> None:
    u = np.append(lanes(members)[:, 0], np.full(members + 1, -1.0))
    out, given = list(range(members, 2 * members)), list(range(members))
    run(machine(), u, np.zeros(1), (ops.div.code, [out, given, given[::-1]]), block=False)
    np.testing.assert_array_equal(u[members:], [*(u[:members] / u[:members][::-1]), -1.0])


@pytest.mark.parametrize("in_order", [False, True])
@pytest.mark.parametrize("single", [False, True])
def test_sums_leave_out_lanes_without_a_sample(single: bool, in_order: bool) -> None:
    u, v = np.full(4, 100.0), lanes(3)
    v[:, VALID:] = np.inf
    records: list[Row] = [(TOTAL, [[0, 1], [0, 1], [1, 2]]), (TOTAL, [[2], [2]]), (MORE, [[1], [0]])]
    run(machine(single=single, in_order=in_order), u, v, *records, block=True)
    a, b, c = v[:, :VALID]
    begun = 0.0 if single else 100.0  # with several blocks, by those before
    expected = [begun + a @ b, begun + b @ c + a.sum(), begun + c.sum(), 100.0]
    np.testing.assert_allclose(u, expected, rtol=1e-14)
    if in_order:
        total = begun
        for x in c:
            total += x
        assert u[2] == total


@pytest.mark.parametrize("kind", [DOUBLE, SINGLE], ids=lambda kind: kind.name)
@pytest.mark.parametrize("in_order", [False, True])
@pytest.mark.parametrize("block", [False, True])
def test_the_brief_text_gives_the_same_bits(block: bool, in_order: bool, kind: Float) -> None:
    """Every operation, and sums of few and of many terms, of numbers of all kinds."""
    rng, members = np.random.default_rng(0), 19
    made = plain(replace(machine(in_order=in_order), kind=kind), block=block)
    special = [0.0, -0.0, np.inf, -np.inf, np.nan, 5e-324, -1e-40, 1e300, -1e38, 1.0, -1.0, 1e9]
    given = np.where(rng.random((60, LANES)) < 0.5, rng.choice(special, (60, LANES)), rng.normal(size=(60, LANES)) * 3)
    given[:2] = [[2.0], [0.0]]  # indices
    count = len(given)

    def record(op: int, operands: int, first: list[list[int]] | None = None) -> Row:
        nonlocal count
        out, count = list(range(count, count + members)), count + members
        return op, [out, *(first or []), *rng.integers(0, 60, (operands, members)).tolist()]

    composed = tuple(row.code for row in (ops.exp, ops.tanh) if rare(made, row.code))
    codes = [row.code for row in ops.TABLE if row.arity in (1, 2, 3) and not rare(made, row.code)] + [*composed]
    rows = [record(code, ops.TABLE[code].arity or 0) for code in codes]
    rows += [record(SUM, 2 * terms) for terms in (1, 2, 3, 4, 5, 7, 8, 9, 30, 70)]
    rows += [record(ops.take.code, 3, [rng.integers(0, 2, members).tolist()])]
    dtype = np.float64 if kind is DOUBLE else np.float32
    with np.errstate(over="ignore"):
        begun = np.concatenate([given, np.zeros((count - 60, LANES))]).astype(dtype)
    found = []
    for brief in (False, True):
        text = kernel_text(made, block, composed, brief=brief)
        code = native.Native(text.encode(), ("stream",), lambda text=text: (text, np.zeros(1, dtype=np.int32)))
        numbers = begun.copy() if block else begun[:, 0].copy()
        run(made, numbers, numbers, *rows, block=block, code=code)
        found.append(np.where(np.isnan(numbers), np.nan, numbers))
    np.testing.assert_array_equal(found[0].view(np.uint8), found[1].view(np.uint8))


def test_composed_operations_are_there_on_demand() -> None:
    row = next(row for row in ops.TABLE if row.arity == 1 and rare(machine(), row.code))
    for brief in (False, True):
        assert f"op{row.code}:" not in kernel_text(machine(), block=False, brief=brief)
        assert f"op{row.code}:" in kernel_text(machine(), block=False, composed=(row.code,), brief=brief)
    u = np.array([0.25, 0.0])
    run(machine(), u, np.zeros(1), (row.code, [[1], [0]]), block=False, composed=(row.code,))
    assert u[1] == pytest.approx(row.forward(0.25), rel=1e-14)
