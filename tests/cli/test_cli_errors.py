"""What goes wrong with `macrograd train`: one clear line, whatever it is, and no file half written."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from macrograd import cli
from macrograd.cli import main
from macrograd.train import Trainer
from tests.cli.commands import SMALL, Capture, Table, process

# --- what goes wrong -----------------------------------------------------------------------------------------------

HELP = " (see `macrograd train --help`)"
WRONG = [
    (["trian"], "there is no command 'trian'; did you mean train? (see `macrograd --help`)"),
    (["--versoin"], "unrecognized arguments: --versoin (see `macrograd --help`)"),
    (["train"], "the following arguments are required: DATA" + HELP),
    (["train", "moons", "--steps", "0"], "argument --steps: it must be 1 or more, got 0" + HELP),
    (["train", "moons", "--steps", "many"], "argument --steps: 'many' is not an integer" + HELP),
    (["train", "moons", "--hidden", "16", "0"], "argument --hidden: it must be 1 or more, got 0" + HELP),
    (["train", "--hidden", "16", "moons"], "argument --hidden: 'moons' is not an integer" + HELP),
    (["train", "moons", "--lr", "0"], "argument --lr: it must be above 0, got 0" + HELP),
    (["train", "moons", "--lr", "fast"], "argument --lr: 'fast' is not a number" + HELP),
    (["train", "moons", "--l2", "-1"], "argument --l2: it must be 0 or more, got -1" + HELP),
    (["train", "moons", "--noise", "inf"], "argument --noise: it must be 0 or more, got inf" + HELP),
    (
        ["train", "moons", "--seed", str(2**32)],
        "argument --seed: it must be from 0 to 4294967295, got 4294967296" + HELP,
    ),
    (
        ["train", "moons", "--activation", "tahn"],
        "argument --activation: unknown value 'tahn': use linear, relu, leaky_relu, tanh, sigmoid, softplus, sin, "
        "silu, gelu; did you mean tanh?" + HELP,
    ),
    (["train", "moons", "--engine", "steam"], f"argument --engine: unknown value 'steam': use compiled, eager{HELP}"),
    (["train", "moons", "--batch-size", "101"], "--batch-size 101 is more than the 100 samples of moons"),
    (["train", "moons", "--target", "y"], "--target is for tables: moons is made, and has its classes already"),
    (["train", "moons", "--classes", "3"], "--classes is for blobs and spirals: moons has two classes"),
    (["train", "blobs", "--samples", "2"], "2 samples of blobs hold only 2 of 3 classes: raise --samples"),
    (
        ["train", "mons"],
        "'mons' is neither a data set (moons, circles, blobs, spirals, xor) nor a file: did you mean moons?",
    ),
    (
        ["explain", "net.safetensors"],
        "net.safetensors is a saved net, not a table: `macrograd inspect` describes it, and `macrograd predict` uses "
        "it",
    ),
    (
        ["foo"],
        "there is no command 'foo': use train, tune, predict, inspect, explain, export, playground (see "
        "`macrograd --help`)",
    ),
    (
        ["train", "none.csv", "--target", "y"],
        "'none.csv' is neither a data set (moons, circles, blobs, spirals, xor) nor a file: give the path of a table",
    ),
    (
        ["train", "blobs", "--loss", "hinge"],
        "the loss 'hinge' does not fit a target of more than two classes: use cross_entropy",
    ),
    (["train", "moons", "--plot", "p.jpg"], "--plot p.jpg: the name must end in .png, .svg, .pdf"),
    (["train", "moons", "--plot", "no/p.png"], "--plot no/p.png: the directory no does not exist"),
]


@pytest.mark.parametrize(("arguments", "message"), WRONG, ids=[" ".join(a) for a, _ in WRONG])
def test_bad_input_is_one_clear_line(
    capsys: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("macrograd: error: ")
    assert err.count("\n") == 1
    assert err == f"macrograd: error: {message}\n"


def test_bad_tables(capsys: Capture, tmp_path: Path, table: Table) -> None:
    path = table("a,b,y\n1,2,p\n3,inf,q\n")

    def error(*arguments: str) -> str:
        assert main(["train", *arguments]) == 2
        out, err = capsys.readouterr()
        assert out == ""
        return err.removeprefix("macrograd: error: ").removesuffix("\n")

    assert error(path) == "table.csv: name the column to learn, with --target COLUMN; it has 'a', 'b', 'y'"
    assert error(path, "--target", "z") == "table.csv has no column 'z', it has 'a', 'b', 'y'"
    assert error(path, "--target", "y") == (
        "table.csv, row 2, column 'b': inf is not a finite number; remove the row, or leave the column out with --drop"
    )
    for option in ("samples", "noise", "classes"):
        assert error(path, "--target", "y", f"--{option}", "3") == (
            f"--{option} is for the data sets moons, circles, blobs, spirals, xor, not for {path}"
        )
    assert error(str(tmp_path), "--target", "y") == f"{tmp_path}: Is a directory"
    folder = tmp_path / "p.png"
    folder.mkdir()
    assert error("moons", "--plot", str(folder)) == f"--plot {folder}: it is a directory"


def test_a_run_that_diverges(capsys: Capture) -> None:
    assert main(["train", "moons", *SMALL, "--loss", "squared_error", "--lr", "1e200"]) == 2
    err = capsys.readouterr().err
    assert err.startswith("macrograd: error: the loss is inf at step 1 (epoch 2, learning rate 5.5e+199). sample ")
    assert "A smaller learning rate" in err
    assert err.count("\n") == 1


def test_a_picture_without_matplotlib_is_refused_before_the_training(
    capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert main(["train", "moons", "--plot", "p.png"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err == (
        'macrograd: error: --plot needs matplotlib: pip install "macrograd[plot]", '
        'or in a clone of the repository pip install ".[plot]"\n'
    )


def test_a_full_disk(capsys: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(source: str, target: Path) -> None:
        raise OSError(28, "No space left on device", str(target))

    monkeypatch.setattr("os.replace", fails)
    path = tmp_path / "p.png"
    assert main(["train", "moons", *SMALL, "--quiet", "--plot", str(path)]) == 2
    out, err = capsys.readouterr()
    assert out.startswith("trained 2 steps in ")
    assert err == f"macrograd: error: {path}: No space left on device\n"
    assert list(tmp_path.iterdir()) == []


def test_ctrl_c_in_this_process(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Trainer, "fit", interrupted)
    assert main(["train", "moons"]) == 130
    assert capsys.readouterr().err == "macrograd: interrupted after 0 of 100 steps\n"
    monkeypatch.setattr(cli, "dispatch", interrupted)
    assert main([]) == 130
    assert capsys.readouterr().err == "macrograd: interrupted\n"


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT for another process")
def test_ctrl_c_while_it_trains() -> None:
    with process("train", "moons", "--samples", "20", "--steps", "1000000000") as running:
        assert running.stdout is not None
        while not running.stdout.readline().startswith("step 2 "):
            pass
        running.send_signal(signal.SIGINT)
        _, err = running.communicate()
    assert running.returncode == 130
    assert err.startswith("macrograd: interrupted after ")
    assert err.endswith(" of 1000000000 steps\n")
    assert err.count("\n") == 1


# Signals come once the command has returned: at exit, and when Python's own handlers of signals are gone.
ENDING = """
import atexit, builtins, signal, sys
from macrograd import cli

