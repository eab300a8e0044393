"""A program as C functions: one for each phase that has steps, the kernel for its streams, and its tables.

The functions share a struct, `<prefix>_state`, passed by the caller: the slots of the program's two spaces, the number
of lanes that stand for a sample, and whether an index was out of range. Read-only numbers are in constant arrays:
tables, and with `fixed` the parameters and constants too.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from macrograd import ops
from macrograd._dataclass import dataclass
from macrograd.compiler.jit.text import Counter
from macrograd.compiler.program.program import Program
from macrograd.compiler.program.stream import MORE, SPREAD, SUM, TOTAL
from macrograd.compiler.program.walk import streams_of
from macrograd.compiler.targets.c.code import Code
from macrograd.compiler.targets.scalar.access import Tables
from macrograd.compiler.targets.scalar.emit import Emitter
from macrograd.compiler.targets.scalar.fuse import readers
from macrograd.compiler.targets.scalar.held import Readers
from macrograd.compiler.targets.scalar.inline import inlined
from macrograd.compiler.targets.scalar.machine import Machine
from macrograd.compiler.targets.scalar.registers import Registers
from macrograd.rows.in_c import c_functions


@dataclass(frozen=True)
class Lowered:
    """The parts of a program's text.

    functions  definitions in a valid order
    phases     the names of the functions for before, block and after; "" for a phase without steps
    tables     the entries of the constant array of indices
    """

    functions: list[str]
    phases: dict[str, str]
    tables: NDArray[np.int32]

    @property
    def raises(self) -> bool:
        """Whether an index is checked."""
        return any("s->flag" in text for text in self.functions)


def lower(program: Program, machine: Machine, prefix: str, targets: Sequence[int] | None = None) -> Lowered:
    """The program as C, with names that start with `prefix`. Space w (`apart`) is read from `<prefix>_w`.

    With `targets`, the block is an update rule that fits into registers: a function `<prefix>_block(s, count, a0, a1,
    …)` of arrays with `count` numbers, a multiple of a vector's. Each input is read from one of them, and each result
    is written to the one whose number `targets` has.

    Raises LookupError for an operation that has no form in C and no formula to compose one from.
    """
    tables, read, reused = Tables(), readers(program), Readers(program)
    helpers: dict[str, str] = {}
    bodies: list[str] = []
    phases: dict[str, str] = {}
    streams: list[tuple[bool, set[int]]] = []
    for name, steps in inlined(program, machine).items():
        rule = name == "block" and targets is not None
        phases[name] = f"{prefix}_{name}" if steps or rule else ""
        if not steps and not rule:
            continue
        code = Code(machine.kind, prefix, strict=machine.in_order)
        head = f"{prefix}_state *s"
        if name == "block" and targets is not None:
            arrays = [f"a{k}" for k in range(program.inputs)]
            _update(code, machine, program, targets, arrays)
            head += ", int32_t count" + "".join(f", {code.real} *MACROGRAD_RESTRICT {a}" for a in arrays)
        else:
            emitter = Emitter(
                code, machine, tables, name, read, reused, scalable=code if machine.scalable or machine.terms else None
            )
            emitter.steps(steps)
        helpers.update(code.functions)
        streams += [(s.block, {c for c, _, _ in s.records()}) for s in streams_of(steps)]
        bodies.append(_function(f"static void {phases[name]}({head})", code))
    kernels = []
    for block in sorted({block for block, _ in streams}):
        used = set().union(*(codes for where, codes in streams if where == block))
        text, needed = _kernel(machine, prefix, used, block=block)
        helpers.update(needed)
        kernels.append(text)
    functions = [*helpers.values(), *kernels]
    if any(f"{prefix}_clean(" in text for text in bodies):
        functions.append(_clean(machine, prefix))
    return Lowered([*functions, *bodies], phases, tables.array())


def _update(code: Code, machine: Machine, program: Program, targets: Sequence[int], arrays: Sequence[str]) -> None:
    """The loop over the arrays of an update rule."""
    rule = Registers(code, machine, program, program.results)

    def some(i: Counter, _: list[str]) -> list[str]:
        rule.run([code.load(code.element(name, str(i)), machine.width) for name in arrays])
        for (space, slot), k in zip(program.results, targets, strict=True):
            code.store(rule.value(space, slot), code.element(arrays[k], str(i)), machine.width)
        return []

    code.steps("count", some) if machine.scalable else code.loop("count", some)


def _function(head: str, code: Code) -> str:
    """A function on the state, with names for those of its arrays that it uses."""
    return "\n".join([f"{head} {{", *_arrays(code.text(), code.prefix, code.real), "}", ""])


def _arrays(lines: list[str], prefix: str, real: str) -> list[str]:
    """The lines, preceded by declarations of the arrays that they use."""
    text = "\n".join(lines)
    declared = [
        f"    {real} *MACROGRAD_RESTRICT {name} = s->{name};" for name in ("u", "v") if re.search(rf"\b{name}\b", text)
    ]
    declared += [f"    const MACROGRAD_FLASH {real} *w = {prefix}_w;"] if re.search(r"\bw\b", text) else []
    declared += (
        [f"    const MACROGRAD_FLASH int32_t *tables = {prefix}_tables;"] if re.search(r"\btables\b", text) else []
    )
    return declared + lines


def _clean(machine: Machine, prefix: str) -> str:
    """Set lanes without a sample to 0: 0·∞ must not enter sums over the batch."""
    return f"""static void {prefix}_clean({prefix}_state *s, int32_t begin, int32_t end) {{
    for (int32_t slot = begin; slot < end; ++slot)
        for (int32_t lane = s->valid; lane < {machine.lanes}; ++lane) s->v[slot * {machine.lanes} + lane] = 0;
}}
"""


def _kernel(machine: Machine, prefix: str, used: set[int], *, block: bool) -> tuple[str, dict[str, str]]:
    """The function that runs the records of a stream, with a case for each operation in it, and its helpers."""
    writer = Code(machine.kind, prefix, strict=machine.in_order)
    cases = []
    for op in sorted(used):
        body = _case(writer, op, machine, block=block)
        cases.append(
            f"        case {op}:\n" + "\n".join(f"            {line}" for line in body) + "\n            break;"
        )
    name = f"{prefix}_stream_{'v' if block else 'u'}"
    real, lists = writer.real, "    const MACROGRAD_FLASH int32_t *o = at + 3, *a = o + n, *b = a + n, *c = b + n;"
    lines = [
        "    const MACROGRAD_FLASH int32_t *at = words + 1, *end = at + words[0];",
        "    for (; at < end; at += 3 + at[1] * (1 + at[2])) {",
        "        const int32_t n = at[1];",
        "    " + lists,
        "        (void)b; (void)c;",
        "        switch (at[0]) {",
        *cases,
        "        default:",
        "            break;",
        "        }",
        "    }",
    ]
    head = f"static void {name}({prefix}_state *s, const MACROGRAD_FLASH int32_t *words)"
    return "\n".join([f"{head} {{", *_arrays(lines, prefix, real), "}", ""]), writer.functions


def _case(writer: Code, op: int, machine: Machine, *, block: bool) -> list[str]:
    """The lines that run one record: for every member and, in a block, for every lane."""
    lanes = machine.lanes if block else 1

    def uniform(j: str) -> str:
        return f"({j} < 0 ? w[-1 - {j}] : u[{j}])"

    def at(j: str) -> str:
        return f"v[{j} * {lanes} + k]" if block else uniform(j)

    each = "for (int32_t i = 0; i < n; ++i)" + (f" for (int32_t k = 0; k < {lanes}; ++k)" if block else "")
    out = f"v[o[i] * {lanes} + k]" if block else "u[o[i]]"
    if op == SPREAD:
        return [f"{each} {out} = {uniform('a[i]')};"]
    if op in (TOTAL, MORE):
        begun = "u[o[i]]" if op == MORE or not machine.single else "0"
        more = writer.product(f"v[a[i] * {lanes} + k]", f"(at[2] == 2 ? v[b[i] * {lanes} + k] : 1)")
        apart = begun != "0" and not machine.in_order
        return [
            "for (int32_t i = 0; i < n; ++i) {",
            f"    {writer.real} sum = {'0' if apart else begun};",
            f"    for (int32_t k = 0; k < s->valid; ++k) sum += {more};",
            f"    u[o[i]] = {begun} + sum;" if apart else "    u[o[i]] = sum;",
            "}",
        ]
    if op == SUM:
        return [
            f"{each} {{",
            f"    {writer.real} sum = {writer.product(at('a[i]'), at('b[i]'))};",
            "    for (int32_t j = 2 * n + i; j < at[2] * n; j += 2 * n)",
            f"        sum += {writer.product(at('a[j]'), at('b[j]'))};",
            f"    {out} = sum;",
            "}",
        ]
    if op == ops.take.code:
        return [
            f"{each} {{",
            f"    const {writer.real} x = {at('a[i]')};",
            "    const int good = x >= 0 && x < at[2] - 1 && x == (int32_t)x;",
            "    const int32_t j = b[(good ? (int32_t)x : 0) * n + i];",
            f"    {out} = {at('j')};",
            "    if (!good) s->flag = 1;",
            "}",
        ]
    row = ops.TABLE[op]
    operands = [at(f"{name}[i]") for name in "abc"[: row.arity or 0]]
    writer.functions.update(c_functions(row, strict=writer.strict))
    return [f"{each} {out} = {writer.expression(row, operands)};"]
