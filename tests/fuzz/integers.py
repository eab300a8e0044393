"""`python -m tests.fuzz.integers`: random nets, tables and formulas in 8-bit integers.

Each is exported, and its file compiled with the undefined-behaviour sanitiser: the integers that it computes, also of
inputs that calibration never had, must be those of the reference, and on the calibration rows the reference's numbers
may be off by no more than the documentation says.
"""

from __future__ import annotations

import random
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import macrograd as mg
from macrograd import Value

from . import generate, language

Array = NDArray[np.float64]
FAR = 0.03  # the largest mean error of an output on the calibration rows, relative to the largest output
_WILD = 60  # rows of random integers for each program
_FLAGS = ["-std=c99", "-O1", "-Wall", "-Wextra", "-Werror", "-fsanitize=undefined", "-fno-sanitize-recover=all"]
_ACTIVATIONS: Sequence[Callable[[Any], Any]] = (
    mg.relu, mg.tanh, mg.sigmoid, mg.leaky_relu, mg.softplus, abs, mg.sin, lambda v: v * v, lambda v: mg.exp(-v * v),
    lambda v: v, mg.floor, mg.round, mg.sign, lambda v: mg.maximum(v, 0.25), lambda v: mg.where(v > 0.1, v, -0.5),
)  # fmt: skip


@dataclass(frozen=True)
class Tried:
    """A function of a row of numbers, and rows like those that it is to predict."""

    name: str
    function: Callable[[Any], Any]
    rows: Array


def tried(seed: str) -> Tried | None:
    """The function of a seed; None if it makes none that can be calibrated."""
    rng = random.Random(seed)
    made = rng.choices([_net, _recurrence, _table, _program], [4, 2, 2, 3])[0]
    found = made(rng, seed)
    return found if found is not None and np.isfinite(found.rows).all() else None


def _rows(rng: random.Random, columns: int) -> Array:
    """Columns of unlike sizes: shifted, constant, whole numbers, yes or no."""
    draw = np.random.default_rng(rng.randrange(1 << 30))
    rows = draw.normal(size=(rng.choice([1, 2, 7, 40, 150]), columns))
    for k in range(columns):
        kind = rng.random()
        if kind < 0.1:
            rows[:, k] = rng.choice([0.0, 1.0, -3.5, 1e-12])
        elif kind < 0.2:
            rows[:, k] = draw.integers(0, rng.choice([2, 5, 200]), len(rows))
        elif kind < 0.5:
            rows[:, k] = rows[:, k] * 10.0 ** rng.uniform(-5, 5) + rng.choice([0.0, 0.0, 2.0, -0.5])
    return rows


def _net(rng: random.Random, _: str) -> Tried:
    """Layers of sums of products and functions of one number, with weights of unlike sizes."""
    sizes = [rng.choice([1, 2, 3, 5, 17]) for _ in range(rng.choice([2, 2, 3, 4]))]
    rows = _rows(rng, sizes[0])
    unit = np.maximum(np.abs(rows).max(axis=0), 1e-300)
    draw, size = np.random.default_rng(rng.randrange(1 << 30)), 10.0 ** rng.uniform(-2, 2)
    layers = []
    for fan, width in pairwise(sizes):
        weights = draw.normal(size=(width, fan)) * size * draw.choice([1.0, 1.0, 0.0, 0.01], size=(width, fan))
        layers.append(([[Value(w) for w in row] for row in weights.tolist()], draw.normal(size=width).tolist()))
    activations = [rng.choice(_ACTIVATIONS) for _ in layers]
    scaled, last = rng.random() < 0.7, rng.random() < 0.3

    def run(x: Any) -> Any:
        h = [v / u for v, u in zip(x, unit.tolist(), strict=True)] if scaled else list(x)
        for k, (weights, biases) in enumerate(layers):
            h = [sum((w * v for w, v in zip(row, h, strict=True)), b) for row, b in zip(weights, biases, strict=True)]
            if last or k < len(layers) - 1:
                h = [activations[k](v) for v in h]
        return h

    return Tried("net", run, rows)


def _recurrence(rng: random.Random, _: str) -> Tried:
    """A written loop whose state is multiplied, chosen and bounded."""
    rows, count = _rows(rng, 3), rng.choice([2, 5, 30, 130])
    a, b = Value(rng.uniform(-1, 1)), Value(rng.uniform(-2, 2))
    bodies: list[Callable[[Any, Any, Any], Any]] = [
        lambda i, s, x: mg.tanh(a * s + b * x[0] * 0.1 + x[1] * 0.01),
        lambda i, s, x: 0.9 * s + 0.1 * mg.sin(s * x[0] + 0.1 * i),
        lambda i, s, x: mg.where(s > b, 0.5 * s, s + a * mg.tanh(x[2])),
        lambda i, s, x: mg.maximum(a * s, mg.minimum(x[0], x[1]) * 0.5),
        lambda i, s, x: mg.cond(s > x[2], lambda s: s * a, lambda s: a - s * 0.5, s),
        lambda i, s, x: 0.5 * s + mg.take([0.1, a, -0.3, b], mg.floor(mg.sigmoid(s) * 3.999)),
    ]
    body = rng.choice(bodies)
    return Tried("loop", lambda x: mg.loop(count, lambda i, s: body(i, s, x), x[1]), rows)


