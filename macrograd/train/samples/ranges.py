"""Outputs that can never be negative, found in the operations that make them."""

from __future__ import annotations

from typing import Any

from macrograd import ops
from macrograd.train.samples.targets import Targets
from macrograd.value import Value

# These give 0 or more for any operand.
_NEVER_NEGATIVE = (ops.sigmoid, ops.exp, ops.relu, ops.absolute, ops.sqrt, ops.softplus)
# A net's output is a few operations after its last sum; longer chains are not searched.
_MOST_NODES = 64


def never_negative(output: Any) -> bool:
    """Whether an output cannot be below 0, judging by its last operations: sums, products and maxima are followed to
    their operands.

    False if unknown.
    """
    known: dict[int, bool] = {}
    stack = [output]
    nodes = 0
    while stack:
        node = stack[-1]
        if id(node) in known:
            stack.pop()
            continue
        op = node.op if isinstance(node, Value) else None
        if op in _NEVER_NEGATIVE or op not in (ops.add, ops.mul, ops.maximum, ops.log1p, ops.sum_):
            number = node.data if isinstance(node, Value) else node
            constant = not isinstance(node, Value) or op is ops.CONSTANT
            known[id(node)] = op in _NEVER_NEGATIVE or (constant and number >= 0.0)
            stack.pop()
            continue
        waiting = [x for x in node.inputs if id(x) not in known]
        nodes += 1
        if nodes > _MOST_NODES:
            return False
        if waiting:
            stack.extend(waiting)
            continue
        signs = [known[id(x)] for x in node.inputs]
        square = op is ops.mul and len(node.inputs) == 2 and node.inputs[0] is node.inputs[1]
        known[id(node)] = any(signs) if op is ops.maximum else square or all(signs)
        stack.pop()
    return known[id(output)]


def check(outputs: Any, targets: Targets) -> None:
    """Raise ValueError if every prediction would be the same: a loss that decides by the sign of an output that has
    only one."""
    if targets.loss not in ("binary_cross_entropy", "hinge") or targets.kind not in ("two classes", "labels"):
        return
    listed = outputs if hasattr(outputs, "__len__") else [outputs]
    place = next((k for k, output in enumerate(listed) if never_negative(output)), None)
    if place is None:
        return
    op = getattr(listed[place], "op", None)
    by = f", since {op.name} makes it" if op in _NEVER_NEGATIVE else ""
    raise ValueError(
        f"the model's output is never negative{by}, but with the loss {targets.loss!r} the prediction is its sign: "
        f"it would be {_yes(targets)} for every sample. Use a linear output (output_activation='linear'): "
        "the loss treats it as a logit, and Trainer.probabilities returns its sigmoid"
    )


def _yes(targets: Targets) -> str:
    return "1" if targets.classes is None else str(targets.classes[-1])
