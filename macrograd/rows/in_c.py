"""An operation as text in C99: its expression, the functions that it calls, and where the row has no C form, a function
composed by its formula.

In a strict program every function of <math.h> has a stand-in of the same bits on every machine (`strict_c`), what
libraries compute differently is composed by a formula, and a product is written `MUL(a, b)`, which no compiler fuses
with the sum around it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from typing import Any

from macrograd.rows.composed import Elsewhere, Term
from macrograd.rows.strict_c import STAND_INS, needed


class _Function:
    """The text of a C function, and the functions that it calls."""

    def __init__(self, strict: bool) -> None:
        self.strict = strict
        self.lines: list[str] = []
        self.functions: dict[str, str] = {}


class _Written(Term):
    """A variable of a C function."""

    __slots__ = ("function", "x")

    def __init__(self, x: str, function: _Function) -> None:
        self.x, self.function = x, function

    def _line(self, expression: str) -> _Written:
        lines = self.function.lines
        name = f"t{len(lines)}"
        lines.append(f"    const double {name} = {expression};")
        return _Written(name, self.function)

    def _call(self, name: str, functions: dict[str, str], operands: Sequence[_Written]) -> str:
        self.function.functions.update(functions)
        return f"{name}({', '.join(operand.x for operand in operands)})"

    def number(self, x: float) -> _Written:
        return _Written(c_number(x, strict=self.function.strict), self.function)

    def apply(self, op: Any, operands: list[_Written]) -> _Written:
        strict = self.function.strict
        self.function.functions.update(c_functions(op, strict=strict))
        return self._line(c_expression(op, *[operand.x for operand in operands], strict=strict))

    def primitive(self, name: str, operands: list[_Written]) -> _Written:
        strict = self.function.strict
        if name == "multiply_add":
            a, b, c = operands
            return self._line(f"MUL({a.x}, {b.x}) + {c.x}" if strict else f"{a.x} * {b.x} + {c.x}")
        if strict:
            return self._line(self._call(f"mg_{name}", needed(name), operands))
        if name == "signed":
            return self._line(self._call("copysign", {}, operands))
        return self._line(self._call(f"mg_{name}", _C_PRIMITIVES[name], operands))

    def elsewhere(self, condition: _Written, value: _Written, what: Elsewhere, operands: list[_Written]) -> _Written:
        if not isinstance(what, str):
            name, functions = c_function(what, len(operands), strict=self.function.strict)
        else:
            name, functions = (f"mg_{what}", needed(what)) if self.function.strict else (what, {})
        return self._line(f"{condition.x} != 0 ? {self._call(name, functions, operands)} : {value.x}")


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
    "two_over_pi": needed("two_over_pi"),
}


def stand_in(name: str) -> dict[str, str]:
    """The functions, by name, that replace one of <math.h> in a strict program."""
    return needed(name)


def c_number(x: float, real: str = "double", *, strict: bool = False) -> str:
    """A literal of the type `real`, double or float, exact to the bit."""
    nan, infinity = ("(0.0 / 0.0)", "(1.0 / 0.0)") if strict else ("NAN", "INFINITY")
    if x != x:
        return f"({real}){nan}"
    if abs(x) == math.inf:
        return f"({real}){infinity}" if x > 0 else f"(-({real}){infinity})"
    text = x.hex() + ("f" if real == "float" else "")
    return text if math.copysign(1.0, x) > 0 else f"({text})"


def _formula(op: Any, strict: bool) -> Any:
    """The formula that composes the operation; None if it has a C form."""
    return op.portable or op.formula if strict else op.formula if op.c is None else None


def c_expression(op: Any, *operands: str, strict: bool = False) -> str:
    """The operation on operands that are names or literals, as an expression in C99."""
    if _formula(op, strict) is not None:
        return f"mg_{op.name}({', '.join(operands)})"
    if op.c is None:
        raise LookupError(f"operation {op.name!r} has neither a C form nor a formula to compose one from")
    if strict and op.name == "mul":
        return f"MUL({', '.join(operands)})"
    return str(op.c(*operands) if callable(op.c) else (_strict(op.c) if strict else op.c).format(*operands))


def _strict(text: str) -> str:
    """C without <math.h>."""
    text = re.sub(r"\b([a-z]+)\(", lambda call: f"{STAND_INS.get(call[1], call[1])}(", text)
    return text.replace("(double)NAN", c_number(math.nan, strict=True))


def c_functions(op: Any, *, strict: bool = False) -> dict[str, str]:
    """The functions that `c_expression` of the operation calls besides those of <math.h>, by name, in order."""
    formula = _formula(op, strict)
    if formula is not None:
        return c_function(formula, op.arity, op.name, strict=strict)[1]
    functions: dict[str, str] = {}
    text = op.c_function
    if strict:
        text = _strict(text)
        called = re.findall(r"\bmg_(\w+)\(", text + (_strict(op.c) if isinstance(op.c, str) else ""))
        for name in called:
            if f" mg_{name}(double" not in text:
                functions.update(needed(name))
    return {**functions, **({op.name: text} if text else {})}


def c_function(
    formula: Callable[..., Any], arity: int, name: str | None = None, *, strict: bool
) -> tuple[str, dict[str, str]]:
    """A formula as a C function: its name, and the texts of it and those that it calls, by name, in order."""
    name = name or formula.__name__.strip("_")
    function = _Function(strict)
    names = [f"x{k}" for k in range(arity)]
    found = formula(*[_Written(x, function) for x in names])
    result = found.x if isinstance(found, _Written) else c_number(float(found), strict=strict)
    head = f"static double mg_{name}({', '.join(f'double {x}' for x in names)}) {{"
    text = "\n".join([head, *_used(function.lines, result), f"    return {result};", "}", ""])
    return f"mg_{name}", {**function.functions, name: text}


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
    """The compiler's complete output for an operation, as text: it changes whenever the row does."""
    parts = [f"{op.code} {op.name} {op.llvm}", *c_functions(op).values()]
    if op.portable is not None:
        parts += c_functions(op, strict=True).values()
    rules = op.derivative if op.arity is not None else ()
    for k, rule in enumerate(rules):
        if rule is not None:
            function = _Function(strict=False)
            found = rule(*[_Written(f"x{i}", function) for i in range(op.arity + 2)])
            parts += [f"{k}:", *function.lines, found.x if isinstance(found, _Written) else repr(found)]
    return "\n".join(parts)


def dot(*pairs: str) -> str:
    return "(" + " + ".join(f"{a} * {b}" for a, b in zip(pairs[::2], pairs[1::2], strict=True)) + ")"


def take(index: str, *values: str) -> str:
    *others, last = values
    return "(" + "".join(f"{index} < {k + 1} ? {value} : " for k, value in enumerate(others)) + f"{last})"


def random_in_c(keys: tuple[int, ...], mix: tuple[int, ...]) -> str:
    """`floats.random` as a function in C."""
    summed = " + ".join(f"(uint64_t)(int64_t){x} * UINT64_C({key:#X})" for x, key in zip("abc", keys, strict=True))
    return (
        "static double mg_random(double a, double b, double c) {\n"
        "    if (!(fabs(a) < 0x1p53 && fabs(b) < 0x1p53 && fabs(c) < 0x1p53)) return (double)NAN;\n"
        f"    uint64_t z = {summed};\n"
        f"    z = (z ^ (z >> 30)) * UINT64_C({mix[0]:#X});\n"
        f"    z = (z ^ (z >> 27)) * UINT64_C({mix[1]:#X});\n"
        "    return (double)((z ^ (z >> 31)) >> 40) * 0x1p-24;\n}\n"
    )
