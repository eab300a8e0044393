"""Panels: operands copied to where their terms are neighbours give the same bits."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import macrograd as mg
from macrograd import nn
from macrograd.compiler.targets.scalar import panels


def gradient(samples: int, dtype: str, strict: bool) -> np.ndarray[Any, Any]:
    net = nn.MLP(5, [9, 13, 3], activation="tanh", seed=3)
    f = mg.compile(lambda x: mg.sum(v * v for v in net(x)), batch=True, dtype=dtype, strict=strict)
    X = np.random.default_rng(0).normal(size=(samples, 5))
    values = f(X)
    return np.append(f.value_and_grad(f.theta(), X)[1], values)


@pytest.mark.parametrize(("dtype", "strict"), [("float32", False), ("float64", True)])
def test_panels_change_no_bit(monkeypatch: pytest.MonkeyPatch, dtype: str, strict: bool) -> None:
    monkeypatch.setenv("MACROGRAD_CACHE", "off")
    copies: list[int] = []
    copy = panels.Panels.copy

    def counted(self: panels.Panels, x: Any, count: int, members: list[Any]) -> None:
        copies.append(len(members))
        copy(self, x, count, members)

    monkeypatch.setattr(panels.Panels, "copy", counted)
    plain = gradient(200, dtype, strict)
    assert not copies
    monkeypatch.setattr(panels, "FAR", 8)
    assert np.array_equal(gradient(200, dtype, strict), plain)
    assert copies


def test_a_panel_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is on the stack."""
    monkeypatch.setattr(panels, "FAR", 8)
    monkeypatch.setattr(panels, "MOST", 0)
    monkeypatch.setattr(panels.Panels, "copy", lambda *_: pytest.fail("copied"))
    monkeypatch.setenv("MACROGRAD_CACHE", "off")
    gradient(200, "float32", False)
