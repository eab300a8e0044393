"""Targets behind one interface: which one runs a program, and what all of them promise of their buffers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import macrograd as mg
from macrograd import Value, ops
from macrograd.compiler import pipeline
from macrograd.compiler.program.program import Program
from macrograd.compiler.program.stream import SUM, Stream
from macrograd.compiler.targets.c.target import C
from macrograd.compiler.targets.llvm.target import Llvm
from macrograd.compiler.targets.numpy.target import Numpy
from macrograd.compiler.targets.target import Request, Runner, State, Target

TARGETS = [Llvm(), Numpy()]
WRITERS = [C()]
W = Value(2.0, label="w")


@pytest.fixture(params=TARGETS, ids=lambda target: target.name)
def target(request: pytest.FixtureRequest) -> Runner:
    found: Runner = request.param
    if found.missing() is not None:
        pytest.skip(f"{found.needs} does not load here")
    return found


def state_of(target: Runner, samples: int, *, dtype: Any = np.float64) -> State:
    """The buffers of the mean of (w·x)², differentiated."""
    source = pipeline.record(lambda x: (W * x) * (W * x), [()])
    program = pipeline.gradient_program(source, batch=True)
    state = target.prepare(Request(program, (1,), 0, np.dtype(dtype), samples=samples)).state(samples)
    state.u[0] = 3.0
    return state


def value(state: State) -> float:
    state.run()
    return float(state.u[state.executable.program.results[0][1]])


@pytest.mark.parametrize("target", [*TARGETS, *WRITERS], ids=lambda target: target.name)
def test_every_target_has_or_composes_every_operation(target: Target) -> None:
    rows = [row for row in ops.TABLE if row.arity]
    assert all(target.has(row) or row.formula is not None for row in rows)


def test_a_program_knows_its_operations_in_instructions_loops_and_streams() -> None:
    def names(fn: Any, *shapes: tuple[int, ...]) -> set[str]:
        program = pipeline.value_program(pipeline.record(fn, shapes), batch=False)
        return {ops.TABLE[code].name for code in program.operations()}

    assert names(lambda x: mg.exp(x) + mg.take([W, 1.0], x), ()) == {"exp", "take"}
    words = np.array([ops.BY_NAME["sin"].code, 1, 1, 1, 0, SUM, 1, 4, 2, 1, 1, 0, 0], dtype=np.int32)
    stream = Stream(words, 2, block=False)
    program = Program((stream,), (), (), 0, 1, np.empty(0), 3, 0, (("u", 2),), batch=False)
    assert program.streams() == (stream,)
    assert program.operations() == {ops.BY_NAME["sin"].code}  # a sum is the kernel's own

    def repeated(x: Any) -> Any:
        h = 0.0
        for k in range(200):
            h = mg.tanh(W * h + x[k])
        return h

    assert names(repeated, (200,)) == {"tanh"}
    assert names(lambda x: x * x + 1.0, ()) <= {"add", "mul"}


def test_a_large_argument_is_read_where_it_is_and_never_written(target: Runner) -> None:
    samples = 200_000
    state = state_of(target, samples)
    big = np.linspace(-1.0, 1.0, samples)
    kept = big.copy()
    state.load([big])
    assert np.shares_memory(state.arguments[0], big)
    first = value(state)
    assert first == pytest.approx(9.0 * np.mean(big * big), rel=1e-12)
    state.load([np.zeros(samples, dtype=np.float32)])  # has to be converted, and not into the caller's array
    assert value(state) == 0.0
    assert not np.shares_memory(state.arguments[0], big)
    np.testing.assert_array_equal(big, kept)
    own = state.arguments[0]
    state.load([big.astype(np.float32)])
    assert state.arguments[0] is own  # memory of the state is used again
    state.load([big])
    assert value(state) == first


def test_pointed_arrays_are_the_callers_too(target: Runner) -> None:
    state = state_of(target, 3)
    given = np.array([1.0, 2.0, 3.0])
    state.point(0, given)
    assert value(state) == pytest.approx(42.0)
    state.load([np.zeros(3)])
    assert value(state) == 0.0
    np.testing.assert_array_equal(given, [1.0, 2.0, 3.0])


def test_weights_and_rows_are_those_of_the_next_run(target: Runner) -> None:
    state = state_of(target, 2)
    rows, weights = np.array([1.0, 2.0, 3.0]), np.array([1.0, 2.0, 0.5])
    state.point(0, rows)
    state.weigh(weights, np.array([2, 1]))
    assert value(state) == pytest.approx(9.0 * (0.5 * 9.0 + 2.0 * 4.0) / 2.0)
    state.weigh(None)
    assert value(state) == pytest.approx(9.0 * (1.0 + 4.0) / 2.0)


def test_only_machine_code_is_profiled(target: Runner) -> None:
    f = mg.compile(lambda x: mg.tanh(x * W), batch=True, backend=target.name)
    state = state_of(target, 4)
    state.load([np.ones(4)])
    if state.executable.profiles:
        assert len(f.profile(np.ones(4)).rows) >= 1
        assert state.executable.profile(state).whole > 0.0
    else:
        with pytest.raises(RuntimeError, match=r"runs on NumPy, but profile\(\) times native code: it needs LLVM"):
            f.profile(np.ones(4))
        with pytest.raises(NotImplementedError, match="NumpyExecutable does not time steps"):
            state.executable.profile(state)
