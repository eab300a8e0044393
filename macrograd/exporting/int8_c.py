"""A C99 file that predicts in 8-bit integers (`int8`)."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from macrograd._dataclass import dataclass
from macrograd._numbers import check_unmasked
from macrograd.compiler import pipeline
from macrograd.compiler.compiled import Compiled
from macrograd.compiler.program.program import Program
from macrograd.exporting.arrays_c import FLASH, array
from macrograd.exporting.c import Written
from macrograd.exporting.fixed import Floats, Ints, Quantized16, Reference
from macrograd.exporting.fixed_c import FixedC
from macrograd.exporting.fixed_quantize import quantize16
from macrograd.exporting.fixed_scales import Measured
from macrograd.exporting.int8 import LARGEST, CannotQuantizeError, Lookups, Quantized, Sums, quantize
from macrograd.exporting.names_c import NamesInC, harmless, header_of
from macrograd.exporting.sizes_c import stated
from macrograd.replay import Replay, operations
from macrograd.value import Value
from macrograd.vector import as_argument, vector

_CASES = 5  # of the self-test
_LARGEST_WEIGHTS = 127, 32767  # of 8 bits, and of 16 where those do not do
_FAR = 0.03  # the largest mean error of an output on the calibration rows, relative to the largest output
_COMPARED = 256  # at most so many calibration rows
_BYTES = {"int8_t": 1, "int16_t": 2, "int32_t": 4, "float": 4}


def write_int8(
    compiled: Compiled, calibration: object, prefix: str, header: str | None, name: str, called: NamesInC
) -> tuple[Written, Quantized | Quantized16]:
    """The file, and the reference that computes the same integers. Raises ValueError for rows that do not fit,
    TypeError for a program that cannot be quantised."""
    special = compiled._traced()
    program = pipeline.value_program(special.source, batch=False)
    held = np.concatenate([[p.data for p in special.source.parameters], program.constants])
    rows = _rows(calibration, program.inputs)
    quantized = _quantized(compiled, program, held, rows)
    file = _File(prefix, quantized, called)
    body = [FLASH, *file.body(), called.functions()]
    constants = file.constants + called.constants()
    interface = file.interface(name, stated(constants, quantized.state, 0))
    parts = [interface if header is None else f'#include "{header}"\n', *body, file.encode(), file.selftest(rows)]
    outer = header_of(prefix, interface)
    return Written("\n".join(part for part in parts if part), outer, constants, quantized.state, 0), quantized


def _quantized(compiled: Compiled, program: Program, held: Floats, rows: Floats) -> Quantized | Quantized16:
    """The program in 8-bit integers if it is a net of sums and functions of one number, else in 16-bit ones: the first
    form that answers like the program on the calibration rows. Raises CannotQuantizeError that names the line, too."""
    try:
        measured = Measured(program, held, rows)
        found, off = _first_close(program, held, rows, measured)
        if off <= _FAR:
            return found
        raise CannotQuantizeError(
            f"export(dtype='int8'): on the calibration rows the answers in integers are off by {off:.1%} of the "
            "largest on average, as rounding changes them too much; subtract the mean of inputs far from 0, scale "
            "numbers to similar sizes, take fewer or larger steps in loops, or use dtype='float32'"
        )
    except CannotQuantizeError as error:
        place = _place(compiled, rows[0], error.op) if error.op else ""
        raise CannotQuantizeError(f"{error}{f' ({error.op}{place})' if place else ''}", error.op) from None


def _first_close(
    program: Program, held: Floats, rows: Floats, measured: Measured
) -> tuple[Quantized | Quantized16, float]:
    """The smallest form whose answers are close, else the last one, and how far off it is."""
    found: Quantized | Quantized16
    with contextlib.suppress(CannotQuantizeError):
        found = quantize(program, held, rows)
        if (off := _off(found, rows, measured.results)) <= _FAR:
            return found, off
    for largest in _LARGEST_WEIGHTS:
        found = quantize16(program, held, rows, measured, largest)
        if (off := _off(found, rows, measured.results)) <= _FAR:
            break
    return found, off


def _off(quantized: Reference, rows: Floats, right: Floats) -> float:
    """The largest mean error of an output, relative to the largest output. Single rows may be far off: where a
    comparison or a rounded number is next to a border."""
    some = slice(None, None, -(-len(rows) // _COMPARED))
    errors = np.abs(quantized.predict(rows[some]) - right[some]).mean(axis=0)
    return float(errors.max(initial=0.0) / max(np.abs(right).max(initial=0.0), 1.0 / LARGEST))


def _place(compiled: Compiled, row: Floats, op: str) -> str:
    """Where the function calls an operation first, as part of a sentence; "" if it cannot be said."""
    special, replay, at, args = compiled._traced(), Replay(), 0, []
    for shape, size in zip(special.shapes, special.sizes, strict=True):
        args.append(as_argument(row[at : at + size].reshape(shape)))
        at += size
    try:
        found = replay.run(lambda: compiled.fn(*map(as_values, args)))
    except (TypeError, ValueError, IndexError):  # the function needs plain numbers, for example as an index
        return ""
    nodes = [node for leaf in _values(found) for node in operations(leaf)]
    return next((replay.at(node) for node in nodes if node.op is not None and node.op.name == op), "")


def _values(x: Any) -> Iterator[Value]:
    """The Values of a result, which nests as it is written."""
    if isinstance(x, Value):
        yield x
    elif isinstance(x, dict) or hasattr(x, "__len__"):
        for item in x.values() if isinstance(x, dict) else x:
            yield from _values(item)


def as_values(x: Any) -> Any:
    """Numbers, and Vectors of them, as Values."""
    return vector([as_values(item) for item in x]) if hasattr(x, "__len__") else Value(float(x))


def _rows(calibration: object, inputs: int) -> Floats:
    if calibration is None:
        raise ValueError(
            "export(dtype='int8') needs rows like those to be predicted, as in calibration=X[:500]: the integers cover "
            "their range"
        )
    check_unmasked("calibration", calibration)
    rows = np.asarray(calibration, dtype=np.float64)
    if rows.ndim < 1 or not len(rows) or rows.size != len(rows) * inputs:
        raise ValueError(f"export(calibration=...) needs rows of {inputs} numbers, got an array of shape {rows.shape}")
    rows = rows.reshape(len(rows), inputs)
    if not np.isfinite(rows).all():
        row, column = np.argwhere(~np.isfinite(rows))[0]
        raise ValueError(
            f"export(calibration=...) has {rows[row, column]} in row {row}, column {column}: integers have no NaN or "
            "infinity; leave such rows out"
        )
    if (np.abs(rows) > LARGEST).any():
        row, column = np.argwhere(np.abs(rows) > LARGEST)[0]
        raise ValueError(
            f"export(calibration=...) has {rows[row, column]} in row {row}, column {column}: integers hold numbers up "
            f"to {LARGEST:.0e}; leave such rows out, or use dtype='float32'"
        )
    return rows


_HEAD = """static int64_t {prefix}_scaled(int32_t sum, int32_t factor, int32_t shift) {{
    const int64_t x = (int64_t)sum * factor + ((int64_t)1 << (shift - 1));
    return x >= 0 ? x >> shift : -((-x + (((int64_t)1 << shift) - 1)) >> shift);
}}

