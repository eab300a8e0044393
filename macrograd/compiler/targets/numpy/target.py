"""NumPy as a target: always there, and the reference for what a program means."""

from __future__ import annotations

from collections.abc import Sequence

from numpy.typing import DTypeLike

from macrograd.compiler.program.program import Program
from macrograd.compiler.targets.numpy.execute import NumpyExecutable
from macrograd.compiler.targets.target import Executable, Target
from macrograd.ops import Op


class Numpy(Target):
    name, needs = "numpy", "NumPy"

    def has(self, row: Op) -> bool:
        return True  # a row without a form for arrays gets one from its formula

    def prepare(
        self,
        program: Program,
        sizes: Sequence[int],
        outputs: int,
        *,
        dtype: DTypeLike,
        strict: bool = False,
        threads: int = 1,
        samples: int = 1,
    ) -> Executable:
        return NumpyExecutable(program, sizes, outputs, dtype=dtype, strict=strict, threads=threads)
