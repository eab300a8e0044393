"""A model keeps what it was trained with: labels, columns and scales are in its file, and Python and the command give
the same answers from it."""

from __future__ import annotations

import copy
import csv
import io
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import macrograd as mg
from macrograd import nn, optim
from macrograd.cli import main
from macrograd.train import Trainer, files

RANDOM = np.random.RandomState(4)
# Columns of sizes as different as a table has them; three kinds of rows, well apart.
RAW = RANDOM.normal(size=(60, 3)) * (0.01, 1.0, 500.0) + (5.0, -40.0, 1e4)
KINDS = np.array(["ant", "bee", "cat"])[(RAW[:, 0] > 5.0).astype(int) + (RAW[:, 2] > 1e4)]
NAMES = ("thin", "cold", "large")
Capture = pytest.CaptureFixture[str]


class Frame:
    """As much of a data frame as is needed, which pandas and polars have."""

    def __init__(self, columns: dict[str, Any]) -> None:
        self._columns = columns

    @property
    def columns(self) -> list[str]:
        return list(self._columns)

    def __getitem__(self, names: list[str]) -> Frame:
        return Frame({name: self._columns[name] for name in names})

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        return np.column_stack(list(self._columns.values())).astype(dtype or float)


def frame_of(X: Any, names: tuple[str, ...] = NAMES) -> Frame:
    return Frame({name: X[:, k] for k, name in enumerate(names)})


def written(path: Path, X: Any, answers: Any, names: tuple[str, ...] = NAMES) -> Path:
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([*names, "kind"])
        writer.writerows([*map(repr, row.tolist()), answer] for row, answer in zip(X, answers, strict=True))
    return path


def predicted(capsys: Capture, model: Path, table: Path, column: str = "predicted_kind") -> list[str]:
    capsys.readouterr()
    assert main(["predict", str(model), str(table)]) == 0
    return [row[column] for row in csv.DictReader(io.StringIO(capsys.readouterr().out))]


def trained(y: Any, outputs: int, X: Any = None, **options: Any) -> Trainer:
    middle, unit = RAW.mean(axis=0), RAW.std(axis=0)
    model = nn.Scaled(nn.MLP(3, [6, outputs], activation="tanh", seed=1), middle.tolist(), unit.tolist())
    trainer = Trainer(model, **{"optimizer": optim.Adam(0.05), **options})
    trainer.fit(RAW if X is None else X, y, steps=150, progress=False)
    return trainer


# --- files of the command ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("target", ["three classes", "two classes", "a number"])
def test_a_file_of_the_command_gives_its_answers_in_python(tmp_path: Path, capsys: Capture, target: str) -> None:
    y = {
        "three classes": KINDS,
        "two classes": np.where(KINDS == "ant", "ant", "other"),
        "a number": RAW[:, 2] * 3.0 + RAW[:, 1] / 7,
    }[target]
    table, path = written(tmp_path / "t.csv", RAW, y), tmp_path / "m.safetensors"
    assert main(["train", str(table), "--target", "kind", "--steps", "200", "--quiet", "--save", str(path)]) == 0
    answers = predicted(capsys, path, table)
    trainer = Trainer(mg.load(path))
    if target == "a number":
        assert trainer.predict(RAW).tolist() == pytest.approx([float(x) for x in answers], rel=1e-12)
        assert np.mean(np.abs(trainer.predict(RAW) - y)) < 0.2 * np.std(y)
        assert trainer.evaluate(RAW, y, metrics=["r2"])["r2"] > 0.9
    else:
        assert trainer.predict(RAW).tolist() == answers
        assert trainer.evaluate(RAW, y, metrics=["accuracy"])["accuracy"] > 0.9
        assert trainer.classes == sorted(set(y.tolist()))
    # And saved again by a program, it is still the same.
    again = mg.save(trainer, tmp_path / "again.safetensors")
    assert Trainer(mg.load(again)).predict(RAW).tolist() == trainer.predict(RAW).tolist()
    if target != "a number":
        assert predicted(capsys, again, table) == answers
    model = mg.load(path)
    assert type(model) is nn.Scaled
    assert len(model.parameters()) == len(model.net.parameters())
    assert Trainer(model).predict_one(RAW[0].tolist()) == pytest.approx(np.atleast_1d(trainer.outputs(RAW[:1])[0]))