def _table(rng: random.Random, _: str) -> Tried:
    """Choices by whole numbers and by size, quotients, products of what varies."""
    rows, values = _rows(rng, 4), [rng.uniform(-3, 3) for _ in range(rng.choice([2, 3, 9]))]
    rows[:, 0] = np.random.default_rng(rng.randrange(1 << 30)).integers(0, len(values), len(rows))
    w = Value(rng.uniform(-1, 1))
    parts: list[Callable[[Any], Any]] = [
        lambda x: mg.take([w, *values[1:]], x[0]),
        lambda x: mg.take([v * x[1] for v in values], x[0]),
        lambda x: mg.where(x[0] > 0.5, x[1], x[2] * w),
        lambda x: x[1] / (1.0 + abs(x[2])),
        lambda x: x[1] * x[2] + w * x[3],
        lambda x: mg.softmax([x[1], x[2], w])[0],
        lambda x: mg.logsumexp([x[1], x[2]]),
        lambda x: mg.floor(x[1]) + mg.round(x[2]) + mg.ceil(x[3]),
        lambda x: mg.sqrt(x[1] * x[1] + 1.0) - mg.maximum(x[2], w),
    ]
    chosen = rng.sample(parts, rng.choice([1, 2, 4]))
    return Tried("table", lambda x: [part(x) for part in chosen], rows)


def _program(_: random.Random, seed: str) -> Tried | None:
    case = generate.case(f"integers:{seed}")
    if len(case.program.arguments) > 1:
        return None
    function = language.function(case.program.text(), [Value(p) for p in case.data.parameters])
    return Tried("program", function, np.array(case.data.samples))


def _eager(one: Tried) -> Array:
    return np.array([[language.number(y) for y in language.flat(one.function(row))] for row in one.rows.tolist()])


def _main(found: Sequence[tuple[str, Any]]) -> str:
    """A program that reads, for each row of each function, its integers, and writes the answers and its number."""
    lines = [f'#include "{name}.c"' for name, _ in found] + ["#include <stdio.h>", "int main(void) {"]
    for name, exported in found:
        n, m = exported.reference.inputs, exported.reference.outputs
        lines.append(
            f"    for (int32_t k = 0, rows = getchar() + 256 * getchar(); k < rows; ++k) {{\n"
            f"        static {name}_state s; static int8_t x[{n} + 1]; static int16_t y[{m}];\n"
            f"        if (fread(x, 1, {n}, stdin) != {n}) return 2;\n"
            f"        {name}_predict(&s, x, y);\n        fwrite(y, 2, {m}, stdout);\n    }}"
        )
    return "\n".join([*lines, "    return 0;", "}", ""])


def check(seeds: Sequence[str], folder: Path) -> Iterator[str]:
    """What is wrong with the files of these seeds, which one program calls."""
    found: list[tuple[str, Any, Tried]] = []
    for k, seed in enumerate(seeds):
        one = tried(seed)
        if one is None:
            continue
        try:
            with warnings.catch_warnings(), np.errstate(all="ignore"):
                warnings.simplefilter("error")
                example = np.zeros(one.rows.shape[1])
                made = mg.export(one.function, folder / f"t{k}.c", example, dtype="int8", calibration=one.rows)
        except (TypeError, ValueError) as error:
            if "export(" not in str(error):
                yield f"{seed} ({one.name}): {type(error).__name__}: {error}"
            continue
        found.append((f"t{k}", made, one))
        right = _eager(one)
        off = np.abs(made.reference.predict(one.rows) - right).mean(axis=0).max() / max(np.abs(right).max(), 1e-30)
        if not off <= FAR * 1.001:
            yield f"{seed} ({one.name}): off by {off:.1%} of the largest output on average"
    if not found:
        return
    draw = np.random.default_rng(0)
    given = [
        np.vstack([x.reference.encode(one.rows), draw.integers(-128, 128, (_WILD, x.reference.inputs))])
        for _, x, one in found
    ]
    (folder / "main.c").write_text(_main([(name, x) for name, x, _ in found]))
    program = str(folder / "main")
    subprocess.run(["cc", *_FLAGS, "-o", program, str(folder / "main.c")], check=True)
    told = b"".join(len(x).to_bytes(2, "little") + x.astype(np.int8).tobytes() for x in given)
    ran = subprocess.run([program], input=told, capture_output=True, check=False)
    numbers, at = np.frombuffer(ran.stdout, np.int16), 0
    for (name, x, one), rows in zip(found, given, strict=True):
        size = len(rows) * x.reference.outputs
        mine, right = numbers[at : at + size], x.reference.run(rows).ravel()
        at += size
        if len(mine) != size or (mine != right).any():
            seed = seeds[int(name[1:])]
            where = np.flatnonzero(mine != right)[:1] if len(mine) == size else "end"
            yield f"{seed} ({one.name}): the file and the reference differ at {where}; {ran.stderr[:300].decode()}"
            if ran.returncode:
                return


def main() -> int:
    first, count, wrong = int(sys.argv[1]), int(sys.argv[2]), 0
    for begin in range(first, first + count, 20):
        with tempfile.TemporaryDirectory() as folder:
            for text in check([str(k) for k in range(begin, min(begin + 20, first + count))], Path(folder)):
                print(text, flush=True)
                wrong += 1
    print(f"{count} seeds from {first}: {wrong} failures")
    return wrong > 0


if __name__ == "__main__":
    sys.exit(main())
