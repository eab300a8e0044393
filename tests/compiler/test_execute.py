"""Native runs: blocks and chunks depend on the number of samples alone, and no result on the threads."""

from __future__ import annotations

import copy
import gc
import weakref
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import macrograd as mg
from macrograd import Value
from macrograd.compiler import pipeline
from macrograd.compiler.jit import native
from macrograd.compiler.targets.llvm.execute import BLOCK_BYTES, LlvmExecutable
from macrograd.compiler.targets.target import Request, State

W = [Value(0.5), Value(-0.25), Value(0.125)]


def loss(x: Any) -> Any:
    return mg.tanh(mg.dot(W, x)) * mg.take(x, x[0]) + W[0] ** 2


def executable(threads: int = 1, *, strict: bool = False) -> LlvmExecutable:
    program = pipeline.gradient_program(pipeline.record(loss, [(3,)], strict=strict), batch=True, strict=strict)
    return LlvmExecutable(Request(program, (3,), 0, np.dtype(np.float64), strict, threads, 1))


@pytest.fixture(scope="module")
def made() -> LlvmExecutable:
    return executable()


def data(samples: int) -> Any:
    X = np.random.default_rng(samples).normal(size=(samples, 3))
    X[:, 0] = np.arange(samples) % 3
    return X


def run(state: State, X: Any) -> list[float]:
    state.u[: len(W)] = [w.data for w in W]
    state.load([X])
    state.run()
    program = state.executable.program
    return [float(state.u[slot]) for _, slot in program.results]


def test_blocks_are_vectors_that_fit_a_cache(made: LlvmExecutable) -> None:
    width = native.machine().vector_bytes // 8
    for samples in (1, width, width + 1, 1000, 100_000):
        lanes, single = made.lanes(samples)
        assert lanes % width == 0
        assert lanes * made.program.varying * 8 <= BLOCK_BYTES
        assert single == (lanes >= samples)
        blocks = -(-samples // lanes)
        assert blocks * lanes - samples < blocks * width  # padded lanes are fewer than one vector in each block


def test_blocks_beyond_the_cache_make_up_for_reading_many_uniform_numbers(made: LlvmExecutable) -> None:
    width, large = native.machine().vector_bytes // 8, copy.copy(made)
    for times, vectors in ((0, 1), (1, 1), (2, 2), (9, 4)):
        large.program = replace(made.program, varying=1 << 20, uniform=times << 20)
        assert large.lanes(10_000)[0] == vectors * width


def test_the_mean_is_that_of_all_samples(made: LlvmExecutable) -> None:
    for samples in (1, 5, 300, 9000):  # a vector, a block, blocks, chunks of blocks
        X = data(samples)
        z = X @ [w.data for w in W]
        chosen = X[np.arange(samples), X[:, 0].astype(int)]
        value, *gradient = run(made.state(samples), X)
        assert value == pytest.approx(np.mean(np.tanh(z) * chosen) + W[0].data ** 2, rel=1e-12)
        slope = (1 - np.tanh(z) ** 2) * chosen
        expected = (X * slope[:, None]).mean(axis=0) + np.array([2 * W[0].data, 0.0, 0.0])
        np.testing.assert_allclose(gradient, expected, rtol=1e-12)


def test_no_bit_depends_on_threads_or_earlier_calls(made: LlvmExecutable) -> None:
    X, Y = data(9000), data(9001)[:9000]
    first, other = run(made.state(9000), X), run(made.state(9000), Y)
    assert first != other
    for state in (made.state(9000), executable(threads=3).state(9000)):
        assert [run(state, some) for some in (X, Y, X)] == [first, other, first]


def test_strict_sums_run_from_sample_to_sample() -> None:
    X = data(3000)
    value, *_ = run(executable(threads=2, strict=True).state(3000), X)
    total = 0.0
    for each in mg.compile(loss, batch=True, strict=True)(X).tolist():
        total += each * (1 / 3000)
    assert value == total


@pytest.mark.parametrize("samples", [5, 9000])
def test_an_index_out_of_range_is_told_once(made: LlvmExecutable, samples: int) -> None:
    X = data(samples)
    X[samples // 2, 0] = 3.0
    state = made.state(samples)
    run(state, X)
    assert state.flagged()
    assert not state.flagged()
    run(state, data(samples))
    assert not state.flagged()


def test_states_can_share_their_uniform_numbers(made: LlvmExecutable) -> None:
    whole = made.state(300)
    part = made.state(5, whole)
    assert part.u is whole.u
    assert made.variant(300)[0] is made.variant(299)[0]


def test_a_run_alone_keeps_all_that_it_works_on(made: LlvmExecutable) -> None:
    state = made.state(4)
    run(state, data(4))
    alone, there = state.run, [weakref.ref(x) for x in (state.u, state.v, state.arguments[0])]
    del state
    gc.collect()
    assert all(ref() is not None for ref in there)
    alone()
