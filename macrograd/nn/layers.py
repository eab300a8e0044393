"""`Neuron`, `Layer` and `MLP`: a neuron as explained at a whiteboard, layers of neurons, and stacks of layers.

Everything here is arithmetic on scalars, so it runs on Values and on traced values alike.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence
from typing import Any

from macrograd import _memory, functions
from macrograd._flags import flag
from macrograd.nn import activations
from macrograd.nn._scalars import as_list
from macrograd.nn.activations import Activation
from macrograd.nn.init import Initialiser
from macrograd.nn.init import get as _initialiser  # `init` is the keyword that users write
from macrograd.nn.module import Module
from macrograd.value import Value, constant
from macrograd.vector import vector

Seed = int | random.Random | None

VALUE_BYTES = 112  # of memory that a parameter takes: a Value, its number, and its place in a list

# The bias enters a neuron's dot product as b·1; all neurons share this node for the 1.
_ONE = constant(1.0)


class Neuron(Module):
    """activation(b + w₀·x₀ + w₁·x₁ + …), added from left to right.

    nin         number of inputs
    nonlin      False for a linear neuron, regardless of `activation` (micrograd's switch)
    activation  a name from `nn.activations` or a function of one scalar
    init        a name from `nn.init` or a function (rng, fan_in, fan_out) → float
    seed        an integer, or a `random.Random` to draw from; None draws from Python's global generator as micrograd
                does, so that `random.seed(1337)` gives micrograd's weights
    fan_out     number of neurons in the layer; only the Glorot initialisers use it

    Called with `nin` numbers or Values (a list, a tuple or a NumPy row; a plain scalar if nin is 1), it returns one
    Value. Raises ValueError for any other number of inputs, and for more than there is memory for.
    """

    w: list[Value]
    b: Value

    def __init__(
        self,
        nin: int,
        nonlin: bool = True,
        *,
        activation: str | Activation = "relu",
        init: str | Initialiser = "uniform",
        seed: Seed = None,
        fan_out: int = 1,
    ) -> None:
        _check_size("Neuron", "inputs", nin)
        check_parameters("a Neuron", (nin, 1))
        if isinstance(nonlin, str) and nonlin in activations.ACTIVATIONS:
            raise ValueError(f"Neuron(nonlin={nonlin!r}): nonlin must be True or False; write activation={nonlin!r}")
        draw, rng = _initialiser(init), _generator(seed)
        self.activation = activation if flag("Neuron", "nonlin", nonlin) else "linear"
        self._activate = activations.get(self.activation)
        self.w = [Value(draw(rng, nin, fan_out)) for _ in range(nin)]
        self.b = Value(0.0)

    @property
    def nonlin(self) -> bool:
        """micrograd's switch: False for a linear neuron."""
        return self.activation != "linear"

    def __call__(self, x: Any) -> Any:
        inputs = inputs_of(self, x, len(self.w))
        return self._activate(functions.dot([self.b, *self.w], [_ONE, *inputs]))

    def __repr__(self) -> str:
        return f"Neuron({len(self.w)}, {activations.name_of(self.activation)})"


class Layer(Module):
    """`nout` neurons with the same `nin` inputs; the other arguments are passed to each `Neuron`.

    Called with `nin` numbers or Values, it returns a `Vector` of `nout` Values, or a single Value if nout is 1.
    Raises ValueError for any other number of inputs.
    """

    neurons: list[Neuron]

    def __init__(
        self,
        nin: int,
        nout: int,
        nonlin: bool = True,
        *,
        activation: str | Activation = "relu",
        init: str | Initialiser = "uniform",
        seed: Seed = None,
    ) -> None:
        _check_size("Layer", "inputs", nin)
        _check_size("Layer", "neurons", nout)
        check_parameters("a Layer", (nin, nout))
        rng = _generator(seed)
        self.neurons = [
            Neuron(nin, nonlin, activation=activation, init=init, seed=rng, fan_out=nout) for _ in range(nout)
        ]

    def __call__(self, x: Any) -> Any:
        inputs = inputs_of(self, x, len(self.neurons[0].w))
        # Numbers become nodes here, once, and not in every neuron.
        nodes = [value if (node := constant(value)) is None else node for value in inputs]
        out = [neuron(nodes) for neuron in self.neurons]
        return out[0] if len(out) == 1 else vector(out)

    def __repr__(self) -> str:
        return f"Layer of {len(self.neurons)} × {self.neurons[0]!r}"


class MLP(Module):
    """A multi-layer perceptron: a stack of layers, each feeding the next.

    nin                number of inputs
    nouts              number of neurons in each layer; the last is the output layer
    activation         of the hidden layers: one name or function for all, or a list with one for each
    output_activation  of the output layer
    init, seed         as for `Neuron`; the weights are drawn layer by layer and neuron by neuron, in micrograd's order

    Called with `nin` numbers or Values, it returns a `Vector` of outputs, or a single Value if there is one output.
    Raises ValueError for any other number of inputs, and for invalid sizes or names.
    """

    layers: list[Layer]

    def __init__(
        self,
        nin: int,
        nouts: Sequence[int],
        activation: str | Activation | Sequence[str | Activation] = "relu",
        output_activation: str | Activation = "linear",
        init: str | Initialiser = "uniform",
        seed: Seed = None,
    ) -> None:
        if isinstance(nouts, (str, int)) or not len(nouts):
            raise ValueError(f"MLP takes a list with the size of each layer, as in MLP(2, [16, 16, 1]), got {nouts!r}")
        sizes = [nin, *nouts]
        hidden = len(nouts) - 1
        if isinstance(activation, str):
            activations.get(activation)  # a net without hidden layers has no use for it, but the name may be wrong
        per_layer = [activation] * hidden if isinstance(activation, str) or callable(activation) else list(activation)
        if len(per_layer) != hidden:
            raise ValueError(
                f"MLP has {hidden} hidden layers, got {len(per_layer)} activations: give one for each, or one for all"
            )
        for fan_in, fan_out in itertools.pairwise(sizes):
            _check_size("Layer", "inputs", fan_in)
            _check_size("Layer", "neurons", fan_out)
        check_parameters("an MLP", sizes)
        rng = _generator(seed)
        self.layers = [
            Layer(fan_in, fan_out, activation=chosen, init=init, seed=rng)
            for fan_in, fan_out, chosen in zip(sizes, nouts, [*per_layer, output_activation], strict=False)
        ]

    def __call__(self, x: Any) -> Any:
        x = inputs_of(self, x, len(self.layers[0].neurons[0].w))
        for layer in self.layers:
            x = layer(x)
        return x

    def __repr__(self) -> str:
        layers = ", ".join(map(repr, self.layers))
        return f"MLP of [{layers}]: {len(self.parameters())} parameters"


def count(sizes: Sequence[int]) -> int:
    """How many parameters a stack of layers with these numbers of inputs and neurons has."""
    return sum((int(nin) + 1) * int(nout) for nin, nout in itertools.pairwise(sizes))


def check_parameters(kind: str, sizes: Sequence[int], parameters: int | None = None) -> None:
    """Raise ValueError if a net of these sizes has so many parameters that their Values do not fit into memory; by
    default those of a stack of layers."""
    parameters = count(sizes) if parameters is None else parameters
    if (needed := VALUE_BYTES * parameters) >= _memory.COUNTED:
        what = f"{kind} of {'-'.join(map(str, sizes))} has {parameters:,} parameters"
        _memory.check(what, needed, "take fewer inputs or fewer neurons")


def inputs_of(module: Module, x: Any, nin: int) -> list[Any]:
    """The inputs of one sample. Raises ValueError for another number than `nin`."""
    inputs = as_list(x)
    if len(inputs) != nin and not hasattr(x, "__len__") and len(inputs) == 1:
        raise ValueError(
            f"this {type(module).__name__} takes {nin} inputs, got a single number: give a list of {nin} numbers (a "
            "row for each sample if batch=True)"
        )
    if len(inputs) != nin:
        raise ValueError(f"this {type(module).__name__} takes {nin} inputs, got {_described(inputs, nin)}")
    return inputs


def _described(inputs: list[Any], nin: int) -> str:
    """How many inputs there are, and what to do about a batch of samples."""
    if not inputs or not hasattr(inputs[0], "__len__"):
        return str(len(inputs))
    several = f"{len(inputs)} row{'s' * (len(inputs) != 1)} of {len(inputs[0])} numbers"
    if len(inputs[0]) != nin:
        return f"{several}: give it one sample of {nin} numbers"
    return (
        f"{several}: it takes one sample at a time, as in [model(row) for row in X]; "
        "mg.compile(model, batch=True)(X) and mg.Trainer(model).predict(X) take them all"
    )


def _check_size(kind: str, what: str, size: Any) -> None:
    if isinstance(size, bool) or not hasattr(size, "__index__") or size < 1:
        raise ValueError(f"{kind} needs a positive integer number of {what}, got {size!r}")


def _generator(seed: Seed) -> random.Random:
    if seed is None:
        shared: random.Random = random.uniform.__self__  # type: ignore[attr-defined]  # seeded by `random.seed`
        return shared
    return seed if isinstance(seed, random.Random) else random.Random(seed)
