"""The machine that code is generated for: number type, vectors, registers."""

from __future__ import annotations

from typing import Any

import numpy as np

from macrograd._dataclass import dataclass
from macrograd.compiler.jit.text import DOUBLE, SINGLE, Float

# Registers for the sums of a tile, by the bytes of a vector; few without vectors, to keep the text short.
ACCUMULATORS = {64: 24, 32: 12, 16: 12, 8: 4, 4: 4}
_SCALABLE = 12  # the same where the machine may have 16 registers


@dataclass(frozen=True)
class Machine:
    """The machine: number type, bytes of a vector, lanes of a block, and whether there is only one block.

    `flat` means that every argument is one scalar per sample and every result has its own array, without an order or
    weights: this is how an update rule runs over parameters. `portable` machines have only arithmetic and integers: no
    instruction that rounds a·b + c once, and no math library. `in_order` means that a sum over the batch adds sample by
    sample, so that it does not depend on the machine's vectors and blocks. With `team`, several threads run the code
    together. `rolled` code is short instead of fast, with the same numbers and tables: see `rolled`. The vectors of a
    `scalable` machine have a length that divides `width` and is known when the text is compiled: it may be 1. On a
    machine of scalars, up to `terms` neighbouring terms of a long sum may be added up at once (`terms.py`).
    """

    kind: Float
    vector_bytes: int
    lanes: int
    single: bool
    strict: bool
    flat: bool = False
    portable: bool = False
    in_order: bool = False
    team: bool = False
    rolled: bool = False
    scalable: bool = False
    terms: int = 0

    @property
    def accumulators(self) -> int:
        """The number of vectors that a tile adds to."""
        return _SCALABLE if self.scalable else ACCUMULATORS[self.vector_bytes]

    @property
    def masks(self) -> bool:
        """Whether an instruction leaves some elements of its result as they were, by a mask."""
        return self.vector_bytes == 64 and not self.scalable

    @property
    def width(self) -> int:
        return max(1, self.vector_bytes // self.kind.bytes)


def kind_of(dtype: Any) -> Float:
    """LLVM's number type for a NumPy dtype, float64 or float32."""
    return DOUBLE if np.dtype(dtype) == np.float64 else SINGLE
