"""NumPy as a target: always available, and the reference for the meaning of a program."""

from __future__ import annotations

from macrograd.compiler.targets.target import Executable, Request, Runner
from macrograd.ops import Op


class Numpy(Runner):
    name, needs = "numpy", "NumPy"

    def has(self, row: Op) -> bool:
        return True  # a row without an array form gets one from its formula

    def prepare(self, request: Request) -> Executable:
        from macrograd.compiler.targets.numpy.execute import NumpyExecutable  # only where it is the target

        return NumpyExecutable(request)
