"""Code: what the emitter writes with, whatever the language.

A value is the name of a vector of `width` numbers of the type `kind`, or of one number where the width is 1; an integer
is the name of a 64-bit integer, or a Python int where it is known. Names are the language's own: the emitter only hands
them on. `targets/llvm/code.py` writes LLVM's text.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from macrograd.compiler.jit.text import Counter, Float
from macrograd.ops import Op

__all__ = ["Code", "Counter"]


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
        """A vector of these scalars, the last of which fills the rest of it."""

    def extract(self, vector: str, k: int, width: int) -> str:
        """Element k."""

    def sums_of_elements(self, vectors: list[str], width: int) -> str:
        """The sums of the elements of 2ᵏ vectors, as one vector."""

    def transposed(self, rows: list[str]) -> list[str]:
        """As many vectors as they have elements: the columns of a square whose rows are these."""

    def apply(self, op: Op, operands: Sequence[str], width: int) -> str:
        """A row of the op table on these operands."""

    def binary(self, op: str, a: str, b: str, width: int) -> str:
        """fadd, fsub, fmul or fdiv."""

    def negate(self, a: str, width: int) -> str:
        """−a."""

    def multiply_add(self, a: str, b: str, c: str, width: int) -> str:
        """a·b + c; in one rounding where the program allows it and the machine can."""

    def compare(self, predicate: str, a: str, b: str, width: int) -> str:
        """Conditions, by LLVM's names of comparisons: olt, ole, ogt, oge, oeq, une, uno, …"""

    def select(self, condition: str, a: str, b: str, width: int) -> str:
        """a where the condition holds, else b."""

    def mask(self, width: int, valid: int) -> str:
        """Conditions that hold for the first `valid` elements."""

    def first_lanes(self, count: str, width: int, start: int = 0) -> str:
        """Conditions that hold for those of the elements start, start + 1, … that are below the integer `count`."""

    def both(self, a: str, b: str) -> str:
        """Whether both conditions hold."""

    # --- memory ---------------------------------------------------------------------------------------------------

    def element(self, pointer: str, offset: str, kind: str | None = None) -> str:
        """The address of an element of an array of numbers, or of `kind`."""

    def load(self, address: str, width: int) -> str: ...

    def store(self, value: str, address: str, width: int) -> None: ...

    def masked_load(self, address: str, width: int, valid: int) -> str:
        """The first `valid` elements, and 0 behind them; nothing behind them is read."""

    def masked_store(self, value: str, address: str, width: int, valid: int) -> None:
        """The first `valid` elements."""

    def load_integer(self, address: str) -> str:
        """An entry of an index table."""

    def scratch(self, count: int) -> str:
        """The function's own memory for `count` numbers, shared by all that ask one after the other."""

    # --- integers -------------------------------------------------------------------------------------------------

    def linear(self, constant: int, terms: Sequence[tuple[int, Counter]]) -> str:
        """constant + Σ factor·counter, folded as far as it is known."""

    def integer(self, value: str) -> str:
        """A whole number as an integer."""

    def truncated(self, value: str) -> str:
        """A number without its fraction."""

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
        """Run body(i, values) for i = 0 … count - 1, `carried` values (type, name) passing from round to round.

        No more than `unroll` rounds are written out one after the other instead.
        """

    # --- the program's surroundings ---------------------------------------------------------------------------------

    def valid(self) -> str:
        """How many lanes of the block stand for a sample."""

    def clean(self, begin: str, end: str) -> None:
        """Set the lanes that stand for no sample to 0, in the varying slots from begin to before end."""

    def raise_flag(self, good: str) -> None:
        """Note that an index was out of range unless the condition holds."""

    def run_stream(self, table: int, *, block: bool) -> None:
        """Run the records that stand in the tables at `table`, behind their number."""