def test_inspect_shows_the_scaling(tmp_path: Path, capsys: Capture) -> None:
    table, path = written(tmp_path / "t.csv", RAW, KINDS), tmp_path / "m.safetensors"
    assert (
        main(
            [
                "train",
                str(table),
                "--target",
                "kind",
                "--steps",
                "5",
                "--quiet",
                "--validation",
                "0",
                "--save",
                str(path),
            ]
        )
        == 0
    )
    again = mg.save(mg.load(path), tmp_path / "again")
    for place in (path, again):
        capsys.readouterr()
        assert main(["inspect", str(place)]) == 0
        out = capsys.readouterr().out
        assert f"  scaling      (thin − {RAW[:, 0].mean():.6g}) / " in out or "  scaling      (inputs − " in out
        assert f" − {RAW[:, 2].mean():.6g}) / " in out
        assert "kind: one of ant, bee, cat" in out


# --- files of programs ------------------------------------------------------------------------------------------------

LABELS: dict[str, tuple[Any, int]] = {
    "texts": (KINDS, 3),
    "integers": (np.searchsorted(["ant", "bee", "cat"], KINDS) * 10 - 10, 3),
    "two": (np.where(KINDS == "ant", "no", "yes"), 1),
    "truth": (KINDS == "ant", 1),
    "yes or no": (np.stack([KINDS == "ant", RAW[:, 1] > -40], axis=1).astype(int), 2),
    "numbers": (RAW[:, 1] + 40, 1),
}


@pytest.mark.parametrize("what", LABELS)
def test_what_a_trainer_learned_is_in_its_file(tmp_path: Path, capsys: Capture, what: str) -> None:
    y, outputs = LABELS[what]
    trainer = trained(y, outputs)
    path = mg.save(trainer, tmp_path / "m.safetensors")
    assert path.read_bytes() == mg.save(trainer.model, tmp_path / "n.safetensors").read_bytes()
    again = Trainer(mg.load(path))
    expected = trainer.predict(RAW)
    assert again.predict(RAW).tolist() == expected.tolist()
    assert again.predict(RAW).dtype.kind == expected.dtype.kind
    assert again.classes == trainer.classes
    assert again.evaluate(RAW, y) == trainer.evaluate(RAW, y)
    table = tmp_path / "t.csv"
    table.write_text("a,b,c\n" + "\n".join(",".join(map(repr, row)) for row in RAW.tolist()) + "\n", "utf-8")
    column = "predicted_1" if what == "yes or no" else "predicted"
    firsts = expected[:, 0] if expected.ndim == 2 else expected
    assert predicted(capsys, path, table, column) == [
        repr(x) if isinstance(x, float) else str(x) for x in firsts.tolist()
    ]
    assert again.fit(RAW, y, steps=3, progress=False).losses[0] < trainer.history.losses[0]  # and it goes on learning


def test_a_loss_of_ones_own_is_there_by_name(tmp_path: Path) -> None:
    def far(prediction: Any, target: Any) -> Any:
        return (prediction - target) ** 4

    trainer = trained(RAW[:, 1] + 40, 1, loss=far)
    path = mg.save(trainer, tmp_path / "m")
    again = Trainer(mg.load(path))
    assert again.predict(RAW).tolist() == trainer.predict(RAW).tolist()
    with pytest.raises(ValueError, match=r"trained with the loss '.*far', a custom function: give it to"):
        again.evaluate(RAW, RAW[:, 1] + 40)
    assert Trainer(mg.load(path), far).evaluate(RAW, RAW[:, 1] + 40) == trainer.evaluate(RAW, RAW[:, 1] + 40)
    copy.deepcopy(trainer.model)
    pickle.dumps(trainer.model)


def test_a_trainer_that_was_not_fitted_has_nothing_to_save(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="call fit first"):
        mg.save(Trainer(nn.MLP(2, [1])), tmp_path / "m")
    assert not list(tmp_path.iterdir())


def test_a_module_of_ones_own_is_filled_with_its_scale(tmp_path: Path) -> None:
    class Own(nn.Module):
        def __init__(self) -> None:
            self.body = nn.MLP(3, [4, 3], seed=5)

        def __call__(self, x: Any) -> Any:
            return self.body(x)

    trainer = Trainer(nn.Scaled(Own(), RAW.mean(axis=0).tolist(), RAW.std(axis=0).tolist()))
    trainer.fit(RAW, KINDS, steps=20, progress=False)
    path = mg.save(trainer, tmp_path / "m")
    into = nn.Scaled(Own())
    assert mg.load(path, into=into) is into
    assert Trainer(into).predict(RAW).tolist() == trainer.predict(RAW).tolist()
    with pytest.raises(ValueError, match=r"trained on scaled inputs: give into=nn.Scaled\(net\)"):
        mg.load(path, into=Own())
    plain = mg.save(Own(), tmp_path / "p")
    with pytest.raises(ValueError, match="trained on raw inputs: give the net alone"):
        mg.load(plain, into=into)


