"""A program of 16-bit integers in C."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from macrograd.compiler.program.instruction import Index
from macrograd.exporting.fixed import (
    FORMS,
    HELPERS,
    SPREAD,
    TABLE,
    ZERO,
    Choice,
    Elements,
    Fixed,
    Quantized16,
    Records,
    Repeat,
    Source,
    Step,
    Sum,
)

_COUNTERS = "ijk"


class FixedC:
    """The functions and arrays of a file; `array` makes a constant array of a type, a name and numbers, and returns its
    text."""

    def __init__(self, prefix: str, program: Quantized16, array: Callable[[str, str, Any], str]) -> None:
        self.prefix, self.program, self._array = prefix, program, array
        self.arrays: list[str] = []
        self._count = 0
        self._kernels = [step for step in program.steps if isinstance(step, Records)]
        self._known: dict[tuple[str, bytes], str] = {}

    def body(self, head: str) -> list[str]:
        """The arrays, the helpers and the function that predicts."""
        program, prefix = self.program, self.prefix
        zero = self._numbers(program.zero, "i", 16)
        place = f"{program.first} + i" if program.first else "i"
        read = f"s->v[{place}] = (int16_t)((x[i] - {zero}) * {SPREAD});"
        lines = [f"    for (int32_t i = 0; i < {program.inputs}; ++i) {read}"]
        for step in program.steps:
            lines += [f"    {line}" for line in self._step(step, ())]
        if program.tables:
            self._write_tables()
        text = "\n".join([f"{head} {{", *lines, "}", ""])
        records = [self._kernel(k, step) for k, step in enumerate(self._kernels)]
        helpers: dict[str, str] = {}
        asked = "\n".join([*records, text])
        while found := [
            n for n in HELPERS if n not in helpers and re.search(rf"\b{n}\(", asked + "".join(helpers.values()))
        ]:
            helpers |= {n: HELPERS[n] for n in found}
        ordered = [HELPERS[n] for n in HELPERS if n in helpers]
        return [part.replace("P_", f"{prefix}_") for part in [*self.arrays, *ordered, *records, text]]

    def _write_tables(self) -> None:
        at, rows, entries = 0, [], []
        for table in self.program.tables:
            rows.append([table.low, table.high, table.bits, at])
            entries.append(table.entries)
            at += len(table.entries)
        self.arrays.append(self._array("int32_t", "tables", np.array(rows)))
        self.arrays.append(self._array("int16_t", "entries", np.concatenate(entries)))

    def _numbers(self, numbers: Any, place: str, bits: int) -> str:
        """One of these numbers, by its place: the number itself where all are the same, else an element of an array."""
        flat = np.asarray(numbers, dtype=np.int64).ravel()
        if (flat == flat[0]).all():
            return f"({flat[0]})" if flat[0] < 0 else str(flat[0])
        most = int(np.abs(flat).max())
        kind = "int8_t" if most < 128 else "int16_t" if most < 2**15 else "int32_t"
        key = kind, flat.tobytes()
        if key not in self._known:
            self._known[key] = f"n{self._count}"
            self.arrays.append(self._array(kind, f"n{self._count}", flat))
            self._count += 1
        return f"P_{self._known[key]}[{place}]"

    # --- places -------------------------------------------------------------------------------------------------------

    def _index(self, index: Index, dims: Sequence[int], count: int) -> str:
        """The slot of a member's operand, in C: counters i, j, k, the term t, the rounds r0, r1, r2."""
        parts = [] if index.full is not None else [str(index.base)]
        terms = [] if index.full is not None else [*zip(index.member, _COUNTERS, strict=False), (index.term, "t")]
        for stride, counter in [*terms, *((shift, f"r{n}") for n, shift in enumerate(index.shifts))]:
            if stride:
                parts.append(counter if stride == 1 else f"{stride} * {counter}")
        if index.full is not None:
            parts.append(self._numbers(index.full, f"({_flat(dims)}) * {count} + t" if count > 1 else _flat(dims), 32))
        if index.members is not None and index.full is None:
            table = np.broadcast_to(index.members, tuple(dims))
            parts.append(self._numbers(table, _flat(dims), 32))
        if index.terms is not None and index.full is None:
            parts.append(self._numbers(index.terms, "t", 32))
        text = " + ".join(part for part in parts if part != "0") or "0"
        return text.replace("+ -", "- ")

    def _read(self, source: Source, dims: Sequence[int], count: int, around: Sequence[int]) -> str:
        if isinstance(source, Index):
            return f"s->v[{self._index(source, dims, count)}]"
        return self._fixed(source, dims, count, around)

    def _fixed(self, source: Fixed, dims: Sequence[int], count: int, around: Sequence[int]) -> str:
        rounds, members, terms = source.numbers.shape
        place = _flat(dims) if terms == 1 else f"({_flat(dims)}) * {terms} + t"
        if rounds > 1:
            place = f"({_rounds(around)}) * {members * terms} + {place}"
        return self._numbers(source.numbers, place, 16)

    # --- steps --------------------------------------------------------------------------------------------------------

    def _step(self, step: Step, around: tuple[int, ...]) -> list[str]:
        if isinstance(step, Repeat):
            r = f"r{len(around)}"
            inner = [line for one in step.body for line in self._step(one, (*around, step.count))]
            return [f"for (int32_t {r} = 0; {r} < {step.count}; ++{r}) {{", *(f"    {line}" for line in inner), "}"]
        if isinstance(step, Records):
            return [f"P_records{self._kernels.index(step)}(s, {len(step.rows)});"]
        if isinstance(step, Elements):
            made = self._elements(step, around)
        else:
            made = self._sum(step, around) if isinstance(step, Sum) else self._choice(step, around)
        lines: list[str] = []
        for depth, n in enumerate(step.dims):
            c = _COUNTERS[depth]
            lines.append("    " * depth + f"for (int32_t {c} = 0; {c} < {n}; ++{c}) {{")
        lines += ["    " * len(step.dims) + line for line in made]
        return [*lines, *("    " * depth + "}" for depth in reversed(range(len(step.dims))))]

    def _out(self, step: Any, expression: str) -> str:
        array = "s->v" if step.out.space == "v" else "y"
        return f"{array}[{self._index(step.out, step.dims, 1)}] = (int16_t)({expression});"

    def _elements(self, step: Elements, around: tuple[int, ...]) -> list[str]:
        reads = [self._read(source, step.dims, 1, around) for source in step.sources]
        return [self._out(step, self._form(step.form, reads, {
            name: self._numbers(numbers, _flat(step.dims), 32) for name, numbers in step.settings.items()
            if f"{{{name}}}" in (FORMS[step.form].c if step.form != TABLE else "{k}")
        }))]  # fmt: skip

    @staticmethod
    def _form(form: str, reads: Sequence[str], settings: dict[str, str]) -> str:
        padded = dict(zip("abc", [*reads, "0", "0", "0"], strict=False))
        text = "P_look({a}, {k})" if form == TABLE else FORMS[form].c
        return text.format(**padded, **settings)

    def _choice(self, step: Choice, around: tuple[int, ...]) -> list[str]:
        at = {name: self._numbers(numbers, _flat(step.dims), 32) for name, numbers in step.settings.items()}
        index = f"P_lin({self._read(step.index, step.dims, 1, around)}, {at['f']}, 0, 0, {at['s']})"
        value = self._read(step.values, step.dims, step.count, around)
        return [
            f"const int32_t t = P_least(P_most({index}, 0), {step.count - 1});",
            *([] if re.search(r"\bt\b", value) else ["(void)t;"]),
            self._out(step, f"P_lin({value}, {at['g']}, 0, 0, {at['t']})"),
        ]

    def _sum(self, step: Sum, around: tuple[int, ...]) -> list[str]:
        kind = "int64_t" if step.before else "int32_t"
        lines = [f"{kind} sum = {self._fixed(step.bias, step.dims, 1, around)};"]
        for part in step.parts:
            taken = self._read(part.source, step.dims, part.count, around)
            if part.other is not None:
                other = self._read(part.other, step.dims, part.count, around)
                taken = f"(int32_t)P_down(P_mul({taken}, {other}), 15)"
            weight = self._fixed(part.weights, step.dims, part.count, around)
            term = f"sum += ({kind}){weight} * {taken};"
            once = part.count == 1 and not re.search(r"\bt\b", term)
            lines.append(term if once else f"for (int32_t t = 0; t < {part.count}; ++t) {term}")
        factor, shift = (self._numbers(n, _flat(step.dims), 32) for n in (step.factor, step.shift))
        total = f"P_down(sum, {step.before})" if step.before else "sum"
        return [*lines, self._out(step, f"P_fit(P_down((int64_t){total} * {factor}, {shift}))")]

    # --- records ------------------------------------------------------------------------------------------------------

    def _kernel(self, number: int, step: Records) -> str:
        """The interpreter of records, with a case for each form, and their numbers as arrays."""
        small, large = step.rows[:, [0, 1, 2, 3, 4]], step.rows[:, [5, 6, 7, 8, 9]]
        kind = "int16_t" if int(small.max(initial=0)) < 2**15 else "int32_t"
        self.arrays.append(self._array(kind, f"who{number}", small))
        self.arrays.append(self._array("int32_t", f"how{number}", large))
        settings = {name: f"how[{k}]" for k, name in enumerate("fgstk")}
        cases = [
            f"        case {k}:\n            s->v[who[1]] = (int16_t)({self._form(form, ['a', 'b', 'c'], settings)});\n"
            "            break;"
            for k, form in enumerate(step.forms)
        ]
        reads = "\n".join(
            f"        const int32_t {n} = who[{k}] >= 0 ? s->v[who[{k}]] : who[{k}] == {ZERO} ? 0 : 32767;"
            for k, n in enumerate("abc", 2)
        )
        return f"""static void P_records{number}(P_state *s, int32_t count) {{
    const MACROGRAD_FLASH {kind} *who = P_who{number};
    const MACROGRAD_FLASH int32_t *how = P_how{number};
    for (; count > 0; --count, who += 5, how += 5) {{
{reads}
        (void)a; (void)b; (void)c;
        switch (who[0]) {{
{chr(10).join(cases)}
        default:
            break;
        }}
    }}
}}
"""


def _flat(dims: Sequence[int]) -> str:
    """The number of a member."""
    text = ""
    for counter, n in zip(_COUNTERS, dims, strict=False):
        text = counter if not text else f"({text}) * {n} + {counter}"
    return text or "0"


def _rounds(around: Sequence[int]) -> str:
    """The number of a round, counted through all loops around."""
    text = "r0"
    for depth, n in enumerate(around[1:], 1):
        text = f"({text}) * {n} + r{depth}"
    return text


__all__ = ["FixedC"]
