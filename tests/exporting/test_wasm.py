"""Functions as WebAssembly modules: they import nothing, and give macrograd's results."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import macrograd as mg
from macrograd import Value, datasets, losses, nn, optim
from macrograd.cli import main
from macrograd.compiler.compiled import Compiled
from macrograd.compiler.step import TrainingLoop
from macrograd.exporting.c import arrays_in
from tests.exporting.test_c import CASES, MOONS, net, recurrence
from tests.exporting.test_trained import HOSTILE, as_csv, hostile, table
from tests.fuzz.wasm import Module

wasmtime = pytest.importorskip("wasmtime")
needs_node = pytest.mark.skipif(shutil.which("node") is None, reason="the wrapper can be tried only where node is")


def compiled(fn: Any, dtype: str = "float64", *, batch: bool = False, strict: bool = False) -> Compiled:
    return Compiled(fn, batch=batch, dtype=dtype, backend="auto", threads=1, strict=strict)


def exported(what: Any, folder: Path, *args: Any, **settings: Any) -> Module:
    path = folder / "case.wasm"
    mg.export(what, path, *args, **settings)
    return Module(path)


@pytest.mark.parametrize("name", CASES)
def test_the_module_agrees(tmp_path: Path, name: str) -> None:
    function, args, kind = CASES[name]
    dtype = "float32" if name in ("classifier", "net's gradient", "special") else "float64"
    module, native = exported(function, tmp_path, *args, kind=kind, dtype=dtype), compiled(function, dtype)
    close = {"rtol": 3e-5, "atol": 1e-6} if dtype == "float32" else {"rtol": 1e-12, "atol": 1e-14}
    draw = np.random.default_rng(1)
    choosing = name.startswith("take")
    samples = [[np.abs(draw.normal(size=np.shape(x))) for x in args] for _ in range(5)]
    if choosing:
        samples = [[np.array(float(k % 3)), *rest] for k, (_, *rest) in enumerate(samples)]
    rows = [np.concatenate([np.ravel(x) for x in sample]) for sample in samples]
    if kind == "predict":
        right = [np.concatenate([np.ravel(x) for x in arrays_in(native(*sample))]) for sample in samples]
        np.testing.assert_allclose(module.predict(rows), right, **close)
        return
    native(*samples[0])
    theta = native.theta() + 0.125
    for at in (None, theta):
        value, gradient = native.value_and_grad(native.theta() if at is None else at, *samples[0])
        found, derivatives = module.gradient(rows[0], at)
        np.testing.assert_allclose(found, value, **close)
        np.testing.assert_allclose(derivatives, gradient, **close)


@pytest.mark.parametrize("lanes", [1, 3, 64])
def test_any_number_of_samples_in_any_number_of_lanes(tmp_path: Path, lanes: int) -> None:
    module, native = exported(MOONS, tmp_path, [0.0, 0.0], lanes=lanes), compiled(MOONS, batch=True)
    X, _ = datasets.make_moons(70, noise=0.1, seed=1)
    for count in (1, 9, 70):
        np.testing.assert_allclose(module.predict(X[:count])[:, 0], native(X[:count]), rtol=1e-12)


def data() -> tuple[Any, Any, Any]:
    X, y = datasets.make_moons(27, noise=0.1, seed=1)
    return X, y, np.hstack([X, y[:, None]])


def natively(loss: Any, optimizer: Any, dtype: str, *, strict: bool = False, steps: int = 100) -> tuple[Any, Any]:
    """Losses and parameters of native training on all samples."""
    X, y, _ = data()
    loop = TrainingLoop(
        compiled(loss, dtype, batch=True, strict=strict), [X, y], optimizer.rule, optimizer.initial_state, batch_size=27
    )
    rates = np.full(steps, optimizer.learning_rate)
    outcome = loop.run(np.tile(np.arange(27), steps), np.full(steps, 27), rates)
    assert outcome.done == steps
    return outcome.losses, loop.theta


@pytest.mark.parametrize(
    ("optimizer", "dtype", "lanes"),
    [
        (optim.SGD(0.05), "float64", 4),
        (optim.SGD(0.05, momentum=0.9), "float64", 32),
        (optim.Adam(0.01), "float64", 8),
        (optim.Adam(0.01), "float32", 16),
    ],
    ids=["sgd", "momentum", "adam", "single"],
)
def test_training_takes_the_same_steps(tmp_path: Path, optimizer: Any, dtype: str, lanes: int) -> None:
    model = net([2, 8, 8, 1], "tanh")

    def loss(x: Any, t: Any) -> Any:
        return losses.hinge(model(x), t)

    module = exported(
        loss, tmp_path, [0.0, 0.0], 1.0, kind="train", optimizer=optimizer, dtype=dtype, lanes=lanes
    )  # fmt: skip
    right, theta = natively(loss, optimizer, dtype)
    found = module.steps(data()[2], optimizer.learning_rate, 100)
    np.testing.assert_allclose(found, right, rtol=1e-9 if dtype == "float64" else 1e-3, atol=1e-6)
    parameters = module.get(module.number("parameters"), module.number("parameter_count"))
    np.testing.assert_allclose(parameters, theta, rtol=1e-8 if dtype == "float64" else 1e-2, atol=1e-6)
    assert module.get(module.number("steps"), 1).view("i4")[0] == 100
    module.call("init")
    np.testing.assert_array_equal(module.steps(data()[2], optimizer.learning_rate, 5), found[:5])


def test_strict_modules_have_the_bits_of_strict_native_code(tmp_path: Path) -> None:
    model = net([2, 16, 16, 1])

    def loss(x: Any, t: Any) -> Any:
        return losses.hinge(model(x), t)

    X, y, _ = data()
    values = exported(model, tmp_path, [0.0, 0.0], strict=True).predict(X)
    assert values[:, 0].tobytes() == np.asarray(compiled(model, batch=True, strict=True)(X)).tobytes()
    native = compiled(loss, strict=True)
    native(X[0], y[0])
    module = exported(loss, tmp_path, [0.0, 0.0], 1.0, kind="gradient", strict=True)
    for x, t in zip(X, y, strict=True):
        value, gradient = native.value_and_grad(native.theta(), x, t)
        found, derivatives = module.gradient([*x, t])
        assert (found, derivatives.tobytes()) == (value, gradient.tobytes())


def test_strict_training_has_the_bits_of_strict_native_training(tmp_path: Path) -> None:
    """Whatever the lanes: sums over a batch are added up sample by sample. Adam's rule has powers and a square root."""
    model, optimizer = net([2, 8, 8, 1], "tanh"), optim.Adam(0.01)

    def loss(x: Any, t: Any) -> Any:
        return mg.softplus(-t * model(x)) + mg.sin(x[0]) * 0.125

    right, theta = natively(loss, optimizer, "float64", strict=True)
    module = exported(
        loss, tmp_path, [0.0, 0.0], 1.0, kind="train", optimizer=optimizer, strict=True, lanes=4
    )  # fmt: skip
    found = module.steps(data()[2], optimizer.learning_rate, 100)
    assert np.array(found).tobytes() == right.tobytes()
    parameters = module.get(module.number("parameters"), module.number("parameter_count"))
    assert parameters.tobytes() == theta.tobytes()


