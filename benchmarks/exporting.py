"""Exported C beside emlearn and m2cgen, and its training step beside native code and one by hand:
`python -m benchmarks.exporting`; with `--write` into docs/export.md.

The same nets of scikit-learn's digits in every file: code and constants of a Cortex-M4F (`arm-none-eabi-gcc -Os`), the
memory that is written (state or static buffers, and the stack by -fstack-usage), the instructions of a prediction
there, its time here, and how its answers compare with those in float64. The instructions are counted by qemu, which
models no cycles: with `-icount shift=0` every instruction takes a nanosecond of the emulated clock, and SysTick ticks
every 40. Packages and compilers that are missing are left out.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

import macrograd as mg
from macrograd import Value, losses, nn, optim
from macrograd.compiler.step import TrainingLoop

PAGE = Path(__file__).parent.parent / "docs" / "export.md"
MARKS = "<!-- from here: python -m benchmarks.exporting --write -->\n", "<!-- to here -->\n"
CORTEX = ("-Os", "-mcpu=cortex-m4", "-mthumb", "-mfloat-abi=hard", "-mfpu=fpv4-sp-d16")
TARGETS = Path(__file__).parent.parent / "tests" / "targets"  # the start-up code and the memory map of a Cortex-M4F
QEMU = (
    *("qemu-system-arm", "-M", "mps2-an386", "-icount", "shift=0", "-nographic", "-monitor", "none"),
    *("-semihosting-config", "enable=on,target=native", "-kernel"),
)
ROWS, TIMES = 200, 15
COUNTED, TICK = 20, 40  # predictions that are counted, and the instructions of a tick

DRIVER = """#include "{file}"
#include <stdio.h>
#include <time.h>
#include <stdint.h>
{before}
static const {real} rows[{rows}][{inputs}] = {{
{numbers}
}};
static {out} y[{outputs}];

int main(void) {{
    for (int r = 0; r < {rows}; ++r) {{
        {call};
        for (int k = 0; k < {outputs}; ++k) printf("%.17g ", (double)y[k]);
        printf("\\n");
    }}
    for (int turn = 0; turn < {times}; ++turn) {{
        const clock_t begin = clock();
        for (int n = 0; n < {repeats}; ++n) {{
            const int r = n % {rows};
            {call};
        }}
        printf("time %.6g\\n", (double)(clock() - begin) / CLOCKS_PER_SEC / {repeats} * 1e6);
    }}
    return 0;
}}
"""


@dataclass
class File:
    """A predictor: its source, and how it is called. `answers` makes shares of the outputs."""

    model: str
    name: str
    path: Path
    call: str
    real: str
    rows: np.ndarray
    out: str = ""
    before: str = ""
    state: int = 0
    flags: list[str] = field(default_factory=list)
    answers: Callable[[np.ndarray], np.ndarray] = lambda y: y
    outputs: int = 10


def run(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr[:2000]}")
    return done.stdout


def shares(logits: np.ndarray) -> np.ndarray:
    e = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(e / e.sum(axis=1, keepdims=True))


def measured(file: File, folder: Path) -> tuple[np.ndarray, dict[str, float]]:
    """Outputs for the rows, and the microseconds of a prediction by compiler."""
    text = DRIVER.format(
        file=file.path.name, before=file.before, real=file.real, out=file.out or file.real, rows=ROWS, times=TIMES,
        inputs=file.rows.shape[1], outputs=file.outputs, call=file.call, repeats=20_000,
        numbers=listed(file, ROWS),
    )  # fmt: skip
    main = folder / f"main_{file.path.stem}.c"
    main.write_text(text)
    outputs, times = np.empty(0), {}
    for compiler in ("gcc", "clang"):
        if shutil.which(compiler) is None:
            continue
        out = folder / "main"
        run([compiler, "-O3", "-march=native", f"-I{folder}", *file.flags, str(main), "-o", str(out), "-lm"])
        lines = run([str(out)]).splitlines()
        outputs = np.array([list(map(float, line.split())) for line in lines[:ROWS]])
        times[compiler] = min(float(line.split()[1]) for line in lines[ROWS:])
    return outputs, times


def sizes(file: File, folder: Path) -> tuple[int, int, int] | None:
    """Code, constants and written memory of a Cortex-M4F in bytes; None without its compiler."""
    if shutil.which("arm-none-eabi-gcc") is None:
        return None
    user, real = folder / f"user_{file.path.stem}.c", file.real
    # Library code that the file needs counts, too, but not the C library's start-up: a program, less an empty one.
    call = file.call.replace("rows[r]", "x")
    user.write_text(
        f'#include "{file.path.name}"\n{file.before}\nvoid answer(const {real} *x, {file.out or real} *y);\n'
        f"void answer(const {real} *x, {file.out or real} *y) {{ {call}; }}\n"
    )
    out = folder / "user.elf"
    found = []
    for source in (str(user), None):
        start = folder / "start.c"
        start.write_text(
            "void answer(const void *, void *);\nchar x[8], y[8];\nint main(void) { answer(x, y); return 0; }\n"
            if source else "char x[8], y[8];\nint main(void) { return x[0]; }\n"
        )  # fmt: skip
        run([
            "arm-none-eabi-gcc", *CORTEX, "--specs=nosys.specs", "--specs=nano.specs", "-ffunction-sections",
            "-Wl,--gc-sections", "-Wl,--no-warnings", f"-I{folder}", *file.flags, "-fstack-usage", "-dumpdir",
            f"{folder}/", *([source] if source else []), str(start), "-o", str(out), "-lm",
        ])  # fmt: skip
        listed = run(["arm-none-eabi-size", "-A", str(out)])
        found.append([
            sum(int(n) for n in re.findall(rf"^{section}\S*\s+(\d+)", listed, re.MULTILINE))
            for section in (r"\.text", r"\.rodata", r"\.(?:data|bss)")
        ])  # fmt: skip
    # newlib's linker script puts constants into .text: they are known by the file itself.
    constants = _constants(user, folder, file.flags)
    stack = max(
        (
            int(n)
            for path in folder.glob(f"*user_{file.path.stem}*.su")
            for n in re.findall(r"\t(\d+)\t", path.read_text())
        ),
        default=0,
    )
    code = found[0][0] + found[0][1] - found[1][0] - found[1][1] - constants
    written = found[0][2] - found[1][2]
    return code, constants, (written if file.state == 0 or written >= file.state else file.state) + stack


COUNTER = """#include "{file}"
#include <stdint.h>
#include <stdio.h>
{before}
static const {real} rows[{count}][{inputs}] = {{
{numbers}
}};
static {out} y[{outputs}];

