"""C99 as a target: a program as functions that any compiler of the last twenty-five years accepts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from macrograd.compiler.targets.c.lower import Lowered, lower
from macrograd.compiler.targets.c.vectors import VECTORS
from macrograd.compiler.targets.scalar.machine import Machine, kind_of
from macrograd.compiler.targets.target import Request, Writer


class C(Writer[Lowered]):
    name, needs = "c", "a C99 compiler"

    def write(
        self,
        request: Request,
        prefix: str,
        *,
        lanes: int = 1,
        targets: Sequence[int] | None = None,
        terms: bool = False,
    ) -> Lowered:
        machine = machine_for(request.dtype, lanes, batch=request.program.batch, strict=request.strict)
        if terms and not request.strict:
            machine = replace(machine, terms=VECTORS[0] // machine.kind.bytes)
        return lower(request.program, machine, prefix, targets)


def machine_for(dtype: np.dtype[Any], lanes: int, *, batch: bool, strict: bool) -> Machine:
    """The machine for the text: with vectors of up to the widest that divide the lanes."""
    kind = kind_of(dtype)
    widths = [bytes_ // kind.bytes for bytes_ in VECTORS]
    width = next((width for width in widths if lanes % width == 0), 1)
    return Machine(kind, width * kind.bytes, lanes, single=not batch, strict=True, in_order=strict, scalable=width > 1)
