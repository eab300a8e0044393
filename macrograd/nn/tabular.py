"""`Tabular`: a net for tables, of several members that are trained together.

Source of its parts: Holzmüller, Grinsztajn & Steinwart, *Better by Default: Strong Pre-Tuned MLPs and Boosted Trees on
Tabular Data*, NeurIPS 2024, arXiv:2407.04491, section 3 and appendix A (RealMLP).
"""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Sequence
from typing import Any

from macrograd import functions
from macrograd.nn import activations
from macrograd.nn.activations import Activation
from macrograd.nn.layers import Seed, _check_size, _generator, check_parameters, count, inputs_of
from macrograd.nn.module import Module
from macrograd.value import Value
from macrograd.vector import vector

# How much faster than weights the scales of the features learn, and biases. Adam moves every parameter by about its
# rate, so a parameter that stands for `factor` times itself moves by `factor` times the rate.
_SCALE_RATE, _BIAS_RATE = 6.0, 0.1
# Where inputs are clipped, smoothly: x / √(1 + (x / 3)²) is x near 0, and never beyond ±3.
_CLIP = 3.0


class Member(Module):
    """One net: a learned scale for each input, then layers of activation(w·x / √width + b).

    The division by √width is the neural tangent parametrisation (Jacot, Gabriel & Hongler, NeurIPS 2018): with it one
    learning rate suits all widths. `scale` is a sixth of the scales and `biases` ten times the biases, which makes
    Adam move the former faster and the latter slower (arXiv:2407.04491, table A.1).
    """

    def __init__(self, sizes: Sequence[int], activation: str | Activation, rng: random.Random) -> None:
        self.activation = activation
        self._activate = activations.get(activation)
        self.scale = [Value(1.0 / _SCALE_RATE) for _ in range(sizes[0])]
        self.weights: list[list[list[Value]]] = []
        self.biases: list[list[Value]] = []
        for k, (nin, nout) in enumerate(itertools.pairwise(sizes)):
            # The output starts at 0: the first answers are the middle of the targets, and no member leads.
            size = 0.0 if k == len(sizes) - 2 else 1.0
            self.weights.append([[Value(size * rng.gauss(0.0, 1.0)) for _ in range(nin)] for _ in range(nout)])
            self.biases.append([Value(size * rng.gauss(0.0, 1.0) / _BIAS_RATE) for _ in range(nout)])

    def __call__(self, x: Any) -> list[Any]:
        """The outputs for inputs that are clipped already."""
        layer = [_SCALE_RATE * scale * value for scale, value in zip(self.scale, x, strict=True)]
        for k, (rows, biases) in enumerate(zip(self.weights, self.biases, strict=True)):
            share = 1.0 / math.sqrt(len(layer))
            sums = [share * functions.dot(w, layer) + _BIAS_RATE * b for w, b in zip(rows, biases, strict=True)]
            layer = sums if k == len(self.weights) - 1 else [self._activate(z) for z in sums]
        return layer

    def __repr__(self) -> str:
        return f"Member({len(self.scale)}, {[len(biases) for biases in self.biases]})"


class Tabular(Module):
    """The mean of the outputs of `members` nets with hidden layers of `hidden` neurons and `nout` outputs.

    nin         number of inputs, which should be of size 1 (see `nn.Scaled`): they are clipped smoothly to ±3
    activation  of the hidden layers: a name of `nn.activations` or a function
    members     the number of nets; their weights differ, and each is trained by its own loss
    seed        of the weights, as for `Neuron`

    Called with `nin` numbers or Values it gives a `Vector` of `nout` Values, or the Value itself where nout is 1.
    Raises ValueError for another number of inputs, for sizes or names that make no net, and for more parameters than
    there is memory for.
    """

    def __init__(
        self,
        nin: int,
        hidden: Sequence[int],
        nout: int,
        *,
        activation: str | Activation = "relu",
        members: int = 1,
        seed: Seed = None,
    ) -> None:
        for what, size in (("inputs", nin), *(("neurons", size) for size in hidden), ("outputs", nout)):
            _check_size("Tabular", what, size)
        _check_size("Tabular", "members", members)
        self.sizes = (int(nin), *map(int, hidden), int(nout))
        self.activation = activation
        check_parameters("a Tabular net", self.sizes, self.count(self.sizes, members))
        rng = _generator(seed)
        self.members = [Member(self.sizes, activation, rng) for _ in range(members)]

    @staticmethod
    def count(sizes: Sequence[int], members: int) -> int:
        """How many parameters members of these sizes have."""
        return members * (sizes[0] + count(sizes))

    def each(self, x: Any) -> list[Any]:
        """The output of every member."""
        inputs = inputs_of(self, x, self.sizes[0])
        clipped = [v / functions.sqrt(1.0 + v * v * (1.0 / _CLIP**2)) for v in inputs]
        found = [member(clipped) for member in self.members]
        return [outputs[0] if len(outputs) == 1 else vector(outputs) for outputs in found]

    def __call__(self, x: Any) -> Any:
        found = self.each(x)
        if len(found) == 1:
            return found[0]
        share = 1.0 / len(found)
        if self.sizes[-1] == 1:
            return share * functions.sum(found)
        return vector([share * functions.sum(outputs) for outputs in zip(*found, strict=True)])

    def __repr__(self) -> str:
        name = activations.name_of(self.activation)
        return f"Tabular({'-'.join(map(str, self.sizes))}, {name}, {len(self.members)} members)"
