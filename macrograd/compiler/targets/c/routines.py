"""Functions of vectors in C: the routines of `targets/scalar/routines.py`, whose steps are LLVM's instructions.

The math library computes them instead where there are no vectors, and with -ffast-math, which takes the steps apart.
"""

from __future__ import annotations

import re

from macrograd import ops
from macrograd.compiler.jit.text import Float
from macrograd.compiler.targets.c import spelling
from macrograd.compiler.targets.c.code import FUNCTIONS, Code
from macrograd.compiler.targets.scalar.routines import routine

_WIDTH = 2  # any: the text is the same for all vectors
_STEP = re.compile(r"(\w+) <\d+ x (\w+)> (.+)")
_SIGNS = {"fadd": "+", "fsub": "-", "fmul": "*", "fdiv": "/", "add": "+", "sub": "-", "shl": "<<", "ashr": ">>"}


def functions(used: set[str], prefix: str, kind: Float) -> list[str]:
    """The functions of these macros, and the macros."""
    return [_function(name, macro, prefix, kind) for name, macro in FUNCTIONS.items() if macro in used]


def _function(name: str, macro: str, prefix: str, kind: Float) -> str:
    op, real, full = next(x for x in ops.TABLE if x.name == name), kind.name, f"{prefix}_v_{name}"
    code = _Steps(kind, prefix)
    code.returns(routine(op)(code, _WIDTH, "x"))
    by_library = spelling.expression(op, ["x"], kind, strict=False)
    return f"""
#if W > 1 && !defined(__FAST_MATH__) && !defined(__ASSOCIATIVE_MATH__)
static inline V {full}(V x) {{
{chr(10).join(code.text())}
}}
#elif W > 1
static inline V {full}(V vector) {{
    {real} a[W];
    STORE(a, vector);
    for (int k = 0; k < W; ++k) {{ const {real} x = a[k]; a[k] = {by_library}; }}
    return LOAD(a);
}}
#else
static inline {real} {full}({real} x) {{ return {by_library}; }}
#endif
#define {macro} {full}"""


class _Steps(Code):
    """The body of a function of a vector x, as its routine writes it."""

    def __init__(self, kind: Float, prefix: str) -> None:
        super().__init__(kind, prefix)
        self._vectors.add("x")

    def returns(self, value: str) -> None:
        self._put(f"return {self._each(value)};")

    def integer_splat(self, value: int, width: int) -> str:
        return str(value) if value < 10 else f"{value:#x}{'LL' * (self.kind.bits == 64)}"

    def intrinsic(self, name: str, width: int, *operands: str) -> str:
        x, *others = map(self._each, operands)
        if name == "fma":
            return self._vector(f"{x} * {others[0]} + {others[1]}")
        most = self.integer_splat((1 << (self.kind.bits - 1)) - 1, width)
        if name == "fabs":
            return self._vector(f"(V)((I){x} & {most})")
        if name == "copysign":
            return self._vector(f"(V)(((I){x} & {most}) | ((I){others[0]} & ~{most}))")
        raise LookupError(f"the function {name!r} has no form for vectors in C")

    def let(self, step: str, hint: str = "t") -> str:
        """An instruction of LLVM's. Integers wrap round, so that their sums are those of unsigned ones."""
        found = _STEP.fullmatch(step)
        assert found is not None, step
        op, kind, rest = found.groups()
        if op == "fneg":
            return self._vector(f"-{self._each(rest)}")
        if op in ("bitcast", "sitofp"):
            x = rest.partition(" to ")[0]
            if op == "bitcast":
                return self._vector(f"(V){x}") if kind.startswith("i") else self._vector(f"(I){self._each(x)}", "I")
            return self._float(x)
        a, b = rest.split(", ")
        if op[0] == "f":
            return self._vector(f"{self._each(a)} {_SIGNS[op]} {self._each(b)}")
        if op == "ashr":
            return self._vector(f"{a} >> {b}", "I")
        b = f"(U){b}" if b in self._vectors else b
        return self._vector(f"(I)((U){a} {_SIGNS[op]} {b})", "I")

    def _float(self, x: str) -> str:
        """An integer that is not large as a number: in the last digits of a larger one."""
        big = self.number(1.5 * 2.0 ** (23 if self.kind.bits == 32 else 52))
        return self._vector(f"(V)((U){x} + (U)ALL({big})) - ALL({big})")
