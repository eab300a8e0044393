"""The NumPy back end against LLVM, the eager engine, and the op table's `array` column, which it follows to the bit."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import macrograd as mg
from macrograd import Value, ops
from macrograd.compiler import pipeline
from macrograd.compiler.program.program import Loop, body_of
from macrograd.compiler.program.stream import Stream
from macrograd.compiler.targets.numpy import calls

SPECIAL = [0.0, -0.0, 1.0, -1.0, 0.5, 3.0, np.inf, -np.inf, np.nan, 5e-324, 1e308, -1e308]


def weights(*shape: int, seed: int = 0) -> Any:
    array = np.random.default_rng(seed).uniform(-0.9, 0.9, shape)

    def nest(x: Any) -> Any:
        return Value(float(x)) if np.ndim(x) == 0 else [nest(row) for row in x]

    return nest(array)


def layer(W: Any, x: Any) -> list[Any]:
    return [sum((w * v for w, v in zip(row, x, strict=True)), 0.1) for row in W]


# --- programs, by what they exercise: functions of one sample of four numbers ----------------------------------------


def perceptron() -> Callable[..., Any]:
    first, second, last = weights(16, 4), weights(16, 16, seed=1), weights(1, 16, seed=2)
    decay = [w for row in first for w in row]

    def fn(x: Any) -> Any:
        h = [mg.relu(v) for v in layer(first, x)]
        h = [mg.tanh(v) for v in layer(second, h)]
        return layer(last, h)[0] * x[0] + 1e-3 * sum(w * w for w in decay)

    return fn


def shared_weights() -> Callable[..., Any]:
    """The same three weights at every place: their gradient sums over places and samples."""
    kernel, last = weights(3), weights(1, 6, seed=1)

    def fn(x: Any) -> Any:
        line = [*x, *x]
        return layer(last, [mg.tanh(mg.dot(kernel, line[k : k + 3])) for k in range(6)])[0]

    return fn


def logsumexp() -> Callable[..., Any]:
    W = weights(5, 4)
    return lambda x: mg.logsumexp(layer(W, x)) - layer(W, x)[2]


def attention() -> Callable[..., Any]:
    """Products of what varies with what varies, by members and terms."""
    W = weights(12, 4)

    def fn(x: Any) -> Any:
        y = layer(W, x)
        rows = [y[4 * k : 4 * k + 4] for k in range(3)]
        scores = [[sum(a * b for a, b in zip(p, q, strict=True)) for q in rows] for p in rows]
        mixed = [sum(mg.tanh(s) * r[c] for s, r in zip(line, rows, strict=True)) for line in scores for c in range(4)]
        return sum(m * m for m in mixed)

    return fn


def recurrence() -> Callable[..., Any]:
    W, last = weights(3, 4), weights(1, 3, seed=1)

    def fn(x: Any) -> Any:
        h: list[Any] = [x[0], x[1], x[2]]
        for _ in range(40):
            h = [mg.tanh(v) for v in layer(W, [*h, x[3]])]
        return layer(last, h)[0]

    return fn


def lorenz() -> Callable[..., Any]:
    """A loop over time without anything that varies, then one product with a sample."""
    start = weights(3)

    def fn(x: Any) -> Any:
        a, b, c = start
        for _ in range(60):
            a, b, c = a + 0.01 * 10.0 * (b - a), b + 0.01 * (a * (28.0 - c) - b), c + 0.01 * (a * b - 2.5 * c)
        return a * x[0] + b * x[1] + c * x[2]

    return fn


def irregular() -> Callable[..., Any]:
    """Nothing rolls: hundreds of groups, which become a stream."""
    p = weights(40)
    names = [ops.add, ops.mul, ops.sub, ops.maximum]

    def fn(x: Any) -> Any:
        random = np.random.default_rng(5)
        entries = [*x, *p]
        for _ in range(900):
            i, j = random.integers(0, len(entries), 2)
            found = names[random.integers(4)](entries[i], entries[j])
            entries.append(mg.tanh(found) if random.random() < 0.8 else found * 0.25)
        return sum(entries[-30:])

    return fn


def embedding() -> Callable[..., Any]:
    """An index among parameters, and among what varies."""
    table, W = weights(3, 6), weights(3, 4, seed=1)

    def fn(x: Any) -> Any:
        h = layer(W, x)
        k = ops.less(0.0, x[0]) + ops.less(0.0, x[1])
        return mg.take(h, k) * sum(mg.take(row, k) for row in table)

    return fn


def tables() -> Callable[..., Any]:
    """Operands and results in no pattern."""
    W, last = weights(24, 4), weights(1, 24, seed=1)
    order = np.random.default_rng(0).permutation(24).tolist()

    def fn(x: Any) -> Any:
        h = [mg.tanh(v) for v in layer(W, x)]
        h = [h[order[k]] * h[order[-k]] + h[k] for k in range(24)]
        return layer(last, [h[order[k]] for k in order])[0]

    return fn


PROGRAMS = [perceptron, shared_weights, logsumexp, attention, recurrence, lorenz, irregular, embedding, tables]


def data(samples: int) -> Any:
    return np.random.default_rng(samples).uniform(-1, 1, (samples, 4))


def gradient(fn: Any, X: Any, **settings: Any) -> tuple[float, Any]:
    """Mean and gradient from a compiled function, and that of the gradient's program alone."""
    return answer(mg.compile(fn, batch=True, **settings), X)


