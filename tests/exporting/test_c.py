"""Functions as C files: they compile without a word, and compute what macrograd computes."""

from __future__ import annotations

import ctypes
import math
import random
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import macrograd as mg
from macrograd import Value, datasets, losses, nn, optim
from macrograd.compiler.step import TrainingLoop
from macrograd.exporting.names_c import harmless

A, B = Value(0.6), Value(-0.3)
FLAGS = ["-std=c99", "-pedantic", "-Wall", "-Wextra", "-Wconversion", "-Wdouble-promotion", "-Wshadow", "-Werror"]
SANITIZERS = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
LONG = 20_000  # bytes of a C file
DEAREST = "-fno-sanitize=null,object-size,pointer-overflow"  # half of gcc's time, for what the address sanitizer sees
needs_cc = pytest.mark.skipif(
    shutil.which("cc") is None, reason="the files can be tried only where there is a C compiler"
)


def compiled(path: Path, *flags: str) -> Path:
    out = path.with_suffix("")
    command = ["cc", *FLAGS, *flags, "-o", str(out), str(path), "-lm"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (result.returncode, result.stderr) == (0, "")
    return out


def checked(path: Path, *flags: str) -> Path:
    """A program with sanitizers. Those of a long file take gcc twice as long to optimise as all else, so its warnings
    come from a compilation without them; `make targets` does both at once, and leaves nothing out."""
    if path.stat().st_size < LONG:
        return compiled(path, "-O1", *SANITIZERS, *flags)
    compiled(path, "-O1", "-c", *flags)
    return compiled(path, "-O0", *SANITIZERS, DEAREST, *flags)


def selftest(path: Path) -> subprocess.CompletedProcess[str]:
    program = checked(path, "-DMACROGRAD_SELFTEST")
    return subprocess.run([str(program)], capture_output=True, text=True, check=False)


def net(sizes: list[int], activation: str = "relu") -> nn.MLP:
    return nn.MLP(sizes[0], sizes[1:], seed=1, activation=activation)


def recurrence(rounds: int) -> Callable[[Any], Any]:
    rate = Value(0.9)

    def run(x: Any) -> Any:
        h: Any = 0.0
        for k in range(rounds):
            h = mg.tanh(rate * h + x[k])
        return h

    return run


def irregular() -> Callable[[Any], Any]:
    """Without a pattern, so that it runs as data for the interpreter."""
    draw, leaves = random.Random(2), [Value(0.1 * k - 1.0) for k in range(20)]
    plan = [(draw.randrange(8), draw.random(), draw.random()) for _ in range(700)]

    def run(x: Any) -> Any:
        v = [leaf * xx for leaf, xx in zip(leaves, x, strict=True)]
        for kind, p, q in plan:
            a, b = v[int(p * len(v))], v[int(q * len(v))]
            makes = (
                lambda a, b: mg.tanh(a) * b, lambda a, b: mg.sin(a), lambda a, b: mg.sigmoid(a), lambda a, b: a + b,
                lambda a, b: a - b, mg.maximum, lambda a, b: mg.where(a < b, a, b), lambda a, b: mg.softplus(a),
            )  # fmt: skip
            v.append(makes[kind](a, b))
        return mg.mean(v)

    return run


def special(x: Any) -> list[Any]:
    return [
        mg.erf(x), mg.lgamma(x), mg.digamma(x), mg.atan2(x, 2.0), mg.round(x), mg.mod(x, 0.7), mg.cbrt(x),
        mg.norm_cdf(x), mg.expm1(x), x**3, mg.sqrt(abs(x)), mg.relu(x),
    ]  # fmt: skip


TABLE = [Value(1.0), Value(-2.0), Value(3.0)]
MOONS, DIGITS = net([2, 16, 16, 1]), net([20, 16, 5], "tanh")
CASES: dict[str, tuple[Callable[..., Any], tuple[Any, ...], str]] = {
    "net": (MOONS, ([0.0, 0.0],), "predict"),
    "net's gradient": (lambda x, t: losses.hinge(MOONS(x), t), ([0.0, 0.0], 1.0), "gradient"),
    "classifier": (DIGITS, (np.zeros(20),), "predict"),
    "classifier's gradient": (lambda x: losses.cross_entropy(DIGITS(x), 2), (np.zeros(20),), "gradient"),
    "recurrence": (recurrence(50), (np.zeros(50),), "predict"),
    "recurrence's gradient": (recurrence(50), (np.zeros(50),), "gradient"),
    "data": (irregular(), (np.zeros(20),), "predict"),
    "data's gradient": (irregular(), (np.zeros(20),), "gradient"),
    "special": (special, (0.5,), "predict"),
    "take": (lambda i, x: mg.take(TABLE, i) * x, (0, 1.0), "predict"),
    "take's gradient": (lambda i, x: mg.take(TABLE, i) * x, (0, 1.0), "gradient"),
    "a constant": (lambda x: 2.0, (0.5,), "predict"),
    "an input": (lambda x: x, ([0.5, 2.0],), "predict"),
}


@needs_cc
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", CASES)
def test_the_file_agrees(tmp_path: Path, name: str, dtype: str) -> None:
    function, args, kind = CASES[name]
    mg.export(function, tmp_path / "case.c", *args, kind=kind, dtype=dtype)
    result = selftest(tmp_path / "case.c")
    assert result.returncode == 0, result.stdout + result.stderr
    assert result.stdout == "case: 3 cases agree\n"


@needs_cc
def test_the_self_test_finds_a_wrong_weight(tmp_path: Path) -> None:
    path = tmp_path / "net.c"
    mg.export(MOONS, path, [0.0, 0.0])
    text = path.read_text()
    weight = float(MOONS.parameters()[40].data).hex()
    assert text.count(f" {weight},") == 1
    path.write_text(text.replace(f" {weight},", f" {(float.fromhex(weight) + 0.25).hex()},"))
    result = selftest(path)
    assert result.returncode == 1
    assert "expected" in result.stdout


@needs_cc
@pytest.mark.parametrize("name", ["solver", "index", "nothing"])
def test_the_self_test_has_numbers_with_an_answer(tmp_path: Path, name: str) -> None:
    """Random numbers may have no solution, be no index, or be none."""
    function, args = {
        "solver": (lambda a: mg.implicit(lambda x: x * x - a, 1.0), [2.0]),
        "index": (lambda k: mg.take([1.0, Value(2.0)], k), [1.0]),
        "nothing": (lambda x: Value(2.0) * 3.0, [[]]),
    }[name]
    mg.export(function, tmp_path / "f.c", *args)
    assert selftest(tmp_path / "f.c").stdout == "f: 3 cases agree\n"


@needs_cc
@pytest.mark.filterwarnings("ignore:overflow encountered in cast")  # NumPy's, of the same numbers
@pytest.mark.parametrize("strict", [False, True])
def test_numbers_that_float32_cannot_hold_are_no_literals(tmp_path: Path, strict: bool) -> None:
    """Compilers warn of those that become 0 or infinite."""
    rate = Value(1e-300)

    def fn(x: Any) -> list[Any]:
        return [x * 1e-310 + 1.0, mg.where(x < 1e300, x, 0.0), mg.where(x > -1e-46, rate, x), x * rate - 1e39]

    mg.export(fn, tmp_path / "tiny.c", 0.5, dtype="float32", strict=strict)
    assert selftest(tmp_path / "tiny.c").stdout == "tiny: 3 cases agree\n"


@needs_cc
@pytest.mark.parametrize("compiler", ["cc", "tcc"])
def test_parameters_may_be_infinite(tmp_path: Path, compiler: str) -> None:
    if shutil.which(compiler) is None:
        pytest.skip(f"{compiler} is not installed")
    odd = [Value(x) for x in (math.inf, -math.inf, math.nan, -0.0, 0.5)]
    mg.export(lambda x: [p * x for p in odd], tmp_path / "net.c", 1.0)
    flags = ["-std=c99", "-Wall", "-Werror", "-DMACROGRAD_SELFTEST"]
    subprocess.run([compiler, *flags, str(tmp_path / "net.c"), "-o", str(tmp_path / "net"), "-lm"], check=True)
    said = subprocess.run([str(tmp_path / "net")], capture_output=True, text=True, check=False).stdout
    assert said == "net: 3 cases agree\n"


@needs_cc
def test_the_header_stands_alone(tmp_path: Path) -> None:
    exported = mg.export(MOONS, tmp_path / "net.c", [0.0, 0.0], header=True)
    assert [path.name for path in exported.paths] == ["net.c", "net.h"]
    assert selftest(tmp_path / "net.c").returncode == 0
    (tmp_path / "user.c").write_text(
        '#include "net.h"\n#include "net.h"\nint main(void) { return NET_INPUTS + (int)sizeof(net_state) == 0; }\n'
    )
    assert compiled(tmp_path / "user.c", "-c").exists()


@needs_cc
@pytest.mark.skipif(shutil.which("c++") is None, reason="needs a C++ compiler")
@pytest.mark.parametrize("strict", [False, True])
def test_files_are_cpp_too_and_stand_side_by_side(tmp_path: Path, strict: bool) -> None:
    """Several files in one, as C and as C++, and a file in C behind its header in C++."""
    loss = (lambda x: (mg.tanh(A * x[0]) + mg.exp(B) * mg.relu(x[1])) ** 2, [0.3, 0.7])
    settings: dict[str, Any] = {"strict": strict, "header": True}
    mg.export(loss[0], tmp_path / "one.c", loss[1], **settings)
    mg.export(loss[0], tmp_path / "two.c", loss[1], kind="gradient", **settings)
    mg.export(loss[0], tmp_path / "three.c", loss[1], kind="train", optimizer=optim.Adam(0.1), **settings)
    rows = np.random.default_rng(0).normal(size=(20, 2))
    mg.export(loss[0], tmp_path / "four.c", loss[1], dtype="int8", calibration=rows, header=True)
    names = ["one", "two", "three", "four"]
    body = (
        "int main() { return sizeof(one_state) + sizeof(two_state) + sizeof(three_state) + sizeof(four_state) == 0; }\n"
    )
    (tmp_path / "all.c").write_text(
        "".join(f'#include "{name}.c"\n' for name in names) + body.replace("()", "(void)", 1)
    )
    (tmp_path / "user.cpp").write_text(
        "".join(f'#include "{name}.h"\n' for name in names)
        + "int main() { one_state s; double x[2] = {0.3, 0.7}, y; one_predict(&s, x, &y); return !(y > 0); }\n"
    )
    assert compiled(tmp_path / "all.c").exists()
    cpp = ["c++", "-std=c++17", "-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Werror"]
    for kind in ("-DMACROGRAD_PLAIN", "-march=native"):
        subprocess.run([*cpp, kind, "-fsyntax-only", "-x", "c++", str(tmp_path / "all.c")], check=True)
    subprocess.run(["cc", *FLAGS, "-c", "-o", str(tmp_path / "one.o"), str(tmp_path / "one.c")], check=True)
    program = tmp_path / "user"
    subprocess.run([*cpp, "-o", str(program), str(tmp_path / "user.cpp"), str(tmp_path / "one.o"), "-lm"], check=True)
    assert subprocess.run([str(program)], check=False).returncode == 0


@needs_cc
def test_an_older_standard_is_a_named_error(tmp_path: Path) -> None:
    mg.export(MOONS, tmp_path / "net.c", [0.0, 0.0])
    done = subprocess.run(
        ["cc", "-std=c89", "-fsyntax-only", str(tmp_path / "net.c")], capture_output=True, text=True, check=False
    )
    assert done.returncode
    assert "the file is C99: compile it with -std=c99 or a later standard" in done.stderr


@pytest.mark.parametrize("name", ["2 net-\u00fc", "a'b", "x#y%20"])
def test_paths_may_have_any_characters_that_an_include_can(tmp_path: Path, name: str) -> None:
    exported = mg.export(MOONS, tmp_path / f"{name}.c", [0.0, 0.0], header=True)
    assert f'#include "{name}.h"' in exported.paths[0].read_text("utf-8")
    assert exported.paths[1].exists()
    for odd in ('"', "\\", "\n"):
        with pytest.raises(ValueError, match="C cannot include a header with"):
            mg.export(MOONS, tmp_path / f"a{odd}b.c", [0.0, 0.0], header=True)
    assert len(list(tmp_path.iterdir())) == 2


def test_sizes_are_those_of_the_file(tmp_path: Path) -> None:
    exported = mg.export(MOONS, tmp_path / "net.c", [0.0, 0.0])
    assert exported.constants >= 337 * 8
    assert f"{exported.constants:,} bytes of constants, {exported.state:,} bytes of state" in str(exported)
    assert exported.state < 1000  # the weights are not in it
    said = (
        f"{exported.constants:,} bytes of constants, {exported.state:,} bytes of state, {exported.scratch:,} bytes of"
    )
    assert said in (tmp_path / "net.c").read_text().split("*/")[0]


@needs_cc
@pytest.mark.parametrize(
    ("kind", "dtype", "lanes"), [("gradient", "float64", 1), ("train", "float64", 8), ("train", "float32", 1)]
)
def test_the_state_and_the_constants_have_the_stated_size(tmp_path: Path, kind: str, dtype: str, lanes: int) -> None:
    settings: dict[str, Any] = {"optimizer": optim.Adam(0.01), "lanes": lanes} if kind == "train" else {}
    exported = mg.export(
        lambda x, t: losses.hinge(MOONS(x), t), tmp_path / "t.c", [0.0, 0.0], 1.0, kind=kind, dtype=dtype, **settings
    )
    (tmp_path / "main.c").write_text(
        f'#include "t.c"\nint main(void) {{ return sizeof(t_state) != {exported.state}; }}\n'
    )
    assert subprocess.run([str(compiled(tmp_path / "main.c"))], check=False).returncode == 0
    if shutil.which("size"):
        code = exported.code()
        assert code is not None
        assert 200 < code < 50_000
        compiled(tmp_path / "t.c", "-c", "-Os")
        listed = subprocess.run(["size", "-A", str(tmp_path / "t")], capture_output=True, text=True, check=True).stdout
        constants = sum(int(n) for n in re.findall(r"^\.(?:rodata|data\.rel)\S*\s+(\d+)", listed, re.MULTILINE))
        assert -16 <= constants - exported.constants < 700  # a compiler adds its own, and inlines an array of one
    assert exported.code("no-such-compiler") is None


@pytest.mark.parametrize("kind", ["predict", "gradient"])
def test_loops_stay_loops(tmp_path: Path, kind: str) -> None:
    lines = []
    for rounds in (100, 1000):
        mg.export(recurrence(rounds), tmp_path / "case.c", np.zeros(rounds), kind=kind)
        body = (tmp_path / "case.c").read_text().split("#ifdef MACROGRAD_SELFTEST")[0]
        lines.append(len(body.splitlines()))
    assert lines[0] == lines[1] < 200


def train(
    path: Path, model: nn.MLP, optimizer: Any, lanes: int, dtype: str, *flags: str
) -> tuple[np.ndarray, np.ndarray]:
    """The losses of 20 steps in C and natively, of uneven batches. What gcc warns of when it optimises such a file is
    seen in `checked`, and `make targets` runs optimised ones."""
    X, y = datasets.make_moons(60, noise=0.1, seed=1)
    y = 2.0 * y - 1.0

    def loss(x: Any, t: Any) -> Any:
        return losses.hinge(model(x), t)

    mg.export(loss, path, X[0], 1.0, kind="train", optimizer=optimizer, lanes=lanes, dtype=dtype)
    source = path.with_name("library.c")
    source.write_text(
        f'#include "{path.name}"\nsize_t room(void);\nsize_t room(void) {{ return sizeof({path.stem}_state); }}\n'
    )
    source.write_text("#include <stddef.h>\n" + source.read_text())
    library = path.with_suffix(".so")
    subprocess.run(
        ["cc", *FLAGS, *flags, "-O0", "-shared", "-fPIC", "-o", str(library), str(source), "-lm"], check=True
    )
    lib = ctypes.CDLL(str(library))
    lib.room.restype = ctypes.c_size_t
    state = ctypes.create_string_buffer(lib.room())
    number = ctypes.c_double if dtype == "float64" else ctypes.c_float
    step = getattr(lib, f"{path.stem}_step")
    step.restype, step.argtypes = number, [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int32, number]
    getattr(lib, f"{path.stem}_init")(state)
    rows, order = np.hstack([X, y[:, None]]).astype(dtype), np.random.default_rng(0).integers(0, 60, (20, 13))
    batches = [np.ascontiguousarray(rows[picked]) for picked in order]
    in_c = [step(state, batch.ctypes.data, len(batch), 0.05) for batch in batches]
    loop = TrainingLoop(
        mg.compile(loss, batch=True, dtype=dtype), [X, y], optimizer.rule, optimizer.initial_state, batch_size=13
    )
    native = loop.run(order.ravel().astype(np.int64), np.full(20, 13), np.full(20, 0.05)).losses
    return np.array(in_c), native


@needs_cc
@pytest.mark.parametrize(
    ("lanes", "dtype"),
    [(1, "float64"), (2, "float64"), (8, "float64"), (5, "float64"), (4, "float32"), (16, "float32")],
)
@pytest.mark.parametrize("optimizer", [optim.SGD(0.05), optim.Adam(0.05)], ids=["sgd", "adam"])
@pytest.mark.parametrize("flag", ["-march=native", "-DMACROGRAD_PLAIN"])
def test_training_in_c_takes_the_same_steps(tmp_path: Path, optimizer: Any, lanes: int, dtype: str, flag: str) -> None:
    in_c, native = train(tmp_path / "trainer.c", net([2, 8, 1], "tanh"), optimizer, lanes, dtype, flag)
    np.testing.assert_allclose(in_c, native, rtol=1e-12 if dtype == "float64" else 2e-5)
    assert len(set(in_c.tolist())) == 20


@needs_cc
@pytest.mark.parametrize("lanes", [1, 8])
def test_training_without_parameters_compiles_without_a_warning(tmp_path: Path, lanes: int) -> None:
    mg.export(lambda x: x * x, tmp_path / "t.c", 1.0, kind="train", optimizer=optim.Adam(0.1), lanes=lanes)
    compiled(tmp_path / "t.c", "-c")


LENGTHS = [(), ("-march=native",), ("-DMACROGRAD_PLAIN",)]  # of vectors: the least of the machine, the most, and none


@needs_cc
@pytest.mark.parametrize("flags", LENGTHS, ids=["short", "long", "plain"])
@pytest.mark.parametrize(("dtype", "lanes"), [("float64", 4), ("float64", 24), ("float32", 16)])
def test_one_file_trains_alike_with_vectors_of_every_length(
    tmp_path: Path, dtype: str, lanes: int, flags: tuple[str, ...]
) -> None:
    """Samples of more numbers than a vector, a matrix product, its transpose, gradients that are outer products and
    sums over the batch; parameters that are no whole vectors."""
    model = net([19, 25, 3], "tanh")

    def loss(x: Any, y: Any) -> Any:
        return losses.cross_entropy(model(x), y)

    mg.export(
        loss, tmp_path / "wide.c", [0.5] * 19, 1.0, kind="train", optimizer=optim.Adam(0.01), lanes=lanes, dtype=dtype
    )
    text = (tmp_path / "wide.c").read_text()
    assert all(f" {macro}(" in text for macro in ("TURN", "SUMS", "LOAD"))
    program = compiled(tmp_path / "wide.c", "-O0", "-DMACROGRAD_SELFTEST", *flags)
    done = subprocess.run([str(program)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "wide: 100 steps agree\n")


class Momenta(optim.Optimizer):
    """A rule whose long form has more values than there are registers, and whose second state is the step."""

    initial_state = (0.0, 0.0)

    def __init__(self, terms: int) -> None:
        super().__init__(0.05)
        self.terms = terms

    def rule(self, p: Any, g: Any, state: Any, rate: Any, step: Any) -> Any:
        m, _ = state
        moved = sum((mg.tanh(m * (0.1 * k)) * 1e-3 for k in range(self.terms)), 0.9 * m + g)
        return p - rate * moved, (moved, step)


@needs_cc
@pytest.mark.parametrize("flags", LENGTHS, ids=["short", "long", "plain"])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_roots_of_strict_vectors_compile_without_a_warning(tmp_path: Path, dtype: str, flags: tuple[str, ...]) -> None:
    """The root of numbers is called only where vectors are numbers."""
    model = net([2, 3, 1], "relu")
    settings: dict[str, Any] = {"optimizer": optim.RMSProp(0.05), "lanes": 8, "strict": True, "dtype": dtype}
    mg.export(lambda x, t: losses.hinge(model(x), t), tmp_path / "t.c", [0.0, 0.0], 1.0, kind="train", **settings)
    compiled(tmp_path / "t.c", "-c", *flags)


@needs_cc
@pytest.mark.parametrize("terms", [1, 60], ids=["in registers", "in blocks"])
@pytest.mark.parametrize("lanes", [1, 4])
def test_update_rules_of_any_length_take_the_same_steps(tmp_path: Path, lanes: int, terms: int) -> None:
    in_c, native = train(tmp_path / "t.c", net([2, 5, 1], "tanh"), Momenta(terms), lanes, "float64", "-march=native")
    np.testing.assert_allclose(in_c, native, rtol=1e-12)
    assert ("update_block(&s->update, " in (tmp_path / "t.c").read_text()) == (terms == 1)


@needs_cc
@pytest.mark.parametrize("flags", LENGTHS, ids=["short", "long", "plain"])
def test_a_gradient_that_is_not_finite_anywhere_changes_nothing(tmp_path: Path, flags: tuple[str, ...]) -> None:
    """Each of 39 parameters, in vectors and after them: the derivative of w·x by w is x."""
    weights = [Value(1.0) for _ in range(39)]

    def loss(x: Any, chosen: Any) -> Any:
        return sum(mg.where(chosen > 0.0, w * v, 0.0 * w) for w, v in zip(weights, x, strict=True)) * 0.0 + chosen

    mg.export(loss, tmp_path / "t.c", [1.0] * 39, 1.0, kind="train", optimizer=optim.SGD(0.1), lanes=8)
    (tmp_path / "main.c").write_text(
        '#include "t.c"\nstatic t_state s;\nint main(void) {\n    t_init(&s);\n'
        "    for (int k = 0; k < 39; ++k) {\n        double row[40] = {0};\n        row[39] = 1.0;\n"
        "        row[k] = 1.0 / 0.0;\n        const double loss = t_step(&s, row, 1, 0.1);\n"
        "        if (loss == loss || s.steps != 0) return 1 + k;\n    }\n"
        "    const double row[40] = {0};\n    return !(t_step(&s, row, 1, 0.1) == 0.0 && s.steps == 1);\n}\n"
    )
    program = compiled(tmp_path / "main.c", "-O1", *flags)
    assert subprocess.run([str(program)], check=False).returncode == 0


@needs_cc
@pytest.mark.parametrize("flags", [(), ("-DMACROGRAD_PLAIN",)], ids=["vectors", "plain"])
def test_choices_in_vectors_are_those_of_numbers(tmp_path: Path, flags: tuple[str, ...]) -> None:
    """Of NaN and zeros of both signs, in the forms that the vectors have of their own."""
    w = Value(1.0)

    def loss(x: Any, y: Any) -> Any:
        made = [mg.maximum(x, y), mg.minimum(x, y), mg.where(x < y, x, -y), mg.relu(x), mg.sqrt(abs(x)), mg.floor(y)]
        made.append(mg.take([x, y, x * y], mg.where(x < y, 2.0, mg.where(x > 0.0, 1.0, 0.0))))
        return w * sum((k + 1.0) * m for k, m in enumerate(made))

    mg.export(loss, tmp_path / "t.c", 1.0, 1.0, kind="train", optimizer=optim.SGD(0.0), lanes=2)  # vectors anywhere
    points = [[a, b] for a in (-2.5, -0.0, 0.0, 1.5, 4.0) for b in (-3.25, 0.0, 1.5)][:13]
    expected = float(np.mean([loss(a, b).data for a, b in points]))
    rows = ", ".join(f"{x!r}" for point in points for x in point)
    (tmp_path / "main.c").write_text(
        f'#include "t.c"\nstatic t_state s;\nint main(void) {{\n    const double batch[26] = {{{rows}}};\n'
        "    t_init(&s);\n"
        f"    return !(fabs(t_step(&s, batch, 13, 0.0) - ({expected!r})) < 1e-12 && s.steps == 1);\n}}\n"
    )
    program = checked(tmp_path / "main.c", *flags)
    assert subprocess.run([str(program)], check=False).returncode == 0


@needs_cc
def test_a_step_that_is_not_finite_changes_nothing(tmp_path: Path) -> None:
    w = Value(2.0)
    mg.export(lambda x: mg.log(w * x), tmp_path / "t.c", 1.0, kind="train", optimizer=optim.SGD(0.1), lanes=1)
    (tmp_path / "main.c").write_text(
        '#include "t.c"\nstatic t_state s;\nint main(void) {\n    const double bad[2] = {1.0, -1.0}, good[1] = {1.0};\n'
        "    double loss;\n    t_init(&s);\n    loss = t_step(&s, bad, 2, 0.1);\n"
        "    if (loss == loss || s.u[0] != 2.0 || s.steps != 0) return 1;\n"
        "    loss = t_step(&s, good, 1, 0.1);\n    return !(loss > 0.69 && loss < 0.70 && s.steps == 1);\n}\n"
    )
    program = checked(tmp_path / "main.c")
    assert subprocess.run([str(program)], check=False).returncode == 0


@needs_cc
def test_a_bad_index_is_reported(tmp_path: Path) -> None:
    mg.export(lambda i: mg.take(TABLE, i), tmp_path / "t.c", 0)
    (tmp_path / "main.c").write_text(
        '#include "t.c"\nstatic t_state s;\nint main(void) {\n    double y[1];\n'
        "    const double good = 1.0, bad = 3.0;\n"
        "    if (t_predict(&s, &good, y) != 0 || y[0] > -1.9) return 1;\n    return t_predict(&s, &bad, y) != 1;\n}\n"
    )
    program = checked(tmp_path / "main.c")
    assert subprocess.run([str(program)], check=False).returncode == 0


HOSTILE = ["*/ int main(void) { return 1; } /*", "??/", "x\n#error y", "\\", "é\x00"]


@needs_cc
@pytest.mark.parametrize("name", HOSTILE)
def test_names_stay_within_comments(tmp_path: Path, name: str) -> None:
    def function(x: Any) -> Any:
        return 2.0 * x

    function.__name__ = name
    mg.export(function, tmp_path / "case.c", 1.0)
    assert selftest(tmp_path / "case.c").returncode == 0
    assert "*/" not in harmless(name)


@pytest.mark.parametrize(
    ("change", "error", "said"),
    [
        ({"kind": "fit"}, ValueError, "export(kind='fit'): kind is one of 'predict', 'gradient', 'train'"),
        (
            {"dtype": "float16"},
            ValueError,
            "export(dtype='float16'): dtype is one of 'float64', 'float32', 'int8'",
        ),
        ({"path": "net.so"}, ValueError, "export to 'net.so': the path must end in .c or .wasm"),
        ({"what": 3}, TypeError, "the path of a saved model, got 3 of type int"),
        ({"args": ()}, TypeError, "export() of this MLP needs an example of its input"),
        ({"kind": "train"}, TypeError, "export(kind='train') of this MLP needs its loss"),
        ({"kind": "train", "what": lambda x: MOONS(x)}, ValueError, "of a function needs an optimizer"),
        ({"optimizer": optim.SGD(0.1)}, ValueError, "export(kind='predict') takes no optimizer"),
        ({"lanes": 0}, ValueError, "export(lanes=0): lanes must be an integer from 1 to 256"),
        (
            {"what": lambda x: x, "args": (1.0,), "kind": "gradient"},
            TypeError,
            "<lambda> closes over no Values, so it has no gradient by parameters to export: for derivatives by its "
            "arguments, export mg.value_and_grad(<lambda>), without kind",
        ),
        (
            {"what": lambda x: x, "args": ()},
            TypeError,
            "export() of <lambda> needs an example of each of its arguments, for their shapes, as in "
            "export(<lambda>, 'net.c', [0.0, 0.0]): missing a required argument: 'x'",
        ),
        ({"what": lambda x: [x, x], "args": (1.0,), "kind": "gradient"}, TypeError, "only one scalar has a gradient"),
    ],
)
def test_bad_input_writes_nothing(tmp_path: Path, change: dict[str, Any], error: type[Exception], said: str) -> None:
    given: dict[str, Any] = {"what": MOONS, "path": "net.c", "args": ([0.0, 0.0],), **change}
    what, path, args = given.pop("what"), tmp_path / given.pop("path"), given.pop("args")
    with pytest.raises(error) as raised:
        mg.export(what, path, *args, **given)
    assert said in str(raised.value)
    assert not list(tmp_path.iterdir())


def test_an_operation_without_a_form_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from macrograd import ops

    monkeypatch.setattr(ops.tanh, "c", None)
    with pytest.raises(LookupError, match="operation 'tanh' has neither a C form nor a formula to compose one from"):
        mg.export(lambda x: mg.tanh(x), tmp_path / "net.c", 1.0)
    assert not list(tmp_path.iterdir())


WEIGHTS = [Value(w) for w in np.random.default_rng(2).normal(size=200).tolist()]


def long_sums(x: Any) -> Any:
    """Sums of 15 to 64 products with and without a first number, of neighbours and of others, one of them computed."""
    found = [mg.dot(WEIGHTS[: len(y)], y) + first for first in (0.0, WEIGHTS[199]) for y in (x[:15], x[:16], x[:31])]
    found += [mg.dot([WEIGHTS[40 * k + j] for j in range(33)], x[5:38]) for k in range(5)]
    found += [mg.dot(WEIGHTS[:20], x[:40:2]), mg.dot(x[:20], x[20:40]), mg.sum(x), mg.dot(x, x) - x[3]]
    return [*found, mg.sum([(a - WEIGHTS[7]) ** 2 for a in x]), mg.sum([-a * 0.5 for a in x[:17]])]


@needs_cc
@pytest.mark.parametrize("flags", LENGTHS, ids=["short", "long", "plain"])
@pytest.mark.parametrize(("kind", "dtype"), [("predict", "float64"), ("predict", "float32"), ("gradient", "float32")])
def test_long_sums_are_added_up_in_vectors(tmp_path: Path, kind: str, dtype: str, flags: tuple[str, ...]) -> None:
    """In those of any length, and as numbers without."""
    function = long_sums if kind == "predict" else lambda x: mg.sum([v * v for v in long_sums(x)]) * 0.01
    exported = mg.export(function, tmp_path / "long.c", np.zeros(64), kind=kind, dtype=dtype)
    text = exported.paths[0].read_text()
    assert "TOTAL(" in text
    program = checked(tmp_path / "long.c", "-DMACROGRAD_SELFTEST", *flags)
    done = subprocess.run([str(program)], capture_output=True, text=True, check=False)
    assert done.stdout == "long: 3 cases agree\n", done.stdout + done.stderr
    strict = mg.export(function, tmp_path / "strict.c", np.zeros(64), kind=kind, dtype=dtype, strict=True)
    assert "TOTAL(" not in strict.paths[0].read_text()  # whose order is that of the eager engine


@needs_cc
@pytest.mark.parametrize("flag", ["-O0", "-O1"])
def test_parameters_and_inputs_with_the_same_place_are_two_vectors(tmp_path: Path, flag: str) -> None:
    """Both begin at 0, each in its own array."""
    w = [Value(0.1 * k - 1.0) for k in range(20)]

    mg.export(lambda x: mg.dot(w, x), tmp_path / "f.c", np.ones(20))
    result = subprocess.run(
        [str(compiled(tmp_path / "f.c", flag, "-DMACROGRAD_SELFTEST"))], capture_output=True, text=True, check=False
    )
    assert (result.returncode, result.stdout) == (0, "f: 3 cases agree\n")
