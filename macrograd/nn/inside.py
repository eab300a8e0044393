"""The layers of a model, and what its neurons compute: for everything that looks inside a net."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from macrograd.nn.layers import Layer, Neuron
from macrograd.nn.module import Module
from macrograd.value import Value


class Firing(NamedTuple):
    """One activation of a neuron.

    unit        the neuron: the number of its module in the model, and its number among those of the module
    layer       the name of its layer
    activation  the function of one scalar
    before      its argument, the weighted sum
    after       its result
    """

    unit: tuple[int, int]
    layer: str
    activation: Callable[[Any], Any]
    before: Any
    after: Any


def layers(model: Module, *, frozen: bool = False) -> dict[str, list[Value]]:
    """The parameters of each layer by the layer's name, in the order of `named_parameters`.

    A layer is an `nn.Layer`, an `nn.Neuron` outside of one, or an attribute of another Module with all the numbers in
    it: "layers.0", "neuron", "query". A model that is itself a layer is named by its class. `frozen` as there.
    """
    names = _layer_names(model)
    found: dict[str, list[Value]] = {}
    for path, parameter in model.named_parameters(frozen=frozen).items():
        name = names.get(id(parameter))
        found.setdefault(_attribute(path) if name is None else name, []).append(parameter)
    return found


def _layer_names(model: Module) -> dict[int, str]:
    """The layer of every parameter that is in an `nn.Layer` or an `nn.Neuron`, by its id."""
    paths = {id(p): path for path, p in model.named_parameters(frozen=True).items()}
    names: dict[int, str] = {}
    for module in model.modules():  # layers come before their neurons
        if isinstance(module, (Layer, Neuron)):
            neurons = module.neurons if isinstance(module, Layer) else [module]
            first = paths[id(neurons[0].w[0])]
            end = ".neurons." if isinstance(module, Layer) else ".w."
            name = f".{first}".rpartition(end)[0].removeprefix(".") or type(module).__name__
            for neuron in neurons:
                for p in (*neuron.w, neuron.b):
                    names.setdefault(id(p), name)
    return names


def _attribute(path: str) -> str:
    """A parameter's path without the indices at its end."""
    parts = path.split(".")
    while len(parts) > 1 and parts[-1].isdigit():
        parts.pop()
    return ".".join(parts)


@contextlib.contextmanager
def firings(model: Module) -> Iterator[list[Firing]]:
    """A context for one call of the model: every activation of its neurons is added to the list, in order.

    Neurons are `nn.Neuron`s, linear ones too, and what other modules apply an attribute `_activate` to, such as the
    members of `nn.Tabular`. A neuron may fire several times in one call.
    """
    names = _layer_names(model)
    paths = {id(p): path for path, p in model.named_parameters(frozen=True).items()}
    found: list[Firing] = []
    watched: list[tuple[Any, Any]] = []
    for number, module in enumerate(model.modules()):
        activate = vars(module).get("_activate")
        if activate is None:
            continue
        one = isinstance(module, Neuron)
        if isinstance(module, Neuron):
            layer = names[id(module.w[0])]
        else:
            first = next(iter(module.named_parameters(frozen=True).values()), None)
            layer = "" if first is None else _attribute(paths[id(first)]).rpartition(".")[0]
        watched.append((module, activate))
        vars(module)["_activate"] = _Watched(found, number, one, layer or type(module).__name__, activate)
    try:
        yield found
    finally:
        for module, activate in watched:
            vars(module)["_activate"] = activate


class _Watched:
    """The activation of a module, which notes what it computes; `one` if the module is a single neuron."""

    def __init__(
        self, found: list[Firing], number: int, one: bool, layer: str, activation: Callable[[Any], Any]
    ) -> None:
        self._found, self._number, self._one, self._layer, self._activation = found, number, one, layer, activation
        self._count = 0

    def __call__(self, before: Any) -> Any:
        after = self._activation(before)
        unit = (self._number, 0 if self._one else self._count)
        self._count += 1
        self._found.append(Firing(unit, self._layer, self._activation, before, after))
        return after
