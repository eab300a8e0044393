"""Programs of 16-bit integers: what their steps compute, in Python and, operation by operation, in C.

A number x is stored as an integer q with x ≈ scale·q. A step multiplies integers by factors of 31 bits and shifts the
result to the right, rounding to nearest; what does not fit into 16 bits becomes the largest number that does. The
Python here computes exactly what the C does.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import field
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from macrograd._dataclass import dataclass
from macrograd.compiler.program.instruction import Index

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
MOST = 32767
SPREAD = 125  # a step of an input of 8 bits, in 16 bits
ZERO, ONE = -1, -2  # operands of records that stand for 0 and MOST


# --- arithmetic -------------------------------------------------------------------------------------------------------


def down(x: Any, shift: Any) -> Any:
    """x·2^−shift, rounded to nearest."""
    return (x + (np.int64(1) << (np.asarray(shift, np.int64) - 1))) >> shift


def fit(x: Any) -> Any:
    return np.clip(x, -MOST, MOST)


def _lin(a: Any, f: Any, b: Any, g: Any, s: Any) -> Any:
    return fit(down(a * f + b * g, s))


def _divided(a: Any, b: Any) -> Any:
    """a / b, rounded towards zero as in C."""
    quotient = np.abs(a) // np.maximum(np.abs(b), 1)
    return np.where((a < 0) != (b < 0), -quotient, quotient)


def _div(a: Any, b: Any, f: Any, s: Any) -> Any:
    whole = fit(down(_divided(a * f, b), s))
    return np.where(b == 0, np.sign(a) * MOST, whole)


def _floor(a: Any, f: Any, s: Any) -> Any:
    return (a * f) >> s


@dataclass(frozen=True)
class Table:
    """Entries at low, low + 2^bits, …, high; in between on the line through both."""

    low: int
    high: int
    bits: int
    entries: Ints

    def at(self, q: Any) -> Any:
        rest = np.clip(q, self.low, self.high) - self.low
        k = np.minimum(rest >> self.bits, len(self.entries) - 2)
        rest = rest - (k << self.bits)
        first = self.entries[k]
        rise = (self.entries[k + 1] - first) * rest
        return first + (down(rise, self.bits) if self.bits else rise)


@dataclass(frozen=True)
class Form:
    """An operation on integers a, b, c with factors f and g, shifts s and t, and a number k."""

    python: Callable[..., Any]
    c: str


FORMS: dict[str, Form] = {
    "lin": Form(lambda a, b, c, f, g, s, t, k: _lin(a, f, b, g, s), "P_lin({a}, {f}, {b}, {g}, {s})"),
    "relu": Form(
        lambda a, b, c, f, g, s, t, k: np.maximum(_lin(a, f, 0, 0, s), 0), "P_most(P_lin({a}, {f}, 0, 0, {s}), 0)"
    ),
    "abs": Form(
        lambda a, b, c, f, g, s, t, k: np.abs(_lin(a, f, 0, 0, s)), "P_abs(P_lin({a}, {f}, 0, 0, {s}))"
    ),
    "sign": Form(lambda a, b, c, f, g, s, t, k: np.sign(a) * k, "({a} > 0 ? {k} : {a} < 0 ? -({k}) : 0)"),
    "mul": Form(lambda a, b, c, f, g, s, t, k: _lin(a * b, f, 0, 0, s), "P_lin(P_mul({a}, {b}), {f}, 0, 0, {s})"),
    "div": Form(lambda a, b, c, f, g, s, t, k: _div(a, b, f, s), "P_div({a}, {b}, {f}, {s})"),
    "maximum": Form(
        lambda a, b, c, f, g, s, t, k: np.maximum(_lin(a, f, 0, 0, s), _lin(b, g, 0, 0, s)),
        "P_most(P_lin({a}, {f}, 0, 0, {s}), P_lin({b}, {g}, 0, 0, {s}))",
    ),
    "minimum": Form(
        lambda a, b, c, f, g, s, t, k: np.minimum(_lin(a, f, 0, 0, s), _lin(b, g, 0, 0, s)),
        "P_least(P_lin({a}, {f}, 0, 0, {s}), P_lin({b}, {g}, 0, 0, {s}))",
    ),
    "less": Form(
        lambda a, b, c, f, g, s, t, k: np.where(a * f < b * g, k, 0), "(P_less({a}, {f}, {b}, {g}) ? {k} : 0)"
    ),
    "less_equal": Form(
        lambda a, b, c, f, g, s, t, k: np.where(b * g < a * f, 0, k), "(P_less({b}, {g}, {a}, {f}) ? 0 : {k})"
    ),
    "fused": Form(
        lambda a, b, c, f, g, s, t, k: _lin(a * b, f, c, g, s), "P_lin(P_mul({a}, {b}), {f}, {c}, {g}, {s})"
    ),
    "where": Form(
        lambda a, b, c, f, g, s, t, k: np.where(a != 0, _lin(b, f, 0, 0, s), _lin(c, g, 0, 0, s)),
        "({a} != 0 ? P_lin({b}, {f}, 0, 0, {s}) : P_lin({c}, {g}, 0, 0, {s}))",
    ),
    "onehot": Form(
        lambda a, b, c, f, g, s, t, k: np.where(_lin(a, f, b, g, s) == 0, _lin(c, k, 0, 0, t), 0),
        "(P_lin({a}, {f}, {b}, {g}, {s}) == 0 ? P_lin({c}, {k}, 0, 0, {t}) : 0)",
    ),
    "pick": Form(
        lambda a, b, c, f, g, s, t, k: np.where(_lin(a, f, 0, 0, s) == k, _lin(c, g, 0, 0, t), b),
        "(P_lin({a}, {f}, 0, 0, {s}) == {k} ? P_lin({c}, {g}, 0, 0, {t}) : {b})",
    ),
    "floor": Form(
        lambda a, b, c, f, g, s, t, k: _lin(_floor(a, f, s), g, 0, 0, t),
        "P_lin(P_floor({a}, {f}, {s}), {g}, 0, 0, {t})",
    ),
    "ceil": Form(
        lambda a, b, c, f, g, s, t, k: -_lin(_floor(-a, f, s), g, 0, 0, t),
        "-P_lin(P_floor(-({a}), {f}, {s}), {g}, 0, 0, {t})",
    ),
    "round": Form(
        lambda a, b, c, f, g, s, t, k: _lin(_lin(a, f, 0, 0, s), g, 0, 0, t),
        "P_lin(P_lin({a}, {f}, 0, 0, {s}), {g}, 0, 0, {t})",
    ),
}  # fmt: skip
TABLE = "table"  # the entry of table number k for a

HELPERS = {
    "P_down": """static int64_t P_down(int64_t x, int32_t shift) {
    x += (int64_t)1 << (shift - 1);
    return x >= 0 ? x >> shift : -((-x + (((int64_t)1 << shift) - 1)) >> shift);
}
""",
    "P_fit": """static int32_t P_fit(int64_t x) {
    return x > 32767 ? 32767 : x < -32767 ? -32767 : (int32_t)x;
}
""",
    "P_lin": """static int32_t P_lin(int32_t a, int32_t f, int32_t b, int32_t g, int32_t shift) {
    return P_fit(P_down((int64_t)a * f + (int64_t)b * g, shift));
}
""",
    "P_mul": """static int32_t P_mul(int32_t a, int32_t b) {
    return a * b;
}
""",
    "P_div": """static int32_t P_div(int32_t a, int32_t b, int32_t f, int32_t shift) {
    if (b == 0) return a > 0 ? 32767 : a < 0 ? -32767 : 0;
    return P_fit(P_down((int64_t)a * f / b, shift));
}
""",
    "P_floor": """static int32_t P_floor(int32_t a, int32_t f, int32_t shift) {
    const int64_t x = (int64_t)a * f;
    return (int32_t)(x >= 0 ? x >> shift : -((-x + (((int64_t)1 << shift) - 1)) >> shift));
}
""",
    "P_less": """static int P_less(int32_t a, int32_t f, int32_t b, int32_t g) {
    return (int64_t)a * f < (int64_t)b * g;
}
""",
    "P_most": """static int32_t P_most(int32_t a, int32_t b) {
    return a > b ? a : b;
}
""",
    "P_least": """static int32_t P_least(int32_t a, int32_t b) {
    return a < b ? a : b;
}
""",
    "P_abs": """static int32_t P_abs(int32_t a) {
    return a < 0 ? -a : a;
}
""",
    "P_look": """static int32_t P_look(int32_t q, int32_t k) {
    const int32_t low = P_tables[4 * k], high = P_tables[4 * k + 1], bits = P_tables[4 * k + 2];
    const int32_t last = ((high - low) >> bits) - 1;
    int32_t rest = (q < low ? low : q > high ? high : q) - low, at = rest >> bits;
    if (at > last) at = last;
    const int32_t first = P_entries[P_tables[4 * k + 3] + at], next = P_entries[P_tables[4 * k + 3] + at + 1];
    rest -= at << bits;
    return first + (bits ? (int32_t)P_down((int64_t)(next - first) * rest, bits) : (next - first) * rest);
}
""",
}


# --- programs ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Fixed:
    """Integers that stand in the file, (rounds, members, terms); rounds is 1 where they are the same in all."""

    numbers: Ints

    def at(self, round_: int) -> Ints:
        found: Ints = self.numbers[round_ if len(self.numbers) > 1 else 0]
        return found


Source = Index | Fixed  # an Index of space v, the state


@dataclass(frozen=True)
class Elements:
    """An operation on every member. `settings` are its f, g, s, t and k, one number for each member."""

    form: str
    dims: tuple[int, ...]
    out: Index
    sources: tuple[Source, ...]
    settings: dict[str, Ints]


@dataclass(frozen=True)
class Part:
    """Terms of a sum: weights times integers or, with `other`, times products of two, of which the upper 16 bits."""

    count: int
    weights: Fixed
    source: Index
    other: Index | None = None


@dataclass(frozen=True)
class Sum:
    """Sums of products: Σ weights·integers + bias, times factor·2^−shift. Beyond 32 bits (`before`), they are shifted
    first."""

    dims: tuple[int, ...]
    out: Index
    parts: tuple[Part, ...]
    bias: Fixed
    factor: Ints
    shift: Ints
    before: int


@dataclass(frozen=True)
class Choice:
    """The value whose number is `index` times factor·2^−shift, the first or last beyond them; times f·2^−s."""

    dims: tuple[int, ...]
    out: Index
    index: Source
    values: Source
    count: int
    settings: dict[str, Ints]


@dataclass(frozen=True, eq=False)
class Records:
    """Operations one by one; a row: the number of its form in `forms`, the result, three operands, f, g, s, t, k."""

    forms: tuple[str, ...]
    rows: Ints


@dataclass(frozen=True)
class Repeat:
    count: int
    body: tuple[Any, ...]


Step = Elements | Sum | Choice | Records | Repeat


@dataclass
class Reference(ABC):
    """A predictor in integers: the scales of its inputs and outputs, and what its C file computes, in Python."""

    inputs: int
    scale: Floats  # of each input, and `zero`
    zero: Ints
    outputs: int
    output_scale: float

    def encode(self, rows: Any) -> Ints:
        """Rows of numbers, quantised to integers of 8 bits."""
        rows = np.asarray(rows, dtype=np.float64).reshape(-1, self.inputs)
        found: Ints = np.clip(np.rint(rows / self.scale + self.zero), -128, 127).astype(np.int64)
        return found

    @abstractmethod
    def run(self, q: Ints) -> Ints:
        """The 16-bit outputs for rows of integers: exactly those of the C file."""

    def predict(self, rows: Any) -> Floats:
        """The outputs for rows of numbers, scaled back to numbers."""
        return np.asarray(self.run(self.encode(rows)) * self.output_scale, dtype=np.float64)

    @property
    @abstractmethod
    def state(self) -> int:
        """The bytes of the file's state."""