static int32_t {prefix}_within(int64_t x, int32_t most) {{
    return x > most ? most : x < -most - 1 ? -most - 1 : (int32_t)x;
}}
"""


@dataclass
class _File:
    prefix: str
    quantized: Quantized | Quantized16
    called: NamesInC
    constants: int = 0

    def _array(self, kind: str, name: str, numbers: Ints | Sequence[int]) -> str:
        flat = np.asarray(numbers).ravel().tolist()
        self.constants += _BYTES[kind] * len(flat)
        return array(f"{kind} {self.prefix}_{name}", map(str, flat))

    def interface(self, name: str, sizes: str) -> str:
        q, prefix, upper = self.quantized, self.prefix, self.prefix.upper()
        kind, slots = ("int16_t", q.slots) if isinstance(q, Quantized16) else ("int8_t", q.numbers)
        what = self.called.inputs("x", target=False) if self.called.known else f"     x[0] to x[{q.inputs - 1}]"
        return f"""/* {harmless(name)}, written by macrograd. C99; needs no library, and computes in integers alone.

   {prefix}_predict computes y[0] to y[{q.outputs - 1}] from x. Integers stand for numbers: y[k] for
   y[k] * {upper}_SCALE, x[k] for (x[k] - zero) / parts, with the zeros and parts of {prefix}_encode, which makes
   them of floats and is there with -DMACROGRAD_FLOAT.
   The caller provides the state, which needs no initialisation; nothing in it is kept between calls.
{sizes}{self.called.described()}   The inputs:
{what}
*/
#include <stdint.h>

#define {upper}_INPUTS {q.inputs}
#define {upper}_OUTPUTS {q.outputs}
#define {upper}_SCALE {q.output_scale!r}

typedef struct {{
    {kind} v[{max(1, slots)}];
}} {prefix}_state;

