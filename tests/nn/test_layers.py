"""Neuron, Layer and MLP: what they compute, what they start from, and what they say to bad input."""

from __future__ import annotations

import math
import random
import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import macrograd as mg
from macrograd import Value, ops
from macrograd.nn import MLP, Layer, Neuron, activations, init

SMALL = st.floats(-10, 10)


@given(st.lists(st.tuples(SMALL, SMALL), min_size=1, max_size=20), SMALL)
def test_a_neuron_adds_from_the_bias_on_left_to_right(pairs: list[tuple[float, float]], bias: float) -> None:
    neuron = Neuron(len(pairs), nonlin=False)
    for w, (data, _) in zip(neuron.w, pairs, strict=True):
        w.data = data
    neuron.b.data = bias
    total = bias
    for w, x in pairs:
        total = total + w * x
    out = neuron([x for _, x in pairs])
    assert out.data == total
    out.backward()
    assert [w.grad for w in neuron.w] == [x for _, x in pairs]
    assert neuron.b.grad == 1.0


def test_a_score_is_one_operation() -> None:
    assert Neuron(5, nonlin=False)([1.0] * 5).op is ops.dot
    out = Neuron(5)([1.0] * 5)
    assert out.op is ops.relu
    assert out.inputs[0].op is ops.dot


def test_weights_are_drawn_in_micrograds_order() -> None:
    draw = random.Random(1337)
    model = MLP(2, [16, 16, 1], seed=1337)
    assert len(model.parameters()) == 337
    for layer in model.layers:
        for neuron in layer.neurons:
            assert [w.data for w in neuron.w] == [draw.uniform(-1, 1) for _ in neuron.w]
            assert neuron.b.data == 0.0


def test_one_step_of_a_net_as_by_hand() -> None:
    model = MLP(2, [2, 1], seed=3)
    (a, b), (c,) = (layer.neurons for layer in model.layers)
    x = [0.7, -0.4]
    hidden = [max(n.b.data + n.w[0].data * x[0] + n.w[1].data * x[1], 0.0) for n in (a, b)]
    assert model(x).data == c.b.data + c.w[0].data * hidden[0] + c.w[1].data * hidden[1]


def test_seeds() -> None:
    def weights(seed: Any) -> list[float]:
        return [p.data for p in MLP(3, [4, 2], seed=seed).parameters()]

    assert weights(5) == weights(5) == weights(random.Random(5))
    assert weights(5) != weights(6)
    assert weights(None) != weights(None)


def test_a_seed_leaves_the_global_generator_alone() -> None:
    random.seed(1)
    before = random.getstate()
    for name in init.INITIALISERS:
        MLP(2, [3, 1], init=name, seed=1)
    assert random.getstate() == before


def test_without_a_seed_the_global_generator_decides_as_in_micrograd() -> None:
    random.seed(1)
    first = [p.data for p in MLP(2, [3, 1]).parameters()]
    random.seed(1)
    assert [p.data for p in MLP(2, [3, 1]).parameters()] == first


@pytest.mark.parametrize(
    ("name", "variance", "bound"),
    [
        ("uniform", 1 / 3, 1.0),
        ("he_normal", 2 / 50, math.inf),
        ("he_uniform", 2 / 50, math.sqrt(6 / 50)),
        ("glorot_normal", 2 / 250, math.inf),
        ("glorot_uniform", 2 / 250, math.sqrt(6 / 250)),
    ],
)
def test_initialisers_have_their_papers_variance(name: str, variance: float, bound: float) -> None:
    layer = Layer(50, 200, init=name, seed=0)
    weights = np.array([w.data for neuron in layer.neurons for w in neuron.w])
    assert weights.mean() == pytest.approx(0.0, abs=4 * math.sqrt(variance / weights.size))
    assert weights.var() == pytest.approx(variance, rel=0.05)
    assert abs(weights).max() <= bound
    assert {neuron.b.data for neuron in layer.neurons} == {0.0}


def test_an_initialiser_of_ones_own() -> None:
    model = MLP(2, [3, 1], init=lambda rng, fan_in, fan_out: 10.0 * fan_in + fan_out)
    assert [w.data for layer in model.layers for w in layer.neurons[0].w] == [23.0, 23.0, 31.0, 31.0, 31.0]


def test_every_way_to_give_inputs() -> None:
    model = MLP(2, [3, 1], seed=0)
    wanted = model([0.5, -1.5]).data
    for x in ((0.5, -1.5), [Value(0.5), Value(-1.5)], [Value(0.5), -1.5], iter([0.5, -1.5])):
        assert model(x).data == wanted
    row = np.array([[0.5, -1.5], [0.0, 0.0]])[0]
    for x in (row, row.astype(np.float32), np.array([Value(0.5), Value(-1.5)]), list(row)):
        assert model(x).data == wanted
    assert model([1, 2]).data == model([1.0, 2.0]).data


def test_inputs_get_gradients() -> None:
    x = [Value(0.5), Value(-1.5)]
    model = MLP(2, [8, 1], activation="tanh", seed=0)
    model(x).backward()
    h = 1e-6
    for i in range(2):
        moved = [[v.data + s * h * (i == k) for k, v in enumerate(x)] for s in (1, -1)]
        assert x[i].grad == pytest.approx((model(moved[0]).data - model(moved[1]).data) / (2 * h), rel=1e-8)


