"""`predict_one`: what it takes, what it refuses, and that it never answers with parameters of yesterday."""

from __future__ import annotations

import array
import math
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from macrograd import nn, optim
from macrograd.train import Trainer

X = np.array([[0.5, -1.0], [1.0, 2.0], [0.25, 0.125], [-0.5, 1.5]])
Y = np.array([0, 1, 1, 0])
ENGINES = ("compiled", "eager")


def trained(engine: str = "compiled", dtype: str = "float64", outputs: int = 1, **more: Any) -> Trainer:
    loss = "hinge" if outputs == 1 else "cross_entropy"
    trainer = Trainer(nn.MLP(2, [4, outputs], seed=3), loss, engine=engine, dtype=dtype, **more)
    trainer.fit(X, Y, steps=2, progress=False)
    return trainer


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("outputs", [1, 2])
def test_every_kind_of_sample_gives_the_same(engine: str, dtype: str, outputs: int) -> None:
    trainer = trained(engine, dtype, outputs)
    wide = np.zeros((2, 6))
    wide[0, ::3] = X[2]
    samples = [
        X[2], X[2].tolist(), tuple(X[2].tolist()), X[2].astype(np.float32), wide[0, ::3], X[2].astype(">f8"),
        array.array("d", X[2].tolist()), [Fraction(1, 4), Fraction(1, 8)], [Decimal("0.25"), np.float64(0.125)],
        np.array([Fraction(1, 4), 0.125]), X[2].astype(np.float16), memoryview(X[2].copy()),
    ]  # fmt: skip
    expected = trainer.outputs(X[2:3])[0]
    for sample in samples:
        assert trainer.predict_one(sample) == pytest.approx(expected.tolist(), rel=1e-6)
    whole = trainer.outputs(X[1:2])[0].tolist()
    for ints in ([1, 2], np.array([1, 2]), np.array([1, 2], dtype=np.uint8)):
        assert trainer.predict_one(ints) == pytest.approx(whole, rel=1e-6)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_what_is_no_sample_is_refused_and_the_next_one_is_right(engine: str, dtype: str) -> None:
    trainer = trained(engine, dtype)
    expected = trainer.predict_one(X[0])
    shapes: list[Any] = [[1.0], [1.0, 2.0, 3.0], 1.0, X, X[:1], np.ones((2, 1)), [], [[1.0, 2.0]], np.ones(3)]
    for sample in shapes:
        with pytest.raises(ValueError, match=r"a sample must have shape \(2,\), got"):
            trainer.predict_one(sample)
    kinds: list[Any] = ["ab", ["1.0", "2.0"], X[0] + 1j, np.array(["1.0", "2.0"]), [None, 1.0], None, [1.0, "x"]]
    for sample in kinds:
        with pytest.raises((TypeError, ValueError), match=r"real numbers|shape \(2,\), got|not 'NoneType'|to float"):
            trainer.predict_one(sample)
    assert trainer.predict_one(X[0]) == expected


def test_samples_of_several_axes() -> None:
    class Sum(nn.Module):
        def __init__(self) -> None:
            self.neuron = nn.Neuron(4, seed=1, nonlin=False)

        def __call__(self, x: Any) -> Any:
            return self.neuron([number for row in x for number in row])

    trainer = Trainer(Sum(), "squared_error")
    data = np.arange(12.0).reshape(3, 2, 2)
    trainer.fit(data, [1.0, 2.0, 3.0], steps=1, progress=False)
    expected = trainer.outputs(data)[1]
    for sample in (data[1], data[1].tolist(), data[1].T.copy().T, data[1].astype(int)):
        assert trainer.predict_one(sample) == pytest.approx(expected)
    for wrong in (data[1].reshape(-1), data[1].reshape(-1).tolist(), data[1:2]):
        with pytest.raises(ValueError, match=r"a sample must have shape \(2, 2\), got"):
            trainer.predict_one(wrong)


@pytest.mark.parametrize("engine", ENGINES)
def test_nan_and_infinity_give_what_they_give_in_values(engine: str) -> None:
    trainer = trained(engine)
    assert math.isnan(trainer.predict_one([math.nan, 1.0]))
    assert math.isnan(trainer.predict_one(np.array([1.0, math.nan])))
    assert not math.isfinite(trainer.predict_one([math.inf, 1.0]))
    single = trained(engine, "float32")
    for sample in ([1e300, 1.0], np.array([1e300, 1.0])):
        with pytest.raises(ValueError, match="a sample contains a number too large for float32: scale the data"):
            single.predict_one(sample)


@pytest.mark.parametrize("engine", ENGINES)
def test_it_follows_the_parameters(engine: str) -> None:
    trainer = trained(engine)
    model: Any = trainer.model
    held = trainer.predict_one

    def both() -> None:
        expected = pytest.approx(trainer.outputs(X)[0], rel=1e-12)
        assert trainer.predict_one(X[0]) == expected
        assert held(X[0]) == expected

    before = trainer.predict_one(X[0])
    held = trainer.predict_one
    both()
    trainer.fit(X, Y, steps=3, progress=False)
    assert trainer.predict_one(X[0]) != before
    both()
    model.load_parameters(dict.fromkeys(model.named_parameters(), 0.25))
    both()
    for p in model.parameters():
        p.grad = 1.0
    optim.SGD(0.125).step(model.parameters())
    both()
    Trainer(model, "hinge").fit(X, Y, steps=3, progress=False)
    both()
    model.layers[0].freeze()
    model.load_parameters(dict.fromkeys(model.named_parameters(frozen=True), -0.5))
    both()


def test_it_follows_the_parameters_while_they_are_trained() -> None:
    trainer = Trainer(nn.MLP(2, [4, 1], seed=3), "hinge")
    seen: list[float] = []

    def look(run: Any) -> None:
        seen.append(trainer.predict_one(X[0]))
        assert seen[-1] == pytest.approx(run.model(X[0].tolist()).data)

    trainer.fit(X, Y, epochs=4, callbacks=look, progress=False)
    assert len(set(seen)) == 4


def test_it_works_without_llvm(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = trained().predict_one(X[0])
    import macrograd.compiler.compiled as module

    before = module.Compiled.__init__

    def numpy_only(self: Any, fn: Any, **settings: Any) -> None:
        before(self, fn, **(settings | {"backend": "numpy"}))

    trainer = trained()
    monkeypatch.setattr(module.Compiled, "__init__", numpy_only)
    trainer.setup.kept.clear()
    trainer.__dict__.pop("predict_one", None)
    for sample in (X[0], X[0].tolist()):
        assert trainer.predict_one(sample) == pytest.approx(expected)
