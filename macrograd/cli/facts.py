"""What `train --save` writes into a model's header beside the net: what its inputs and outputs mean, and how it was
trained."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from macrograd import ops
from macrograd.cli.data import Data
from macrograd.nn import MLP, Scaled
from macrograd.tables import Feature, Plan
from macrograd.train import load, load_extra
from macrograd.train.outputs import predicted, softmax
from macrograd.train.scaling import Scale

KEY = "train"


@dataclass(frozen=True)
class Facts:
    """All that `predict` needs besides the net, and what `inspect` tells.

    features, target, classes, feature_scale, target_scale  as in `Data`
    plan                                                     what becomes of a table's columns; for made data they are
                                                             numbers, and that is all
    loss                                                     that was learned by, "" if that is not known
    training                                                 what was done, for people: text by name
    """

    features: tuple[str, ...]
    target: str
    classes: tuple[str, ...] | None
    feature_scale: Scale
    target_scale: Scale
    plan: Plan
    loss: str
    training: dict[str, str]

    @classmethod
    def of(cls, data: Data, loss: str, training: dict[str, str]) -> Facts:
        plan = data.plan if data.plan is not None else numbers_alone(data.features)
        return cls(
            data.features, data.target, data.classes, data.feature_scale, data.target_scale, plan, loss, training
        )

    def extra(self) -> dict[str, Any]:
        """For `mg.save`: what JSON can hold."""
        scales = {"feature_scale": self.feature_scale, "target_scale": self.target_scale}
        return {
            KEY: {
                "features": list(self.features),
                "target": self.target,
                "classes": None if self.classes is None else list(self.classes),
                **{
                    name: {"middle": np.asarray(s.middle).tolist(), "unit": np.asarray(s.unit).tolist()}
                    for name, s in scales.items()
                },
                "plan": self.plan.to_json(),
                "loss": self.loss,
                "training": self.training,
            }
        }

    def answers(self, outputs: NDArray[Any]) -> list[str]:
        """What the net's outputs (n,) or (n, k) mean: names of classes, or numbers that read back bit for bit."""
        if self.classes is None:
            return [repr(x) for x in self.target_scale.raw(outputs).tolist()]
        return [self.classes[k] for k in predicted(outputs).tolist()]

    def probabilities(self, outputs: NDArray[Any], path: str) -> NDArray[np.float64]:
        """(n, classes). Raises ValueError for a model whose outputs say nothing of that."""
        if self.classes is None:
            raise ValueError(f"{path} answers a number, {self.target!r}: --probabilities is for classes")
        if self.loss == "cross_entropy":
            return softmax(outputs)
        if self.loss == "binary_cross_entropy":
            share = np.asarray(ops.sigmoid.array(np, outputs))
            return np.stack([1.0 - share, share], axis=1)
        raise ValueError(
            f"{path} was trained with the loss {self.loss or 'hinge'!r}, whose outputs are no probabilities: train "
            "with --loss binary_cross_entropy or cross_entropy"
        )


def read(path: str) -> Facts | None:
    """The facts in a model's file; None if it was not written by `macrograd train`. Raises ValueError if it is damaged,
    and what `load` raises."""
    extra = load_extra(path)
    found = extra.get(KEY) if isinstance(extra, dict) else None
    if found is None:
        return None
    try:
        features, classes, training = found["features"], found["classes"], found["training"]
        if not _texts(features) or not (classes is None or (_texts(classes) and len(classes) > 1)):
            raise ValueError("features and classes must be lists of texts")
        if not isinstance(found["target"], str) or not isinstance(training, dict):
            raise ValueError("the target must be a text, training an object")
        return Facts(
            tuple(features),
            found["target"],
            None if classes is None else tuple(classes),
            _scale(found["feature_scale"], len(features)),
            _scale(found["target_scale"], 1),
            Plan.from_json(found["plan"]) if "plan" in found else numbers_alone(tuple(features)),
            str(found.get("loss", "")),
            {str(name): str(text) for name, text in training.items()},
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is damaged: what it says of its training cannot be used ({error})") from None


def numbers_alone(features: tuple[str, ...]) -> Plan:
    """The plan for columns that are numbers, and nothing else is known of them."""
    return Plan(tuple(Feature(name, "number") for name in features))


def model_of(path: str, facts: Facts) -> MLP:
    """The net of a file, which must fit the facts in it."""
    model = load(path)
    model = model.net if isinstance(model, Scaled) else model  # `predict` scales a whole table at once
    outputs = {1} if facts.classes is None else {len(facts.classes), *([1] if len(facts.classes) == 2 else [])}
    if (
        not isinstance(model, MLP)
        or len(model.layers[0].neurons[0].w) != len(facts.features)
        or facts.plan.names != facts.features
        or len(model.layers[-1].neurons) not in outputs
    ):
        raise ValueError(f"{path} is damaged: its net does not fit the columns and classes that it names")
    return model


def _texts(x: Any) -> bool:
    return isinstance(x, list) and bool(x) and all(isinstance(item, str) for item in x)


def _scale(found: Any, width: int) -> Scale:
    middle, unit = _numbers(found["middle"], width), _numbers(found["unit"], width)
    if not np.all(unit > 0):
        raise ValueError("units must be above 0")
    return Scale(middle, unit)


def _numbers(x: Any, width: int) -> NDArray[np.float64]:
    listed: Sequence[Any] = x if isinstance(x, list) else [x]
    if len(listed) not in (1, width) or not all(type(item) in (int, float) and math.isfinite(item) for item in listed):
        raise ValueError("scales must be finite numbers, one or as many as columns")
    return np.array(x, dtype=np.float64)
