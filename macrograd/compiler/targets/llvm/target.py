"""LLVM as a target: available if llvmlite loads, or if this version of it did for an earlier process, which left its
answers in the cache."""

from __future__ import annotations

from macrograd.compiler.targets.nets import Nets, Own
from macrograd.compiler.targets.target import Executable, Request, Runner
from macrograd.compiler.targets.training import Parts


class Llvm(Runner):
    name, needs = "llvm", "llvmlite"

    def missing(self) -> ImportError | None:
        try:
            import macrograd.compiler.targets.llvm.execute  # noqa: F401 - which needs llvmlite
            from macrograd.compiler.jit.processor import machine

            machine()
        except ImportError as error:
            return error
        return None

    def prepare(self, request: Request) -> Executable:
        from macrograd.compiler.targets.llvm.execute import LlvmExecutable

        return LlvmExecutable(request)

    def nets(self, request: Request, parts: Parts, own: Own, rule: Own) -> Nets:
        from macrograd.compiler.targets.llvm.net_steps import NativeNets

        return NativeNets(request, parts, own, rule)
