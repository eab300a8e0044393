"""`macrograd train` and `macrograd predict` on tables as people have them."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import macrograd as mg
from macrograd.cli import main
from macrograd.cli.job import share_of_one_answer
from macrograd.nn import init
from macrograd.train import files
from macrograd.train.predictor import Predictor
from tests.cli.commands import Capture, error

pytestmark = pytest.mark.usefixtures("here")


def write(name: str, rows: list[list[Any]]) -> str:
    with open(name, "w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(rows)
    return name


def flowers(name: str = "t.csv", n: int = 90, labels: tuple[str, ...] = ("rose", "tulip", "daisy")) -> str:
    """Three kinds of points that are far apart, with an index that says all."""
    random = np.random.RandomState(0)
    rows: list[list[Any]] = [["", "a", "b", "kind"]]
    for i in range(n):
        k = i * len(labels) // n  # sorted, as data sets often are: the index tells the class
        rows.append([i + 1, *(random.normal(size=2) * 0.3 + [k, k * k]).round(3).tolist(), labels[k]])
    return write(name, rows)


def train(capsys: Capture, *arguments: str) -> str:
    capsys.readouterr()
    assert main(["train", *arguments]) == 0
    return capsys.readouterr().out


def scores(out: str) -> list[float]:
    result = next(line for line in out.splitlines() if line.startswith("trained "))
    return [float(part.split("%")[0]) for part in result.split("accuracy ")[1:]]


# --- what was wrong, silently ----------------------------------------------------------------------------------------


def test_an_index_is_left_out_and_a_held_out_score_stands_beside_the_other(capsys: Capture) -> None:
    out = train(capsys, flowers(), "--target", "kind")
    assert "left out: it numbers the rows" in out
    assert "90 samples, 18 of them held out, 2 features, 3 classes" in out
    trained, held = scores(out)
    assert min(trained, held) > 90
    assert out.splitlines()[-1].endswith("on 18 held out, which also decided when to stop")


def test_a_score_that_one_answer_for_every_row_has_too_says_so(capsys: Capture) -> None:
    """Of a rare class 90 % sounds like success, and is what one gets without learning anything."""
    random = np.random.RandomState(3)
    rows = [[x, "rare" if k % 10 == 0 else "usual"] for k, x in enumerate(random.normal(size=200).round(3))]
    out = train(capsys, write("t.csv", [["x", "kind"], *rows]), "--target", "kind", "--epochs", "5")
    assert "accuracy 90.0% (one answer for every row has 90.0%) on 40 held out" in out
    assert "one answer" not in train(capsys, flowers("u.csv"), "--target", "kind")


def test_no_score_holds_the_outputs_of_all_rows_at_once(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those for ten thousand classes fill the memory."""
    monkeypatch.setattr(Predictor, "__call__", None)
    out = train(capsys, flowers(), "--target", "kind", "--epochs", "30")
    assert min(scores(out)) > 50


def test_the_share_of_one_answer() -> None:
    assert share_of_one_answer([0, 1, 2, 2]) == 0.5
    assert share_of_one_answer([[0, 1], [1, 1], [0, 1], [0, 0]]) == 0.75


@pytest.mark.parametrize("marker", ["NA", "?", "", "#N/A"])
def test_a_target_with_gaps_is_a_number(capsys: Capture, marker: str) -> None:
    random = np.random.RandomState(1)
    rows = [[x, marker if i % 9 == 4 else round(30 + 5 * x)] for i, x in enumerate(random.normal(size=80).round(3))]
    out = train(capsys, write("t.csv", [["x", "ozone"], *rows]), "--target", "ozone")
    assert "9 rows have no 'ozone' and are left out (5, 14, 23," in out
    assert "71 samples, 14 of them held out, 1 feature, a number, ozone" in out
    assert "'ozone' is treated as a number, since it has" in out


def test_whole_numbers_can_be_learned_as_both(capsys: Capture) -> None:
    random = np.random.RandomState(2)
    rows = [[x, int(np.clip(round(5 + 1.5 * x), 3, 8))] for x in random.normal(size=120).round(3).tolist()]
    path = write("wine.csv", [["x", "quality"], *rows])
    assert "a number, since it has 6 different values: change that with --task classification" in train(
        capsys, path, "--target", "quality", "--steps", "5"
    )
    assert "6 classes, as requested" in train(
        capsys, path, "--target", "quality", "--task", "classification", "--steps", "5"
    )
    assert "loss cross_entropy" in train(capsys, path, "--target", "quality", "--loss", "cross_entropy", "--steps", "5")
    assert "loss huber" in train(capsys, path, "--target", "quality", "--loss", "huber", "--steps", "5")
    wrong = ["train", path, "--target", "quality", "--loss", "huber", "--task", "classification"]
    assert error(capsys, *wrong) == "--loss huber is for regression: it does not go with --task classification"


