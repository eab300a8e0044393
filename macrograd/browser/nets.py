"""The nets of the playground's menu: functions of single numbers, which the compiler turns into the page's modules.

One module serves many nets. Each parameter has a switch in the optimiser's state: if it is off, the parameter does not
change. With all weights from a neuron or a feature at 0, exactly the smaller net remains. The optimiser's state also
holds the regularisation, which is part of the step and not of the loss that the page shows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

from macrograd import functions
from macrograd._dataclass import dataclass
from macrograd.nn import losses
from macrograd.ops import relu, sigmoid, sign, sin, softplus, tanh
from macrograd.optim import Optimizer
from macrograd.value import Value

FEATURES = ("x₁", "x₂", "x₁²", "x₂²", "x₁·x₂", "sin 2x₁", "sin 2x₂")
ACTIVATIONS: dict[str, Callable[[Any], Any]] = {"tanh": tanh, "relu": relu, "sigmoid": sigmoid}
CLASSES = 10


@dataclass(frozen=True)
class Net:
    """Fully connected layers, with the largest numbers of neurons that they may have."""

    widths: tuple[int, ...]
    activation: str
    outputs: int

    @property
    def sizes(self) -> tuple[int, ...]:
        return (len(FEATURES), *self.widths, self.outputs)


Layers = list[list[list[Value]]]  # a row for each neuron of each layer: its weights, then its bias


def layers_of(net: Net) -> Layers:
    """The parameters; the page sets their numbers."""
    return [
        [[Value(0.0625 * (i % 7 - 3)) for i in range(inputs + 1)] for _ in range(outputs)]
        for inputs, outputs in pairwise(net.sizes)
    ]


def features(x: Sequence[Any], scaling: Sequence[Any]) -> list[Any]:
    """The inputs of the first layer for a point, whose numbers are first scaled: minus the middle, times a factor."""
    a, b = (x[0] - scaling[0]) * scaling[2], (x[1] - scaling[1]) * scaling[3]
    return [a, b, a * a, b * b, a * b, sin(2.0 * a), sin(2.0 * b)]


def neuron(row: Sequence[Any], inputs: Sequence[Any]) -> Any:
    return functions.sum([w * x for w, x in zip(row, inputs, strict=False)]) + row[-1]


def outputs_of(net: Net, layers: Layers, inputs: list[Any]) -> list[list[Any]]:
    """The outputs of every layer for the features."""
    found = []
    for rows in layers[:-1]:
        inputs = [ACTIVATIONS[net.activation](neuron(row, inputs)) for row in rows]
        found.append(inputs)
    return [*found, [neuron(row, inputs) for row in layers[-1]]]


def prepared(x: Any, scaling: Any) -> list[Any]:
    """The features of a point."""
    return features(x, scaling)


def outlook(net: Net, layers: Layers) -> Callable[..., Any]:
    """The outputs of all neurons for a point's features."""

    def look(seen: Any) -> Any:
        return [y for outputs in outputs_of(net, layers, list(seen)) for y in outputs]

    return look


def objective(net: Net, layers: Layers) -> Callable[..., Any]:
    """The loss of a sample. With several outputs it is the cross-entropy of the class `target`; with one the logistic
    loss of a target −1 or 1 where `number` is 0, and the squared error where it is 1."""

    def loss(seen: Any, target: Any, number: Any) -> Any:
        outputs = outputs_of(net, layers, list(seen))[-1]
        if net.outputs > 1:
            return losses.cross_entropy(outputs, target) + 0.0 * number
        distance = outputs[0] - target
        return number * (distance * distance) + (1.0 - number) * softplus(-(target * outputs[0]))

    return loss


class Descent(Optimizer):
    """Gradient descent on the parameters that are switched on. For each parameter it keeps the switch, 1 or 0, and the
    factors of |w| and w² in the penalty."""

    initial_state = (1.0, 0.0, 0.0)

    def rule(self, parameter: Any, gradient: Any, state: Any, learning_rate: Any, step: Any) -> tuple[Any, Any]:
        on, l1, l2 = state
        slope = gradient + l1 * sign(parameter) + 2.0 * (l2 * parameter)
        return parameter - learning_rate * (on * slope), state


def menu() -> list[Net]:
    """The nets of the page: up to 8 neurons in up to three layers, or 16 in two; and those for several classes."""
    found = [Net((8,) * depth, activation, 1) for depth in (1, 2, 3) for activation in ACTIVATIONS]
    found += [Net((16, 16), activation, 1) for activation in ("tanh", "relu")]
    return found + [Net((8,) * depth, activation, CLASSES) for depth in (1, 2) for activation in ("tanh", "relu")]
