"""exp, log, tanh and the like of vectors in C: their errors, special values, and that nothing is undefined."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from macrograd.compiler.targets.c.code import FUNCTIONS
from macrograd.compiler.targets.c.vectors import with_vectors

needs_cc = pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler")
EXACT = {
    "exp": np.exp,
    "log": np.log,
    "log1p": np.log1p,
    "tanh": np.tanh,
    "sigmoid": lambda x: np.where(x < 0, np.exp(x) / (1 + np.exp(x)), 1 / (1 + np.exp(-x))),
    "softplus": lambda x: np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x))),
}
ULPS = {"exp": 1.5, "log": 1.0, "log1p": 3.0, "tanh": 3.0, "sigmoid": 2.5, "softplus": 2.0}
HARD = [0.0, 1.0, np.inf, np.nan, 5e-324, 1e-310, 1e-30, 1e-5, 0.5, 0.625, 0.7, 18.0, 88.9, 103.0, 104.0, 150.0, 709.7]
HARD += [710.0, 745.0, 746.0, 999.0, 1001.0, 1e10, 1e38, 1e300]


def points(dtype: Any) -> Any:
    draw = np.random.default_rng(1)
    wide = draw.normal(size=800) * 10.0 ** draw.uniform(-8, 3, 800)
    with np.errstate(over="ignore"):
        found = np.concatenate([HARD, np.negative(HARD), wide]).astype(dtype)
    return np.resize(found, 864)  # of whole vectors


def errors(name: str, x: Any, y: Any) -> Any:
    """In units in the last place of the exact answer; 0 where both are NaN or the same infinity."""
    with np.errstate(all="ignore"):
        exact = EXACT[name](x.astype(np.longdouble))
        near = exact.astype(x.dtype)
        unit = np.spacing(np.abs(np.where(np.isfinite(near), near, 1.0)))
        off = np.abs(y.astype(np.longdouble) - exact) / unit
    return np.where((y == near) | (np.isnan(y) & np.isnan(near)), 0.0, off.astype(float))


@needs_cc
@pytest.mark.parametrize("real", ["double", "float"])
@pytest.mark.parametrize(
    "flags", [["-O1"], ["-O1", "-march=native"], ["-O1", "-DMACROGRAD_PLAIN"], ["-O1", "-ffast-math"]]
)
def test_functions_of_vectors(real: str, flags: list[str], tmp_path: Path) -> None:
    loops = [
        f"void f_{name}(const {real} *x, {real} *y, int n) {{\n"
        f"    for (int i = 0; i < n; i += W) STORE(y + i, {macro}(LOAD(x + i)));\n}}\n"
        for name, macro in FUNCTIONS.items()
    ]
    text = "\n".join(with_vectors("f", real, loops, strict=False, width=64 // (8 if real == "double" else 4)))
    source, part, library = tmp_path / "f.c", tmp_path / "f.o", tmp_path / "f.so"
    source.write_text("#include <math.h>\n#include <stdint.h>\n" + text)
    command = ["cc", "-std=c99", "-pedantic", "-Wall", "-Wextra", "-Werror", *flags, "-fPIC"]
    subprocess.run([*command, "-c", str(source), "-o", str(part)], check=True)
    # Without the flags: a library that is linked with -ffast-math makes subnormal numbers 0 in the whole process.
    subprocess.run(["cc", "-shared", str(part), "-o", str(library), "-lm"], check=True)
    x = points(np.float64 if real == "double" else np.float32)
    if "-ffast-math" in flags:  # which has no infinities, and may have no subnormal numbers
        x = np.where(np.isfinite(x) & (np.abs(x) > 1e-30) & (np.abs(x) < 80.0), x, 1.0).astype(x.dtype)
    for name in FUNCTIONS:
        y = np.empty_like(x)
        call = getattr(ctypes.CDLL(str(library)), f"f_{name}")
        call(ctypes.c_void_p(x.ctypes.data), ctypes.c_void_p(y.ctypes.data), len(x))
        found = errors(name, x, y)
        assert found.max() <= ULPS[name], (name, float(x[found.argmax()]), float(y[found.argmax()]))
