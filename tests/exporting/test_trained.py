"""Trained models as C files: from raw numbers, texts and dates to answers with names, and on with their training."""

from __future__ import annotations

import csv
import ctypes
import importlib
import io
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import macrograd as mg
from macrograd import datasets, nn, optim
from macrograd.cli import main
from macrograd.exporting.names_c import string
from tests.exporting.test_c import FLAGS, checked, needs_cc, selftest

HOSTILE = ["*/ int x; /*", 'a "quoted"', "back\\slash\\", "??/", "two\nlines", "%s%n%d", "ünïcode", "'", "a.b,c"]
HOSTILE += [
    "\\u000a*/#error",
    "\\x41\\0",
    "a\r\t\x07\x1b",
    "</script><!--",
    "`${x}`",
    "\u2028\u2029\u202e",
    "*\\\n/",
    "??'??)",
]


def library(path: Path) -> Any:
    out = path.with_suffix(".so")
    subprocess.run(["cc", *FLAGS, "-O0", "-shared", "-fPIC", "-o", str(out), str(path), "-lm"], check=True)
    return ctypes.CDLL(str(out))


def outputs(path: Path, rows: np.ndarray, count: int) -> tuple[Any, np.ndarray]:
    """The library of a file, and what its predictor makes of rows."""
    lib = library(path)
    state = ctypes.create_string_buffer(1 << 20)
    found = np.empty((len(rows), count))
    predict = getattr(lib, f"{path.stem}_predict")
    predict.argtypes = [ctypes.c_void_p] * 3
    for row, y in zip(np.ascontiguousarray(rows, dtype=float), found, strict=True):
        predict(state, row.ctypes.data, y.ctypes.data)
    return lib, found


def table(rows: int = 90) -> list[list[str]]:
    """Numbers with holes, texts and dates, under names that no C file could hold as they are."""
    draw = np.random.default_rng(3)
    listed = [["size */", 'co"lour', "when\\", "??/ yes", "kind"]]
    for i in range(rows):
        colour, size = HOSTILE[draw.integers(0, 4)], draw.normal(10, 3)
        kind = HOSTILE[5 + (size > 9) + (colour == HOSTILE[1])]
        date = f"20{draw.integers(10, 30)}-{draw.integers(1, 13):02d}-{draw.integers(1, 29):02d}"
        listed.append(["" if i % 11 == 0 else f"{size:.3f}", "" if i % 13 == 0 else colour, date, "yn"[i % 2], kind])
    return listed


def as_csv(listed: list[list[str]], path: Path) -> Path:
    text = io.StringIO()
    csv.writer(text).writerows(listed)
    path.write_text(text.getvalue(), "utf-8")
    return path


