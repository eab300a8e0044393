"""Update rules against PyTorch's, the step that is made whole or not at all, and the schedules."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from macrograd import Value, functions, optim
from macrograd.value import topological

CASES = json.loads((Path(__file__).parent.parent / "references" / "optimizers.json").read_text())["cases"]


def name_of(case: dict[str, Any]) -> str:
    return case["optimizer"] + str(case["settings"] or "")


@pytest.mark.parametrize("case", CASES, ids=name_of)
def test_fifty_steps_as_pytorch(case: dict[str, Any]) -> None:
    optimizer = getattr(optim, case["optimizer"])(**case["settings"])
    parameters = [Value(x) for x in case["start"]]
    assert len(case["gradients"]) == 50
    for gradients, wanted in zip(case["gradients"], case["parameters"], strict=True):
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient
        optimizer.step(parameters)
        assert [p.data for p in parameters] == pytest.approx(wanted, rel=1e-12, abs=0.0)


@pytest.mark.parametrize("case", CASES, ids=name_of)
def test_a_rule_is_a_function_of_values(case: dict[str, Any]) -> None:
    # The same rule on Values gives the same bits as on floats, and depends on all that it was given.
    optimizer = getattr(optim, case["optimizer"])(**case["settings"])
    numbers = (0.7, -0.3, tuple(0.2 for _ in optimizer.initial_state), 0.05, 3.0)
    parameter, gradient, state, rate, step = numbers
    leaves = [Value(parameter), Value(gradient), *map(Value, state), Value(rate)]
    new, new_state = optimizer.rule(leaves[0], leaves[1], tuple(leaves[2:-1]), leaves[-1], Value(step))
    expected, expected_state = optimizer.rule(*numbers)
    assert new.data == expected
    assert tuple(x.data for x in new_state) == expected_state
    assert set(leaves) <= set(topological(new, *new_state))


def test_a_wrong_rule_would_be_caught() -> None:
    case = next(c for c in CASES if c["optimizer"] == "Adam")
    parameters = [Value(x) for x in case["start"]]
    optimizer = optim.Adam(eps=1.1e-8)
    for parameter, gradient in zip(parameters, case["gradients"][0], strict=True):
        parameter.grad = gradient
    optimizer.step(parameters)
    assert [p.data for p in parameters] != pytest.approx(case["parameters"][0], rel=1e-12, abs=0.0)


def minimise(optimizer: optim.Optimizer, steps: int) -> list[float]:
    """Where (a − 3)² + (b + 1)² ends."""
    a, b = Value(0.0), Value(0.0)
    for _ in range(steps):
        a.grad = b.grad = 0.0
        ((a - 3.0) ** 2 + (b + 1.0) ** 2).backward()
        optimizer.step([a, b])
    return [a.data, b.data]


@pytest.mark.parametrize(
    "optimizer",
    [
        optim.SGD(0.1),
        optim.SGD(0.02, 0.9, True),
        optim.RMSProp(0.05),
        optim.Adam(0.1),
        optim.AdamW(0.1, weight_decay=0),
    ],
    ids=repr,
)
def test_finds_a_minimum(optimizer: optim.Optimizer) -> None:
    assert minimise(optimizer, 400) == pytest.approx([3.0, -1.0], abs=0.05)


def test_a_rule_of_ones_own() -> None:
    def sign_descent(
        parameter: Any, gradient: Any, state: optim.optimizers.State, learning_rate: Any, step: Any
    ) -> tuple[Any, optim.optimizers.State]:
        return parameter - learning_rate * functions.sign(gradient), (state[0] + step,)

    optimizer = optim.Rule(sign_descent, state=(10,), lr=0.5)
    p, q = Value(1.0), Value(2.0)
    p.grad, q.grad = 3.0, -0.1
    optimizer.step([p, q])
    optimizer.step([p, q])
    assert (p.data, q.data) == (0.0, 3.0)
    assert optimizer.state == [(13.0,), (13.0,)]


def test_a_step_is_made_whole_or_not_at_all() -> None:
    def fails_at_two(parameter: Any, gradient: Any, state: Any, learning_rate: Any, step: Any) -> Any:
        if parameter == 2.0:
            raise ArithmeticError("two")
        return parameter + 1.0, state

    p, q = sloped(1.0, 2.0)
    optimizer = optim.Rule(fails_at_two)
    with pytest.raises(ArithmeticError, match="two"):
        optimizer.step([p, q])
    assert (p.data, q.data, optimizer.steps, optimizer.state) == (1.0, 2.0, 0, [])
    optimizer.step([p])  # and nothing was bound to the parameters of the step that failed
    assert p.data == 2.0


@pytest.mark.parametrize("make", [lambda: optim.Adam(0.1), lambda: optim.SGD(0.1), lambda: optim.SGD(0.1, 0.9)])
def test_state_can_be_saved_and_loaded(make: Callable[[], optim.Optimizer]) -> None:
    def steps(optimizer: optim.Optimizer, parameters: list[Value], count: int) -> None:
        for _ in range(count):
            for p in parameters:
                p.grad = math.sin(p.data)
            optimizer.step(parameters)

    straight, resumed = [Value(1.0), Value(-2.0)], [Value(1.0), Value(-2.0)]
    steps(make(), straight, 6)
    first, second = make(), make()
    steps(first, resumed, 3)
    saved = json.loads(json.dumps(first.state_dict()))
    second.load_state_dict(saved)
    assert second.steps == 3
    steps(second, [Value(p.data) for p in resumed], 1)  # loading binds to no particular parameters
    second.load_state_dict(saved)
    steps(second, resumed, 3)
    assert [p.data for p in resumed] == [p.data for p in straight]


def test_a_saved_state_is_not_changed_by_later_steps() -> None:
    p = Value(1.0)
    optimizer = optim.Adam(0.1)
    p.grad = 1.0
    optimizer.step([p])
    saved = optimizer.state_dict()
    before = json.dumps(saved)
    optimizer.step([p])
    assert json.dumps(saved) == before


def test_gradients_of_create_graph_are_numbers_to_a_step() -> None:
    p = Value(3.0)
    (p * p).backward(create_graph=True)
    optim.SGD(0.5).step([p])
    assert p.data == 0.0
    assert type(p.data) is float


def test_learning_rate_follows_the_schedule() -> None:
    p = Value(10.0)
    optimizer = optim.SGD(optim.linear(1.0, 0.0, 4))
    seen = []
    for _ in range(6):
        p.grad = 1.0
        seen.append(optimizer.learning_rate)
        optimizer.step([p])
    assert seen == [1.0, 0.75, 0.5, 0.25, 0.0, 0.0]
    assert p.data == 10.0 - sum(seen)


def test_a_plain_function_is_a_schedule() -> None:
    optimizer = optim.SGD(lambda k: 1.0 / (k + 1))
    assert optimizer.learning_rate == 1.0


@pytest.mark.parametrize(
    ("schedule", "wanted"),
    [
        (optim.constant(0.1), {0: 0.1, 1000: 0.1}),
        (optim.linear(1.0, 0.1, 100), {k: 1.0 - 0.9 * k / 100 for k in range(100)}),
        (optim.linear(1.0, 0.1, 100), {100: 0.1, 5000: 0.1}),
        (optim.step(0.8, 0.5, 10), {0: 0.8, 9: 0.8, 10: 0.4, 29: 0.2}),
        (optim.exponential(2.0, 0.5), {0: 2.0, 1: 1.0, 3: 0.25}),
        (optim.cosine(1.0, 0.0, 4), {0: 1.0, 1: 0.5 + 0.25 * math.sqrt(2), 2: 0.5, 4: 0.0, 9: 0.0}),
        (optim.warm_up(0.4, 4), {0: 0.1, 1: 0.2, 3: 0.4, 4: 0.4, 100: 0.4}),
        (optim.warm_up(optim.linear(1.0, 0.0, 2), 2), {0: 0.5, 1: 1.0, 2: 1.0, 3: 0.5, 4: 0.0}),
    ],
    ids=repr,
)
def test_schedules(schedule: optim.Schedule, wanted: dict[int, float]) -> None:
    # exactly, but for the cosine: micrograd's own rates to the last bit
    tolerance = 1e-15 if repr(schedule).startswith("cosine") else 0.0
    for k, rate in wanted.items():
        assert schedule(k) == pytest.approx(rate, rel=tolerance, abs=0.0 if rate else 1e-16)


NAMED = [
    optim.linear(1.0, 0.1, 700),
    optim.step(0.8, 0.7, 33),
    optim.exponential(2.0, 0.997),
    optim.cosine(1.0, 0.05, 900),
    optim.warm_up(optim.cosine(0.3, 0.0, 1000), 600),
    optim.warm_up(optim.warm_up(0.1, 40), 50),
    optim.warm_up(lambda k: 1.0 / (k + 1), 20),
    optim.constant(0.25),
]


@pytest.mark.parametrize("schedule", NAMED, ids=lambda schedule: str(schedule).split(" at 0x")[0])
def test_a_steps_rate_is_the_same_number_whoever_asks(schedule: optim.Schedule) -> None:
    whole = schedule.rates(0, 2000).tolist()
    assert [schedule(k) for k in range(2000)] == whole
    random = np.random.RandomState(2)
    for _ in range(200):
        first, count = random.randint(1500), random.randint(500)
        assert schedule.rates(first, count).tolist() == whole[first : first + count]
        assert schedule(first) == whole[first]


@pytest.mark.parametrize("schedule", NAMED[:6], ids=str)
def test_the_rates_of_many_steps_are_computed_in_parts(schedule: optim.Schedule) -> None:
    many = schedule.rates(300, 20_000)
    assert len(many) == 20_000
    for k in (0, 7_891, 7_892, 8_191, 8_192, 16_083, 19_999):
        assert many[k] == schedule(300 + k)


def test_named_schedules_are_their_formulas_at_every_step() -> None:
    linear, step, exponential, cosine, warm = NAMED[:5]
    for k in range(0, 2000, 7):
        assert linear(k) == (1.0 + (0.1 - 1.0) * k / 700 if k < 700 else 0.1)
        assert step(k) == pytest.approx(0.8 * 0.7 ** (k // 33), rel=1e-14)
        assert exponential(k) == pytest.approx(2.0 * 0.997**k, rel=1e-13)
        assert cosine(k) == pytest.approx(0.05 + 0.475 * (1 + math.cos(math.pi * min(k, 900) / 900)), rel=1e-14)
        wanted = 0.3 * (k + 1) / 600 if k < 600 else 0.15 * (1 + math.cos(math.pi * min(k - 600, 1000) / 1000))
        assert warm(k) == pytest.approx(wanted, rel=1e-13, abs=1e-16)


@pytest.mark.parametrize(
    ("made", "printed"),
    [
        (optim.SGD(0.1), "SGD(lr=0.1)"),
        (optim.SGD(0.1, 0.9, nesterov=True), "SGD(lr=0.1, momentum=0.9, nesterov=True)"),
        (optim.Adam(optim.cosine(1.0, 0.0, 9)), "Adam(lr=cosine(1.0, 0.0, 9), betas=(0.9, 0.999), eps=1e-08)"),
        (optim.warm_up(0.1, 5), "warm_up(0.1, 5)"),
        (optim.RMSProp(centered=True), "RMSProp(lr=0.01, alpha=0.99, eps=1e-08, centered=True)"),
    ],
)
def test_prints(made: object, printed: str) -> None:
    assert repr(made) == printed


def test_names_for_command_lines() -> None:
    wanted = {"sgd": optim.SGD, "rmsprop": optim.RMSProp, "adam": optim.Adam, "adamw": optim.AdamW}
    assert wanted == optim.OPTIMIZERS


def sloped(*numbers: float) -> list[Value]:
    """Parameters with a gradient of 1."""
    parameters = [Value(x) for x in numbers]
    for p in parameters:
        p.grad = 1.0
    return parameters


def given_other_parameters() -> None:
    optimizer = optim.SGD(0.1)
    optimizer.step(sloped(1.0))
    optimizer.step(sloped(1.0))


def given_fewer_parameters() -> None:
    optimizer = optim.Adam()
    parameters = sloped(1.0, 2.0)
    optimizer.step(parameters)
    optimizer.step(parameters[:1])


def grows_its_state() -> None:
    optim.Rule(lambda p, g, state, rate, step: (p, (*state, 0.0))).step([Value(1.0)])


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: optim.SGD(-0.1), ValueError, "a learning rate must be 0 or more and finite, got -0.1"),
        (lambda: optim.Adam(math.nan), ValueError, "a learning rate must be 0 or more and finite, got nan"),
        (lambda: optim.constant(-1.0), ValueError, "a learning rate must be 0 or more and finite, got -1.0"),
        (lambda: optim.SGD(0.1, momentum=-1), ValueError, "SGD momentum must be finite and not negative, got -1"),
        (
            lambda: optim.SGD(0.1, weight_decay=-1),
            ValueError,
            "SGD weight_decay must be finite and not negative, got -1",
        ),
        (lambda: optim.SGD(0.1, nesterov=True), ValueError, "SGD with nesterov=True needs a momentum above 0, as in "),
        (lambda: optim.RMSProp(alpha=1.0), ValueError, "RMSProp alpha must be at least 0 and less than 1, got 1.0"),
        (lambda: optim.RMSProp(eps=0.0), ValueError, "RMSProp eps must be finite and positive, got 0.0"),
        (
            lambda: optim.AdamW(betas=(0.9, 1.0)),
            ValueError,
            "AdamW betas[1] must be at least 0 and less than 1, got 1.0",
        ),
        (lambda: optim.linear(1.0, 0.1, 0), ValueError, "linear() needs at least 1 step, got 0"),
        (lambda: optim.step(1.0, 0.1, 0), ValueError, "step() needs at least 1 step, got 0"),
        (lambda: optim.cosine(1.0, 0.1, -1), ValueError, "cosine() needs at least 1 step, got -1"),
        (lambda: optim.warm_up(1.0, 0), ValueError, "warm_up() needs at least 1 step, got 0"),
        (
            lambda: optim.SGD().step(3),
            TypeError,
            "SGD.step() takes the parameters, as in step(model.parameters()), got 3",
        ),
        (lambda: optim.SGD().step(Value(1.0)), TypeError, "SGD.step() takes the parameters, as in step(model.par"),
        (
            lambda: optim.Adam([Value(1.0)]),
            TypeError,
            "an optimiser takes the learning rate first, and the parameters in",
        ),
        (lambda: optim.SGD().step([1.0]), TypeError, "SGD.step() takes Values, got 1.0 of type float"),
        (given_other_parameters, ValueError, "SGD holds the state of different parameters: use one"),
        (
            given_fewer_parameters,
            ValueError,
            "Adam holds the state of 2 parameters, but step() received 1: use one optim",
        ),
        (grows_its_state, ValueError, "the update rule returned a state of 1 numbers, but began with 0"),
        (
            lambda: optim.Rule(0.1),
            TypeError,
            "Rule() takes a function (parameter, gradient, state, learning_rate, step",
        ),
        (
            lambda: optim.Adam().load_state_dict({"steps": 1, "state": [[1.0]]}),
            ValueError,
            "Adam(lr=0.001, betas=(0.9, 0.999), eps=1e-08) keeps 2 numbers for each parameter, "
            "but the saved state has 1: load it into the kind of optimiser that saved it",
        ),
        (
            lambda: optim.Adam().load_state_dict({"steps": 1}),
            TypeError,
            "load_state_dict() takes what state_dict() returned, steps and state, got {'steps': 1}",
        ),
        (
            lambda: optim.Adam().load_state_dict({"steps": -1, "state": []}),
            ValueError,
            "load_state_dict(): steps must be an integer of at least 0, got -1",
        ),
        (
            lambda: optim.Adam().load_state_dict({"steps": 1, "state": [(0.0, 0.0), (0.0, "x")]}),
            TypeError,
            "load_state_dict(): state must hold 2 numbers for each parameter: could not convert string to float: 'x'",
        ),
        (
            lambda: optim.Optimizer(0.1).step([Value(1.0)]),
            NotImplementedError,
            "Optimizer has no update rule: define rule()",
        ),
    ],
)
def test_errors(call: Callable[[], Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=re.escape(message)):
        call()
