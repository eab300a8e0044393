"""`train --save`, `--checkpoint`, `--resume` and `--profile`, `predict` and `inspect`."""

from __future__ import annotations

import csv
import io
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import macrograd as mg
from macrograd import nn
from macrograd.cli import facts, main
from macrograd.cli.data import Data
from macrograd.train import files
from macrograd.train.samples.scaling import Scale
from tests.cli.commands import ROOT, Capture, error

pytestmark = pytest.mark.usefixtures("here")

SMALL = ["--samples", "12", "--hidden", "3", "--steps", "4"]


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


# The command, which gets Ctrl-C once it has printed a step: in the midst of a run, whichever process is faster.
PRESSED = """
import io, signal, sys
from macrograd.cli import main

class Out(io.TextIOWrapper):
    def write(self, text):
        done = super().write(text)
        if text.startswith("step 5 "):
            self.flush()
            signal.raise_signal(signal.SIGINT)
        return done

sys.stdout = Out(sys.stdout.buffer, "utf-8")
sys.exit(main())
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT for another process")
@pytest.mark.parametrize("batch", [[], ["--batch-size", "7"]], ids=["all samples", "batches"])
def test_an_interrupted_run_goes_on_as_if_it_had_never_stopped(here: Path, batch: list[str]) -> None:
    steps = "200"
    arguments = ["train", "moons", "--samples", "20", "--hidden", "3", *batch]
    arguments += ["--steps", steps, "--checkpoint", str(here / "c.safetensors"), "--resume"]
    command = [sys.executable, "-m", "macrograd", *arguments]
    pressed = subprocess.run(
        [sys.executable, "-c", PRESSED, *arguments], cwd=ROOT, capture_output=True, text=True, encoding="utf-8"
    )
    out, err = pressed.stdout, pressed.stderr
    assert pressed.returncode == 130, err
    assert err.startswith("macrograd: interrupted after ")
    assert err.endswith(f" of {steps} steps; go on with --resume\n")
    done = int(err.split("after ")[1].split(" ")[0])
    assert 6 <= done < int(steps)
    rest = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    at_once = subprocess.run(command[:-3], cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    assert rest[3] == f"going on after step {done - 1}"
    whole = [*out.splitlines(), *rest[4:]]
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
