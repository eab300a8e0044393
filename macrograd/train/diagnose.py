"""Diagnosis of a failed step: the eager engine recomputes its samples to find the first operation whose result is not
finite, and the source line that called it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from macrograd.replay import Replay, operations
from macrograd.rules import accumulate, contributions, reaches
from macrograd.train.objective import Objective
from macrograd.value import Value, constant
from macrograd.vector import Vector, as_argument, vector


class DivergedError(ArithmeticError):
    """A loss or a gradient was not finite; the parameters are those before the step."""


def _as_values(x: Any) -> Any:
    """Numbers and Vectors of them as Values, so that computations on data alone are operations too."""
    return vector([_as_values(item) for item in x]) if isinstance(x, Vector) else constant(float(x))


class Findings:
    """The findings of a replay: the middle part of the message, or "" if everything was finite."""

    def __init__(self, text: str = "", remedy: str = "") -> None:
        self.text, self.remedy = text, remedy


def diverged(
    objective: Objective, arrays: Sequence[NDArray[Any]], rows: Sequence[int], *, loss: float, when: str, dtype: str
) -> DivergedError:
    """The error of a step that is not finite, on these samples; `when` names the step, `dtype` the engine's numbers."""
    what = "a gradient is not finite" if math.isfinite(loss) else f"the loss is {loss}"
    where = explain(objective, arrays, rows, largest=largest_of(dtype))
    return DivergedError(f"{what} {when}. {where}. The parameters are those before this step")


def explain(objective: Objective, arrays: Sequence[NDArray[Any]], rows: Sequence[int], *, largest: float) -> str:
    """Why a batch's loss or gradient is not finite, in words.

    arrays   the engine's arguments for the batch, one row for each of `rows`, the samples' indices in the data
    largest  the engine's largest finite number
    """
    for k, row in enumerate(rows):
        arguments = [as_argument(array[k]) for array in arrays]
        try:
            found = _replay(partial(objective.sample, *map(_as_values, arguments)), objective.parameters, largest)
        except (
            TypeError,
            ValueError,
        ):  # the loss needs plain numbers, for example as an index
            found = _replay(partial(objective.sample, *arguments), objective.parameters, largest)
        if found.text:
            return f"sample {row}: {found.text}. {found.remedy}"
    if objective.has_penalty:
        found = _replay(objective.penalty, objective.parameters, largest)
        if found.text:
            return f"the penalty, which depends on the parameters alone: {found.text}. {found.remedy}"
    return (
        "each sample and the penalty alone are finite, but their sum is not: the numbers are near the end of their "
        f"range. {_GENERAL}"
    )


def replay_error(objective: Objective, arrays: Sequence[NDArray[Any]], rows: Sequence[int]) -> Exception:
    """The error that a sample of the batch raises, which names the sample."""
    for k, row in enumerate(rows):
        try:
            objective.sample(*[as_argument(array[k]) for array in arrays])
        except (IndexError, TypeError) as error:  # eagerly, an index that is not an integer has a wrong type
            return IndexError(f"sample {row}: {error}")
        except (RuntimeError, ValueError) as error:  # a loop that reaches its `most`, a singular matrix
            return RuntimeError(f"sample {row}: {error}")
    return IndexError("take() got an index outside of its values, or one that is not an integer")


def _replay(make: Callable[[], Any], parameters: Sequence[Value], largest: float) -> Findings:
    replay = Replay()
    gradients = [p.grad for p in parameters]
    try:
        result = replay.run(make)
        if not isinstance(result, Value):
            return Findings() if _finite(float(result), largest) else Findings(f"the loss is {float(result)}", _GENERAL)
        order = operations(result)
        taken = _taken(order, result)
        for node in order:
            if id(node) in taken and not _finite(node.data, largest):
                return _of_value(node, replay)
        return _of_gradient(order, result, parameters, replay, largest)
    finally:
        for p, g in zip(parameters, gradients, strict=True):
            p.grad = g


def _taken(order: list[Value], result: Value) -> set[int]:
    """The ids of the Values that the result was computed from, without operands that choices did not take."""
    found = {id(result)}
    for node in reversed(order):
        op = node.op
        if op is None or id(node) not in found:
            continue
        inputs = node.inputs
        gains = contributions(op, 1.0, node.data, [x.data for x in inputs]) if op.chooses else [1.0] * len(inputs)
        reached = reaches(op)
        for k, (operand, gain) in enumerate(zip(inputs, gains, strict=True)):
            if gain is not None or not reached[op.slot(k)]:  # an operand without a rule decides the choice
                found.add(id(operand))
    return found


def _of_value(node: Value, replay: Replay) -> Findings:
    assert node.op is not None
    return Findings(f"{node.op.name} gave {node.data}{replay.at(node)}, from {_operands(node)}", _remedy(node))


def _of_gradient(
    order: list[Value], result: Value, parameters: Sequence[Value], replay: Replay, largest: float
) -> Findings:
    """The first operation, going backwards, whose derivative is not finite."""
    nothing = float("0")  # a distinct object: a Value that still holds it was not taken by any choice
    for node in (*order, *parameters):
        node.grad = nothing
    result.grad = 1.0
    for node in reversed(order):
        assert node.op is not None
        accumulate([node], nothing)
        for operand in node.inputs:
            if not _finite(operand.grad, largest):
                text = (
                    f"its loss is finite, but the derivative of {node.op.name} is {operand.grad}{replay.at(node)}, "
                    f"at {_operands(node)}"
                )
                return Findings(text, _remedy(node))
    return Findings()


def _operands(node: Value) -> str:
    """The operands' numbers; of many, the most telling."""
    numbers = [x.data for x in node.inputs]
    if len(numbers) <= 4:
        return "operands " + ", ".join(f"{x:.6g}" for x in numbers) if len(numbers) > 1 else f"{numbers[0]:.6g}"
    odd = [x for x in numbers if not math.isfinite(x)] or sorted(numbers, key=abs)[-4:]
    return f"{len(numbers)} operands, the largest of them " + ", ".join(f"{x:.6g}" for x in odd[:4])


_GENERAL = "A smaller learning rate, clip_norm=1.0, or features of magnitude 1 usually help"


def _remedy(node: Value) -> str:
    assert node.op is not None
    return node.op.remedy or _GENERAL


def _finite(x: float, largest: float) -> bool:
    return abs(x) <= largest


def largest_of(dtype: str) -> float:
    """The largest finite number of a type."""
    return float(np.finfo(dtype).max)
