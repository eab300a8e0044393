"""The GPT of single scalars: its gradient against the same model in NumPy, and a short run of it."""

from __future__ import annotations

import runpy
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import macrograd as mg
from benchmarks.gpt import TABLES, numbers
from benchmarks.gpt import document as reference

PATH = Path(__file__).parents[1] / "examples" / "gpt.py"


@pytest.fixture(scope="module")
def gpt() -> dict[str, Any]:
    return runpy.run_path(str(PATH))


def flat(g):
    return np.concatenate([g[name].ravel() for name in TABLES])


@pytest.fixture(scope="module")
def model(gpt):
    model = gpt["GPT"]("abcdefghijklmnopqrstuvwxyz", seed=3)
    for p in model.parameters():
        p.data *= 4  # far from uniform attention
    return model


def test_it_has_as_many_parameters_as_told(model) -> None:
    assert len(model.parameters()) == 4192


@pytest.mark.parametrize("document", ["a", "scalars"])
def test_one_document_by_single_scalars_against_numpy(model, document: str) -> None:
    tokens, share = model.encoded(document)
    for p in model.parameters():
        p.grad = 0.0
    loss = model.loss(tokens, share)
    loss.backward()
    want, gradient = reference(numbers(model), np.array(tokens), np.array(share), 4)
    assert loss.data == pytest.approx(want, rel=1e-13)
    np.testing.assert_allclose([p.grad for p in model.parameters()], flat(gradient), rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize(("dtype", "allowed"), [("float64", 1e-12), ("float32", 2e-5)])
def test_a_batch_of_documents_against_numpy(model, dtype: str, allowed: float) -> None:
    documents = ["loops", "map", "q", "zipfil", "return"]
    tokens, share = map(np.array, zip(*(model.encoded(d, 7) for d in documents), strict=True))
    each = [reference(numbers(model), t, s, 4) for t, s in zip(tokens, share, strict=True)]
    compiled = mg.compile(model.loss, batch=True, dtype=dtype)
    step = compiled.bind(tokens, share)
    assert step() == pytest.approx(np.mean([loss for loss, _ in each]), rel=10 * allowed)
    place = {id(p): k for k, p in enumerate(model.parameters())}
    found = np.zeros(len(place))
    found[[place[id(p)] for p in compiled.parameters]] = step.gradient
    want = np.mean([flat(g) for _, g in each], axis=0)
    assert np.abs(found - want).max() < allowed * np.abs(want).max()


def test_a_row_of_documents_is_the_documents_one_by_one(gpt, model) -> None:
    """Neither attention nor positions reach beyond a document."""
    documents = ["loops", "map", "q", "zipfil", "return", "set", "a"]
    each = [reference(numbers(model), np.array(t), np.array(s), 4) for t, s in map(model.encoded, documents)]
    compiled = mg.compile(model.row_loss, batch=True, dtype="float64")
    data = gpt["arrays"](model, documents)
    assert data[0].shape == (2, 16)
    step = compiled.bind(*data)
    assert step() == pytest.approx(np.mean([loss for loss, _ in each]), rel=1e-11)
    place = {id(p): k for k, p in enumerate(model.parameters())}
    found = np.zeros(len(place))
    found[[place[id(p)] for p in compiled.parameters]] = step.gradient
    want = np.mean([flat(g) for _, g in each], axis=0)
    assert np.abs(found - want).max() < 1e-12 * np.abs(want).max()


def test_what_follows_does_not_change_what_came_before(model) -> None:
    short, long = model.logits([0, 5, 7]), model.logits([0, 5, 7, 9, 2])
    assert [[v.data for v in row] for row in short] == [[v.data for v in row] for row in long[:3]]


def test_training_learns_and_invents(gpt) -> None:
    documents = ["abab", "aba", "ababab", "ab", "abc", "bca", "abababab"]
    model = gpt["GPT"]("abc", seed=0)
    training = gpt["Training"](model, documents, seed=0)
    assert training.rows == 3
    losses = [training.epoch(0.02) for _ in range(150)]
    assert losses[0] == pytest.approx(np.log(4), rel=0.1)
    assert losses[-1] < 0.75  # half the next letters cannot be known
    assert training.steps == 150
    training.finish()
    new = gpt["invented"](model, 30, temperature=0.5, seed=0)
    assert len(new) == 30
    assert len(set(new) & set(documents)) >= 4


def test_the_names_are_those_of_the_standard_library(gpt) -> None:
    names = gpt["library_names"]()
    assert names == sorted(set(names))
    assert len(names) > 2000
    assert {"append", "ordereddict", "zipfile", "casefold"} <= set(names)
    assert all(name.isascii() and name.isalpha() and name.islower() and 2 <= len(name) <= 15 for name in names)


def test_the_names_do_not_depend_on_what_is_loaded(gpt, monkeypatch: pytest.MonkeyPatch) -> None:
    before = gpt["library_names"]()
    monkeypatch.setattr("html.unheardof", ModuleType("html.unheardof"), raising=False)  # as `import html.unheardof`
    assert gpt["library_names"]() == before


def run(*arguments: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", PATH, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        env={"PYTHONPATH": str(PATH.parents[1]), "PATH": "", "MACROGRAD_CACHE": "off"},
    )


def test_it_learns_the_lines_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "lines.txt").write_text("ba\nbab\n\n bb \n" * 10, "utf-8")
    done = run(tmp_path / "lines.txt", "--epochs", 3)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == "30 documents, 100 tokens, 3424 parameters"
    told, loss = lines[1].rsplit(" ", 1)
    assert told == "by single scalars, the loss of 'ba' is"
    assert float(loss) == pytest.approx(np.log(3), rel=0.2)  # three tokens, hardly told apart before training
    assert [line.split(":")[0] for line in lines[3:6]] == ["epoch 1", "epoch 2", "epoch 3"]
    assert all(line.endswith("tokens a second") for line in lines[3:6])
    assert lines[6].startswith("new:")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"\n \n", "it has no lines to learn from, and must hold one document per line"),
        (b"\xff\xfe\x00", "'utf-8' codec can't decode byte 0xff"),
        (None, "No such file or directory"),
    ],
)
def test_a_file_that_holds_no_lines_is_told(content: bytes | None, said: str, tmp_path: Path) -> None:
    path = tmp_path / "lines.txt"
    if content is not None:
        path.write_bytes(content)
    done = run(path)
    assert done.returncode == 2
    assert f"gpt.py: error: cannot learn from {str(path)!r}: " in done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--epochs", -3), "--epochs must be a positive integer, got -3"),
        (("--epochs", 0), "--epochs must be a positive integer, got 0"),
        (("",), "cannot learn from '': "),
        ((".",), "cannot learn from '.': [Errno 21] Is a directory"),
    ],
)
def test_arguments_that_are_none(arguments: tuple[Any, ...], said: str) -> None:
    done = run(*arguments)
    assert done.returncode == 2
    assert f"gpt.py: error: {said}" in done.stderr
    assert not done.stdout


def test_it_stays_short() -> None:
    assert len(PATH.read_text("utf-8").splitlines()) < 200
