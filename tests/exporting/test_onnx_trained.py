"""Trained models as ONNX: from cells of a table to names of classes, and on with the training."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

import macrograd as mg
from macrograd import datasets, nn
from macrograd.cli import main
from macrograd.exporting.onnx_file import SAMPLES, File
from macrograd.exporting.onnx_names import NamesInOnnx
from macrograd.exporting.subject import Names
from macrograd.tables.dates import parts
from macrograd.train.samples.targets import Targets
from tests.exporting.test_onnx import Model, near
from tests.exporting.test_trained import HOSTILE, as_csv, hostile, table

# --- trained models ---------------------------------------------------------------------------------------------------


def test_a_saved_table_model_answers_as_the_command_does(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    listed = table()
    data, saved = as_csv(listed, tmp_path / "t.csv"), tmp_path / "t.safetensors"
    assert main(["train", str(data), "--target", "kind", "--steps", "60", "--quiet", "--save", str(saved)]) == 0
    capsys.readouterr()
    assert main(["export", str(saved), str(tmp_path / "net.onnx")]) == 0
    assert "bytes of constants" in capsys.readouterr().out
    header, *rows = [row[:-1] for row in listed]
    rows[3][1] = "never seen"
    asked = as_csv([header, *rows], tmp_path / "asked.csv")
    assert main(["predict", str(saved), str(asked)]) == 0
    right = [row["predicted_kind"] for row in csv.DictReader(io.StringIO(capsys.readouterr().out))]

    model = Model(tmp_path / "net.onnx")
    assert model.inputs == header
    sizes, colours, dates, answers = zip(*rows, strict=True)
    columns = [
        np.array([float(x or "nan") for x in sizes]), np.array(colours, dtype=object),
        np.array(dates, "datetime64[s]").astype(np.int64), np.array([float(x == "y") for x in answers]),
    ]  # fmt: skip
    found = model(*[column[:, None] for column in columns])
    assert found["label"].tolist() == right
    assert len(set(right)) > 1
    near(found["probabilities"].sum(axis=1), np.ones(len(rows)), 1e-12)
    notes = {note.key: json.loads(note.value) for note in model.proto.metadata_props}
    assert notes == {"columns": header, "classes": sorted({row[-1] for row in listed[1:]})}


def test_parts_of_dates_are_those_of_tables(tmp_path: Path) -> None:
    moments = np.array(["1899-12-31T23:59:59", "1970-01-01", "2000-02-29T12:30", "2023-12-31", "2024-03-01T06", "NaT"])
    moments = moments.astype("datetime64[s]")
    names = ("year", "month", "weekday", "hour", "elapsed")
    since = "2001-05-06T07:08:09"
    targets = Targets("numbers", "squared_error", None, 1, ())
    file = File(np.dtype(np.float64), ["when"])
    named = NamesInOnnx(Names((("when", 5),), targets, dates=(("when", names, since, 0),)))
    file.output("y", (SAMPLES, 5), "", named.inputs(file, (5,)))
    (tmp_path / "d.onnx").write_bytes(file.data("dates"))
    found = Model(tmp_path / "d.onnx")(moments.astype(np.int64)[:, None])["y"]
    right = np.stack(parts(moments, names, np.datetime64(since)), axis=1)
    np.testing.assert_allclose(found, right, rtol=1e-15)


LABELS = {"texts": ['in "side"', "*/"], "numbers": [3, 7], "truths": [False, True]}


@pytest.mark.parametrize(("labels", "loss"), [("texts", "hinge"), ("numbers", None), ("truths", "cross_entropy")])
def test_trainers_answer_and_go_on(tmp_path: Path, labels: str, loss: str | None) -> None:
    X, y = datasets.make_moons(60, noise=0.1, seed=1)
    y = np.array(LABELS[labels])[y.astype(int)]
    trainer = mg.Trainer(nn.MLP(2, [4, 2 if loss == "cross_entropy" else 1], seed=1), loss, scale="standard")
    trainer.fit(X, y, epochs=5, batch_size=60, progress="none")
    mg.export(trainer, tmp_path / "net.onnx")
    mg.export(trainer, tmp_path / "more.onnx", kind="train")
    found = Model(tmp_path / "net.onnx")(X)
    assert found["label"].tolist() == trainer.predict(X).tolist()
    near(np.squeeze(found["outputs"]), np.squeeze(trainer.outputs(X)), 1e-12)
    assert ("probabilities" in found) == (loss != "hinge")
    if loss != "hinge":
        near(found["probabilities"], trainer.probabilities(X), 1e-12)

    step, given = Model(tmp_path / "more.onnx"), y.astype(object) if labels == "texts" else y
    first = step(X, given)
    second = step(X, given, **{f"{key}": first[f"new_{key}"] for key in ("parameters", "state", "steps")})
    trainer.fit(X, y, epochs=2, batch_size=60, progress="none")
    near([first["loss"], second["loss"]], trainer.history.losses[-2:], 1e-12)
    if labels == "texts":
        assert np.isnan(step(X, np.full(60, "unknown", dtype=object))["loss"])


@pytest.mark.parametrize(("width", "units"), [(1, False), (1, True), (2, True)])
def test_trainers_of_numbers_go_on_in_their_units(tmp_path: Path, width: int, units: bool) -> None:
    draw = np.random.default_rng(0)
    X = 5.0 + 3.0 * draw.normal(size=(30, 3))
    y = 100.0 + 7.0 * X[:, :width] + draw.normal(size=(30, width))
    y = y[:, 0] if width == 1 else y
    trainer = mg.Trainer(nn.MLP(3, [width], seed=1), scale="standard", scale_target=units)
    trainer.fit(X, y, epochs=5, batch_size=30, progress="none")
    mg.export(trainer, tmp_path / "net.onnx")
    near(np.squeeze(Model(tmp_path / "net.onnx")(X)["outputs"]), trainer.predict(X), 1e-12)
    mg.export(trainer, tmp_path / "more.onnx", kind="train")
    loss = Model(tmp_path / "more.onnx")(X, y)["loss"]
    trainer.fit(X, y, epochs=1, batch_size=30, progress="none")
    near(loss, trainer.history.losses[-1], 1e-12)


def test_names_that_no_model_can_hold_are_refused(tmp_path: Path) -> None:
    X, y = datasets.make_moons(20, noise=0.1, seed=1)
    trainer = mg.Trainer(nn.MLP(2, [1], seed=1))
    trainer.fit(X, np.array(["a", "half \ud800"])[y.astype(int)], epochs=1, progress="none")
    with pytest.raises(ValueError, match="half a character, which UTF-8 cannot hold: rename it"):
        mg.export(trainer, tmp_path / "net.onnx")
    assert list(tmp_path.iterdir()) == []


def test_hostile_names_stay_names(tmp_path: Path) -> None:
    trainer, X = hostile()
    for kind in ("predict", "train"):
        mg.export(trainer, tmp_path / "net.onnx", kind=kind)
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3  # it warns of inputs with defaults
        session = onnxruntime.InferenceSession(tmp_path / "net.onnx", options)
        notes = session.get_modelmeta().custom_metadata_map
        assert json.loads(notes["columns"]) == HOSTILE
        if kind == "predict":
            assert json.loads(notes["classes"]) == trainer.classes
            assert session.run(["label"], {"x": X})[0].tolist() == trainer.predict(X).tolist()
        else:
            session.run(["loss"], {"x": X, "y": np.array(HOSTILE, dtype=object).repeat(3)})
