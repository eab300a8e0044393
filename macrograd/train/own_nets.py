"""`nn`'s own nets as a file describes them: their architecture, and the places that share a parameter."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from macrograd.nn import MLP, Layer, Module, Neuron, Scaled, Tabular, activations

Header = dict[str, Any]


def describe(model: Module) -> Header | None:
    """How to build the model, for `nn`'s own nets as their constructors make them; None for others."""
    if type(model) is Tabular:
        return _describe_tabular(model)
    if type(model) is Neuron:
        layers = [[model]]
    elif type(model) is Layer:
        layers = [model.neurons]
    elif type(model) is MLP:
        layers = [layer.neurons for layer in model.layers]
    else:
        return None
    sizes, chosen = [len(layers[0][0].w)], []
    for neurons in layers:
        names = {neuron.activation for neuron in neurons}
        if len(names) != 1 or {len(neuron.w) for neuron in neurons} != {sizes[-1]}:
            return None
        name = _known(names.pop())
        if not name:
            return None
        chosen.append(name)
        sizes.append(len(neurons))
    return {"kind": type(model).__name__, "sizes": sizes, "activations": chosen}


def _describe_tabular(model: Tabular) -> Header | None:
    name, count = _known(model.activation), len(model.members)
    whole = Tabular.count(model.sizes, count)
    if not name or len({id(p) for p in model.named_parameters(frozen=True).values()}) != whole:
        return None
    chosen = [name] * (len(model.sizes) - 2) + ["linear"]
    return {"kind": "Tabular", "sizes": list(model.sizes), "activations": chosen, "members": count}


def _known(activation: Any) -> str:
    """The name of an activation; "" for a function of the program's own."""
    if isinstance(activation, str):
        return activation
    return next((name for name, function in activations.ACTIVATIONS.items() if function is activation), "")


def build(header: Header, path: Path, tensors: dict[str, NDArray[Any]], shared: NDArray[Any] | None) -> Module:
    described = header.get("architecture")
    if described is None:
        raise ValueError(
            f"{path} holds a {header.get('model')!r}, a custom Module: build it in your program, and fill "
            "it with load(path, into=model)"
        )
    try:
        kind, sizes, names = described["kind"], described["sizes"], described["activations"]
        fits = (
            kind in ("Neuron", "Layer", "MLP", "Tabular")
            and len(sizes) == len(names) + 1 >= 2
            and all(type(size) is int and size >= 1 for size in sizes)
            and all(type(name) is str and name in activations.ACTIVATIONS for name in names)
            and (kind in ("MLP", "Tabular") or len(sizes) == 2)
            and (kind != "Tabular" or (len({*names[:-1]}) <= 1 and names[-1] == "linear"))
            and (kind != "Neuron" or sizes[1] == 1)
        )
    except (KeyError, TypeError):
        fits = False
    if not fits:
        raise ValueError(f"{path} is damaged: its header does not describe a net that can be built")
    # Counted before anything is built, so that a header that claims a giant net does not allocate one.
    members = described.get("members", 1)
    wanted = sum((nin + 1) * nout for nin, nout in pairwise(sizes))
    if kind == "Tabular":
        wanted = Tabular.count(sizes, members)
    there = sum(math.prod(tensor.shape) for tensor in tensors.values()) if shared is None else len(shared)
    if wanted != there:
        raise ValueError(f"{path} is damaged: its header describes {wanted} parameters, it holds {there}")
    model: Module
    if kind == "Tabular":
        return Tabular(sizes[0], sizes[1:-1], sizes[-1], activation=names[0], members=members)
    if kind == "Neuron":
        model = Neuron(sizes[0], activation=names[0])
    elif kind == "Layer":
        model = Layer(sizes[0], sizes[1], activation=names[0])
    else:
        model = MLP(sizes[0], sizes[1:], activation=names[:-1], output_activation=names[-1])
    if shared is not None:
        _share(model, shared, path)
    return model


def _places(model: Module) -> Iterator[tuple[Any, Any]]:
    """The places of the Values of one of nn's nets: (list, index) and (neuron, "b")."""
    layers: list[Any] = model.layers if isinstance(model, MLP) else [model]
    for layer in layers:
        for neuron in layer.neurons if isinstance(layer, Layer) else [layer]:
            for k in range(len(neuron.w)):
                yield neuron.w, k
            yield neuron, "b"


def shared_places(model: Module) -> NDArray[np.int64] | None:
    """For each place of a net, the first place with the same Value; None if none is shared."""
    if isinstance(model, Tabular):  # described only if it shares nothing
        return None
    first: dict[int, int] = {}
    index = []
    for k, (holder, key) in enumerate(_places(model)):
        found = getattr(holder, key) if isinstance(key, str) else holder[key]
        index.append(first.setdefault(id(found), k))
    return np.array(index, dtype=np.int64) if len(first) < len(index) else None


def _share(model: Module, shared: NDArray[Any], path: Path) -> None:
    places = list(_places(model))
    index = shared.tolist()
    if shared.dtype != np.int64 or shared.shape != (len(places),) or not all(0 <= i <= k for k, i in enumerate(index)):
        raise ValueError(f"{path} is damaged: its list of shared parameters does not fit")
    for (holder, key), i in zip(places, index, strict=True):
        of, at = places[i]
        found = getattr(of, at) if isinstance(at, str) else of[at]
        if isinstance(key, str):
            setattr(holder, key, found)
        else:
            holder[key] = found


def scales_of(model: Scaled) -> Header:
    """The scales of a net's inputs and outputs."""
    return {
        "inputs": {"middle": list(model.middle), "unit": list(model.unit)},
        "outputs": {"middle": list(model.output_middle), "unit": list(model.output_unit)},
    }
