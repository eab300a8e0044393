"""Training steps of many nets at once: nets whose programs are equal and whose numbers are their own.

The first net's loss is recorded, differentiated and compiled as if it were alone; the others bring their parameters,
the state and numbers of their update rules, their samples, the order of these, and their learning rates.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from macrograd.compiler import pipeline
from macrograd.compiler.compiled import Compiled
from macrograd.compiler.program.nets import NetsError
from macrograd.compiler.step import measure_program, prepared_sample, recorded_update
from macrograd.compiler.targets.nets import Nets, NetsOutcome, NetSteps
from macrograd.compiler.targets.target import Request
from macrograd.compiler.targets.training import Parts
from macrograd.value import Value

__all__ = ["NetSteps", "NetsError", "NetsOutcome", "TrainingNets"]


class TrainingNets:
    """Training steps of `count` nets.

    sample, arrays, period   as for `TrainingLoop`, of the first net
    rule, initial_state      the update rule of all nets, and the initial state of a parameter
    batch_size               the rows of a step; the last of an epoch may have fewer

    parameters   the first net's, in the compiled order, which is that of every net's numbers in `nets`

    Raises NetsError, which names the obstacle, if the program has no form with nets on the lanes.
    """

    def __init__(
        self,
        sample: Compiled,
        arrays: Sequence[NDArray[Any]],
        rule: Callable[..., tuple[Any, Any]],
        initial_state: Sequence[float],
        count: int,
        *,
        batch_size: int,
        period: int,
        threads: int = 1,
    ) -> None:
        _, special = prepared_sample(sample, arrays)
        special._check_scalar()
        self.parameters: list[Value] = special.parameters
        program = pipeline.gradient_program(special.source, batch=True, strict=sample.strict)
        update = recorded_update(rule, len(initial_state), strict=sample.strict)
        parts = Parts(
            measure_program(strict=sample.strict),
            update.program,
            update.numbers,
            tuple(initial_state),
            math.inf,
            period,
        )
        request = Request(program, tuple(special.sizes), 0, sample.dtype, sample.strict, threads, samples=batch_size)
        numbers = np.tile(np.array(update.numbers).reshape(1, -1), (count, 1))
        self.nets: Nets = pipeline.nets(request, special.settings, parts, numbers)
