"""The facts that `train --save` writes beside a net: the meaning of its inputs and outputs, and how it was trained.

They are the signature of every trained model, plus the plan of the table and a description of the training.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from macrograd import nn, ops
from macrograd._dataclass import dataclass
from macrograd.cli.data import Data
from macrograd.tables import Feature, Plan
from macrograd.tables.plan import FORM
from macrograd.train import files, load
from macrograd.train.samples.outputs import predicted, softmax
from macrograd.train.samples.scaling import Scale
from macrograd.train.signature import Signature

KEY = "train"  # in `extra`, where files had it before models had signatures


@dataclass(frozen=True)
class Facts:
    """Everything that `predict` needs besides the net, and that `inspect` shows.

    net                                                      the trained net, on scaled numbers
    features, target, classes, feature_scale, target_scale  as in `Data`, and so are the `labels`
    plan                                                     the encoding of a table's columns; for synthetic data these
                                                             are just numbers
    loss                                                     the loss of the training, "" if unknown
    training                                                 a description of the training: text by name
    """

    net: nn.Module
    features: tuple[str, ...]
    target: str
    classes: tuple[str, ...] | None
    feature_scale: Scale
    target_scale: Scale
    plan: Plan
    loss: str
    training: dict[str, str]
    labels: tuple[str, ...] = ()

    def answers(self, outputs: NDArray[Any]) -> dict[str, list[str]]:
        """The meaning of the net's outputs (n,) or (n, k) by target: names of classes, numbers that read back bit for
        bit, or 0 and 1 for each label."""
        if self.labels:
            return {
                name: [str(int(x > 0)) for x in column] for name, column in zip(self.labels, outputs.T, strict=True)
            }
        if self.classes is None:
            return {self.target: [repr(x) for x in self.target_scale.raw(outputs).tolist()]}
        return {self.target: [self.classes[k] for k in predicted(outputs).tolist()]}

    def probabilities(self, outputs: NDArray[Any], path: str) -> NDArray[np.float64]:
        """(n, classes), or (n, labels). Raises ValueError for a model whose outputs are not probabilities."""
        if self.labels:
            return np.asarray(ops.sigmoid.array(np, outputs))
        if self.classes is None:
            raise ValueError(f"{path} answers a number, {self.target!r}: --probabilities is for classes")
        if self.loss == "cross_entropy":
            return softmax(outputs)
        if self.loss == "binary_cross_entropy":
            share = np.asarray(ops.sigmoid.array(np, outputs))
            return np.stack([1.0 - share, share], axis=1)
        raise ValueError(
            f"{path} was trained with the loss {self.loss or 'hinge'!r}, whose outputs are not probabilities: train "
            "with --loss binary_cross_entropy or cross_entropy"
        )


def model_for(net: nn.Module, data: Data, loss: str, training: dict[str, str]) -> nn.Scaled:
    """A trained net with all facts about its inputs and outputs, for `mg.save`: it takes raw numbers."""
    scale, answer, plan = data.feature_scale, data.target_scale, data.plan
    if plan is None:
        plan = numbers_alone(data.features, np.median(scale.raw(data.X), axis=0).tolist())
    model = nn.Scaled(
        net, _listed(scale.middle), _listed(scale.unit),
        output_middle=_listed(answer.middle), output_unit=_listed(answer.unit),
    )  # fmt: skip
    known = net._signature
    assert isinstance(known, Signature)  # of its run
    classes = known.targets.classes if data.classes is None else np.array(data.classes)
    targets = replace(known.targets, loss=loss, classes=classes)
    model._signature = Signature(targets, known.shape, data.features, data.target, training, plan)
    return model


def read(path: str) -> Facts | None:
    """The facts in a model's file; None if it was not written by `macrograd train`. Raises ValueError if it is damaged,
    and as `load` does."""
    _, header = files.read(path, "model")
    if header.get("architecture") is None:
        return None
    model = load(path)
    signature = model._signature
    if signature is None or signature.target is None or not (signature.training or KEY in header.get("extra", {})):
        return None
    features, classes = signature.columns, signature.targets.classes
    plan = signature.plan if signature.plan is not None else numbers_alone(features)
    return Facts(
        model.net, features, signature.target, None if classes is None else tuple(map(str, classes.tolist())),
        Scale(np.array(model.middle), np.array(model.unit)),
        Scale(np.array(model.output_middle), np.array(model.output_unit)),
        plan, signature.targets.loss, dict(signature.training),
        tuple(signature.target.split(",")) if signature.targets.kind == "labels" else (),
    )  # fmt: skip


def _listed(scale: Any) -> list[float]:
    found: list[float] = np.atleast_1d(scale).tolist()
    return found


def numbers_alone(features: tuple[str, ...], medians: Sequence[float] | None = None) -> Plan:
    """The plan for columns of plain numbers. Without their `medians`, it refuses missing cells."""
    instead = [np.nan] * len(features) if medians is None else medians
    pairs = zip(features, instead, strict=True)
    return Plan(tuple(Feature(name, "number", median=m, decimal="") for name, m in pairs), form=FORM)
