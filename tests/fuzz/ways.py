"""Every way to compile and call a program."""

from __future__ import annotations

import ctypes
import random
import re
import shutil
import subprocess
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import macrograd as mg
from macrograd import Value, optim
from macrograd.compiler.roll import cost_model
from macrograd.nn import Module
from macrograd.train import DivergedError, TrainingWarning

from . import reference
from .data import Data
from .generate import Case
from .language import Program, function

Array = NDArray[Any]
_OUTPUTS = re.compile(r"#define F_OUTPUTS (\d+)")

GRADIENTS = ("backward", "value_and_grad", "bind")
WHATS = {"values": 5, "backward": 3, "value_and_grad": 2, "bind": 2, "inputs": 2, "second": 1, "training": 1}
# Around the lanes of a vector and of a block: 2, 4, 8 and 16 numbers in a vector, up to 16 vectors in a block.
BATCHES = [1, 2, 3, 4, 5, 7, 8, 9, 12, 15, 16, 16, 17, 20, 24, 24, 31, 32, 32, 33, 48, 63, 64, 65, 70]
MANY = [129, 300, 1100]


@dataclass(frozen=True)
class Way:
    """How a program is compiled and called; with the backends "onnx", "c" and "wasm", exported and run by ONNX Runtime,
    compiled by the system's C compiler, or run by wasmtime.

    what      values, backward, value_and_grad, bind; inputs: the derivatives by x; second: those of the former;
              training: the parameters after some steps of a Trainer
    rows      the data's rows that the batch is put together from; one without a batch
    moved     the first call is on other parameters: nothing of their numbers may stay in the program
    budget    of groups that become code, and the size of a loop's body; None for the compiler's own
    rolled    whether LLVM's first code is rolled, as it is for short runs
    """

    what: str
    batch: bool
    rows: tuple[int, ...]
    dtype: str = "float64"
    backend: str = "llvm"
    strict: bool = False
    threads: int = 1
    moved: bool = False
    budget: tuple[int, int] | None = None
    rolled: bool = True


def draw(rng: random.Random, case: Case) -> Iterator[Way]:
    """Some ways for one program. Compiling with LLVM is most of the time, so there is one of it at most."""
    features, count = case.program.features, len(case.data.samples)
    expensive = False
    for _ in range(2 if rng.random() < 0.5 else 3):
        batch = rng.random() < 0.75
        size = rng.choice(MANY) if rng.random() < 0.04 else rng.choice(BATCHES)
        rows = tuple(rng.choices(range(count), k=size)) if batch else (rng.randrange(count),)
        limit = None
        if "data" in features:
            limit = (rng.randint(4, 40), rng.choice([2, 4, 16])) if "data and code" in features else (0, 1 << 30)
        backend = "numpy" if rng.random() < 0.35 or (expensive and limit != (0, 1 << 30)) else "llvm"
        expensive = expensive or backend == "llvm"
        way = Way(
            what=rng.choices(list(WHATS), list(WHATS.values()))[0],
            batch=batch,
            rows=rows,
            dtype="float32" if rng.random() < 0.25 else "float64",
            backend=backend,
            strict=rng.random() < 0.3,
            threads=2 if len(rows) > 100 and rng.random() < 0.7 else 1,
            moved=rng.random() < 0.25,
            budget=limit,
            rolled=rng.random() < 0.6,
        )
        yield _possible(way, case)
    if rng.random() < 0.15 and find_spec("onnxruntime") is not None:
        what = "value_and_grad" if rng.random() < 0.6 and _learns(case) else "values"
        yield replace(way, what=what, backend="onnx", batch=True, rows=rows[:12], strict=False, moved=False, threads=1)
    for backend, share, there in (
        ("c", 0.05, shutil.which("cc") is not None),
        ("wasm", 0.03, find_spec("wasmtime") is not None),
    ):
        if rng.random() < share and there:
            what = "value_and_grad" if rng.random() < 0.5 and _learns(case) else "values"
            usual = {"backend": backend, "batch": what == "values", "moved": False, "threads": 1}
            rows = way.rows[:12] if what == "values" else way.rows[:1]
            yield replace(way, what=what, strict=rng.random() < 0.5, rows=rows, **usual)


