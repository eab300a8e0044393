"""How much each number of one sample contributed to the model's output."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from macrograd._numbers import check_unmasked
from macrograd.gradients import value_and_grad
from macrograd.nn import Scaled
from macrograd.show._figure import COLOURS, INK, checked_axes, new_figure, plain, tidy
from macrograd.show._subject import model_of, samples_of

_STEPS = 128  # points on the way from the baseline, at the middles of equal parts
_BARS = 20


def attribution(
    model: Any,
    x: Any,
    *,
    output: int | None = None,
    baseline: Any = None,
    names: Sequence[str] | None = None,
    shape: tuple[int, int] | None = None,
    ax: Any = None,
) -> Any:
    """Draw how much each number of one sample contributed to an output of the model, and return the axes.

    The contributions are integrated gradients: the gradient of the output with respect to each number, averaged on the
    straight way from the baseline to the sample, times the distance. They add up to the difference of the outputs.

    model     a Trainer, or a Module that takes one sample
    x         the sample: its numbers, or a table of one row for a Trainer that was trained with a table
    output    the number of the output; None for the largest, which is the predicted class
    baseline  a sample that means "nothing": None for the means of the columns, if the model is scaled, else zeros
    names     of the numbers; None for the columns that a Trainer knows
    shape     (rows, columns), to draw a picture of pixels rather than a bar for each of the 20 largest
    ax        matplotlib axes; None for a new figure, which a notebook displays

    Raises TypeError for another model, ValueError for numbers that do not fit it, ImportError without matplotlib.
    Source: Sundararajan, Taly & Yan, *Axiomatic Attribution for Deep Networks*, ICML 2017, arXiv:1703.01365, §3 and 5.
    """
    found = model_of(model, "attribution")
    sample = _sample(model, x)
    start = _baseline(found, baseline, len(sample))
    parts, before, after, chosen = contributions(found, sample, start, output)
    columns = getattr(model, "columns", None)
    labels = list(names if names is not None else columns or [f"x[{k}]" for k in range(len(sample))])
    if len(labels) != len(sample):
        raise ValueError(f"attribution() got {len(labels)} names for {len(sample)} numbers")
    if shape is not None and (len(shape) != 2 or shape[0] * shape[1] != len(sample)):
        raise ValueError(f"attribution() cannot draw {len(sample)} numbers as a picture of shape {shape}")
    which = "the output" if chosen is None else f"output {chosen}"
    classes = getattr(model, "classes", None) if hasattr(model, "classes") else None
    if chosen is not None and classes is not None and len(classes) > chosen:
        which = f"the score of {classes[chosen]!r}"
    if shape is not None:
        ax = checked_axes(ax) if ax is not None else new_figure(4.8, 4.2).add_subplot()
        _pixels(ax, parts.reshape(shape))
    else:
        ax = checked_axes(ax) if ax is not None else new_figure(6.4, 1.3 + 0.3 * min(len(parts), _BARS)).add_subplot()
        _bars(ax, parts, sample, labels)
    ax.set_title(
        plain(f"{which}: {before:.3g} + {after - before:.3g} = {after:.3g}"), loc="left", fontsize=11, color=INK
    )
    return ax


def _sample(model: Any, x: Any) -> NDArray[np.float64]:
    """The numbers of one sample. Raises ValueError if there are several samples."""
    check_unmasked("attribution(): x", x)
    rows = x if hasattr(x, "columns") or isinstance(x, dict) else np.atleast_2d(np.asarray(x, dtype=np.float64))
    found = samples_of(model, rows, "attribution")
    if len(found) != 1 or found.ndim != 2:
        raise ValueError(
            f"attribution() explains one sample of numbers, got {len(found)} samples: give X[0], for example"
        )
    return np.asarray(found[0], dtype=np.float64)


def _baseline(model: Any, given: Any, count: int) -> NDArray[np.float64]:
    if given is None:
        given = model.middle if isinstance(model, Scaled) else 0.0
    check_unmasked("attribution(): baseline", given)
    found = np.asarray(given, dtype=np.float64).ravel()
    found = np.repeat(found, count) if len(found) == 1 else found
    if len(found) != count or not np.isfinite(found).all():
        raise ValueError(f"attribution() needs a baseline of {count} finite numbers, or one for all, got {given!r}")
    return found


def contributions(
    model: Any, sample: NDArray[np.float64], start: NDArray[np.float64], output: int | None
) -> tuple[NDArray[np.float64], float, float, int | None]:
    """(contributions, output at the baseline, output at the sample, its number or None if there is only one)."""
    from macrograd.compiler import compile as compiled

    ends = [model(start.tolist()), model(sample.tolist())]
    several = hasattr(ends[1], "__len__")
    scores = [float(score) for score in ends[1]] if several else [float(ends[1])]
    chosen = int(np.argmax(scores)) if output is None else output
    if isinstance(chosen, bool) or not isinstance(chosen, int) or not 0 <= chosen < len(scores):
        raise ValueError(f"attribution() got output {output!r}, and the model has outputs 0 to {len(scores) - 1}")

    def score(x: Any) -> Any:
        return model(x)[chosen] if several else model(x)

    ways = (np.arange(_STEPS) + 0.5) / _STEPS
    points = start + ways[:, None] * (sample - start)
    _, slopes = compiled(value_and_grad(score), batch=True)(points)
    before = float(ends[0][chosen]) if several else float(ends[0])
    parts = np.mean(slopes, axis=0) * (sample - start)
    return parts, before, scores[chosen], chosen if several else None


def _bars(ax: Any, parts: NDArray[Any], sample: NDArray[Any], labels: list[str]) -> None:
    order = sorted(range(len(parts)), key=lambda k: -abs(parts[k]))[:_BARS]
    left = sorted(set(range(len(parts))) - set(order))
    texts = [f"{labels[k]} = {sample[k]:.4g}" for k in order]
    values = [float(parts[k]) for k in order]
    if left:
        texts.append(f"{len(left)} others")
        values.append(float(parts[left].sum()))
    places = [-float(k) for k in range(len(values))]
    ax.barh(places, values, color=[COLOURS[1] if value > 0 else COLOURS[0] for value in values], height=0.7)
    ax.axvline(0.0, color=INK, linewidth=0.8)
    ax.set_yticks(places, [plain(text) for text in texts])
    ax.set_xlabel("contribution")
    tidy(ax)
    ax.tick_params(axis="y", length=0)


def _pixels(ax: Any, parts: NDArray[Any]) -> None:
    from matplotlib.colors import LinearSegmentedColormap

    reach = float(np.abs(parts).max()) or 1.0
    colours = LinearSegmentedColormap.from_list("parts", [COLOURS[0], "#ffffff", COLOURS[1]])
    image = ax.imshow(parts, cmap=colours, vmin=-reach, vmax=reach, interpolation="nearest")
    bar = ax.figure.colorbar(image, ax=ax, shrink=0.9, pad=0.02, aspect=30)
    bar.set_label("contribution", color=INK, fontsize=11)
    bar.outline.set_visible(False)
    ax.set(xticks=[], yticks=[])