def test_what_scaled_refuses() -> None:
    with pytest.raises(TypeError, match=r"Scaled\(\) takes a Module that can be called, got . of type int"):
        nn.Scaled(3)
    with pytest.raises(ValueError, match=r"needs every unit to be finite and positive, got 0\.0"):
        nn.Scaled(nn.MLP(1, [1]), 0.0, 0.0)
    with pytest.raises(ValueError, match="needs every middle to be finite, got nan"):
        nn.Scaled(nn.MLP(1, [1]), float("nan"))
    with pytest.raises(ValueError, match="this Scaled takes 2 inputs, got 3"):
        nn.Scaled(nn.MLP(3, [1]), [0.0, 1.0])([1.0, 2.0, 3.0])


def test_scaled_is_the_net_on_scaled_numbers() -> None:
    net = nn.MLP(3, [4, 2], activation="tanh", seed=1)
    model = nn.Scaled(net, [1.0, 2.0, 3.0], [2.0, 1.0, 0.5], output_middle=7.0, output_unit=3.0)
    x = [0.5, -1.0, 2.0]
    inner = net([(0.5 - 1.0) / 2.0, -3.0, (2.0 - 3.0) / 0.5])
    assert [v.data for v in model(x)] == [v.data * 3.0 + 7.0 for v in inner]


# --- data frames ------------------------------------------------------------------------------------------------------


def test_columns_are_found_by_their_names(tmp_path: Path, capsys: Capture) -> None:
    trainer = trained(KINDS, 3, X=frame_of(RAW))
    expected = trainer.predict(RAW).tolist()
    turned = frame_of(RAW[:, [2, 0, 1]], ("large", "thin", "cold"))
    more = frame_of(np.hstack([RAW[:, ::-1], RAW]), ("large", "cold", "thin", "x", "y", "z"))
    for model in (trainer, Trainer(mg.load(mg.save(trainer, tmp_path / "m")))):
        for given in (frame_of(RAW), turned, more):
            assert model.predict(given).tolist() == expected
            assert model.evaluate(given, KINDS) == model.evaluate(RAW, KINDS)
        one = dict(zip(reversed(NAMES), RAW[0, ::-1].tolist(), strict=True))
        assert model.predict_one(one) == model.predict_one(RAW[0]) == model.predict_one(RAW[0].tolist())
        with pytest.raises(ValueError, match="X lacks 'cold', which the model was trained with; it has 'thin', 'warm'"):
            model.predict(frame_of(RAW, ("thin", "warm", "large")))
        with pytest.raises(ValueError, match="the sample lacks 'large', which the model was trained with"):
            model.predict_one({"thin": 1.0, "cold": 2.0})
    table = written(tmp_path / "t.csv", RAW[:, ::-1], KINDS, NAMES[::-1])
    assert predicted(capsys, tmp_path / "m", table, "predicted") == expected


def test_validation_and_later_fits_go_by_name_too() -> None:
    turned = frame_of(RAW[:, ::-1], NAMES[::-1])

    def fit(Xv: Any, later: Any) -> list[float]:
        trainer = trained(KINDS, 3, X=frame_of(RAW))
        trainer.fit(later, KINDS, steps=5, validation=(Xv, KINDS), progress=False)
        return [*trainer.history.metrics["validation_loss"], *trainer.history.losses]

    assert fit(turned, turned) == fit(frame_of(RAW), frame_of(RAW))


def test_real_frames(tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(dict(zip(NAMES, RAW.T, strict=True)))
    trainer = trained(pandas.Series(KINDS, name="kind"), 3, X=frame)
    expected = trainer.predict(RAW).tolist()
    assert trainer.predict(frame[list(NAMES[::-1])]).tolist() == expected
    assert trainer.predict_one(frame.iloc[0][list(NAMES[::-1])]) == trainer.predict_one(RAW[0])
    saved = files.read(mg.save(trainer, tmp_path / "net.safetensors"), "model")[1]
    assert saved["signature"]["target"] == "kind"
    polars = pytest.importorskip("polars")
    assert trainer.predict(polars.DataFrame(dict(zip(NAMES[::-1], RAW.T[::-1], strict=True)))).tolist() == expected
    arrow = pytest.importorskip("pyarrow")
    assert trainer.predict(arrow.table(dict(zip(NAMES[::-1], RAW.T[::-1], strict=True)))).tolist() == expected


def test_numbered_columns_are_no_names() -> None:
    frame = Frame({0: RAW[:, 0], 1: RAW[:, 1], 2: RAW[:, 2]})
    trainer = trained(KINDS, 3, X=frame)
    assert trainer.setup.columns is None
    assert trainer.predict(frame_of(RAW, ("a", "b", "c"))).tolist() == trainer.predict(RAW).tolist()
