"""Known results of micrograd and rust_nn, the two earlier programs, corrected where they are wrong."""

from __future__ import annotations

import math
import random
from typing import Any

import pytest

from macrograd import Value, nn

# --- micrograd ------------------------------------------------------------------------------------------------------


def test_micrograd_readme() -> None:
    a = Value(-4.0)
    b = Value(2.0)
    c = a + b
    d = a * b + b**3
    c += c + 1
    c += 1 + c + (-a)
    d += d * 2 + (b + a).relu()
    d += 3 * d + (b - a).relu()
    e = c - d
    f = e**2
    g = f / 2.0
    g += 10.0 / f
    assert f"{g.data:.4f}" == "24.7041"
    g.backward()
    assert f"{a.grad:.4f}" == "138.8338"
    assert f"{b.grad:.4f}" == "645.5773"


def test_micrograd_sanity_check() -> None:
    # z = 3x + 2 = -10, where relu and its slope are 0: q = z·x = 40, h = z² = 100, y = h + q + q·x.
    x = Value(-4.0)
    z = 2 * x + 2 + x
    q = z.relu() + z * x
    h = (z * z).relu()
    y = h + q + q * x
    y.backward()
    # dy/dx = 2z·3 + (1 + x)·(3x + z) + q = -60 + 66 + 40.
    assert y.data == -20.0
    assert x.grad == 46.0


def test_micrograd_more_operations() -> None:
    # The README's program again, written without +=, against its closed form.
    a, b = Value(-4.0), Value(2.0)
    c = a + b
    d = a * b + b**3
    c = c + c + 1
    c = c + 1 + c + (-a)
    d = d + d * 2 + (b + a).relu()
    d = d + 3 * d + (b - a).relu()
    e = c - d
    f = e**2
    g = f / 2.0
    g = g + 10.0 / f
    g.backward()
    # c = 4(a + b) + 3 - a = 3a + 4b + 3; d = 12(ab + b³) + (b - a), as b + a < 0 < b - a at (-4, 2).
    e_is = (3 * -4 + 4 * 2 + 3) - (12 * (-8 + 8) + 6)
    slope = e_is - 20 / e_is**3  # of e²/2 + 10/e²
    assert g.data == pytest.approx(e_is**2 / 2 + 10 / e_is**2, rel=1e-15)
    assert a.grad == pytest.approx(slope * (3 - (12 * 2 - 1)), rel=1e-15)
    assert b.grad == pytest.approx(slope * (4 - (12 * (-4 + 12) + 1)), rel=1e-15)


def test_programs_that_walk_prev_and_op() -> None:
    """As micrograd's notebook collects nodes and edges to draw them."""
    x = Value(1.5, label="x")
    y = (x * x + 2.0).relu()
    nodes: set[Any] = set()
    edges: set[tuple[Any, Any]] = set()

    def build(v: Any) -> None:
        if v not in nodes:
            nodes.add(v)
            for child in v._prev:
                edges.add((child, v))
                build(child)

    build(y)
    assert len(nodes) == 5
    assert len(edges) == 4
    assert {n._op for n in nodes} == {"", "+", "×", "relu"}
    assert x._op == ""
    assert x._prev == ()


def test_micrograd_update_by_hand() -> None:
    p = Value(2.0)
    for _ in range(3):
        loss = (p - 1) ** 2
        p.grad = 0
        loss.backward()
        p.data -= 0.25 * p.grad
    assert p.data == 1.125


# --- rust_nn --------------------------------------------------------------------------------------------------------


def test_rust_nn_scalars_hold_what_they_are_given() -> None:
    v = Value(3)
    assert (v.data, v.grad, v.op, v.inputs, v.label) == (3.0, 0.0, None, (), "")
    assert type(v.data) is float


@pytest.mark.parametrize(
    ("function", "value", "da", "db"),
    [
        (lambda a, b: a + b, 5.0, 1.0, 1.0),
        (lambda a, b: a - b, -1.0, 1.0, -1.0),
        (lambda a, b: a * b, 6.0, 3.0, 2.0),
        (lambda a, b: a / b, 2.0 / 3.0, 1.0 / 3.0, -2.0 / 9.0),
        (lambda a, b: a**b, 8.0, 12.0, 8.0 * math.log(2.0)),
    ],
    ids=["add", "sub", "mul", "div", "pow"],
)
def test_rust_nn_two_operands(function: Any, value: float, da: float, db: float) -> None:
    a, b = Value(2.0), Value(3.0)
    out = function(a, b)
    out.backward()
    assert out.data == pytest.approx(value, rel=1e-15)
    assert a.grad == pytest.approx(da, rel=1e-15)
    assert b.grad == pytest.approx(db, rel=1e-15)
    assert (a.data, b.data) == (2.0, 3.0)


