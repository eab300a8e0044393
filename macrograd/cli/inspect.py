"""`macrograd inspect`: the contents of a model or a checkpoint, in words."""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
from numpy.typing import NDArray

from macrograd.cli import facts
from macrograd.train import History, files, load

Tensors = dict[str, NDArray[Any]]


def inspect(arguments: argparse.Namespace) -> int:
    """Print the contents of a file: a model's net, parameters and the facts that `train` wrote beside it, or the state
    of a checkpoint's run; return 0."""
    path = arguments.model
    tensors, header = files.read(path, "model", "checkpoint")
    lines = [path, *(_checkpoint if header["kind"] == "checkpoint" else _model)(path, tensors, header)]
    print("\n".join(lines))
    return 0


def _model(path: str, tensors: Tensors, header: dict[str, Any]) -> list[str]:
    known, lines = facts.read(path), []
    described = header.get("architecture")
    if described is not None:
        # Building it checks it: a file that cannot be loaded is not described.
        model = load(path) if known is None else known.net
        parameters = list(model.named_parameters(frozen=True).values())
        lines.append(_line("net", net(described)))
        count, frozen = len(parameters), len(parameters) - len(model.parameters())
        dtype = next(iter(tensors.values())).dtype if tensors else "float64"
        lines.append(_line("parameters", f"{count}, {dtype}{f', {frozen} frozen' if frozen else ''}"))
    else:
        own = {name: tensor for name, tensor in tensors.items() if name not in ("frozen", "shared")}
        lines.append(_line("net", f"{header.get('model')}, a custom Module: fill it with mg.load(path, into=…)"))
        dtypes = ", ".join(sorted({str(tensor.dtype) for tensor in own.values()}))
        lines.append(_line("parameters", f"{sum(tensor.size for tensor in own.values())}, {dtypes}"))
        lines += [_line("", f"{name} {'×'.join(map(str, tensor.shape)) or '1'}") for name, tensor in own.items()]
    signature = header.get("signature")
    if known is None and signature is not None:
        lines += _signature(signature)
    lines += _scale(known, header.get("scale"))
    if known is not None:
        lines.append(_line("inputs", ", ".join(known.features)))
        answers = "a number" if known.classes is None else f"one of {', '.join(known.classes)}"
        answers = "0 or 1 for each" if known.labels else answers
        lines.append(_line("answers", f"{known.target}: {answers}"))
        lines += [_line(name, text) for name, text in known.training.items()]
    return lines


def _signature(found: dict[str, Any]) -> list[str]:
    """The meaning of the inputs and outputs of a model trained by a program."""
    shape = "×".join(map(str, found["shape"])) or "1"
    inputs = f"{shape} numbers" if found["columns"] is None else ", ".join(found["columns"])
    answers = found["kind"] if found["classes"] is None else f"one of {', '.join(map(str, found['classes']))}"
    name = "" if found["target"] is None else f"{found['target']}: "
    return [_line("inputs", inputs), _line("answers", f"{name}{answers}"), _line("loss", found["loss"])]


def _scale(known: facts.Facts | None, scale: dict[str, Any] | None) -> list[str]:
    """The scales of a net's numbers, if they are not raw."""
    if known is not None:
        pairs = [(s.middle, s.unit) for s in (known.feature_scale, known.target_scale)]
        names: tuple[str, ...] = known.features
    elif scale is not None:
        pairs, names = [(scale[k]["middle"], scale[k]["unit"]) for k in ("inputs", "outputs")], ()
    else:
        return []
    lines: list[str] = []
    for what, (middle, unit) in zip(("inputs", "outputs"), pairs, strict=True):
        middles, units = np.atleast_1d(middle).tolist(), np.atleast_1d(unit).tolist()
        if set(middles) == {0.0} and set(units) == {1.0}:
            continue
        for k in range(max(len(middles), len(units))):
            name = what if what == "outputs" else names[k] if k < len(names) and len(middles) > 1 else what
            of_one = f"({name} − {middles[k % len(middles)]:.6g}) / {units[k % len(units)]:.6g}"
            lines.append(_line("scaling" if not lines else "", of_one))
    return lines


def _checkpoint(path: str, tensors: Tensors, header: dict[str, Any]) -> list[str]:
    """The state of a run, and what another run must match to resume it."""
    run, step, state = header["run"], header["step"], tensors["state"]
    try:
        history = History.from_tensors(tensors, header["metrics"])
    except ValueError as error:
        raise ValueError(f"{path} is damaged: {error}") from None
    per_epoch = -(-run["samples"] // run["batch_size"])
    epochs, rest = divmod(step, per_epoch)
    shape = "×".join(map(str, run["shape_of_a_sample"])) or "1"
    size = sum(tensor.nbytes for tensor in tensors.values())
    stopped = f", {header['stopped']}" if header["stopped"] else ""
    lines = [
        ("checkpoint", f"after step {step:,}, {_steps(epochs, rest, per_epoch)}{stopped}"),
        ("parameters", f"{len(tensors['parameters'])}, {run['dtype']}: {run['parameter_names']}"),
        ("optimizer", f"{run['optimizer']}{_state(len(state))}"),
        ("loss", f"{run['loss']}{_penalty(run['l2'])}"),
        ("data", f"{run['samples']:,} samples of {shape} numbers, batches of {run['batch_size']}"),
        ("order", f"seed {run['seed']}" if run["shuffle"] else "not shuffled"),
        ("engine", f"{run['engine']}"),
        ("history", f"{history!r}"),
        ("size", f"{size:,} bytes"),
    ]
    return [_line(*line) for line in lines]


def _steps(epochs: int, rest: int, per_epoch: int) -> str:
    text = f"{epochs:,} epoch{'' if epochs == 1 else 's'}"
    return text + (f" and {rest} of {per_epoch:,} steps" if rest else "")


def _state(numbers: int) -> str:
    return f", {numbers} number{'' if numbers == 1 else 's'} of state for each parameter" if numbers else ""


def _penalty(l2: float) -> str:
    return f", plus {l2:g} times the sum of squared parameters" if l2 else ""


def net(described: dict[str, Any]) -> str:
    """A net's sizes and activations in words."""
    *inner, last = described["activations"]
    names = ", ".join(dict.fromkeys(inner)) or last
    after = "" if last == "linear" or not inner else f", then {last}"
    many = f", {described['members']} members" if described["kind"] == "Tabular" else ""
    return f"{'-'.join(map(str, described['sizes']))} {described['kind']}, {names}{after}{many}"


def _line(name: str, text: str) -> str:
    # A file from an untrusted source must not move a terminal's cursor.
    return "".join(c if c.isprintable() else "·" for c in f"  {name:<12} {text}")
