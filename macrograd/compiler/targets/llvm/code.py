"""The emitter's `Code` in LLVM text: that of `jit`, plus access to the context."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import field as field_

from macrograd._dataclass import dataclass
from macrograd.compiler.jit import text
from macrograd.compiler.targets.llvm.context import FIELDS, SUPPORT, field
from macrograd.compiler.targets.scalar import elements
from macrograd.compiler.targets.scalar.composed import as_strict
from macrograd.compiler.targets.scalar.routines import routine
from macrograd.ops import Op


@dataclass
class Code(text.Code):
    """The body of one function of a program, which has `%context` or values loaded from it."""

    strict: bool = False
    named: bool = False  # whether vectors of one constant have names
    lanes: int = 0  # of a block
    # What is loaded at the beginning: the addresses of `support`, and vectors of one constant, by their names.
    loads: dict[str, list[str]] = field_(default_factory=dict)

    def splat(self, value: float, width: int) -> str:
        """With names for LLVM's fast selector, which knows no such literals, and leaves a block up to one to the slow
        selector."""
        literal = super().splat(value, width)
        if width == 1 or not self.named:
            return literal
        vector = self.kind.vector(width)
        name = f"splat.{width}.{self.kind.suffix}.{text.number(self.kind, value)}"
        if name not in self.loads:
            self.loads[name] = [f"%{name} = load {vector}, ptr @{name}, align {width * self.kind.bytes}"]
            self.declared.add(f"@{name} = private constant {vector} {literal}")
        return f"%{name}"

    def apply(self, op: Op, operands: Sequence[str], width: int) -> str:
        strict = as_strict(op, strict=self.strict, portable=self.portable)
        spelled = routine(op, strict=strict)
        if not (self.rolled and op.costly):
            return spelled(self, width, *operands)
        kind = self.kind.vector(width)
        return self.called(f"{op.name}.{width}", lambda code, *xs: spelled(code, width, *xs), kind, kind, operands)

    def called(self, name: str, body: Callable[..., str], result: str, kind: str, operands: Sequence[str]) -> str:
        """The result of a function of operands of one kind, which is written when it is first called."""
        full = f"@rolled.{name}.{self.kind.suffix}"
        if not any(f" {full}(" in text for text in self.declared):
            code = Code(self.kind, self.fused, self.portable, self.rolled, strict=self.strict)
            names = [f"%x{k}" for k in range(len(operands))]
            value = body(code, *names)
            head = f"define internal {result} {full}({', '.join(f'{kind} {x}' for x in names)}) #0 {{"
            self.declared |= {"\n".join([head, "entry:", *code.lines, f"  ret {result} {value}", "}"]), *code.declared}
        return self.let(f"call {result} {full}({', '.join(f'{kind} {x}' for x in operands)})")

    def fill(self, place: str, number: str, vectors: int) -> None:
        self.call_support("fill", f"ptr {place}", f"{self.kind.name} {number}", vectors)

    def add_products(self, place: str, a: str, step: int, b: str, stride: int, count: int, vectors: int) -> None:
        self.call_support("dot", f"ptr {place}", f"ptr {a}", step, f"ptr {b}", stride, count, vectors)

    def outer_products(
        self, out: str, row: int, a: str, step: int, b: str, dims: tuple[int, int], lanes: int, width: int
    ) -> None:
        rows, columns = dims
        memory = self.scratch(lanes * width)
        self.call_support(
            "outer", f"ptr {out}", row, f"ptr {a}", step, f"ptr {b}", columns, rows, lanes, f"ptr {memory}"
        )

    def call_support(self, name: str, *operands: str | int) -> None:
        """Call a function of `support`, whose address is loaded once, at the beginning: with what is given with its
        type, and known integers."""
        if "support" not in self.loads:
            place = f"getelementptr i64, ptr %context, i64 {FIELDS['support']}"
            self.loads["support"] = [f"%support.at = {place}", "%support = load ptr, ptr %support.at, align 8"]
        if name not in self.loads:
            place = f"getelementptr ptr, ptr %support, i64 {SUPPORT.index(name)}"
            self.loads[name] = [f"%support.{name}.at = {place}"]
            self.loads[name] += [f"%support.{name} = load ptr, ptr %support.{name}.at, align 8"]
        given = ", ".join(f"i64 {x}" if isinstance(x, int) else x for x in operands)
        self.put(f"call void %support.{name}({given})")

    def turned(self, vector: str, width: int, valid: int) -> str:
        return self.shuffle(vector, vector, [max(0, valid - 1 - k) for k in range(width)], width)

    def sums_of_elements(self, vectors: list[str], width: int) -> str:
        return elements.sum_elements(self, vectors, width)

    def sum_among(self, vector: str, width: int, among: int) -> str:
        def body(code: Code, x: str) -> str:
            return elements.sum_elements(code, [x], width)

        if among > 1:
            vector = self.shuffle(vector, vector, elements.order_among(width, among), width)
        return self.called(f"sum.{width}", body, self.kind.name, self.kind.vector(width), [vector])

    def transposed(self, rows: list[str]) -> list[str]:
        return elements.transpose(self, rows)

    def transposed_from(self, rows: list[str]) -> list[str]:
        return elements.transpose_from(self, rows)

    def truncated(self, value: str) -> str:
        return self.intrinsic("trunc", 1, value)

    def valid(self) -> str:
        return field(self, FIELDS["valid"], "i64")

    def clean(self, begin: str, end: str) -> None:
        if self.named:
            self.call_support("clean", "ptr %v", f"i64 {self.valid()}", self.lanes, f"i64 {begin}", f"i64 {end}")
        else:
            self.put(f"call void @clean(ptr %context, i64 {begin}, i64 {end})")

    def raise_flag(self, good: str) -> None:
        bad = self.let(f"zext i1 {self.let(f'xor i1 {good}, true')} to i64")
        old = self.let("load i64, ptr %flag, align 8")
        self.put(f"store i64 {self.let(f'or i64 {old}, {bad}')}, ptr %flag, align 8")

    def run_stream(self, table: int, *, block: bool) -> None:
        """The kernel's address is in the context."""
        kernel = field(self, FIELDS["stream_block" if block else "stream_uniform"], "ptr")
        words = self.element("%tables", str(table), "i32")
        count = self.let(f"zext i32 {self.let(f'load i32, ptr {words}, align 4')} to i64")
        records, valid = self.element(words, "1", "i32"), self.valid() if block else "0"
        self.put(f"call void {kernel}(ptr %u, ptr %v, ptr {records}, i64 {count}, ptr %flag, i64 {valid})")


def code_for(kind: text.Float, *, strict: bool, portable: bool = False, rolled: bool = False, lanes: int = 0) -> Code:
    """A new function's body; a·b + c may be rounded once unless the program is strict."""
    return Code(kind, fused=not strict, portable=portable, rolled=rolled, strict=strict, named=rolled, lanes=lanes)
