"""Strict files: the bits of `compile(strict=True)` from any compiler. `make targets` tries other compilers and
machines."""

from __future__ import annotations

import ctypes
import math
import re
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import macrograd as mg
from macrograd import losses, optim
from macrograd.compiler.targets.c.vectors import with_vectors
from macrograd.ops import TABLE
from macrograd.rows.in_c import c_expression, c_functions
from tests.exporting.test_c import CASES, FLAGS, compiled, irregular, needs_cc, net

FUSING = ["-O3", "-march=native", "-ffp-contract=fast"]
LIMITS = [0.0, -0.0, 5e-324, -1e-310, 0.5, -1.0, 2.5, 2.0**52 + 1, 1.7e308, -1e300, math.inf, -math.inf, math.nan]


def answers(path: Path, *flags: str) -> str:
    """The output of the self-test, which in strict files compares every bit."""
    program = compiled(path, *flags, "-DMACROGRAD_SELFTEST")
    result = subprocess.run([str(program)], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@needs_cc
def test_every_operation_has_the_bits_of_compiled_code(tmp_path: Path) -> None:
    rows = [op for op in TABLE if op.arity]
    functions: dict[str, str] = {}
    for op in rows:
        functions.update(c_functions(op, strict=True))
    calls = []
    for op in rows:
        head = f"double run_{op.name}({', '.join(f'double x{k}' for k in range(op.arity or 0))})"
        used = " ".join(f"(void)x{k};" for k in range(op.arity or 0))
        expression = c_expression(op, *[f"x{k}" for k in range(op.arity or 0)], strict=True)
        calls.append(f"{head};\n{head} {{ {used} return {expression}; }}\n")
    text = "\n".join(["#include <stdint.h>", *with_vectors("t", "double", [*functions.values(), *calls], strict=True)])
    assert "math.h" not in text
    (tmp_path / "t.c").write_text(text)
    command = [
        "cc",
        *FLAGS,
        "-O1",
        *FUSING[1:],
        "-shared",
        "-fPIC",
        "-o",
        str(tmp_path / "t.so"),
        str(tmp_path / "t.c"),
    ]
    subprocess.run(command, check=True)
    library, random = ctypes.CDLL(str(tmp_path / "t.so")), np.random.default_rng(0)
    ways = {
        1: lambda op: lambda a: op(a),
        2: lambda op: lambda a, b: op(a, b),
        3: lambda op: lambda a, b, c: op(a, b, c),
    }
    X = [
        np.concatenate([random.normal(size=60) * 4, np.exp(random.uniform(-730, 705, 60)), limits])
        for limits in (np.repeat(LIMITS, len(LIMITS)), np.tile(LIMITS, len(LIMITS)), np.repeat(LIMITS, len(LIMITS)))
    ]
    for op in rows:
        run, columns = getattr(library, f"run_{op.name}"), X[: op.arity]
        run.restype, run.argtypes = ctypes.c_double, [ctypes.c_double] * len(columns)
        if op.name == "polygamma":
            columns = [np.resize([1.0, 2.0], len(X[0])), X[1]]
        native = mg.compile(ways[len(columns)](op), batch=True, strict=True, backend="numpy")(*columns)
        found = [run(*x) for x in zip(*(column.tolist() for column in columns), strict=True)]
        np.testing.assert_array_equal(found, native, err_msg=op.name)
        assert (np.signbit(found) == np.signbit(native))[~np.isnan(native)].all(), op.name


@needs_cc
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", ["classifier's gradient", "recurrence's gradient", "data's gradient", "take"])
def test_values_and_gradients(tmp_path: Path, name: str, dtype: str) -> None:
    function, args, kind = CASES[name]
    mg.export(function, tmp_path / "case.c", *args, kind=kind, dtype=dtype, strict=True)
    text = (tmp_path / "case.c").read_text()
    assert "math.h" not in text
    assert "needs no library, and has the same bits everywhere" in text
    answers(tmp_path / "case.c", *FUSING)


@needs_cc
@pytest.mark.parametrize(
    ("lanes", "dtype", "flags"),
    [
        (1, "float64", ["-O0"]),
        (8, "float64", FUSING),
        (8, "float64", [*FUSING, "-DMACROGRAD_PLAIN"]),
        (4, "float32", FUSING),
    ],
)
def test_a_hundred_steps(tmp_path: Path, lanes: int, dtype: str, flags: list[str]) -> None:
    model = net([2, 9, 1], "tanh")

    def loss(x: Any, t: Any) -> Any:
        return losses.binary_cross_entropy(model(x), t)

    mg.export(
        loss, tmp_path / "t.c", [0.0, 0.0], 1.0, kind="train", optimizer=optim.Adam(0.05), lanes=lanes, dtype=dtype,
        strict=True,
    )  # fmt: skip
    answers(tmp_path / "t.c", *flags)


@needs_cc
def test_streams_train_alike_in_any_lanes(tmp_path: Path) -> None:
    """Sums over the batch do not depend on how many samples are side by side."""
    for lanes in (1, 8):
        function = irregular()
        mg.export(
            function, tmp_path / "t.c", np.zeros(20), kind="train", optimizer=optim.SGD(0.01), lanes=lanes, strict=True
        )
        answers(tmp_path / "t.c", "-O0")


@needs_cc
def test_without_the_defence_other_bits_come_out(tmp_path: Path) -> None:
    function, args, kind = CASES["classifier's gradient"]
    mg.export(function, tmp_path / "case.c", *args, kind=kind, strict=True)
    macros = subprocess.run(["cc", "-march=native", "-dM", "-E", "-xc", "/dev/null"], capture_output=True, text=True)
    if "__FMA__" not in macros.stdout:
        pytest.skip("this processor does not fuse")
    text = (tmp_path / "case.c").read_text()
    (tmp_path / "case.c").write_text(text.replace("#elif defined(__GNUC__) && (defined(__x86_64__)", "#elif 0 && (0"))
    answers(tmp_path / "case.c", *FUSING)  # volatile is a defence, too
    (tmp_path / "case.c").write_text(text.replace("#ifdef KEEP_", "#ifdef NEVER_"))
    program = compiled(tmp_path / "case.c", *FUSING, "-DMACROGRAD_SELFTEST")
    assert subprocess.run([str(program)], capture_output=True, check=False).returncode == 1


@needs_cc
@pytest.mark.parametrize("op", [op for op in TABLE if op.arity], ids=lambda op: op.name)
def test_a_file_has_no_function_that_it_does_not_use(tmp_path: Path, op: Any) -> None:
    """Compiled with this machine's square root instruction, and as if there were none."""
    text = "\n".join(c_functions(op, strict=True).values())
    (tmp_path / "t.c").write_text(text)
    for flags in ([], ["-U__SSE2__", "-U__aarch64__"]):
        command = ["cc", "-E", "-P", *flags, str(tmp_path / "t.c")]
        left = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        for name in re.findall(r"^static \w+ (mg_\w+)\(", left, re.MULTILINE):
            assert name == f"mg_{op.name}" or len(re.findall(rf"\b{name}\(", left)) > 1 or f"{name}(" in op_text(op), (
                name
            )


def op_text(op: Any) -> str:
    return c_expression(op, *["x"] * (op.arity or 0), strict=True)


@needs_cc
@pytest.mark.parametrize("flag", ["-ffast-math", "-Ofast"])
def test_flags_that_change_sums_are_refused(tmp_path: Path, flag: str) -> None:
    mg.export(lambda x: x * 2.0, tmp_path / "case.c", 1.0, strict=True)
    result = subprocess.run(
        ["cc", flag, "-c", str(tmp_path / "case.c"), "-o", "/dev/null"], capture_output=True, text=True, check=False
    )
    assert "-ffast-math and -Ofast change the results of sums: compile without them" in result.stderr


def test_strict_is_true_or_false(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"export\(strict='yes'\): strict must be True or False"):
        mg.export(lambda x: x, tmp_path / "case.c", 1.0, strict="yes")
    assert not list(tmp_path.iterdir())


@needs_cc
@pytest.mark.parametrize(("method", "right"), [("0", True), ("16", True), ("1", False), ("2", False), ("-1", False)])
def test_excess_precision_is_an_error_and_half_precision_is_none(tmp_path: Path, method: str, right: bool) -> None:
    """gcc's -march=native says 16 where the processor computes with half precision: float and double are themselves."""
    mg.export(net([2, 3, 1]), path := tmp_path / "net.c", [0.0, 0.0], strict=True)
    command = ["cc", "-E", "-w", "-U__FLT_EVAL_METHOD__", f"-D__FLT_EVAL_METHOD__={method}", str(path)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (result.returncode == 0) == right
    assert ("excess precision" in result.stderr) != right
