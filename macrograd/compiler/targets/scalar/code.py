"""Code: the interface through which the emitter writes any language.

A value is the name of a vector of `width` numbers of the type `kind`, or of one number if the width is 1; an integer is
the name of a 64-bit integer, or a Python int if it is known. Names belong to the language; the emitter only passes them
on. `targets/llvm/code.py` writes LLVM text.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from macrograd.compiler.jit.text import Counter, Float
from macrograd.ops import Op

__all__ = ["Code", "Counter", "Team"]


class Team(Protocol):
    """Threads that run the same code."""

    def loop(self, count: int, body: Callable[[Counter, list[str]], list[str]]) -> None:
        """A loop whose rounds the threads share; they do not depend on each other."""

    def once(self, body: Callable[[], None]) -> None:
        """What only the first thread does."""

    def meet(self) -> None:
        """Wait until all threads are here."""


class Library(Protocol):
    """Functions, compiled before, for what runs long."""

    def fill(self, place: str, number: str, vectors: int) -> None:
        """Set these vectors to a number in every element."""

    def add_products(self, place: str, a: str, step: int, b: str, stride: int, count: int, vectors: int) -> None:
        """Add `count` products to these vectors, one after the other: of the numbers at a, a + step, … with the vectors
        at b, b + stride, …"""

    def outer_products(
        self, out: str, row: int, a: str, step: int, b: str, dims: tuple[int, int], lanes: int, width: int
    ) -> None:
        """Set the rows at out, out + row, … to the sums over the lanes of products: of the lanes at a, a + step, … for
        each row, with the lanes at b, b + lanes, … for each column. There are whole vectors of columns."""


class Scalable(Protocol):
    """What code for vectors of unknown length is written with besides."""

    def steps(
        self, count: int, body: Callable[[Counter, list[str]], list[str]], carried: Sequence[tuple[str, str]] = ()
    ) -> list[str]:
        """A loop over `count` numbers, whose counter moves by the length of a vector."""

    def store_sums(self, vectors: Sequence[str], address: str, step: int, *, add: bool) -> None:
        """Store the sums of each vector's elements, `step` apart, or add them to what is there."""

    def sums_of_terms(
        self, count: int, add: Callable[[Counter, Sequence[str | None]], list[str]], starts: Sequence[str | None]
    ) -> list[str]:
        """Sums of scalars: these and, added to a vector for each by `add`, as many of so many terms as are whole
        vectors. None starts with the first vector of terms."""

    def other_terms(
        self, count: int, add: Callable[[Counter, Sequence[str]], list[str]], starts: Sequence[str]
    ) -> list[str]:
        """These sums and the terms that are left, one by one."""

    def turn(self, to: str, step: int, source: str, stride: int) -> None:
        """Copy a square, as large as a vector is long, whose rows are `stride` apart: they become the columns of one
        whose rows are `step` apart."""


class Code(Protocol):
    """The body of one function, as it is written."""

    @property
    def kind(self) -> Float:
        """The type of numbers."""

    # --- values ---------------------------------------------------------------------------------------------------

    def splat(self, value: float, width: int) -> str:
        """A constant, in every element."""

    def broadcast(self, scalar: str, width: int) -> str:
        """A number, in every element."""

    def gathered(self, scalars: Sequence[str], width: int) -> str:
        """A vector of these scalars; the last one fills the rest of it."""

    def extract(self, vector: str, k: int, width: int) -> str:
        """Element k."""

    def turned(self, vector: str, width: int, valid: int) -> str:
        """The first `valid` elements in reverse order; the rest is of no matter."""

    def sums_of_elements(self, vectors: list[str], width: int) -> str:
        """The sums of the elements of 2ᵏ vectors, as one vector."""

    def sum_among(self, vector: str, width: int, among: int) -> str:
        """The sum of a vector's elements, as `sums_of_elements` adds those of each of so many vectors."""

    def transposed(self, rows: list[str]) -> list[str]:
        """The columns, as vectors, of the square whose rows are these."""

    def transposed_from(self, rows: list[str]) -> list[str]:
        """The columns of the square whose rows are at these addresses."""

    def apply(self, op: Op, operands: Sequence[str], width: int) -> str:
        """A row of the op table on these operands."""

    def binary(self, op: str, a: str, b: str, width: int) -> str:
        """fadd, fsub, fmul or fdiv."""

    def negate(self, a: str, width: int) -> str:
        """−a."""

    def multiply_add(self, a: str, b: str, c: str, width: int) -> str:
        """a·b + c; rounded once if the program allows it and the machine can."""

    def compare(self, predicate: str, a: str, b: str, width: int) -> str:
        """Conditions, by LLVM's names of comparisons: olt, ole, ogt, oge, oeq, une, uno, …"""

    def select(self, condition: str, a: str, b: str, width: int) -> str:
        """a where the condition holds, else b."""

    def mask(self, width: int, valid: int) -> str:
        """Conditions that hold for the first `valid` elements."""

    def first_lanes(self, count: str, width: int, start: int = 0) -> str:
        """Conditions that hold for the elements start, start + 1, … that are below the integer `count`."""

    def both(self, a: str, b: str) -> str:
        """Whether both conditions hold."""

    # --- memory ---------------------------------------------------------------------------------------------------

    def element(self, pointer: str, offset: str, kind: str | None = None) -> str:
        """The address of an element of an array of numbers, or of `kind`."""

    def load(self, address: str, width: int) -> str: ...

    def store(self, value: str, address: str, width: int) -> None: ...

    def masked_load(self, address: str, width: int, valid: int) -> str:
        """The first `valid` elements, followed by 0; nothing after them is read."""

    def masked_store(self, value: str, address: str, width: int, valid: int) -> None:
        """The first `valid` elements."""

    def load_integer(self, address: str) -> str:
        """An entry of an index table."""

    def scratch(self, count: int) -> str:
        """Local memory for `count` numbers, shared by users one after the other."""

    # --- integers -------------------------------------------------------------------------------------------------

    def linear(self, constant: int, terms: Sequence[tuple[int, Counter]]) -> str:
        """constant + Σ factor·counter, folded as far as its parts are known."""

    def integer(self, value: str) -> str:
        """An integral float as an integer."""

    def truncated(self, value: str) -> str:
        """A number truncated to its integer part."""

    def less(self, a: str, b: Counter) -> str:
        """Whether an integer is less than another."""

    # --- control flow -----------------------------------------------------------------------------------------------

    def when(self, condition: str, body: Callable[[], None]) -> None:
        """Run the body if the condition holds."""

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

    # --- the program's surroundings ---------------------------------------------------------------------------------

    def valid(self) -> str:
        """The number of lanes of the block that stand for a sample."""

    def clean(self, begin: str, end: str) -> None:
        """Set the lanes without a sample to 0, in the varying slots begin … end - 1."""

    def raise_flag(self, good: str) -> None:
        """Raise the flag for an index out of range unless the condition holds."""

    def run_stream(self, table: int, *, block: bool) -> None:
        """Run the records in the tables at `table`, which are preceded by their number."""
