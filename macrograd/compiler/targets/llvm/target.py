"""LLVM as a target: there where llvmlite loads, which is when a program is first prepared."""

from __future__ import annotations

from collections.abc import Sequence

from numpy.typing import DTypeLike

from macrograd.compiler.program.program import Program
from macrograd.compiler.targets.target import Executable, Target
from macrograd.ops import Op


class Llvm(Target):
    name, needs = "llvm", "llvmlite"

    def missing(self) -> ImportError | None:
        try:
            import macrograd.compiler.targets.llvm.execute  # noqa: F401 - which loads llvmlite
        except ImportError as error:
            return error
        return None

    def has(self, row: Op) -> bool:
        return not row.arity or row.llvm is not None  # what takes any number of operands is an instruction

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
        from macrograd.compiler.targets.llvm.execute import LlvmExecutable

        return LlvmExecutable(
            program, sizes, outputs, dtype=dtype, strict=strict, threads=threads, samples=samples
        )  # fmt: skip
