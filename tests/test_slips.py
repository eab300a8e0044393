"""Slips of beginners that must not stay silent, and the right programs beside them that must."""

from __future__ import annotations

import logging
import math
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import macrograd as mg
from macrograd import GradientWarning, Value, nn, optim

# --- a graph whose leaves have changed --------------------------------------------------------------------------------

BUILT: dict[str, Callable[[Value, Value], Value]] = {
    "product": lambda p, x: (p * x - 3.0) ** 2,
    "function": lambda p, x: mg.tanh(p) / x,
    "sum": lambda p, x: mg.dot([p, x, p], [x, p, p]),
    "left": lambda p, x: x * 2.0 + p,
    "right": lambda p, x: 1.0 - p,
    "where": lambda p, x: mg.where(1.0, mg.maximum(p, x), x),
}


@pytest.mark.parametrize("create_graph", [False, True])
@pytest.mark.parametrize("name", BUILT)
def test_backward_again_after_a_change_is_an_error(name: str, create_graph: bool) -> None:
    p, x = Value(2.0, "p"), Value(0.5)
    loss = BUILT[name](p, x)
    loss.backward()
    p.data -= 0.1
    with pytest.raises(RuntimeError, match=r"leaves have changed since it was built: .* inside the loop"):
        loss.backward(create_graph)
    with pytest.raises(RuntimeError, match="leaves have changed"):  # and it stays one
        loss.backward()
    p.data = 2.0
    p.grad = 0.0
    loss.backward()
    expected = Value(2.0)
    BUILT[name](expected, Value(0.5)).backward()
    assert p.grad == expected.grad


@pytest.mark.parametrize("create_graph", [False, True])
@pytest.mark.parametrize("name", BUILT)
def test_a_first_backward_after_a_change_is_an_error(name: str, create_graph: bool) -> None:
    """The numbers inside the graph are those of the old leaf, and the slopes would be of a mixture."""
    p, x = Value(2.0, "p"), Value(0.5)
    loss = BUILT[name](p, x)
    p.data -= 0.1
    with pytest.raises(RuntimeError, match=r"leaves have changed since it was built: .* inside the loop"):
        loss.backward(create_graph)
    BUILT[name](p, x).backward(create_graph)  # built again it is right


def test_a_derivative_differentiated_after_a_change_is_an_error() -> None:
    p, x = Value(3.0, "p"), Value(2.0)
    slope = mg.grad(lambda x: x * p * x)(x)
    p.data = 10.0
    with pytest.raises(RuntimeError, match="leaves have changed"):
        slope.backward()


def test_changes_elsewhere_do_not_matter() -> None:
    p, other = Value(3.0), Value(1.0)
    loss = p * p
    other.data = 5.0
    p.data = 3.0
    loss.backward()
    assert p.grad == 6.0


def test_a_part_that_was_not_built_again_is_found() -> None:
    """The penalty stands before the loop: only the first step would see the weight as it is."""
    p = Value(2.0, "p")
    penalty = p * p
    (penalty + p).backward()
    p.data = 1.0
    with pytest.raises(RuntimeError, match=r"mul\(p=1, p=1\) was 4 then and is 1 now"):
        (p * 3.0 + penalty).backward()


def test_backward_again_without_a_change_accumulates() -> None:
    p = Value(2.0)
    loss = (p * p).tanh() + mg.log(-p)  # NaN is unchanged, too
    loss.backward()
    loss.backward()
    assert math.isnan(loss.data)
    good = p * p
    p.grad = 0.0
    for _ in range(3):
        good.backward()
    assert p.grad == 12.0