int main(void) {{
    volatile uint32_t *const systick = (volatile uint32_t *)0xE000E010;
    systick[1] = 0xFFFFFF;
    systick[2] = 0;
    systick[0] = 5;
    for (int r = 0; r < {count}; ++r) {{
        {call};
    }}
    const uint32_t ticks = (0 - systick[2]) & 0xFFFFFF;
    printf("%lu", (unsigned long)ticks);
    return 0;
}}
"""


def instructions(file: File, folder: Path) -> int | None:
    """The instructions of a prediction on a Cortex-M4F; None without its compiler or emulator."""
    if shutil.which("arm-none-eabi-gcc") is None or shutil.which(QEMU[0]) is None:
        return None
    main, out = folder / f"count_{file.path.stem}.c", folder / "count.elf"
    main.write_text(
        COUNTER.format(
            file=file.path.name, before=file.before, real=file.real, out=file.out or file.real, count=COUNTED,
            inputs=file.rows.shape[1], outputs=file.outputs, call=file.call, numbers=listed(file, COUNTED),
        )
    )  # fmt: skip
    run([
        "arm-none-eabi-gcc", *CORTEX, "--specs=rdimon.specs", f"-I{folder}", *file.flags, str(main),
        str(TARGETS / "cortex_m.c"), f"-Wl,-T,{TARGETS / 'cortex_m.ld'}", "-o", str(out), "-lm",
    ])  # fmt: skip
    return int(run([*QEMU, str(out)])) * TICK // COUNTED


def listed(file: File, count: int) -> str:
    """Rows as C."""
    number = (
        (lambda x: str(int(x))) if "int" in file.real else (lambda x: float(x).hex() + "f" * (file.real == "float"))
    )
    return ",\n".join("{" + ", ".join(map(number, row)) + "}" for row in file.rows[:count].tolist())


def _constants(source: Path, folder: Path, flags: list[str]) -> int:
    out = folder / "user.o"
    run(["arm-none-eabi-gcc", *CORTEX, f"-I{folder}", *flags, "-c", str(source), "-o", str(out)])
    listed = run(["arm-none-eabi-size", "-A", str(out)])
    return sum(int(n) for n in re.findall(r"^\.rodata\S*\s+(\d+)", listed, re.MULTILINE))


def files(folder: Path) -> tuple[list[File], dict[str, np.ndarray]]:
    """All files of both models, and what float64 answers."""
    from sklearn.datasets import load_digits
    from sklearn.linear_model import LogisticRegression
    from sklearn.neural_network import MLPClassifier

    X, y = load_digits(return_X_y=True)
    X, exact = X / 16.0, {}
    net = MLPClassifier((32,), max_iter=40, random_state=0, tol=0.0).fit(X, y)
    line = LogisticRegression(max_iter=300).fit(X, y)
    layers = {
        "64-32-10, ReLU": list(zip(net.coefs_, net.intercepts_, strict=True)),
        "64-10, linear": [(line.coef_.T, line.intercept_)],
    }
    found = []
    for model, weights in layers.items():
        made = [
            ([[Value(w) for w in column] for column in W.T.tolist()], [Value(b) for b in c.tolist()])
            for W, c in weights
        ]

        def predict(x: Any, made: Any = made) -> Any:
            for k, (W, c) in enumerate(made):
                x = [b + sum(w * a for w, a in zip(row, x, strict=True)) for row, b in zip(W, c, strict=True)]
                x = [mg.relu(z) for z in x] if k + 1 < len(made) else x
            return x

        h = X[:ROWS]
        for k, (W, c) in enumerate(weights):
            h = h @ W + c if k + 1 == len(weights) else np.maximum(h @ W + c, 0.0)
        exact[model] = shares(h)
        stem = f"net{len(weights)}"
        for name, real, settings in (
            ("macrograd, float64", "double", {}),
            ("macrograd, float64, strict", "double", {"strict": True}),
            ("macrograd, float32", "float", {"dtype": "float32"}),
            ("macrograd, float32, strict", "float", {"dtype": "float32", "strict": True}),
            ("macrograd, int8", "int8_t", {"dtype": "int8", "calibration": X}),
        ):
            path = folder / f"{stem}_{len(found)}.c"
            written = mg.export(predict, path, X[0], **settings)
            whole = written.reference
            found.append(File(
                model, name, path, f"{path.stem}_predict(&state, rows[r], y)", real,
                X[:ROWS] if whole is None else whole.encode(X[:ROWS]), out="" if whole is None else "int16_t",
                before=f"static {path.stem}_state state;", state=written.state,
                answers=shares if whole is None else lambda q, s=whole.output_scale: shares(q * s),
            ))  # fmt: skip
        found += _peers(folder, stem, model, net if len(weights) == 2 else line, X)
    return found, exact


def _peers(folder: Path, stem: str, model: str, fitted: Any, X: np.ndarray) -> list[File]:
    found = []
    try:
        import emlearn

        if stem == "net2":
            path = folder / "emlearn_net.h"
            with contextlib.chdir(folder):  # it leaves tmp/mynet.c and .o where it runs
                emlearn.convert(fitted, method="inline").save(name="emlearn_net", file=str(path))
            call = "(void)emlearn_net_regress(rows[r], 64, y, 10)"
            flags = [f"-I{emlearn.includedir}"]
            found.append(File(model, "emlearn, float32", path, call, "float", X[:ROWS], flags=flags))
    except ImportError:
        print("emlearn is not installed: pip install -r benchmarks/requirements.txt", file=sys.stderr)
    try:
        import m2cgen

        if stem == "net1":  # it has no nets
            path = folder / "m2cgen_net.c"
            path.write_text(m2cgen.export_to_c(fitted).replace("double * input", "const double * input"))
            found.append(File(model, "m2cgen, float64", path, "score(rows[r], y)", "double", X[:ROWS], answers=shares))
    except ImportError:
        print("m2cgen is not installed: pip install -r benchmarks/requirements.txt", file=sys.stderr)
    return found


def table(folder: Path) -> list[str]:
    lines = [
        "| digits | file | code | constants | RAM | instructions | µs, gcc | µs, clang | answers | largest error of a "
        "probability |",
        "|---|---|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    made, exact = files(folder)
    for file in made:
        outputs, times = measured(file, folder)
        found, right = file.answers(outputs), exact[file.model]
        same = float(np.mean(found.argmax(axis=1) == right.argmax(axis=1)))
        size = sizes(file, folder)
        cells = [f"{n:,}" for n in size] if size else ["", "", ""]
        counted = instructions(file, folder)
        cells.append("" if counted is None else f"{counted:,}")
        cells += [f"{times[c]:.2f}" if c in times else "" for c in ("gcc", "clang")]
        error = float(np.abs(found - right).max())
        lines.append(f"| {file.model} | {file.name} | {' | '.join(cells)} | {same:.1%} the same | {error:.0e} |")
    return lines


# --- training -------------------------------------------------------------------------------------------------------


def training(folder: Path) -> list[str]:
    """Microseconds of processor time of a step of moons by turns: exported C, native code, and C by hand
    (`floors/moons.c`). Of wall time, a busy machine takes more from a longer run."""
    from benchmarks import moons_net, native

    X, y, index = moons_net.X, moons_net.Y, moons_net.INDEX
    batch, steps = moons_net.BATCH, 2000
    net = nn.MLP(2, [16, 16, 1], seed=1337)
    rate = 1e-4

    def loss(x: Any, t: Any) -> Any:
        return losses.hinge(net(x), t) + 1e-4 * sum(p * p for p in net.parameters())

    rows = ",\n".join(
        "{" + ", ".join(float(v).hex() for v in row) + "}" for row in np.hstack([X, y[:, None]])[:batch].tolist()
    )
    commands: dict[str, Callable[[], float]] = {}
    for name, settings in {"": {}, ", strict": {"strict": True}}.items():
        path = folder / f"moons{len(commands)}.c"
        mg.export(loss, path, [0.0, 0.0], 1.0, kind="train", optimizer=optim.SGD(rate), **settings)
        main, out = folder / f"{path.stem}_main.c", folder / f"{path.stem}_main"
        main.write_text(
            f'#include "{path.name}"\n#include <stdio.h>\n#include <time.h>\nstatic {path.stem}_state s;\n'
            f"static const double rows[{batch}][3] = {{\n{rows}}};\nint main(void) {{\n    {path.stem}_init(&s);\n"
            "    const clock_t begin = clock();\n"
            f"    for (int k = 0; k < {steps}; ++k) {path.stem}_step(&s, rows[0], {batch}, {rate});\n"
            f'    printf("%.6g", (double)(clock() - begin) / CLOCKS_PER_SEC / {steps} * 1e6);\n    return 0;\n}}\n'
        )
        run(["gcc", "-O3", "-march=native", "-std=gnu99", f"-I{folder}", str(main), "-o", str(out), "-lm"])
        commands["exported" + name] = lambda out=out: float(run([str(out)]))
        compiled = mg.compile(loss, batch=True, strict=bool(settings))
        loop = TrainingLoop(compiled, [X[:batch], y[:batch]], optim.SGD(rate).rule, (), batch_size=batch)
        order, lengths, rates = np.tile(np.arange(batch), steps), np.full(steps, batch), np.full(steps, rate)

        def ours(loop: Any = loop, order: Any = order, lengths: Any = lengths, rates: Any = rates) -> float:
            begin = time.process_time()
            loop.run(order, lengths, rates)
            return (time.process_time() - begin) / steps * 1e6

        commands["native" + name] = ours
    hand, kept = native.library("moons", BATCH=batch), np.empty(len(index))
    hand.train.argtypes = [ctypes.c_void_p] * 4 + [ctypes.c_int, ctypes.c_void_p]

    def by_hand() -> float:
        took = 0.0
        for _ in range(steps // len(index)):  # beyond these steps its rates make numbers too small to be fast
            p = moons_net.START.copy()
            addresses = [array.ctypes.data for array in (p, X, y, index)]
            begin = time.process_time()
            hand.train(*addresses, len(index), kept.ctypes.data)
            took += time.process_time() - begin
        return took / steps * 1e6

    commands["by hand"] = by_hand
    begin = time.perf_counter()
    while time.perf_counter() < begin + 6:  # until the better code of both native loops is there
        for command in commands.values():
            command()
    turns = [{name: command() for name, command in commands.items()} for _ in range(TIMES)]
    lines = [
        "| a training step of moons, 2-16-16-1, 32 samples, float64, SGD | µs, minimum | × native |",
        "|---|--:|--:|",
    ]
    for name in commands:
        base = "native" + (", strict" if "strict" in name else "")
        least = {name: min(turn[name] for turn in turns) for name in commands}  # other processes only add to a time
        lines.append(f"| {name} | {least[name]:.2f} | {least[name] / least[base]:.2f} |")
    return lines


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.exporting", description=__doc__)
    parser.add_argument("--write", action="store_true", help="write the tables into docs/export.md")
    arguments = parser.parse_args()
    if shutil.which("gcc") is None:
        print("benchmarks.exporting needs gcc, and there is none on the path", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory() as name:
        lines = [*table(Path(name)), "", *training(Path(name))]
    text = "\n".join(lines) + "\n"
    print(text)
    if arguments.write:
        before, rest = PAGE.read_text("utf-8").split(MARKS[0])
        PAGE.write_text(before + MARKS[0] + "\n" + text + "\n" + MARKS[1] + rest.split(MARKS[1])[1], "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
