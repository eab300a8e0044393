"""Operations composed of others, in LLVM: a formula (`macrograd.rows.composed`) becomes a function.

A function rather than inline instructions, because a formula is long and a tile has several vectors. It computes in
double whatever the program's floats are, so that the stated error of a formula holds for float32 too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from macrograd.compiler.jit.text import DOUBLE, SINGLE, Code
from macrograd.ops import Op
from macrograd.rows.composed import TWO_OVER_PI, Elsewhere, Term

Spelled = Callable[..., Callable[..., str]]
Formula = Callable[..., Any]
LIBRARY = ("sin", "cos", "pow")  # the `llvm` columns that need the system's math library, if only for huge angles


def as_strict(row: Op, *, strict: bool, portable: bool) -> bool:
    """Whether an operation is computed as in strict programs: so are the library's functions where there is none."""
    return strict or (portable and row.llvm in LIBRARY)


def composed(
    name: str, formula: Formula, code: Code, width: int, operands: Sequence[str], *, strict: bool, spelled: Spelled
) -> str:
    """A formula by a call of a function that is written at its first use; `spelled` finds the operations' routines."""
    kind = code.kind.vector(width)
    full = f"@composed.{name}.{width}.{code.kind.suffix}"
    if not any(f" {full}(" in text for text in code.declared):
        code.declared |= _function(formula, full, code, width, len(operands), strict, spelled)
    return code.let(f"call {kind} {full}({', '.join(f'{kind} {x}' for x in operands)})")


def _function(
    formula: Formula, name: str, around: Code, width: int, arity: int, strict: bool, spelled: Spelled
) -> set[str]:
    """The function's text and its declarations."""
    code = Code(DOUBLE, fused=not strict, portable=around.portable)
    kind, double = around.kind.vector(width), DOUBLE.vector(width)
    names = [f"%x{k}" for k in range(arity)]
    wide = names if around.kind is DOUBLE else [code.let(f"fpext {kind} {x} to {double}") for x in names]
    function = _Function(code, width, strict, spelled)
    found = formula(*[_Emitted(function, x) for x in wide])
    result = found.x if isinstance(found, _Emitted) else code.splat(float(found), width)
    if around.kind is SINGLE:
        result = code.let(f"fptrunc {double} {result} to {kind}")
    head = f"define internal {kind} {name}({', '.join(f'{kind} {x}' for x in names)})"
    attributes = f'nounwind "min-legal-vector-width"="{max(128, width * around.kind.bits)}"'
    text = "\n".join([f"{head} {attributes} {{", "entry:", *code.lines, f"  ret {kind} {result}", "}"])
    return {text, *code.declared}


class _Function:
    """The function being written: its width, and the spelling of operations in it."""

    def __init__(self, code: Code, width: int, strict: bool, spelled: Spelled) -> None:
        self.code, self.width, self.strict, self.spelled = code, width, strict, spelled

    def call(self, what: Elsewhere, operands: Sequence[str]) -> str:
        if isinstance(what, str):
            return library(what)(self.code, self.width, *operands)
        name, spelled = what.__name__, self.spelled
        return composed(name, what, self.code, self.width, operands, strict=self.strict, spelled=spelled)

    def routine(self, op: Op, operands: Sequence[str]) -> str:
        strict = as_strict(op, strict=self.strict, portable=self.code.portable)
        return self.spelled(op, strict=strict)(self.code, self.width, *operands)


class _Emitted(Term):
    """A value of the function being written."""

    __slots__ = ("function", "x")

    def __init__(self, function: _Function, x: str) -> None:
        self.function, self.x = function, x

    def number(self, x: float) -> _Emitted:
        return _Emitted(self.function, self.function.code.splat(x, self.function.width))

    def apply(self, op: Any, operands: list[_Emitted]) -> _Emitted:
        return _Emitted(self.function, self.function.routine(op, [operand.x for operand in operands]))

    def primitive(self, name: str, operands: list[_Emitted]) -> _Emitted:
        function = self.function
        return _Emitted(
            function, _PRIMITIVES[name](function.code, function.width, *[operand.x for operand in operands])
        )

    def elsewhere(self, condition: _Emitted, value: _Emitted, what: Elsewhere, operands: list[_Emitted]) -> _Emitted:
        """Written as a loop that runs once if the condition holds for any element, and otherwise not at all."""
        code, width = self.function.code, self.function.width
        holds = code.compare("une", condition.x, code.splat(0.0, width), width)
        if width > 1:
            bits = code.let(f"bitcast <{width} x i1> {holds} to i{width}")
            holds = code.let(f"icmp ne i{width} {bits}, 0")
        count = code.let(f"zext i1 {holds} to i64")

        def body(_: Any, values: list[str]) -> list[str]:
            found = self.function.call(what, [operand.x for operand in operands])
            choice = code.compare("une", condition.x, code.splat(0.0, width), width)
            return [code.select(choice, found, values[0], width)]

        code.truths.clear()  # comparisons made inside are not known after it
        (found,) = code.loop(count, body, [(code.kind.vector(width), value.x)])
        code.truths.clear()
        return _Emitted(self.function, found)


# --- the primitives of a formula ----------------------------------------------------------------------------------


