"""Value: the graph it builds, `backward`, and what it costs."""

from __future__ import annotations

import math
import operator
import os
import subprocess
import sys
import tracemalloc
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

import macrograd as mg
from macrograd import Value, ops
from macrograd.value import CONSTANT, topological
from tests.memory import held, leaves_cycles

OPERATORS = [operator.add, operator.sub, operator.mul, operator.truediv, operator.pow]

# --- the graph ------------------------------------------------------------------------------------------------------


def test_inputs_stand_in_order_and_twice_where_used_twice() -> None:
    x, y = Value(2.0), Value(3.0)
    assert (x - y).inputs == (x, y)
    assert (x * x).inputs == (x, x)
    assert x.tanh().inputs == (x,)
    assert mg.sum([x, y, x]).inputs == (x, y, x)
    assert mg.sum([x, y]).inputs == (x, y)
    assert mg.sum([x]).inputs == (x,)
    assert x.inputs == ()
    (two, left) = (2.0 / x).inputs
    assert (two.data, two.op, two.inputs) == (2.0, CONSTANT, ())
    assert left is x


def test_a_sum_of_one_and_of_two_differentiates_like_any() -> None:
    x, y = Value(2.0), Value(3.0)
    (mg.sum([x, y]) * mg.sum([x]) + mg.dot([x], [y])).backward()
    assert (x.grad, y.grad) == (5.0 + 2.0 + 3.0, 2.0 + 2.0)


@pytest.mark.parametrize("number", [3, 3.0, True, Fraction(1, 2), np.float32(0.5), np.int64(3), np.array(0.25)])
@pytest.mark.parametrize("apply", OPERATORS)
def test_arithmetic_with_numbers_on_either_side(apply: Any, number: Any) -> None:
    x = Value(1.75)
    for out, expected in (
        (apply(x, number), apply(1.75, float(number))),
        (apply(number, x), apply(float(number), 1.75)),
    ):
        assert type(out) is Value
        assert out.data == expected
        assert len(out.inputs) == 2


def test_in_place_forms_make_new_values() -> None:
    x = Value(2.0)
    y = x
    y += 1
    y -= 0.5
    y *= x
    y /= 4
    y **= 2
    assert (x.data, y.data) == (2.0, 1.5625)
    y.backward()
    assert x.grad == 2 * 1.25 * (2 * 2 + 0.5) / 4


def test_constants_get_no_gradient() -> None:
    x = Value(2.0)
    out = mg.sum([x * 3.0, mg.dot([x], [4.0]), x**2])
    out.backward()
    assert x.grad == 3.0 + 4.0 + 4.0
    assert all(node.grad == 0.0 for node in topological(out) if node.op is CONSTANT)


def test_comparisons_are_of_the_numbers_and_equality_is_identity() -> None:
    a, b = Value(1.0), Value(2.0)
    assert [a < b, a <= 1, a > b, b >= 2, a >= 3, a < math.nan] == [True, True, False, True, False, False]
    assert [operator.lt(0, a), operator.ge(0, a)] == [True, False]
    assert max(a, b) is b
    assert sorted([b, a]) == [a, b]
    assert a == a
    assert a != Value(1.0)
    assert len({a, Value(1.0), a}) == 2
    assert (float(b), int(Value(2.7)), bool(Value(0.0)), bool(a)) == (2.0, 2, False, True)
    with pytest.raises(TypeError, match="'<' not supported between instances of 'Value' and 'str'"):
        a < "b"  # noqa: B015 - the comparison is what is tested


def test_format() -> None:
    assert f"{Value(2.5):.3f} {Value(2.5):>6.1f}" == "2.500    2.5"
    assert f"{Value(2.5)}" == str(Value(2.5))


def test_repr() -> None:
    assert repr(Value(2)) == "Value(data=2.0, grad=0.0)"
    assert repr(Value(2.5, label="w")) == "Value(data=2.5, grad=0.0, label='w')"


@pytest.mark.parametrize(
    "bad", ["1", None, 1j, [1.0], np.zeros(1), np.array("x"), Value(1.0)], ids=lambda bad: type(bad).__name__
)
def test_data_that_is_no_real_number_is_refused(bad: Any) -> None:
    with pytest.raises(TypeError, match=r"^Value\(data\) takes one real number, got .* of type "):
        Value(bad)


