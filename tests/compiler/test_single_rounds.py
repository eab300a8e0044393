"""Loops that stop, with long rounds: each is a section, recorded once, and none is computed that no sample needs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import macrograd as mg
from macrograd.compiler import pipeline
from macrograd.compiler.targets.numpy import calls

A = mg.Value(0.3, "a")
MOST = 30


def settles(x: Any) -> Any:
    """Twelve operations, five times, in a round."""

    def body(s: Any) -> Any:
        left, z = s
        for k in range(5):
            z = mg.tanh(0.7 * z + A * mg.sin(z + 0.1 * k) - 0.01 * x) + 0.05 * z * x + 0.1
        return left - 1.0, z

    left, z = mg.while_loop(lambda s: s[0] > 0.0, body, (x, 0.5), most=MOST)
    return z - 0.1 * left


def solved(x: Any) -> Any:
    """Newton's method in each of 8 steps."""

    def step(i: Any, y: Any) -> Any:
        return mg.implicit(lambda new: new - y[0] - 0.1 * mg.sin(new * x[0]) * x[1] + 0.3 * new**3, y[0], most=MOST), y[
            0
        ]

    return mg.loop(8, step, [x[0], 0.0])


@pytest.mark.parametrize("how", [{}, {"backend": "numpy"}], ids=str)
def test_rounds_that_no_sample_needs_are_left_out(how: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[int] = []
    original = calls.guarded_rounds

    def counted(count: int, steps: Any, guard: Any, *arrays: Any) -> None:
        original(count, steps, guard, *arrays)
        ran.append(sum(bool(guard[k].any()) for k in range(count)) if len(guard) == count else 0)

    monkeypatch.setattr(calls, "guarded_rounds", counted)
    f = mg.compile(settles, batch=True, **how)
    for samples in ([2.0, 5.5, 0.0], [29.0, 1.5]):
        A.grad = 0.0
        total = mg.sum([settles(x) for x in samples]) / len(samples)
        total.backward()
        expected = [total.data, A.grad]
        A.grad = 0.0
        ran.clear()
        assert [f.backward(samples), A.grad] == pytest.approx(expected, rel=1e-9)
        assert not how or max(ran) in (np.ceil(max(samples)), np.ceil(max(samples)) + 1)
    with pytest.raises(RuntimeError, match=rf"did {MOST} rounds, and its condition still holds"):
        f([1.0, 31.0])


def test_a_round_is_recorded_once_and_derivatives_leave_out_what_no_derivative_passes() -> None:
    jacobian = mg.jacobian(solved)
    assert pipeline.record(jacobian, [(2,)]).recorded < 8 * 300  # of Newton's rounds alone there would be 8 * 30 * 50
    batch = np.array([[0.8, 1.5], [0.2, -0.4]])
    assert np.allclose(mg.compile(jacobian, batch=True)(batch), [jacobian(row) for row in batch.tolist()], rtol=1e-9)
