"""The LSTM: its numbers and its gradient against NumPy, its rounds, and that it learns to remember."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import macrograd as mg
from macrograd.compiler import pipeline

PATH = Path(__file__).parents[1] / "examples" / "lstm.py"
GATES = ("forget", "enter", "show", "new")


@pytest.fixture(scope="module")
def example() -> dict[str, Any]:
    return runpy.run_path(str(PATH))


def leaves(model) -> list[mg.Value]:
    gates = [
        p for name in GATES for rows, biases in [getattr(model, name)] for p in [*(w for r in rows for w in r), *biases]
    ]
    return [*gates, *model.out, model.bias]


def reference(theta, X, y, cells):
    """The mean loss in NumPy, on complex numbers too; theta as `leaves` has it."""
    inputs = X.shape[2]
    size = cells * (inputs + cells)
    W, b = [], []
    for k in range(4):
        at = k * (size + cells)
        W.append(theta[at : at + size].reshape(cells, inputs + cells))
        b.append(theta[at + size : at + size + cells])
    out, bias = theta[-cells - 1 : -1], theta[-1]
    shown = memory = np.zeros((len(X), cells), theta.dtype)
    for t in range(X.shape[1]):
        seen = np.concatenate([X[:, t], shown], axis=1)
        forget, enter, show = (1 / (1 + np.exp(-(seen @ W[k].T + b[k]))) for k in range(3))
        memory = forget * memory + enter * np.tanh(seen @ W[3].T + b[3])
        shown = show * np.tanh(memory)
    return ((shown @ out + bias - y) ** 2).mean()


def test_loss_and_gradient_against_numpy(example) -> None:
    model = example["LSTM"](2, 4, seed=3)
    X, y = example["sequences"](5, 12, seed=0)
    theta = np.array([p.data for p in leaves(model)])
    eager = mg.mean(model.loss(x, float(t)) for x, t in zip(X.tolist(), y, strict=True))
    eager.backward()
    assert eager.data == pytest.approx(reference(theta, X, y, 4), rel=1e-13)
    compiled = mg.compile(model.loss, batch=True)
    step = compiled.bind(X, y)
    assert step() == pytest.approx(eager.data, rel=1e-13)
    found = dict(zip(map(id, compiled.parameters), step.gradient.tolist(), strict=True))
    for k, p in enumerate(leaves(model)):
        shifted = theta.astype(complex)
        shifted[k] += 1e-30j
        exact = reference(shifted, X, y, 4).imag / 1e-30
        assert p.grad == pytest.approx(exact, rel=1e-10, abs=1e-15)
        assert found[id(p)] == pytest.approx(exact, rel=1e-10, abs=1e-15)


def test_a_longer_sequence_is_no_longer_program(example) -> None:
    model = example["LSTM"](2, 4)
    short, long = (
        len(list(pipeline.gradient_program(pipeline.record(model.loss, [(n, 2), ()]), batch=True).instructions()))
        for n in (30, 90)
    )
    assert short == long < 150


def test_the_task_has_two_marks_and_their_sum(example) -> None:
    X, y = example["sequences"](50, 10, seed=1)
    assert X.shape == (50, 10, 2)
    assert (X[:, :5, 1].sum(axis=1) == 1).all()
    assert (X[:, 5:, 1].sum(axis=1) == 1).all()
    np.testing.assert_allclose([row[row[:, 1] == 1, 0].sum() for row in X], y, rtol=1e-15)


def test_it_learns_to_remember(example) -> None:
    model = example["LSTM"](2, 6, seed=0)
    X, y = example["sequences"](1000, 12, seed=1)
    losses = example["train"](model, X, y, 1500)
    assert losses[:20].mean() > 0.1
    X, y = example["sequences"](200, 12, seed=2)
    assert np.mean((mg.compile(model, batch=True)(X) - y) ** 2) < 0.1 * y.var()


def test_the_run_tells_and_draws(example, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    example["main"](str(tmp_path / "lstm.png"), steps=100)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("prediction for one sequence, by single scalars: ")
    assert lines[1].startswith("100 steps of 32 sequences of 40 in ")
    assert lines[2].startswith("mean squared error on new sequences ")
    assert (tmp_path / "lstm.png").read_bytes().startswith(b"\x89PNG")