def test_functions_of_the_library_are_portable(tmp_path: Path) -> None:
    """sin, cos, powers and remainders, at numbers of all sizes; strict to the bit."""

    def functions(x: Any, y: Any) -> list[Any]:
        return [mg.sin(x), mg.cos(y), abs(x) ** y, mg.mod(x, y), mg.tan(x)]

    draw = np.random.default_rng(2)
    rows = draw.normal(size=(300, 2)) * 10.0 ** draw.integers(-3, 4, (300, 2))
    rows[:60, 0] *= 10.0 ** draw.integers(10, 250, 60)
    rows[:6] = [[1e300, 3e-310], [np.inf, 1.0], [1.0, np.inf], [np.nan, 1.0], [7.5, -2.5], [-7.5, 2.0]]
    module = exported(functions, tmp_path, 0.5, 0.5, strict=True)
    right = compiled(functions, batch=True, strict=True)(rows[:, 0], rows[:, 1])
    np.testing.assert_array_equal(module.predict(rows), right)


def test_loops_stay_loops(tmp_path: Path) -> None:
    sizes = []
    for rounds in (1000, 10_000):
        path = tmp_path / f"r{rounds}.wasm"
        mg.export(recurrence(rounds), path, np.zeros(rounds), kind="gradient")
        sizes.append(path.stat().st_size)
    assert abs(sizes[1] - sizes[0]) < 100  # bytes, of longer addresses