@dataclass
class Quantized16(Reference):
    """A program of 16-bit integers, for inputs of 8 bits."""

    slots: int
    first: int  # the place of the inputs
    steps: list[Step] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)

    @property
    def state(self) -> int:
        return 2 * self.slots

    def run(self, q: Ints) -> Ints:
        state = np.zeros((len(q), self.slots), dtype=np.int64)
        state[:, self.first : self.first + self.inputs] = (q - self.zero) * SPREAD
        arrays = {"v": state, "y": np.zeros((len(q), self.outputs), dtype=np.int64)}
        for step in self.steps:
            self._run(step, arrays, (), 0)
        return arrays["y"]

    def _run(self, step: Step, arrays: dict[str, Ints], rounds: tuple[int, ...], flat: int) -> None:
        """`flat` is the number of the round, counted through all loops around."""
        if isinstance(step, Repeat):
            for k in range(step.count):
                for inner in step.body:
                    self._run(inner, arrays, (*rounds, k), flat * step.count + k)
            return
        if isinstance(step, Records):
            self._records(step, arrays["v"])
            return
        v = arrays["v"]

        def read(source: Source, count: int = 1) -> Ints:
            if isinstance(source, Fixed):
                return source.at(flat)[None]
            return v[:, source.slots(step.dims, count, rounds)]

        if isinstance(step, Elements):
            operands: list[Any] = [read(x)[..., 0] for x in step.sources]
            a, b, c = [*operands, 0, 0, 0][:3]
            made = self._made(step.form, a, b, c, step.settings)
        elif isinstance(step, Choice):
            settings = step.settings
            which = np.clip(down(read(step.index)[..., 0] * settings["f"], settings["s"]), 0, step.count - 1)
            values = np.broadcast_to(read(step.values, step.count), (len(v), prod(step.dims), step.count))
            chosen = np.take_along_axis(values, which[..., None], axis=2)[..., 0]
            made = _lin(chosen, settings["g"], 0, 0, settings["t"])
        else:
            total = step.bias.at(flat)[None, :, 0]
            for part in step.parts:
                taken = read(part.source, part.count)
                if part.other is not None:
                    taken = down(taken * read(part.other, part.count), 15)
                total = total + (taken * part.weights.at(flat)).sum(axis=-1)
            if step.before:
                total = down(total, step.before)
            made = fit(down(total * step.factor, step.shift))
        arrays[step.out.space][:, step.out.slots(step.dims, 1, rounds)[:, 0]] = made

    def _made(self, form: str, a: Any, b: Any, c: Any, settings: dict[str, Any]) -> Any:
        if form == TABLE:
            which = np.broadcast_to(settings["k"], np.shape(a)[-1:] if np.ndim(a) else ())
            found = np.zeros(np.shape(a), dtype=np.int64)
            for k in np.unique(which).tolist():
                found = np.where(which == k, self.tables[k].at(a), found)
            return found
        return FORMS[form].python(a, b, c, *(settings[name] for name in "fgstk"))

    def _records(self, step: Records, v: Ints) -> None:
        fixed = {ZERO: np.int64(0), ONE: np.int64(MOST)}
        for number, out, one, two, three, f, g, s, t, k in step.rows.tolist():
            a, b, c = (fixed[x] if x < 0 else v[:, x] for x in (one, two, three))
            settings = {name: np.int64(x) for name, x in zip("fgstk", (f, g, s, t, k), strict=True)}
            made = self.tables[k].at(a) if step.forms[number] == TABLE else self._made(
                step.forms[number], a, b, c, settings
            )  # fmt: skip
            v[:, out] = made