class Late:
    def __del__(self, send=signal.raise_signal, interrupt=signal.SIGINT):
        send(interrupt)

builtins.late = Late()
atexit.register(signal.raise_signal, signal.SIGINT)
sys.exit(cli.main())
"""


@pytest.mark.parametrize(("command", "code", "out"), [("--version", 0, "macrograd "), ("lern", 2, "")])
def test_ctrl_c_after_the_work_changes_nothing(command: str, code: int, out: str) -> None:
    ran = subprocess.run([sys.executable, "-c", ENDING, command], capture_output=True, text=True, check=False)
    assert ran.returncode == code
    assert ran.stdout.startswith(out)
    assert ran.stderr.startswith("macrograd: error: there is no command 'lern'" if code else "")
    assert ran.stderr.count("\n") == (1 if code else 0)


# The second one comes while the first is told of.
TWICE = """
import signal, sys
from macrograd import cli

class Telling:
    def write(self, text, own=sys.stderr):
        signal.raise_signal(signal.SIGINT)
        own.write(text)

    def flush(self):
        pass

def interrupted(argv):
    sys.stderr = Telling()
    signal.raise_signal(signal.SIGINT)

cli.dispatch = interrupted
sys.exit(cli.main())
"""


def test_a_second_ctrl_c_while_the_first_is_told_of_changes_nothing() -> None:
    ran = subprocess.run([sys.executable, "-c", TWICE], capture_output=True, text=True, check=False)
    assert ran.returncode == 130
    assert ran.stderr == "macrograd: interrupted\n"


@pytest.mark.skipif(sys.platform == "win32", reason="Windows answers a closed pipe in another way")
def test_a_closed_pipe_is_quiet() -> None:
    with process("train", "moons", "--samples", "20", "--steps", "1000000000") as running:
        assert running.stdout is not None
        assert running.stderr is not None
        running.stdout.readline()
        running.stdout.close()
        err = running.stderr.read()
        running.wait()
    assert err == ""
    assert running.returncode == 141