def _product_rest(code: Code, width: int, a: str, b: str) -> str:
    p = code.binary("fmul", a, b, width)
    if code.portable:
        rest = _dekkers_rest(code, width, a, b, p)
    else:
        rest = code.intrinsic("fma", width, a, b, code.negate(p, width))
    zero = code.splat(0.0, width)
    finite = code.compare("olt", code.intrinsic("fabs", width, rest), code.splat(float("inf"), width), width)
    other = code.select(code.compare("uno", p, p, width), p, zero, width)
    return code.select(finite, rest, other, width)


def _dekkers_rest(code: Code, width: int, a: str, b: str, p: str) -> str:
    """a·b − p without an instruction for it, as for floats (`rows.composed`)."""

    def halves(x: str) -> tuple[str, str]:
        c = code.binary("fmul", code.splat(134217729.0, width), x, width)
        high = code.binary("fsub", c, code.binary("fsub", c, x, width), width)
        return high, code.binary("fsub", x, high, width)

    (a_high, a_low), (b_high, b_low) = halves(a), halves(b)
    rest = code.binary("fsub", code.binary("fmul", a_high, b_high, width), p, width)
    for x, y in ((a_high, b_low), (a_low, b_high), (a_low, b_low)):
        rest = code.binary("fadd", rest, code.binary("fmul", x, y, width), width)
    return rest


def _scaled(code: Code, width: int, a: str, n: str) -> str:
    """In three steps, so that the result may be anything from subnormal to infinite for any a."""
    kind, integers = code.kind.vector(width), code.kind.integers(width)
    most, least = code.splat(3000.0, width), code.splat(-3000.0, width)
    near = code.select(code.compare("olt", n, most, width), n, most, width)
    near = code.select(code.compare("ogt", near, least, width), near, least, width)
    whole = code.let(f"fptosi {kind} {near} to {integers}")
    third = code.let(f"sdiv {integers} {whole}, {code.integer_splat(3, width)}")
    twice = code.let(f"add {integers} {third}, {third}")
    last = code.let(f"sub {integers} {whole}, {twice}")
    for power in (last, third, third):
        biased = code.let(f"add {integers} {power}, {code.integer_splat(1023, width)}")
        shifted = code.let(f"shl {integers} {biased}, {code.integer_splat(52, width)}")
        a = code.binary("fmul", a, code.let(f"bitcast {integers} {shifted} to {kind}"), width)
    unknown = code.compare("uno", n, n, width)
    return code.select(unknown, n, a, width)


def _split(code: Code, width: int, a: str) -> tuple[str, str]:
    kind, integers = code.kind.vector(width), code.kind.integers(width)
    small = code.compare("olt", a, code.splat(2.0**-1022, width), width)  # subnormals are scaled up first
    x = code.select(small, code.binary("fmul", a, code.splat(2.0**54, width), width), a, width)
    bits = code.let(f"bitcast {kind} {x} to {integers}")
    # Subtracting the bits of √½ splits the exponent so that the mantissa lands in [√½, √2).
    moved = code.let(f"sub {integers} {bits}, {code.integer_splat(0x3FE6A09E667F3BCD, width)}")
    exponent = code.let(f"ashr {integers} {moved}, {code.integer_splat(52, width)}")
    back = code.let(f"shl {integers} {exponent}, {code.integer_splat(52, width)}")
    mantissa = code.let(f"bitcast {integers} {code.let(f'sub {integers} {bits}, {back}')} to {kind}")
    k = code.let(f"sitofp {integers} {exponent} to {kind}")
    lower = code.binary("fsub", k, code.splat(54.0, width), width)
    return mantissa, code.select(small, lower, k, width)


def _two_over_pi(code: Code, width: int, k: str) -> str:
    """By comparisons, and not in memory: it is rare, and a table would need a place."""
    found = code.splat(TWO_OVER_PI[0], width)
    for i, digits in enumerate(TWO_OVER_PI[1:], 1):
        found = code.select(
            code.compare("oge", k, code.splat(i, width), width), code.splat(digits, width), found, width
        )
    return found


_PRIMITIVES: dict[str, Callable[..., str]] = {
    "product_rest": _product_rest,
    "scaled": _scaled,
    "mantissa": lambda code, width, a: _split(code, width, a)[0],
    "exponent": lambda code, width, a: _split(code, width, a)[1],
    "signed": lambda code, width, a, b: code.intrinsic("copysign", width, a, b),
    "multiply_add": lambda code, width, a, b, c: code.multiply_add(a, b, c, width),
    "two_over_pi": _two_over_pi,
}


# --- the system's scalar functions -----------------------------------------------------------------------------------


def library(name: str) -> Callable[..., str]:
    """Call the C library's function for each element."""

    def call(code: Code, width: int, *operands: str) -> str:
        kind = code.kind
        full = name + ("f" if kind is SINGLE else "")
        code.declared.add(f"declare {kind.name} @{full}({', '.join([kind.name] * len(operands))})")
        if width == 1:
            return code.let(f"call {kind.name} @{full}({', '.join(f'{kind.name} {x}' for x in operands)})")
        vector = "poison"
        for lane in range(width):
            parts = [code.let(f"extractelement {kind.vector(width)} {x}, i32 {lane}") for x in operands]
            value = code.let(f"call {kind.name} @{full}({', '.join(f'{kind.name} {x}' for x in parts)})")
            vector = code.let(f"insertelement {kind.vector(width)} {vector}, {kind.name} {value}, i32 {lane}")
        return vector

    return call
