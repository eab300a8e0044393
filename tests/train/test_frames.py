"""Tables of pandas, polars and Arrow in `Trainer.fit`: what is learned from them lives with the model."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import macrograd as mg
from macrograd import nn, tables
from macrograd.cli import main

N = 40
DAYS = [datetime.date(2020, 1, 1) + datetime.timedelta(days=20 * k) for k in range(N)]
COLUMNS: dict[str, list[Any]] = {
    "city": [("Rome", "Oslo", None)[k % 3] for k in range(N)],
    "size": [None if k % 7 == 0 else float(k * k % 11) for k in range(N)],
    "day": list(DAYS),
    "tall": [k % 2 == 0 for k in range(N)],
}
KIND = np.array([("cat", "dog")[k % 3 == 0] for k in range(N)])
LIBRARIES = ("pandas", "polars", "pyarrow")


def frame(library: str, columns: dict[str, list[Any]] = COLUMNS) -> Any:
    module: Any = pytest.importorskip(library)
    return module.table(columns) if library == "pyarrow" else module.DataFrame(columns)


def model() -> nn.MLP:
    return nn.MLP(len(tables.plan_of(tables.from_frame(COLUMNS)).names), [4, 1], init="he_normal", seed=1)


@pytest.fixture(scope="module")
def fitted() -> mg.Trainer:
    trainer = mg.Trainer(model(), scale="standard")
    trainer.fit(frame("pandas"), KIND, steps=60, validation=0.2, progress=False)
    return trainer


@pytest.mark.parametrize("library", LIBRARIES)
def test_every_library_trains_the_same_net(fitted: mg.Trainer, library: str) -> None:
    trainer = mg.Trainer(model(), scale="standard")
    trainer.fit(frame(library), KIND, steps=60, validation=0.2, progress=False)
    assert [p.data for p in trainer.model.parameters()] == [p.data for p in fitted.model.parameters()]
    assert trainer.evaluate(frame(library), KIND, metrics=["accuracy"])["accuracy"] > 0.7


def test_the_file_holds_what_was_learned_from_the_table(fitted: mg.Trainer, tmp_path: Path, capsys: Any) -> None:
    expected = fitted.outputs(frame("pandas"))
    path = mg.save(fitted, tmp_path / "m.safetensors")
    again = mg.Trainer(mg.load(path))
    for library in LIBRARIES:
        turned = frame(library, {"more": [1] * N, **dict(reversed(COLUMNS.items()))})
        assert np.array_equal(again.outputs(turned), expected)
    few = {name: values for name, values in COLUMNS.items() if name != "day"}
    with pytest.raises(ValueError, match="X lacks 'day'; it has 'city', 'size', 'tall'"):
        again.predict(frame("pandas", few))
    row = {name: values[0] for name, values in COLUMNS.items()}
    assert again.predict_one(row) == pytest.approx(expected[0], rel=1e-12)
    frame("pandas").to_csv(tmp_path / "t.csv", index=False)
    assert main(["predict", str(path), str(tmp_path / "t.csv")]) == 0
    assert capsys.readouterr().out.splitlines()[1].split(",")[-1] == fitted.predict(frame("pandas"))[0]
    assert main(["inspect", str(path)]) == 0
    assert "city=Oslo" in capsys.readouterr().out


def test_validation_data_are_understood_as_the_training_data(fitted: mg.Trainer) -> None:
    trainer = mg.Trainer(model(), scale="standard")
    with pytest.warns(UserWarning, match=r"Xv: column 'city': 'Bonn' not seen in training"):
        trainer.fit(
            frame("pandas"), KIND, steps=2, progress=False,
            validation=(frame("pandas", COLUMNS | {"city": ["Bonn"] * N}), KIND),
        )  # fmt: skip
    assert len(trainer.history.metrics["validation_loss"]) == 1


def test_bad_frames(fitted: mg.Trainer) -> None:
    with pytest.raises(ValueError, match=r"shape \(10,\) \(10 numbers: 'city=Oslo', 'city=Rome', 'city=missing'"):
        mg.Trainer(nn.MLP(4, [1])).fit(frame("pandas"), KIND, progress=False)
    with pytest.raises(ValueError, match=r"no named columns, .* give a table with 'city', 'size', 'day', 'tall'"):
        fitted.predict(np.zeros((3, 4)))
    with pytest.raises(ValueError, match=r"column 'size': .*not a number"):
        fitted.predict(frame("pandas", COLUMNS | {"size": ["tiny"] * N}))


@pytest.mark.parametrize("outputs", [1, 3])
def test_a_tabular_net_is_built_from_its_file(tmp_path: Path, outputs: int) -> None:
    net = nn.Tabular(2, [3], outputs, activation="silu", members=2, seed=3)
    mg.Trainer(net).fit([[0.0, 1.0], [1.0, 0.0], [1.0, 1.0]], [0, 1, 2 % (outputs + 1)], steps=1, progress=False)
    path = mg.save(net, tmp_path / "m.safetensors")
    again = mg.load(path)
    assert repr(again) == repr(net)
    assert [p.data for p in again.parameters()] == [p.data for p in net.parameters()]
    assert mg.Trainer(again).predict([[0.3, 0.4]]) == mg.Trainer(net).predict([[0.3, 0.4]])


def test_a_tabular_net_with_a_function_of_the_program_is_filled(tmp_path: Path) -> None:
    path = mg.save(nn.Tabular(2, [3], 1, activation=lambda x: x * x), tmp_path / "m.safetensors")
    with pytest.raises(ValueError, match="a custom Module"):
        mg.load(path)
