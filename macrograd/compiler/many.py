"""Training steps of many nets at once: nets whose programs are equal and whose numbers are their own.

A net's loss is recorded and differentiated as if it were alone. The others bring their parameters, their samples and
the order of these, their learning rates and the state of their update rules; and constants, where their programs have
other ones.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from macrograd.compiler import pipeline
from macrograd.compiler.compiled import Compiled
from macrograd.compiler.program.merge import merged
from macrograd.compiler.program.nets import Different, NetsError
from macrograd.compiler.specialised import Specialised
from macrograd.compiler.step import measure_program, recorded_update
from macrograd.compiler.targets.nets import Nets, NetsOutcome, NetSteps, Own
from macrograd.compiler.targets.target import Request
from macrograd.compiler.targets.training import Parts
from macrograd.value import Value

__all__ = ["Different", "NetSteps", "NetsError", "NetsOutcome", "TrainingNets"]


class TrainingNets:
    """Training steps of many nets.

    samples        losses of one sample whose programs are equal but for numbers; `sample_of` tells which is each net's
    rules          update rules of which the same is true; `rule_of` tells which is each net's
    arrays, initial_state, period, clip_norm   as for `TrainingLoop`
    given          numbers of each net, (nets, n), for the samples' second uniform argument; the first is the step's
                   number
    batch_size     the rows of a step; the last of an epoch may have fewer

    parameters     those of each of the samples, in the compiled order, which is that of every net's numbers in `nets`

    Raises NetsError, which names the obstacle, if the programs have no form with nets on the lanes; `Different` if
    they differ in more than numbers.
    """

    def __init__(
        self,
        samples: Sequence[Compiled],
        sample_of: Sequence[int],
        rules: Sequence[Callable[..., tuple[Any, Any]]],
        rule_of: Sequence[int],
        arrays: Sequence[NDArray[Any]],
        initial_state: Sequence[float],
        given: NDArray[np.float64] | None = None,
        *,
        batch_size: int,
        period: int,
        clip_norm: float | None = None,
        threads: int = 1,
    ) -> None:
        sample, strict = samples[0], samples[0].strict
        given = np.empty((len(sample_of), 0)) if given is None else given
        specials = [_special(one, arrays, given[0]) for one in samples]
        self.parameters: list[list[Value]] = [special.parameters for special in specials]
        for special in specials:
            special.check_scalar()
        losses = merged([pipeline.gradient_program(s.source, batch=True, strict=strict) for s in specials])
        clip = math.inf if clip_norm is None else float(clip_norm)
        updates = [recorded_update(r, len(initial_state), strict=strict, clips=clip != math.inf) for r in rules]
        update = merged([one.program for one in updates])
        parts = Parts(measure_program(strict=strict), update.program, (), tuple(initial_state), clip, period)
        special = specials[0]
        request = Request(
            losses.program, tuple(special.sizes), 0, sample.dtype, strict, threads, samples=batch_size
        )  # fmt: skip
        second = range(losses.program.held - given.shape[1], losses.program.held)
        closed = np.array([one.numbers for one in updates]).reshape(len(updates), -1)
        numbers = np.hstack([closed, update.numbers])[list(rule_of)]
        self.nets: Nets = pipeline.nets(
            request,
            special.settings,
            parts,
            Own((*losses.slots, *second), np.hstack([losses.numbers[list(sample_of)], given])),
            Own((*range(closed.shape[1]), *update.slots), numbers),
        )


def _special(sample: Compiled, arrays: Sequence[NDArray[Any]], given: NDArray[np.float64]) -> Specialised:
    """A sample's loss for data of these shapes, a step number, and these numbers, if it takes them."""
    found: list[Any] = list(arrays)
    for k, uniform in zip(sorted(sample.settings.uniform), (0.0, given), strict=False):
        found.insert(k, uniform)
    return sample._prepare(tuple(found), {})[1]