@pytest.mark.parametrize(
    ("name", "x", "value", "slope"),
    [
        ("exp", 1.5, math.exp(1.5), math.exp(1.5)),
        ("tanh", 0.7, math.tanh(0.7), 1.0 - math.tanh(0.7) ** 2),
        ("relu", 2.0, 2.0, 1.0),
        ("relu", -2.0, 0.0, 0.0),
        ("__neg__", 2.0, -2.0, -1.0),
    ],
)
def test_rust_nn_one_operand(name: str, x: float, value: float, slope: float) -> None:
    a = Value(x)
    out = getattr(a, name)()
    out.backward()
    assert out.data == pytest.approx(value, rel=1e-15)
    assert a.grad == pytest.approx(slope, rel=1e-15)
    assert a.data == x, "an operation must not change its operand"


def test_tanh_multiplies_the_gradient_that_comes_in() -> None:
    x = Value(0.5)
    (3.0 * x.tanh()).backward()
    assert x.grad == pytest.approx(3.0 * (1.0 - math.tanh(0.5) ** 2), rel=1e-15)


def test_equal_numbers_are_different_values() -> None:
    x, y = Value(3.0), Value(4.0)
    (x * y + x * y).backward()
    assert x.grad == 8.0
    assert y.grad == 6.0


def test_a_shared_subexpression_counts_every_time() -> None:
    x, y = Value(3.0), Value(4.0)
    product = x * y
    (product + product).backward()
    assert (x.grad, y.grad) == (8.0, 6.0)


def test_one_value_on_both_sides() -> None:
    x = Value(3.0)
    (x * x + x / x + (x - x)).backward()
    assert x.grad == 6.0


def test_a_neuron_by_hand() -> None:
    weights, bias = [Value(-3.0), Value(1.0)], Value(6.8813735870195432)
    inputs = [Value(2.0), Value(0.0)]
    out = sum((w * x for w, x in zip(weights, inputs, strict=True)), bias).tanh()
    out.backward()
    assert out.data == pytest.approx(math.sqrt(0.5), rel=1e-14)
    assert [v.grad for v in (*inputs, *weights)] == pytest.approx([-1.5, 0.5, 1.0, 0.0], rel=1e-13)


def test_a_second_backward_doubles_what_the_leaves_have() -> None:
    x = Value(2.0)
    inner = x * x
    out = inner * inner
    out.backward()
    assert (x.grad, inner.grad) == (32.0, 8.0)
    out.backward()
    assert (x.grad, inner.grad) == (64.0, 8.0)


def test_gradient_descent_finds_a_minimum() -> None:
    rng = random.Random(0)
    w, b = Value(rng.uniform(-1, 1)), Value(0.0)
    for _ in range(200):
        w.grad = b.grad = 0.0
        loss = sum((w * x + b - (2.0 * x - 1.0)) ** 2 for x in (-1.0, 0.0, 1.0)) / 3
        loss.backward()
        w.data -= 0.3 * w.grad
        b.data -= 0.3 * b.grad
    assert (w.data, b.data) == pytest.approx((2.0, -1.0), abs=1e-12)


# --- the nets of both -----------------------------------------------------------------------------------------------


def test_a_neuron_is_a_sum_of_products_and_an_activation() -> None:
    neuron = nn.Neuron(3)
    assert len(neuron.parameters()) == 4
    for parameter, number in zip([*neuron.w, neuron.b], (0.5, -1.0, 2.0, 0.25), strict=True):
        parameter.data = number
    assert neuron([1.0, 2.0, 3.0]).data == 0.5 - 2.0 + 6.0 + 0.25
    assert neuron([1.0, 2.0, -3.0]).data == 0.0
    assert nn.Neuron(3, nonlin=False, activation="relu").parameters()[3].data == 0.0


def test_a_layer_gives_one_number_a_neuron() -> None:
    layer = nn.Layer(3, 4)
    assert len(layer([1.0, 2.0, 3.0])) == 4
    assert len(layer.parameters()) == 4 * (3 + 1)
    assert isinstance(nn.Layer(3, 1)([1.0, 2.0, 3.0]), Value)


def test_a_net_has_the_parameters_of_its_layers() -> None:
    model = nn.MLP(2, [16, 16, 1])
    assert len(model.parameters()) == 16 * 3 + 16 * 17 + 17 == 337
    assert all(-1.0 <= p.data <= 1.0 for p in model.parameters())
    score = model([0.5, -0.5])
    assert isinstance(score, Value)
    score.backward()
    assert any(p.grad != 0.0 for p in model.parameters())
    model.zero_grad()
    assert all(p.grad == 0.0 for p in model.parameters())


def test_a_net_learns_four_points() -> None:
    """The example of both ancestors: three inputs, 4-4-1, targets ±1, squared error, plain gradient descent."""
    model = nn.MLP(3, [4, 4, 1], activation="tanh", output_activation="tanh", seed=0)
    xs = [[2.0, 3.0, -1.0], [3.0, -1.0, 0.5], [0.5, 1.0, 1.0], [1.0, 1.0, -1.0]]
    ys = [1.0, -1.0, -1.0, 1.0]

    def loss() -> Value:
        total: Value = sum(((model(x) - y) ** 2 for x, y in zip(xs, ys, strict=True)), Value(0.0))
        return total

    first = loss().data
    for _ in range(100):
        model.zero_grad()
        loss().backward()
        for p in model.parameters():
            p.data -= 0.05 * p.grad
    assert loss().data < 0.02 < first
