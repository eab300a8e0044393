"""Update rules over all parameters: in registers and in blocks, the same numbers; none behind the end."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from random_programs import number

import macrograd as mg
from macrograd import ops, optim
from macrograd.compiler import pipeline
from macrograd.compiler.program.stream import Stream
from macrograd.compiler.step import TrainingLoop
from macrograd.compiler.targets.llvm import lower
from macrograd.compiler.targets.scalar import registers
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
    monkeypatch.setattr(lower, "fits", lambda program: False)
    for a, b in zip(found, trained(rule, states, parameters, dtype, strict), strict=True):
        assert a.tobytes() == b.tobytes()


def test_which_programs_fit() -> None:
    def fits(rule: Callable[..., Any]) -> bool:
        return registers.fits(pipeline.value_program(pipeline.record(rule, [(), ()]), batch=True))

    def loop(p: Any, g: Any) -> Any:
        for _ in range(300):
            p = mg.tanh(p - g)
        return p

    assert fits(lambda p, g: p - 0.1 * g)
    assert not fits(loop)
    assert not fits(lambda p, g: mg.take([p, g], g))


def tangled(x: Any, by: Any) -> Any:
    """Operations without a pattern, too many for code: they run as data."""
    draw = random.Random(1)
    for _ in range(200):
        f = draw.choice([mg.tanh, mg.sin, mg.cos, mg.sigmoid, lambda z: z * z * 0.25])
        x = f(x) * draw.uniform(0.5, 1.0) + by * draw.uniform(-1.0, 1.0)
    return x


def chosen(x: Any, by: Any) -> Any:
    for k in range(150):
        x = mg.tanh(mg.take([x, by, x * by], (k % 3) * ops.less(by, x)) + 0.01 * k * by)
    return x


LONG = {
    "uniform": lambda p, g, rate: tangled(Value(0.3), rate),
    "varying": lambda p, g, rate: tangled(p, rate),
    "both": lambda p, g, rate: tangled(p, tangled(Value(0.3), rate)),
    "takes": lambda p, g, rate: chosen(p, g * rate),
}


@pytest.mark.parametrize("name", LONG)
@pytest.mark.parametrize(
    ("parameters", "dtype", "strict"),
    [
        *((n, dtype, False) for n in (7, 45) for dtype in ("float64", "float32")),
        *((n, "float64", True) for n in (1, 7, 8, 45)),
    ],
)
def test_rules_that_run_as_data(name: str, parameters: int, dtype: str, strict: bool) -> None:
    """Streams before the blocks and in them: their kernels are known to the rule's context, too."""
    step = LONG[name]
    program = pipeline.value_program(pipeline.record(step, [(), (), ()]), batch=True)
    assert any(isinstance(s, Stream) for s in program.steps())
    _, theta, _ = trained(lambda p, g, state, rate, _: (step(p, g, rate), ()), 0, parameters, dtype, strict)
    expected = [0.1 * k - 1.0 for k in range(parameters)]
    data = np.linspace(-1.0, 1.0, 8)
    for part, rate in ((data[:4], 0.1), (data[4:], 0.05)):
        slopes = [float(np.mean(2.0 * (p - part))) for p in expected]
        expected = [number(step(Value(p), g, rate)) for p, g in zip(expected, slopes, strict=True)]
    np.testing.assert_allclose(theta, expected, rtol=1e-9 if dtype == "float64" else 2e-3)
