"""Every target has each operation, or composes it: the NumPy form and the C form give the same numbers."""

from __future__ import annotations

import math
import shutil
import subprocess
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from macrograd import ops
from macrograd.compiler.jit.text import DOUBLE, Code
from macrograd.compiler.targets.scalar.routines import routine
from macrograd.ops import TABLE, Op
from macrograd.rows.in_c import c_expression, c_functions
from tests.test_ops import SPECIAL


@pytest.mark.parametrize("op", [op for op in TABLE if op.name not in ("take", "constant")], ids=lambda op: op.name)
def test_numpy_form_gives_the_same(op: Op) -> None:
    """To the sign of a zero and the kind of a NaN; to some units in the last place where the libraries differ."""
    count = op.arity if op.arity is not None else 4
    grid = (
        list(product(SPECIAL, repeat=count)) if count < 3 else list(product(SPECIAL[:7] + SPECIAL[-3:], repeat=count))
    )
    columns = [np.array(column) for column in zip(*grid, strict=True)]
    with np.errstate(all="ignore"):  # infinities and NaN are what this is about
        found = np.broadcast_to(op.array(np, *columns), len(grid))
    for x, y in zip(grid, found, strict=True):
        expected = op.forward(*x)
        assert y == pytest.approx(expected, rel=1e-14, abs=0, nan_ok=True), (op, x)
        if expected == 0.0:
            assert math.copysign(1.0, y) == math.copysign(1.0, expected), (op, x)


def test_numpy_form_of_take() -> None:
    rows = [np.array([1.0, 2.0]), np.array([3.0, 4.0]), np.array([5.0, 6.0])]
    assert ops.take.array(np, np.array([2.0, 0.0]), *rows).tolist() == [5.0, 2.0]


C_FLAGS = ["-std=c99", "-O1", "-Wall", "-Wextra", "-Wconversion", "-pedantic", "-Werror"]


@pytest.mark.skipif(shutil.which("cc") is None, reason="the C forms can be tried only where there is a C compiler")
def test_c_form_gives_the_same(tmp_path: Path) -> None:
    """As strict C99 without a warning, and without undefined behaviour at any of the points."""
    rows = [op for op in TABLE if op.arity]
    functions: dict[str, str] = {}
    calls = []
    for op in rows:
        functions |= c_functions(op)
        names = [f"x[{k}]" for k in range(op.arity or 0)]
        calls.append(f"        case {op.code}: y = {c_expression(op, *names)}; break;")
    source = [
        "#include <math.h>\n#include <stdint.h>\n#include <stdio.h>",
        *functions.values(),
        "int main(void) {\n    int code;\n    double x[3], y = 0;",
        '    while (scanf("%d %la %la %la", &code, x, x + 1, x + 2) == 4) {\n        switch (code) {',
        *calls,
        '        }\n        printf("%a\\n", y);\n    }\n    return 0;\n}\n',
    ]
    (tmp_path / "ops.c").write_text("\n".join(source))
    command = ["cc", *C_FLAGS, "-fsanitize=undefined", "-fno-sanitize-recover=all", "-o", "ops", "ops.c", "-lm"]
    built = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    if "sanitize" in built.stderr or "ubsan" in built.stderr:  # a compiler without it
        command = [part for part in command if "sanitize" not in part]
        built = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    points = [(op, x) for op in rows for x in product(SPECIAL, repeat=op.arity or 0)]
    text = "".join(f"{op.code} {' '.join(v.hex() for v in (*x, 0.0, 0.0)[:3])}\n" for op, x in points)
    ran = subprocess.run([tmp_path / "ops"], input=text, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    for (op, x), line in zip(points, ran.stdout.split(), strict=True):
        expected, y = op.forward(*x), float.fromhex(line)
        assert y == pytest.approx(expected, rel=1e-14, abs=0, nan_ok=True), (op, x)
        if expected == 0.0:
            assert math.copysign(1.0, y) == math.copysign(1.0, expected), (op, x)


@pytest.mark.parametrize("op", [op for op in TABLE if op.name != "constant"], ids=lambda op: op.name)
def test_every_target_has_the_operation_or_composes_it(op: Op) -> None:
    operands = ["a", "b", "c", "d"][: op.arity]
    assert c_expression(op, *operands)
    assert callable(op.array)
    if op.arity is None:  # structure to the compiler: sums of products, and choices by an index
        assert op.name in ("sum", "dot", "take")
        assert op.llvm is None
        return
    for strict in (False, True):
        assert routine(op, strict=strict)(Code(DOUBLE), 4, *operands)


def test_an_operation_without_a_spelling_is_a_named_error() -> None:
    class Nothing:
        name, llvm, formula, c = "nothing", None, None, None

    with pytest.raises(LookupError, match="operation 'nothing' has neither an LLVM form nor a formula"):
        routine(Nothing)
    with pytest.raises(LookupError, match="operation 'nothing' has neither a C form nor a formula"):
        c_expression(Nothing, "a")


def test_a_formula_may_not_branch() -> None:
    from macrograd.rows.composed import on_arrays

    with pytest.raises(TypeError, match=r"may not branch: choose with where\(condition, a, b\)"):
        on_arrays(lambda a: a if a else -a)(np, np.ones(2))
