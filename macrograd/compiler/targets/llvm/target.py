"""LLVM as a target: available if llvmlite loads, which is tried when a program is first prepared."""

from __future__ import annotations

from macrograd.compiler.targets.target import Executable, Request, Runner
from macrograd.ops import Op


class Llvm(Runner):
    name, needs = "llvm", "llvmlite"

    def missing(self) -> ImportError | None:
        try:
            import macrograd.compiler.targets.llvm.execute  # noqa: F401 - which loads llvmlite
        except ImportError as error:
            return error
        return None

    def has(self, row: Op) -> bool:
        return not row.arity or row.llvm is not None  # operations with any number of operands are instructions

    def prepare(self, request: Request) -> Executable:
        from macrograd.compiler.targets.llvm.execute import LlvmExecutable

        return LlvmExecutable(request)
