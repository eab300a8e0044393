"""What the neurons of each layer compute for some samples."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from macrograd.nn import Neuron, inside
from macrograd.nn.activations import name_of
from macrograd.show._figure import COLOURS, FAINT, INK, new_figure, plain, tidy
from macrograd.show._subject import few, grid_of, model_of, samples_of

_BINS, _COLUMNS = 41, 4
_WIDEST = 64  # neurons of a layer that are drawn one by one


class _Recorded:
    """The outputs of all activations for a sample, as a function to be compiled; `fired` are those of the last call."""

    __name__ = "the activations"

    def __init__(self, model: Any) -> None:
        self._model = model
        self.fired: list[inside.Firing] = []

    def __call__(self, x: Any) -> list[Any]:
        with inside.firings(self._model) as self.fired:
            self._model(x)
        return [firing.after for firing in self.fired]


def activations(model: Any, X: Any) -> Any:
    """A matplotlib figure with a panel for each layer: the distribution of its outputs over samples X (n, …), neuron by
    neuron.

    A column of a panel is a neuron; the darker a place, the more samples have this output. A dot marks a neuron that
    gives every sample the same output: a dead relu, or a saturated tanh. `model` is a Trainer or a Module made of
    `nn.Neuron`s. A notebook displays the figure, and `show.save(figure, path)` writes it.

    Raises TypeError for another model, ValueError for samples that do not fit or a model without neurons, ImportError
    without matplotlib.
    """
    found = model_of(model, "activations")
    layers, outputs = _recorded(found, samples_of(model, X, "activations"))
    across = min(len(layers), _COLUMNS)
    figure = new_figure(3.2 * across + 0.6, 2.9 * -(-len(layers) // across) + 0.2)
    for ax, (layer, (places, kind)) in zip(grid_of(figure, len(layers), _COLUMNS), layers.items(), strict=True):
        _panel(ax, [outputs[:, of_unit].ravel() for of_unit in places], f"{layer}: {len(places)} {kind}")
    return figure


def _recorded(model: Any, X: NDArray[Any]) -> tuple[dict[str, tuple[list[list[int]], str]], NDArray[Any]]:
    """(of each layer, the places of each neuron's outputs and the name of the activation; outputs (n, places))."""
    from macrograd.compiler import compile as compiled

    recorded = _Recorded(model)
    function = compiled(recorded, batch=True)
    if not any(isinstance(module, Neuron) for module in model.modules()):
        raise ValueError(
            f"activations() shows what nn.Neurons compute, and {type(model).__name__} has none: show.weights and "
            "show.gradients take any Module"
        )
    outputs = np.asarray(function(X))
    layers: dict[str, tuple[dict[tuple[int, int], list[int]], str]] = {}
    for k, firing in enumerate(recorded.fired):
        units, _ = layers.setdefault(firing.layer, ({}, name_of(firing.activation)))
        units.setdefault(firing.unit, []).append(k)
    return {name: (list(units.values()), kind) for name, (units, kind) in layers.items()}, outputs


def _panel(ax: Any, neurons: list[NDArray[Any]], title: str) -> None:
    values = np.concatenate(neurons)
    low, high = float(values.min()), float(values.max())
    low, high = (low - 0.5, high + 0.5) if low == high else (low, high)
    edges = np.linspace(low, high, _BINS + 1)
    shown = neurons[:_WIDEST]
    shares = np.stack([np.histogram(outputs, edges)[0] / len(outputs) for outputs in shown], axis=1)
    # Shares on a root scale: a place with 1 sample of 100 is still seen.
    ax.imshow(
        np.sqrt(shares), origin="lower", aspect="auto", cmap=_fading(), vmin=0.0, vmax=1.0, interpolation="nearest",
        extent=(-0.5, len(shown) - 0.5, low, high),
    )  # fmt: skip
    constant = [k for k, outputs in enumerate(shown) if outputs.min() == outputs.max()]
    if constant:
        ax.plot(constant, [float(shown[k][0]) for k in constant], "o", ms=5, color=COLOURS[1], zorder=3, clip_on=False)
    ax.set_title(plain(title), loc="left", fontsize=10, color=INK)
    more = f" (the first {_WIDEST})" if len(neurons) > _WIDEST else ""
    count = sum(bool(outputs.min() == outputs.max()) for outputs in neurons)
    ax.set_xlabel(f"neuron{more}" + (f", {count} constant" if count else ""))
    ax.set_ylabel("output")
    tidy(ax)
    ax.set_xticks(few(len(shown)))
    for side in ("left", "bottom"):
        ax.spines[side].set_color(FAINT)


def _fading() -> Any:
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("share", ["#ffffff", COLOURS[0], "#00233b"])
