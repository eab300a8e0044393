"""Profiles: every step once, with its operations for the whole batch; its times are not looked at."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import macrograd as mg
from macrograd import Value
from macrograd.compiler.jit.text import DOUBLE
from macrograd.compiler.targets.llvm import profile as profiles
from macrograd.compiler.targets.profile import Profile, Row


@pytest.fixture(autouse=True)
def _brief(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(profiles, "SECONDS", 1e-6)
    monkeypatch.setattr(profiles, "peak", lambda kind: 1e9 if kind is DOUBLE else 2e9)


def test_steps_are_counted_for_the_whole_batch() -> None:
    rows = [[Value(0.1 * j - 0.05 * k) for k in range(6)] for j in range(5)]

    def f(x: Any) -> Any:
        return [mg.dot(row, x) for row in rows]

    compiled = mg.compile(f, batch=True)
    X = np.ones((1000, 6))
    before = compiled(X)
    found = compiled.profile(X)
    product = next(row for row in found.rows if row.phase == "block")
    assert 2 * 5 * 6 * 1000 <= product.operations < 2 * 5 * 6 * 1200  # the last block is padded
    timed = any(row.seconds for row in found.rows)  # on a busy machine none may be slower than an empty function
    assert sum(row.share for row in found.rows) == pytest.approx(1.0 if timed else 0.0)
    assert found.peak == 1e9
    np.testing.assert_array_equal(compiled(X), before)


def test_every_kind_of_step_is_there() -> None:
    w = Value(0.5)

    def loss(x: Any) -> Any:
        state = 0.0
        for k in range(120):  # a loop
            state = mg.tanh(w * state + x[k])
        return state + mg.take(x, x[0]) * w

    found = mg.compile(loss).profile(np.linspace(0.0, 1.0, 120))
    assert {"loop", "take"} <= {word for row in found.rows for word in row.step.replace("(", " ").split()}
    loops = [row for row in found.rows if row.step.startswith("loop")]
    assert loops
    assert all(row.operations >= 2 * 115 for row in loops)


def test_a_profile_prints_rates_beside_the_peak() -> None:
    rows = [Row("dot a", "block", 2e-6, 0.8, 4000), Row("map b", "after", 0.0, 0.2, 10)]
    lines = str(Profile(rows, 3e-6, 8e9)).splitlines()
    assert lines[0] == "3.00 µs a run; steps by themselves 2.00 µs; peak 8.0 GFLOP/s"
    assert lines[2].split() == ["2.000", "80.0%", "2.00", "25.0%", "block:", "dot", "a"]
    assert rows[1].rate == 0.0
