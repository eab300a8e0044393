"""macrograd as its users write it, for the jobs: nets by hand out of nested lists, and their parameters in order.

The nets are written without `macrograd.nn` on purpose: the compiler is to find the matrices in plain arithmetic.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.harness import Prepared

Layers = list[tuple[list[list[Any]], list[Any]]]


def values(pairs: list[tuple[np.ndarray, np.ndarray]]) -> Layers:
    """Per layer W[in][out] and b[out] as Values."""
    from macrograd import Value

    return [([[Value(float(w)) for w in row] for row in W], [Value(float(x)) for x in b]) for W, b in pairs]


def net(layers: Layers, x: Any) -> list[Any]:
    """An MLP with ReLU between the layers, one sample, in additions and multiplications."""
    import macrograd as mg

    for depth, (W, b) in enumerate(layers):
        x = [b[j] + sum(W[i][j] * x[i] for i in range(len(W))) for j in range(len(b))]
        if depth < len(layers) - 1:
            x = [mg.relu(v) for v in x]
    return x


def mlp(pairs: list[tuple[np.ndarray, np.ndarray]]) -> Any:
    """An `nn.MLP` with these numbers, for the jobs of the Trainer."""
    from macrograd import nn

    model = nn.MLP(len(pairs[0][0]), [len(b) for _, b in pairs])
    fill(model, pairs)
    return model


def fill(model: Any, pairs: list[tuple[np.ndarray, np.ndarray]]) -> None:
    """Set the numbers of an `nn.MLP`."""
    for layer, (W, b) in zip(model.layers, pairs, strict=True):
        for neuron, w, bias in zip(layer.neurons, W.T.tolist(), b.tolist(), strict=True):
            for p, number in zip([*neuron.w, neuron.b], [*w, bias], strict=True):
                p.data = number


def pairs(model: Any) -> list[tuple[np.ndarray, np.ndarray]]:
    """Per layer W[in][out] and b[out] of an `nn.MLP`."""
    return [
        (np.array([[p.data for p in n.w] for n in layer.neurons]).T, np.array([n.b.data for n in layer.neurons]))
        for layer in model.layers
    ]


def leaves(layers: Layers) -> list[Any]:
    """All parameters, in the order of `data.flat`."""
    return [v for W, b in layers for v in [*[w for row in W for w in row], *b]]


def order(parameters: list[Any], wanted: list[Any]) -> np.ndarray:
    """Where each wanted Value stands among a compiled function's parameters, to put its arrays in our order."""
    place = {id(p): k for k, p in enumerate(parameters)}
    return np.array([place[id(v)] for v in wanted])


def sgd_loop(f: Any, arrays: tuple[np.ndarray, ...], batch: int) -> Any:
    """A TrainingLoop of plain gradient descent."""
    from macrograd.compiler.step import TrainingLoop

    def rule(p: Any, g: Any, state: Any, rate: Any, step: Any) -> Any:
        return p - rate * g, ()

    return TrainingLoop(f, arrays, rule, batch_size=batch)


def adam_loop(f: Any, arrays: tuple[np.ndarray, ...], batch: int) -> Any:
    """A TrainingLoop of Adam, with the library's own rule and defaults."""
    from macrograd import optim
    from macrograd.compiler.step import TrainingLoop

    return TrainingLoop(f, arrays, optim.Adam().rule, (0.0, 0.0), batch_size=batch)


def called(f: Any, variables: list[Any]) -> Prepared:
    """value_and_grad(theta) of a compiled function without arguments, its gradient in the order of `variables`."""
    f()
    theta = np.asarray(f.theta(), dtype=float)
    places = order(f.parameters, variables)

    def answer() -> dict[str, Any]:
        value, gradient = f.value_and_grad(theta)
        return {"value": value, "gradient": np.asarray(gradient)[places]}

    return Prepared(lambda: f.value_and_grad(theta), answer)


def bound(f: Any, variables: list[Any]) -> Prepared:
    """f.bind() → step(): buffers that stay, as casadi's bound buffers and a C function's pointers do."""
    step = f.bind()
    places = order(f.parameters, variables)
    return Prepared(step, lambda: {"value": step(), "gradient": np.asarray(step.gradient)[places]})
