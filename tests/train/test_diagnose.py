"""Where it went wrong: step, sample, operation, line, operands, and what helps."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import macrograd as mg
from macrograd import Value, nn, optim
from macrograd.train import DivergedError, Trainer

X = np.array([[0.5, 1.0], [1.0, -1.0], [2.0, 0.5], [-1.0, 0.25]])
Y = [1.0, 2.0, 0.0, -4.0]


def log_loss(p: Any, t: Any) -> Any:
    positive = t + 4.0
    return mg.log(positive) * p  # the line of "log"


def steep(p: Any, t: Any) -> Any:
    return mg.sqrt((t - 2.0) * (p - p)) + p  # the line of "sqrt"


def hidden(p: Any, t: Any) -> Any:
    return mg.where(t < 9.0, p, mg.log(t - t)) + steep(p, t)


def divided(p: Any, t: Any) -> Any:
    return p / t


def powered(model: Any, x: Any, y: Any) -> Any:
    return abs(y) ** (model(x) * 0.0 - 0.5)


def explosive(model: Any) -> Any:
    return mg.exp(model.layers[0].neurons[0].b + 800.0)


def minus(model: Any, x: Any, y: Any) -> Any:
    return mg.log1p(-abs(y)) + model(x)


CASES: dict[str, tuple[Any, dict[str, Any], list[str]]] = {
    "value": (
        log_loss,
        {},
        [
            "the loss is ", "at step 0 (epoch 1, learning rate 0.5). sample 3: log gave -inf at ",
            "in log_loss, from 0. log needs a number above 0: add a small number",
        ],
    ),
    "gradient": (
        steep,
        {},
        [
            "a gradient is not finite at step 0", "sample 0: its loss is finite, but the derivative of sqrt is ",
            "in steep, at ", "its slope at 0 is infinite: add a small number under the root",
        ],
    ),
    "what a choice did not take is no cause": (hidden, {}, ["sample 0: its loss is finite", "of sqrt is ", "in steep"]),
    "division": (divided, {}, ["sample 2: div gave ", "in divided, from operands ", "The denominator is 0"]),
    "power": (powered, {}, ["sample 2: pow gave inf", "in powered, from operands 0, -0.5"]),
    "log1p": (minus, {}, ["sample 0: log1p gave -inf", "in minus, from -1. log1p needs a number above −1"]),
    "penalty": (
        "squared_error",
        {"penalty": explosive},
        ["the penalty, which depends on the parameters alone: exp gave inf", "in explosive, from 800", "exp overflows"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("engine", ["compiled", "eager"])
@pytest.mark.parametrize("case", CASES)
def test_the_first_operation_that_went_wrong(case: str, engine: str) -> None:
    loss, options, parts = CASES[case]
    model = nn.MLP(2, [1], seed=0)
    before = [p.data for p in model.parameters()]
    trainer = Trainer(model, loss, optim.SGD(0.5), engine=engine, **options)
    with pytest.raises(DivergedError) as caught:
        trainer.fit(X, Y, steps=3, shuffle=False, progress=False)
    message = str(caught.value)
    for part in parts:
        assert part in message
    if case != "penalty":
        assert f"{__file__}:" in message
    assert message.endswith("The parameters are those before this step")
    assert [p.data for p in model.parameters()] == before
    assert {type(p) for p in model.parameters()} == {Value}


@pytest.mark.parametrize("engine", ["compiled", "eager"])
def test_a_run_that_grows_beyond_all_bounds(engine: str) -> None:
    model = nn.MLP(2, [3, 1], seed=0)
    trainer = Trainer(model, "squared_error", optim.SGD(50.0), engine=engine)
    with pytest.raises(DivergedError) as caught:
        trainer.fit(X, Y, steps=1000, progress=False)
    message = str(caught.value)
    assert "macrograd/nn/" in message
    assert "A smaller learning rate, clip_norm=1.0, or features of magnitude 1" in message
    assert all(np.isfinite([p.data for p in model.parameters()]))
    assert f"at step {trainer.optimizer.steps} " in message


def test_what_is_too_large_for_float32_alone() -> None:
    trainer = Trainer(nn.MLP(2, [1], seed=0), lambda p, t: mg.exp(p * 0.0 + 100.0), optim.SGD(0.1), dtype="float32")
    with pytest.raises(DivergedError, match=r"sample \d: exp gave 2.68.*e\+43 at .*<lambda>, from 100"):
        trainer.fit(X, Y, steps=1, progress=False)


def test_a_sum_that_overflows_where_no_sample_does() -> None:
    def heavy(model: Any) -> Any:
        return model.layers[0].neurons[0].b * 0.0 + 1.7e308

    trainer = Trainer(nn.MLP(2, [1], seed=0), lambda p, t: p * 0.0 + 1.7e308, optim.SGD(0.1), penalty=heavy)
    with pytest.raises(DivergedError, match="each sample and the penalty alone are finite, but their sum is not"):
        trainer.fit(X, Y, steps=1, progress=False)


@pytest.mark.parametrize("engine", ["compiled", "eager"])
def test_an_index_that_is_not_there_names_the_sample(engine: str) -> None:
    def chosen(p: Any, t: Any) -> Any:
        return mg.take([p, p * 2.0, p * 3.0], t)

    trainer = Trainer(nn.MLP(2, [1], seed=0), chosen, engine=engine)
    with pytest.raises(IndexError, match=r"sample 2: take\(\) index 3 is outside 0 … 2"):
        trainer.fit(X, [0, 1, 3, 2], steps=1, shuffle=False, progress=False)


@pytest.mark.parametrize("engine", ["compiled", "eager"])
def test_a_loop_that_reaches_its_most_names_the_sample(engine: str) -> None:
    def counted(p: Any, t: Any) -> Any:
        return p * mg.while_loop(lambda s: s < t, lambda s: s + 1.0, 0.0, most=3)

    trainer = Trainer(nn.MLP(2, [1], seed=0), counted, engine=engine)
    before = [p.data for p in trainer.model.parameters()]
    with pytest.raises(RuntimeError, match=r"sample 2: the while_loop of .*test_diagnose.py:\d+ did 3 rounds"):
        trainer.fit(X, [0, 1, 4, 2], steps=1, shuffle=False, progress=False)
    assert [p.data for p in trainer.model.parameters()] == before


def test_an_index_that_is_no_integer_names_the_sample() -> None:
    trainer = Trainer(nn.MLP(2, [1], seed=0), lambda p, t: mg.take([p, p * 2.0], t))
    with pytest.raises(IndexError, match=r"sample 2: take\(\) needs an integer index, got 0.5"):
        trainer.fit(X, [0, 1, 0.5, 0], steps=1, shuffle=False, progress=False)


def test_the_history_before_is_kept() -> None:
    trainer = Trainer(nn.MLP(2, [3, 1], seed=0), "squared_error", optim.SGD(50.0))
    with pytest.raises(DivergedError):
        trainer.fit(X, Y, steps=1000, progress=False)
    assert 0 < len(trainer.history) == trainer.optimizer.steps
