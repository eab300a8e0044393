"""How an operation is spelt in C for vectors and for floats, from its form in the op table, which is for doubles."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from macrograd.compiler.jit.text import Float
from macrograd.ops import Op
from macrograd.rows.in_c import c_expression, c_functions

_MATH = re.compile(r"\b(?!mg_)([a-z][a-z0-9_]*)\(")  # functions of math.h, whose names for floats end in f
_LITERAL = re.compile(r"(?<![\w.])(\d+\.\d+|0x[0-9a-f.]+p[+-]?\d+)(?![\w.])", re.IGNORECASE)
_COMPARED = re.compile(r"(.+) ([<>]=?|[!=]=) (.+)")


def of_vectors(form: str, number: Callable[[float], str]) -> str | None:
    """The form for all elements of vectors at once; None if it has more than arithmetic and choices. `number` writes a
    literal."""
    if _MATH.search(form) or "mg_" in form or "NAN" in form:
        return None
    if form.startswith("(") and form.endswith(")"):
        form = form[1:-1]
    if " ? " not in form:
        if re.search(r"[<>=]", form):
            return None
        return f"ALL({number(float(form))})" if re.fullmatch(r"-?[\d.]+", form) else f"({form})"
    condition, rest = form.split(" ? ", 1)
    parts = [of_vectors(part, number) for part in rest.split(" : ", 1)]
    ways = [[_comparison(x, number) for x in way.split(" && ")] for way in condition.split(" || ")]
    if None in parts or any(None in way for way in ways):
        return None
    joined = [" & ".join(map(str, way)) for way in ways]
    test = joined[0] if len(ways) == 1 else " | ".join(f"({way})" for way in joined)
    return f"SELECT({test}, {parts[0]}, {parts[1]})"


def _comparison(text: str, number: Callable[[float], str]) -> str | None:
    found = _COMPARED.fullmatch(text)
    sides = [of_vectors(side, number) for side in (found[1], found[3])] if found else [None]
    return None if None in sides or found is None else f"({sides[0]} {found[2]} {sides[1]})"


def expression(op: Op, operands: Sequence[str], kind: Float, *, strict: bool) -> str:
    """The form with operands that are names or places of this type."""
    if kind.bits == 64:
        return c_expression(op, *operands, strict=strict)
    if c_functions(op, strict=strict):  # written for doubles
        return f"(float){c_expression(op, *[f'(double){x}' for x in operands], strict=strict)}"
    names = [f"OPERAND{k}" for k in range(len(operands))]
    written = c_expression(op, *names, strict=strict).replace("(double)", "(float)").replace("MUL(", "MULF(")
    form = _LITERAL.sub(r"\1f", _MATH.sub(r"\1f(", written))
    for k in range(len(operands) - 1, -1, -1):
        form = form.replace(f"OPERAND{k}", operands[k])
    return form
