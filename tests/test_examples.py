"""The examples run, and say what they are said to say."""

from __future__ import annotations

import ast
import contextlib
import io
import json
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import nbformat
import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"
NOTEBOOKS = sorted(EXAMPLES.glob("*.ipynb"))


def run_cell(source: str, names: dict[str, Any]) -> tuple[str, Any]:
    """What a cell prints, and the value of its last line if that is an expression: what a notebook shows."""
    tree, last = ast.parse(source), None
    if isinstance(tree.body[-1], ast.Expr):
        last = ast.Expression(tree.body.pop().value)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(tree, "cell", "exec"), names)  # noqa: S102 - the cells are this repository's own
        value = None if last is None else eval(compile(last, "cell", "eval"), names)  # noqa: S307 - and so is this
    return printed.getvalue(), value


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.name)
def test_a_notebook_shows_what_its_cells_give(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    names: dict[str, Any] = {"__name__": "__main__"}
    for cell in notebook.cells:
        if cell.cell_type != "code":
            continue
        printed, value = run_cell(cell.source, names)
        assert printed == "".join(o.text for o in cell.outputs if o.output_type == "stream"), cell.source
        shown = [o.data for o in cell.outputs if o.output_type == "execute_result"]
        assert [data["text/plain"] for data in shown] == ([] if value is None else [repr(value)]), cell.source
        # The layout may be another Graphviz's, but a picture there must be.
        assert all(("image/svg+xml" in data) == hasattr(value, "_repr_svg_") for data in shown)
        if hasattr(value, "_repr_svg_"):
            assert value._repr_svg_().startswith("<svg")


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.name)
def test_a_notebook_is_valid_clean_and_small(path: Path) -> None:
    nbformat.validate(nbformat.read(path, as_version=4))
    raw = json.loads(path.read_text("utf-8"))
    assert path.stat().st_size < 150_000
    assert set(raw["metadata"]) == {"kernelspec", "language_info"}
    code = [cell for cell in raw["cells"] if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1))
    assert all(not cell["metadata"] for cell in raw["cells"])
    assert not any(o["output_type"] == "error" or o.get("name") == "stderr" for cell in code for o in cell["outputs"])


def test_there_is_a_first_walk() -> None:
    assert EXAMPLES / "first_walk.ipynb" in NOTEBOOKS


def test_the_moons_demo_learns_and_draws(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", EXAMPLES / "moons.py", tmp_path / "moons.png"],
        capture_output=True,
        text=True,
        check=False,
        env={"PYTHONPATH": str(EXAMPLES.parent), "PATH": ""},
    )
    assert done.returncode == 0, done.stderr
    head, first, *lines = done.stdout.splitlines()
    assert head == "337 parameters"
    assert first == "step 0 loss 0.8958441028683222, accuracy 50.0%"
    reference = json.loads((EXAMPLES.parent / "references" / "demo.json").read_text("utf-8"))
    steps = [*range(10, 100, 10), 99]
    for step, line in zip(steps, lines, strict=False):
        loss = float(line.removeprefix(f"step {step} loss ").partition(",")[0])
        assert loss == pytest.approx(reference["losses"][step], rel=1e-9, abs=0)
        assert line.endswith(f", accuracy {100 * reference['accuracies'][step]:.1f}%")
    assert lines[len(steps) :] == [f"picture: {tmp_path / 'moons.png'}"]
    assert reference["accuracies"][99] == 1.0
    assert (tmp_path / "moons.png").read_bytes().startswith(b"\x89PNG")


WITH_PICTURE = ["moons", "lorenz_fit", "pinn", "lstm"]


def called(name: str, *arguments: str) -> int:
    """Run an example in this process, which has loaded its libraries; returns the exit status."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", [f"{name}.py", *arguments])
        patch.setenv("COLUMNS", "100")  # or the terminal's width decides where lines of help end
        with pytest.raises(SystemExit) as left:
            runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name="__main__")
    assert isinstance(left.value.code, int)
    return left.value.code


@pytest.mark.parametrize("name", WITH_PICTURE)
def test_help_is_all_that_help_gives(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert called(name, "--help") == 0
    said = capsys.readouterr().out
    assert f"a .png, .svg or .pdf file ({name}.png)" in said
    assert "picture:" not in said


@pytest.mark.parametrize("name", WITH_PICTURE)
def test_a_place_for_the_picture_that_is_none_is_told_before_the_run(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for picture in ("", "foo.xyz", "/no/such/directory/x.png"):
        assert called(name, picture) == 2
        out, error = capsys.readouterr()
        assert f"{name}.py: error: {picture!r} is not a valid picture path: name a .png, .svg or .pdf file" in error
        assert not out
    assert called(name, "a.png", "b.png") == 2
    assert "unrecognized arguments: b.png" in capsys.readouterr().err


def test_the_compiled_moons_demo_has_the_published_losses(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", EXAMPLES / "moons_compiled.py"],
        capture_output=True,
        text=True,
        check=False,
        encoding="utf-8",
        env={"PYTHONPATH": str(EXAMPLES.parent), "PATH": "", "MACROGRAD_CACHE": str(tmp_path), "PYTHONUTF8": "1"},
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    losses = {int(line.split()[1]): float(line.split()[3]) for line in lines if line.startswith("step ")}
    assert losses[0] == pytest.approx(0.8958441028683222, rel=1e-9)
    assert losses[99] == pytest.approx(0.010978370135492717, rel=1e-9)
    assert "accuracy 100.0%" in lines
    assert any("matrix product layers.1.neurons.w[16×16]·" in line for line in lines)


def test_the_moons_demo_can_be_imported_without_running() -> None:
    for name in ("moons.py", "moons_compiled.py"):
        assert callable(runpy.run_path(str(EXAMPLES / name))["main"])
