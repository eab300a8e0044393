"""The property that all else serves: what is compiled gives the eager engine's numbers.

Tolerance: |compiled − eager| ≤ t · M, with t = 1e-9 for float64 and 1e-4 for float32, and M the largest number (1 at
least) that the eager run met anywhere, as a value or as a derivative. A cancellation can lose digits relative to the
result, but never more than rounding errors of the largest number that took part; t leaves room for some 10⁶ (10³ for
float32) of them, and an error in a formula is far beyond it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from random_programs import (
    DIFFERENT,
    RandomProgram,
    Recurrence,
    eager,
    eager_values,
    every_line,
    number,
    programs,
    recurrences,
)

import macrograd as mg
from macrograd import Value, nn, ops
from macrograd.compiler import pipeline
from macrograd.compiler.roll import cost_model
from macrograd.compiler.tape.tape import Tape, name_of
from macrograd.compiler.targets.llvm.execute import LlvmExecutable
from macrograd.rows.composed import on_floats

BACKENDS = ("llvm", "numpy")
TOLERANCE = {"float64": 1e-9, "float32": 1e-4}
# One sample, part of a vector, several blocks, several chunks of blocks (with two threads).
FEW, MANY = (1, 5, 19), (300, 1100)  # samples: in one vector, in a few, in many blocks


def check(program: RandomProgram, batches: Any, dtype: str, backend: str, threads: int = 1) -> None:
    settings = {"batch": True, "dtype": dtype, "backend": backend, "threads": threads}
    values, loss = mg.compile(program, **settings), mg.compile(program.loss, **settings)
    right = eager(program, min(max(batches), DIFFERENT))
    tolerance = TOLERANCE[dtype] * right.largest
    for samples in batches:
        rows = np.resize(np.arange(len(right.X)), samples)
        X, index = right.X[rows], right.index[rows]
        np.testing.assert_allclose(values(X, index), right.values[rows], rtol=0, atol=tolerance)
        mean = right.losses[rows].mean()
        taken(program)  # what an earlier check left where it failed
        assert loss.backward(X, index) == pytest.approx(mean, rel=0, abs=tolerance)
        expected = right.gradients[rows].mean(axis=0)
        np.testing.assert_allclose(taken(program), expected, rtol=0, atol=tolerance)


def check_single(program: RandomProgram, dtype: str, backend: str) -> None:
    settings = {"dtype": dtype, "backend": backend}
    values, loss = mg.compile(program, **settings), mg.compile(program.loss, **settings)
    right = eager(program, 1)
    x, index, tolerance = right.X[0], right.index[0], TOLERANCE[dtype] * right.largest
    np.testing.assert_allclose(values(x, index), right.values[0], rtol=0, atol=tolerance)
    taken(program)
    loss.backward(x, index)
    np.testing.assert_allclose(taken(program), right.gradients[0], rtol=0, atol=tolerance)


def taken(program: RandomProgram) -> list[float]:
    """The gradient that a backward has left; it is 0 afterwards."""
    found = [p.grad for p in program.parameters]
    for p in program.parameters:
        p.grad = 0.0
    return found


def test_no_operation_is_left_out() -> None:
    used: set[str] = set()

    def observe(stage: str, what: Any) -> None:
        if isinstance(what, Tape):
            used.update(name_of(code) for code in what.code.tolist())

    checks, pipeline.observer = pipeline.observer, observe
    try:
        mg.compile(every_line())([1.0, 2.0, 3.0], 0.0)
    finally:
        pipeline.observer = checks
    assert {op.name for op in ops.TABLE if op is not ops.CONSTANT} <= used


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_every_operation_in_one_program(backend: str, dtype: str) -> None:
    check(every_line(), (*FEW, *MANY), dtype, backend)


def test_every_operation_without_a_batch(backend: str) -> None:
    check_single(every_line(), "float64", backend)


# Few examples: the 150 fixed programs of tests/fuzz are compared in the same ways, and more.
@settings(max_examples=25)
@given(programs())
def test_random_programs(program: RandomProgram) -> None:
    for backend in BACKENDS:
        check(program, FEW, "float64", backend)


@settings(max_examples=15)
@given(programs())
def test_random_programs_in_many_blocks_on_threads(program: RandomProgram) -> None:
    for backend in BACKENDS:
        check(program, (300, 1100), "float64", backend, threads=2)


@settings(max_examples=12)
@given(programs(longest=25))
def test_random_programs_in_float32(program: RandomProgram) -> None:
    for backend in BACKENDS:
        check(program, (7,), "float32", backend)


@settings(max_examples=25)
@given(programs())
def test_random_programs_without_a_batch(program: RandomProgram) -> None:
    for backend in BACKENDS:
        check_single(program, "float64", backend)


# A step's state may be anything, so nothing in it may look at where a step or a kink is.
SMOOTH = ["add", "sub", "mul", "div", "neg", "pow 2", "exp", "log", "sqrt", "tanh", "sigmoid", "sin", "cos", "sum",
          "dot", "take"]  # fmt: skip


@settings(max_examples=12)
@given(recurrences(SMOOTH))
def test_random_recurrences(program: Recurrence) -> None:
    for backend in BACKENDS:
        check(program, (6, 27), "float64", backend)
        check_single(program, "float64", backend)


@pytest.mark.parametrize(("deep", "wide"), [(300, 1), (4, 150)])
def test_deep_and_wide(backend: str, deep: int, wide: int) -> None:
    lines = [(name, wide - 1, wide, wide + 1) for name in ("tanh", "add", "mul", "sub") for _ in range(wide)]
    program = RandomProgram(lines * (deep // 4 + 1), 3, [Value(0.5), Value(-0.5)], [0, 1])
    check(program, FEW, "float64", backend)


# --- strict: the same bits ----------------------------------------------------------------------------------

# Not `take`: the eager engine does not record it, and returns the chosen Value itself, whose gradient then adds
# up in another order.
EXACT = [
    "add", "sub", "mul", "div", "neg", "abs", "abs of a leaf", "relu", "relu of a leaf", "maximum", "minimum",
    "maximum of leaves", "maximum, tied", "minimum of leaves", "where", "where a leaf", "sum", "dot", "constants",
    "less", "less_equal", "sign", "onehot", "detach",
]  # fmt: skip


def bits(numbers: Any) -> list[str]:
    return [float(x).hex() for x in np.ravel(numbers)]


@settings(max_examples=50)
@given(programs(names=EXACT), st.integers(0, 1000))
@example(RandomProgram([(name, 0, 1, 2) for name in EXACT] * 2, 3, [Value(0.3), Value(-1.7)], list(range(40))), 1)
def test_strict_gives_the_eager_engines_bits(backend: str, program: RandomProgram, seed: int) -> None:
    """Values and gradients, of numbers with all their digits."""
    random = np.random.default_rng(seed)
    parameters = [Value(p) for p in random.normal(size=len(program.parameters)).tolist()]
    program = RandomProgram(program.lines, program.inputs, parameters, program.results)
    x, index = random.normal(size=program.inputs), float(random.integers(0, 4))
    values = mg.compile(program, strict=True, backend=backend)
    loss = mg.compile(program.loss, strict=True, backend=backend)
    assert bits(values(x, index)) == bits([number(r) for r in program(x.tolist(), index)])
    expected = program.loss(x.tolist(), index)
    expected.backward()
    gradient = [p.grad for p in program.parameters]
    for p in program.parameters:
        p.grad = 0.0
    assert bits(loss.backward(x, index)) == bits(expected.data)
    assert bits([p.grad for p in program.parameters]) == bits(gradient)


@settings(max_examples=25)
@given(programs(names=EXACT), st.integers(0, 1000))
def test_strict_values_of_every_sample_of_a_batch(backend: str, program: RandomProgram, seed: int) -> None:
    random = np.random.default_rng(seed)
    X, index = random.normal(size=(20, program.inputs)), random.integers(0, 4, 20)
    values = mg.compile(program, batch=True, strict=True, backend=backend)
    assert bits(values(X, index)) == bits(eager_values(program, X, index))


PORTABLE = [row for row in ops.TABLE if row.portable is not None and row.arity == 1]


def test_strict_functions_are_the_same_on_every_machine(backend: str) -> None:
    """They are formulas of + − × ÷, run here on floats, and ask no mathematical library."""
    random = np.random.default_rng(0)
    x = np.concatenate([random.uniform(-9, 9, 150), np.exp(random.uniform(-700, 700, 50)) * random.choice([-1, 1], 50)])
    found = mg.compile(lambda a: [op(a) for op in PORTABLE], batch=True, strict=True, backend=backend)(x)
    for op, column in zip(PORTABLE, np.array(found).T, strict=True):
        expected = [on_floats(op.portable)(a) for a in x.tolist()]
        assert bits(column) == bits(expected), op.name
    powers = mg.compile(lambda a, b: a**b, batch=True, strict=True, backend=backend)(np.abs(x), x[::-1])
    assert bits(powers) == bits([on_floats(ops.power.portable)(a, b) for a, b in zip(np.abs(x), x[::-1], strict=True)])


def test_strict_gradients_do_not_depend_on_the_blocks_of_the_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sums over the batch are added up sample by sample, whatever vectors a machine has."""
    net, few = nn.MLP(3, [20, 12, 1], seed=1, activation="tanh"), [Value(0.1 * k) for k in range(9)]

    def irregular(x: Any) -> Any:
        a: Any = x[0]
        for k in range(60):
            a = (mg.sin, mg.tanh, mg.sigmoid)[k * k % 3](a * few[k * 7 % 9] + x[k % 3])
        return a

    X = np.random.default_rng(0).normal(size=(37, 3))
    for function in (lambda x: net(x) ** 2, irregular):
        answers = []
        for lanes in (8, 24, 40):
            monkeypatch.setattr(LlvmExecutable, "lanes", lambda _, samples, lanes=lanes: (lanes, lanes >= samples))
            compiled = mg.compile(function, batch=True, strict=True, backend="llvm")
            answers.append(bits([compiled.backward(X), *(p.grad for p in compiled.parameters)]))
            for p in compiled.parameters:
                p.grad = 0.0
        assert answers[0] == answers[1] == answers[2]


