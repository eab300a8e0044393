"""One prediction as cheaply as a call from Python can be."""

from __future__ import annotations

import math
import struct
from collections.abc import Callable
from typing import Any

from macrograd.compiler.compiled import Compiled


def bound(compiled: Compiled, shape: tuple[int, ...]) -> Callable[[Any], Any]:
    """A function from one sample's numbers to the model's output, with buffers of its own and the parameters as they
    are now.

    compiled  the model as a compiled function of one argument, with batch=True
    shape     of a sample

    A sample is a list, a tuple or an array of `shape`; one number where the shape is (). Not for several threads at
    once. Raises ValueError for a sample of another size.
    """
    special = compiled._specialise((shape,))
    plan = special.plan("one")
    state = plan.executable.state(1)
    special.fill(state)
    size = math.prod(shape)
    letter = "d" if compiled.dtype.itemsize == 8 else "f"
    pack, held = struct.Struct(f"{size}{letter}").pack_into, memoryview(state.buffer(0)).cast("B")
    slots = [slot for _, slot in plan.program.results]
    single = isinstance(special.source.structure, int)
    numbers: Any = memoryview(state.u)
    run, address, takes = state.run, state.address, plan.executable.takes
    if any(space != "u" for space, _ in plan.program.results):
        raise RuntimeError("a model's output for one sample is expected among the uniform numbers")
    first = slots[0]
    row = numbers[first : first + len(slots)] if slots == list(range(first, first + len(slots))) else None

    def scalar(x: Any) -> float:
        try:
            pack(held, 0, *x)
        except (struct.error, TypeError) as error:
            fill(x, error)
        run(address)
        if takes:
            special.check_indices(plan, state)
        found: float = numbers[first]
        return found

    def several(x: Any) -> list[float]:
        try:
            pack(held, 0, *x)
        except (struct.error, TypeError) as error:
            fill(x, error)
        run(address)
        if takes:
            special.check_indices(plan, state)
        return list(row) if row is not None else [numbers[slot] for slot in slots]

    def fill(x: Any, error: Exception) -> None:
        """The way for nested samples, single numbers, and mistakes."""
        import numpy as np

        array = np.asarray(x, dtype=np.float64)
        if array.shape != shape:
            raise ValueError(f"a sample has shape {shape}, got {array.shape}") from error
        state.buffer(0)[:] = array.reshape(-1)

    return scalar if single else several
