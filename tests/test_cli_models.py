"""`train --save`, `--checkpoint`, `--resume` and `--profile`, `predict` and `inspect`."""

from __future__ import annotations

import csv
import io
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save as packed

import macrograd as mg
from macrograd import nn
from macrograd.cli import facts, main
from macrograd.cli.data import Data
from macrograd.train import files
from macrograd.train.scaling import Scale

ROOT = Path(__file__).parents[1]
SMALL = ["--samples", "12", "--hidden", "3", "--steps", "4"]
Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def error(capsys: Capture, *arguments: str) -> str:
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    return err.removeprefix("macrograd: error: ").removesuffix("\n")


def answers(capsys: Capture, *arguments: str) -> list[dict[str, str]]:
    capsys.readouterr()
    assert main(["predict", *arguments]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    return list(csv.DictReader(io.StringIO(out)))


def table(name: str, target: Callable[[list[float]], object], columns: int = 2, n: int = 30) -> str:
    random = np.random.RandomState(0)
    with open(name, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([*(f"f{i}" for i in range(columns)), "answer"])
        for _ in range(n):
            features = (100 + 50 * random.normal(size=columns)).tolist()
            writer.writerow([*features, target(features)])
    return name


# --- save, predict, inspect ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "target",
    [
        lambda f: "big, or so" if f[0] > 100 else 'a "small" one',
        lambda f: ("low", "middle", "high")[int(f[0] > 80) + int(f[0] > 120)],
        lambda f: int(f[0] > 100),
    ],
    ids=["two classes", "three classes", "numbered classes"],
)
def test_predict_gives_the_names_of_classes_as_train_judged_them(
    capsys: Capture, target: Callable[[list[float]], object]
) -> None:
    path = table("t.csv", target)
    assert (
        main(["train", path, "--target", "answer", "--hidden", "8", "--steps", "100", "--save", "m.safetensors"]) == 0
    )
    *_, result, saved = capsys.readouterr().out.splitlines()
    assert saved == "saved the model m.safetensors"
    trained, held = (float(part.split("%")[0]) for part in result.split("accuracy ")[1:])
    rows = [int(part.split(" ")[0]) for part in result.split("accuracy ")[1].split(" on the ")[1:]]
    share = (trained * rows[0] + held * (30 - rows[0])) / 30
    found = answers(capsys, "m.safetensors", path)
    right = [row["answer"] == row["predicted_answer"] for row in found]
    assert len(found) == 30
    assert share == pytest.approx(100 * np.mean(right), abs=0.06)
    assert share > 80


def test_predict_answers_numbers_in_their_own_unit(capsys: Capture) -> None:
    path = table("t.csv", lambda f: 1e6 + 10 * f[0] - 3 * f[1])
    assert main(["train", path, "--target", "answer", "--hidden", "--steps", "80", "--save", "m.safetensors"]) == 0
    result = capsys.readouterr().out.split(" s: ")[1]
    trained, held = (float(part.split(" ")[0]) for part in result.split("mean absolute error ")[1:])
    said = (24 * trained + 6 * held) / 30
    found = answers(capsys, "m.safetensors", path)
    off = [abs(float(row["answer"]) - float(row["predicted_answer"])) for row in found]
    assert np.mean(off) == pytest.approx(said, rel=1e-5)


def test_predict_finds_columns_by_name_and_keeps_the_others(capsys: Capture) -> None:
    assert main(["train", "moons", *SMALL, "--quiet", "--save", "m.safetensors"]) == 0
    Path("a.csv").write_text("x1,x2\n0.5,1\n\n-1,0.25\n", "utf-8")
    Path("b.csv").write_text('who,x2, x1\n"a, b",1,0.5\nc,0.25,-1\n', "utf-8")
    first, second = answers(capsys, "m.safetensors", "a.csv"), answers(capsys, "m.safetensors", "b.csv")
    assert [row["predicted_class"] for row in first] == [row["predicted_class"] for row in second]
    assert list(second[0]) == ["who", "x2", "x1", "predicted_class"]
    assert [row["who"] for row in second] == ["a, b", "c"]


def test_inspect_tells_what_train_did(capsys: Capture) -> None:
    assert main(["train", "moons", "--quiet", "--save", "m.safetensors"]) == 0
    capsys.readouterr()
    assert main(["inspect", "m.safetensors"]) == 0
    out, err = capsys.readouterr()
    *lines, last_loss, result, writer = out.splitlines()
    assert err == ""
    assert lines == [
        "m.safetensors",
        "  net          2-16-16-1 MLP, relu",
        "  parameters   337, float64",
        "  inputs       x1, x2",
        "  answers      class: one of 0, 1",
        "  trained on   moons: 100 samples, 2 features, 2 classes",
        "  loss         hinge, plus 0.0001 times the sum of squared parameters",
        "  steps        100 of all samples, rate 1 to 0.1, seed 1337",
    ]
    assert float(last_loss.split()[-1]) == pytest.approx(0.010978370135492717, rel=1e-9, abs=0)
    assert result == "  result       accuracy 100.0% on all 100 samples, accuracy 100.0% on 100 new ones"
    assert writer == f"  written by   macrograd {mg.__version__}, engine compiled"
    assert len(mg.load("m.safetensors").parameters()) == 337  # and programs can load it


def test_inspect_models_of_programs(capsys: Capture) -> None:
    mg.save(nn.MLP(3, [4, 2], activation="tanh", output_activation="sigmoid", seed=1), "m.safetensors", dtype="float32")
    assert main(["inspect", "m.safetensors"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "m.safetensors",
        "  net          3-4-2 MLP, tanh, then sigmoid",
        "  parameters   26, float32",
    ]

    class Own(nn.Module):
        def __init__(self) -> None:
            self.rows = [[mg.Value(1.0), mg.Value(2.0)], [mg.Value(3.0), mg.Value(4.0)]]
            self.alone = mg.Value(5.0)

    mg.save(Own(), "own.safetensors")
    assert main(["inspect", "own.safetensors"]) == 0
    _, net, parameters, *tensors = capsys.readouterr().out.splitlines()
    assert net == "  net          Own, a custom Module: fill it with mg.load(path, into=…)"
    assert parameters == "  parameters   5, float64"
    assert {line.strip() for line in tensors} == {"rows 2×2", "alone 1"}


def test_inspect_tells_where_a_checkpoint_stands(capsys: Capture) -> None:
    arguments = ["train", "moons", "--batch-size", "32", "--optimizer", "sgd", "--lr", "1"]
    arguments += ["--steps", "130", "--checkpoint", "c.safetensors", "--quiet"]
    assert main(arguments) == 0
    capsys.readouterr()
    assert main(["inspect", "c.safetensors"]) == 0
    *lines, history, size = capsys.readouterr().out.splitlines()
    assert lines == [
        "c.safetensors",
        "  checkpoint   after step 130, 32 epochs and 2 of 4 steps",
        "  parameters   337, float64: layers.0.neurons.0.w.0 … layers.2.neurons.0.b",
        "  optimizer    SGD(lr=linear(1.0, 0.1, 130))",
        "  loss         hinge, plus 0.0001 times the sum of squared parameters",
        "  data         100 samples of 2 numbers, batches of 32",
        "  order        seed 1337",
        "  engine       compiled",
    ]
    assert history.startswith("  history      History(130 steps, last loss 0.")
    assert size.startswith("  size         ")
    assert size.endswith(" bytes")


def test_inspect_checkpoints_of_programs(capsys: Capture) -> None:
    X, y = np.random.RandomState(0).randn(20, 3), np.arange(20) % 3
    mg.Trainer(nn.MLP(3, [4, 3], seed=1)).fit(
        X,
        y,
        epochs=1,
        batch_size=10,
        metrics="accuracy",
        checkpoint="c",
        progress=False,
        callbacks=lambda run: run.stop(),
    )
    assert main(["inspect", "c"]) == 0
    out = capsys.readouterr().out
    assert "checkpoint   after step 2, 1 epoch, callback\n" in out
    assert "betas=(0.9, 0.999), eps=1e-08), 2 numbers of state for each parameter\n" in out
    assert ", accuracy 0." in out


HOSTILE: dict[str, Callable[[dict[str, Any], dict[str, Any]], Any]] = {
    "no run": lambda header, tensors: header.pop("run"),
    "a run that is a list": lambda header, tensors: header.update(run=[1, 2]),
    "a step that is a text": lambda header, tensors: header.update(step="many"),
    "no samples": lambda header, tensors: header["run"].update(batch_size=0),
    "endless": lambda header, tensors: header["run"].update(samples=float("inf")),
    "no state": lambda header, tensors: tensors.pop("state"),
    "no history": lambda header, tensors: tensors.pop("history.seconds.pieces"),
    "a history that is too long": lambda header, tensors: tensors["history.rates.pieces"].__imul__(1e12),
    "a history of another shape": lambda header, tensors: tensors.update({"history.losses.pieces": np.ones(3)}),
    "metrics of no step": lambda header, tensors: tensors.update({"history.metrics.x": np.ones(3)}),
}


@pytest.mark.parametrize("how", HOSTILE)
def test_inspect_damaged_checkpoints(capsys: Capture, how: str) -> None:
    assert main(["train", "moons", *SMALL, "--quiet", "--checkpoint", "c"]) == 0
    capsys.readouterr()
    tensors, header = files.read("c", "checkpoint")
    HOSTILE[how](header, tensors)
    files.write("c", header.pop("kind"), tensors, header)
    assert error(capsys, "inspect", "c").startswith("c is damaged: ")


def test_inspect_lets_no_file_write_to_the_terminal(capsys: Capture) -> None:
    mg.save(nn.MLP(2, [1], seed=0), "m", extra={"train": GOOD | {"target": "\x1b[2Jgone\n"}})
    assert main(["inspect", "m"]) == 0
    assert "  answers      ·[2Jgone·: one of a, b\n" in capsys.readouterr().out


def test_scales_survive_the_file_bit_for_bit() -> None:
    scale = Scale(np.array([0.1, -1e300]), np.array([1 / 3, 5e-324]))
    data = Data("d", np.zeros((2, 2)), np.array([0, 1]), ("a", "b"), ("p", "q"), "t", scale)
    net = nn.MLP(2, [1], seed=0)
    mg.Trainer(net, "hinge").fit(data.X, data.y, steps=1, progress=False)
    mg.save(facts.model_for(net, data, "hinge", {"told": "so"}), "m")
    again = facts.read("m")
    assert again is not None
    assert again.feature_scale.middle.tolist() == scale.middle.tolist()
    assert again.feature_scale.unit.tolist() == scale.unit.tolist()
    assert (again.features, again.target, again.classes) == (("p", "q"), "t", ("a", "b"))


# --- checkpoints -----------------------------------------------------------------------------------------------------


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT for another process")
@pytest.mark.parametrize("batch", [[], ["--batch-size", "7"]], ids=["all samples", "batches"])
def test_an_interrupted_run_goes_on_as_if_it_had_never_stopped(here: Path, batch: list[str]) -> None:
    steps = "3000"
    command = [sys.executable, "-m", "macrograd", "train", "moons", "--samples", "20", "--hidden", "3", *batch]
    command += ["--steps", steps, "--checkpoint", str(here / "c.safetensors"), "--resume"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        assert running.stderr is not None
        lines: list[str] = []
        while not lines or not lines[-1].startswith("step 5 "):
            lines.append(running.stdout.readline())
        running.send_signal(signal.SIGINT)
        out, err = running.stdout.read(), running.stderr.read()
    assert running.returncode == 130
    assert err.startswith("macrograd: interrupted after ")
    assert err.endswith(f" of {steps} steps; go on with --resume\n")
    done = int(err.split("after ")[1].split(" ")[0])
    assert 6 <= done < int(steps)
    rest = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    at_once = subprocess.run(command[:-3], cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    assert rest[3] == f"going on after step {done - 1}"
    whole = [*"".join([*lines, out]).splitlines(), *rest[4:]]
    unseen = set(at_once[:-1]) - set(whole)
    assert len(unseen) <= 1  # Ctrl-C may come in the middle of a line
    assert whole[:-1] == [line for line in at_once[:-1] if line not in unseen]  # the last line has the time
    assert whole[-1].split(" s: ")[1] == at_once[-1].split(" s: ")[1]


def test_a_quiet_run_and_a_loud_one_have_the_same_bits(capsys: Capture) -> None:
    for name, more in (("a", ["--quiet"]), ("b", [])):
        assert main(["train", "xor", *SMALL, "--batch-size", "5", "--save", f"{name}.safetensors", *more]) == 0
    first, second = (mg.load(f"{name}.safetensors").named_parameters() for name in "ab")
    assert {k: p.data for k, p in first.items()} == {k: p.data for k, p in second.items()}


def test_a_finished_run_is_there_again_with_a_picture(capsys: Capture) -> None:
    arguments = ["train", "moons", *SMALL, "--quiet", "--checkpoint", "c.safetensors"]
    assert main(arguments) == 0
    first = capsys.readouterr().out
    assert main([*arguments, "--resume", "--plot", "p.png"]) == 0
    again, picture = capsys.readouterr().out.splitlines()
    assert again.split(" s: ")[1] == first.strip().split(" s: ")[1]
    assert picture == "saved the picture p.png"


def test_a_finished_run_goes_on_for_more_steps(capsys: Capture) -> None:
    arguments = ["train", "moons", "--samples", "20", "--hidden", "3", "--quiet", "--resume"]
    for name, lengths in (("a", (10, 30)), ("b", (10, 20, 30))):
        for steps in lengths:
            more = ["--steps", str(steps), "--checkpoint", f"{name}.c", "--save", f"{name}.m"]
            assert main([*arguments, *more]) == 0
            assert capsys.readouterr().out.startswith(f"trained {steps} steps")
    first, second = (mg.load(f"{name}.m").named_parameters() for name in "ab")
    assert {k: p.data for k, p in first.items()} == {k: p.data for k, p in second.items()}
    assert main(["train", "moons", *SMALL, "--quiet", "--resume", "--checkpoint", "a.c"]) == 2  # another net


def test_profile_prints_a_table_of_a_step(capsys: Capture) -> None:
    assert main(["train", "moons", *SMALL, "--quiet", "--profile"]) == 0
    result, empty, whole, head, *steps = capsys.readouterr().out.splitlines()
    assert result.startswith("trained 4 steps")
    assert empty == ""
    assert "µs a run" in whole
    assert head.split() == ["µs", "share", "GFLOP/s", "of", "peak", "step"]
    assert any("relu" in line for line in steps)


def test_profile_without_native_code_is_one_clear_line(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> None:
        raise RuntimeError("the training loss runs on NumPy")

    monkeypatch.setattr("macrograd.compiler.compiled.Compiled.profile", fails)
    assert main(["train", "moons", *SMALL, "--quiet", "--profile"]) == 2
    assert capsys.readouterr().err == "macrograd: error: --profile: the training loss runs on NumPy\n"


# --- what goes wrong -------------------------------------------------------------------------------------------------


def test_options_that_do_not_go_together(capsys: Capture, here: Path) -> None:
    def wrong(*arguments: str) -> str:
        return error(capsys, "train", "moons", *SMALL, *arguments)

    assert wrong("--resume") == "--resume needs a checkpoint to resume from: give --checkpoint FILE"
    assert wrong("--profile", "--engine", "eager") == "--profile times native code: it does not go with --engine eager"
    assert wrong("--save", "no/m.safetensors") == "--save no/m.safetensors: the directory no does not exist"
    assert wrong("--checkpoint", str(here)) == f"--checkpoint {here}: it is a directory"
    assert wrong("--save", "x", "--checkpoint", "./x") == (
        "--save and --checkpoint are the same file, ./x: give each its own"
    )
    path = table("t.csv", lambda f: f[0])
    before = Path(path).read_text("utf-8")
    assert error(capsys, "train", path, "--target", "answer", "--save", path) == (
        "the data and --save are the same file, t.csv: give each its own"
    )
    assert Path(path).read_text("utf-8") == before


def test_checkpoints_that_cannot_be_gone_on_from(capsys: Capture) -> None:
    arguments = ["train", "moons", *SMALL, "--quiet", "--checkpoint", "c.safetensors"]
    assert main(arguments) == 0
    capsys.readouterr()
    content = Path("c.safetensors").read_bytes()
    assert error(capsys, *arguments) == (
        "the checkpoint c.safetensors already exists: resume from it with --resume, or remove it"
    )
    assert error(capsys, *arguments, "--resume", "--seed", "1").startswith(
        "c.safetensors is from a different run: its "
    )
    assert error(capsys, "predict", "c.safetensors", "t") == "c.safetensors holds a checkpoint, not a model"
    assert Path("c.safetensors").read_bytes() == content
    Path("c.safetensors").write_bytes(content[:-9])
    assert error(capsys, *arguments, "--resume").startswith(
        "c.safetensors cannot be read as a checkpoint: it is damaged, truncated, or not a safetensors file"
    )
    assert Path("c.safetensors").read_bytes() == content[:-9]


def test_tables_that_do_not_fit(capsys: Capture) -> None:
    assert main(["train", "moons", *SMALL, "--quiet", "--save", "m.safetensors"]) == 0
    capsys.readouterr()

    def wrong(text: str | bytes) -> str:
        Path("t.csv").write_bytes(text.encode("utf-8") if isinstance(text, str) else text)
        return error(capsys, "predict", "m.safetensors", "t.csv")

    assert wrong("x1,y\n1,2\n") == "t.csv lacks 'x2', from which m.safetensors predicts; it has 'x1', 'y'"
    assert wrong("x1,x2\n1,2\n3\n") == (
        "t.csv, line 3 has 1 cell separated by comma, where 2 are expected: correct the line, or name another "
        "--delimiter"
    )
    assert wrong("x1,x2\n1,red\n") == "t.csv, column 'x2': 'red' in row 1 is not a number"
    assert wrong("x1,x2\n1,inf\n") == (
        "t.csv, row 1, column 'x2': inf is not a finite number; remove the row, or leave the column out with --drop"
    )
    assert wrong("x1,x2,predicted_class\n1,2,0\n") == "t.csv has a column 'predicted_class' already: rename it"
    assert wrong("x1,x2\n") == "t.csv has no rows below the header: there is nothing to predict"
    assert wrong("") == "t.csv is empty: it needs a header line with the names of the columns, and rows below it"
    assert wrong(b"x1,x2\n\xff,1\n") == "t.csv, column 'x1': 'ÿ' in row 1 is not a number"
    assert wrong('x1,x2\n"1,2\n') == (
        't.csv, line 2 has a quote (") that is not closed, or text after it: correct the line'
    )
    assert error(capsys, "predict", "m.safetensors", "none.csv") == "none.csv: No such file or directory"


def test_files_that_are_no_models(capsys: Capture) -> None:
    Path("t.csv").write_text("x1,x2\n1,2\n", "utf-8")

    def wrong(content: bytes | None) -> str:
        Path("m").unlink(missing_ok=True)
        if content is not None:
            Path("m").write_bytes(content)
        found = error(capsys, "predict", "m", "t.csv")
        assert error(capsys, "inspect", "m") == found
        return found

    assert wrong(None) == "the file m does not exist"
    assert wrong(b"x1,x2\n1,2\n").startswith(
        "m cannot be read as a model: it is damaged, truncated, or not a safetensors"
    )
    assert wrong(packed({"w": np.zeros(2)})) == "m is a safetensors file, but not one of macrograd's"
    mg.save(nn.MLP(2, [1], seed=0), "m")
    assert error(capsys, "predict", "m", "t.csv") == (
        "m does not describe its inputs and outputs: mg.save writes this for a Trainer, or for a model that a Trainer "
        "has trained"
    )


SCALE = {"middle": 0.0, "unit": 1.0}
GOOD: dict[str, Any] = {
    "features": ["x1", "x2"],
    "target": "t",
    "classes": ["a", "b"],
    "feature_scale": SCALE,
    "target_scale": SCALE,
    "training": {},
}


@pytest.mark.parametrize(
    "change",
    [
        {"features": "x1"},
        {"features": [1, 2]},
        {"features": []},
        {"classes": ["a"]},
        {"classes": 3},
        {"target": None},
        {"training": []},
        {"feature_scale": {"middle": [0.0, 0.0, 0.0], "unit": 1.0}},
        {"feature_scale": {"middle": "0", "unit": 1.0}},
        {"feature_scale": {"middle": 0.0, "unit": 0.0}},
        {"feature_scale": {"middle": float("nan"), "unit": 1.0}},
        {"target_scale": {}},
        {"features": ["x1", "x2", "x3"]},
        {"classes": ["a", "b", "c"]},
    ],
    ids=str,
)
def test_headers_that_lie(capsys: Capture, change: dict[str, Any]) -> None:
    Path("t.csv").write_text("x1,x2,x3\n1,2,3\n", "utf-8")
    mg.save(nn.MLP(2, [1], seed=0), "m", extra={"train": GOOD})
    assert main(["predict", "m", "t.csv"]) == 0
    capsys.readouterr()
    mg.save(nn.MLP(2, [1], seed=0), "m", extra={"train": GOOD | change})
    assert error(capsys, "predict", "m", "t.csv").startswith("m is damaged: ")
    assert error(capsys, "inspect", "m").startswith("m is damaged: ")


def test_a_full_disk_leaves_no_half_model(capsys: Capture, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(source: str, target: Path) -> None:
        raise OSError(28, "No space left on device", str(target))

    monkeypatch.setattr("os.replace", fails)
    assert main(["train", "moons", *SMALL, "--quiet", "--save", "m.safetensors"]) == 2
    out, err = capsys.readouterr()
    assert out.startswith("trained 4 steps in ")
    assert err == "macrograd: error: m.safetensors: No space left on device\n"
    assert list(here.iterdir()) == []


def test_the_commands_need_their_files(capsys: Capture) -> None:
    assert error(capsys, "predict", "m") == (
        "the following arguments are required: TABLE (see `macrograd predict --help`)"
    )
    assert error(capsys, "inspect") == "the following arguments are required: MODEL (see `macrograd inspect --help`)"
