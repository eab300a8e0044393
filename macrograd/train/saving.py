"""`save` and `load`: models as safetensors files, described in the header; no file is ever executed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from macrograd.nn import MLP, Layer, Module, Scaled, Tabular
from macrograd.nn.module import _children
from macrograd.ops import CONSTANT
from macrograd.train import ensemble_file, files
from macrograd.train.ensemble import Ensemble
from macrograd.train.own_nets import Header, build, describe, scales_of, shared_places
from macrograd.train.signature import Signature, of_command
from macrograd.train.trainer import Trainer
from macrograd.value import Value
from macrograd.vector import Vector


def save(
    model: Module | Trainer, path: str | os.PathLike[str], *, dtype: str = "float64", extra: Header | None = None
) -> Path:
    """Write a model, or a Trainer's model, to a safetensors file, whole or not at all, and return the path.

    Every list of parameters becomes a tensor named by its path, as in "layers.0.neurons.3.w". For the nets of `nn` the
    header describes how to build them, and `load(path)` does so; a custom Module is built by your program and filled by
    `load(path, into=model)`. What training learned about the data (labels, columns, scales) is saved too, and so is
    `extra`: anything that JSON can represent.

    Raises TypeError if `model` is not a Module, ValueError for any other dtype and for parameters that are not finite
    or too large for float32, RuntimeError for a Trainer that was not fitted, OSError if the file cannot be written.
    """
    if isinstance(model, Trainer):
        model.setup.fitted()
        model = model.model
    if not isinstance(model, Module):
        raise TypeError(f"save() takes a Module or a Trainer, got {model!r} of type {type(model).__name__}")
    if dtype not in ("float64", "float32"):
        raise ValueError(f"save() dtype must be 'float64' or 'float32', got {dtype!r}")
    if isinstance(model, Ensemble):
        return ensemble_file.write(model, path, dtype, extra or {})
    net = model.net if isinstance(model, Scaled) else model
    with np.errstate(over="ignore"):  # detected below, as an infinity
        tensors = {name: tensor.astype(dtype) for name, tensor in _tensors(net)}
    for name, tensor in tensors.items():
        if not np.isfinite(tensor).all():
            raise ValueError(f"{name} contains numbers that are not finite in {dtype}: a saved model must be finite")
    parameters = net.named_parameters(frozen=True).values()
    frozen = np.array([p.op is CONSTANT for p in parameters], dtype=np.uint8)
    if frozen.any():
        tensors["frozen"] = frozen
    architecture = describe(net)
    if architecture is not None:
        shared = shared_places(net)
        if shared is not None:
            tensors["shared"] = shared
    signature = model._signature
    header: Header = {
        "model": type(net).__name__,
        "architecture": architecture,
        "scale": scales_of(model) if isinstance(model, Scaled) else None,
        "signature": signature.to_json() if isinstance(signature, Signature) else None,
        "extra": extra or {},
    }
    return files.write(path, "model", tensors, header)


def load(path: str | os.PathLike[str], *, into: Module | None = None) -> Any:
    """Build the model that `save` or `macrograd train` wrote, or fill `into`, a model of yours, with its parameters.

    The model takes raw numbers: a net that was trained on scaled ones is wrapped in an `nn.Scaled`.
    `Trainer(load(path))` predicts like the Trainer that was saved.

    Raises FileNotFoundError, and ValueError for a file that is not such a model, is damaged, or does not fit.
    """
    tensors, header = files.read(path, "model", "ensemble")
    if header["kind"] == "ensemble":
        return ensemble_file.build_from(tensors, header, Path(path), into)
    frozen, shared = tensors.pop("frozen", None), tensors.pop("shared", None)
    scales, signature = _meaning(header, Path(path))
    net: Any = into.net if isinstance(into, Scaled) else into
    if into is not None and (scales is not None) != isinstance(into, Scaled):
        wants = "scaled inputs: give into=nn.Scaled(net)" if scales is not None else "raw inputs: give the net alone"
        raise ValueError(f"{path} holds a net that was trained on {wants}")
    if net is None:
        net = build(header, Path(path), tensors, shared)
        if signature is not None:
            _check_fits(net, signature, Path(path))
    try:
        net.load_parameters(tensors)
        parameters = list(net.named_parameters(frozen=True).values())
        if frozen is not None and frozen.shape != (len(parameters),):
            raise ValueError("the list of frozen parameters does not fit")
    except ValueError as error:
        raise ValueError(f"{path} does not fit this {type(net).__name__}: {error}") from None
    if frozen is not None:
        for parameter, constant in zip(parameters, frozen.tolist(), strict=True):
            parameter.op = CONSTANT if constant else None
    model = net if into is None else into
    if scales is not None:
        scaled = Scaled(net, **scales)
        if into is None:
            model = scaled
        else:
            vars(into).update(vars(scaled))
    model._signature = signature
    return model


# --- what inputs and outputs mean -------------------------------------------------------------------------------------


def _meaning(header: Header, path: Path) -> tuple[dict[str, Any] | None, Signature | None]:
    """(the arguments of `Scaled` or None, the signature or None) of a file."""
    extra, found = header.get("extra"), header.get("signature")
    facts = extra.get("train") if isinstance(extra, dict) else None
    try:
        if facts is not None:  # written by the command, which scales before it trains
            return of_command(facts, (header["architecture"] or {"sizes": [0]})["sizes"][-1])
        signature = None if found is None else Signature.from_json(found)
    except ValueError as error:
        raise ValueError(f"{path} is damaged: {error}") from None
    scale = header.get("scale")
    if scale is None:
        return None, signature
    inputs, outputs = scale["inputs"], scale["outputs"]
    return {
        "middle": inputs["middle"],
        "unit": inputs["unit"],
        "output_middle": outputs["middle"],
        "output_unit": outputs["unit"],
    }, signature


def _check_fits(net: Module, signature: Signature, path: Path) -> None:
    """Raise ValueError if the widths of one of nn's own nets do not match the signature."""
    if isinstance(net, Tabular):
        nin, nout = net.sizes[0], net.sizes[-1]
    else:
        layers: list[Any] = net.layers if isinstance(net, MLP) else [net]
        first, last = layers[0], layers[-1]
        nin = len(first.neurons[0].w if isinstance(first, Layer) else first.w)
        nout = len(last.neurons) if isinstance(last, Layer) else 1
    outputs = signature.targets.outputs
    if signature.shape != (nin,) or outputs not in (0, nout):
        raise ValueError(f"{path} is damaged: its net does not fit the columns and classes that it names")


