"""The emitter's `Code` as C99.

Vectors have the type V and W elements, which `vectors.py` defines: a number and 1 where the processor has none. An
operation that calls the math library is a loop over the elements. A constant, or a number that is the same in every
element, stays a single number. An address is written `base|offset`
until it is used. Integers have 32 bits, whatever the size of `int`. In strict programs a product is `MUL(a, b)`, of
vectors `PRODUCT`, which no compiler fuses with the sum around it (`vectors.py`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from ctypes import c_float

from macrograd.compiler.jit.text import SINGLE, Counter, Float
from macrograd.compiler.targets.c import spelling
from macrograd.ops import Op
from macrograd.rows.in_c import c_functions, c_number, stand_in

_SIGNS = {"fadd": "+", "fsub": "-", "fmul": "*", "fdiv": "/"}
# Comparisons that start with o are false for NaN, those that start with u true.
_ORDERED = {"olt": "<", "ole": "<=", "ogt": ">", "oge": ">=", "oeq": "==", "une": "!="}
_OPPOSITE = {"ult": "oge", "ule": "ogt", "ugt": "ole", "uge": "olt"}
FUNCTIONS = {name: name.upper().replace("1", "") for name in ("exp", "log", "log1p", "tanh", "sigmoid", "softplus")}
_DECLARED = re.compile(r"^ *(?:(?:const )?(?:double|float|int|int32_t|V|I) |(?:PRODUCT|ROOT)\()(\w+) ?[=;,)]")


class Code:
    """The body of one function, as it is written. `functions` are the helpers that it calls, by name."""

    def __init__(self, kind: Float, prefix: str, *, strict: bool = False) -> None:
        self.kind, self.prefix, self.strict = kind, prefix, strict
        self.real = kind.name
        self.lines: list[str] = []
        self.functions: dict[str, str] = {}
        self.streams: set[bool] = set()
        self._vectors: set[str] = set()
        self._depth, self._count, self._scratch = 1, 0, 0

    def text(self) -> list[str]:
        """The lines, without unused declarations."""
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

    def _each(self, x: str) -> str:
        """A value in an expression about vectors."""
        return x if x in self._vectors else f"ALL({x})"

    def _let(self, write: Callable[..., str], operands: Sequence[str], kind: str | None = None) -> str:
        """A new value, for all elements at once; one number if all operands are."""
        if self._vectors.isdisjoint(operands):
            return self._number(write(*operands), kind)
        return self._vector(write(*[self._each(x) for x in operands]))

    def _number(self, expression: str, kind: str | None = None) -> str:
        name = self._fresh("t")
        self._put(f"const {kind or self.real} {name} = {expression};")
        return name

    def _vector(self, expression: str, kind: str = "V") -> str:
        name = self._fresh("t" if kind == "V" else "c")
        self._vectors.add(name)
        self._put(f"const {kind} {name} = {expression};")
        return name

    def _declared(self, macro: str, *operands: str) -> str:
        """A vector that a macro declares."""
        name = self._fresh("t")
        self._vectors.add(name)
        self._put(f"{macro}({', '.join([name, *operands])});")
        return name

    # --- values ---------------------------------------------------------------------------------------------------

    def number(self, value: float) -> str:
        """A literal, exact to the bit. Compilers warn of one that becomes 0 or infinite only as a float."""
        value = c_float(value).value if self.kind is SINGLE else value
        return c_number(value, self.real, strict=self.strict)

    def splat(self, value: float, width: int) -> str:
        return self.number(value)

    def broadcast(self, scalar: str, width: int) -> str:
        return scalar

    def gathered(self, scalars: Sequence[str], width: int) -> str:
        return scalars[0]  # of vectors of one number, the only ones of known length

    def extract(self, vector: str, k: int, width: int) -> str:
        return vector

    def apply(self, op: Op, operands: Sequence[str], width: int) -> str:
        if self.strict and op.name == "mul":
            return self.binary("fmul", operands[0], operands[1], width)
        if self._vectors.isdisjoint(operands):
            name = self._number(self.expression(op, operands))
            self.functions.update(c_functions(op, strict=self.strict))
            return name
        composed = self.strict and (op.portable or op.formula)
        form = spelling.of_vectors(op.c, self.number) if isinstance(op.c, str) and not composed else None
        if form is not None:
            return self._vector(form.format(*[self._each(x) for x in operands]))
        if op.name in FUNCTIONS and not self.strict:
            return self._vector(f"{FUNCTIONS[op.name]}({self._each(operands[0])})")
        self.functions.update(c_functions(op, strict=self.strict))
        if op.c == "sqrt({0})":
            return self._declared("ROOT", operands[0])
        arrays = {x: self._array(x, width) for x in dict.fromkeys(operands) if x in self._vectors}
        out = next(iter(arrays.values()))
        expression = self.expression(op, [f"{arrays[x]}[k]" if x in arrays else x for x in operands])
        self._put(f"for (int k = 0; k < W; ++k) {out}[k] = {expression};")
        return self._vector(f"LOAD({out})")

    def _array(self, vector: str, width: int) -> str:
        """The elements of a vector in memory, for loops over operations without a vector form."""
        name = self._fresh("a")
        self._put(f"{self.real} {name}[{width}];")
        self._put(f"STORE({name}, {vector});")
        return name

    def expression(self, op: Op, operands: Sequence[str]) -> str:
        """A row of the op table on operands that are names or places."""
        return spelling.expression(op, operands, self.kind, strict=self.strict)

    def product(self, a: str, b: str) -> str:
        """a·b as an expression about numbers."""
        return f"{'MUL' if self.kind.bits == 64 else 'MULF'}({a}, {b})" if self.strict else f"{a} * {b}"

    def binary(self, op: str, a: str, b: str, width: int) -> str:
        if op == "fmul" and self._vectors.isdisjoint((a, b)):
            return self._number(self.product(a, b))
        if op == "fmul" and self.strict:
            return self._declared("PRODUCT", self._each(a), self._each(b))
        return self._let(lambda x, y: f"{x} {_SIGNS[op]} {y}", (a, b))

    def negate(self, a: str, width: int) -> str:
        return self._let(lambda x: f"-{x}", (a,))

    def multiply_add(self, a: str, b: str, c: str, width: int) -> str:
        if self.strict:
            return self.binary("fadd", c, self.binary("fmul", a, b, width), width)
        return self._let(lambda x, y, z: f"{x} * {y} + {z}", (a, b, c))

    def compare(self, predicate: str, a: str, b: str, width: int) -> str:
        def write(x: str, y: str) -> str:
            if predicate == "uno":
                return f"({x} != {x}) | ({y} != {y})"
            if predicate in _OPPOSITE:
                return f"({x} {_ORDERED[_OPPOSITE[predicate]]} {y}) == 0"
            return f"{x} {_ORDERED[predicate]} {y}"

        return self._truth(write, a, b)

    def _truth(self, write: Callable[[str, str], str], a: str, b: str) -> str:
        """Whether something holds, for all elements at once."""
        if self._vectors.isdisjoint((a, b)):
            return self._number(write(a, b), "int")
        return self._vector(f"(I)({write(self._each(a), self._each(b))})", "I")

    def select(self, condition: str, a: str, b: str, width: int) -> str:
        if condition not in self._vectors:
            return self._let(lambda x, y: f"{condition} ? {x} : {y}", (a, b))
        return self._vector(f"SELECT({condition}, {self._each(a)}, {self._each(b)})")

    def mask(self, width: int, valid: int) -> str:
        return self.first_lanes(str(valid), width)

    def first_lanes(self, count: str, width: int, start: int = 0) -> str:
        if width == 1:
            return self._number(f"{start} < {count}", "int")
        return self._vector(f"FIRST({self.linear(-start, [(1, count)])})", "I")

    def both(self, a: str, b: str) -> str:
        return self._truth(lambda x, y: f"{x} & {y}", a, b)

    def turned(self, vector: str, width: int, valid: int) -> str:
        return vector

    def sums_of_elements(self, vectors: list[str], width: int) -> str:
        return vectors[0]

    def sum_among(self, vector: str, width: int, among: int) -> str:
        return vector

    def transposed(self, rows: list[str]) -> list[str]:
        return rows

    def transposed_from(self, rows: list[str]) -> list[str]:
        return [self.load(row, 1) for row in rows]

    # --- vectors of unknown length ----------------------------------------------------------------------------------

    def steps(
        self, count: int | str, body: Callable[[Counter, list[str]], list[str]], carried: Sequence[tuple[str, str]] = ()
    ) -> list[str]:
        return self._loop(count, "W", body, carried)

    def sums_of_terms(
        self, count: int, add: Callable[[Counter, Sequence[str | None]], list[str]], starts: Sequence[str | None]
    ) -> list[str]:
        begun = None in starts
        values = add(0, starts) if begun else [f"START({x})" for x in starts]
        names = [self._fresh("c") for _ in values]
        self._vectors.update(names)
        for name, value in zip(names, values, strict=True):
            self._put(f"V {name} = {value};")
        index = self._fresh("i")
        self._put(f"for (int32_t {index} = {'W' if begun else 0}; {index} < WHOLE({count}); {index} += W) {{")
        self._depth += 1
        for name, value in zip(names, add(index, names), strict=True):
            self._assign(name, value)
        self._depth -= 1
        self._put("}")
        return [self._number(f"TOTAL({name})") for name in names]

    def other_terms(
        self, count: int, add: Callable[[Counter, Sequence[str]], list[str]], starts: Sequence[str]
    ) -> list[str]:
        return self._loop(count, "1", add, [(self.real, x) for x in starts], f"WHOLE({count})")

    def store_sums(self, vectors: Sequence[str], address: str, step: int, *, add: bool) -> None:
        rows, n = ", ".join(self._each(x) for x in vectors), len(vectors)
        self._put(f"{{ V r[{n}] = {{{rows}}}; SUMS({self._pointer(address)}, {step}, r, {n}, {int(add)}); }}")

    def turn(self, to: str, step: int, source: str, stride: int) -> None:
        self._put(f"TURN({self._pointer(to)}, {step}, {self._pointer(source)}, {stride});")

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

    def _place(self, address: str) -> str:
        base, _, offset = address.lstrip("%").partition("|")
        return f"{base}[{offset or '0'}]"

    def _pointer(self, address: str) -> str:
        base, _, offset = address.lstrip("%").partition("|")
        return base if offset in ("", "0") else f"{base} + {offset}"

    def load(self, address: str, width: int) -> str:
        if width == 1:
            return self._number(self._place(address))
        return self._vector(f"LOAD({self._pointer(address)})")

    def store(self, value: str, address: str, width: int) -> None:
        if width == 1:
            self._put(f"{self._place(address)} = {value};")
        else:
            self._put(f"STORE({self._pointer(address)}, {self._each(value)});")

    def masked_load(self, address: str, width: int, valid: int) -> str:
        return self.load(address, 1)

    def masked_store(self, value: str, address: str, width: int, valid: int) -> None:
        self.store(value, address, 1)

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
                parts.append((factor, counter if abs(factor) == 1 else f"{abs(factor)} * {counter}"))
        if not parts:
            return str(constant)
        parts += [(constant, str(abs(constant)))] if constant else []
        (first, begin), *rest = parts
        text = ("-" if first < 0 else "") + begin + "".join(f" {'-' if sign < 0 else '+'} {x}" for sign, x in rest)
        return text if re.fullmatch(r"\w+", text) else f"({text})"

    def integer(self, value: str) -> str:
        return self._number(f"(int32_t){value}", "int32_t")

    def truncated(self, value: str) -> str:
        if self.strict:
            self.functions.update(stand_in("trunc"))
            number = f"mg_trunc({value})"
            return self._number(number if self.kind.bits == 64 else f"(float)mg_trunc((double){value})")
        return self._number(f"trunc{'' if self.kind.bits == 64 else 'f'}({value})")

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
        return self._loop(count, "1", body, carried)

    def _loop(
        self,
        count: int | str,
        step: str,
        body: Callable[[Counter, list[str]], list[str]],
        carried: Sequence[tuple[str, str]],
        first: str = "0",
    ) -> list[str]:
        names = [self._variable(kind, value) for kind, value in carried]
        index = self._fresh("i")
        move = f"++{index}" if step == "1" else f"{index} += {step}"
        self._put(f"for (int32_t {index} = {first}; {index} < {count}; {move}) {{")
        self._depth += 1
        after = body(index, list(names))
        after = [  # a value that another one takes over must not be overwritten before
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
        """A value that changes from round to round. `kind` is a number or vector type, as LLVM writes it."""
        name = self._fresh("c")
        if kind.startswith("<"):
            self._vectors.add(name)
            self._put(f"V {name} = {self._each(start)};")
        else:
            self._put(f"{self.real} {name} = {start};")
        return name

    def _assign(self, name: str, value: str) -> None:
        self._put(f"{name} = {self._each(value) if name in self._vectors else value};")

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
