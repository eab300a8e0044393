"""Random programs with numbers that nothing takes: constants that are infinite, NaN or zero, some of them in float32
alone, behind where, take, cond, relu, maximum and minimum, in lists and loops; eager against compiled.

`python -m tests.fuzz.hidden [first seed] [seconds]` tries one seed after the other and prints those that differ.
"""

from __future__ import annotations

import random
import sys
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

import macrograd as mg
from tests.fuzz import ways
from tests.fuzz.data import Data
from tests.fuzz.generate import Case
from tests.fuzz.language import Line, Program, function
from tests.fuzz.loops import told
from tests.fuzz.ways import Way

# The last five are that in float32 alone: infinite, and 0.
_LARGE = ["float('inf')", "1e200", "1e39", "3.5e38"]
_SMALL = ["0.0", "5e-324", "1e-200", "1e-60"]
_WILD = [*_LARGE, *_SMALL, "float('nan')"]
_ANY = [
    "{0} * {w}", "{0} / {s}", "{w} / {0}", "{0} + {w}", "{w} - {0} * {1}", "mg.sqrt({0} * {w})", "mg.log({s} * {0})",
    "mg.exp({w} * {0})", "{0} ** {l}", "mg.dot([{0}, {w}, 1.0], [{1}, {0}, {1}])", "mg.sum([{0}, {w} * {1}, {w}])",
    "mg.tanh({0} * {w}) / {s}", "mg.log({0} * {0} + {s})", "mg.sqrt({s} + {0} * {0} * 0.0)", "1.0 / ({0} * {0} * {s})",
    "({0} * {0} + {s}) ** -0.5", "mg.take([{0} * {w}, {1}], 0)", "mg.log1p({s} - 1.0 + 0.0 * {0})", "{0} / {w} / {s}",
    "(1.0 + {0} * {0}) ** (99.0 + {1} * {1} * 500.0)", "({0} * {0} + 1e-18) ** -3.0",
    "mg.log1p(0.0 * {0} - 0.9999999999)", "{1} / ({0} * {0} * 0.0 + 1.0 + 1e-10 - 1.0)",
    "mg.log({0} * {0} * 0.0 + 1e-17 + 1.0 - 1.0)",
]  # fmt: skip
# Not above 0 in any type, though their slopes are infinite.
_NEGATIVE = [
    "mg.dot([1.0, {l}], [1.0, -0.5 - {0} * {0}]) + 1.0", "-{l} * ({0} * {0} + 1.0)", "{0} * {1} * 0.5 - {l}",
    "(-1.0 - {0} * {0}) / {s}", "mg.sum([{0}, {1}, -{l}])", "(1.0 + {0} * {0}) * -{l} + {1} - 1.0",
]  # fmt: skip
_HIDING = [
    "mg.where({0} < -90.0, {h}, {1})", "mg.where({0} > -90.0, {1} * {0}, {h})", "mg.take([{1}, {h}, {0}], 2.0 * i)",
    "mg.cond({0} < -90.0, lambda: {h}, lambda: {1} * 0.5)", "mg.take([{h}, {1}], 1)", "mg.where(i, {h}, {0}) * 0.5",
]  # fmt: skip
_CLAMPS = ["mg.relu({h})", "mg.maximum({0} + 90.0, {h})", "mg.minimum({0} - 90.0, -({h}))", "mg.relu({h}) * {1}"]


class _Writer:
    def __init__(self, rng: random.Random) -> None:
        self.rng, self.body, self.names = rng, list[Any](), list[str]()

    def leaf(self, over: bool) -> str:
        kind = self.rng.random()
        at = "k % 3" if over and self.rng.random() < 0.8 else str(self.rng.randrange(3))
        if self.names and kind < 0.25:
            name = self.rng.choice(self.names)
            return name + (f"[{'k' if over else 0}]" if name.startswith("h") else "")
        return f"P[{at}]" if kind < 0.7 else f"x[{at}]" if kind < 0.95 else "0.5"

    def filled(self, form: str, over: bool, **more: str) -> str:
        wild = {"w": self.rng.choice(_WILD), "l": self.rng.choice(_LARGE), "s": self.rng.choice(_SMALL)}
        return form.format(self.leaf(over), self.leaf(over), **wild, **more)

    def hidden(self, over: bool) -> str:
        """An expression for something that is not taken."""
        made = f"({self.filled(self.rng.choice(_ANY), over)})"
        for _ in range(self.rng.choice([0, 0, 1, 2])):
            form = self.rng.choice(["{h} * {0}", "{0} - {h}", "mg.tanh({h})", "{h} * {h}", "mg.sqrt({h})", "{0} / {h}"])
            made = f"({self.filled(form, over, h=made)})"
        return made

    def choice(self, over: bool) -> str:
        if self.rng.random() < 0.4:
            return self.filled(self.rng.choice(_CLAMPS), over, h=self.filled(self.rng.choice(_NEGATIVE), over))
        return self.filled(self.rng.choice(_HIDING), over, h=self.hidden(over))

    def statement(self, number: int) -> None:
        rng, kind = self.rng, self.rng.random()
        if kind < 0.3:
            self.body.append(Line(f"v{number}", self._brace(f"mg.tanh({self.choice(False)})"), []))
            self.names.append(f"v{number}")
        elif kind < 0.75:
            many = rng.choice([5, 5, 9, 17])
            made = f"[mg.tanh({self.choice(True)}) for k in range({many})]"
            self.body.append(Line(f"h{number}", self._brace(made), []))
            self.body.append(
                Line(f"v{number}", rng.choice([f"mg.sum(h{number})", f"mg.dot(h{number}, h{number})"]), [])
            )
            self.names += [f"v{number}"]
        else:
            count, first = rng.choice([2, 5, 40, 120]), self.leaf(False)
            self.names.append("s")
            made = f"mg.loop({count}, lambda k, s: mg.tanh({self.choice(False)} * 0.5 + s * 0.25), {first})"
            self.names.pop()
            self.body.append(Line(f"v{number}", self._brace(made), []))
            self.names.append(f"v{number}")

    @staticmethod
    def _brace(text: str) -> str:
        return text.replace("{", "{{").replace("}", "}}")


