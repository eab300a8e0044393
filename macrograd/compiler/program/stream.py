"""A stream: scalars that do not roll, as data for a kernel that is compiled once.

Scalars without a pattern would take one array instruction for every few of them, and machine code that grows with the
program. Instead, a stream is a list of records, each one operation on n members anywhere:

    stream ::= record*
    record ::= op n arity out₁ … outₙ a₁ … aₙ (b₁ … bₙ (c₁ … cₙ …))

all of them integers, slots of one space. `op` is an `Op.code`, or one of the codes below. The members of a record do
not depend on each other. A sum of T products has 2T operands, the factors of one product after the other, and is added
up in this order. In a block all slots vary; uniform operands are copied there first.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from macrograd import ops
from macrograd._dataclass import dataclass

# Codes beyond the op table: a sum of products, a copy from u to v, and the sum over the batch of a·b, where the last
# one adds to a result that an earlier record began.
SUM, SPREAD, TOTAL, MORE = 1000, 1001, 1002, 1003
NAMES = {SUM: "sum of products", SPREAD: "copy", TOTAL: "sum over the batch", MORE: "sum over the batch"}
FUSED = 1004  # c + a·b: only in `Stream.plain`

Record = tuple[int, NDArray[np.int32], NDArray[np.int32]]


@dataclass(frozen=True, eq=False)
class Stream:
    """Records for the kernel. `scalars` is how many operations of the tape they do; `block` whether on lanes;
    `composed` the codes of those that have a formula, if only for strict programs, in order."""

    words: NDArray[np.int32]
    scalars: int
    block: bool
    composed: tuple[int, ...] = ()

    def table(self) -> NDArray[np.int32]:
        """The words as native code reads them, preceded by their number."""
        return np.concatenate([np.array([len(self.words)], dtype=np.int32), self.words])

    def plain(self) -> Iterator[Record]:
        """The records, with up to three operands each (but takes): a sum is its first product, to which the others are
        added one by one."""
        for code, out, operands in self.records():
            if code != SUM:
                yield code, out, operands
                continue
            yield ops.mul.code, out, operands[:2]
            for k in range(2, len(operands), 2):
                yield FUSED, out, np.concatenate([operands[k : k + 2], out[None]])

    def records(self) -> Iterator[Record]:
        """(code, results, operands as rows) of every record."""
        at = 0
        while at < len(self.words):
            code, n, arity = self.words[at : at + 3].tolist()
            body = self.words[at + 3 : at + 3 + n * (1 + arity)].reshape(1 + arity, n)
            yield code, body[0], body[1:]
            at += 3 + n * (1 + arity)

    @cached_property
    def codes(self) -> frozenset[int]:
        """The codes of its records."""
        return frozenset([code for code, _, _ in self.records()])

    def __str__(self) -> str:
        counts: dict[str, int] = {}
        for code, out, _ in self.records():
            name = NAMES.get(code) or ops.TABLE[code].name
            counts[name] = counts.get(name, 0) + len(out)
        return f"stream of {self.scalars} scalars: " + ", ".join(f"{n} {name}" for name, n in counts.items())
