"""The meaning of a trained model's inputs and outputs, stored with the model in memory and in its file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from macrograd import tables
from macrograd._dataclass import dataclass
from macrograd.nn import losses
from macrograd.train.samples.targets import NUMBERS, Targets

_TYPES: dict[str, tuple[str, Any]] = {
    "U": ("text", str), "S": ("text", str), "i": ("integer", int), "u": ("integer", int), "f": ("number", float),
    "b": ("truth", bool),
}  # fmt: skip


@dataclass(frozen=True)
class Signature:
    """The facts that `Trainer.fit` learned about its data.

    targets   the meaning of the outputs; a custom loss is recorded only by its name
    shape     of one sample
    columns   the names of the inputs, if the data had any
    target    the name of the target, if it had one
    training  facts about the training for humans: text by name
    plan      the encoding of a table's columns, if not all of them were finite numbers
    """

    targets: Targets
    shape: tuple[int, ...]
    columns: tuple[str, ...] | None = None
    target: str | None = None
    training: Mapping[str, str] = field(default_factory=dict)
    plan: tables.Plan | None = None

    def targets_for(self, loss: Any) -> Targets | None:
        """The targets for a Trainer with this loss; None if the outputs mean something else to it."""
        known = self.targets
        loss = next((name for name, function in losses.LOSSES.items() if function is loss), loss)
        if loss is None or loss == known.loss:
            return known
        if known.kind == "own":
            return replace(known, loss=loss) if callable(loss) else None
        one = known.outputs == 1
        fitting = {"two classes": ("hinge", "binary_cross_entropy") if one else (), "numbers": NUMBERS}
        return replace(known, loss=loss) if loss in fitting.get(known.kind, ()) else None

    def to_json(self) -> dict[str, Any]:
        """The signature as JSON values. Raises ValueError for labels that JSON cannot represent."""
        targets, found = self.targets, self.targets.classes
        kind, classes = None, None
        if found is not None:
            kind, plain = _TYPES[found.dtype.kind]
            classes = [plain(x) for x in found.astype(str if kind == "text" else found.dtype).tolist()]
        return {
            "shape": list(self.shape),
            "columns": None if self.columns is None else list(self.columns),
            "target": self.target,
            "kind": targets.kind,
            "loss": targets.loss if isinstance(targets.loss, str) else named(targets.loss),
            "classes": classes,
            "class_type": kind,
            "outputs": targets.outputs,
            "target_shape": list(targets.shape),
            "training": dict(self.training),
            **({} if self.plan is None else {"plan": self.plan.to_json()}),
        }

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> Signature:
        """The signature in a file whose schema has been checked. Raises ValueError if it contradicts itself."""
        classes = _classes(found["classes"], found["class_type"])
        kind, loss, shape, columns = found["kind"], found["loss"], tuple(found["shape"]), found["columns"]
        if kind != "own" and loss not in losses.LOSSES:
            raise ValueError(f"the loss {loss[:60]!r} is not known")
        if kind in ("two classes", "classes") and classes is None:
            raise ValueError("its classes are missing")
        count = 0 if classes is None else len(classes)
        wanted = {"two classes": (1, 2), "classes": (count,)}.get(kind)
        if wanted is not None and (found["outputs"] not in wanted or (kind == "two classes" and count != 2)):
            raise ValueError(f"{found['outputs']} outputs do not fit its classes")
        doubled = columns is not None and "plan" not in found and len(set(columns)) < len(columns)
        if doubled or (columns is not None and shape != (len(columns),)):
            raise ValueError("its columns do not fit the shape of a sample")
        targets = Targets(kind, loss, classes, found["outputs"], tuple(found["target_shape"]))
        plan = tables.Plan.from_json(found["plan"]) if "plan" in found else None
        if plan is not None and list(plan.names) != columns:
            raise ValueError("the encoding of its columns does not match their names")
        return cls(
            targets, shape, None if columns is None else tuple(columns), found["target"], found["training"], plan
        )


def of_command(found: Any, outputs: int) -> tuple[dict[str, Any], Signature]:
    """(the arguments of `nn.Scaled`, the signature) from the description that earlier versions of `macrograd train`
    wrote beside a net with this number of outputs. Raises ValueError for any other description."""
    from macrograd.train import schema  # most processes read no file

    fault = next(schema.COMMAND.faults(found, "its description of the training"), None)
    if fault is not None:
        raise ValueError(fault)
    columns, classes = tuple(found["features"]), found["classes"]
    scales = {
        name: {k: _numbers(found[name][k]) for k in ("middle", "unit")} for name in ("feature_scale", "target_scale")
    }
    if any(len(scales["feature_scale"][k]) not in (1, len(columns)) for k in ("middle", "unit")):
        raise ValueError("its scales do not match its columns")
    loss = found.get("loss") or ("squared_error" if classes is None else "hinge")
    if classes is None:
        targets = Targets("numbers", loss, None, 1, ())
    elif len(classes) > 2 or outputs == 2:
        kind = "two classes" if len(classes) == 2 else "classes"
        targets = Targets(kind, "cross_entropy", _classes(classes, "text"), len(classes), ())
    else:
        targets = Targets("two classes", loss, _classes(classes, "text"), 1, ())
    arguments = {
        **scales["feature_scale"],
        "output_middle": scales["target_scale"]["middle"],
        "output_unit": scales["target_scale"]["unit"],
    }
    plan = tables.Plan.from_json(found["plan"]) if "plan" in found else None
    if plan is not None and plan.names != columns:
        raise ValueError("the encoding of its columns does not match their names")
    return arguments, Signature(targets, (len(columns),), columns, found["target"], found["training"], plan)


def _numbers(found: Any) -> list[float]:
    return found if isinstance(found, list) else [found]


def _classes(labels: list[Any] | None, kind: str | None) -> NDArray[Any] | None:
    if labels is None:
        return None
    plain = {"text": str, "integer": int, "number": float, "truth": bool}.get(kind or "")
    if plain is None or any(type(label) is not plain for label in labels):
        raise ValueError(f"its classes are not of the type {kind!r}")
    try:
        found = np.array(labels)
    except (OverflowError, ValueError):
        found = np.array(labels, dtype=object)
    if found.dtype.kind not in "Uifb" or len(set(labels)) < len(labels):
        raise ValueError("its classes are too large or not distinct")
    return found


def named(function: Any) -> str:
    """A function's name, the same in every process."""
    return function if isinstance(function, str) else getattr(function, "__qualname__", type(function).__name__)
