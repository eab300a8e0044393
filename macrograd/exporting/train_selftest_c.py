"""The self-test of a file that trains: 100 steps on a few samples, compared with macrograd's own training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from macrograd.compiler.compiled import Compiled
from macrograd.compiler.step import TrainingLoop
from macrograd.exporting.arrays_c import array, literal
from macrograd.exporting.subject import Examples
from macrograd.nn.dropout import PERIOD
from macrograd.optim import Optimizer

_SAMPLES, _STEPS = 8, 100
# Relative tolerances of the first and the last loss: rounding errors grow from step to step.
_TOLERANCES = {"double": ("1e-9", "1e-6"), "float": ("1e-3", "5e-2")}


def training_selftest(
    compiled: Compiled,
    optimizer: Optimizer,
    memory: Sequence[float] | None,
    done: int,
    prefix: str,
    real: str,
    examples: Examples,
) -> str:
    """A main() that trains and compares the first and last loss with macrograd's."""
    generator = np.random.default_rng(0)
    rows = [examples(generator) for _ in range(_SAMPLES)]
    losses = _losses(compiled, optimizer, memory, done, rows)
    if losses is None:  # an index out of range: 0 is one of any list
        rows = [[np.zeros_like(x) for x in row] for row in rows]
        losses = _losses(compiled, optimizer, memory, done, rows)
    first, last = (literal(x, real) for x in ((losses[0], losses[-1]) if losses is not None else (np.nan, np.nan)))
    flat = np.concatenate([np.ravel(x) for row in rows for x in row]).astype(compiled.dtype)
    near, far = _TOLERANCES[real]
    close = "" if compiled.strict else " || fabs(a - b) <= most * (1.0 + fabs(b))"
    return f"""#ifdef MACROGRAD_SELFTEST
#include <stdio.h>

{array(f"{real} {prefix}_batch", [literal(float(x), real) for x in flat], flash=False)}
static {prefix}_state {prefix}_tried;

static int {prefix}_near(const char *when, double a, double b, double most) {{
    (void)most;
    if (a == b || (a != a && b != b){close}) return 1;
    printf("loss %s: %.17g, expected %.17g\\n", when, a, b);
    return 0;
}}

int main(void) {{
    const double rate = {literal(optimizer.learning_rate, "double")};
    {real} loss = 0;
    int good = 1;
    {prefix}_init(&{prefix}_tried);
    for (int step = 0; step < {_STEPS}; ++step) {{
        loss = {prefix}_step(&{prefix}_tried, {prefix}_batch, {_SAMPLES}, ({real})rate);
        if (step == 0) good = {prefix}_near("of the first step", (double)loss, (double){first}, {near});
    }}
    good &= {prefix}_near("of step {_STEPS}", (double)loss, (double){last}, {far});
    if (good) printf("{prefix}: {_STEPS} steps agree\\n");
    return !good;
}}
#endif
"""


def _losses(
    compiled: Compiled,
    optimizer: Optimizer,
    memory: Sequence[float] | None,
    done: int,
    rows: list[list[NDArray[np.float64]]],
) -> NDArray[Any] | None:
    """The losses of all steps, NaN for skipped ones; None if an index is out of range."""
    sample = Compiled(
        compiled.fn, batch=True, dtype=compiled.dtype.name, backend="auto", threads=1, strict=compiled.strict,
        uniform=compiled.settings.uniform,
    )  # fmt: skip
    arrays = [np.stack(column) for column in zip(*rows, strict=True)]
    loop = TrainingLoop(
        sample, arrays, optimizer.rule, optimizer.initial_state, batch_size=_SAMPLES,
        period=PERIOD if compiled.settings.uniform else None,
    )  # fmt: skip
    if memory is not None:
        loop.state[:] = np.reshape(memory, loop.state.shape)
    outcome = loop.run(
        np.tile(np.arange(_SAMPLES), _STEPS), np.full(_STEPS, _SAMPLES), np.full(_STEPS, optimizer.learning_rate),
        done + 1,
    )  # fmt: skip
    if outcome.why == "index":
        return None
    losses = np.full(_STEPS, np.nan)
    losses[: outcome.done] = outcome.losses[: outcome.done]
    return losses
