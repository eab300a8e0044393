"""The frame: rows of arguments become lanes of slots and lanes of results become rows, whatever their numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from macrograd import ops
from macrograd.compiler.program.program import Index, Instruction, Program, Segment, verify
from macrograd.compiler.targets.llvm.target import Llvm
from macrograd.compiler.targets.target import Request, State

pytest.importorskip("llvmlite")

SIZES = [(1,), (8,), (9,), (17, 3, 1), (2, 16)]  # squares of eight by eight are transposed in registers


def copying(sizes: tuple[int, ...], samples: int, dtype: str = "float64") -> State:
    """A program without arithmetic to speak of: its results are the inputs doubled, the weight last."""
    inputs = sum(sizes) + 1
    out, x = Index("v", inputs, (1,)), Index("v", 0, (1,))
    step = Instruction("map", ops.add.code, (inputs,), out, (x, x))
    results = tuple(("v", inputs + k) for k in range(inputs))
    program = Program(
        (), (step,), (), 0, inputs, np.empty(0), 0, 2 * inputs, results, True, weight=inputs - 1, first_output=inputs
    )
    return Llvm().prepare(Request(verify(program), sizes, inputs, np.dtype(dtype), samples=samples)).state(samples)


def data(sizes: tuple[int, ...], rows: int, dtype: str = "float64") -> list[Any]:
    draw = np.random.default_rng(rows)
    return [draw.normal(size=(rows, size)).astype(dtype) for size in sizes]


@pytest.mark.parametrize("samples", [1, 7, 16, 37, 130])
@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_every_row_passes_through_its_lane(sizes: tuple[int, ...], samples: int) -> None:
    dtype = "float32" if samples == 37 else "float64"
    state, arrays = copying(sizes, samples, dtype), data(sizes, samples, dtype)
    state.load(arrays)
    state.run()
    np.testing.assert_array_equal(state.out[:, :-1], 2 * np.hstack(arrays))
    np.testing.assert_allclose(state.out[:, -1], 2 / samples, rtol=1e-6 if dtype == "float32" else 1e-15)


@pytest.mark.parametrize("samples", [1, 64, 80, 130])
def test_long_rows_pass_through_squares_as_wide_as_a_vector(samples: int) -> None:
    """One more square of eight by eight and single numbers are left."""
    sizes = (3, 1033)
    state, arrays = copying(sizes, samples, "float32"), data(sizes, 150, "float32")
    order = np.random.default_rng(1).integers(0, 150, samples)
    for k, array in enumerate(arrays):
        state.point(k, array)
    state.weigh(None, order)
    state.run()
    np.testing.assert_array_equal(state.out[:, :-1], 2 * np.hstack(arrays)[order])


@pytest.mark.parametrize("samples", [5, 16, 37])
def test_rows_are_chosen_by_the_order_and_weights_belong_to_rows(samples: int) -> None:
    sizes = (9, 2)
    state, arrays, draw = copying(sizes, samples), data(sizes, 50), np.random.default_rng(0)
    for weights in (None, draw.uniform(size=50)):
        order = draw.integers(0, 50, samples)
        for k, array in enumerate(arrays):
            state.point(k, array)
        state.weigh(weights, order)
        state.run()
        np.testing.assert_array_equal(state.out[:, :-1], 2 * np.hstack(arrays)[order])
        each = np.ones(samples) if weights is None else weights[order]
        np.testing.assert_allclose(state.out[:, -1], 2 * each / samples, rtol=1e-14)


@pytest.mark.parametrize("samples", [3, 21])
def test_lanes_after_the_last_sample_repeat_it_with_weight_0(samples: int) -> None:
    """In the last block, which is what the buffer holds after a run. The order ends with another row than the data."""
    state: Any = copying((9,), samples)
    arrays = data((9,), samples)
    order = np.arange(samples)[::-1].copy()
    state.load(arrays)
    state.weigh(np.full(samples, 3.0), order)
    state.run()
    lanes = state.v.reshape(-1, state.lanes)
    valid = samples - (state.blocks - 1) * state.lanes
    assert 0 < valid < state.lanes
    np.testing.assert_array_equal(lanes[:9, valid:], np.repeat(arrays[0][:1].T, state.lanes - valid, axis=1))
    np.testing.assert_allclose(lanes[9, :valid], 3.0 / samples, rtol=1e-15)
    assert (lanes[9, valid:] == 0.0).all()


@pytest.mark.parametrize("samples", [1, 15, 16, 17, 200])
def test_lanes_without_a_sample_add_nothing_and_write_nothing(samples: int) -> None:
    """The sum of the weights is 1 for any number of samples, also in the second run."""
    x, weight = Index("v", 0, (0,)), Index("v", 1, (0,))
    total = Instruction("reduce", 0, (2,), Index("u", 0, (1,)), segments=(Segment(1, weight, x),))
    program = verify(
        Program((), (total,), (), 0, 2, np.empty(0), 2, 2, (("u", 0), ("u", 1)), True, weight=1, first_output=2)
    )
    state = Llvm().prepare(Request(program, (1,), 0, np.dtype(float), samples=samples)).state(samples)
    X = np.arange(1.0, samples + 1)[:, None]
    state.load([X])
    for _ in range(2):
        state.run()
        np.testing.assert_allclose(state.u[:2], X.mean(), rtol=1e-13)


@pytest.mark.parametrize("sizes", [(3,), (8, 20), (1, 17)], ids=str)
def test_without_a_batch_arguments_are_slots_after_one_another(sizes: tuple[int, ...]) -> None:
    n = sum(sizes)
    step = Instruction("map", ops.add.code, (n,), Index("u", n, (1,)), (Index("u", 0, (1,)), 1.0))
    results = tuple(("u", n + k) for k in range(n))
    program = verify(Program((step,), (), (), 0, n, np.empty(0), 2 * n, 0, results, batch=False))
    state = Llvm().prepare(Request(program, sizes, 0, np.dtype(float))).state(1)
    arrays = data(sizes, 1)
    state.load([array[0] for array in arrays])
    state.run()
    np.testing.assert_array_equal(state.u[n : 2 * n], np.hstack(arrays)[0] + 1.0)
