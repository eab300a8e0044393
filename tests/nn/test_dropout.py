"""Dropout: fresh masks for every sample and step, the same in every engine, and none outside of training."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import macrograd as mg
from macrograd import Value, losses, nn, optim
from macrograd.nn.dropout import Draws, drawing
from macrograd.train import Trainer

X = np.random.RandomState(0).randn(30, 3)
Y = (X[:, 0] > 0).astype(int)


class Net(nn.Module):
    def __init__(self, rate: float = 0.4) -> None:
        self.first = nn.Layer(3, 6, activation="tanh", seed=1)
        self.dropout = nn.Dropout(rate)
        self.last = nn.Layer(6, 1, nonlin=False, seed=2)

    def __call__(self, x: Any) -> Any:
        return self.last(self.dropout(self.first(x)))


def trained(engine: str, *, dtype: str = "float64", seed: int = 0, model: Any = None, **options: Any) -> Any:
    model = model or Net()
    loss = options.pop("loss", None)
    trainer = Trainer(model, loss, optim.Adam(0.05), engine=engine, dtype=dtype)
    given = {"epochs": 4, "batch_size": 8, "seed": seed, "progress": False, **options}
    history = trainer.fit(given.pop("X", X), Y, **given)
    return [p.data for p in model.parameters()], history, trainer


@pytest.mark.parametrize("options", [{}, {"sample_weight": np.linspace(0, 2, 30), "clip_norm": 0.5}, {"seed": 123}])
def test_the_engines_draw_the_same(options: dict[str, Any]) -> None:
    (eager, one, _), (compiled, other, _) = (trained(engine, **options) for engine in ("eager", "compiled"))
    assert one.losses == pytest.approx(other.losses, rel=1e-12)
    assert eager == pytest.approx(compiled, rel=1e-10, abs=1e-13)


def test_float32_draws_the_same() -> None:
    (eager, one, _), (compiled, other, _) = (trained(engine, dtype="float32") for engine in ("eager", "compiled"))
    assert one.losses == pytest.approx(other.losses, rel=1e-3)
    assert eager == pytest.approx(compiled, rel=1e-2, abs=1e-3)


def test_a_loss_that_calls_the_model_draws_too() -> None:
    def loss(model: Any, x: Any, y: Any) -> Any:
        return losses.squared_error(model(x), y)

    found = [trained(engine, loss=loss)[1].losses for engine in ("eager", "compiled")]
    assert found[0] == pytest.approx(found[1], rel=1e-12)
    assert found[0] != pytest.approx(trained("eager", loss=loss, model=Net(0.0))[1].losses, rel=1e-3)


def test_the_seed_decides_and_prediction_drops_nothing() -> None:
    first, _, trainer = trained("compiled", shuffle=False)
    again, other = trained("compiled", shuffle=False)[0], trained("compiled", shuffle=False, seed=1)[0]
    assert first == again
    assert first != other
    expected = [trainer.model(row).data for row in X.tolist()]
    assert trainer.outputs(X) == pytest.approx(expected)


def test_a_run_goes_on_with_the_same_draws(tmp_path: Any) -> None:
    whole, _, _ = trained("compiled")
    trained("compiled", epochs=None, steps=7, checkpoint=tmp_path / "c")
    assert trained("compiled", checkpoint=tmp_path / "c", resume=True)[0] == whole


def test_data_in_a_file_draw_the_same(tmp_path: Any) -> None:
    np.save(tmp_path / "X.npy", X)
    assert trained("compiled", X=np.load(tmp_path / "X.npy", mmap_mode="r"))[0] == trained("compiled")[0]


def test_masks_are_fresh_scaled_and_as_frequent_as_asked() -> None:
    layer = nn.Dropout(0.25)
    masks = np.array([
        [v.data for v in mask]
        for step in range(20)
        for sample in range(20)
        for mask in [draw(layer, step, sample, 25)]
    ])  # fmt: skip
    assert set(masks.ravel().tolist()) == {0.0, 2.0 / 0.75}
    dropped = masks == 0
    assert dropped.mean() == pytest.approx(0.25, abs=5 * np.sqrt(0.25 * 0.75 / dropped.size))
    assert len(np.unique(dropped, axis=0)) > 390  # of 400 masks of 25 units


def draw(layer: nn.Dropout, step: int, sample: int, count: int) -> Any:
    with drawing(Draws(step, sample)):
        return layer([Value(2.0) for _ in range(count)])


def test_gradients_pass_where_numbers_pass() -> None:
    x = [Value(1.0) for _ in range(8)]
    with drawing(Draws(3, 4)):
        out = nn.Dropout(0.5)(x)
    mg.sum(out).backward()
    assert [v.grad for v in x] == [v.data for v in out]
    assert {v.data for v in out} == {0.0, 2.0}


def test_outside_of_training_and_for_single_numbers() -> None:
    x = [Value(1.0)]
    assert nn.Dropout(0.5)(x) is x
    with drawing(Draws(1, 1)):
        assert nn.Dropout(0.0)(x) is x
        assert nn.Dropout(0.5)(Value(1.0)).data in (0.0, 2.0)


@pytest.mark.parametrize("rate", [-0.1, 1.0, float("nan")])
def test_wrong_rates(rate: float) -> None:
    with pytest.raises(ValueError, match="Dropout rate must be a number of at least 0 and less than 1, got "):
        nn.Dropout(rate)


def test_repr() -> None:
    assert repr(nn.Dropout(0.25)) == "Dropout(0.25)"