def case(seed: int) -> Case:
    """A program and numbers on which its derivatives are finite, in float64."""
    rng = random.Random(seed)
    while True:
        writer = _Writer(rng)
        for number in range(rng.choice([1, 1, 2, 3])):
            writer.statement(number)
        last = [name for name in writer.names if name[0] == "v"]
        result = f"{' + '.join(last)} + P[0] * x[0]"
        program = Program(writer.body, ["x", "i"], result, [result])
        numbers = [[rng.choice([-1, 1]) * rng.randint(4, 16) / 8 for _ in range(3)] for _ in range(4)]
        found = Case(program, Data(numbers[0], numbers[1:], [0, 0, 0]))
        try:
            if all(np.isfinite(_eager(found, row, "backward")).all() for row in range(3)):
                return found
        except (OverflowError, ZeroDivisionError):  # Python's own arithmetic on plain numbers
            continue


def _eager(found: Case, row: int, what: str) -> list[float]:
    """What `ways.run` answers for one row, as one list."""
    P, x = [mg.Value(p) for p in found.data.parameters], [mg.Value(a) for a in found.data.samples[row]]
    text = ways.text(found.program, Way(what, batch=False, rows=(row,)), 3)
    f = function(text[0], P, text[1])
    out = f(x if what != "second" else [a.data for a in x], 0.0)
    if what == "inputs":
        return [float(getattr(g, "data", g)) for g in out]
    if isinstance(out, mg.Value):
        out.backward()
    value = float(getattr(out, "data", out))
    return [value] if what == "values" else [value, *(p.grad for p in P)]


def way(seed: int) -> Way:
    rng = random.Random(f"way {seed}")
    what = rng.choice(["values", "backward", "backward", "value_and_grad", "inputs", "inputs", "second"])
    backend = rng.choice(["numpy", "numpy", "llvm", "llvm", "c", "onnx", "wasm"])
    rows: Sequence[int] = rng.choices(range(3), k=rng.choice([1, 2, 5, 17, 67]))
    if backend in ("c", "onnx", "wasm"):
        what = "values" if what == "values" else "value_and_grad"
        rows = rows[:1]
    batch = backend == "onnx" or rng.random() < 0.6
    limit = rng.choice([None, None, (0, 1 << 30), (10, 4)])
    strict = rng.random() < 0.3 and backend != "onnx"
    return Way(
        what=what, batch=batch, rows=tuple(rows if batch else rows[:1]), dtype=rng.choice(["float32", "float64"]),
        backend=backend, strict=strict, threads=2 if len(rows) > 60 and rng.random() < 0.5 else 1,
        budget=limit, rolled=rng.random() < 0.5,
    )  # fmt: skip


def differs(found: Case, how: Way) -> str:
    """The difference between the compiled program and the eager one; empty if they agree."""
    each = [_eager(found, row, how.what) for row in how.rows]
    if not np.isfinite(each).all():
        return ""
    expected = np.array(each) if how.what in ("values", "inputs") else np.mean(each, axis=0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # of constants beyond float32 there is none
        got = np.concatenate([np.ravel(part) for part in ways.run(found.program, found.data, how)])
    return told(got.tolist(), np.ravel(expected).tolist(), {"dtype": how.dtype, "way": how})


if __name__ == "__main__":
    import time

    first, seconds = [*map(float, sys.argv[1:]), 0.0, 60.0][: len(sys.argv) - 1] + [0.0, 60.0][len(sys.argv) - 1 :]
    end, seed, wrong = time.monotonic() + seconds, int(first), 0
    while time.monotonic() < end:
        this, how = case(seed), way(seed)
        try:
            text = differs(this, how)
        except Exception as error:  # noqa: BLE001 - the next seeds are looked at whatever this one raises
            text = f"{how}: {type(error).__name__}: {error}"
        if text:
            wrong += 1
            print(f"seed {seed}: {text}\n{this.program.text()}\n{this.data}\n", flush=True)
        seed += 1
    print(f"{seed - int(first)} programs, {wrong} differ")