def test_outputs_are_one_value_or_a_list() -> None:
    assert isinstance(MLP(2, [3, 1])([1.0, 2.0]), Value)
    assert len(MLP(2, [3, 4])([1.0, 2.0])) == 4
    assert isinstance(Layer(2, 1)([1.0, 2.0]), Value)


def test_widths_of_one() -> None:
    model = MLP(1, [1, 1, 2], seed=0)
    assert [v.data for v in model(0.5)] == [v.data for v in model([0.5])]
    assert [v.data for v in model(np.float64(0.5))] == [v.data for v in model(Value(0.5))]


def test_activations_per_layer() -> None:
    model = MLP(2, [3, 4, 2], activation=["tanh", mg.sin], output_activation="sigmoid")
    assert [out.op for out in model([1.0, 2.0])] == [ops.sigmoid] * 2
    assert [layer.neurons[0].activation for layer in model.layers] == ["tanh", mg.sin, "sigmoid"]


@pytest.mark.parametrize("name", activations.ACTIVATIONS)
def test_every_activation_by_name(name: str) -> None:
    function = activations.get(name)
    neuron = Neuron(1, activation=name, seed=2)
    score = neuron.w[0].data * 1.5
    assert neuron(1.5).data == function(score)
    assert isinstance(function(0.25), float)


def test_micrograds_switch() -> None:
    assert Neuron(2, False).activation == "linear"
    assert Layer(2, 3, nonlin=False).neurons[2].activation == "linear"
    assert Layer(2, 3, nonlin=True).neurons[2].activation == "relu"


def test_prints() -> None:
    assert repr(Neuron(2)) == "Neuron(2, relu)"
    assert repr(Layer(2, 3, activation=math.sin)) == "Layer of 3 × Neuron(2, sin)"
    assert repr(MLP(2, [16, 16, 1])) == (
        "MLP of [Layer of 16 × Neuron(2, relu), Layer of 16 × Neuron(16, relu), Layer of 1 × Neuron(16, linear)]: "
        "337 parameters"
    )
    assert repr(Neuron(1, activation=mg.tanh)) == "Neuron(1, tanh)"


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: Neuron(2)([1.0]), ValueError, "this Neuron takes 2 inputs, got 1"),
        (
            lambda: MLP(2, [1])(1.0),
            ValueError,
            "this MLP takes 2 inputs, got a single number: give a list of 2 numbers",
        ),
        (lambda: MLP(2, [1])([[1.0, 2.0]]), ValueError, "got 1 row of 2 numbers: it takes one sample at a time"),
        (lambda: Layer(2, 3)([1.0, 2.0, 3.0]), ValueError, "this Layer takes 2 inputs, got 3"),
        (lambda: MLP(2, [3, 1])(np.zeros(5)), ValueError, "this MLP takes 2 inputs, got 5"),
        (
            lambda: MLP(2, [3, 1])(np.zeros((7, 2))),
            ValueError,
            "got 7 rows of 2 numbers: it takes one sample at a time",
        ),
        (lambda: MLP(2, [3, 1])(np.zeros((7, 4))), ValueError, "got 7 rows of 4 numbers: give it one sample of 2"),
        (
            lambda: MLP(2, [3, 1])(np.zeros((2, 2))),
            TypeError,
            "dot() takes numbers and Values, got [0.0, 0.0] of type li",
        ),
        (lambda: Neuron(2)(["a", "b"]), TypeError, "dot() takes numbers and Values, got 'a' of type str"),
        (lambda: Neuron(2, "tanh"), ValueError, "must be True or False; write activation='tanh'"),
        (lambda: Layer(2, 3, "no"), ValueError, "Neuron(nonlin='no'): nonlin must be True or False"),
        (lambda: Neuron(0), ValueError, "Neuron needs a positive integer number of inputs, got 0"),
        (lambda: Layer(2.0, 1), ValueError, "Layer needs a positive integer number of inputs, got 2.0"),
        (lambda: MLP(2, [3, 0]), ValueError, "Layer needs a positive integer number of neurons, got 0"),
        (
            lambda: MLP(2, []),
            ValueError,
            "MLP takes a list with the size of each layer, as in MLP(2, [16, 16, 1]), got []",
        ),
        (
            lambda: MLP(2, 16),
            ValueError,
            "MLP takes a list with the size of each layer, as in MLP(2, [16, 16, 1]), got 16",
        ),
        (
            lambda: MLP(2, [3, 3, 1], activation=["relu"]),
            ValueError,
            "MLP has 2 hidden layers, got 1 activations: give one for each, or one for all",
        ),
        (
            lambda: MLP(2, [3, 1], activation="rleu"),
            ValueError,
            "unknown activation 'rleu': use one of linear, relu, leaky_relu, tanh, sigmoid, softplus, sin, silu, "
            "gelu, or a function of one scalar",
        ),
        (
            lambda: MLP(2, [3, 1], init="xavier"),
            ValueError,
            "unknown init 'xavier': use one of uniform, he_normal, he_uniform, glorot_normal, glorot_uniform, or "
            "a function (rng, fan_in, fan_out) → float",
        ),
        (
            lambda: Neuron(1, init=lambda rng, a, b: "0"),
            TypeError,
            "Value(data) takes one real number, got '0' of type",
        ),
    ],
)
def test_errors(call: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=re.escape(message)):
        call()
