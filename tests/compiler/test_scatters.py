"""The gradient of a long table's entries: each take adds to the entry that its index chose, and to no other."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from interpret import interpret
from random_programs import RandomProgram, Recurrence, programs, recurrences
from test_equality import BACKENDS, check, check_single

import macrograd as mg
from macrograd import Value
from macrograd.compiler import pipeline
from macrograd.compiler.program.program import Program
from macrograd.compiler.rewrite import differentiate
from macrograd.compiler.roll.scatters import first_equal
from macrograd.compiler.tape import tape

Function = Callable[..., Any]


def table(rows: int, columns: int, seed: int = 0) -> list[list[Value]]:
    draw = np.random.default_rng(seed)
    return [[Value(float(draw.normal())) for _ in range(columns)] for _ in range(rows)]


def embedding(rows: int) -> Function:
    """Words of a sentence, each with its place; the last one looks at the table itself, too."""
    words, places = table(rows, 3), table(4, 3, seed=1)

    def loss(tokens: Any) -> Any:
        total = 0.0
        for token, place in zip(tokens, places, strict=True):
            total = total + mg.sum(mg.tanh(a + b) for a, b in zip(mg.take(words, token), place, strict=True))
        return total * mg.take([row[0] for row in words], tokens[3])

    return loss


def part(rows: int) -> Function:
    """Two takes from parts of one table: an index means another row in each."""
    words = table(rows, 2)
    return lambda tokens: mg.tanh(
        mg.sum(mg.take(words, tokens[0])) * mg.sum(mg.take(words[: rows - 3], tokens[1]))
        + mg.take([row[1] for row in words[rows - 10 :]], tokens[2]) * mg.exp(mg.take(words[::-1], tokens[3])[0])
    )


def twice(rows: int) -> Function:
    """An entry stands at two places of what is chosen from, and is used besides."""
    words = [row[0] for row in table(rows, 1)]
    return lambda tokens: mg.sum(
        mg.take([*words, words[0], words[3]], token) * mg.tanh(words[k]) for k, token in enumerate(tokens)
    )


def recurrence(rows: int) -> Function:
    """A step in time for every token."""
    words, mix = table(rows, 3), table(3, 3, seed=1)

    def loss(tokens: Any) -> Any:
        h = [0.0] * 3
        for token in tokens:
            h = [mg.tanh(mg.dot(row, h) + x) for row, x in zip(mix, mg.take(words, token), strict=True)]
        return mg.sum(h)

    return loss


def shuffled(rows: int) -> Function:
    """A table whose rows were met in another order."""
    words = table(rows, 2)
    order = np.random.default_rng(0).permutation(rows)

    def loss(tokens: Any) -> Any:
        weight = 0.0
        for k in order:
            weight = weight + words[k][0] * words[k][1]
        return weight * mg.sum(mg.sum(mg.take(words, token)) for token in tokens)

    return loss


PROGRAMS = [embedding, part, twice, recurrence, shuffled]


def gradient_of(fn: Function, X: Any) -> tuple[float, list[float], list[Value]]:
    """By the eager engine, of the mean."""
    f = mg.compile(fn, batch=True, backend="numpy")
    f(X)
    for p in f.parameters:
        p.grad = 0.0
    loss = mg.mean(fn(row) for row in X.tolist())
    loss.backward()
    return loss.data, [p.grad for p in f.parameters], list(f.parameters)


def tokens_for(fn: Function, samples: int, rows: int, count: int) -> Any:
    most = rows - 3 if fn is part else rows
    found = np.random.default_rng(1).integers(0, most, (samples, count))
    if fn is part:
        found[:, 2] %= 10
    return found


@cache
def eagerly(make: Any, samples: int) -> tuple[Function, Any, tuple[float, list[float], list[Value]]]:
    """The function of a table of 23 rows, tokens, and its gradient."""
    fn, X = make(23), tokens_for(make, samples, 23, 12 if make is recurrence else 4)
    return fn, X, gradient_of(fn, X)


@pytest.mark.parametrize("make", PROGRAMS, ids=lambda f: f.__name__)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("samples", [1, 37, 700])
def test_gives_the_eager_gradient(make: Any, dtype: str, samples: int, backend: str) -> None:
    fn, X, (loss, gradient, parameters) = eagerly(make, samples)
    f = mg.compile(fn, batch=True, dtype=dtype, backend=backend)
    for p in parameters:
        p.grad = 0.0
    found = f.backward(X)
    loose = 1e-10 if dtype == "float64" else 2e-3
    assert found == pytest.approx(loss, rel=loose, abs=loose)
    np.testing.assert_allclose([p.grad for p in parameters], gradient, rtol=loose, atol=loose)


@pytest.mark.parametrize("make", PROGRAMS, ids=lambda f: f.__name__)
def test_the_gradient_has_scatters(make: Any) -> None:
    fn, X, _ = eagerly(make, 1)
    program = pipeline.gradient_program(pipeline.record(fn, [X.shape[1:]]), batch=True)
    assert any(i.kind == "scatter" for i in program.instructions())


@pytest.mark.parametrize("make", PROGRAMS, ids=lambda f: f.__name__)
def test_without_a_batch(make: Any, backend: str) -> None:
    fn, X, (loss, gradient, parameters) = eagerly(make, 1)
    for p in parameters:
        p.grad = 0.0
    f = mg.compile(fn, backend=backend)
    assert f.backward(X[0]) == pytest.approx(loss, rel=1e-11)
    np.testing.assert_allclose([p.grad for p in parameters], gradient, rtol=1e-10, atol=1e-12)


def scatter_program(fn: Function, count: int, **options: Any) -> Program:
    return pipeline.gradient_program(pipeline.record(fn, [(count,)]), batch=True, **options)


def test_a_longer_table_is_not_more_work() -> None:
    from macrograd.compiler.explain.explain import scalar_operations

    short, long = (scatter_program(embedding(n), 4) for n in (30, 300))
    assert len(short.instructions()) == len(long.instructions())
    assert scalar_operations(short) == scalar_operations(long)


def test_columns_with_the_same_indices_are_one_instruction() -> None:
    found = [i for i in scatter_program(recurrence(40), 60).instructions() if i.kind == "scatter"]
    assert [(i.dims, i.count) for i in found] == [((3, 40), 60)]


def test_in_strict_mode_the_order_of_the_sums_is_the_eager_one() -> None:
    program = scatter_program(embedding(30), 4, strict=True)
    assert not any(i.kind == "scatter" for i in program.instructions())


@pytest.mark.parametrize("samples", [3000, 20_000])
def test_the_same_bits_for_any_number_of_threads(samples: int, backend: str) -> None:
    fn = embedding(50)
    X = tokens_for(embedding, samples, 50, 4)
    found = []
    for threads in (1, 2, 3):
        f = mg.compile(fn, batch=True, threads=threads, backend=backend)
        f(X[:1])
        for _ in range(2):
            found.append(f.value_and_grad(f.theta(), X)[1].tobytes())
    assert len(set(found)) == 1


@pytest.mark.parametrize("wrong", [-1.0, 30.0, 1e30, 2.5, float("nan"), float("inf")])
@pytest.mark.parametrize("batch", [True, False])
def test_an_index_out_of_range_is_an_error_and_changes_nothing(wrong: float, batch: bool, backend: str) -> None:
    f = mg.compile(embedding(30), batch=batch, backend=backend)
    good = np.array([[0.0, 7.0, 7.0, 29.0]] * 3 if batch else [0.0, 7.0, 7.0, 29.0])
    f(good)
    before = f.value_and_grad(f.theta(), good)[1].copy()
    bad = good.copy()
    bad[..., 1] = wrong
    with pytest.raises(IndexError, match=r"take\(\) (index .* is outside 0 … 29|needs an integer index)"):
        f.value_and_grad(f.theta(), bad)
    assert (f.value_and_grad(f.theta(), good)[1] == before).all()


def test_the_derivative_of_the_gradient(backend: str) -> None:
    """Of a penalty on the gradient, against the eager engine."""
    words = [row[0] for row in table(12, 1)]

    def loss(tokens: Any, x: Any) -> Any:
        inner = mg.grad(
            lambda y: mg.sum(mg.take([mg.sin(w * y) for w in words], t) * mg.take(words, t) for t in tokens)
        )
        return inner(x) ** 2

    f = mg.compile(loss, backend=backend)
    value = f.backward([3.0, 5.0, 3.0], 0.7)
    found = [p.grad for p in words]
    for p in words:
        p.grad = 0.0
    eager = loss([3, 5, 3], 0.7)
    eager.backward()
    assert value == pytest.approx(eager.data, rel=1e-12)
    np.testing.assert_allclose(found, [p.grad for p in words], rtol=1e-10, atol=1e-12)


def test_prints_and_reads() -> None:
    text = "%0 = input 0\n%1 = parameter 0\n%2 = scatter 7 %0 %1 %0 %1\nreturn %2"
    assert str(tape.parse(text)) == text
    assert tape.verify(tape.parse(text)).leaf[2] == 7
    with pytest.raises(tape.TapeError, match="scatter has 1 operands"):
        tape.verify(tape.parse("%0 = input 0\n%1 = scatter 0 %0\nreturn %1"))
    assert interpret(tape.parse(text), [3.0], [7.0]) == [6.0]
    assert interpret(tape.parse(text), [3.0], [6.0]) == [0.0]


@settings(max_examples=25)
@given(programs(names=("add", "mul", "tanh", "sin", "take", "where", "sum")))
def test_random_programs(program: RandomProgram) -> None:
    """Also where an entry is chosen twice, and where the table is not one of parameters alone."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(differentiate, "FEW_CHOICES", 0)
        for backend in BACKENDS:
            check(program, (1, 7, 40), "float64", backend)
            check_single(program, "float64", backend)


@settings(max_examples=20)
@given(recurrences(["add", "mul", "tanh", "sin", "take", "sum"]))
def test_random_recurrences(program: Recurrence) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(differentiate, "FEW_CHOICES", 0)
        for backend in BACKENDS:
            check(program, (6,), "float64", backend)
            check_single(program, "float64", backend)


@given(st.lists(st.integers(-3, 3) | st.integers(0, 62).map(lambda k: 1 << k), max_size=200))
def test_first_equal(keys: list[int]) -> None:
    """Also for keys that meet in one place of the hash table."""
    array = np.array(keys, dtype=np.int64)
    assert first_equal(array).tolist() == [keys.index(key) for key in keys]
