"""`mg.why` names the operation and the line that spoiled a gradient."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from typing import Any

import pytest

import macrograd as mg
from macrograd import Value, nn

Function = Callable[[Any], Any]

# --- planted faults: name → (kind, operation, function) ---------------------------------------------------------------


def dead_relu(x: Any) -> Any:
    return mg.relu(x - 50.0)


def saturated_tanh(x: Any) -> Any:
    return mg.tanh(x + 40.0)


def saturated_sigmoid(x: Any) -> Any:
    return mg.sigmoid(x + 60.0)


def detached(x: Any) -> Any:
    return mg.detach(x) + 0.5


def not_taken(x: Any) -> Any:
    return mg.where(x > 1e6, x, 0.7)


def smaller(x: Any) -> Any:
    return mg.maximum(x, 1e4) * 1e-4


def times_zero(x: Any) -> Any:
    return x * Value(0.0) + 0.4


def floored(x: Any) -> Any:
    return mg.floor(x) + 0.25


def cancelled(x: Any) -> Any:
    return (x + 0.5) - (x + 0.25)


def scaled_down(x: Any) -> Any:
    return x * 1e-13 + 0.5


def flat_sigmoid(x: Any) -> Any:
    return mg.sigmoid(x - 34.0) + 0.5


def steep_exp(x: Any) -> Any:
    return mg.exp(x + 25.0)


def small_denominator(x: Any) -> Any:
    return x / 1e-11


def root_of_negative(x: Any) -> Any:
    return mg.sqrt(x - 90.0)


def log_of_negative(x: Any) -> Any:
    return mg.log(x - 80.0)


def root_at_zero(x: Any) -> Any:
    return mg.sqrt(mg.relu(x * x) * 0.0)


FAULTS: dict[Function, tuple[str, set[str]]] = {
    dead_relu: ("cut", {"relu"}),
    saturated_tanh: ("cut", {"tanh"}),
    saturated_sigmoid: ("cut", {"sigmoid"}),
    detached: ("cut", {"detach"}),
    not_taken: ("cut", {"where"}),
    smaller: ("cut", {"maximum"}),
    times_zero: ("cut", {"mul"}),
    floored: ("cut", {"floor"}),
    cancelled: ("cancelled", {"add", "sub"}),
    scaled_down: ("vanishing", {"mul"}),
    flat_sigmoid: ("vanishing", {"sigmoid"}),
    steep_exp: ("exploding", {"exp"}),
    small_denominator: ("exploding", {"div"}),
    root_of_negative: ("nan", {"sqrt"}),
    log_of_negative: ("nan", {"log"}),
    root_at_zero: ("nan", {"sqrt"}),
}


def harmless(draw: random.Random) -> Function:
    """An operation whose slope is near 1 for numbers of the size of 1."""
    c = draw.uniform(0.8, 1.2)
    return draw.choice(
        [lambda x: x * c, lambda x: x + c, lambda x: mg.softplus(x) + 0.1, lambda x: 0.7 * x + 0.3 * mg.sin(x)]
    )


def planted(seed: int, fault: Function) -> tuple[Value, Callable[[], Any]]:
    """A parameter and a loss: a small net of harmless operations with the fault somewhere on every path."""
    draw = random.Random(seed)
    parameter = Value(draw.uniform(0.5, 1.0), label="w")
    before = [harmless(draw) for _ in range(draw.randrange(4))]
    after = [harmless(draw) for _ in range(draw.randrange(4))]
    others = [Value(draw.uniform(0.2, 0.8)) for _ in range(3)]
    wide = draw.random() < 0.5

    def loss() -> Any:
        x = parameter
        for step in before:
            x = step(x)
        if wide:
            x = mg.mean([x * p for p in others])
        x = fault(x)
        for step in after:
            x = step(x)
        return x + others[0] * others[1]

    return parameter, loss


def test_planted_faults_are_found() -> None:
    missed = []
    draw = random.Random(0)
    for seed in range(200):
        fault = draw.choice(list(FAULTS))
        kind, operations = FAULTS[fault]
        parameter, loss = planted(seed, fault)
        found = mg.why(parameter, loss)
        at = found.cause is not None and found.cause.place.endswith(f"in {fault.__name__}")
        if found.kind != kind or not at or found.cause is None or found.cause.op not in operations:
            missed.append((seed, fault.__name__, str(found)))
    assert len(missed) <= 10, missed
    assert len({name for _, name, _ in missed}) < 3, missed  # no fault is missed as a kind


def test_a_sound_net_is_healthy() -> None:
    draw = random.Random(1)
    kinds = []
    for seed in range(50):
        parameter, loss = planted(seed, harmless(draw))
        found = mg.why(parameter, loss)
        kinds.append(found.kind)
        out = loss()
        out.backward()
        assert found.gradient == pytest.approx(parameter.grad, rel=1e-12)
        assert found.cause is None
    assert set(kinds) == {"healthy"}


# --- the answer -------------------------------------------------------------------------------------------------------


def test_the_path_has_the_numbers_along_it() -> None:
    w = Value(-2.0, label="w")
    found = mg.why(w, lambda: mg.relu(w * 3.0) ** 2)
    assert [step.op for step in found.path] == ["mul", "relu"]  # not the square, whose slope is 0 because of the relu
    assert (found.path[0].operand, found.path[0].value, found.path[0].slope) == (-2.0, -6.0, 3.0)
    assert "gradient of 'w' is 0: relu at" in found.text
    assert "(a dead unit)" in found.text
    assert "mul(-2) = -6: slope 3, no gradient" in str(found)


def test_every_other_cut_is_named() -> None:
    w = Value(-2.0)
    found = mg.why(w, mg.relu(w) + mg.detach(w) + mg.floor(w))
    assert {found.cause.op if found.cause else "", *(step.op for step in found.others)} == {"relu", "detach", "floor"}
    assert all(step.place == "" for step in found.others)  # the graph was there before


def test_many_slopes_that_multiply_are_said_to() -> None:
    start = x = Value(1.0)
    for _ in range(100):
        x = x * 0.5
    found = mg.why(start, x)
    assert found.kind == "vanishing"
    assert "100 slopes of 0.5 on average multiply up" in found.text
    assert "… 88 more" in str(found)


def test_what_the_loss_does_not_use() -> None:
    w = Value(1.0, label="w")
    found = mg.why(w, Value(2.0) * w.data)
    assert (found.kind, found.gradient, found.cause) == ("unused", 0.0, None)
    assert "does not depend on 'w'" in found.text


def test_a_leaf_that_was_not_finite_is_blamed() -> None:
    w, bad = Value(1.0), Value(math.inf, label="rate")
    found = mg.why(w, lambda: w * bad + 1.0)
    assert found.kind == "infinite"
    assert "'rate' was inf to begin with" in found.text


def test_no_gradient_of_the_program_is_touched() -> None:
    model = nn.MLP(2, [3, 1], seed=0)
    parameters = model.parameters()
    for k, p in enumerate(parameters):
        p.grad = float(k)
    for p in parameters:
        mg.why(p, lambda: model([0.3, -0.2]) ** 2)
    assert [p.grad for p in parameters] == [float(k) for k in range(len(parameters))]


def test_arguments_are_passed_on_and_long_graphs_walk() -> None:
    w = Value(1.0)

    def loss(x: float, y: float) -> Any:
        total = w * x
        for _ in range(20_000):
            total = total + 1e-6
        return mg.relu(total - y)

    found = mg.why(w, loss, 2.0, 100.0)
    assert found.cause is not None
    assert found.cause.op == "relu"
    assert len(found.path) == 20_003


def test_a_parameter_of_many_uses_is_walked_once() -> None:
    w = Value(0.5)
    total = mg.sqrt(w * 0.0)
    for _ in range(20_000):
        total = total + w * 1e-6
    found = mg.why(w, total)
    assert (found.kind, found.cause.op if found.cause else "") == ("nan", "sqrt")


@pytest.mark.parametrize(
    ("target", "loss", "message"),
    [
        (1.0, lambda: Value(1.0), "explains the gradient of a Value, not of float"),
        (Value(1.0), 3.0, "takes a loss that is one Value, or a function of one; got float"),
        (Value(1.0), lambda: [Value(1.0)], "got a function that returned list"),
    ],
)
def test_bad_input(target: Any, loss: Any, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        mg.why(target, loss)
