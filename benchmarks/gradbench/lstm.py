"""lstm: the loss of layers of long short-term memory without matrices, over a text, and its gradient."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

import macrograd as mg
from benchmarks.gradbench.slopes import Slopes


class Text:
    """The sizes and numbers of one input. A layer has two rows of parameters, the weights and the biases of four gates,
    and two rows of state."""

    def __init__(self, given: dict[str, Any]) -> None:
        main, extra = np.array(given["main_params"]), np.array(given["extra_params"])
        self.state: list[list[float]] = given["state"]
        self.bits: NDArray[np.float64] = np.array(given["sequence"])
        self.width = extra.shape[1]
        self.numbers = np.concatenate([main.ravel(), extra.ravel()])

    def loss(self, values: Any, bits: Any) -> Any:
        width, layers = self.width, len(self.state) // 2
        rows = [values[k : k + width] for k in range(0, 8 * width * layers, width)]  # eight a layer
        scale, out_scale, out_shift = (values[-k * width : (1 - k) * width or None] for k in (3, 2, 1))

        def character(t: Any, now: Any) -> Any:
            state, total = now
            x = [a * w for a, w in zip(mg.take(bits, t), scale, strict=True)]
            new = []
            for layer in range(layers):
                x, cell = _layer(rows[8 * layer : 8 * layer + 8], x, *state[layer])
                new.append((x, cell))
            guess = [h * w + b for h, w, b in zip(x, out_scale, out_shift, strict=True)]
            norm = mg.log(2.0 + mg.sum([mg.exp(y) for y in guess]))
            gains = [bit * (y - norm) for bit, y in zip(mg.take(bits, t + 1), guess, strict=True)]
            return new, total + mg.sum(gains)

        start = [(self.state[2 * k], self.state[2 * k + 1]) for k in range(layers)]
        count = len(self.bits) - 1
        return -mg.loop(count, character, (start, 0.0))[1] / (count * width)


def _layer(rows: Any, x: Any, hidden: Any, cell: Any) -> tuple[list[Any], list[Any]]:
    """The next hidden numbers and cells."""
    new_hidden, new_cell = [], []
    for a, h, c, *numbers in zip(x, hidden, cell, *rows, strict=True):
        forget, enter, leave, change, forget_bias, enter_bias, leave_bias, change_bias = numbers
        kept = c * mg.sigmoid(a * forget + forget_bias)
        inner = kept + mg.sigmoid(h * enter + enter_bias) * mg.tanh(h * change + change_bias)
        new_cell.append(inner)
        new_hidden.append(mg.sigmoid(a * leave + leave_bias) * mg.tanh(inner))
    return new_hidden, new_cell


def objective(given: dict[str, Any]) -> Callable[[], float]:
    text = Text(given)
    f = mg.compile(text.loss)
    return lambda: float(f(text.numbers, text.bits))


def jacobian(given: dict[str, Any]) -> Callable[[], NDArray[np.float64]]:
    text = Text(given)
    slopes = Slopes(text.loss, text.numbers)
    return lambda: slopes(text.bits)


FUNCTIONS = {"objective": objective, "jacobian": jacobian}
