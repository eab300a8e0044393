"""Arrays are found whatever the program looks like: by arithmetic alone.

Each program here is written by hand with lists and `sum()`. It must give the eager engine's numbers, and roll: so few
array instructions, and as many for a wide program as for a narrow one.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from random_programs import number

import macrograd as mg
from macrograd import Value
from macrograd.compiler import pipeline
from macrograd.compiler.program.program import Program

Function = Callable[..., Any]


def weights(*shape: int, seed: int = 0) -> Any:
    """Nested lists of parameters."""
    array = np.random.default_rng(seed).uniform(-0.8, 0.8, shape)

    def nest(x: Any) -> Any:
        return Value(float(x)) if np.ndim(x) == 0 else [nest(item) for item in x]

    return nest(array)


def neuron(w: Any, x: Any, bias: Any = 0.0) -> Any:
    return sum((a * b for a, b in zip(w, x, strict=True)), bias)


def layer(rows: Any, x: Any) -> list[Any]:
    return [neuron(row, x) for row in rows]


# --- the programs: name → (width → function of one sample x) ------------------------------------------------


def perceptron(n: int) -> Function:
    hidden, b, out = weights(n, 3), weights(n), weights(n, seed=1)
    return lambda x: neuron(out, [mg.tanh(neuron(w, x, c)) for w, c in zip(hidden, b, strict=True)])


def shuffled_neurons(n: int) -> Function:
    """Neurons are computed, and their results added, in an order without a pattern."""
    hidden, out = weights(n, 3), weights(n, seed=1)
    order, other = list(range(n)), list(range(n))
    random.Random(1).shuffle(order)
    random.Random(2).shuffle(other)

    def fn(x: Any) -> Any:
        h: dict[int, Any] = {}
        for k in order:
            h[k] = mg.relu(neuron(hidden[k], x))
        return sum(out[k] * h[k] for k in other)

    return fn


def shuffled_terms(n: int) -> Function:
    """Every neuron adds up its inputs in a different order."""
    hidden, out = weights(n, n), weights(n, seed=1)
    shuffle = random.Random(3)

    def fn(x: Any) -> Any:
        h = []
        for row in hidden:
            order = list(range(n))
            shuffle.shuffle(order)
            h.append(mg.tanh(sum(row[k] * x[k % 3] * 0.5 for k in order)))
        return neuron(out, h)

    return fn


def unrolled_by_hand(n: int) -> Function:
    """Statements instead of loops, as someone would write them out; the text is made here."""
    hidden, out = weights(n, 3), weights(n, seed=1)
    lines = [f"h{k} = tanh(w[{k}][0] * x[0] + w[{k}][1] * x[1] + w[{k}][2] * x[2])" for k in range(n)]
    total = " + ".join(f"h{k} * v[{k}]" for k in range(n))
    text = "def fn(x):\n    " + "\n    ".join(lines) + f"\n    return {total}\n"
    names: dict[str, Any] = {"w": hidden, "v": out, "tanh": mg.tanh}
    exec(text, names)  # noqa: S102 - the text is made three lines above
    return names["fn"]


def shared_between_layers(n: int) -> Function:
    """The same square of weights three times."""
    first, square, out = weights(n, 3), weights(n, n, seed=1), weights(n, seed=2)

    def fn(x: Any) -> Any:
        h = layer(first, x)
        for _ in range(3):
            h = [mg.tanh(a) for a in layer(square, h)]
        return neuron(out, h)

    return fn


def gate(n: int) -> Function:
    """One activation multiplies another."""
    a, b, out = weights(n, 3), weights(n, 3, seed=1), weights(n, seed=2)

    def fn(x: Any) -> Any:
        opened = [mg.sigmoid(s) for s in layer(a, x)]
        passed = [mg.tanh(s) for s in layer(b, x)]
        return neuron(out, [g * p for g, p in zip(opened, passed, strict=True)])

    return fn


def residual(n: int) -> Function:
    """The input of a layer is added to its output."""
    first, square, out = weights(n, 3), weights(n, n, seed=1), weights(n, seed=2)

    def fn(x: Any) -> Any:
        h = layer(first, x)
        h = [a + mg.relu(s) for a, s in zip(h, layer(square, h), strict=True)]
        return neuron(out, h)

    return fn


def softmax_by_hand(n: int) -> Function:
    """Cross-entropy of a softmax, all of it written out."""
    rows = weights(n, 3)

    def fn(x: Any) -> Any:
        scores = layer(rows, x)
        top = scores[0]
        for s in scores[1:]:
            top = mg.maximum(top, s)
        e = [mg.exp(s - mg.detach(top)) for s in scores]
        total = sum(e)
        return -mg.log(e[1] / total)

    return fn


def softmax(n: int) -> Function:
    rows, target = weights(n, 3), weights(n, seed=1)
    return lambda x: neuron(target, mg.softmax(layer(rows, x)))


def normalised(n: int) -> Function:
    """Activations are shifted and scaled by their own mean and spread."""
    rows, out = weights(n, 3), weights(n, seed=1)

    def fn(x: Any) -> Any:
        h = layer(rows, x)
        mean = sum(h) / n
        centred = [a - mean for a in h]
        spread = mg.sqrt(sum(c * c for c in centred) / n + 1e-5)
        return neuron(out, [mg.tanh(c / spread) for c in centred])

    return fn


def convolution(n: int) -> Function:
    """Three weights slide over the samples of a signal made of x."""
    kernel, out, first = weights(3), weights(n - 2, seed=1), weights(n, 3, seed=2)

    def fn(x: Any) -> Any:
        signal = layer(first, x)
        return neuron(out, [mg.relu(neuron(kernel, signal[k : k + 3])) for k in range(n - 2)])

    return fn


def embedding(n: int) -> Function:
    """A row of a table by an index."""
    table, out = weights(7, n), weights(n, seed=1)

    def fn(x: Any) -> Any:
        row = mg.take(table, mg.where(mg.sign(x[0]) + 1.0, 3.0, 5.0))
        return neuron(out, [mg.tanh(a * x[1]) for a in row])

    return fn


def deep(n: int) -> Function:
    """Two hidden layers as wide as each other."""
    first, second, out = weights(n, 3), weights(n, n, seed=1), weights(n, seed=2)
    return lambda x: neuron(out, [mg.relu(s) for s in layer(second, [mg.relu(s) for s in layer(first, x)])])


# The most instructions for value and gradient together; a little more than there are now.
MOST: dict[Function, int] = {
    perceptron: 14,
    shuffled_neurons: 12,
    shuffled_terms: 16,
    unrolled_by_hand: 12,
    shared_between_layers: 28,
    gate: 17,
    residual: 15,
    softmax_by_hand: 26,
    softmax: 24,
    normalised: 34,
    convolution: 18,
    embedding: 20,
    deep: 16,
}


def gradient(fn: Function, *, batch: bool = True) -> Program:
    return pipeline.gradient_program(pipeline.record(fn, [(3,)]), batch=batch)


# A tree of pairs, in which softmax finds the largest, has one level more for 30 numbers than for 12.
LEVELS_MORE: dict[Function, int] = {softmax: 1}


@pytest.mark.parametrize("make", MOST, ids=lambda f: f.__name__)
def test_rolls(make: Callable[[int], Function]) -> None:
    narrow, wide = gradient(make(12)), gradient(make(30))
    assert len(narrow.instructions()) <= MOST[make], f"\n{narrow}"
    more = LEVELS_MORE.get(make, 0)
    assert len(wide.instructions()) == len(narrow.instructions()) + more, f"\n{narrow}\n{wide}"


@pytest.mark.parametrize("make", MOST, ids=lambda f: f.__name__)
def test_gives_the_eager_numbers(make: Callable[[int], Function], backend: str) -> None:
    fn = make(13)
    X = np.random.default_rng(5).normal(size=(11, 3))
    f = mg.compile(fn, batch=True, backend=backend)
    mean = f.backward(X)
    found = [p.grad for p in f.parameters]
    for p in f.parameters:
        p.grad = 0.0
    losses = [fn(x) for x in X.tolist()]
    total = mg.mean(losses)
    total.backward()
    assert mean == pytest.approx(total.data, rel=1e-12)
    np.testing.assert_allclose(found, [p.grad for p in f.parameters], rtol=1e-11, atol=1e-13)
    np.testing.assert_allclose(f(X), [number(loss) for loss in losses], rtol=1e-12, atol=1e-14)


# --- pairs that are the same program ------------------------------------------------------------------------


@pytest.mark.parametrize("other", [shuffled_neurons, unrolled_by_hand])
def test_the_way_it_is_written_does_not_matter(other: Callable[[int], Function]) -> None:
    """As many instructions of each kind as the plain loop has."""

    def plain(n: int) -> Function:
        act = mg.relu if other is shuffled_neurons else mg.tanh
        hidden, out = weights(n, 3), weights(n, seed=1)
        return lambda x: neuron(out, [act(neuron(w, x)) for w in hidden])

    found, expected = gradient(other(16)), gradient(plain(16))
    assert sorted((i.kind, i.members) for i in found.instructions()) == sorted(
        (i.kind, i.members) for i in expected.instructions()
    )


def test_a_batch_split_in_two_has_the_mean_of_the_means(backend: str) -> None:
    fn = perceptron(9)
    X = np.random.default_rng(5).normal(size=(150, 3))
    f = mg.compile(fn, batch=True, backend=backend)
    theta = np.array([p.data for p in (f.bind(X), f.parameters)[1]])
    whole = f.value_and_grad(theta, X)
    one, two = f.value_and_grad(theta, X[:40]), f.value_and_grad(theta, X[40:])
    assert whole[0] == pytest.approx((40 * one[0] + 110 * two[0]) / 150, rel=1e-13)
    np.testing.assert_allclose(whole[1], (40 * one[1] + 110 * two[1]) / 150, rtol=1e-11, atol=1e-14)


def test_a_batch_is_its_samples(backend: str) -> None:
    fn = gate(7)
    X = np.random.default_rng(5).normal(size=(20, 3))
    single = mg.compile(fn, backend=backend)
    np.testing.assert_allclose(
        mg.compile(fn, batch=True, backend=backend)(X), [single(x) for x in X], rtol=1e-14, atol=1e-15
    )


def test_the_same_bits_in_every_run_and_for_any_number_of_threads(backend: str) -> None:
    fn = deep(10)
    X = np.random.default_rng(5).normal(size=(5000, 3))
    one, two = (mg.compile(fn, batch=True, threads=k, backend=backend) for k in (1, 2))
    one(X[:1]), two(X[:1])
    theta = one.theta()
    reference = one.value_and_grad(theta, X)
    for f in (one, two, two):
        value, g = f.value_and_grad(theta, X)
        assert value.hex() == reference[0].hex()
        assert g.tobytes() == reference[1].tobytes()


def test_without_a_batch_it_rolls_too() -> None:
    for make in (perceptron, shuffled_neurons, gate, residual, deep):
        narrow, wide = (gradient(make(n), batch=False) for n in (12, 30))
        assert len(wide.instructions()) <= len(narrow.instructions()) <= MOST[make], f"{make.__name__}\n{wide}"


def test_what_has_no_pattern_is_still_right(backend: str) -> None:
    """Random wiring: tables, and few instructions all the same."""
    chosen = random.Random(4)
    w = weights(200)
    wires = [(chosen.randrange(3), chosen.randrange(3), chosen.randrange(200)) for _ in range(200)]

    def fn(x: Any) -> Any:
        return sum(mg.sin(x[i] * w[k]) * x[j] for i, j, k in wires)

    assert len(gradient(fn).instructions()) <= 60
    X = np.random.default_rng(5).normal(size=(5, 3))
    np.testing.assert_allclose(
        mg.compile(fn, batch=True, backend=backend)(X), [number(fn(x)) for x in X.tolist()], rtol=1e-12
    )


def attention(n: int) -> Function:
    """Causal: each of n positions looks at those before it. The first one has less to compute than the others."""
    query, key, value, out = (weights(8, 8, seed=k) for k in range(4))

    def fn(x: Any) -> Any:
        keys, values, total = [], [], 0.0
        for k in range(0, 8 * n, 8):
            now = x[k : k + 8]
            keys.append(layer(key, now))
            values.append(layer(value, now))
            asked = layer(query, now)
            seen = mg.softmax(neuron(asked, other) for other in keys)
            mixed = [neuron(seen, [v[i] for v in values]) for i in range(8)]
            total = total + mg.sum(mg.tanh(h) for h in layer(out, mixed))
        return total

    return fn


def test_the_gradients_of_matrices_are_outer_products_though_they_form_one_group() -> None:
    """Four matrices, whose gradients all are sums of seven products over the batch, but from other places."""
    program = pipeline.gradient_program(pipeline.record(attention(7), [(56,)]), batch=True)
    reduced = [i for i in program.instructions() if i.kind == "reduce" and i.members > 1]
    sides = [x for i in reduced for segment in i.segments for x in (segment.left, segment.right)]
    assert sum(i.members for i in reduced) == 4 * 64
    assert all(len(i.dims) == 2 for i in reduced)
    assert all(x.members is None and x.full is None for x in sides if not isinstance(x, float))


def test_attention_gives_the_eager_numbers(backend: str) -> None:
    fn, X = attention(5), np.random.default_rng(3).normal(size=(3, 40))
    f = mg.compile(fn, batch=True, backend=backend)
    loss = f.backward(X)
    found = [p.grad for p in f.parameters]
    for p in f.parameters:
        p.grad = 0.0
    eager = mg.mean(fn(row) for row in X.tolist())
    eager.backward()
    assert loss == pytest.approx(eager.data, rel=1e-12)
    np.testing.assert_allclose(found, [p.grad for p in f.parameters], rtol=1e-9, atol=1e-12)
