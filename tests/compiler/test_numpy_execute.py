"""Runs of NumPy programs: buffers that are read in every step, and memory that does not grow."""

from __future__ import annotations

import itertools
import tracemalloc
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

import macrograd as mg
from macrograd import ops
from macrograd.compiler import pipeline
from macrograd.compiler.targets.numpy import calls, execute
from macrograd.compiler.targets.numpy.execute import NumpyExecutable
from macrograd.compiler.targets.target import Request
from tests.compiler.test_numpy import data, gradient, perceptron
from tests.memory import held

# --- buffers ---------------------------------------------------------------------------------------------------------


def executable(fn: Any, *shapes: tuple[int, ...], **settings: Any) -> NumpyExecutable:
    source = pipeline.record(fn, shapes)
    program = pipeline.gradient_program(source, batch=True)
    sizes = [int(np.prod(shape, dtype=int)) for shape in shapes]
    found = NumpyExecutable(Request(program, tuple(sizes), 0, np.dtype(np.float64), **settings))
    found.start = [p.data for p in source.parameters]
    return found


def run(state: Any) -> Any:
    state.u[: len(state.executable.start)] = state.executable.start
    state.run()
    first = state.executable.program.results[0][1]
    return state.u[first : first + len(state.executable.program.results)].copy()


@pytest.mark.parametrize("samples", [5, 4000])
def test_weights_multiply_the_mean_and_rows_can_be_picked(samples: int) -> None:
    made = executable(perceptron(), (4,))
    random = np.random.default_rng(0)
    X, w = data(2 * samples), random.uniform(0, 2, 2 * samples)
    order = random.permutation(2 * samples)[:samples]
    state = made.state(samples)
    state.point(0, X)
    state.weigh(w, order)
    single = made.state(1)
    each = []
    for row in order[:5]:
        single.load([X[row : row + 1]])
        each.append(run(single) * w[row])
    found = run(state)
    if samples == 5:
        np.testing.assert_allclose(found, np.mean(each, axis=0), rtol=1e-11, atol=1e-13)
    X[:], w[:] = X[::-1].copy(), w[::-1].copy()  # both are read again in every run
    state.weigh(w, 2 * samples - 1 - order)
    np.testing.assert_array_equal(run(state), found)
    state.weigh(None)
    state.load([X[:samples]])
    plain = made.state(samples)
    plain.load([X[:samples]])
    np.testing.assert_array_equal(run(state), run(plain))


def test_bound_buffers_are_read_in_every_step() -> None:
    fn, X = perceptron(), data(32)
    bound = mg.compile(fn, batch=True, backend="numpy").bind(np.zeros((32, 4)))
    bound.arguments[0][:] = X
    value = bound()
    expected = gradient(fn, X, backend="numpy")
    assert value == bound.value == expected[0]
    np.testing.assert_array_equal(bound.gradient, expected[1])
    bound.theta[:] *= 2.0
    assert bound() != value


def test_a_large_argument_is_not_kept_for_the_next_call() -> None:
    fn = mg.compile(perceptron(), batch=True, backend="numpy")
    big, other = data(60_000), data(60_001)[:60_000]
    first = fn(big)
    kept = big.copy()
    fn(other.tolist())
    np.testing.assert_array_equal(big, kept)
    np.testing.assert_array_equal(fn(big), first)


def test_memory_does_not_grow_with_the_batch_nor_with_calls() -> None:
    """Beyond arguments and results, a batch of 100,000 needs the memory of one block."""
    made = executable(perceptron(), (4,))
    state = made.state(100_000)
    state.load([data(100_000)])
    run(state)
    assert state.workers[0].v.nbytes <= execute.BLOCK_BYTES
    tracemalloc.start()
    try:
        run(state)
        before, (base, _) = held(), tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        for _ in range(20):
            run(state)
        _, peak = tracemalloc.get_traced_memory()
        after = held()
    finally:
        tracemalloc.stop()
    assert after - before < 10_000
    assert peak - base < execute.BLOCK_BYTES


def test_several_python_threads_at_once() -> None:
    fn = mg.compile(perceptron(), batch=True, backend="numpy", threads=2)
    batches = [data(n) for n in (7, 2000, 7, 2000, 64, 3)]
    expected = [fn(X).tolist() for X in batches]
    with ThreadPoolExecutor(4) as pool:
        for found, right in zip(pool.map(fn, batches * 5), itertools.cycle(expected), strict=False):
            assert found.tolist() == right


def test_a_failing_llvm_gives_way_with_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    from macrograd.compiler.settings import CompileWarning
    from macrograd.compiler.targets.llvm import execute

    def fail(*_: Any, **__: Any) -> Iterator[None]:
        raise RuntimeError("no such register")

    monkeypatch.setattr(execute, "LlvmExecutable", fail)
    fn = mg.compile(perceptron(), batch=True)
    with pytest.warns(CompileWarning, match="no such register"):
        found = fn(data(3))
    monkeypatch.undo()
    assert found.shape == (3,)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_operations_write_between_other_numbers(dtype: str) -> None:
    """Whatever the strides of operands and results are; NumPy's own negative does not for some."""
    numbers = np.random.default_rng(0).uniform(0.1, 0.9, 400).astype(dtype)
    for row in ops.TABLE:
        if row.arity != 1:
            continue
        function = calls.into(row, np.dtype(dtype))
        for stride, between in itertools.product((1, 2, 3, 4, 8, 16, -8), (1, 2, 3, -2)):
            a, out = numbers[200::stride][:5], np.zeros(40, dtype)[20::between][:5]
            function(a, out)
            np.testing.assert_allclose(out, row.array(np, a.copy()), rtol=1e-5, err_msg=f"{row} {stride} {between}")