def test_a_fresh_graph_is_not_looked_at_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every operation of a new graph has the gradient that says so; where one had not, steps would be slower."""
    from macrograd import slips

    asked: list[Any] = []
    monkeypatch.setattr(slips, "check_unchanged", asked.append)
    a, b = Value(1.5), Value(0.5)
    parts = [a + b, a - b, a * b, a / b, a**b, -a, abs(a), 1 + a, 2 - a, 3 * a, 4 / a, 5**a, a.exp(), mg.softplus(a)]
    parts += [mg.sum([a, b, a]), mg.where(a, b, a), mg.mean([a, b]), *mg.softmax([a, b]), nn.MLP(2, [2, 1])([a, b])]
    mg.sum(parts).backward()
    assert not asked
    parts[0].backward()
    assert len(asked) == 1


# --- a number taken out of a graph ------------------------------------------------------------------------------------


def test_functions_of_math_name_ours() -> None:
    x = Value(0.5)
    with pytest.warns(
        GradientWarning, match=r"^math.tanh\(\) takes the number out of a Value.*use mg.tanh, or value.d"
    ):
        math.tanh(x)
    with pytest.warns(GradientWarning, match=r"math.exp\(\) .* use mg.exp"):
        (1 + math.exp(
            x * 2
        ))  # fmt: skip
    with pytest.warns(GradientWarning, match=r"math.erf\(\) .* use Values' own arithmetic"):
        math.erf(x)


def numbers(values: list[Value]) -> list[float]:
    return [float(x) for x in values]


def test_float_of_a_computed_value_warns_once_a_place() -> None:
    x = Value(0.5) * 2
    with pytest.warns(
        GradientWarning, match=r"float\(\) takes the number out of a computed Value.*value\.data"
    ) as seen:
        found = numbers([x, x, x])
    assert found == [1.0, 1.0, 1.0]
    assert len(seen) == 1
    assert seen[0].filename == __file__


def test_without_the_source_it_still_warns() -> None:
    with pytest.warns(GradientWarning, match=r"float\(\) takes"):
        eval("float(x)", {"x": Value(1.0) + 1.0})  # noqa: S307 - a text of this file


def test_looking_and_printing_are_silent(capsys: pytest.CaptureFixture[str]) -> None:
    leaf, x = Value(0.5), Value(0.5) * 3
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        print(f"{x:.3f} {x} %.3f %d" % (x, 3), "{:.1e}".format(x), "%g" % x)  # noqa: UP031, UP032 - forms that are tested
        logging.getLogger("test").warning("loss %f", x)
        assert not math.isnan(x)
        assert math.isfinite(x)
        assert float(leaf) == 0.5
        assert float(mg.detach(2.0)) == 2.0
        assert np.array([leaf], dtype=float)[0] == 0.5
        assert x > 1
    assert "1.500" in capsys.readouterr().out


# --- data that is no number -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (np.array([1.0, 2.0]), r"the Value 'w' was given the data array\(.* make one for each element"),
        ([1.0], r"the Value 'w' was given the data \[1.0\] of type list: .* make one for each element"),
        (Value(2.0), "the Value 'w' was given the data Value.* as in p.data = other.data"),
        ("x", "the Value 'w' was given the data 'x' of type str: give it one number, as in p.data = 0.5"),
        (None, "the Value 'w' was given the data None of type NoneType: give it one number"),
        (1j, "the Value 'w' was given the data 1j of type complex: give it one number"),
    ],
    ids=str,
)
def test_data_that_is_no_number_is_refused_where_it_is_set(data: Any, message: str) -> None:
    w = Value(1.0, "w")
    with pytest.raises(TypeError, match=message):
        w.data = data
    assert w.data == 1.0


@pytest.mark.parametrize("data", [2, True, np.float64(2.0), np.float32(2.0), np.int64(2)], ids=repr)
def test_other_real_numbers_are_fine(data: Any) -> None:
    w = Value(1.0)
    w.data = data
    assert type(w.data) is float
    (w * w).backward()
    assert w.grad == 2 * data


# --- a step without a gradient ----------------------------------------------------------------------------------------


def test_a_step_without_a_gradient_says_so() -> None:
    model, optimizer = nn.Neuron(2, seed=1), optim.SGD(0.1)
    with pytest.warns(GradientWarning, match=r"^SGD.step\(\): every gradient is 0.* call loss.backward\(\) before"):
        optimizer.step(model.parameters())
    optimizer.step(model.parameters())  # once is enough


def test_a_minimum_is_no_slip() -> None:
    x, optimizer = Value(1.0), optim.SGD(0.5)
    for _ in range(3):
        x.grad = 2 * x.data
        optimizer.step([x])
    assert x.data == 0.0