@pytest.mark.parametrize("batch", ["1", "8", "32", "72"])
@pytest.mark.parametrize("optimizer", ["adam", "momentum", "sgd", "rmsprop"])
def test_the_defaults_learn_with_every_batch_size(capsys: Capture, batch: str, optimizer: str) -> None:
    if (batch, optimizer) == ("72", "sgd"):
        pytest.skip("plain gradient descent on all rows is as slow as it always was")
    arguments = ["--batch-size", batch, "--optimizer", optimizer, "--epochs", "60"]
    assert min(scores(train(capsys, flowers(), "--target", "kind", "--quiet", *arguments))) > 85


def test_a_wide_table_is_learned(capsys: Capture) -> None:
    random = np.random.RandomState(3)
    X, y = random.normal(size=(60, 800)), np.arange(60) % 2
    X[:, :40] += 2.0 * y[:, None]
    rows = [[f"c{j}" for j in range(800)] + ["y"], *[[*x.round(2), int(k)] for x, k in zip(X, y, strict=True)]]
    trained, held = scores(train(capsys, write("t.csv", rows), "--target", "y", "--hidden", "8", "--quiet"))
    assert trained == 100.0
    assert held >= 80.0


def test_a_dead_net_is_replaced(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def dead_at_first(rng: Any, fan_in: int, fan_out: int) -> float:
        calls.append(fan_in)
        return 0.0 if len(calls) <= 2 * 3 + 3 * 3 else rng.gauss(0.0, math.sqrt(2.0 / fan_in))

    monkeypatch.setitem(init.INITIALISERS, "he_normal", dead_at_first)
    options = ["--target", "kind", "--hidden", "3", "--lr", "0.02", "--checkpoint", "c", "--steps"]
    out = train(capsys, flowers(), *options, "600")
    assert "the net is dead, every row gets the same answer: starting again with seed 1338" in out
    assert min(scores(out)) > 80
    again = train(capsys, flowers(), *options, "600", "--resume")  # of the second start
    assert scores(again) == scores(out)
    assert "dead" not in again
    longer = train(capsys, flowers(), *options, "700", "--resume")
    assert "going on after step 599" in longer
    assert min(scores(longer)) > 80


def test_dollar_signs_are_drawn_and_the_model_is_saved_before_the_picture(
    capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = flowers(labels=("$0-$10K", "$10K-$50K", "$_^{"))
    arguments = [path, "--target", "kind", "--steps", "20", "--save", "m", "--plot", "p.svg"]
    *_, saved, drawn = train(capsys, *arguments).splitlines()
    assert (saved, drawn) == ("saved the model m", "saved the picture p.svg")
    rows = len(Path(path).read_text("utf-8").splitlines()) - 1
    assert f" on the {rows * 4 // 5} rows it was trained on -->" in Path("p.svg").read_text("utf-8")
    Path("m").unlink()

    def fails(*_: object) -> None:
        raise RuntimeError("no picture")

    monkeypatch.setattr("macrograd.cli.picture.save", fails)
    with pytest.raises(RuntimeError, match="no picture"):
        main(["train", *arguments])
    assert Path("m").exists()


def test_labels_in_several_spellings_are_said(capsys: Capture) -> None:
    path = flowers(labels=("Up", "up", "Down"))
    assert "note: the classes 'Up', 'up' of 'kind' differ only in capitals or spaces" in train(
        capsys, path, "--target", "kind", "--steps", "5"
    )


def test_the_options_of_columns(capsys: Capture) -> None:
    out = train(capsys, flowers(), "--target", "kind", "--drop", "b", "--steps", "5")
    assert "left out: as requested" in out
    assert "1-16-16-3 net" in out
    out = train(capsys, flowers(), "--target", "kind", "--features", "", "b", "--steps", "5")
    assert "2-16-16-3 net" in out  # what is named is taken, an index too
    out = train(capsys, flowers(), "--target", "kind", "--kind", "a=drop", "--steps", "5")
    assert "1-16-16-3 net" in out
    assert error(capsys, "train", "t.csv", "--target", "kind", "--drop", "c") == (
        "t.csv has no column 'c', it has '', 'a', 'b', 'kind'"
    )
    assert "'b' is not COLUMN=KIND, as in zip=category" in error(capsys, "train", "t.csv", "--kind", "b")
    assert "80 samples" in train(
        capsys, flowers(n=80), "--target", "kind", "--validation", "0.5", "--scale", "robust", "--steps", "5"
    )
    assert (
        train(capsys, "t.csv", "--target", "kind", "--validation", "0", "--steps", "5")
        .splitlines()[-1]
        .endswith("on all 80 samples, none held out")
    )


def test_semicolons_and_a_file_without_a_header(capsys: Capture) -> None:
    text = Path(flowers()).read_text("utf-8").split("\n", 1)[1].replace(",", ";")
    Path("t.csv").write_text(text, "utf-8")
    assert "no header line" in train(capsys, "t.csv", "--target", "column 4", "--steps", "5")
    assert "90 samples" in train(
        capsys, "t.csv", "--target", "column 4", "--steps", "5", "--delimiter", "semicolon", "--no-header"
    )
    assert error(capsys, "train", "t.csv", "--target", "kind").startswith(
        "t.csv has no column 'kind', it has 'column 1'"
    )


def test_a_table_that_is_too_wide_for_its_net_is_refused_before_any_work(capsys: Capture) -> None:
    rows = [[f"c{j}" for j in range(1400)] + ["y"], *[[i * j % 7 for j in range(1400)] + [i % 2] for i in range(12)]]
    path = write("t.csv", rows)
    found = error(capsys, "train", path, "--target", "y", "--hidden", "1000")
    assert "parameters, and the command takes at most 1,000,000" in found
    assert "choose columns with --features or --drop, or fewer neurons with --hidden" in found


# --- predict ---------------------------------------------------------------------------------------------------------


def answers(capsys: Capture, *arguments: str) -> tuple[list[dict[str, str]], str]:
    capsys.readouterr()
    assert main(["predict", *arguments]) == 0
    out, err = capsys.readouterr()
    return list(csv.DictReader(io.StringIO(out))), err


def mixed(name: str, n: int = 60) -> str:
    random = np.random.RandomState(5)
    rows: list[list[Any]] = [["day", "colour", "price", "noise", "sold"]]
    for i in range(n):
        colour, price = random.choice(["red", "blue"]), round(float(random.gamma(3.0) * 1000), 2)
        sold = "yes" if (colour == "red") != (price > 2500) else "no"
        rows.append([f"{1 + i % 28:02d}.03.2024", colour, f"${price:,.2f}", "" if i % 7 else i, sold])
    return write(name, rows)


def test_all_that_was_learned_lives_in_the_file(capsys: Capture) -> None:
    out = train(capsys, mixed("t.csv"), "--target", "sold", "--save", "m", "--epochs", "200")
    trained, held = scores(out)
    found, _ = answers(capsys, "m", "t.csv", "--probabilities")
    right = np.mean([row["sold"] == row["predicted_sold"] for row in found])
    assert 100 * right == pytest.approx((48 * trained + 12 * held) / 60, abs=0.1)
    for row in found:
        no, yes = float(row["probability_no"]), float(row["probability_yes"])
        assert no + yes == pytest.approx(1.0)
        assert (row["predicted_sold"] == "yes") == (yes > 0.5)
    # Columns in another order, another among them, and none of the target.
    shuffled = [[r["price"], r["more"], r["noise"], r["colour"], r["day"]] for r in ({"more": "x", **r} for r in found)]
    path = write("u.csv", [["price", "more", "noise", "colour", "day"], *shuffled])
    again, _ = answers(capsys, "m", path)
    assert [row["predicted_sold"] for row in again] == [row["predicted_sold"] for row in found]
    assert list(again[0]) == ["price", "more", "noise", "colour", "day", "predicted_sold"]
    path = write("v.csv", [["price", "day"], ["$1", "01.03.2024"]])
    assert error(capsys, "predict", "m", path) == (
        "v.csv lacks 'colour', 'noise', from which m predicts; it has 'price', 'day'"
    )
    path = write("v.csv", [["price", "day", "colour", "noise"], ["$1", "01.03.2024", "green", 1], ["", "", "red", ""]])
    found, notes = answers(capsys, "m", path)
    assert len(found) == 2
    assert "column 'colour': 'green' not seen in training" in notes
    assert "column 'price': 1 missing, but none were in training: taken for the median" in notes


def test_other_kinds_of_tables_go_in_and_out(capsys: Capture) -> None:
    import polars as pl

    path = mixed("t.csv")
    frame = pl.read_csv(path)
    frame.write_parquet("t.parquet")
    assert scores(train(capsys, "t.parquet", "--target", "sold", "--save", "m", "--epochs", "30"))
    first, _ = answers(capsys, "m", "t.csv")
    second, _ = answers(capsys, "m", "t.parquet")
    assert [row["predicted_sold"] for row in first] == [row["predicted_sold"] for row in second]


def test_labels_that_a_spreadsheet_would_run_are_quoted_and_said(capsys: Capture) -> None:
    path = flowers(labels=("=HYPERLINK(1)", "+1", "@x"))
    train(capsys, path, "--target", "kind", "--save", "m")
    found, notes = answers(capsys, "m", path, "--probabilities")
    assert {row["predicted_kind"] for row in found} == {"'=HYPERLINK(1)", "+1", "'@x"}
    assert "'=HYPERLINK(1)', '@x': a spreadsheet would run what begins like that" in notes.replace('"', "'")
    train(
        capsys, write("n.csv", [["x", "y"], *[[i, i % 2 * 2 - 1] for i in range(40)]]), "--target", "y", "--save", "n"
    )
    found, notes = answers(capsys, "n", "n.csv")
    assert {row["predicted_y"] for row in found} <= {"-1", "1"}  # a negative number is no formula
    assert notes == ""
    rows = [[i, i % 2, cell] for i, cell in enumerate(["=1+1", "-5 %", "+49 171", "-", "", "a", *["b"] * 34])]
    assert answers(capsys, "n", write("o.csv", [["x", "y", "cell"], *rows]))[1].startswith(
        "macrograd: note: 'cell': cells that a spreadsheet would run are copied as they came"
    )
    assert answers(capsys, "n", write("o.csv", [["x", "y", "cell"], *rows[1:]]))[1] == ""


def test_probabilities_where_there_are_none(capsys: Capture) -> None:
    train(capsys, flowers(labels=("p", "q")), "--target", "kind", "--loss", "hinge", "--save", "m", "--steps", "5")
    assert "trained with the loss 'hinge', whose outputs are not probabilities" in error(
        capsys, "predict", "m", "t.csv", "--probabilities"
    )
    path = write("t.csv", [["x", "y"], *[[i, i * 1.5] for i in range(30)]])
    train(capsys, path, "--target", "y", "--save", "m", "--steps", "5")
    assert (
        error(capsys, "predict", "m", path, "--probabilities")
        == "m answers a number, 'y': --probabilities is for classes"
    )


def test_a_plan_in_a_file_that_lies(capsys: Capture) -> None:
    train(capsys, flowers(), "--target", "kind", "--save", "m", "--steps", "5")
    for change in ({"features": []}, {"features": [{"name": "a", "kind": "number"}]}, 3):
        tensors, header = files.read("m", "model")
        header["signature"]["plan"] = change if isinstance(change, int) else {"markers": [], **change}
        files.write("d", header.pop("kind"), tensors, header)
        assert error(capsys, "predict", "d", "t.csv").startswith("d is damaged: ")


SILENT: dict[str, Callable[[], list[str]]] = {
    "steps and epochs": lambda: ["train", flowers(), "--target", "kind", "--steps", "1", "--epochs", "1"],
    "made data": lambda: ["train", "moons", "--drop", "x1"],
    "validation of 1": lambda: ["train", flowers(), "--target", "kind", "--validation", "1"],
}


@pytest.mark.parametrize("how", SILENT)
def test_options_that_do_not_go_together(capsys: Capture, how: str) -> None:
    assert error(capsys, *SILENT[how]())


# --- several yes-or-no targets ----------------------------------------------------------------------------------------


def labelled() -> str:
    random = np.random.RandomState(1)
    rows: list[list[Any]] = [["a", "b", "red", "big", "far"]]
    for k, (a, b) in enumerate(random.normal(size=(80, 2)).round(3).tolist()):
        rows.append([a, b, "yes" if a > 0 else "no", "" if k == 7 else int(b > 0.3), str(a + b > 0)])
    return write("t.csv", rows)


def test_several_labels_are_learned_saved_and_predicted(capsys: Capture) -> None:
    out = train(
        capsys, labelled(), "--target", "red, big,far", "--hidden", "8", "--epochs", "200", "--save", "m.safetensors"
    )
    assert "'red', 'big', 'far' are treated as 3 labels, each of them yes or no" in out
    assert "row 8 has no 'red,big,far' and is left out" in out
    assert "2-8-3 net, relu, loss binary_cross_entropy" in out
    assert min(scores(out)) > 90
    assert main(["predict", "m.safetensors", "t.csv", "--probabilities"]) == 0
    found = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    for name, yes in (("red", "yes"), ("big", "1"), ("far", "True")):
        right = [row[f"predicted_{name}"] == str(int(row[name] == yes)) for row in found if row[name]]
        assert np.mean(right) > 0.9
        assert all((float(row[f"probability_{name}"]) > 0.5) == (row[f"predicted_{name}"] == "1") for row in found)
    assert main(["inspect", "m.safetensors"]) == 0
    assert "red,big,far: 0 or 1 for each" in capsys.readouterr().out
    table = mg.tables.read("t.csv")
    numbers = np.stack([np.array(table.columns[name], dtype=float) for name in ("a", "b")], axis=1)
    expected = [[int(row[f"predicted_{name}"]) for name in ("red", "big", "far")] for row in found]
    assert mg.Trainer(mg.load("m.safetensors")).predict(numbers).tolist() == expected


def test_the_picture_of_several_labels(capsys: Capture) -> None:
    path = labelled()
    arguments = ["--target", "red,big,far", "--epochs", "1", "--save", "m", "--plot", "p.svg"]
    lines = train(capsys, path, *arguments).splitlines()
    assert [line.split()[1:3] for line in lines[-2:]] == [["the", "model"], ["the", "picture"]]
    drawn = Path("p.svg").read_text("utf-8")
    assert all(f"<!-- {label}: {answer} -->" in drawn for label in ("red", "big", "far") for answer in ("no", "yes"))
    train(capsys, path, *arguments, "--features", "a")
    drawn = Path("p.svg").read_text("utf-8")
    assert all(f"<!-- {text} -->" in drawn for text in ("red", "no, predicted yes", "yes, predicted yes"))


def test_a_column_whose_name_has_commas_is_one_target(capsys: Capture) -> None:
    rows = [["a", "b", "a,b"], *([k % 5, k % 3, "yes" if k % 2 else "no"] for k in range(20))]
    assert "'a,b' is treated as 2 classes" in train(capsys, write("t.csv", rows), "--target", "a,b", "--steps", "1")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["red,nope"], "t.csv has no column 'nope', it has 'a', 'b', 'red', 'big', 'far'"),
        (["nope,red"], "t.csv has no column 'nope', it has 'a', 'b', 'red', 'big', 'far'"),
        (["red,red"], "the target 'red' is named twice"),
        (
            ["red,a"],
            "t.csv, column 'a': several targets must be columns of yes and no (or 1 and 0, true and false), and it "
            "holds others: give it as the only --target, or leave it out",
        ),
        (["red,big", "--loss", "hinge"], "the loss 'hinge' does not fit a target of labels: use binary_cross_entropy"),
        (["red,big", "--loss", "huber"], "--loss huber learns one number: it does not go with 2 targets"),
        (["red,big", "--task", "regression"], "--task regression learns one number: it does not go with 2 targets"),
        (["red,big,far", "--features", "red"], "t.csv has nothing to learn 'red', 'big', 'far' from"),
    ],
)
def test_bad_labels_are_refused(capsys: Capture, arguments: list[str], said: str) -> None:
    assert error(capsys, "train", labelled(), "--target", *arguments).startswith(said)


