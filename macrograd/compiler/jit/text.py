"""Text of LLVM's intermediate representation: names, constants, loops, vectors.

Small on purpose: it knows types and control flow, not the computation. Everything is written with explicit vector
types, so that nothing depends on an optimiser finding a loop's parallelism; and no operation has a flag that would
leave its rounding to the optimiser, so that the text alone determines the numbers.
"""

from __future__ import annotations

import ctypes
import math
import struct
from collections.abc import Callable, Sequence
from dataclasses import field

from macrograd._dataclass import dataclass


@dataclass(frozen=True)
class Float:
    """A floating-point type and its integer twin."""

    name: str  # double or float
    bits: int
    suffix: str  # of LLVM's intrinsics: f64 or f32

    @property
    def bytes(self) -> int:
        return self.bits // 8

    @property
    def largest(self) -> float:
        """The largest finite number."""
        return float.fromhex("0x1.fffffep127" if self.bits == 32 else "0x1.fffffffffffffp1023")

    def vector(self, width: int) -> str:
        return self.name if width == 1 else f"<{width} x {self.name}>"

    def integers(self, width: int) -> str:
        return f"i{self.bits}" if width == 1 else f"<{width} x i{self.bits}>"

    def intrinsic(self, width: int) -> str:
        return self.suffix if width == 1 else f"v{width}{self.suffix}"


DOUBLE, SINGLE = Float("double", 64, "f64"), Float("float", 32, "f32")


def number(kind: Float, value: float) -> str:
    """A literal, exact to the bit. LLVM writes float literals as doubles of the same value."""
    if kind is SINGLE:
        value = ctypes.c_float(value).value  # an infinity if beyond its range, as in array conversions
    return "0x" + struct.pack(">d", value).hex().upper()


_ROLLED = 2  # rounds that are no longer than a loop (`targets/scalar/held.py` relies on it)
Counter = int | str  # a known index, or the name of an i64


