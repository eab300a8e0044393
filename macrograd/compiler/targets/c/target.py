"""C99 as a target: a program as functions that any compiler of the last twenty-five years accepts."""

from __future__ import annotations

from typing import Any

import numpy as np

from macrograd.compiler.targets.c.lower import Lowered, lower
from macrograd.compiler.targets.scalar.machine import Machine, kind_of
from macrograd.compiler.targets.target import Request, Writer

_VECTOR = 64  # bytes


class C(Writer[Lowered]):
    name, needs = "c", "a C99 compiler"

    def write(self, request: Request, prefix: str, *, lanes: int = 1) -> Lowered:
        machine = machine_for(request.dtype, lanes, batch=request.program.batch, strict=request.strict)
        return lower(request.program, machine, prefix)


def machine_for(dtype: np.dtype[Any], lanes: int, *, batch: bool, strict: bool) -> Machine:
    """The machine for the text: with the widest vectors that divide the lanes."""
    kind = kind_of(dtype)
    least = 16 if strict else 0  # bytes: of smaller vectors registers are not known to every compiler
    width = next(w for w in (16, 8, 4, 2, 1) if (least <= w * kind.bytes <= _VECTOR or w == 1) and lanes % w == 0)
    return Machine(kind, width * kind.bytes, lanes, single=not batch, strict=True, in_order=strict)