@needs_cc
def test_a_saved_table_model_answers_as_the_command_does(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    listed = table(45)
    data, model = as_csv(listed, tmp_path / "t.csv"), tmp_path / "t.safetensors"
    assert main(["train", str(data), "--target", "kind", "--steps", "60", "--quiet", "--save", str(model)]) == 0
    asked = [row[:-1] for row in listed]
    asked[3][1] = "never seen"
    capsys.readouterr()
    assert main(["export", str(model), str(tmp_path / "net.c"), "--header"]) == 0
    assert "bytes of constants" in capsys.readouterr().out
    assert selftest(tmp_path / "net.c").returncode == 0

    assert main(["predict", str(model), str(as_csv(asked, tmp_path / "asked.csv"))]) == 0
    right = [row["predicted_kind"] for row in csv.DictReader(io.StringIO(capsys.readouterr().out))]

    yes_at = int(re.search(r"x\[(\d+)\]: \.+ yes", (tmp_path / "net.h").read_text())[1])
    lib = library(tmp_path / "net.c")
    lib.net_class.restype = ctypes.c_char_p
    lib.net_category.argtypes = [ctypes.c_int32, ctypes.c_char_p]
    state, found = ctypes.create_string_buffer(1 << 20), []
    for size, colour, when, yes, *_ in asked[1:]:
        x, y = np.full(16, np.nan), np.empty(3)
        x[0] = float(size or "nan")
        x[1] = lib.net_category(0, colour.encode())
        x[yes_at] = float(yes == "y")
        year, month, day = map(int, when.split("-"))
        lib.net_date(0, ctypes.c_void_p(x.ctypes.data), year, month, day, ctypes.c_double(0.0))
        lib.net_predict(state, ctypes.c_void_p(x.ctypes.data), ctypes.c_void_p(y.ctypes.data))
        found.append(lib.net_class(lib.net_answer(ctypes.c_void_p(y.ctypes.data))).decode())
    assert found == right
    assert len(set(found)) > 1


@pytest.mark.parametrize(
    ("name", "cell", "said"),
    [
        ("lap", lambda k: f"{24 + k}:00:{k:02}", "x[0]: lap, in seconds\n"),
        ("sent", lambda k: f"2024-01-{k + 1:02} {k}:00+02:00", "as net_date(0, ...) writes it, in UTC\n"),
    ],
    ids=["durations", "times"],
)
def test_a_file_says_what_its_times_are_in(tmp_path: Path, name: str, cell: Callable[[int], str], said: str) -> None:
    listed = [[name, "y"], *([cell(k), str(k * k)] for k in range(12))]
    data, model = as_csv(listed, tmp_path / "t.csv"), tmp_path / "t.safetensors"
    assert main(["train", str(data), "--target", "y", "--steps", "1", "--quiet", "--save", str(model)]) == 0
    assert main(["export", str(model), str(tmp_path / "net.c")]) == 0
    assert said in (tmp_path / "net.c").read_text("utf-8")


class Frame:
    """As much of a data frame with hostile columns as a Trainer looks at."""

    def __init__(self, X: np.ndarray) -> None:
        self.columns, self._X = list(HOSTILE), X

    def __array__(self, *_: Any, **__: Any) -> np.ndarray:
        return self._X

    def __getitem__(self, key: Any) -> Any:
        return Frame(self._X) if isinstance(key, list) else self._X[:, self.columns.index(key)]

    def __len__(self) -> int:
        return len(self._X)


def hostile() -> tuple[mg.Trainer, np.ndarray]:
    """A Trainer whose columns and classes have hostile names, and its samples."""
    many = len(HOSTILE)
    X = np.eye(many).repeat(3, axis=0)
    trainer = mg.Trainer(nn.MLP(many, [many], seed=1), "cross_entropy", optimizer=optim.Adam(0.1))
    trainer.fit(Frame(X), np.array(HOSTILE).repeat(3), epochs=40, progress="none")
    return trainer, X


@needs_cc
def test_names_of_columns_and_classes_stay_names(tmp_path: Path) -> None:
    trainer, X = hostile()
    mg.export(trainer, tmp_path / "net.c", header=True)
    assert selftest(tmp_path / "net.c").returncode == 0
    lib, found = outputs(tmp_path / "net.c", X, len(HOSTILE))
    lib.net_class.restype = ctypes.c_char_p
    answers = [lib.net_class(lib.net_answer(ctypes.c_void_p(y.ctypes.data))).decode() for y in found]
    assert answers == trainer.predict(X).tolist() == np.array(HOSTILE).repeat(3).tolist()
    assert [lib.net_class(k).decode() for k in range(len(HOSTILE))] == trainer.classes
    assert lib.net_class(len(HOSTILE)) is None is lib.net_class(-1)
    for kind in ("train", "gradient"):
        mg.export(trainer, tmp_path / "on.c", kind=kind)
        text = (tmp_path / "on.c").read_text()
        assert text.isascii()
        assert "??" not in text


def test_a_name_that_no_c_string_holds_is_refused(tmp_path: Path) -> None:
    assert string("??/") == '"\\077\\077/"'.replace("/", "\\057")
    for label, said in (("a\x00b", "holds a NUL character"), ("x" * 5000, "has 5,000 bytes of UTF-8")):
        X, y = datasets.make_moons(20, seed=1)
        trainer = mg.Trainer(nn.MLP(2, [1], seed=1))
        trainer.fit(X, np.array(["a", label])[y.astype(int)], epochs=1, progress="none")
        with pytest.raises(ValueError, match=said):
            mg.export(trainer, tmp_path / "net.c")
    assert not list(tmp_path.iterdir())


@needs_cc
@pytest.mark.parametrize("what", ["three classes", "two of two", "hinge", "numbers", "labels"])
def test_a_trainer_is_exported_with_its_scales_and_meaning(tmp_path: Path, what: str) -> None:
    X, _ = datasets.make_moons(60, noise=0.1, seed=1)
    X = X * [1000.0, 0.01] + [5.0, 3.0]
    kind, loss, y = {
        "three classes": ([6, 3], None, np.array([7, 3, 5])[np.arange(60) % 3]),
        "two of two": ([4, 2], "cross_entropy", np.arange(60) % 2),
        "hinge": ([4, 1], "hinge", np.arange(60) % 2 == 1),
        "numbers": ([4, 1], None, X[:, 0] / 1000),
        "labels": ([4, 2], "binary_cross_entropy", np.stack([X[:, 0] > 0, X[:, 1] > 3], axis=1).astype(int)),
    }[what]
    trainer = mg.Trainer(nn.MLP(2, kind, seed=2), loss, scale="standard")
    trainer.fit(X, y, epochs=5, progress="none")
    count = kind[-1]
    mg.export(trainer, tmp_path / "net.c")
    assert selftest(tmp_path / "net.c").returncode == 0
    lib, found = outputs(tmp_path / "net.c", X, count)
    np.testing.assert_allclose(found, trainer.outputs(X).reshape(60, count), rtol=1e-12, atol=1e-12)
    if what == "labels":
        answers = [[lib.net_answer(ctypes.c_void_p(y.ctypes.data), k) for k in range(2)] for y in found]
        assert answers == trainer.predict(X).tolist()
    elif what != "numbers":
        lib.net_class.restype = ctypes.c_char_p
        names = [lib.net_class(lib.net_answer(ctypes.c_void_p(y.ctypes.data))).decode() for y in found]
        assert names == [str(x) for x in trainer.predict(X).tolist()]
    for kind_ in ("gradient", "train"):
        mg.export(trainer, tmp_path / "more.c", kind=kind_)
        result = selftest(tmp_path / "more.c")
        assert result.returncode == 0, result.stdout + result.stderr


@needs_cc
def test_training_goes_on_in_c_where_it_stopped(tmp_path: Path) -> None:
    """With the optimiser's moments and its count of steps: the next losses are those of the Trainer."""
    X, y = datasets.make_moons(48, noise=0.1, seed=1)
    labels = np.array(["no", "yes"])[y.astype(int)]
    trainer = mg.Trainer(nn.MLP(2, [8, 1], seed=2), optimizer=optim.Adam(0.03), l2=1e-3, scale="standard")
    trainer.fit(X, labels, steps=30, progress="none", shuffle=False, batch_size=12)
    mg.export(trainer, tmp_path / "net.c", kind="train")
    lib = library(tmp_path / "net.c")
    lib.net_step.restype, lib.net_step.argtypes = (
        ctypes.c_double,
        [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int32, ctypes.c_double],
    )
    state = ctypes.create_string_buffer(1 << 20)
    lib.net_init(state)
    rows = np.ascontiguousarray(np.hstack([X, (labels == "yes")[:, None]]))
    in_c = [lib.net_step(state, rows[12 * (k % 4) :].ctypes.data, 12, 0.03) for k in range(20)]
    history = trainer.fit(X, labels, steps=20, progress="none", shuffle=False, batch_size=12)
    np.testing.assert_allclose(in_c, history.losses, rtol=1e-11)
    assert len(set(in_c)) == 20
    memory, y_in_c = ctypes.create_string_buffer(1 << 16), np.empty(1)
    lib.net_predict.argtypes = [ctypes.c_void_p] * 4
    for row, output in zip(np.ascontiguousarray(X[:5]), trainer.outputs(X[:5]), strict=True):
        lib.net_predict(state, memory, row.ctypes.data, y_in_c.ctypes.data)
        np.testing.assert_allclose(y_in_c, output, rtol=1e-11)


class Twisted(nn.Module):
    """Outputs that read their parameters in another order than the loss does, and one that it does not read."""

    def __init__(self) -> None:
        self.w = [mg.Value(0.1 * k + 0.2) for k in range(12)]
        self.loose = mg.Value(7.0)

    def __call__(self, x: Any) -> Any:
        weighted = mg.sum(w * x[1] * (k % 3) for k, w in enumerate(self.w))
        return [mg.dot(self.w[::-1], [x[0]] * 12), weighted + self.loose]


def apart(model: Twisted, x: Any, y: Any) -> Any:
    return (mg.tanh(mg.sum(mg.sin(w * x[0]) for w in model.w[::2] + model.w[1::2])) - y) ** 2


@needs_cc
@pytest.mark.parametrize("strict", [False, True])
def test_a_file_that_trains_predicts_with_its_parameters_in_any_order(tmp_path: Path, strict: bool) -> None:
    X, y = np.random.default_rng(0).normal(size=(8, 2)), np.linspace(0.0, 1.0, 8)
    model = Twisted()
    trainer = mg.Trainer(model, apart, optim.SGD(0.1))
    trainer.fit(X, y, steps=1, progress="none")
    mg.export(trainer, tmp_path / "net.c", kind="train", strict=strict)
    lib = library(tmp_path / "net.c")
    state, memory, found = ctypes.create_string_buffer(1 << 16), ctypes.create_string_buffer(1 << 16), np.empty(2)
    lib.net_init(state)
    lib.net_predict.argtypes = [ctypes.c_void_p] * 4
    lib.net_predict(state, memory, X.ctypes.data, found.ctypes.data)
    np.testing.assert_allclose(found, [v.data for v in model(X[0].tolist())], rtol=1e-13)


def test_a_file_and_what_load_makes_of_it_are_exported_alike(tmp_path: Path) -> None:
    X, y = datasets.make_moons(40, noise=0.1, seed=1)
    trainer = mg.Trainer(nn.MLP(2, [4, 1], seed=1), scale="robust")
    trainer.fit(X, y.astype(int), epochs=2, progress="none")
    saved = mg.save(trainer, tmp_path / "m.safetensors")
    texts = []
    for what in (trainer, str(saved), saved, mg.load(saved)):
        mg.export(what, tmp_path / "net.c")
        texts.append((tmp_path / "net.c").read_text())
    assert len(set(texts)) == 1
    mg.export(saved, tmp_path / "net.c", kind="train", optimizer=optim.SGD(0.5))
    mg.export(saved, tmp_path / "net.c", kind="train")  # Adam, as a new Trainer of the model has it


def test_the_command_and_export_offer_the_same() -> None:
    from macrograd.cli import options

    export = importlib.import_module("macrograd.exporting.export")  # the attribute of that name is the function
    assert export.KINDS == options.EXPORT_KINDS
    assert export.DTYPES == options.EXPORT_DTYPES


@pytest.mark.parametrize(
    ("case", "error", "said"),
    [
        ("not fitted", RuntimeError, "call fit first"),
        ("an example", TypeError, "takes no example of its input"),
        ("an optimizer", ValueError, "the Trainer has one, whose state is exported, too"),
        ("no file", FileNotFoundError, "the file"),
        ("no signature", ValueError, "does not describe its inputs"),
    ],
)
def test_bad_input_writes_nothing(tmp_path: Path, case: str, error: type[Exception], said: str) -> None:
    X, y = datasets.make_moons(20, seed=1)
    model: Any = nn.MLP(2, [4, 1], seed=1)
    trainer = mg.Trainer(model)
    if case != "not fitted":
        trainer.fit(X, y.astype(int), epochs=1, progress="none")
    saved = mg.save(nn.MLP(2, [1]), tmp_path / "m.safetensors")
    what = {"no file": tmp_path / "none.safetensors", "no signature": saved}.get(case, trainer)
    given: dict[str, Any] = {"kind": "train"} if case == "an optimizer" else {}
    given |= {"optimizer": optim.SGD(0.1)} if case == "an optimizer" else {}
    with pytest.raises(error, match=said):
        mg.export(what, tmp_path / "net.c", *([[0.0, 0.0]] if case == "an example" else []), **given)
    assert not (tmp_path / "net.c").exists()


@needs_cc
def test_the_training_self_test_finds_a_wrong_weight(tmp_path: Path) -> None:
    X, y = datasets.make_moons(40, noise=0.1, seed=1)
    model = nn.MLP(2, [4, 1], seed=1)
    trainer = mg.Trainer(model)
    trainer.fit(X, y.astype(int), epochs=2, progress="none")
    path = tmp_path / "net.c"
    mg.export(trainer, path, kind="train")
    text, weight = path.read_text(), float(model.layers[1].neurons[0].b.data)
    assert text.count(f" {weight.hex()},") == 1
    path.write_text(text.replace(f" {weight.hex()},", f" {(weight + 1e-3).hex()},"))
    program = checked(path, "-DMACROGRAD_SELFTEST")
    result = subprocess.run([str(program)], capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert "loss of the first step" in result.stdout


@pytest.mark.parametrize("given", [["nothing.safetensors", "n.c"], ["m.safetensors", "n.so"]])
def test_the_command_says_what_is_wrong(tmp_path: Path, given: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    mg.save(nn.MLP(2, [1]), tmp_path / "m.safetensors")
    assert main(["export", *[str(tmp_path / name) for name in given]]) == 2
    error = capsys.readouterr().err
    assert error.startswith("macrograd: error: ")
    assert error.count("\n") == 1
    assert not list(tmp_path.glob("n.*"))
