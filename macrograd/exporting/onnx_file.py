"""An ONNX model under construction: inputs and outputs with the user's names, and a graph with internal names."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from macrograd.compiler.targets.onnx.graph import Graph, Node
from macrograd.compiler.targets.onnx.model import SAMPLES, Port, model

Shape = tuple[int | str, ...]


class File:
    """Inputs and outputs of a model, and the graph between them. `outside` are names reserved for them: no value of the
    graph has one."""

    def __init__(self, dtype: np.dtype[Any], outside: Iterable[str]) -> None:
        prefix, outside = "_", [text(name) for name in outside]
        while any(name.startswith(prefix) for name in outside):
            prefix += "_"
        self.dtype, self.graph = dtype, Graph(dtype, prefix)
        self.inputs: list[Port] = []
        self.outputs: list[Port] = []
        self.defaults: dict[str, NDArray[Any]] = {}
        self.notes: dict[str, str] = {}
        self._names = {""}

    def _unique(self, name: str) -> str:
        """The name, or a similar one if it is empty or taken."""
        while name in self._names:
            name += "_" if name else "x"
        self._names.add(name)
        return name

    def input(self, name: str, dtype: Any, shape: Shape, told: str = "", default: Any = None) -> str:
        """An input of the model; one with a default may be left out."""
        name = self._unique(name)
        self.inputs.append(Port(name, np.dtype(dtype), shape, told))
        self.graph.shaped(name, tuple(-1 if n == SAMPLES else int(n) for n in shape))
        if default is not None:
            self.defaults[name] = np.asarray(default, dtype=dtype).reshape([int(n) for n in shape])
        return name

    def output(self, name: str, shape: Shape, told: str, value: str, dtype: Any = None) -> None:
        """An output of the model, which is a value of the graph."""
        name = self._unique(name)
        self.graph.nodes.append(Node("Identity", [value], [name]))
        self.outputs.append(Port(name, np.dtype(dtype or self.dtype), shape, told))

    def note(self, key: str, listed: Sequence[Any]) -> None:
        """A list among the model's metadata, as JSON."""
        self.notes[key] = json.dumps(listed, ensure_ascii=False)

    def data(self, told: str) -> bytes:
        """The file."""
        return model(self.graph, self.inputs, self.outputs, self.defaults, told, self.notes)

    def constants(self) -> int:
        """The bytes of all arrays."""
        return sum(array.nbytes for array in (*self.graph.constants.values(), *self.defaults.values()))


def text(name: str) -> str:
    """A name from the data. Raises ValueError for one that cannot be written in UTF-8, which ONNX requires."""
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        raise ValueError(f"the name {name!r} has half a character, which UTF-8 cannot hold: rename it") from None
    return name


__all__ = ["SAMPLES", "File", "Shape", "text"]