void {prefix}_predict({prefix}_state *s, const int8_t *x, int16_t *y);
#ifdef MACROGRAD_FLOAT
void {prefix}_encode(const float *numbers, int8_t *x);
#endif
{self.called.heads()}"""

    def body(self) -> list[str]:
        """The arrays and the function that predicts."""
        prefix, q, arrays, lines = self.prefix, self.quantized, [], []
        head = f"void {prefix}_predict({prefix}_state *s, const int8_t *x, int16_t *y)"
        if isinstance(q, Quantized16):
            return FixedC(prefix, q, self._array).body(head)
        for k, step in enumerate(q.steps):
            found, loop = self._sums(k, step) if isinstance(step, Sums) else self._lookups(k, step)
            arrays += found
            lines += loop
        copy = f"    for (int32_t i = 0; i < {q.inputs}; ++i) s->v[i] = x[i];"
        scaled = any(isinstance(step, Sums) for step in q.steps)
        helpers = [_HEAD.format(prefix=prefix)] if scaled else []
        return [*helpers, *arrays, "\n".join([f"{head} {{", copy, *lines, "}", ""])]

    def _place(self, k: int, sources: Ints, index: str) -> tuple[list[str], str]:
        """The places of the numbers: side by side, or in a table."""
        flat = sources.ravel()
        if (flat == flat[0] + np.arange(len(flat))).all():
            return [], f"s->v[{flat[0]} + {index}]"
        kind = "int16_t" if flat.max() < 2**15 else "int32_t"
        return [self._array(kind, f"from{k}", flat)], f"s->v[{self.prefix}_from{k}[{index}]]"

    def _sums(self, k: int, step: Sums) -> tuple[list[str], list[str]]:
        prefix = self.prefix
        used = step.weights.any(axis=0)
        weights, sources = step.weights[:, used], step.sources[:, used]
        members, terms = weights.shape
        alike = terms > 0 and (sources == sources[0]).all()
        tables, place = (
            self._place(k, sources[0] if alike else sources, "t" if alike else f"m * {terms} + t")
            if terms
            else ([], "")
        )
        tables += [
            self._array("int8_t", f"weights{k}", weights) if terms else "",
            self._array("int32_t", f"bias{k}", step.bias),
            self._array("int32_t", f"factor{k}", step.factor),
            self._array("int8_t", f"shift{k}", step.shift),
        ]
        kind, target, most = ("int16_t", "y", 32767) if step.wide else ("int8_t", "s->v", 127)
        add = []
        if terms:
            add.append(f"        const MACROGRAD_FLASH int8_t *w = {prefix}_weights{k} + m * {terms};")
            add.append(f"        for (int32_t t = 0; t < {terms}; ++t) sum += (int32_t)w[t] * {place};")
        scaled = f"{prefix}_scaled(sum, {prefix}_factor{k}[m], {prefix}_shift{k}[m])"
        zero = f" + {step.zero}" if step.zero > 0 else f" - {-step.zero}" if step.zero else ""
        return [table for table in tables if table], [
            f"    for (int32_t m = 0; m < {members}; ++m) {{",
            f"        int32_t sum = {prefix}_bias{k}[m];",
            *add,
            f"        {target}[{step.at} + m] = ({kind}){prefix}_within({scaled}{zero}, {most});",
            "    }",
        ]

    def _lookups(self, k: int, step: Lookups) -> tuple[list[str], list[str]]:
        prefix = self.prefix
        kind, target = ("int16_t", "y") if step.wide else ("int8_t", "s->v")
        tables, place = self._place(k, step.sources, "m")
        tables.append(self._array(kind, f"table{k}", step.tables))
        row = ""
        if len(step.tables) > 1:
            tables.append(self._array("int16_t", f"which{k}", step.which))
            row = f"256 * (int32_t){prefix}_which{k}[m] + "
        return tables, [
            f"    for (int32_t m = 0; m < {len(step.sources)}; ++m)",
            f"        {target}[{step.at} + m] = {prefix}_table{k}[{row}128 + {place}];",
        ]

    def encode(self) -> str:
        q, prefix = self.quantized, self.prefix
        parts = [float(np.float32(1 / scale)).hex() + "f" for scale in q.scale.tolist()]
        return f"""#ifdef MACROGRAD_FLOAT
void {prefix}_encode(const float *numbers, int8_t *x) {{
{_indented(array("float parts", parts))}
{_indented(array("int16_t zeros", map(str, q.zero.tolist())))}
    for (int32_t i = 0; i < {q.inputs}; ++i) {{
        const float at = numbers[i] * parts[i] + (float)zeros[i];
        x[i] = at > -128.0f && at < 127.0f ? (int8_t)(at < 0 ? at - 0.5f : at + 0.5f) : at > 0 ? 127 : -128;
    }}
}}
#endif
"""

    def selftest(self, rows: Floats) -> str:
        q, prefix = self.quantized, self.prefix
        given = q.encode(rows[np.linspace(0, len(rows) - 1, _CASES).astype(int)])
        right = q.run(given)
        return f"""#ifdef MACROGRAD_SELFTEST
#include <stdio.h>

{array(f"int8_t {prefix}_given", map(str, given.ravel().tolist()), flash=False)}
{array(f"int16_t {prefix}_right", map(str, right.ravel().tolist()), flash=False)}
static {prefix}_state {prefix}_tried;

int main(void) {{
    int wrong = 0;
    for (int32_t c = 0; c < {_CASES}; ++c) {{
        static int16_t y[{q.outputs}];
        {prefix}_predict(&{prefix}_tried, {prefix}_given + c * {q.inputs}, y);
        for (int32_t i = 0; i < {q.outputs}; ++i) {{
            const int a = y[i], b = {prefix}_right[c * {q.outputs} + i];
            if (a != b) {{
                printf("case %d, result %d: %d, expected %d\\n", (int)c, (int)i, a, b);
                wrong = 1;
            }}
        }}
    }}
    if (!wrong) printf("{prefix}: {_CASES} cases agree\\n");
    return wrong;
}}
#endif
"""


def _indented(text: str) -> str:
    return "\n".join(f"    {line}" for line in text.rstrip("\n").split("\n"))