@dataclass
class Code:
    """The body of one function, as it is written."""

    kind: Float
    fused: bool = False  # whether a·b + c may be rounded once
    portable: bool = False  # whether there is neither an instruction for that nor a math library
    rolled: bool = False  # whether the text is to be short
    lines: list[str] = field(default_factory=list)
    block: str = "entry"
    count: int = 0
    declared: set[str] = field(default_factory=set)
    truths: dict[str, tuple[str, str, str]] = field(default_factory=dict)  # the comparison that gave a 0 or 1
    scratches: list[tuple[str, int]] = field(default_factory=list)

    def scratch(self, count: int) -> str:
        """Local memory for `count` numbers, shared by users one after the other."""
        if not self.scratches:
            self.scratches.append(("%scratch", count))
        self.scratches[0] = ("%scratch", max(count, self.scratches[0][1]))
        return "%scratch"

    def fresh(self, hint: str = "t") -> str:
        self.count += 1
        return f"%{hint}{self.count}"

    def put(self, line: str) -> None:
        self.lines.append("  " + line)

    def let(self, expression: str, hint: str = "t") -> str:
        self.count += 1
        name = f"%{hint}{self.count}"
        self.lines.append(f"  {name} = {expression}")
        return name

    def label(self, name: str) -> None:
        self.lines.append(f"{name}:")
        self.block = name

    # --- values ---------------------------------------------------------------------------------------------------

    def splat(self, value: float, width: int) -> str:
        literal = number(self.kind, value)
        if width == 1:
            return literal
        return f"splat ({self.kind.name} {literal})" if value or math.copysign(1.0, value) < 0 else "zeroinitializer"

    def integer_splat(self, value: int, width: int) -> str:
        if width == 1:
            return str(value)
        return f"splat (i{self.kind.bits} {value})"

    def broadcast(self, scalar: str, width: int) -> str:
        if width == 1:
            return scalar
        kind = self.kind
        head = self.let(f"insertelement {kind.vector(width)} poison, {kind.name} {scalar}, i32 0")
        return self.let(
            f"shufflevector {kind.vector(width)} {head}, {kind.vector(width)} poison, <{width} x i32> zeroinitializer"
        )

    def gathered(self, scalars: Sequence[str], width: int) -> str:
        """A vector of these scalars; the last one fills the rest of it."""
        if width == 1 or len(set(scalars)) == 1:
            return self.broadcast(scalars[0], width)
        kind, vector = self.kind, "poison"
        for k in range(width):
            scalar = scalars[min(k, len(scalars) - 1)]
            vector = self.let(f"insertelement {kind.vector(width)} {vector}, {kind.name} {scalar}, i32 {k}")
        return vector

    def extract(self, vector: str, k: int, width: int) -> str:
        """Element k."""
        return self.let(f"extractelement {self.kind.vector(width)} {vector}, i32 {k}") if width > 1 else vector

    def shuffle(self, a: str, b: str, mask: Sequence[int], width: int) -> str:
        kind = self.kind.vector(width)
        text = ", ".join(f"i32 {m}" for m in mask)
        return self.let(f"shufflevector {kind} {a}, {kind} {b}, <{len(mask)} x i32> <{text}>")

    def binary(self, op: str, a: str, b: str, width: int) -> str:
        return self.let(f"{op} {self.kind.vector(width)} {a}, {b}")

    def compare(self, predicate: str, a: str, b: str, width: int) -> str:
        return self.let(f"fcmp {predicate} {self.kind.vector(width)} {a}, {b}")

    def select(self, condition: str, a: str, b: str, width: int) -> str:
        boolean = "i1" if width == 1 else f"<{width} x i1>"
        kind = self.kind.vector(width)
        return self.let(f"select {boolean} {condition}, {kind} {a}, {kind} {b}")

    def intrinsic(self, name: str, width: int, *operands: str) -> str:
        if name == "fma" and self.portable:
            a, b, c = operands
            return self.binary("fadd", self.binary("fmul", a, b, width), c, width)
        kind = self.kind.vector(width)
        full = f"@llvm.{name}.{self.kind.intrinsic(width)}"
        self.declared.add(f"declare {kind} {full}({', '.join([kind] * len(operands))})")
        return self.let(f"call {kind} {full}({', '.join(f'{kind} {x}' for x in operands)})")

    def negate(self, a: str, width: int) -> str:
        return self.let(f"fneg {self.kind.vector(width)} {a}")

    def only(self, vector: str) -> str:
        """The element of a vector of width 1."""
        return self.let(f"extractelement <1 x {self.kind.name}> {vector}, i32 0")

    def multiply_add(self, a: str, b: str, c: str, width: int) -> str:
        """a·b + c; rounded once if the program allows it and the machine can."""
        if self.fused and not self.portable:
            return self.intrinsic("fmuladd", width, a, b, c)
        return self.binary("fadd", c, self.binary("fmul", a, b, width), width)

    # --- memory ---------------------------------------------------------------------------------------------------

    def element(self, pointer: str, offset: str, kind: str | None = None) -> str:
        if offset == "0":
            return pointer
        return self.let(f"getelementptr {kind or self.kind.name}, ptr {pointer}, i64 {offset}", "p")

    def load(self, address: str, width: int) -> str:
        return self.let(f"load {self.kind.vector(width)}, ptr {address}, align {self.kind.bytes}")

    def store(self, value: str, address: str, width: int) -> None:
        self.put(f"store {self.kind.vector(width)} {value}, ptr {address}, align {self.kind.bytes}")

    def masked_load(self, address: str, width: int, valid: int) -> str:
        return self.load_where(self.mask(width, valid), address, width)

    def masked_store(self, value: str, address: str, width: int, valid: int) -> None:
        self.store_where(self.mask(width, valid), value, address, width)

    def load_where(self, mask: str, address: str, width: int) -> str:
        """The elements selected by a mask of `first_lanes`, 0 for the others."""
        kind, full = self.kind.vector(width), f"@llvm.masked.load.{self.kind.intrinsic(width)}.p0"
        self.declared.add(f"declare {kind} {full}(ptr, i32, <{width} x i1>, {kind})")
        which = f"<{width} x i1> {mask}"
        return self.let(f"call {kind} {full}(ptr {address}, i32 {self.kind.bytes}, {which}, {kind} zeroinitializer)")

    def store_where(self, mask: str, value: str, address: str, width: int) -> None:
        kind, full = self.kind.vector(width), f"@llvm.masked.store.{self.kind.intrinsic(width)}.p0"
        self.declared.add(f"declare void {full}({kind}, ptr, i32, <{width} x i1>)")
        self.put(f"call void {full}({kind} {value}, ptr {address}, i32 {self.kind.bytes}, <{width} x i1> {mask})")

    def mask(self, width: int, valid: int) -> str:
        """A mask of the first `valid` elements."""
        return "<" + ", ".join(f"i1 {'true' if k < valid else 'false'}" for k in range(width)) + ">"

    def first_lanes(self, count: str, width: int, start: int = 0) -> str:
        """A mask of the elements start, start + 1, … that are below the i64 `count`."""
        integer, kind = f"i{self.kind.bits}", self.kind.integers(width)
        if self.kind.bits == 32:
            count = self.let(f"trunc i64 {count} to i32")
        head = self.let(f"insertelement {kind} poison, {integer} {count}, i32 0")
        wide = self.let(f"shufflevector {kind} {head}, {kind} poison, <{width} x i32> zeroinitializer")
        numbers = "<" + ", ".join(f"{integer} {start + k}" for k in range(width)) + ">"
        return self.let(f"icmp slt {kind} {numbers}, {wide}")

    def load_integer(self, address: str) -> str:
        """An entry of an index table, as an i64."""
        return self.let(f"sext i32 {self.let(f'load i32, ptr {address}, align 4')} to i64", "i")

    # --- integers -------------------------------------------------------------------------------------------------

    def linear(self, constant: int, terms: Sequence[tuple[int, Counter]]) -> str:
        """constant + Σ factor·counter, as an i64; folded as far as its parts are known."""
        total: str | None = None
        for factor, counter in terms:
            if isinstance(counter, int):
                constant += factor * counter
            elif factor:
                product = counter if factor == 1 else self.let(f"mul i64 {counter}, {factor}", "i")
                total = product if total is None else self.let(f"add i64 {total}, {product}", "i")
        if total is None:
            return str(constant)
        return total if constant == 0 else self.let(f"add i64 {total}, {constant}", "i")

    def integer(self, value: str) -> str:
        """An integral float as an i64."""
        return self.let(f"fptosi {self.kind.name} {value} to i64", "i")

    def less(self, a: str, b: Counter) -> str:
        """Whether an i64 is less than another."""
        return self.let(f"icmp slt i64 {a}, {b}")

    def both(self, a: str, b: str) -> str:
        """Whether both conditions hold."""
        return self.let(f"and i1 {a}, {b}")

    # --- control flow -----------------------------------------------------------------------------------------------

    def when(self, condition: str, body: Callable[[], None]) -> None:
        """Run the body if the condition holds."""
        self.count += 1
        then, after = f"then{self.count}", f"after{self.count}"
        self.put(f"br i1 {condition}, label %{then}, label %{after}")
        self.label(then)
        body()
        self.put(f"br label %{after}")
        self.label(after)

    def loop(
        self,
        count: int | str,
        body: Callable[[Counter, list[str]], list[str]],
        carried: Sequence[tuple[str, str]] = (),
        *,
        unroll: int = 1,
    ) -> list[str]:
        """Run body(i, values) for i = 0 … count - 1, with `carried` values (type, name) passing from round to round.

        Loops of up to `unroll` rounds are unrolled.
        """
        values = [value for _, value in carried]
        if self.rolled:
            unroll = min(unroll, _ROLLED)
        if isinstance(count, int) and count <= unroll:
            for i in range(count):
                values = body(i, values)
            return values
        before = self.block
        head, after = f"loop{self.count}", f"done{self.count}"
        index = self.fresh("i")
        following = f"{index}.next"
        names = [self.fresh("c") for _ in carried]
        if isinstance(count, int):
            self.put(f"br label %{head}")
        else:  # it may be 0
            self.put(f"br i1 {self.let(f'icmp sgt i64 {count}, 0', 'b')}, label %{head}, label %{after}")
        self.label(head)
        mark = len(self.lines)
        values = body(index, list(names))
        latch = self.block
        phis = [f"  {index} = phi i64 [ 0, %{before} ], [ {following}, %{latch} ]"]
        for name, (kind, start), end in zip(names, carried, values, strict=True):
            phis.append(f"  {name} = phi {kind} [ {start}, %{before} ], [ {end}, %{latch} ]")
        self.lines[mark:mark] = phis
        self.put(f"{following} = add nuw nsw i64 {index}, 1")
        more = self.let(f"icmp ult i64 {following}, {count}", "b")
        self.put(f"br i1 {more}, label %{head}, label %{after}")
        self.label(after)
        if isinstance(count, int):
            return values
        return [
            self.let(f"phi {kind} [ {start}, %{before} ], [ {end}, %{latch} ]", "c")
            for (kind, start), end in zip(carried, values, strict=True)
        ]