def answer(compiled: Any, X: Any) -> tuple[float, Any]:
    compiled(X[:1])
    value, found = compiled.value_and_grad(compiled.theta(), X)
    return value, np.array(found, dtype=np.float64)


# --- equality --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda p: p.__name__)
def test_values_and_gradients_are_those_of_llvm_and_eager(program: Any) -> None:
    """Batches of one block and of many, with and without threads; the tolerance is rounding errors of sums."""
    fn = program()
    reference = mg.compile(fn, batch=True, backend="llvm")
    numpy = [mg.compile(fn, batch=True, backend="numpy", threads=threads) for threads in (1, 2)]
    for samples in (1, 100, 5000):
        X = data(samples)
        expected = answer(reference, X)
        for compiled in numpy:
            found = answer(compiled, X)
            np.testing.assert_allclose(found[0], expected[0], rtol=1e-11)
            np.testing.assert_allclose(found[1], expected[1], rtol=1e-9, atol=1e-11)
        values = numpy[0](X)
        np.testing.assert_allclose(values[:4], [fn(x).data for x in X[:4].tolist()], rtol=1e-10, atol=1e-12)
        np.testing.assert_allclose(values, reference(X), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda p: p.__name__)
def test_float32(program: Any) -> None:
    fn, X = program(), data(100)
    expected = gradient(fn, X, backend="llvm")
    value, found = gradient(fn, X, backend="numpy", dtype="float32")
    assert value == pytest.approx(expected[0], rel=1e-4, abs=1e-5)
    np.testing.assert_allclose(found, expected[1], rtol=1e-3, atol=1e-3 * abs(expected[1]).max())
    compiled = mg.compile(fn, batch=True, backend="numpy", dtype="float32")
    assert compiled(X).dtype == np.float32


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda p: p.__name__)
def test_without_a_batch(program: Any) -> None:
    fn, x = program(), data(1)[0]
    values = {name: mg.compile(fn, backend=name) for name in ("llvm", "numpy")}
    expected, found = (f.value_and_grad((f(x), f.theta())[1], x) for f in values.values())
    assert found[0] == pytest.approx(expected[0], rel=1e-12)
    np.testing.assert_allclose(found[1], expected[1], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda p: p.__name__)
def test_threads_and_repetition_change_no_bit(program: Any) -> None:
    fn, X = program(), data(3000)
    first = gradient(fn, X, backend="numpy")
    for threads in (1, 2, 3):
        value, found = gradient(fn, X, backend="numpy", threads=threads)
        assert (value, found.tolist()) == (first[0], first[1].tolist())


def test_the_programs_are_what_they_say() -> None:
    """Loops, streams and tables are in the programs above, or their tests would be of something else."""

    def steps(fn: Any) -> Any:
        return pipeline.gradient_program(pipeline.record(fn, ((4,),)), batch=True).steps()

    assert any(isinstance(step, Loop) for step in steps(recurrence()))
    assert any(isinstance(step, Loop) for step in steps(lorenz()))
    assert any(isinstance(step, Stream) for step in steps(irregular()))
    operands = [x for step in steps(tables()) for i in body_of(step) for x, _ in i.operands()]
    assert any(not isinstance(x, float) and not x.affine for x in operands)


# --- strict ----------------------------------------------------------------------------------------------------------


def bits(numbers: Any) -> list[str]:
    return [float(x).hex() for x in np.ravel(numbers)]


@pytest.mark.parametrize("terms", [1, 2, 7, 100, 200_000])
def test_strict_sums_run_from_left_to_right(terms: int) -> None:
    """Sums that a matrix product, or NumPy's sums in pairs, round otherwise."""
    a, b = np.random.default_rng(0).normal(size=(2, terms)) * 10.0 ** np.arange(terms).clip(0, 8)
    total = 0.0
    for k, (x, y) in enumerate(zip(a.tolist(), b.tolist(), strict=True)):
        total = x * y if k == 0 else total + x * y
    fn = mg.compile(lambda x, y: mg.dot(x, y), strict=True, backend="numpy")
    assert bits(fn(a, b)) == bits(total)
    if terms >= 100:
        assert bits(np.dot(a, b)) != bits(total)