def test_a_written_loop_is_a_loop_there_too(tmp_path: Path) -> None:
    rate, numbers = Value(0.9), np.linspace(0.0, 1.0, 200)

    def run(x: Any) -> Any:
        return mg.loop(200, lambda i, h: mg.tanh(rate * h + mg.take(numbers, i) * x + 0.001 * i), x)

    module, native = exported(run, tmp_path, 0.5, kind="gradient"), compiled(run)
    native(0.5)
    value, gradient = native.value_and_grad(native.theta(), 0.25)
    found, derivatives = module.gradient([0.25])
    assert found == pytest.approx(value, rel=1e-13)
    assert derivatives[0] == pytest.approx(gradient[0], rel=1e-12)


def test_a_step_that_cannot_be_done_changes_nothing(tmp_path: Path) -> None:
    table = [Value(1.0), Value(2.0)]
    module = exported(
        lambda i, x: mg.take(table, i) * mg.log(x), tmp_path, 0, 1.0, kind="train", optimizer=optim.SGD(0.1)
    )  # fmt: skip
    before = module.get(module.number("parameters"), 2).tolist()
    for row in ([0.0, 0.0], [0.0, np.inf], [2.0, 1.0], [0.5, 1.0]):
        assert np.isnan(module.steps([[1.0, 2.0], row], 0.1, 1)[0])
    assert np.isnan(module.call("step", module.heap, 0, 0.1))
    assert module.get(module.number("parameters"), 2).tolist() == before
    assert module.get(module.number("steps"), 1).view("i4")[0] == 0
    assert module.steps([[1.0, 2.0]], 0.1, 1) == [pytest.approx(2.0 * np.log(2.0), rel=1e-15)]


def test_a_bad_index_is_reported(tmp_path: Path) -> None:
    table = [Value(1.0), Value(2.0), Value(4.0)]
    module = exported(lambda i: mg.take(table, i), tmp_path, 0)
    for index in (-1.0, 3.0, 0.5, np.nan):
        module.put(module.heap, [1.0, index])
        assert module.call("predict", module.heap, module.heap + 64, 2) == 1
    assert module.predict([[2.0]])[0] == 4.0


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[list[str]]]:
    """A model of a table with hostile names, exported to predict and to train."""
    folder, listed = tmp_path_factory.mktemp("trained"), table()
    data, model = as_csv(listed, folder / "t.csv"), folder / "t.safetensors"
    assert main(["train", str(data), "--target", "kind", "--steps", "60", "--quiet", "--save", str(model)]) == 0
    assert main(["export", str(model), str(folder / "net.wasm")]) == 0
    mg.export(model, folder / "on.wasm", kind="train", optimizer=optim.SGD(0.01))
    return folder, listed


def test_names_end_no_comment_string_or_script(trained: tuple[Path, list[list[str]]]) -> None:
    folder, _ = trained
    module = Module(folder / "net.wasm")
    assert {name for name, _ in module.about["inputs"]} == {"size */", 'co"lour', "when\\", "??/ yes"}
    assert set(module.about["classes"]) == set(HOSTILE[5:8])
    before, _, rest = (folder / "net.js").read_text("ascii").partition("about = ")
    about, _, after = rest.partition("\n};")
    assert (before + after).count("*/") == (before + after).count("/*")
    assert "<" not in about


