"""Update rules over all parameters: in registers and in blocks, the same numbers; none behind the end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import macrograd as mg
from macrograd import optim
from macrograd.compiler import pipeline
from macrograd.compiler.step import TrainingLoop
from macrograd.compiler.targets.llvm import flat
from macrograd.value import Value

pytest.importorskip("llvmlite")


def adam(p: Any, g: Any, state: Any, rate: Any, step: Any) -> Any:
    return optim.Adam().rule(p, g, state, rate, step)


def momentum(p: Any, g: Any, state: Any, rate: Any, step: Any) -> Any:
    velocity = 0.9 * state[0] + g
    return p - rate * velocity, (velocity,)


def constant(p: Any, g: Any, state: Any, rate: Any, step: Any) -> Any:
    return rate, (step,)


RULES = {"adam": (adam, 2), "momentum": (momentum, 1), "constant": (constant, 1)}


def trained(rule: Callable[..., Any], states: int, parameters: int, dtype: str, strict: bool) -> list[Any]:
    leaves = [Value(0.1 * k - 1.0) for k in range(parameters)]
    loss = mg.compile(
        lambda x: mg.sum([(p - x) ** 2 for p in leaves]), batch=True, dtype=dtype, strict=strict, backend="llvm"
    )
    data = np.linspace(-1.0, 1.0, 8)
    loop = TrainingLoop(loss, [data], rule, (0.0,) * states, batch_size=4)
    outcome = loop.run(np.arange(8), np.array([4, 4]), np.array([0.1, 0.05]))
    return [outcome.losses, loop.theta, loop.state]


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("parameters", [1, 7, 16, 45])
@pytest.mark.parametrize(("dtype", "strict"), [("float64", True), ("float64", False), ("float32", False)])
def test_in_registers_and_in_blocks_are_the_same_numbers(
    name: str, parameters: int, dtype: str, strict: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MACROGRAD_CACHE", "off")
    rule, states = RULES[name]
    found = trained(rule, states, parameters, dtype, strict)
    monkeypatch.setattr(flat, "fits", lambda program: False)
    for a, b in zip(found, trained(rule, states, parameters, dtype, strict), strict=True):
        assert a.tobytes() == b.tobytes()


def test_which_programs_fit() -> None:
    def fits(rule: Callable[..., Any]) -> bool:
        return flat.fits(pipeline.value_program(pipeline.record(rule, [(), ()]), batch=True))

    def loop(p: Any, g: Any) -> Any:
        for _ in range(300):
            p = mg.tanh(p - g)
        return p

    assert fits(lambda p, g: p - 0.1 * g)
    assert not fits(loop)
    assert not fits(lambda p, g: mg.take([p, g], g))
