"""eager: one step of micrograd's demo with plain Values: MLP 2-16-16-1, all 100 samples, forward and backward.

`net` uses each library's own MLP; `operators` is micrograd's neuron, sum(wᵢ·xᵢ) with plain operators, word for word the
same program on either library's Value. micrograd is timed with Python's garbage collector on, as its users run it, and
off; macrograd always with it on.
"""

from __future__ import annotations

import sys
import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks import data
from benchmarks.harness import Job, Prepared
from benchmarks.moons import DECAY, SIZES, START, loss_and_gradient

JOB = Job(
    "eager",
    what="MLP 2-16-16-1, ReLU, hinge + 1e-4·Σp², all 100 samples, scalars, float64",
    unit="forward + backward",
    cases=("net", "operators"),
    tolerance=1e-12,
    baseline="micrograd",
)

X, Y = data.moons()
ROWS, TARGETS = X.tolist(), Y.tolist()


@JOB.reference
def reference(case: str) -> dict[str, Any]:
    loss, gradient = loss_and_gradient(START, X, Y)
    return {"loss": loss, "gradient": gradient}


class Neuron:
    """micrograd's neuron on any library's values."""

    def __init__(self, w: list[Any], b: Any, nonlin: bool) -> None:
        self.w, self.b, self.nonlin = w, b, nonlin

    def __call__(self, x: list[Any]) -> Any:
        act = sum((wi * xi for wi, xi in zip(self.w, x, strict=True)), self.b)
        return act.relu() if self.nonlin else act


def neurons(Value: Any) -> list[list[Neuron]]:
    pairs = data.split(START, SIZES)
    return [
        [Neuron([Value(w) for w in W[:, j].tolist()], Value(float(b[j])), W is not pairs[-1][0]) for j in range(len(b))]
        for W, b in pairs
    ]


def prepared(layers: list[list[Any]], forward: Callable[[list[Any]], Any], Value: Any, gc: bool) -> Prepared:
    """The step over any net: `layers` are its neurons, for the parameters; `forward` is one sample's score."""
    parameters = [p for layer in layers for neuron in layer for p in (*neuron.w, neuron.b)]

    def step() -> Any:
        scores = [forward([Value(v) for v in row]) for row in ROWS]
        losses = [(1 + -y * score).relu() for y, score in zip(TARGETS, scores, strict=True)]
        loss = sum(losses) * (1.0 / len(losses)) + DECAY * sum(p * p for p in parameters)
        for p in parameters:
            p.grad = 0.0
        loss.backward()
        return loss

    def answer() -> dict[str, Any]:
        loss = step()
        gradients = [
            (np.array([[w.grad for w in n.w] for n in layer]).T, np.array([n.b.grad for n in layer]))
            for layer in layers
        ]
        return {"loss": loss.data, "gradient": data.flat(gradients)}

    return Prepared(step, answer, gc=gc, extra={"bytes a node": round(bytes_a_node(Value))})


def bytes_a_node(Value: Any) -> float:
    """The memory that one operation of a chain holds after backward."""
    count = 400  # micrograd's walk is recursive: a longer chain would overflow the stack
    x = Value(0.5)
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    out = x
    for _ in range(count):
        out = out * x
    out.backward()
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return (after - before) / count


def chained(layers: list[list[Neuron]]) -> Callable[[list[Any]], Any]:
    def forward(x: list[Any]) -> Any:
        for layer in layers:
            x = [neuron(x) for neuron in layer]
        return x[0]

    return forward


def with_start(model: Any) -> Any:
    """The model with the job's parameters: both libraries name them alike."""
    for layer, (W, b) in zip(model.layers, data.split(START, SIZES), strict=True):
        for j, neuron in enumerate(layer.neurons):
            neuron.b.data = float(b[j])
            for w, value in zip(neuron.w, W[:, j].tolist(), strict=True):
                w.data = value
    return model


def contender(case: str, Value: Any, MLP: Any, gc: bool) -> Prepared:
    if case == "operators":
        layers = neurons(Value)
        return prepared(layers, chained(layers), Value, gc)
    model = with_start(MLP(SIZES[0], list(SIZES[1:])))
    return prepared([layer.neurons for layer in model.layers], model, Value, gc)


@JOB.contender("macrograd", packages=("macrograd.nn",), note="with Python's garbage collector on")
def macrograd(case: str) -> Prepared:
    from macrograd import Value
    from macrograd.nn import MLP

    return contender(case, Value, MLP, gc=True)


@JOB.contender("micrograd", packages=("micrograd.nn",), note="Python's garbage collector off")
def micrograd(case: str) -> Prepared:
    from micrograd.engine import Value
    from micrograd.nn import MLP

    return contender(case, Value, MLP, gc=False)


@JOB.contender("micrograd-as-is", packages=("micrograd.nn",), note="as users run it: the collector on")
def micrograd_as_is(case: str) -> Prepared:
    from micrograd.engine import Value
    from micrograd.nn import MLP

    return contender(case, Value, MLP, gc=True)


@JOB.contender("torch", packages=("torch",), cases=("operators",), note="tensors of one number, eager")
def torch_eager(case: str) -> Prepared:
    import torch

    torch.set_num_threads(1)

    def number(x: float) -> Any:
        return torch.tensor(x, dtype=torch.float64, requires_grad=True)

    layers = neurons(number)
    forward, parameters = chained(layers), [p for layer in layers for n in layer for p in (*n.w, n.b)]

    def step() -> Any:
        scores = [forward([torch.tensor(v, dtype=torch.float64) for v in row]) for row in ROWS]
        losses = [(1 + -y * score).relu() for y, score in zip(TARGETS, scores, strict=True)]
        loss = sum(losses) * (1.0 / len(losses)) + DECAY * sum(p * p for p in parameters)
        for p in parameters:
            p.grad = None
        loss.backward()
        return loss

    def answer() -> dict[str, Any]:
        loss = step()
        pairs = [
            (np.array([[w.grad.item() for w in n.w] for n in layer]).T, np.array([n.b.grad.item() for n in layer]))
            for layer in layers
        ]
        return {"loss": loss.item(), "gradient": data.flat(pairs)}

    return Prepared(step, answer)


if __name__ == "__main__":
    from benchmarks.__main__ import main

    sys.exit(main(["--job", "eager", *sys.argv[1:]]))
