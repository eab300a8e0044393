"""Nets trained on the playground's page, as modules."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from macrograd.browser.nets import ACTIVATIONS, CLASSES, FEATURES, features, neuron
from macrograd.nn import Module
from macrograd.value import Value

_FORMAT = "macrograd playground 1"
_KEYS = {"format", "activation", "features", "layers", "steps", "scaling", "columns", "target", "classes", "unit"}


class PlaygroundNet(Module):
    """A net from the page: a function of the two numbers of a point, unscaled as in the table.

    It returns one number, above 0 for the second of two classes, or one number for each of several classes, the largest
    for the answer. For a numeric target the page learned (target − unit[0])/unit[1]; `net(x)` is the target itself.
    """

    def __init__(self, content: Mapping[str, Any]) -> None:
        self.layers = [[[Value(float(w)) for w in row] for row in rows] for rows in content["layers"]]
        self.activation = str(content["activation"])
        self.columns, self.target = list(map(str, content["columns"])), str(content["target"])
        self.classes = list(map(str, content["classes"]))
        self.steps = int(content["steps"])
        self._features = [bool(on) for on in content["features"]]
        self._scaling, self._unit = list(map(float, content["scaling"])), list(map(float, content["unit"]))

    def __call__(self, x: Any) -> Any:
        seen = features(x, self._scaling)
        inputs = [f for f, on in zip(seen, self._features, strict=True) if on]
        for rows in self.layers[:-1]:
            inputs = [ACTIVATIONS[self.activation](neuron(row, inputs)) for row in rows]
        outputs = [neuron(row, inputs) for row in self.layers[-1]]
        if len(outputs) > 1:
            return outputs
        return outputs[0] if self.classes else self._unit[0] + self._unit[1] * outputs[0]

    def answer(self, x: Any) -> str | float:
        """The label of a point: the name of its class, or the number."""
        found = self(x)
        if isinstance(found, list):
            numbers = [float(y.data) for y in found]
            return self.classes[numbers.index(max(numbers))]
        return self.classes[int(found.data > 0)] if self.classes else float(found.data)


def from_playground(source: str | os.PathLike[str] | Mapping[str, Any]) -> PlaygroundNet:
    """The net whose weights a playground page wrote: from the path of the JSON file, or from its content.

    Raises ValueError for any other file, and OSError for one that cannot be read.
    """
    if isinstance(source, Mapping):
        return PlaygroundNet(_checked(source, "from_playground()"))
    path = Path(source)
    try:
        content = json.loads(path.read_text("utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise ValueError(f"{path} is not JSON: {error}") from None
    return PlaygroundNet(_checked(content, str(path)))


def _checked(content: Any, where: str) -> Mapping[str, Any]:
    """The content of a file, checked to be what the page writes."""
    if not isinstance(content, Mapping) or content.get("format") != _FORMAT or not set(content) >= _KEYS:
        raise ValueError(f"{where}: not what the playground writes as weights, whose format is {_FORMAT!r}")
    if content["activation"] not in list(ACTIVATIONS):
        raise ValueError(f"{where}: the activation {content['activation']!r} is none of {', '.join(ACTIVATIONS)}")
    if not _flags(content["features"]) or not _numbers(content["scaling"], 4) or not _numbers(content["unit"], 2):
        raise ValueError(f"{where}: features, scaling and unit must be {len(FEATURES)} truths, 4 numbers and 2 numbers")
    width, layers = sum(content["features"]), content["layers"]
    if not isinstance(content["columns"], list) or not isinstance(content["steps"], int):
        raise ValueError(f"{where}: columns must be a list, and steps an integer")
    if not isinstance(layers, list) or not layers:
        raise ValueError(f"{where}: layers must be a list of layers")
    for k, rows in enumerate(layers, 1):
        if not isinstance(rows, list) or not rows or not all(_numbers(row, width + 1) for row in rows):
            raise ValueError(f"{where}: every neuron of layer {k} needs {width} finite weights and a bias")
        width = len(rows)
    names = content["classes"]
    if (
        not isinstance(names, list)
        or len(names) > CLASSES
        or width != (len(names) if len(names) > 2 else 1)
        or len(names) == 1
    ):
        raise ValueError(f"{where}: {width} outputs do not fit to the classes {names}")
    return content


def _flags(found: Any) -> bool:
    return isinstance(found, list) and len(found) == len(FEATURES) and all(isinstance(x, bool) for x in found)


def _numbers(found: Any, count: int) -> bool:
    return (
        isinstance(found, list)
        and len(found) == count
        and all(isinstance(x, (int, float)) and not isinstance(x, bool) and math.isfinite(x) for x in found)
    )
