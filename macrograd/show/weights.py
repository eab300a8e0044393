"""The parameters of each layer as matrices of colours."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from macrograd.nn import Layer, Neuron, inside
from macrograd.show._figure import COLOURS, FAINT, INK, new_figure, plain, tidy
from macrograd.show._subject import few, grid_of, model_of

_COLUMNS = 3


def weights(model: Any) -> Any:
    """A matplotlib figure with a panel for each layer: its weights as a matrix, a row for each neuron, with the biases
    as a last column apart from them.

    Positive weights are orange, negative ones blue, as in `draw`; a colour means the same number in every panel.
    Parameters of other Modules are drawn by attribute, as far as they are numbers, lists or matrices. `model` is a
    Trainer or a Module. A notebook displays the figure, and `show.save(figure, path)` writes it.

    Raises TypeError for anything else, ValueError for a model without parameters, ImportError without matplotlib.
    """
    from matplotlib.colors import LinearSegmentedColormap
    from matplotlib.patches import Rectangle

    found = model_of(model, "weights")
    matrices = _matrices(found)
    if not matrices:
        raise ValueError(f"weights() has nothing to draw: {type(found).__name__} has no parameters")
    numbers = np.concatenate([matrix[np.isfinite(matrix)] for matrix, _ in matrices.values()])
    reach = float(np.quantile(np.abs(numbers), 0.99)) if len(numbers) else 1.0
    reach = reach or 1.0
    colours = LinearSegmentedColormap.from_list("weights", ["#003a5d", COLOURS[0], "#ffffff", COLOURS[1], "#6b2f00"])
    across = min(len(matrices), _COLUMNS)
    down = -(-len(matrices) // across)
    # A single row gives each layer the width that its columns need.
    widths = [min(3.2, 1.2 + 0.2 * m.shape[1]) if down == 1 else 3.2 for m, _ in matrices.values()][:across]
    figure = new_figure(sum(widths) + 0.8, 2.9 * down)
    axes = grid_of(figure, len(matrices), _COLUMNS, widths)
    for ax, (name, (matrix, biased)) in zip(axes, matrices.items(), strict=True):
        shown = np.insert(matrix, matrix.shape[1] - 1, np.nan, axis=1) if biased else matrix
        image = ax.imshow(
            shown, cmap=colours, vmin=-reach, vmax=reach, interpolation="nearest",
            aspect="equal" if 0.02 < shown.shape[0] / shown.shape[1] < 6.0 else "auto",
        )  # fmt: skip
        rows, columns = matrix.shape[0], matrix.shape[1] - biased
        # Two lines: a layer of two inputs is narrower than one.
        ax.set_title(plain(f"{name}\n{rows} × {columns}"), loc="left", fontsize=10, color=INK)
        ax.set(xlabel="input, and bias b" if biased else "", ylabel="neuron" if biased else "")
        tidy(ax)
        ax.spines[["left", "bottom"]].set_visible(False)
        ax.set_xticks(few(columns) + [columns + 1] * biased, [*map(str, few(columns))] + ["b"] * biased)
        ax.set_yticks(few(rows))
        # A frame, since numbers near 0 are as white as the paper.
        for left, width in [(0, columns)] + [(columns + 1, 1)] * biased:
            ax.add_patch(Rectangle((left - 0.5, -0.5), width, rows, fill=False, color=FAINT, lw=0.8, clip_on=False))
    bar = figure.colorbar(image, ax=axes, shrink=0.8, pad=0.02, aspect=30, extend="both")
    bar.set_label("weight", color=INK, fontsize=11)
    bar.outline.set_visible(False)
    return figure


def _matrices(model: Any) -> dict[str, tuple[NDArray[np.float64], bool]]:
    """The numbers of each layer as a matrix, and whether its last column holds biases."""
    # A layer's parameters are the weights and the bias of its first neuron, those of the second, and so on.
    rows = {id(m.neurons[0].w[0]): len(m.neurons) for m in model.modules() if isinstance(m, Layer)}
    for module in model.modules():
        if isinstance(module, Neuron):
            rows.setdefault(id(module.w[0]), 1)
    paths = {id(p): path.split(".") for path, p in model.named_parameters(frozen=True).items()}
    found = {}
    for name, parameters in inside.layers(model, frozen=True).items():
        numbers = np.array([p.data for p in parameters])
        count = rows.get(id(parameters[0]))
        if count is not None:
            found[name] = numbers.reshape(count, -1), True
            continue
        lists = Counter(tuple(paths[id(p)][:-1]) for p in parameters)  # the innermost ones
        found[name] = numbers.reshape(len(lists) if len(set(lists.values())) == 1 else 1, -1), False
    return found
