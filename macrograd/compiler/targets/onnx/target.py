"""ONNX as a target: a program as a graph of tensor operations, for any runtime that reads the format."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from macrograd.compiler.targets.onnx.graph import Graph
from macrograd.compiler.targets.onnx.lower import Given, Lowered, lower
from macrograd.compiler.targets.target import Request, Writer


class Onnx(Writer[Lowered]):
    """Writes into `graph`, in which `given` are the program's inputs; by default into a new graph. `fixed` are the
    parameters' numbers if they are to be constants."""

    name, needs = "onnx", "onnx"

    def __init__(
        self, graph: Graph | None = None, given: Given | None = None, fixed: NDArray[Any] | None = None
    ) -> None:
        self.graph, self.given, self.fixed = graph, given, fixed

    def missing(self) -> ImportError | None:
        try:
            import onnx  # noqa: F401 - whether it is installed
        except ImportError as error:
            return error
        return None

    def write(self, request: Request, prefix: str, *, lanes: int = 1) -> Lowered:
        """All samples are computed side by side, whatever `lanes` says."""
        arguments = tuple(f"{prefix}argument{k}" for k in range(len(request.sizes)))
        given = self.given or Given(f"{prefix}parameters", f"{prefix}uniform", arguments)
        return lower(request, self.graph or Graph(request.dtype, prefix), given, self.fixed)
