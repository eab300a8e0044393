"""Equal bodies: branches, rounds and solvers that a function writes many times, for example in a Python loop.

All of them call one section (`sections.py`), which is recorded, differentiated and compiled once. Their calls are then
the same operation of the tape, in which `roll` finds groups and loops as in any other.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any

from macrograd import ops
from macrograd.compiler.tape.tape import CALL

Form = tuple[Any, ...]


def form_of(
    order: Sequence[Any], roots: Sequence[Any], own: Sequence[Any], mark: Callable[[Any], Hashable]
) -> tuple[Form, list[Any]]:
    """The form of the Values in this order, with the results `roots` and leaves of their `own`, and what they use
    besides, in order of first use. Bodies of the same form are the same program of it. The `mark` of a Value is what a
    trace knows of it besides its operation."""
    number = {id(x): k for k, x in enumerate((*own, *order))}
    known = len(number)
    outside: list[Any] = []
    found: list[Any] = [len(own), len(order)]

    def use(x: Any) -> None:
        k = number.get(id(x))
        if k is None and x.op is ops.CONSTANT:
            found.append(x._data.hex())  # −0.0 is not 0.0, and a NaN is itself
            return
        if k is None:
            k = number[id(x)] = known + len(outside)
            outside.append(x)
        found.append(k)

    for x in order:
        inputs = x.inputs
        found += x.op.code, x.op.number if x.op.code == CALL else 0, mark(x), len(inputs)
        for y in inputs:
            use(y)
    for x in roots:
        use(x)
    return tuple(found), outside