def test_a_trainer_goes_on_from_where_it_stopped(trained: tuple[Path, list[list[str]]]) -> None:
    """A module that trains also predicts, with its trained parameters."""
    folder, _ = trained
    one, other = Module(folder / "net.wasm"), Module(folder / "on.wasm")
    x = [[10.0, 0.0, 2020.0, 5.0, 3.0, 7000.0, 1.0][: one.number("inputs")]]
    np.testing.assert_array_equal(one.predict(x), other.predict(x))
    losses_ = other.steps([[*x[0], 1.0]], 0.05, 20)
    assert losses_[-1] < losses_[0]
    assert abs(one.predict(x) - other.predict(x)).max() > 1e-3


@needs_node
def test_the_wrapper_answers_as_the_command_does(
    trained: tuple[Path, list[list[str]]], capsys: pytest.CaptureFixture[str]
) -> None:
    folder, listed = trained
    asked = [row[:-1] for row in listed[:30]]
    asked[3][1] = "never seen"
    as_csv(asked, folder / "asked.csv")
    assert main(["predict", str(folder / "t.safetensors"), str(folder / "asked.csv")]) == 0
    answers = [row["predicted_kind"] for row in csv.DictReader(io.StringIO(capsys.readouterr().out))]
    (folder / "rows.json").write_text(json.dumps([dict(zip(asked[0], row, strict=True)) for row in asked[1:]]))
    script = """
        import { load } from "./net.mjs";
        import { readFileSync } from "node:fs";
        const net = await load();
        const rows = JSON.parse(readFileSync("rows.json"));
        console.log(JSON.stringify(rows.map((row) => net.answer(net.predict(net.encode(row))))));
    """
    out = subprocess.run(
        ["node", "--input-type=module", "--eval", script], cwd=folder, capture_output=True, text=True, check=False
    )
    assert out.returncode == 0, out.stderr
    assert json.loads(out.stdout) == answers


@needs_node
def test_hostile_names_stay_names_in_the_wrapper(tmp_path: Path) -> None:
    trainer, X = hostile()
    mg.export(trainer, tmp_path / "net.wasm", kind="train")
    text = (tmp_path / "net.js").read_text()
    assert text.isascii()
    assert "</script" not in text
    (tmp_path / "rows.json").write_text(json.dumps([dict(zip(HOSTILE, row, strict=True)) for row in X.tolist()]))
    script = """
        import { load, about } from "./net.mjs";
        import { readFileSync } from "node:fs";
        const net = await load(), rows = JSON.parse(readFileSync("rows.json"));
        const answers = rows.map((row) => net.answer(net.predict(net.encode(row))));
        console.log(JSON.stringify([answers, about.classes, about.inputs.map(([name]) => name)]));
    """
    command = ["node", "--input-type=module", "--eval", script]
    out = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert out.returncode == 0, out.stderr
    assert json.loads(out.stdout) == [trainer.predict(X).tolist(), trainer.classes, HOSTILE]


@pytest.mark.parametrize(
    ("change", "error", "said"),
    [
        ({"path": "net.so"}, ValueError, r"must end in \.c or \.wasm"),
        ({"header": True}, ValueError, "only C files have a header"),
        ({"path": "net.onnx", "strict": True}, ValueError, "strict"),
        ({"kind": "train"}, TypeError, "needs its loss"),
        ({"path": "there/net.wasm"}, FileNotFoundError, "does not exist"),
    ],
)
def test_bad_input_writes_nothing(tmp_path: Path, change: dict[str, Any], error: type[Exception], said: str) -> None:
    settings = dict(change)
    path = tmp_path / settings.pop("path", "net.wasm")
    with pytest.raises(error, match=said):
        mg.export(nn.MLP(2, [1], seed=1), path, [0.0, 0.0], **settings)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["net.js", "net.mjs"])
def test_a_script_that_is_not_ours_stays(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("mine")
    with pytest.raises(FileExistsError, match=re.escape(name)):
        mg.export(nn.MLP(2, [1], seed=1), tmp_path / "net.wasm", [0.0, 0.0])
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_text() == "mine"
    mg.export(nn.MLP(2, [1], seed=1), tmp_path / "other.wasm", [0.0, 0.0])
    mg.export(nn.MLP(2, [1], seed=2), tmp_path / "other.wasm", [0.0, 0.0])
    assert re.search("written by macrograd", (tmp_path / "other.js").read_text())