def _possible(way: Way, case: Case) -> Way:
    """The way itself, or one that this program can go in a reasonable time."""
    if way.what == "second" and len(case.program.text()) > 2000:
        return replace(way, what="values")
    if way.what == "training":
        usual = {"batch": True, "backend": "llvm", "strict": False, "moved": False, "budget": None}
        odd = {"special", "odd one", "wild"} & set(case.program.features)
        if odd or not case.data.rounded().finite() or not _learns(case):
            return replace(way, what="backward")
        return replace(way, **usual, rows=way.rows[:12])
    return way


def _learns(case: Case) -> bool:
    """Whether the loss is a Value: a Trainer refuses one without parameters."""
    out = function(case.program.text(summed=True), [Value(p) for p in case.data.parameters])
    result = out(*[case.data.samples[0], float(case.data.indices[0])][: len(case.program.arguments)])
    return isinstance(result, Value)


@contextmanager
def limited(limit: tuple[int, int] | None, *, rolled: bool = True) -> Iterator[None]:
    """Small programs are code as a whole; with a small budget they run as data like long ones."""
    from macrograd.compiler.targets.llvm import machine_code  # which loads LLVM

    most = machine_code.MOST
    names = {"FREE": 0, "SHARE": 1 << 30, "MOST_TINY": 0, "LEAST": 1, "TINY": 1}
    if limit is not None:
        names |= {"FREE": limit[0], "MOST_TINY": limit[0] // 2, "LEAST": limit[1], "TINY": min(limit[1], 16)}
    before = {name: getattr(cost_model, name) for name in names}
    try:
        machine_code.MOST = most if rolled else 0
        if limit is not None:
            for name, value in names.items():
                setattr(cost_model, name, value)
        yield
    finally:
        machine_code.MOST = most
        for name, value in before.items():
            setattr(cost_model, name, value)


def settings(way: Way) -> dict[str, Any]:
    return {
        "batch": way.batch,
        "dtype": way.dtype,
        "backend": way.backend,
        "strict": way.strict,
        "threads": way.threads,
    }


def text(program: Program, way: Way, inputs: int) -> tuple[str, str]:
    """The text of the function that is compiled, and its name."""
    if way.what == "values":
        return program.text(), "f"
    summed = program.text(summed=True)
    arguments = ", ".join(program.arguments)
    if way.what == "inputs":
        return f"{summed}\n\n\ndef g({arguments}):\n    return mg.grad(f)({arguments})", "g"
    if way.what == "second":
        w = reference.weights(inputs).tolist()
        return f"{summed}\n\n\ndef g({arguments}):\n    return mg.dot(mg.grad(f)({arguments}), {w})", "g"
    return summed, "f"


class Trained(Module):
    """The parameters of a program, as a Trainer wants them."""

    def __init__(self, numbers: Sequence[float]) -> None:
        self.P = [Value(p) for p in numbers]


def trained(program: Program, data: Data, way: Way, engine: str) -> Array:
    """The parameters after two epochs of stochastic gradient descent on batches of five."""
    model = Trained(data.parameters)
    f = function(program.text(summed=True), model.P)
    indexed = len(program.arguments) > 1
    # A sample's last number is its index; targets are asked for, and this loss has no use for them.
    X = np.array([[*data.samples[k], data.indices[k]] for k in way.rows])

    def loss(model: Trained, x: Any, y: Any) -> Any:
        return f(list(x)[:-1], x[-1]) if indexed else f(list(x)[:-1])

    trainer = mg.Trainer(model, loss, optim.SGD(0.01), engine=engine, dtype=way.dtype, threads=way.threads)
    try:
        with warnings.catch_warnings():
            # That a random loss learns nothing, or from columns of unlike sizes, is not what is looked at.
            warnings.simplefilter("ignore", TrainingWarning)
            trainer.fit(X, np.linspace(0.0, 1.0, len(X)), epochs=2, batch_size=min(5, len(X)), progress=False)
    except DivergedError:  # which both engines must find
        return np.full(len(model.P), np.nan)
    return np.array([p.data for p in model.P])


def run(program: Program, data: Data, way: Way) -> list[Array]:
    """The compiled function's results: (rows, numbers), or the value and the gradient by the parameters."""
    if way.what == "training":
        with limited(way.budget, rolled=way.rolled):
            return [trained(program, data, way, "compiled")]
    if way.backend == "onnx":
        return _by_onnx(program, data, way)
    if way.backend == "c":
        return _by_c(program, data, way)
    if way.backend == "wasm":
        return _by_wasm(program, data, way)
    P = [Value(p * 0.5 + 0.25 if way.moved else p) for p in data.parameters]
    source, name = text(program, way, len(data.samples[0]))
    compiled = mg.compile(function(source, P, name), **settings(way))
    X = np.array([data.samples[k] for k in way.rows])
    index = np.array([data.indices[k] for k in way.rows])
    arguments = ([X, index] if way.batch else [X[0], index[0]])[: len(program.arguments)]
    with limited(way.budget, rolled=way.rolled):
        if way.moved:
            _answers(compiled, P, way, arguments)
            for value, number_now in zip(P, data.parameters, strict=True):
                value.data, value.grad = number_now, 0.0
        return _answers(compiled, P, way, arguments)


def _by_onnx(program: Program, data: Data, way: Way) -> list[Array]:
    """What ONNX Runtime answers, in its order of the rows."""
    import onnxruntime

    P = [Value(p) for p in data.parameters]
    f = function(text(program, way, len(data.samples[0]))[0], P)
    X = np.array([data.samples[k] for k in way.rows])
    index = np.array([data.indices[k] for k in way.rows])
    arguments = [X, index][: len(program.arguments)]
    compiled = mg.compile(f, batch=True, backend="numpy")
    if way.what != "values":
        compiled(*arguments)
        if not compiled.parameters:  # what has no gradient is not exported with one
            return run(program, data, replace(way, backend="numpy"))
    kind = "predict" if way.what == "values" else "gradient"
    options = onnxruntime.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 4, 1
    with tempfile.TemporaryDirectory() as folder, limited(way.budget, rolled=way.rolled):
        example = [argument[0] for argument in arguments]
        path = mg.export(f, f"{folder}/f.onnx", *example, kind=kind, dtype=way.dtype).paths[0]
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    feed = {x.name: a.astype(way.dtype) for x, a in zip(session.get_inputs(), arguments, strict=True)}
    found = [np.asarray(part, dtype=np.float64) for part in session.run(None, feed)]
    if way.what == "values":
        return [np.concatenate([part.reshape(len(way.rows), -1) for part in found], axis=1)]
    return [np.array([found[0]]), _in_place(P, compiled, found[1])]


def _by_c(program: Program, data: Data, way: Way) -> list[Array]:
    """What the exported file answers, compiled by the system's C compiler, for one row after the other."""
    P = [Value(p) for p in data.parameters]
    f = function(text(program, way, len(data.samples[0]))[0], P)
    arguments = [[np.asarray(data.samples[k]), np.asarray(data.indices[k])][: len(program.arguments)] for k in way.rows]
    gradient = way.what != "values"
    compiled = mg.compile(f, strict=way.strict)  # in whose order the parameters are
    compiled(*arguments[0])
    if gradient and not compiled.parameters:  # what has no gradient is not exported with one
        return run(program, data, replace(way, backend="numpy"))
    number = ctypes.c_double if way.dtype == "float64" else ctypes.c_float
    with tempfile.TemporaryDirectory() as folder, limited(way.budget, rolled=way.rolled):
        kind = "gradient" if gradient else "predict"
        exported = mg.export(f, f"{folder}/f.c", *arguments[0], kind=kind, dtype=way.dtype, strict=way.strict)
        command = ["cc", "-std=c99", "-Wall", "-Wextra", "-Werror", "-O1", "-shared", "-fPIC", "-o", f"{folder}/f.so"]
        subprocess.run([*command, f"{folder}/f.c", "-lm"], check=True, capture_output=True)
        library = ctypes.CDLL(f"{folder}/f.so")
        outputs = len(compiled.parameters) if gradient else int(_OUTPUTS.findall(Path(f"{folder}/f.c").read_text())[0])
    state, out, found = ctypes.create_string_buffer(exported.state), np.empty(outputs, way.dtype), []
    if gradient:
        library.f_gradient.restype = number
    for row in arguments:
        x = np.concatenate([np.ravel(part) for part in row]).astype(way.dtype)
        if gradient:
            value = library.f_gradient(state, None, ctypes.c_void_p(x.ctypes.data), ctypes.c_void_p(out.ctypes.data))
            return [np.array([value]), _in_place(P, compiled, out)]
        library.f_predict(state, ctypes.c_void_p(x.ctypes.data), ctypes.c_void_p(out.ctypes.data))
        found.append(out.astype(np.float64))
    return [np.array(found)]


def _by_wasm(program: Program, data: Data, way: Way) -> list[Array]:
    """What the exported module answers in wasmtime."""
    from .wasm import Module as WasmModule

    P = [Value(p) for p in data.parameters]
    f = function(text(program, way, len(data.samples[0]))[0], P)
    arguments = [[np.asarray(data.samples[k]), np.asarray(data.indices[k])][: len(program.arguments)] for k in way.rows]
    rows = [np.concatenate([np.ravel(part) for part in row]) for row in arguments]
    compiled = mg.compile(f, strict=way.strict)  # in whose order the parameters are
    compiled(*arguments[0])
    if way.what != "values" and not compiled.parameters:
        return run(program, data, replace(way, backend="numpy"))
    kind = "predict" if way.what == "values" else "gradient"
    with tempfile.TemporaryDirectory() as folder, limited(way.budget, rolled=way.rolled):
        mg.export(f, f"{folder}/f.wasm", *arguments[0], kind=kind, dtype=way.dtype, strict=way.strict)
        module = WasmModule(Path(folder) / "f.wasm")
    if kind == "predict":
        return [module.predict(rows).astype(np.float64)]
    value, gradient = module.gradient(rows[0])
    return [np.array([value]), _in_place(P, compiled, gradient)]


def _answers(compiled: Any, P: list[Value], way: Way, arguments: list[Any]) -> list[Array]:
    if way.what in ("values", "inputs"):
        found = [np.asarray(part, dtype=np.float64) for part in _arrays(compiled(*arguments))]
        rows = len(way.rows)
        return [np.concatenate([part.reshape(rows, -1) for part in found], axis=1)]
    if way.what in ("backward", "second"):
        value = compiled.backward(*arguments)
        return [np.array([value]), np.array([p.grad for p in P])]
    if way.what == "bind":
        step = compiled.bind(*arguments)
        value, gradient = step(), step.gradient
    else:
        compiled(*arguments)  # so that the parameters are known
        value, gradient = compiled.value_and_grad(compiled.theta(), *arguments)
    return [np.array([value]), _in_place(P, compiled, gradient)]


def _in_place(P: list[Value], compiled: Any, gradient: Any) -> Array:
    """A gradient in the compiled function's order of the parameters, in the order of P."""
    place = {id(p): k for k, p in enumerate(P)}
    full = np.zeros(len(P))
    for parameter, g in zip(compiled.parameters, gradient.tolist(), strict=True):
        full[place[id(parameter)]] = g
    return full


def _arrays(result: Any) -> list[Any]:
    """The arrays of a compiled function's result, in the order of its scalars."""
    if isinstance(result, dict):
        result = list(result.values())
    if isinstance(result, (list, tuple)):
        return [part for item in result for part in _arrays(item)]
    return [result]
