"""An operation as text in C99: its expression, the functions that it calls, and, where the row has no C form, a
function composed by its formula."""

from __future__ import annotations

import math
import re
from typing import Any

from macrograd._composed import Term


class _Written(Term):
    """A variable of a C function; `lines` are the function's, `functions` those that it calls."""

    __slots__ = ("functions", "lines", "x")

    def __init__(self, x: str, lines: list[str], functions: dict[str, str]) -> None:
        self.x, self.lines, self.functions = x, lines, functions

    def _line(self, expression: str) -> _Written:
        name = f"t{len(self.lines)}"
        self.lines.append(f"    const double {name} = {expression};")
        return _Written(name, self.lines, self.functions)

    def number(self, x: float) -> _Written:
        return _Written(c_number(x), self.lines, self.functions)

    def apply(self, op: Any, operands: list[_Written]) -> _Written:
        self.functions.update(c_functions(op))
        return self._line(c_expression(op, *[operand.x for operand in operands]))

    def primitive(self, name: str, operands: list[_Written]) -> _Written:
        if name == "multiply_add":
            a, b, c = operands
            return self._line(f"{a.x} * {b.x} + {c.x}")
        if name == "signed":
            return self._line(f"copysign({operands[0].x}, {operands[1].x})")
        self.functions.update(_C_PRIMITIVES[name])
        return self._line(f"mg_{name}({', '.join(operand.x for operand in operands)})")

    def elsewhere(self, condition: _Written, value: _Written, name: str, operands: list[_Written]) -> _Written:
        return self._line(f"{condition.x} != 0 ? {name}({', '.join(x.x for x in operands)}) : {value.x}")


_C_SPLIT = {
    "mantissa": "static double mg_mantissa(double a) {\n    int k;\n    const double m = frexp(a, &k);\n"
    "    return m < 0.7071067811865476 ? 2.0 * m : m;\n}\n",
    "exponent": "static double mg_exponent(double a) {\n    int k;\n    const double m = frexp(a, &k);\n"
    "    return m < 0.7071067811865476 ? (double)k - 1.0 : (double)k;\n}\n",
}
_C_PRIMITIVES: dict[str, dict[str, str]] = {
    "product_rest": {
        "product_rest": "static double mg_product_rest(double a, double b) {\n"
        "    const double rest = fma(a, b, -(a * b));\n"
        "    return isfinite(rest) ? rest : isnan(a * b) ? a * b : 0.0;\n}\n"
    },
    "scaled": {
        "scaled": "static double mg_scaled(double a, double n) {\n"
        "    return isfinite(n) ? ldexp(a, (int)fmax(-10000.0, fmin(n, 10000.0))) : (double)NAN;\n}\n"
    },
    "mantissa": {"mantissa": _C_SPLIT["mantissa"]},
    "exponent": {"exponent": _C_SPLIT["exponent"]},
}


def c_number(x: float, real: str = "double") -> str:
    """A literal of the type `real`, double or float, exact to the bit."""
    if x != x:
        return f"({real})NAN"
    if abs(x) == math.inf:
        return f"({real})INFINITY" if x > 0 else f"(-({real})INFINITY)"
    text = x.hex() + ("f" if real == "float" else "")
    return text if math.copysign(1.0, x) > 0 else f"({text})"


def c_expression(op: Any, *operands: str) -> str:
    """The operation on operands that are names or literals, as an expression in C99."""
    if op.c is None and op.formula is None:
        raise LookupError(f"operation {op.name!r} has neither a C form nor a formula to compose one from")
    if op.c is None:
        return f"mg_{op.name}({', '.join(operands)})"
    if callable(op.c):
        return str(op.c(*operands))
    return str(op.c.format(*operands))


def c_functions(op: Any) -> dict[str, str]:
    """The functions, besides those of <math.h>, that the operation's `c_expression` calls: name → text, in order."""
    if op.c is not None:
        return {op.name: op.c_function} if op.c_function else {}
    functions: dict[str, str] = {}
    lines: list[str] = []
    names = [f"x{k}" for k in range(op.arity)]
    found = op.formula(*[_Written(name, lines, functions) for name in names])
    result = found.x if isinstance(found, _Written) else c_number(float(found))
    head = f"static double mg_{op.name}({', '.join(f'double {name}' for name in names)}) {{"
    functions[op.name] = "\n".join([head, *_used(lines, result), f"    return {result};", "}", ""])
    return functions


def _used(lines: list[str], result: str) -> list[str]:
    """The lines that define used variables; compilers warn about unused ones."""
    wanted, kept = set(re.findall(r"\bt\d+\b", result)), []
    for line in reversed(lines):
        name, *others = re.findall(r"\bt\d+\b", line)
        if name in wanted:
            wanted.update(others)
            kept.append(line)
    return kept[::-1]


def described(op: Any) -> str:
    """Everything that the compiler makes of an operation, as text, which changes whenever the row does."""
    parts = [f"{op.code} {op.name} {op.llvm}", *c_functions(op).values()]
    rules = op.derivative if op.arity is not None else ()
    for k, rule in enumerate(rules):
        if rule is not None:
            lines: list[str] = []
            found = rule(*[_Written(f"x{i}", lines, {}) for i in range(op.arity + 2)])
            parts += [f"{k}:", *lines, found.x if isinstance(found, _Written) else repr(found)]
    return "\n".join(parts)


def dot(*pairs: str) -> str:
    return "(" + " + ".join(f"{a} * {b}" for a, b in zip(pairs[::2], pairs[1::2], strict=True)) + ")"


def take(index: str, *values: str) -> str:
    *others, last = values
    return "(" + "".join(f"{index} < {k + 1} ? {value} : " for k, value in enumerate(others)) + f"{last})"


def random_in_c(keys: tuple[int, ...], mix: tuple[int, ...]) -> str:
    """`_floats.random` as a function in C."""
    summed = " + ".join(f"(uint64_t)(int64_t){x} * UINT64_C({key:#X})" for x, key in zip("abc", keys, strict=True))
    return (
        "static double mg_random(double a, double b, double c) {\n"
        "    if (!(fabs(a) < 0x1p53 && fabs(b) < 0x1p53 && fabs(c) < 0x1p53)) return (double)NAN;\n"
        f"    uint64_t z = {summed};\n"
        f"    z = (z ^ (z >> 30)) * UINT64_C({mix[0]:#X});\n"
        f"    z = (z ^ (z >> 27)) * UINT64_C({mix[1]:#X});\n"
        "    return (double)((z ^ (z >> 31)) >> 40) * 0x1p-24;\n}\n"
    )