def load_extra(path: str | os.PathLike[str]) -> Header:
    """The `extra` that was given to `save`."""
    _, header = files.read(path, "model", "ensemble")
    found: Header = header.get("extra", {})
    return found


def _tensors(model: Module) -> Iterator[tuple[str, NDArray[np.float64]]]:
    """Every list of parameters, however nested, and every single parameter, by its path."""
    own = {id(p): name for name, p in model.named_parameters(frozen=True).items()}
    stack: list[tuple[str, Any]] = [("", model)]
    seen: set[int] = set()
    while stack:
        path, thing = stack.pop()
        if id(thing) in seen:
            continue
        if isinstance(thing, Value):
            if own.get(id(thing)) == path:
                yield path, np.array(thing.data)
            continue
        children = _children(thing)
        if children is None:
            continue
        seen.add(id(thing))
        block = _block(thing, path, own) if isinstance(thing, (list, tuple, Vector)) else None
        if block is not None:
            yield path, block
            continue
        prefix = f"{path}." if path else ""
        stack.extend((f"{prefix}{name}", child) for name, child in reversed(children))


def _block(thing: Any, path: str, own: dict[int, str]) -> NDArray[np.float64] | None:
    """A nested list as one array, if it has equal rows of only parameters that were not found before."""
    leaves: list[float] = []

    def shape_of(x: Any, path: str) -> tuple[int, ...] | None:
        if isinstance(x, Value):
            leaves.append(x.data)
            return () if own.get(id(x)) == path else None
        if not isinstance(x, (list, tuple, Vector)) or not len(x):
            return None
        shapes = {shape_of(item, f"{path}.{k}") for k, item in enumerate(x)}
        first = shapes.pop()
        return None if shapes or first is None else (len(x), *first)

    shape = shape_of(thing, path)
    return None if shape is None else np.array(leaves).reshape(shape)
