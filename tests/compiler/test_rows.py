"""Rows that an index chooses as vectors: the bits of number by number, and which tables are read so."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import macrograd as mg
from macrograd import Value

pytest.importorskip("llvmlite")

from written import MACHINE, operands

from macrograd.compiler.program.program import Index
from macrograd.compiler.targets.scalar.rows import MOST, Rows

CHOICES, COLUMNS = 11, 16
TABLE = [[Value(x) for x in row] for row in np.random.default_rng(0).normal(size=(CHOICES, COLUMNS)).tolist()]
SCALE = [Value(x) for x in np.linspace(-1.0, 2.0, COLUMNS).tolist()]


def loss(tokens: Any, y: Any) -> Any:
    """Of three rows that may be the same, with a factor."""
    rows = [mg.take(TABLE, token) for token in tokens]
    return mg.sum([(a * b + c) * s for a, b, c, s in zip(*rows, SCALE, strict=True)]) * y


def test_no_bit_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    """One block, partly filled, and several blocks; and an index out of range is found."""
    monkeypatch.setenv("MACROGRAD_CACHE", "off")
    dtype = "float32"
    draw, used, right = np.random.default_rng(1), list[bool](), Rows.fits
    batches = []
    for n in (32, 5, 400):
        batches.append((draw.integers(0, CHOICES, size=(n, 3)).astype(dtype), draw.normal(size=n).astype(dtype)))

    def noted(*given: Any) -> bool:
        used.append(right(*given))
        return used[-1]

    found: list[list[bytes]] = []
    fits: Callable[..., bool]
    for fits in (noted, lambda *_: False):
        monkeypatch.setattr(Rows, "fits", fits)
        f = mg.compile(loss, batch=True, dtype=dtype)
        found.append([])
        for tokens, y in batches:
            found[-1].append(f(tokens, y).tobytes())
            value, gradient = f.value_and_grad(f.theta(), tokens, y)
            found[-1] += [np.float64(value).tobytes(), gradient.tobytes()]
        wrong = batches[0][0].copy()
        wrong[7, 2] = CHOICES
        with pytest.raises(IndexError, match="sample 7"):
            f.value_and_grad(f.theta(), wrong, batches[0][1])
    assert found[0] == found[1]
    assert any(used)


def test_tables_that_fit() -> None:
    """Rows are whole vectors (of four here), the copy fits into the first cache, and enough is read from it."""
    at, _ = operands()
    rows, table = Rows(at), Index("u", 0, (1,))
    assert rows.fits(8, 16, 4, table)
    assert not rows.fits(6, 16, 4, table)
    assert not rows.fits(8, 16, 1, table)
    assert not rows.fits(8, MOST // 64 + 1, 1 << 20, table)
    assert not rows.fits(8, 16, 4, table, Index("u", 0, (1,), members=np.arange(8)))
    assert not rows.fits(8, 16, 4, 2.0)
    assert MACHINE.width == 4
