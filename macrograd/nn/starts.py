"""`starts`: the parameters with which many nets of one architecture begin, without making the nets."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

from macrograd.nn.init import Initialiser, bound_of
from macrograd.nn.init import get as _initialiser
from macrograd.nn.layers import Layer, Neuron
from macrograd.nn.module import Module

if TYPE_CHECKING:
    from numpy.typing import NDArray


def starts(model: Module, count: int, *, init: str | Initialiser = "uniform", seed: int = 0) -> NDArray[Any]:
    """The parameters with which nets like `model` begin: an array (count, parameters) in the order of
    `model.parameters()`, whose row k has the numbers of the net made with `seed` + k, as in
    `nn.MLP(..., init=init, seed=seed + k)`.

    Raises ValueError for a model with parameters outside of `Neuron`s, or frozen ones, and for an invalid count.
    """
    import numpy as np  # nets of Values do without it

    if isinstance(count, bool) or not isinstance(count, int) or count < 1:
        raise ValueError(f"starts() needs a positive integer number of nets, got {count!r}")
    neurons = [module for module in model.modules() if isinstance(module, Neuron)]
    known = [id(p) for neuron in neurons for p in (*neuron.w, neuron.b)]
    if known != [id(p) for p in model.parameters()]:
        raise ValueError(
            f"starts() draws the parameters of Neurons, but this {type(model).__name__} has others, shared or frozen "
            "ones: make an array of your own, with a row for each net"
        )
    widths = {id(n): len(m.neurons) for m in model.modules() if isinstance(m, Layer) for n in m.neurons}
    shapes = [(len(neuron.w), widths.get(id(neuron), 1)) for neuron in neurons]
    biases = np.cumsum([fan_in + 1 for fan_in, _ in shapes]) - 1
    weights = np.delete(np.arange(len(known)), biases)
    found = np.zeros((count, len(known)))
    bounds = [bound_of(init, *shape) for shape in shapes]
    if None in bounds:
        draw = _initialiser(init)
        for k, row in enumerate(found):
            rng = random.Random(seed + k)
            row[weights] = [draw(rng, *shape) for shape in shapes for _ in range(shape[0])]
        return found
    # `uniform(-b, b)` is −b + 2b·random(), here for all weights at once.
    b = np.repeat(np.array(bounds, dtype=np.float64), [fan_in for fan_in, _ in shapes])
    legacy = np.random.RandomState()  # the generator of Python's `random`: the same seeds give the same numbers
    for k in range(count):
        legacy.seed(_words(seed + k))
        found[k, weights] = -b + (b + b) * legacy.random_sample(len(weights))
    return found


def _words(seed: int) -> list[int]:
    """A seed's 32-bit words, lowest first, as `random.Random` takes them."""
    seed = abs(seed)
    return [seed >> shift & 0xFFFFFFFF for shift in range(0, max(seed.bit_length(), 1), 32)]
