"""The file of an `Ensemble`: one tensor for all members of an architecture, a row for each.

It is a safetensors file like a model's; the header has the architectures, which members are of each, the scales of
every member, and what inputs and outputs mean.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from macrograd.nn import Module, Scaled
from macrograd.ops import CONSTANT
from macrograd.train import files
from macrograd.train.ensemble import Ensemble
from macrograd.train.own_nets import Header, build, describe, scales_of, shared_places
from macrograd.train.signature import Signature
from macrograd.value import parameter_writes


def write(ensemble: Ensemble, path: str | os.PathLike[str], dtype: str, extra: Header) -> Path:
    """Write an ensemble. Raises ValueError for parameters that are frozen, shared or not finite."""
    nets: list[Header] = []
    rows: list[list[list[float]]] = []
    for k, member in enumerate(ensemble.members):
        net = _net(member)
        parameters = list(net.named_parameters(frozen=True).values())
        architecture = describe(net)
        if any(p.op is CONSTANT for p in parameters) or (architecture is not None and shared_places(net) is not None):
            raise ValueError(f"member {k} has frozen or shared parameters: save such members each in its own file")
        what = {"model": type(net).__name__, "architecture": architecture}
        numbers = [p.data for p in parameters]
        at = next(
            (i for i, n in enumerate(nets) if {**n, "members": 0} == {**what, "members": 0}
             and len(rows[i][0]) == len(numbers)),
            None,
        )  # fmt: skip
        if at is None:
            at = len(nets)
            nets.append({**what, "members": []})
            rows.append([])
        nets[at]["members"].append(k)
        rows[at].append(numbers)
    with np.errstate(over="ignore"):  # detected below, as an infinity
        tensors = {str(i): np.array(numbers).astype(dtype) for i, numbers in enumerate(rows)}
    for i, tensor in tensors.items():
        wrong = np.flatnonzero(~np.isfinite(tensor).all(axis=1))
        if len(wrong):
            raise ValueError(
                f"member {nets[int(i)]['members'][wrong[0]]} contains numbers that are not finite in {dtype}: a saved "
                "model must be finite"
            )
    signature = ensemble._signature
    header = {
        "nets": nets,
        "scales": [scales_of(member) if isinstance(member, Scaled) else None for member in ensemble.members],
        "signature": signature.to_json() if isinstance(signature, Signature) else None,
        "extra": extra,
    }
    return files.write(path, "ensemble", tensors, header)


def build_from(tensors: dict[str, NDArray[Any]], header: Header, path: Path, into: Module | None) -> Ensemble:
    """The ensemble in a file, or `into`, one of yours, filled with its parameters. Raises ValueError if the file
    contradicts itself, or does not fit."""
    scales, nets = header["scales"], header["nets"]
    chosen = sorted(k for net in nets for k in net["members"])
    if chosen != list(range(len(scales))) or set(tensors) != {str(i) for i in range(len(nets))}:
        raise ValueError(f"{path} is damaged: its members do not fit its tensors")
    if into is not None and (not isinstance(into, Ensemble) or len(into) != len(scales)):
        raise ValueError(f"{path} holds an Ensemble of {len(scales)} members: give into= one of as many")
    members: list[Any] = [None] * len(scales) if into is None else [_net(member) for member in into.members]
    writes: list[tuple[Any, float]] = []
    for i, described in enumerate(nets):
        tensor = tensors[str(i)]
        if len(tensor) != len(described["members"]):
            raise ValueError(f"{path} is damaged: its members do not fit its tensors")
        for k, row in zip(described["members"], tensor, strict=True):
            if into is None:
                members[k] = build(described, path, {"parameters": row}, None)
            parameters = list(members[k].named_parameters(frozen=True).values())
            if len(parameters) != len(row):
                raise ValueError(
                    f"{path} does not fit: member {k} has {len(row)} parameters there, {len(parameters)} here"
                )
            writes += zip(parameters, row.tolist(), strict=True)
    signature = None
    try:
        if header["signature"] is not None:
            signature = Signature.from_json(header["signature"])
    except ValueError as error:
        raise ValueError(f"{path} is damaged: {error}") from None
    for parameter, number in writes:
        parameter.data = number
    parameter_writes[0] += 1
    found = into if isinstance(into, Ensemble) else Ensemble(_whole(members, scales))
    for member in found.members:
        member._signature = signature
    found._signature = signature
    return found


def _net(member: Module) -> Module:
    return member.net if isinstance(member, Scaled) else member


def _whole(nets: list[Module], scales: list[Header | None]) -> list[Module]:
    """The nets with their scales."""
    return [
        net if s is None else Scaled(
            net, s["inputs"]["middle"], s["inputs"]["unit"], output_middle=s["outputs"]["middle"],
            output_unit=s["outputs"]["unit"],
        )
        for net, s in zip(nets, scales, strict=True)
    ]  # fmt: skip