@pytest.mark.parametrize("apply", OPERATORS)
def test_operators_refuse_what_is_no_number(apply: Any) -> None:
    for pair in ((Value(1.0), None), (None, Value(1.0)), (Value(1.0), {}), (1j, Value(1.0))):
        with pytest.raises(TypeError, match=r"unsupported operand type\(s\) for .*'Value'"):
            apply(*pair)


@pytest.mark.parametrize("apply", OPERATORS)
def test_operators_tell_what_to_do_with_an_array(apply: Any) -> None:
    for pair in ((Value(1.0), np.zeros((2, 3))), (np.zeros((2, 3)), Value(1.0))):
        with pytest.raises(TypeError, match=r"no arithmetic with an array of shape \(2, 3\): loop over the elements"):
            apply(*pair)


@pytest.mark.parametrize("apply", OPERATORS)
def test_operators_tell_what_to_do_with_a_list(apply: Any) -> None:
    for pair in ((Value(1.0), [1.0, 2.0]), ([1.0, 2.0], Value(1.0))):
        with pytest.raises(TypeError, match="no arithmetic with a list of 2: loop over the elements"):
            apply(*pair)


def test_a_list_of_ones_own_may_know_what_to_do() -> None:
    class Vector(list[Any]):
        def __rmul__(self, other: Any) -> Any:
            return [other * x for x in self]

    assert (Value(2.0) * Vector([3.0]))[0].data == 6.0


