"""Finds the index that a `take` could not use: native code only raises a flag and goes on."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from macrograd import ops
from macrograd.compiler.tape import tape as tapes
from macrograd.compiler.tape.tape import Tape

Array = NDArray[Any]
_ROWS = 256  # samples examined together, so that a long tape and a large batch need little memory


def find(tape: Tape, parameters: Array, inputs: Array, uniform: Array) -> tuple[int, float, int] | None:
    """The first sample with an invalid index, that index, and the number of values to choose from.

    `parameters` are the parameters' numbers, `inputs` those of the arguments, (samples, scalars), and `uniform` those
    of the arguments that are the same for all samples. None if all indices are valid, which can happen if a computed
    one depends on rounding.
    """
    takes = np.flatnonzero(tape.code == ops.take.code)
    for first in range(0, len(inputs), _ROWS):
        found = _find(tape, takes, parameters, inputs[first : first + _ROWS], uniform)
        if found is not None:
            sample, index, count = found
            return first + sample, index, count
    return None


def _find(
    tape: Tape, takes: tapes.Ints, parameters: Array, inputs: Array, uniform: Array
) -> tuple[int, float, int] | None:
    shape = inputs.shape[:1]
    needed = tapes.reached(replace(tape, results=tape.operand[tape.start[takes]]))
    numbers: dict[int, Array] = {}
    bad: list[tuple[int, float, int]] = []
    with np.errstate(all="ignore"):
        for i in np.flatnonzero(needed | (tape.code == ops.take.code)).tolist():
            code, operands, leaf = int(tape.code[i]), tape.operands(i).tolist(), tape.leaf[i]
            if code == ops.take.code:
                index, *values = operands
                position = numbers[index]
                wrong = ~((position >= 0) & (position < len(values)) & (position == np.floor(position)))
                for sample in np.flatnonzero(wrong)[:1].tolist():
                    bad.append((sample, float(position[sample]), len(values)))
                if needed[i]:  # by the index of another take
                    row = np.where(wrong, 0, position).astype(np.int64)
                    numbers[i] = np.stack([numbers[x] for x in values])[row, np.arange(len(row))]
            elif code == tapes.PARAMETER:
                numbers[i] = np.full(shape, parameters[int(leaf)])
            elif code == tapes.INPUT:
                numbers[i] = inputs[:, int(leaf)]
            elif code == tapes.UNIFORM:
                numbers[i] = np.full(shape, uniform[int(leaf)])
            elif code == tapes.CONSTANT:
                numbers[i] = np.full(shape, leaf, inputs.dtype)
            else:
                numbers[i] = ops.TABLE[code].array(np, *[numbers[x] for x in operands])
    return min(bad, key=lambda found: found[0], default=None)  # in one sample, the first take
