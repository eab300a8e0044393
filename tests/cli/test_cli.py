"""The command `macrograd`: in this process, and where it matters in a separate one."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import macrograd
from macrograd.cli import main, options, recipe
from macrograd.nn.activations import ACTIVATIONS
from macrograd.nn.init import INITIALISERS
from macrograd.nn.losses import LOSSES
from macrograd.tables import target, text
from macrograd.train import ENGINES
from macrograd.train.samples.scaling import Scale
from tests.cli.commands import ROOT, SMALL, Capture, Table, process, rows

REFERENCE = json.loads((ROOT / "references" / "demo.json").read_text("utf-8"))


# --- the main job ----------------------------------------------------------------------------------------------------


def test_macrograd_train_moons_is_the_published_run(tmp_path: Path) -> None:
    with process("train", "moons", "--plot", str(tmp_path / "moons.png")) as running:
        out, err = running.communicate()
    assert err == ""
    assert running.returncode == 0
    head, *lines = out.splitlines()
    assert head == "moons: 100 samples, 2 features, 2 classes"
    assert lines[:2] == ["2-16-16-1 net, relu, loss hinge", "number of parameters 337"]
    for k, line in enumerate(lines[2:102]):
        loss = float(line.removeprefix(f"step {k} loss ").partition(",")[0])
        assert loss == pytest.approx(REFERENCE["losses"][k], rel=1e-9, abs=0)
        assert line.endswith(f", accuracy {100 * REFERENCE['accuracies'][k]:.1f}%")
    assert lines[101].endswith("accuracy 100.0%")
    result, saved = lines[102:]
    assert result.startswith("trained 100 steps in ")
    assert result.endswith(" s: accuracy 100.0% on all 100 samples, accuracy 100.0% on 100 new ones")
    assert saved == f"saved the picture {tmp_path / 'moons.png'}"
    picture = (tmp_path / "moons.png").read_bytes()
    assert picture.startswith(b"\x89PNG")
    assert len(picture) > 20_000
    assert [p.name for p in tmp_path.iterdir()] == ["moons.png"]


@pytest.mark.parametrize(
    "arguments",
    [
        ["moons"],
        ["circles", "--activation", "tanh", "--loss", "binary_cross_entropy"],
        ["blobs", "--batch-size", "7"],
        ["moons", "--loss", "huber", "--l2", "0", "--hidden"],
        ["xor", "--activation", "gelu", "--loss", "squared_error", "--batch-size", "3"],
    ],
)
def test_both_engines_print_the_same_losses(capsys: Capture, arguments: list[str]) -> None:
    printed = []
    for engine in ENGINES:
        assert main(["train", *arguments, "--samples", "20", "--steps", "10", "--engine", engine]) == 0
        lines = capsys.readouterr().out.splitlines()
        losses = [float(line.split(" loss ")[1].split(",")[0]) for line in lines if line.startswith("step")]
        others = [line.split(", ")[-1] for line in lines if not line.startswith("trained")]
        printed.append((losses, others, lines[-1].split(" s: ")[1]))
    (losses, *words), (same, *likewise) = printed
    assert len(losses) == 10
    assert losses == pytest.approx(same, rel=1e-9, abs=0)
    assert words == likewise


def test_macrograd_explain_moons() -> None:
    with process("explain", "moons") as running:
        out, err = running.communicate()
    assert (running.returncode, err) == (0, "")
    lines = out.splitlines()
    assert lines[:4] == [
        "moons: 100 samples, 2 features, 2 classes",
        "2-16-16-1 net, relu, loss hinge",
        "",
        "loss(x[2], target) of one sample: 337 parameters, float64",
    ]
    assert "values: 8 array instructions" in lines
    assert any("matrix product layers.1.neurons.w[16×16]·(2)[16] + layers.1.neurons.b[16]" in line for line in lines)
    assert any("gradient of layers.0.neurons.w[16×2]: outer product" in line for line in lines)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["blobs", "--classes", "4", "--hidden", "5"], "4 neurons: sums of 5 products"),
        (["xor", "--hidden", "--loss", "squared_error"], "2-1 net, relu, loss squared_error"),
        (["spirals", "--activation", "tanh", "--hidden", "7"], "then tanh"),
        (["moons", "--samples", "8", "--noise", "0", "--seed", "3", "--init", "he_normal"], "moons: 8 samples"),
    ],
)
def test_explain_takes_the_options_of_train(capsys: Capture, arguments: list[str], expected: str) -> None:
    assert main(["explain", *arguments]) == 0
    assert expected in capsys.readouterr().out


def test_explain_a_table(capsys: Capture, table: Table) -> None:
    path = table(rows(3, lambda random, features: features[0] - features[1]))
    assert main(["explain", path, "--target", "answer", "--hidden", "4"]) == 0
    out, err = capsys.readouterr()
    assert "matrix product layers.0.neurons.w[4×3]·x[3]" in out
    assert err == ""
    assert main(["explain", path]) == 2
    assert "table.csv: name the column to learn, with --target COLUMN; it has 'f0', " in capsys.readouterr().err


# --- what can be trained -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "head"),
    [
        (["moons"], ["moons: 12 samples, 2 features, 2 classes", "2-3-1 net, relu, loss hinge"]),
        (["circles"], ["circles: 12 samples, 2 features, 2 classes", "2-3-1 net, relu, loss hinge"]),
        (["xor"], ["xor: 12 samples, 2 features, 2 classes", "2-3-1 net, relu, loss hinge"]),
        (["spirals", "--noise", "0"], ["spirals: 12 samples, 2 features, 2 classes", "2-3-1 net, relu, loss hinge"]),
        (
            ["spirals", "--classes", "4", "--activation", "tanh"],
            ["spirals: 12 samples, 2 features, 4 classes", "2-3-4 net, tanh, loss cross_entropy"],
        ),
        (
            ["blobs", "--init", "glorot_normal"],
            [
                "blobs: 12 samples, 2 features, 3 classes (features scaled to mean 0 and deviation 1)",
                "2-3-3 net, relu, loss cross_entropy",
            ],
        ),
        (
            ["moons", "--loss", "cross_entropy", "--batch-size", "5"],
            ["moons: 12 samples, 2 features, 2 classes", "2-3-2 net, relu, loss cross_entropy"],
        ),
    ],
)
def test_data_sets_by_name(capsys: Capture, arguments: list[str], head: list[str]) -> None:
    assert main(["train", *arguments, *SMALL]) == 0
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert err == ""
    assert lines[:2] == head
    assert lines[2].startswith("number of parameters ")
    assert [line.split(" loss ")[0] for line in lines[3:5]] == ["step 0", "step 1"]
    assert lines[5].startswith("trained 2 steps in ")
    assert len(lines) == 6


@pytest.mark.parametrize("loss", LOSSES)
def test_every_loss_learns_the_moons_at_its_own_rate(capsys: Capture, loss: str) -> None:
    assert main(["train", "moons", "--samples", "30", "--hidden", "8", "--steps", "60", "--loss", loss, "--quiet"]) == 0
    accuracy = float(capsys.readouterr().out.split("accuracy ")[1].split("%")[0])
    assert accuracy > 75


def test_a_table_with_classes(capsys: Capture, table: Table) -> None:
    path = table(rows(3, lambda _, f: "big" if f[0] > 100 else "small"))
    assert main(["train", path, "--target", "answer", "--hidden", "8", "--steps", "200"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == (
        "table.csv: 20 samples, 4 of them held out, 3 features, 2 classes (features scaled to mean 0 and deviation 1)"
    )
    assert lines[1] == "'answer' is treated as 2 classes, since its cells are not numbers"
    assert "3-8-1 net, relu, loss binary_cross_entropy" in lines
    trained, held = (float(part.split("%")[0]) for part in lines[-1].split("accuracy ")[1:])
    assert trained > 90
    assert held >= 50


def test_a_table_with_more_classes(capsys: Capture, table: Table) -> None:
    path = table(rows(1, lambda _, f: int(f[0] > 80) + int(f[0] > 120)))  # three codes
    assert main(["train", path, "--target", "answer", "--hidden", "8", "--steps", "30"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("table.csv: 20 samples, 3 of them held out, 1 feature, 3 classes")
    assert lines[1] == (
        "'answer' is treated as 3 classes, since it has 3 different values: change that with --task regression"
    )
    assert "1-8-3 net, relu, loss cross_entropy" in lines


def test_a_table_with_a_number_answers_in_its_own_units(capsys: Capture, table: Table) -> None:
    path = table(rows(2, lambda _, f: 1e6 + 10 * f[0] - 3 * f[1]))
    assert main(["train", path, "--target", "answer", "--hidden", "--lr", "0.1", "--steps", "200"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == (
        "table.csv: 20 samples, 4 of them held out, 2 features, a number, answer "
        "(features and target scaled to mean 0 and deviation 1)"
    )
    assert lines[1].startswith("'answer' is treated as a number, since it holds fractions")
    assert "2-1 net, relu, loss squared_error" in lines
    errors = [float(part.split(" ")[0]) for part in lines[-1].split("mean absolute error ")[1:]]
    assert len(errors) == 2
    assert max(errors) < 10  # the target's deviation is about 500
    assert lines[-1].count("(R² 1.000)") == 2


def test_a_seed_decides_everything(capsys: Capture) -> None:
    def lines(seed: str) -> list[str]:
        assert main(["train", "xor", *SMALL, "--batch-size", "5", "--seed", seed]) == 0
        return capsys.readouterr().out.splitlines()[3:5]

    assert lines("1") == lines("1")
    assert lines("1") != lines("2")


def test_l2_and_lr_have_their_effect(capsys: Capture) -> None:
    def lines(*more: str) -> list[str]:
        assert main(["train", "moons", *SMALL, *more]) == 0
        return capsys.readouterr().out.splitlines()[3:5]

    plain = lines("--l2", "0")
    assert lines("--l2", "0.1")[0] != plain[0]
    slow = lines("--l2", "0", "--lr", "0.001")
    assert slow[0] == plain[0]
    assert slow[1] != plain[1]


def test_quiet_prints_the_result_alone(capsys: Capture) -> None:
    assert main(["train", "moons", *SMALL, "--quiet"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert out.startswith("trained 2 steps in ")
    assert out.count("\n") == 1


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_on_a_terminal_a_bar_runs_below_the_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COLUMNS", "100")
    terminal = Terminal()
    monkeypatch.setattr("sys.stdout", terminal)
    assert main(["train", "moons", *SMALL]) == 0
    shown = terminal.getvalue()
    assert "━" in shown
    assert "2/2" in shown
    assert "\x1b[?25h" in shown  # the cursor is back
    assert "step 0 loss " in shown
    assert "step 1 loss " in shown
    assert shown.splitlines()[-1].endswith("on 12 new ones")


def test_in_a_pipe_there_is_no_bar(capsys: Capture) -> None:
    main(["train", "moons", *SMALL])
    assert "\x1b" not in capsys.readouterr().out


# --- pictures ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["p.png", "p.SVG", "p.pdf"])
def test_pictures_of_points_in_the_plane(capsys: Capture, tmp_path: Path, name: str) -> None:
    assert main(["train", "blobs", *SMALL, "--quiet", "--plot", str(tmp_path / name)]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == f"saved the picture {tmp_path / name}"
    assert (tmp_path / name).stat().st_size > 5_000


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        (rows(2, lambda _, f: "big" if f[0] > 100 else "small"), ["f0", "f1", "answer big", "answer small", "score"]),
        (rows(3, lambda _, f: "big" if f[0] > 100 else "small"), ["predicted answer", "big", "small"]),
        (rows(3, lambda r, f: f"class {r.randint(9)}", n=60), ["predicted answer", "class 0", "class 8"]),
        (rows(2, lambda _, f: 1.5 * f[0]), ["predicted answer", "training", "validation"]),
    ],
    ids=["plane", "more features", "many classes", "number"],
)
def test_pictures_of_tables(
    capsys: Capture, tmp_path: Path, table: Table, text: str, seen: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import matplotlib

    monkeypatch.setitem(matplotlib.rcParams, "svg.fonttype", "none")  # text as text, so that it can be searched
    picture = tmp_path / "p.svg"
    arguments = ["--target", "answer", "--hidden", "3", "--steps", "4", "--quiet", "--plot", str(picture)]
    assert main(["train", table(text), *arguments]) == 0
    drawn = picture.read_text("utf-8")
    for words in [*seen, "loss", "step", "table.csv: "]:
        assert words in drawn


@pytest.mark.parametrize(
    ("columns", "target"), [("x,z,price", "price"), ("a,b,d,kind", "kind"), ("a,b,d,up,far", "up,far")],
    ids=["a number", "classes", "labels"],
)  # fmt: skip
def test_pictures_have_the_same_axes_on_both_sides(
    columns: str, target: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No frame, thin ticks and muted colours, as the course of training has them."""
    drawn: list[Any] = []
    monkeypatch.setattr("macrograd.show.save", lambda figure, path: drawn.append(figure) or Path(path))
    cells = {"kind": ["up", "down", "far"], "up": ["yes", "no", "no"], "far": ["no", "yes", "no"]}
    lines = [
        ",".join(cells[c][k % 3] if c in cells else str(k * (j + 1) % 7 / 2) for j, c in enumerate(columns.split(",")))
        for k in range(40)
    ]
    (tmp_path / "t.csv").write_text("\n".join([columns, *lines, ""]))
    arguments = ["--target", target, "--hidden", "3", "--steps", "4", "--quiet", "--plot", str(tmp_path / "p.png")]
    assert main(["train", str(tmp_path / "t.csv"), *arguments]) == 0
    (figure,) = drawn
    for axes in figure.axes:
        right = axes.yaxis.get_label_position() == "right"
        assert not axes.spines["top"].get_visible()
        assert axes.spines["right"].get_visible() == right
        assert {tick.tick1line.get_color() for tick in axes.xaxis.get_major_ticks()} <= {"#6b7884"}
        assert {label.get_fontsize() for label in axes.get_yticklabels()} <= {10.0}


