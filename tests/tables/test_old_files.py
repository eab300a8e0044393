"""Models saved by earlier versions answer as they did then."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from macrograd import nn, tables
from macrograd.cli import main
from macrograd.train import Trainer, files, load, save

# Trained on dates and times, some of them missing and some with an offset from UTC, and saved by the version before
# `Feature.middles`, as were the answers below: it read the times of day and ignored the offsets.
SAVED = Path(__file__).parent / "dates_before_middles.safetensors"
HEADER = "when,sent,day,clock"
ROWS = [
    "2024-03-01 09:30,2024-03-01T09:30:00+02:00,05 March 2024,9:30",
    "2024-04-02 23:15,2024-04-02T23:15:00+01:00,06 Juni 2024,21:05",
    "2024-05-03 00:45,2024-05-03 00:45:00-05:00,,0:45",
    "2024-06-04 12:00,2024-06-04 12:00,7 Sept 2024,",
    ",2024-06-04 13:00Z,8/2/2024,13:00",
    "2024-07-05T12:00:00+02:00,,2024-02-09,14:00",
]
TOGETHER = [
    5.03962495956395, 13.783144892613732, 2.075585740705977, 11.302910771282335, 8.834020336012916, 10.522769907986568,
]  # fmt: skip
ALONE = [
    5.03962495956395, 13.783144892613732, 5651.320120282377, 8.870929329071338, 11491.23530046844, 3384.1968542708546,
]  # fmt: skip


def saved_plan() -> tables.Plan:
    _, header = files.read(SAVED, "model")
    return tables.Plan.from_json(header["signature"]["plan"])


def asked(rows: list[str], path: Path) -> tables.Table:
    path.write_text("\n".join([HEADER, *rows, ""]))
    return tables.read(path)


@pytest.mark.filterwarnings("ignore:X. column")
def test_dates_are_read_and_replaced_as_when_the_model_was_saved(tmp_path: Path) -> None:
    trainer, path = Trainer(load(SAVED)), tmp_path / "asked.csv"
    assert trainer.predict(asked(ROWS, path)).ravel().tolist() == pytest.approx(TOGETHER, rel=1e-12)
    alone = [float(trainer.predict(asked([row], path)).ravel()[0]) for row in ROWS]
    assert alone == pytest.approx(ALONE, rel=1e-12)


def test_the_notes_say_what_such_a_model_does(tmp_path: Path) -> None:
    plan = saved_plan()
    _, notes = plan.numbers(asked(ROWS, tmp_path / "asked.csv"))
    assert "column 'sent': offsets from UTC are ignored, as they were when the model was saved" in notes
    assert "column 'when': 1 missing, but none were in training: taken for the medians of the others" in notes
    _, notes = plan.numbers(asked(ROWS[2:3], tmp_path / "asked.csv"))
    assert any(note.startswith("column 'day': no row has a date, and the model was saved by") for note in notes)


@pytest.mark.parametrize("cell", ["2024-03-01T09:30:00+02", "5 Mai 2024", "2024Q2", "Oct-18", "Sun, 5 May 2024"])
def test_forms_that_were_no_dates_then_are_missing(cell: str) -> None:
    plan = tables.Plan((tables.Feature("t", "date", parts=("month",), order="ymd", since="2024-01-01"),))
    column = np.array(["2024-02-01", "2024-03-01", "5 May 2024", cell], dtype=object)
    found, notes = plan.numbers(tables.Table({"t": column}))
    assert found[:, 0].tolist() == [2.0, 3.0, 5.0, 3.0]
    assert any(note.startswith("column 't': 1 not a date") for note in notes)


def test_what_cannot_be_compared_is_taken_as_it_is_and_noted() -> None:
    share = tables.Feature("x", "number", unit="%", median=5.0)
    sent = tables.Feature("t", "date", parts=("hour",), middles=(9.0,), order="ymd", since="2024-01-01")
    plan = tables.Plan.from_json(tables.Plan((share, sent)).to_json())
    columns = {"x": ["12", "0.5"], "t": ["2024-01-31T12:00+02:00", "2024-02-01 08:00"]}
    found, notes = plan.numbers(tables.Table({name: np.array(cells, dtype=object) for name, cells in columns.items()}))
    assert found.tolist() == [[12.0, 10.0], [0.5, 8.0]]
    assert notes[0] == (
        "column 'x', taken as it is: its numbers are plain numbers, and were in % in training: write them as then"
    )
    assert notes[1].startswith("column 't', taken as it is: '2024-01-31T12:00+02:00' in row 1 has an offset from UTC")


def test_a_plan_without_the_later_fields_is_written_back_without_them() -> None:
    plan = saved_plan()
    again = tables.Plan.from_json(plan.to_json())
    assert again == plan
    assert all(feature.first_form for feature in again.features)
    assert "middles" not in str(plan.to_json())


def test_a_model_that_knows_no_median_refuses_missing_numbers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    X = np.random.default_rng(0).normal(5.0, 1.0, (30, 2))
    trainer = Trainer(nn.MLP(2, [2, 1], seed=1), "squared_error")
    trainer.fit(X, X.sum(axis=1), steps=5, progress=False)
    save(trainer, tmp_path / "m.safetensors")
    (tmp_path / "asked.csv").write_text("a,b\n1,2\n,3\n")
    assert main(["predict", str(tmp_path / "m.safetensors"), str(tmp_path / "asked.csv")]) == 2
    assert (
        "column 'a': row 2 has no number, and the model, trained on numbers alone, knows none"
        in capsys.readouterr().err
    )


def test_a_model_of_synthetic_data_knows_its_medians(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = str(tmp_path / "m.safetensors")
    assert main(["train", "moons", "--steps", "2", "--quiet", "--save", model]) == 0
    (tmp_path / "asked.csv").write_text("x1,x2\n1,2\n,3\n")
    assert main(["predict", model, str(tmp_path / "asked.csv")]) == 0
    assert "taken for the median, 0.508551" in capsys.readouterr().err


def test_a_library_s_moments_in_a_zone_were_utc_then_too() -> None:
    pandas = pytest.importorskip("pandas")
    plan = tables.Plan((tables.Feature("t", "date", parts=("hour",), order="ymd", since="2024-01-01"),))
    frame = pandas.DataFrame(
        {"t": pandas.to_datetime(["2024-01-31 12:00", "2024-02-01 13:00"]).tz_localize("Asia/Tokyo")}
    )
    found, _ = plan.numbers(tables.from_frame(frame))
    assert np.array_equal(found, [[3.0], [4.0]])