@pytest.mark.parametrize(
    "apply", [lambda x: x // 2, lambda x: 2 // x, lambda x: x % 2, lambda x: 2 % x], ids=["//", "r//", "%", "r%"]
)
def test_what_jumps_is_refused(apply: Any) -> None:
    with pytest.raises(
        TypeError,
        match=r"(//|%) is not supported on Value: it is not differentiable; apply it to plain numbers, as in value.d",
    ):
        apply(Value(1.0))


def test_a_value_has_no_elements() -> None:
    with pytest.raises(TypeError, match=r"a Value is one number and has no element \[0\]: give a list or an array"):
        Value(1.0)[0]
    with pytest.raises(TypeError, match="a Value is one number and cannot be unpacked or looped over"):
        list(Value(1.0))
    assert not np.iterable(Value(1.0))
    array = np.array([[Value(1.0), Value(2.0)]])  # NumPy takes it for one number, too
    assert array.shape == (1, 2)


def test_integers_beyond_the_range() -> None:
    with pytest.raises(
        OverflowError, match=r"^Value\(data\) takes numbers up to 1.8e308, got an integer of 401 digits"
    ):
        Value(10**400)
    for apply in (lambda x, n: x + n, lambda x, n: n * x, lambda x, n: x**n, lambda x, n: x < n, mg.maximum):
        with pytest.raises(OverflowError, match=r"^a Value takes numbers up to 1.8e308, got an integer of 401 digits"):
            apply(Value(1.0), 10**400)


# --- backward -------------------------------------------------------------------------------------------------------


def test_backward_of_a_leaf() -> None:
    x = Value(3.0)
    x.backward()
    x.backward()
    assert x.grad == 2.0


def test_gradients_of_two_results_add_in_the_leaves_only() -> None:
    x = Value(3.0)
    shared = x * x
    one, two = shared * 2.0, shared * 5.0
    one.backward()
    two.backward()
    assert (x.grad, shared.grad, one.grad, two.grad) == (2 * 6.0 + 5 * 6.0, 5.0, 1.0, 1.0)


def test_create_graph_gives_every_derivative() -> None:
    x = Value(0.7)
    derivative: Any = x**4
    for expected in (4 * 0.7**3, 12 * 0.7**2, 24 * 0.7, 24.0, 0.0):
        x.grad = 0.0
        derivative.backward(create_graph=True)
        derivative = x.grad
        assert isinstance(derivative, Value)
        assert derivative.data == pytest.approx(expected, rel=1e-13, abs=1e-13)


@pytest.mark.parametrize("exponent", [1.0, 2.0, 3.0])
def test_derivatives_of_powers_at_zero_stay_numbers(exponent: float) -> None:
    x = Value(0.0)
    derivative: Any = x**exponent
    for order in range(1, 5):
        x.grad = 0.0
        derivative.backward(create_graph=True)
        derivative = x.grad if isinstance(x.grad, Value) else Value(x.grad)  # a constant does not depend on x
        assert derivative.data == (math.factorial(int(exponent)) if order == exponent else 0.0)


def test_create_graph_accumulates_in_leaves() -> None:
    x = Value(3.0)
    (x * x).backward()
    (x * x * x).backward(create_graph=True)
    assert isinstance(x.grad, Value)
    assert x.grad.data == 6.0 + 27.0
    (x * x).backward(create_graph=True)
    assert x.grad.data == 6.0 + 27.0 + 6.0


def test_gradient_of_a_sum_is_a_value_too() -> None:
    x = Value(3.0)
    (x + 1.0).backward(create_graph=True)
    assert isinstance(x.grad, Value)
    assert x.grad.data == 1.0


def test_gradient_penalty() -> None:
    """d/dw of (d/dx tanh(w·x))² as double backward gives it, and in closed form."""
    w, x = Value(0.6), Value(1.1)
    (w * x).tanh().backward(create_graph=True)
    penalty = x.grad**2
    w.grad = 0.0
    penalty.backward()
    t = math.tanh(0.66)
    s = 1 - t * t
    assert w.grad == pytest.approx(2 * 0.6 * s * (s + 0.6 * -2 * t * s * 1.1), rel=1e-13)


# --- what it costs --------------------------------------------------------------------------------------------------


def test_a_chain_of_a_million_operations() -> None:
    x = Value(1.0)
    out = x
    for _ in range(500_000):
        out = out * 1.0 + x
    assert out.data == 500_001.0
    out.backward()
    assert x.grad == 500_001.0
    out.backward()
    assert x.grad == 1_000_002.0
    assert len(topological(out)) == 1_500_001
    del out  # freed link by link: recursion would end the process here


@pytest.mark.parametrize("link", [lambda v, x: v * x, lambda v, x: v.tanh(), lambda v, x: v + x])
def test_memory_of_a_node(link: Any) -> None:
    x = Value(0.5)
    count = 20_000
    tracemalloc.start()
    try:
        out = x
        for _ in range(count):
            out = link(out, x)
        out.backward()
        assert held() / count <= 240
        del out
        assert held() < 4096, "a graph that nobody holds must be gone at once"
    finally:
        tracemalloc.stop()


def test_graphs_have_no_reference_cycles() -> None:
    def use() -> None:
        x, y = Value(0.5), Value(2.0)
        out = mg.logsumexp([x * y, mg.maximum(x, y), mg.dot([x, 1.0], [y, x]), y**x])
        out.backward()
        out.backward()

    assert not leaves_cycles(use)


def test_gradients_are_the_same_bits_in_every_run() -> None:
    program = """
import random
from macrograd import Value
rng = random.Random(3)
leaves = [Value(rng.uniform(-1, 1)) for _ in range(20)]
values = list(leaves)
for _ in range(2000):
    a, b = rng.choice(values), rng.choice(values)
    values.append(rng.choice([lambda: a + b, lambda: a * b, lambda: (a - b).tanh(), lambda: a.sigmoid()])())
sum(values).tanh().backward()
sum(values[-50:]).backward()
print(*[leaf.grad.hex() for leaf in leaves])
"""
    outputs = set()
    for seed in ("0", "1", "4242"):
        padding = "x" * int(seed)  # moves the addresses too
        environment = {**os.environ, "PYTHONHASHSEED": seed, "MACROGRAD_TEST_PADDING": padding}
        run = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, check=True, env=environment
        )
        outputs.add(run.stdout)
    assert len(outputs) == 1
    assert "0x1." in outputs.pop()


@pytest.mark.parametrize("create_graph", [False, True])
def test_what_only_a_comparison_uses_has_no_gradient(create_graph: bool) -> None:
    """√x has an infinite slope at 0, and 0 times that would be NaN."""
    for condition in (lambda x: ops.less(mg.sqrt(x), 1.0), mg.sqrt, lambda x: mg.detach(mg.sqrt(x))):
        x = Value(0.0)
        y = mg.where(condition(x), 2.0 * x, 3.0 * x)
        y.backward(create_graph=create_graph)
        slope = x.grad.data if create_graph else x.grad
        assert slope == (2.0 if condition(0.0) else 3.0)
        compiled = mg.compile(lambda x=x, condition=condition: mg.where(condition(x), 2.0 * x, 3.0 * x))
        assert compiled.value_and_grad([0.0])[1].tolist() == [slope]
