"""The predictor in a C file that trains: the model's outputs with the parameters of the training's state."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

import numpy as np

from macrograd.compiler import pipeline
from macrograd.compiler.compiled import Compiled
from macrograd.compiler.program.program import Program
from macrograd.compiler.targets.c.target import C
from macrograd.compiler.targets.scalar.machine import kind_of
from macrograd.compiler.targets.target import Request
from macrograd.exporting.arrays_c import array, literal
from macrograd.exporting.c import FAILED, index_tables, result_copies
from macrograd.value import Value

_RUNS = 8  # copies of consecutive parameters; with more, a table of their places is shorter


class PredictorInC:
    """`prefix_predict(trained, s, x, y)`. The memory s has its own type: only a caller that predicts provides it.

    compiled  the model's outputs for one sample, as a traced function
    trained   the parameters in the order of the training's state
    terms     whether the file has vectors, in which long sums are added up
    """

    def __init__(self, compiled: Compiled, trained: Sequence[Value], prefix: str, *, terms: bool) -> None:
        special = compiled._traced()
        self.program: Program = pipeline.for_file(
            pipeline.value_program(special.source, batch=False, strict=compiled.strict)
        )
        self.real, self._prefix = kind_of(compiled.dtype).name, prefix
        self._bytes = kind_of(compiled.dtype).bytes
        self._inputs, self._outputs = sum(special.sizes), len(self.program.results)
        request = Request(self.program, tuple(special.sizes), 0, compiled.dtype, compiled.strict)
        self.lowered = C().write(request, f"{prefix}_predict", terms=terms)
        places = {p: k for k, p in enumerate(trained)}
        self._parameters = [(places.get(p), p.data) for p in special.parameters]
        self._constants = np.asarray(self.program.constants, dtype=compiled.dtype).tolist()

    def described(self) -> str:
        """Lines for the comment at the top of the file."""
        prefix, fails = self._prefix, f"\n   Returns 0, or 1 if {FAILED}." if self.lowered.raises else ""
        size = self._bytes * (self._uniform() + self._varying()) + 8
        return (
            f"   {prefix}_predict computes the outputs y[0] to y[{self._outputs - 1}] of a sample's numbers x, without "
            f"its target, by\n   the parameters of the state `trained`. s is memory of {size:,} bytes for it, which "
            f"needs no initialisation.{fails}\n"
        )

    def interface(self) -> str:
        """The memory's type, and the prototype."""
        return f"""
#define {self._prefix.upper()}_OUTPUTS {self._outputs}

typedef struct {{
    {self.real} u[{self._uniform()}];
    {self.real} v[{self._varying()}];
    int32_t valid;
    int32_t flag;
}} {self._prefix}_predict_state;

{self._head()};
"""

    def _head(self) -> str:
        returns, prefix, real = "int" if self.lowered.raises else "void", self._prefix, self.real
        return (
            f"{returns} {prefix}_predict(const {prefix}_state *trained, {prefix}_predict_state *s, const {real} *x, "
            f"{real} *y)"
        )

    def arrays(self) -> list[str]:
        """The constants, and the places of the parameters if they are not in order."""
        prefix = f"{self._prefix}_predict"
        found = [index_tables(prefix, self.lowered)]
        if self._constants:
            found.append(array(f"{self.real} {prefix}_w", [literal(x, self.real) for x in self._constants]))
        if len(self._runs()) > _RUNS:
            found.append(array(f"int32_t {prefix}_places", [str(place or 0) for place, _ in self._parameters]))
        return found

    def function(self) -> str:
        count, prefix = len(self._parameters), f"{self._prefix}_predict"
        lines = [self._head() + " {", *(["    s->flag = 0;"] if self.lowered.raises else [])]
        if len(runs := self._runs()) > _RUNS:
            lines.append(f"    for (int32_t i = 0; i < {count}; ++i) s->u[i] = trained->u[{prefix}_places[i]];")
        else:
            lines += [
                f"    for (int32_t i = 0; i < {length}; ++i) s->u[{at} + i] = trained->u[{place} + i];"
                for at, place, length in runs
            ]
        lines += [
            f"    s->u[{k}] = {literal(number, self.real)};"
            for k, (place, number) in enumerate(self._parameters)
            if place is None
        ]
        if self._constants:
            lines.append(f"    for (int32_t i = 0; i < {len(self._constants)}; ++i) s->u[{count} + i] = {prefix}_w[i];")
        if self._inputs:
            first = self.program.first_input
            lines.append(f"    for (int32_t i = 0; i < {self._inputs}; ++i) s->u[{first} + i] = x[i];")
        else:
            lines.append("    (void)x;")
        lines += [f"    {name}(s);" for name in self.lowered.phases.values() if name]
        lines += result_copies(self.program.results, prefix, "y")
        return "\n".join([*lines, *(["    return s->flag != 0;"] if self.lowered.raises else []), "}", ""])

    def _runs(self) -> list[tuple[int, int, int]]:
        """(position, place in the training's state, length) of parameters that are consecutive in both."""
        places = [(k, place) for k, (place, _) in enumerate(self._parameters)]
        found = []
        for offset, run in groupby(places, key=lambda pair: None if pair[1] is None else pair[1] - pair[0]):
            if offset is not None:
                first, *rest = (k for k, _ in run)
                found.append((first, first + offset, 1 + len(rest)))
        return found

    def _uniform(self) -> int:
        return max(1, self.program.uniform)

    def _varying(self) -> int:
        return max(1, self.program.varying)