@pytest.mark.parametrize("program", [perceptron, shared_weights, attention], ids=lambda p: p.__name__)
def test_strict_values_have_the_eager_engines_bits(program: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mg, "tanh", mg.relu)  # tanh is NumPy's own; all else is exact
    fn, X = program(), data(50)
    values = mg.compile(fn, batch=True, strict=True, backend="numpy")(X)
    assert bits(values) == bits([fn(x).data for x in X.tolist()])


# --- the operations --------------------------------------------------------------------------------------------------

ROWS = [row for row in ops.TABLE if row.arity in (1, 2, 3)]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_operations_have_the_bits_of_the_array_column(row: ops.Op, dtype: Any) -> None:
    """NaN, infinities, signed zeros and subnormal numbers included."""
    with np.errstate(all="ignore"):  # special numbers are what this is about, and 1e308 is one in float32
        operands = np.array(list(itertools.product(SPECIAL, repeat=row.arity or 0)), dtype).T
        out = np.full(operands.shape[1], 7.0, dtype)
        calls.into(row, np.dtype(dtype))(*operands, out)
        expected = np.asarray(row.array(np, *operands), dtype)
    nan = np.isnan(expected)
    np.testing.assert_array_equal(np.isnan(out), nan)
    kind = np.int32 if dtype == np.float32 else np.int64
    np.testing.assert_array_equal(out[~nan].view(kind), expected[~nan].view(kind))


def test_no_warning_about_numbers_that_are_none() -> None:
    w = Value(1.0)
    fn = mg.compile(lambda x: mg.log(x) / (x * 0.0) + mg.exp(x * 1e300) * w, batch=True, backend="numpy", threads=2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for samples in (2, 500_000):
            X = np.linspace(-1.0, 1.0, samples)
            assert np.isnan(fn.backward(X))


# --- take ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("exponent", [0.5, -0.5, 2.0, 3.0, 1.0, 0.0, -1.0, 1 / 3])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_powers_of_special_numbers_by_one_exponent(exponent: float, dtype: str) -> None:
    """One exponent for many numbers, which NumPy may compute in another way than many exponents."""
    x = np.array([a for a in SPECIAL if dtype == "float64" or abs(a) != 1e308], dtype)
    power = mg.compile(lambda a: ops.power(a, exponent), batch=True, backend="numpy", dtype=dtype)
    found = power(x)
    expected = np.array([ops.power(float(a), exponent) for a in x]).astype(dtype)
    np.testing.assert_allclose(found, expected, rtol=1e-6 if dtype == "float32" else 1e-15)
    zero = expected == 0.0
    np.testing.assert_array_equal(np.signbit(found[zero]), np.signbit(expected[zero]))
    alone = mg.compile(lambda a: ops.power(a, exponent), backend="numpy", dtype=dtype)
    np.testing.assert_array_equal([float(alone(a)) for a in x], found)


@pytest.mark.parametrize("backend", ["numpy", "llvm"])
def test_several_takes_among_one_number_check_their_index(backend: str) -> None:
    f = mg.compile(lambda x, i: [mg.take([2.0] * 3, i) * x, mg.take([2.0] * 3, i)], batch=True, backend=backend)
    assert f(np.arange(3.0), np.array([0, 2, 1])).tolist() == [[0.0, 2.0], [2.0, 2.0], [4.0, 2.0]]
    with pytest.raises(IndexError, match=r"sample 1: take\(\) index 3 is outside 0 … 2"):
        f(np.arange(3.0), np.array([0, 3, 1]))


@pytest.mark.parametrize("batch", [True, False])
@pytest.mark.parametrize("index", [-1.0, 3.0, 0.5, np.nan, np.inf, -np.inf, 1e300])
def test_an_index_that_is_none_is_an_error(batch: bool, index: float) -> None:
    table = weights(3)
    fn = mg.compile(lambda k: mg.take(table, k) * 2.0, batch=batch, backend="numpy")
    good = np.array([0.0, 1.0, 2.0]) if batch else 1.0
    bad = np.array([0.0, index, 2.0]) if batch else index
    fn(good)
    for run in (fn, fn.backward):
        with pytest.raises(IndexError, match=r"take\(\) (index|needs an integer index, got) -?(\d|nan|inf)"):
            run(bad)
        run(good)  # the next call is not tainted