# --- numbers that are none ----------------------------------------------------------------------------------

SPECIAL = [0.0, -0.0, 1.0, -1.0, np.inf, -np.inf, np.nan, 5e-324, 1e308, -1e308]
UNARY = [ops.neg, ops.absolute, ops.sign, ops.exp, ops.log, ops.log1p, ops.sqrt, ops.tanh, ops.sigmoid, ops.softplus,
         ops.relu, ops.sin, ops.cos]  # fmt: skip
BINARY = [ops.add, ops.sub, ops.mul, ops.div, ops.maximum, ops.minimum, ops.less, ops.less_equal, ops.power]


def same(found: Any, expected: Any) -> None:
    """Equal to rounding, and exactly so where it is NaN, infinite or a signed zero."""
    found, expected = np.asarray(found), np.asarray(expected)
    np.testing.assert_allclose(found, expected, rtol=1e-14)
    zero = expected == 0.0
    assert (np.signbit(found[zero]) == np.signbit(expected[zero])).all()


@pytest.mark.parametrize("strict", [False, True])
def test_nan_infinity_and_signed_zeros_pass_as_in_eager(backend: str, strict: bool) -> None:
    f = mg.compile(lambda a: [op(a) for op in UNARY], batch=True, strict=strict, backend=backend)
    same(f(np.array(SPECIAL)), [[op(a) for op in UNARY] for a in SPECIAL])
    pairs = [(a, b) for a in SPECIAL for b in SPECIAL]
    f = mg.compile(lambda a, b: [op(a, b) for op in BINARY], batch=True, strict=strict, backend=backend)
    same(f(*np.array(pairs).T), [[op(a, b) for op in BINARY] for a, b in pairs])
    triples = [(c, a, b) for c in SPECIAL for a, b in pairs]
    f = mg.compile(lambda c, a, b: [mg.where(c, a, b), ops.onehot(c, a, b)], batch=True, strict=strict, backend=backend)
    same(f(*np.array(triples).T), [[mg.where(*t), ops.onehot(*t)] for t in triples])


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("op", [*UNARY, *BINARY], ids=lambda op: op.name)
def test_gradients_of_special_numbers_are_those_of_eager(op: ops.Op, strict: bool) -> None:
    """Each at once through a program without a batch, whose gradient with respect to each operand is asked for."""
    operands = [(a,) for a in SPECIAL] if op.arity == 1 else [(a, b) for a in SPECIAL for b in SPECIAL]
    values = [[Value(x) for x in some] for some in operands]
    out = [op(*some) for some in values]
    for o in out:
        o.backward()
    expected = [x.grad for some in values for x in some]
    theta = [x.data for some in values for x in some]

    def total(flat: Any) -> Any:
        return mg.sum([op(*x) for x in rows(flat, op.arity or 1)])

    # The operands are returned too, for some derivatives are constant, and the compiler refuses what is only that.
    found, _ = mg.compile(lambda flat: (mg.grad(total)(flat), flat), strict=strict)(np.array(theta))
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def rows(flat: Any, size: int) -> list[Any]:
    return [flat[k : k + size] for k in range(0, len(flat), size)]


