"""`python -m tests.fuzz.exports [first seed] [seconds]`: random programs with loops (`tests/fuzz/loops.py`) as files.

The value and the gradient of the C file, the WebAssembly module and the ONNX model are compared with the eager engine.
"""

from __future__ import annotations

import ctypes
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

import macrograd as mg

from . import loops

_FLAGS = ["-std=c99", "-Wall", "-Wextra", "-Werror", "-O1", "-shared", "-fPIC"]


def in_c(found: loops.Case, folder: Path, dtype: str, strict: bool) -> list[float]:
    made = mg.export(found.fn, folder / "f.c", *found.arguments, kind="gradient", dtype=dtype, strict=strict)
    subprocess.run(["cc", *_FLAGS, "-o", str(folder / "f.so"), str(folder / "f.c"), "-lm"], check=True)
    entry = ctypes.CDLL(str(folder / "f.so")).f_gradient
    entry.restype = ctypes.c_double if dtype == "float64" else ctypes.c_float
    entry.argtypes = [ctypes.c_void_p] * 4
    x, out = np.concatenate([np.ravel(a) for a in found.arguments]).astype(dtype), np.full(2, np.nan, dtype)
    state = ctypes.create_string_buffer(made.state)
    ctypes.memset(state, 0xA5, made.state)  # it needs no initialisation
    return [float(entry(state, None, x.ctypes.data, out.ctypes.data)), *out.tolist()]


def in_wasm(found: loops.Case, folder: Path, dtype: str, strict: bool) -> list[float]:
    from .wasm import Module

    mg.export(found.fn, folder / "f.wasm", *found.arguments, kind="gradient", dtype=dtype, strict=strict)
    value, gradient = Module(folder / "f.wasm").gradient(np.concatenate([np.ravel(a) for a in found.arguments]))
    return [value, *gradient.tolist()]


def in_onnx(found: loops.Case, folder: Path, dtype: str, strict: bool) -> list[float]:
    import onnxruntime

    mg.export(found.fn, folder / "f.onnx", *found.arguments, kind="gradient", dtype=dtype)
    options = onnxruntime.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 4, 1
    session = onnxruntime.InferenceSession(str(folder / "f.onnx"), options, providers=["CPUExecutionProvider"])
    feed = {x.name: np.array([a], dtype) for x, a in zip(session.get_inputs(), found.arguments, strict=False)}
    value, gradient = session.run(["value", "gradient"], feed)
    return [float(value), *gradient.tolist()]


FORMS: dict[str, Callable[[loops.Case, Path, str, bool], list[float]]] = {
    **({"c": in_c} if shutil.which("cc") else {}),
    **({"wasm": in_wasm} if find_spec("wasmtime") else {}),
    **({"onnx": in_onnx} if find_spec("onnxruntime") else {}),
}


def differs(found: loops.Case, form: str, dtype: str = "float64", strict: bool = False) -> str:
    """The difference between a file and the eager engine; empty if they agree."""
    for p in found.parameters:
        p.grad = 0.0
    value = found.fn(*[x.tolist() if isinstance(x, np.ndarray) else x for x in found.arguments])
    value.backward()
    compiled = mg.compile(found.fn, backend="numpy", strict=strict)  # in whose order the parameters are
    compiled(*found.arguments)
    expected = [value.data, *(p.grad for p in compiled.parameters)]
    with tempfile.TemporaryDirectory() as folder:
        got = FORMS[form](found, Path(folder), dtype, strict)[: len(expected)]
    if not np.isfinite(got).all() and dtype == "float32":  # numbers in between may be too large for it
        compiled = mg.compile(found.fn, backend="numpy", dtype=dtype)
        compiled(*found.arguments)
        value, gradient = compiled.value_and_grad(compiled.theta(), *found.arguments)
        if (np.isfinite(got) == np.isfinite([value, *gradient])).all():
            return ""
    return loops.told(got, expected, {"form": form, "dtype": dtype, "strict": strict})


WAYS: list[dict[str, Any]] = [
    *({"form": form, "strict": strict} for form in FORMS for strict in (False, True) if form != "onnx" or not strict),
    *({"form": form, "dtype": "float32"} for form in FORMS),
]

if __name__ == "__main__":
    given: list[Any] = [float(x) if "." in x else int(x) for x in sys.argv[1:]]
    loops.search(
        loops.case, lambda this, _, how: differs(this, **how), WAYS, ["memory=", "too long to be written"], *given
    )
