"""The emitter's `Code` as C99.

A vector is an array of `width` numbers, and an operation on vectors a loop over its elements, which is what compilers
turn into vector instructions; a constant, or a number that is the same in every element, stays a single number. An
address is written `base|offset` until it is used. Integers have 32 bits, whatever `int` has.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from macrograd._composed import c_expression, c_functions
from macrograd.compiler.jit.text import Counter, Float
from macrograd.ops import Op

_SIGNS = {"fadd": "+", "fsub": "-", "fmul": "*", "fdiv": "/"}
# A comparison that begins with o is false for NaN, one that begins with u true.
_ORDERED = {"olt": "<", "ole": "<=", "ogt": ">", "oge": ">=", "oeq": "==", "une": "!="}
_OPPOSITE = {"ult": "oge", "ule": "ogt", "ugt": "ole", "uge": "olt"}
_MATH = re.compile(r"\b(?!mg_)([a-z][a-z0-9_]*)\(")  # functions of math.h, whose names for floats end in f
_LITERAL = re.compile(r"(?<![\w.])(\d+\.\d+|0x[0-9a-f.]+p[+-]?\d+)(?![\w.])", re.IGNORECASE)
_DECLARED = re.compile(r"^ *(?:const )?(?:double|float|int|int32_t) (\w+)(?:\[\d+\])? ?[=;]")


class Code:
    """The body of one function, as it is written. `functions` are the helpers that it calls, by name."""

    def __init__(self, kind: Float, prefix: str) -> None:
        self.kind, self.prefix = kind, prefix
        self.real = kind.name
        self.lines: list[str] = []
        self.functions: dict[str, str] = {}
        self.streams: set[bool] = set()
        self._widths: dict[str, int] = {}
        self._depth, self._count, self._scratch = 1, 0, 0

    def text(self) -> list[str]:
        """The lines, without declarations of what is not used."""
        used: set[str] = set()
        kept: list[str] = []
        for line in reversed(self.lines):
            declared = _DECLARED.match(line)
            if declared and declared[1] not in used:
                continue
            used.update(re.findall(r"[A-Za-z_]\w*", line if declared is None else line.replace(declared[1], "", 1)))
            kept.append(line)
        if self._scratch:
            kept.append(f"    {self.real} scratch[{self._scratch}];")
        return kept[::-1]

    def _put(self, line: str) -> None:
        self.lines.append("    " * self._depth + line)

    def _fresh(self, hint: str) -> str:
        self._count += 1
        return f"{hint}{self._count}"

    def _at(self, x: str) -> str:
        """Element k of a value."""
        return x[1:] if x.startswith("@") else f"{x}[k]" if x in self._widths else x

    def _let(self, write: Callable[..., str], operands: Sequence[str], kind: str | None = None) -> str:
        """A new value, element by element; one number if all operands are."""
        wide = [self._widths[x] for x in operands if x in self._widths]
        expression = write(*map(self._at, operands))
        return self._value(expression, max(wide, default=1), kind)

    def _value(self, expression: str, width: int, kind: str | None = None) -> str:
        name, kind = self._fresh("t"), kind or self.real
        if width == 1:
            self._put(f"const {kind} {name} = {expression};")
        else:
            self._widths[name] = width
            self._put(f"{kind} {name}[{width}]; for (int k = 0; k < {width}; ++k) {name}[k] = {expression};")
        return name

    # --- values ---------------------------------------------------------------------------------------------------

    def number(self, value: float) -> str:
        """A literal, exact to the bit."""
        if value != value:
            return f"({self.real})NAN"
        if value in (float("inf"), -float("inf")):
            return f"({self.real})INFINITY" if value > 0 else f"(-({self.real})INFINITY)"
        text = value.hex() if self.kind.bits == 64 else f"{value.hex()}f"
        return f"({text})" if text.startswith("-") else text

    def splat(self, value: float, width: int) -> str:
        return self.number(value)

    def broadcast(self, scalar: str, width: int) -> str:
        return scalar

    def gathered(self, scalars: Sequence[str], width: int) -> str:
        if width == 1 or len(set(scalars)) == 1:
            return scalars[0]
        filled = [scalars[min(k, len(scalars) - 1)] for k in range(width)]
        name = self._fresh("t")
        self._widths[name] = width
        self._put(f"const {self.real} {name}[{width}] = {{{', '.join(filled)}}};")
        return name

    def extract(self, vector: str, k: int, width: int) -> str:
        return f"{vector}[{k}]" if vector in self._widths else vector

    def apply(self, op: Op, operands: Sequence[str], width: int) -> str:
        name = self._let(lambda *xs: self.expression(op, xs), operands)
        self.functions.update(c_functions(op))
        return name

    def expression(self, op: Op, operands: Sequence[str]) -> str:
        """A row of the table on operands that are names or places."""
        if self.kind.bits == 64:
            return str(c_expression(op, *operands))
        if c_functions(op):  # written for doubles
            return f"(float){c_expression(op, *[f'(double){x}' for x in operands])}"
        names = [f"OPERAND{k}" for k in range(len(operands))]
        form = _LITERAL.sub(r"\1f", _MATH.sub(r"\1f(", c_expression(op, *names).replace("(double)", "(float)")))
        for k in range(len(operands) - 1, -1, -1):
            form = form.replace(f"OPERAND{k}", operands[k])
        return form

    def binary(self, op: str, a: str, b: str, width: int) -> str:
        return self._let(lambda x, y: f"{x} {_SIGNS[op]} {y}", (a, b))

    def negate(self, a: str, width: int) -> str:
        return self._let(lambda x: f"-{x}", (a,))

    def multiply_add(self, a: str, b: str, c: str, width: int) -> str:
        return self._let(lambda x, y, z: f"{x} * {y} + {z}", (a, b, c))

    def compare(self, predicate: str, a: str, b: str, width: int) -> str:
        def write(x: str, y: str) -> str:
            if predicate == "uno":
                return f"{x} != {x} || {y} != {y}"
            if predicate in _OPPOSITE:
                return f"!({x} {_ORDERED[_OPPOSITE[predicate]]} {y})"
            return f"{x} {_ORDERED[predicate]} {y}"

        return self._let(write, (a, b), "int")

    def select(self, condition: str, a: str, b: str, width: int) -> str:
        if condition.startswith("@"):
            return self._value(f"{condition[1:]} ? {self._at(a)} : {self._at(b)}", width)
        return self._let(lambda c, x, y: f"{c} ? {x} : {y}", (condition, a, b))

    def mask(self, width: int, valid: int) -> str:
        return f"@(k < {valid})"

    def first_lanes(self, count: str, width: int, start: int = 0) -> str:
        return f"@({start} + k < {count})"

    def both(self, a: str, b: str) -> str:
        return self._let(lambda x, y: f"{x} && {y}", (a, b), "int")

    def sums_of_elements(self, vectors: Sequence[str], width: int) -> str:
        sums = [self._sum_of(vector, width) for vector in vectors]
        return sums[0] if len(sums) == 1 else self.gathered(sums, len(sums))

    def _sum_of(self, vector: str, width: int) -> str:
        if vector not in self._widths:
            return self._value(f"{self.number(float(width))} * {vector}", 1) if width > 1 else vector
        name = self._fresh("t")
        self._put(f"{self.real} {name} = {vector}[0]; for (int k = 1; k < {width}; ++k) {name} += {vector}[k];")
        return name

    def transposed(self, rows: Sequence[str]) -> list[str]:
        width = len(rows)
        name = self._fresh("t")
        self._put(f"{self.real} {name}[{width}][{width}];")
        for k, row in enumerate(rows):
            self._put(f"for (int k = 0; k < {width}; ++k) {name}[k][{k}] = {self._at(row)};")
        columns = [f"{name}[{k}]" for k in range(width)]
        self._widths.update(dict.fromkeys(columns, width))
        return columns

    # --- memory ---------------------------------------------------------------------------------------------------

    def element(self, pointer: str, offset: str, kind: str | None = None) -> str:
        base, _, before = pointer.lstrip("%").partition("|")
        if before in ("", "0"):
            return f"{base}|{offset}"
        if offset == "0":
            return pointer
        if re.fullmatch(r"\d+", before) and re.fullmatch(r"\d+", offset):
            return f"{base}|{int(before) + int(offset)}"
        return f"{base}|{before} + {offset}"

    def _place(self, address: str, width: int) -> str:
        base, _, offset = address.lstrip("%").partition("|")
        offset = offset or "0"
        if width == 1:
            return f"{base}[{offset}]"
        return f"{base}[k]" if offset == "0" else f"{base}[{offset} + k]"

    def load(self, address: str, width: int) -> str:
        return self._value(self._place(address, width), width)

    def store(self, value: str, address: str, width: int) -> None:
        place = self._place(address, width)
        if width == 1:
            self._put(f"{place} = {value};")
        else:
            self._put(f"for (int k = 0; k < {width}; ++k) {place} = {self._at(value)};")

    def masked_load(self, address: str, width: int, valid: int) -> str:
        return self._value(f"k < {valid} ? {self._place(address, width)} : {self.number(0.0)}", width)

    def masked_store(self, value: str, address: str, width: int, valid: int) -> None:
        self._put(f"for (int k = 0; k < {valid}; ++k) {self._place(address, width)} = {self._at(value)};")

    def load_integer(self, address: str) -> str:
        base, _, offset = address.lstrip("%").partition("|")
        name = self._fresh("i")
        self._put(f"const int32_t {name} = {base}[{offset or '0'}];")
        return name

    def scratch(self, count: int) -> str:
        self._scratch = max(self._scratch, count)
        return "%scratch"

    # --- integers -------------------------------------------------------------------------------------------------

    def linear(self, constant: int, terms: Sequence[tuple[int, Counter]]) -> str:
        parts = []
        for factor, counter in terms:
            if isinstance(counter, int):
                constant += factor * counter
            elif factor:
                parts.append(counter if factor == 1 else f"{factor} * {counter}")
        if not parts:
            return str(constant)
        if constant > 0:
            parts.append(str(constant))
        text = " + ".join(parts) + (f" - {-constant}" if constant < 0 else "")
        return text if re.fullmatch(r"\w+", text) else f"({text})"

    def integer(self, value: str) -> str:
        return self._value(f"(int32_t){value}", 1, "int32_t")

    def truncated(self, value: str) -> str:
        return self._value(f"trunc{'' if self.kind.bits == 64 else 'f'}({value})", 1)

    def less(self, a: str, b: Counter) -> str:
        return f"{a} < {b}"

    # --- control flow -----------------------------------------------------------------------------------------------

    def when(self, condition: str, body: Callable[[], None]) -> None:
        self._put(f"if ({condition}) {{")
        self._depth += 1
        body()
        self._depth -= 1
        self._put("}")

    def loop(
        self,
        count: int | str,
        body: Callable[[Counter, list[str]], list[str]],
        carried: Sequence[tuple[str, str]] = (),
        *,
        unroll: int = 1,
    ) -> list[str]:
        values = [value for _, value in carried]
        if isinstance(count, int) and count <= unroll:
            for i in range(count):
                values = body(i, values)
            return values
        names = [self._variable(kind, value) for kind, value in carried]
        index = self._fresh("i")
        self._put(f"for (int32_t {index} = 0; {index} < {count}; ++{index}) {{")
        self._depth += 1
        after = body(index, list(names))
        after = [  # one that another takes over must not be written before
            self._let(lambda x: x, (value,)) if value in names and value != name else value
            for name, value in zip(names, after, strict=True)
        ]
        for name, value in zip(names, after, strict=True):
            if name != value:
                self._assign(name, value)
        self._depth -= 1
        self._put("}")
        return names

    def _variable(self, kind: str, start: str) -> str:
        """A value that changes from round to round. `kind` is a number or a vector of them, in LLVM's words."""
        name = self._fresh("c")
        wide = re.match(r"<(\d+) x", kind)
        if wide is None:
            self._put(f"{self.real} {name} = {start};")
        else:
            self._widths[name] = int(wide[1])
            self._put(
                f"{self.real} {name}[{wide[1]}]; for (int k = 0; k < {wide[1]}; ++k) {name}[k] = {self._at(start)};"
            )
        return name

    def _assign(self, name: str, value: str) -> None:
        if name in self._widths:
            self._put(f"for (int k = 0; k < {self._widths[name]}; ++k) {name}[k] = {self._at(value)};")
        else:
            self._put(f"{name} = {value};")

    # --- the program's surroundings ---------------------------------------------------------------------------------

    def valid(self) -> str:
        return "s->valid"

    def clean(self, begin: str, end: str) -> None:
        self._put(f"{self.prefix}_clean(s, {begin}, {end});")

    def raise_flag(self, good: str) -> None:
        self._put(f"if (!{good}) s->flag = 1;")

    def run_stream(self, table: int, *, block: bool) -> None:
        self.streams.add(block)
        self._put(f"{self.prefix}_stream_{'v' if block else 'u'}(s, {self.prefix}_tables + {table});")
