"""`macrograd inspect`."""

from __future__ import annotations

import argparse
from typing import Any

from macrograd.cli import facts
from macrograd.train import files, load


def inspect(chosen: argparse.Namespace) -> int:
    """Print what a model's file holds: the net, its parameters, and what `train` wrote beside it; 0."""
    path = chosen.model
    tensors, header = files.read(path, "model")
    known = facts.read(path)
    described = header.get("architecture")
    lines = [path]
    if described is not None:
        # Built, and so checked: nothing is said of a file that cannot be loaded.
        model = load(path) if known is None else facts.model_of(path, known)
        parameters = list(model.named_parameters(frozen=True).values())
        lines.append(_line("net", net(described)))
        count, frozen = len(parameters), len(parameters) - len(model.parameters())
        dtype = next(iter(tensors.values())).dtype if tensors else "float64"
        lines.append(_line("parameters", f"{count}, {dtype}{f', {frozen} frozen' if frozen else ''}"))
    else:
        own = {name: tensor for name, tensor in tensors.items() if name not in ("frozen", "shared")}
        lines.append(_line("net", f"{header.get('model')}, a Module of one's own: fill it with mg.load(path, into=…)"))
        dtypes = ", ".join(sorted({str(tensor.dtype) for tensor in own.values()}))
        lines.append(_line("parameters", f"{sum(tensor.size for tensor in own.values())}, {dtypes}"))
        lines += [_line("", f"{name} {'×'.join(map(str, tensor.shape)) or '1'}") for name, tensor in own.items()]
    if known is not None:
        lines.append(_line("inputs", ", ".join(known.features)))
        answers = "a number" if known.classes is None else f"one of {', '.join(known.classes)}"
        lines.append(_line("answers", f"{known.target}: {answers}"))
        lines += [_line(name, text) for name, text in known.training.items()]
    print("\n".join(lines))
    return 0


def net(described: dict[str, Any]) -> str:
    """A net's sizes and activations in words."""
    *inner, last = described["activations"]
    names = ", ".join(dict.fromkeys(inner)) or last
    after = "" if last == "linear" or not inner else f", then {last}"
    return f"{'-'.join(map(str, described['sizes']))} {described['kind']}, {names}{after}"


def _line(name: str, text: str) -> str:
    # A file may come from anywhere, and must not move a terminal's cursor.
    return "".join(c if c.isprintable() else "·" for c in f"  {name:<12} {text}")
