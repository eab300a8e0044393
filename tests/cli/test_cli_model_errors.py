"""What goes wrong with saved nets and checkpoints: files that are damaged, foreign, or do not fit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save as packed

import macrograd as mg
from macrograd import nn
from macrograd.cli import main
from tests.cli.commands import Capture, error
from tests.cli.test_cli_models import SMALL, table

pytestmark = pytest.mark.usefixtures("here")

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


def test_inspect_lets_no_file_write_to_the_terminal(capsys: Capture) -> None:
    mg.save(nn.MLP(2, [1], seed=0), "m", extra={"train": GOOD | {"target": "\x1b[2Jgone\n"}})
    assert main(["inspect", "m"]) == 0
    assert "  answers      ·[2Jgone·: one of a, b\n" in capsys.readouterr().out
