"""What compiled code works on, and what it is made for."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import Any

import numpy as np

from macrograd.compiler.jit.text import DOUBLE, SINGLE, Float


class Context(ctypes.Structure):
    """What a compiled function works on. The order is that of `FIELDS`."""

    _fields_ = (
        ("u", ctypes.c_void_p),
        ("v", ctypes.c_void_p),
        ("tables", ctypes.c_void_p),
        ("samples", ctypes.c_int64),
        ("arguments", ctypes.c_void_p),
        ("order", ctypes.c_void_p),
        ("weights", ctypes.c_void_p),
        ("scale", ctypes.c_double),
        ("flag", ctypes.c_int64),
        ("out", ctypes.c_void_p),
        ("first", ctypes.c_int64),
        ("last", ctypes.c_int64),
        ("stream_uniform", ctypes.c_void_p),
        ("stream_block", ctypes.c_void_p),
        ("valid", ctypes.c_int64),  # lanes of the block at work that stand for a sample
    )


FIELDS = {name: k for k, (name, *_) in enumerate(Context._fields_)}

# Registers for the sums of a tile, by the bytes of a vector.
ACCUMULATORS = {64: 24, 32: 12, 16: 12}


@dataclass(frozen=True)
class Target:
    """What the code is made for: number type, bytes of a vector, lanes of a block, and whether one block is all.

    `flat` says that every argument is one scalar per sample and every result goes to an array of its own, without an
    order or weights: so an update rule runs over parameters.
    """

    kind: Float
    vector_bytes: int
    lanes: int
    single: bool
    strict: bool
    flat: bool = False

    @property
    def width(self) -> int:
        return max(1, self.vector_bytes // self.kind.bytes)


def kind_of(dtype: Any) -> Float:
    """LLVM's number type for a NumPy dtype, float64 or float32."""
    return DOUBLE if np.dtype(dtype) == np.float64 else SINGLE