def test_a_picture_here_is_named_as_it_was(capsys: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["train", "moons", *SMALL, "--quiet", "--plot", "moons.png"]) == 0
    assert capsys.readouterr().out.endswith("\nsaved the picture moons.png\n")


# --- the command line itself ---------------------------------------------------------------------------------------


def test_help(capsys: Capture) -> None:
    for arguments in (["--help"], []):
        assert main(arguments) == 0
        out, err = capsys.readouterr()
        assert err == ""
        assert out.startswith("usage: macrograd ")
        assert "train" in out
    assert main(["train", "--help"]) == 0
    out = capsys.readouterr().out
    expected = "hidden activation init steps batch-size lr l2 seed noise samples classes loss engine plot quiet target "
    expected += "save checkpoint resume profile"
    for option in expected.split(" "):
        assert f"--{option}" in out


@pytest.mark.parametrize("command", ["train", "tune", "predict", "inspect", "explain", "export", "playground"])
def test_help_fits_a_terminal(command: str, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert main([command, "--help"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80, max(lines, key=len)


def test_version(capsys: Capture) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"macrograd {macrograd.__version__}\n"


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["train", "--help"], ["train", "moons", "--lr", "x"]])
def test_what_needs_no_numbers_loads_no_numpy(arguments: list[str]) -> None:
    program = (
        "import sys; from macrograd.cli import main; main(sys.argv[1:]); "
        "heavy = {'numpy', 'rich', 'matplotlib', 'llvmlite', 'safetensors', 'difflib'} & sys.modules.keys(); "
        "sys.exit(str(heavy) if heavy else 0)"
    )
    result = subprocess.run([sys.executable, "-c", program, *arguments], cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


def test_training_in_a_pipe_loads_only_what_it_needs() -> None:
    program = (
        "import sys; from macrograd.cli import main; main(sys.argv[1:]); "
        "heavy = {'rich', 'matplotlib', 'safetensors'} & sys.modules.keys(); sys.exit(str(heavy) if heavy else 0)"
    )
    arguments = [sys.executable, "-c", program, "train", "moons", *SMALL]
    result = subprocess.run(arguments, cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


def test_the_names_in_the_help_are_those_that_exist() -> None:
    assert tuple(ACTIVATIONS) == options.ACTIVATIONS
    assert tuple(INITIALISERS) == options.INITIALISERS
    assert tuple(LOSSES) == options.LOSSES
    assert tuple(ENGINES) == options.ENGINES
    assert set(recipe.FIRST_RATE) == set(LOSSES)
    assert set(recipe.RATES) == set(options.OPTIMIZERS)
    assert set(options.TASKS) == set(target.TASKS)
    assert dict(zip(options.DELIMITERS, ",;\t| ", strict=True)) == text.DELIMITERS


def test_the_script_of_the_package_is_this_main() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert project["scripts"] == {"macrograd": "macrograd.cli:main"}


@pytest.mark.parametrize(
    "columns", [[[1.0, 5.0], [3.0, 5.0]], [[1e308, -1.0], [-1e308, 1.0]], [[0.0, 1e-300], [0.0, 0.0]]]
)
def test_scales(columns: list[list[float]]) -> None:
    raw = np.array(columns)
    scale = Scale.of(raw)
    scaled = scale.scaled(raw)
    np.testing.assert_allclose(scaled.mean(axis=0), 0, atol=1e-12)
    varying = raw.min(axis=0) < raw.max(axis=0)
    np.testing.assert_allclose(scaled.std(axis=0), varying, atol=1e-12)
    np.testing.assert_allclose(scale.raw(scaled), raw, rtol=1e-12)