def test_labels_that_are_the_same_in_all_rows_are_refused(capsys: Capture) -> None:
    path = write("t.csv", [["a", "p", "q"], *([k, k % 2, 1] for k in range(20))])
    assert error(capsys, "train", path, "--target", "p,q").startswith("t.csv: the target 'q' is 'yes' in all 20 rows")
    path = write("t.csv", [["a", "p", "q"], [1, "", 1], [2, 1, ""], [3, 1, 0]])
    assert (
        error(capsys, "train", path, "--target", "p,q") == "t.csv has 1 row with all of p,q: learning needs at least 2"
    )


def test_times_in_utc_are_printed_so_that_predict_can_read_them_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    duckdb = pytest.importorskip("duckdb")
    data, model = tmp_path / "t.parquet", str(tmp_path / "m.safetensors")
    cells = "TIMESTAMPTZ '2024-01-31 12:00:00+02' + INTERVAL 30 HOUR * k AS sent, k * k AS y"
    duckdb.execute(f"COPY (SELECT {cells} FROM range(20) r(k)) TO '{data}' (FORMAT parquet)")
    assert main(["train", str(data), "--target", "y", "--steps", "2", "--quiet", "--save", model]) == 0
    capsys.readouterr()
    assert main(["predict", model, str(data)]) == 0
    printed = capsys.readouterr().out
    assert "2024-01-31 10:00:00+00:00,0," in printed
    (tmp_path / "again.csv").write_text(printed.replace("predicted_y", "before"))
    assert main(["predict", model, str(tmp_path / "again.csv")]) == 0
    again = [line.split(",") for line in capsys.readouterr().out.splitlines()[1:]]
    assert [row[2] for row in again] == [row[3] for row in again]
