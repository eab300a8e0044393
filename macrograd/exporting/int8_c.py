"""A C99 file that predicts in 8-bit integers (`int8`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from macrograd.compiler import pipeline
from macrograd.compiler.compiled import Compiled
from macrograd.exporting.c import Written, array
from macrograd.exporting.int8 import Floats, Ints, Lookups, Quantized, Sums, quantize
from macrograd.exporting.names_c import NamesInC, harmless
from macrograd.exporting.sizes_c import stated

_CASES = 5  # of the self-test
_BYTES = {"int8_t": 1, "int16_t": 2, "int32_t": 4, "float": 4}


def write_int8(
    compiled: Compiled, calibration: object, prefix: str, header: str | None, name: str, called: NamesInC
) -> tuple[Written, Quantized]:
    """The file, and the reference that computes the same integers. Raises ValueError for rows that do not fit,
    TypeError for a program that cannot be quantised."""
    special = compiled._traced()
    program = pipeline.value_program(special.source, batch=False)
    held = np.concatenate([[p.data for p in special.source.parameters], program.constants])
    rows = _rows(calibration, program.inputs)
    quantized = quantize(program, held, rows)
    file = _File(prefix, quantized, called)
    sums = any(isinstance(step, Sums) for step in quantized.steps)
    body = [_HEAD.format(prefix=prefix) if sums else "", *file.steps(), called.functions()]
    constants = file.constants + called.constants()
    interface = file.interface(name, stated(constants, quantized.numbers, 0))
    parts = [interface if header is None else f'#include "{header}"\n', *body, file.encode(), file.selftest(rows)]
    guard = f"{prefix.upper()}_H"
    outer = f"#ifndef {guard}\n#define {guard}\n\n{interface}\n#endif\n"
    return Written("\n".join(part for part in parts if part), outer, constants, quantized.numbers, 0), quantized


def _rows(calibration: object, inputs: int) -> Floats:
    if calibration is None:
        raise ValueError(
            "export(dtype='int8') needs rows like those to be predicted, as in calibration=X[:500]: the integers cover "
            "their range"
        )
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
    quantized: Quantized
    called: NamesInC
    constants: int = 0

    def _array(self, kind: str, name: str, numbers: Ints | Sequence[int]) -> str:
        flat = np.asarray(numbers).ravel().tolist()
        self.constants += _BYTES[kind] * len(flat)
        return array(f"{kind} {self.prefix}_{name}", map(str, flat))

    def interface(self, name: str, sizes: str) -> str:
        q, prefix, upper = self.quantized, self.prefix, self.prefix.upper()
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
    int8_t v[{max(1, q.numbers)}];
}} {prefix}_state;

void {prefix}_predict({prefix}_state *s, const int8_t *x, int16_t *y);
#ifdef MACROGRAD_FLOAT
void {prefix}_encode(const float *numbers, int8_t *x);
#endif
{self.called.heads()}"""

    def steps(self) -> list[str]:
        arrays, lines = [], []
        for k, step in enumerate(self.quantized.steps):
            found, loop = self._sums(k, step) if isinstance(step, Sums) else self._lookups(k, step)
            arrays += found
            lines += loop
        prefix, inputs = self.prefix, self.quantized.inputs
        head = f"void {prefix}_predict({prefix}_state *s, const int8_t *x, int16_t *y) {{"
        copy = f"    for (int32_t i = 0; i < {inputs}; ++i) s->v[i] = x[i];"
        return [*arrays, "\n".join([head, copy, *lines, "}", ""])]

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
        product = f"(int32_t){prefix}_weights{k}[m * {terms} + t] * {place}"
        add = f"        for (int32_t t = 0; t < {terms}; ++t) sum += {product};"
        scaled = f"{prefix}_scaled(sum, {prefix}_factor{k}[m], {prefix}_shift{k}[m])"
        zero = f" + {step.zero}" if step.zero > 0 else f" - {-step.zero}" if step.zero else ""
        return [table for table in tables if table], [
            f"    for (int32_t m = 0; m < {members}; ++m) {{",
            f"        int32_t sum = {prefix}_bias{k}[m];",
            *([add] if terms else []),
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

{array(f"int8_t {prefix}_given", map(str, given.ravel().tolist()))}
{array(f"int16_t {prefix}_right", map(str, right.ravel().tolist()))}
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