def test_nan_in_one_sample_stays_there(backend: str) -> None:
    w = Value(2.0)
    X = np.array([[1.0], [np.nan], [3.0]])
    f = mg.compile(lambda x: mg.relu(x[0] * w) + 1.0, batch=True, backend=backend)
    np.testing.assert_array_equal(f(X), [3.0, np.nan, 7.0])
    assert np.isnan(f.backward(X))
    assert np.isnan(w.grad)


@pytest.mark.parametrize("samples", [1, 3, 9, 130, 1030])
def test_an_infinite_sample_gives_an_infinite_mean(backend: str, samples: int) -> None:
    """Also the last one, which the lanes behind it repeat: they must not turn ∞ into 0·∞."""
    w = Value(1.0)
    X = np.ones(samples)
    X[-1] = 0.0
    f = mg.compile(lambda x: mg.log(x) * w, batch=True, backend=backend)
    assert f.backward(X) == -np.inf
    assert w.grad == -np.inf


@pytest.mark.parametrize("samples", [1, 3, 9, 130, 1030])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_an_infinite_sample_gives_an_infinite_mean_of_data(
    samples: int, dtype: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As above, in the kernel of what runs as data: of long programs, which the budget makes of these."""
    for name in ("FREE", "MOST_TINY"):
        monkeypatch.setattr(cost_model, name, 0)
    monkeypatch.setattr(cost_model, "LEAST", 1 << 30)
    w = Value(1.0)
    X = np.ones(samples)
    X[-1] = 0.0
    f = mg.compile(lambda x: mg.log(x) * w, batch=True, dtype=dtype, backend="llvm")
    assert "data" in f.explain(X)
    assert f.backward(X) == -np.inf
    assert w.grad == -np.inf


@pytest.mark.parametrize("exponent", [np.inf, -np.inf, np.nan, 1e300, 3.0, 16.0, 17.0, 2.5])
def test_powers_by_any_constant(backend: str, exponent: float) -> None:
    x = np.array([0.0, -0.0, 0.5, 1.0, -1.0, 1.5, -2.0, np.inf, -np.inf, np.nan])
    found = mg.compile(lambda a: ops.power(a, exponent), batch=True, backend=backend)(x)
    np.testing.assert_allclose(found, [ops.power(a, exponent) for a in x.tolist()], rtol=1e-14)


def test_constants_beyond_float32_are_infinite_there(backend: str) -> None:
    constants = [1e200, -1e200, 3.41e38, 3.4028235e38, 1e-60]
    f = mg.compile(lambda x: [x * c for c in constants], batch=True, dtype="float32", backend=backend)
    with np.errstate(over="ignore"):  # NumPy says so where it converts them
        found = f(np.full(9, 0.5))
    np.testing.assert_array_equal(found, [[np.inf, -np.inf, np.inf, np.float32(3.4028235e38) / 2, 0.0]] * 9)
