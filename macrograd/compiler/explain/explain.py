"""`explain`: what the compiler found, in words and shapes.

Everything is read from the programs' instructions, their counters and index maps; nothing here knows the traced
function.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np

from macrograd.compiler import pipeline
from macrograd.compiler.explain.controls import described
from macrograd.compiler.explain.lines import Lines
from macrograd.compiler.explain.words import (
    LeafNames,
    plural,
    shaped,
)
from macrograd.compiler.pipeline import Source
from macrograd.compiler.program.program import (
    Program,
    counted,
)
from macrograd.compiler.program.stream import SPREAD, SUM, Stream
from macrograd.compiler.settings import Settings
from macrograd.value import Value


def explain(
    source: Source, shapes: Sequence[tuple[int, ...]], settings: Settings, names: dict[str, Value] | None = None
) -> str:
    """The programs of a compiled function in words.

    `names` are the parameters' names, as from `Module.named_parameters()`; labels stand in for them.
    """
    called = {id(value): name for name, value in (names or {}).items()}
    leaves = LeafNames(
        [called.get(id(p)) or p.label or None for p in source.parameters],
        [(_argument(settings.argument(k)), shape) for k, shape in enumerate(shapes)],
        settings.uniform,
    )
    values = pipeline.value_program(source, batch=settings.batch, strict=settings.strict)
    gradient = None
    if isinstance(source.structure, int) and source.parameters:
        gradient = pipeline.gradient_program(source, batch=settings.batch, strict=settings.strict)
    told = Lines(leaves, settings.batch)
    arguments = ", ".join(
        name + shaped(shape) + (" (the same for all samples)" if k in leaves.uniform else "")
        for k, (name, shape) in enumerate(leaves.arguments)
    )
    sample = " of one sample" if settings.batch else ""
    parameters = plural(len(source.parameters), "parameter")
    lines = [f"{settings.name}({arguments}){sample}: {parameters}, {settings.dtype.name}", ""]
    lines += _counts(source.recorded, values, gradient)
    lines += described(source.controls, settings.batch)
    if source.keeps:
        lines += [
            "loops with memory= keep everything: sections would be rounded in another order than with strict=True"
        ]
    lines += [f"a last bit of the gradient may not be the eager engine's: {why}" for why in source.untold]
    lines += ["", "(k) is the result of line k; brackets are shapes, rows × columns; a dot picks an element.", ""]
    lines += ["The values", *told.tell(values, derived=False)]
    if gradient is not None:
        lines += ["", "The gradient, with the values above computed on the way", *told.tell(gradient, derived=True)]
    elif not isinstance(source.structure, int):
        lines += ["", "The result is not one scalar, so it has no gradient."]
    return "\n".join([*lines, "", *told.left_over()]).rstrip()


def scalar_operations(program: Program) -> int:
    """The number of additions, multiplications and other operations on two numbers that a program stands for, per
    sample."""
    total = 0
    for stream in program.streams():
        total += _of_stream(stream, program)
    for step in program.steps():
        for x, counts in counted(step):
            each = 1
            if x.segments:
                products = sum(s.count for s in x.segments if not isinstance(s.left, float) or abs(s.left) != 1.0)
                each = max(1, products + x.terms - 1 + (x.kind == "reduce"))
            members = x.members // x.dims[-1] * x.count if x.kind == "scatter" else x.members
            total += prod(counts) * members * each
    return total


def _of_stream(stream: Stream, program: Program) -> int:
    """Those of a stream; products with ±1 are not counted."""
    total, units = 0, program.parameters + np.flatnonzero(np.abs(program.constants) == 1.0)
    ones = units[:0] if stream.block else units
    for code, out, operands in stream.records():
        if code == SPREAD:
            ones = out[np.isin(operands[0], units)].astype(np.int64)
        elif code == SUM:
            products = len(operands) // 2 - np.isin(operands[::2], ones).sum(axis=0)
            total += int(np.maximum(1, products + len(operands) // 2 - 1).sum())
        else:
            total += len(out)
    return total


def _counts(recorded: int, values: Program, gradient: Program | None) -> list[str]:
    per = " a sample" if values.batch else ""
    written = f"{scalar_operations(values):,}{per}"
    lines = [
        f"recorded {plural(recorded, 'operation')}; written out on pairs of numbers, {written}",
        f"values: {_steps_of(values)}",
    ]
    if gradient is not None:
        lines.append(
            f"values and gradient: {_steps_of(gradient)} "
            f"instead of {scalar_operations(gradient):,} scalar operations{per}"
        )
    return lines


def _steps_of(program: Program) -> str:
    streams = len(program.streams())
    also = f" and {plural(streams, 'stream')} of scalars" if streams else ""
    return plural(len(program.instructions()), "array instruction") + also


def _argument(text: str) -> str:
    """x for "argument 'x'"; argument 2 if the function's signature is not known."""
    return text.split("'")[1] if "'" in text else text
